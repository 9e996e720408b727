"""Wait for tables in the triggerer, whatever the catalog does meanwhile, and without holding a secret."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.bridge.connections import DEFAULT_CONNECTION
from airflow_provider_lakehouse.bridge.versions import (
    Cursor,
    TableCondition,
    look,
    newest,
    version_event,
    versions_since,
)
from airflow_provider_lakehouse.triggers.waiting import (
    DEFAULT_POLL_SECONDS,
    ConditionTrigger,
    WatchingTrigger,
    class_path,
    open_table,
)

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.tables.base import Table, VersionFacts


class LakehouseTableTrigger(WatchingTrigger["VersionFacts"]):
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

    def __init__(
        self,
        *,
        table: str,
        lakehouse_conn_id: str = DEFAULT_CONNECTION,
        since_version: int | None = None,
        poll_interval_seconds: float = DEFAULT_POLL_SECONDS,
    ) -> None:
        super().__init__(
            lakehouse_conn_id=lakehouse_conn_id, since=since_version, poll_interval_seconds=poll_interval_seconds
        )
        self.table = table

    @property
    def subject(self) -> str:
        """The table."""
        return self.table

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments; the connection by its name only."""
        return class_path(self), {
            "table": self.table,
            "lakehouse_conn_id": self.lakehouse_conn_id,
            "since_version": self.since,
            "poll_interval_seconds": self.poll_interval_seconds,
        }

    async def _look(self, cursor: Cursor) -> tuple[VersionFacts, ...]:
        return await asyncio.to_thread(versions_since, await self._open(), cursor)

    def _told(self, entry: VersionFacts) -> dict[str, Any] | None:
        return version_event(entry, table=self.table) if entry.changes_rows else None

    def _after(self, entry: VersionFacts) -> Cursor:
        return Cursor.at(entry)

    async def _newest(self) -> Cursor:
        return await asyncio.to_thread(newest, await self._open())

    async def _farthest_behind(self, cursors: list[Cursor]) -> Cursor:
        table = await self._open()
        return await asyncio.to_thread(max, cursors, key=lambda cursor: len(versions_since(table, cursor)))

    async def _open(self) -> Table:
        return await open_table(self.lakehouse_conn_id, self.table)


class LakehouseTableConditionTrigger(ConditionTrigger):
    """Give one event when a table is as somebody waits for it: for a deferred sensor; see `ConditionTrigger`.

    Args:
        table: `namespace.table`; it need not exist yet.
        condition: What to wait for, as `TableCondition.to_json` writes it.
        **options: Connection and interval, of every `ConditionTrigger`.
    """

    def __init__(self, *, table: str, condition: dict[str, Any], **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self.table = table
        self.condition = condition

    @property
    def subject(self) -> str:
        """The table."""
        return self.table

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments; the connection by its name only."""
        return class_path(self), {
            "table": self.table,
            "condition": self.condition,
            "lakehouse_conn_id": self.lakehouse_conn_id,
            "poll_interval_seconds": self.poll_interval_seconds,
        }

    async def _look(self) -> dict[str, Any] | None:
        table = await open_table(self.lakehouse_conn_id, self.table)
        condition = TableCondition.from_json(self.condition)
        sighting = await asyncio.to_thread(look, table, condition, now=datetime.now(UTC))
        return {"sighting": sighting.to_json()} if sighting.is_met else None
