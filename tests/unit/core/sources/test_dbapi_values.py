"""A value that a driver gives arrives exactly, or is refused."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.sources.dbapi.values import as_json, infer_type, to_arrow
from airflow_provider_lakehouse.core.types import arrow_type, parse_type

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAIVE = NOON.replace(tzinfo=None)
SUMMER = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
WINTER = SUMMER.replace(fold=1)
ID = UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")

FITTING: list[tuple[str, Any, Any]] = [
    ("boolean", True, True), ("boolean", 0, False), ("boolean", b"\x01", True), ("boolean", "True", True),
    ("int", 2**31 - 1, 2**31 - 1), ("int", 5.0, 5), ("int", Decimal("7.0"), 7), ("int", " -8 ", -8),
    ("long", -(2**63), -(2**63)), ("double", 0.1, 0.1), ("double", 2**53, 2.0**53), ("double", "1e3", 1000.0),
    ("float", 0.1, 0.10000000149011612), ("float", 0.10000000149011612, 0.10000000149011612),
    ("float", float("inf"), float("inf")), ("decimal(10,2)", Decimal("1.5"), Decimal("1.50")),
    ("decimal(10,2)", Decimal("1.500"), Decimal("1.50")), ("decimal(10,2)", 3, Decimal("3.00")),
    ("decimal(10,2)", 1.1, Decimal("1.10")), ("decimal(10,2)", "99999999.99", Decimal("99999999.99")),
    ("decimal(2,2)", Decimal("0.00"), Decimal("0.00")), ("date", date(1, 1, 1), date(1, 1, 1)),
    ("date", NAIVE.replace(hour=0), NAIVE.date()), ("date", "2026-03-01", date(2026, 3, 1)),
    ("date", "2026-03-01 00:00:00", date(2026, 3, 1)), ("time", time(1, 2, 3, 4), time(1, 2, 3, 4)),
    ("time", timedelta(hours=23, microseconds=1), time(23, 0, 0, 1)), ("time", "12:30", time(12, 30)),
    ("timestamp", NAIVE, NAIVE), ("timestamp", "2026-03-01T12:00:00.000000000", NAIVE),
    ("timestamptz", SUMMER, SUMMER.astimezone(UTC)), ("timestamptz", WINTER, WINTER.astimezone(UTC)),
    ("timestamptz", NAIVE, NOON), ("timestamptz", "2026-03-01 13:00:00+01:00", NOON),
    ("string", "a\x00b😀", "a\x00b😀"), ("string", 5, "5"), ("string", Decimal("1E+2"), "100"), ("string", True, "true"),
    ("string", NAIVE, "2026-03-01 12:00:00"), ("string", ID, str(ID)), ("string", {"a": [1, None]}, '{"a": [1, null]}'),
    ("binary", bytearray(b"\x00\xff"), b"\x00\xff"), ("binary", memoryview(b"ab"), b"ab"), ("fixed(2)", b"ab", b"ab"),
    ("uuid", ID, ID), ("uuid", str(ID), ID), ("uuid", ID.bytes, ID), ("list<int>", [1, None], [1, None]),
    ("map<string,long>", {"a": 1}, [("a", 1)]), ("struct<a:int>", {"a": 1}, {"a": 1}),
]  # fmt: skip

UNFIT: list[tuple[str, Any]] = [
    ("boolean", 2), ("boolean", "maybe"), ("int", 2**31), ("int", True), ("int", 1.5), ("int", "1.0"), ("long", 2**63),
    ("long", Decimal("1.5")), ("long", float("nan")), ("double", 2**53 + 1), ("double", Decimal("0.1")), ("float", 1e39),
    ("float", 16777217), ("float", 0.123456789012), ("decimal(10,2)", Decimal("1.005")), ("decimal(10,2)", Decimal("NaN")),
    ("decimal(10,2)", Decimal(100000000)), ("decimal(10,2)", float("inf")), ("decimal(10,2)", "1,5"),
    ("date", NAIVE), ("date", "0000-00-00"), ("date", 5), ("time", timedelta(days=1)), ("time", timedelta(-1)),
    ("time", time(1, tzinfo=UTC)), ("timestamp", NOON), ("timestamp", "2026-03-01 12:00:00.1234567"), ("timestamp", 0),
    ("timestamp", date(2026, 3, 1)), ("timestamptz", "noon"), ("string", b"a"), ("string", "\ud800"), ("string", {1}),
    ("binary", "a"), ("fixed(2)", b"abc"), ("uuid", b"short"), ("uuid", "no"), ("list<int>", ["a"]), ("list<int>", 5),
    ("struct<a:int>", {"a": "x"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given_", "expected"), FITTING)
def test_a_value_that_fits_arrives_exactly(kind: str, given_: Any, expected: Any) -> None:
    array, unfit = to_arrow([given_, None], parse_type(kind))
    array.validate(full=True)
    assert array.type == arrow_type(kind)
    assert (array.to_pylist(), list(unfit)) == ([expected, None], [])


@pytest.mark.parametrize(("kind", "value"), UNFIT)
def test_a_value_that_does_not_fit_is_named_and_never_changed(kind: str, value: Any) -> None:
    array, unfit = to_arrow([None, value], parse_type(kind))
    assert (array.to_pylist(), list(unfit)) == ([None, None], [1])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([None], None),
        ([], None),
        ([True, None], "boolean"),
        ([1, 2], "long"),
        ([1, 0.5], "double"),
        (["a"], "string"),
        ([b"a"], "binary"),
        ([Decimal("1.50"), Decimal("2.25")], "decimal(38,2)"),
        ([NAIVE], "timestamp"),
        ([NOON], "timestamptz"),
        ([date(2026, 1, 1)], "date"),
        ([time(1)], "time"),
        ([ID], "uuid"),
    ],
)
def test_a_type_is_inferred_where_one_holds_all_values(values: list[Any], kind: str | None) -> None:
    assert infer_type(values, column="c") == kind


@pytest.mark.parametrize(
    "values",
    [
        [1, "a"], [True, 1], [NAIVE, NOON], [date(2026, 1, 1), "0000-00-00"], [2**63], [Decimal("1.5"), Decimal("1.25")],
        [Decimal("NaN")], [timedelta(1)], [[1]], [{"a": 1}], [object()],
    ],
)  # fmt: skip
def test_a_type_is_refused_rather_than_guessed(values: list[Any]) -> None:
    with pytest.raises(InvalidRequestError, match="Declare"):
        infer_type(values, column="c")


def test_a_scale_that_the_driver_tells_decides() -> None:
    assert infer_type([Decimal("1.5"), Decimal(2)], column="c", scale=4) == "decimal(38,4)"
    with pytest.raises(InvalidRequestError):
        infer_type([Decimal("1.55")], column="c", scale=1)


def test_a_row_in_quarantine_is_json_whatever_it_holds() -> None:
    row = {"a": b"\x00\xff", "b": NAIVE, "c": Decimal("1.10"), "d": ID, "e": None, "f": "ä"}
    assert json.loads(as_json(row)) == {
        "a": "00ff", "b": "2026-03-01 12:00:00", "c": "1.10", "d": str(ID), "e": None, "f": "ä",
    }  # fmt: skip


@given(st.lists(st.one_of(st.none(), st.decimals(allow_nan=False, allow_infinity=False, places=4))))
def test_decimals_keep_every_digit_or_are_named(values: list[Decimal | None]) -> None:
    array, unfit = to_arrow(values, parse_type("decimal(12,2)"))
    for number, (value, found) in enumerate(zip(values, array.to_pylist(), strict=True)):
        assert found == value or number in unfit


@given(st.lists(st.one_of(st.none(), st.datetimes(timezones=st.timezones()))))
def test_instants_stay_the_same_instant_in_every_zone(values: list[datetime | None]) -> None:
    array, unfit = to_arrow(values, parse_type("timestamptz"))
    for number, (value, found) in enumerate(zip(values, array.to_pylist(), strict=True)):
        assert number in unfit or found == (value and value.astimezone(UTC))
