"""The source for any database, against MariaDB and against PostgreSQL through ADBC."""

from __future__ import annotations

import json
import threading
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnavailableError
from airflow_provider_lakehouse.core.sources.base import ExtractPlan, Rejects
from airflow_provider_lakehouse.core.sources.dbapi.source import open_source

from .mariadb_server import MariaDBServer
from .postgres_rows import database, dsn, sql

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_provider_lakehouse.core.sources.dbapi.source import DbApiSource

__all__ = ["database", "dsn", "sql"]

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def shop(mariadb_server: MariaDBServer) -> dict[str, Any]:
    """A database of this file's own."""
    return mariadb_server.create_database(f"test_{uuid.uuid4().hex}")


@pytest.fixture
def maria(shop: dict[str, Any]) -> Any:
    """Runs statements, each committed at once, in the database emptied."""
    connection = pymysql.connect(**shop, autocommit=True, init_command="SET time_zone = '+00:00'")
    with connection, connection.cursor() as cursor:

        def execute(statement: str, parameters: Any = None) -> Any:
            cursor.execute(statement, parameters)
            return cursor.fetchall()

        for (name,) in execute("SHOW TABLES"):
            execute(f"DROP TABLE IF EXISTS `{name.replace('`', '``')}`")
        yield execute


def of_maria(shop: dict[str, Any], relation: str = "", **settings: Any) -> DbApiSource:
    uri = f"mysql://{shop['host']}:{shop['port']}/{shop['database']}"
    return open_source(driver="pymysql", arguments=shop, uri=uri, relation=relation, **settings)


def of_adbc(dsn: str, relation: str = "", **settings: Any) -> DbApiSource:
    return open_source(
        driver="adbc_driver_postgresql.dbapi", arguments={"uri": dsn}, uri=dsn, relation=relation, **settings
    )


def table_of(of: DbApiSource, plan: ExtractPlan | None = None, rejects: Rejects | None = None) -> pa.Table:
    plan = plan or of.plan(position=None, now=NOW)
    table = of.read(plan, rejects=rejects or Rejects()).read_all()
    table.validate(full=True)
    return table.drop_columns(["_source_file", "_source_row"])


def naive(*parts: int) -> datetime:
    """An instant without a zone, as these columns hold it."""
    return datetime(*parts, tzinfo=UTC).replace(tzinfo=None)  # type: ignore[misc, arg-type]


HARD_VALUES: list[tuple[str, str, list[Any]]] = [
    ("INT", "long", [-(2**31), 2**31 - 1]),
    ("BIGINT", "long", [-(2**63), 2**63 - 1]),
    (
        "DECIMAL(38,10)",
        "decimal(38,10)",
        [Decimal("9999999999999999999999999999.9999999999"), Decimal("-0.0000000001")],
    ),
    ("DECIMAL(10,2)", "decimal(38,2)", [Decimal("0.10"), Decimal("-99999999.99")]),
    ("DOUBLE", "double", [1.7976931348623157e308, 0.1, 5e-324]),
    ("VARCHAR(100)", "string", ["", "a'b\"c\\d%s?", "ä€😀", "\x00x", " padded "]),
    ("LONGTEXT", "string", ["x" * 100_000]),
    ("BLOB", "binary", [b"", b"\x00\xff'\"\\"]),
    ("DATE", "date", [date(1000, 1, 1), date(9999, 12, 31), date(2000, 2, 29)]),
    ("DATETIME(6)", "timestamp", [naive(1000, 1, 1), naive(9999, 12, 31, 23, 59, 59, 999999)]),
    ("TIMESTAMP(6)", "timestamp", [naive(2026, 10, 25, 1, 30, 0, 1), naive(1970, 1, 1, 0, 0, 1)]),
    ("JSON", "string", ['{"a": 1.10}']),
    ("ENUM('so so','ok')", "string", ["so so"]),
]


@pytest.mark.parametrize(("sql_type", "kind", "values"), HARD_VALUES, ids=[hard[0] for hard in HARD_VALUES])
def test_every_value_of_mariadb_arrives_as_it_is(
    shop: dict[str, Any], maria: Any, sql_type: str, kind: str, values: list[Any]
) -> None:
    maria(f"CREATE TABLE t (n INT PRIMARY KEY, v {sql_type} NULL)")
    for number, value in enumerate([*values, None]):
        maria("INSERT INTO t VALUES (%s, %s)", (number, value))
    of = of_maria(shop, "t")
    plan = of.plan(position=None, now=NOW)
    assert dict(plan.slices[0].facts["columns"])["v"] == kind  # type: ignore[arg-type]
    assert table_of(of, plan).sort_by("n")["v"].to_pylist() == [*values, None]


def test_declared_types_win_over_what_the_driver_gives(shop: dict[str, Any], maria: Any) -> None:
    maria("CREATE TABLE t (small TINYINT(1), big BIGINT UNSIGNED, amount DECIMAL(10,2), at TIMESTAMP, t TIME, f FLOAT)")
    maria("INSERT INTO t VALUES (1, 18446744073709551615, 1.5, '2026-03-01 12:00:00', '12:30:00.5', 0.1)")
    columns = {"small": "boolean", "big": "decimal(20,0)", "amount": "decimal(10,2)", "at": "timestamptz"}
    (row,) = table_of(of_maria(shop, "t", columns=columns | {"t": "time", "f": "float"})).to_pylist()
    assert (row["small"], row["big"], row["amount"]) == (True, Decimal(2**64 - 1), Decimal("1.50"))
    assert row["at"] == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert row["t"] == time(12, 30, 0)
    with pytest.raises(InvalidRequestError, match="Declare") as refused:
        of_maria(shop, "t").plan(position=None, now=NOW)
    assert refused.value.facts["column"] == "big"


def test_values_that_no_type_holds_reject_their_row(shop: dict[str, Any], maria: Any) -> None:
    maria("SET SESSION sql_mode = ''")
    maria("CREATE TABLE t (n INT, d DATE, big BIGINT UNSIGNED)")
    maria("INSERT INTO t VALUES (1, '0000-00-00', 1), (2, '2026-03-01', 18446744073709551615), (3, NULL, 3)")
    rejects = Rejects()
    of = of_maria(shop, "t", columns={"n": "int", "d": "date", "big": "long"})
    assert table_of(of, rejects=rejects).to_pylist() == [{"n": 3, "d": None, "big": 3}]
    assert [row.reason for row in rejects.rows] == ["d: not a date", "big: not a long"]
    assert json.loads(rejects.rows[1].payload) == {"n": 2, "d": "2026-03-01", "big": 2**64 - 1}


def test_names_with_quotes_percents_unicode_and_sql_in_them_are_names(shop: dict[str, Any], maria: Any) -> None:
    name = "a`b.c; DROP TABLE x --ä%s?:1"
    quoted = "`" + name.replace("`", "``") + "`"
    maria(f"CREATE TABLE {quoted.replace('%', '%')} ({quoted} INT, `Up per` INT)")
    maria(f"INSERT INTO {quoted} VALUES (1, 2)")
    relation = f'"{shop["database"]}"."{name}"'
    assert table_of(of_maria(shop, relation)).to_pylist() == [{name: 1, "Up per": 2}]
    incremental = of_maria(shop, relation, columns=("Up per",), mode="incremental", cursor=name)
    assert table_of(incremental).to_pylist() == [{"Up per": 2}]
    query = f"SELECT {quoted} AS n, 'a%b' AS v FROM {quoted} -- all; "
    assert table_of(of_maria(shop, query=query, mode="incremental", cursor="n")).to_pylist() == [{"n": 1, "v": "a%b"}]


def test_increments_by_a_time_read_every_row_once_with_a_lag(shop: dict[str, Any], maria: Any) -> None:
    maria("CREATE TABLE t (id INT, at DATETIME(6))")
    start = naive(2026, 3, 1)

    def add(number: int, minute: float | None) -> None:
        maria("INSERT INTO t VALUES (%s, %s)", (number, None if minute is None else start + timedelta(minutes=minute)))

    of = of_maria(shop, "t", mode="incremental", cursor="at", lag=timedelta(minutes=2))
    assert of.plan(position=None, now=NOW).slices == ()
    add(1, 1)
    add(2, 5)
    first = of.plan(position=None, now=NOW)
    add(3, 4)
    add(4, 6)
    add(5, None)
    assert sorted(table_of(of, first)["id"].to_pylist()) == [1, 2, 3]
    second = of.plan(position=first.position, now=NOW)
    assert second.left_out
    assert sorted(table_of(of, second)["id"].to_pylist()) == [2, 3, 4]
    assert second.position == {"cursor": "at", "high": "2026-03-01 00:06:00", "type": "timestamp"}


@pytest.mark.parametrize(
    "settings",
    [
        {"relation": "nowhere"},
        {"relation": "t", "columns": ("nothing",)},
        {"query": "SELECT FROM WHERE"},
        {"query": "SELECT 1 AS a, 2 AS a"},
        {"query": "SELECT 1 AS _source_row"},
        {"relation": "t", "mode": "partition", "partition": {"column": "i", "start": "one"}},
        {"relation": "t", "mode": "incremental", "cursor": "x"},
    ],
)
def test_what_cannot_be_read_is_an_invalid_request(shop: dict[str, Any], maria: Any, settings: dict[str, Any]) -> None:
    maria("CREATE TABLE t (i INT, x DOUBLE)")
    maria("INSERT INTO t VALUES (1, 1.5)")
    with pytest.raises(InvalidRequestError):
        table_of(of_maria(shop, **settings))


def test_a_session_that_is_killed_raises_and_the_same_plan_then_gives_the_same_range(
    shop: dict[str, Any], maria: Any
) -> None:
    maria("CREATE TABLE t AS SELECT seq AS id, REPEAT('x', 1000) AS pad FROM seq_1_to_50000")
    of = of_maria(shop, "t", mode="incremental", cursor="id")
    plan = of.plan(position=None, now=NOW)
    reader = of.read(plan, rejects=Rejects())
    reader.read_next_batch()
    (ours,) = [row for row in maria("SHOW PROCESSLIST") if row[3] == shop["database"] and "SELECT *" in str(row[7])]
    maria(f"KILL {ours[0]}")
    with pytest.raises(UnavailableError):
        reader.read_all()
    maria("INSERT INTO t VALUES (50001, '')")
    assert table_of(of, plan).num_rows == 50_000


def test_a_reader_that_is_dropped_early_leaves_no_thread_and_no_session(shop: dict[str, Any], maria: Any) -> None:
    maria("CREATE TABLE t AS SELECT seq AS id, REPEAT('x', 1000) AS pad FROM seq_1_to_50000")
    of = of_maria(shop, "t")
    reader = of.read(of.plan(position=None, now=NOW), rejects=Rejects())
    reader.read_next_batch()
    del reader
    assert not [thread for thread in threading.enumerate() if thread.name == "read t"]


def test_a_server_that_is_not_there_is_unavailable_and_a_wrong_password_is_not(shop: dict[str, Any]) -> None:
    with pytest.raises(UnavailableError):
        of_maria(shop | {"port": 1}, "t").plan(position=None, now=NOW)
    with pytest.raises(InvalidRequestError) as refused:
        of_maria(shop | {"password": "wr0ng-secret"}, "t").plan(position=None, now=NOW)
    assert "wr0ng-secret" not in f"{refused.value} {refused.value.__cause__}"


def test_postgresql_through_adbc_keeps_values_and_bounds(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t (id bigint, amount numeric(10,2), at timestamptz, tags text[], raw bytea, day date)")
    sql("INSERT INTO t VALUES (1, 1.10, '2026-03-01 12:00+02', '{a,NULL}', '\\x00ff', '2026-03-01')")
    sql("INSERT INTO t VALUES (2, NULL, NULL, NULL, NULL, '2026-03-02')")
    of = of_adbc(dsn, "public.t", mode="incremental", cursor="id")
    plan = of.plan(position={"cursor": "id", "high": "0", "type": "long"}, now=NOW)
    first, second = table_of(of, plan).sort_by("id").to_pylist()
    assert first == {
        "id": 1, "amount": "1.10", "at": datetime(2026, 3, 1, 10, tzinfo=UTC), "tags": ["a", None],
        "raw": b"\x00\xff", "day": date(2026, 3, 1),
    }  # fmt: skip
    assert set(second.values()) == {2, None, date(2026, 3, 2)}
    typed = of_adbc(dsn, "t", columns={"id": "int", "amount": "decimal(10,2)"})
    assert table_of(typed)["amount"].to_pylist() == [Decimal("1.10"), None]
    partition = {"column": "day", "start": "2026-03-02", "end": "2026-03-03"}
    assert table_of(of_adbc(dsn, "t", columns=("id",), mode="partition", partition=partition))["id"].to_pylist() == [2]


def test_infinite_instants_through_adbc_reject_their_row(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS n, 'infinity'::timestamptz AS at UNION ALL SELECT 2, '2026-03-01 00:00+00'")
    rejects = Rejects()
    assert table_of(of_adbc(dsn, "t"), rejects=rejects)["n"].to_pylist() == [2]
    assert [row.reason for row in rejects.rows] == ["at: not a timestamptz"]


def test_a_session_of_adbc_that_is_killed_raises(dsn: str, sql: Any) -> None:
    query = "SELECT i, repeat('x', 1000) AS v FROM (SELECT generate_series(1, 1000000000) AS i) AS numbers"
    of = of_adbc(dsn, query=query, columns={"i": "int", "v": "string"})
    reader = of.read(of.plan(position=None, now=NOW), rejects=Rejects())
    reader.read_next_batch()
    others = "FROM pg_stat_activity WHERE query LIKE '%generate_series%' AND pid <> pg_backend_pid()"
    assert sql(f"SELECT pg_terminate_backend(pid) {others}").rowcount == 1
    with pytest.raises(UnavailableError):
        reader.read_all()
