"""Wait for a table that somebody else writes: every version in which rows changed starts a run.

The triggerer looks at the table, no worker does. A run covers all versions that came since the last one started. Compaction and
other rewrites that change no rows start none. The DAG is paused when it is new; from the first look after it is unpaused it misses
no version, however long the catalog or the triggerer is away in between, or the DAG is paused again.

An event may come twice when the triggerer dies just after it gave it: act on the version that it names, not on its arrival.
Declare the watched asset in one DAG file only: a file that names the same asset without its watcher takes the watcher away.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, AssetWatcher, task

from airflow_provider_lakehouse.assets import table_asset
from airflow_provider_lakehouse.triggers.table import LakehouseTableTrigger

TABLE = "gold.store_daily"
LOOK_EVERY_SECONDS = 10

SALES = table_asset(
    TABLE,
    format=os.environ.get("LAKEHOUSE_RETAIL_FORMAT", "iceberg"),
    watchers=[
        AssetWatcher(
            name="versions of store_daily",
            trigger=LakehouseTableTrigger(table=TABLE, poll_interval_seconds=LOOK_EVERY_SECONDS),
        )
    ],
)

with DAG(
    "watch_sales",
    description="Runs for every new version of gold.store_daily",
    schedule=[SALES],
    max_active_runs=1,
    is_paused_upon_creation=True,
    doc_md=__doc__,
    tags=["lakehouse", "reference"],
):

    @task(retries=2, retry_delay=timedelta(seconds=10))
    def tell(triggering_asset_events: dict[Any, Any] | None = None) -> list[int]:
        """Log what each version changed; return the versions that this run covers, oldest first."""
        import logging

        events = triggering_asset_events[SALES] if triggering_asset_events else ()  # a run by hand has none
        told = {event.extra["payload"]["version"]: event.extra["payload"] for event in events}
        for version, seen in told.items():
            logging.getLogger(__name__).info(
                "%s, version %s of %s (%s): %s rows added, %s removed",
                seen["table"], version, seen["committed_at"], seen["operation"], seen["rows_added"], seen["rows_removed"],
            )  # fmt: skip
        return list(told)

    tell()
