"""A folder that files land in, and what a source reads from it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.sources.base import Rejects
from airflow_provider_lakehouse.core.sources.files.source import FileSettings, FileSource

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.sources.base import ExtractPlan, RejectedRow

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def schema(*columns: str) -> Schema:
    """Return a schema from texts such as `id long` or `id long!` for a column that is not nullable."""
    pairs = [text.rsplit(" ", 1) for text in columns]
    return Schema.of(*(Column(name, kind.rstrip("!"), nullable=not kind.endswith("!")) for name, kind in pairs))


@dataclass(frozen=True)
class Reading:
    plan: ExtractPlan
    rows: list[dict[str, Any]]
    rejects: list[RejectedRow]
    types: dict[str, str]

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]

    @property
    def values(self) -> list[tuple[Any, ...]]:
        return [tuple(v for k, v in row.items() if not k.startswith("_source")) for row in self.rows]

    @property
    def lines(self) -> list[int]:
        return self.column("_source_row")

    @property
    def refused(self) -> list[tuple[str, int | None, str]]:
        return [(reject.reason, reject.source_row, reject.payload) for reject in self.rejects]


@dataclass(frozen=True)
class Landing:
    folder: Path

    def put(self, name: str, content: str | bytes, *, age: timedelta = timedelta(hours=1)) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.touch(name, age=age)
        return f"file://{path}"

    def touch(self, name: str, *, age: timedelta) -> None:
        at = (NOW - age).timestamp()
        os.utime(self.folder / name, (at, at))

    def source(self, pattern: str = "*", **settings: Any) -> FileSource:
        return FileSource(replace(FileSettings(f"{self.folder}/{pattern}"), **settings))

    def read(self, pattern: str = "*", **settings: Any) -> Reading:
        source = self.source(pattern, **settings)
        return read(source, source.plan(position=None, now=NOW))


def read(source: FileSource, plan: ExtractPlan, *, max_rejects: int = 1000) -> Reading:
    rejects = Rejects(max_rows=max_rejects)
    with source.read(plan, rejects=rejects) as reader:
        table = reader.read_all()
    table.validate(full=True)
    return Reading(plan, table.to_pylist(), rejects.rows, {field.name: str(field.type) for field in table.schema})
