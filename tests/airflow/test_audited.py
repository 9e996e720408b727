"""Write, audit, publish around any load: what does not pass is not readable, and what passes is published as it was audited."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.decorators.check import LakehouseCheckDecoratedOperator
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator
from airflow_provider_lakehouse.task_groups.audited import audited

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
Rows = Callable[..., list[dict[str, Any]]]
POSITIVE = {"name": "id is positive", "condition": "id > 0"}


def states(run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}


def audited_dag(sql: str) -> DAG:
    with DAG("auditing", start_date=START, schedule=None, default_args={"retries": 0}) as dag:
        audited(
            group_id="orders",
            table="silver.orders",
            load=lambda branch: LakehouseQueryOperator(task_id="stage", sql=sql, table="silver.orders", branch=branch),
            checks=[POSITIVE],
        )
    return dag


@pytest.mark.airflow
def test_what_passes_is_published(warehouse: str, run_dag: Callable[..., Any], rows: Rows) -> None:
    run = run_dag(audited_dag("SELECT 1::BIGINT AS id"))
    assert states(run) == dict.fromkeys(("orders.stage", "orders.check", "orders.publish"), "success")
    assert rows(LakehouseHook().table("silver.orders")) == [{"id": 1}]


@pytest.mark.airflow
def test_what_does_not_pass_is_never_readable(warehouse: str, run_dag: Callable[..., Any], rows: Rows) -> None:
    run = run_dag(audited_dag("SELECT unnest([1, -1])::BIGINT AS id"))
    assert states(run) == {
        "orders.stage": "success", "orders.check": "failed", "orders.publish": "upstream_failed",
    }  # fmt: skip
    table = LakehouseHook().table("silver.orders")
    assert (rows(table), dict(table.facts().branches)) == ([], {})


def test_a_query_that_was_overtaken_can_be_staged_again_by_the_task_that_publishes() -> None:
    publish = audited_dag("SELECT 1::BIGINT AS id").get_task("orders.publish")
    assert publish.audit == "orders.check"
    assert publish.restage["sql"] == "SELECT 1::BIGINT AS id"
    assert "branch" not in publish.restage


def test_a_batch_that_is_staged_again_is_asked_what_it_was_asked_before() -> None:
    given = {"contract": "orders.odcs.yaml", "reads": ["silver.customers"], "severities": ["fail"]}
    with DAG("asking", schedule=None) as dag:
        audited(
            group_id="orders",
            table="silver.orders",
            load=lambda branch: LakehouseQueryOperator(task_id="stage", sql="x", table="silver.orders", branch=branch),
            checks=[POSITIVE],
            check_options={"runner": "great_expectations", **given},
            publish_options={"pipeline": "orders"},
        )
    publish = dag.get_task("orders.publish")
    assert {name: getattr(publish, name) for name in given} == given
    assert (publish.checks, publish.stage, publish.pipeline) == ([POSITIVE], "orders.stage", "orders")


def test_any_task_can_be_the_load() -> None:
    with DAG("custom", schedule=None) as dag:

        @task
        def write(branch: str) -> str:
            return branch

        audited(group_id="orders", table="silver.orders", load=lambda b: write(b).operator, checks=[POSITIVE])
    publish = dag.get_task("orders.publish")
    assert (publish.restage, publish.stage) == (None, None)
    assert dag.get_task("orders.check").upstream_task_ids == {"orders.write"}


@pytest.mark.airflow
def test_a_function_returns_the_checks(warehouse: str, table: Any, run_dag: Callable[..., Any]) -> None:
    table("bronze.orders", {"id": "long"}, (1,))
    with DAG("deciding", start_date=START, schedule=None, default_args={"retries": 0}) as dag:

        @task.lakehouse_check(table="bronze.orders")
        def check(column: str) -> list[dict[str, str]]:
            return [{"name": "is positive", "condition": f"{column} > 0"}]

        check("id")
    assert states(run_dag(dag)) == {"check": "success"}


@pytest.mark.parametrize("returned", [[], None, "id > 0"])
def test_a_function_that_returns_no_checks_does_not_pass(warehouse: str, context: Any, returned: Any) -> None:
    operator = LakehouseCheckDecoratedOperator(task_id="check", table="a.b", python_callable=lambda: returned)
    with pytest.raises(InvalidRequestError, match="returns no checks"):
        operator.execute(context())
