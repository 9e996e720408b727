"""The link from a task to the table it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class LakehouseTableLink(BaseOperatorLink):
    """Opens the location of the table that the task wrote."""

    name = "Table"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the location that the operator kept; empty before it ran. Asked on the worker, after execution."""
        return str(getattr(operator, "location", ""))
