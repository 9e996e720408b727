"""What tables promise that have versions: reading older ones, staging, publishing, going back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_provider_lakehouse.core.errors import (
    ConflictError,
    InvalidRequestError,
)
from airflow_provider_lakehouse.core.tables.abilities import (
    Publishing,
    RollingBack,
    Tagging,
    TimeTravelling,
)
from airflow_provider_lakehouse.core.tables.base import (
    NO_VERSION,
    At,
    Change,
)
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.testing.faults import crash_sweep

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import (
        Probe,
        Table,
    )
from airflow_provider_lakehouse.testing.orders import NAME, ORDERS, append, ids, orders, positions_of, token
from airflow_provider_lakehouse.testing.table_case import TableCase


class VersionsSpecification(TableCase):
    """Time travel, branches, tags, rollback."""

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
