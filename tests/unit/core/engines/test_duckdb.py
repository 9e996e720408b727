"""The embedded engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.engines.base import EngineSettings, Working
from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.errors import (
    InvalidRequestError,
    UnavailableError,
    UnsupportedError,
)
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, WriteToken
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.memory.table import open_catalog
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.engines.base import Engine
    from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
    from airflow_provider_lakehouse.core.tables.base import Table


@pytest.fixture
def engine() -> DuckDBEngine:
    return open_engine(EngineSettings(threads=1))


@pytest.fixture
def orders(tmp_path: Path) -> Table:
    table = open_catalog(CatalogSettings("memory", f"memory://{tmp_path}")).table("sales.orders")
    table.create(TableSpec(Schema.of(Column("id", "long"), Column('the "name"', "string"), Column("price", "double"))))
    rows = pa.table({"id": [1, 2, 3], 'the "name"': ["a", None, "it's"], "price": [1.5, float("nan"), None]})
    table.commit(Change(rows=rows.to_reader()), token=WriteToken("tests", "orders"))
    return table


def answer(engine: Engine, sql: str, **options: Any) -> list[dict[str, Any]]:
    with engine.query(sql, **options) as rows:
        return rows.read_all().to_pylist()


class Watched:
    """A table that remembers what was read of it."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self.reads: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def read(self, **options: Any) -> pa.RecordBatchReader:
        self.reads.append(options)
        return self._table.read(**options)


def test_only_the_columns_and_rows_a_query_needs_are_read(engine: DuckDBEngine, orders: Table) -> None:
    watched = Watched(orders)
    assert answer(engine, "SELECT price FROM o WHERE id <= 1", tables={"o": watched}) == [{"price": 1.5}]
    (read,) = watched.reads
    assert set(read["columns"]) == {"price", "id"}
    assert read["where"] == (Comparison("id", "<=", 1),)


def test_results_come_in_types_that_tables_can_hold(engine: DuckDBEngine) -> None:
    sql = """SELECT 1::UTINYINT AS a, 1::HUGEINT AS b, 'x'::ENUM('x') AS c, '{}'::JSON AS d,
             NULL::VARCHAR AS e, [1::UBIGINT] AS f,
             {'k': uuid()} AS g, MAP {'k': 1} AS h, [1, 2]::INT[2] AS i, TIMESTAMP_NS '2026-01-01' AS j"""
    schema = engine.describe(sql)
    assert [column.type for column in schema.columns] == [
        "int", "decimal(38,0)", "string", "string", "string", "list<decimal(20,0)>", "struct<k:uuid>",
        "map<string,int>",
        "list<int>", "timestamp",
    ]  # fmt: skip
    with engine.query(sql) as rows:
        assert rows.schema == schema.to_arrow()
        assert rows.read_all().num_rows == 1


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '/tmp/x'",
        "INSTALL httpfs",
        "ATTACH ':memory:' AS other",
        "SET threads = 9",
        "PRAGMA version",
    ],
)
def test_what_is_no_query_is_refused(engine: DuckDBEngine, sql: str) -> None:
    with pytest.raises(InvalidRequestError):
        answer(engine, sql)


def test_local_variables_are_no_tables(engine: DuckDBEngine) -> None:
    secret = pa.table({"a": [1]})
    with pytest.raises(InvalidRequestError):
        answer(engine, "SELECT * FROM secret")
    assert secret.num_rows == 1


def test_extensions_are_neither_installed_nor_loaded_on_demand(engine: DuckDBEngine) -> None:
    sql = "SELECT name, value FROM duckdb_settings() WHERE name LIKE 'auto%known_extensions' ORDER BY name"
    assert [row["value"] for row in answer(engine, sql)] == ["false", "false"]


def test_results_stream_and_need_no_memory_for_the_whole(tmp_path: Path) -> None:
    engine = open_engine(EngineSettings(memory_limit_bytes=64 * 1024 * 1024, spill_directory=str(tmp_path)))
    with engine.query("SELECT i, i::VARCHAR AS t FROM range(50_000_000) r(i)") as rows:
        assert next(iter(rows)).num_rows > 0


def test_too_little_memory_is_an_outage_and_not_a_bad_request(tmp_path: Path) -> None:
    engine = open_engine(EngineSettings(memory_limit_bytes=16 * 1024 * 1024, threads=1, spill_directory=str(tmp_path)))
    with pytest.raises(UnavailableError, match="memory"):
        answer(engine, "SELECT length(list(repeat('x', 1000) || i)::VARCHAR) AS n FROM range(1_000_000) r(i)")


def test_the_engine_has_the_ability_to_work() -> None:
    require(open_engine(), Working)
    with pytest.raises(UnsupportedError):
        require(object(), Working)


@pytest.mark.parametrize("settings", [{"memory_limit_bytes": 1}, {"threads": 0}])
def test_limits_under_which_nothing_works_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(InvalidRequestError):
        EngineSettings(**settings)
