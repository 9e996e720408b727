"""The commit loop of Delta tables: look for the token, look for conflicts, put the next entry if absent, and again."""

from __future__ import annotations

import logging
import random
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow_provider_lakehouse.core.errors import (
    ConflictError,
    InvalidRequestError,
    LakehouseError,
    OutcomeUnknownError,
)
from airflow_provider_lakehouse.core.schema import check_rows
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, Positions
from airflow_provider_lakehouse.core.tables.data_files import sweep
from airflow_provider_lakehouse.core.tables.delta.actions import (
    CommitNote,
    Counts,
    Write,
    addition,
    application,
    note_of,
    now_ms,
    place,
    recorded,
)
from airflow_provider_lakehouse.core.tables.delta.conflicts import Claims, check_columns
from airflow_provider_lakehouse.core.tables.delta.folder import LostRaceError
from airflow_provider_lakehouse.core.tables.delta.log import Commit, instant
from airflow_provider_lakehouse.core.tables.delta.protocol import check_properties, check_removal, check_writable
from airflow_provider_lakehouse.core.tables.delta.schema import changed_fields
from airflow_provider_lakehouse.core.tables.delta.state import TableState, file_uri
from airflow_provider_lakehouse.core.tables.delta.values import partition_text
from airflow_provider_lakehouse.core.tables.delta.write import Written, partitions_of, token_folder, write_change

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_lakehouse.core.tables.base import Change, CommitResult, WriteToken
    from airflow_provider_lakehouse.core.tables.delta.log import Action, DeltaLog
    from airflow_provider_lakehouse.core.tables.delta.metadata import Metadata
    from airflow_provider_lakehouse.core.tables.delta.state import LiveFile
    from airflow_provider_lakehouse.core.tables.storage import Storage

MAX_ATTEMPTS: Final = 30
_FIRST_WAIT_SECONDS: Final = 0.01
_LONGEST_WAIT_SECONDS: Final = 1.0
logger = logging.getLogger(__name__)


class Line(Protocol):
    """A sequence of commits that can be added to: the main branch, or another."""

    @property
    def is_main(self) -> bool:
        """True for the main branch."""

    def load(self) -> TableState:
        """Return the newest state."""

    def find(self, token: WriteToken, state: TableState) -> tuple[CommitResult, Commit | None] | None:
        """Return what a token wrote up to a state, and the commit that holds it where the log still has it."""

    def commits_after(self, base: int, state: TableState) -> tuple[Commit, ...] | None:
        """Return the commits after `base` up to a state; None where some are no longer known."""

    def next_version(self, state: TableState) -> int:
        """Return the number of the commit that would follow a state."""

    def put(self, commit: Commit) -> None:
        """Add a commit, or raise `LostRaceError`."""


@dataclass(frozen=True)
class Resolved:
    """A write, brought to the newest state.

    Args:
        note: What the commit says of itself.
        actions: Its further lines.
        blind: Whether it was decided without reading the table.
    """

    note: CommitNote
    actions: tuple[Action, ...]
    blind: bool = False


class Draft(Protocol):
    """A write that is to be committed."""

    @property
    def created(self) -> Iterable[str]:
        """URIs of data files that are of no use when the write is not committed."""

    def resolve(self, line: Line, state: TableState) -> Resolved:
        """Bring the write to the newest state, or raise `ConflictError`."""


class MainLine:
    """The main branch: the table's own log."""

    is_main = True

    def __init__(self, log: DeltaLog) -> None:
        self._log = log

    def load(self) -> TableState:
        """Return the newest state."""
        return TableState.load(self._log)

    def find(self, token: WriteToken, state: TableState) -> tuple[CommitResult, Commit | None] | None:
        """Return what a token wrote."""
        version = state.transaction(application(token))
        if isinstance(token.batch, int) and version is not None:
            version = state.transaction(place(token)) if version >= token.batch else None
        if version is None:
            return None
        commit = self._log.commit_at(version)
        return recorded(commit, token, version=version, otherwise=instant(state.metadata.created_at_ms or 0)), commit

    def commits_after(self, base: int, state: TableState) -> tuple[Commit, ...] | None:
        """Return the commits after `base`."""
        if base > state.version:
            raise InvalidRequestError(
                f"Version {base} is not part of the main branch. Decide on a version of the branch that is written to.",
                base=base,
                version=state.version,
            )
        return self._log.commits_between(base, state.version)

    def next_version(self, state: TableState) -> int:
        """Return the number of the next commit."""
        return state.version + 1

    def put(self, commit: Commit) -> None:
        """Add a commit."""
        self._log.put_commit(commit)


class Committer:
    """Commits drafts to the lines of one table.

    Args:
        log: The table's.
        storage: Where its data files are.
    """

    def __init__(self, log: DeltaLog, storage: Storage) -> None:
        self._log = log
        self._storage = storage

    def write(self, line: Line, change: Change, *, token: WriteToken, state: TableState) -> CommitResult:
        """Write a change's data files once, and commit them.

        Args:
            line: The branch.
            change: What to write.
            token: Not yet found.
            state: The newest of the branch.
        """
        draft = ChangeDraft(change, token, self._log.table, state.metadata)
        draft = draft.checked(line, state)
        written = write_change(
            change,
            token=token,
            state=state,
            metadata=draft.metadata,
            storage=self._storage,
            probe=self._log.probe,
        )
        return self.land(line, replace(draft, written=written), token=token, state=state)

    def land(self, line: Line, draft: Draft, *, token: WriteToken, state: TableState) -> CommitResult:
        """Commit a draft.

        Raises:
            ConflictError: Another commit contradicts it, or too many came first. Nothing was written.
            OutcomeUnknownError: The answer to the commit was lost; the data files are kept.
        """
        try:
            result, commit = self._attempt(line, draft, token=token, state=state)
        except OutcomeUnknownError:
            raise
        except Exception:
            with suppress(LakehouseError):
                self._storage.delete(draft.created)
            raise
        self._settle(line, token, commit, interval=state.metadata.checkpoint_interval)
        return result

    def _attempt(
        self, line: Line, draft: Draft, *, token: WriteToken, state: TableState
    ) -> tuple[CommitResult, Commit | None]:
        for attempt in range(MAX_ATTEMPTS):
            longest = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2**attempt)
            time.sleep(random.uniform(0, longest) if attempt else 0)  # noqa: S311
            if attempt or draft.created:  # writing files takes time, in which others commit, or make the table anew
                state = line.load()
                known = line.find(token, state)
                if known is not None:
                    return known
            resolved = draft.resolve(line, state)
            version, at_ms = line.next_version(state), now_ms()
            lines = resolved.note.actions(version=version, at_ms=at_ms, attempt=uuid.uuid4().hex, blind=resolved.blind)
            commit = Commit(version, (*lines, *resolved.actions))
            try:
                line.put(commit)
            except LostRaceError:
                continue
            own = resolved.note.writes[0].counts
            return own.result(token, version=version, committed_at=instant(at_ms)), commit
        raise ConflictError(
            f"Other commits to {self._log.table!r} came first, again and again. Run again.",
            table=self._log.table,
            attempts=MAX_ATTEMPTS,
        )

    def _settle(self, line: Line, token: WriteToken, commit: Commit | None, *, interval: int) -> None:
        """Do what is due after a commit. It stands whatever comes of this."""
        if commit is not None and line.is_main and commit.version % interval == 0:
            self._log.checkpoint(commit.version)
        try:
            self.clear(token, commit)
        except LakehouseError as error:
            logger.warning("Files of killed attempts at %s may be left in %s: %s", token, self._log.location, error)

    def clear(self, token: WriteToken, commit: Commit | None) -> None:
        """Remove what attempts at a committed write have left behind.

        Nothing is removed where the log no longer tells which files belong to the write, or only that a higher batch of
        an ordered pipeline was written.
        """
        if commit is None or note_of(commit, token) is None:
            return
        location = self._log.location
        keep = {file_uri(action["path"], location) for action in commit.all("add")}
        sweep(self._storage, token_folder(location, token), keep=keep, probe=self._log.probe)


@dataclass(frozen=True)
class ChangeDraft:
    """A `Change`, whose data files are written before it is committed.

    Args:
        change: What to write.
        token: Names it.
        table: For messages.
        metadata: For which the files were written: the table's, after the change.
        written: The files.
    """

    change: Change
    token: WriteToken
    table: str
    metadata: Metadata
    written: Written = field(default_factory=Written)

    @property
    def created(self) -> tuple[str, ...]:
        """The data files."""
        return tuple(file.path for file in self.written.files)

    def checked(self, line: Line, state: TableState) -> ChangeDraft:
        """Return the draft with the metadata its files are to be written for, once everything fits the table.

        Raises:
            InvalidRequestError: The change does not fit.
            UnsupportedError: The table or the change asks for something that is not done here.
            ConflictError: A commit after `base` contradicts it.
        """
        change = self.change
        metadata = self._changed(state, rerun=False)
        if change.guard:
            metadata.schema.require([condition.column for condition in change.guard], purpose="a guard")
        if change.rows is not None:
            check_rows(change.rows.schema, metadata.schema)
        if change.removes == "partitions" and not metadata.partition_columns:
            raise InvalidRequestError("The table has no partitions to overwrite. Use 'replace'.", table=self.table)
        self._check_base(line, state)
        return replace(self, metadata=metadata)

    def resolve(self, line: Line, state: TableState) -> Resolved:
        """Bring the change to the newest state."""
        metadata = self._changed(state, rerun=True)
        check_columns(self.metadata, metadata, table=self.table)
        self._check_base(line, state)
        removed, rows_removed = self._removed(state)
        counts = Counts(
            rows_added=self.written.rows_added,
            rows_removed=rows_removed,
            files_added=len(self.written.files),
            files_removed=len(removed),
            bytes_added=sum(file.size_bytes for file in self.written.files),
        )
        at_ms = now_ms()
        adds = [
            addition(file, location=state.location, metadata=self.metadata, at_ms=at_ms) for file in self.written.files
        ]
        protocol = state.protocol.for_fields(metadata.fields)
        actions = [
            *([protocol.to_action()] if protocol != state.protocol else ()),
            *([metadata.to_action()] if metadata != state.metadata else ()),
            *(file.to_removal(at_ms) for file in removed),
            *adds,
        ]
        operation, parameters = self._operation()
        extra = {} if line.is_main else self._claims_when_staged().to_note()
        note = CommitNote(operation, parameters, (Write(self.token, counts),), self.change.summary, extra)
        return Resolved(note, tuple(actions), blind=self.change.base is None and self.change.removes == "nothing")

    def _changed(self, state: TableState, *, rerun: bool) -> Metadata:
        """Return the newest metadata with the change applied."""
        change, old = self.change, state.metadata
        check_writable(state.protocol, old.properties, old.fields, table=self.table)
        check_properties(change.properties, state.protocol)
        if change.removes != "nothing":
            check_removal(old.properties, by_row=isinstance(change.removes, Positions), table=self.table)
        properties = {**old.properties, **change.properties}
        return replace(
            old,
            fields=changed_fields(old.fields, change.schema_changes, identifier=old.schema.identifier, rerun=rerun),
            properties={name: value for name, value in properties.items() if value is not None},
            description=old.description if change.comment is None else change.comment,
        )

    def _claims(self) -> Claims:
        """Return what the change rests on, as of its base."""
        removes = self.change.removes
        named = removes.rows.column(FILE_COLUMN).unique().to_pylist() if isinstance(removes, Positions) else ()
        return Claims(frozenset(named), () if self.change.guard is None else (self.change.guard,))

    def _claims_when_staged(self) -> Claims:
        """Return what its publication rests on besides: what it replaces whole has no rows that it did not know of."""
        guards = () if self.change.guard is None else (self.change.guard,)
        if self.change.removes == "all":
            guards = (*guards, ())
        return Claims(
            guards=guards, partitions=self._partitions() if self.change.removes == "partitions" else frozenset()
        )

    def _check_base(self, line: Line, state: TableState) -> None:
        base = self.change.base
        claims = self._claims()
        if base is None or (not claims.files and not claims.guards):
            return
        commits = line.commits_after(base, state)
        if commits is None:
            raise ConflictError(
                f"The log of {self.table!r} no longer tells what happened since version {base}. Run again.",
                table=self.table,
                base=base,
            )
        claims.check(commits, state, table=self.table)

    def _removed(self, state: TableState) -> tuple[tuple[LiveFile, ...], int | None]:
        """Return the files that go, and how many rows go with them."""
        removes = self.change.removes
        if isinstance(removes, Positions):
            return self.written.replaced, self.written.rows_removed
        if removes == "nothing":
            return (), 0
        files = state.files()
        if removes == "partitions":
            wanted = self._partitions()
            files = tuple(file for file in files if file.partition_texts(self.metadata.partition_columns) in wanted)
        return files, rows_in(files)

    def _partitions(self) -> frozenset[tuple[str | None, ...]]:
        return frozenset(tuple(map(partition_text, values)) for values in partitions_of(self.written.files))

    def _operation(self) -> tuple[str, dict[str, Any]]:
        change = self.change
        if isinstance(change.removes, Positions):
            return "MERGE", {}
        if change.rows is None and change.removes == "nothing":
            return ("ADD COLUMNS" if change.schema_changes else "SET TBLPROPERTIES"), {}
        mode = "Append" if change.removes == "nothing" else "Overwrite"
        return "WRITE", {"mode": mode, "partitionBy": str(list(self.metadata.partition_columns)).replace("'", '"')}


def rows_in(files: Iterable[LiveFile]) -> int | None:
    """Return how many rows of files count; None where one of them does not say."""
    counts = [file.live_rows() for file in files]
    return None if None in counts else sum(counts)  # type: ignore[arg-type]
