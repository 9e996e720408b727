"""Orders that are audited before anybody reads them, behind a circuit breaker; and a reader that waits for it."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator
from airflow_provider_lakehouse.operators.reset_breaker import LakehouseResetBreakerOperator
from airflow_provider_lakehouse.sensors.breaker import LakehouseBreakerSensor
from airflow_provider_lakehouse.task_groups.audited import audited

TABLE = "audited.orders"
BREAKER = {"scope": TABLE, "severities": ["fail"]}
CHECKS = [
    {"type": "expect_column_values_to_be_between", "arguments": {"column": "amount", "min_value": 0}, "owner": "sales"}
]

with DAG("load_orders", schedule=None, params={"amount": Param(1, type="integer")}, default_args={"retries": 3}):
    audited(
        group_id="orders",
        table=TABLE,
        load=lambda branch: LakehouseQueryOperator(
            task_id="stage",
            sql="SELECT CAST({{ params.amount }} AS BIGINT) AS amount",
            table=TABLE,
            branch=branch,
            batch="{{ run_id }}",
            breaker=BREAKER,
        ),
        checks=CHECKS,
        check_options={"breaker": BREAKER},
        publish_options={"batch": "{{ run_id }}"},
    )

with DAG("read_orders", schedule=None, default_args={"retries": 0}):
    LakehouseBreakerSensor(task_id="breaker", breaker=BREAKER, poke_interval=1, deferrable=True)

with DAG("reset_orders", schedule=None, params={"reason": Param("", type="string")}):
    LakehouseResetBreakerOperator(task_id="reset", breaker=TABLE, reason="{{ params.reason }}")
