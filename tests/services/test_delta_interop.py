"""What we write to Delta is what others read: Delta's own kernel, inside DuckDB."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.load.apply import apply_load
from airflow_provider_lakehouse.core.load.modes import Merge
from airflow_provider_lakehouse.core.schema import Column, Schema, SchemaChange
from airflow_provider_lakehouse.core.tables.base import At, CatalogSettings, Change, Positions, WriteToken
from airflow_provider_lakehouse.core.tables.delta.table import open_catalog
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.delta.table import DeltaLakeTable

    from .duckdb_reader import DuckDBReader

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ODD = "größe \"of\" the 'box'; DROP TABLE x --"
SCHEMA = Schema.of(
    Column("id", "long", nullable=False, comment="Key"), Column("day", "date"), Column("at", "timestamptz"),
    Column("local", "timestamp"), Column("amount", "decimal(12,2)"), Column("wide", "decimal(38,10)"),
    Column("note", "string"), Column("flag", "boolean"), Column("many", "list<long>"),
    Column("one", "struct<a:int,`b c`:string>"), Column("pairs", "map<string,long>"), Column("raw", "binary"),
    Column("x", "double"), Column("f", "float"), Column("i", "int"), Column(ODD, "string"), identifier=("id",),
)  # fmt: skip
NOTES = (
    "plain",
    "with space",
    "a/b",
    "a=b&c",
    "50%",
    "50%25",
    "ö🦀",
    "'quoted\"",
    "#?;:",
    "+",
    "\\",
    "a\nb",
    ".",
    "{x}",
    None,
)
"""Texts that have to be written otherwise in the name of a folder, or in a URI."""
LAYOUTS: dict[str, tuple[str, ...]] = {
    "unpartitioned": (),
    "days": ("day",),
    "texts": ("note",),
    "instants": ("at", "local"),
    "numbers": ("amount", "wide", "i", "flag"),
    "odd": (ODD, "i"),
}


def rows(*ids: int, schema: Schema = SCHEMA, **more: Any) -> pa.Table:
    """Rows with these ids."""
    found = [
        {
            "id": i, "day": date(1969 + i % 3, 12, 31), "at": datetime(1969, 12, 31, 23, 59, i % 60, 999_999, tzinfo=UTC),
            "local": datetime(2026, 3, 29, 2, 30, 0, i % 7), "amount": Decimal(i) / 4, "wide": Decimal(-i) * 10**20,  # noqa: DTZ001
            "note": NOTES[i % len(NOTES)], "flag": i % 2 == 0, "many": [1, None, i], "one": {"a": i, "b c": "é"},
            "pairs": [("k", i)], "raw": bytes([i % 256, 0]), "x": i / 3, "f": i / 2, "i": -i, ODD: NOTES[i % 5], **more,
        }
        for i in ids
    ]  # fmt: skip
    return pa.Table.from_pylist(found, schema=schema.to_arrow())


class Books:
    """A table, the tokens it has been given, and what others read of it."""

    def __init__(
        self, root: Path, reader: DuckDBReader, *, partitioning: tuple[str, ...] = (), schema: Schema = SCHEMA
    ) -> None:
        self._root = root
        self._reader = reader
        name = 'sales."odd" näme'
        self.table: DeltaLakeTable = open_catalog(CatalogSettings("delta", f"{root}/lake house")).table(name)
        self.table.create(TableSpec(schema, partitioning=partitioning))
        self._commits = 0

    def token(self) -> WriteToken:
        """A new one."""
        self._commits += 1
        return WriteToken("interop", str(self._commits))

    def commit(self, **change: Any) -> None:
        """Commits a change."""
        self.table.commit(Change(**change), token=self.token())

    def replace_rows(self, *ids: int, **options: Any) -> None:
        """Removes rows by position, and adds others with the same ids."""
        version = self.table.facts().version
        found = self.table.read_addressed(columns=("id",)).read_all()
        chosen = found.filter(pc.is_in(found.column("id"), value_set=pa.array(ids, pa.int64())))
        positions = Positions(chosen.select(["_file", "_pos"]))
        self.commit(rows=rows(*ids, **options).to_reader(), removes=positions, base=version)

    def check(self) -> pa.Table:
        """Compares both readers, and returns the rows."""
        ours = self.table.read().read_all()
        order = [(name, "ascending") for name in ours.column_names if name in ("id", "valid_from")]
        target = self._root / f"read-{self._commits}.parquet"
        self._reader.read_delta(target, folder=self.table.identity.location.removeprefix("file://"))
        theirs = pq.read_table(target).select(ours.column_names).cast(ours.schema)
        assert theirs.sort_by(order).to_pylist() == ours.sort_by(order).to_pylist()
        return ours


@pytest.mark.parametrize("layout", LAYOUTS)
def test_others_read_what_was_appended_replaced_overwritten_and_widened(
    tmp_path: Path, duckdb_reader: DuckDBReader, layout: str
) -> None:
    books = Books(tmp_path, duckdb_reader, partitioning=LAYOUTS[layout])
    books.commit(rows=rows(*range(40)).to_reader())
    nulls = pa.Table.from_pylist([{**dict.fromkeys(SCHEMA.names), "id": 900}], schema=SCHEMA.to_arrow())
    books.commit(rows=nulls.to_reader())
    assert books.check().num_rows == 41
    books.replace_rows(3, 17, 39, note="new")
    assert books.check().num_rows == 41
    more = (SchemaChange("add", Column("more", "decimal(10,2)")), SchemaChange("add", Column("späte Spalte", "string")))
    wider = SCHEMA.with_columns(*(change.column for change in more))
    books.commit(rows=rows(100, 101, schema=wider, more=Decimal("1.25")).to_reader(), schema_changes=more)
    books.replace_rows(5, 100, schema=wider, more=Decimal("-0.01"))
    assert books.check().num_rows == 43
    if LAYOUTS[layout]:
        books.commit(rows=rows(0, schema=wider, more=None).to_reader(), removes="partitions")
        books.check()
    books.commit(rows=rows(1, 2, schema=wider, more=None).to_reader(), removes="all")
    assert books.check().num_rows == 2


@pytest.mark.parametrize("partitioning", [(), ("note",)])
def test_others_read_what_was_merged_staged_published_and_rolled_back(
    tmp_path: Path, duckdb_reader: DuckDBReader, partitioning: tuple[str, ...]
) -> None:
    books, engine = Books(tmp_path, duckdb_reader, partitioning=partitioning), open_engine()
    books.commit(rows=rows(*range(30)).to_reader())
    merged = rows(*range(20, 40), x=-1.0)
    mode = Merge(keys=("id",))
    apply_load(books.table, merged.to_reader(), mode=mode, token=books.token(), engine=engine, now=NOW)
    assert books.check().filter(pc.field("x") == -1.0).num_rows == 20
    before = books.table.facts().version
    books.commit(rows=rows(50).to_reader(), branch="audit")
    books.table.publish("audit", token=books.token())
    assert books.check().num_rows == 41
    books.table.tag("month end")
    books.table.roll_back(At(version=before), token=books.token())
    assert books.check().num_rows == 40


def test_others_read_on_after_a_checkpoint(tmp_path: Path, duckdb_reader: DuckDBReader) -> None:
    books = Books(tmp_path, duckdb_reader, partitioning=("day",))
    for number in range(25):
        books.commit(rows=rows(number).to_reader())
    books.replace_rows(4, 5)
    assert books.check().num_rows == 25
