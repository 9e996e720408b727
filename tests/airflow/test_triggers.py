"""A trigger waits for a table whatever the catalog does, loses no version, and holds no secret."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from airflow.sdk import Asset, AssetWatcher
from airflow.sdk.module_loading import import_string
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_lakehouse.core.tables.base import Change, WriteToken
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.triggers.table import LakehouseTableConditionTrigger, LakehouseTableTrigger
from airflow_provider_lakehouse.triggers.waiting import CURSOR_KEY, Wait

Tables = Callable[..., Any]
COUNTER = itertools.count()


class StateStore:
    """The state of one asset, as Airflow offers it to a trigger."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def aget(self, key: str) -> Any:
        return json.loads(self.values[key]) if key in self.values else None

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = json.dumps(value)


def add(table: Any, value: int, **change: Any) -> int:
    import pyarrow as pa

    rows = pa.table({"n": pa.array([value], pa.int64())}).to_reader()
    token = WriteToken("test", f"add {next(COUNTER)}")
    return int(table.commit(Change(rows=rows, **change), token=token).version)


def rewrite(table: Any) -> int:
    """Commit something that changes no rows, as compaction does."""
    return int(
        table.commit(Change(properties={"touched": str(next(COUNTER))}), token=WriteToken("t", next(COUNTER))).version
    )


def watch(**options: Any) -> LakehouseTableTrigger:
    trigger = LakehouseTableTrigger(**{"table": "sales.numbers", "poll_interval_seconds": 0.001} | options)
    trigger.handover_seconds = 0.0  # nothing stores events here
    return trigger


async def take(events: AsyncIterator[TriggerEvent], count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        return [(await anext(events)).payload for _ in range(count)]


def collect(trigger: LakehouseTableTrigger, count: int) -> list[dict[str, Any]]:
    async def main() -> list[dict[str, Any]]:
        events = trigger.run()
        found = await take(events, count)
        await events.aclose()  # type: ignore[attr-defined]
        return found

    return asyncio.run(main())


@pytest.fixture
def numbers(table: Tables) -> Any:
    return table("sales.numbers", {"n": "long"}, (0,))


@pytest.mark.parametrize(
    "trigger",
    [
        LakehouseTableTrigger(table="a.b", lakehouse_conn_id="lake", since_version=7, poll_interval_seconds=5),
        LakehouseTableConditionTrigger(table="a.b", condition={"since": 3}, lakehouse_conn_id="lake"),
    ],
)
def test_a_trigger_can_be_rebuilt_from_what_it_serializes(trigger: Any) -> None:
    path, arguments = trigger.serialize()
    again = import_string(path)(**json.loads(json.dumps(arguments)))
    assert again.serialize() == trigger.serialize()
    assert arguments["lakehouse_conn_id"] == "lake"


def test_an_asset_can_be_watched() -> None:
    trigger = LakehouseTableTrigger(table="sales.orders")
    watcher = AssetWatcher(name="orders", trigger=trigger)
    assert Asset("iceberg://default/sales/orders", watchers=[watcher]).watchers == [watcher]
    assert isinstance(BaseEventTrigger.hash(*trigger.serialize()), int)


def test_every_version_made_between_two_looks_gives_an_event(numbers: Any) -> None:
    seen = numbers.facts().version
    versions = [add(numbers, value) for value in (1, 2, 3)]
    events = collect(watch(since_version=seen), 3)
    assert [event["version"] for event in events] == versions
    assert [event["previous_version"] for event in events] == [seen, *versions[:2]]
    assert [event["rows_added"] for event in events] == [1, 1, 1]
    assert json.loads(json.dumps(events)) == events


def test_rewrites_that_change_no_rows_give_none(numbers: Any) -> None:
    seen = numbers.facts().version
    rewrite(numbers)
    added = add(numbers, 1)
    rewrite(numbers)
    last = add(numbers, 2)
    assert [event["version"] for event in collect(watch(since_version=seen), 2)] == [added, last]


def test_without_a_cursor_only_what_comes_from_now_on_counts(numbers: Any) -> None:
    trigger = watch()
    trigger.asset_state_store = StateStore()  # type: ignore[assignment]

    async def main() -> dict[str, Any]:
        events = trigger.run()
        first = asyncio.create_task(take(events, 1))
        while not trigger.asset_state_store.values:  # type: ignore[union-attr]
            await asyncio.sleep(0)
        version = add(numbers, 1)
        (event,) = await first
        return event | {"expected": version}

    event = asyncio.run(main())
    assert event["version"] == event["expected"]


def test_a_table_that_does_not_exist_yet_is_waited_for(table: Tables) -> None:
    trigger = watch()
    trigger.asset_state_store = StateStore()  # type: ignore[assignment]

    async def main() -> list[dict[str, Any]]:
        events = asyncio.create_task(take(trigger.run(), 1))
        while not trigger.asset_state_store.values:  # type: ignore[union-attr]
            await asyncio.sleep(0)
        table("sales.numbers", {"n": "long"}, (1,))
        return await events

    assert asyncio.run(main())[0]["rows_added"] == 1


def test_after_a_restart_it_goes_on_where_it_was(numbers: Any) -> None:
    store, seen = StateStore(), numbers.facts().version
    add(numbers, 1)
    last = watch(since_version=seen)
    last.asset_state_store = store  # type: ignore[assignment]

    async def until_kept() -> None:
        events = last.run()
        (event,) = await take(events, 1)
        waiting = asyncio.create_task(take(events, 1))
        while json.loads(store.values[CURSOR_KEY])["version"] != event["version"]:
            await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(until_kept())
    missed = [add(numbers, value) for value in (2, 3)]
    restarted = watch(since_version=seen)
    restarted.asset_state_store = store  # type: ignore[assignment]
    assert [event["version"] for event in collect(restarted, 2)] == missed


def test_an_event_that_airflow_may_not_have_stored_is_given_again(numbers: Any) -> None:
    store, seen = StateStore(), numbers.facts().version
    version = add(numbers, 1)
    for _ in range(2):
        trigger = watch(since_version=seen)
        trigger.asset_state_store = store  # type: ignore[assignment]
        assert [event["version"] for event in collect(trigger, 1)] == [version]


def test_of_several_assets_the_one_farthest_behind_counts(numbers: Any) -> None:
    class Accessors:
        """What Airflow gives a trigger that serves several assets."""

        def __init__(self, *cursors: dict[str, Any]) -> None:
            self._by_name = {str(index): StateStore() for index in range(len(cursors) + 1)}
            self._by_uri: dict[str, StateStore] = {}
            for index, cursor in enumerate(cursors):
                self._by_name[str(index)].values[CURSOR_KEY] = json.dumps(cursor)

    versions = [add(numbers, value) for value in (1, 2, 3)]
    trigger = watch()
    cursors = [{"version": version, "committed_at": None} for version in (versions[1], versions[0])]
    trigger.asset_state_store = Accessors(*cursors)  # type: ignore[assignment]
    assert [event["version"] for event in collect(trigger, 2)] == versions[1:]


def test_a_version_that_the_history_forgot_is_passed_by_its_instant(numbers: Any) -> None:
    before = numbers.history()[-1].committed_at
    version = add(numbers, 1)
    store = StateStore()
    store.values[CURSOR_KEY] = json.dumps({"version": 999, "committed_at": before.isoformat()})
    trigger = watch()
    trigger.asset_state_store = store  # type: ignore[assignment]
    assert [event["version"] for event in collect(trigger, 1)] == [version]


def test_errors_of_the_catalog_are_survived(numbers: Any, connect: Callable[..., None], warehouse: str) -> None:
    seen = numbers.facts().version
    version = add(numbers, 1)
    connect(extra={"format": "memory"})  # the warehouse is missing: every look fails
    trigger = watch(since_version=seen)

    async def main() -> list[dict[str, Any]]:
        events = asyncio.create_task(take(trigger.run(), 1))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not events.done()
        connect(extra={"format": "memory", "warehouse": warehouse})
        return await events

    assert asyncio.run(main())[0]["version"] == version


def test_after_failures_it_waits_longer_but_not_for_ever() -> None:
    trigger = watch(poll_interval_seconds=60.0)
    wait, seconds = Wait(trigger), []
    for _ in range(100):
        seconds.append(wait.seconds)
        wait.failed(OSError("gone"))
    assert seconds[:5] == [60, 120, 240, 480, 600]
    assert seconds[-1] == 600
    wait.succeeded()
    assert wait.seconds == 60


def first_event(**options: Any) -> dict[str, Any]:
    usual = {"table": "sales.numbers", "poll_interval_seconds": 0.001}
    trigger = LakehouseTableConditionTrigger(**usual | options)

    async def main() -> dict[str, Any]:
        async with asyncio.timeout(20):
            (payload,) = [event.payload async for event in trigger.run()]
            return payload

    return asyncio.run(main())


def test_a_deferred_wait_ends_with_what_was_found(numbers: Any) -> None:
    event = first_event(condition={"since": -1})
    assert (event["status"], event["sighting"]["version"]) == ("met", numbers.facts().version)


def test_a_deferred_wait_ends_at_once_when_a_retry_cannot_help(numbers: Any) -> None:
    event = first_event(condition={"partition": {"day": "2026-01-01"}})
    assert (event["status"], event["kind"]) == ("failed", "InvalidRequestError")


def test_the_connection_is_read_without_blocking(warehouse: str) -> None:
    hook = LakehouseHook()
    assert asyncio.run(hook.load_settings()).catalog.warehouse == warehouse
    assert hook.settings.catalog.warehouse == warehouse
