"""The file access that PyIceberg is given: on S3, a small file is one request instead of three.

PyIceberg imports it by name, `IO_CLASS`; it is made when it is first asked for: PyIceberg is not imported before that.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.tables.storage import s3_arguments

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

IO_CLASS: Final = f"{__name__}.LakehouseFileIO"


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name != "LakehouseFileIO":
        raise AttributeError(name)
    return _file_io()


@cache
def _file_io() -> type:
    from pyarrow.fs import S3FileSystem
    from pyiceberg.io.pyarrow import PyArrowFileIO

    logging.getLogger("pyiceberg.io").addFilter(_is_news)

    class LakehouseFileIO(PyArrowFileIO):
        """PyIceberg's own, with the same S3 client as data files."""

        def _initialize_s3_fs(self, netloc: str | None) -> FileSystem:
            del netloc
            return S3FileSystem(**s3_arguments(self.properties))

    return LakehouseFileIO


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out what PyIceberg says every time it opens a table: it buries what a task has to say."""
    return not str(record.msg).startswith("Loaded FileIO")
