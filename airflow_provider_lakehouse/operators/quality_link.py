"""The link from a task that checks a table to the page about what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class LakehouseQualityLink(BaseOperatorLink):
    """Opens the page about what the checks of the task found; there is none where `[lakehouse] quality_pages` is empty."""

    name = "Lakehouse quality"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return what `execute` kept; Airflow asks on the worker, after the task, and keeps the answer."""
        return str(getattr(operator, "quality_page", ""))
