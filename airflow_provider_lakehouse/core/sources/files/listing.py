"""Find the objects a pattern names, on local disk and on S3, with what tells one content from another."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnavailableError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MAGIC: Final = re.compile(r"[*?\[]")
_NOT_UTF8: Final = re.compile("[\udc80-\udcff]")
_S3_SCHEMES: Final = ("s3", "s3a", "s3n")
_UNFINISHED_ENDINGS: Final = (".partial", ".tmp", ".temp", ".crdownload", ".filepart", "._COPYING_")


@dataclass(frozen=True, slots=True)
class ListedFile:
    """An object as it was found.

    Args:
        uri: `file://` or `s3://`.
        size_bytes: Its size.
        identity: Of its content: the entity tag on S3; on local disk the instant of modification in nanoseconds, and
            the size. The same name with another identity is another object.
        modified_at: When it was last written.
    """

    uri: str
    size_bytes: int
    identity: str
    modified_at: datetime

    @property
    def is_temporary(self) -> bool:
        """True when its name says that it is hidden or being written: `.name`, `_name`, `name.partial`, `name.tmp`."""
        name = self.uri.rpartition("/")[2]
        return name.startswith((".", "_")) or name.endswith(_UNFINISHED_ENDINGS)


def pattern_regex(pattern: str) -> re.Pattern[str]:
    """Return what matches the paths of a pattern.

    `*` and `?` stay within one folder, `[a-z]` is one character, `**` any folders, also none.

    Example:
        >>> [bool(pattern_regex("in/**/*.csv").fullmatch(path)) for path in ("in/2017/01/a.csv", "in/a.csv", "a.csv")]
        [True, True, False]
    """
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]/]+\])", pattern)
    known = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    texts = (known.get(part) or (_class(part) if _MAGIC.match(part) else re.escape(part)) for part in parts)
    return re.compile("".join(texts), re.DOTALL)


def _class(part: str) -> str:
    inner = part[1:-1].replace("\\", "\\\\")
    return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"


def identity_of(uri: str) -> str:
    """Return the URI or pattern in the form in which it is shown and compared: local paths as absolute `file://` URIs.

    Example:
        >>> identity_of("/data/in/*.csv"), identity_of("s3a://b/in/")
        ('file:///data/in/*.csv', 's3://b/in/')
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return local_uri(uri) + ("/" if uri.endswith("/") else "")
    if scheme in _S3_SCHEMES:
        return f"s3://{rest}"
    if scheme == "file":
        return uri
    raise InvalidRequestError(f"No files can be listed by {scheme!r}. Use a path, file:// or s3://.", uri=uri)


def local_uri(path: str) -> str:
    r"""Return the URI of a local path, in which only `%` is encoded, and bytes that are not UTF-8.

    Example:
        >>> local_uri("/data/lake house/100%.csv")
        'file:///data/lake house/100%25.csv'
        >>> local_uri(os.fsdecode(b"/data/gr\xf6sse.csv"))
        'file:///data/gr%F6sse.csv'
    """
    found = os.path.abspath(path).replace("%", "%25")  # noqa: PTH100 - links are not followed
    return "file://" + _NOT_UTF8.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", found)


def local_path(uri: str) -> str:
    """Return the path of a `file://` URI.

    Example:
        >>> local_path("file:///data/lake%20house/100%25.csv")
        '/data/lake house/100%.csv'
    """
    return unquote(uri.removeprefix("file://"), errors="surrogateescape")


def list_files(uri: str, properties: Mapping[str, str]) -> list[ListedFile]:
    """Return the objects that a pattern names, by name. A URI that ends with a slash names all files of that folder.

    Raises:
        InvalidRequestError: Access is denied, or the scheme is unknown.
        UnsupportedError: What S3 needs is not installed.
        UnavailableError: The storage did not answer.
    """
    pattern = identity_of(uri)
    pattern += "*" if pattern.endswith("/") else ""
    if pattern.startswith("file://"):
        found = _list_local(local_path(pattern))
    else:
        found = _list_s3(pattern.removeprefix("s3://"), properties)
    return sorted(found, key=lambda file: file.uri)


def _fixed_folder(pattern: str) -> str:
    """Return the folder above the first part with a wildcard; no file that matches lies outside of it."""
    magic = _MAGIC.search(pattern)
    return pattern.rpartition("/")[0] if magic is None else pattern[: magic.start()].rpartition("/")[0]


def _list_local(pattern: str) -> Iterator[ListedFile]:
    if _MAGIC.search(pattern) is None:
        if Path(pattern).is_file():
            yield describe_local(pattern)
        return
    matches = pattern_regex(pattern).fullmatch
    is_flat = "/" not in pattern[len(_fixed_folder(pattern)) + 1 :]
    for folder, folders, names in os.walk(_fixed_folder(pattern) or "/"):
        if is_flat:
            folders.clear()
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            if matches(path) and Path(path).is_file():
                yield describe_local(path)


def describe_local(path: str) -> ListedFile:
    """Return a local file as it is now.

    Raises:
        FileNotFoundError: It is not there.
    """
    status = Path(path).stat()
    at = datetime.fromtimestamp(status.st_mtime, tz=UTC)
    return ListedFile(local_uri(path), status.st_size, f"{status.st_mtime_ns}-{status.st_size}", at)


def _list_s3(pattern: str, properties: Mapping[str, str]) -> Iterator[ListedFile]:
    system = open_s3(properties)
    matches = pattern_regex(pattern).fullmatch
    folder = pattern if _MAGIC.search(pattern) is None else _fixed_folder(pattern) + "/"
    try:
        found = system.find(folder, detail=True).values()
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise InvalidRequestError("Access is denied. Check the credentials' rights.", uri=f"s3://{pattern}") from error
    except Exception as error:
        raise unavailable(f"s3://{pattern}", error) from error
    for info in found:
        if info.get("type") == "file" and matches(info["name"]):
            yield describe_s3(info)


def describe_s3(info: Mapping[str, Any]) -> ListedFile:
    """Return an object from what s3fs says of it."""
    tag = str(info.get("ETag") or "").strip('"')
    modified: datetime = info["LastModified"]
    return ListedFile(f"s3://{info['name']}", int(info["size"]), tag or modified.isoformat(), modified)


def open_s3(properties: Mapping[str, str]) -> Any:  # noqa: ANN401
    """Open S3 with Iceberg's property names; what is left out comes from the environment, as usual.

    Args:
        properties: `s3.endpoint`, `s3.access-key-id`, `s3.secret-access-key`, `s3.session-token`, `s3.region`,
            `s3.path-style-access`.

    Raises:
        UnsupportedError: s3fs is not installed.
    """
    try:
        import s3fs
    except ImportError as error:
        raise UnsupportedError(
            "Files on S3 need s3fs. Install 'airflow-provider-lakehouse[aws]'.", module=error.name
        ) from error
    client = {"endpoint_url": properties.get("s3.endpoint"), "region_name": properties.get("s3.region")}
    is_path_style = properties.get("s3.path-style-access", "").lower() in ("true", "1", "yes")
    return s3fs.S3FileSystem(
        key=properties.get("s3.access-key-id"),
        secret=properties.get("s3.secret-access-key"),
        token=properties.get("s3.session-token"),
        client_kwargs={name: value for name, value in client.items() if value},
        config_kwargs={"s3": {"addressing_style": "path"}} if is_path_style else {},
        use_listings_cache=False,
        skip_instance_cache=True,
    )


def unavailable(uri: str, error: Exception) -> UnavailableError:
    """Return the error for a storage that did not do what was asked."""
    return UnavailableError("The storage did not answer. Run again later.", uri=uri, cause=type(error).__name__)
