"""Waits for rows that came after those that the run before had found."""

from __future__ import annotations

from airflow.sdk import DAG, Asset

from airflow_provider_lakehouse.sensors.table import LakehouseTableSensor

with DAG("wait_for_more", schedule=None):
    LakehouseTableSensor(
        task_id="wait",
        table="gold.store_daily",
        cursor_asset=Asset("what wait_for_more has found"),
        poke_interval=1,
        timeout=60,
        retries=0,
    )
