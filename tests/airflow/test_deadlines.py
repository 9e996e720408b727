"""What a contract promises about time is a deadline of the DAG that keeps it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, AsyncCallback, DeadlineReference, SyncCallback
from airflow.serialization.decoders import decode_deadline_alert
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_lakehouse.bridge.deadlines import deadlines_of_contract
from airflow_provider_lakehouse.core.contracts.contract import Contract, ContractColumn, ContractTable
from airflow_provider_lakehouse.core.contracts.service_level import ServiceLevel
from airflow_provider_lakehouse.core.errors import InvalidRequestError

TABLES = tuple(ContractTable(name, columns=(ContractColumn("at"),)) for name in ("orders", "items"))
CONTRACT = Contract(
    "shop",
    "1.0.0",
    tables=TABLES,
    service_levels=(
        ServiceLevel("latency", 1, "d", element="items.at"),
        ServiceLevel("LY", 4, "h", element="orders.at"),
        ServiceLevel("freshness", 90, "min"),
        ServiceLevel("retention", 3, "y"),
    ),
)


async def tell(context: dict[str, Any]) -> None:
    """Called when a deadline is missed."""


def test_latency_and_freshness_are_deadlines_shortest_first() -> None:
    found = deadlines_of_contract(CONTRACT, callback=AsyncCallback(tell))
    assert [(one.name, one.interval) for one in found] == [
        ("shop: freshness 90 min", timedelta(minutes=90)),
        ("shop: latency of orders.at 4 h", timedelta(hours=4)),
        ("shop: latency of items.at 1 d", timedelta(days=1)),
    ]
    assert {one.reference for one in found} == {DeadlineReference.DAGRUN_LOGICAL_DATE}


def test_a_table_has_its_own_deadlines_and_those_of_the_contract() -> None:
    found = deadlines_of_contract(CONTRACT, callback=AsyncCallback(tell), table="items", since="queued_at")
    assert [one.interval for one in found] == [timedelta(minutes=90), timedelta(days=1)]
    assert {one.reference for one in found} == {DeadlineReference.DAGRUN_QUEUED_AT}


@pytest.mark.parametrize("callback", [AsyncCallback(tell), SyncCallback("builtins.print")])
def test_a_dag_with_deadlines_of_a_contract_reaches_the_scheduler(callback: AsyncCallback | SyncCallback) -> None:
    alerts = deadlines_of_contract(CONTRACT, callback=callback)
    with DAG("shop", start_date=datetime(2017, 1, 1, tzinfo=UTC), schedule="@daily", deadline=alerts) as dag:
        pass
    restored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    decoded = [decode_deadline_alert(one) for one in restored.deadline]
    assert [(one.name, one.interval) for one in decoded] == [(one.name, one.interval) for one in alerts]


def test_a_contract_without_promises_about_time_has_no_deadline() -> None:
    assert deadlines_of_contract(Contract("x", "1.0.0"), callback=AsyncCallback(tell)) == []


def test_a_promise_without_a_fixed_length_is_refused() -> None:
    contract = Contract("x", "1.0.0", service_levels=(ServiceLevel("latency", 1, "month"),))
    with pytest.raises(InvalidRequestError, match="no length of time"):
        deadlines_of_contract(contract, callback=AsyncCallback(tell))
