"""Publish a batch that was staged on a branch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.bridge.lineage import SeenLineage
from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.bridge.tokens import token_of
from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.tables.base import Publishing
from airflow_provider_lakehouse.operators.base import LakehouseOperator, declared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class LakehousePublishOperator(LakehouseOperator):
    """Make the main branch of a table what was staged on a branch, and drop the branch. Readers see all of it at once.

    On retry: the token of the run decides; what was published is not published again.
    On kill: either nothing was published or all of it.

    Args:
        table: `namespace.table`.
        branch: The branch that was staged and checked.
        pipeline: First half of the token; None for the DAG, the task and the table.
        batch: Second half; None for the partition key of the run, or its id.
        **options: Of every operator.
    """

    template_fields: Sequence[str] = ("lakehouse_conn_id", "table", "branch", "pipeline", "batch")

    def __init__(
        self,
        *,
        table: str,
        branch: str,
        pipeline: str | None = None,
        batch: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**declared(options, writes=(table,)))
        self.table = table
        self.branch = branch
        self.pipeline = pipeline
        self.batch = batch

    def execute(self, context: Context) -> dict[str, Any]:
        """Publish, and return the commit."""
        table = self.open_target(self.table)
        token = token_of(context, pipeline=self.pipeline, batch=self.batch, table=self.table)
        commit = require(table, Publishing, purpose="to publish a staged batch").publish(self.branch, token=token)
        seen = self.see(table, commit=commit)
        self.lineage = SeenLineage(outputs=(seen,))
        self.announce(context, seen, {"published": self.branch, "rows_added": commit.rows_added})
        result: dict[str, Any] = as_json(commit)
        return result
