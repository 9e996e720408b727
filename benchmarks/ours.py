"""How a benchmark uses the provider: as a task does, through catalog, source, engine and load."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, WriteToken

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Engine
    from airflow_provider_lakehouse.core.load.modes import Mode
    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.tables.base import Table

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAME = "bench.result"


def open_table(warehouse: Path, table_format: str) -> Table:
    """Return the table of a run, whether it exists or not."""
    table: Table = find("tables", table_format)(CatalogSettings(table_format, str(warehouse))).table(NAME)
    return table


def open_engine() -> Engine:
    """Return the embedded engine with its default settings."""
    engine: Engine = find("engines", "duckdb")()
    return engine


def create(table: Table, schema: Schema) -> None:
    """Create the table of a run."""
    from airflow_provider_lakehouse.core.tables.spec import TableSpec

    table.create(TableSpec(schema))


def load(table: Table, rows: pa.RecordBatchReader, *, mode: Mode, batch: str, engine: Engine | None = None) -> None:
    """Load rows under a token, as a task would."""
    from airflow_provider_lakehouse.core.load.apply import apply_load

    apply_load(table, rows, mode=mode, token=WriteToken("benchmarks", batch), engine=engine or open_engine(), now=NOW)


def location(table: Table) -> str:
    """Return the folder of a table."""
    return table.identity.location.removeprefix("file://")
