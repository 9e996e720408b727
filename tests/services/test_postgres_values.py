"""Every value of PostgreSQL arrives as it is, or its row is rejected."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.errors import DataRejectedError
from airflow_provider_lakehouse.core.sources.base import Rejects
from airflow_provider_lakehouse.core.types import type_of

from .postgres_rows import database, dsn, rows_of, source, sql, table_of

if TYPE_CHECKING:
    from .postgres_server import PostgresServer

__all__ = ["database", "dsn", "sql"]

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
    (
        "double precision",
        "double",
        ["1.7976931348623157e+308", "5e-324", "NaN", "-Infinity", "0.1", "0.30000000000000004"],
    ),
    ("boolean", "boolean", ["true", "false"]),
    ("text", "string", [*TRICKY_TEXT, "x" * 1_000_000]),
    ("varchar(5)", "string", ["", "ab", "ab   "]),
    ("char(5)", "string", ["ab", "", "abcde"]),
    ('"char"', "string", ["a", ""]),
    ("name", "string", ["some name"]),
    ("bytea", "binary", ["\\x", "\\x00", "\\x5c4e0a0d09", "\\xff00fe"]),
    ("date", "date", ["0001-01-01", "9999-12-31", "1969-12-31", "1582-10-10", "2000-02-29"]),
    (
        "timestamp",
        "timestamp",
        ["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999", "2024-03-31 02:30:00.1"],
    ),
    ("timestamp(0)", "timestamp", ["2024-02-29 23:59:59"]),
    (
        "timestamptz",
        "timestamptz",
        [
            "0001-01-01 00:00:00+00",
            "9999-12-31 23:59:59.999999+00",
            "1900-01-01 12:00:00.000001+05:30",
            "2024-10-27 02:30:00+02",
        ],
    ),
    ("time", "time", ["00:00:00", "23:59:59.999999", "12:30:00.5"]),
    ("timetz", "string", ["23:59:59.999999+14", "00:00:00-12"]),
    ("interval", "string", ["1 year 2 mons -3 days 04:05:06.789", "-00:00:00.000001", "0"]),
    (
        "uuid",
        "uuid",
        [
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ],
    ),
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
    ("pair[]", "list<string>", ['{"(1,\\"a, b\\")",NULL,"(,)"}']),
    ("interval[]", "list<string>", ['{"1 day",NULL}']),
    ("tags", "list<string>", ['{a,"b c",NULL}', "{}"]),
    ("pair_of_mine", "string", ["(7,x)"]),
    ("numeric(1000,500)", "string", ["1." + "1" * 500]),
    ("int4multirange", "string", ["{[1,3),[5,9)}"]),
    ("tsvector", "string", ["'a':1 'b':2"]),
    ("point", "string", ["(1.5,-2)"]),
    ("macaddr", "string", ["08:00:2b:01:02:03"]),
    ("pg_lsn", "string", ["16/B374D848"]),
    ("varbit", "string", ["10101", ""]),
]


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
            return f"{value:f}" if kind.startswith("decimal") else str(value)


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
    sql("CREATE TYPE pair AS (a int, b text); CREATE DOMAIN tags AS text[]; CREATE DOMAIN pair_of_mine AS pair")


@pytest.mark.usefixtures("own_types")
@pytest.mark.parametrize(("sql_type", "kind", "values"), HARD_VALUES, ids=[hard[0] for hard in HARD_VALUES])
def test_every_value_equals_postgresqls_own_text(
    dsn: str, sql: Any, sql_type: str, kind: str, values: list[str]
) -> None:
    sql(f"CREATE TABLE t (n int, v {sql_type})")
    for number, value in enumerate([*values, None]):
        sql(f"INSERT INTO t SELECT %s, %s::{sql_type}", [number, value])
    text = "array_to_json(v::text[])::text" if kind.startswith("list<") else "v::text"
    if kind == "string":  # a cast to text trims char(n) and adds a mask to addresses
        text = "CASE WHEN v IS NOT DISTINCT FROM NULL THEN NULL ELSE format('%s', v) END"
    expected = [row[0] for row in sql(f"SELECT {text} FROM t ORDER BY n")]
    if kind.startswith("list<"):
        expected = [None if value is None else json.loads(value) for value in expected]
    if sql_type == "boolean[]":
        expected = [v and [{"t": "true", "f": "false"}.get(e, e) for e in v] for v in expected]

    table = table_of(source(dsn, "public.t"))

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
    sql(r"""
        CREATE TABLE t AS SELECT i,
            CASE i % 11 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN '\N' WHEN 3 THEN '\.' WHEN 4 THEN E'a\nb' || i
                WHEN 5 THEN E'a\r\nb' || i WHEN 6 THEN '"' || i || '\' WHEN 7 THEN '\' || i
                WHEN 8 THEN repeat(E'x\r\n', i % 300) WHEN 9 THEN E'\t' || i ELSE '\n' || i || '\\n' END AS v,
            CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'x' END AS w
        FROM generate_series(1, 400000) AS i
    """)
    table = table_of(source(dsn, "t", parallelism=3)).sort_by("i")
    assert table.num_rows == 400_000
    for column in ("v", "w"):
        digest = hashlib.md5()
        for value in table[column].to_pylist():
            digest.update(b"\0" if value is None else value.encode() + b"\x01")
        framed = f"CASE WHEN {column} IS NULL THEN '\\x00' ELSE convert_to({column}, 'UTF8') || '\\x01' END"
        [[expected]] = sql(f"SELECT md5(string_agg({framed}, ''::bytea ORDER BY i)) FROM t")
        assert digest.hexdigest() == expected


def test_a_single_column_of_empty_strings_keeps_its_rows(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT CASE i WHEN 2 THEN NULL ELSE '' END AS v FROM generate_series(1, 3) AS i")
    assert [row["v"] for row in rows_of(source(dsn, "t"))] == ["", None, ""]


def test_names_with_quotes_dots_unicode_and_sql_in_them_are_names(dsn: str, sql: Any) -> None:
    name = 'a"b.c; DROP TABLE x --ä😀%s{}'
    quoted = '"' + name.replace('"', '""') + '"'
    relation = f'"S.1".{quoted}'
    sql(f'CREATE SCHEMA "S.1"; CREATE TABLE {relation} ({quoted} int, "Up per" int)')
    sql(f"INSERT INTO {relation} VALUES (1, 2)")
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
        connection.execute(rb"INSERT INTO t VALUES (E'\xff\xfe')")
    with pytest.raises(DataRejectedError, match="encoding"):
        table_of(source(ascii_dsn, "t"))
