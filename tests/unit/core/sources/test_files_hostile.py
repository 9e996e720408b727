"""Files as nobody should write them: each has one stated outcome, and never a wrong value."""

from __future__ import annotations

import gzip
import io
import json
import os
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_lakehouse.core.types import arrow_type

from .landing import NOW, schema

if TYPE_CHECKING:
    from .landing import Landing

ITEMS = schema("id long", "name string")
FAR = datetime(9999, 1, 1)  # noqa: DTZ001 - a timestamp without a zone


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_another_encoding_than_was_said_is_a_corrupt_file_and_no_odd_column(landing: Landing, encoding: str):
    landing.put("a.csv", "id,name\n1,a\n".encode(encoding))
    for declared in (ITEMS, None):
        found = landing.read(schema=declared)
        assert (found.rows, [reject.source_row for reject in found.rejects]) == ([], [None])
        assert found.rejects[0].reason.startswith("corrupt file: ")
        assert [name for name in found.types if "\0" in name] == []


def test_nul_bytes_are_part_of_a_text_and_of_no_number(landing: Landing):
    landing.put("a.csv", b"id,name\n1,a\0b\n2\0,c\n")
    found = landing.read(schema=ITEMS)
    assert (found.values, found.refused) == ([(1, "a\0b")], [("id: not a long", 3, "2\0,c")])


def test_names_that_differ_in_case_are_different_names(landing: Landing):
    landing.put("a.csv", "ID,id\n1,2\n")
    landing.put("b.jsonl", '{"ID":1,"id":2}\n')
    assert landing.read("a.csv", schema=ITEMS).values == [(2, None, "1")]
    assert landing.read("b.jsonl", schema=schema("id long", "ID long")).values == [(2, 1)]


def test_only_the_empty_text_is_null_and_only_without_quotes(landing: Landing):
    landing.put("a.csv", 'id,name\n1,NULL\n2,\n3,""\nNULL,x\n"",y\n')
    found = landing.read(schema=ITEMS)
    assert found.values == [(1, "NULL"), (2, None), (3, "")]
    assert [line for _, line, _ in found.refused] == [5, 6]


def test_a_lone_carriage_return_ends_no_line(landing: Landing):
    landing.put("a.csv", 'id,name\n1,a\r2,b\n3,"c\rd"\n')
    found = landing.read(schema=ITEMS)
    assert (found.values, found.refused) == ([(3, "c\rd")], [("wrong number of fields", 2, "1,a\r2,b")])


@pytest.mark.parametrize("zone", ["+16:00", "-99:00", "+01:75", " Europe/Berlin"])
def test_an_offset_that_no_clock_has_is_refused(landing: Landing, zone: str):
    landing.put("a.csv", f"v\n2017-01-01T00:00:00{zone}\n2017-01-01T00:00:00+14:00\n")
    found = landing.read(schema=schema("v timestamptz"))
    assert found.column("v") == [datetime(2016, 12, 31, 10, tzinfo=UTC)]
    assert len(found.rejects) == 1


@pytest.mark.parametrize("spoilt", [False, True])
def test_a_number_of_json_too_large_for_a_double_is_refused_and_infinity_is_not(landing: Landing, spoilt: bool):
    landing.put("a.jsonl", '{"v":1e400}\n{"v":Infinity}\n{"v":1e308}\n' + "broken\n" * spoilt)
    found = landing.read(schema=schema("v double"))
    assert sorted(found.column("v")) == [1e308, float("inf")]
    assert found.refused[0] == ("v: not a double", 1, '{"v":1e400}')


@pytest.mark.parametrize("spoilt", ["", "broken\n", '{"id":{"x":1}}\n'])
def test_a_repeated_field_is_refused_whatever_else_is_in_the_file(landing: Landing, spoilt: str):
    landing.put("a.jsonl", '{"id":1}\n{"id":2,"id":3}\n' + spoilt)
    found = landing.read(schema=ITEMS)
    assert found.column("id") == [1]
    assert found.refused[0] == ("a field stands twice", 2, '{"id":2,"id":3}')


LOOSE = ['{"id":1,"name":[1,]}', '{"id":1,"name":{"x":1 , }}', '{"id":1,"name":"x",}', '{"id":1,"name":[{"x":[1,\t]}]}']
TWICE = [
    '{"id":1,"name":{"x":1,"x":2}}',
    '{"id":1,"name":[{"x":1},{"y":1,"y":1}]}',
    '{"id":1,"name":{"x":{"x":1,"x":2}}}',
]
NESTED = ["name string", "name list<string>", "name struct<x:string>", "name list<struct<x:string>>"]


@pytest.mark.parametrize("spoilt", ["", "broken\n"])
@pytest.mark.parametrize("column", NESTED)
@pytest.mark.parametrize(
    ("line", "reason"), [(x, "not valid JSON") for x in LOOSE] + [(x, "a field stands twice") for x in TWICE]
)
def test_commas_too_many_and_repeated_fields_are_refused_inside_of_values_too(
    landing: Landing, line: str, reason: str, column: str, spoilt: str
):
    landing.put("a.jsonl", f'{{"id":7,"name":null}}\n{line}\n' + spoilt)
    found = landing.read(schema=schema("id long", column))
    assert found.column("id") == [7]
    assert found.refused[0] == (reason, 2, line)


def test_fields_of_one_name_in_several_objects_of_a_line_are_no_repetition(landing: Landing):
    landing.put("a.jsonl", '{"id":1,"name":[{"x":"a,]"},{"x":"\\"x\\":"}]}\n')
    found = landing.read(schema=schema("id long", "name list<struct<x:string>>"))
    assert (found.column("name"), found.refused) == ([[{"x": "a,]"}, {"x": '"x":'}]], [])


SURPRISES = [
    '{"id":1,"x":2}', '{"id":1,"x":null}', '{"x":1}', '{"id":1, "x" : 2}', '{"id" :1,"x":2}', '{"id":1,"x"\t:2}',
    '{"x":"\\"name\\":null","id":2}', '{"id":2,"name":null,"na\\u006de2":1}', '{"na\\"id":7}', '{"":1}',
]  # fmt: skip


@pytest.mark.parametrize("surprise", SURPRISES)
@pytest.mark.parametrize("other", ['{"id":1,"name":"a"}', '{"id":1}', '{"id":1,"name":null}', '{"name":"\\":"}'])
def test_a_field_that_the_plan_does_not_know_never_goes_unnoticed(landing: Landing, surprise: str, other: str):
    landing.put("a.jsonl", f"{other}\n" * 1500 + f"{surprise}\n")
    found = landing.read(schema=ITEMS)
    assert found.refused == [("a field that the plan does not know", 1501, surprise)]
    assert len(found.rows) == 1500


def test_fields_are_counted_across_the_pieces_a_large_file_is_looked_at_in(landing: Landing):
    lines = [f'{{"id":{n},"name":{json.dumps("x" * (n % 97)) if n % 3 else "null"}}}\n' for n in range(30_000)]
    landing.put("a.jsonl", "".join(lines))
    assert len(landing.read(schema=ITEMS).rows) == 30_000
    landing.put("a.jsonl", "".join(lines) + '{"id":1,"nome":2}\n')
    assert [line for _, line, _ in landing.read(schema=ITEMS).refused] == [30_001]


@pytest.mark.parametrize("line", ["null", "[1]", "1", '"id"', "true"])
def test_a_line_that_is_no_object_is_refused(landing: Landing, line: str):
    landing.put("a.jsonl", f'{{"id":1}}\n{line}\n{{}}\n')
    found = landing.read(schema=ITEMS)
    assert found.refused == [("not a JSON object", 2, line)]
    assert sorted(found.lines) == [1, 3]


@pytest.mark.parametrize("declared", [ITEMS, None], ids=["declared", "inferred"])
@pytest.mark.parametrize("line", ['{"id":1,"name":"\\ud800"}', '{"id":1,"\\uDFFF":"x"}'])
def test_half_a_surrogate_pair_is_no_text(landing: Landing, declared: Any, line: str):
    landing.put("a.jsonl", f'{line}\n{{"id":2,"name":"\\ud83d\\ude00"}}\n')
    found = landing.read(schema=declared)
    assert found.values == [(2, "😀")]
    assert found.refused == [("half a surrogate pair", 1, line)]


def test_an_array_instead_of_lines_is_refused_with_a_reason(landing: Landing):
    landing.put("a.json", '[{"id":1},{"id":2}]')
    assert landing.read(schema=ITEMS).refused == [("not a JSON object", 1, '[{"id":1},{"id":2}]')]


def test_objects_for_a_column_that_is_no_object_are_refused_or_are_text(landing: Landing):
    landing.put("a.jsonl", '{"id":{"x":1}}\n{"id":2,"name":{"y":[1.10]}}\n')
    found = landing.read(schema=ITEMS)
    assert found.refused == [("id: not a long", 1, '{"id":{"x":1}}')]
    assert found.column("id") == [2]


def test_a_file_name_that_is_no_unicode_is_still_a_name(landing: Landing):
    path = os.fsencode(landing.folder) + b"/gr\xf6sse.csv"
    with open(path, "wb") as file:  # noqa: PTH123 - a path of bytes
        file.write(b"id\n1\n")
    found = landing.read("*.csv", schema=schema("id long"))
    assert found.values == [(1,)]
    assert found.column("_source_file") == [f"file://{landing.folder}/gr%F6sse.csv"]


def test_what_is_no_file_is_not_found_and_a_link_is_a_file(landing: Landing):
    landing.put("a.csv", "id\n1\n")
    (landing.folder / "folder.csv").mkdir()
    (landing.folder / "link.csv").symlink_to(landing.folder / "a.csv")
    (landing.folder / "nowhere.csv").symlink_to(landing.folder / "none")
    os.mkfifo(landing.folder / "pipe.csv")
    plan = landing.source("*.csv").plan(position=None, now=NOW)
    assert [one.name.rpartition("/")[2] for one in plan.slices] == ["a.csv", "link.csv"]


def test_the_ending_of_a_compressed_file_may_be_in_capitals(landing: Landing):
    landing.put("A.CSV.GZ", gzip.compress(b"id,name\n1,a\n") + gzip.compress(b"2,b\n"))
    assert landing.read(schema=ITEMS).values == [(1, "a"), (2, "b")]


def test_instants_of_int96_beyond_2262_are_read_as_they_are(landing: Landing):
    table = pa.table({"v": pa.array([FAR], pa.timestamp("us"))})
    landing.put("a.parquet", parquet(table, use_deprecated_int96_timestamps=True))
    assert landing.read(schema=schema("v timestamp")).column("v") == [FAR]
    assert landing.read().column("v") == [FAR]


def test_nanoseconds_are_read_where_none_is_lost(landing: Landing):
    landing.put("a.parquet", parquet(pa.table({"v": pa.array([1_000, 1_001], pa.timestamp("ns"))})))
    found = landing.read(schema=schema("v timestamp"))
    assert found.lines == [1]
    assert [(reason, row) for reason, row, _ in found.refused] == [("v: not a timestamp", 2)]


def test_a_text_of_a_typed_file_that_is_no_utf8_rejects_its_row(landing: Landing):
    texts = pa.array([b"\xff", b"ok"], pa.binary()).view(pa.string())
    landing.put("a.parquet", parquet(pa.table({"id": [1, 2], "name": texts})))
    found = landing.read(schema=ITEMS)
    assert found.values == [(2, "ok")]
    assert found.refused == [("name: not a string", 1, '{"id":1,"name":"\\\\xff"}')]


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date", "time"])
def test_a_number_is_no_instant_and_an_instant_no_number(landing: Landing, kind: str):
    width = pa.int32() if kind == "date" else pa.int64()
    landing.put("a.parquet", parquet(pa.table({"v": pa.array([None, 1_700_000_000], width)})))
    assert [row for _, row, _ in landing.read(schema=schema(f"v {kind}")).refused] == [2]
    landing.put("a.parquet", parquet(pa.table({"v": pa.array([None, 1_700], width).cast(arrow_type(kind))})))
    assert [row for _, row, _ in landing.read(schema=schema("v long")).refused] == [2]


def test_a_refused_row_is_shown_whatever_its_other_values_are(landing: Landing):
    far = pa.array([4_000_000], pa.int32()).cast(pa.date32())
    fine = pa.array([1_001], pa.timestamp("ns"))
    landing.put("a.parquet", parquet(pa.table({"id": ["x"], "far": far, "fine": fine})))
    ((reason, row, shown),) = landing.read(schema=schema("id long", "far date", "fine timestamp")).refused
    assert (reason, row) == ("id: not a long", 1)
    assert shown.startswith('{"id":"x","far":"12921-')


NANOS = {"type": "long", "logicalType": "timestamp-nanos"}
MANY_DIGITS = {"type": "bytes", "logicalType": "decimal", "precision": 50, "scale": 2}


@pytest.mark.parametrize(
    ("avro", "kind", "values", "good", "reason"),
    [
        (NANOS, "timestamptz", [2_000, 2_001], [datetime(1970, 1, 1, 0, 0, 0, 2, tzinfo=UTC)], "v: not a timestamptz"),
        (MANY_DIGITS, "decimal(38,2)", [Decimal("1.50"), Decimal("1e40")], [Decimal("1.50")], "v: not a decimal(38,2)"),
    ],
    ids=["nanoseconds", "many digits"],
)  # fmt: skip
def test_avro_values_beyond_what_a_column_holds_are_refused_and_never_scaled(
    landing: Landing, avro: Any, kind: str, values: list[Any], good: list[Any], reason: str
):
    import fastavro

    content = io.BytesIO()
    record = {"type": "record", "name": "r", "fields": [{"name": "v", "type": avro}]}
    fastavro.writer(content, record, [{"v": value} for value in values])
    landing.put("a.avro", content.getvalue())
    found = landing.read(schema=schema(f"v {kind}"))
    assert found.column("v") == good
    assert [one[0] for one in found.refused] == [reason]


WIDE = pa.array([Decimal("1.50"), Decimal("1e40")], pa.decimal256(60, 2))
UNHOLDABLE: dict[str, pa.Table] = {
    "a column of a type that no table can hold: decimal256(60, 2)": pa.table({"v": WIDE}),
    "a column of a type that no table can hold: duration[s]": pa.table({"v": pa.array([1], pa.duration("s"))}),
    "two columns of one name": pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
}


@pytest.mark.parametrize("reason", UNHOLDABLE)
@pytest.mark.parametrize("declared", [ITEMS, None], ids=["declared", "inferred"])
def test_a_typed_file_that_no_table_can_hold_is_refused_and_no_other(landing: Landing, reason: str, declared: Any):
    landing.put("a.parquet", parquet(UNHOLDABLE[reason]))
    landing.put("b.parquet", parquet(pa.table({"id": [1]})))
    found = landing.read(schema=declared)
    assert found.column("id") == [1]
    assert found.refused == [(f"corrupt file: {reason}", None, "")]


def test_values_of_a_wider_decimal_are_read_where_they_fit(landing: Landing):
    landing.put("a.parquet", parquet(pa.table({"v": WIDE})))
    found = landing.read(schema=schema("v decimal(10,2)"))
    assert (found.column("v"), [row for _, row, _ in found.refused]) == ([Decimal("1.50")], [2])


def test_a_parquet_file_without_columns_gives_no_rows(landing: Landing):
    landing.put("a.parquet", parquet(pa.table({})))
    assert landing.read(schema=ITEMS).rows == []


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_value_of_more_than_a_hundred_megabytes_is_read_whole(landing: Landing, name: str):
    text = "x" * (101 * 1024 * 1024)
    landing.put(
        name, {"a.csv": f"id,name\n1,{text}\n2,b\n", "a.jsonl": f'{{"id":1,"name":"{text}"}}\n{{"id":2}}\n'}[name]
    )
    found = landing.read(schema=ITEMS)
    assert found.column("id") == [1, 2]
    assert len(found.rows[0]["name"]) == len(text)
    assert not found.rejects
