"""Iceberg tables that others wrote or changed: read right, or refused by name."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.types import LongType, StringType

from airflow_provider_lakehouse.core.errors import UnsupportedError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import At, Change, WriteToken
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.iceberg.table import IcebergTable
from airflow_provider_lakehouse.core.tables.spec import TableSpec, apply_spec, plan_spec

from .iceberg_tables import add, connection, ids, remove, table

if TYPE_CHECKING:
    from pyiceberg.table import Table as PyIcebergTable

PLACES = pa.schema(
    [("id", pa.int64()), ("the name", pa.string()), ("at", pa.struct([("x", pa.int32()), ("y", pa.string())]))]
)


def theirs(root: Path, name: str, schema: pa.Schema = PLACES, **properties: str) -> PyIcebergTable:
    """A table that PyIceberg made."""
    catalog = connection(root).catalog
    catalog.create_namespace_if_not_exists("others")
    return catalog.create_table(f"others.{name}", schema=schema, properties=properties)


def ours(root: Path, name: str) -> IcebergTable:
    """The same table through our adapter."""
    return IcebergTable(f"others.{name}", connection(root))


def put(target: PyIcebergTable, *rows: dict[str, Any]) -> None:
    target.append(pa.Table.from_pylist(list(rows), schema=target.schema().as_arrow()))


def test_columns_that_were_renamed_dropped_and_added_again_are_told_apart(tmp_path: Path) -> None:
    made = theirs(tmp_path, "places")
    put(made, {"id": 1, "the name": "p", "at": {"x": 1, "y": "a"}})
    with made.update_schema() as update:
        update.rename_column("the name", "name").add_column("extra", LongType())
    put(made, {"id": 2, "name": "q", "at": {"x": 2, "y": "b"}, "extra": 9})
    with made.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("extra")
    with made.update_schema() as update:
        update.add_column("extra", StringType()).update_column(("at", "x"), LongType())
    target = ours(tmp_path, "places")
    found = target.read().read_all().sort_by("id").to_pylist()
    assert found == [
        {"id": 1, "name": "p", "at": {"x": 1, "y": "a"}, "extra": None},
        {"id": 2, "name": "q", "at": {"x": 2, "y": "b"}, "extra": None},
    ]
    first = target.history()[0].version
    assert target.read(at=At(version=first)).read_all().column_names == ["id", "the name", "at"]
    remove(target, 1)
    assert target.read(columns=("name",)).read_all().to_pylist() == [{"name": "q"}]


def test_a_renamed_field_inside_a_column_is_refused_rather_than_read_as_null(tmp_path: Path) -> None:
    made = theirs(tmp_path, "places")
    put(made, {"id": 1, "the name": "p", "at": {"x": 1, "y": "a"}})
    with made.update_schema() as update:
        update.rename_column(("at", "y"), "z")
    with pytest.raises(UnsupportedError, match="'at'"):
        ours(tmp_path, "places").read()


def test_another_partitioning_is_survived(tmp_path: Path) -> None:
    schema = Schema.of(Column("id", "long"), Column("day", "date"))
    target = IcebergTable("shop.days", connection(tmp_path))
    target.create(TableSpec(schema, partitioning=("month(day)",)))

    def rows(*numbers: int) -> pa.RecordBatchReader:
        found = [{"id": n, "day": dt.date(2026, 1, n)} for n in numbers]
        return pa.Table.from_pylist(found, schema=schema.to_arrow()).to_reader()

    target.commit(Change(rows=rows(1, 2, 3)), token=WriteToken("unit", "month"))
    with connection(tmp_path).load("shop.days").update_spec() as update:
        update.remove_field("day_month").add_field("day", "day")
    target.commit(Change(rows=rows(4, 5)), token=WriteToken("unit", "day"))
    assert ids(target, where=(Comparison("day", "=", dt.date(2026, 1, 2)),)) == [2]
    with pytest.raises(UnsupportedError, match="older partitioning"):
        target.commit(Change(rows=rows(4), removes="partitions"), token=WriteToken("unit", "overwrite"))
    remove(target, 1, 4)
    assert ids(target) == [2, 3, 5]
    target.commit(Change(rows=rows(3), removes="partitions"), token=WriteToken("unit", "overwrite again"))
    assert ids(target) == [2, 3, 5]
    assert target.facts().rows == 3


def test_files_without_field_ids_are_read_by_the_name_mapping(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": pa.array([7], pa.int64())}), tmp_path / "landed.parquet")
    made = theirs(tmp_path, "landed", pa.schema([("id", pa.int64()), ("note", pa.string())]))
    made.add_files([f"file://{tmp_path}/landed.parquet"])
    assert ours(tmp_path, "landed").read().read_all().to_pylist() == [{"id": 7, "note": None}]


def test_version_1_is_read_and_not_written(tmp_path: Path) -> None:
    put(theirs(tmp_path, "old", pa.schema([("id", pa.int64())]), **{"format-version": "1"}), {"id": 1})
    target = ours(tmp_path, "old")
    assert ids(target) == [1]
    with pytest.raises(UnsupportedError, match="version 1"):
        target.commit(Change(), token=WriteToken("unit", "x"))


def test_version_3_is_neither_read_nor_written(tmp_path: Path) -> None:
    target = table(tmp_path)
    loaded = connection(tmp_path).load("shop.items")
    file = Path(loaded.metadata_location.removeprefix("file://"))
    file.write_text(file.read_text().replace('"format-version":2', '"format-version":3,"next-row-id":0'))
    with pytest.raises(UnsupportedError, match="version 3"):
        target.facts()


def test_equality_deletes_are_refused_by_name_and_appends_go_on(tmp_path: Path) -> None:
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    from airflow_provider_lakehouse.core.tables.iceberg.snapshot import Draft, FileChanges
    from airflow_provider_lakehouse.core.tables.iceberg.updates import add_snapshot

    target = table(tmp_path)
    add(target, 1, 2)
    path = f"{tmp_path}/lake/shop/items/data/equal.parquet"
    pq.write_table(pa.table({"id": [1]}), path)
    file = DataFile.from_args(
        content=DataFileContent.EQUALITY_DELETES, file_path=path, file_format=FileFormat.PARQUET, partition=Record(),
        record_count=1, file_size_in_bytes=1, equality_ids=[1],
    )  # fmt: skip
    file.spec_id = 0
    reached = connection(tmp_path)
    loaded = reached.load("shop.items")
    draft = Draft(loaded, loaded.metadata.new_snapshot_id(), loaded.current_snapshot(), "others")
    at_ms = loaded.metadata.last_updated_ms + 1
    snapshot = draft.snapshot(FileChanges(added=(file,)), schema_id=0, at_ms=at_ms, notes={})
    updates, requirements = add_snapshot(loaded.metadata, snapshot, branch="main")
    reached.submit(loaded, updates=updates, requirements=requirements)
    with pytest.raises(UnsupportedError, match="equality-delete"):
        target.read()
    assert target.facts().rows is None
    add(target, 3)
    target.commit(Change(removes="all"), token=WriteToken("unit", "all"))
    assert ids(target) == []


def test_what_others_deleted_shows_in_the_history(tmp_path: Path) -> None:
    target = table(tmp_path)
    add(target, 1, 2)
    add(target, 3)
    connection(tmp_path).load("shop.items").delete("id = 3")
    assert [(entry.operation, entry.changes_rows) for entry in target.history()] == [
        ("append", True),
        ("append", True),
        ("delete", True),
    ]
    assert target.facts().rows == 2


def test_a_column_that_others_added_without_a_commit_of_rows_is_no_drift_that_blocks_a_plan(tmp_path: Path) -> None:
    made = theirs(tmp_path, "places")
    put(made, {"id": 1, "the name": "p", "at": {"x": 1, "y": "a"}})
    with made.update_schema() as update:
        update.add_column("more", LongType())
    target = ours(tmp_path, "places")
    plan = plan_spec(TableSpec(target.facts().schema, comment="Places"), target.facts())
    apply_spec(target, plan, token=WriteToken("unit", "comment"))
    assert target.facts().comment == "Places"
