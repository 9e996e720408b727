"""Turn a change into what an Iceberg catalog is asked for: files once, a snapshot for every attempt."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError, LakehouseError
from airflow_provider_lakehouse.core.schema import check_rows
from airflow_provider_lakehouse.core.tables.base import CommitResult
from airflow_provider_lakehouse.core.tables.iceberg.changes import Live, Workshop, check_removal
from airflow_provider_lakehouse.core.tables.iceberg.commit import Submission, in_milliseconds
from airflow_provider_lakehouse.core.tables.iceberg.conflicts import check
from airflow_provider_lakehouse.core.tables.iceberg.files import WriteLayout, data_folder
from airflow_provider_lakehouse.core.tables.iceberg.refusals import translated
from airflow_provider_lakehouse.core.tables.iceberg.scan import MAIN
from airflow_provider_lakehouse.core.tables.iceberg.schema import evolved, from_iceberg, sort_fields
from airflow_provider_lakehouse.core.tables.iceberg.snapshot import ROWS_ADDED, ROWS_REMOVED, Draft
from airflow_provider_lakehouse.core.tables.iceberg.updates import (
    add_snapshot,
    kind_of,
    remove_properties,
    set_properties,
    set_schema,
)
from airflow_provider_lakehouse.core.tables.tokens import TOKEN_PREFIX

if TYPE_CHECKING:
    from datetime import datetime

    from pyiceberg.schema import Schema as IcebergSchema
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.table.update import TableUpdate

    from airflow_provider_lakehouse.core.tables.base import Change, WriteToken
    from airflow_provider_lakehouse.core.tables.iceberg.catalog import Connection
    from airflow_provider_lakehouse.core.tables.iceberg.changes import Work
    from airflow_provider_lakehouse.core.tables.iceberg.snapshot import FileChanges
    from airflow_provider_lakehouse.core.tables.storage import Storage

COMMENT_PROPERTY: Final = "comment"


class ChangeStep:
    """Turns one change into submissions; writes its data files when it is first called.

    Args:
        change: The change.
        token: The write.
        connection: The catalog.
        name: The table.
    """

    def __init__(self, change: Change, *, token: WriteToken, connection: Connection, name: str) -> None:
        self._change = change
        self._token = token
        self._connection = connection
        self._name = name
        self._branch = change.branch or MAIN
        self._snapshot_id = 0
        self._schema: IcebergSchema | None = None
        self._workshop: Workshop | None = None
        self._prepared: Work | None = None
        self._folder = ""
        self._storage: Storage | None = None
        _check_properties(change)

    def __call__(self, table: IcebergTable, at: datetime) -> tuple[Submission, CommitResult]:
        """Decide on the newest state what to submit.

        Raises:
            InvalidRequestError: The change does not fit the table.
            DataRejectedError: A row breaks the schema.
            ConflictError: What was committed since the change's base matters to it.
        """
        storage = self._connection.storage(table)
        head = branch_head(table.metadata, self._branch)
        self._connection.probe("before iceberg.plan")
        needs_files = self._change.removes != "nothing" or self._change.guard is not None
        with translated(self._name):
            live = Live.of(head, io=table.io, storage=storage) if needs_files else Live({}, storage)
            check(self._change, head=head, live=live, table=table, storage=storage)
        self._connection.probe("after iceberg.plan")
        workshop, prepared = self._ready(table, live, storage)
        work = workshop.take_away(self._change, prepared, live)
        return self._submission(table, head, work, at)

    def discard(self) -> None:
        """Remove the data files of an attempt that committed nothing; what stays is left for the next sweep."""
        if self._storage is not None:
            with suppress(LakehouseError):
                self._storage.delete(self._storage.list(self._folder))

    def _ready(self, table: IcebergTable, live: Live, storage: Storage) -> tuple[Workshop, Work]:
        metadata = table.metadata
        schema = evolved(metadata.schema(), self._change.schema_changes, last_field_id=metadata.last_column_id)
        if self._workshop is None or self._prepared is None or self._schema is None:
            return self._begin(metadata, schema, live, storage)
        ids = {f.name: f.field_id for f in schema.fields}
        if any(ids.get(f.name) != f.field_id for f in self._schema.fields):
            raise ConflictError(
                "Another commit changed the columns that this change is for. Run again.", table=self._name
            )
        return self._workshop, self._prepared

    def _begin(
        self, metadata: TableMetadata, schema: IcebergSchema, live: Live, storage: Storage
    ) -> tuple[Workshop, Work]:
        check_removal(self._change, metadata)
        if self._change.rows is not None:
            check_rows(self._change.rows.schema, from_iceberg(schema))
        self._schema = schema
        self._snapshot_id = metadata.new_snapshot_id()
        self._storage = storage
        self._folder = f"{data_folder(metadata)}/{self._token.digest}/{self._snapshot_id}"
        ordered = bool(sort_fields(metadata.sort_order(), metadata.schema()))
        sort_order_id = metadata.default_sort_order_id if ordered else None
        layout = WriteLayout(schema, metadata.spec(), sort_order_id, metadata, self._folder)
        self._workshop = Workshop(layout, storage=storage, probe=self._connection.probe)
        self._prepared = self._workshop.prepare(self._change, live)
        return self._workshop, self._prepared

    def _submission(
        self, table: IcebergTable, head: Snapshot | None, work: Work, at: datetime
    ) -> tuple[Submission, CommitResult]:
        metadata = table.metadata
        schema = evolved(metadata.schema(), self._change.schema_changes, last_field_id=metadata.last_column_id)
        schema_id, updates, requirements = set_schema(metadata, schema)
        submission = Submission(updates, requirements, branch=self._branch)
        storage = self._connection.storage(table)
        draft = Draft(table, self._snapshot_id, head, self._token.digest, written=submission.written)
        result = self._result(work, at)
        self._connection.probe("before iceberg.manifests")
        try:
            with translated(self._name):
                snapshot = draft.snapshot(
                    work.files, schema_id=schema_id, at_ms=in_milliseconds(at), notes=self._notes(result)
                )
        except Exception:
            with suppress(LakehouseError):
                storage.delete(draft.written)
            raise
        self._connection.probe("after iceberg.manifests")
        updates, requirements = add_snapshot(metadata, snapshot, branch=self._branch)
        submission.updates += [*updates, *_property_updates(metadata, self._change)]
        submission.requirements += requirements
        return submission, result

    def _result(self, work: Work, at: datetime) -> CommitResult:
        files: FileChanges = work.files
        data = files.of(files.added, data=True)
        return CommitResult(
            self._token,
            version=self._snapshot_id,
            committed_at=at,
            rows_added=work.rows_added,
            rows_removed=work.rows_removed,
            files_added=len(data),
            files_removed=len(files.of(files.removed, data=True)),
            bytes_added=sum(file.file_size_in_bytes for file in data),
        )

    def _notes(self, result: CommitResult) -> dict[str, str]:
        notes = {
            **self._change.summary,
            "lakehouse.pipeline": self._token.pipeline,
            "lakehouse.batch": str(self._token.batch),
            ROWS_ADDED: str(result.rows_added),
        }
        return notes if result.rows_removed is None else notes | {ROWS_REMOVED: str(result.rows_removed)}


def branch_head(metadata: TableMetadata, branch: str) -> Snapshot | None:
    """Return the newest snapshot of a branch; of the main one where the branch does not exist yet.

    Raises:
        InvalidRequestError: The name is a tag's.
    """
    ref = metadata.refs.get(branch)
    if kind_of(metadata, branch) == "tag":
        raise InvalidRequestError(f"{branch!r} is a tag. Write to a branch.", branch=branch)
    return metadata.snapshot_by_id(ref.snapshot_id) if ref is not None else metadata.current_snapshot()


def _property_updates(metadata: TableMetadata, change: Change) -> list[TableUpdate]:
    wanted: dict[str, str | None] = dict(change.properties)
    if change.comment is not None:
        wanted[COMMENT_PROPERTY] = change.comment or None
    updates: list[TableUpdate] = []
    if kept := {name: value for name, value in wanted.items() if value is not None}:
        updates.append(set_properties(kept))
    if gone := [name for name, value in wanted.items() if value is None and name in metadata.properties]:
        updates.append(remove_properties(gone))
    return updates


def _check_properties(change: Change) -> None:
    own = tuple(name for name in change.properties if name.startswith(TOKEN_PREFIX))
    if own:
        raise InvalidRequestError("Properties that remember writes are not to be set. Leave them out.", properties=own)
