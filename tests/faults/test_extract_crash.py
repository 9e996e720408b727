"""Die at every step of an extraction, in the driver and in the table, rerun with the plan that was kept, and compare."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.extract.plan import read_position
from airflow_provider_lakehouse.core.flows import Target, ingest_slice
from airflow_provider_lakehouse.core.load.modes import mode_from_json
from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.sources.base import ExtractPlan
from airflow_provider_lakehouse.core.sources.dbapi.source import open_source
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, WriteToken
from airflow_provider_lakehouse.testing.faults import crash_sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import Catalog

    Probe = Callable[[str], None]

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PIPELINE = "dag/task"
TOKEN = WriteToken(PIPELINE, "after nothing")
FORMATS = ["memory", "iceberg", "delta"]
SWEPT = ["memory", "delta"]  # the steps of Iceberg's own commit are swept with every load mode


class Watched:
    """A real connection or cursor of SQLite that tells a probe before and after everything that asks the database."""

    def __init__(self, real: Any, probe: Probe) -> None:
        self.real = real
        self.probe = probe
        self.description = None

    def cursor(self) -> Watched:
        return Watched(self.real.cursor(), self.probe)

    def execute(self, *arguments: Any) -> None:
        self._step("execute", *arguments)
        self.description = self.real.description

    def fetchmany(self, rows: int) -> Any:
        return self._step("fetchmany", rows)

    def close(self) -> None:
        self.real.close()

    def _step(self, name: str, *arguments: Any) -> Any:
        self.probe(f"before {name}")
        result = getattr(self.real, name)(*arguments)
        self.probe(f"after {name}")
        return result


@dataclass
class Task:
    """What outlives a killed process: the database, the table, and the plan in Airflow's task state."""

    root: Path
    format: str
    kept: dict[str, Any] = field(default_factory=dict)

    def catalog(self, probe: Probe) -> Catalog:
        uri = f"memory://{self.root}" if self.format == "memory" else f"file://{self.root}/lake"
        catalog: Catalog = find("tables", self.format)(CatalogSettings(self.format, uri), probe=probe)
        return catalog

    def run(self, probe: Probe) -> None:
        """Do what the operator does in one try."""

        def connect() -> Watched:
            probe("before connect")
            return Watched(sqlite3.connect(self.root / "shop.db"), probe)

        source = open_source(
            connect=connect, uri="sqlite://shop", relation="t", mode="incremental", cursor="id", paramstyle="qmark",
            quote="`", columns={"id": "long", "amount": "decimal(10,2)"},
        )  # fmt: skip
        table = self.catalog(probe).table("bronze.t")
        if "plan" not in self.kept:
            before = read_position(table.facts().properties if table.exists() else {}, pipeline=PIPELINE)
            self.kept["plan"] = source.plan(position=before, now=NOW).to_json()
        plan = ExtractPlan.from_json(self.kept["plan"])
        quarantine = self.catalog(probe).table("quarantine.rows")
        target = Target(table, mode_from_json("append"), SchemaPolicy.from_json("evolve"), quarantine=quarantine)
        engine = find("engines", "duckdb")(EngineSettings(threads=1))
        ingest_slice(plan, source, target, token=TOKEN, engine=engine)

    def statement(self, text: str) -> None:
        with closing(sqlite3.connect(self.root / "shop.db")) as connection:
            connection.executescript(text)

    def committed(self) -> object:
        """What the token wrote."""
        table = self.catalog(lambda step: None).table("bronze.t")
        return table.find(TOKEN) if table.exists() else None

    def seen(self) -> object:
        """Rows, refused rows, position and data files."""
        table, quarantine = (self.catalog(lambda step: None).table(name) for name in ("bronze.t", "quarantine.rows"))
        with table.read(columns=("id", "amount")) as rows, quarantine.read(columns=("reason",)) as refused:
            found = sorted(map(str, rows.read_all().to_pylist())), refused.read_all().to_pylist()
        position = read_position(table.facts().properties, pipeline=PIPELINE)
        return found, position, len(list(self.root.rglob("*.parquet")))


def prepared(root: Path, format_: str, number: int) -> Task:
    folder = root / str(number)
    folder.mkdir()
    task = Task(folder, format_)
    task.statement("CREATE TABLE t (id INTEGER, amount TEXT); INSERT INTO t VALUES (1, '1.50'), (2, 'cheap'), (3, '3')")
    return task


@pytest.mark.parametrize("format_", SWEPT)
def test_an_extraction_ends_the_same_wherever_it_dies(tmp_path: Path, format_: str) -> None:
    steps = crash_sweep(
        prepare=lambda number: prepared(tmp_path, format_, number),
        act=lambda task, probe: task.run(probe),
        observe=lambda task: task.seen(),
    )
    assert {"before connect", "after execute", "before fetchmany", "after fetchmany"} <= set(steps)
    assert any("commit" in step for step in steps)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_retry_reads_the_range_that_the_first_try_planned(tmp_path: Path, format_: str) -> None:
    """Rows that come between two tries are for the next increment, which starts where the committed one ended."""
    task = prepared(tmp_path, format_, 0)

    class LostError(Exception):
        pass

    def lose(step: str) -> None:
        if step == "after fetchmany" and "plan" in task.kept:
            raise LostError

    with pytest.raises(LostError):
        task.run(lose)
    assert task.committed() is None
    task.statement("INSERT INTO t VALUES (4, '4')")
    task.run(lambda step: None)
    (rows, refused), position, _ = task.seen()  # type: ignore[misc]
    assert [row[:8] for row in rows] == ["{'id': 1", "{'id': 3"]
    assert refused == [{"reason": "amount: not a decimal(10,2)"}]
    assert position == {"cursor": "id", "high": "3", "type": "long"}
