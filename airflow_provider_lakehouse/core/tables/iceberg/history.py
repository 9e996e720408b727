"""Describe an Iceberg table and its commits, from its metadata alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.base import NO_VERSION, TableFacts, VersionFacts
from airflow_provider_lakehouse.core.tables.iceberg.files import DEFAULT_TARGET_BYTES, TARGET_BYTES_PROPERTY
from airflow_provider_lakehouse.core.tables.iceberg.scan import MAIN, schema_at, snapshot_at
from airflow_provider_lakehouse.core.tables.iceberg.schema import from_iceberg, partitioning, sort_fields
from airflow_provider_lakehouse.core.tables.iceberg.snapshot import (
    ROWS_ADDED,
    ROWS_REMOVED,
    TOTAL_EQUALITY_DELETES,
    TOTAL_POSITION_DELETES,
    TOTAL_RECORDS,
)
from airflow_provider_lakehouse.core.tables.iceberg.tokens import lineage
from airflow_provider_lakehouse.core.tables.iceberg.write import COMMENT_PROPERTY
from airflow_provider_lakehouse.core.tables.tokens import without_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.snapshots import Snapshot

    from airflow_provider_lakehouse.core.tables.base import At, TableIdentity

_CHANGES: Final = ("added-data-files", "deleted-data-files", "added-delete-files", "removed-delete-files")


def facts_of(table: IcebergTable, *, at: At, identity: TableIdentity) -> TableFacts:
    """Describe a state of a table.

    Raises:
        InvalidRequestError: There is no such state.
        UnsupportedError: The table has columns or partitions of kinds unknown to this package.
    """
    metadata = table.metadata
    snapshot = snapshot_at(metadata, at, name=".".join(table.name()))
    schema = schema_at(metadata, at, snapshot)
    totals = _summary(snapshot)
    refs = metadata.refs.items()
    return TableFacts(
        identity=identity,
        version=snapshot.snapshot_id if snapshot is not None else NO_VERSION,
        committed_at=_instant(snapshot.timestamp_ms) if snapshot is not None else None,
        schema=from_iceberg(schema),
        partitioning=partitioning(metadata.spec(), metadata.schema()),
        sort_order=sort_fields(metadata.sort_order(), metadata.schema()) or (),
        properties={k: v for k, v in without_tokens(metadata.properties).items() if k != COMMENT_PROPERTY},
        comment=metadata.properties.get(COMMENT_PROPERTY, ""),
        rows=live_rows(snapshot),
        files=int(totals.get("total-data-files", 0)),
        size_bytes=int(totals.get("total-files-size", 0)),
        branches={name: ref.snapshot_id for name, ref in refs if ref.snapshot_ref_type == "branch" and name != MAIN},
        tags={name: ref.snapshot_id for name, ref in refs if ref.snapshot_ref_type == "tag"},
        target_file_bytes=int(metadata.properties.get(TARGET_BYTES_PROPERTY, DEFAULT_TARGET_BYTES)),
    )


def live_rows(snapshot: Snapshot | None) -> int | None:
    """Return how many rows a snapshot holds; None where rows were removed by value, or the writer did not count."""
    if snapshot is None:
        return 0
    totals = _summary(snapshot)
    if TOTAL_RECORDS not in totals or totals.get(TOTAL_EQUALITY_DELETES, "0") != "0":
        return None
    return int(totals[TOTAL_RECORDS]) - int(totals.get(TOTAL_POSITION_DELETES, 0))


def history_of(table: IcebergTable, *, since: int | None) -> tuple[VersionFacts, ...]:
    """Return the commits of the main branch after a version, oldest first.

    Raises:
        InvalidRequestError: The version is not part of the history, or has expired.
    """
    line = list(lineage(table.metadata, table.metadata.current_snapshot()))[::-1]
    if since is not None and since != NO_VERSION:
        places = [place for place, snapshot in enumerate(line) if snapshot.snapshot_id == since]
        if not places:
            raise InvalidRequestError(
                f"Version {since} is not part of the table's history, or has expired. Read the table anew.",
                table=".".join(table.name()),
                version=since,
            )
        line = line[places[0] + 1 :]
    return tuple(_entry(snapshot) for snapshot in line)


def changes_files(snapshot: Snapshot) -> bool:
    """Tell whether a snapshot added or removed any file; True where the writer did not say."""
    summary = _summary(snapshot)
    if not any(name.startswith("total-") for name in summary):
        return True
    return any(int(summary.get(name, 0)) for name in _CHANGES)


def _entry(snapshot: Snapshot) -> VersionFacts:
    summary = _summary(snapshot)
    operation = snapshot.summary.operation.value if snapshot.summary is not None else "overwrite"
    added, removed = _rows(summary, operation)
    moved = bool(added or removed) if ROWS_ADDED in summary and ROWS_REMOVED in summary else changes_files(snapshot)
    return VersionFacts(
        version=snapshot.snapshot_id,
        parent=snapshot.parent_snapshot_id,
        committed_at=_instant(snapshot.timestamp_ms),
        operation=operation,
        changes_rows=operation != "replace" and moved,
        rows_added=added,
        rows_removed=removed,
        summary=summary,
    )


def _rows(summary: Mapping[str, str], operation: str) -> tuple[int | None, int | None]:
    """Return rows added and removed: as we noted them, or as far as Iceberg's own counts tell."""
    if ROWS_ADDED in summary:
        return int(summary[ROWS_ADDED]), int(summary[ROWS_REMOVED]) if ROWS_REMOVED in summary else None
    if operation == "replace":
        return 0, 0
    if operation == "append":
        return int(summary.get("added-records", 0)), 0
    return None, None  # files rewritten with some of their rows: the counts say nothing of rows


def _summary(snapshot: Snapshot | None) -> dict[str, Any]:
    return dict(snapshot.summary.additional_properties) if snapshot is not None and snapshot.summary is not None else {}


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
