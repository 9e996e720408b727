"""Values in Delta's log: exact where they must be, and never a bound that hides a row."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_lakehouse.core.errors import DamagedError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.delta.values import (
    parse_statistics,
    partition_text,
    partition_value,
    statistics_json,
    text_above,
)
from airflow_provider_lakehouse.core.tables.filters import Comparison

if TYPE_CHECKING:
    from pathlib import Path

LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001
FINE = datetime(2026, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "boolean"), (-5, "int"), (2**62, "long"), (1e300, "double"), (float("inf"), "double"),
        (5e-324, "double"), (Decimal("-1.10"), "decimal(10,2)"), (Decimal("1E+3"), "decimal(10,0)"), (None, "long"),
        (date(1, 1, 1), "date"), ("a=b/ç%20", "string"), (LAST, "timestamp"),
        (datetime(1969, 12, 31, 23, 59, tzinfo=UTC), "timestamptz"),
    ],
)  # fmt: skip
def test_a_partition_value_is_read_back_as_it_was_written(value: Any, kind: str) -> None:
    assert partition_value(partition_text(value), kind) == value


def test_an_instant_of_any_zone_is_the_same_partition() -> None:
    elsewhere = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    assert (
        partition_text(elsewhere) == partition_text(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000000Z"
    )


def test_a_partition_value_of_another_type_is_damage() -> None:
    with pytest.raises(DamagedError):
        partition_value("yesterday", "date")


def statistics(tmp_path: Path, table: pa.Table, **options: Any) -> dict[str, Any]:
    pq.write_table(table, tmp_path / "f.parquet", row_group_size=2)
    footer = pq.read_metadata(tmp_path / "f.parquet")
    found: dict[str, Any] = json.loads(statistics_json(footer, table.schema, **options), parse_float=Decimal)
    return found


def test_statistics_hold_least_most_and_nulls_of_every_column(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "n": [3, None, 1],
            "d": [date(1815, 6, 18), date(2026, 1, 1), None],
            "x": pa.array([Decimal("123456789012345678.90"), Decimal("-0.10"), None], pa.decimal128(20, 2)),
            "one": [{"a": 1}, {"a": 2}, None],
            "many": [[1], [2], None],
        }
    )
    found = statistics(tmp_path, rows)
    assert found["numRecords"] == 3
    assert found["minValues"] == {"n": 1, "d": "1815-06-18", "x": Decimal("-0.10"), "one": {"a": 1}}
    assert found["maxValues"] == {"n": 3, "d": "2026-01-01", "x": Decimal("123456789012345678.90"), "one": {"a": 2}}
    assert found["nullCount"] == {"n": 1, "d": 1, "x": 1, "one": {"a": 1}}


def test_a_column_of_nulls_has_no_bounds(tmp_path: Path) -> None:
    found = statistics(tmp_path, pa.table({"n": pa.nulls(3, pa.int64())}))
    assert (found["minValues"], found["maxValues"], found["nullCount"]) == ({}, {}, {"n": 3})


def test_a_maximum_that_could_hide_not_a_number_is_left_out(tmp_path: Path) -> None:
    found = statistics(tmp_path, pa.table({"x": [1.0, float("nan"), 2.0]}))
    assert (found["minValues"], found["maxValues"]) == ({"x": 1}, {})


def test_instants_are_cut_to_milliseconds_so_that_no_row_is_outside(tmp_path: Path) -> None:
    found = statistics(tmp_path, pa.table({"at": pa.array([FINE], pa.timestamp("us", "UTC"))}))
    assert found["minValues"] == {"at": "2026-01-01T00:00:00.123Z"}
    assert found["maxValues"] == {"at": "2026-01-01T00:00:00.124Z"}


def test_the_last_instant_has_no_maximum_rather_than_a_wrong_one(tmp_path: Path) -> None:
    assert statistics(tmp_path, pa.table({"at": pa.array([LAST], pa.timestamp("us"))}))["maxValues"] == {}


def test_only_as_many_columns_are_indexed_as_the_table_asks_for(tmp_path: Path) -> None:
    rows = pa.table({"a": [1], "b": [2], "c": [3]})
    assert statistics(tmp_path, rows, indexed=2)["minValues"] == {"a": 1, "b": 2}
    assert statistics(tmp_path, rows, indexed=-1)["minValues"] == {"a": 1, "b": 2, "c": 3}
    assert statistics(tmp_path, rows, named=("c",))["minValues"] == {"c": 3}


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 5))
def test_a_cut_text_is_not_below_the_text(text: str, characters: int) -> None:
    above = text_above(text, characters=characters)
    assert above is None or (above >= text and len(above) <= characters)


@pytest.mark.parametrize(
    ("kind", "lower", "upper", "value"),
    [
        ("timestamptz", "2026-01-01T00:00:00.123Z", "2026-01-01T00:00:00.123Z", FINE),
        ("double", 1.0, 2.0, float("inf")),
        ("decimal(38,2)", 0.1, 0.1, Decimal("999999999999999999.99")),
        ("long", None, None, 7),
    ],
)  # fmt: skip
def test_bounds_of_other_writers_are_widened_by_what_they_may_hide(
    kind: str, lower: Any, upper: Any, value: Any
) -> None:
    text = json.dumps({"numRecords": 2, "minValues": {"x": lower}, "maxValues": {"x": upper}, "nullCount": {"x": 0}})
    rows, bounds = parse_statistics(text, Schema.of(Column("x", kind)), columns=("x",))
    assert rows == 2
    assert bounds["x"].may_satisfy(Comparison("x", "=", value))
    assert not bounds["x"].may_satisfy(Comparison("x", "is null"))


def test_statistics_that_cannot_be_read_prove_nothing() -> None:
    schema = Schema.of(Column("x", "date"))
    assert parse_statistics("{", schema, columns=("x",)) == (None, {})
    _, bounds = parse_statistics('{"minValues": {"x": "soon"}}', schema, columns=("x",))
    assert bounds["x"].may_satisfy(Comparison("x", "=", date(1, 1, 1)))
