"""Commit to an Iceberg table once: the token is looked for on every newest state, before each compare-and-swap."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from airflow_provider_lakehouse.core.errors import (
    ConflictError,
    LakehouseError,
    OutcomeUnknownError,
)
from airflow_provider_lakehouse.core.tables.iceberg.catalog import check_writable
from airflow_provider_lakehouse.core.tables.iceberg.files import data_folder, metadata_folder
from airflow_provider_lakehouse.core.tables.iceberg.refusals import LostRaceError, UnknownOutcomeError, translated
from airflow_provider_lakehouse.core.tables.iceberg.scan import MAIN
from airflow_provider_lakehouse.core.tables.iceberg.tokens import remember, remembered

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableRequirement, TableUpdate

    from airflow_provider_lakehouse.core.tables.base import CommitResult, WriteToken
    from airflow_provider_lakehouse.core.tables.iceberg.catalog import Connection

MAX_ATTEMPTS: Final = 30
"""Lost races after which a commit gives up; each means that another writer's commit went through."""
FIRST_PAUSE_SECONDS: Final = 0.02
LONGEST_PAUSE_SECONDS: Final = 2.0


@dataclass
class Submission:
    """What one attempt asks the catalog for.

    Args:
        updates: In order.
        requirements: What must still be so.
        written: Metadata files made for it, removed when it loses.
        branch: The branch it changes.
    """

    updates: list[TableUpdate] = field(default_factory=list)
    requirements: list[TableRequirement] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    branch: str = MAIN


class Step(Protocol):
    """One kind of commit."""

    def __call__(self, table: IcebergTable, at: datetime) -> tuple[Submission, CommitResult]:
        """Decide on the newest state of a table what to submit, and what the caller is told once that is committed.

        Args:
            table: The newest state; it does not remember the token.
            at: The instant of the commit.
        """

    def discard(self) -> None:
        """Remove the data files it wrote, because they are not part of the table and will not be."""


def commit_once(
    connection: Connection, name: str, *, token: WriteToken, step: Step, pause: Callable[[float], None] = time.sleep
) -> CommitResult:
    """Submit until it is committed, by this call or by another with the same token.

    Args:
        connection: The catalog.
        name: The table.
        token: The write.
        step: Called with each newest state that does not remember the token.
        pause: Waits some seconds.

    Raises:
        ConflictError: Too many races were lost; or the step found a conflict. Nothing was written.
        OutcomeUnknownError: The catalog did not say whether the commit landed. The files are kept.
        UnavailableError: The catalog or the storage did not answer. Nothing was written.
    """
    try:
        table, result = _Commit(connection, name, token, step, pause).run()
    except OutcomeUnknownError:
        raise
    except Exception:
        step.discard()
        raise
    if result.replayed:
        step.discard()
    _sweep(connection, table, token=token, version=result.version)
    return result


@dataclass
class _Commit:
    """The loop of one commit.

    Args:
        connection: The catalog.
        name: The table.
        token: The write.
        step: Decides what to submit.
        pause: Waits some seconds.
        unknown: The first attempt whose outcome the catalog did not tell; it may land as long as nothing else does.
        lost: Whether the newest attempt lost a race, and the table has not been looked at since.
        tried: The metadata files of every attempt, by its version and instant.
        table_uuid: Of the table that was looked at first: one of the same name that was made since is another.
    """

    connection: Connection
    name: str
    token: WriteToken
    step: Step
    pause: Callable[[float], None]
    unknown: Exception | None = None
    lost: bool = False
    tried: dict[tuple[int, datetime], list[str]] = field(default_factory=dict)
    table_uuid: UUID | None = None

    def run(self) -> tuple[IcebergTable, CommitResult]:
        """Submit until it is committed; return the state of the table that was last looked at, and the result."""
        for attempt in range(MAX_ATTEMPTS + 1):  # the last one only looks whether the one before it landed
            try:
                table = self._load()
                done = self._known(table) or (self._submit(table) if attempt < MAX_ATTEMPTS else None)
            except ConflictError:
                raise  # the branch moved on, so that an attempt of unknown outcome can no longer land
            except Exception as error:
                if (self.unknown is None and not self.lost) or isinstance(error, OutcomeUnknownError):
                    raise
                raise self._outcome_unknown() from error
            if done is not None:
                self._remove(table, but=(done.version, done.committed_at))
                return table, done
            longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**attempt)
            self.pause(random.uniform(longest / 2, longest))  # noqa: S311
        if self.unknown is not None:
            raise self._outcome_unknown() from self.unknown
        raise ConflictError("Other writers kept winning. Run again later.", table=self.name, attempts=MAX_ATTEMPTS)

    def _load(self) -> IcebergTable:
        table = self.connection.load(self.name)
        self.table_uuid = self.table_uuid or table.metadata.table_uuid
        if table.metadata.table_uuid != self.table_uuid:
            raise ConflictError(f"Table {self.name!r} was made anew meanwhile. Run again.", table=self.name)
        return table

    def _known(self, table: IcebergTable) -> CommitResult | None:
        """Return what the token wrote, as the first to tell where an attempt of this call did."""
        if (known := remembered(table.metadata, self.token)) is not None:
            return replace(known, replayed=(known.version, known.committed_at) not in self.tried)
        self.lost = False
        if self.unknown is None:
            self._remove(table)
        return None

    def _submit(self, table: IcebergTable) -> CommitResult | None:
        """Submit once; None when the race was lost, or nobody knows."""
        check_writable(table.metadata, name=self.name)
        submission, result = self.step(table, _now(table.metadata))
        self.tried[result.version, result.committed_at] = submission.written
        remembering = remember(table.metadata, result, branch=submission.branch)
        try:
            self.connection.submit(
                table, updates=[*submission.updates, *remembering], requirements=submission.requirements
            )
        except UnknownOutcomeError as error:
            # The same files again next time: only one of the two attempts can win, so trying on is safe and finds out.
            self.unknown = self.unknown or error
            return None
        except LostRaceError:
            # The winner may be this very request: what passes it on sends it again when the first answer is lost.
            self.lost = True
            return None
        except LakehouseError:
            if self.unknown is None:
                self._remove(table)
            raise
        return result

    def _remove(self, table: IcebergTable, *, but: tuple[int, datetime] | None = None) -> None:
        """Remove the metadata files of attempts that did not land, and cannot land any more."""
        gone = [uri for attempt, written in self.tried.items() if attempt != but for uri in written]
        with suppress(LakehouseError):
            self.connection.storage(table).delete(gone)
        self.tried = {attempt: written if attempt == but else [] for attempt, written in self.tried.items()}

    def _outcome_unknown(self) -> OutcomeUnknownError:
        return OutcomeUnknownError(
            "The catalog did not say whether the commit landed. Run again with the same token.",
            table=self.name,
            key=self.token.key,
        )


def _now(metadata: TableMetadata) -> datetime:
    """Return the instant of a commit: later than every one before it, so that instants order commits."""
    now = int(datetime.now(UTC).timestamp() * 1000)
    newest = max((snapshot.timestamp_ms for snapshot in metadata.snapshots), default=0)
    return datetime.fromtimestamp(max(now, newest + 1) / 1000, UTC)


def in_milliseconds(at: datetime) -> int:
    """Return an instant as Iceberg counts it."""
    return round(at.timestamp() * 1000)


def _sweep(connection: Connection, table: IcebergTable, *, token: WriteToken, version: int) -> None:
    """Remove what other attempts at a committed write have left behind.

    Nothing is raised: the write is done, and the next attempt with its token sweeps again. Files of another attempt
    than the committed one are looked up in every state of the table before they go: a batch whose branch was dropped
    is staged twice.
    """
    name = ".".join(table.name())
    with suppress(LakehouseError), translated(name):
        storage = connection.storage(table)
        connection.probe("before iceberg.sweep")
        folders = [f"{folder(table.metadata)}/{token.digest}" for folder in (data_folder, metadata_folder)]
        found = [uri for folder in folders for uri in storage.list(folder)]
        leftovers = [uri for uri in found if f"/{token.digest}/{version}" not in uri]
        if leftovers:
            kept = {storage.path(uri) for uri in _referenced(connection.load(name))}
            storage.delete(uri for uri in leftovers if storage.path(uri) not in kept)
        connection.probe("after iceberg.sweep")


def _referenced(table: IcebergTable) -> set[str]:
    """Return the addresses of everything that a state of the table is made of."""
    found: set[str] = set()
    for snapshot in table.metadata.snapshots:
        found.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path not in found:
                found.add(manifest.manifest_path)
                found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return found
