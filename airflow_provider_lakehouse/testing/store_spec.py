"""The specification of a ledger of files, to be inherited by the tests of every place where one is kept.

Give `TestMyLedger(LedgerSpecification)` a `ledger` method, and nothing else.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.extract.apply import apply_files
from airflow_provider_lakehouse.core.extract.plan import plan_files
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.sources.base import ExtractPlan, Slice
from airflow_provider_lakehouse.core.sources.files.source import FileSettings, FileSource
from airflow_provider_lakehouse.core.state.base import FileLedger, FileOutcome
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, no_probe
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.testing.faults import crash_sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

    from airflow_provider_lakehouse.core.extract.apply import FilesResult
    from airflow_provider_lakehouse.core.sources.base import Rejects
    from airflow_provider_lakehouse.core.tables.base import CommitResult, Probe, Table, WriteToken

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PIPELINE = "tests/ingest"
ROWS = Schema.of(Column("id", "long"))
LANDED = {
    "a.csv": "id\n1\n2\nthree\n",
    "b.csv": "",
    "c.parquet": "not Parquet at all",
    "d.jsonl": '{"id":4}\n',
}
"""Files of which two give rows, one a refused row too, one nothing, and one is corrupt."""


def plan_of(*names: str, identity: str = "1") -> ExtractPlan:
    """Return a plan of files that need not exist."""
    slices = tuple(Slice(f"file:///in/{name}", {"identity": identity, "size": 1, "format": "csv"}) for name in names)
    return ExtractPlan("file:///in/*", NOW, slices)


def outcomes_of(plan: ExtractPlan, *, rows: int | None = 1) -> tuple[FileOutcome, ...]:
    """Return an outcome for each file of a plan."""
    return tuple(FileOutcome(s.name, str(s.facts["identity"]), "loaded", rows, 0) for s in plan.slices)


class LedgerSpecification:
    """What every ledger of files promises."""

    def ledger(self, root: Path, probe: Probe = no_probe) -> FileLedger:
        """Open the ledger of a root: empty for a fresh root, and the same one again for the same root."""
        raise UnsupportedError("The tests of a ledger say how it is made.")

    def test_it_is_a_ledger_that_has_seen_nothing(self, tmp_path: Path) -> None:
        ledger = self.ledger(tmp_path)
        assert isinstance(ledger, FileLedger)
        assert (dict(ledger.seen(PIPELINE)), ledger.unfinished(PIPELINE)) == ({}, ())
        assert ledger.outcomes(PIPELINE, batch=1) == ()

    def test_a_claim_is_seen_and_unfinished_and_gives_its_plan_back(self, tmp_path: Path) -> None:
        plan = plan_of("b", "a")
        claimed = self.ledger(tmp_path).claim(PIPELINE, plan=plan)
        (found,) = self.ledger(tmp_path).unfinished(PIPELINE)
        assert (found.batch, found.token, found.plan) == (claimed.batch, claimed.token, plan)
        assert dict(self.ledger(tmp_path).seen(PIPELINE)) == {s.name: frozenset({"1"}) for s in plan.slices}

    def test_batches_are_numbered_from_one(self, tmp_path: Path) -> None:
        ledger = self.ledger(tmp_path)
        for number in (1, 2, 3):
            claimed = ledger.claim(PIPELINE, plan=plan_of(f"{number}"))
            ledger.finish(claimed, outcomes=outcomes_of(claimed.plan), at=NOW)
            assert claimed.token.batch == number

    def test_nothing_is_claimed_while_a_batch_is_unfinished(self, tmp_path: Path) -> None:
        self.ledger(tmp_path).claim(PIPELINE, plan=plan_of("a"))
        with pytest.raises(ConflictError):
            self.ledger(tmp_path).claim(PIPELINE, plan=plan_of("b"))
        assert set(self.ledger(tmp_path).seen(PIPELINE)) == {"file:///in/a"}

    def test_a_file_is_claimed_once_for_each_content(self, tmp_path: Path) -> None:
        ledger = self.ledger(tmp_path)
        for identity in ("1", "2"):
            claimed = ledger.claim(PIPELINE, plan=plan_of("a", identity=identity))
            ledger.finish(claimed, outcomes=outcomes_of(claimed.plan), at=NOW)
        with pytest.raises(ConflictError):
            ledger.claim(PIPELINE, plan=plan_of("b", "a", identity="2"))
        assert dict(ledger.seen(PIPELINE)) == {"file:///in/a": frozenset({"1", "2"})}

    def test_pipelines_do_not_see_each_other(self, tmp_path: Path) -> None:
        ledger = self.ledger(tmp_path)
        first, second = ledger.claim("one", plan=plan_of("a")), ledger.claim("two", plan=plan_of("a"))
        ledger.finish(first, outcomes=outcomes_of(first.plan), at=NOW)
        assert (ledger.unfinished("one"), len(ledger.unfinished("two")), second.batch) == ((), 1, 1)

    def test_a_finished_batch_keeps_its_first_outcomes(self, tmp_path: Path) -> None:
        ledger = self.ledger(tmp_path)
        claimed = ledger.claim(PIPELINE, plan=plan_of("b", "a"))
        first = outcomes_of(claimed.plan)
        assert ledger.finish(claimed, outcomes=first[::-1], at=NOW) == first
        later = outcomes_of(claimed.plan, rows=None)
        assert self.ledger(tmp_path).finish(claimed, outcomes=later, at=NOW + timedelta(days=1)) == first
        assert self.ledger(tmp_path).outcomes(PIPELINE, batch=claimed.batch) == first
        assert self.ledger(tmp_path).unfinished(PIPELINE) == ()

    def test_every_file_of_a_batch_needs_its_outcome(self, tmp_path: Path) -> None:
        ledger = self.ledger(tmp_path)
        claimed = ledger.claim(PIPELINE, plan=plan_of("a", "b"))
        for outcomes in (outcomes_of(plan_of("a")), outcomes_of(plan_of("a", "c")), ()):
            with pytest.raises(InvalidRequestError):
                ledger.finish(claimed, outcomes=outcomes, at=NOW)
        assert len(ledger.unfinished(PIPELINE)) == 1

    @pytest.mark.parametrize("slices", [(), (Slice("ids 1 to 5"),)], ids=["nothing", "no files"])
    def test_only_files_are_claimed(self, tmp_path: Path, slices: tuple[Slice, ...]) -> None:
        with pytest.raises(InvalidRequestError):
            self.ledger(tmp_path).claim(PIPELINE, plan=ExtractPlan("file:///in/*", NOW, slices))

    def test_of_claims_at_the_same_time_one_wins(self, tmp_path: Path) -> None:
        _use(self.ledger(tmp_path))

        def claim(number: int) -> bool:
            try:
                self.ledger(tmp_path).claim(PIPELINE, plan=plan_of("shared", f"own-{number}"))
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            won = list(pool.map(claim, range(4)))
        (claimed,) = self.ledger(tmp_path).unfinished(PIPELINE)
        assert won.count(True) == 1
        assert claimed.plan.slices == plan_of("shared", f"own-{won.index(True)}").slices

    @pytest.mark.slow
    def test_killed_anywhere_every_file_ends_loaded_exactly_once(self, tmp_path: Path) -> None:
        steps = crash_sweep(prepare=partial(self._prepare, tmp_path), act=_run, observe=_observe)
        assert {"after load.commit", "after ledger.claim", "after ledger.finish"} <= set(steps)

    def test_two_runs_at_the_same_time_load_every_file_exactly_once(self, tmp_path: Path) -> None:
        alone, together = self._prepare(tmp_path, 0), self._prepare(tmp_path, 1)
        _run(alone, no_probe)
        _use(together.ledger(no_probe))
        with ThreadPoolExecutor(4) as pool:
            for running in [pool.submit(_run, together, no_probe) for _ in range(4)]:
                running.result()
        assert _observe(together) == _observe(alone)

    def _prepare(self, root: Path, number: int) -> _Journey:
        folder = root / str(number)
        for name, content in LANDED.items():
            path = folder / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return _Journey(folder, partial(self.ledger, folder))


def _use(ledger: FileLedger) -> None:
    """Use a ledger for something else, so that what keeps it is there: the races that follow are those of claims."""
    claimed = ledger.claim("another", plan=plan_of("a"))
    ledger.finish(claimed, outcomes=outcomes_of(claimed.plan), at=NOW)


class _Journey:
    """Files in a folder on their way into a table in memory."""

    def __init__(self, folder: Path, ledger: Callable[[Probe], FileLedger]) -> None:
        self.ledger = ledger
        self.source = FileSource(FileSettings(f"{folder}/in/", schema=ROWS, folder=str(folder)))
        self._settings = CatalogSettings("memory", f"memory://{folder}")

    def target(self, probe: Probe) -> Table:
        table: Table = find("tables", "memory")(self._settings, probe=probe).table("tests.target")
        return table


class _Replay:
    def __init__(self, commit: CommitResult) -> None:
        self.is_replay = commit.replayed


def _run(journey: _Journey, probe: Probe) -> FilesResult:
    """Plan and load, in two batches."""
    ledger = cast("FileLedger", Told(journey.ledger(probe), "ledger", probe))
    target = journey.target(probe)

    def load(rows: pa.RecordBatchReader, *, token: WriteToken, plan: ExtractPlan, rejects: Rejects) -> _Replay:
        probe("before load.commit")
        target.create(TableSpec(ROWS))
        only_ids = rows.from_batches(ROWS.to_arrow(), (batch.select(["id"]) for batch in rows))
        done = target.find(token) or target.commit(Change(rows=only_ids), token=token)
        probe("after load.commit")
        return _Replay(done)

    source = cast("FileSource", Told(journey.source, "source", probe))
    plan = plan_files(source, ledger, pipeline=PIPELINE, now=NOW, max_batch_files=3)
    return apply_files(plan, source, ledger, load=load, now=NOW)


def _observe(journey: _Journey) -> object:
    ledger = journey.ledger(no_probe)
    with journey.target(no_probe).read() as reader:
        rows = sorted(row["id"] for row in reader.read_all().to_pylist())
    outcomes = [
        (outcome.uri.rpartition("/")[2], outcome.state, outcome.rows, outcome.rejected)
        for batch in (1, 2, 3)
        for outcome in ledger.outcomes(PIPELINE, batch=batch)
    ]
    return rows, outcomes, ledger.unfinished(PIPELINE)


class Told:
    """Tells a probe before and after every call of a method of an object.

    Args:
        subject: The object.
        name: What its steps are called by.
        probe: Who is told.
    """

    def __init__(self, subject: object, name: str, probe: Probe) -> None:
        self._subject = subject
        self._name = name
        self._probe = probe

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401
        """Return the method with its two steps."""
        found = getattr(self._subject, method)
        if not callable(found):
            return found

        def told(*arguments: object, **keywords: object) -> Any:  # noqa: ANN401
            self._probe(f"before {self._name}.{method}")
            result = found(*arguments, **keywords)
            self._probe(f"after {self._name}.{method}")
            return result

        return told
