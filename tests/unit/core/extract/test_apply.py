"""Every file that was claimed ends with its outcome, and its rows in the target exactly once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from airflow_provider_lakehouse.core.errors import ConflictError, DataRejectedError, UnavailableError
from airflow_provider_lakehouse.core.extract.apply import apply_files, extract, plan_extract
from airflow_provider_lakehouse.core.extract.plan import plan_files
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.sources.base import RejectedRow
from airflow_provider_lakehouse.core.sources.files.source import FileSettings, FileSource
from airflow_provider_lakehouse.core.state.memory import MemoryFileLedger

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from airflow_provider_lakehouse.core.extract.apply import FilesResult
    from airflow_provider_lakehouse.core.extract.plan import FilesPlan
    from airflow_provider_lakehouse.core.sources.base import ExtractPlan, Rejects
    from airflow_provider_lakehouse.core.tables.base import WriteToken

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


@dataclass(frozen=True)
class Outcome:
    is_replay: bool


@dataclass
class Target:
    """The smallest target that remembers tokens."""

    batches: dict[Any, list[int]] = field(default_factory=dict)
    rejects: list[RejectedRow] = field(default_factory=list)
    plans: list[ExtractPlan] = field(default_factory=list)

    def load(self, rows: pa.RecordBatchReader, *, token: WriteToken, plan: ExtractPlan, rejects: Rejects) -> Outcome:
        if token.batch in self.batches:
            return Outcome(is_replay=True)
        found = rows.read_all().column("id").to_pylist()
        self.batches[token.batch] = found
        self.rejects.extend(rejects.rows)
        self.plans.append(plan)
        return Outcome(is_replay=False)

    @property
    def ids(self) -> list[int]:
        return sorted(i for found in self.batches.values() for i in found)


@dataclass
class Pipeline:
    folder: Path
    ledger: MemoryFileLedger = field(default_factory=MemoryFileLedger)
    target: Target = field(default_factory=Target)

    @property
    def source(self) -> FileSource:
        return FileSource(FileSettings(f"{self.folder}/*", schema=Schema.of(Column("id", "long"))))

    def put(self, name: str, content: str) -> None:
        (self.folder / name).write_text(content)

    def plan(self, **limits: Any) -> FilesPlan:
        return plan_files(self.source, self.ledger, pipeline="p", now=NOW, **limits)

    def run(self, plan: FilesPlan | None = None, **settings: Any) -> FilesResult:
        settings = {"load": self.target.load, "now": LATER, **settings}
        return apply_files(plan or self.plan(), self.source, self.ledger, **settings)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    found = Pipeline(tmp_path)
    found.put("a.csv", "id\n1\n2\nx\n")
    found.put("b.csv", "")
    found.put("c.csv", "id\nnone\n")
    found.put("d.parquet", "broken")
    return found


def outcomes(result: FilesResult) -> list[tuple[str, str, int | None, int | None]]:
    return [(o.uri.rpartition("/")[2], o.state, o.rows, o.rejected) for b in result.batches for o in b.outcomes]


def test_every_file_gets_its_outcome(pipeline: Pipeline):
    result = pipeline.run()
    assert outcomes(result) == [
        ("a.csv", "loaded", 2, 1), ("b.csv", "empty", 0, 0), ("c.csv", "loaded", 0, 1), ("d.parquet", "corrupt", 0, 1),
    ]  # fmt: skip
    assert (pipeline.target.ids, result.rows, result.rejected) == ([1, 2], 2, 3)
    assert [uri.rpartition("/")[2] for uri in result.files("corrupt")] == ["d.parquet"]
    assert [(reject.reason, reject.source_row) for reject in pipeline.target.rejects] == [
        ("id: not a long", 4), ("id: not a long", 2), ("corrupt file: not a whole Parquet file", None),
    ]  # fmt: skip
    assert pipeline.ledger.unfinished("p") == ()


def test_a_second_run_finds_nothing_to_do(pipeline: Pipeline):
    pipeline.run()
    again = pipeline.run()
    assert (again.batches, set(again.left_out.values())) == ((), {"already seen"})


def test_a_batch_whose_load_was_committed_before_the_crash_is_not_loaded_again_but_gets_its_outcomes(
    pipeline: Pipeline,
):
    whole = outcomes(Pipeline(pipeline.folder).run())
    claimed = pipeline.ledger.claim("p", plan=pipeline.plan().new[0])
    pipeline.target.batches[claimed.batch] = [1, 2]
    result = pipeline.run()
    assert (outcomes(result), pipeline.target.ids, pipeline.target.rejects) == (whole, [1, 2], [])


def test_a_claimed_batch_is_finished_with_its_own_plan_before_new_files_are_claimed(pipeline: Pipeline):
    claimed = pipeline.ledger.claim("p", plan=pipeline.plan().new[0])
    pipeline.put("new.csv", "id\n9\n")
    result = pipeline.run()
    assert [batch.batch for batch in result.batches] == [1, 2]
    assert pipeline.target.plans[0] == claimed.plan
    assert pipeline.target.batches == {1: [1, 2], 2: [9]}


@pytest.mark.parametrize("change", ["rewritten", "gone"])
def test_a_file_that_changed_after_the_claim_does_not_hold_up_the_others(pipeline: Pipeline, change: str):
    pipeline.ledger.claim("p", plan=pipeline.plan().new[0])
    if change == "gone":
        (pipeline.folder / "a.csv").unlink()
    else:
        pipeline.put("a.csv", "id\n7\n8\n9\n")
    result = pipeline.run()
    assert outcomes(result)[0] == ("a.csv", "changed", None, None)
    assert [state for _, state, _, _ in outcomes(result)[1:4]] == ["empty", "loaded", "corrupt"]
    # The new content is another object, found by the same run and loaded as a batch of its own.
    assert pipeline.target.batches == ({1: [], 2: [7, 8, 9]} if change == "rewritten" else {1: []})
    assert pipeline.run().batches == ()


def test_a_batch_of_which_nothing_is_left_is_finished_without_a_load(pipeline: Pipeline):
    claimed = pipeline.ledger.claim("p", plan=pipeline.plan().new[0])
    for path in pipeline.folder.iterdir():
        path.unlink()
    result = pipeline.run()
    assert {state for _, state, _, _ in outcomes(result)} == {"changed"}
    assert (result.batches[0].load, pipeline.target.batches) == (None, {})
    assert len(pipeline.ledger.outcomes("p", batch=claimed.batch)) == 4


def test_too_many_refused_rows_leave_the_batch_claimed_and_nothing_loaded(pipeline: Pipeline):
    with pytest.raises(DataRejectedError):
        pipeline.run(max_rejects=2)
    assert (pipeline.target.batches, len(pipeline.ledger.unfinished("p"))) == ({}, 1)
    pipeline.run(max_rejects=3)
    assert pipeline.target.ids == [1, 2]


def test_an_error_of_the_source_keeps_its_kind_on_its_way_through_another_library(pipeline: Pipeline):
    def load(rows: pa.RecordBatchReader, **_: Any) -> Outcome:
        return Outcome(is_replay=not duckdb.sql("SELECT count(*) FROM rows").fetchall())

    with pytest.raises(DataRejectedError) as caught:
        pipeline.run(load=load, max_rejects=0)
    assert caught.value.facts["max_rows"] == 0


def test_an_error_of_the_load_leaves_the_batch_claimed(pipeline: Pipeline):
    def load(rows: pa.RecordBatchReader, **_: Any) -> Outcome:
        raise UnavailableError("The target did not answer. Run again.")

    with pytest.raises(UnavailableError):
        pipeline.run(load=load)
    assert len(pipeline.ledger.unfinished("p")) == 1


def test_rows_that_the_load_refuses_are_not_counted_as_refused_by_the_source(pipeline: Pipeline):
    def load(rows: pa.RecordBatchReader, *, rejects: Rejects, **others: Any) -> Outcome:
        rejects.add(RejectedRow("too old", pipeline.source.identity, 1, "{}"))
        return pipeline.target.load(rows, rejects=rejects, **others)

    assert pipeline.run(load=load).rejected == 3


def test_files_that_another_run_claimed_meanwhile_are_finished_and_not_claimed_again(pipeline: Pipeline):
    stale = pipeline.plan()
    claimed = pipeline.ledger.claim("p", plan=stale.new[0])
    pipeline.put("new.csv", "id\n9\n")
    fresh = plan_files(pipeline.source, MemoryFileLedger(), pipeline="p", now=NOW)
    result = pipeline.run(fresh)
    assert [batch.batch for batch in result.batches] == [claimed.batch, claimed.batch + 1]
    assert pipeline.target.batches == {1: [1, 2], 2: [9]}
    assert pipeline.run(stale).batches == ()


def test_endless_conflicts_end_with_an_error(pipeline: Pipeline):
    class Contested(MemoryFileLedger):
        def claim(self, pipeline: str, *, plan: ExtractPlan) -> Any:
            raise ConflictError("Another run was faster. Plan again.")

    pipeline.ledger = Contested()
    with pytest.raises(ConflictError):
        pipeline.run()


def test_a_source_can_be_extracted_without_a_ledger(pipeline: Pipeline):
    plan = plan_extract(pipeline.source, position=None, now=NOW)
    extraction = extract(pipeline.source, plan=plan)
    assert extraction.rows.read_all().column("id").to_pylist() == [1, 2]
    assert (extraction.plan, len(extraction.rejects.rows)) == (plan, 3)
