"""Data files: bounded, ordered, routed, checked, and removed when a write fails."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_lakehouse.core.errors import DamagedError, DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import DataFile
from airflow_provider_lakehouse.core.tables.data_files import OPEN_FILES, sweep, write_files
from airflow_provider_lakehouse.core.tables.file_reading import read_files
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.spec import SortField
from airflow_provider_lakehouse.core.tables.storage import local_uri, open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.data_files import WrittenFile

SCHEMA = pa.schema([pa.field("n", pa.int64(), nullable=False), pa.field("p", pa.string())])


def rows(count: int, partitions: int = 1, batch: int = 1000) -> pa.RecordBatchReader:
    table = pa.table(
        {"n": pa.array(range(count), SCHEMA.field("n").type), "p": [f"p{i % partitions}" for i in range(count)]},
        schema=SCHEMA,
    )
    return table.to_reader(max_chunksize=batch)


def write(reader: pa.RecordBatchReader, folder: Path, **options: Any) -> tuple[WrittenFile, ...]:
    options = {"file_schema": SCHEMA, "target_file_bytes": 10_000_000, **options}
    return write_files(reader, storage=open_storage(str(folder), {}), folder=local_uri(str(folder)), **options)


def by_p(batch: pa.RecordBatch) -> list[pa.Array]:
    return [batch.column("p")]


def read(files: tuple[WrittenFile, ...]) -> list[dict[str, Any]]:
    return [row for f in files for row in pq.read_table(f.path.removeprefix("file://")).to_pylist()]


def test_no_rows_make_no_files(tmp_path: Path) -> None:
    assert write(rows(0), tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_footers_and_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    (file,) = write(rows(5000), tmp_path)
    path = tmp_path / file.path.rpartition("/")[2]
    assert (file.rows, file.size_bytes, file.metadata.num_rows) == (5000, path.stat().st_size, 5000)


@pytest.mark.parametrize("partitions", [1, 7, OPEN_FILES * 3])
def test_every_row_goes_to_the_files_of_its_partition(tmp_path: Path, partitions: int) -> None:
    files = write(rows(6000, partitions), tmp_path, partition_by=by_p)
    assert len(files) == partitions
    for file in files:
        assert {row["p"] for row in read((file,))} == {file.partition[0]}
    assert sorted(row["n"] for row in read(files)) == list(range(6000))


def test_partition_columns_need_not_be_stored(tmp_path: Path) -> None:
    stored = pa.schema([SCHEMA.field("n")])
    files = write(rows(100, 3), tmp_path, partition_by=by_p, file_schema=stored)
    assert sorted(file.partition for file in files) == [("p0",), ("p1",), ("p2",)]
    assert set(read(files)[0]) == {"n"}


def test_null_and_date_partitions_are_kept_apart_in_order(tmp_path: Path) -> None:
    days = [None, *(date(2026, 1, 1) + timedelta(days=i) for i in range(50))]
    table = pa.table({"n": range(len(days)), "p": ["x"] * len(days), "d": days})
    files = write(
        table.to_reader(),
        tmp_path,
        partition_by=lambda b: [b.column("d")],
        sort_order=(SortField("n", descending=True),),
    )
    assert [file.partition for file in files] == [(day,) for day in days]


def test_rows_are_in_the_order_the_table_asks_for_within_each_file(tmp_path: Path) -> None:
    files = write(rows(3000, 3), tmp_path, partition_by=by_p, sort_order=(SortField("n", descending=True),))
    for file in files:
        numbers = [row["n"] for row in read((file,))]
        assert numbers == sorted(numbers, reverse=True)


def test_a_null_where_none_is_allowed_refuses_the_batch_and_leaves_no_file(tmp_path: Path) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from rows(200_000, batch=50_000)
        yield pa.record_batch({"n": pa.array([None], pa.int64()), "p": ["x"]})

    reader = pa.RecordBatchReader.from_batches(pa.schema([("n", pa.int64()), ("p", pa.string())]), batches())
    with pytest.raises(DataRejectedError, match="null") as caught:
        write(reader, tmp_path, target_file_bytes=1000)
    assert caught.value.facts["columns"] == ("n",)
    assert list(tmp_path.rglob("*.parquet")) == []


def test_a_value_that_does_not_fit_is_refused_without_being_shown(tmp_path: Path) -> None:
    reader = pa.table({"n": ["seven hundred"], "p": ["x"]}).to_reader()
    with pytest.raises(DataRejectedError) as caught:
        write(reader, tmp_path)
    assert "seven" not in str(caught.value)


def test_a_missing_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="lack"):
        write(pa.table({"n": [1]}).to_reader(), tmp_path)


def test_sweeping_removes_what_is_not_kept(tmp_path: Path) -> None:
    (kept,) = write(rows(10), tmp_path)
    write(rows(10), tmp_path)
    storage = open_storage(str(tmp_path), {})
    assert sweep(storage, local_uri(str(tmp_path)), keep={kept.path}) == 1
    assert [local_uri(str(path)) for path in tmp_path.iterdir()] == [kept.path]


def listed(file: WrittenFile, **options: Any) -> DataFile:
    return DataFile(file.path, rows=file.rows, size_bytes=file.size_bytes, **options)


def test_reading_applies_renames_missing_columns_constants_removed_rows_and_types(tmp_path: Path) -> None:
    (file,) = write(rows(10), tmp_path)
    schema = Schema.of(Column("number", "long"), Column("p", "string"), Column("new", "date"), Column("day", "date"))
    data = listed(
        file,
        renames={"number": "n"},
        missing=("new",),
        constants={"day": date(2026, 1, 1)},
        removed=pa.array([0, 1, 2, 9], pa.int64()),
    )
    storage = open_storage(str(tmp_path), {})
    reader = read_files(
        [data], storage=storage, schema=schema, columns=("number", "new", "day"), where=(Comparison("number", "<", 5),)
    )
    assert [tuple(row.values()) for row in reader.read_all().to_pylist()] == [
        (3, None, date(2026, 1, 1)), (4, None, date(2026, 1, 1)),
    ]  # fmt: skip


def test_addresses_are_the_places_in_the_file_whatever_is_skipped(tmp_path: Path) -> None:
    (file,) = write(rows(300_000, batch=10_000), tmp_path, target_file_bytes=128_000_000)
    storage = open_storage(str(tmp_path), {})
    data = listed(file, removed=pa.array([299_998], pa.int64()))
    reader = read_files(
        [data],
        storage=storage,
        schema=Schema.from_arrow(SCHEMA),
        columns=("n",),
        where=(Comparison("n", ">=", 299_997),),
        addressed=True,
    )
    assert reader.read_all().to_pylist() == [
        {"n": 299_997, "_file": file.path, "_pos": 299_997}, {"n": 299_999, "_file": file.path, "_pos": 299_999},
    ]  # fmt: skip


def test_a_file_that_is_cut_short_or_gone_is_damage(tmp_path: Path) -> None:
    (file,) = write(rows(10), tmp_path)
    path = tmp_path / file.path.rpartition("/")[2]
    storage = open_storage(str(tmp_path), {})
    path.write_bytes(path.read_bytes()[:-20])
    schema = Schema.from_arrow(SCHEMA)
    with pytest.raises(DamagedError, match="cut short"):
        read_files([listed(file)], storage=storage, schema=schema).read_all()
    path.unlink()
    with pytest.raises(DamagedError, match="missing"):
        read_files([listed(file)], storage=storage, schema=schema).read_all()
