"""How files are read, as JSON: what a plan keeps of the settings, so that any run can read it as it was meant."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.sources.files.lines import CsvDialect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_lakehouse.core.sources.base import Json
    from airflow_provider_lakehouse.core.sources.files.source import FileSettings


def options_of(settings: FileSettings) -> dict[str, Json]:
    """Return what rows depend on, beside the files themselves. It holds no secrets, and nothing of this machine."""
    columns = None if settings.schema is None else [[c.name, c.type, c.nullable] for c in settings.schema.columns]
    return {
        "schema": cast("Json", columns),
        "csv": {**asdict(settings.csv), "null_texts": list(settings.csv.null_texts)},
        "encoding": settings.encoding,
        "extra_columns": settings.extra_columns,
        "on_corrupt": settings.on_corrupt,
    }


def with_options(settings: FileSettings, options: Mapping[str, Any]) -> FileSettings:
    """Return settings that read as the options say, with the storage, memory and folders of the settings given.

    Example:
        >>> from airflow_provider_lakehouse.core.sources.files.source import FileSettings
        >>> options = options_of(FileSettings("/in/*.csv", encoding="latin-1", threads=8))
        >>> found = with_options(FileSettings("/other/*", threads=1), options)
        >>> found.encoding, found.threads
        ('latin-1', 1)
    """
    columns = options["schema"]
    dialect = options["csv"]
    return replace(
        settings,
        schema=None if columns is None else Schema(tuple(Column(n, t, nullable=is_it) for n, t, is_it in columns)),
        csv=CsvDialect(**{**dialect, "null_texts": tuple(dialect["null_texts"])}),
        encoding=options["encoding"],
        extra_columns=options["extra_columns"],
        on_corrupt=options["on_corrupt"],
    )
