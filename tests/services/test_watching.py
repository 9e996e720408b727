"""A real triggerer watches a table that others write: every version starts a run, whatever dies or is away meanwhile."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from airflow_provider_lakehouse.bridge.connections import KNOWN_KEYS
from airflow_provider_lakehouse.demo.runs import Runs

from .deployment import FORMAT, WAITER, WATCHED, WATCHER, Deployment

WAITS = {"before": date(2017, 2, 4), "after": date(2017, 2, 6)}


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
        until(lambda: f"at {WATCHED} failed" in deployment.server.log.read_text(), "a look that fails")
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


def test_a_wait_that_is_cleared_waits_for_the_same_as_before_and_the_next_run_for_more(
    told: Told, deployment: Deployment
) -> None:
    """Without the plan that is kept for a task, it would wait in vain for what comes after what it has found."""
    runs = Runs(deployment.server, "wait_for_more", say=print)
    runs.wait_for_dag()
    assert runs.run("first").state == "success"
    found = deployment.returned("wait_for_more", "first", "wait")
    body = {"dry_run": False, "dag_run_id": "first", "only_failed": False, "reset_dag_runs": True}
    deployment.server.call("POST", "/api/v2/dags/wait_for_more/clearTaskInstances", body)
    (cleared,) = deployment.until(lambda: deployment.ended("wait_for_more", 1), "the cleared run")
    assert (cleared["state"], deployment.returned("wait_for_more", "first", "wait")) == ("success", found)
    more = deployment.sales.sell(date(2017, 2, 7))
    assert runs.run("second").state == "success"
    assert deployment.returned("wait_for_more", "second", "wait")["version"] == more


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
