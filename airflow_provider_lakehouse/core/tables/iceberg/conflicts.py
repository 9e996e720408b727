"""Tell whether what was committed since a change was computed matters to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.errors import ConflictError, UnsupportedError
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, NO_VERSION, Positions
from airflow_provider_lakehouse.core.tables.iceberg.changes import Live
from airflow_provider_lakehouse.core.tables.iceberg.deletes import read_deletes
from airflow_provider_lakehouse.core.tables.iceberg.snapshot import live_entries
from airflow_provider_lakehouse.core.tables.iceberg.statistics import FileBounds, primitive_fields

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.snapshots import Snapshot

    from airflow_provider_lakehouse.core.tables.base import Change
    from airflow_provider_lakehouse.core.tables.filters import Filter
    from airflow_provider_lakehouse.core.tables.storage import Storage


@dataclass(frozen=True)
class Since:
    """What changed between two snapshots; manifests that both share are not read.

    Args:
        added: Data files that only the later one has.
        touched: Paths of data files of both whose delete files differ.
        resurfaced: Those among them of which rows came back.
    """

    added: tuple[DataFile, ...]
    touched: frozenset[str]
    resurfaced: frozenset[str]

    @classmethod
    def between(cls, base: Snapshot | None, head: Snapshot | None, *, table: IcebergTable, storage: Storage) -> Since:
        """Compare two snapshots of a table."""
        paths = [frozenset(m.manifest_path for m in s.manifests(table.io)) if s else frozenset() for s in (base, head)]
        shared = paths[0] & paths[1]
        before = Live(live_entries(base, table.io, other_than=shared), storage)
        after = Live(live_entries(head, table.io, other_than=shared), storage)
        added = tuple(
            entry.data_file
            for path, entry in after.entries.items()
            if path in after.data
            and path not in before.data
            and not _is_mere_rewrite(entry.snapshot_id, base, head, table)
        )
        new = _named(after, before, storage)
        gone = _named(before, after, storage)
        return cls(added, new | gone, gone)


def _named(these: Live, others: Live, storage: Storage) -> frozenset[str]:
    """Return the data files named by position-delete files that only one side has."""
    known = {file.file_path for file in others.deletes}
    differing = [file for file in these.deletes if file.file_path not in known]
    if any(file.equality_ids for file in differing):
        raise ConflictError("Another commit removed rows by value. Read again, and run again.")
    return frozenset(read_deletes(differing, storage=storage))


def _is_mere_rewrite(
    snapshot_id: int | None, base: Snapshot | None, head: Snapshot | None, table: IcebergTable
) -> bool:
    """Tell whether a file was added by a rewrite of rows that were all there at the base."""
    from pyiceberg.table.snapshots import Operation

    line: list[Snapshot] = []
    current = head
    while current is not None and (base is None or current.snapshot_id != base.snapshot_id):
        line.append(current)
        parent = current.parent_snapshot_id
        current = table.metadata.snapshot_by_id(parent) if parent is not None else None
    if base is not None and current is None:
        return False  # not on one line: no conclusion
    for snapshot in reversed(line):
        if snapshot.summary is None or snapshot.summary.operation != Operation.REPLACE:
            return False
        if snapshot.snapshot_id == snapshot_id:
            return True
    return False


def check(change: Change, *, head: Snapshot | None, live: Live, table: IcebergTable, storage: Storage) -> None:
    """Refuse a change that rests on what is no longer so.

    Args:
        change: The change.
        head: Newest snapshot of the branch it goes to.
        live: Its files.
        table: The newest state of the table.
        storage: Where delete files are read.

    Raises:
        ConflictError: A file whose rows go was removed, rewritten or lost rows; or a row was added that may satisfy
            the guard; or the base is no longer known.
        UnsupportedError: Rows go by position, and the table has equality deletes.
    """
    named: frozenset[str] = frozenset()
    if isinstance(change.removes, Positions):
        named = frozenset(change.removes.rows.column(FILE_COLUMN).unique().to_pylist())
        if live.has_equality_deletes:
            raise UnsupportedError(
                "The table holds equality-delete files. Compact it with the engine that writes them."
            )
        if not named <= live.data.keys():
            raise _conflict("removed or rewrote files whose rows this change removes", change, head, table)
    head_id = head.snapshot_id if head is not None else NO_VERSION
    if change.base is None or change.base == head_id:
        return
    base = table.metadata.snapshot_by_id(change.base) if change.base != NO_VERSION else None
    if base is None and change.base != NO_VERSION:
        raise _conflict("expired the version that this change was computed from", change, head, table)
    since = Since.between(base, head, table=table, storage=storage)
    if named & since.touched:
        raise _conflict("removed rows of files whose rows this change removes", change, head, table)
    if change.guard is not None and _may_break(change.guard, since, live, table):
        raise _conflict("added rows that this change had to know of", change, head, table)


def _may_break(guard: Filter, since: Since, live: Live, table: IcebergTable) -> bool:
    fields = primitive_fields(table.metadata.schema())
    files = [*since.added, *(live.data[path] for path in since.resurfaced if path in live.data)]
    for file in files:
        bounds = FileBounds(file, fields)
        if all(bounds[c.column].may_satisfy(c) if c.column in bounds else True for c in guard):
            return True
    return False


def _conflict(what: str, change: Change, head: Snapshot | None, table: IcebergTable) -> ConflictError:
    return ConflictError(
        f"Another commit {what}. Read the table again, and run again.",
        table=".".join(table.name()),
        base=change.base,
        version=head.snapshot_id if head is not None else NO_VERSION,
    )
