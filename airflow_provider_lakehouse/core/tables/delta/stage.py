"""Branches of a Delta table: prepared commits beside the log, published as one commit of what they come to.

Delta has no branches, so they are kept by the provider, in `_lakehouse/branches` of the table's folder. A branch is a
pointer, `<name>.json`, that says from which version of the main branch it starts, and a log of its own,
`<name>/<number>/<entry>.json`, to which entries are added by put-if-absent as in Delta's. Its data files lie where
they will stay. The last entry of a branch may seal it, to be published or dropped; nothing is staged on it from then
on. Other tools see none of this: vacuum with "full" removes data files of branches that are older than its retention.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError
from airflow_provider_lakehouse.core.tables.delta.actions import NOTE, application, now_ms, recorded
from airflow_provider_lakehouse.core.tables.delta.commit import MainLine
from airflow_provider_lakehouse.core.tables.delta.folder import LostRaceError
from airflow_provider_lakehouse.core.tables.delta.log import Commit, instant, parse_actions
from airflow_provider_lakehouse.core.tables.delta.metadata import Metadata
from airflow_provider_lakehouse.core.tables.delta.protocol import Protocol
from airflow_provider_lakehouse.core.tables.delta.repeats import repeated
from airflow_provider_lakehouse.core.tables.delta.state import TableState, file_uri

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from airflow_provider_lakehouse.core.tables.base import CommitResult, WriteToken
    from airflow_provider_lakehouse.core.tables.delta.log import Action, DeltaLog
    from airflow_provider_lakehouse.core.tables.storage import Storage

FOLDER: Final = "_lakehouse/branches"
FIRST_BRANCH_VERSION: Final = 2**52
"""Versions from here on belong to branches: 31 bits tell which, 20 bits after how many entries. They fit a double."""
_ENTRY_BITS: Final = 20
_NUMBER_BITS: Final = 31
_LONGEST_NAME: Final = 240
_PLAIN: Final = re.compile(r"[A-Za-z0-9-]")
_POINTER: Final = re.compile(rf"{FOLDER}/([^/]+)\.json\Z")
DROPPED: Final = "drop"
PUBLISHED: Final = "publish"


def file_name(name: str) -> str:
    """Return a name as a file name that no two names share.

    Example:
        >>> file_name("month end/é")
        'month~20~end~2f~~e9~'
    """
    spelled = "".join(c if _PLAIN.match(c) else f"~{ord(c):x}~" for c in name)
    if len(spelled) <= _LONGEST_NAME:
        return spelled
    return f"{spelled[: _LONGEST_NAME - 66]}~~{hashlib.sha256(name.encode()).hexdigest()}"


@dataclass(frozen=True)
class Branch:
    """A branch.

    Args:
        name: As its user calls it.
        number: Chosen at random when it was started.
        base: Version of the main branch it starts from.
        entries: Its log, seals included.
    """

    name: str
    number: int
    base: int
    entries: tuple[Commit, ...] = ()

    @property
    def first_version(self) -> int:
        """The version before any entry."""
        return FIRST_BRANCH_VERSION + (self.number << _ENTRY_BITS)

    @property
    def version(self) -> int:
        """The newest version."""
        return self.first_version + len(self.commits)

    @cached_property
    def commits(self) -> tuple[Commit, ...]:
        """The entries that are no seals."""
        return tuple(entry for entry in self.entries if "sealed" not in entry.info[NOTE])

    @property
    def seal(self) -> str | None:
        """What the branch is sealed for; None while it can be staged on."""
        return self.entries[-1].info[NOTE].get("sealed") if self.entries else None

    @property
    def application(self) -> str:
        """Application id under which the main branch's log remembers that the branch has ended."""
        return f"lakehouse:branch:{self.number:08x}"

    @property
    def pointer(self) -> str:
        """Path of its pointer."""
        return f"{FOLDER}/{file_name(self.name)}.json"

    @property
    def folder(self) -> str:
        """Path of its log."""
        return f"{FOLDER}/{file_name(self.name)}/{self.number:08x}"

    def entry_path(self, place: int) -> str:
        """Return the path of an entry, counted from zero."""
        return f"{self.folder}/{place:020d}.json"

    def to_bytes(self) -> bytes:
        """Return the pointer's content."""
        return json.dumps({"name": self.name, "number": self.number, "base": self.base}).encode()

    def additions(self, entries: tuple[Commit, ...] | None = None) -> dict[str, Action]:
        """Return the `add` actions that count after entries, by path."""
        live: dict[str, Action] = {}
        for commit in self.commits if entries is None else entries:
            for action in commit.all("remove"):
                live.pop(action["path"], None)
            live.update({action["path"]: action for action in commit.all("add")})
        return live

    def all_additions(self) -> frozenset[str]:
        """Return the paths of all data files that were ever staged."""
        return frozenset(action["path"] for commit in self.commits for action in commit.all("add"))

    def removals(self, entries: tuple[Commit, ...] | None = None) -> frozenset[str]:
        """Return the paths of the files of the main branch that entries remove."""
        chosen = self.commits if entries is None else entries
        return frozenset(action["path"] for commit in chosen for action in commit.all("remove")) - self.all_additions()

    def state(self, log: DeltaLog, *, version: int | None = None) -> TableState:
        """Return a state of the branch.

        Args:
            log: The table's.
            version: One of the branch's; None for the newest.
        """
        commits = self.commits if version is None else self.commits[: version - self.first_version]
        state = TableState.load(log, self.base)
        for commit in commits:
            for action in commit.all("metaData"):
                state = replace(state, metadata=Metadata.from_action(action))
            for action in commit.all("protocol"):
                state = replace(state, protocol=_protocol(action))
        return replace(
            state,
            version=self.first_version + len(commits),
            hidden=self.removals(commits),
            added=tuple(self.additions(commits).values()),
        )

    def find(self, token: WriteToken) -> tuple[CommitResult, Commit] | None:
        """Return what a token staged."""
        for commit in reversed(self.commits):
            for action in commit.all("txn"):
                if action["appId"] == application(token) and _covers(action["version"], token):
                    result = recorded(commit, token, version=commit.version, otherwise=instant(0))
                    return result, commit
        return None


def _covers(version: int, token: WriteToken) -> bool:
    return not isinstance(token.batch, int) or version >= token.batch


def _protocol(action: Action) -> Protocol:
    features = (tuple(action.get(f"{kind}Features", ())) for kind in ("reader", "writer"))
    return Protocol(action["minReaderVersion"], action["minWriterVersion"], *features)


class Branches:
    """The branches of a table.

    Args:
        log: The table's.
        storage: Where its data files are.
    """

    def __init__(self, log: DeltaLog, storage: Storage) -> None:
        self._log = log
        self._storage = storage

    def all(self) -> tuple[Branch, ...]:
        """Return the branches that are not dropped."""
        listed = self._log.files.list(FOLDER)
        found = (self._read(path, listed) for path in listed if _POINTER.match(path))
        return tuple(branch for branch in found if branch is not None and branch.seal != DROPPED)

    def get(self, name: str) -> Branch | None:
        """Return a branch; None where there is none. One that is dropped, but not yet gone, is returned."""
        return self._read(f"{FOLDER}/{file_name(name)}.json", None)

    def of_version(self, version: int) -> Branch:
        """Return the branch that a version belongs to.

        Raises:
            InvalidRequestError: There is none.
        """
        for branch in self.all():
            if branch.first_version <= version <= branch.version:
                return branch
        raise InvalidRequestError(f"Table {self._log.table!r} has no such version. Choose another.", version=version)

    def require(self, name: str) -> Branch:
        """Return a branch.

        Raises:
            InvalidRequestError: There is none.
        """
        branch = self.get(name)
        if branch is None or branch.seal == DROPPED:
            raise InvalidRequestError(
                f"Table {self._log.table!r} has no branch {name!r}. Stage something on it first.",
                table=self._log.table,
                branch=name,
            )
        return branch

    def start(self, name: str, *, base: int) -> Branch:
        """Return a new branch that nobody knows of yet."""
        return Branch(name, random.getrandbits(_NUMBER_BITS), base)

    def point(self, branch: Branch) -> None:
        """Make a branch known, or raise `LostRaceError`."""
        self._log.files.put(branch.pointer, branch.to_bytes())

    def add_entry(self, branch: Branch, entry: Commit) -> None:
        """Add an entry to a branch's log, or raise `LostRaceError`."""
        self._log.files.put(branch.entry_path(len(branch.entries)), entry.to_bytes())

    def require_pointed(self, branch: Branch) -> None:
        """Raise `LostRaceError`, and take the entry just added away, when the branch ended before it was added."""
        if self._log.files.get(branch.pointer) != branch.to_bytes():
            self._log.files.delete((branch.entry_path(len(branch.entries)),))
            raise LostRaceError

    def seal(self, branch: Branch, purpose: str) -> Branch:
        """Return a branch, sealed for a purpose: nothing is staged on it from here on.

        Raises:
            ConflictError: It moved meanwhile.
        """
        if branch.seal in (purpose, DROPPED):
            return branch
        info = {"timestamp": now_ms(), "operation": "SEAL", NOTE: {"sealed": purpose, "attempt": random.random()}}  # noqa: S311
        entry = Commit(branch.version, ({"commitInfo": info},))
        self._log.probe("before delta.seal")
        try:
            self.add_entry(branch, entry)
        except LostRaceError as error:
            raise ConflictError(f"Branch {branch.name!r} moved. Run again.", branch=branch.name) from error
        self._log.probe("after delta.seal")
        return replace(branch, entries=(*branch.entries, entry))

    def remove(self, branch: Branch, *, keep: frozenset[str]) -> None:
        """Remove a branch that has ended, with its data files.

        The pointer goes last but for the entries: until then a rerun finds what is left to do.

        Args:
            branch: Sealed.
            keep: Paths of data files that the main branch has taken over.
        """
        location = self._log.location
        self._log.probe("before delta.clear")
        self._storage.delete(file_uri(path, location) for path in sorted(branch.all_additions() - keep))
        self._log.probe("after delta.clear")
        entries = tuple(branch.entry_path(place) for place in range(len(branch.entries)))
        pointed = self._log.files.get(branch.pointer) == branch.to_bytes()  # a newer branch of the name is another's
        self._log.files.delete((*([branch.pointer] if pointed else ()), *entries))

    def finished(self, branch: Branch) -> bool:
        """Tell whether a branch has ended, and if so remove what a killed attempt left of it."""
        taken_over = TableState.load(self._log).transaction(branch.application) if branch.seal else None
        if branch.seal != DROPPED and not taken_over:
            return False
        self.remove(branch, keep=frozenset(branch.additions()) if taken_over else frozenset())
        return True

    def _read(self, pointer: str, listed: tuple[str, ...] | None) -> Branch | None:
        content = self._log.files.get(pointer)
        if content is None:
            return None
        known = json.loads(content)
        branch = Branch(known["name"], known["number"], known["base"])
        paths = self._log.files.list(branch.folder) if listed is None else listed
        return replace(branch, entries=tuple(self._entries(branch, paths)))

    def _entries(self, branch: Branch, paths: tuple[str, ...]) -> Iterator[Commit]:
        place = 0
        for path in paths:
            if path == branch.entry_path(place):
                content = self._log.files.get(path) or b""
                place += 1
                yield Commit(branch.first_version + place, parse_actions(content, self._log.table))


class BranchLine:
    """A branch as something that can be committed to; see `Line`. It starts with its first commit.

    Args:
        name: The branch.
        log: The table's.
        branches: The table's.
    """

    is_main = False

    def __init__(self, name: str, log: DeltaLog, branches: Branches) -> None:
        self._name = name
        self._log = log
        self._branches = branches
        self._main = MainLine(log)
        self._branch = branches.start(name, base=0)
        self._is_known = False

    def load(self) -> TableState:
        """Return the newest state: the main branch's where the branch has not started."""
        branch = self._branches.get(self._name)
        if branch is not None and self._branches.finished(branch):
            branch = None
        if branch is not None and branch.seal is None and self._is_repeat(branch):
            self._branches.remove(self._branches.seal(branch, DROPPED), keep=frozenset())
            branch = None
        self._is_known = branch is not None
        if branch is None:
            state = self._main.load()
            self._branch = self._branches.start(self._name, base=state.version)
            return state
        if branch.seal == PUBLISHED:
            raise ConflictError(
                f"Branch {self._name!r} is being published. Publish or drop it, then stage again.", branch=self._name
            )
        self._branch = branch
        return branch.state(self._log)

    def _is_repeat(self, branch: Branch) -> bool:
        """Tell whether the main branch has by now got everything that is staged, so that it can never be published."""
        since = self._log.commits_between(branch.base, self._main.load().version)
        staged, again = repeated(branch.commits, since or ())
        return staged > 0 and staged == again

    def find(self, token: WriteToken, state: TableState) -> tuple[CommitResult, Commit | None] | None:
        """Return what a token wrote, here or on the main branch."""
        here = self._branch.find(token)
        if here is not None:
            return here
        return self._main.find(token, self._main.load() if self._is_known else state)

    def commits_after(self, base: int, state: TableState) -> tuple[Commit, ...] | None:
        """Return the commits after `base`: of the main branch up to where this one left it, and its own."""
        branch = self._branch
        if base >= FIRST_BRANCH_VERSION:
            if not branch.first_version <= base <= branch.version:
                raise InvalidRequestError(
                    f"Version {base} is not part of branch {self._name!r}. Decide again.", base=base
                )
            return branch.commits[base - branch.first_version :]
        if base > branch.base:
            raise InvalidRequestError(
                f"Version {base} came after branch {self._name!r} left the main one. Use the branch's own version.",
                base=base,
            )
        before = self._log.commits_between(base, branch.base)
        return None if before is None else (*before, *branch.commits)

    def next_version(self, state: TableState) -> int:
        """Return the number of the next commit."""
        return self._branch.version + 1

    def put(self, commit: Commit) -> None:
        """Add a commit; the first one starts the branch."""
        self._log.probe("before delta.stage")
        if not self._is_known:
            self._branches.point(self._branch)
            self._is_known = True
        self._branches.add_entry(self._branch, commit)
        self._log.probe("after delta.stage")
        self._branches.require_pointed(self._branch)
        branch = replace(self._branch, entries=(*self._branch.entries, commit))
        if self._is_repeat(branch):
            self._branches.remove(self._branches.seal(branch, DROPPED), keep=frozenset())
            raise LostRaceError


def ended(branch: Branch, *, taken_over: bool, at_ms: int) -> Action:
    """Return the action by which the main branch's log remembers that a branch was published, or cannot be any more."""
    return {"txn": {"appId": branch.application, "version": int(taken_over), "lastUpdated": at_ms}}


def staged_at(branch: Branch) -> datetime | None:
    """Return when the newest entry was staged; None where there is none."""
    return branch.commits[-1].committed_at if branch.commits else None


def notes(branch: Branch) -> tuple[dict[str, Any], ...]:
    """Return what the staged commits noted."""
    return tuple(commit.info[NOTE] for commit in branch.commits)
