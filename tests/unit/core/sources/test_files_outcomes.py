"""What becomes of every object that a source of files finds."""

from __future__ import annotations

import gzip
import io
import json
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.sources.base import ExtractPlan, Slice
from airflow_provider_lakehouse.core.sources.files.lines import CsvDialect

from .landing import NOW, read, schema

if TYPE_CHECKING:
    from .landing import Landing

ITEMS = schema("id long", "name string")
GOOD = "id,name\n1,a\n2,b\n"


def parquet(**columns: list[object]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def avro(*records: dict[str, object]) -> bytes:
    sink = io.BytesIO()
    fields = [{"name": "id", "type": "long"}, {"name": "name", "type": ["null", "string"]}]
    fastavro.writer(sink, {"type": "record", "name": "item", "fields": fields}, records)
    return sink.getvalue()


CONTENTS = {
    "a.csv": GOOD.encode(),
    "a.jsonl": b'{"id":1,"name":"a"}\n{"id":2,"name":"b"}\n',
    "a.ndjson": b'{"id":1,"name":"a"}\n{"id":2,"name":"b"}\n',
    "a.csv.gz": gzip.compress(GOOD.encode()),
    "a.jsonl.gz": gzip.compress(b'{"id":1,"name":"a"}\n{"id":2,"name":"b"}\n'),
    "a.parquet": parquet(id=[1, 2], name=["a", "b"]),
    "a.avro": avro({"id": 1, "name": "a"}, {"id": 2, "name": "b"}),
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("declared", [ITEMS, None], ids=["declared", "inferred"])
def test_every_format_gives_the_same_rows(landing: Landing, name: str, declared: Schema | None):
    uri = landing.put(name, CONTENTS[name])
    found = landing.read(schema=declared)
    assert found.values == [(1, "a"), (2, "b")]
    assert found.column("_source_file") == [uri, uri]
    assert found.types == {"id": "int64", "name": "string", "_source_file": "string", "_source_row": "int64"}
    assert not found.rejects


@pytest.mark.parametrize(
    ("name", "lines"), [("a.csv", [2, 3]), ("a.jsonl", [1, 2]), ("a.parquet", [1, 2]), ("a.avro", [1, 2])]
)
def test_rows_tell_the_line_they_start_on(landing: Landing, name: str, lines: list[int]):
    landing.put(name, CONTENTS[name])
    assert landing.read(schema=ITEMS).lines == lines


def test_a_late_file_is_read_like_any_other(landing: Landing):
    landing.put("2017-01-02.csv", GOOD)
    landing.put("2017-01-01.csv", GOOD, age=timedelta(0))
    assert [s.name.rpartition("/")[2] for s in landing.read().plan.slices] == ["2017-01-01.csv", "2017-01-02.csv"]


def test_files_can_be_read_in_the_order_they_were_written(landing: Landing):
    landing.put("a.csv", GOOD, age=timedelta(hours=1))
    landing.put("b.csv", GOOD, age=timedelta(hours=2))
    names = [s.name.rpartition("/")[2] for s in landing.read(order="modified").plan.slices]
    assert names == ["b.csv", "a.csv"]


def test_what_was_seen_is_left_out_and_new_content_under_its_name_is_not(landing: Landing):
    seen, renewed = landing.put("seen.csv", GOOD), landing.put("renewed.csv", GOOD)
    first = landing.source().plan(position=None, now=NOW)
    position = {"seen": {s.name: [s.facts["identity"]] for s in first.slices}}
    landing.put("renewed.csv", GOOD + "3,c\n")
    second = landing.source().plan(position=position, now=NOW)
    assert [s.name for s in second.slices] == [renewed]
    assert second.left_out == {seen: "already seen"}


def test_a_file_that_is_still_being_written_is_left_out_until_it_settles(landing: Landing):
    uri = landing.put("a.csv", GOOD, age=timedelta(seconds=5))
    source = landing.source(settle=timedelta(seconds=30))
    assert source.plan(position=None, now=NOW).left_out == {uri: "still being written"}
    assert len(source.plan(position=None, now=NOW + timedelta(seconds=30)).slices) == 1


@pytest.mark.parametrize("name", [".hidden.csv", "_SUCCESS", "a.csv.partial", "a.csv.tmp"])
def test_a_temporary_name_is_left_out(landing: Landing, name: str):
    uri = landing.put(name, GOOD)
    assert landing.read().plan.left_out == {uri: "temporary name"}


def test_a_file_of_an_unknown_kind_is_left_out_unless_the_format_is_said(landing: Landing):
    uri = landing.put("a.txt", GOOD)
    assert landing.read().plan.left_out == {uri: "no reader for its name"}
    assert landing.read(format="csv").values == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(("name", "content"), [
    ("a.csv", ""), ("a.csv", "id,name\n"), ("a.csv", "id,name"), ("a.csv", "\ufeffid,name\r\n"), ("a.csv", "\n\n"),
    ("a.jsonl", ""), ("a.jsonl", "\n"), ("a.parquet", b""), ("a.avro", b""), ("a.csv.gz", gzip.compress(b"")),
    ("a.parquet", parquet(id=pa.array([], pa.int64()))), ("a.avro", avro()),
])  # fmt: skip
@pytest.mark.parametrize("declared", [ITEMS, None], ids=["declared", "inferred"])
def test_an_empty_file_gives_no_rows_and_no_refusals(
    landing: Landing, name: str, content: str | bytes, declared: Schema | None
):
    landing.put(name, content)
    found = landing.read(schema=declared)
    assert (len(found.plan.slices), found.rows, found.rejects) == (1, [], [])


CORRUPT = {
    "not valid utf-8": ("a.csv", GOOD.encode() + b"3,\xff\n"),
    "not valid utf-8 ": ("a.jsonl", b'{"id":1,"name":"\xff"}\n'),
    "not valid utf-8  ": ("a.csv", b"id,n\xff\n1,2\n"),
    "truncated gzip": ("a.csv.gz", gzip.compress(GOOD.encode() * 1000)[:-20]),
    "broken gzip": ("a.csv.gz", GOOD.encode()),
    "not a whole Parquet file": ("a.parquet", CONTENTS["a.parquet"][:-20]),
    "not a whole Parquet file ": ("a.parquet", b"PAR1" + b"x" * 100),
    "not a whole Avro file": ("a.avro", CONTENTS["a.avro"][:-5]),
    "not a whole Avro file ": ("a.avro", b"Obj\x01 and no more"),
    "no readable header: lines must end with a line feed": ("a.csv", b"id,name\r1,a\r"),
    "no readable header: text after a closing quote": ("a.csv", b'"id"x,name\n1,a\n'),
}


@pytest.mark.parametrize("reason", CORRUPT)
@pytest.mark.parametrize("declared", [ITEMS, None], ids=["declared", "inferred"])
def test_a_corrupt_file_is_refused_as_a_whole(landing: Landing, reason: str, declared: Schema | None):
    name, content = CORRUPT[reason]
    uri = landing.put(name, content)
    landing.put("b" + name[1:], CONTENTS[name])
    found = landing.read(schema=declared)
    assert found.refused == [(f"corrupt file: {reason.strip()}", None, "")]
    assert found.rejects[0].source_file == uri
    assert found.values == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_corrupt_file_can_end_the_read_instead(landing: Landing, name: str):
    uri = landing.put(name, b"\xff\xfe\n")
    with pytest.raises(DataRejectedError) as caught:
        landing.read(schema=ITEMS, on_corrupt="fail")
    assert caught.value.facts["uri"] == uri


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("change", ["rewritten", "gone"])
def test_a_file_that_is_no_longer_as_planned_is_named_and_gives_no_rows(landing: Landing, name: str, change: str):
    uri = landing.put(name, CONTENTS[name])
    source = landing.source(schema=ITEMS)
    plan = source.plan(position=None, now=NOW)
    if change == "gone":
        (landing.folder / name).unlink()
    else:
        landing.put(name, CONTENTS[name], age=timedelta(0))
    with pytest.raises(DataRejectedError) as caught:
        read(source, plan)
    assert caught.value.facts["changed"] == (uri,)


def test_the_same_plan_gives_the_same_rows_also_after_a_journey_through_json(landing: Landing):
    landing.put("a.csv", "id,name,more\n1,a,2.5\n")
    landing.put("b.csv", "id,name\nx,y\n")
    source = landing.source()
    plan = source.plan(position=None, now=NOW)
    again = ExtractPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert read(source, plan) == read(source, again)
    assert plan.fingerprint == again.fingerprint


def test_a_plan_of_another_pattern_is_read_as_it_was_meant(landing: Landing):
    landing.put("a.csv", "id;name\n1;größe\nx;b\n2;NA\n".encode("latin-1"))
    meant = landing.source("*.csv", schema=ITEMS, encoding="latin-1", csv=CsvDialect(delimiter=";", null_texts=("NA",)))
    plan = ExtractPlan.from_json(json.loads(json.dumps(meant.plan(position=None, now=NOW).to_json())))
    other = landing.source("*.jsonl", schema=schema("name string!", "day date"), extra_columns="leave out")
    assert read(other, plan) == read(meant, plan)
    assert read(other, plan).values == [(1, "größe"), (2, None)]


def test_a_plan_of_the_same_pattern_is_read_with_the_settings_of_now(landing: Landing):
    landing.put("a.csv", "id,name\n1.5,a\n")
    plan = landing.source(schema=schema("id long", "name string")).plan(position=None, now=NOW)
    corrected = landing.source(schema=schema("id decimal(10,2)", "name string"))
    assert read(corrected, plan).values == [(Decimal("1.50"), "a")]


def test_a_plan_of_another_kind_of_source_is_refused(landing: Landing):
    with pytest.raises(InvalidRequestError, match="another source"):
        read(landing.source(), ExtractPlan("postgres://db/orders", NOW, (Slice("orders"),)))


def test_files_of_all_formats_come_in_order_as_one_stream(landing: Landing):
    for name, content in CONTENTS.items():
        landing.put(name, content)
    found = landing.read(schema=ITEMS)
    assert [uri.rpartition("/")[2] for uri in found.column("_source_file")] == [
        name for name in sorted(CONTENTS) for _ in range(2)
    ]


def test_one_bad_file_among_many_does_not_touch_the_others(landing: Landing):
    for number in range(40):
        landing.put(f"{number:02}.csv", f"id,name\n{number},x\n")
    landing.put("17.csv", "id,name\n17,x,y\n170,z\n")
    landing.put("23.csv", b"id,name\n23,\xff\n")
    found = landing.read(schema=ITEMS)
    assert found.column("id") == [170 if n == 17 else n for n in range(40) if n != 23]
    assert found.refused == [
        ("wrong number of fields", 2, "17,x,y"),
        ("corrupt file: not valid utf-8", None, ""),
    ]


def test_too_many_refused_rows_end_the_read(landing: Landing):
    landing.put("a.csv", "id\n" + "x\n" * 50)
    source = landing.source(schema=schema("id long"))
    with pytest.raises(DataRejectedError) as caught:
        read(source, source.plan(position=None, now=NOW), max_rejects=49)
    assert caught.value.facts["first_reason"] == "id: not a long"


def test_no_match_is_an_empty_plan_and_an_empty_read(landing: Landing):
    found = landing.read("*.csv", schema=ITEMS)
    assert (found.plan.slices, found.rows) == ((), [])


@pytest.mark.parametrize(("pattern", "names"), [
    ("*.csv", ["a.csv", "b.csv"]),
    ("", ["a.csv", "b.csv"]),
    ("[a]*.csv", ["a.csv"]),
    ("?.csv", ["a.csv", "b.csv"]),
    ("**/*.csv", ["a.csv", "b.csv", "x/c.csv", "x/y/d.csv"]),
    ("*/*.csv", ["x/c.csv"]),
    ("x/y/d.csv", ["x/y/d.csv"]),
    ("x/none.csv", []),
])  # fmt: skip
def test_a_pattern_names_files(landing: Landing, pattern: str, names: list[str]):
    for name in ("a.csv", "b.csv", "x/c.csv", "x/y/d.csv"):
        landing.put(name, GOOD)
    found = landing.source(pattern).plan(position=None, now=NOW)
    assert [s.name.removeprefix(f"file://{landing.folder}/") for s in found.slices] == names


@pytest.mark.parametrize("name", ["it's.csv", "a b.csv", "a%20b.csv", "[x].csv", "größe.csv", "a;drop table x.csv"])
def test_any_file_name_is_only_a_name(landing: Landing, name: str):
    landing.put(name, GOOD)
    landing.put("x.csv", "id,name\n9,other\n")
    found = landing.read("*.csv", schema=ITEMS)
    assert sorted(found.column("id")) == [1, 2, 9]


def test_texts_in_other_encodings_are_read_or_corrupt(landing: Landing):
    landing.put("a.csv", "id,name\n1,größe\n".encode("latin-1"))
    landing.put("b.csv", "id,name\n2,größe\n".encode("utf-16"))
    assert landing.read("a.csv", encoding="latin-1").values == [(1, "größe")]
    assert landing.read("b.csv", encoding="utf-16").values == [(2, "größe")]
    assert landing.read("a.csv", encoding="utf-16", schema=ITEMS).rejects[0].reason == "corrupt file: not valid utf-16"
    with pytest.raises(InvalidRequestError, match="encoding"):
        landing.read("a.csv", encoding="klingon")


def test_settings_refuse_the_columns_that_the_source_adds(landing: Landing):
    with pytest.raises(InvalidRequestError, match="adds columns"):
        landing.source(schema=Schema.of(Column("_source_file", "string")))


def test_nothing_is_left_in_the_folder_for_copies(landing: Landing, tmp_path):
    folder = tmp_path / "copies"
    folder.mkdir()
    landing.put("a.csv.gz", CONTENTS["a.csv.gz"])
    landing.put("b.csv.gz", b"broken")
    assert len(landing.read(schema=ITEMS, folder=str(folder)).rows) == 2
    assert list(folder.iterdir()) == []
