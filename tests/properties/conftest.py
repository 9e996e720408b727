"""A lake in memory in which every example finds a table of its own."""

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
    from collections.abc import Callable, Sequence

    from airflow_provider_lakehouse.core.load.apply import LoadResult
    from airflow_provider_lakehouse.core.load.modes import Mode
    from airflow_provider_lakehouse.core.schema import Column
    from airflow_provider_lakehouse.core.tables.base import Table

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Lake:
    """Makes tables and loads lists of rows into them."""

    def __init__(self, warehouse: str) -> None:
        self.catalog = open_catalog(CatalogSettings("memory", warehouse))
        self.engine = open_engine(EngineSettings(threads=1))
        self.numbers = count()

    def table(self, *columns: Column) -> Table:
        table = self.catalog.table(f"examples.t{next(self.numbers)}")
        table.create(TableSpec(Schema(columns)))
        return table

    def load(
        self, table: Table, rows: Sequence[dict[str, Any]], *, schema: pa.Schema, mode: Mode, **options: Any
    ) -> LoadResult:
        token = WriteToken("examples", f"batch {next(self.numbers)}")
        reader = pa.Table.from_pylist(list(rows), schema=schema).to_reader()
        return apply_load(table, reader, mode=mode, token=token, engine=self.engine, now=NOW, **options)


def rows_of(table: Table) -> list[dict[str, Any]]:
    return table.read().read_all().to_pylist()


@pytest.fixture(scope="session")
def lake() -> Lake:
    return Lake("memory://properties")


@pytest.fixture(scope="session")
def read() -> Callable[[Table], list[dict[str, Any]]]:
    return rows_of
