"""Small Iceberg tables for the tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, Positions, WriteToken, no_probe
from airflow_provider_lakehouse.core.tables.iceberg.catalog import Connection
from airflow_provider_lakehouse.core.tables.iceberg.table import IcebergTable
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import CommitResult, Probe

NAME = "shop.items"
ITEMS = Schema.of(Column("id", "long", nullable=False), Column("note", "string"), identifier=("id",))


def connection(root: Path, probe: Probe = no_probe) -> Connection:
    """A connection to the catalog below a folder."""
    return Connection(CatalogSettings("iceberg", f"{root}/lake"), probe=probe)


def table(root: Path, probe: Probe = no_probe, **spec: Any) -> IcebergTable:
    """The table of items, created when it is not there."""
    found = IcebergTable(NAME, connection(root, probe))
    found.create(TableSpec(spec.pop("schema", ITEMS), **spec))
    return found


def items(*ids: int, note: str | None = "n") -> pa.Table:
    """Rows with these ids."""
    return pa.Table.from_pylist([{"id": i, "note": note} for i in ids], schema=ITEMS.to_arrow())


def add(target: IcebergTable, *ids: int, batch: str | int | None = None, **change: Any) -> CommitResult:
    """Append rows with these ids."""
    token = WriteToken("unit", f"add {ids[:3]} {len(ids)}" if batch is None else batch)
    return target.commit(Change(rows=items(*ids).to_reader(), **change), token=token)


def remove(target: IcebergTable, *ids: int) -> CommitResult:
    """Remove rows with these ids by position."""
    version = target.facts().version
    found = target.read_addressed(columns=("id",)).read_all()
    chosen = found.filter(pc.is_in(found.column("id"), value_set=pa.array(ids, pa.int64())))
    change = Change(removes=Positions(chosen.select(["_file", "_pos"])), base=version)
    return target.commit(change, token=WriteToken("unit", f"remove {ids[:3]} {len(ids)} of {version}"))


def ids(target: IcebergTable, **options: Any) -> list[int]:
    """The ids a table holds, sorted."""
    return sorted(target.read(columns=("id",), **options).read_all().column("id").to_pylist())
