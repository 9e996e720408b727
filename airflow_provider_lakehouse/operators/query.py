"""Load what SQL over lakehouse tables returns into a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.bridge.tokens import token_of
from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.flows import Target, load_query
from airflow_provider_lakehouse.core.load.modes import mode_from_json
from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
from airflow_provider_lakehouse.core.quality.checks import RowCheck
from airflow_provider_lakehouse.operators.base import LakehouseOperator, now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context


class LakehouseQueryOperator(LakehouseOperator):
    """Run a query over tables and load its rows into another, in one commit, staged on a branch where one is named.

    On retry: the token of the run decides. What was committed is not written again and the query does not run.
    On kill: nothing is half loaded; files of the dead attempt are removed by the next.

    Args:
        sql: One SELECT, or the path of a `.sql` file. Tables are named as in the lakehouse; values as `$name`.
        reads: Tables that the query names, or a mapping from the name in the query to the table.
        table: `namespace.table` to load into; created where it is not there. None returns the rows, at most `max_rows`.
        mode: How rows change the table; a name, or a mapping with `mode` and its settings.
        policy: What happens to rows that do not fit the table.
        parameters: Values for `$name`.
        branch: Branch to stage on; None writes the main branch.
        checks: Conditions on rows, see `RowCheck`; mappings or checks.
        quarantine: Table for rows that break a check of severity `quarantine`.
        pipeline: First half of the token; None for the DAG, the task and the table.
        batch: Second half; None for the partition key of the run, or its id.
        max_rows: Most rows that are returned where no table is named.
        **options: Of every operator.
    """

    template_fields: ClassVar[Sequence[str]] = (
        "lakehouse_conn_id", "sql", "reads", "table", "mode", "policy", "parameters", "branch", "checks", "quarantine",
        "pipeline", "batch",
    )  # fmt: skip
    template_ext: ClassVar[Sequence[str]] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", "parameters": "json", "checks": "json"}

    def __init__(
        self,
        *,
        sql: str,
        reads: Sequence[str] | Mapping[str, str] = (),
        table: str | None = None,
        mode: str | Mapping[str, Any] = "append",
        policy: str | Mapping[str, Any] = "freeze",
        parameters: Mapping[str, Any] | None = None,
        branch: str | None = None,
        checks: Sequence[Mapping[str, Any] | RowCheck] = (),
        quarantine: str = "quarantine.rows",
        pipeline: str | None = None,
        batch: str | None = None,
        max_rows: int = 1000,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**options)
        self.sql = sql
        self.reads = reads
        self.table = table
        self.mode = mode
        self.policy = policy
        self.parameters = parameters
        self.branch = branch
        self.checks = checks
        self.quarantine = quarantine
        self.pipeline = pipeline
        self.batch = batch
        self.max_rows = max_rows

    def execute(self, context: Context) -> Any:  # noqa: ANN401
        """Run the query; return what was written, or the rows."""
        names = self.reads if isinstance(self.reads, dict) else {name: name for name in self.reads}
        tables = {name: TableView(self.hook.table(table)) for name, table in names.items()}
        if self.table is None:
            return self._rows(tables)
        token = token_of(context, pipeline=self.pipeline or "", batch=self.batch or "", table=self.table)
        target = Target(
            self.hook.table(self.table),
            mode_from_json(self.mode),
            SchemaPolicy.from_json(self.policy),
            quarantine=self.hook.table(self.quarantine),
            branch=self.branch or None,
        )
        checks = tuple(c if isinstance(c, RowCheck) else RowCheck.from_json(c) for c in self.checks)
        result = load_query(
            self.sql, target, token=token, engine=self.hook.engine, now=now(), tables=tables,
            parameters=self.parameters, checks=checks,
        )  # fmt: skip
        return self.announce(context, target.table, as_json(result))

    def _rows(self, tables: Mapping[str, TableView]) -> list[dict[str, Any]]:
        limited = f"SELECT * FROM ({self.sql.strip().rstrip(';')}\n) AS answer LIMIT {int(self.max_rows)}"
        with self.hook.engine.query(limited, tables=tables, parameters=self.parameters) as rows:
            found: list[dict[str, Any]] = as_json(rows.read_all().to_pylist())
            return found
