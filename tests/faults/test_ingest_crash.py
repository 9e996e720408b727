"""Files that were claimed under one pattern end in the table once, whatever pattern the next runs have."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.extract.plan import plan_files
from airflow_provider_lakehouse.core.flows import Target, ingest_files
from airflow_provider_lakehouse.core.load.modes import Append
from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.sources.files.lines import CsvDialect
from airflow_provider_lakehouse.core.sources.files.source import FileSettings, FileSource
from airflow_provider_lakehouse.core.state.table import TableFileLedger
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, no_probe
from airflow_provider_lakehouse.testing.faults import crash_sweep

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.flows import IngestResult
    from airflow_provider_lakehouse.core.tables.base import Probe

NOW = datetime(2026, 1, 31, tzinfo=UTC)
FORMATS = ("memory", "iceberg", "delta")
FIRST, SECOND = "2026-01-30", "2026-01-31"
LANDED = {
    f"{FIRST}/a.csv": "id;name\n1;größe\n2;b\ntwo;c\n".encode("latin-1"),
    f"{FIRST}/b.csv": b"id;name\n3;NA\n",
    f"{SECOND}/a.csv": b"id,name\n4,NA\n5,e\n",
}
"""The days are written in different ways, so that each can be read only as its own run reads it."""
READ_AS: dict[str, dict[str, Any]] = {
    FIRST: {"csv": CsvDialect(delimiter=";", null_texts=("NA",)), "encoding": "latin-1"},
    SECOND: {},
}
ROWS = {(1, "größe"), (2, "b"), (3, None), (4, "NA"), (5, "e")}


@dataclass
class Lake:
    """A place for tables, and a landing folder with two days."""

    format: str
    root: Path

    def __post_init__(self) -> None:
        self.runs = 0
        for name, content in LANDED.items():
            path = self.root / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def run(self, day: str, probe: Probe = no_probe) -> IngestResult:
        """Ingest a day as one run of a DAG does, with a pattern of its own."""
        catalog = self._catalog(probe)
        columns = Schema.of(Column("id", "long"), Column("name", "string"))
        source = FileSource(FileSettings(f"{self.root}/in/{day}/*.csv", schema=columns, **READ_AS[day]))
        ledger = TableFileLedger(catalog.table("ledger.files"))
        target = Target(
            catalog.table("bronze.items"),
            Append(),
            SchemaPolicy.from_json("quarantine"),
            quarantine=catalog.table("quarantine.rows"),
        )
        plan = plan_files(source, ledger, pipeline="ingest", now=NOW)
        return ingest_files(plan, source, ledger, target, engine=open_engine(), now=NOW)

    def rows(self) -> list[tuple[object, ...]]:
        read = self._catalog().table("bronze.items").read(columns=("id", "name")).read_all().to_pylist()
        return sorted((row["id"], row["name"]) for row in read)

    def refused(self) -> list[tuple[object, ...]]:
        read = self._catalog().table("quarantine.rows").read().read_all().to_pylist()
        return sorted((row["reason"], row["source_row"], row["payload"]) for row in read)

    def unfinished(self) -> int:
        return len(TableFileLedger(self._catalog().table("ledger.files")).unfinished("ingest"))

    def _catalog(self, probe: Probe = no_probe) -> Any:
        place = f"memory://{self.root}" if self.format == "memory" else f"file://{self.root}/lake"
        return find("tables", self.format)(CatalogSettings(self.format, place), probe=probe)


@pytest.mark.slow
@pytest.mark.parametrize("format_", FORMATS)
def test_a_run_that_dies_anywhere_is_finished_by_a_run_of_another_pattern(tmp_path: Path, format_: str) -> None:
    finished: list[tuple[int, ...]] = []

    def act(lake: Lake, probe: Probe) -> None:
        lake.runs += 1
        if lake.runs == 1:
            lake.run(FIRST, probe)
        else:  # the next day's run, which must leave nothing unfinished, before the first day's is cleared
            finished.append(lake.run(SECOND).batches)
            assert lake.unfinished() == 0
            lake.run(FIRST)
        lake.run(SECOND)

    def observe(lake: Lake) -> object:
        return lake.rows(), lake.refused(), lake.unfinished()

    crash_sweep(prepare=lambda number: Lake(format_, tmp_path / str(number)), act=act, observe=observe)
    last = Lake(format_, tmp_path / "0")
    assert set(last.rows()) == ROWS
    assert [reason for reason, _, _ in last.refused()] == ["id: not a long"]
    assert (1, 2) in finished


@pytest.mark.parametrize("format_", FORMATS)
def test_runs_of_two_patterns_at_once_load_every_file_once(tmp_path: Path, format_: str) -> None:
    lake = Lake(format_, tmp_path)
    start = threading.Barrier(4)

    def run(day: str) -> None:
        start.wait()
        lake.run(day)

    with ThreadPoolExecutor(4) as pool:
        for running in [pool.submit(run, day) for day in (FIRST, SECOND, FIRST, SECOND)]:
            running.result()

    assert (set(lake.rows()), len(lake.rows()), lake.unfinished()) == (ROWS, 5, 0)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_run_of_another_pattern_that_comes_while_one_loads_commits_its_batch_for_it(
    tmp_path: Path, format_: str
) -> None:
    lake = Lake(format_, tmp_path)
    others: list[IngestResult] = []

    def other_run(step: str) -> None:
        if lake.unfinished() and not others:
            others.append(lake.run(SECOND))

    result = lake.run(FIRST, other_run)

    assert (others[0].batches, result.batches) == ((1, 2), (1,))
    assert (set(lake.rows()), len(lake.rows()), lake.unfinished()) == (ROWS, 5, 0)
