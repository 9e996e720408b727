"""Tags of a Delta table: names for versions, one small file each in `_lakehouse/tags` of the table's folder.

Delta has no tags. A tag keeps other tools' vacuum and log clean-up from nothing: a tagged version can be read as long
as its files and its log entries are there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.delta.folder import LostRaceError
from airflow_provider_lakehouse.core.tables.delta.stage import file_name

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.tables.delta.log import DeltaLog

FOLDER: Final = "_lakehouse/tags"


class Tags:
    """The tags of a table.

    Args:
        log: The table's.
    """

    def __init__(self, log: DeltaLog) -> None:
        self._log = log

    def all(self) -> dict[str, int]:
        """Return the version of every tag, by name."""
        contents = (self._log.files.get(path) for path in self._log.files.list(FOLDER))
        known = (json.loads(content) for content in contents if content is not None)
        return {tag["name"]: tag["version"] for tag in known}

    def version(self, name: str) -> int:
        """Return the version a tag names.

        Raises:
            InvalidRequestError: There is no such tag.
        """
        content = self._log.files.get(_path(name))
        if content is None:
            raise InvalidRequestError(
                f"Table {self._log.table!r} has no tag {name!r}. Use one that it has.", table=self._log.table, tag=name
            )
        version: int = json.loads(content)["version"]
        return version

    def set(self, name: str, version: int) -> None:
        """Name a version.

        Raises:
            InvalidRequestError: The name stands for another version.
        """
        self._log.probe("before delta.tag")
        try:
            self._log.files.put(_path(name), json.dumps({"name": name, "version": version}).encode())
        except LostRaceError as error:
            raise InvalidRequestError(f"Tag {name!r} stands for another version. Drop it first.", tag=name) from error
        self._log.probe("after delta.tag")

    def drop(self, name: str) -> None:
        """Forget a name; nothing happens when it is not there."""
        self._log.files.delete((_path(name),))


def _path(name: str) -> str:
    return f"{FOLDER}/{file_name(name)}.json"
