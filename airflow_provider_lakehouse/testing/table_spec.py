"""The specification of a table, to be inherited by the tests of every backend.

Give `TestMyBackend(TableSpecification)` a `catalog` method that opens a fresh, empty catalog with a probe, and nothing else:
what a backend cannot do it refuses by name, and the specification checks that it does.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_lakehouse.core.errors import (
    ConflictError,
    DataRejectedError,
    InvalidRequestError,
    UnsupportedError,
)
from airflow_provider_lakehouse.core.schema import Column, Schema, SchemaChange
from airflow_provider_lakehouse.core.tables.abilities import (
    Addressing,
    Listing,
    Publishing,
    RollingBack,
    Tagging,
    TimeTravelling,
)
from airflow_provider_lakehouse.core.tables.base import (
    FILE_COLUMN,
    NO_VERSION,
    POSITION_COLUMN,
    At,
    Change,
    Positions,
    WriteToken,
    no_probe,
)
from airflow_provider_lakehouse.core.tables.file_reading import read_files
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.spec import TableSpec, apply_spec, plan_spec
from airflow_provider_lakehouse.core.tables.storage import open_storage
from airflow_provider_lakehouse.testing.faults import crash_sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

    from airflow_provider_lakehouse.core.tables.base import (
        Catalog,
        Probe,
        Table,
    )

ORDERS = Schema.of(
    Column("id", "long", nullable=False),
    Column("day", "date"),
    Column("amount", "decimal(10,2)"),
    Column("note", "string"),
    identifier=("id",),
)
UNKEYED = Schema(ORDERS.columns)
NAME = "sales.orders"


def orders(*ids: int, day: date = date(2026, 1, 1), note: str | None = "n", schema: Schema = ORDERS) -> pa.Table:
    """Return rows of the example table with these ids."""
    import pyarrow as pa

    rows = [{"id": i, "day": day, "amount": Decimal(i) / 4, "note": note} for i in ids]
    return pa.Table.from_pylist(rows, schema=schema.to_arrow())


def append(*ids: int, **options: Any) -> Change:  # noqa: ANN401
    """Return a change that appends rows with these ids."""
    return Change(rows=orders(*ids, **options).to_reader())


def token(batch: str | int, pipeline: str = "spec") -> WriteToken:
    """Return a token of the specification's pipeline."""
    return WriteToken(pipeline, batch)


def ids(table: Table, **options: Any) -> list[int]:  # noqa: ANN401
    """Return the sorted ids a table holds."""
    found: list[int] = table.read(columns=("id",), **options).read_all().column("id").to_pylist()
    return sorted(found)


def positions_of(table: Table, *wanted: int) -> tuple[Positions, int]:
    """Return the addresses of rows by id, and the version in which they were found."""
    assert isinstance(table, Addressing)
    version = table.facts().version
    rows = table.read_addressed(columns=("id",), at=At(version=version)).read_all()
    import pyarrow as pa
    import pyarrow.compute as pc

    chosen = rows.filter(pc.is_in(rows.column("id"), value_set=pa.array(wanted, pa.int64())))
    return Positions(chosen.select([FILE_COLUMN, POSITION_COLUMN])), version


class TableSpecification:
    """What every table promises."""

    partitioning: tuple[str, ...] = ("day",)
    """How partitioned example tables are partitioned."""

    def catalog(self, root: Path, probe: Probe = no_probe) -> Catalog:
        """Open the catalog that lives below a folder; the same folder is the same catalog."""
        raise UnsupportedError("A backend's tests say how its catalog is opened.", root=str(root))

    @pytest.fixture
    def table(self, tmp_path: Path) -> Table:
        """An empty table."""
        table = self.catalog(tmp_path).table(NAME)
        table.create(TableSpec(ORDERS))
        return table

    @pytest.fixture
    def partitioned(self, tmp_path: Path) -> Table:
        """An empty table, partitioned by day."""
        table = self.catalog(tmp_path).table(NAME)
        table.create(TableSpec(ORDERS, partitioning=self.partitioning))
        return table

    # -- existence ---------------------------------------------------------------------------------------------------

    def test_a_table_exists_once_it_is_created(self, tmp_path: Path) -> None:
        table = self.catalog(tmp_path).table(NAME)
        assert not table.exists()
        assert table.create(TableSpec(ORDERS))
        assert table.exists()
        assert self.catalog(tmp_path).table(NAME).exists()
        assert self.catalog(tmp_path).tables("sales") == (NAME,)

    def test_creating_a_table_again_leaves_it_as_it_is(self, table: Table) -> None:
        table.commit(append(1), token=token("a"))
        assert not table.create(TableSpec(Schema.of(Column("other", "string"))))
        assert table.facts().schema.names == ORDERS.names
        assert ids(table) == [1]

    def test_of_many_that_create_a_table_at_once_one_does(self, tmp_path: Path) -> None:
        def create(number: int) -> bool:
            return self.catalog(tmp_path).table(f"sales.at_once_{number % 2}").create(TableSpec(ORDERS))

        with ThreadPoolExecutor(6) as pool:
            created = list(pool.map(create, range(6)))
        assert sum(created) == 2
        assert self.catalog(tmp_path).tables("sales") == ("sales.at_once_0", "sales.at_once_1")

    def test_a_dropped_table_is_gone_and_can_be_created_anew(self, table: Table) -> None:
        table.commit(append(1), token=token("a"))
        table.drop()
        table.drop()
        assert not table.exists()
        assert table.create(TableSpec(ORDERS))
        assert ids(table) == []
        assert table.find(token("a")) is None

    def test_asking_about_a_table_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        table = self.catalog(tmp_path).table("sales.nothing")
        with pytest.raises(InvalidRequestError, match="nothing"):
            table.facts()
        with pytest.raises(InvalidRequestError, match="nothing"):
            table.commit(append(1), token=token("a"))
        assert self.catalog(tmp_path).tables("nowhere") == ()

    def test_facts_tell_what_the_specification_declared(self, tmp_path: Path) -> None:
        spec = TableSpec(ORDERS, self.partitioning, ("id",), {"owner": "sales"}, "Orders", target_file_bytes=1_000_000)
        table = self.catalog(tmp_path).table(NAME)
        table.create(spec)
        facts = table.facts()
        assert [(c.name, c.type, c.nullable) for c in facts.schema.columns] == [
            (c.name, c.type, c.nullable) for c in ORDERS.columns
        ]
        assert facts.partitioning == spec.partition_fields
        assert facts.properties["owner"] == "sales"
        assert facts.comment == "Orders"
        assert facts.target_file_bytes == 1_000_000
        assert facts.files == 0
        assert not facts.keeps_identifier or facts.schema.identifier == ("id",)
        assert not plan_spec(spec, facts).refused

    # -- append, read -------------------------------------------------------------------------------------------------

    def test_appended_rows_are_read_back_as_they_were(self, table: Table) -> None:
        rows = orders(3, 1, 2, note=None)
        result = table.commit(Change(rows=rows.to_reader()), token=token("a"))
        assert (result.rows_added, result.rows_removed, result.replayed) == (3, 0, False)
        assert table.read().read_all().sort_by("id").to_pylist() == rows.sort_by("id").to_pylist()
        facts = table.facts()
        assert facts.version == result.version
        assert facts.rows in (3, None)
        assert facts.files == 1

    def test_a_read_returns_the_columns_asked_for_in_that_order(self, table: Table) -> None:
        table.commit(append(1), token=token("a"))
        assert table.read(columns=("note", "id")).read_all().to_pylist() == [{"note": "n", "id": 1}]

    def test_a_read_returns_the_rows_that_satisfy_every_condition(self, table: Table) -> None:
        table.commit(append(1, 2, 3, 4), token=token("a"))
        table.commit(append(5, note=None), token=token("b"))
        assert ids(table, where=(Comparison("id", ">", 1), Comparison("id", "<=", 3))) == [2, 3]
        assert ids(table, where=(Comparison("id", "in", (1, 4, 9)),)) == [1, 4]
        assert ids(table, where=(Comparison("id", "not in", (1, 4)),)) == [2, 3, 5]
        assert ids(table, where=(Comparison("note", "is null"),)) == [5]
        assert ids(table, where=(Comparison("note", "is not null"), Comparison("id", "!=", 2))) == [1, 3, 4]
        assert ids(table, where=(Comparison("amount", "=", Decimal("0.75")),)) == [3]
        assert ids(table, where=(Comparison("day", "<", date(2026, 1, 1)),)) == []

    def test_reading_an_unknown_column_is_refused(self, table: Table) -> None:
        with pytest.raises(InvalidRequestError, match="nope"):
            table.read(columns=("nope",)).read_all()

    def test_an_empty_table_reads_as_no_rows_with_its_columns(self, table: Table) -> None:
        rows = table.read().read_all()
        assert (rows.num_rows, tuple(rows.column_names)) == (0, ORDERS.names)

    def test_rows_with_other_columns_are_refused(self, table: Table) -> None:
        import pyarrow as pa

        rows = pa.table({"id": [1], "surprise": ["x"]})
        with pytest.raises(InvalidRequestError):
            table.commit(Change(rows=rows.to_reader()), token=token("a"))
        assert ids(table) == []
        assert table.find(token("a")) is None

    def test_a_null_where_none_is_allowed_is_refused(self, table: Table) -> None:
        import pyarrow as pa

        rows = pa.Table.from_pylist([{"id": None, "day": None, "amount": None, "note": None}], schema=_nullable())
        with pytest.raises(DataRejectedError, match="null"):
            table.commit(Change(rows=rows.to_reader()), token=token("a"))
        assert ids(table) == []

    def test_hard_values_are_read_back_exactly(self, tmp_path: Path) -> None:
        import pyarrow as pa

        schema = Schema.of(
            Column("b", "boolean"), Column("i", "int"), Column("l", "long"), Column("d", "double"),
            Column("x", "decimal(38,10)"), Column("t", "date"), Column("at", "timestamptz"), Column("s", "string"),
            Column("bytes", "binary"), Column("many", "list<long>"), Column("one", "struct<a:int,`b c`:string>"),
            Column("pairs", "map<string,int>"), Column('a "quoted". name; DROP TABLE x --', "string"), Column("größe", "long"),
        )  # fmt: skip
        row: dict[str, Any] = {
            "b": True, "i": -(2**31), "l": 2**63 - 1, "d": float("-inf"), "x": Decimal("-1234567890123456789012345678.0123456789"),
            "t": date(1815, 6, 18), "at": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "s": "\U0001f980 'x' \x00y",
            "bytes": b"\x00\xff", "many": [1, None, 3], "one": {"a": None, "b c": "é"}, "pairs": [("k", 1)],
            'a "quoted". name; DROP TABLE x --': "v", "größe": 0,
        }  # fmt: skip
        later = {
            **row,
            "t": date(9999, 12, 31),
            "at": datetime(9999, 12, 31, tzinfo=UTC),
            "d": 5e-324,
            "s": "x" * 100_000,
        }
        table = self.catalog(tmp_path).table("types.hard")
        table.create(TableSpec(schema))
        empty: dict[str, Any] = dict.fromkeys(row)
        rows = pa.Table.from_pylist([row, empty, later], schema=schema.to_arrow())
        table.commit(Change(rows=rows.to_reader()), token=token("a"))
        assert table.read().read_all().to_pylist() == rows.to_pylist()

    def test_not_a_number_is_kept_and_does_not_hide_other_rows(self, tmp_path: Path) -> None:
        import pyarrow as pa

        table = self.catalog(tmp_path).table("types.floats")
        table.create(TableSpec(Schema.of(Column("x", "double"))))
        rows = pa.table({"x": [float("nan"), 1.0, float("inf")]})
        table.commit(Change(rows=rows.to_reader()), token=token("a"))
        assert len(table.read().read_all()) == 3
        assert table.read(where=(Comparison("x", "=", 1.0),)).read_all().to_pylist() == [{"x": 1.0}]

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

    def count_data_files(self, root: Path) -> int:
        """Return how many data files lie below a folder, live or not."""
        return len(list(root.rglob("*.parquet")))

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

    # -- schema -------------------------------------------------------------------------------------------------------

    def test_a_column_is_added_in_the_commit_of_its_first_rows(self, table: Table) -> None:
        table.commit(append(1), token=token("a"))
        wider = ORDERS.with_columns(Column("more", "string"))
        rows = orders(2).append_column("more", [["x"]]).cast(wider.to_arrow())
        change = Change(rows=rows.to_reader(), schema_changes=(SchemaChange("add", Column("more", "string")),))
        table.commit(change, token=token("b"))
        assert table.facts().schema.names == (*ORDERS.names, "more")
        found = table.read(columns=("id", "more")).read_all().sort_by("id").to_pylist()
        assert found == [{"id": 1, "more": None}, {"id": 2, "more": "x"}]
        assert ids(table, where=(Comparison("more", "is null"),)) == [1]

    def test_a_type_is_widened_without_losing_rows_or_the_change_is_refused_by_name(self, tmp_path: Path) -> None:
        import pyarrow as pa

        table = self.catalog(tmp_path).table("types.widened")
        table.create(TableSpec(Schema.of(Column("n", "int"))))
        table.commit(Change(rows=pa.table({"n": pa.array([1], pa.int32())}).to_reader()), token=token("a"))
        change = Change(
            rows=pa.table({"n": pa.array([2**40], pa.int64())}).to_reader(),
            schema_changes=(SchemaChange("widen", Column("n", "long")),),
        )
        try:
            table.commit(change, token=token("b"))
        except UnsupportedError as error:
            assert "widen" in str(error)
            assert table.facts().schema.by_name["n"].type == "int"
        else:
            assert sorted(table.read().read_all().column("n").to_pylist()) == [1, 2**40]

    def test_drift_is_a_plan_that_is_applied_on_request(self, table: Table) -> None:
        spec = TableSpec(ORDERS.with_columns(Column("more", "long")), properties={"owner": "sales"}, comment="Orders")
        plan = plan_spec(spec, table.facts())
        assert not plan.is_empty
        assert table.facts().schema.names == ORDERS.names
        apply_spec(table, plan, token=token("spec 2"))
        apply_spec(table, plan, token=token("spec 2"))
        assert plan_spec(spec, table.facts()).is_empty

    # -- versions, branches, tags ---------------------------------------------------------------------------------------

    def test_older_versions_are_read_by_number_time_and_tag(self, table: Table) -> None:
        first = table.commit(append(1), token=token("a"))
        assert isinstance(table, TimeTravelling)
        if isinstance(table, Tagging):
            table.tag("month end")
            table.tag("month end", at=At(version=first.version))
        second = table.commit(append(2), token=token("b"))
        assert ids(table, at=At(version=first.version)) == [1]
        made = {entry.version: entry.committed_at for entry in table.history()}
        assert made[first.version] <= made[second.version]
        assert ids(table, at=At(as_of=made[second.version] + timedelta(seconds=1))) == [1, 2]
        if isinstance(table, Tagging):
            assert ids(table, at=At(tag="month end")) == [1]
            with pytest.raises(InvalidRequestError, match="month end"):
                table.tag("month end")
            table.drop_tag("month end")
            table.drop_tag("month end")
        with pytest.raises(InvalidRequestError):
            ids(table, at=At(tag="month end"))

    def test_history_tells_which_commits_changed_rows(self, table: Table) -> None:
        assert isinstance(table, TimeTravelling)
        first = table.commit(append(1), token=token("a"))
        table.commit(Change(properties={"owner": "x"}), token=token("b"))
        third = table.commit(append(2, 3), token=token("c"))
        assert [e.version for e in table.history() if e.changes_rows] == [first.version, third.version]
        since = table.history(since=first.version)
        assert [e.rows_added for e in since if e.changes_rows] == [2]
        assert table.history(since=third.version) == ()
        assert len(table.history(since=NO_VERSION)) == len(table.history())

    def test_a_staged_batch_is_seen_on_its_branch_only_until_it_is_published(self, table: Table) -> None:
        assert isinstance(table, Publishing)
        table.commit(append(1, 2), token=token("a"))
        table.commit(Change(rows=orders(3).to_reader(), branch="audit"), token=token("b"))
        assert (ids(table), ids(table, at=At(branch="audit"))) == ([1, 2], [1, 2, 3])
        table.commit(Change(rows=orders(4).to_reader(), branch="audit"), token=token("b2"))
        assert "audit" in table.facts().branches
        table.publish("audit", token=token("b", pipeline="publish"))
        assert ids(table) == [1, 2, 3, 4]
        assert table.facts().branches == {}
        assert table.publish("audit", token=token("b", pipeline="publish")).replayed

    def test_only_the_audited_version_of_a_branch_is_published(self, table: Table) -> None:
        assert isinstance(table, Publishing)
        table.commit(append(1), token=token("a"))
        table.commit(Change(rows=orders(2).to_reader(), branch="audit"), token=token("b"))
        audited = table.facts(at=At(branch="audit")).version
        table.commit(Change(rows=orders(3).to_reader(), branch="audit"), token=token("late"))
        with pytest.raises(ConflictError, match="audited"):
            table.publish("audit", token=token("p"), audited=audited)
        assert ids(table) == [1]
        table.publish("audit", token=token("p"), audited=table.facts(at=At(branch="audit")).version)
        assert ids(table) == [1, 2, 3]
        assert table.publish("audit", token=token("p"), audited=audited).replayed

    def test_what_was_audited_is_not_published_over_rows_that_were_not(self, table: Table) -> None:
        assert isinstance(table, Publishing)
        table.commit(append(1), token=token("a"))
        table.commit(Change(rows=orders(2).to_reader(), branch="audit"), token=token("b"))
        audited = table.facts(at=At(branch="audit")).version
        table.commit(append(2), token=token("c"))
        with pytest.raises(ConflictError):
            table.publish("audit", token=token("p"), audited=audited)
        assert (ids(table), ids(table, at=At(branch="audit"))) == ([1, 2], [1, 2])
        table.drop_branch("audit")
        assert table.find(token("b")) is None

    def test_publishing_refuses_when_the_main_branch_moved_in_conflict(self, table: Table) -> None:
        assert isinstance(table, Publishing)
        table.commit(append(1), token=token("a"))
        change = Change(rows=orders(2).to_reader(), removes="all", branch="audit")
        table.commit(change, token=token("b"))
        positions, version = positions_of(table, 1)
        table.commit(
            Change(rows=orders(1, note="moved").to_reader(), removes=positions, base=version), token=token("c")
        )
        with pytest.raises(ConflictError):
            table.publish("audit", token=token("b", pipeline="publish"))
        assert ids(table) == [1]
        table.drop_branch("audit")
        table.drop_branch("audit")
        with pytest.raises(InvalidRequestError, match="audit"):
            table.publish("audit", token=token("d", pipeline="publish"))

    def test_a_batch_whose_branch_was_dropped_can_be_staged_anew(self, table: Table) -> None:
        assert isinstance(table, Publishing)
        table.commit(append(1), token=token("a"))
        table.commit(Change(rows=orders(2).to_reader(), branch="audit"), token=token("b"))
        assert table.commit(Change(rows=orders(2).to_reader(), branch="audit"), token=token("b")).replayed
        table.drop_branch("audit")
        assert table.find(token("b")) is None
        assert not table.commit(Change(rows=orders(3).to_reader(), branch="audit"), token=token("b")).replayed
        table.publish("audit", token=token("b", pipeline="publish"))
        table.drop_branch("audit")
        assert ids(table) == [1, 3]
        assert table.find(token("b")) is not None
        assert table.find(token("a")) is not None

    def test_dying_anywhere_in_a_publication_and_running_again_publishes_once(self, tmp_path: Path) -> None:
        def prepare(number: int) -> Path:
            root = tmp_path / str(number)
            root.mkdir()
            table = self.catalog(root).table(NAME)
            table.create(TableSpec(ORDERS))
            table.commit(append(1), token=token("a"))
            table.commit(Change(rows=orders(2).to_reader(), branch="audit"), token=token("b"))
            return root

        def act(root: Path, probe: Probe) -> None:
            table = self.catalog(root, probe).table(NAME)
            assert isinstance(table, Publishing)
            table.publish("audit", token=token("p"))

        def observe(root: Path) -> object:
            table = self.catalog(root).table(NAME)
            return ids(table), dict(table.facts().branches), self.count_data_files(root)

        assert crash_sweep(prepare=prepare, act=act, observe=observe)

    def test_rolling_back_makes_an_older_state_the_newest(self, table: Table) -> None:
        assert isinstance(table, RollingBack)
        first = table.commit(append(1, 2), token=token("a"))
        positions, version = positions_of(table, 1)
        second = table.commit(Change(rows=orders(3).to_reader(), removes=positions, base=version), token=token("b"))
        table.roll_back(At(version=first.version), token=token("back"))
        assert ids(table) == [1, 2]
        assert table.roll_back(At(version=second.version), token=token("back")).replayed
        assert ids(table) == [1, 2]
        assert ids(table, at=At(version=second.version)) == [2, 3]
        table.commit(append(4), token=token("c"))
        assert ids(table) == [1, 2, 4]
        assert table.find(token("b")) is not None

    # -- storage ------------------------------------------------------------------------------------------------------

    def test_a_refused_write_leaves_no_files(self, tmp_path: Path, table: Table) -> None:
        table.commit(append(1, 2), token=token("a"))
        before = self.count_data_files(tmp_path)
        version = table.facts().version
        table.commit(append(3), token=token("b"))
        with pytest.raises(ConflictError):
            table.commit(Change(rows=orders(9).to_reader(), base=version, guard=()), token=token("c"))
        assert self.count_data_files(tmp_path) in (before + 1, 0)

    def test_files_are_closed_at_their_target_size(self, tmp_path: Path) -> None:
        import numpy as np
        import pyarrow as pa

        table = self.catalog(tmp_path).table("sizes.files")
        table.create(TableSpec(Schema.of(Column("x", "double")), target_file_bytes=500_000))
        noise = np.random.default_rng(7).random(400_000)
        reader = pa.table({"x": noise}).to_reader(max_chunksize=10_000)
        result = table.commit(Change(rows=reader), token=token("a"))
        if isinstance(table, Listing):
            sizes = sorted(file.size_bytes for file in table.list_files().files)
            assert len(sizes) == result.files_added
            assert all(500_000 <= size <= 1_000_000 for size in sizes[1:])

    def _interrupted(self, root: Path, interrupt: Callable[[], object]) -> Table:
        """Return a table whose first commit lets another attempt run just before it commits."""
        self.catalog(root).table(NAME).create(TableSpec(ORDERS))
        done: list[str] = []

        def probe(step: str) -> None:
            if step.startswith("before") and step.endswith("commit") and not done:
                done.append(step)
                interrupt()

        return self.catalog(root, probe).table(NAME)


def _nullable() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([field.with_nullable(True) for field in ORDERS.to_arrow()])
