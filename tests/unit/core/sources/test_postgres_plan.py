"""What the PostgreSQL source decides, and how it reads what a server sends, without a server."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_lakehouse.core.errors import DamagedError, DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.sources.postgres.plan import (
    MIN_RANGE_BLOCKS,
    RangeFacts,
    fingerprint_of,
    origin_of,
    plan_blocks,
    select_of,
)
from airflow_provider_lakehouse.core.sources.postgres.settings import PostgresSettings
from airflow_provider_lakehouse.core.sources.postgres.source import PostgresSource, open_source
from airflow_provider_lakehouse.core.sources.postgres.text import TextLayout, decode_block
from airflow_provider_lakehouse.core.sources.postgres.types import CatalogType, SourceColumn, column_type
from airflow_provider_lakehouse.core.sources.relations import Condition, PartitionRange, parse_relation

DSN = "postgresql://reader:s3cret@db.example:5433/shop"

# Names of object identifiers in PostgreSQL's pg_type.dat.
INT4, TEXT, NUMERIC, DATE, INT4_ARRAY, NUMERIC_ARRAY, BOX, BOX_ARRAY, INT2VECTOR = (
    23, 25, 1700, 1082, 1007, 1231, 603, 1020, 22,
)  # fmt: skip
CATALOG = {
    INT4_ARRAY: CatalogType(element=INT4),
    NUMERIC_ARRAY: CatalogType(element=NUMERIC),
    BOX: CatalogType(separator=";"),
    BOX_ARRAY: CatalogType(element=BOX),
    INT2VECTOR: CatalogType(element=21),
    90001: CatalogType(base=NUMERIC, base_modifier=((10 << 16) | 2) + 4),
    90002: CatalogType(base=90001),
    90003: CatalogType(element=90002),
    90004: CatalogType(base=INT4_ARRAY),
    90005: CatalogType(element=90004),
}


def modifier(precision: int, scale: int) -> int:
    return ((precision << 16) | (scale & 0x7FF)) + 4


@given(blocks=st.integers(0, 10**9), parallelism=st.integers(1, 32))
def test_ranges_hold_every_block_once_and_the_last_has_no_end(blocks: int, parallelism: int) -> None:
    ranges = plan_blocks(blocks, parallelism=parallelism)
    if ranges == (None,):
        assert parallelism == 1 or blocks < 2 * MIN_RANGE_BLOCKS
        return
    assert ranges[0][0] == 0
    assert ranges[-1][1] is None
    assert [end for _, end in ranges[:-1]] == [first for first, _ in ranges[1:]]
    assert all(end - first >= MIN_RANGE_BLOCKS for first, end in ranges[:-1])
    assert blocks - ranges[-1][0] >= MIN_RANGE_BLOCKS


def text_of(facts: RangeFacts | None = None, *, relation: str = "t", query: str = "", **types: str) -> str:
    return select_of(origin_of(relation, query), ("a",), facts=facts, types=types).as_string(None)


def test_a_range_becomes_a_condition_on_the_row_address() -> None:
    def of(first: int, end: int | None) -> str:
        return text_of(RangeFacts("", "", (first, end)))

    assert of(0, 5) == """SELECT "a" FROM "t" WHERE ctid < '(5,0)'::tid"""
    assert of(5, 9) == """SELECT "a" FROM "t" WHERE ctid >= '(5,0)'::tid AND ctid < '(9,0)'::tid"""
    assert of(9, None) == """SELECT "a" FROM "t" WHERE ctid >= '(9,0)'::tid"""
    assert text_of() == 'SELECT "a" FROM "t"'


def test_names_and_values_are_quoted() -> None:
    facts = RangeFacts("", "", conditions=(Condition('x" OR 1=1 --', ">", "'; DROP TABLE t; --"),))
    text = select_of(origin_of('s."t.""1"', ""), ('c"',), facts=facts, types={'x" OR 1=1 --': "date"}).as_string(None)
    assert (
        text == """SELECT "c""" + '"""' + """ FROM "s"."t.""1" WHERE "x"" OR 1=1 --" > '''; DROP TABLE t; --'::date"""
    )


def test_a_query_stands_in_parentheses_that_its_comment_cannot_hide() -> None:
    assert text_of(relation="", query="SELECT 1 AS a -- one; ") == 'SELECT "a" FROM (SELECT 1 AS a -- one\n) AS source'
    assert text_of(relation="", query=" SELECT '{}' AS a;\n") == "SELECT \"a\" FROM (SELECT '{}' AS a\n) AS source"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("orders", ("orders",)),
        ("Sales.Order Lines", ("Sales", "Order Lines")),
        ('"a.b"."c""d"', ("a.b", 'c"d')),
        (' sales . "x" ', ("sales", "x")),
        ("Größe.表", ("Größe", "表")),
    ],
)
def test_a_relation_is_named_exactly(text: str, parts: tuple[str, ...]) -> None:
    assert parse_relation(text) == parts


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a.b.c", 'a"b', '"a', '""', "a.b.", '"a"b'])
def test_what_names_no_relation_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_relation(text)


_texts = st.text(max_size=8)
_facts = st.builds(
    RangeFacts,
    _texts,
    _texts,
    st.one_of(st.none(), st.tuples(st.integers(0, 2**32), st.one_of(st.none(), st.integers(0, 2**32)))),
    st.lists(st.builds(Condition, _texts, st.sampled_from([">", ">=", "<", "<="]), _texts), max_size=3).map(tuple),
)


@given(_facts)
def test_facts_survive_json(facts: RangeFacts) -> None:
    assert RangeFacts.from_json(json.loads(json.dumps(facts.to_json()))) == facts


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"columns": "", "snapshot": "", "blocks": [1], "conditions": []},
        {"columns": "", "snapshot": "", "blocks": None, "conditions": [["a", "= 1 OR", "b"]]},
        {"columns": "", "snapshot": "", "blocks": ["x", "y"], "conditions": []},
        {"uri": "file:///a.csv", "bytes": 3},
    ],
)
def test_facts_of_another_make_are_refused(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        RangeFacts.from_json(value)


def test_the_fingerprint_of_columns_follows_names_types_and_order() -> None:
    a, b = SourceColumn("a", "int", "integer", "integer"), SourceColumn("b", "int", "integer", "integer")
    wider = SourceColumn("a", "long", "bigint", "bigint")
    assert len({fingerprint_of(columns) for columns in ((a, b), (b, a), (wider, b), (a,))}) == 4


@pytest.mark.parametrize(
    ("oid", "of_modifier", "kind"),
    [
        (INT4, -1, "int"),
        (TEXT, -1, "string"),
        (424_242, -1, "string"),
        (NUMERIC, -1, "string"),
        (NUMERIC, modifier(38, 38), "decimal(38,38)"),
        (NUMERIC, modifier(39, 0), "string"),
        (NUMERIC, modifier(5, -2), "decimal(7,0)"),
        (NUMERIC, modifier(38, -1), "string"),
        (NUMERIC, modifier(3, 5), "decimal(5,5)"),
        (NUMERIC, modifier(1000, 1000), "string"),
        (INT4_ARRAY, -1, "list<int>"),
        (NUMERIC_ARRAY, -1, "list<string>"),
        (NUMERIC_ARRAY, modifier(12, 2), "list<decimal(12,2)>"),
        (BOX_ARRAY, -1, "string"),
        (INT2VECTOR, -1, "string"),
        (90001, -1, "decimal(10,2)"),
        (90003, -1, "list<decimal(10,2)>"),
        (90004, -1, "list<int>"),
        (90005, -1, "string"),
    ],
)
def test_a_type_becomes_the_column_type_that_holds_all_of_it(oid: int, of_modifier: int, kind: str) -> None:
    assert column_type(oid, of_modifier, CATALOG) == kind


def layout(*types: str, **settings: Any) -> TextLayout:
    columns = tuple(SourceColumn(f"c{number}", kind, kind, kind) for number, kind in enumerate(types))
    return TextLayout(columns, "t", **settings)


def values_of(text: bytes, *types: str, rows: int = 1) -> list[tuple[Any, ...]]:
    decoded = decode_block(text, rows=rows, layout=layout(*types))
    assert not decoded.rejected
    decoded.batch.validate(full=True)
    return [tuple(row.values())[: len(types)] for row in decoded.batch.to_pylist()]


def copy_text(value: str | None) -> bytes:
    """Write a value as copyto.c does."""
    if value is None:
        return b"\\N"
    escapes = {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
    return "".join(escapes.get(character, character) for character in value).encode()


_values = st.one_of(
    st.none(),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
    st.text(st.sampled_from("\\nNrt\n\r\t\v\f\b\"',x"), max_size=12),
)


@given(st.lists(st.tuples(_values, _values), min_size=1, max_size=20))
def test_any_text_is_read_as_it_was_written(rows: list[tuple[str | None, str | None]]) -> None:
    text = b"".join(b"\t".join(map(copy_text, row)) + b"\n" for row in rows)
    assert values_of(text, "string", "string", rows=len(rows)) == rows


@given(st.lists(_values, min_size=1, max_size=20))
def test_any_text_of_a_single_column_is_read_as_it_was_written(values: list[str | None]) -> None:
    text = b"".join(copy_text(value) + b"\n" for value in values)
    assert values_of(text, "string", rows=len(values)) == [(value,) for value in values]


@given(st.lists(st.one_of(st.none(), st.binary(max_size=9)), min_size=1, max_size=20))
def test_any_bytes_are_read_as_they_were_written(values: list[bytes | None]) -> None:
    text = b"".join((copy_text("\\x" + v.hex()) if v is not None else b"\\N") + b"\n" for v in values)
    assert values_of(text, "binary", rows=len(values)) == [(value,) for value in values]


def array_text(values: list[str | None] | None) -> str | None:
    """Write an array as array_out does, quoting more than it would."""
    if values is None:
        return None
    quoted = ('"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' if v is not None else "NULL" for v in values)
    return "{" + ",".join(quoted) + "}"


@given(st.lists(st.one_of(st.none(), st.lists(_values, max_size=4)), min_size=1, max_size=10))
def test_any_array_of_text_is_read_as_it_was_written(arrays: list[list[str | None] | None]) -> None:
    text = b"".join(copy_text(array_text(values)) + b"\n" for values in arrays)
    assert values_of(text, "list<string>", rows=len(arrays)) == [(values,) for values in arrays]


@given(st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(-99, 99)), max_size=4)), min_size=1))
def test_any_array_of_numbers_is_read_as_it_was_written(arrays: list[list[int | None] | None]) -> None:
    def plain(values: list[int | None]) -> bytes:
        return ("{" + ",".join("NULL" if v is None else str(v) for v in values) + "}").encode()

    text = b"".join((b"\\N" if values is None else plain(values)) + b"\n" for values in arrays)
    assert values_of(text, "list<int>", rows=len(arrays)) == [(values,) for values in arrays]


def test_a_row_with_several_unfit_values_is_rejected_once_with_the_first_reason() -> None:
    text = b"1\tinfinity\tNaN\n2\t2024-01-01\t1.50\n3\t2024-01-01\tNaN\n"
    decoded = decode_block(text, rows=3, layout=layout("int", "date", "decimal(10,2)"))
    assert [row["c0"] for row in decoded.batch.to_pylist()] == [2]
    assert [row.reason for row in decoded.rejected] == ["c1: not within the years 1 to 9999", "c2: not a number"]
    assert json.loads(decoded.rejected[0].payload) == {"c0": "1", "c1": "infinity", "c2": "NaN"}


def test_text_of_another_type_means_damage_and_is_not_quoted() -> None:
    with pytest.raises(DamagedError) as caught:
        decode_block(b"secret\n", rows=1, layout=layout("int"))
    assert "secret" not in f"{caught.value} {caught.value.__cause__}"
    with pytest.raises(DamagedError):
        decode_block(b"2024-13-45\n", rows=1, layout=layout("date"))


def test_more_columns_or_other_rows_than_promised_mean_damage() -> None:
    with pytest.raises(DamagedError):
        decode_block(b"1\t2\t3\n", rows=1, layout=layout("int", "int"))
    with pytest.raises(DamagedError):
        decode_block(b"1\n2\n", rows=3, layout=layout("int"))


def test_bytes_that_are_not_utf8_are_rejected_data() -> None:
    with pytest.raises(DataRejectedError):
        decode_block(b"\xff\xfe\n", rows=1, layout=layout("string"))


def test_a_null_where_the_catalog_forbids_it_is_rejected_data() -> None:
    column = SourceColumn("c", "int", "integer", "integer", nullable=False)
    with pytest.raises(DataRejectedError):
        decode_block(b"\\N\n", rows=1, layout=TextLayout((column,), "t"))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"relation": "t", "query": "SELECT 1"},
        {"relation": "a.b.c"},
        {"relation": "t", "mode": "everything"},
        {"relation": "t", "mode": "incremental"},
        {"relation": "t", "cursor": "c"},
        {"relation": "t", "lag": 5},
        {"relation": "t", "mode": "incremental", "cursor": "c", "lag": -1},
        {"relation": "t", "mode": "incremental", "cursor": "c", "lag": timedelta(-1)},
        {"relation": "t", "mode": "incremental", "cursor": "c", "lag": 1.5},
        {"relation": "t", "mode": "partition"},
        {"relation": "t", "partition": {"column": "c"}},
        {"relation": "t", "mode": "partition", "partition": {"column": "c", "begin": 1}},
        {"relation": "t", "parallelism": 0},
        {"relation": "t", "parallelism": 33},
        {"relation": "t", "unfit": "ignore"},
        {"relation": "t", "tables": "u"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        open_source(dsn=DSN, **settings)


def test_the_registry_opens_a_source_from_plain_values() -> None:
    source = find("sources", "postgres")(
        dsn=DSN, relation="t", columns=["a"], mode="partition", partition={"column": "d", "start": "2024-01-01"}
    )
    assert source.settings.columns == ("a",)
    assert source.settings.partition == PartitionRange("d", "2024-01-01")


def test_the_identity_names_server_database_and_relation_but_no_user_and_no_password() -> None:
    def identity(dsn: str = DSN, **settings: Any) -> str:
        return PostgresSource(PostgresSettings(dsn=dsn, **settings)).identity

    assert identity(relation="sales.orders") == "postgresql://db.example:5433/shop/sales.orders"
    assert identity(relation='"a b"') == "postgresql://db.example:5433/shop/a%20b"
    assert identity("host=/run/pg dbname=d password=s3cret", relation="t") == "postgresql://%2Frun%2Fpg:5432/d/t"
    assert identity(query="SELECT 1").startswith("postgresql://db.example:5433/shop/query-")
    assert identity(query="SELECT 1") == identity(query=" SELECT 1\n") != identity(query="SELECT 2")
    assert "s3cret" not in repr(PostgresSettings(dsn=DSN, relation="t"))


def test_importing_the_source_loads_no_heavy_library() -> None:
    program = """
import sys, airflow_provider_lakehouse.core.sources.postgres.source
print([name for name in ("psycopg", "pyarrow", "duckdb", "airflow") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
