"""A medallion by day, small enough to be run again and again: each day three orders are new and one of the first is changed."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG, CronPartitionTimetable, task

from airflow_provider_lakehouse.core.quality.checks import TableCheck
from airflow_provider_lakehouse.task_groups.medallion import DerivedTable, LandedTable, medallion

LANDING = Path(os.environ["LAKEHOUSE_DAYS_LANDING"])

with DAG(
    "days",
    schedule=CronPartitionTimetable("0 0 * * *", timezone="UTC", key_format="%Y-%m-%d"),
    start_date=datetime(2017, 1, 1, tzinfo=UTC),
    end_date=datetime(2018, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
):

    @task(retries=2, retry_delay=timedelta(seconds=2))
    def land(partition_key: str | None = None) -> None:
        """Deliver the file of the day."""
        day = int(str(partition_key)[-2:])
        LANDING.mkdir(parents=True, exist_ok=True)
        lines = [f"{day * 10 + number},{partition_key}" for number in range(3)] + [f"1,{partition_key}"]
        (LANDING / f"{partition_key}.csv").write_text("\n".join(["id,day", *lines, ""]))

    land() >> medallion(
        group_id="shop",
        bronze=(LandedTable("bronze.orders", f"{LANDING}/*.csv", columns={"id": "long", "day": "date"}),),
        layers={
            "silver": (
                DerivedTable(
                    "silver.orders",
                    "SELECT id, day FROM bronze.orders WHERE _batch BETWEEN $first_batch AND $last_batch",
                    reads=("bronze.orders",),
                    follows="bronze.orders",
                    mode={"mode": "merge", "keys": ["id"], "sequence": "day"},
                    checks=(TableCheck("id is unique", "SELECT id FROM checked GROUP BY id HAVING count(*) > 1"),),
                ),
                DerivedTable(
                    "silver.days",
                    "SELECT day, count(*) AS orders FROM bronze.orders "
                    "WHERE _batch BETWEEN $first_batch AND $last_batch GROUP BY day",
                    reads=("bronze.orders",),
                    follows="bronze.orders",
                    mode={"mode": "merge", "keys": ["day"]},
                ),
            ),
        },
    )
