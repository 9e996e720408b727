"""A lake in memory, and one call that loads into it."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.load.apply import apply_load
from airflow_provider_lakehouse.core.schema import Schema
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, WriteToken
from airflow_provider_lakehouse.core.tables.memory.table import open_catalog
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.load.apply import LoadResult
    from airflow_provider_lakehouse.core.load.modes import Mode
    from airflow_provider_lakehouse.core.schema import Column
    from airflow_provider_lakehouse.core.tables.base import Table

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Lake:
    """Makes tables and loads rows into them."""

    def __init__(self, warehouse: str) -> None:
        self.catalog = open_catalog(CatalogSettings("memory", warehouse))
        self.engine = open_engine(EngineSettings(threads=1))
        self.numbers = count()

    def table(self, *columns: Column, identifier: tuple[str, ...] = (), **spec: Any) -> Table:
        table = self.catalog.table(f"tests.t{next(self.numbers)}")
        table.create(TableSpec(Schema(columns, identifier), **spec))
        return table

    def load(
        self, table: Table, rows: pa.Table | pa.RecordBatchReader, mode: Mode, token: str = "", **options: Any
    ) -> LoadResult:
        reader = rows.to_reader() if isinstance(rows, pa.Table) else rows
        name = WriteToken("tests", token or f"batch {next(self.numbers)}")
        return apply_load(table, reader, mode=mode, token=name, engine=self.engine, now=NOW, **options)

    def rows(self, table: Table) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = table.read().read_all().to_pylist()
        return sorted(found, key=lambda row: str(list(row.values())))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(f"memory://{tmp_path}")
