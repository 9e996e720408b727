"""The files of an Iceberg commit: which are rewritten, what their metadata say, and what goes with them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import Change, Positions, WriteToken
from airflow_provider_lakehouse.core.tables.iceberg import changes as iceberg_changes
from airflow_provider_lakehouse.core.tables.iceberg.deletes import PATH_FIELD_ID, POSITION_FIELD_ID
from airflow_provider_lakehouse.core.tables.iceberg.snapshot import live_entries
from airflow_provider_lakehouse.core.tables.iceberg.table import IcebergTable
from airflow_provider_lakehouse.core.tables.spec import TableSpec

from .iceberg_tables import NAME, add, connection, ids, remove, table

if TYPE_CHECKING:
    from pathlib import Path

    from pyiceberg.manifest import DataFile


@pytest.fixture
def no_small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files get delete files too."""
    monkeypatch.setattr(iceberg_changes, "SMALL_FILE_BYTES", 0)


def live(root: Path, name: str = NAME) -> tuple[list[DataFile], list[DataFile]]:
    """The live data files and delete files."""
    loaded = connection(root).load(name)
    files = [entry.data_file for entry in live_entries(loaded.current_snapshot(), loaded.io).values()]
    return [f for f in files if f.content == 0], [f for f in files if f.content == 1]


@pytest.mark.usefixtures("no_small_files")
def test_few_removed_rows_become_a_delete_file_that_others_can_read(tmp_path: Path) -> None:
    target = table(tmp_path)
    add(target, *range(100))
    remove(target, 7, 3)
    (data,), (deletes,) = live(tmp_path)
    assert deletes.lower_bounds == {PATH_FIELD_ID: data.file_path.encode(), POSITION_FIELD_ID: struct.pack("<q", 3)}
    assert deletes.upper_bounds == {PATH_FIELD_ID: data.file_path.encode(), POSITION_FIELD_ID: struct.pack("<q", 7)}
    assert (deletes.record_count, deletes.spec_id, deletes.partition) == (2, data.spec_id, data.partition)
    stored = pq.read_table(deletes.file_path.removeprefix("file://"))
    field_ids = [field.metadata[b"PARQUET:field_id"] for field in stored.schema]
    assert field_ids == [str(PATH_FIELD_ID).encode(), str(POSITION_FIELD_ID).encode()]
    assert stored.to_pydict() == {"file_path": [data.file_path] * 2, "pos": [3, 7]}
    facts = target.facts()
    assert (facts.rows, facts.files) == (98, 1)


@pytest.mark.usefixtures("no_small_files")
def test_many_removed_rows_rewrite_their_file_and_take_its_delete_files_along(tmp_path: Path) -> None:
    target = table(tmp_path)
    add(target, *range(100))
    remove(target, *range(10))
    assert len(live(tmp_path)[1]) == 1
    remove(target, *range(10, 20))
    data, deletes = live(tmp_path)
    assert (len(data), deletes) == (1, [])
    assert data[0].record_count == 80
    assert (target.facts().rows, ids(target)) == (80, list(range(20, 100)))


@pytest.mark.usefixtures("no_small_files")
def test_a_file_of_which_every_row_is_removed_goes_without_a_rewrite(tmp_path: Path) -> None:
    target = table(tmp_path)
    add(target, 1, 2)
    add(target, 3)
    result = remove(target, 1, 2)
    assert (result.files_added, result.files_removed, result.rows_removed) == (0, 1, 2)
    assert ids(target) == [3]


def test_small_files_that_lose_rows_are_rewritten_into_one(tmp_path: Path) -> None:
    target = table(tmp_path)
    for first in range(0, 100, 20):
        add(target, *range(first, first + 20))
    result = remove(target, 0, 20, 40, 60, 80)
    assert (result.files_added, result.files_removed) == (1, 5)
    assert target.facts().rows == 95


@pytest.mark.usefixtures("no_small_files")
def test_a_delete_file_that_names_several_files_is_written_anew_when_one_of_them_goes(tmp_path: Path) -> None:
    target = table(tmp_path)
    add(target, *range(100))
    add(target, *range(100, 200))
    _delete_as_other_engines_do(tmp_path, target, {5, 150})
    remove(target, *range(60))
    data, deletes = live(tmp_path)
    assert [file.record_count for file in deletes] == [1]
    assert sorted(file.record_count for file in data) == [40, 100]
    assert (target.facts().rows, len(ids(target))) == (139, 139)


def _delete_as_other_engines_do(root: Path, target: IcebergTable, wanted: set[int]) -> None:
    """Commit one delete file for rows of several data files."""
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    from airflow_provider_lakehouse.core.tables.iceberg.snapshot import Draft, FileChanges
    from airflow_provider_lakehouse.core.tables.iceberg.updates import add_snapshot

    rows = target.read_addressed(columns=("id",)).read_all().to_pylist()
    chosen = sorted((row["_file"], row["_pos"]) for row in rows if row["id"] in wanted)
    path = f"{root}/lake/shop/items/data/others.parquet"
    paths, positions = zip(*chosen, strict=True)
    pq.write_table(pa.table({"file_path": paths, "pos": positions}), path)
    reached = connection(root)
    loaded = reached.load(NAME)
    file = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES, file_path=path, file_format=FileFormat.PARQUET, partition=Record(),
        record_count=len(chosen), file_size_in_bytes=1,
    )  # fmt: skip
    file.spec_id = 0
    draft = Draft(loaded, loaded.metadata.new_snapshot_id(), loaded.current_snapshot(), "others")
    snapshot = draft.snapshot(
        FileChanges(added=(file,)), schema_id=0, at_ms=loaded.metadata.last_updated_ms + 1, notes={}
    )
    updates, requirements = add_snapshot(loaded.metadata, snapshot, branch="main")
    reached.submit(loaded, updates=updates, requirements=requirements)


def test_a_position_outside_of_its_file_is_refused(tmp_path: Path) -> None:
    target = table(tmp_path)
    add(target, 1)
    file = target.list_files().files[0].path
    positions = Positions(pa.table({"_file": [file], "_pos": pa.array([1], pa.int64())}))
    with pytest.raises(InvalidRequestError):
        target.commit(Change(removes=positions, base=target.facts().version), token=WriteToken("unit", "x"))


def test_bounds_are_kept_beyond_the_years_that_python_knows(tmp_path: Path) -> None:
    schema = Schema.of(Column("day", "date"), Column("at", "timestamptz"), Column("t", "string"), Column("b", "binary"))
    target = IcebergTable("shop.times", connection(tmp_path))
    target.create(TableSpec(schema))
    far = pa.table(
        [
            pa.array([3_000_000, -5_000_000], pa.int32()).cast(pa.date32()),
            pa.array([2**62, -(2**62)], pa.int64()).cast(pa.timestamp("us", "UTC")),
            pa.array(["é" * 20, "a" * 20]),
            pa.array([b"\xff" * 20, b"\x00"]),
        ],
        schema=schema.to_arrow(),
    )
    target.commit(Change(rows=far.to_reader()), token=WriteToken("unit", "far"))
    (file,), _ = live(tmp_path, "shop.times")
    assert file.lower_bounds[1] == struct.pack("<i", -5_000_000)
    assert file.upper_bounds[2] == struct.pack("<q", 2**62)
    assert file.upper_bounds[3].decode() == "é" * 15 + "ê"
    assert 4 not in file.upper_bounds
    bounds = target.list_files().files[0].bounds
    assert (bounds["day"].lower, bounds["day"].nulls, bounds["day"].rows) == (None, 0, 2)


def test_files_record_the_order_of_their_rows(tmp_path: Path) -> None:
    target = table(tmp_path, sort_order=("id",))
    add(target, 3, 1, 2)
    (file,), _ = live(tmp_path)
    assert file.sort_order_id == 1
    assert target.read(columns=("id",)).read_all().column("id").to_pylist() == [1, 2, 3]


def test_every_level_of_a_column_has_its_field_id_in_the_file(tmp_path: Path) -> None:
    target = IcebergTable("shop.nested", connection(tmp_path))
    schema = Schema.of(Column("one", "struct<a:int,b:list<string>>"), Column("pairs", "map<string,double>"))
    target.create(TableSpec(schema))
    rows = pa.Table.from_pylist([{"one": {"a": 1, "b": ["x"]}, "pairs": [("k", 1.0)]}], schema=schema.to_arrow())
    target.commit(Change(rows=rows.to_reader()), token=WriteToken("unit", "nested"))
    (file,), _ = live(tmp_path, "shop.nested")
    text = str(pq.ParquetFile(file.file_path.removeprefix("file://")).schema)
    assert all(f"field_id={number}" in text for number in range(1, 8))
    assert file.value_counts.keys() == {3, 5, 6, 7}
