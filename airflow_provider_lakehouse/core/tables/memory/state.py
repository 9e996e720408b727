"""The values a table in memory is made of, and what may be asked of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.schema import changed
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import pyarrow as pa

    from airflow_provider_lakehouse.core.tables.base import Change, CommitResult, Positions
    from airflow_provider_lakehouse.core.tables.spec import TableSpec


@dataclass(frozen=True)
class Part:
    """Rows that one commit added, and which of them still count."""

    name: str
    added_by: int
    rows: pa.Table
    removed: frozenset[int] = frozenset()


@dataclass(frozen=True)
class State:
    """A table as of one version."""

    version: int
    parent: int | None
    committed_at: datetime
    spec: TableSpec
    parts: tuple[Part, ...] = ()
    operation: str = "create"
    changes_rows: bool = False
    rows_added: int = 0
    rows_removed: int = 0
    summary: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Store:
    """What all handles of one table share.

    Args:
        states: Every version by number.
        heads: Newest version of every branch.
        tags: Version of every tag.
        tokens: What every token wrote, by its key.
        staged: For every branch the keys written to it, with what was remembered under them before.
        lock: Held by whoever changes anything.
    """

    states: dict[int, State] = field(default_factory=dict)
    heads: dict[str, int] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, CommitResult] = field(default_factory=dict)
    staged: dict[str, dict[str, CommitResult | None]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def removed_positions(removes: Positions) -> dict[str, frozenset[int]]:
    """Return the places to remove, by part."""
    gone: dict[str, set[int]] = {}
    rows = removes.rows
    for name, position in zip(
        rows.column(FILE_COLUMN).to_pylist(), rows.column(POSITION_COLUMN).to_pylist(), strict=True
    ):
        gone.setdefault(name, set()).add(position)
    return {name: frozenset(positions) for name, positions in gone.items()}


def filled(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows with every column of a schema, null where they lack it."""
    import pyarrow as pa

    has = set(rows.column_names)
    for field_ in schema:
        if field_.name not in has:
            rows = rows.append_column(field_.name, pa.nulls(rows.num_rows, field_.type))
    return rows.select(schema.names).cast(pa.schema([f.with_nullable(True) for f in schema]))


def live_rows(part: Part, schema: pa.Schema, *, addressed: bool = False) -> pa.Table:
    """Return the rows of a part that still count, with their address where it is asked for."""
    import pyarrow as pa

    count = part.rows.num_rows
    rows = filled(part.rows, schema)
    if addressed:
        rows = rows.append_column(FILE_COLUMN, pa.repeat(pa.scalar(part.name), count))
        rows = rows.append_column(POSITION_COLUMN, pa.array(range(count), pa.int64()))
    if not part.removed:
        return rows
    return rows.filter(pa.array([index not in part.removed for index in range(count)], pa.bool_()))


def new_rows(part: Part, before: Part | None, schema: pa.Schema) -> pa.Table:
    """Return the rows of a part that count now and did not before; a rollback brings rows back."""
    if before is None:
        return live_rows(part, schema)
    return live_rows(
        replace(part, removed=frozenset(range(part.rows.num_rows)) - (before.removed - part.removed)), schema
    )


def changed_spec(spec: TableSpec, change: Change) -> TableSpec:
    """Return a specification after a change."""
    properties = {**spec.properties, **change.properties}
    return replace(
        spec,
        schema=changed(spec.schema, change.schema_changes),
        properties={name: value for name, value in properties.items() if value is not None},
        comment=spec.comment if change.comment is None else change.comment,
    )
