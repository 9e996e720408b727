"""Filters: a file whose statistics exclude a condition is skipped, and no other."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.filters import Bounds, Comparison, arrow_expression

_values = st.one_of(st.none(), st.integers(-5, 5))
_comparisons = st.one_of(
    st.builds(Comparison, st.just("n"), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.integers(-6, 6)),
    st.builds(
        Comparison, st.just("n"), st.sampled_from(["in", "not in"]), st.lists(st.integers(-6, 6), min_size=1).map(tuple)
    ),
    st.builds(Comparison, st.just("n"), st.sampled_from(["is null", "is not null"])),
)


@given(st.lists(_values, min_size=1), _comparisons)
def test_no_file_that_holds_a_wanted_row_is_skipped(values: list[int | None], comparison: Comparison) -> None:
    there = [value for value in values if value is not None]
    bounds = Bounds(min(there, default=None), max(there, default=None), nulls=values.count(None), rows=len(values))
    expression = arrow_expression((comparison,))
    assert expression is not None
    wanted = pa.table({"n": pa.array(values, pa.int64())}).filter(expression).num_rows
    if wanted:
        assert bounds.may_satisfy(comparison)


@pytest.mark.parametrize(
    ("comparison", "may"),
    [
        (Comparison("n", "=", 10), False), (Comparison("n", "<", 3), False), (Comparison("n", "<=", 3), True),
        (Comparison("n", ">", 9), False), (Comparison("n", "in", (1, 2)), False), (Comparison("n", "is null"), False),
        (Comparison("n", "=", date(2026, 1, 1)), True), (Comparison("n", "!=", 5), True),
    ],
)  # fmt: skip
def test_bounds_exclude_what_they_can(comparison: Comparison, may: bool) -> None:
    assert Bounds(lower=3, upper=9, nulls=0, rows=5).may_satisfy(comparison) is may


def test_unknown_bounds_exclude_nothing() -> None:
    assert Bounds().may_satisfy(Comparison("n", "=", 1))
    assert Bounds().may_satisfy(Comparison("n", "is null"))


IDS = [UUID(int=1), UUID(int=2**127), UUID(int=2**128 - 1), None]


@pytest.mark.parametrize(
    ("operator", "value", "found"),
    [
        ("=", IDS[2], [2]), ("!=", IDS[2], [0, 1]), ("<", IDS[1], [0]), (">=", IDS[1], [1, 2]),
        ("in", (IDS[0], IDS[2]), [0, 2]), ("not in", (IDS[0], IDS[2]), [1]), ("is null", None, [3]),
    ],
)  # fmt: skip
def test_uuids_are_compared_by_their_bytes(operator: Any, value: Any, found: list[int]) -> None:
    stored = pa.array([one and one.bytes for one in IDS], pa.binary(16))
    rows = pa.table({"u": pa.ExtensionArray.from_storage(pa.uuid(), stored), "place": range(4)})
    expression = arrow_expression((Comparison("u", operator, value),))
    assert rows.filter(expression).column("place").to_pylist() == found


@pytest.mark.parametrize(
    ("operator", "value"), [("=", None), ("in", ()), ("in", (1, None)), ("is null", 1), ("<", (1, 2)), ("in", 3)]
)
def test_operator_and_value_go_together(operator: Any, value: Any) -> None:
    with pytest.raises(InvalidRequestError):
        Comparison("n", operator, value)
