"""Every attempt at a task has the same token, and no other task has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_lakehouse.bridge.state import kept_plan
from airflow_provider_lakehouse.bridge.tokens import RELOAD_KEY, pipeline_of, range_batch, token_of
from airflow_provider_lakehouse.core.tables.base import WriteToken

Contexts = Callable[..., dict[str, Any]]


def test_a_token_names_dag_task_table_and_run(context: Contexts) -> None:
    assert token_of(context(), table="a.b") == WriteToken("dag/task/a.b", "run-1")


def test_a_run_for_a_partition_writes_under_its_key(context: Contexts) -> None:
    assert token_of(context(partition_key="2017-01-05")).batch == "2017-01-05"


def test_mapped_tasks_have_tokens_of_their_own(context: Contexts) -> None:
    tokens = {token_of(context(map_index=index), table="a.b").key for index in (-1, 0, 1)}
    assert len(tokens) == 3


def test_a_pipeline_that_remembers_does_not_depend_on_the_map_index(context: Contexts) -> None:
    assert pipeline_of(context(map_index=0), table="a.b") == pipeline_of(context(map_index=3), table="a.b")


def test_both_halves_can_be_given(context: Contexts) -> None:
    assert token_of(context(map_index=2), pipeline="p", batch="b") == WriteToken("p", "b")


@pytest.mark.parametrize("given", ["", None])
def test_an_empty_half_is_not_given(context: Contexts, given: str | None) -> None:
    assert token_of(context(), pipeline=given, batch=given) == WriteToken("dag/task", "run-1")


def test_a_person_can_ask_for_a_reload_which_again_happens_once(context: Contexts) -> None:
    usual = token_of(context(partition_key="d"))
    reload = [token_of(context(partition_key="d", conf={RELOAD_KEY: "prices were wrong"})) for _ in range(2)]
    assert reload[0] == reload[1] != usual


def test_an_increment_is_named_by_where_it_starts() -> None:
    first, second = {"cursor": "id", "high": "9"}, {"cursor": "id", "high": "12"}
    assert range_batch(before=None, after=first) == range_batch(before=None, after=second)
    assert range_batch(before=first, after=second) != range_batch(before=None, after=first)


def test_a_read_that_does_not_move_the_position_is_named_by_its_run() -> None:
    position = {"cursor": "id", "high": "9"}
    assert range_batch(before=position, after=dict(position)) is None
    assert range_batch(before=None, after={}) is None


def test_a_plan_is_decided_once_for_all_attempts(context: Contexts) -> None:
    attempts, seen = context(), []

    def decide() -> dict[str, Any]:
        seen.append(len(seen))
        return {"decision": len(seen)}

    assert kept_plan(attempts, decide) == kept_plan(attempts, decide) == {"decision": 1}


def test_without_a_store_every_attempt_decides(context: Contexts) -> None:
    attempts = context()
    del attempts["task_state_store"]
    assert kept_plan(attempts, lambda: {"decision": 1}) == {"decision": 1}
