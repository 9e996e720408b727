"""The source for any database, on databases that live in this process."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.errors import (
    DamagedError,
    DataRejectedError,
    InvalidRequestError,
    UnavailableError,
    UnsupportedError,
)
from airflow_provider_lakehouse.core.sources.base import ExtractPlan, Rejects
from airflow_provider_lakehouse.core.sources.dbapi.source import DbApiSource, open_source

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ADBC = "adbc_driver_sqlite.dbapi"
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT {} AS v FROM n"


class Shop:
    """A database of SQLite, reached through its own driver or through ADBC's."""

    def __init__(self, path: Path, driver: str) -> None:
        self.path = path
        self.driver = driver

    def run(self, statements: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(statements)

    def source(self, relation: str = "", **settings: Any) -> DbApiSource:
        name = "uri" if self.driver == ADBC else "database"
        arguments = {name: str(self.path)}
        return open_source(
            driver=self.driver, arguments=arguments, uri=f"sqlite://{self.path}", relation=relation, **settings
        )


@pytest.fixture(params=["sqlite3", ADBC])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop.db", request.param)


def in_duckdb(query: str, **settings: Any) -> DbApiSource:
    return open_source(driver="duckdb", arguments={}, uri="duckdb://memory", query=query, **settings)


def table_of(of: DbApiSource, plan: ExtractPlan | None = None, rejects: Rejects | None = None) -> pa.Table:
    plan = plan or of.plan(position=None, now=NOW)
    table = of.read(plan, rejects=rejects or Rejects()).read_all()
    table.validate(full=True)
    return table.drop_columns(["_source_file", "_source_row"])


def ids(of: DbApiSource, plan: ExtractPlan) -> list[int]:
    return sorted(table_of(of, plan)["id"].to_pylist())


def test_columns_come_in_the_order_they_are_asked_for_with_their_types(shop: Shop) -> None:
    shop.run(
        "CREATE TABLE t (a INTEGER, b TEXT, c REAL, d BLOB); INSERT INTO t VALUES (1, 'x', 1.5, x'00ff'), (2, NULL, NULL, NULL)"
    )
    table = table_of(shop.source("main.t", columns=("d", "a", "c", "b")))
    assert table.schema.names == ["d", "a", "c", "b"]
    assert table.schema.types == [pa.binary(), pa.int64(), pa.float64(), pa.string()]
    assert table.to_pylist()[0] == {"d": b"\x00\xff", "a": 1, "c": 1.5, "b": "x"}


def test_texts_become_what_is_declared_and_rows_that_do_not_are_rejected(shop: Shop) -> None:
    shop.run(
        "CREATE TABLE t (id INTEGER, at TEXT, amount TEXT);"
        "INSERT INTO t VALUES (1, '2026-03-01 12:00:00', '1.10'), (2, 'yesterday', '2'), (3, NULL, '1.234')"
    )
    rejects = Rejects()
    columns = {"id": "int", "at": "timestamp", "amount": "decimal(10,2)"}
    (row,) = table_of(shop.source("t", columns=columns), rejects=rejects).to_pylist()
    assert (row["at"].isoformat(), row["amount"]) == ("2026-03-01T12:00:00", Decimal("1.10"))
    assert [r.reason for r in rejects.rows] == ["at: not a timestamp", "amount: not a decimal(10,2)"]
    assert json.loads(rejects.rows[0].payload) == {"id": 2, "at": "yesterday", "amount": "2"}
    table = table_of(shop.source("t", columns=columns, unfit="null"))
    assert [row["id"] for row in table.to_pylist() if row["at"] is None or row["amount"] is None] == [2, 3]


def test_a_type_that_no_value_shows_has_to_be_declared(shop: Shop) -> None:
    shop.run("CREATE TABLE t (id INTEGER, note TEXT); INSERT INTO t VALUES (1, NULL)")
    with pytest.raises(InvalidRequestError, match="Declare") as refused:
        shop.source("t").plan(position=None, now=NOW)
    assert refused.value.facts["unknown"] == ("note",)
    assert table_of(shop.source("t", columns={"id": "long", "note": "string"})).to_pylist() == [{"id": 1, "note": None}]


def test_a_value_of_another_kind_than_the_first_rows_is_never_bent(shop: Shop) -> None:
    of = shop.source(query=NUMBERS.format(3000, "CASE WHEN i < 2500 THEN i ELSE 'x' END"))
    rejects = Rejects()
    if shop.driver == ADBC:  # its stream breaks, and does not say at which row
        with pytest.raises(DataRejectedError):
            table_of(of, rejects=rejects)
        return
    assert table_of(of, rejects=rejects)["v"].to_pylist() == list(range(1, 2500))
    assert {row.reason for row in rejects.rows} == {"v: not a long"}


def test_too_many_unfit_rows_end_the_read_and_its_thread(shop: Shop) -> None:
    of = shop.source(query=NUMBERS.format(3000, "'x'"), columns={"v": "long"})
    with pytest.raises(DataRejectedError, match="More than 10"):
        table_of(of, rejects=Rejects(max_rows=10))
    assert "read the query" not in {thread.name for thread in threading.enumerate()}


def test_increments_read_every_row_once_and_the_plan_fixes_their_upper_bound(shop: Shop) -> None:
    of = shop.source("t", mode="incremental", cursor="id")
    shop.run("CREATE TABLE t (id INTEGER)")
    assert of.plan(position=None, now=NOW).slices == ()
    shop.run("INSERT INTO t VALUES (1), (2), (NULL)")
    first = of.plan(position=None, now=NOW)
    assert first.left_out
    shop.run("INSERT INTO t VALUES (3)")
    assert ids(of, first) == [1, 2]
    second = of.plan(position=first.position, now=NOW)
    shop.run("INSERT INTO t VALUES (4)")
    assert ids(of, second) == [3]
    third = of.plan(position=second.position, now=NOW)
    assert ids(of, third) == [4]
    shop.run("DELETE FROM t WHERE id > 2")
    again = of.plan(position=third.position, now=NOW)
    assert (again.slices, again.position) == ((), third.position)


def test_a_lag_starts_below_the_last_position(shop: Shop) -> None:
    shop.run("CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (10)")
    of = shop.source("t", mode="incremental", cursor="id", lag=3)
    first = of.plan(position=None, now=NOW)
    shop.run("INSERT INTO t VALUES (6), (7), (8)")
    second = of.plan(position=first.position, now=NOW)
    assert second.position == first.position
    assert ids(of, second) == [8, 10]


def test_a_text_that_sorts_as_its_time_is_a_cursor(shop: Shop) -> None:
    shop.run("CREATE TABLE t (id INTEGER, at TEXT); INSERT INTO t VALUES (1, '2026-03-01'), (2, '2026-03-02')")
    of = shop.source("t", mode="incremental", cursor="at")
    first = of.plan(position=None, now=NOW)
    assert first.position == {"cursor": "at", "high": "2026-03-02", "type": "string"}
    shop.run("INSERT INTO t VALUES (3, '2026-03-03')")
    assert ids(of, of.plan(position=first.position, now=NOW)) == [3]


def test_a_position_of_another_cursor_or_type_is_refused(shop: Shop) -> None:
    shop.run("CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1)")
    of = shop.source("t", mode="incremental", cursor="id")
    for position in ({"cursor": "at", "high": "1", "type": "long"}, {"cursor": "id", "high": "x", "type": "long"}):
        with pytest.raises(InvalidRequestError):
            of.plan(position=position, now=NOW)


def test_a_partition_holds_its_start_and_not_its_end(shop: Shop) -> None:
    shop.run("CREATE TABLE t (id INTEGER, day TEXT); INSERT INTO t VALUES (1, '01'), (2, '02'), (3, '03'), (4, NULL)")

    def within(column: str, start: str | None, end: str | None) -> list[int]:
        of = shop.source("t", mode="partition", partition={"column": column, "start": start, "end": end})
        return ids(of, of.plan(position=None, now=NOW))

    assert within("day", "02", "03") == [2]
    assert within("id", None, "3") == [1, 2]
    assert within("id", "3", None) == [3, 4]


def test_names_with_quotes_spaces_unicode_and_sql_in_them_are_names(shop: Shop) -> None:
    name = 'a"b.c; DROP TABLE x --ä😀%s?:1'
    quoted = '"' + name.replace('"', '""') + '"'
    shop.run(f'CREATE TABLE {quoted} ({quoted} INTEGER, "Up per" INTEGER); INSERT INTO {quoted} VALUES (1, 2)')
    of = shop.source(quoted, mode="incremental", cursor=name)
    assert table_of(of).to_pylist() == [{name: 1, "Up per": 2}]


def test_a_plan_is_refused_once_the_columns_changed(shop: Shop) -> None:
    shop.run("CREATE TABLE t (id INTEGER, gone INTEGER); INSERT INTO t VALUES (1, 2)")
    of = shop.source("t")
    plan = of.plan(position=None, now=NOW)
    shop.run("ALTER TABLE t DROP COLUMN gone")
    with pytest.raises(DataRejectedError, match="Plan anew"):
        table_of(of, plan)


@pytest.mark.parametrize(
    "settings",
    [
        {"relation": "nowhere"},
        {"relation": "t", "columns": ("nothing",)},
        {"query": "SELECT FROM WHERE"},
        {"query": "SELECT 1 AS _source_row"},
        {"relation": "t", "mode": "incremental", "cursor": "x"},
    ],
)
def test_what_cannot_be_read_is_an_invalid_request(shop: Shop, settings: dict[str, Any]) -> None:
    shop.run("CREATE TABLE t (id INTEGER, x REAL); INSERT INTO t VALUES (1, 1.5)")
    with pytest.raises(InvalidRequestError):
        table_of(shop.source(**settings))


def test_a_query_that_would_write_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE SEQUENCE s; CREATE TABLE t AS SELECT 1 AS id")
    of = open_source(
        driver="duckdb", arguments={"database": str(path)}, uri="duckdb://x", query="DELETE FROM t RETURNING id"
    )
    with pytest.raises(InvalidRequestError):
        table_of(of)
    with duckdb.connect(path) as connection:
        assert connection.sql("SELECT count(*) FROM t").fetchall() == [(1,)]


def test_a_database_that_is_locked_or_missing_is_unavailable_and_one_that_is_none_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    of = open_source(driver="sqlite3", arguments={"database": str(path), "timeout": 0}, uri="sqlite://x", relation="t")
    with closing(sqlite3.connect(path)) as writer:
        writer.executescript("CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1)")
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnavailableError):
            of.plan(position=None, now=NOW)
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(DamagedError):
        of.plan(position=None, now=NOW)
    nowhere = open_source(driver="sqlite3", arguments={"database": "/no/such/x"}, uri="sqlite://x", relation="t")
    with pytest.raises(UnavailableError):
        nowhere.plan(position=None, now=NOW)


def test_a_value_that_an_expression_refuses_is_rejected_data_and_names_no_value() -> None:
    cases = "CASE WHEN i = 200000 THEN 'secret' ELSE '1' END"
    with pytest.raises(DataRejectedError) as caught:
        table_of(in_duckdb(f"SELECT CAST({cases} AS INT) AS v FROM range(300000) AS r(i)"))
    assert "secret" not in f"{caught.value} {caught.value.__cause__}"


def test_every_value_of_duckdb_arrives_as_it_is() -> None:
    query = """
        SELECT 170141183460469231::HUGEINT AS h, 18446744073709551615::UBIGINT AS u, 1.10::DECIMAL(10,2) AS d,
            TIMESTAMPTZ '2026-03-01 12:00:00+02' AS tz, TIMESTAMP_NS '2026-03-01 12:00:00.123456' AS ns, TIME '12:30' AS t,
            DATE '0001-01-01' AS day, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID AS id, '\\x00\\xFF'::BLOB AS b, true AS yes,
            [1, NULL] AS list, {'x': 1} AS s, MAP {'k': 1} AS m, 'ä😀'::VARCHAR AS text, '{"a": 1.10}'::JSON AS j,
            'NaN'::DOUBLE AS nan, 'b'::ENUM('a', 'b') AS e
    """
    of = in_duckdb(query)
    (row,) = table_of(of).to_pylist()
    assert row.pop("nan") != row.get("nan")
    assert row == {
        "h": Decimal(170141183460469231), "u": Decimal(2**64 - 1), "d": Decimal("1.10"),
        "tz": datetime(2026, 3, 1, 10, tzinfo=UTC), "ns": datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC).replace(tzinfo=None),
        "t": time(12, 30), "day": date(1, 1, 1), "id": UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), "b": b"\x00\xff",
        "yes": True, "list": [1, None], "s": {"x": 1}, "m": [("k", 1)], "text": "ä😀", "j": '{"a": 1.10}', "e": "b",
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        "TIMESTAMP 'infinity'", "DATE '-infinity'", "TIMESTAMP_NS '2026-03-01 12:00:00.123456789'", "DATE '10000-01-01'",
        "TIMESTAMP '0001-01-01 (BC) 00:00:00'", "170141183460469231731687303715884105727::HUGEINT",
    ],
)  # fmt: skip
def test_values_of_duckdb_that_no_type_holds_reject_their_row(value: str) -> None:
    rejects = Rejects()
    query = f"SELECT * FROM (VALUES (1, {value}), (2, NULL)) AS t(n, v)"
    assert table_of(in_duckdb(query), rejects=rejects).to_pylist() == [{"n": 2, "v": None}]
    assert [row.reason.partition(":")[0] for row in rejects.rows] == ["v"]
    assert json.loads(rejects.rows[0].payload)["n"] == 1
    assert table_of(in_duckdb(query, unfit="null"))["v"].to_pylist() == [None, None]


@pytest.mark.parametrize("value", ["INTERVAL 1 DAY", "TIME '12:00'::TIMETZ", "'101'::BIT"])
def test_types_that_only_the_database_can_read_are_refused_by_name(value: str) -> None:
    with pytest.raises(UnsupportedError, match="Cast"):
        in_duckdb(f"SELECT {value} AS v").plan(position=None, now=NOW)


def test_nanoseconds_bound_an_increment_from_above() -> None:
    query = "SELECT i AS id, make_timestamp_ns(1000 * i + 1) AS at FROM range(3) AS r(i)"
    of = in_duckdb(query, mode="incremental", cursor="at", unfit="null")
    plan = of.plan(position=None, now=NOW)
    assert ids(of, plan) == [0, 1, 2]
    assert of.plan(position=plan.position, now=NOW).slices == ()


def test_an_empty_relation_of_a_database_that_knows_types_has_them() -> None:
    table = table_of(in_duckdb("SELECT 1::INT AS a, 'x' AS b WHERE false"))
    assert (table.num_rows, table.schema.types) == (0, [pa.int32(), pa.string()])


def test_a_reader_that_is_dropped_early_ends_an_endless_statement() -> None:
    of = in_duckdb("SELECT i, repeat('x', 1000) AS v FROM range(1000000000000) AS r(i)")
    reader = of.read(of.plan(position=None, now=NOW), rejects=Rejects())
    reader.read_next_batch()
    del reader
    assert "read the query" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["sqlite3", ADBC])
def test_memory_stays_bounded_whatever_the_size(driver: str) -> None:
    """Reads 1.2 GB of text in a process of its own."""
    query = NUMBERS.format(1_200_000, "printf('%.*c', 1000, 'x')")
    program = f"""
from datetime import UTC, datetime
from airflow_provider_lakehouse.core.sources.base import Rejects
from airflow_provider_lakehouse.core.sources.dbapi.source import open_source
arguments = {{}} if {driver!r} != "sqlite3" else {{"database": ":memory:"}}
source = open_source(driver={driver!r}, arguments=arguments, uri="sqlite://memory", query={query!r})
rows = sum(b.num_rows for b in source.read(source.plan(position=None, now=datetime.now(UTC)), rejects=Rejects()))
status = open("/proc/self/status").read()
print(rows, int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    rows, mebibytes = map(int, done.stdout.split())
    assert rows == 1_200_000
    assert mebibytes < 512
