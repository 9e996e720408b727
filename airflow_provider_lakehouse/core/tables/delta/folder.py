"""The small files of a Delta table's folder: read, listed, removed, and put where there is none."""

from __future__ import annotations

import random
import time
import uuid
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from airflow_provider_lakehouse.core.errors import (
    InvalidRequestError,
    LakehouseError,
    OutcomeUnknownError,
    UnavailableError,
    UnsupportedError,
)
from airflow_provider_lakehouse.core.tables.base import no_probe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from obstore.store import ObjectStore, S3Config

    from airflow_provider_lakehouse.core.tables.base import Probe

_PUT_ATTEMPTS: Final = 5
_READ_RETRIES: Final = 5
_FIRST_WAIT_SECONDS: Final = 0.2
_TRUE: Final = ("true", "1", "yes")


class LostRaceError(Exception):
    """Another writer has put the entry; nothing was written. Never leaves the backend."""


class TableFolder:
    """The folder of a table.

    Args:
        location: Its URI.
        properties: Of the catalog; for S3 the names that start with `s3.`.
        probe: Called around every call that leaves the process.
    """

    def __init__(self, location: str, *, properties: Mapping[str, str], probe: Probe = no_probe) -> None:
        self.location = location.rstrip("/")
        self.probe = probe
        self._properties = properties

    @property
    def is_local(self) -> bool:
        """True on a file system, where an answer is never lost."""
        return self.location.startswith("file://")

    @property
    def path(self) -> str:
        """The table's folder as delta-rs wants it: a path on a file system, else the location."""
        return self.location.removeprefix("file://")

    @property
    def _has_folder(self) -> bool:
        return not self.is_local or Path(self.path).is_dir()

    @cached_property
    def _store(self) -> ObjectStore:
        return self._open(retries=_READ_RETRIES)

    @cached_property
    def _writing_store(self) -> ObjectStore:
        """The store for puts: a request is sent once, so that an answer that is lost is known to be lost."""
        return self._open(retries=0)

    def _open(self, *, retries: int) -> ObjectStore:
        from obstore.store import LocalStore, S3Store

        if self.is_local:
            return LocalStore(prefix=self.path, mkdir=True)
        arguments = _s3_options(self._properties)
        plain = arguments.pop("allow_http") == "true"
        return S3Store.from_url(
            self.location,
            config=cast("S3Config", arguments),
            client_options={"allow_http": plain},
            retry_config={"max_retries": retries},
        )

    @property
    def delta_options(self) -> dict[str, str] | None:
        """Settings of the storage as delta-rs names them; None on a file system."""
        if self.is_local:
            return None
        return {f"aws_{name}": value for name, value in _s3_options(self._properties).items()}

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
        from obstore.exceptions import BaseError

        cause: Exception | None = None
        for attempt in range(_PUT_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0.5, 1) * _FIRST_WAIT_SECONDS * 2**attempt)  # noqa: S311
            try:
                self._put_once(path, content)
            except (BaseError, OSError, LakehouseError) as error:
                if attempt == 0:
                    _raise_if_denied(error, self.location)
                cause = error
            else:
                return
        if self.is_local:
            raise UnavailableError("The file system did not take the entry. Run again later.", path=path) from cause
        raise OutcomeUnknownError(
            "The storage did not say whether a commit was written. Run again with the same token.",
            location=self.location,
            path=path,
        ) from cause

    def _put_once(self, path: str, content: bytes) -> None:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            self._writing_store.put(path, content, mode="create", use_multipart=False)
        except (AlreadyExistsError, PreconditionError) as error:
            if self.get(path) != content:
                raise LostRaceError from error

    def check_puts(self) -> None:
        """Check that the storage refuses to put what is there.

        Raises:
            UnsupportedError: It takes a second put, so that racing commits would overwrite one another.
        """
        if self.is_local:
            return
        path = f"_lakehouse/put-if-absent-{uuid.uuid4().hex}"
        self.probe("before delta.check")
        try:
            self.put(path, b"first")
            self.put(path, b"second")
        except LostRaceError:
            return
        else:
            raise UnsupportedError(
                "The storage ignores 'If-None-Match', so commits to a Delta table could overwrite one another. "
                "Use a storage with conditional writes.",
                location=self.location,
            )
        finally:
            self.delete((path,))
            self.probe("after delta.check")

    def get(self, path: str) -> bytes | None:
        """Return the content of a small file below the table's folder; None where there is none."""
        from obstore.exceptions import NotFoundError

        if not self._has_folder:
            return None
        self.probe("before delta.get")
        try:
            with translated_store(self.location):
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
            with translated_store(self.location):
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
                with translated_store(self.location):
                    self._store.delete(path)
            except (NotFoundError, FileNotFoundError):
                pass
            self.probe("after delta.delete")


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


@contextmanager
def translated_store(uri: str) -> Iterator[None]:
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
