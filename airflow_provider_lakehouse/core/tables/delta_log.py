"""The log of a Delta table: its newest state by delta-rs, its commits one by one, and the next one put if absent.

Commits are written here and not by delta-rs, which cannot remove chosen files and stores transactions without looking
at them.
Source: Delta transaction log protocol, section "Delta Log Entries".
"""

from __future__ import annotations

import json
import logging
import random
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import (
    DamagedError,
    InvalidRequestError,
    LakehouseError,
    OutcomeUnknownError,
    UnavailableError,
    UnsupportedError,
)
from airflow_provider_lakehouse.core.tables.base import no_probe
from airflow_provider_lakehouse.core.tables.delta_values import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from deltalake import DeltaTable
    from obstore.store import ObjectStore

    from airflow_provider_lakehouse.core.tables.base import Probe

LOG: Final = "_delta_log"
_COMMIT = re.compile(r"_delta_log/(\d{20})\.json\Z")
_PUT_ATTEMPTS: Final = 5
_FIRST_WAIT_SECONDS: Final = 0.2
_TRUE: Final = ("true", "1", "yes")
logger = logging.getLogger(__name__)

type Action = dict[str, Any]


class LostRaceError(Exception):
    """Another writer has put the entry; nothing was written. Never leaves the backend."""


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
        self.location = location.rstrip("/")
        self.table = table
        self.probe = probe
        self._properties = properties

    @property
    def is_local(self) -> bool:
        """True on a file system, where an answer is never lost."""
        return self.location.startswith("file://")

    @property
    def folder(self) -> str:
        """The table's folder as delta-rs wants it: a path on a file system, else the location."""
        return self.location.removeprefix("file://")

    @property
    def _has_folder(self) -> bool:
        return not self.is_local or Path(self.folder).is_dir()

    @cached_property
    def _store(self) -> ObjectStore:
        from obstore.store import LocalStore, S3Store

        if self.is_local:
            return LocalStore(prefix=self.folder, mkdir=True)
        arguments = _s3_options(self._properties)
        plain = arguments.pop("allow_http") == "true"
        return S3Store.from_url(self.location, config=arguments, client_options={"allow_http": plain})

    def exists(self) -> bool:
        """Tell whether there is a log."""
        return bool(self.list(LOG))

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
            with _translated(self.location):
                options = None if self.is_local else _delta_options(self._properties)
                loaded = DeltaTable(self.folder, version=version, storage_options=options)
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
        if self.is_local and "%" in self.folder:
            raise UnsupportedError(
                "delta-rs cannot open a local folder with '%' in its path. Rename it.", path=self.folder
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
        content = self.get(f"{LOG}/{version:020d}.json")
        return None if content is None else Commit(version, parse_actions(content, self.table))

    def commits_between(self, after: int, last: int) -> tuple[Commit, ...] | None:
        """Return the commits from the one after `after` to `last`; None where the log no longer has one of them."""
        found = tuple(self.commit_at(version) for version in range(after + 1, last + 1))
        return None if None in found else found  # type: ignore[return-value]

    def versions(self) -> tuple[int, ...]:
        """Return the versions whose commits the log still has, ascending."""
        return tuple(sorted(int(found[1]) for found in map(_COMMIT.search, self.list(LOG)) if found))

    def put_commit(self, commit: Commit) -> None:
        """Add the next commit to the log.

        Raises:
            LostRaceError: Another writer has added it.
            OutcomeUnknownError: The storage does not say whether it was written.
        """
        self.probe("before delta.commit")
        self.put(f"{LOG}/{commit.version:020d}.json", commit.to_bytes())
        self.probe("after delta.commit")

    def put(self, path: str, content: bytes) -> None:
        """Write a small file below the table's folder unless it is there.

        A request whose answer is lost is repeated with the same content: of any number of them one takes effect.

        Args:
            path: Relative to the table's folder.
            content: Distinct from what any other writer would write.

        Raises:
            LostRaceError: There is such a file with other content.
            UnavailableError: It was not written.
            OutcomeUnknownError: The storage does not say whether it was written.
        """
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        cause: Exception | None = None
        for attempt in range(_PUT_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0.5, 1) * _FIRST_WAIT_SECONDS * 2**attempt)  # noqa: S311
            try:
                self._store.put(path, content, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError) as error:
                if self.get(path) == content:
                    return
                raise LostRaceError from error
            except (BaseError, OSError) as error:
                _raise_if_denied(error, self.location)
                cause = error
            else:
                return
        if self.is_local:
            raise UnavailableError("The file system did not take the entry. Run again later.", path=path) from cause
        raise OutcomeUnknownError(
            f"The storage did not say whether a commit to {self.table!r} was written. Run again with the same token.",
            table=self.table,
            path=path,
        ) from cause

    def get(self, path: str) -> bytes | None:
        """Return the content of a small file below the table's folder; None where there is none."""
        from obstore.exceptions import NotFoundError

        if not self._has_folder:
            return None
        self.probe("before delta.get")
        try:
            with _translated(self.location):
                content = bytes(self._store.get(path).bytes())
        except (NotFoundError, FileNotFoundError):
            content = None
        self.probe("after delta.get")
        return content

    def list(self, folder: str) -> tuple[str, ...]:
        """Return the paths of the files below a folder of the table's, relative to the table's, sorted."""
        from obstore.exceptions import NotFoundError

        if not self._has_folder:
            return ()
        self.probe("before delta.list")
        try:
            with _translated(self.location):
                pages = [[entry["path"] for entry in page] for page in self._store.list(f"{folder}/")]
        except (NotFoundError, FileNotFoundError):
            pages = []
        self.probe("after delta.list")
        return tuple(sorted(path for page in pages for path in page))

    def delete(self, paths: tuple[str, ...]) -> None:
        """Remove files below the table's folder, in this order; one that is not there is fine."""
        from obstore.exceptions import NotFoundError

        for path in paths:
            self.probe("before delta.delete")
            try:
                with _translated(self.location):
                    self._store.delete(path)
            except (NotFoundError, FileNotFoundError):
                pass
            self.probe("after delta.delete")

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


def _s3_options(properties: Mapping[str, str]) -> dict[str, str]:
    """Return object_store's settings of S3 from Iceberg's property names."""
    endpoint = properties.get("s3.endpoint", "")
    by_path = properties.get("s3.path-style-access", "true").lower() in _TRUE
    settings = {
        "access_key_id": properties.get("s3.access-key-id"),
        "secret_access_key": properties.get("s3.secret-access-key"),
        "session_token": properties.get("s3.session-token"),
        "region": properties.get("s3.region"),
        "endpoint": endpoint or None,
        "virtual_hosted_style_request": "false" if by_path else "true",
        "allow_http": "true" if endpoint.startswith("http://") else "false",
    }
    return {name: value for name, value in settings.items() if value is not None}


def _delta_options(properties: Mapping[str, str]) -> dict[str, str]:
    return {f"aws_{name}": value for name, value in _s3_options(properties).items()}


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    """Turn what object stores raise into one of the seven kinds; what is not there passes."""
    from obstore.exceptions import BaseError, NotFoundError

    try:
        yield
    except (NotFoundError, FileNotFoundError):
        raise
    except (BaseError, OSError) as error:
        _raise_if_denied(error, uri)
        raise UnavailableError(
            "The storage did not answer as it should. Run again later.", uri=uri, cause=type(error).__name__
        ) from error


def _raise_if_denied(error: Exception, uri: str) -> None:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    if isinstance(error, (PermissionDeniedError, UnauthenticatedError, PermissionError)):
        raise InvalidRequestError(
            "Access is denied. Check the credentials' rights on this location.", uri=uri
        ) from error
