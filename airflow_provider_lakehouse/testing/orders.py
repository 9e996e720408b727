"""The example that specifications of tables work on: orders, and short ways to write and read them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.abilities import (
    Addressing,
)
from airflow_provider_lakehouse.core.tables.base import (
    FILE_COLUMN,
    POSITION_COLUMN,
    At,
    Change,
    Positions,
    WriteToken,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_provider_lakehouse.core.tables.base import (
        Table,
    )

ORDERS = Schema.of(
    Column("id", "long", nullable=False),
    Column("day", "date"),
    Column("amount", "decimal(10,2)"),
    Column("note", "string"),
    identifier=("id",),
)
UNKEYED = Schema(ORDERS.columns)
NAME = "sales.orders"


def orders(*ids: int, day: date = date(2026, 1, 1), note: str | None = "n", schema: Schema = ORDERS) -> pa.Table:
    """Return rows of the example table with these ids."""
    import pyarrow as pa

    rows = [{"id": i, "day": day, "amount": Decimal(i) / 4, "note": note} for i in ids]
    return pa.Table.from_pylist(rows, schema=schema.to_arrow())


def append(*ids: int, **options: Any) -> Change:  # noqa: ANN401
    """Return a change that appends rows with these ids."""
    return Change(rows=orders(*ids, **options).to_reader())


def token(batch: str | int, pipeline: str = "spec") -> WriteToken:
    """Return a token of the specification's pipeline."""
    return WriteToken(pipeline, batch)


def ids(table: Table, **options: Any) -> list[int]:  # noqa: ANN401
    """Return the sorted ids a table holds."""
    found: list[int] = table.read(columns=("id",), **options).read_all().column("id").to_pylist()
    return sorted(found)


def positions_of(table: Table, *wanted: int) -> tuple[Positions, int]:
    """Return the addresses of rows by id, and the version in which they were found."""
    assert isinstance(table, Addressing)
    version = table.facts().version
    rows = table.read_addressed(columns=("id",), at=At(version=version)).read_all()
    import pyarrow as pa
    import pyarrow.compute as pc

    chosen = rows.filter(pc.is_in(rows.column("id"), value_set=pa.array(wanted, pa.int64())))
    return Positions(chosen.select([FILE_COLUMN, POSITION_COLUMN])), version
