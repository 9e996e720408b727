"""Publish a staged batch, or go back to an older state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.bridge.tokens import token_of
from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.tables.base import At, Publishing, RollingBack
from airflow_provider_lakehouse.operators.base import LakehouseOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class LakehousePublishOperator(LakehouseOperator):
    """Make the main branch of a table what was staged on a branch, and drop the branch.

    On retry: the token of the run decides; what was published is not published again.
    On kill: either nothing was published or all of it.

    Args:
        table: `namespace.table`.
        branch: The branch that was staged and checked.
        pipeline: First half of the token; None for the DAG, the task and the table.
        batch: Second half; None for the partition key of the run, or its id.
        **options: Of every operator.
    """

    template_fields: ClassVar[Sequence[str]] = ("lakehouse_conn_id", "table", "branch", "pipeline", "batch")

    def __init__(
        self,
        *,
        table: str,
        branch: str,
        pipeline: str | None = None,
        batch: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**options)
        self.table = table
        self.branch = branch
        self.pipeline = pipeline
        self.batch = batch

    def execute(self, context: Context) -> dict[str, Any]:
        """Publish, and return the commit."""
        table = self.hook.table(self.table)
        token = token_of(context, pipeline=self.pipeline or "", batch=self.batch or "", table=self.table)
        publishing = require(table, Publishing, purpose="to publish a staged batch")
        return self.announce(context, table, as_json(publishing.publish(self.branch, token=token)))


class LakehouseRollbackOperator(LakehouseOperator):
    """Make a table hold what it held at an older state, as a new entry of its history.

    On retry: the token of the run decides; the table is rolled back once.
    On kill: either nothing was rolled back or all of it.

    Args:
        table: `namespace.table`.
        version: Version to go back to; or
        tag: the state that a tag names.
        pipeline: First half of the token; None for the DAG, the task and the table.
        batch: Second half; None for the partition key of the run, or its id.
        **options: Of every operator.
    """

    template_fields: ClassVar[Sequence[str]] = ("lakehouse_conn_id", "table", "version", "tag", "pipeline", "batch")

    def __init__(
        self,
        *,
        table: str,
        version: int | str | None = None,
        tag: str | None = None,
        pipeline: str | None = None,
        batch: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**options)
        self.table = table
        self.version = version
        self.tag = tag
        self.pipeline = pipeline
        self.batch = batch

    def execute(self, context: Context) -> dict[str, Any]:
        """Roll back, and return the commit."""
        table = self.hook.table(self.table)
        token = token_of(context, pipeline=self.pipeline or "", batch=self.batch or "", table=self.table)
        to = At(version=None if self.version in (None, "") else int(self.version), tag=self.tag or None)  # type: ignore[arg-type]
        rolling = require(table, RollingBack, purpose="to go back to an older state")
        return self.announce(context, table, as_json(rolling.roll_back(to, token=token)))
