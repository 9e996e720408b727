"""Commits to Delta tables: races, conflicts, lost folders, and what is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from airflow_provider_lakehouse.core.errors import (
    ConflictError,
    DamagedError,
    DataRejectedError,
    InvalidRequestError,
    UnavailableError,
)
from airflow_provider_lakehouse.core.schema import Column, SchemaChange
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN, At, Change, Positions, WriteToken
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.spec import TableSpec

from .delta_tables import NUMBERS, actions_of, add, delta_table, folder, held, numbers, put_commit, seen_by_delta_rs

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_lakehouse.core.tables.delta.table import DeltaLakeTable

WRITERS = 4
WRITER = """
import sys
from pathlib import Path
import pyarrow as pa
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, WriteToken
from airflow_provider_lakehouse.core.tables.delta.table import open_catalog
root, writer = sys.argv[1], int(sys.argv[2])
table = open_catalog(CatalogSettings("delta", root)).table("a.b")
for batch in range(10):
    for number, name in ((writer * 10 + batch, f"{writer} {batch}"), (1000 + batch, f"shared {batch}")):
        rows = pa.table({"n": [number], "s": ["x"]})
        table.commit(Change(rows=rows.to_reader()), token=WriteToken("racing", name))
"""


@pytest.fixture
def table(tmp_path: Path) -> DeltaLakeTable:
    table = delta_table(tmp_path)
    table.create(TableSpec(NUMBERS))
    return table


def positions(table: DeltaLakeTable, *values: int) -> tuple[Positions, int]:
    version = table.facts().version
    rows = table.read_addressed(columns=("n",), where=(Comparison("n", "in", values),)).read_all()
    return Positions(rows.select([FILE_COLUMN, POSITION_COLUMN])), version


def interrupted(root: Path, interrupt: Callable[[], object], *, times: int = 1) -> DeltaLakeTable:
    """Return a table that lets something happen just before it commits."""
    left = [times]

    def probe(step: str) -> None:
        if step == "before delta.commit" and left[0]:
            left[0] -= 1
            interrupt()

    return delta_table(root, probe=probe)


def data_files(root: Path) -> int:
    return len(list(root.rglob("data/**/*.parquet")))


def test_no_append_of_racing_processes_is_lost_or_doubled(tmp_path: Path, table: DeltaLakeTable) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(number)], env=environment)
        for number in range(WRITERS)
    ]
    assert [writer.wait(120) for writer in writers] == [0] * WRITERS
    expected = [*range(WRITERS * 10), *range(1000, 1010)]
    assert held(table) == seen_by_delta_rs(folder(tmp_path)) == expected
    assert data_files(tmp_path) == len(expected)


def test_a_lower_batch_that_is_run_again_leaves_its_rows_alone(tmp_path: Path, table: DeltaLakeTable) -> None:
    for batch in (1, 2):
        add(table, batch, batch=batch)
    add(table, 1, batch=1)
    assert held(table) == [1, 2]
    assert data_files(tmp_path) == 2


def test_a_commit_that_delta_rs_wins_is_made_after_it(tmp_path: Path, table: DeltaLakeTable) -> None:
    def theirs() -> None:
        write_deltalake(folder(tmp_path), pa.table({"n": [1], "s": ["theirs"]}), mode="append")

    interrupted(tmp_path, theirs, times=3).commit(Change(rows=numbers(2)), token=WriteToken("p", "a"))
    assert held(table) == seen_by_delta_rs(folder(tmp_path)) == [1, 1, 1, 2]


def test_replacing_removes_what_came_while_it_was_written(tmp_path: Path, table: DeltaLakeTable) -> None:
    mine = interrupted(tmp_path, lambda: add(table, 1, batch="theirs"))
    result = mine.commit(Change(rows=numbers(2), removes="all"), token=WriteToken("p", "a"))
    assert (held(table), result.rows_removed) == ([2], 1)


def test_rows_removed_from_a_file_that_was_compacted_meanwhile_are_a_conflict(
    tmp_path: Path, table: DeltaLakeTable
) -> None:
    add(table, 1, batch="a")
    add(table, 2, batch="b")
    chosen, version = positions(table, 1)
    mine = interrupted(tmp_path, lambda: DeltaTable(folder(tmp_path)).optimize.compact())
    before = data_files(tmp_path)
    with pytest.raises(ConflictError):
        mine.commit(Change(rows=numbers(3), removes=chosen, base=version), token=WriteToken("p", "c"))
    assert held(table) == [1, 2]
    assert data_files(tmp_path) == before


def test_a_compaction_is_no_new_rows_to_a_guard(tmp_path: Path, table: DeltaLakeTable) -> None:
    add(table, 1, batch="a")
    add(table, 2, batch="b")
    version = table.facts().version
    mine = interrupted(tmp_path, lambda: DeltaTable(folder(tmp_path)).optimize.compact())
    mine.commit(Change(rows=numbers(3), base=version, guard=()), token=WriteToken("p", "c"))
    assert held(table) == [1, 2, 3]


@pytest.mark.parametrize(("number", "is_conflict"), [(5, True), (50, False)])
def test_a_guard_looks_at_the_statistics_of_rows_that_delta_rs_adds(
    tmp_path: Path, table: DeltaLakeTable, number: int, is_conflict: bool
) -> None:
    def theirs() -> None:
        write_deltalake(folder(tmp_path), pa.table({"n": [number], "s": ["theirs"]}), mode="append")

    mine = interrupted(tmp_path, theirs)
    guard = (Comparison("n", ">=", 1), Comparison("n", "<=", 9))
    change = Change(rows=numbers(5), base=0, guard=guard)
    if is_conflict:
        with pytest.raises(ConflictError):
            mine.commit(change, token=WriteToken("p", "a"))
        assert held(table) == [number]
    else:
        mine.commit(change, token=WriteToken("p", "a"))
        assert held(table) == [5, number]


def test_a_base_whose_log_is_gone_is_a_conflict_and_never_a_guess(tmp_path: Path, table: DeltaLakeTable) -> None:
    for number in range(11):
        add(table, number, batch=f"{number}")
    Path(folder(tmp_path), "_delta_log", f"{3:020d}.json").unlink()
    with pytest.raises(ConflictError, match="no longer tells"):
        table.commit(Change(rows=numbers(99), base=2, guard=(Comparison("n", "=", 99),)), token=WriteToken("p", "a"))


def test_a_base_from_the_future_is_refused(table: DeltaLakeTable) -> None:
    with pytest.raises(InvalidRequestError, match="7"):
        table.commit(Change(rows=numbers(1), base=7, guard=()), token=WriteToken("p", "a"))


def test_a_column_that_was_added_meanwhile_is_null_in_our_rows(tmp_path: Path, table: DeltaLakeTable) -> None:
    more = SchemaChange("add", Column("more", "long"))
    mine = interrupted(tmp_path, lambda: table.commit(Change(schema_changes=(more,)), token=WriteToken("p", "b")))
    mine.commit(Change(rows=numbers(1)), token=WriteToken("p", "a"))
    assert table.read().read_all().to_pylist() == [{"n": 1, "s": "x", "more": None}]


def test_two_writers_that_add_the_same_column_both_succeed(tmp_path: Path, table: DeltaLakeTable) -> None:
    more = SchemaChange("add", Column("more", "long"))
    mine = interrupted(tmp_path, lambda: table.commit(Change(schema_changes=(more,)), token=WriteToken("p", "b")))
    mine.commit(Change(schema_changes=(more,)), token=WriteToken("p", "a"))
    assert table.facts().schema.names == ("n", "s", "more")


def test_two_writers_that_add_a_column_of_two_types_are_a_conflict(tmp_path: Path, table: DeltaLakeTable) -> None:
    theirs = Change(schema_changes=(SchemaChange("add", Column("more", "string")),))
    mine = interrupted(tmp_path, lambda: table.commit(theirs, token=WriteToken("p", "b")))
    with pytest.raises(ConflictError):
        mine.commit(Change(schema_changes=(SchemaChange("add", Column("more", "long")),)), token=WriteToken("p", "a"))


def test_a_table_that_was_made_anew_while_rows_were_written_is_a_conflict(
    tmp_path: Path, table: DeltaLakeTable
) -> None:
    def remake() -> None:
        table.drop()
        table.create(TableSpec(NUMBERS))
        add(table, 7, batch="new")

    with pytest.raises(ConflictError):
        interrupted(tmp_path, remake).commit(Change(rows=numbers(1)), token=WriteToken("p", "a"))
    assert held(table) == [7]


def test_a_source_that_fails_while_it_is_read_leaves_nothing(tmp_path: Path, table: DeltaLakeTable) -> None:
    schema = NUMBERS.to_arrow()

    def rows() -> Any:
        yield pa.RecordBatch.from_pylist([{"n": 1, "s": "x"}], schema=schema)
        raise UnavailableError("The source went away. Run again later.")

    with pytest.raises(UnavailableError, match="source"):
        table.commit(Change(rows=pa.RecordBatchReader.from_batches(schema, rows())), token=WriteToken("p", "a"))
    assert (held(table), data_files(tmp_path), table.find(WriteToken("p", "a"))) == ([], 0, None)


def test_rows_of_another_type_are_refused_before_a_file_is_written(tmp_path: Path, table: DeltaLakeTable) -> None:
    rows = pa.table({"n": ["one"], "s": ["x"]})
    with pytest.raises(InvalidRequestError, match="types"):
        table.commit(Change(rows=rows.to_reader()), token=WriteToken("p", "a"))
    assert data_files(tmp_path) == 0


def test_types_that_lose_nothing_are_cast(table: DeltaLakeTable) -> None:
    rows = pa.table({"n": pa.array([1, None], pa.int8()), "s": pa.array(["x", "y"]).dictionary_encode()})
    table.commit(Change(rows=rows.to_reader()), token=WriteToken("p", "a"))
    nothing = pa.table({"n": pa.nulls(1), "s": pa.array(["z"], pa.large_string())})
    table.commit(Change(rows=nothing.to_reader()), token=WriteToken("p", "b"))
    assert sorted(table.read().read_all().column("s").to_pylist()) == ["x", "y", "z"]


def test_nanoseconds_that_microseconds_cannot_hold_are_refused(tmp_path: Path) -> None:
    table = delta_table(tmp_path)
    table.create(TableSpec(replace(NUMBERS, columns=(Column("at", "timestamptz"),))))
    exact = pa.table({"at": pa.array([1_000], pa.timestamp("ns", "UTC"))})
    table.commit(Change(rows=exact.to_reader()), token=WriteToken("p", "a"))
    rows = pa.table({"at": pa.array([1_001], pa.timestamp("ns", "UTC"))})
    with pytest.raises(DataRejectedError):
        table.commit(Change(rows=rows.to_reader()), token=WriteToken("p", "b"))


def test_positions_that_are_no_rows_are_refused(table: DeltaLakeTable) -> None:
    add(table, 1, batch="a")
    chosen, version = positions(table, 1)
    file = chosen.rows.column(FILE_COLUMN)[0].as_py()
    for uri, place in ((file, 1), (file, -1), (f"{file}x", 0)):
        wrong = Positions(pa.table({FILE_COLUMN: [uri], POSITION_COLUMN: [place]}))
        with pytest.raises(InvalidRequestError):
            table.commit(Change(removes=wrong, base=version), token=WriteToken("p", "b"))
    assert held(table) == [1]


def test_a_file_that_loses_all_its_rows_is_not_written_again(tmp_path: Path, table: DeltaLakeTable) -> None:
    add(table, 1, 2, batch="a")
    chosen, version = positions(table, 1, 2)
    result = table.commit(Change(removes=chosen, base=version), token=WriteToken("p", "b"))
    assert (result.files_added, result.files_removed, result.rows_removed) == (0, 1, 2)
    assert data_files(tmp_path) == 1


def test_rows_are_ordered_within_their_files_when_the_table_asks(tmp_path: Path) -> None:
    table = delta_table(tmp_path)
    table.create(TableSpec(NUMBERS, sort_order=("n",)))
    add(table, 3, 1, 2, batch="a")
    assert table.read(columns=("n",)).read_all().column("n").to_pylist() == [1, 2, 3]


def test_history_says_who_wrote_what(table: DeltaLakeTable) -> None:
    change = Change(rows=numbers(1, 2), summary={"mode": "append"})
    table.commit(change, token=WriteToken("p", "a"))
    entry = table.history()[-1]
    assert (entry.operation, entry.rows_added, entry.summary) == ("WRITE", 2, {"mode": "append"})
    with pytest.raises(InvalidRequestError):
        table.history(since=9)


def test_history_that_the_log_no_longer_has_is_refused_and_not_skipped(tmp_path: Path, table: DeltaLakeTable) -> None:
    for number in range(10):
        add(table, number, batch=f"{number}")
    for version in range(4):
        Path(folder(tmp_path), "_delta_log", f"{version:020d}.json").unlink()
    assert [entry.version for entry in table.history(since=3)] == list(range(4, 11))
    with pytest.raises(InvalidRequestError):
        table.history(since=2)


def test_a_state_is_found_by_its_time(table: DeltaLakeTable) -> None:
    add(table, 1, batch="a")
    at = table.history()[-1].committed_at
    assert held(table, at=At(as_of=at)) == [1]
    with pytest.raises(InvalidRequestError):
        held(table, at=At(as_of=datetime(2000, 1, 1, tzinfo=UTC)))
    assert held(table, at=At(as_of=at + timedelta(days=1))) == [1]


def test_a_rollback_to_a_state_whose_files_were_vacuumed_is_refused(tmp_path: Path, table: DeltaLakeTable) -> None:
    add(table, 1, batch="a")
    table.commit(Change(rows=numbers(2), removes="all"), token=WriteToken("p", "b"))
    DeltaTable(folder(tmp_path)).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(InvalidRequestError, match="vacuumed"):
        table.roll_back(At(version=1), token=WriteToken("p", "back"))
    assert held(table) == [2]


def test_a_rolled_back_file_keeps_what_is_known_of_its_columns(tmp_path: Path, table: DeltaLakeTable) -> None:
    add(table, 1, 5, batch="a")
    table.commit(Change(removes="all"), token=WriteToken("p", "b"))
    table.roll_back(At(version=1), token=WriteToken("p", "back"))
    (added,) = actions_of(Path(folder(tmp_path)), 3, "add")
    statistics = json.loads(added["stats"])
    assert (statistics["numRecords"], statistics["minValues"]["n"], statistics["maxValues"]["n"]) == (2, 1, 5)
    assert table.list_files(where=(Comparison("n", ">", 5),)).files == ()


def test_a_log_that_cannot_be_read_is_damage(tmp_path: Path, table: DeltaLakeTable) -> None:
    log = Path(folder(tmp_path), "_delta_log")
    (log / f"{1:020d}.json").write_text('{"add": ')
    with pytest.raises(DamagedError):
        table.facts()


def test_a_data_file_that_is_missing_is_damage(tmp_path: Path, table: DeltaLakeTable) -> None:
    add(table, 1, batch="a")
    for file in tmp_path.rglob("data/**/*.parquet"):
        file.unlink()
    with pytest.raises(DamagedError):
        held(table)


def test_a_file_of_a_writer_that_counts_nothing_is_counted_when_read(tmp_path: Path, table: DeltaLakeTable) -> None:
    add(table, 1, 2, batch="a")
    path = Path(folder(tmp_path))
    (added,) = actions_of(path, 1, "add")
    put_commit(path, 1, {"add": {**added, "stats": None}})
    assert table.facts().rows is None
    assert [file.rows for file in table.list_files().files] == [2]
    assert held(table, where=(Comparison("n", "=", 2),)) == [2]
    assert table.commit(Change(removes="all"), token=WriteToken("p", "b")).rows_removed is None


def test_an_address_outside_the_tables_folder_is_followed(tmp_path: Path, table: DeltaLakeTable) -> None:
    add(table, 1, batch="a")
    path = Path(folder(tmp_path))
    (added,) = actions_of(path, 1, "add")
    elsewhere = tmp_path / "else where" / "f.parquet"
    elsewhere.parent.mkdir()
    (path / added["path"]).rename(elsewhere)
    put_commit(path, 1, {"add": {**added, "path": elsewhere.as_uri()}})
    assert held(table) == [1]


def test_every_type_of_a_guard_is_remembered_by_a_staged_commit(tmp_path: Path) -> None:
    from airflow_provider_lakehouse.core.tables.delta.conflicts import Claims

    values = (date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), Decimal("1.10"), b"\xff", "", 1, 1.5, True)
    guard = (Comparison("n", "in", values), Comparison("n", "is null"), *(Comparison("n", "=", v) for v in values))
    claims = Claims(guards=(guard, ()), partitions=frozenset({("2026-01-01", None)}))
    assert Claims.from_note(json.loads(json.dumps(claims.to_note()))) == claims
