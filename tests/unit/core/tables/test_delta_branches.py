"""Branches and tags of Delta tables: kept beside the log, published in one commit, refused when main moved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError
from airflow_provider_lakehouse.core.schema import Column, SchemaChange
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN, At, Change, Positions, WriteToken
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.testing.faults import DeathAt, Recorder, SimulatedCrash, crash_sweep

from .delta_tables import NUMBERS, actions_of, add, delta_table, folder, held, numbers, seen_by_delta_rs

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.tables.delta.table import DeltaLakeTable

AUDIT = At(branch="audit")
PUBLISH = WriteToken("publish", "a")


@pytest.fixture
def table(tmp_path: Path) -> DeltaLakeTable:
    table = delta_table(tmp_path)
    table.create(TableSpec(NUMBERS))
    add(table, 1, 2, batch="first")
    return table


def stage(table: DeltaLakeTable, *values: int, batch: str | int, **options: object) -> None:
    table.commit(Change(rows=numbers(*values), branch="audit", **options), token=WriteToken("staging", batch))  # type: ignore[arg-type]


def data_files(root: Path) -> int:
    return len(list(root.rglob("data/**/*.parquet")))


def test_rows_of_a_branch_are_changed_on_the_branch(tmp_path: Path, table: DeltaLakeTable) -> None:
    stage(table, 3, 4, batch="a")
    version = table.facts(at=AUDIT).version
    where = (Comparison("n", "in", (1, 3)),)
    rows = table.read_addressed(columns=(), where=where, at=At(version=version)).read_all()
    change = Change(
        rows=numbers(9), removes=Positions(rows.select([FILE_COLUMN, POSITION_COLUMN])), base=version, branch="audit"
    )
    table.commit(change, token=WriteToken("staging", "b"))
    assert (held(table, at=AUDIT), held(table), held(table, at=At(version=version))) == (
        [2, 4, 9],
        [1, 2],
        [1, 2, 3, 4],
    )
    result = table.publish("audit", token=PUBLISH)
    assert held(table) == seen_by_delta_rs(folder(tmp_path)) == [2, 4, 9]
    assert table.facts().version == result.version == 2
    assert data_files(tmp_path) == 1 + 1, "the old file of the main branch, and what the branch came to"


def test_a_column_that_was_staged_is_published_with_its_rows(tmp_path: Path, table: DeltaLakeTable) -> None:
    more = SchemaChange("add", Column("more", "timestamp"))
    rows = pa.table({"n": [3], "s": ["x"], "more": pa.nulls(1, pa.timestamp("us"))})
    table.commit(
        Change(rows=rows.to_reader(), schema_changes=(more,), branch="audit"), token=WriteToken("staging", "a")
    )
    assert (table.facts().schema.names, table.facts(at=AUDIT).schema.names) == (("n", "s"), ("n", "s", "more"))
    table.publish("audit", token=PUBLISH)
    assert table.facts().schema.names == ("n", "s", "more")
    assert seen_by_delta_rs(folder(tmp_path)) == [1, 2, 3]


def test_columns_changed_on_both_sides_are_a_conflict(table: DeltaLakeTable) -> None:
    for branch, name in (("audit", "more"), (None, "other")):
        change = Change(schema_changes=(SchemaChange("add", Column(name, "long")),), branch=branch)
        table.commit(change, token=WriteToken("staging", name))
    with pytest.raises(ConflictError):
        table.publish("audit", token=PUBLISH)


def test_appends_to_the_main_branch_do_not_hinder_the_publication_of_appends(table: DeltaLakeTable) -> None:
    stage(table, 3, batch="a")
    add(table, 9, batch="main")
    table.publish("audit", token=PUBLISH)
    assert held(table) == [1, 2, 3, 9]


def test_a_staged_replacement_is_not_published_over_rows_it_did_not_know(table: DeltaLakeTable) -> None:
    stage(table, 3, batch="a", removes="all")
    add(table, 9, batch="main")
    with pytest.raises(ConflictError):
        table.publish("audit", token=PUBLISH)
    assert held(table) == [1, 2, 9]


@pytest.mark.parametrize(("text", "is_conflict"), [("x", True), ("y", False)])
def test_a_staged_partition_is_published_unless_rows_were_added_to_it(
    tmp_path: Path, text: str, is_conflict: bool
) -> None:
    table = delta_table(tmp_path, "a.parts")
    table.create(TableSpec(NUMBERS, partitioning=("s",)))
    add(table, 1, batch="first")
    stage(table, 3, batch="a", removes="partitions")
    table.commit(Change(rows=numbers(9, text=text)), token=WriteToken("test", "main"))
    if is_conflict:
        with pytest.raises(ConflictError):
            table.publish("audit", token=PUBLISH)
    else:
        table.publish("audit", token=PUBLISH)
        assert held(table) == [3, 9]


@pytest.mark.parametrize(("number", "is_conflict"), [(5, True), (50, False)])
def test_the_guard_of_a_staged_change_holds_until_it_is_published(
    table: DeltaLakeTable, number: int, is_conflict: bool
) -> None:
    guard = (Comparison("n", ">=", 3), Comparison("n", "<=", 9))
    stage(table, 5, batch="a", base=table.facts().version, guard=guard)
    add(table, number, batch="main")
    if is_conflict:
        with pytest.raises(ConflictError):
            table.publish("audit", token=PUBLISH)
    else:
        table.publish("audit", token=PUBLISH)
        assert held(table) == [1, 2, 5, 50]


def test_nothing_is_staged_on_a_branch_that_is_being_published(tmp_path: Path, table: DeltaLakeTable) -> None:
    stage(table, 3, batch="a")

    def probe(step: str) -> None:
        if step == "before delta.commit":
            with pytest.raises(ConflictError, match="being published"):
                stage(table, 4, batch="late")

    delta_table(tmp_path, probe=probe).publish("audit", token=PUBLISH)
    assert held(table) == [1, 2, 3]
    stage(table, 4, batch="late")
    assert held(table, at=AUDIT) == [1, 2, 3, 4]


def test_a_branch_that_is_dropped_while_it_is_published_is_not_published(tmp_path: Path, table: DeltaLakeTable) -> None:
    stage(table, 3, batch="a")
    dropped: list[str] = []

    def probe(step: str) -> None:
        if step == "before delta.commit" and not dropped:
            dropped.append(step)
            table.drop_branch("audit")

    with pytest.raises(InvalidRequestError, match="ended"):
        delta_table(tmp_path, probe=probe).publish("audit", token=PUBLISH)
    assert (held(table), table.facts().branches, data_files(tmp_path)) == ([1, 2], {}, 1)


def test_a_publication_that_is_run_again_leaves_a_newer_branch_of_the_name_alone(table: DeltaLakeTable) -> None:
    stage(table, 3, batch="a")
    table.publish("audit", token=PUBLISH)
    stage(table, 4, batch="b")
    assert table.publish("audit", token=PUBLISH).replayed
    assert held(table, at=AUDIT) == [1, 2, 3, 4]


def test_a_publication_that_died_before_it_cleared_up_does_not_block_the_branch(
    tmp_path: Path, table: DeltaLakeTable
) -> None:
    stage(table, 3, batch="a")
    recorder = Recorder()
    other = delta_table(tmp_path, "a.other")
    other.create(TableSpec(NUMBERS))
    stage(other, 3, batch="a")
    delta_table(tmp_path, "a.other", probe=recorder).publish("audit", token=PUBLISH)
    committed = recorder.steps.index("after delta.commit")
    with pytest.raises(SimulatedCrash):
        delta_table(tmp_path, probe=DeathAt(committed)).publish("audit", token=PUBLISH)
    stage(table, 4, batch="b")
    assert (held(table), held(table, at=AUDIT)) == ([1, 2, 3], [1, 2, 3, 4])


def test_dying_anywhere_while_a_branch_is_dropped_and_running_again_leaves_nothing_of_it(tmp_path: Path) -> None:
    def prepare(number: int) -> Path:
        root = tmp_path / str(number)
        table = delta_table(root)
        table.create(TableSpec(NUMBERS))
        add(table, 1, batch="first")
        stage(table, 3, batch="a")
        return root

    def observe(root: Path) -> object:
        table = delta_table(root)
        return held(table), dict(table.facts().branches), data_files(root), table.find(WriteToken("staging", "a"))

    steps = crash_sweep(
        prepare=prepare, act=lambda root, probe: delta_table(root, probe=probe).drop_branch("audit"), observe=observe
    )
    assert "before delta.seal" in steps


def test_publishing_a_lower_batch_does_not_make_the_table_forget_a_higher_one(table: DeltaLakeTable) -> None:
    stage(table, 3, batch=1)
    table.commit(Change(rows=numbers(4)), token=WriteToken("staging", 2))
    table.publish("audit", token=PUBLISH)
    known = table.find(WriteToken("staging", 2))
    assert known is not None
    assert known.rows_added == 1


def test_tokens_that_were_staged_are_found_once_published(tmp_path: Path, table: DeltaLakeTable) -> None:
    stage(table, 3, batch=1)
    stage(table, 4, 5, batch=2)
    result = table.publish("audit", token=PUBLISH)
    known = table.find(WriteToken("staging", 2))
    assert known is not None
    assert (known.version, known.rows_added, result.rows_added) == (result.version, 2, 3)
    applications = [action["appId"] for action in actions_of(Path(folder(tmp_path)), result.version, "txn")]
    assert len(set(applications)) == len(applications)


def test_a_decision_on_a_version_the_branch_does_not_have_is_refused(table: DeltaLakeTable) -> None:
    stage(table, 3, batch="a")
    add(table, 9, batch="main")
    with pytest.raises(InvalidRequestError):
        stage(table, 4, batch="b", base=table.facts().version, guard=())
    with pytest.raises(InvalidRequestError):
        stage(table, 4, batch="b", base=table.facts(at=AUDIT).version + 1, guard=())


def test_branch_names_of_any_kind_are_told_apart(table: DeltaLakeTable) -> None:
    names = ("a/b", "a~2f~b", "..", "Ä b", "audit")
    for number, name in enumerate(names):
        table.commit(Change(rows=numbers(10 + number), branch=name), token=WriteToken("staging", name))
    assert set(table.facts().branches) == set(names)
    assert [held(table, at=At(branch=name)) for name in names] == [[1, 2, 10 + number] for number in range(5)]


def test_a_branch_version_is_a_number_that_json_keeps_exactly(table: DeltaLakeTable) -> None:
    stage(table, 3, batch="a")
    version = table.facts().branches["audit"]
    assert float(version) == version
    assert version < 2**53


def test_a_tag_names_a_version_of_the_main_branch_only(table: DeltaLakeTable) -> None:
    stage(table, 3, batch="a")
    table.tag("month end é/1")
    assert table.facts().tags == {"month end é/1": 1}
    with pytest.raises(InvalidRequestError):
        table.tag("staged", at=AUDIT)
    with pytest.raises(InvalidRequestError):
        table.roll_back(AUDIT, token=WriteToken("p", "back"))


def test_rows_that_come_while_an_audited_branch_is_published_stop_it(tmp_path: Path, table: DeltaLakeTable) -> None:
    stage(table, 3, batch="a")

    def probe(step: str) -> None:
        if step == "before delta.commit" and held(table) == [1, 2]:
            add(table, 4, batch="meanwhile")

    with pytest.raises(ConflictError, match="not audited"):
        delta_table(tmp_path, probe=probe).publish("audit", token=PUBLISH, audited=table.facts(at=AUDIT).version)
    assert held(table) == [1, 2, 4]
    table.drop_branch("audit")
    stage(table, 3, batch="a")
    table.publish("audit", token=PUBLISH, audited=table.facts(at=AUDIT).version)
    assert held(table) == [1, 2, 3, 4]


def test_files_that_were_only_written_anew_do_not_stop_an_audited_branch(tmp_path: Path, table: DeltaLakeTable) -> None:
    add(table, 5, batch="second")
    stage(table, 3, batch="a")
    DeltaTable(str(folder(tmp_path))).optimize.compact()
    table.publish("audit", token=PUBLISH, audited=table.facts(at=AUDIT).version)
    assert held(table) == [1, 2, 3, 5]
