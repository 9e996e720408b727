"""Defer a sensor again and again within its one timeout."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import BaseSensorOperator
    from airflow.triggers.base import BaseTrigger


def defer_within(sensor: BaseSensorOperator, trigger: BaseTrigger, *, until: datetime) -> NoReturn:
    """Hand the wait to a trigger, for what is left of the time.

    Args:
        sensor: Has a method `execute_complete` that takes `until`.
        trigger: Waits.
        until: When the sensor's timeout is over; the same for all waits of one try.

    Raises:
        TaskDeferred: The wait goes on.
        AirflowSensorTimeout: The time is over.
        AirflowSkipException: The time is over, and the sensor is to fail softly.
    """
    left = until - datetime.now(UTC)
    if left.total_seconds() <= 0:
        message = f"Sensor has timed out after {sensor.timeout:.0f} seconds."
        raise AirflowSkipException(message) if sensor.soft_fail else AirflowSensorTimeout(message)
    sensor.defer(trigger=trigger, method_name="execute_complete", kwargs={"until": until.isoformat()}, timeout=left)
