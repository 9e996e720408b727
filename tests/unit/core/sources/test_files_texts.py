"""How CSV and JSON lines are read: exactly, or the row is refused with its line and its text."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_lakehouse.core.errors import UnsupportedError
from airflow_provider_lakehouse.core.sources.files.lines import CsvDialect, csv_records

from .landing import Landing, schema

ZONED = datetime(2017, 1, 31, 8, 30, 15, 123000, tzinfo=UTC)
AT = ZONED.replace(tzinfo=None)
VALUES: list[tuple[str, str, Any]] = [
    ("long", "9223372036854775807", 2**63 - 1), ("long", "+5", 5), ("long", " 5 ", 5), ("long", "007", 7),
    ("int", "-2147483648", -(2**31)),
    ("decimal(10,2)", "1.5", Decimal("1.50")), ("decimal(10,2)", "1.500", Decimal("1.50")),
    ("decimal(4,0)", "7.0", Decimal(7)),
    ("decimal(38,10)", "1234567890123456789012345678.0123456789", Decimal("1234567890123456789012345678.0123456789")),
    ("double", "1e3", 1000.0), ("double", "-inf", float("-inf")), ("float", "0.5", 0.5),
    ("date", "2017-01-31", date(2017, 1, 31)), ("date", "1969-12-31", date(1969, 12, 31)),
    ("date", "0001-01-01", date(1, 1, 1)),
    ("timestamp", "2017-01-31 08:30:15.123", AT), ("timestamp", "2017-01-31T08:30:15.123000", AT),
    ("timestamp", "2017-01-31", AT.replace(hour=0, minute=0, second=0, microsecond=0)),
    ("timestamptz", "2017-01-31T08:30:15.123Z", ZONED),
    ("timestamptz", "2017-01-31 08:30:15.123", ZONED),
    ("timestamptz", "2017-01-31 10:30:15.123+02:00", ZONED),
    ("timestamptz", "2017-01-31T03:00:15.123-0530", ZONED),
    ("time", "08:30", time(8, 30)), ("boolean", "true", True), ("boolean", "F", False),
    ("uuid", "6BA7B810-9dad-11d1-80b4-00c04fd430c8", UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
    ("binary", "00ff", b"\x00\xff"), ("fixed(2)", "00FF", b"\x00\xff"), ("binary", '""', b""),
    ("string", " as it is ", " as it is "), ("string", '""', ""), ("string", '"a""b"', 'a"b'), ("string", "\\N", "\\N"),
    ("list<int>", '"[1,2]"', [1, 2]),
    ("struct<a:date,b:string>", '"{""a"": ""2017-01-31""}"', {"a": date(2017, 1, 31), "b": None}),
    ("map<string,long>", '"{""k"": 1}"', [("k", 1)]), ("list<list<long>>", '"[[1],[]]"', [[1], []]),
    ("long", "", None), ("string", "", None), ("date", "", None), ("list<int>", "", None),
]  # fmt: skip
NOT_VALUES = [
    ("long", "9223372036854775808"), ("long", "1.5"), ("long", "1.0"), ("long", "1e3"), ("long", "1_000"),
    ("long", "0x10"),
    ("long", "1,000"), ("long", "٣"), ("long", '""'), ("int", "2147483648"), ("long", "NaN"),
    ("decimal(10,2)", "1.005"), ("decimal(10,2)", "123456789.00"), ("decimal(10,2)", "1e2"), ("decimal(10,2)", "1_0.5"),
    ("decimal(10,2)", "nan"), ("decimal(10,2)", "1,5"), ("decimal(4,0)", "7.5"),
    ("double", "1e400"), ("double", "1_0"), ("double", "one"), ("float", "1e39"),
    ("date", "2017-02-30"), ("date", "31.01.2017"), ("date", "2017-01-31 10:00"), ("date", "infinity"),
    ("date", "epoch"),
    ("timestamp", "2017-01-31T08:30:15Z"), ("timestamp", "2017-01-31 08:30+02"), ("timestamp", "2017-01-31 24:00:00"),
    ("timestamp", "2017-01-31 08:30:15.1234567"), ("timestamp", "now"),
    ("timestamptz", "2017-03-26 02:30 Europe/Berlin"),
    ("timestamptz", "infinity"), ("time", "24:00"), ("time", "08:30+02"), ("boolean", "2"), ("boolean", "on"),
    ("uuid", "6ba7b810"), ("binary", "0"), ("binary", "zz"), ("fixed(2)", "00"),
    ("list<int>", "1"), ("list<int>", '"[1.5]"'), ("list<int>", "[1"), ("struct<a:date>", '"{""a"": ""x""}"'),
    ("list<list<long>>", '"[[1],[""y""]]"'), ("map<string,long>", '"{""k"": ""x""}"'),
]  # fmt: skip


def fields(text: str) -> str:
    return text if text.startswith('"') or "," not in text else f'"{text}"'


@pytest.mark.parametrize(("kind", "text", "value"), VALUES)
def test_a_text_is_read_as_exactly_the_value_it_says(landing: Landing, kind: str, text: str, value: Any):
    landing.put("a.csv", f"v,other\n{fields(text)},x\n")
    found = landing.read(schema=schema(f"v {kind}", "other string"))
    assert (found.values, found.rejects) == ([(value, "x")], [])


@pytest.mark.parametrize(("kind", "text"), NOT_VALUES)
def test_a_text_that_is_not_exactly_a_value_refuses_its_row_and_no_other(landing: Landing, kind: str, text: str):
    landing.put("a.csv", f"other,v\nx,\ny,{fields(text)}\nz,\n")
    found = landing.read(schema=schema("other string", f"v {kind}"))
    assert found.refused == [(f"v: not a {schema(f'v {kind}').columns[0].type}", 3, f"y,{fields(text)}")]
    assert found.column("other") == ["x", "z"]


@pytest.mark.parametrize(("kind", "text"), NOT_VALUES)
def test_both_ways_of_reading_refuse_the_same_texts(landing: Landing, kind: str, text: str):
    landing.put("a.csv", f"other,v\nx,\ny,{fields(text)}\nz,\ntoo,many,fields\n")
    found = landing.read(schema=schema("other string", f"v {kind}"))
    assert [(line, payload) for _, line, payload in found.refused] == [(3, f"y,{fields(text)}"), (5, "too,many,fields")]
    assert found.column("other") == ["x", "z"]


@pytest.mark.parametrize(("kind", "text", "value"), VALUES)
def test_both_ways_of_reading_read_the_same_values(landing: Landing, kind: str, text: str, value: Any):
    landing.put("a.csv", f"v,other\n{fields(text)},x\ntoo,many,fields\n")
    found = landing.read(schema=schema(f"v {kind}", "other string"))
    assert (found.values, found.lines) == ([(value, "x")], [2])


def test_numbers_that_are_not_numbers_are_read_where_a_column_can_hold_them(landing: Landing):
    landing.put("a.csv", "v,w\nNaN,1\n")
    (found,) = landing.read(schema=schema("v double", "w double")).column("v")
    assert found != found


def test_years_that_python_lacks_are_read_and_travel(landing: Landing):
    landing.put("a.csv", "v\n12017-01-31\n")
    source = landing.source(schema=schema("v date"))
    from airflow_provider_lakehouse.core.sources.base import Rejects

    from .landing import NOW

    table = source.read(source.plan(position=None, now=NOW), rejects=Rejects()).read_all()
    assert table.column("v").cast("int32").to_pylist() == [(date(2017, 1, 31) - date(1970, 1, 1)).days + 3652425]


BROKEN = """id,name
1,a

2,"x
y"
3,b,extra
4
5,"un"closed
"6" , "spaced"
7,5" pipe
8,"never closed
9,""
10,
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_and_texts_of_refused_rows_are_right_whatever_stands_before(landing: Landing, end: str):
    landing.put("a.csv", BROKEN.replace("\n", end))
    found = landing.read(schema=schema("id long", "name string"))
    assert found.refused == [
        ("wrong number of fields", 6, "3,b,extra"),
        ("wrong number of fields", 7, "4"),
        ("text after a closing quote", 8, '5,"un"closed'),
        ("a quote is not closed", 11, '8,"never closed'),
    ]
    assert list(zip(found.lines, found.values, strict=True)) == [
        (2, (1, "a")), (4, (2, f"x{end}y")), (9, (6, "spaced")), (10, (7, '5" pipe')), (12, (9, "")), (13, (10, None)),
    ]  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_fast_way_knows_lines_too_when_values_hold_line_ends(landing: Landing, end: str):
    landing.put("a.csv", f'id,name{end}1,"a{end}{end}b"{end}{end}2,""""{end}x,"c{end}d"{end}3,z'.encode())
    found = landing.read(schema=schema("id long", "name string"))
    assert (found.lines, found.values) == ([2, 6, 9], [(1, f"a{end}{end}b"), (2, '"'), (3, "z")])
    assert found.refused == [("id: not a long", 7, f'x,"c{end}d"')]


def test_mixed_line_ends_are_all_line_ends(landing: Landing):
    landing.put("a.csv", "id,name\r\n1,a\n2,b\r\n3,c\n")
    found = landing.read(schema=schema("id long", "name string"))
    assert (found.lines, found.values) == ([2, 3, 4], [(1, "a"), (2, "b"), (3, "c")])


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_byte_order_mark_is_not_part_of_a_name(landing: Landing, name: str):
    landing.put(name, "\ufeff" + {"a.csv": "id,n\n1,a\n", "a.jsonl": '{"id":1,"n":"a"}\n'}[name])
    for declared in (schema("id long", "n string"), None):
        assert landing.read(schema=declared).values == [(1, "a")]


def test_in_a_file_of_one_column_a_blank_line_is_a_null(landing: Landing):
    for bad in ("", "b,c\n"):
        landing.put("a.csv", f'v\na\n\n""\n{bad}b\n')
        found = landing.read(schema=schema("v string"))
        assert found.column("v") == ["a", None, "", "b"]
        assert found.lines == [2, 3, 4, 6 if bad else 5]


def test_null_texts_and_delimiters_are_settings(landing: Landing):
    dialect = CsvDialect(delimiter="\t", quote="'", null_texts=("", "NA", "\\N"))
    for bad in ("", "1\t2\t3\n"):
        landing.put("a.csv", f"n\ts\nNA\tNA\n\\N\t'NA'\n1\t'a\tb'\n{bad}")
        found = landing.read(schema=schema("n long", "s string"), csv=dialect)
        assert found.values == [(None, None), (None, "NA"), (1, "a\tb")]


def test_without_a_header_columns_go_by_their_place(landing: Landing):
    landing.put("a.csv", "1,a\n2\n3,c\n")
    found = landing.read(schema=schema("id long", "n string"), csv=CsvDialect(has_header=False))
    assert (found.lines, found.values, found.refused) == (
        [1, 3],
        [(1, "a"), (3, "c")],
        [("wrong number of fields", 2, "2")],
    )
    assert list(landing.read(csv=CsvDialect(has_header=False)).rows[0])[:2] == ["column_1", "column_2"]


ODD_NAMES = [
    'a"b',
    "a'b",
    "a.b",
    "a,b",
    "größe",
    "select",
    "x; drop table t",
    " s ",
    "%",
    "{}",
    "A",
    "a",
    "c0",
    "reason",
]


@pytest.mark.parametrize("bad", [False, True])
def test_any_text_can_name_a_column(landing: Landing, bad: bool):
    header = ",".join('"' + name.replace('"', '""') + '"' for name in ODD_NAMES)
    row = ",".join(str(n) for n in range(len(ODD_NAMES)))
    landing.put("a.csv", f"{header}\n{row}\n{'x' if bad else row}\n")
    for declared in (schema(*(f"{name} long" for name in ODD_NAMES)), None):
        found = landing.read(schema=declared)
        assert list(found.types)[:-2] == ODD_NAMES
        assert found.values[0] == tuple(range(len(ODD_NAMES)))
        assert len(found.rejects) == bad


def test_any_text_can_name_a_field_of_json(landing: Landing):
    import json

    landing.put("a.jsonl", json.dumps({name: number for number, name in enumerate(ODD_NAMES)}) + "\n")
    for declared in (schema(*(f"{name} long" for name in ODD_NAMES)), None):
        assert landing.read(schema=declared).values == [tuple(range(len(ODD_NAMES)))]


def test_repeated_and_missing_names_get_names_of_their_own(landing: Landing):
    landing.put("a.csv", "id,id,,_source_file\n1,2,3,4\n")
    assert list(landing.read().types)[:-2] == ["id", "id_2", "column_3", "_source_file_2"]


def test_ten_thousand_columns_are_read(landing: Landing):
    names = [f"c{n}" for n in range(10_000)]
    landing.put("a.csv", ",".join(names) + "\n" + ",".join(map(str, range(10_000))) + "\n")
    assert landing.read(schema=schema(*(f"{name} long" for name in names))).values == [tuple(range(10_000))]
    assert landing.read().values == [tuple(range(10_000))]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_string_of_ten_megabytes_is_read(landing: Landing, name: str):
    text = "ä" * 5_000_000
    landing.put(name, {"a.csv": f"id,s\n1,{text}\nx,y\n", "a.jsonl": f'{{"id":1,"s":"{text}"}}\n{{"id":"x"}}\n'}[name])
    found = landing.read(schema=schema("id long", "s string"))
    assert found.values == [(1, text)]
    assert len(found.rejects) == 1


def test_columns_the_schema_lacks_are_delivered_behind_it_as_text_or_left_out(landing: Landing):
    landing.put("a.csv", "new,id\n1.10,1\n")
    landing.put("b.csv", "id,newer\n2,x\n")
    found = landing.read(schema=schema("id long", "gone date"))
    assert found.values == [(1, None, "1.10", None), (2, None, None, "x")]
    assert landing.read(schema=schema("id long"), extra_columns="leave out").values == [(1,), (2,)]


def test_a_column_that_must_be_there_refuses_the_rows_of_a_file_without_it(landing: Landing):
    landing.put("a.csv", "id,name\n1,a\n,b\n")
    landing.put("b.csv", "name\nc\n")
    found = landing.read(schema=schema("id long!", "name string"))
    assert found.refused == [("id: null, and required", 3, ",b"), ("id: missing, and required", 2, "c")]
    assert found.values == [(1, "a")]


def test_inference_holds_every_value_or_falls_back_to_text(landing: Landing):
    landing.put(
        "a.csv", "n,d,code,day,at,zoned,b,mixed\n1,2,007,2017-01-31,2017-01-31 10:00,2017-01-31T10:00Z,true,1\n"
    )
    landing.put("b.csv", "n,d,mixed,late\n3,2.5,x,9\n")
    found = landing.read()
    assert list(found.types.items())[:-2] == [
        ("n", "int64"), ("d", "double"), ("code", "string"), ("day", "date32[day]"), ("at", "timestamp[us]"),
        ("zoned", "timestamp[us, tz=UTC]"), ("b", "bool"), ("mixed", "string"), ("late", "int64"),
    ]  # fmt: skip
    assert not found.rejects


def test_types_of_json_are_those_of_its_values(landing: Landing):
    landing.put("a.jsonl", '{"n":1,"d":1.5,"s":"5","b":true,"o":{"x":[1]},"day":"2017-01-31","z":null}\n')
    found = landing.read()
    assert found.values == [(1, 1.5, "5", True, '{"x":[1]}', date(2017, 1, 31), None)]


JSON_LINES = """{"id":1,"amount":1.10}

{"id":"2","amount":"3.25"}
{"id":3,"amount":12345678901234567890.10}
{"id":4,"amount":0.1000000000000000055511151231257827}
{"id":5
{"id":6,"id":7}
[8]
{"id":9,"surprise":1}
{"id":1.5}
{"amount":1e1}
not json
"""


def test_json_lines_are_read_exactly_or_refused_with_their_line(landing: Landing):
    landing.put("a.jsonl", JSON_LINES)
    found = landing.read(schema=schema("id long", "amount decimal(30,2)"), extra_columns="leave out")
    assert list(zip(found.lines, found.values, strict=True)) == [
        (1, (1, Decimal("1.10"))), (3, (2, Decimal("3.25"))), (4, (3, Decimal("12345678901234567890.10"))),
        (9, (9, None)),
        (11, (None, Decimal(10))),
    ]  # fmt: skip
    assert [(reason, line) for reason, line, _ in found.refused] == [
        ("amount: not a decimal(30,2)", 5), ("not valid JSON", 6), ("a field stands twice", 7),
        ("not a JSON object", 8),
        ("id: not a long", 10), ("not valid JSON", 12),
    ]  # fmt: skip
    assert found.refused[1][2] == '{"id":5'


def test_a_number_of_many_digits_alone_is_read_exactly_too(landing: Landing):
    landing.put("a.jsonl", '{"v":12345678901234567890.10}\n{"v":0.5}\n{"v":0.12345678901234567}\n')
    found = landing.read(schema=schema("v decimal(30,2)"))
    assert sorted(zip(found.lines, found.column("v"), strict=True)) == [
        (1, Decimal("12345678901234567890.10")), (2, Decimal("0.50"))]  # fmt: skip
    assert [(reason, line) for reason, line, _ in found.refused] == [("v: not a decimal(30,2)", 3)]


def test_a_field_that_appears_after_the_plan_looked_refuses_its_row(landing: Landing):
    landing.put("a.jsonl", '{"id":1}\n' * 2000 + '{"id":2,"late":true}\n')
    found = landing.read()
    assert len(found.rows) == 2000
    assert found.refused == [("a field that the plan does not know", 2001, '{"id":2,"late":true}')]


def test_bytes_within_lists_are_refused_by_name(landing: Landing):
    with pytest.raises(UnsupportedError, match="cannot be read from text"):
        landing.source(schema=schema("v list<binary>"))


TEXTS = st.text(st.sampled_from(list('ab ",\n\r;é\0')), max_size=6)


@settings(max_examples=40)
@given(st.lists(st.tuples(TEXTS | st.none(), TEXTS | st.none()), max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_what_was_written_by_the_rules_is_read_back_on_both_ways(
    tmp_path_factory, rows: list[tuple[str | None, str | None]], end: str
):
    def quoted(text: str | None) -> str:
        return "" if text is None else '"' + text.replace('"', '""') + '"'

    landing = Landing(tmp_path_factory.mktemp("landing"))
    content = "a,b" + end + "".join(f"{quoted(a)},{quoted(b)}{end}" for a, b in rows)
    starts, line = [], 2
    for a, b in rows:
        starts.append(line)
        line += 1 + ((a or "") + (b or "")).count("\n")
    landing.put("a.csv", content)
    fast = landing.read(schema=schema("a string", "b string"))
    careful = [
        (r.line, r.fields, r.fault) for r in csv_records(content.encode().splitlines(keepends=True), CsvDialect())
    ]
    assert (fast.values, fast.lines, fast.rejects) == (rows, starts, [])
    landing.put("a.csv", content + "1,2,3\n")
    slow = landing.read(schema=schema("a string", "b string"))
    assert (slow.values, slow.lines, len(slow.rejects)) == (rows, starts, 1)
    assert len(careful) >= 1
