"""What we write to Delta is what delta-rs and DuckDB read, and the other way round."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from airflow_provider_lakehouse.core.errors import UnsupportedError
from airflow_provider_lakehouse.core.schema import Column, Schema, SchemaChange
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN, At, Change, Positions, WriteToken
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.spec import TableSpec

from .delta_tables import (
    NUMBERS,
    actions_of,
    add,
    delta_table,
    folder,
    held,
    inline_deletion_vector,
    numbers,
    put_commit,
    seen_by_delta_rs,
)

WIDE = Schema.of(
    Column("id", "long", nullable=False), Column("day", "date"), Column("at", "timestamptz"),
    Column("local", "timestamp"), Column("amount", "decimal(38,10)"), Column("note", "string"), Column("flag", "boolean"),
    Column("raw", "binary"), Column("many", "list<long>"), Column("one", "struct<a:int,b:string>"),
    Column("pairs", "map<string,long>"), Column("x", "double"), Column("f", "float"), Column("i", "int"),
    identifier=("id",),
)  # fmt: skip
LOCAL = datetime(2026, 3, 29, 2, 30, 0, 1)  # noqa: DTZ001
ROW: dict[str, Any] = {
    "id": 1, "day": date(1815, 6, 18), "at": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "local": LOCAL, "amount": Decimal("-1234567890123456789012345678.0123456789"), "note": "é" * 50, "flag": True,
    "raw": b"\x00\xff", "many": [1, None], "one": {"a": 1, "b": None}, "pairs": [("k", 1)], "x": -0.5, "f": 1.5, "i": 7,
}  # fmt: skip


def wide_rows() -> pa.Table:
    later = {**ROW, "id": 2, "day": date(9999, 12, 31), "at": datetime(9999, 12, 31, tzinfo=UTC), "x": 5e-324}
    return pa.Table.from_pylist([ROW, {**dict.fromkeys(ROW), "id": 3}, later], schema=WIDE.to_arrow())


def scanned(path: str, **options: Any) -> list[dict[str, Any]]:
    rows = pa.table(DeltaTable(path).scan(**options).read_all())
    return rows.cast(pa.schema([WIDE.to_arrow().field(name) for name in rows.column_names])).sort_by("id").to_pylist()


@pytest.mark.parametrize("partitioning", [(), ("day",), ("at", "note"), ("local", "amount"), ("flag", "i")])
def test_delta_rs_reads_every_type_and_partition_as_written(tmp_path: Path, partitioning: tuple[str, ...]) -> None:
    table = delta_table(tmp_path)
    table.create(TableSpec(WIDE, partitioning=partitioning))
    table.commit(Change(rows=wide_rows().to_reader()), token=WriteToken("p", "a"))
    expected = wide_rows().sort_by("id").to_pylist()
    assert scanned(folder(tmp_path)) == expected
    assert table.read().read_all().sort_by("id").to_pylist() == expected


def test_no_row_is_skipped_by_our_statistics(tmp_path: Path) -> None:
    table = delta_table(tmp_path)
    table.create(TableSpec(WIDE))
    table.commit(Change(rows=wide_rows().to_reader()), token=WriteToken("p", "a"))
    for condition, found in (
        ("at = '1969-12-31T23:59:59.999999Z'", [1]),
        ("day = '9999-12-31'", [2]),
        (f"note = '{'é' * 50}'", [1, 2]),
        ("x < 0", [1]),
        ("amount < 0", [1, 2]),
        ("i > 7", []),
    ):
        assert [row["id"] for row in scanned(folder(tmp_path), predicate=condition)] == found, condition


def test_duckdb_reads_the_files_the_log_names(tmp_path: Path) -> None:
    table = delta_table(tmp_path)
    table.create(TableSpec(NUMBERS))
    add(table, 1, 2, 3, batch="a")
    files = DeltaTable(folder(tmp_path)).file_uris()
    with duckdb.connect() as connection:
        assert connection.execute("SELECT sum(n) FROM read_parquet(?)", [files]).fetchall() == [(6,)]


def test_delta_rs_appends_merges_compacts_and_vacuums_our_table(tmp_path: Path) -> None:
    table, path = delta_table(tmp_path), folder(tmp_path)
    table.create(TableSpec(NUMBERS, properties={"delta.deletedFileRetentionDuration": "interval 0 days"}))
    add(table, 1, 2, batch="a")
    add(table, 3, batch="b")
    write_deltalake(path, pa.table({"n": [4], "s": ["theirs"]}), mode="append")
    source = pa.table({"n": [4, 5], "s": ["merged", "merged"]})
    merger = DeltaTable(path).merge(source, "t.n = s.n", source_alias="s", target_alias="t")
    merger.when_matched_update_all().when_not_matched_insert_all().execute()
    DeltaTable(path).optimize.compact()
    DeltaTable(path).create_checkpoint()
    DeltaTable(path).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)
    assert held(table) == seen_by_delta_rs(path) == [1, 2, 3, 4, 5]
    assert held(table, where=(Comparison("s", "=", "merged"),)) == [4, 5]
    changes = [entry.operation for entry in table.history() if entry.changes_rows]
    assert changes == ["WRITE", "WRITE", "WRITE", "MERGE"]
    add(table, 6, batch="c")
    assert held(table) == seen_by_delta_rs(path) == [1, 2, 3, 4, 5, 6]
    assert all(table.find(WriteToken("test", batch)) is not None for batch in "abc")


def test_rows_of_files_that_delta_rs_wrote_are_changed_by_address(tmp_path: Path) -> None:
    path = folder(tmp_path)
    rows = pa.table({"n": [1, 2, 3], "s": ["a b%é/=", "x", None]})
    write_deltalake(path, rows, partition_by=["s"])
    table = delta_table(tmp_path)
    addressed = table.read_addressed(columns=("n",), where=(Comparison("n", "in", (1, 3)),)).read_all()
    positions = Positions(addressed.select([FILE_COLUMN, POSITION_COLUMN]))
    change = Change(rows=numbers(7, text="a b%é/="), removes=positions, base=table.facts().version)
    assert table.commit(change, token=WriteToken("p", "a")).rows_removed == 2
    assert held(table) == seen_by_delta_rs(path) == [2, 7]
    assert held(table, where=(Comparison("s", "=", "a b%é/="),)) == [7]


def test_a_column_that_delta_rs_added_is_null_in_older_files(tmp_path: Path) -> None:
    path = folder(tmp_path)
    write_deltalake(path, pa.table({"n": [1], "many": [[1]]}))
    write_deltalake(path, pa.table({"n": [2], "many": [[2]], "more": [[9]]}), mode="append", schema_mode="merge")
    table = delta_table(tmp_path)
    found = table.read().read_all().sort_by("n").to_pylist()
    assert found == [{"n": 1, "many": [1], "more": None}, {"n": 2, "many": [2], "more": [9]}]
    assert {file.missing for file in table.list_files().files} == {(), ("more",)}


def test_a_column_that_we_added_is_null_in_older_files_for_delta_rs(tmp_path: Path) -> None:
    table = delta_table(tmp_path)
    table.create(TableSpec(NUMBERS))
    add(table, 1, batch="a")
    more = Column("at", "timestamp", comment="Local")
    rows = pa.table({"n": [2], "s": ["x"], "at": pa.array([LOCAL], pa.timestamp("us"))})
    change = Change(rows=rows.to_reader(), schema_changes=(SchemaChange("add", more),))
    table.commit(change, token=WriteToken("p", "b"))
    assert "timestampNtz" in (DeltaTable(folder(tmp_path)).protocol().reader_features or [])
    found = pa.table(DeltaTable(folder(tmp_path)).scan(columns=["n", "at"]).read_all()).sort_by("n").to_pylist()
    assert found == [{"n": 1, "at": None}, {"n": 2, "at": LOCAL}]


def test_mapped_columns_are_read_by_their_names(tmp_path: Path) -> None:
    rows = pa.table({"n": [1, 2], "p": ["a", "b"], "many": [[1], None]})
    write_deltalake(folder(tmp_path), rows, partition_by=["p"], configuration={"delta.columnMapping.mode": "name"})
    table = delta_table(tmp_path)
    assert table.read().read_all().sort_by("n").to_pylist() == rows.to_pylist()
    assert held(table, where=(Comparison("p", "=", "b"), Comparison("n", ">", 0))) == [2]
    with pytest.raises(UnsupportedError, match="columnMapping"):
        table.commit(Change(rows=rows.to_reader()), token=WriteToken("p", "a"))


def with_deletion_vector(path: Path, *positions: int) -> None:
    write_deltalake(path, pa.table({"n": list(range(10)), "s": ["x"] * 10}))
    (added,) = actions_of(path, 0, "add")
    features = ["deletionVectors"]
    put_commit(
        path,
        1,
        {"commitInfo": {"timestamp": 5, "operation": "DELETE"}},
        {
            "protocol": {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": features,
                "writerFeatures": features,
            }
        },
        {"remove": {"path": added["path"], "deletionTimestamp": 1, "dataChange": True}},
        {"add": {**added, "deletionVector": inline_deletion_vector(*positions)}},
    )


def test_rows_under_a_deletion_vector_are_gone(tmp_path: Path) -> None:
    with_deletion_vector(Path(folder(tmp_path)), 1, 3)
    table = delta_table(tmp_path)
    assert held(table) == [0, 2, 4, 5, 6, 7, 8, 9]
    assert table.facts().rows == 8
    addressed = table.read_addressed(columns=("n",)).read_all()
    assert addressed.column("n").to_pylist() == addressed.column(POSITION_COLUMN).to_pylist()
    assert table.list_files().files[0].removed.to_pylist() == [1, 3]


def test_files_with_deletion_vectors_are_appended_beside_and_never_removed(tmp_path: Path) -> None:
    with_deletion_vector(Path(folder(tmp_path)), 1)
    table = delta_table(tmp_path)
    add(table, 99, batch="a")
    addressed = table.read_addressed(columns=("n",), where=(Comparison("n", "=", 5),)).read_all()
    by_row = Change(removes=Positions(addressed.select([FILE_COLUMN, POSITION_COLUMN])), base=table.facts().version)
    for change in (by_row, Change(removes="all")):
        with pytest.raises(UnsupportedError, match="deletion vectors"):
            table.commit(change, token=WriteToken("p", "b"))
    assert held(table) == seen_by_delta_rs(folder(tmp_path)) == [0, 2, 3, 4, 5, 6, 7, 8, 9, 99]


def test_tokens_are_application_transactions_that_survive_checkpoints(tmp_path: Path) -> None:
    table, path = delta_table(tmp_path), folder(tmp_path)
    table.create(TableSpec(NUMBERS, properties={"delta.checkpointInterval": "3"}))
    for batch in range(7):
        add(table, batch, batch=batch)
    assert Path(path, "_delta_log", "00000000000000000006.checkpoint.parquet").exists()
    for version in range(6):
        Path(path, "_delta_log", f"{version:020d}.json").unlink()
    key = WriteToken("test", 0).key
    assert DeltaTable(path).transaction_version(f"lakehouse:{key}") == 6
    known = table.find(WriteToken("test", 2))
    assert known is not None
    assert (known.replayed, known.rows_added) == (True, None)
    assert held(table) == list(range(7))


def test_transactions_of_other_writers_are_left_alone(tmp_path: Path) -> None:
    table, path = delta_table(tmp_path), folder(tmp_path)
    table.create(TableSpec(NUMBERS))
    mine = CommitProperties(app_transactions=[Transaction("their-stream", 41)])
    write_deltalake(path, pa.table({"n": [1], "s": ["x"]}), mode="append", commit_properties=mine)
    add(table, 2, batch="a")
    assert DeltaTable(path).transaction_version("their-stream") == 41


def test_delta_rs_travels_through_our_versions(tmp_path: Path) -> None:
    table, path = delta_table(tmp_path), folder(tmp_path)
    table.create(TableSpec(NUMBERS))
    add(table, 1, batch="a")
    table.commit(Change(rows=numbers(2), removes="all"), token=WriteToken("test", "b"))
    table.roll_back(At(version=1), token=WriteToken("test", "back"))
    assert [seen_by_delta_rs(path, version=version) for version in range(4)] == [[], [1], [2], [1]]
    operations = [entry["operation"] for entry in DeltaTable(path).history()]
    assert operations == ["RESTORE", "WRITE", "WRITE", "CREATE TABLE"]
