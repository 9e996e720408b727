"""A real Airflow with small DAGs, the lakehouse it works on, and what tests do to both."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.errors import UnavailableError
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import Catalog, CatalogSettings, Change, Table, WriteToken
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.demo.server import AirflowServer, ServerSettings

REFERENCE_DAGS = Path(__file__).parents[2] / "dags"
SMALL_DAGS = Path(__file__).parent / "dags"
WATCHED, WATCHER, WAITER = "gold.store_daily", "watch_sales", "wait_for_day"
FORMAT = "iceberg"
DEADLINE_SECONDS = 600.0
POLL_SECONDS = 1.0
TRIGGERER = {
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "5",
}
"""How soon another triggerer takes over from a dead one."""


@dataclass
class Sales:
    """The table that is watched, and what was written to it from outside of Airflow."""

    table: Table
    written: list[int] = field(default_factory=list)
    _commits: int = 0

    def sell(self, day: date) -> int:
        """Add a row; return the version."""
        rows = pa.table({"business_date": pa.array([day]), "lines": pa.array([1], pa.int64())})
        self.written.append(self._commit(rows=rows.to_reader()))
        return self.written[-1]

    def compact(self) -> None:
        """Commit without a change of rows."""
        self._commit(properties={"compacted": str(self._commits)})

    def _commit(self, **change: Any) -> int:
        self._commits += 1
        return self.table.commit(Change(**change), token=WriteToken("elsewhere", self._commits)).version


@dataclass(frozen=True)
class Deployment:
    """An Airflow and what it watches."""

    server: AirflowServer
    catalog: Catalog
    warehouse: Path
    sales: Sales
    triggerers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def until(self, found: Callable[[], Any], what: str) -> Any:
        """Wait until something is found, and return it."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            with suppress(UnavailableError):
                if answer := found():
                    return answer
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"{what}: not in time. Events so far: {self.events()}")

    def asset_id(self) -> int | None:
        assets = self.server.call("GET", "/api/v2/assets?uri_pattern=store_daily")["assets"]
        return int(assets[0]["id"]) if assets else None

    def events(self) -> list[int]:
        """Return the versions of all events, oldest first."""
        found = self.server.call(
            "GET", f"/api/v2/assets/events?asset_id={self.asset_id()}&limit=100&order_by=timestamp"
        )
        return [event["extra"]["payload"]["version"] for event in found["asset_events"]]

    def cursor(self) -> int | None:
        """Return the version up to which the trigger is known to have given events."""
        kept = self.server.call("GET", f"/api/v2/assets/{self.asset_id()}/state-store")["asset_state_store"]
        return kept[0]["value"]["version"] if kept else None

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.server.call("GET", f"/api/v2/dags/{dag_id}/dagRuns?limit=100")["dag_runs"]
        return found

    def ended(self, dag_id: str, count: int) -> list[dict[str, Any]]:
        """Return all runs when there are so many, and all of them have ended; else none."""
        found = self.runs(dag_id)
        return found if len(found) == count and {run["state"] for run in found} <= {"success", "failed"} else []

    def told(self) -> list[list[int]]:
        """Return the versions that each finished run of the watcher covered."""
        done = [run["dag_run_id"] for run in self.runs(WATCHER) if run["state"] == "success"]
        return [self.returned(WATCHER, run_id, "tell") for run_id in done]

    def returned(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return what a task of a run returned."""
        path = (
            f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}/xcomEntries/return_value"
        )
        return self.server.call("GET", f"{path}?deserialize=true")["value"]

    def waits(self, state: str) -> set[str]:
        """Return the runs in which the waiting task has a state."""
        path = f"/api/v2/dags/{WAITER}/dagRuns/~/taskInstances?limit=100"
        return {one["dag_run_id"] for one in self.server.call("GET", path)["task_instances"] if one["state"] == state}

    @contextmanager
    def catalog_away(self) -> Iterator[None]:
        """Put a file where the warehouse was."""
        aside = self.warehouse.with_suffix(".aside")
        self.warehouse.rename(aside)
        self.warehouse.write_text("")
        yield
        self.warehouse.unlink()
        aside.rename(self.warehouse)

    def kill_triggerer(self) -> None:
        """Send SIGKILL to the triggerer and to the process in which it runs triggers."""
        if self.triggerers:
            process = self.triggerers.pop()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
        children = psutil.Process(self.server.pid).children()
        (first,) = [one for one in children if "triggerer" in " ".join(one.cmdline())]
        for one in (first, *first.children(recursive=True)):
            one.send_signal(signal.SIGKILL)

    def start_triggerer(self) -> None:
        """Start another one."""
        with self.server.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "triggerer"],
                env=self.server.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.triggerers.append(process)


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    root = tmp_path_factory.mktemp("deployment")
    dags = root / "dags"
    shutil.copytree(SMALL_DAGS, dags)
    shutil.copy(REFERENCE_DAGS / f"{WATCHER}.py", dags)
    warehouse = root / "warehouse"
    catalog = find("tables", FORMAT)(CatalogSettings(FORMAT, f"file://{warehouse}"))
    table = catalog.table(WATCHED)
    table.create(TableSpec(Schema.of(Column("business_date", "date"), Column("lines", "long"))))
    extra = {"format": FORMAT, "warehouse": f"file://{warehouse}"}
    connections = {"lakehouse_default": {"conn_type": "lakehouse", "extra": extra}}
    variables = TRIGGERER | {
        "LAKEHOUSE_RETAIL_FORMAT": FORMAT,
        "LAKEHOUSE_DAYS_LANDING": str(root / "landing"),
        "AIRFLOW__LAKEHOUSE__QUALITY_PAGES": str(root / "pages"),
    }
    with AirflowServer(ServerSettings(root / "airflow", dags, connections, variables=variables)) as server:
        found = Deployment(server, catalog, warehouse, Sales(table))
        yield found
        if found.triggerers:
            found.kill_triggerer()
