"""A history in a table equals the history that its rule gives in plain Python."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_lakehouse.core.load.modes import Scd2
from airflow_provider_lakehouse.core.schema import Column

START = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = st.tuples(st.none() | st.integers(0, 1), st.none() | st.sampled_from(["", "k"]))
CHANGES = st.tuples(KEYS, st.integers(0, 5), st.none() | st.sampled_from(["x", "y"]), st.booleans(), st.integers(0, 9))
BATCH = st.lists(CHANGES, max_size=8, unique_by=lambda change: (change[0], change[1]))
COLUMNS = (
    Column("a", "int"), Column("b", "string"), Column("v", "string"), Column("note", "int"),
    Column("valid_from", "timestamptz"), Column("valid_to", "timestamptz"), Column("is_current", "boolean"),
    Column("change_hash", "fixed(32)"),
)  # fmt: skip
ARROW = pa.schema(
    [("a", pa.int32()), ("b", pa.string()), ("v", pa.string()), ("note", pa.int32()), ("at", pa.timestamp("us", "UTC")),
     ("gone", pa.bool_())]
)  # fmt: skip
MODE = Scd2(("a", "b"), effective_at="at", track=("v",), delete_when="source.gone")

Period = tuple[int, int | None, Any, Any]
"""Start, end, tracked value, untracked value."""


def merged_line(periods: list[Period], changes: list[tuple[int, Any, bool, Any]]) -> dict[int, Any]:
    """Put known and new changes on one line: (tracked, untracked) by instant, None where the key ceased to be."""
    line: dict[int, Any] = {end: None for _, end, _, _ in periods if end is not None}
    line |= {start: (value, note) for start, _, value, note in periods}
    for at, value, gone, note in changes:
        known = line.get(at)
        if gone:
            line[at] = None
        elif known is None or known[0] != value:
            line[at] = (value, note)
    return line


def later(periods: list[Period], changes: list[tuple[int, Any, bool, Any]]) -> list[Period]:
    """Apply the changes of one batch to the periods of one key."""
    found: list[Period] = []
    current: Any = None
    for at, image in sorted(merged_line(periods, changes).items(), key=lambda item: item[0]):
        if image and current and image[0] == current[0]:
            continue
        if current:
            found[-1] = (found[-1][0], at, *current)
        if image:
            found.append((at, None, *image))
        current = image
    return found


def stored(table: Any, read: Any) -> dict[Any, list[Period]]:
    histories: dict[Any, list[Period]] = {}
    for row in read(table):
        assert row["is_current"] == (row["valid_to"] is None)
        assert row["change_hash"] is not None
        ends = (row["valid_to"] - START).days if row["valid_to"] else None
        period = ((row["valid_from"] - START).days, ends, row["v"], row["note"])
        histories.setdefault((row["a"], row["b"]), []).append(period)
    return {key: sorted(periods, key=lambda p: p[0]) for key, periods in histories.items()}


def as_row(change: Any) -> dict[str, Any]:
    (a, b), day, value, gone, note = change
    return {"a": a, "b": b, "v": value, "note": note, "at": START + timedelta(days=day), "gone": gone}


@given(st.lists(BATCH, min_size=1, max_size=5))
@settings(max_examples=30)
def test_histories_follow_the_rule_for_late_repeated_and_equal_changes(lake: Any, read: Any, batches: Any) -> None:
    table = lake.table(*COLUMNS)
    model: dict[Any, list[Period]] = {}
    for batch in batches:
        for key in {change[0] for change in batch}:
            own = [(day, value, gone, note) for k, day, value, gone, note in batch if k == key]
            model[key] = later(model.get(key, []), own)
        lake.load(table, [as_row(change) for change in batch], schema=ARROW, mode=MODE)
        assert stored(table, read) == {key: periods for key, periods in model.items() if periods}


@given(BATCH, BATCH)
@settings(max_examples=30)
def test_a_batch_applied_twice_changes_nothing_the_second_time(lake: Any, read: Any, first: Any, second: Any) -> None:
    table = lake.table(*COLUMNS)
    for batch in (first, second):
        lake.load(table, [as_row(change) for change in batch], schema=ARROW, mode=MODE)
    before = stored(table, read)
    again = lake.load(table, [as_row(change) for change in second], schema=ARROW, mode=MODE)
    assert stored(table, read) == before
    assert (again.rows_inserted, again.rows_updated, again.rows_deleted) == (0, 0, 0)
    assert again.rows_unchanged == len(second)


@given(BATCH, st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_changes_that_alternate_may_arrive_in_any_order(lake: Any, read: Any, batch: Any, random: Any) -> None:
    ordered = [(key, day, str(day), False, 0) for key, day, _, _, _ in batch]
    tables = lake.table(*COLUMNS), lake.table(*COLUMNS)
    lake.load(tables[0], [as_row(change) for change in ordered], schema=ARROW, mode=MODE)
    random.shuffle(ordered)
    for change in ordered:
        lake.load(tables[1], [as_row(change)], schema=ARROW, mode=MODE)
    assert stored(tables[0], read) == stored(tables[1], read)


def test_periods_never_overlap_and_leave_gaps_only_where_the_key_was_gone(lake: Any, read: Any) -> None:
    table = lake.table(*COLUMNS)
    changes = [((1, "k"), 0, "x", False, 1), ((1, "k"), 2, None, True, 2), ((1, "k"), 4, "x", False, 3)]
    lake.load(table, [as_row(change) for change in changes], schema=ARROW, mode=MODE)
    assert stored(table, read) == {(1, "k"): [(0, 2, "x", 1), (4, None, "x", 3)]}
