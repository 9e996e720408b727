"""The lines of a commit to a Delta table: what was written, under which token, with which counts.

Source: Delta transaction log protocol, section "Actions".
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.tables.base import CommitResult
from airflow_provider_lakehouse.core.tables.delta.values import (
    DEFAULT_INDEXED_COLUMNS,
    bounds_json,
    partition_text,
    statistics_json,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_provider_lakehouse.core.tables.base import WriteToken
    from airflow_provider_lakehouse.core.tables.data_files import WrittenFile
    from airflow_provider_lakehouse.core.tables.delta.log import Action, Commit
    from airflow_provider_lakehouse.core.tables.delta.metadata import Metadata
    from airflow_provider_lakehouse.core.tables.delta.state import LiveFile, TableState

ENGINE: Final = "airflow-provider-lakehouse"
NOTE: Final = "lakehouse"
"""Member of `commitInfo` under which a commit says what it did, by key of the write token."""
PUBLISHED_WRITES: Final = "published"
"""Member of a publication's note that names every batch that was staged."""
_COUNTS: Final = ("rows_added", "rows_removed", "files_added", "files_removed", "bytes_added")


def application(token: WriteToken) -> str:
    """Return the application id under which the log remembers a token."""
    return f"lakehouse:{token.key}"


def place(token: WriteToken) -> str:
    """Return the application id under which the log remembers in which version an ordered token was written last."""
    return f"lakehouse:{token.key}:version"


@dataclass(frozen=True)
class Counts:
    """What a write did, in numbers; see `CommitResult`."""

    rows_added: int | None = 0
    rows_removed: int | None = 0
    files_added: int | None = 0
    files_removed: int | None = 0
    bytes_added: int | None = 0

    def result(
        self, token: WriteToken, *, version: int, committed_at: datetime, replayed: bool = False
    ) -> CommitResult:
        """Return the result of the write."""
        values = {name: getattr(self, name) for name in _COUNTS}
        return CommitResult(token, version, committed_at, replayed=replayed, **values)

    def __add__(self, other: Counts) -> Counts:
        """Return the sums; None where one is not known."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in _COUNTS}
        return Counts(**{name: None if None in pair else sum(pair) for name, pair in pairs.items()})


UNKNOWN: Final = Counts(*(None,) * len(_COUNTS))


@dataclass(frozen=True)
class Write:
    """One token's part of a commit.

    Args:
        token: Names it.
        counts: What it did.
    """

    token: WriteToken
    counts: Counts

    def is_overtaken(self, state: TableState) -> bool:
        """Tell whether a state remembers a higher batch of an ordered pipeline."""
        known = state.transaction(application(self.token))
        return isinstance(self.token.batch, int) and known is not None and known > self.token.batch

    def transactions(self, *, version: int, at_ms: int) -> list[Action]:
        """Return the actions that make the log remember the token, and the version it was written in."""
        known = {application(self.token): version}
        if isinstance(self.token.batch, int):
            known = {application(self.token): self.token.batch, place(self.token): version}
        return [{"txn": {"appId": name, "version": number, "lastUpdated": at_ms}} for name, number in known.items()]

    def note(self) -> Action:
        """Return what the commit notes about the write."""
        named = {"pipeline": self.token.pipeline, "batch": self.token.batch}
        return {**named, **{name: getattr(self.counts, name) for name in _COUNTS}}


@dataclass(frozen=True)
class CommitNote:
    """What a commit says of itself.

    Args:
        operation: As Delta names it: `WRITE`, `MERGE`, `DELETE`, ...
        parameters: Of the operation, as text.
        writes: Tokens it holds; the first is its own, and counts for all.
        summary: What the caller notes.
        extra: What this backend has to find again.
    """

    operation: str
    parameters: Mapping[str, str]
    writes: tuple[Write, ...]
    summary: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> Counts:
        """Of the commit as a whole."""
        return self.writes[0].counts

    def actions(self, *, version: int, at_ms: int, attempt: str, blind: bool) -> list[Action]:
        """Return the commit's information and its transactions."""
        counts = self.counts
        metrics = {
            "numOutputRows": counts.rows_added,
            "numDeletedRows": counts.rows_removed,
            "numFiles": counts.files_added,
            "numRemovedFiles": counts.files_removed,
            "numOutputBytes": counts.bytes_added,
        }
        info = {
            "timestamp": at_ms,
            "operation": self.operation,
            "operationParameters": dict(self.parameters),
            "operationMetrics": {name: str(value) for name, value in metrics.items() if value is not None},
            "isBlindAppend": blind,
            "engineInfo": ENGINE,
            "txnId": attempt,
            NOTE: {
                "writes": {write.token.key: write.note() for write in self.writes},
                "summary": dict(self.summary),
                **self.extra,
            },
        }
        transactions = [action for write in self.writes for action in write.transactions(version=version, at_ms=at_ms)]
        return [{"commitInfo": info}, *transactions]


def note_of(commit: Commit | None, token: WriteToken) -> Action | None:
    """Return what a commit notes about a write; None where it is not the one that made it."""
    note: Action | None = commit.info.get(NOTE, {}).get("writes", {}).get(token.key) if commit else None
    return note if note is not None and note["batch"] == token.batch else None


def recorded(commit: Commit | None, token: WriteToken, *, version: int, otherwise: datetime) -> CommitResult:
    """Return what a token wrote, as the commit says; counts are None where the log no longer has it.

    Args:
        commit: Of that version, where the log still has it.
        token: The write.
        version: Where it was found.
        otherwise: When it was committed, where the commit does not say.
    """
    note = note_of(commit, token)
    counts = UNKNOWN
    if note is not None:
        counts = Counts(**{name: note[name] for name in _COUNTS})
    at = commit.committed_at if commit is not None and commit.committed_at else otherwise
    return counts.result(token, version=version, committed_at=at, replayed=True)


def addition(file: WrittenFile, *, location: str, metadata: Metadata, at_ms: int) -> Action:
    """Return the action that makes a new data file part of the table.

    Args:
        file: As it was written.
        location: URI of the table's folder.
        metadata: For which the file was written.
        at_ms: When, in milliseconds since 1970.
    """
    properties = metadata.properties
    named = properties.get("delta.dataSkippingStatsColumns", "")
    indexed = properties.get("delta.dataSkippingNumIndexedCols", "")
    return {
        "add": {
            "path": file.path.removeprefix(f"{location}/"),
            "partitionValues": {
                name: partition_text(value)
                for name, value in zip(metadata.partition_columns, file.partition, strict=True)
            },
            "size": file.size_bytes,
            "modificationTime": at_ms,
            "dataChange": True,
            "stats": statistics_json(
                file.metadata,
                metadata.file_schema(),
                indexed=int(indexed) if indexed.removeprefix("-").isdecimal() else DEFAULT_INDEXED_COLUMNS,
                named=tuple(name.strip(" `") for name in named.split(",")) if named else (),
            ),
        }
    }


def readdition(file: LiveFile) -> Action:
    """Return the action that makes a file of an older state part of the table again, as far as its state tells."""
    return {
        "add": {
            "path": file.path,
            "partitionValues": {name: partition_text(value) for name, value in file.partition.items()},
            "size": file.size_bytes,
            "modificationTime": file.modified_at_ms,
            "dataChange": True,
            "stats": bounds_json(file.rows, file.bounds),
        }
    }


def now_ms() -> int:
    """Return the milliseconds since 1970."""
    return time.time_ns() // 1_000_000
