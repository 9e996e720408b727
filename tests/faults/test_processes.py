"""Real processes that do the same work at the same time, with tokens and keys that collide."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError
from airflow_provider_lakehouse.core.load.apply import apply_load
from airflow_provider_lakehouse.core.load.modes import Append, Merge
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import At, CatalogSettings, WriteToken
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROCESSES = 3
ROUNDS = 6
KEYS = 5
RERUNS = 60


def open_table(backend: str, root: str) -> Any:
    return find("tables", backend)(CatalogSettings(backend, f"file://{root}/lake")).table("a.b")


def work(backend: str, root: str, process: int) -> None:
    """Do the rounds of one process; every task is run again when another came first, as Airflow would."""
    import pyarrow as pa

    table, engine = open_table(backend, root), open_engine(EngineSettings(threads=1))

    def load(ids: list[int], mode: Any, token: WriteToken, branch: str | None = None) -> None:
        rows = pa.table({"id": ids, "by": [process] * len(ids)})
        apply_load(table, rows.to_reader(), mode=mode, token=token, engine=engine, now=datetime.now(UTC), branch=branch)

    def publish(number: int) -> None:
        branch = f"audit {number}"
        load([2000 + number], Append(), WriteToken("stage", str(number)), branch=branch)
        try:
            table.publish(branch, token=WriteToken("publish", str(number)))
        except (ConflictError, InvalidRequestError):
            table.drop_branch(branch)
            raise

    for number in range(ROUNDS):
        again(lambda n=number: load([1000 + n], Append(), WriteToken("append", n)))  # type: ignore[misc]
        merged = [number % KEYS, (number + process) % KEYS + KEYS]
        again(lambda n=number, m=merged: load(m, Merge(("id",)), WriteToken(f"merge {process}", n)))  # type: ignore[misc]
        if number % 5 == 0:
            again(lambda n=number: publish(n))  # type: ignore[misc]


def again(task: Callable[[], None]) -> None:
    for _ in range(RERUNS):
        try:
            return task()
        except (ConflictError, InvalidRequestError):
            continue
    return task()


@pytest.mark.parametrize("backend", ["iceberg", "delta"])
def test_processes_with_colliding_tokens_and_keys_end_with_every_row_once(tmp_path: Path, backend: str) -> None:
    table = open_table(backend, str(tmp_path))
    table.create(TableSpec(Schema.of(Column("id", "long"), Column("by", "long"))))
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=work, args=(backend, str(tmp_path), number)) for number in range(PROCESSES)]
    for process in running:
        process.start()
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0] * PROCESSES
    found = Counter(table.read(columns=("id",)).read_all().column("id").to_pylist())
    appended = [1000 + number for number in range(ROUNDS)]
    published = [2000 + number for number in range(0, ROUNDS, 5)]
    assert found == Counter([*range(2 * KEYS), *appended, *published])
    assert table.facts().branches == {}
    assert left_over(table, tmp_path) == set()


def left_over(table: Any, root: Path) -> set[str]:
    """Return the data files that belong to no version of the table, those of dropped branches included."""
    if table.identity.format == "iceberg":
        versions = [snapshot.snapshot_id for snapshot in table._load().metadata.snapshots]
    else:
        versions = [entry.version for entry in table.history()]
    known = {file.path for version in versions for file in table.list_files(at=At(version=version)).files}
    return {f"file://{path}" for path in root.rglob("*.parquet") if "/data/" in str(path)} - known
