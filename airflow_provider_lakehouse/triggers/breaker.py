"""Wait for circuit breakers in the triggerer: for every change of one, or until one lets a run pass."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.bridge.breakers import BreakerSettings, transition_facts
from airflow_provider_lakehouse.bridge.connections import DEFAULT_CONNECTION
from airflow_provider_lakehouse.bridge.versions import Cursor
from airflow_provider_lakehouse.core.errors import UnavailableError
from airflow_provider_lakehouse.core.quality.breaker_log import BreakerLog
from airflow_provider_lakehouse.triggers.waiting import (
    DEFAULT_POLL_SECONDS,
    ConditionTrigger,
    WatchingTrigger,
    class_path,
    open_table,
)

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.quality.breaker import Transition


class LakehouseBreakerTrigger(WatchingTrigger["Transition"]):
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
            lakehouse_conn_id=lakehouse_conn_id, since=since_number, poll_interval_seconds=poll_interval_seconds
        )
        self.scope = scope

    @property
    def subject(self) -> str:
        """The breaker."""
        return f"the breaker of {self.scope}"

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments; the connection by its name only."""
        return class_path(self), {
            "scope": self.scope,
            "lakehouse_conn_id": self.lakehouse_conn_id,
            "since_number": self.since,
            "poll_interval_seconds": self.poll_interval_seconds,
        }

    async def _look(self, cursor: Cursor) -> tuple[Transition, ...]:
        return await asyncio.to_thread((await self._open()).history, self.scope, since=cursor.version)

    def _told(self, entry: Transition) -> dict[str, Any] | None:
        return transition_facts(entry) if entry.is_change else None

    def _after(self, entry: Transition) -> Cursor:
        return Cursor(entry.after.number)

    async def _newest(self) -> Cursor:
        return Cursor((await asyncio.to_thread((await self._open()).read, self.scope)).number)

    async def _farthest_behind(self, cursors: list[Cursor]) -> Cursor:
        return min(cursors, key=lambda cursor: cursor.version)

    async def _open(self) -> BreakerLog:
        return await _open_log(self.lakehouse_conn_id, BreakerSettings.from_json(self.scope))


class LakehouseBreakerConditionTrigger(ConditionTrigger):
    """Give one event when circuit breakers would let a run pass: for a deferred sensor, which then asks them.

    It only reads; see `ConditionTrigger` for errors.

    Args:
        breaker: Which breakers, as the sensor was given them.
        run: Who wants to pass.
        **options: Connection and interval, of every `ConditionTrigger`.
    """

    def __init__(self, *, breaker: Any, run: str, **options: Any) -> None:  # noqa: ANN401 - JSON
        super().__init__(**options)
        self.breaker = breaker
        self.run_name = run

    @property
    def subject(self) -> str:
        """The breakers."""
        return f"breaker {self.breaker}"

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments; the connection by its name only."""
        return class_path(self), {
            "breaker": self.breaker,
            "run": self.run_name,
            "lakehouse_conn_id": self.lakehouse_conn_id,
            "poll_interval_seconds": self.poll_interval_seconds,
        }

    async def _look(self) -> dict[str, Any] | None:
        settings = BreakerSettings.from_json(self.breaker)
        log = await _open_log(self.lakehouse_conn_id, settings)
        try:
            found = [await asyncio.to_thread(log.read, scope) for scope in settings.scopes]
        except UnavailableError:
            if settings.rules.on_unreadable == "closed":
                return {}
            raise
        now = datetime.now(UTC)
        return {} if all(one.admits(self.run_name) or one.is_due(now) for one in found) else None


async def _open_log(lakehouse_conn_id: str, settings: BreakerSettings) -> BreakerLog:
    return BreakerLog(await open_table(lakehouse_conn_id, settings.log))
