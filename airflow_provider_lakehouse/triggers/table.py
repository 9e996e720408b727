"""Wait for tables in the triggerer, whatever the catalog does meanwhile, and without holding a secret."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from airflow_provider_lakehouse.bridge.connections import DEFAULT_CONNECTION
from airflow_provider_lakehouse.bridge.retries import is_final
from airflow_provider_lakehouse.bridge.versions import (
    Cursor,
    TableCondition,
    look,
    newest,
    version_event,
    versions_since,
)
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_lakehouse.bridge.versions import Sighting
    from airflow_provider_lakehouse.core.tables.base import Table, VersionFacts

DEFAULT_POLL_SECONDS: Final = 60.0
MAX_WAIT_SECONDS: Final = 600.0
HANDOVER_SECONDS: Final = 2.0
"""Twice as long as the process that runs triggers keeps an event, at most, before it hands it over to be stored."""
CURSOR_KEY: Final = "lakehouse_cursor"
"""Key under which the cursor is kept with the asset."""


class LakehouseTableTrigger(BaseEventTrigger):
    """Give an event for every version of a table in which rows changed: for an `AssetWatcher`.

    Rewrites that leave all rows as they are, such as compaction, give none. An error of the catalog is logged, and the
    wait grows up to ten minutes; the trigger goes on.

    Args:
        table: `namespace.table`; it need not exist yet.
        lakehouse_conn_id: A connection of type `lakehouse`.
        since_version: The version already seen when nothing was kept yet; None begins with the versions made from now
            on.
        poll_interval_seconds: Between two looks.

    Guarantees:
        No version is lost: each look asks for everything since the last, also after a restart, since the cursor is kept
            with the asset (from Airflow 3.3 on). It is kept when Airflow has stored the events, some seconds after they
            were given, so a triggerer that dies in between gives them twice, and none never. Each says its version.
    """

    handover_seconds: float = HANDOVER_SECONDS

    def __init__(
        self,
        *,
        table: str,
        lakehouse_conn_id: str = DEFAULT_CONNECTION,
        since_version: int | None = None,
        poll_interval_seconds: float = DEFAULT_POLL_SECONDS,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.table = table
        self.lakehouse_conn_id = lakehouse_conn_id
        self.since_version = since_version
        self.poll_interval_seconds = poll_interval_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments; the connection by its name only."""
        return _path(self), {
            "table": self.table,
            "lakehouse_conn_id": self.lakehouse_conn_id,
            "since_version": self.since_version,
            "poll_interval_seconds": self.poll_interval_seconds,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look again and again; yield an event for each version that changed rows, oldest first."""
        wait = _Wait(self)
        cursor: Cursor | None = None
        kept: Cursor | None = None
        while True:
            try:
                if cursor is None:
                    cursor = await self._first_cursor()
                if cursor != kept:
                    await self._keep(cursor, after_events=kept is not None)
                    kept = cursor
                entries = await self._look(cursor)
                wait.succeeded()
            except Exception as error:  # noqa: BLE001 - whatever it is, a watcher that ends would lose versions
                wait.failed(error)
                entries = ()
            for entry in entries:
                if (told := self._told(entry)) is not None:
                    yield _event(told)
                cursor = self._after(entry)
            if not entries:
                await wait.over()

    async def _look(self, cursor: Cursor) -> tuple[Any, ...]:
        """Return what came after the cursor, oldest first."""
        table = await _open(self.lakehouse_conn_id, self.table)
        return await asyncio.to_thread(versions_since, table, cursor)

    def _told(self, entry: VersionFacts) -> dict[str, Any] | None:
        """Return what the event of an entry tells; None where it is not worth one."""
        return version_event(entry, table=self.table) if entry.changes_rows else None

    def _after(self, entry: VersionFacts) -> Cursor:
        """Return the cursor of one who has seen an entry."""
        return Cursor.at(entry)

    async def _first_cursor(self) -> Cursor:
        kept = [Cursor.from_json(found) for one in self._stores() if (found := await one.aget(CURSOR_KEY))]
        table = await _open(self.lakehouse_conn_id, self.table)
        if kept:
            return await asyncio.to_thread(_farthest_behind, table, kept)
        if self.since_version is not None:
            return Cursor(self.since_version)
        return await asyncio.to_thread(newest, table)

    async def _keep(self, cursor: Cursor, *, after_events: bool) -> None:
        """Keep the cursor, when Airflow has stored all events up to it.

        A trigger is not told when that is. But events go through the same pipe as its questions: what was given before
        a question is handed over within a second of the answer, so a second question arrives after it, and what has
        arrived is stored before a third question is listened to.
        """
        stores = self._stores()
        for _ in range(2 if stores and after_events else 0):
            await stores[0].aget(CURSOR_KEY)
            await asyncio.sleep(self.handover_seconds)
        for one in stores:
            await one.aset(CURSOR_KEY, cursor.to_json())

    def _stores(self) -> list[Any]:
        """Return the state store of every asset that is watched; one trigger may serve several."""
        store = getattr(self, "asset_state_store", None)
        if store is None:
            return []
        return [*getattr(store, "_by_name", {}).values(), *getattr(store, "_by_uri", {}).values()] or [store]


class LakehouseTableConditionTrigger(BaseTrigger):
    """Give one event when a table is as somebody waits for it: for a deferred sensor.

    Errors that pass are waited out; one that a retry cannot mend ends the wait at once. How long to wait at most is the
    sensor's timeout.

    Args:
        table: `namespace.table`; it need not exist yet.
        condition: What to wait for, as `TableCondition.to_json` writes it.
        lakehouse_conn_id: A connection of type `lakehouse`.
        poll_interval_seconds: Between two looks.
    """

    def __init__(
        self,
        *,
        table: str,
        condition: dict[str, Any],
        lakehouse_conn_id: str = DEFAULT_CONNECTION,
        poll_interval_seconds: float = DEFAULT_POLL_SECONDS,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.table = table
        self.condition = condition
        self.lakehouse_conn_id = lakehouse_conn_id
        self.poll_interval_seconds = poll_interval_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments; the connection by its name only."""
        return _path(self), {
            "table": self.table,
            "condition": self.condition,
            "lakehouse_conn_id": self.lakehouse_conn_id,
            "poll_interval_seconds": self.poll_interval_seconds,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the condition is met, or cannot be."""
        wait = _Wait(self)
        while True:
            try:
                sighting = await self._look()
                wait.succeeded()
                if sighting.is_met:
                    yield _event({"status": "met", "sighting": sighting.to_json()})
                    return
            except Exception as error:  # noqa: BLE001 - an error that passes must not end the wait
                if is_final(error):
                    yield _event({"status": "failed", "kind": type(error).__name__, "message": str(error)})
                    return
                wait.failed(error)
            await wait.over()

    async def _look(self) -> Sighting:
        table = await _open(self.lakehouse_conn_id, self.table)
        condition = TableCondition.from_json(self.condition)
        return await asyncio.to_thread(look, table, condition, now=datetime.now(UTC))


class _Wait:
    """How long to wait until the next look: longer after each failure."""

    def __init__(self, trigger: Any) -> None:  # noqa: ANN401 - any of ours
        self._trigger = trigger
        self._failures = 0

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self, error: Exception) -> None:
        self._failures += 1
        self._trigger.log.warning("Look %d at %s failed: %s", self._failures, self._trigger.table, error)

    @property
    def seconds(self) -> float:
        interval = self._trigger.poll_interval_seconds
        return float(max(interval, min(interval * 2 ** min(self._failures, 30), MAX_WAIT_SECONDS)))

    async def over(self) -> None:
        await asyncio.sleep(self.seconds)


async def _open(lakehouse_conn_id: str, table: str) -> Table:
    """Open a table anew for each look, so that a connection that was changed or a token that ended is read again."""
    hook = LakehouseHook(lakehouse_conn_id)
    await hook.load_settings()
    return await asyncio.to_thread(hook.table, table)


def _event(payload: dict[str, Any]) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]


def _farthest_behind(table: Table, cursors: list[Cursor]) -> Cursor:
    return max(cursors, key=lambda cursor: len(versions_since(table, cursor)))


def _path(trigger: BaseTrigger) -> str:
    return f"{type(trigger).__module__}.{type(trigger).__qualname__}"
