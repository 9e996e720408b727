"""What a run reads is decided before it reads, and nothing is written by deciding."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from airflow_provider_lakehouse.core.errors import DamagedError, InvalidRequestError
from airflow_provider_lakehouse.core.extract.plan import FilesPlan, plan_files, position_properties, read_position
from airflow_provider_lakehouse.core.sources.files.source import FileSettings, FileSource
from airflow_provider_lakehouse.core.state.base import FileOutcome
from airflow_provider_lakehouse.core.state.memory import MemoryFileLedger

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.sources.base import ExtractPlan

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = ["a.csv", "b.csv", "c.csv", "d.csv"]


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    for number, name in enumerate(NAMES):
        (tmp_path / name).write_text("id\n" + "1\n" * 10 * number)
    return FileSource(FileSettings(f"{tmp_path}/*.csv"))


def names_of(plan: ExtractPlan) -> list[str]:
    return [s.name.rpartition("/")[2] for s in plan.slices]


def finished(ledger: MemoryFileLedger, plan: ExtractPlan) -> None:
    claimed = ledger.claim("p", plan=plan)
    outcomes = tuple(FileOutcome(s.name, str(s.facts["identity"]), "loaded") for s in plan.slices)
    ledger.finish(claimed, outcomes=outcomes, at=NOW)


def test_everything_that_was_not_seen_is_one_batch(source: FileSource):
    plan = plan_files(source, MemoryFileLedger(), pipeline="p", now=NOW)
    assert [names_of(new) for new in plan.new] == [NAMES]
    assert (plan.files, plan.is_empty, plan.unfinished) == (4, False, ())


@pytest.mark.parametrize(("limits", "batches"), [
    ({"max_batch_files": 3}, [["a.csv", "b.csv", "c.csv"], ["d.csv"]]),
    ({"max_batch_bytes": 26}, [["a.csv", "b.csv"], ["c.csv"], ["d.csv"]]),
    ({"max_batch_bytes": 1}, [["a.csv"], ["b.csv"], ["c.csv"], ["d.csv"]]),
])  # fmt: skip
def test_batches_have_limits_but_always_at_least_one_file(
    source: FileSource, limits: dict[str, int], batches: list[list[str]]
):
    plan = plan_files(source, MemoryFileLedger(), pipeline="p", now=NOW, **limits)
    assert [names_of(new) for new in plan.new] == batches


@pytest.mark.parametrize("limits", [{"max_batch_files": 0}, {"max_batch_bytes": -1}])
def test_a_batch_without_room_is_refused(source: FileSource, limits: dict[str, int]):
    with pytest.raises(InvalidRequestError, match="room"):
        plan_files(source, MemoryFileLedger(), pipeline="p", now=NOW, **limits)


def test_what_an_earlier_run_left_unfinished_comes_first_under_its_own_token(source: FileSource):
    ledger = MemoryFileLedger()
    first = plan_files(source, ledger, pipeline="p", now=NOW, max_batch_files=2)
    finished(ledger, first.new[0])
    claimed = ledger.claim("p", plan=first.new[1])
    second = plan_files(source, ledger, pipeline="p", now=NOW)
    assert (second.unfinished, second.new) == ((claimed,), ())
    assert set(second.left_out.values()) == {"already seen"}


def test_planning_claims_nothing(source: FileSource):
    ledger = MemoryFileLedger()
    first, second = (plan_files(source, ledger, pipeline="p", now=NOW) for _ in range(2))
    assert first == second


def test_a_plan_travels_as_json(source: FileSource):
    ledger = MemoryFileLedger()
    ledger.claim("p", plan=plan_files(source, ledger, pipeline="p", now=NOW, max_batch_files=1).new[0])
    plan = plan_files(source, ledger, pipeline="p", now=NOW)
    assert FilesPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_nothing_new_is_an_empty_plan(source: FileSource):
    ledger = MemoryFileLedger()
    finished(ledger, plan_files(source, ledger, pipeline="p", now=NOW).new[0])
    plan = plan_files(source, ledger, pipeline="p", now=NOW)
    assert (plan.is_empty, plan.files, len(plan.left_out)) == (True, 0, 4)


def test_a_position_is_kept_with_the_table_by_pipeline():
    properties = {**position_properties("one", position={"id": 7}), **position_properties("two", position={})}
    kept = {name: value for name, value in properties.items() if value is not None}
    assert read_position(kept, pipeline="one") == {"id": 7}
    assert read_position(kept, pipeline="two") == {}
    assert read_position(kept, pipeline="three") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "7"])
def test_a_position_that_cannot_be_read_is_damage(text: str):
    with pytest.raises(DamagedError):
        read_position({"lakehouse.position.p": text}, pipeline="p")
