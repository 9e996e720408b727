"""Wait for circuit breakers in the triggerer: for every change of one, or until one lets a run pass."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger

from airflow_provider_lakehouse.bridge.breakers import BreakerSettings, transition_facts
from airflow_provider_lakehouse.bridge.connections import DEFAULT_CONNECTION
from airflow_provider_lakehouse.bridge.retries import is_final
from airflow_provider_lakehouse.bridge.versions import Cursor
from airflow_provider_lakehouse.core.errors import UnavailableError
from airflow_provider_lakehouse.core.quality.breaker_log import BreakerLog
from airflow_provider_lakehouse.triggers.table import (
    CURSOR_KEY,
    DEFAULT_POLL_SECONDS,
    LakehouseTableTrigger,
    _event,
    _open,
    _path,
    _Wait,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.triggers.base import TriggerEvent

    from airflow_provider_lakehouse.core.quality.breaker import Transition


class LakehouseBreakerTrigger(LakehouseTableTrigger):
    """Give an event for every change of a circuit breaker's state, whoever made it: for an `AssetWatcher`.

    A task that fails because it opened a breaker has no asset event of its own; this tells of it all the same. Errors of
    the catalog are waited out as by `LakehouseTableTrigger`.

    Args:
        scope: Of the breaker; nobody need have written about it yet.
        lakehouse_conn_id: A connection of type `lakehouse`.
        since_number: The entry of the log already seen when nothing was kept yet; None begins with the entries made from
            now on.
        poll_interval_seconds: Between two looks.

    Guarantees:
        No change is lost, as for `LakehouseTableTrigger`; each event says its number.
    """

    def __init__(
        self,
        *,
        scope: str,
        lakehouse_conn_id: str = DEFAULT_CONNECTION,
        since_number: int | None = None,
        poll_interval_seconds: float = DEFAULT_POLL_SECONDS,
    ) -> None:
        super().__init__(
            table=f"the breaker of {scope}",
            lakehouse_conn_id=lakehouse_conn_id,
            since_version=since_number,
            poll_interval_seconds=poll_interval_seconds,
        )
        self.scope = scope

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments; the connection by its name only."""
        return _path(self), {
            "scope": self.scope,
            "lakehouse_conn_id": self.lakehouse_conn_id,
            "since_number": self.since_version,
            "poll_interval_seconds": self.poll_interval_seconds,
        }

    async def _look(self, cursor: Cursor) -> tuple[Transition, ...]:
        log = await _open_log(self.lakehouse_conn_id, BreakerSettings.from_json(self.scope))
        return await asyncio.to_thread(log.history, self.scope, since=cursor.version)

    async def _first_cursor(self) -> Cursor:
        kept = [Cursor.from_json(found) for one in self._stores() if (found := await one.aget(CURSOR_KEY))]
        if kept:
            return min(kept, key=lambda cursor: cursor.version)
        if self.since_version is not None:
            return Cursor(self.since_version)
        log = await _open_log(self.lakehouse_conn_id, BreakerSettings.from_json(self.scope))
        return Cursor((await asyncio.to_thread(log.read, self.scope)).number)

    def _told(self, entry: Transition) -> dict[str, Any] | None:  # type: ignore[override]
        return transition_facts(entry) if entry.is_change else None

    def _after(self, entry: Transition) -> Cursor:  # type: ignore[override]
        return Cursor(entry.after.number)


class LakehouseBreakerConditionTrigger(BaseTrigger):
    """Give one event when circuit breakers would let a run pass: for a deferred sensor, which then asks them.

    It only reads. Errors that pass are waited out; one that a retry cannot mend ends the wait at once.

    Args:
        breaker: Which breakers, as the sensor was given them.
        run: Who wants to pass.
        lakehouse_conn_id: A connection of type `lakehouse`.
        poll_interval_seconds: Between two looks.
    """

    def __init__(
        self,
        *,
        breaker: Any,  # noqa: ANN401 - JSON
        run: str,
        lakehouse_conn_id: str = DEFAULT_CONNECTION,
        poll_interval_seconds: float = DEFAULT_POLL_SECONDS,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.breaker = breaker
        self.run_name = run
        self.lakehouse_conn_id = lakehouse_conn_id
        self.poll_interval_seconds = poll_interval_seconds

    @property
    def table(self) -> str:
        """What the log says that was looked at."""
        return f"breaker {self.breaker}"

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments; the connection by its name only."""
        return _path(self), {
            "breaker": self.breaker,
            "run": self.run_name,
            "lakehouse_conn_id": self.lakehouse_conn_id,
            "poll_interval_seconds": self.poll_interval_seconds,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the run would pass, or the look cannot succeed."""
        wait = _Wait(self)
        while True:
            try:
                if await self._would_pass():
                    yield _event({"status": "met"})
                    return
                wait.succeeded()
            except Exception as error:  # noqa: BLE001 - an error that passes must not end the wait
                if is_final(error):
                    yield _event({"status": "failed", "kind": type(error).__name__, "message": str(error)})
                    return
                wait.failed(error)
            await wait.over()

    async def _would_pass(self) -> bool:
        settings = BreakerSettings.from_json(self.breaker)
        log = await _open_log(self.lakehouse_conn_id, settings)
        try:
            found = [await asyncio.to_thread(log.read, scope) for scope in settings.scopes]
        except UnavailableError:
            if settings.rules.on_unreadable == "closed":
                return True
            raise
        now = datetime.now(UTC)
        return all(one.admits(self.run_name) or one.is_due(now) for one in found)


async def _open_log(lakehouse_conn_id: str, settings: BreakerSettings) -> BreakerLog:
    return BreakerLog(await _open(lakehouse_conn_id, settings.log))
