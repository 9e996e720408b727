"""Every backend passes the specifications of loads and of late attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, no_probe
from airflow_provider_lakehouse.testing.late_attempts_spec import LateAttemptSpecification
from airflow_provider_lakehouse.testing.load_spec import LoadSpecification

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import Catalog, Probe


class InMemory:
    def catalog(self, root: Path, probe: Probe = no_probe) -> Catalog:
        return find("tables", "memory")(CatalogSettings("memory", f"memory://{root}"), probe=probe)


class OnIceberg:
    def catalog(self, root: Path, probe: Probe = no_probe) -> Catalog:
        return find("tables", "iceberg")(CatalogSettings("iceberg", f"file://{root}/lake"), probe=probe)


class OnDelta:
    def catalog(self, root: Path, probe: Probe = no_probe) -> Catalog:
        return find("tables", "delta")(CatalogSettings("delta", f"file://{root}/lake"), probe=probe)


class TestLoadsInMemory(InMemory, LoadSpecification):
    pass


class TestLoadsOnIceberg(OnIceberg, LoadSpecification):
    pass


class TestLoadsOnDelta(OnDelta, LoadSpecification):
    pass


class TestLateAttemptsInMemory(InMemory, LateAttemptSpecification):
    pass


class TestLateAttemptsOnIceberg(OnIceberg, LateAttemptSpecification):
    pass


class TestLateAttemptsOnDelta(OnDelta, LateAttemptSpecification):
    pass
