"""What our triggers share: they look again and again, wait longer after failures, and never lose what came in between."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from airflow_provider_lakehouse.bridge.connections import DEFAULT_CONNECTION
from airflow_provider_lakehouse.bridge.retries import is_final
from airflow_provider_lakehouse.bridge.versions import Cursor
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_lakehouse.core.tables.base import Table

DEFAULT_POLL_SECONDS: Final = 60.0
MAX_WAIT_SECONDS: Final = 600.0
HANDOVER_SECONDS: Final = 2.0
"""Twice as long as the process that runs triggers keeps an event, at most, before it hands it over to be stored."""
CURSOR_KEY: Final = "lakehouse_cursor"
"""Key under which the cursor is kept with the asset."""


class WatchingTrigger[Entry](BaseEventTrigger):
    """Base of the triggers that give an event for each entry of something that only grows, whatever fails meanwhile.

    Args:
        lakehouse_conn_id: A connection of type `lakehouse`.
        since: The entry already seen when nothing was kept yet; None begins with those made from now on.
        poll_interval_seconds: Between two looks.
    """

    handover_seconds: float = HANDOVER_SECONDS

    def __init__(
        self,
        *,
        lakehouse_conn_id: str = DEFAULT_CONNECTION,
        since: int | None = None,
        poll_interval_seconds: float = DEFAULT_POLL_SECONDS,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lakehouse_conn_id = lakehouse_conn_id
        self.since = since
        self.poll_interval_seconds = poll_interval_seconds

    @property
    @abstractmethod
    def subject(self) -> str:
        """What is looked at, for the log."""

    @abstractmethod
    async def _look(self, cursor: Cursor) -> tuple[Entry, ...]:
        """Return what came after the cursor, oldest first."""

    @abstractmethod
    def _told(self, entry: Entry) -> dict[str, Any] | None:
        """Return what the event of an entry tells; None where it is not worth one."""

    @abstractmethod
    def _after(self, entry: Entry) -> Cursor:
        """Return the cursor of one who has seen an entry."""

    @abstractmethod
    async def _newest(self) -> Cursor:
        """Return the cursor of one who has seen everything there is."""

    @abstractmethod
    async def _farthest_behind(self, cursors: list[Cursor]) -> Cursor:
        """Return the cursor of one who has seen the least."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look again and again; yield an event for each entry that is worth one, oldest first."""
        wait = Wait(self)
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
            except Exception as error:  # noqa: BLE001 - whatever it is, a watcher that ends would lose entries
                wait.failed(error)
                entries = ()
            for entry in entries:
                if (told := self._told(entry)) is not None:
                    yield event(told)
                cursor = self._after(entry)
            if not entries:
                await wait.over()

    async def _first_cursor(self) -> Cursor:
        kept = [Cursor.from_json(found) for one in self._stores() if (found := await one.aget(CURSOR_KEY))]
        if kept:
            return await self._farthest_behind(kept)
        return await self._newest() if self.since is None else Cursor(self.since)

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


class ConditionTrigger(BaseTrigger):
    """Base of the triggers that give one event when something is as a deferred sensor waits for it.

    Errors that pass are waited out; one that a retry cannot mend ends the wait at once. How long to wait at most is the
    sensor's timeout.

    Args:
        lakehouse_conn_id: A connection of type `lakehouse`.
        poll_interval_seconds: Between two looks.
    """

    def __init__(
        self,
        *,
        lakehouse_conn_id: str = DEFAULT_CONNECTION,
        poll_interval_seconds: float = DEFAULT_POLL_SECONDS,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lakehouse_conn_id = lakehouse_conn_id
        self.poll_interval_seconds = poll_interval_seconds

    @property
    @abstractmethod
    def subject(self) -> str:
        """What is looked at, for the log."""

    @abstractmethod
    async def _look(self) -> dict[str, Any] | None:
        """Return what the event tells besides, when the condition is met; None while it is not."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the condition is met, or cannot be."""
        wait = Wait(self)
        while True:
            try:
                found = await self._look()
                wait.succeeded()
                if found is not None:
                    yield event({"status": "met", **found})
                    return
            except Exception as error:  # noqa: BLE001 - an error that passes must not end the wait
                if is_final(error):
                    yield event({"status": "failed", "kind": type(error).__name__, "message": str(error)})
                    return
                wait.failed(error)
            await wait.over()


class Wait:
    """How long to wait until the next look: longer after each failure, up to ten minutes.

    Args:
        trigger: Who waits.
    """

    def __init__(self, trigger: WatchingTrigger[Any] | ConditionTrigger) -> None:
        self._trigger = trigger
        self._failures = 0

    def succeeded(self) -> None:
        """Forget the failures."""
        self._failures = 0

    def failed(self, error: Exception) -> None:
        """Count a failure, and log it."""
        self._failures += 1
        self._trigger.log.warning("Look %d at %s failed: %s", self._failures, self._trigger.subject, error)

    @property
    def seconds(self) -> float:
        """Until the next look."""
        interval = self._trigger.poll_interval_seconds
        return float(max(interval, min(interval * 2 ** min(self._failures, 30), MAX_WAIT_SECONDS)))

    async def over(self) -> None:
        """Wait."""
        await asyncio.sleep(self.seconds)


async def open_table(lakehouse_conn_id: str, table: str) -> Table:
    """Open a table anew for each look, so that a connection that was changed or a token that ended is read again."""
    hook = LakehouseHook(lakehouse_conn_id)
    await hook.load_settings()
    return await asyncio.to_thread(hook.table, table)


def event(payload: dict[str, Any]) -> TriggerEvent:
    """Return an event."""
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]


def class_path(trigger: BaseTrigger) -> str:
    """Return the path by which Airflow finds a trigger's class."""
    return f"{type(trigger).__module__}.{type(trigger).__qualname__}"
