"""Column types: what is a type, what is lossless, what becomes of Arrow's."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.types import PRIMITIVES, arrow_type, is_widening, parse_type, type_of

_leaves = st.one_of(
    st.sampled_from(sorted(PRIMITIVES)),
    st.builds("decimal({},{})".format, st.integers(20, 38), st.integers(0, 20)),
    st.builds("fixed({})".format, st.integers(1, 64)),
)
_names = st.text(min_size=1, max_size=8).filter(lambda name: "\x00" not in name)


def _struct(fields: dict[str, str]) -> str:
    return "struct<" + ",".join(f"`{name.replace('`', '``')}`:{kind}" for name, kind in fields.items()) + ">"


_types = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds("list<{}>".format, inner),
        st.builds("map<string,{}>".format, inner),
        st.dictionaries(_names, inner, min_size=1, max_size=3).map(_struct),
    ),
    max_leaves=5,
)


@given(_types)
def test_every_type_is_read_back_from_its_text_and_from_arrow(text: str) -> None:
    canonical = str(parse_type(text))
    assert str(parse_type(canonical)) == canonical
    assert type_of(arrow_type(text)) == canonical


@pytest.mark.parametrize(
    "text",
    ["", "integer", "decimal", "decimal(39,0)", "decimal(5,6)", "decimal(a,b)", "list<>", "list<int", "map<int>", "fixed(0)",
     "struct<a:int,a:int>", "struct<>", "int int", "list<int>>", "decimal(10,2", "struct<:int>", "§"],
)  # fmt: skip
def test_what_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="not a column type"):
        parse_type(text)


@pytest.mark.parametrize(
    ("before", "after", "widens"),
    [
        ("int", "long", True), ("long", "int", False), ("float", "double", True), ("int", "double", False),
        ("int", "string", False), ("decimal(10,2)", "decimal(38,2)", True), ("decimal(10,2)", "decimal(9,2)", False),
        ("date", "timestamp", False), ("timestamp", "timestamptz", False), ("list<int>", "list<long>", True),
        ("map<int,int>", "map<long,int>", False), ("map<string,int>", "map<string,long>", True),
        ("struct<a:int>", "struct<b:string,a:long>", True), ("struct<a:int,b:int>", "struct<a:int>", False),
        ("string", "string", True), ("fixed(4)", "binary", False),
    ],
)  # fmt: skip
def test_only_lossless_changes_are_widenings(before: str, after: str, widens: bool) -> None:
    assert is_widening(before, after) is widens


@pytest.mark.parametrize(
    ("arrow", "text"),
    [
        (pa.int8(), "int"), (pa.uint16(), "int"), (pa.uint32(), "long"), (pa.uint64(), "decimal(20,0)"),
        (pa.float16(), "float"), (pa.large_string(), "string"), (pa.string_view(), "string"), (pa.large_binary(), "binary"),
        (pa.dictionary(pa.int8(), pa.string()), "string"), (pa.timestamp("ns"), "timestamp"),
        (pa.timestamp("s", tz="Europe/Berlin"), "timestamptz"), (pa.time32("ms"), "time"), (pa.date64(), "date"),
        (pa.large_list(pa.int16()), "list<int>"), (pa.null(), "string"), (pa.decimal256(40, 2), None),
    ],
)  # fmt: skip
def test_arrow_types_become_the_type_that_holds_all_their_values(arrow: pa.DataType, text: str | None) -> None:
    if text is None:
        with pytest.raises((InvalidRequestError, UnsupportedError)):
            parse_type(type_of(arrow))
    else:
        assert type_of(arrow) == text


@pytest.mark.parametrize("arrow", [pa.duration("us"), pa.month_day_nano_interval(), pa.dense_union([])])
def test_arrow_types_that_no_column_holds_are_refused(arrow: pa.DataType) -> None:
    with pytest.raises(UnsupportedError):
        type_of(arrow)
