"""Bring what was prepared, or what once was, to the main branch of a Delta table: publication and rollback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.tables.base import WriteToken
from airflow_provider_lakehouse.core.tables.delta.actions import (
    NOTE,
    PUBLISHED_WRITES,
    CommitNote,
    Counts,
    Write,
    now_ms,
    readdition,
)
from airflow_provider_lakehouse.core.tables.delta.commit import Resolved, rows_in
from airflow_provider_lakehouse.core.tables.delta.conflicts import Claims, check_columns
from airflow_provider_lakehouse.core.tables.delta.protocol import check_removal, check_writable
from airflow_provider_lakehouse.core.tables.delta.repeats import repeated
from airflow_provider_lakehouse.core.tables.delta.stage import ended, notes
from airflow_provider_lakehouse.core.tables.delta.state import file_uri

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.tables.delta.commit import Line
    from airflow_provider_lakehouse.core.tables.delta.log import Action, Commit
    from airflow_provider_lakehouse.core.tables.delta.stage import Branch
    from airflow_provider_lakehouse.core.tables.delta.state import LiveFile, TableState
    from airflow_provider_lakehouse.core.tables.storage import Storage

BRANCH: Final = "branch"
"""Member of a publication's note that holds the number of its branch."""
_NOTHING_CREATED: Final[tuple[str, ...]] = ()


@dataclass(frozen=True)
class PublishDraft:
    """The publication of a branch: one commit of what its entries come to.

    Args:
        branch: Sealed.
        staged: Its newest state.
        token: Names the publication.
        table: For messages.
        is_audited: Whether the branch was audited: rows that the main branch got meanwhile were not, together with it.
    """

    branch: Branch
    staged: TableState
    token: WriteToken
    table: str
    is_audited: bool = False
    created = _NOTHING_CREATED

    def resolve(self, line: Line, state: TableState) -> Resolved:
        """Bring the publication to the newest state of the main branch."""
        check_writable(state.protocol, state.metadata.properties, state.metadata.fields, table=self.table)
        if state.transaction(self.branch.application) is not None:
            raise InvalidRequestError(
                f"Branch {self.branch.name!r} of {self.table!r} has ended already. Stage again.",
                branch=self.branch.name,
            )
        commits = line.commits_after(self.branch.base, state)
        if commits is None:
            raise ConflictError(
                f"The log of {self.table!r} no longer tells what happened since branch {self.branch.name!r} left it. "
                "Drop the branch and stage again.",
                branch=self.branch.name,
            )
        require_new(self.branch, commits, table=self.table)
        if self.is_audited:
            require_unmoved(self.branch, commits, table=self.table)
        gone = self.branch.removals()
        self._check(commits, state, gone)
        at_ms = now_ms()
        removed = [file for file in state.files() if file.path in gone] if gone else []
        actions = [
            *self._schema_actions(commits, state),
            *(file.to_removal(at_ms) for file in removed),
            *({"add": action} for action in self.branch.additions().values()),
            ended(self.branch, taken_over=True, at_ms=at_ms),
        ]
        batches = [{"pipeline": write.token.pipeline, "batch": write.token.batch} for write in self._staged()]
        extra = {BRANCH: self.branch.number, PUBLISHED_WRITES: batches}
        note = CommitNote("PUBLISH", {"branch": self.branch.name}, self._writes(state), extra=extra)
        return Resolved(note, tuple(actions))

    def _check(self, commits: tuple[Commit, ...], state: TableState, gone: frozenset[str]) -> None:
        files = frozenset(file_uri(path, state.location) for path in gone)
        Claims(files).check(commits, state, table=self.table)
        for note in notes(self.branch):
            Claims.from_note(note).check(commits, state, table=self.table)

    def _schema_actions(self, commits: tuple[Commit, ...], state: TableState) -> tuple[Action, ...]:
        """Return the changes of metadata and protocol that were staged."""
        staged = [action for commit in self.branch.commits for action in commit.all("metaData")]
        if not staged:
            check_columns(self.staged.metadata, state.metadata, table=self.table)
            return ()
        if any(True for commit in commits for _ in (*commit.all("metaData"), *commit.all("protocol"))):
            raise ConflictError(
                f"The columns or properties of {self.table!r} changed on the main branch and on {self.branch.name!r}. "
                "Drop the branch and stage again.",
                branch=self.branch.name,
            )
        protocol = () if self.staged.protocol == state.protocol else (self.staged.protocol.to_action(),)
        return (*protocol, {"metaData": staged[-1]})

    def _writes(self, state: TableState) -> tuple[Write, ...]:
        """Return the publication and what was staged, but for batches that the main branch remembers higher ones of."""
        staged = self._staged()
        total = sum((write.counts for write in staged), Counts())
        newest = {write.token.key: write for write in staged if not write.is_overtaken(state)}
        return (Write(self.token, total), *newest.values())

    def _staged(self) -> list[Write]:
        return [
            Write(WriteToken(note["pipeline"], note["batch"]), _counts(note))
            for entry in notes(self.branch)
            for note in entry["writes"].values()
        ]


def require_new(branch: Branch, commits: tuple[Commit, ...], *, table: str) -> None:
    """Check that the main branch has nothing of what is staged.

    Args:
        branch: The branch.
        commits: Of the main branch, since the branch left it.
        table: For the message.

    Raises:
        ConflictError: It has: an attempt that was thought dead staged a batch again after it was published.
    """
    _, again = repeated(branch.commits, commits)
    if again:
        raise ConflictError(
            f"Branch {branch.name!r} of {table!r} holds a batch that the main branch has got meanwhile. Drop the branch.",
            table=table,
            branch=branch.name,
            batches=again,
        )


def require_unmoved(branch: Branch, commits: tuple[Commit, ...], *, table: str) -> None:
    """Check that readers see the rows that the branch started from: what was audited is those and what is staged.

    Args:
        branch: The branch.
        commits: Of the main branch, since the branch left it.
        table: For the message.

    Raises:
        ConflictError: Rows came or went.
    """
    moved = [commit.version for commit in commits if _changes_rows(commit)]
    if moved:
        raise ConflictError(
            f"The rows of {table!r} changed since branch {branch.name!r} was staged, and were not audited with it. "
            "Drop the branch, and stage the batch again.",
            table=table,
            branch=branch.name,
            version=moved[-1],
        )


def _changes_rows(commit: Commit) -> bool:
    return any(action.get("dataChange", True) for kind in ("add", "remove") for action in commit.all(kind))


@dataclass(frozen=True)
class EndDraft:
    """A commit that changes nothing but that a branch, sealed to be published, can no longer be."""

    branch: Branch
    token: WriteToken
    created = _NOTHING_CREATED

    def resolve(self, line: Line, state: TableState) -> Resolved:
        """Bring the end to the newest state."""
        del line
        if state.transaction(self.branch.application) is not None:
            raise ConflictError(f"Branch {self.branch.name!r} has ended meanwhile. Run again.", branch=self.branch.name)
        note = CommitNote("DROP BRANCH", {"branch": self.branch.name}, (Write(self.token, Counts()),))
        return Resolved(note, (ended(self.branch, taken_over=False, at_ms=now_ms()),), blind=True)


def _counts(note: Action) -> Counts:
    return Counts(**{name: note[name] for name in Counts.__dataclass_fields__})


def published_branch(commit: Commit | None) -> int | None:
    """Return the number of the branch that a commit published; None where it published none."""
    return None if commit is None else commit.info.get(NOTE, {}).get(BRANCH)


@dataclass(frozen=True)
class RollBackDraft:
    """The return to an older state.

    Args:
        target: The state.
        token: Names the rollback.
        table: For messages.
        storage: Where the data files are.
    """

    target: TableState
    token: WriteToken
    table: str
    storage: Storage
    created = _NOTHING_CREATED

    def resolve(self, line: Line, state: TableState) -> Resolved:
        """Bring the return to the newest state. Columns and properties stay as they are now."""
        del line
        properties, names = state.metadata.properties, state.metadata.schema.names
        check_writable(state.protocol, properties, state.metadata.fields, table=self.table)
        check_removal(properties, by_row=False, table=self.table)
        self._check_shape(state)
        wanted = {file.path: file for file in self.target.files(columns=names)}
        present = {file.path: file for file in state.files()}
        if any(file.removed is not None for file in (*wanted.values(), *present.values())):
            raise UnsupportedError(
                "A rollback over deletion vectors is not supported. Use RESTORE of Spark.", feature="deletionVectors"
            )
        back = [file for path, file in wanted.items() if path not in present]
        gone = [file for path, file in present.items() if path not in wanted]
        self._check_files(back)
        counts = Counts(rows_in(back), rows_in(gone), len(back), len(gone), sum(file.size_bytes for file in back))
        at_ms = now_ms()
        actions = (*(file.to_removal(at_ms) for file in gone), *map(readdition, back))
        version = self.target.version
        note = CommitNote("RESTORE", {"version": str(version)}, (Write(self.token, counts),), {"to": str(version)})
        return Resolved(note, actions)

    def _check_shape(self, state: TableState) -> None:
        now = {column.name: column.type for column in state.metadata.schema.columns}
        then = self.target.metadata
        same = then.id == state.metadata.id and then.partition_columns == state.metadata.partition_columns
        if not same or any(now.get(column.name) != column.type for column in then.schema.columns):
            raise UnsupportedError(
                f"Table {self.table!r} had other columns or partitions then. Read that version into a new table.",
                table=self.table,
                version=self.target.version,
            )

    def _check_files(self, files: list[LiveFile]) -> None:
        location = self.target.location
        lost = sum(not self.storage.exists(file.uri(location)) for file in files)
        if lost:
            raise InvalidRequestError(
                f"Version {self.target.version} of {self.table!r} is no longer complete: its files were vacuumed. "
                "Choose a newer one.",
                table=self.table,
                version=self.target.version,
                files=lost,
            )
