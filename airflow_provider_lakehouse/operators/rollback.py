"""Bring an older state of a table back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.bridge.lineage import SeenLineage
from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.bridge.tokens import token_of
from airflow_provider_lakehouse.bridge.values import instant_or_none, number_or_none
from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.abilities import RollingBack
from airflow_provider_lakehouse.core.tables.base import HEAD, At
from airflow_provider_lakehouse.operators.base import LakehouseOperator, declared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class LakehouseRollbackOperator(LakehouseOperator):
    """Make a table hold what it held at an older state, as a new entry of its history.

    Nothing is lost by it: roll back again.

    On retry: the token of the run decides; the table is rolled back once.
    On kill: either nothing was rolled back or all of it.

    Args:
        table: `namespace.table`.
        version: The version to go back to. Or:
        tag: the state that a tag names. Or:
        as_of: the newest state at an instant, ISO 8601 with a time zone.
        pipeline: First half of the token; None for the DAG, the task and the table.
        batch: Second half; None for the partition key of the run, or its id.
        **options: Of every operator.
    """

    template_fields: Sequence[str] = (
        "lakehouse_conn_id", "table", "version", "tag", "as_of", "pipeline", "batch",
    )  # fmt: skip

    def __init__(
        self,
        *,
        table: str,
        version: int | str | None = None,
        tag: str | None = None,
        as_of: str | None = None,
        pipeline: str | None = None,
        batch: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**declared(options, writes=(table,)))
        self.table = table
        self.version = version
        self.tag = tag
        self.as_of = as_of
        self.pipeline = pipeline
        self.batch = batch

    def execute(self, context: Context) -> dict[str, Any]:
        """Roll back, and return the commit."""
        to = At(
            version=number_or_none(self.version, name="version"),
            tag=self.tag or None,
            as_of=instant_or_none(self.as_of, name="as_of"),
        )
        if to == HEAD:
            raise InvalidRequestError("A rollback needs a state to go back to. Name a version, a tag or an instant.")
        table = self.open_target(self.table)
        token = token_of(context, pipeline=self.pipeline, batch=self.batch, table=self.table)
        commit = require(table, RollingBack, purpose="to go back to an older state").roll_back(to, token=token)
        seen = self.see(table, commit=commit)
        self.lineage = SeenLineage(outputs=(seen,))
        self.announce(context, seen, {"rolled_back_to": str(self.version or self.tag or self.as_of)})
        result: dict[str, Any] = as_json(commit)
        return result
