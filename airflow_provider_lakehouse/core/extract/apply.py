"""Read what was planned and hand it to a load, so that every file ends loaded exactly once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from airflow_provider_lakehouse.core.errors import ConflictError, DataRejectedError
from airflow_provider_lakehouse.core.sources.base import DEFAULT_MAX_REJECTS, SOURCE_FILE_COLUMN, Rejects
from airflow_provider_lakehouse.core.state.base import FileOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    import pyarrow as pa

    from airflow_provider_lakehouse.core.extract.plan import FilesPlan
    from airflow_provider_lakehouse.core.sources.base import ExtractPlan, Json, RejectedRow, Source, Tolerance
    from airflow_provider_lakehouse.core.state.base import ClaimedBatch, FileLedger, FileState
    from airflow_provider_lakehouse.core.tables.base import WriteToken

CLAIM_ATTEMPTS: Final = 5


class LoadOutcome(Protocol):
    """What `apply_files` needs to know of a load; `core.load.apply.LoadResult` is one."""

    @property
    def is_replay(self) -> bool:
        """True when an earlier attempt had committed the token, so that the rows were not read."""


class Load(Protocol):
    """Writes the rows of a plan, and the refused ones, under a token.

    It looks for the token before it reads, reads `rows` to the end otherwise, and commits them in one commit. What
    `rows` raises must end the load with nothing committed.
    """

    def __call__(
        self, rows: pa.RecordBatchReader, *, token: WriteToken, plan: ExtractPlan, rejects: Rejects
    ) -> LoadOutcome:
        """Load the rows once."""


@dataclass(frozen=True)
class BatchResult:
    """What became of one batch of files.

    Args:
        batch: Its number in the ledger.
        planned_at: When it was decided.
        outcomes: What became of each of its files.
        load: What the load returned; None when no file of the batch could be read as planned.
    """

    batch: int
    planned_at: datetime
    outcomes: tuple[FileOutcome, ...]
    load: LoadOutcome | None


@dataclass(frozen=True)
class FilesResult:
    """What a run over files did.

    Args:
        pipeline: Who ran.
        batches: In the order in which they were loaded.
        left_out: Why a file that was found was not read, by URI.
    """

    pipeline: str
    batches: tuple[BatchResult, ...]
    left_out: Mapping[str, str]

    @property
    def rows(self) -> int:
        """Rows the files gave, as far as known."""
        return sum(outcome.rows or 0 for batch in self.batches for outcome in batch.outcomes)

    @property
    def rejected(self) -> int:
        """Rows of the files that were refused, as far as known."""
        return sum(outcome.rejected or 0 for batch in self.batches for outcome in batch.outcomes)

    def files(self, state: FileState) -> tuple[str, ...]:
        """Return the URIs of the files that ended in a state."""
        return tuple(o.uri for batch in self.batches for o in batch.outcomes if o.state == state)


@dataclass(frozen=True)
class Extraction:
    """A plan and its rows on their way.

    Args:
        plan: What is read.
        rows: Read once.
        rejects: Filled while `rows` is read.
    """

    plan: ExtractPlan
    rows: pa.RecordBatchReader
    rejects: Rejects


def plan_extract(source: Source, *, position: Mapping[str, Json] | None, now: datetime) -> ExtractPlan:
    """Decide the next range of a source with a position. The plan is what a retry must be given again."""
    return source.plan(position=position, now=now)


def extract(
    source: Source,
    *,
    plan: ExtractPlan,
    max_rejects: int = DEFAULT_MAX_REJECTS,
    reject_limit: Tolerance | None = None,
) -> Extraction:
    """Start reading a plan.

    The position in `plan.position` belongs into the commit that loads the rows: see `position_properties`.

    Raises:
        InvalidRequestError: The plan is not of this source.
        UnavailableError: The source did not answer.
    """
    rejects = Rejects(max_rows=max_rejects, limit=reject_limit)
    return Extraction(plan, source.read(plan, rejects=rejects), rejects)


def apply_files(
    plan: FilesPlan,
    source: Source,
    ledger: FileLedger,
    *,
    load: Load,
    now: datetime,
    max_rejects: int = DEFAULT_MAX_REJECTS,
    reject_limit: Tolerance | None = None,
    taking: Callable[[int], None] | None = None,
) -> FilesResult:
    """Load the files of a plan, batch after batch: claim, load under the batch's token, write down what became of them.

    Args:
        plan: What to do; from `plan_files`.
        source: The source that made it. Unfinished batches may be of another, such as yesterday's pattern of files.
        ledger: The ledger it was made with.
        load: Writes rows into the target; see `Load`.
        now: Written into the ledger as the instant at which batches were finished.
        max_rejects: More refused rows than this end the batch with an error.
        reject_limit: So do more than this, when all of the batch has been read; None for any.
        taking: Told the number of each batch when it is claimed and not yet loaded; what it raises ends the run there.

    Returns:
        What became of every file.

    Raises:
        ConflictError: Other runs of the pipeline claimed files again and again. Batches that were finished stay so.
        DataRejectedError: Too many rows are refused. The batch stays claimed; nothing of it was written.
        UnavailableError: The source or a table did not answer. Run again.

    Guarantees:
        Once: a file's content is in the target exactly once, whatever dies and however often this runs. What was
            claimed is loaded under the token it was claimed with, and the target's own memory of tokens decides whether
            it was.
        Order: a batch is claimed only when all before it are finished.
        Concurrency: two runs at once load the same unfinished batch under the same token, so one of them commits it.
    """
    run = _Run(source, ledger, load, now, max_rejects, reject_limit, taking)
    done = [run.finish(claimed) for claimed in plan.unfinished]
    for new in plan.new:
        done.extend(run.claim_and_finish(plan.pipeline, new))
    return FilesResult(plan.pipeline, tuple(done), plan.left_out)


@dataclass(frozen=True)
class _Run:
    source: Source
    ledger: FileLedger
    load: Load
    now: datetime
    max_rejects: int
    reject_limit: Tolerance | None
    taking: Callable[[int], None] | None

    def claim_and_finish(self, pipeline: str, plan: ExtractPlan) -> Iterator[BatchResult]:
        attempts = 0
        while (plan := _unseen(plan, self.ledger.seen(pipeline))).slices:
            try:
                claimed = self.ledger.claim(pipeline, plan=plan)
            except ConflictError:
                # Another run is at it. What it claimed is finished first, here or there: the token decides.
                others = self.ledger.unfinished(pipeline)
                attempts += not others
                if attempts == CLAIM_ATTEMPTS:
                    raise
                for other in others:
                    yield self.finish(other)
            else:
                yield self.finish(claimed)
                return

    def finish(self, claimed: ClaimedBatch) -> BatchResult:
        if self.taking is not None:
            self.taking(claimed.batch)
        outcomes, loaded = self._load(claimed)
        kept = self.ledger.finish(claimed, outcomes=outcomes, at=self.now)
        return BatchResult(claimed.batch, claimed.plan.planned_at, kept, loaded)

    def _load(self, claimed: ClaimedBatch) -> tuple[tuple[FileOutcome, ...], LoadOutcome | None]:
        """Load until what is left is still there as it was planned; every further round leaves out a file."""
        plan = claimed.plan
        while plan.slices:
            rejects = Rejects(max_rows=self.max_rejects, limit=self.reject_limit)
            refused = _SourceRejects(rejects)
            stream = _Counted(self.source.read(plan, rejects=refused))
            try:
                loaded = self.load(stream.reader(), token=claimed.token, plan=plan, rejects=rejects)
                if loaded.is_replay:  # nothing was counted, so count without loading, to end as if nothing had happened
                    refused = _SourceRejects(Rejects(max_rows=self.max_rejects))
                    stream = _Counted(self.source.read(plan, rejects=refused))
                    stream.drain()
            except Exception as error:
                changed = _changed(stream.failure or error)
                if not changed:
                    if stream.failure in (None, error):
                        raise
                    raise stream.failure from error
                plan = replace(plan, slices=tuple(s for s in plan.slices if s.name not in changed))
            else:
                return _outcomes(claimed.plan, plan, stream.rows, refused), loaded
        return _outcomes(claimed.plan, plan, Counter(), Rejects()), None


class _SourceRejects(Rejects):
    """Passes rows that the source refuses on to the load, and remembers which of all refused rows they are."""

    def __init__(self, shared: Rejects) -> None:
        super().__init__(max_rows=shared.max_rows)
        self._shared = shared

    def add(self, row: RejectedRow) -> None:
        self.rows.append(row)
        self._shared.add(row)


class _Counted:
    """Counts the rows of each file as they pass, and keeps what ended the stream.

    On its way through other libraries an error loses its kind.
    """

    def __init__(self, rows: pa.RecordBatchReader) -> None:
        self.rows: Counter[str] = Counter()
        self.failure: Exception | None = None
        self._rows = rows

    def reader(self) -> pa.RecordBatchReader:
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self._rows.schema, self._batches())

    def drain(self) -> None:
        for _ in self._batches():
            continue

    def _batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow.compute as pc

        place = self._rows.schema.get_field_index(SOURCE_FILE_COLUMN)
        try:
            for batch in self._rows:
                for counted in pc.value_counts(batch.column(place)):
                    self.rows[counted["values"].as_py()] += counted["counts"].as_py()
                yield batch
        except Exception as error:
            self.failure = error
            raise


def _changed(error: Exception) -> tuple[object, ...]:
    if isinstance(error, DataRejectedError):
        names = error.facts.get("changed")
        return names if isinstance(names, tuple) else ()
    return ()


def _unseen(plan: ExtractPlan, seen: Mapping[str, frozenset[str]]) -> ExtractPlan:
    kept = tuple(s for s in plan.slices if s.facts.get("identity") not in seen.get(s.name, ()))
    return plan if len(kept) == len(plan.slices) else replace(plan, slices=kept)


def _outcomes(
    claimed: ExtractPlan, read: ExtractPlan, rows: Mapping[str, int], rejects: Rejects
) -> tuple[FileOutcome, ...]:
    refused = Counter(row.source_file for row in rejects.rows)
    corrupt = {row.source_file for row in rejects.rows if row.source_row is None}
    as_planned = {one.name for one in read.slices}

    def outcome(uri: str, identity: str) -> FileOutcome:
        if uri not in as_planned:
            return FileOutcome(uri, identity, "changed")
        counts = (rows.get(uri, 0), refused[uri])
        state: FileState = "corrupt" if uri in corrupt else "loaded" if any(counts) else "empty"
        return FileOutcome(uri, identity, state, *counts)

    return tuple(outcome(one.name, str(one.facts["identity"])) for one in claimed.slices)
