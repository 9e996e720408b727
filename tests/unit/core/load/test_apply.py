"""Loading a batch once, whoever else writes and whatever is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.errors import (
    ConflictError,
    DataRejectedError,
    InvalidRequestError,
    UnavailableError,
    UnsupportedError,
)
from airflow_provider_lakehouse.core.load.modes import (
    Append,
    Dedup,
    Merge,
    OverwritePartitions,
    Replace,
    Scd2,
    SnapshotDiff,
)
from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
from airflow_provider_lakehouse.core.schema import Column
from airflow_provider_lakehouse.core.tables.base import At, WriteToken

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_lakehouse.core.load.modes import (
        Mode,
    )

COLUMNS = (
    Column("id", "long"), Column("day", "date"), Column("v", "string"), Column("valid_from", "date"),
    Column("valid_to", "date"), Column("is_current", "boolean"), Column("change_hash", "binary"),
    Column("_row_hash", "binary"),
)  # fmt: skip
PLAIN = SchemaPolicy(missing_columns="fill")
MODES: list[Mode] = [
    Append(), Replace(), OverwritePartitions(), Dedup(), Merge(("id",)), Scd2(("id",), "day"),
    SnapshotDiff(("id",), max_deleted_share=0.5),
]  # fmt: skip


def batch(*ids: int, v: str = "x") -> pa.Table:
    days = pa.array([number % 3 for number in ids], pa.int32()).cast(pa.date32())
    return pa.table({"id": pa.array(ids, pa.int64()), "day": days, "v": pa.array([v] * len(ids), pa.string())})


def values(lake: Any, table: Any) -> list[tuple[int, str]]:
    return [(row["id"], row["v"]) for row in lake.rows(table)]


class Interrupted:
    """A table in front of which something happens before the next commits."""

    def __init__(self, table: Any, happenings: list[Callable[[], None]]) -> None:
        self._table = table
        self._happenings = happenings
        self.commits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def read_addressed(self, **options: Any) -> Any:
        return self._table.read_addressed(**options)

    def commit(self, change: Any, *, token: WriteToken) -> Any:
        self.commits += 1
        if self._happenings:
            self._happenings.pop(0)()
        return self._table.commit(change, token=token)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: type(mode).__name__)
class TestEveryMode:
    def test_the_same_token_writes_once_and_reads_the_batch_once(self, lake: Any, mode: Mode) -> None:
        table = lake.table(*COLUMNS, partitioning=("day",))
        first = lake.load(table, batch(1, 2, 3), mode, token="b", policy=PLAIN)

        def unread() -> Any:
            yield pytest.fail("a batch that has been written is read again")

        again = pa.RecordBatchReader.from_batches(batch().schema, unread())
        result = lake.load(table, again, mode, token="b", policy=PLAIN)
        assert result.is_replay
        assert not first.is_replay
        assert result.commit.version == first.commit.version
        assert values(lake, table) == [(1, "x"), (2, "x"), (3, "x")]

    def test_an_empty_batch_leaves_its_token_and_the_properties(self, lake: Any, mode: Mode) -> None:
        table = lake.table(*COLUMNS, partitioning=("day",))
        result = lake.load(table, batch(), mode, token="empty", policy=PLAIN, properties={"position": "7"})
        assert (result.rows_read, result.rows_inserted) == (0, 0)
        assert table.find(WriteToken("tests", "empty")) is not None
        assert table.facts().properties["position"] == "7"

    def test_a_source_that_fails_half_way_leaves_nothing(self, lake: Any, mode: Mode) -> None:
        table = lake.table(*COLUMNS, partitioning=("day",))

        def rows() -> Any:
            yield from batch(1, 2).to_batches()
            raise UnavailableError("The source did not answer. Try later.")

        with pytest.raises(UnavailableError, match="did not answer"):
            lake.load(table, pa.RecordBatchReader.from_batches(batch().schema, rows()), mode, token="b", policy=PLAIN)
        assert values(lake, table) == []
        assert table.find(WriteToken("tests", "b")) is None

    def test_a_branch_keeps_the_batch_from_readers_of_the_main_one(self, lake: Any, mode: Mode) -> None:
        table = lake.table(*COLUMNS, partitioning=("day",))
        for part in (batch(1, 2), batch(2, 3)):
            lake.load(table, part, mode, policy=PLAIN, branch="audit")
        assert values(lake, table) == []
        assert table.read(at=At(branch="audit")).read_all().num_rows >= 2

    def test_the_history_names_the_mode(self, lake: Any, mode: Mode) -> None:
        table = lake.table(*COLUMNS, partitioning=("day",))
        result = lake.load(table, batch(1), mode, policy=PLAIN)
        assert table.history()[-1].summary["lakehouse.mode"] == result.mode


@pytest.mark.parametrize("mode", [Dedup(), Merge(("id",)), Scd2(("id",), "day")], ids=lambda mode: type(mode).__name__)
class TestOtherWriters:
    def test_a_conflict_is_planned_again_from_the_same_batch(self, lake: Any, mode: Mode) -> None:
        table = lake.table(*COLUMNS)
        lake.load(table, batch(1, 2), mode, policy=PLAIN)
        other = Interrupted(table, [lambda: lake.load(table, batch(2, 3, v="y"), mode, policy=PLAIN)])
        expected = lake.table(*COLUMNS)
        for part in (batch(1, 2), batch(2, 3, v="y"), batch(2, 3, 4, v="z")):
            lake.load(expected, part, mode, policy=PLAIN)
        result = lake.load(other, batch(2, 3, 4, v="z"), mode, policy=PLAIN)
        assert result.attempts == 2
        assert values(lake, table) == values(lake, expected)

    def test_after_the_last_attempt_the_conflict_is_the_callers(self, lake: Any, mode: Mode) -> None:
        table = lake.table(*COLUMNS)
        happenings = [lambda i=i: lake.load(table, batch(1, v=str(i)), mode, policy=PLAIN) for i in range(3)]
        other = Interrupted(table, happenings)
        with pytest.raises(ConflictError):
            lake.load(other, batch(1, v="z"), mode, policy=PLAIN, max_attempts=3)
        assert "z" not in dict(values(lake, table)).values()

    def test_writers_of_other_keys_are_no_conflict(self, lake: Any, mode: Mode) -> None:
        table = lake.table(*COLUMNS)
        lake.load(table, batch(1), mode, policy=PLAIN)
        other = Interrupted(table, [lambda: lake.load(table, batch(10_007), mode, policy=PLAIN)])
        mine = batch(1, 4, v="y").set_column(1, "day", pa.array([40, 40], pa.int32()).cast(pa.date32()))
        assert lake.load(other, mine, mode, policy=PLAIN).attempts == 1

    def test_a_twin_with_the_same_token_does_not_double_the_batch(self, lake: Any, mode: Mode) -> None:
        table = lake.table(*COLUMNS)
        other = Interrupted(table, [lambda: lake.load(table, batch(1, 2), mode, token="b", policy=PLAIN)])
        assert lake.load(other, batch(1, 2), mode, token="b", policy=PLAIN).is_replay
        assert values(lake, table) == [(1, "x"), (2, "x")]


def test_overwriting_partitions_replaces_those_of_the_batch_only(lake: Any) -> None:
    table = lake.table(*COLUMNS, partitioning=("day",))
    lake.load(table, batch(1, 2, 3, 4), Append(), policy=PLAIN)
    result = lake.load(table, batch(7, v="y"), OverwritePartitions(), policy=PLAIN)
    assert values(lake, table) == [(2, "x"), (3, "x"), (7, "y")]
    assert (result.rows_inserted, result.rows_deleted) == (1, 2)
    lake.load(table, batch(), OverwritePartitions(), policy=PLAIN)
    assert len(values(lake, table)) == 3
    lake.load(table, batch(), Replace(), policy=PLAIN)
    assert values(lake, table) == []


def test_an_extract_that_lacks_too_much_is_refused(lake: Any) -> None:
    table = lake.table(*COLUMNS)
    lake.load(table, batch(*range(10)), Append(), policy=PLAIN)
    with pytest.raises(DataRejectedError) as caught:
        lake.load(table, batch(*range(7)), SnapshotDiff(("id",)), policy=PLAIN)
    assert (caught.value.facts["rows_missing"], caught.value.facts["rows"]) == (3, 10)
    result = lake.load(table, batch(*range(8)), SnapshotDiff(("id",)), policy=PLAIN)
    assert (result.rows_deleted, result.rows_unchanged) == (2, 8)
    kept = lake.load(table, batch(), SnapshotDiff(("id",), removes_missing=False), policy=PLAIN)
    assert (kept.rows_deleted, len(values(lake, table))) == (0, 8)


def test_unchanged_rows_are_not_written_again(lake: Any) -> None:
    table = lake.table(*COLUMNS)
    lake.load(table, batch(1, 2), Merge(("id",)), policy=PLAIN)
    result = lake.load(table, batch(1, 2), Merge(("id",)), policy=PLAIN)
    assert (result.rows_unchanged, result.commit.rows_added, result.commit.rows_removed) == (2, 0, 0)


def test_repeated_keys_are_refused_without_showing_them(lake: Any) -> None:
    table = lake.table(*COLUMNS)
    for mode in (Merge(("id",)), SnapshotDiff(("id",)), Merge(("id",), sequence="day")):
        with pytest.raises(DataRejectedError) as caught:
            lake.load(table, batch(4242, 4242, 1), mode, policy=PLAIN)
        assert caught.value.facts["keys"] == ("id",)
        assert "4242" not in str(caught.value)


def test_a_history_needs_instants_and_one_change_for_each(lake: Any) -> None:
    table = lake.table(*COLUMNS)
    nothing = batch(1).set_column(1, "day", pa.nulls(1, pa.date32()))
    with pytest.raises(DataRejectedError, match="instant"):
        lake.load(table, nothing, Scd2(("id",), "day"), policy=PLAIN)
    with pytest.raises(DataRejectedError, match="one instant"):
        lake.load(table, pa.concat_tables([batch(1), batch(1, v="y")]), Scd2(("id",), "day"), policy=PLAIN)
    timed = batch(1).append_column("at", pa.array([0], pa.timestamp("us", "UTC")))
    with pytest.raises(InvalidRequestError, match="one type"):
        lake.load(table, timed, Scd2(("id",), "at"), policy=PLAIN)


def test_a_table_without_addresses_is_refused_by_name(lake: Any) -> None:
    class Plain:
        """The least a table can be."""

        def __init__(self, table: Any) -> None:
            for name in ("identity", "find", "facts", "read", "commit"):
                setattr(self, name, getattr(table, name))

    table = lake.table(*COLUMNS)
    lake.load(table, batch(1), Append(), policy=PLAIN)
    with pytest.raises(UnsupportedError, match="Addressing"):
        lake.load(Plain(table), batch(1), Merge(("id",)), policy=PLAIN)
