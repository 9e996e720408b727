"""The history of a Delta table, from the commits its log still has."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.base import NO_VERSION, VersionFacts
from airflow_provider_lakehouse.core.tables.delta.actions import NOTE

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.tables.delta.log import Commit, DeltaLog

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def history(log: DeltaLog, *, since: int | None) -> tuple[VersionFacts, ...]:
    """Return the commits after a version, oldest first.

    Raises:
        InvalidRequestError: There is no such table; the version is not part of its history, or the log no longer has
            the one after it.
    """
    versions = log.versions()
    if not versions:
        log.load()
    wanted = versions
    if since is not None and since != NO_VERSION:
        if not versions[0] - 1 <= since <= versions[-1]:
            raise InvalidRequestError(
                f"The history of {log.table!r} does not go from version {since} on. Start from one that it has.",
                table=log.table,
                version=since,
                oldest=versions[0],
                newest=versions[-1],
            )
        wanted = tuple(version for version in versions if version > since)
    commits = (log.commit_at(version) for version in wanted)
    return tuple(_entry(commit) for commit in commits if commit is not None)


def version_as_of(log: DeltaLog, at: datetime) -> int:
    """Return the newest version that was committed by an instant.

    Raises:
        InvalidRequestError: The history does not go back that far.
    """
    versions = log.versions()

    def committed_at(version: int) -> datetime:
        commit = log.commit_at(version)
        return (commit.committed_at if commit is not None else None) or _LONG_AGO

    place = bisect_right(versions, at, key=committed_at)
    if place == 0:
        raise InvalidRequestError(
            f"The history of {log.table!r} does not go back to that instant. Choose a later one.",
            table=log.table,
            at=at.isoformat(),
        )
    return versions[place - 1]


def _entry(commit: Commit) -> VersionFacts:
    info = commit.info
    note = info.get(NOTE, {})
    changes = [a for kind in ("add", "remove") for a in commit.all(kind) if a.get("dataChange", True)]
    own: dict[str, Any] = next(iter(note.get("writes", {}).values()), {})
    return VersionFacts(
        version=commit.version,
        parent=commit.version - 1 if commit.version else None,
        committed_at=commit.committed_at or _LONG_AGO,
        operation=info.get("operation", "UNKNOWN"),
        changes_rows=bool(changes),
        rows_added=own.get("rows_added") if changes else 0,
        rows_removed=own.get("rows_removed") if changes else 0,
        summary=note.get("summary", {}),
    )
