"""Every engine passes the same specification, over tables of every format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.tables.base import CatalogSettings
from airflow_provider_lakehouse.testing.engine_spec import EngineSpecification

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.engines.base import Engine, EngineSettings
    from airflow_provider_lakehouse.core.tables.base import Catalog


class DuckDB(EngineSpecification):
    def engine(self, settings: EngineSettings) -> Engine:
        return find("engines", "duckdb")(settings)


class TestDuckDBOverMemoryTables(DuckDB):
    def catalog(self, root: Path) -> Catalog:
        return find("tables", "memory")(CatalogSettings("memory", f"memory://{root}"))


class TestDuckDBOverIcebergTables(DuckDB):
    def catalog(self, root: Path) -> Catalog:
        return find("tables", "iceberg")(CatalogSettings("iceberg", f"file://{root}/lake"))


class TestDuckDBOverDeltaTables(DuckDB):
    def catalog(self, root: Path) -> Catalog:
        return find("tables", "delta")(CatalogSettings("delta", f"file://{root}/lake"))
