"""Airflow's own backfill, with the runs at once as it does by itself, and again: the tables end as after one run each."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_lakehouse.demo.runs import Runs

from .deployment import Deployment

DAG_ID = "days"
DAYS = ("2017-02-01", "2017-02-02")
TABLES = ("bronze.orders", "silver.orders", "silver.days")


@dataclass(frozen=True)
class State:
    """The runs there are, and what the tables hold.

    Attributes:
        runs: State of each run, by partition.
        rows: Rows of each table, without metadata columns.
        changes: How often the rows of each table changed.
        branches: Branches that are left of each table.
    """

    runs: list[tuple[str, str]]
    rows: dict[str, list[dict[str, Any]]]
    changes: dict[str, int]
    branches: dict[str, tuple[str, ...]]


def backfill(deployment: Deployment, *options: str) -> None:
    """Ask for the days as a person would, without a word about how many runs at once; one backfill at a time is allowed."""
    backfills = f"/api/v2/backfills?dag_id={DAG_ID}"
    deployment.until(
        lambda: all(one["completed_at"] for one in deployment.server.call("GET", backfills)["backfills"]),
        "the end of the backfill before",
    )
    command = [sys.executable, "-m", "airflow", "backfill", "create", "--dag-id", DAG_ID]
    dates = ["--from-date", DAYS[0], "--to-date", DAYS[-1]]
    subprocess.run(
        [*command, *dates, *options], env=deployment.server.environment(), check=True, capture_output=True, timeout=120
    )


def look(deployment: Deployment, *, runs: int) -> State:
    """Wait until so many runs have ended, and look at the tables."""
    ended = deployment.until(lambda: deployment.ended(DAG_ID, runs), f"the end of {runs} runs")
    found = sorted((run["partition_key"], run["state"]) for run in ended)
    tables = {name: deployment.catalog.table(name) for name in TABLES}
    rows = {name: [row for row in read(table) if row] for name, table in tables.items()}
    changes = {name: sum(entry.changes_rows for entry in table.history()) for name, table in tables.items()}
    branches = {name: tuple(one for one in table.facts().branches if one != "main") for name, table in tables.items()}
    return State(found, rows, changes, branches)


def read(table: Any) -> list[dict[str, Any]]:
    with table.read() as reader:
        found = reader.read_all().to_pylist()
    plain = [{name: str(value) for name, value in row.items() if not name.startswith("_")} for row in found]
    return sorted(plain, key=str)


@pytest.fixture(scope="module")
def states(deployment: Deployment) -> dict[str, State]:
    """A backfill, the same days again, and a run that is cleared when it has ended."""
    Runs(deployment.server, DAG_ID, say=print).wait_for_dag()
    backfill(deployment)
    found = {"once": look(deployment, runs=len(DAYS))}
    backfill(deployment, "--reprocess-behavior", "completed")
    found["again"] = look(deployment, runs=2 * len(DAYS))
    run = deployment.runs(DAG_ID)[0]["dag_run_id"]
    clear = {"dry_run": False, "dag_run_id": run, "only_failed": False, "reset_dag_runs": True}
    deployment.server.call("POST", f"/api/v2/dags/{DAG_ID}/clearTaskInstances", clear)
    found["cleared"] = look(deployment, runs=2 * len(DAYS))
    return found


def test_every_day_is_loaded_once_though_their_runs_overlap(states: dict[str, State]) -> None:
    once = states["once"]
    assert once.runs == [(day, "success") for day in DAYS]
    assert len(once.rows["bronze.orders"]) == 4 * len(DAYS)
    orders = {row["id"]: row["day"] for row in once.rows["silver.orders"]}
    assert orders == {str(int(day[-2:]) * 10 + n): day for day in DAYS for n in range(3)} | {"1": DAYS[-1]}
    assert once.rows["silver.days"] == [{"day": day, "orders": "4"} for day in DAYS]


@pytest.mark.parametrize("step", ["again", "cleared"])
def test_the_same_days_again_change_no_table(states: dict[str, State], step: str) -> None:
    assert {state for _, state in states[step].runs} == {"success"}
    assert (states[step].rows, states[step].changes) == (states["once"].rows, states["once"].changes)


@pytest.mark.parametrize("step", ["once", "again", "cleared"])
def test_no_staged_branch_is_left(states: dict[str, State], step: str) -> None:
    assert set(states[step].branches.values()) == {()}
