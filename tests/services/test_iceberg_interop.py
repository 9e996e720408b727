"""What we write to Iceberg is what others read: DuckDB's reader, and PyIceberg's own."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from airflow_provider_lakehouse.core.schema import Column, Schema, SchemaChange
from airflow_provider_lakehouse.core.tables.base import At, CatalogSettings, Change, Positions, WriteToken
from airflow_provider_lakehouse.core.tables.iceberg import changes as iceberg_changes
from airflow_provider_lakehouse.core.tables.iceberg.catalog import Connection
from airflow_provider_lakehouse.core.tables.iceberg.table import open_catalog
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.iceberg.table import IcebergTable

    from .duckdb_reader import DuckDBReader

SCHEMA = Schema.of(
    Column("id", "long", nullable=False, comment="Key"), Column("day", "date"), Column("at", "timestamptz"),
    Column("amount", "decimal(12,2)"), Column("wide", "decimal(30,4)"), Column("note", "string"),
    Column("flag", "boolean"), Column("tags", "list<string>"), Column("place", "struct<city:string,zip:int>"),
    Column("counts", "map<string,long>"), Column("who", "uuid"), Column("x", "double"),
    identifier=("id",),
)  # fmt: skip


@pytest.fixture
def always_delete_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files get delete files too."""
    monkeypatch.setattr(iceberg_changes, "SMALL_FILE_BYTES", 0)


def rows(*ids: int, note: str | None = "n", schema: Schema = SCHEMA, **more: Any) -> pa.Table:
    """Rows with these ids."""
    found = [
        {
            "id": i, "day": dt.date(2026, 1, 1 + i % 5), "at": dt.datetime(1969, 12, 31, 23, i % 60, tzinfo=dt.UTC),
            "amount": Decimal(i) / 4, "wide": Decimal(i) * 10**20, "note": note, "flag": i % 2 == 0,
            "tags": ["a", None, str(i)], "place": {"city": "Köln", "zip": i}, "counts": [("k", i)],
            "who": uuid.UUID(int=i).bytes, "x": i / 3, **more,
        }
        for i in ids
    ]  # fmt: skip
    return pa.Table.from_pylist(found, schema=schema.to_arrow())


class Books:
    """A table, the tokens it has been given, and what others read of it."""

    def __init__(self, root: Path, reader: DuckDBReader, **spec: Any) -> None:
        self._root = root
        self._reader = reader
        self._settings = CatalogSettings("iceberg", f"{root}/lake")
        self.table: IcebergTable = open_catalog(self._settings).table("sales.orders")
        self.table.create(TableSpec(SCHEMA, **spec))
        self._commits = 0

    def commit(self, **change: Any) -> None:
        """Commits a change."""
        self._commits += 1
        self.table.commit(Change(**change), token=WriteToken("interop", str(self._commits)))

    def replace_rows(self, *ids: int, note: str, **options: Any) -> None:
        """Removes rows by position, and adds others with the same ids."""
        version = self.table.facts().version
        found = self.table.read_addressed(columns=("id",)).read_all()
        chosen = found.filter(pc.is_in(found.column("id"), value_set=pa.array(ids, pa.int64())))
        positions = Positions(chosen.select(["_file", "_pos"]))
        self.commit(rows=rows(*ids, note=note, **options).to_reader(), removes=positions, base=version)

    def check(self) -> pa.Table:
        """Compares all readers, and returns the rows."""
        ours = self.table.read().read_all().sort_by("id")
        loaded = Connection(self._settings).load("sales.orders")
        target = self._root / f"read-{self._commits}.parquet"
        self._reader.read_iceberg(target, metadata=loaded.metadata_location.removeprefix("file://"))
        duck = pq.read_table(target).select(ours.column_names).sort_by("id").cast(ours.schema)
        theirs = loaded.scan().to_arrow().select(ours.column_names).sort_by("id").cast(ours.schema)
        assert duck.to_pylist() == ours.to_pylist()
        assert theirs.to_pylist() == ours.to_pylist()
        assert self.table.facts().rows == ours.num_rows
        return ours


LAYOUTS: dict[str, dict[str, Any]] = {
    "unpartitioned": {},
    "days": {"partitioning": ("day",)},
    "hidden": {"partitioning": ("bucket(3, id)", "month(at)"), "sort_order": ("note", "id")},
    "text": {"partitioning": ("truncate(1, note)", "bucket(2, who)")},
}


@pytest.mark.parametrize("layout", LAYOUTS)
class TestOthersRead:
    def test_appended_rows(self, tmp_path: Path, duckdb_reader: DuckDBReader, layout: str) -> None:
        books = Books(tmp_path, duckdb_reader, **LAYOUTS[layout])
        books.commit(rows=rows(*range(50)).to_reader())
        books.commit(rows=rows(50, note=None).to_reader())
        assert books.check().num_rows == 51

    @pytest.mark.usefixtures("always_delete_files")
    def test_rows_without_those_in_delete_files(self, tmp_path: Path, duckdb_reader: DuckDBReader, layout: str) -> None:
        books = Books(tmp_path, duckdb_reader, **LAYOUTS[layout])
        books.commit(rows=rows(*range(200)).to_reader())
        books.replace_rows(3, 77, note="first")
        books.replace_rows(77, 150, 151, note="second")
        found = books.check()
        assert found.filter(pc.field("note") == "second").column("id").to_pylist() == [77, 150, 151]

    def test_rows_of_rewritten_files(self, tmp_path: Path, duckdb_reader: DuckDBReader, layout: str) -> None:
        books = Books(tmp_path, duckdb_reader, **LAYOUTS[layout])
        books.commit(rows=rows(*range(20)).to_reader())
        books.replace_rows(*range(10), note="new")
        assert books.check().num_rows == 20

    @pytest.mark.usefixtures("always_delete_files")
    def test_rows_after_columns_were_added_widened_and_commented(
        self, tmp_path: Path, duckdb_reader: DuckDBReader, layout: str
    ) -> None:
        books = Books(tmp_path, duckdb_reader, **LAYOUTS[layout])
        books.commit(rows=rows(*range(100)).to_reader())
        place = Column("place", "struct<city:string,zip:long,country:string>")
        changes = (SchemaChange("add", Column("more", "int")), SchemaChange("widen", place))
        wider = SCHEMA.with_columns(Column("more", "int"), place)
        extra = {"more": 5, "place": {"city": "x", "zip": 2**40, "country": "y"}}
        books.commit(rows=rows(500, 501, schema=wider, **extra).to_reader(), schema_changes=changes)
        books.replace_rows(7, 500, note="new", schema=wider, **extra)
        assert books.check().num_rows == 102

    def test_rows_after_many_small_commits_whose_manifests_were_merged(
        self, tmp_path: Path, duckdb_reader: DuckDBReader, layout: str
    ) -> None:
        books = Books(tmp_path, duckdb_reader, **LAYOUTS[layout])
        for i in range(55):
            books.commit(rows=rows(i).to_reader())
        assert books.check().num_rows == 55


@pytest.mark.usefixtures("always_delete_files")
def test_delete_files_go_with_the_partitions_they_belong_to(tmp_path: Path, duckdb_reader: DuckDBReader) -> None:
    books = Books(tmp_path, duckdb_reader, partitioning=("day",))
    books.commit(rows=rows(*range(100)).to_reader())
    books.replace_rows(0, 1, note="new")
    fives = rows(*range(0, 100, 5))
    books.commit(rows=fives.to_reader(), removes="partitions")
    assert books.check().num_rows == 100
    books.commit(rows=fives.to_reader(), removes="all")
    assert books.check().num_rows == 20


def test_a_rolled_back_table_reads_as_before(
    tmp_path: Path, duckdb_reader: DuckDBReader, always_delete_files: Callable[[], None]
) -> None:
    del always_delete_files
    books = Books(tmp_path, duckdb_reader)
    books.commit(rows=rows(*range(100)).to_reader())
    version = books.table.facts().version
    books.replace_rows(5, note="mistake")
    books.table.roll_back(At(version=version), token=WriteToken("interop", "back"))
    assert books.check().filter(pc.field("note") == "mistake").num_rows == 0
    books.commit(rows=rows(1000).to_reader())
    assert books.check().num_rows == 101
