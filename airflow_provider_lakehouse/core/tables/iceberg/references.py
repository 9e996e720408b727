"""Branches and tags of an Iceberg table: publish, name, forget, roll back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError
from airflow_provider_lakehouse.core.tables.base import CommitResult
from airflow_provider_lakehouse.core.tables.iceberg.catalog import check_writable
from airflow_provider_lakehouse.core.tables.iceberg.commit import MAX_ATTEMPTS, Submission, in_milliseconds
from airflow_provider_lakehouse.core.tables.iceberg.history import changes_files
from airflow_provider_lakehouse.core.tables.iceberg.refusals import LostRaceError, UnknownOutcomeError, translated
from airflow_provider_lakehouse.core.tables.iceberg.scan import MAIN, snapshot_at
from airflow_provider_lakehouse.core.tables.iceberg.snapshot import (
    ROWS_ADDED,
    ROWS_REMOVED,
    Draft,
    live_entries,
)
from airflow_provider_lakehouse.core.tables.iceberg.tokens import forget, lineage
from airflow_provider_lakehouse.core.tables.iceberg.updates import (
    add_snapshot,
    kind_of,
    move_branch,
    reference_is,
    remove_reference,
    set_tag,
)
from airflow_provider_lakehouse.core.tables.publishing import require_audited

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot, Summary
    from pyiceberg.table.update import TableRequirement, TableUpdate

    from airflow_provider_lakehouse.core.tables.base import At, WriteToken
    from airflow_provider_lakehouse.core.tables.iceberg.catalog import Connection


class PublishStep:
    """Makes the main branch the staged one, and drops that.

    Args:
        branch: The staged one.
        token: The write.
        table: Name of the table.
        audited: Snapshot of the branch that was audited; None takes the newest.
    """

    def __init__(self, branch: str, *, token: WriteToken, table: str, audited: int | None = None) -> None:
        self._branch = branch
        self._token = token
        self._table = table
        self._audited = audited

    def __call__(self, table: IcebergTable, at: datetime) -> tuple[Submission, CommitResult]:
        """Decide on the newest state what to submit.

        Raises:
            InvalidRequestError: There is no such branch.
            ConflictError: The main branch has files changed since the branch left it, or the branch has since its audit.
        """
        metadata = table.metadata
        staged = _staged(metadata, self._branch, self._table)
        require_audited(self._branch, version=staged.snapshot_id, audited=self._audited, table=self._table)
        new = self._new(metadata, staged)
        updates, requirements = move_branch(metadata, MAIN, staged.snapshot_id)
        updates.append(remove_reference(self._branch))
        requirements.append(reference_is(metadata, self._branch))
        submission = Submission(updates, requirements)
        return submission, _sum(new, self._token, version=staged.snapshot_id, at=at)

    def discard(self) -> None:
        """Do nothing: no data files were written."""

    def _new(self, metadata: TableMetadata, staged: Snapshot) -> list[Snapshot]:
        """Return the snapshots that the main branch gets."""
        line = list(lineage(metadata, staged))
        ids = {snapshot.snapshot_id for snapshot in line}
        current = metadata.current_snapshot()
        while current is not None and current.snapshot_id not in ids:
            if changes_files(current):
                raise ConflictError(
                    "The main branch moved since the batch was staged. Drop the branch, and stage the batch again.",
                    table=self._table,
                    branch=self._branch,
                    version=current.snapshot_id,
                )
            parent = current.parent_snapshot_id
            current = metadata.snapshot_by_id(parent) if parent is not None else None
        fork = (
            [snapshot.snapshot_id for snapshot in line].index(current.snapshot_id) if current is not None else len(line)
        )
        return line[:fork]


class RollBackStep:
    """Makes the main branch hold what it held before, as a new snapshot.

    Args:
        to: The state to go back to.
        token: The write.
        connection: The catalog.
        table: Name of the table.
    """

    def __init__(self, to: At, *, token: WriteToken, connection: Connection, table: str) -> None:
        self._to = to
        self._token = token
        self._connection = connection
        self._table = table
        self._snapshot_id: int | None = None

    def __call__(self, table: IcebergTable, at: datetime) -> tuple[Submission, CommitResult]:
        """Decide on the newest state what to submit.

        Raises:
            InvalidRequestError: There is no such state.
        """
        metadata = table.metadata
        target, head = snapshot_at(metadata, self._to, name=self._table), metadata.current_snapshot()
        self._snapshot_id = self._snapshot_id or metadata.new_snapshot_id()
        with translated(self._table):
            before, after = live_entries(head, table.io), live_entries(target, table.io)
        new = [entry.data_file for path, entry in after.items() if path not in before]
        gone = [entry.data_file for path, entry in before.items() if path not in after]
        result = CommitResult(
            self._token,
            version=self._snapshot_id,
            committed_at=at,
            rows_added=None,
            rows_removed=None,
            files_added=_data_files(new),
            files_removed=_data_files(gone),
        )
        draft = Draft(table, self._snapshot_id, head, self._token.digest)
        self._connection.probe("before iceberg.manifests")
        summary = _summary(metadata, target, new, gone)
        with translated(self._table):
            snapshot = draft.copy(target, summary=summary, at_ms=in_milliseconds(at))
        self._connection.probe("after iceberg.manifests")
        updates, requirements = add_snapshot(metadata, snapshot, branch=MAIN)
        return Submission(updates, requirements, draft.written), result

    def discard(self) -> None:
        """Do nothing: no data files were written."""


def name_state(connection: Connection, table: str, name: str, *, at: At) -> None:
    """Name a state of a table.

    Raises:
        InvalidRequestError: The name stands for another state, or for a branch; or the table has no commit yet.
    """

    def step(now: IcebergTable) -> tuple[list[TableUpdate], list[TableRequirement]]:
        snapshot = snapshot_at(now.metadata, at, name=table)
        if snapshot is None:
            raise InvalidRequestError(f"Table {table!r} has no commit to name. Write to it first.", table=table)
        kind = kind_of(now.metadata, name)
        if kind is None:
            return [set_tag(name, snapshot.snapshot_id)], [reference_is(now.metadata, name)]
        if kind != "tag" or now.metadata.refs[name].snapshot_id != snapshot.snapshot_id:
            raise InvalidRequestError(f"{name!r} stands for another state. Drop it first.", table=table, tag=name)
        return [], []

    _repeat(connection, table, step)


def drop_reference(connection: Connection, table: str, name: str, *, kind: Literal["branch", "tag"]) -> None:
    """Forget a branch with the tokens of what is on it alone, or a tag; nothing happens when it is not there.

    Raises:
        InvalidRequestError: It is the main branch, or of the other kind.
    """
    if name == MAIN:
        raise InvalidRequestError("The main branch cannot be dropped. Drop the table.", table=table)

    def step(now: IcebergTable) -> tuple[list[TableUpdate], list[TableRequirement]]:
        found = kind_of(now.metadata, name)
        if found is None:
            return [], []
        if found != kind:
            raise InvalidRequestError(f"{name!r} is not a {kind}. Name one.", table=table, name=name)
        forgetting = forget(now.metadata, name) if kind == "branch" else []
        return [*forgetting, remove_reference(name)], [reference_is(now.metadata, name)]

    _repeat(connection, table, step)


def _repeat(
    connection: Connection,
    name: str,
    step: Callable[[IcebergTable], tuple[list[TableUpdate], list[TableRequirement]]],
) -> None:
    """Submit until it goes through, or nothing is left to do: what is submitted here is the same when done twice."""
    for _ in range(MAX_ATTEMPTS):
        table = connection.load(name)
        check_writable(table.metadata, name=name)
        updates, requirements = step(table)
        if not updates:
            return
        try:
            connection.submit(table, updates=updates, requirements=requirements)
        except (LostRaceError, UnknownOutcomeError):
            continue
        return
    raise ConflictError("Other writers kept winning. Run again later.", table=name, attempts=MAX_ATTEMPTS)


def _staged(metadata: TableMetadata, branch: str, table: str) -> Snapshot:
    staged = metadata.snapshot_by_name(branch) if kind_of(metadata, branch) == "branch" else None
    if staged is None or branch == MAIN:
        raise InvalidRequestError(
            f"There is no branch {branch!r} to publish. Stage a batch first.", table=table, branch=branch
        )
    return staged


def _sum(snapshots: list[Snapshot], token: WriteToken, *, version: int, at: datetime) -> CommitResult:
    def total(name: str, *, certain: bool) -> int | None:
        values = [(s.summary.additional_properties if s.summary else {}).get(name) for s in snapshots]
        if certain and None in values:
            return None
        return sum(int(value) for value in values if value is not None)

    return CommitResult(
        token,
        version=version,
        committed_at=at,
        rows_added=total(ROWS_ADDED, certain=True),
        rows_removed=total(ROWS_REMOVED, certain=True),
        files_added=total("added-data-files", certain=False),
        files_removed=total("deleted-data-files", certain=False),
        bytes_added=total("added-files-size", certain=False),
    )


def _data_files(files: list[DataFile]) -> int:
    return sum(file.content == 0 for file in files)


def _summary(metadata: TableMetadata, target: Snapshot | None, new: list[DataFile], gone: list[DataFile]) -> Summary:
    """Return the summary of a snapshot that holds the files of another: its totals, and the difference to the head."""
    from pyiceberg.table.snapshots import Operation, SnapshotSummaryCollector, Summary, update_snapshot_summaries

    collector = SnapshotSummaryCollector()
    schema, specs = metadata.schema(), metadata.specs()
    for file in new:
        collector.add_file(file, schema, specs[file.spec_id])
    for file in gone:
        collector.remove_file(file, schema, specs[file.spec_id])
    current = metadata.current_snapshot()
    notes = {"lakehouse.mode": "roll_back", "lakehouse.rolled-back-to": str(target.snapshot_id if target else -1)}
    summary = Summary(operation=Operation.OVERWRITE, **{**notes, **collector.build()})
    return update_snapshot_summaries(summary, current.summary if current is not None else None)
