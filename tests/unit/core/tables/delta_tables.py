"""Delta tables for tests: made here, and made by hand as other writers make them."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import DeltaTable

from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, WriteToken, no_probe
from airflow_provider_lakehouse.core.tables.delta.table import open_catalog

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import Probe, Table
    from airflow_provider_lakehouse.core.tables.delta.table import DeltaLakeTable

NUMBERS = Schema.of(Column("n", "long"), Column("s", "string"))
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def delta_table(root: Path, name: str = "a.b", probe: Probe = no_probe) -> DeltaLakeTable:
    return open_catalog(CatalogSettings("delta", str(root)), probe=probe).table(name)


def folder(root: Path, name: str = "a.b") -> str:
    return str(root.joinpath(*name.split(".")))


def numbers(*values: int, text: str | None = "x") -> pa.RecordBatchReader:
    return pa.table({"n": pa.array(values, pa.int64()), "s": pa.array([text] * len(values), pa.string())}).to_reader()


def add(table: Table, *values: int, batch: str | int) -> None:
    table.commit(Change(rows=numbers(*values)), token=WriteToken("test", batch))


def held(table: Table, **options: Any) -> list[int]:
    found: list[int] = table.read(columns=("n",), **options).read_all().column("n").to_pylist()
    return sorted(found)


def seen_by_delta_rs(path: str, column: str = "n", **options: Any) -> list[Any]:
    rows = pa.table(DeltaTable(path, **options).scan(columns=[column]).read_all())
    return sorted(rows.column(column).to_pylist())


def put_commit(path: Path, version: int, *actions: dict[str, Any]) -> None:
    log = path / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    (log / f"{version:020d}.json").write_text("\n".join(map(json.dumps, actions)))


def actions_of(path: Path, version: int, kind: str) -> list[dict[str, Any]]:
    lines = (path / "_delta_log" / f"{version:020d}.json").read_text().splitlines()
    return [action[kind] for action in map(json.loads, lines) if kind in action]


def foreign_table(
    path: Path,
    *,
    protocol: dict[str, Any],
    fields: list[dict[str, Any]] | None = None,
    properties: dict[str, str] | None = None,
) -> None:
    """Write the first commit of an empty table as another writer may have done."""
    fields = fields or [{"name": "n", "type": "long", "nullable": True, "metadata": {}}]
    metadata = {
        "id": "made-by-hand",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": fields}),
        "partitionColumns": [],
        "configuration": properties or {},
        "createdTime": 1,
    }
    put_commit(path, 0, {"protocol": protocol}, {"metaData": metadata})


def inline_deletion_vector(*positions: int) -> dict[str, Any]:
    """Return a deletion vector within its action (Delta protocol, section "Deletion Vector Format")."""
    from pyroaring import BitMap

    blob = struct.pack("<IQI", 1681511377, 1, 0) + BitMap(positions).serialize()
    text = ""
    for start in range(0, len(blob), 4):
        number, word = int.from_bytes(blob[start : start + 4].ljust(4, b"\0"), "big"), ""
        for _ in range(5):
            number, digit = divmod(number, 85)
            word = _ALPHABET[digit] + word
        text += word
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(blob), "cardinality": len(positions)}
