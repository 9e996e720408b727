"""The link from a task to the table it worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class LakehouseTableLink(BaseOperatorLink):
    """Opens the page of the task's table, or its location where the connection names no page."""

    name = "Lakehouse table"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return what `execute` kept; Airflow asks on the worker, after the task, and keeps the answer."""
        return str(getattr(operator, "page", ""))
