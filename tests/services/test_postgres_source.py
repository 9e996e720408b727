"""The PostgreSQL source against a real server."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, UnavailableError
from airflow_provider_lakehouse.core.sources.base import ExtractPlan, Rejects, Source
from airflow_provider_lakehouse.core.sources.postgres import PartitionRange, PostgresSettings, PostgresSource, open_source

from .postgres_server import PostgresServer

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> str:
    """A database of the test's own."""
    return postgres_server.create_database(f"test_{uuid.uuid4().hex}")


@pytest.fixture
def sql(dsn: str):
    """Runs statements, each committed at once."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SET timezone = 'UTC'; SET intervalstyle = 'iso_8601'; SET extra_float_digits = 3; SET bytea_output = 'hex'"
        )
        yield connection.execute


def source(dsn: str, relation: str = "", **settings: Any) -> PostgresSource:
    return PostgresSource(PostgresSettings(dsn=dsn, relation=relation, **settings))


def table_of(of: PostgresSource, plan: ExtractPlan | None = None, rejects: Rejects | None = None) -> pa.Table:
    plan = plan or of.plan(position=None, now=NOW)
    table = of.read(plan, rejects=rejects or Rejects()).read_all()
    table.validate(full=True)
    return table


def rows_of(of: PostgresSource, plan: ExtractPlan | None = None, rejects: Rejects | None = None) -> list[dict[str, Any]]:
    return table_of(of, plan, rejects).drop_columns(["_source_file", "_source_row"]).to_pylist()


# ---- values -----------------------------------------------------------------------------------------------------------

TRICKY_TEXT = [
    "", "\\N", "\\.", "\\", "\\\\n", "\\n", "a\nb", "a\r\nb", "\r", "\t", "\v\f\b", '"', '""', "'", ",", "NULL", "null",
    " padded ", "ä€😀", "\x01\x7f", "{}", "x'; DROP TABLE t; --", "\\x41", "\ufeff", "\u2028",
]  # fmt: skip

HARD_VALUES: list[tuple[str, str, list[str | None]]] = [
    ("smallint", "int", ["-32768", "32767", "0"]),
    ("integer", "int", ["-2147483648", "2147483647"]),
    ("bigint", "long", ["-9223372036854775808", "9223372036854775807"]),
    ("oid", "long", ["4294967295"]),
    ("numeric(38,10)", "decimal(38,10)", ["9999999999999999999999999999.9999999999", "-0.0000000001", "0"]),
    ("numeric(15,2)", "decimal(15,2)", ["0.10", "-9999999999999.99"]),
    ("numeric(38)", "decimal(38,0)", ["99999999999999999999999999999999999999"]),
    ("numeric(5,-2)", "decimal(7,0)", ["9999900", "-1200"]),
    ("numeric(3,5)", "decimal(5,5)", ["0.00999", "-0.00001"]),
    ("numeric(39,2)", "string", ["1234567890123456789012345678901234567.89", "NaN"]),
    ("numeric", "string", ["0.123456789012345", "1.10", "NaN", "Infinity", "-Infinity", "1" * 200 + "." + "9" * 100]),
    ("real", "float", ["3.4028235e+38", "1e-45", "NaN", "Infinity", "-Infinity", "-0", "0.1"]),
    ("double precision", "double", ["1.7976931348623157e+308", "5e-324", "NaN", "-Infinity", "0.1", "0.30000000000000004"]),
    ("boolean", "boolean", ["true", "false"]),
    ("text", "string", [*TRICKY_TEXT, "x" * 1_000_000]),
    ("varchar(5)", "string", ["", "ab", "ab   "]),
    ("char(5)", "string", ["ab", "", "abcde"]),
    ('"char"', "string", ["a", ""]),
    ("name", "string", ["some name"]),
    ("bytea", "binary", ["\\x", "\\x00", "\\x5c4e0a0d09", "\\xff00fe"]),
    ("date", "date", ["0001-01-01", "9999-12-31", "1969-12-31", "1582-10-10", "2000-02-29"]),
    ("timestamp", "timestamp", ["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999", "2024-03-31 02:30:00.1"]),
    ("timestamp(0)", "timestamp", ["2024-02-29 23:59:59"]),
    ("timestamptz", "timestamptz", ["0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00", "1900-01-01 12:00:00.000001+05:30", "2024-10-27 02:30:00+02"]),
    ("time", "time", ["00:00:00", "23:59:59.999999", "12:30:00.5"]),
    ("timetz", "string", ["23:59:59.999999+14", "00:00:00-12"]),
    ("interval", "string", ["1 year 2 mons -3 days 04:05:06.789", "-00:00:00.000001", "0"]),
    ("uuid", "uuid", ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("json", "string", ['{"a": 1.10, "a":12345678901234567890.123}', '"\\u00e4\\n"', "null"]),
    ("jsonb", "string", ['{"n": 12345678901234567890.123, "m": 1.10}', "[]"]),
    ("inet", "string", ["192.168.0.1/24", "::1"]),
    ("cidr", "string", ["10.0.0.0/8"]),
    ("int4range", "string", ["[1,5)", "empty"]),
    ("tstzrange", "string", ["[2024-01-01 00:00:00+00,)"]),
    ("money", "string", ["1234.56"]),
    ("bit(3)", "string", ["101"]),
    ("xml", "string", ["<a>&amp;</a>"]),
    ("int2vector", "string", ["1 2 3"]),
    ("box[]", "string", ["{(1,1),(0,0);(3,3),(2,2)}"]),
    ("mood", "string", ["so so", "ha'ppy"]),
    ("positive", "decimal(10,2)", ["1.50"]),
    ("pair", "string", ['(1,"a ""b"",")', "(,)"]),
    ("integer[]", "list<int>", ["{}", "{1,NULL,3}", "{NULL}", "{2147483647,-1}"]),
    ("numeric(10,2)[]", "list<decimal(10,2)>", ["{1.10,NULL,-2.00}"]),
    ("positive[]", "list<decimal(10,2)>", ["{1.10}"]),
    ("boolean[]", "list<boolean>", ["{t,f,NULL}"]),
    ("text[]", "list<string>", ["{}", '{"","NULL",NULL,"a,b","{x}","\\"q\\"","\\\\","a b"}', '{"a\nb","\t"}']),
    ("uuid[]", "list<uuid>", ["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}"]),
    ("bytea[]", "list<binary>", ['{"\\\\x00ff",NULL}']),
    ("timestamptz[]", "list<timestamptz>", ['{"2024-01-01 00:00:00+00",NULL}']),
    ("jsonb[]", "list<string>", ['{"{\\"a\\": 1.10}"}']),
    ("mood[]", "list<string>", ['{"so so",NULL}']),
]  # fmt: skip


def text_of(value: Any, kind: str) -> str | None:
    """Write a value as PostgreSQL does, by other means than the code under test."""
    if value is None:
        return None
    if kind.startswith("list<"):
        return json.dumps([text_of(element, kind[5:-1]) for element in value])
    match kind:
        case "boolean":
            return "true" if value else "false"
        case "binary":
            return "\\x" + value.hex()
        case "timestamp" | "timestamptz" | "time":
            text = value.isoformat(sep=" ") if kind != "time" else value.isoformat()
            whole, dot, rest = text.removesuffix("+00:00").partition(".")
            return whole + dot + rest.rstrip("0") + ("+00" if kind == "timestamptz" else "")
        case "double" | "float":
            return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(str(value), repr(value))
        case _:
            return str(value)


def expected_of(text: Any, kind: str) -> str | None:
    if kind.startswith("list<") and text is not None:
        return json.dumps([expected_of(element, kind[5:-1]) for element in text])
    if kind == "double" and text is not None:
        return {"Infinity": text, "-Infinity": text, "NaN": text}.get(text, repr(float(text)))
    if kind == "float" and text is not None:
        as_float = pa.array([float(text)], pa.float32())[0].as_py()
        return {"Infinity": text, "-Infinity": text, "NaN": text}.get(text, repr(as_float))
    return text


@pytest.fixture
def own_types(sql: Any) -> None:
    sql("CREATE TYPE mood AS ENUM ('so so', 'ha''ppy')")
    sql("CREATE DOMAIN positive AS numeric(10,2) CHECK (VALUE > 0)")
    sql("CREATE TYPE pair AS (a int, b text)")


@pytest.mark.usefixtures("own_types")
@pytest.mark.parametrize(("sql_type", "kind", "values"), HARD_VALUES, ids=[hard[0] for hard in HARD_VALUES])
def test_every_value_equals_postgresqls_own_text(dsn: str, sql: Any, sql_type: str, kind: str, values: list[str]) -> None:
    sql(f"CREATE TABLE t (n int, v {sql_type})")
    for number, value in enumerate([*values, None]):
        sql(f"INSERT INTO t SELECT %s, %s::{sql_type}", [number, value])
    text = "array_to_json(v::text[])::text" if kind.startswith("list<") else "v::text"
    if kind == "string" and sql_type.startswith("char("):
        text = "rpad(v::text, 5)"  # the cast to text is what trims
    expected = [row[0] for row in sql(f"SELECT {text} FROM t ORDER BY n")]
    if kind.startswith("list<"):
        expected = [None if value is None else json.loads(value) for value in expected]
    if sql_type == "boolean[]":
        expected = [v and [{"t": "true", "f": "false"}.get(e, e) for e in v] for v in expected]

    table = table_of(source(dsn, "public.t"))

    from airflow_provider_lakehouse.core.types import type_of

    assert type_of(table.schema.field("v").type) == kind
    actual = [text_of(row["v"], kind) for row in sorted(table.to_pylist(), key=lambda row: row["n"])]
    assert actual == [expected_of(value, kind) for value in expected]


UNFIT_VALUES = [
    ("date", ["infinity", "-infinity", "10000-01-01", "0044-03-15 BC"]),
    ("timestamp", ["infinity", "294276-12-31 23:59:59.999999", "4713-01-01 00:00:00 BC"]),
    ("timestamptz", ["infinity", "-infinity", "10000-01-01 00:00:00+00"]),
    ("time", ["24:00:00"]),
    ("numeric(10,2)", ["NaN"]),
    ("int[]", ["{{1,2},{3,4}}", "[0:1]={1,2}"]),
    ("text[]", ['{{"a b",b}}']),
    ("date[]", ["{2024-01-01,infinity}", "{{2024-01-01}}"]),
]


@pytest.mark.parametrize(("sql_type", "values"), UNFIT_VALUES, ids=[unfit[0] for unfit in UNFIT_VALUES])
class TestValuesThatFitNoColumnType:
    @pytest.fixture(autouse=True)
    def rows(self, sql: Any, sql_type: str, values: list[str]) -> None:
        sql(f"CREATE TABLE t (n int NOT NULL, v {sql_type})")
        for number, value in enumerate(values):
            sql(f"INSERT INTO t SELECT %s, %s::{sql_type}", [number, value])
        sql("INSERT INTO t VALUES (100, NULL)")

    def test_reject_their_row(self, dsn: str, sql_type: str, values: list[str]) -> None:
        rejects = Rejects()
        assert rows_of(source(dsn, "t"), rejects=rejects) == [{"n": 100, "v": None}]
        assert [json.loads(row.payload) for row in rejects.rows] == [
            {"n": str(number), "v": value} for number, value in enumerate(values)
        ]
        assert all(row.reason.startswith("v: ") and row.source_file == "t" for row in rejects.rows)
        assert not any(value in row.reason for row in rejects.rows for value in values if not value.startswith("24"))

    def test_become_null_when_set_so(self, dsn: str, sql_type: str, values: list[str]) -> None:
        rejects = Rejects()
        rows = rows_of(source(dsn, "t", unfit="null"), rejects=rejects)
        assert [row["v"] for row in rows] == [None] * (len(values) + 1)
        assert not rejects.rows

    def test_arrive_whole_as_text(self, dsn: str, sql_type: str, values: list[str]) -> None:
        assert [row["v"] for row in rows_of(source(dsn, "t", as_text=("v",)))] == [*values, None]


def test_a_not_null_column_becomes_nullable_where_unfit_values_become_null(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t (n int NOT NULL, d date NOT NULL)")
    sql("INSERT INTO t VALUES (1, 'infinity')")
    assert [field.nullable for field in table_of(source(dsn, "t")).schema][:2] == [False, False]
    table = table_of(source(dsn, "t", unfit="null"))
    assert [field.nullable for field in table.schema][:2] == [False, True]
    assert table["d"].to_pylist() == [None]


def test_too_many_unfit_rows_end_the_read(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 'infinity'::date AS d FROM generate_series(1, 20)")
    with pytest.raises(DataRejectedError):
        table_of(source(dsn, "t"), rejects=Rejects(max_rows=10))


def test_400_000_rows_of_line_ends_quotes_backslashes_and_nulls_arrive_unchanged(dsn: str, sql: Any) -> None:
    sql("""
        CREATE TABLE t AS SELECT i, CASE i % 11 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'\\\\N' WHEN 3 THEN E'\\\\.'
            WHEN 4 THEN E'a\\nb' || i WHEN 5 THEN E'a\\r\\nb' || i WHEN 6 THEN E'"' || i || E'\\\\' WHEN 7 THEN E'\\\\' || i
            WHEN 8 THEN repeat(E'x\\r\\n', i % 300) WHEN 9 THEN E'\\t' || i ELSE E'\\\\n' || i || E'\\\\\\\\n' END AS v,
            CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'x' END AS w
        FROM generate_series(1, 400000) AS i
    """)
    table = table_of(source(dsn, "t", parallelism=3)).sort_by("i")
    assert table.num_rows == 400_000
    for column in ("v", "w"):
        digest = hashlib.md5()
        for value in table[column].to_pylist():
            digest.update(b"\0" if value is None else value.encode() + b"\x01")
        # The server frames values with bytes that its text cannot hold.
        [[expected]] = sql(
            f"SELECT md5(string_agg(CASE WHEN {column} IS NULL THEN '\\x00' ELSE convert_to({column}, 'UTF8') || '\\x01' END,"
            " ''::bytea ORDER BY i)) FROM t"
        )
        assert digest.hexdigest() == expected


def test_a_single_column_of_empty_strings_keeps_its_rows(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT CASE i WHEN 2 THEN NULL ELSE '' END AS v FROM generate_series(1, 3) AS i")
    assert [row["v"] for row in rows_of(source(dsn, "t"))] == ["", None, ""]


def test_names_with_quotes_dots_unicode_and_sql_in_them_are_names(dsn: str, sql: Any) -> None:
    name = 'a"b.c; DROP TABLE x --ä😀%s{}'
    sql(f"""CREATE SCHEMA "S.1"; CREATE TABLE "S.1"."{name.replace('"', '""')}" ("{name.replace('"', '""')}" int, "Up per" int)""")
    sql(f"""INSERT INTO "S.1"."{name.replace('"', '""')}" VALUES (1, 2)""")
    relation = f'''"S.1"."{name.replace('"', '""')}"'''
    assert rows_of(source(dsn, relation)) == [{name: 1, "Up per": 2}]
    incremental = source(dsn, relation, columns=("Up per",), mode="incremental", cursor=name)
    assert rows_of(incremental) == [{"Up per": 2}]


def test_generated_columns_are_read_and_dropped_ones_are_not(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t (a int, gone text, b int GENERATED ALWAYS AS (a * 2) STORED)")
    sql("ALTER TABLE t DROP COLUMN gone; INSERT INTO t VALUES (21)")
    assert rows_of(source(dsn, "t")) == [{"a": 21, "b": 42}]


def test_columns_come_in_the_order_they_are_asked_for(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS a, 2 AS b, 3 AS c")
    table = table_of(source(dsn, "t", columns=("c", "a")))
    assert table.column_names == ["c", "a", "_source_file", "_source_row"]
    assert table.to_pylist() == [{"c": 3, "a": 1, "_source_file": "t", "_source_row": None}]


def test_text_that_is_not_utf8_is_rejected_data(dsn: str, postgres_server: PostgresServer, sql: Any) -> None:
    name = f"ascii_{uuid.uuid4().hex}"
    sql(f"CREATE DATABASE {name} ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
    ascii_dsn = postgres_server.dsn_of(name)
    with psycopg.connect(ascii_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (v text)")
        connection.execute(r"INSERT INTO t VALUES (E'\xff\xfe')".encode())
    with pytest.raises(DataRejectedError, match="UTF-8"):
        table_of(source(ascii_dsn, "t"))


# ---- relations --------------------------------------------------------------------------------------------------------


def test_an_empty_table_gives_its_schema_and_no_rows(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t (a bigint NOT NULL, b text)")
    table = table_of(source(dsn, "t"))
    assert table.num_rows == 0
    assert table.schema.field("a") == pa.field("a", pa.int64(), nullable=False)


def test_partitioned_and_inherited_tables_are_read_whole_in_ranges(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE p (i int, pad text) PARTITION BY RANGE (i)")
    sql("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10000); CREATE TABLE p2 PARTITION OF p DEFAULT")
    sql("INSERT INTO p SELECT i, repeat('x', 1900) FROM generate_series(1, 20000) AS i")
    sql("CREATE TABLE parent (i int, pad text); CREATE TABLE child () INHERITS (parent)")
    sql("INSERT INTO parent SELECT * FROM p1; INSERT INTO child SELECT * FROM p2")
    for relation in ("p", "parent"):
        of = source(dsn, relation, columns=("i",))
        plan = of.plan(position=None, now=NOW)
        assert len(plan.slices) > 1
        assert sorted(row["i"] for row in rows_of(of, plan)) == list(range(1, 20_001))


def test_views_materialised_views_and_queries_are_read(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT i FROM generate_series(1, 5) AS i")
    sql("CREATE VIEW v AS SELECT i FROM t; CREATE MATERIALIZED VIEW m AS SELECT i FROM t")
    expected = [{"i": i} for i in range(1, 6)]
    assert rows_of(source(dsn, "v")) == expected
    assert rows_of(source(dsn, "public.m")) == expected
    assert rows_of(source(dsn, query="SELECT i FROM t -- all of it; ")) == expected
    assert rows_of(source(dsn, query="SELECT i FROM t WHERE 'a%b' LIKE 'a%%';")) == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"relation": "nowhere"},
        {"relation": "t", "columns": ("nothing",)},
        {"query": "SELECT FROM WHERE"},
        {"query": "SELECT 1 AS a, 2 AS a"},
        {"query": "SELECT"},
        {"query": "SELECT 1 AS _source_row"},
        {"query": "SELECT nextval('s')"},
        {"relation": "t", "as_text": ("nothing",)},
        {"relation": "t", "mode": "incremental", "cursor": "j"},
        {"relation": "t", "mode": "partition", "partition": PartitionRange("i", "one")},
        {"relation": "t", "mode": "partition", "partition": PartitionRange("nothing", "1")},
    ],
)
def test_what_cannot_be_read_is_an_invalid_request(dsn: str, sql: Any, settings: dict[str, Any]) -> None:
    sql("CREATE TABLE t (i int, j jsonb); CREATE SEQUENCE s")
    with pytest.raises(InvalidRequestError):
        table_of(source(dsn, **settings))


def test_an_expression_that_fails_on_a_value_is_rejected_data_and_names_no_value(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 'secret value' AS v")
    with pytest.raises(DataRejectedError) as caught:
        table_of(source(dsn, query="SELECT v::int FROM t"))
    assert "secret" not in str(caught.value)


# ---- plans ------------------------------------------------------------------------------------------------------------


def test_the_source_keeps_the_contract(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS i")
    of = open_source(dsn=dsn, relation="public.t")
    assert isinstance(of, Source)
    plan = of.plan(position=None, now=NOW)
    again = ExtractPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.planned_at == NOW
    assert rows_of(of, again) == [{"i": 1}]
    with pytest.raises(InvalidRequestError, match="another source"):
        of.read(source(dsn, "other").plan(position=None, now=NOW) if sql("CREATE TABLE other ()") is None else ExtractPlan("x", NOW, ()), rejects=Rejects())


def test_plans_over_the_same_state_are_equal_and_over_another_are_not(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS i")
    of = source(dsn, "t")
    before = of.plan(position=None, now=NOW).fingerprint
    assert of.plan(position=None, now=NOW + timedelta(hours=1)).fingerprint == before
    sql("UPDATE t SET i = 2")
    assert of.plan(position=None, now=NOW).fingerprint != before


def test_a_plan_is_refused_once_the_columns_changed(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS i")
    of = source(dsn, "t")
    plan = of.plan(position=None, now=NOW)
    sql("ALTER TABLE t ALTER i TYPE bigint")
    with pytest.raises(DataRejectedError, match="Plan anew"):
        of.read(plan, rejects=Rejects())


def test_ranges_planned_before_the_table_grew_and_shrank_still_hold_every_row(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT i, repeat('x', 1900) AS pad FROM generate_series(1, 10000) AS i")
    of = source(dsn, "t", columns=("i",))
    plan = of.plan(position=None, now=NOW)
    assert len(plan.slices) > 1
    sql("INSERT INTO t SELECT i, repeat('x', 1900) FROM generate_series(10001, 20000) AS i")
    assert sorted(row["i"] for row in rows_of(of, plan)) == list(range(1, 20_001))
    sql("DELETE FROM t WHERE i > 10; VACUUM FULL t") if False else sql("DELETE FROM t WHERE i > 10")
    sql("VACUUM FULL t")
    assert sorted(row["i"] for row in rows_of(of, plan)) == list(range(1, 11))


def test_parallel_ranges_under_concurrent_updates_equal_one_snapshot(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT i, 0 AS amount, repeat('x', 1000) AS pad FROM generate_series(1, 40000) AS i")
    sql("CREATE INDEX ON t (i)")
    enough, started = threading.Event(), threading.Event()

    def move_amounts() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for number in range(1_000_000):
                first, second = (number * 7919) % 40_000 + 1, (number * 104_729) % 40_000 + 1
                connection.execute(
                    "WITH a AS (UPDATE t SET amount = amount + 1 WHERE i = %s RETURNING 1)"
                    " INSERT INTO t SELECT 0, -1, '' FROM a WHERE %s > 0",
                    [first, second],
                )
                started.set()
                if enough.is_set():
                    return

    mover = threading.Thread(target=move_amounts)
    mover.start()
    try:
        assert started.wait(30)
        of = source(dsn, "t", columns=("i", "amount"), parallelism=3)
        for _ in range(3):
            plan = of.plan(position=None, now=NOW)
            assert len(plan.slices) >= 3
            table = table_of(of, plan)
            assert sum(table["amount"].to_pylist()) == 0
            ids = [i for i in table["i"].to_pylist() if i]
            assert sorted(ids) == list(range(1, 40_001))
    finally:
        enough.set()
        mover.join()


# ---- increments and partitions ----------------------------------------------------------------------------------------


def events(dsn: str, **settings: Any) -> PostgresSource:
    return source(dsn, "events", **{"mode": "incremental", "cursor": "at", **settings})


@pytest.fixture
def add(sql: Any):
    """Adds an event at a minute."""
    sql("CREATE TABLE events (id int, at timestamptz)")

    def insert(number: int, minute: float | None, execute: Any = sql) -> None:
        at = None if minute is None else datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
        execute("INSERT INTO events VALUES (%s, %s)", [number, at])

    return insert


def ids(of: PostgresSource, plan: ExtractPlan) -> list[int]:
    return sorted(row["id"] for row in rows_of(of, plan))


def test_increments_read_every_row_once_and_the_plan_fixes_their_upper_bound(dsn: str, add: Any) -> None:
    of = events(dsn)
    add(1, 1)
    add(2, 2)
    first = of.plan(position=None, now=NOW)
    add(3, 3)
    assert ids(of, first) == [1, 2]
    second = of.plan(position=first.position, now=NOW)
    add(4, 4)
    assert ids(of, second) == [3]
    third = of.plan(position=second.position, now=NOW)
    assert ids(of, third) == [4]
    assert of.plan(position=third.position, now=NOW).slices == ()
    assert of.plan(position=third.position, now=NOW).position == third.position
    assert ids(of, first) == [1, 2]


def test_increments_lose_no_late_commit_inside_the_lag(dsn: str, add: Any) -> None:
    of = events(dsn, lag=timedelta(minutes=5))
    seen: set[int] = set()
    with psycopg.connect(dsn) as late, psycopg.connect(dsn) as later:
        add(1, 1)
        add(2, 4, late.execute)
        add(3, 6)
        plan = of.plan(position={}, now=NOW)
        seen |= set(ids(of, plan))
        assert seen == {1, 3}
        late.commit()
        add(4, 5, later.execute)
        plan = of.plan(position=plan.position, now=NOW)
        seen |= set(ids(of, plan))
        assert seen == {1, 2, 3}
        before = plan.fingerprint
        later.commit()
        plan = of.plan(position=plan.position, now=NOW)
        assert plan.fingerprint != before
        seen |= set(ids(of, plan))
    assert seen == {1, 2, 3, 4}


def test_the_high_water_mark_never_moves_back(dsn: str, sql: Any, add: Any) -> None:
    of = events(dsn)
    add(1, 1)
    add(2, 9)
    plan = of.plan(position=None, now=NOW)
    sql("DELETE FROM events WHERE id = 2")
    again = of.plan(position=plan.position, now=NOW)
    assert again.position == plan.position
    assert again.slices == ()
    sql("DELETE FROM events")
    assert of.plan(position=plan.position, now=NOW).position == plan.position


def test_null_and_infinite_cursors_are_left_out_and_do_not_stop_the_increments(dsn: str, sql: Any, add: Any) -> None:
    of = events(dsn)
    assert of.plan(position=None, now=NOW).position == {}
    add(1, None)
    sql("INSERT INTO events VALUES (2, 'infinity')")
    assert of.plan(position=None, now=NOW).slices == ()
    add(3, 3)
    plan = of.plan(position=None, now=NOW)
    assert plan.position == {"cursor": "at", "high": "2024-01-01 00:03:00+00"}
    assert plan.left_out
    assert ids(of, plan) == [3]


@pytest.mark.parametrize(
    ("sql_type", "first", "second", "lag", "expected_low"),
    [
        ("smallint", "-32768", "32767", 10, "-32778"),
        ("integer", "5", "6", 2, "3"),
        ("bigint", "-9223372036854775808", "9223372036854775807", 5, "-9223372036854775808"),
        ("numeric(10,2)", "1.25", "1.26", 1, "0.25"),
        ("numeric", "0.000000000000000000001", "1", None, "0.000000000000000000001"),
        ("date", "2024-03-01", "2024-03-02", timedelta(hours=36), "2024-02-28"),
        ("timestamp", "2024-01-01 00:00:00", "2024-01-01 00:00:00.000001", timedelta(microseconds=1), "2023-12-31 23:59:59.999999"),
        ("timestamptz", "1969-12-31 00:00:00+00", "1969-12-31 00:00:01+00", timedelta(days=1), "1969-12-30 00:00:00+00"),
        ("moment", "2024-01-01 00:00:00", "2024-01-02 00:00:00", None, "2024-01-01 00:00:00"),
    ],
)  # fmt: skip
def test_every_cursor_type_has_exact_bounds(
    dsn: str, sql: Any, sql_type: str, first: str, second: str, lag: Any, expected_low: str
) -> None:
    sql("CREATE DOMAIN moment AS timestamp")
    sql(f"CREATE TABLE t (c {sql_type})")
    of = source(dsn, "t", mode="incremental", cursor="c", lag=lag)
    sql(f"INSERT INTO t SELECT %s::{sql_type}", [first])
    plan = of.plan(position=None, now=NOW)
    assert plan.position == {"cursor": "c", "high": first}
    assert len(rows_of(of, plan)) == 1
    sql(f"INSERT INTO t SELECT %s::{sql_type}", [second])
    plan = of.plan(position=plan.position, now=NOW)
    assert plan.slices[0].facts["conditions"] == [["c", ">", expected_low], ["c", "<=", second]]
    in_window = 1 if lag is None or expected_low == first else 2
    assert len(rows_of(of, plan)) == in_window


def test_a_lag_of_the_wrong_kind_or_a_position_of_another_cursor_is_refused(dsn: str, add: Any) -> None:
    add(1, 1)
    plan = events(dsn).plan(position=None, now=NOW)
    with pytest.raises(InvalidRequestError, match="timedelta"):
        events(dsn, lag=5).plan(position=plan.position, now=NOW)
    with pytest.raises(InvalidRequestError, match="position"):
        events(dsn, cursor="id").plan(position=plan.position, now=NOW)


def test_a_first_increment_is_cut_into_ranges(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT i, repeat('x', 1900) AS pad FROM generate_series(1, 10000) AS i")
    of = source(dsn, "t", columns=("i",), mode="incremental", cursor="i")
    plan = of.plan(position=None, now=NOW)
    sql("INSERT INTO t VALUES (10001, '')")
    assert len(plan.slices) > 1
    assert sorted(row["i"] for row in rows_of(of, plan)) == list(range(1, 10_001))


def test_a_partition_holds_its_start_and_not_its_end(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT date '2024-01-01' + i AS day FROM generate_series(0, 4) AS i; INSERT INTO t VALUES (NULL)")

    def days(start: str | None, end: str | None) -> list[int]:
        partition = PartitionRange("day", start, end)
        return [row["day"].day for row in rows_of(source(dsn, "t", mode="partition", partition=partition))]

    assert days("2024-01-02", "2024-01-04") == [2, 3]
    assert days(None, "2024-01-02") == [1]
    assert days("2024-01-04", None) == [4, 5]


def test_a_partition_by_text_compares_whole_values(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t (k char(3)); INSERT INTO t VALUES ('abc'), ('abd'), ('b')")
    of = open_source(dsn=dsn, relation="t", mode="partition", partition={"column": "k", "start": "abc", "end": "abd"})
    assert rows_of(of) == [{"k": "abc"}]


# ---- failures ---------------------------------------------------------------------------------------------------------

SLOW = "SELECT i, repeat('x', 1000) AS v, 1 / (3000000 - i) AS w FROM generate_series(1, 100000000) AS i"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'airflow-provider-lakehouse'"
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'airflow-provider-lakehouse'"


def reader_of(of: PostgresSource) -> pa.RecordBatchReader:
    return of.read(of.plan(position=None, now=NOW), rejects=Rejects())


def copy_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("copy ")]


def test_a_session_that_is_killed_raises_and_never_ends_early(dsn: str, sql: Any) -> None:
    reader = reader_of(source(dsn, query=SLOW))
    reader.read_next_batch()
    assert sql(TERMINATE).rowcount == 1
    with pytest.raises(UnavailableError):
        reader.read_all()
    assert not copy_threads()


def test_one_killed_session_of_several_raises(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT i, repeat('x', 1900) AS pad FROM generate_series(1, 40000) AS i")
    reader = reader_of(source(dsn, "t"))
    reader.read_next_batch()
    assert sql(SESSIONS).fetchone() == (2,)
    sql(TERMINATE + " AND pid = (SELECT max(pid) FROM pg_stat_activity WHERE application_name = 'airflow-provider-lakehouse')")
    with pytest.raises(UnavailableError):
        reader.read_all()


def test_a_server_that_crashes_raises() -> None:
    with PostgresServer() as server:
        of = source(server.dsn, query=SLOW)
        reader = reader_of(of)
        reader.read_next_batch()
        server.crash()
        with pytest.raises(UnavailableError):
            reader.read_all()
        with pytest.raises(UnavailableError):
            of.plan(position=None, now=NOW)


def test_an_error_on_the_last_of_many_rows_raises(dsn: str) -> None:
    query = "SELECT 1 / (200000 - i) AS v FROM generate_series(1, 200000) AS i"
    with pytest.raises(DataRejectedError):
        reader_of(source(dsn, query=query)).read_all()


def test_a_reader_that_is_dropped_early_leaves_no_thread_and_no_session(dsn: str, sql: Any) -> None:
    reader = reader_of(source(dsn, query=SLOW))
    reader.read_next_batch()
    assert copy_threads()
    del reader
    assert not copy_threads()
    assert sql(SESSIONS + " AND state = 'active'").fetchone() == (0,)


def test_a_reader_that_is_never_read_leaves_no_session(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS i")
    reader = reader_of(source(dsn, "t"))
    assert reader.schema.names[0] == "i"
    del reader
    assert not copy_threads()


def test_a_reader_that_waits_for_a_busy_server_can_be_dropped(dsn: str, sql: Any) -> None:
    of = source(dsn, query="SELECT count(*) FROM generate_series(1, 1000000000)")
    reader = reader_of(of)
    failure: list[BaseException] = []

    def read() -> None:
        try:
            reader.read_all()
        except UnavailableError as error:
            failure.append(error)

    waiting = threading.Thread(target=read)
    waiting.start()
    while not sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%%' AND state = 'active'").fetchone()[0]:
        pass
    sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%%'")
    waiting.join()
    assert len(failure) == 1


def test_no_message_holds_the_password(dsn: str, postgres_server: PostgresServer, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS i")
    password = psycopg.conninfo.conninfo_to_dict(dsn)["password"]
    wrong = dsn.replace(password, "wr0ng-secret")
    for bad, kind in (
        (wrong, InvalidRequestError),
        ("postgresql//user:wr0ng-secret@host/db", InvalidRequestError),
        (wrong.replace(f":{postgres_server.port}/", ":1/"), UnavailableError),
        (dsn.replace("/test_", "/absent_"), InvalidRequestError),
    ):
        with pytest.raises(kind) as caught:
            source(bad, "t").plan(position=None, now=NOW)
        shown = f"{caught.value} {caught.value.__cause__} {caught.value.__context__ if caught.value.__cause__ else ''}"
        assert "wr0ng-secret" not in shown
        assert password not in shown
        assert pickle.loads(pickle.dumps(caught.value)).facts == caught.value.facts
    of = source(dsn, "t")
    assert password not in of.identity + repr(of.settings) + json.dumps(of.plan(position=None, now=NOW).to_json())


def test_a_missing_privilege_is_an_invalid_request(dsn: str, sql: Any) -> None:
    role = f"reader_{uuid.uuid4().hex}"
    sql(f"CREATE TABLE t AS SELECT 1 AS i; CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    weak = psycopg.conninfo.make_conninfo(dsn, user=role, password="pw")
    with pytest.raises(InvalidRequestError, match="privilege"):
        source(weak, "t").plan(position=None, now=NOW)


@pytest.mark.slow
def test_memory_stays_bounded_whatever_the_size(dsn: str) -> None:
    """Reads 1.2 GB of text in a process of its own."""
    program = f"""
import resource
from datetime import UTC, datetime
from airflow_provider_lakehouse.core.sources.base import Rejects
from airflow_provider_lakehouse.core.sources.postgres import open_source
source = open_source(dsn={dsn!r}, query="SELECT i, repeat('x', 1000) AS v FROM generate_series(1, 1200000) AS i")
rows = sum(b.num_rows for b in source.read(source.plan(position=None, now=datetime.now(UTC)), rejects=Rejects()))
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    rows, mebibytes = map(int, done.stdout.split())
    assert rows == 1_200_000
    assert mebibytes < 512
