"""Waits in the triggerer until a day is there."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_lakehouse.sensors.table import LakehouseTableSensor

with DAG("wait_for_day", schedule=None, params={"day": "2017-02-01"}):
    LakehouseTableSensor(
        task_id="wait",
        table="gold.store_daily",
        partition={"business_date": "{{ params.day }}"},
        poke_interval=1,
        timeout=600,
        deferrable=True,
        retry_delay=timedelta(seconds=2),
    )
