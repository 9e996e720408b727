"""A sensor waits until a table is as it has to be, with or without a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, UnavailableError
from airflow_provider_lakehouse.core.tables.base import Change, WriteToken
from airflow_provider_lakehouse.sensors.table import CURSOR_KEY, LakehouseTableSensor
from airflow_provider_lakehouse.triggers.table import LakehouseTableConditionTrigger

Contexts = Callable[..., dict[str, Any]]
Tables = Callable[..., Any]
SALES = {"day": "date", "store": "long", "amount": "decimal(10,2)"}
ASSET = Asset("iceberg://default/sales/daily")


def sensor(**options: Any) -> LakehouseTableSensor:
    return LakehouseTableSensor(**{"task_id": "wait", "table": "sales.daily"} | options)


@pytest.fixture
def sales(table: Tables) -> Any:
    import datetime
    from decimal import Decimal

    return table("sales.daily", SALES, (datetime.date(2026, 1, 5), 3, Decimal("9.50")))


@pytest.mark.parametrize(
    "partition", [{"day": "2026-01-05"}, {"day": "2026-01-05", "store": "3"}, {"store": 3}, {"amount": "9.50"}]
)
def test_a_partition_is_there_when_a_row_has_its_values(
    sales: Any, context: Contexts, partition: dict[str, Any]
) -> None:
    assert sensor(partition=partition).poke(context()).is_done


@pytest.mark.parametrize("partition", [{"day": "2026-01-06"}, {"day": "2026-01-05", "store": 4}])
def test_a_partition_without_rows_is_waited_for(sales: Any, context: Contexts, partition: dict[str, Any]) -> None:
    found = sensor(partition=partition).poke(context())
    assert not found.is_done
    assert found.xcom_value is not None
    assert found.xcom_value["reason"] == "no row of the partition yet"


def test_a_table_that_is_not_there_is_waited_for(warehouse: str, context: Contexts) -> None:
    assert not sensor(partition={"day": "2026-01-05"}).poke(context()).is_done


def test_new_rows_are_waited_for_and_rewrites_are_not_new(sales: Any, context: Contexts) -> None:
    seen = sales.facts().version
    wait = sensor(since_version=str(seen))
    assert not wait.poke(context()).is_done
    sales.commit(Change(properties={"touched": "yes"}), token=WriteToken("t", "rewrite"))
    assert not wait.poke(context()).is_done
    sales.commit(Change(removes="all"), token=WriteToken("t", "empty"))
    found = wait.poke(context())
    assert found.is_done
    assert found.xcom_value is not None
    assert found.xcom_value["version"] == sales.facts().version


def test_freshness_is_measured_by_the_last_change_of_rows(sales: Any, context: Contexts) -> None:
    assert sensor(max_age_seconds="3600").poke(context()).is_done
    assert not sensor(max_age_seconds=0).poke(context()).is_done


def test_everything_that_is_asked_for_has_to_hold(sales: Any, context: Contexts) -> None:
    assert not sensor(max_age_seconds=3600, partition={"store": 4}).poke(context()).is_done


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"partition": {"shop": 1}},
        {"partition": {"day": "soon"}},
        {"since_version": "x"},
        {"max_age_seconds": "old"},
    ],
)
def test_a_wait_that_cannot_end_fails_at_once(sales: Any, context: Contexts, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        sensor(**options).poke(context())


def test_a_catalog_that_does_not_answer_is_asked_again(connect: Callable[..., None], context: Contexts) -> None:
    properties = {"type": "rest", "uri": "http://127.0.0.1:9/"}
    connect(extra={"format": "iceberg", "warehouse": "file:///nowhere", "catalog_properties": properties})
    assert not sensor(max_age_seconds=60).poke(context()).is_done


def test_a_deferrable_sensor_answers_at_once_when_it_can(sales: Any, context: Contexts) -> None:
    found = sensor(deferrable=True, partition={"store": 3}).execute(context())
    assert found["version"] == sales.facts().version


def test_a_deferrable_sensor_hands_the_wait_to_a_trigger(sales: Any, context: Contexts) -> None:
    wait = sensor(deferrable=True, since_version=sales.facts().version, poke_interval=5, timeout=90)
    with pytest.raises(TaskDeferred) as deferred:
        wait.execute(context())
    trigger = deferred.value.trigger
    assert isinstance(trigger, LakehouseTableConditionTrigger)
    assert trigger.condition["since"] == sales.facts().version
    assert trigger.poll_interval_seconds == 5
    assert deferred.value.timeout is not None
    assert deferred.value.timeout.total_seconds() == 90


def test_a_deployment_can_make_sensors_deferrable() -> None:
    assert sensor(deferrable=True).deferrable
    assert not sensor().deferrable


def test_what_the_trigger_found_is_returned(context: Contexts) -> None:
    sighting = {"is_met": True, "reason": "as expected", "version": 3, "committed_at": None}
    assert sensor(max_age_seconds=1).execute_complete(context(), {"status": "met", "sighting": sighting}) == sighting


@pytest.mark.parametrize("kind", [InvalidRequestError, DataRejectedError, UnavailableError])
def test_what_the_trigger_met_is_raised_as_its_kind(context: Contexts, kind: type[Exception]) -> None:
    event = {"status": "failed", "kind": kind.__name__, "message": "It happened."}
    with pytest.raises(kind, match="It happened"):
        sensor(max_age_seconds=1).execute_complete(context(), event)


def test_a_cursor_kept_with_an_asset_takes_each_version_once(sales: Any, context: Contexts) -> None:
    state = context()["task_state_store"]
    wait = sensor(cursor_asset=ASSET)
    assert wait.inlets == [ASSET]

    def run(given: dict[str, Any]) -> bool:
        return bool(wait.poke(given | {"asset_state_store": {ASSET: state}}))

    first = context()
    assert run(first)
    assert run(first), "a clear of the same task waits for the same"
    assert state.get(CURSOR_KEY) == sales.facts().version
    assert not run(context(run_id="run-2"))
