"""Every place where a ledger of files is kept passes the same specification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.state.memory import MemoryFileLedger
from airflow_provider_lakehouse.core.state.table import TableFileLedger
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, no_probe
from airflow_provider_lakehouse.testing.store_spec import LedgerSpecification

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.state.base import FileLedger
    from airflow_provider_lakehouse.core.tables.base import Probe

_IN_MEMORY: dict[str, MemoryFileLedger] = {}


def in_table(kind: str, warehouse: str, probe: Probe) -> FileLedger:
    catalog = find("tables", kind)(CatalogSettings(kind, warehouse), probe=probe)
    return TableFileLedger(catalog.table("lakehouse.files"))


class TestLedgerInMemory(LedgerSpecification):
    def ledger(self, root: Path, probe: Probe = no_probe) -> FileLedger:
        return _IN_MEMORY.setdefault(str(root), MemoryFileLedger())


class TestLedgerInMemoryTable(LedgerSpecification):
    def ledger(self, root: Path, probe: Probe = no_probe) -> FileLedger:
        return in_table("memory", f"memory://{root}/ledger", probe)


class TestLedgerInIcebergTable(LedgerSpecification):
    def ledger(self, root: Path, probe: Probe = no_probe) -> FileLedger:
        return in_table("iceberg", f"file://{root}/lake", probe)


class TestLedgerInDeltaTable(LedgerSpecification):
    def ledger(self, root: Path, probe: Probe = no_probe) -> FileLedger:
        return in_table("delta", f"file://{root}/lake", probe)
