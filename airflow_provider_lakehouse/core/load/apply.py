"""Load a batch of rows into a table: once, in one commit."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.engines.base import Working
from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError
from airflow_provider_lakehouse.core.load.align import INCOMING, aligned, arrow_schema, columns_of, spool
from airflow_provider_lakehouse.core.load.change_set import ChangeSet, look_at
from airflow_provider_lakehouse.core.load.dedup import computed_for_dedup, dedup_changes
from airflow_provider_lakehouse.core.load.merge import computed_for_merge, merge_changes, snapshot_changes
from airflow_provider_lakehouse.core.load.modes import (
    Dedup,
    Merge,
    OverwritePartitions,
    Replace,
    Scd2,
    SnapshotDiff,
    mode_name,
)
from airflow_provider_lakehouse.core.load.plan import described, plan_load, summary_of
from airflow_provider_lakehouse.core.load.policy import FREEZE
from airflow_provider_lakehouse.core.load.quarantine import write_rejects
from airflow_provider_lakehouse.core.load.scd2 import computed_for_scd2, scd2_changes
from airflow_provider_lakehouse.core.sources.base import Rejects
from airflow_provider_lakehouse.core.tables.base import Change

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Engine, Workspace
    from airflow_provider_lakehouse.core.load.align import Spooled
    from airflow_provider_lakehouse.core.load.change_set import Target
    from airflow_provider_lakehouse.core.load.modes import Mode
    from airflow_provider_lakehouse.core.load.plan import LoadPlan
    from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
    from airflow_provider_lakehouse.core.tables.base import CommitResult, Removal, Table, WriteToken

DEFAULT_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a load did. Counts are None where it was replayed and the table no longer knows.

    Args:
        commit: What was written, or had been written by an earlier attempt (`commit.replayed`).
        mode: Name of the mode.
        rows_read: Rows of the batch, refused ones included.
        rows_inserted: New rows. Of a history: periods opened.
        rows_updated: Rows written anew. Of a history: periods closed, reopened or cut.
        rows_deleted: Rows that are gone.
        rows_unchanged: Rows of the batch that changed nothing: known already, identical, or older than what is there.
        rows_discarded: Rows left out by policy.
        rows_rejected: Rows kept aside, those that the source refused included.
        values_discarded: Values replaced by null.
        attempts: How often the change was planned; more than 1 when other writers came first.
        schema_changes: Columns added or widened, such as `add coupon: string`.
    """

    commit: CommitResult
    mode: str
    rows_read: int | None = None
    rows_inserted: int | None = None
    rows_updated: int | None = None
    rows_deleted: int | None = None
    rows_unchanged: int | None = None
    rows_discarded: int | None = None
    rows_rejected: int | None = None
    values_discarded: int | None = None
    attempts: int = 1
    schema_changes: tuple[str, ...] = ()

    @property
    def is_replay(self) -> bool:
        """True when an earlier attempt had written the batch."""
        return self.commit.replayed


def apply_load(
    table: Table,
    rows: pa.RecordBatchReader,
    *,
    mode: Mode,
    token: WriteToken,
    engine: Engine,
    now: datetime,
    policy: SchemaPolicy = FREEZE,
    branch: str | None = None,
    rejects: Rejects | None = None,
    quarantine: Table | None = None,
    properties: Mapping[str, str | None] | None = None,
    run: str = "",
    contract: str = "",
    refused_as: WriteToken | None = None,
    max_attempts: int = DEFAULT_ATTEMPTS,
) -> LoadResult:
    """Load a batch of rows into a table in one commit.

    Args:
        table: The target; it exists.
        rows: The batch; read once, not at all when the token has been committed.
        mode: How the batch changes the table.
        token: Names the write.
        engine: Where rows are compared and wait; its settings bound memory.
        now: Instant written into the quarantine table.
        policy: What happens to rows that do not fit.
        branch: Branch to write to, started from the main one where it does not exist. None is the main branch.
        rejects: Where refused rows go, the source's among them; None starts an empty collection.
        quarantine: Table for refused rows (see `quarantine_spec`), written before the target's commit, so that a killed
            attempt loses none. None leaves `rejects` to the caller.
        properties: Properties of the table to set in the same commit, such as the position of the source.
        run: Which run loads, kept with refused rows; empty where unknown.
        contract: Name and version of the contract that refuses rows, kept with them; empty where there is none.
        refused_as: Batch that refused rows are kept as, where it is staged under further tokens; None for `token`.
        max_attempts: How often the change is planned when other writers come first.

    Returns:
        What was done. For a replay only the commit and the mode.

    Raises:
        InvalidRequestError: The mode names columns that are not there or cannot serve, or refused rows have no place
            to go.
        DataRejectedError: The policy refuses the batch, more of it is refused than `rejects` allow, keys
            repeat, or an extract lacks too much. Nothing was written but, where rows were refused before the last two
            were found, the quarantine.
        UnsupportedError: The table cannot do what the mode needs. Nothing was written.
        ConflictError: Other writers came first `max_attempts` times, or changed the schema. Nothing was written.
        UnavailableError: The engine or the storage failed. Nothing was written.
        OutcomeUnknownError: The answer to the commit was lost. Run again with the same token.

    Guarantees:
        Replay: the same token twice writes once; the second time the batch is not read.
        Crash: the table holds all of the batch or nothing of it; refused rows are in quarantine before the others can
            be seen.
        Concurrency: the change is computed against one version of the table. When another writer touched what it
            rests on, it is computed again from the batch, which waits in the engine.
        Memory: bounded by the engine's settings, and 100 bytes for each row that is removed.
    """
    if (known := table.find(token)) is not None:
        return LoadResult(known, mode_name(mode))
    refused = Rejects() if rejects is None else rejects
    if policy.quarantines and quarantine is None and rejects is None:
        raise InvalidRequestError(
            "The schema policy keeps rows aside, and there is no place for them. Name a quarantine table."
        )
    plan = plan_load(mode, look_at(table, branch=branch).facts, rows.schema, policy)
    load = _Load(
        table, plan, token, refused_as or token, now, branch, refused, quarantine, dict(properties or {}), run, contract
    )
    if plan.streams:
        return load.stream(rows)
    with ExitStack() as stack:
        workspace = stack.enter_context(require(engine, Working, purpose="to compare rows").workspace())
        return load.compare(rows, workspace, max_attempts=max_attempts)


@dataclass
class _Load:
    """One batch on its way into a table."""

    table: Table
    plan: LoadPlan
    token: WriteToken
    refused_as: WriteToken
    now: datetime
    branch: str | None
    rejects: Rejects
    quarantine: Table | None
    properties: dict[str, str | None]
    run: str
    contract: str
    rows_read: int = field(default=0)

    def stream(self, rows: pa.RecordBatchReader) -> LoadResult:
        """Pass the batch on as it comes."""
        import pyarrow as pa

        schema = arrow_schema(self.plan)

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in rows:
                self.rows_read += batch.num_rows
                yield aligned(batch, self.plan, schema)
            self._keep_rejects(of=self.rows_read + len(self.rejects.rows))  # before the commit, after the last row

        reader = pa.RecordBatchReader.from_batches(schema, batches())
        commit = self.table.commit(
            self._change(reader, ChangeSet(None, _removal(self.plan.mode)), base=None), token=self.token
        )
        counts = ChangeSet(None, inserted=self.rows_read, deleted=commit.rows_removed or 0)
        return self._result(commit, counts, None, attempts=1)

    def compare(self, rows: pa.RecordBatchReader, workspace: Workspace, *, max_attempts: int) -> LoadResult:
        """Let the batch wait in a workspace, and compare it with the table until a commit succeeds."""
        spooled = spool(rows, self.plan, workspace=workspace, computed=_computed(self.plan), rejects=self.rejects)
        self._keep_rejects(of=spooled.rows_read + len(self.rejects.rows) - spooled.rows_quarantined)
        for attempt in range(1, max_attempts + 1):
            target = look_at(self.table, branch=self.branch)
            self._require_same_plan(rows.schema, target)
            changes = _changes(self.plan, workspace, target)
            reader = None
            if changes.rows_sql is not None:
                reader = workspace.stream(changes.rows_sql, schema=arrow_schema(self.plan))
            try:
                commit = self.table.commit(self._change(reader, changes, base=target.facts.version), token=self.token)
            except ConflictError:
                if attempt == max_attempts:
                    raise
            else:
                return self._result(commit, changes, spooled, attempts=attempt)
        raise InvalidRequestError("A load needs at least one attempt. Raise the limit.", max_attempts=max_attempts)

    def _require_same_plan(self, incoming: pa.Schema, target: Target) -> None:
        now = plan_load(self.plan.mode, target.facts, incoming, self.plan.policy)
        if now.columns != self.plan.columns or now.schema_changes != self.plan.schema_changes:
            raise ConflictError(
                f"The columns of table {self.plan.table!r} changed during the load. Run it again.",
                table=self.plan.table,
                version=target.facts.version,
            )

    def _keep_rejects(self, *, of: int) -> None:
        self.rejects.require_limit(of=of)
        if self.quarantine is not None:
            write_rejects(
                self.quarantine,
                self.rejects,
                token=self.refused_as,
                now=self.now,
                target=self.table.identity.name,
                run=self.run,
                contract=self.contract,
            )

    def _change(self, rows: pa.RecordBatchReader | None, changes: ChangeSet, *, base: int | None) -> Change:
        return Change(
            rows=rows,
            removes=changes.removes,
            base=base,
            guard=changes.guard,
            schema_changes=self.plan.schema_changes,
            properties=self.properties,
            branch=self.branch,
            summary=summary_of(self.plan),
        )

    def _result(
        self, commit: CommitResult, changes: ChangeSet, spooled: Spooled | None, *, attempts: int
    ) -> LoadResult:
        if commit.replayed:
            return LoadResult(commit, mode_name(self.plan.mode), attempts=attempts)
        whole = isinstance(self.plan.mode, (Replace, OverwritePartitions))
        return LoadResult(
            commit,
            mode_name(self.plan.mode),
            rows_read=spooled.rows_read if spooled else self.rows_read,
            rows_inserted=changes.inserted,
            rows_updated=changes.updated,
            rows_deleted=commit.rows_removed if whole else changes.deleted,
            rows_unchanged=changes.unchanged,
            rows_discarded=spooled.rows_discarded if spooled else 0,
            rows_rejected=len(self.rejects.rows),
            values_discarded=spooled.values_discarded if spooled else 0,
            attempts=attempts,
            schema_changes=tuple(map(described, self.plan.schema_changes)),
        )


def _removal(mode: Mode) -> Removal:
    if isinstance(mode, Replace):
        return "all"
    return "partitions" if isinstance(mode, OverwritePartitions) else "nothing"


def _computed(plan: LoadPlan) -> Mapping[str, str]:
    match plan.mode:
        case Dedup():
            return computed_for_dedup(plan.mode, plan)
        case Merge():
            return computed_for_merge(plan.mode)
        case Scd2():
            return computed_for_scd2(plan.mode, plan)
        case _:
            return {}


def _changes(plan: LoadPlan, workspace: Workspace, target: Target) -> ChangeSet:
    match plan.mode:
        case Dedup():
            return dedup_changes(plan.mode, plan, workspace=workspace, target=target)
        case Merge():
            return merge_changes(plan.mode, plan, workspace=workspace, target=target)
        case Scd2():
            return scd2_changes(plan.mode, plan, workspace=workspace, target=target)
        case SnapshotDiff():
            return snapshot_changes(plan.mode, plan, workspace=workspace, target=target)
        case _:
            count = workspace.rows(f"SELECT count(*) FROM {INCOMING}")[0][0]
            rows = f"SELECT {columns_of(plan, of='source')} FROM {INCOMING} source"
            return ChangeSet(rows if count else None, _removal(plan.mode), inserted=count)
