"""Increments by a cursor lose nothing, and a partition holds its own rows only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.sources.postgres.source import open_source
from airflow_provider_lakehouse.core.sources.relations import PartitionRange

from .postgres_rows import NOW, database, dsn, rows_of, source, sql

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.sources.base import ExtractPlan
    from airflow_provider_lakehouse.core.sources.postgres.source import PostgresSource

__all__ = ["database", "dsn", "sql"]


def events(dsn: str, **settings: Any) -> PostgresSource:
    return source(dsn, "events", **{"mode": "incremental", "cursor": "at", **settings})


@pytest.fixture
def add(sql: Any):
    """Adds an event at a minute."""
    sql("CREATE TABLE events (id int, at timestamptz)")

    def insert(number: int, minute: float | None, execute: Any = sql) -> None:
        at = None if minute is None else datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
        execute("INSERT INTO events VALUES (%s, %s)", [number, at])

    return insert


def ids(of: PostgresSource, plan: ExtractPlan) -> list[int]:
    return sorted(row["id"] for row in rows_of(of, plan))


def test_increments_read_every_row_once_and_the_plan_fixes_their_upper_bound(dsn: str, add: Any) -> None:
    of = events(dsn)
    add(1, 1)
    add(2, 2)
    first = of.plan(position=None, now=NOW)
    add(3, 3)
    assert ids(of, first) == [1, 2]
    second = of.plan(position=first.position, now=NOW)
    add(4, 4)
    assert ids(of, second) == [3]
    third = of.plan(position=second.position, now=NOW)
    assert ids(of, third) == [4]
    assert of.plan(position=third.position, now=NOW).slices == ()
    assert of.plan(position=third.position, now=NOW).position == third.position
    assert ids(of, first) == [1, 2]


def test_increments_lose_no_late_commit_inside_the_lag(dsn: str, add: Any) -> None:
    of = events(dsn, lag=timedelta(minutes=5))
    seen: set[int] = set()
    with psycopg.connect(dsn) as late, psycopg.connect(dsn) as later:
        add(1, 1)
        add(2, 4, late.execute)
        add(3, 6)
        plan = of.plan(position={}, now=NOW)
        seen |= set(ids(of, plan))
        assert seen == {1, 3}
        late.commit()
        add(4, 5, later.execute)
        plan = of.plan(position=plan.position, now=NOW)
        seen |= set(ids(of, plan))
        assert seen == {1, 2, 3}
        before = plan.fingerprint
        later.commit()
        plan = of.plan(position=plan.position, now=NOW)
        assert plan.fingerprint != before
        seen |= set(ids(of, plan))
    assert seen == {1, 2, 3, 4}


def test_the_high_water_mark_never_moves_back(dsn: str, sql: Any, add: Any) -> None:
    of = events(dsn)
    add(1, 1)
    add(2, 9)
    plan = of.plan(position=None, now=NOW)
    sql("DELETE FROM events WHERE id = 2")
    again = of.plan(position=plan.position, now=NOW)
    assert again.position == plan.position
    assert again.slices == ()
    sql("DELETE FROM events")
    assert of.plan(position=plan.position, now=NOW).position == plan.position


def test_null_and_infinite_cursors_are_left_out_and_do_not_stop_the_increments(dsn: str, sql: Any, add: Any) -> None:
    of = events(dsn)
    assert of.plan(position=None, now=NOW).position == {}
    add(1, None)
    sql("INSERT INTO events VALUES (2, 'infinity')")
    assert of.plan(position=None, now=NOW).slices == ()
    add(3, 3)
    plan = of.plan(position=None, now=NOW)
    assert plan.position == {"cursor": "at", "high": "2024-01-01 00:03:00+00"}
    assert plan.left_out
    assert ids(of, plan) == [3]


@pytest.mark.parametrize(
    ("sql_type", "first", "second", "lag", "expected_low"),
    [
        ("smallint", "-32768", "32767", 10, "-32778"),
        ("integer", "5", "6", 2, "3"),
        ("bigint", "-9223372036854775808", "9223372036854775807", 5, "-9223372036854775808"),
        ("numeric(10,2)", "1.25", "1.26", 1, "0.25"),
        ("numeric", "0.000000000000000000001", "1", None, "0.000000000000000000001"),
        ("date", "2024-03-01", "2024-03-02", timedelta(hours=36), "2024-02-28"),
        (
            "timestamp",
            "2024-01-01 00:00:00",
            "2024-01-01 00:00:00.000001",
            timedelta(microseconds=1),
            "2023-12-31 23:59:59.999999",
        ),
        (
            "timestamptz",
            "1969-12-31 00:00:00+00",
            "1969-12-31 00:00:01+00",
            timedelta(days=1),
            "1969-12-30 00:00:00+00",
        ),
        ("moment", "2024-01-01 00:00:00", "2024-01-02 00:00:00", None, "2024-01-01 00:00:00"),
    ],
)
def test_every_cursor_type_has_exact_bounds(
    dsn: str, sql: Any, sql_type: str, first: str, second: str, lag: Any, expected_low: str
) -> None:
    sql("CREATE DOMAIN moment AS timestamp")
    sql(f"CREATE TABLE t (c {sql_type})")
    of = source(dsn, "t", mode="incremental", cursor="c", lag=lag)
    sql(f"INSERT INTO t SELECT %s::{sql_type}", [first])
    plan = of.plan(position=None, now=NOW)
    assert plan.position == {"cursor": "c", "high": first}
    assert len(rows_of(of, plan)) == 1
    sql(f"INSERT INTO t SELECT %s::{sql_type}", [second])
    plan = of.plan(position=plan.position, now=NOW)
    assert plan.slices[0].facts["conditions"] == [["c", ">", expected_low], ["c", "<=", second]]
    in_window = 1 if lag is None or expected_low == first else 2
    assert len(rows_of(of, plan)) == in_window


def test_a_lag_of_the_wrong_kind_or_a_position_of_another_cursor_is_refused(dsn: str, add: Any) -> None:
    add(1, 1)
    plan = events(dsn).plan(position=None, now=NOW)
    with pytest.raises(InvalidRequestError, match="timedelta"):
        events(dsn, lag=5).plan(position=plan.position, now=NOW)
    with pytest.raises(InvalidRequestError, match="position"):
        events(dsn, cursor="id").plan(position=plan.position, now=NOW)


def test_a_first_increment_is_cut_into_ranges(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT i, repeat('x', 1900) AS pad FROM generate_series(1, 10000) AS i")
    of = source(dsn, "t", columns=("i",), mode="incremental", cursor="i")
    plan = of.plan(position=None, now=NOW)
    sql("INSERT INTO t VALUES (10001, '')")
    assert len(plan.slices) > 1
    assert sorted(row["i"] for row in rows_of(of, plan)) == list(range(1, 10_001))


def test_a_partition_holds_its_start_and_not_its_end(dsn: str, sql: Any) -> None:
    sql(
        "CREATE TABLE t AS SELECT date '2024-01-01' + i AS day FROM generate_series(0, 4) AS i;"
        "INSERT INTO t VALUES (NULL)"
    )

    def days(start: str | None, end: str | None) -> list[int]:
        partition = PartitionRange("day", start, end)
        return [row["day"].day for row in rows_of(source(dsn, "t", mode="partition", partition=partition))]

    assert days("2024-01-02", "2024-01-04") == [2, 3]
    assert days(None, "2024-01-02") == [1]
    assert days("2024-01-04", None) == [4, 5]


def test_a_partition_by_text_compares_whole_values(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t (k char(3)); INSERT INTO t VALUES ('abc'), ('abd'), ('b')")
    of = open_source(dsn=dsn, relation="t", mode="partition", partition={"column": "k", "start": "abc", "end": "abd"})
    assert rows_of(of) == [{"k": "abc"}]
