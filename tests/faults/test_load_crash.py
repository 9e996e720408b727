"""Die around every call that leaves the process, in every mode of load, and run again: the same table, no file too many."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.errors import ConflictError
from airflow_provider_lakehouse.core.flows import derived_spec
from airflow_provider_lakehouse.core.load.apply import apply_load
from airflow_provider_lakehouse.core.load.modes import mode_from_json
from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Schema
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, WriteToken, no_probe
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.testing.faults import crash_sweep

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.load.modes import Mode
    from airflow_provider_lakehouse.core.tables.base import Probe, Table

NOW = datetime(2026, 1, 31, tzinfo=UTC)
FORMATS = ("memory", "iceberg", "delta")
MODES: dict[str, Any] = {
    "append": "append",
    "replace": "replace",
    "overwrite_partitions": "overwrite_partitions",
    "dedup": "dedup",
    "merge": {"mode": "merge", "keys": ["id"], "sequence": "seq"},
    "scd2": {"mode": "scd2", "keys": ["id"], "effective_at": "day", "track": ["name"]},
    "snapshot_diff": {"mode": "snapshot_diff", "keys": ["id"], "max_deleted_share": 1},
}
SCHEMA = pa.schema([("id", pa.int64()), ("day", pa.date32()), ("seq", pa.int64()), ("name", pa.string())])


def batch(*rows: tuple[int | None, int, int, str]) -> pa.RecordBatchReader:
    days = [datetime(2026, 1, day, tzinfo=UTC).date() for _, day, _, _ in rows]
    columns = [[row[0] for row in rows], days, [row[2] for row in rows], [row[3] for row in rows]]
    return pa.table(columns, schema=SCHEMA).to_reader()


def first() -> pa.RecordBatchReader:
    return batch((1, 1, 1, "a"), (2, 1, 1, "b"), (None, 2, 1, "n"))


def second() -> pa.RecordBatchReader:
    return batch((1, 2, 2, "A"), (2, 1, 1, "b"), (3, 3, 1, "c"))


def opened(format_: str, root: Path, probe: Probe = no_probe) -> Table:
    settings = CatalogSettings(format_, f"memory://{root}" if format_ == "memory" else f"file://{root}/lake")
    table: Table = find("tables", format_)(settings, probe=probe).table("crash.table")
    return table


def created(format_: str, root: Path, mode: Mode) -> Table:
    table = opened(format_, root)
    spec = derived_spec(Schema.from_arrow(SCHEMA), mode)
    partitioned = "day" in spec.schema.by_name
    table.create(TableSpec(spec.schema, partitioning=("day",) if partitioned else ()))
    return table


def load(table: Table, mode: Mode, rows: pa.RecordBatchReader, name: str, **options: Any) -> Any:
    token = WriteToken("crash", name)
    return apply_load(table, rows, mode=mode, token=token, engine=open_engine(), now=NOW, **options)


def contents(table: Table) -> list[tuple[Any, ...]]:
    rows = table.read().read_all().to_pylist()
    return sorted(tuple(map(str, row.values())) for row in rows)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", MODES)
def test_a_load_that_dies_anywhere_and_runs_again_ends_as_if_it_had_run_once(
    tmp_path: Path, format_: str, name: str
) -> None:
    mode = mode_from_json(MODES[name])

    def prepare(number: int) -> Path:
        root = tmp_path / str(number)
        root.mkdir()
        load(created(format_, root, mode), mode, first(), "first")
        return root

    def act(root: Path, probe: Probe) -> None:
        load(opened(format_, root, probe), mode, second(), "second")

    def observe(root: Path) -> object:
        return contents(opened(format_, root)), len(list(root.rglob("*.parquet")))

    steps = crash_sweep(prepare=prepare, act=act, observe=observe)
    assert any("commit" in step for step in steps)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", MODES)
def test_two_live_attempts_at_one_load_write_once(tmp_path: Path, format_: str, name: str) -> None:
    mode = mode_from_json(MODES[name])
    load(created(format_, tmp_path, mode), mode, first(), "first")
    done: list[str] = []

    def other_attempt(step: str) -> None:
        if step.startswith("before") and step.endswith("commit") and not done:
            done.append(step)
            load(opened(format_, tmp_path), mode, second(), "second")

    result = load(opened(format_, tmp_path, other_attempt), mode, second(), "second")

    assert done
    assert result.is_replay
    once = tmp_path / "once"
    once.mkdir()
    load(created(format_, once, mode), mode, first(), "first")
    load(opened(format_, once), mode, second(), "second")
    assert contents(opened(format_, tmp_path)) == contents(opened(format_, once))


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", ["dedup", "merge", "scd2"])
def test_two_writers_of_different_batches_end_as_if_one_had_come_after_the_other(
    tmp_path: Path, format_: str, name: str
) -> None:
    mode = mode_from_json(MODES[name])
    load(created(format_, tmp_path, mode), mode, first(), "first")
    done: list[str] = []

    def other_writer(step: str) -> None:
        if step.startswith("before") and step.endswith("commit") and not done:
            done.append(step)
            load(opened(format_, tmp_path), mode, batch((3, 3, 1, "c"), (4, 3, 1, "d")), "other")

    result = load(opened(format_, tmp_path, other_writer), mode, second(), "second")

    assert result.attempts == 2
    serial = tmp_path / "serial"
    serial.mkdir()
    load(created(format_, serial, mode), mode, first(), "first")
    load(opened(format_, serial), mode, batch((3, 3, 1, "c"), (4, 3, 1, "d")), "other")
    load(opened(format_, serial), mode, second(), "second")
    assert contents(opened(format_, tmp_path)) == contents(opened(format_, serial))


@pytest.mark.parametrize("format_", FORMATS)
def test_a_load_that_always_comes_second_gives_up_with_a_conflict_and_leaves_nothing(
    tmp_path: Path, format_: str
) -> None:
    mode = mode_from_json("dedup")
    load(created(format_, tmp_path, mode), mode, first(), "first")
    count = [0]

    def restless_writer(step: str) -> None:
        if step.startswith("before") and step.endswith("commit"):
            count[0] += 1
            load(opened(format_, tmp_path), mode, batch((100 + count[0], 3, 1, "x")), f"other {count[0]}")

    with pytest.raises(ConflictError):
        load(opened(format_, tmp_path, restless_writer), mode, second(), "second", max_attempts=2)

    assert opened(format_, tmp_path).find(WriteToken("crash", "second")) is None
    assert not any("'A'" in str(row) for row in contents(opened(format_, tmp_path)))


@pytest.mark.parametrize("format_", FORMATS)
def test_refused_rows_reach_the_quarantine_once_wherever_a_load_dies(tmp_path: Path, format_: str) -> None:
    mode = mode_from_json("append")
    policy = SchemaPolicy.from_json("quarantine")

    def prepare(number: int) -> Path:
        root = tmp_path / str(number)
        root.mkdir()
        created(format_, root, mode)
        return root

    def act(root: Path, probe: Probe) -> None:
        settings = CatalogSettings(format_, f"memory://{root}" if format_ == "memory" else f"file://{root}/lake")
        catalog = find("tables", format_)(settings, probe=probe)
        rows = pa.table({"id": ["1", "two"], "day": [None, None], "seq": [1, 2], "name": ["a", "b"]}).to_reader()
        load(
            catalog.table("crash.table"), mode, rows, "bad", policy=policy, quarantine=catalog.table("crash.quarantine")
        )

    def observe(root: Path) -> object:
        settings = CatalogSettings(format_, f"memory://{root}" if format_ == "memory" else f"file://{root}/lake")
        refused = find("tables", format_)(settings).table("crash.quarantine")
        return contents(opened(format_, root)), contents(refused), len(list(root.rglob("*.parquet")))

    assert crash_sweep(prepare=prepare, act=act, observe=observe)


@pytest.mark.parametrize("name", MODES)
def test_every_format_ends_with_the_same_rows(tmp_path: Path, name: str) -> None:
    mode = mode_from_json(MODES[name])
    found = []
    for format_ in FORMATS:
        root = tmp_path / format_
        root.mkdir()
        load(created(format_, root, mode), mode, first(), "first")
        load(opened(format_, root), mode, second(), "second")
        found.append(contents(opened(format_, root)))

    assert found[0] == found[1] == found[2]
