"""Under a real Airflow: what fails is never read, the breaker stops the next load and the reader, a page says why."""

from __future__ import annotations

import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.demo.runs import RunReport, Runs

from .deployment import Deployment

LOAD, READ, RESET = "load_orders", "read_orders", "reset_orders"
TABLE = "audited.orders"
CHECK = "amount: values be between (min_value 0)"


@pytest.fixture(scope="module")
def story(deployment: Deployment) -> dict[str, Any]:
    """A good load, a bad one, one that the breaker stops while a reader waits, a reset, and one more."""
    runs = {dag_id: Runs(deployment.server, dag_id, say=print) for dag_id in (LOAD, READ, RESET)}
    for one in runs.values():
        one.wait_for_dag()
    found: dict[str, Any] = {
        "good": runs[LOAD].run("good", conf={"amount": 1}),
        "bad": runs[LOAD].run("bad", conf={"amount": -1}),
    }
    assert found["good"].state == "success"
    found["stopped"] = runs[LOAD].run("stopped", conf={"amount": 2})
    deployment.server.call("POST", f"/api/v2/dags/{READ}/dagRuns", {"dag_run_id": "reader", "logical_date": None})
    path = f"/api/v2/dags/{READ}/dagRuns/reader/taskInstances/breaker"
    deployment.until(lambda: deployment.server.call("GET", path)["state"] == "deferred", "a reader that waits")
    found["reset"] = runs[RESET].run("reset", conf={"reason": "The bad order was cancelled at the source."})
    found["reader"] = runs[READ].run("reader")
    found["after"] = runs[LOAD].run("after", conf={"amount": 3})
    return found


def amounts(deployment: Deployment) -> list[int]:
    with open_engine().query(
        f"SELECT amount FROM {TABLE} ORDER BY 1", tables={TABLE: deployment.catalog.table(TABLE)}
    ) as rows:
        found: list[int] = rows.read_all()["amount"].to_pylist()
    return found


def link(deployment: Deployment, run_id: str) -> str:
    path = f"/api/v2/dags/{LOAD}/dagRuns/{quote(run_id)}/taskInstances/orders.check/links"
    return str(deployment.server.call("GET", path)["extra_links"]["Lakehouse quality"])


def page(deployment: Deployment, url: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"{deployment.server.url}{url}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def test_what_fails_its_checks_is_never_read(deployment: Deployment, story: dict[str, RunReport]) -> None:
    assert (story["good"].state, story["bad"].failed) == ("success", ("orders.check",))
    assert amounts(deployment) == [1, 3]


def test_a_failed_check_is_not_tried_again(story: dict[str, RunReport]) -> None:
    tries = {task.task: task.tries for task in story["bad"].tasks}
    assert tries["orders.check"] == 1


def test_an_open_breaker_stops_the_next_load_before_it_starts(story: dict[str, RunReport]) -> None:
    assert story["stopped"].failed == ("orders.stage",)
    assert {task.task: task.tries for task in story["stopped"].tasks}["orders.stage"] == 1


def test_a_reader_waits_until_somebody_resets_the_breaker_with_a_reason(story: dict[str, RunReport]) -> None:
    assert [story[name].state for name in ("reset", "reader", "after")] == ["success"] * 3


def test_the_page_of_a_check_says_what_failed_to_those_who_may_see_the_dag(
    deployment: Deployment, story: dict[str, RunReport]
) -> None:
    url = link(deployment, "bad")
    token = deployment.server.call("GET", "/auth/token", anonymous=True)["access_token"]
    status, html = page(deployment, url, Authorization=f"Bearer {token}")
    assert status == HTTPStatus.OK
    assert CHECK in html
    assert "sales" in html


def test_a_forged_token_sees_no_page(deployment: Deployment, story: dict[str, RunReport]) -> None:
    answer = page(deployment, link(deployment, "bad"), Authorization="Bearer forged")
    assert answer[0] in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


def test_there_is_no_page_of_a_task_that_left_none(deployment: Deployment, story: dict[str, RunReport]) -> None:
    token = deployment.server.call("GET", "/auth/token", anonymous=True)["access_token"]
    url = link(deployment, "bad").replace("orders.check", "orders.stage")
    assert page(deployment, url, Authorization=f"Bearer {token}")[0] == HTTPStatus.NOT_FOUND
