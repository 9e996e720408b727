"""Create a table from its specification, and say where one that is there differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_lakehouse.bridge.lineage import SeenLineage
from airflow_provider_lakehouse.bridge.specs import described_plan, read_schema
from airflow_provider_lakehouse.bridge.tokens import token_of
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.spec import DEFAULT_FILE_BYTES, TableSpec, apply_spec, plan_spec
from airflow_provider_lakehouse.operators.base import LakehouseOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_lakehouse.core.tables.base import Table
    from airflow_provider_lakehouse.core.tables.spec import SpecPlan

_MIB = 1024 * 1024


class LakehouseCreateTableOperator(LakehouseOperator):
    """Create a table unless it is there, and plan what would bring one that is there to its specification.

    On retry: a table that is there is left as it is; changes that were applied are not applied again.
    On kill: the table is there or not; a change is applied whole or not at all.

    Args:
        table: `namespace.table`.
        columns: Type by name, in order: `long`, `decimal(10,2)`, `timestamptz`, `list<string>`, ...
        required: Columns that are never null.
        identifier: Columns that identify a row.
        comments: Comments of columns, by name.
        partitioning: Such as `day(sold_at)`, `bucket(16, user_id)`, `region`.
        sort_order: Columns by which rows are ordered within files.
        properties: Of the format, set as they are.
        comment: Shown to readers of the table.
        target_file_mb: Size at which a data file is closed, compressed, in MiB.
        on_drift: What to do where the table differs: `report` it, `fail`, or `apply` what loses nothing.
        **options: Of every operator.
    """

    template_fields: Sequence[str] = (
        "lakehouse_conn_id", "table", "columns", "required", "identifier", "comments", "partitioning", "sort_order",
        "properties", "comment", "on_drift",
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {"columns": "json", "properties": "json", "comments": "json"}

    def __init__(
        self,
        *,
        table: str,
        columns: Mapping[str, str],
        required: Sequence[str] = (),
        identifier: Sequence[str] = (),
        comments: Mapping[str, str] | None = None,
        partitioning: Sequence[str] = (),
        sort_order: Sequence[str] = (),
        properties: Mapping[str, str] | None = None,
        comment: str = "",
        target_file_mb: int = DEFAULT_FILE_BYTES // _MIB,
        on_drift: Literal["report", "fail", "apply"] = "report",
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**options)
        self.table = table
        self.columns = columns
        self.required = required
        self.identifier = identifier
        self.comments = comments
        self.partitioning = partitioning
        self.sort_order = sort_order
        self.properties = properties
        self.comment = comment
        self.target_file_mb = target_file_mb
        self.on_drift = on_drift

    def execute(self, context: Context) -> dict[str, Any]:
        """Create or compare; return whether the table was created, and the plan."""
        table, spec = self.open_target(self.table), self._spec()
        is_new = table.create(spec)
        plan = plan_spec(spec, table.facts())
        found = described_plan(plan)
        applied = not plan.is_empty and self._react(context, table, plan, found)
        seen = self.see(table)
        self.lineage = SeenLineage(outputs=(seen,))
        self.announce(context, seen, {"created": is_new, "changes": len(found["changes"]) if applied else 0})
        return {"table": self.table, "created": is_new, "applied": applied, "version": seen.version, "plan": found}

    def _react(self, context: Context, table: Table, plan: SpecPlan, found: dict[str, Any]) -> bool:
        for difference in (*found["changes"], *found["refused"]):
            self.log.warning("%s differs from its specification: %s", self.table, difference)
        if self.on_drift == "apply":
            # The same change from the same state once; another specification in the same run is another change.
            token = token_of(context, table=self.table)
            batch = f"{token.batch} {plan.base} {'; '.join(found['changes'])}"[-400:]
            apply_spec(table, plan, token=token_of(context, table=self.table, batch=batch))
            return True
        if self.on_drift == "fail":
            raise InvalidRequestError(
                f"Table {self.table!r} differs from its specification. Change one of them, or set on_drift='apply'.",
                table=self.table,
                changes=tuple(found["changes"]),
                refused=tuple(found["refused"]),
            )
        return False

    def _spec(self) -> TableSpec:
        if self.on_drift not in ("report", "fail", "apply"):
            raise InvalidRequestError(
                "What to do about differences is 'report', 'fail' or 'apply'.", on_drift=self.on_drift
            )
        return TableSpec(
            read_schema(self.columns, required=self.required, identifier=self.identifier, comments=self.comments),
            partitioning=tuple(self.partitioning),
            sort_order=tuple(self.sort_order),
            properties=dict(self.properties or {}),
            comment=self.comment,
            target_file_bytes=self.target_file_mb * _MIB,
        )
