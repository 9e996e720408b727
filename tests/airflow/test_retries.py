"""What Airflow does after each kind of error."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.sdk import DAG, RetryAction

from airflow_provider_lakehouse.bridge.retries import DECISIONS, is_final, retry_policy
from airflow_provider_lakehouse.core.errors import (
    KINDS,
    ConflictError,
    DamagedError,
    DataRejectedError,
    InvalidRequestError,
    LakehouseError,
    OutcomeUnknownError,
    UnavailableError,
    UnsupportedError,
)
from airflow_provider_lakehouse.operators.publish import LakehousePublishOperator

EXPECTED = {
    InvalidRequestError: (RetryAction.FAIL, None),
    UnsupportedError: (RetryAction.FAIL, None),
    DataRejectedError: (RetryAction.FAIL, None),
    DamagedError: (RetryAction.FAIL, None),
    ConflictError: (RetryAction.RETRY, timedelta(seconds=1)),
    UnavailableError: (RetryAction.RETRY, timedelta(seconds=30)),
    OutcomeUnknownError: (RetryAction.RETRY, timedelta(seconds=10)),
}


def test_every_kind_of_error_has_a_decision() -> None:
    assert set(DECISIONS) == set(KINDS) == set(EXPECTED)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_decided_as_its_meaning_demands(kind: type[LakehouseError]) -> None:
    decision = retry_policy().evaluate(kind("It happened."), try_number=1, max_tries=3)
    assert (decision.action, decision.retry_delay) == EXPECTED[kind]
    assert decision.reason


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_final_when_it_fails_the_task(kind: type[LakehouseError]) -> None:
    assert is_final(kind("It happened.")) is (EXPECTED[kind][0] is RetryAction.FAIL)


@pytest.mark.parametrize("error", [ValueError("x"), OSError("x"), KeyError("x")])
def test_other_errors_are_left_to_airflow(error: Exception) -> None:
    assert retry_policy().evaluate(error, try_number=1, max_tries=3).action is RetryAction.DEFAULT
    assert not is_final(error)


def test_the_policy_survives_serialization() -> None:
    policy = retry_policy()
    again = type(policy).deserialize(policy.serialize())
    assert again.evaluate(ConflictError("x"), try_number=1, max_tries=3).retry_delay == timedelta(seconds=1)


def test_an_operator_has_retries_and_the_policy_by_default() -> None:
    operator = LakehousePublishOperator(task_id="publish", table="a.b", branch="staged")
    assert operator.retries == 2
    assert operator.retry_policy is not None
    assert operator.retry_policy.evaluate(DamagedError("x"), 1, 2).action is RetryAction.FAIL


def test_what_the_task_or_the_dag_says_about_retries_counts() -> None:
    with DAG("dag", default_args={"retries": 7}):
        from_dag = LakehousePublishOperator(task_id="from_dag", table="a.b", branch="staged")
        from_task = LakehousePublishOperator(
            task_id="from_task", table="a.b", branch="staged", retries=0, retry_policy=None
        )
    assert (from_dag.retries, from_task.retries, from_task.retry_policy) == (7, 0, None)


def test_the_default_retries_of_the_deployment_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__LAKEHOUSE__DEFAULT_RETRIES", "5")
    assert LakehousePublishOperator(task_id="publish", table="a.b", branch="staged").retries == 5
