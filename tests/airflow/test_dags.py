"""A DAG of our tasks, run by Airflow itself."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.operators.check import LakehouseCheckOperator
from airflow_provider_lakehouse.operators.ingest_files import LakehouseIngestFilesOperator
from airflow_provider_lakehouse.operators.publish import LakehousePublishOperator
from airflow_provider_lakehouse.sensors.table import LakehouseTableSensor
from airflow_provider_lakehouse.triggers.table import LakehouseTableConditionTrigger

pytestmark = pytest.mark.airflow
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
Rows = Callable[..., list[dict[str, Any]]]


def states(run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}


def test_files_become_a_published_table(
    warehouse: str, tmp_path: Path, run_dag: Callable[..., Any], rows: Rows
) -> None:
    (tmp_path / "a.csv").write_text("id,amount\n1,10\n2,-5\n3,7\n")
    with DAG("journey", start_date=START, schedule=None, default_args={"retries": 0}) as dag:
        ingest = LakehouseIngestFilesOperator(
            task_id="ingest", files=f"{tmp_path}/*.csv", table="bronze.orders", columns={"id": "long", "amount": "long"}
        )
        wait = LakehouseTableSensor(
            task_id="wait",
            table="bronze.orders",
            max_age_seconds=3600,
            since_version="{{ ti.xcom_pull('ingest')['version'] - 1 }}",
            deferrable=True,
        )

        @task.lakehouse_sql(
            reads=["bronze.orders"],
            table="silver.orders",
            branch="staged-{{ run_id | replace(':', '-') | replace('+', '-') }}",
            mode={"mode": "merge", "keys": ["id"]},
            checks=[{"name": "amount is positive", "condition": "amount > 0", "severity": "quarantine"}],
            parameters={"batch": "{{ ti.xcom_pull('ingest')['batches'][0] }}"},
        )
        def stage(columns: str) -> str:
            return f"SELECT {columns}, '{{{{ run_id }}}}' AS run_id FROM bronze.orders WHERE _batch = $batch"

        staged = stage("id, amount")
        branch = "staged-{{ run_id | replace(':', '-') | replace('+', '-') }}"
        check = LakehouseCheckOperator(
            task_id="check",
            table="silver.orders",
            branch=branch,
            checks=[{"name": "id is unique", "query": "SELECT id FROM checked GROUP BY id HAVING count(*) > 1"}],
        )
        publish = LakehousePublishOperator(task_id="publish", table="silver.orders", branch=branch)
        ingest >> wait >> staged >> check >> publish

    run = run_dag(dag)
    assert states(run) == dict.fromkeys(("ingest", "wait", "stage", "check", "publish"), "success")
    table = LakehouseHook().table("silver.orders")
    assert [(row["id"], row["amount"]) for row in rows(table)] == [(1, 10), (3, 7)]
    assert rows(table)[0]["run_id"] == run.run_id
    assert len(rows(LakehouseHook().table("quarantine.rows"))) == 1


def test_a_deferred_wait_goes_on_when_the_table_is_there(
    warehouse: str, table: Any, run_dag: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows come while the task is deferred: Airflow starts the trigger after the task has looked in vain."""
    found = table("bronze.later", {"id": "long"})
    look = LakehouseTableConditionTrigger.run

    def run(trigger: LakehouseTableConditionTrigger) -> Any:
        table("bronze.later", {"id": "long"}, (1,))
        return look(trigger)

    monkeypatch.setattr(LakehouseTableConditionTrigger, "run", run)
    with DAG("waiting", start_date=START, schedule=None, default_args={"retries": 0}) as dag:
        LakehouseTableSensor(task_id="wait", table="bronze.later", since_version=-1, deferrable=True, poke_interval=1)
    assert states(run_dag(dag)) == {"wait": "success"}
    assert found.facts().rows == 1


def test_rejected_data_fails_the_task_without_retries(warehouse: str, table: Any, run_dag: Callable[..., Any]) -> None:
    table("bronze.orders", {"id": "long"}, (-1,))
    with DAG("rejecting", start_date=START, schedule=None) as dag:
        LakehouseCheckOperator(
            task_id="check",
            table="bronze.orders",
            checks=[{"name": "id is positive", "condition": "id > 0"}],
            retries=3,
        )
    (ti,) = run_dag(dag).get_task_instances()
    assert (str(ti.state), ti.try_number) == ("failed", 1)


def test_a_link_to_the_table_is_kept(warehouse: str, table: Any, run_dag: Callable[..., Any]) -> None:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    table("bronze.orders", {"id": "long"}, (1,))
    with DAG("linking", start_date=START, schedule=None) as dag:
        LakehouseCheckOperator(
            task_id="check", table="bronze.orders", checks=[{"name": "id is positive", "condition": "id > 0"}]
        )
    run = run_dag(dag)
    with create_session() as session:
        query = XComModel.get_many(dag_ids="linking", key="_link_LakehouseTableLink", run_id=run.run_id)
        (link,) = [row.value for row in session.scalars(query)]
    assert f"{warehouse}/bronze/orders" in link
