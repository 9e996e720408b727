"""What every table promises of its writes: once, together or not at all, and only on what they rest on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_provider_lakehouse.core.errors import (
    ConflictError,
)
from airflow_provider_lakehouse.core.schema import Column, SchemaChange
from airflow_provider_lakehouse.core.tables.abilities import (
    Listing,
)
from airflow_provider_lakehouse.core.tables.base import (
    At,
    Change,
)
from airflow_provider_lakehouse.core.tables.file_reading import read_files
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.core.tables.storage import open_storage
from airflow_provider_lakehouse.testing.faults import crash_sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import (
        Probe,
        Table,
    )
from airflow_provider_lakehouse.testing.orders import NAME, ORDERS, append, ids, orders, positions_of, token
from airflow_provider_lakehouse.testing.table_case import TableCase


class WritesSpecification(TableCase):
    """Tokens, removals, guards, partitions."""

    # -- once ---------------------------------------------------------------------------------------------------------

    def test_the_same_token_twice_writes_once(self, table: Table) -> None:
        first = table.commit(append(1, 2), token=token("a"))
        again = table.commit(append(1, 2), token=token("a"))
        assert (again.replayed, again.version, again.rows_added) == (True, first.version, 2)
        assert ids(table) == [1, 2]

    def test_a_token_is_found_after_later_writes(self, table: Table) -> None:
        first = table.commit(append(1), token=token("a"))
        table.commit(append(2), token=token("b"))
        table.commit(append(3), token=token("a", pipeline="other"))
        known = table.find(token("a"))
        assert known is not None
        assert (known.version, known.replayed) == (first.version, True)
        assert table.find(token("c")) is None

    def test_an_ordered_batch_counts_as_written_once_a_higher_one_is(self, table: Table) -> None:
        table.commit(append(1), token=token(5))
        assert table.commit(append(2), token=token(4)).replayed
        assert table.find(token(6)) is None
        table.commit(append(3), token=token(6))
        assert ids(table) == [1, 3]

    def test_an_empty_batch_is_remembered_too(self, table: Table) -> None:
        result = table.commit(append(), token=token("empty"))
        assert result.rows_added == 0
        assert table.commit(append(1), token=token("empty")).replayed
        assert ids(table) == []

    def test_of_two_live_attempts_with_one_token_one_writes(self, tmp_path: Path) -> None:
        other = self.catalog(tmp_path).table(NAME)
        table = self._interrupted(tmp_path, lambda: other.commit(append(1), token=token("a")))
        result = table.commit(append(1), token=token("a"))
        assert result.replayed
        assert ids(other) == [1]

    def test_many_attempts_at_once_write_each_batch_once(self, table: Table, tmp_path: Path) -> None:
        def attempt(batch: int) -> None:
            self.catalog(tmp_path).table(NAME).commit(append(batch), token=token(f"batch {batch}"))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(attempt, [1, 2, 3, 1, 2, 3]))
        assert ids(table) == [1, 2, 3]

    def test_dying_anywhere_in_a_write_and_running_again_writes_once(self, tmp_path: Path) -> None:
        for kind, change in self._changes().items():
            self._sweep(tmp_path / kind, change)

    def _changes(self) -> dict[str, Callable[[Table], Change]]:
        changes: dict[str, Callable[[Table], Change]] = {
            "append": lambda table: append(10),
            "replace": lambda table: Change(rows=orders(10).to_reader(), removes="all"),
            "partitions": lambda table: Change(rows=orders(10).to_reader(), removes="partitions"),
            "branch": lambda table: Change(rows=orders(10).to_reader(), branch="staged"),
            "columns": lambda table: Change(schema_changes=(SchemaChange("add", Column("more", "long")),)),
            "positions": self._update_change,
        }
        return changes

    def _update_change(self, table: Table) -> Change:
        positions, version = positions_of(table, 2)
        return Change(rows=orders(2, note="new").to_reader(), removes=positions, base=version)

    def _sweep(self, root: Path, change: Callable[[Table], Change]) -> None:
        folders: dict[int, Path] = {}

        def prepare(number: int) -> int:
            folders[number] = root / str(number)
            folders[number].mkdir(parents=True)
            table = self.catalog(folders[number]).table(NAME)
            table.create(TableSpec(ORDERS, partitioning=self.partitioning))
            table.commit(append(1, 2, 3), token=token("first"))
            return number

        def act(number: int, probe: Probe) -> None:
            table = self.catalog(folders[number], probe).table(NAME)
            if table.find(token("swept")) is None:
                table.commit(change(table), token=token("swept"))
            else:
                table.commit(append(99), token=token("swept"))

        def observe(number: int) -> object:
            table = self.catalog(folders[number]).table(NAME)
            branches = table.facts().branches
            staged = [ids(table, at=At(branch=name)) for name in sorted(branches)]
            return ids(table), staged, table.facts().schema.names, self.count_data_files(folders[number])

        steps = crash_sweep(prepare=prepare, act=act, observe=observe)
        assert steps

    # -- removing rows ------------------------------------------------------------------------------------------------

    def test_rows_are_removed_by_their_address_and_others_take_their_place(self, table: Table) -> None:
        table.commit(append(1, 2, 3), token=token("a"))
        table.commit(append(4, 5), token=token("b"))
        positions, version = positions_of(table, 2, 5)
        change = Change(rows=orders(2, note="new").to_reader(), removes=positions, base=version)
        result = table.commit(change, token=token("c"))
        assert (result.rows_added, result.rows_removed) == (1, 2)
        assert ids(table) == [1, 2, 3, 4]
        assert ids(table, where=(Comparison("note", "=", "new"),)) == [2]
        positions, version = positions_of(table, 1, 2)
        table.commit(Change(removes=positions, base=version), token=token("d"))
        assert ids(table) == [3, 4]
        assert table.facts().rows in (2, None)

    def test_removing_many_of_many_rows_leaves_the_others(self, table: Table) -> None:
        table.commit(append(*range(1000)), token=token("a"))
        for step, gone in enumerate((range(0, 1000, 2), range(1, 900, 2))):
            positions, version = positions_of(table, *gone)
            table.commit(Change(removes=positions, base=version), token=token(f"gone {step}"))
        assert ids(table) == list(range(901, 1000, 2))

    def test_removing_rows_survives_a_concurrent_append(self, tmp_path: Path, table: Table) -> None:
        table.commit(append(1, 2), token=token("a"))
        positions, version = positions_of(table, 1)
        table.commit(append(3), token=token("b"))
        table.commit(Change(removes=positions, base=version), token=token("c"))
        assert ids(table) == [2, 3]

    def test_removing_rows_that_another_commit_removed_is_a_conflict(self, table: Table) -> None:
        table.commit(append(1, 2), token=token("a"))
        mine, version = positions_of(table, 1)
        theirs, _ = positions_of(table, 1)
        table.commit(Change(rows=orders(1, note="theirs").to_reader(), removes=theirs, base=version), token=token("b"))
        change = Change(rows=orders(1, note="mine").to_reader(), removes=mine, base=version)
        with pytest.raises(ConflictError):
            table.commit(change, token=token("c"))
        assert ids(table) == [1, 2]
        assert ids(table, where=(Comparison("note", "=", "theirs"),)) == [1]

    def test_a_guard_refuses_concurrent_rows_it_covers_and_no_others(self, table: Table) -> None:
        table.commit(append(1), token=token("a"))
        version = table.facts().version
        table.commit(append(50), token=token("b"))
        far = Change(
            rows=orders(7).to_reader(), base=version, guard=(Comparison("id", ">=", 7), Comparison("id", "<=", 9))
        )
        table.commit(far, token=token("c"))
        near = Change(rows=orders(50).to_reader(), base=version, guard=(Comparison("id", "=", 50),))
        with pytest.raises(ConflictError):
            table.commit(near, token=token("d"))
        anything = Change(rows=orders(8).to_reader(), base=version, guard=())
        with pytest.raises(ConflictError):
            table.commit(anything, token=token("e"))
        assert ids(table) == [1, 7, 50]

    def test_replacing_removes_everything_that_was_there(self, table: Table) -> None:
        table.commit(append(1, 2), token=token("a"))
        result = table.commit(Change(rows=orders(3).to_reader(), removes="all"), token=token("b"))
        assert (result.rows_added, result.rows_removed) == (1, 2)
        assert ids(table) == [3]

    def test_overwriting_partitions_replaces_those_of_the_batch_and_no_others(self, partitioned: Table) -> None:
        partitioned.commit(append(1, 2, day=date(2026, 1, 1)), token=token("a"))
        partitioned.commit(append(3, day=date(2026, 1, 2)), token=token("b"))
        rows = orders(9, day=date(2026, 1, 1))
        partitioned.commit(Change(rows=rows.to_reader(), removes="partitions"), token=token("c"))
        assert ids(partitioned) == [3, 9]

    def test_a_null_is_a_partition_of_its_own(self, partitioned: Table) -> None:
        import pyarrow as pa

        rows = [{"id": i, "day": None, "amount": None, "note": None} for i in (1, 2)]
        nulls = pa.Table.from_pylist(rows, schema=ORDERS.to_arrow())
        partitioned.commit(Change(rows=nulls.to_reader()), token=token("a"))
        partitioned.commit(append(3), token=token("b"))
        partitioned.commit(Change(rows=nulls.slice(0, 1).to_reader(), removes="partitions"), token=token("c"))
        assert ids(partitioned) == [1, 3]
        assert ids(partitioned, where=(Comparison("day", "is null"),)) == [1]

    def test_many_partitions_are_written_and_pruned(self, partitioned: Table) -> None:
        import pyarrow as pa

        days = [date(2026, 1, 1) + timedelta(days=i) for i in range(60)]
        rows = pa.concat_tables([orders(i, day=day) for i, day in enumerate(days)])
        result = partitioned.commit(Change(rows=rows.to_reader()), token=token("a"))
        assert result.files_added == 60 or not isinstance(partitioned, Listing)
        assert ids(partitioned) == list(range(60))
        assert ids(partitioned, where=(Comparison("day", "=", days[7]),)) == [7]
        if isinstance(partitioned, Listing):
            assert len(partitioned.list_files(where=(Comparison("day", "=", days[7]),)).files) == 1

    def test_listed_files_hold_exactly_the_live_rows(self, tmp_path: Path, partitioned: Table) -> None:
        partitioned.commit(append(1, 2, 3), token=token("a"))
        positions, version = positions_of(partitioned, 2)
        partitioned.commit(Change(removes=positions, base=version), token=token("b"))
        if isinstance(partitioned, Listing):
            listing = partitioned.list_files()
            storage = open_storage(listing.files[0].path, {})
            rows = read_files(listing.files, storage=storage, schema=listing.schema).read_all()
            assert sorted(rows.column("id").to_pylist()) == [1, 3]
            assert listing.version == partitioned.facts().version

    def _interrupted(self, root: Path, interrupt: Callable[[], object]) -> Table:
        """Return a table whose first commit lets another attempt run just before it commits."""
        self.catalog(root).table(NAME).create(TableSpec(ORDERS))
        done: list[str] = []

        def probe(step: str) -> None:
            if step.startswith("before") and step.endswith("commit") and not done:
                done.append(step)
                interrupt()

        return self.catalog(root, probe).table(NAME)
