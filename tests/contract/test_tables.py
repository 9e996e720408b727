"""Every backend of tables passes the same specification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, no_probe
from airflow_provider_lakehouse.testing.table_spec import TableSpecification

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import Catalog, Probe


class TestMemoryTables(TableSpecification):
    def catalog(self, root: Path, probe: Probe = no_probe) -> Catalog:
        return find("tables", "memory")(CatalogSettings("memory", f"memory://{root}"), probe=probe)


class TestIcebergTables(TableSpecification):
    def catalog(self, root: Path, probe: Probe = no_probe) -> Catalog:
        return find("tables", "iceberg")(CatalogSettings("iceberg", f"file://{root}/lake"), probe=probe)


class TestDeltaTables(TableSpecification):
    def catalog(self, root: Path, probe: Probe = no_probe) -> Catalog:
        return find("tables", "delta")(CatalogSettings("delta", f"file://{root}/lake"), probe=probe)
