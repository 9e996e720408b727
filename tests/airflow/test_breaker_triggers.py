"""A trigger tells every change of a circuit breaker, whoever made it, and waits for one without writing anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string

from airflow_provider_lakehouse.core.errors import DataRejectedError
from airflow_provider_lakehouse.triggers.breaker import LakehouseBreakerConditionTrigger, LakehouseBreakerTrigger
from airflow_provider_lakehouse.triggers.waiting import CURSOR_KEY

from .test_breakers import NOW, SCOPE, check, hold, log, orders, state, unreachable

Contexts = Callable[..., dict[str, Any]]
__all__ = ["orders"]  # a fixture


class StateStore:
    """The state of one asset, as Airflow offers it to a trigger."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    async def aget(self, key: str) -> Any:
        return self.values.get(key)

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = json.loads(json.dumps(value))


def take(trigger: Any, events: int) -> list[dict[str, Any]]:
    async def main() -> list[dict[str, Any]]:
        async with asyncio.timeout(20):
            stream = trigger.run()
            found = [(await anext(stream)).payload for _ in range(events)]
            await stream.aclose()
            return found

    return asyncio.run(main())


class TestTriggers:
    def watch(self, store: StateStore | None = None, **options: Any) -> LakehouseBreakerTrigger:
        trigger = LakehouseBreakerTrigger(**{"scope": SCOPE, "poll_interval_seconds": 0.001} | options)
        trigger.handover_seconds = 0.0  # nothing stores events here
        if store is not None:
            trigger.asset_state_store = store  # type: ignore[assignment]
        return trigger

    @pytest.mark.parametrize(
        "trigger",
        [
            LakehouseBreakerTrigger(scope=SCOPE, lakehouse_conn_id="lake", since_number=7, poll_interval_seconds=5),
            LakehouseBreakerConditionTrigger(
                breaker={"scope": SCOPE, "good_probes": 2}, run="dag/run", lakehouse_conn_id="lake"
            ),
        ],
    )
    def test_a_trigger_can_be_rebuilt_from_what_it_serializes(self, trigger: Any) -> None:
        path, arguments = trigger.serialize()
        again = import_string(path)(**json.loads(json.dumps(arguments)))
        assert again.serialize() == trigger.serialize()

    def test_every_change_of_state_gives_an_event_also_where_the_task_failed(
        self, orders: Any, context: Contexts
    ) -> None:
        for _ in range(2):
            with pytest.raises(DataRejectedError):
                check(context())
        check_again = context(run_id="run-2")
        with pytest.raises(DataRejectedError):
            check(check_again)  # remembered, and no change
        log().reset(SCOPE, by="ann", reason="over", now=NOW)
        events = take(self.watch(since_number=0), 2)
        assert [(one["before"], one["state"]) for one in events] == [("closed", "open"), ("open", "closed")]
        assert json.loads(json.dumps(events)) == events

    def test_after_a_restart_it_goes_on_where_it_was(self, warehouse: str) -> None:
        hold()
        store = StateStore()
        store.values[CURSOR_KEY] = {"version": 1, "committed_at": None}
        log().reset(SCOPE, by="ann", reason="over", now=NOW)
        (event,) = take(self.watch(store, since_number=0), 1)
        assert (event["number"], event["state"]) == (2, "closed")

    def test_without_a_cursor_only_what_comes_from_now_on_counts(self, warehouse: str) -> None:
        hold()
        store = StateStore()
        trigger = self.watch(store)

        async def main() -> dict[str, Any]:
            async with asyncio.timeout(20):
                first = asyncio.ensure_future(anext(trigger.run()))
                while CURSOR_KEY not in store.values:
                    await asyncio.sleep(0)
                log().reset(SCOPE, by="ann", reason="over", now=NOW)
                return (await first).payload  # type: ignore[no-any-return]

        assert asyncio.run(main())["state"] == "closed"

    def condition(self, **options: Any) -> dict[str, Any]:
        usual = {"breaker": SCOPE, "run": "dag/run", "poll_interval_seconds": 0.001}
        return take(LakehouseBreakerConditionTrigger(**usual | options), 1)[0]

    def test_a_deferred_wait_ends_when_the_run_would_pass_and_writes_nothing(self, warehouse: str) -> None:
        assert self.condition() == {"status": "met"}
        hold(until=NOW + timedelta(seconds=0.001))
        assert self.condition() == {"status": "met"}
        assert state() == "open"

    def test_it_ends_at_once_when_a_retry_cannot_help(self, warehouse: str) -> None:
        event = self.condition(breaker={"scope": SCOPE, "open": 1})
        assert (event["status"], event["kind"]) == ("failed", "InvalidRequestError")

    def test_a_log_that_does_not_answer_is_waited_out_unless_it_counts_as_closed(
        self, connect: Callable[..., None]
    ) -> None:
        unreachable(connect)
        assert self.condition(breaker={"scope": SCOPE, "on_unreadable": "closed"}) == {"status": "met"}
