"""The log of a Delta table: its newest state by delta-rs, its commits one by one, and the next one put if absent.

Commits are written here and not by delta-rs, which cannot remove chosen files and stores transactions without looking
at them.
Source: Delta transaction log protocol, section "Delta Log Entries".
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import (
    DamagedError,
    InvalidRequestError,
    LakehouseError,
    UnsupportedError,
)
from airflow_provider_lakehouse.core.tables.base import no_probe
from airflow_provider_lakehouse.core.tables.delta.folder import TableFolder, translated_store
from airflow_provider_lakehouse.core.tables.delta.values import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from deltalake import DeltaTable

    from airflow_provider_lakehouse.core.tables.base import Probe

LOG: Final = "_delta_log"
_COMMIT = re.compile(r"_delta_log/(\d{20})\.json\Z")
logger = logging.getLogger(__name__)

type Action = dict[str, Any]


@dataclass(frozen=True)
class Commit:
    """One commit, as the log holds it.

    Args:
        version: Its number.
        actions: Its lines.
    """

    version: int
    actions: tuple[Action, ...]

    def all(self, kind: str) -> Iterator[Action]:
        """Yield the content of every action of a kind, such as `add`."""
        return (action[kind] for action in self.actions if kind in action)

    @cached_property
    def info(self) -> Action:
        """What the writer noted; empty where it noted nothing."""
        return next(self.all("commitInfo"), {})

    @property
    def committed_at(self) -> datetime | None:
        """When; None where the writer did not note it."""
        at = self.info.get("inCommitTimestamp", self.info.get("timestamp"))
        return instant(at) if at is not None else None

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        return "\n".join(to_json(action) for action in self.actions).encode()


def instant(milliseconds: int) -> datetime:
    """Return the instant of a number of milliseconds since 1970."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def milliseconds(at: datetime) -> int:
    """Return the milliseconds since 1970."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


class DeltaLog:
    """The log of one table.

    Args:
        location: URI of the table's folder.
        table: Name of the table, for messages.
        properties: Of the catalog; for S3 the names that start with `s3.`.
        probe: Called around every call that leaves the process.
    """

    def __init__(self, location: str, *, table: str, properties: Mapping[str, str], probe: Probe = no_probe) -> None:
        self.files = TableFolder(location, properties=properties, probe=probe)
        self.table = table
        self.probe = probe

    @property
    def location(self) -> str:
        """URI of the table's folder."""
        return self.files.location

    def exists(self) -> bool:
        """Tell whether there is a log."""
        return bool(self.files.list(LOG))

    def load(self, version: int | None = None) -> DeltaTable:
        """Return the table as delta-rs sees it.

        Args:
            version: None for the newest.

        Raises:
            InvalidRequestError: There is no such table or version.
            UnsupportedError: It uses a feature that delta-rs does not know.
            DamagedError: The log cannot be read.
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        self.refuse_folder()
        self.probe("before delta.load")
        try:
            with translated_store(self.location):
                options = self.files.delta_options
                loaded = DeltaTable(self.files.path, version=version, storage_options=options)
        except TableNotFoundError as error:
            raise self._missing() from error
        except DeltaError as error:
            raise self._refused(str(error), version) from error
        self.probe("after delta.load")
        return loaded

    def refuse_folder(self) -> None:
        """Refuse folders that delta-rs cannot open.

        Raises:
            UnsupportedError: There is a percent sign in a local path, which delta-rs decodes.
        """
        if self.files.is_local and "%" in self.files.path:
            raise UnsupportedError(
                "delta-rs cannot open a local folder with '%' in its path. Rename it.", path=self.files.path
            )

    def _missing(self) -> InvalidRequestError:
        return InvalidRequestError(f"There is no Delta table {self.table!r}. Create it.", table=self.table)

    def _refused(self, cause: str, version: int | None) -> LakehouseError:
        if "nsupported" in cause or "not supported" in cause or "catalog-managed" in cause:
            return UnsupportedError(
                f"Delta table {self.table!r} uses what delta-rs does not know. Use an engine that knows it.",
                table=self.table,
                cause=cause[:200],
            )
        if not self.exists():
            return self._missing()
        if version is not None:
            return InvalidRequestError(
                f"Table {self.table!r} has no version {version}, or no longer. Choose another.",
                table=self.table,
                version=version,
            )
        return DamagedError(
            f"The log of Delta table {self.table!r} cannot be read. Look at it.", table=self.table, cause=cause[:200]
        )

    def commit_at(self, version: int) -> Commit | None:
        """Return a commit; None where the log no longer, or not yet, has it."""
        content = self.files.get(f"{LOG}/{version:020d}.json")
        return None if content is None else Commit(version, parse_actions(content, self.table))

    def commits_between(self, after: int, last: int) -> tuple[Commit, ...] | None:
        """Return the commits from the one after `after` to `last`; None where the log no longer has one of them."""
        found = tuple(self.commit_at(version) for version in range(after + 1, last + 1))
        return None if None in found else found  # type: ignore[return-value]

    def versions(self) -> tuple[int, ...]:
        """Return the versions whose commits the log still has, ascending."""
        return tuple(sorted(int(found[1]) for found in map(_COMMIT.search, self.files.list(LOG)) if found))

    def put_commit(self, commit: Commit) -> None:
        """Add the next commit to the log.

        Raises:
            LostRaceError: Another writer has added it.
            OutcomeUnknownError: The storage does not say whether it was written.
        """
        self.probe("before delta.commit")
        self.files.put(f"{LOG}/{commit.version:020d}.json", commit.to_bytes())
        self.probe("after delta.commit")

    def checkpoint(self, version: int) -> None:
        """Write a checkpoint; a failure is logged, because the commit stands without it."""
        from deltalake.exceptions import DeltaError

        self.probe("before delta.checkpoint")
        try:
            self.load(version).create_checkpoint()
        except (DeltaError, LakehouseError, OSError, ValueError) as error:
            logger.warning("No checkpoint of %s at version %s: %s", self.table, version, type(error).__name__)
        self.probe("after delta.checkpoint")


def parse_actions(content: bytes, table: str) -> tuple[Action, ...]:
    """Read the lines of a commit.

    Raises:
        DamagedError: They are no JSON.
    """
    try:
        return tuple(json.loads(line) for line in content.splitlines() if line.strip())
    except ValueError as error:
        raise DamagedError(f"A commit of Delta table {table!r} is no JSON. Look at its log.", table=table) from error
