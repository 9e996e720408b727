"""The embedded engine."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.engines.base import EngineSettings, TableView, Working
from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.errors import (
    DataRejectedError,
    InvalidRequestError,
    UnavailableError,
    UnsupportedError,
)
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import At, CatalogSettings, Change, Positions, WriteToken
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


def test_a_query_names_tables_with_and_without_a_schema(engine: DuckDBEngine, orders: Table) -> None:
    sql = "SELECT count(*) AS n FROM sales.orders JOIN other USING (id)"
    assert answer(engine, sql, tables={"sales.orders": orders, "other": pa.table({"id": [1, 7]})}) == [{"n": 1}]


def test_only_the_columns_and_rows_a_query_needs_are_read(engine: DuckDBEngine, orders: Table) -> None:
    watched = Watched(orders)
    assert answer(engine, "SELECT price FROM o WHERE id <= 1", tables={"o": watched}) == [{"price": 1.5}]
    (read,) = watched.reads
    assert set(read["columns"]) == {"price", "id"}
    assert read["where"] == (Comparison("id", "<=", 1),)


def test_nan_is_above_every_number_in_every_filter(engine: DuckDBEngine, orders: Table) -> None:
    for condition in ("price > 1.5", "price + 0 > 1.5"):
        assert answer(engine, f"SELECT id FROM o WHERE {condition}", tables={"o": orders}) == [{"id": 2}]
    assert answer(engine, "SELECT price FROM o WHERE price < 2", tables={"o": orders}) == [{"price": 1.5}]


@pytest.mark.parametrize("name", ["it's", 'a "quoted" one', "with space", "select", "ключ; DROP TABLE x; --", "a.b"])
def test_columns_may_have_any_name(engine: DuckDBEngine, name: str, tmp_path: Path) -> None:
    table = open_catalog(CatalogSettings("memory", f"memory://{tmp_path}")).table("odd.names")
    table.create(TableSpec(Schema.of(Column(name, "long"))))
    table.commit(Change(rows=pa.table({name: [1, 2]}).to_reader()), token=WriteToken("t", name))
    quoted = name.replace('"', '""')
    assert answer(engine, f'SELECT * FROM o WHERE "{quoted}" > 1', tables={"o": table}) == [{name: 2}]


def test_a_view_of_a_table_shows_one_version_and_chosen_rows(engine: DuckDBEngine, orders: Table) -> None:
    version = orders.facts().version
    rows = pa.table({"id": [9], 'the "name"': ["new"], "price": [0.0]})
    orders.commit(Change(rows=rows.to_reader()), token=WriteToken("tests", "more"))
    old = TableView(orders, At(version=version), where=(Comparison("id", ">", 1),))
    assert answer(engine, "SELECT id FROM o ORDER BY id", tables={"o": old}) == [{"id": 2}, {"id": 3}]


def test_an_addressed_view_tells_where_rows_are(engine: DuckDBEngine, orders: Table) -> None:
    view = TableView(orders, addressed=True)
    with engine.query("SELECT _file, _pos FROM o WHERE id = 2", tables={"o": view}) as rows:
        found = rows.read_all()
    removal = Change(removes=Positions(found), base=orders.facts().version)
    assert orders.commit(removal, token=WriteToken("tests", "removal")).rows_removed == 1


def test_values_travel_as_parameters(engine: DuckDBEngine) -> None:
    sql = "SELECT $text AS t, $day AS d, $amount AS a"
    given = {"text": "'; DROP TABLE x", "day": date(2026, 1, 2), "amount": Decimal("1.50")}
    assert [tuple(row.values()) for row in answer(engine, sql, parameters=given)] == [tuple(given.values())]


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


def test_the_time_zone_is_utc_wherever_the_process_runs(engine: DuckDBEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TZ", "Asia/Tokyo")
    sql = "SELECT TIMESTAMPTZ '2026-03-29 02:30:00' AS at, current_setting('TimeZone') AS zone"
    assert answer(engine, sql) == [{"at": datetime(2026, 3, 29, 2, 30, tzinfo=UTC), "zone": "UTC"}]


@pytest.mark.parametrize(
    "sql",
    ["SELEC 1", "SELECT * FROM nowhere", "DROP TABLE x", "SELECT 1; SELECT 2", "COPY (SELECT 1) TO '/tmp/x'", "",
     "SELECT INTERVAL 1 DAY AS i", "INSTALL httpfs"],
)  # fmt: skip
def test_what_is_no_query_is_refused(engine: DuckDBEngine, sql: str) -> None:
    with pytest.raises(InvalidRequestError):
        answer(engine, sql)


def test_local_variables_are_no_tables(engine: DuckDBEngine) -> None:
    secret = pa.table({"a": [1]})
    with pytest.raises(InvalidRequestError):
        answer(engine, "SELECT * FROM secret")
    assert secret.num_rows == 1


def test_a_value_that_cannot_be_converted_is_rejected_without_being_shown(engine: DuckDBEngine) -> None:
    with pytest.raises(DataRejectedError) as caught:
        answer(engine, "SELECT CAST(v AS INTEGER) AS n FROM t", tables={"t": pa.table({"v": ["4111 1111"]})})
    assert "4111" not in str(caught.value)


def test_extensions_are_neither_installed_nor_loaded_on_demand(engine: DuckDBEngine) -> None:
    sql = "SELECT name, value FROM duckdb_settings() WHERE name LIKE 'auto%known_extensions' ORDER BY name"
    assert [row["value"] for row in answer(engine, sql)] == ["false", "false"]


def test_tables_whose_columns_differ_only_in_case_are_refused(engine: DuckDBEngine) -> None:
    with pytest.raises(InvalidRequestError, match="case"):
        answer(engine, "SELECT * FROM t", tables={"t": pa.table({"a": [1], "A": [2]})})


def test_results_stream_and_need_no_memory_for_the_whole(tmp_path: Path) -> None:
    engine = open_engine(EngineSettings(memory_limit_bytes=64 * 1024 * 1024, spill_directory=str(tmp_path)))
    with engine.query("SELECT i, i::VARCHAR AS t FROM range(50_000_000) r(i)") as rows:
        assert next(iter(rows)).num_rows > 0


def test_work_that_outgrows_memory_waits_on_disk_and_leaves_nothing_there(tmp_path: Path) -> None:
    settings = EngineSettings(memory_limit_bytes=64 * 1024 * 1024, threads=1, spill_directory=str(tmp_path))
    with open_engine(settings).workspace() as workspace:
        workspace.execute("CREATE TABLE t AS SELECT i, md5(i::VARCHAR) AS v FROM range(3_000_000) r(i)")
        assert any(path.is_file() for path in tmp_path.rglob("*"))
        assert workspace.rows("SELECT count(*), max(v) > 'f' FROM t") == [(3_000_000, True)]
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_an_outage_and_not_a_bad_request(tmp_path: Path) -> None:
    engine = open_engine(EngineSettings(memory_limit_bytes=16 * 1024 * 1024, threads=1, spill_directory=str(tmp_path)))
    with pytest.raises(UnavailableError, match="memory"):
        answer(engine, "SELECT length(list(repeat('x', 1000) || i)::VARCHAR) AS n FROM range(1_000_000) r(i)")


def test_what_goes_wrong_in_rows_from_outside_keeps_its_kind(engine: DuckDBEngine) -> None:
    def rows() -> Any:
        yield pa.record_batch({"a": [1]})
        raise UnavailableError("The source did not answer. Try later.")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), rows())
    with engine.workspace() as workspace, pytest.raises(UnavailableError, match="did not answer"):
        workspace.execute("CREATE TABLE t AS SELECT * FROM r", inputs={"r": reader})


def test_statements_run_while_a_result_is_being_read(engine: DuckDBEngine) -> None:
    with engine.workspace() as workspace:
        workspace.execute("CREATE TABLE t AS SELECT * FROM range(200_000) r(i)")
        reader = workspace.stream("SELECT i FROM t", schema=pa.schema([("i", pa.int64())]))
        first = next(iter(reader)).num_rows
        workspace.execute("CREATE OR REPLACE TABLE t AS SELECT 1 AS i")
        assert workspace.rows("SELECT count(*) FROM t") == [(1,)]
        assert first + sum(batch.num_rows for batch in reader) == 200_000


def test_the_engine_has_the_ability_to_work() -> None:
    require(open_engine(), Working)
    with pytest.raises(UnsupportedError):
        require(object(), Working)


@pytest.mark.parametrize("settings", [{"memory_limit_bytes": 1}, {"threads": 0}])
def test_limits_under_which_nothing_works_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(InvalidRequestError):
        EngineSettings(**settings)


def test_settings_do_not_show_secrets() -> None:
    assert "s3cret" not in repr(EngineSettings(storage={"s3.secret-access-key": "s3cret"}))
