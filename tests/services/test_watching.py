"""A real triggerer watches a table that others write: every version starts a run, whatever dies or is away meanwhile."""

from __future__ import annotations

import json
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

from airflow_provider_lakehouse.bridge.connections import KNOWN_KEYS
from airflow_provider_lakehouse.core.errors import UnavailableError
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, Table, WriteToken
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.demo.runs import Runs
from airflow_provider_lakehouse.demo.server import AirflowServer, ServerSettings

DAGS = Path(__file__).parents[2] / "dags"
WAITING_DAGS = Path(__file__).parent / "dags"
TABLE, WATCHER, WAITER = "gold.store_daily", "watch_sales", "wait_for_day"
DEADLINE_SECONDS = 150.0
POLL_SECONDS = 1.0
FORMAT = "iceberg"
WAITS = {"before": date(2017, 2, 4), "after": date(2017, 2, 6)}
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
            os.killpg(self.triggerers.pop().pid, signal.SIGKILL)
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


@dataclass(frozen=True)
class Told:
    """What the deployment did.

    Attributes:
        events: Versions of the events that Airflow had stored, oldest first, by what had happened before.
        runs: Versions that each run of the watcher covered.
        waits: What the waiting tasks returned, by run.
    """

    events: dict[str, list[int]]
    runs: list[list[int]]
    waits: dict[str, Any]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    root = tmp_path_factory.mktemp("watching")
    dags = root / "dags"
    shutil.copytree(WAITING_DAGS, dags)
    shutil.copy(DAGS / f"{WATCHER}.py", dags)
    warehouse = root / "warehouse"
    table = find("tables", FORMAT)(CatalogSettings(FORMAT, f"file://{warehouse}")).table(TABLE)
    table.create(TableSpec(Schema.of(Column("business_date", "date"), Column("lines", "long"))))
    extra = {"format": FORMAT, "warehouse": f"file://{warehouse}"}
    connections = {"lakehouse_default": {"conn_type": "lakehouse", "extra": extra}}
    variables = TRIGGERER | {"LAKEHOUSE_RETAIL_FORMAT": FORMAT}
    with AirflowServer(ServerSettings(root / "airflow", dags, connections, variables=variables)) as server:
        found = Deployment(server, warehouse, Sales(table))
        yield found
        if found.triggerers:
            found.kill_triggerer()


@pytest.fixture(scope="module")
def told(deployment: Deployment) -> Told:
    """Versions come one by one and several at once, the catalog goes away, and the triggerer dies twice."""
    sales, until, events = deployment.sales, deployment.until, {}
    sales.sell(date(2017, 2, 1))  # nobody watches yet
    for dag_id in (WATCHER, WAITER):
        Runs(deployment.server, dag_id, say=print).wait_for_dag()
    deployment.server.call("PATCH", f"/api/v2/dags/{WATCHER}", {"is_paused": False})
    until(lambda: deployment.asset_id() and deployment.cursor(), "the first look")
    for run_id, day in WAITS.items():
        body = {"dag_run_id": run_id, "logical_date": None, "conf": {"day": day.isoformat()}}
        deployment.server.call("POST", f"/api/v2/dags/{WAITER}/dagRuns", body)

    sales.compact()
    sales.sell(date(2017, 2, 2))
    until(lambda: deployment.events(), "the first event")
    until(lambda: deployment.waits("deferred") == set(WAITS), "the waits")
    with deployment.catalog_away():
        until(lambda: f"at {TABLE} failed" in deployment.server.log.read_text(), "a look that fails")
    sales.compact()
    sales.sell(date(2017, 2, 3))
    last = sales.sell(WAITS["before"])
    until(lambda: deployment.cursor() == last, "a look after the catalog was away")
    until(lambda: deployment.waits("success") == {"before"}, "a wait that ends")
    events["the catalog was away"] = deployment.events()

    deployment.kill_triggerer()
    missed = sales.sell(date(2017, 2, 5))
    deployment.start_triggerer()
    until(lambda: missed in deployment.events(), "an event after the triggerer died")
    events["the triggerer died"] = deployment.events()
    last = sales.sell(WAITS["after"])
    until(lambda: last in deployment.events(), "the last event")
    deployment.kill_triggerer()
    deployment.start_triggerer()
    until(lambda: deployment.cursor() == last, "a look after it died again")
    until(lambda: deployment.waits("success") == set(WAITS), "the waits")
    events["it died before it knew"] = deployment.events()
    until(lambda: set(deployment.events()) <= {one for run in deployment.told() for one in run}, "the runs")
    return Told(events, deployment.told(), {run_id: deployment.returned(WAITER, run_id, "wait") for run_id in WAITS})


def test_every_version_gives_one_event_and_rewrites_give_none(told: Told, deployment: Deployment) -> None:
    assert told.events["the catalog was away"] == deployment.sales.written[1:4]


def test_what_was_written_while_no_triggerer_lived_gives_one_event(told: Told, deployment: Deployment) -> None:
    assert told.events["the triggerer died"] == deployment.sales.written[1:5]


def test_a_triggerer_that_dies_after_an_event_gives_it_at_most_once_more(told: Told, deployment: Deployment) -> None:
    *earlier, last = deployment.sales.written[1:]
    assert told.events["it died before it knew"] in ([*earlier, last], [*earlier, last, last])


def test_every_event_is_covered_by_one_run(told: Told, deployment: Deployment) -> None:
    covered = [version for run in told.runs for version in run]
    assert sorted(set(covered)) == sorted(deployment.sales.written[1:])
    assert len(covered) <= len(told.events["it died before it knew"])


def test_a_deferred_wait_outlives_the_catalog_and_the_triggerer(told: Told, deployment: Deployment) -> None:
    written = deployment.sales.written
    assert {run_id: found["version"] in written for run_id, found in told.waits.items()} == {
        "before": True,
        "after": True,
    }


def test_the_button_of_the_connection_form_tells_whether_the_lakehouse_opens(deployment: Deployment) -> None:
    def press(**extra: Any) -> dict[str, Any]:
        body = {"connection_id": "new", "conn_type": "lakehouse", "extra": json.dumps(extra)}
        found: dict[str, Any] = deployment.server.call("POST", "/api/v2/connections/test", body)
        return found

    works = press(format=FORMAT, warehouse=f"file://{deployment.warehouse}", catalog_properties=None, threads=None)
    assert works == {
        "status": True,
        "message": f"Opened the {FORMAT} catalog 'default' in file://{deployment.warehouse}.",
    }
    fails = press(format=FORMAT)
    assert (fails["status"], "lacks warehouse" in fails["message"]) == (False, True)


def test_airflow_serves_the_form_of_the_connection_with_every_field(deployment: Deployment) -> None:
    (form,) = [
        one
        for one in deployment.server.call("GET", "/ui/connections/hook_meta")
        if one["connection_type"] == "lakehouse"
    ]
    assert set(form["extra_fields"]) == set(KNOWN_KEYS)
