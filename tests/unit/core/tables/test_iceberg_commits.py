"""Commits to Iceberg: one at a time, once, whatever the catalog answers."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError
from pyiceberg.exceptions import CommitFailedException, ServerError
from pyiceberg.table import CommitTableResponse

from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError, OutcomeUnknownError
from airflow_provider_lakehouse.core.tables.base import At, Change, WriteToken
from airflow_provider_lakehouse.core.tables.iceberg import commit as iceberg_commit
from airflow_provider_lakehouse.core.tables.iceberg.table import IcebergTable

from .iceberg_tables import NAME, add, connection, ids, items, remove, table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class FlakyCatalog:
    """A catalog behind a network: commits answer as a script says.

    Args:
        catalog: The real one.
        script: For each commit in turn, what goes wrong: `before` it lands, `after`, or nothing.
        down: Once something went wrong, tables cannot be loaded any more.
    """

    def __init__(
        self, catalog: Any, *script: str, error: Callable[[str], Exception] = ServerError, down: bool = False
    ) -> None:
        self._catalog = catalog
        self._script = list(script)
        self._error = error
        self._down = down
        self._failed = False
        self.commits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)

    def load_table(self, name: str) -> Any:
        if self._failed and self._down:
            raise ConnectionError("no route to catalog")
        return self._catalog.load_table(name)

    def commit_table(self, *arguments: Any) -> Any:
        self.commits += 1
        fate = self._script.pop(0) if self._script else ""
        if fate == "before":
            self._failed = True
            raise self._error("gone")
        response = self._catalog.commit_table(*arguments)
        if fate == "after":
            self._failed = True
            raise self._error("gone")
        return response


def flaky(root: Path, *script: str, **options: Any) -> tuple[IcebergTable, FlakyCatalog]:
    table(root)
    reached = connection(root)
    catalog = FlakyCatalog(reached.catalog, *script, **options)
    reached.__dict__["catalog"] = catalog
    return IcebergTable(NAME, reached), catalog


def data_files(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("lake/shop/items/data/**/*.parquet"))


def manifest_lists(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("lake/shop/items/metadata/*/*-snapshot.avro"))


def unreadable(message: str) -> Exception:
    """What PyIceberg raises when half of the answer is missing."""
    try:
        CommitTableResponse.model_validate_json(message)
    except ValidationError as error:
        return error
    raise AssertionError(message)


ANSWERS: list[Callable[[str], Exception]] = [ServerError, CommitFailedException, unreadable]
"""A request that is sent again by what passes it on loses a race against itself."""


@pytest.mark.parametrize("fate", ["before", "after"])
@pytest.mark.parametrize("error", ANSWERS)
def test_a_commit_whose_answer_is_lost_is_found_out_and_done_once(
    tmp_path: Path, fate: str, error: Callable[[str], Exception]
) -> None:
    target, _ = flaky(tmp_path, fate, error=error)
    result = add(target, 1, 2)
    assert (result.rows_added, result.replayed) == (2, False)
    assert ids(target) == [1, 2]
    assert len(data_files(tmp_path)) == 1
    assert len(manifest_lists(tmp_path)) == 1
    assert add(target, 1, 2).replayed


@pytest.mark.parametrize("error", ANSWERS)
def test_the_last_attempt_is_found_out_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Callable[[str], Exception]
) -> None:
    monkeypatch.setattr(iceberg_commit, "MAX_ATTEMPTS", 1)
    target, _ = flaky(tmp_path, "after", error=error)
    assert not add(target, 1).replayed
    assert ids(target) == [1]


@pytest.mark.parametrize("error", ANSWERS)
def test_files_are_kept_while_nobody_can_tell_whether_the_commit_landed(
    tmp_path: Path, error: Callable[[str], Exception]
) -> None:
    target, _ = flaky(tmp_path, "after", down=True, error=error)
    with pytest.raises(OutcomeUnknownError):
        add(target, 1)
    assert len(data_files(tmp_path)) == 1
    again = table(tmp_path)
    assert add(again, 1).replayed
    assert ids(again) == [1]


def test_a_lost_race_is_run_again_with_the_same_data_files(tmp_path: Path) -> None:
    target, catalog = flaky(tmp_path, "before", "before", error=CommitFailedException)
    add(target, 1)
    assert catalog.commits == 3
    assert ids(target) == [1]
    assert len(data_files(tmp_path)) == 1
    assert len(list(tmp_path.glob("lake/shop/items/metadata/*/*snapshot.avro"))) == 1


def test_losing_for_ever_is_a_conflict_that_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iceberg_commit, "FIRST_PAUSE_SECONDS", 0)
    target, catalog = flaky(tmp_path, *["before"] * 100, error=CommitFailedException)
    with pytest.raises(ConflictError):
        add(target, 1)
    assert catalog.commits == iceberg_commit.MAX_ATTEMPTS
    assert data_files(tmp_path) == []
    assert list(tmp_path.glob("lake/shop/items/metadata/*/*.avro")) == []


def test_what_the_rows_raise_reaches_the_caller_and_leaves_nothing(tmp_path: Path) -> None:
    import pyarrow as pa

    def broken() -> Any:
        yield from items(*range(10)).to_batches()
        raise RuntimeError("source failed")

    target = table(tmp_path)
    rows = pa.RecordBatchReader.from_batches(items().schema, broken())
    with pytest.raises(RuntimeError, match="source failed"):
        target.commit(Change(rows=rows), token=WriteToken("unit", "broken"))
    assert data_files(tmp_path) == []
    assert ids(target) == []


def _append_many(root: str, worker: int) -> None:
    from pathlib import Path

    target = IcebergTable(NAME, connection(Path(root)))
    for number in range(5):
        add(target, worker * 100 + number)
        add(target, 9000 + number)


def test_processes_that_write_at_once_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    target = table(tmp_path)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_many, args=(str(tmp_path), worker)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    expected = [worker * 100 + number for worker in range(3) for number in range(5)]
    assert ids(target) == sorted([*expected, *range(9000, 9005)])
    assert target.facts().rows == 20
    assert len(data_files(tmp_path)) == target.facts().files


def test_a_late_attempt_at_a_lower_batch_writes_nothing_on_another_branch_either(tmp_path: Path) -> None:
    slow = table(tmp_path)
    add(slow, 0)

    def overtake(step: str) -> None:
        if step == "before iceberg.commit" and not done:
            done.append(step)
            add(slow, 5, batch=5, branch="audit-5")

    done: list[str] = []
    late = IcebergTable(NAME, connection(tmp_path, overtake))
    assert add(late, 4, batch=4, branch="audit-4").replayed
    assert slow.facts().branches.keys() == {"audit-5"}
    assert add(slow, 5, batch=5, branch="audit-5").replayed


def test_a_batch_staged_on_an_empty_table_is_published(tmp_path: Path) -> None:
    target = table(tmp_path)
    add(target, 1, branch="audit")
    assert (ids(target), ids(target, at=At(branch="audit"))) == ([], [1])
    target.publish("audit", token=WriteToken("unit", "publish"))
    assert ids(target) == [1]


def test_dropping_a_branch_brings_back_what_was_remembered_before_it(tmp_path: Path) -> None:
    target = table(tmp_path)
    add(target, 1, batch=1)
    add(target, 2, batch=2, branch="audit")
    add(target, 3, batch=3, branch="audit")
    target.drop_branch("audit")
    assert target.find(WriteToken("unit", 2)) is None
    assert target.find(WriteToken("unit", 1)) is not None


def test_publishing_passes_over_commits_that_changed_no_files_and_no_others(tmp_path: Path) -> None:
    target = table(tmp_path)
    add(target, 1)
    add(target, 2, branch="a")
    add(target, 3, branch="b")
    target.commit(Change(properties={"owner": "me"}), token=WriteToken("unit", "property"))
    target.publish("a", token=WriteToken("unit", "publish a"))
    assert ids(target) == [1, 2]
    assert target.facts().properties["owner"] == "me"
    with pytest.raises(ConflictError):
        target.publish("b", token=WriteToken("unit", "publish b"))
    assert ids(target) == [1, 2]


def test_the_properties_that_remember_writes_cannot_be_set(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError):
        table(tmp_path).commit(Change(properties={"lakehouse.token.x": "y"}), token=WriteToken("unit", "x"))


def test_small_manifests_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_lakehouse.core.tables.iceberg.snapshot.MERGE_AT_MANIFESTS", 4)
    target = table(tmp_path)
    for number in range(12):
        add(target, number)
    loaded = connection(tmp_path).load(NAME)
    assert len(loaded.current_snapshot().manifests(loaded.io)) <= 4
    remove(target, 3)
    assert ids(target) == [0, 1, 2, *range(4, 12)]
    version = target.facts().version
    add(target, 100, base=version, guard=())
    assert target.facts().rows == 12


def test_a_manifest_merge_is_no_conflict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_lakehouse.core.tables.iceberg.snapshot.MERGE_AT_MANIFESTS", 2)
    target = table(tmp_path)
    for number in range(4):
        add(target, number)
    version = target.facts().version
    add(target, batch="empty")
    add(target, 50, base=version, guard=())
    assert ids(target) == [0, 1, 2, 3, 50]


def test_metadata_files_do_not_pile_up(tmp_path: Path) -> None:
    target = table(tmp_path, properties={"write.metadata.previous-versions-max": "3"})
    for number in range(8):
        add(target, number)
    assert len(list(tmp_path.glob("lake/shop/items/metadata/*.metadata.json"))) == 4
