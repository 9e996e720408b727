"""Where the files of tables are: local disk and S3, behind one small set of verbs."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import DamagedError, InvalidRequestError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pyarrow.fs import FileSystem

_S3_SCHEMES: Final = ("s3", "s3a", "s3n")
_TRUE: Final = ("true", "1", "yes")


@dataclass(frozen=True)
class Storage:
    """A file system, and the translation between its paths and URIs.

    Args:
        scheme: `file` or `s3`.
        filesystem: Arrow's; streams through it are bounded in memory.
    """

    scheme: str
    filesystem: FileSystem

    def path(self, uri: str) -> str:
        """Return the file system's path of a URI, or of a plain local path."""
        _, separator, rest = uri.partition("://")
        return rest if separator else uri.removeprefix("file:")

    def uri(self, path: str) -> str:
        """Return the URI of a path."""
        return f"{self.scheme}://{path}"

    def create(self, uri: str) -> Any:  # noqa: ANN401
        """Open a new file for writing, making its folder where the file system has folders.

        Returns:
            An Arrow output stream; the file is there once it is closed.
        """
        path = self.path(uri)
        with translated(uri):
            if self.scheme == "file":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            return self.filesystem.open_output_stream(path, compression=None)

    def open(self, uri: str) -> Any:  # noqa: ANN401
        """Open a file for random reading."""
        with translated(uri):
            return self.filesystem.open_input_file(self.path(uri))

    def read_bytes(self, uri: str) -> bytes:
        """Return the whole content of a small file."""
        with translated(uri), self.filesystem.open_input_file(self.path(uri)) as file:
            content: bytes = file.read()
            return content

    def write_bytes(self, uri: str, content: bytes) -> None:
        """Write a small file, replacing what was there."""
        with translated(uri), self.create(uri) as file:
            file.write(content)

    def exists(self, uri: str) -> bool:
        """Tell whether there is a file or folder."""
        import pyarrow.fs as fs

        with translated(uri):
            return bool(self.filesystem.get_file_info(self.path(uri)).type != fs.FileType.NotFound)

    def list(self, prefix_uri: str) -> tuple[str, ...]:
        """Return the URIs of all files below a folder, sorted; empty when there is no such folder."""
        import pyarrow.fs as fs

        selector = fs.FileSelector(self.path(prefix_uri), allow_not_found=True, recursive=True)
        with translated(prefix_uri):
            found = self.filesystem.get_file_info(selector)
        return tuple(sorted(self.uri(info.path) for info in found if info.type == fs.FileType.File))

    def delete(self, uris: Iterable[str]) -> None:
        """Remove files; one that is not there is fine."""
        for uri in uris:
            with translated(uri):
                try:
                    self.filesystem.delete_file(self.path(uri))
                except FileNotFoundError:
                    continue
            if self.scheme == "file":
                _remove_empty_folder(Path(self.path(uri)).parent)

    def delete_folder(self, uri: str) -> None:
        """Remove a folder with all that is in it; nothing happens when it is not there."""
        import pyarrow.fs as fs

        selector = fs.FileSelector(self.path(uri), allow_not_found=True, recursive=True)
        with translated(uri):
            self.delete(self.list(uri))
            found = self.filesystem.get_file_info(selector)
            inner = [info.path for info in found if info.type == fs.FileType.Directory]
            for path in (
                *sorted(inner, key=len, reverse=True),
                self.path(uri),
            ):  # S3 servers refuse folders that hold others
                with suppress(FileNotFoundError):
                    self.filesystem.delete_dir(path)


def _remove_empty_folder(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:  # others still have files there
        return


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn what a file system raises into one of the seven kinds.

    Raises:
        DamagedError: A file that should be there is not.
        InvalidRequestError: Access is denied.
        UnavailableError: Anything else went wrong with the file system.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DamagedError("A file that should be there is missing. Look before you write again.", uri=uri) from error
    except PermissionError as error:
        raise InvalidRequestError(
            "Access is denied. Check the credentials' rights on this location.", uri=uri
        ) from error
    except OSError as error:
        if "ACCESS_DENIED" in str(error) or "AccessDenied" in str(error):
            raise InvalidRequestError("Access is denied. Check the credentials' rights.", uri=uri) from error
        raise UnavailableError(
            "The file system did not do what was asked. Run again later.", uri=uri, cause=type(error).__name__
        ) from error


def open_storage(uri: str, properties: Mapping[str, str]) -> Storage:
    """Open the file system a URI lives in.

    Args:
        uri: `file:///...`, a plain local path, or `s3://bucket/...`.
        properties: For S3, by the names Iceberg gives them: `s3.endpoint`, `s3.access-key-id`, `s3.secret-access-key`,
            `s3.session-token`, `s3.region`, `s3.path-style-access`; keys and region also as `client.*`, for all of AWS.
            What is left out comes from the environment, as usual.

    Raises:
        InvalidRequestError: No such scheme.
    """
    import pyarrow.fs as fs

    scheme = uri.partition("://")[0] if "://" in uri else "file"
    if scheme == "file":
        return Storage("file", fs.LocalFileSystem())
    if scheme in _S3_SCHEMES:
        return Storage(scheme, fs.S3FileSystem(**s3_arguments(properties)))
    raise InvalidRequestError(f"No storage for {scheme!r}. Use a path, file:// or s3://.", uri=uri)


def s3_arguments(properties: Mapping[str, str]) -> dict[str, Any]:
    """Return Arrow's arguments for S3 from Iceberg's property names."""
    endpoint = properties.get("s3.endpoint", "")
    arguments: dict[str, Any] = {
        "access_key": _aws(properties, "access-key-id"),
        "secret_key": _aws(properties, "secret-access-key"),
        "session_token": _aws(properties, "session-token"),
        "region": _aws(properties, "region"),
        "endpoint_override": endpoint or None,
        "scheme": "http" if endpoint.startswith("http://") else None,
        "allow_delayed_open": True,
        "force_virtual_addressing": properties.get("s3.path-style-access", "true").lower() not in _TRUE or None,
    }
    return {name: value for name, value in arguments.items() if value is not None}


def _aws(properties: Mapping[str, str], name: str) -> str | None:
    """Return a property of S3, or what holds for all of AWS."""
    return properties.get(f"s3.{name}", properties.get(f"client.{name}"))


def local_uri(path: str) -> str:
    """Return the URI of a path; what is a URI already stays as it is.

    Example:
        >>> local_uri("/data/lake house")
        'file:///data/lake house'
    """
    return path if "://" in path else f"file://{Path(path).absolute()}"
