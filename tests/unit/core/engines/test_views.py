"""Tables made of Parquet files, read by the engine itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_lakehouse.core.engines.base import EngineSettings, TableView
from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.errors import DamagedError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import HEAD, DataFile, FileListing

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
    from airflow_provider_lakehouse.core.tables.base import At
    from airflow_provider_lakehouse.core.tables.filters import Filter

SCHEMA = Schema.of(Column("id", "long"), Column("name", "string"), Column("day", "date"))


@dataclass
class Files:
    """A table that is nothing but a list of Parquet files."""

    folder: Path
    schema: Schema = SCHEMA
    files: list[DataFile] = field(default_factory=list)

    def add(self, rows: dict[str, Any], **facts: Any) -> str:
        path = self.folder / f"part {len(self.files)}'s.parquet"
        pq.write_table(pa.table(rows), path)
        self.files.append(DataFile(f"file://{path}", len(next(iter(rows.values()))), path.stat().st_size, **facts))
        return f"file://{path}"

    def list_files(self, *, where: Filter = (), at: At = HEAD) -> FileListing:
        return FileListing(1, self.schema, tuple(self.files))

    def read_addressed(self, **_: Any) -> pa.RecordBatchReader:
        raise AssertionError("the engine reads the files itself")


@pytest.fixture
def engine() -> DuckDBEngine:
    return open_engine(EngineSettings(threads=1))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def ids(engine: DuckDBEngine, table: Any, sql: str = "SELECT id FROM t ORDER BY id") -> list[Any]:
    with engine.query(sql, tables={"t": table}) as rows:
        return [next(iter(row.values())) for row in rows.read_all().to_pylist()]


def test_a_table_without_files_has_columns_and_no_rows(engine: DuckDBEngine, files: Files) -> None:
    with engine.query("SELECT * FROM t", tables={"t": files}) as rows:
        assert rows.schema == SCHEMA.to_arrow()
        assert rows.read_all().num_rows == 0


def test_columns_may_be_constant_missing_renamed_or_narrower_in_some_files(engine: DuckDBEngine, files: Files) -> None:
    import datetime as dt

    day = dt.date(2026, 1, 1)
    files.add({"id": pa.array([1], pa.int32()), "name": ["a"]}, constants={"day": day})
    files.add({"id": [2**40], "name": ["b"]}, constants={"day": None})
    files.add({"id": [3], "col-7": ["c"], "day": [day]}, renames={"name": "col-7"})
    files.add({"id": [4], "day": [day]}, missing=("name",))
    with engine.query("SELECT * FROM t ORDER BY id", tables={"t": files}) as rows:
        assert [tuple(row.values()) for row in rows.read_all().to_pylist()] == [
            (1, "a", day), (3, "c", day), (4, None, day), (2**40, "b", None),
        ]  # fmt: skip


def test_removed_rows_are_left_out(engine: DuckDBEngine, files: Files) -> None:
    files.add({"id": [1, 2, 3], "name": ["a", "b", "c"], "day": pa.nulls(3, pa.date32())}, removed=pa.array([0, 2]))
    files.add({"id": [4, 5], "name": ["d", "e"], "day": pa.nulls(2, pa.date32())})
    assert ids(engine, files) == [2, 4, 5]
    assert ids(engine, files, "SELECT count(*) FROM t WHERE id < 3") == [1]


def test_addresses_are_the_uri_of_the_file_and_the_place_in_it(engine: DuckDBEngine, files: Files) -> None:
    first = files.add({"id": [1, 2], "name": ["a", "b"], "day": pa.nulls(2, pa.date32())}, removed=pa.array([0]))
    second = files.add({"id": [3], "name": ["c"], "day": pa.nulls(1, pa.date32())})
    sql = "SELECT {'f': _file, 'p': _pos} AS address FROM t ORDER BY id"
    found = ids(engine, TableView(files, addressed=True), sql)  # type: ignore[arg-type]
    assert found == [{"f": first, "p": 1}, {"f": second, "p": 0}]


def test_a_file_that_is_gone_is_damage(engine: DuckDBEngine, files: Files, tmp_path: Path) -> None:
    files.add({"id": [1], "name": ["a"], "day": pa.nulls(1, pa.date32())})
    Path(files.files[0].path.removeprefix("file://")).unlink()
    with pytest.raises(DamagedError):
        ids(engine, files)
