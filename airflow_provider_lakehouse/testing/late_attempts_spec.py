"""The specification of attempts that come back: one that was thought dead wakes up after another has done its work.

To be inherited by the tests of every backend, beside `table_spec`; see there.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError, LakehouseError, UnsupportedError
from airflow_provider_lakehouse.core.schema import Column, Schema, SchemaChange
from airflow_provider_lakehouse.core.tables.abilities import Publishing, RollingBack
from airflow_provider_lakehouse.core.tables.base import HIGHEST_BATCH, At, Change, WriteToken, no_probe
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.testing.orders import NAME, ORDERS, append, ids, orders, positions_of, token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import Catalog, Probe, Table


def publishing(table: Table) -> Publishing:
    """Return a table that can publish."""
    assert isinstance(table, Publishing)
    return table


class LateAttemptSpecification:
    """What every table promises when an attempt comes late."""

    def catalog(self, root: Path, probe: Probe = no_probe) -> Catalog:
        """Open the catalog that lives below a folder; the same folder is the same catalog."""
        raise UnsupportedError("A backend's tests say how its catalog is opened.", root=str(root))

    def table(self, root: Path) -> Table:
        """Return the example table with one row."""
        table = self.catalog(root).table(NAME)
        table.create(TableSpec(ORDERS))
        table.commit(append(1), token=token("first"))
        return table

    def late(
        self, root: Path, meanwhile: Callable[[Table], object], *, step: tuple[str, ...] = ("commit", "stage")
    ) -> Table:
        """Return the table as an attempt sees it that hangs just before it commits, while something else happens."""
        hung: list[str] = []

        def probe(name: str) -> None:
            if name.startswith("before") and name.endswith(step) and not hung:
                hung.append(name)
                meanwhile(self.catalog(root).table(NAME))

        return self.catalog(root, probe).table(NAME)

    def test_a_late_attempt_adds_nothing_to_what_its_rerun_wrote(self, tmp_path: Path) -> None:
        table = self.table(tmp_path)
        late = self.late(tmp_path, lambda other: other.commit(append(2), token=token("a")))
        assert late.commit(append(2), token=token("a")).replayed
        assert ids(table) == [1, 2]

    def test_a_late_attempt_at_staging_what_was_published_stages_nothing(self, tmp_path: Path) -> None:
        def rerun(other: Table) -> None:
            other.commit(Change(rows=orders(2).to_reader(), branch="audit"), token=token("a"))
            publishing(other).publish("audit", token=token("a", pipeline="publish"))

        table = self.table(tmp_path)
        late = self.late(tmp_path, rerun)
        assert late.commit(Change(rows=orders(2).to_reader(), branch="audit"), token=token("a")).replayed
        assert publishing(late).publish("audit", token=token("a", pipeline="publish")).replayed
        assert table.facts().branches == {}
        assert ids(table) == [1, 2]
        table.commit(Change(rows=orders(3).to_reader(), branch="audit"), token=token("b"))
        publishing(table).publish("audit", token=token("b", pipeline="publish"))
        assert ids(table) == [1, 2, 3]

    def test_a_late_attempt_that_dies_when_it_has_staged_leaves_nothing_that_is_published(self, tmp_path: Path) -> None:
        def rerun(other: Table) -> None:
            other.commit(Change(rows=orders(2).to_reader(), branch="audit"), token=token("a"))
            publishing(other).publish("audit", token=token("a", pipeline="publish"))

        class Killed(BaseException):
            pass

        def probe(name: str) -> None:
            if name.startswith("before") and name.endswith(("commit", "stage")) and not hung:
                hung.append(name)
                rerun(self.catalog(tmp_path).table(NAME))
            elif hung and name.startswith("after") and name.endswith(("commit", "stage")):
                raise Killed

        hung: list[str] = []
        table = self.table(tmp_path)
        with suppress(Killed):
            self.catalog(tmp_path, probe).table(NAME).commit(
                Change(rows=orders(2).to_reader(), branch="audit"), token=token("a")
            )
        assert ids(table) == [1, 2]
        table.commit(Change(rows=orders(3).to_reader(), branch="audit"), token=token("b"))
        publishing(table).publish("audit", token=token("b", pipeline="publish"))
        assert ids(table) == [1, 2, 3]

    def test_a_late_attempt_at_a_publication_publishes_nothing_else(self, tmp_path: Path) -> None:
        def rerun(other: Table) -> None:
            publishing(other).publish("audit", token=token("p"))
            other.commit(Change(rows=orders(3).to_reader(), branch="audit"), token=token("b"))

        table = self.table(tmp_path)
        table.commit(Change(rows=orders(2).to_reader(), branch="audit"), token=token("a"))
        late = self.late(tmp_path, rerun, step=("commit", "publish"))
        assert publishing(late).publish("audit", token=token("p")).replayed
        assert (ids(table), ids(table, at=At(branch="audit"))) == ([1, 2], [1, 2, 3])

    def test_a_table_that_was_made_anew_takes_no_rows_that_were_written_for_the_old_one(self, tmp_path: Path) -> None:
        def anew(other: Table) -> None:
            other.drop()
            other.create(TableSpec(ORDERS))
            for number in range(3):
                other.commit(append(7), token=token(f"new {number}"))

        table = self.table(tmp_path)
        rows = orders(2).to_reader()
        late = self.late(tmp_path, anew, step=("data.close", "memory.commit"))
        with pytest.raises(LakehouseError):
            late.commit(Change(rows=rows), token=token("a"))
        assert ids(table) == [7, 7, 7]
        table.commit(append(8), token=token("new"))
        assert ids(table) == [7, 7, 7, 8]

    def test_a_column_that_was_added_meanwhile_is_null_in_late_rows(self, tmp_path: Path) -> None:
        added = Change(schema_changes=(SchemaChange("add", Column("more", "string")),))
        table = self.table(tmp_path)
        late = self.late(tmp_path, lambda other: other.commit(added, token=token("columns")))
        late.commit(append(2), token=token("a"))
        assert ids(table, where=(Comparison("more", "is null"),)) == [1, 2]

    def test_dropping_a_branch_brings_back_what_was_remembered_before_it(self, tmp_path: Path) -> None:
        table = self.table(tmp_path)
        table.commit(append(4), token=token(4))
        table.commit(Change(rows=orders(5).to_reader(), branch="audit"), token=token(5))
        publishing(table).drop_branch("audit")
        assert table.find(token(5)) is None
        assert table.commit(append(4), token=token(4)).replayed
        assert ids(table) == [1, 4]

    def test_rows_that_a_rollback_brings_back_are_new_to_a_guard(self, tmp_path: Path) -> None:
        table = self.table(tmp_path)
        assert isinstance(table, RollingBack)
        first = table.facts().version
        positions, version = positions_of(table, 1)
        table.commit(Change(removes=positions, base=version), token=token("gone"))
        base = table.facts().version
        table.roll_back(At(version=first), token=token("back"))
        change = Change(rows=orders(1).to_reader(), base=base, guard=(Comparison("id", "=", 1),))
        with pytest.raises(ConflictError):
            table.commit(change, token=token("a"))
        assert ids(table) == [1]

    def test_batches_are_numbers_of_64_bits(self, tmp_path: Path) -> None:
        table = self.table(tmp_path)
        table.commit(append(2), token=token(HIGHEST_BATCH))
        assert table.commit(append(2), token=token(HIGHEST_BATCH)).replayed
        with pytest.raises(InvalidRequestError, match="64 bits"):
            WriteToken("spec", HIGHEST_BATCH + 1)
        assert ids(table) == [1, 2]

    @pytest.mark.parametrize(
        "change",
        [
            SchemaChange("widen", Column("id", "int")),
            SchemaChange("add", Column("note", "long")),
            SchemaChange("add", Column("more", "long", nullable=False)),
            SchemaChange("comment", Column("nothing", "long")),
            SchemaChange("relax", Column("id", "long")),
        ],
    )
    def test_a_change_of_columns_that_would_lose_something_is_refused(
        self, tmp_path: Path, change: SchemaChange
    ) -> None:
        table = self.table(tmp_path)
        with pytest.raises((InvalidRequestError, UnsupportedError)):
            table.commit(Change(schema_changes=(change,)), token=token("a"))
        assert table.facts().schema.names == ORDERS.names
        assert table.find(token("a")) is None

    def test_rows_of_types_that_would_lose_something_are_refused(self, tmp_path: Path) -> None:
        import pyarrow as pa

        table = self.catalog(tmp_path).table("types.narrow")
        table.create(TableSpec(Schema.of(Column("x", "float"), Column("n", "int"))))
        for rows in (pa.table({"x": [0.1], "n": pa.array([1], pa.int32())}), pa.table({"x": [None], "n": ["1"]})):
            with pytest.raises(InvalidRequestError):
                table.commit(Change(rows=rows.to_reader()), token=token("a"))
        assert table.read().read_all().num_rows == 0
