"""Have the planned content of an object as a plain local file: the very bytes, decompressed, in UTF-8."""

from __future__ import annotations

import codecs
import gzip
import tempfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.sources.files.listing import (
    describe_local,
    describe_s3,
    local_path,
    open_s3,
    unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CHUNK_BYTES: Final = 4 * 1024 * 1024
_UTF8: Final = "utf-8"


class CorruptFileError(Exception):
    """A file cannot be read at all.

    Args:
        reason: Short and stable, such as `not valid utf-8`.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """An object to be read as it was planned.

    Args:
        uri: Which.
        identity: Its content.
        size_bytes: Its size.
        format: `csv`, `jsonl`, `parquet` or `avro`.
    """

    uri: str
    identity: str
    size_bytes: int
    format: str

    @property
    def is_compressed(self) -> bool:
        """True when its name says that it is compressed as a whole."""
        return self.uri.lower().endswith(".gz")

    @property
    def is_text(self) -> bool:
        """True for formats of text."""
        return self.format in ("csv", "jsonl")


def no_longer_as_planned(uri: str) -> DataRejectedError:
    """Return the error for a file that is gone, or has other content than was planned."""
    return DataRejectedError(
        "A file is no longer as planned. Plan again: its new content is another object.", uri=uri, changed=(uri,)
    )


def check_unchanged(file: PlannedFile) -> None:
    """Check that a local file has the planned content; objects on S3 are checked while they are copied.

    Raises:
        DataRejectedError: It is gone or was written again; the fact `changed` names it.
    """
    if not file.uri.startswith("file://"):
        return
    try:
        found = describe_local(local_path(file.uri))
    except FileNotFoundError as error:
        raise no_longer_as_planned(file.uri) from error
    if found.identity != file.identity:
        raise no_longer_as_planned(file.uri)


def plain_copy(file: PlannedFile, *, folder: str, encoding: str, properties: Mapping[str, str]) -> str:
    """Return the path of a plain local file with the planned content; the file itself where it is one.

    Args:
        file: What to read.
        folder: Where a copy goes, under a name of its own.
        encoding: Of texts; the copy is in UTF-8.
        properties: For S3.

    Raises:
        CorruptFileError: It cannot be decompressed or decoded.
        DataRejectedError: It is gone or was written again; the fact `changed` names it.
        UnavailableError: The storage did not answer.
    """
    check_unchanged(file)
    is_remote = not file.uri.startswith("file://")
    is_foreign = file.is_text and _codec(encoding) != _UTF8
    if not (is_remote or file.is_compressed or is_foreign):
        return local_path(file.uri)
    with opened(file, properties) as source, tempfile.NamedTemporaryFile(dir=folder, delete=False) as target:
        for chunk in _decoded(_decompressed(source, file), encoding if is_foreign else ""):
            target.write(chunk)
    check_unchanged(file)
    return target.name


def head(file: PlannedFile, *, size_bytes: int, encoding: str, properties: Mapping[str, str]) -> bytes:
    """Return the first bytes of a file, decompressed and in UTF-8; all of them when it is smaller.

    Raises:
        CorruptFileError: They cannot be decompressed or decoded.
        DataRejectedError: It is gone or was written again.
        UnavailableError: The storage did not answer.
    """
    found = bytearray()
    with opened(file, properties) as source:
        is_foreign = file.is_text and _codec(encoding) != _UTF8
        for chunk in _decoded(
            _decompressed(source, file, min(size_bytes, _CHUNK_BYTES)), encoding if is_foreign else ""
        ):
            found += chunk
            if len(found) >= size_bytes:
                break
    return bytes(found[:size_bytes])


def _codec(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise InvalidRequestError(f"There is no encoding {encoding!r}. Use one that Python knows.") from error


@contextmanager
def opened(file: PlannedFile, properties: Mapping[str, str]) -> Iterator[BinaryIO]:
    """Open the planned content of an object for reading; other content is refused.

    Raises:
        DataRejectedError: It is gone or was written again.
        InvalidRequestError: Access is denied.
        UnavailableError: The storage did not answer.
    """
    if file.uri.startswith("file://"):
        try:
            stream: BinaryIO = Path(local_path(file.uri)).open("rb")  # noqa: SIM115
        except FileNotFoundError as error:
            raise no_longer_as_planned(file.uri) from error
        with stream:
            yield stream
        return
    with _opened_on_s3(file, open_s3(properties)) as stream:
        yield stream


@contextmanager
def _opened_on_s3(file: PlannedFile, system: Any) -> Iterator[BinaryIO]:  # noqa: ANN401
    """Open an object. s3fs sends the entity tag with every request, so the server refuses other content."""
    from fsspec.exceptions import FSTimeoutError
    from s3fs.utils import FileExpired

    try:
        found = describe_s3(system.info(file.uri, refresh=True))
        if found.identity != file.identity:
            raise no_longer_as_planned(file.uri)
        with system.open(file.uri, "rb", block_size=_CHUNK_BYTES, cache_type="readahead") as stream:
            yield cast("BinaryIO", stream)
    except (FileNotFoundError, FileExpired) as error:
        raise no_longer_as_planned(file.uri) from error
    except PermissionError as error:
        raise InvalidRequestError("Access is denied. Check the credentials' rights.", uri=file.uri) from error
    except (FSTimeoutError, OSError) as error:
        raise unavailable(file.uri, error) from error


def _decompressed(source: BinaryIO, file: PlannedFile, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[bytes]:
    stream: gzip.GzipFile | BinaryIO = gzip.GzipFile(fileobj=source) if file.is_compressed else source
    try:
        while chunk := stream.read(chunk_bytes):
            yield chunk
    except EOFError as error:
        raise CorruptFileError("truncated gzip") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise CorruptFileError("broken gzip") from error


def _decoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    if not encoding:
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise CorruptFileError(f"not valid {encoding}") from error
