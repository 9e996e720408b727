"""Load what SQL over lakehouse tables returns into a table, or return a few rows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_lakehouse.bridge.lineage import SeenLineage
from airflow_provider_lakehouse.bridge.quality import assertions_of
from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.bridge.tokens import token_of
from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.base import HEAD, NO_VERSION, At
from airflow_provider_lakehouse.operators.base import declared, now
from airflow_provider_lakehouse.operators.judging import JudgingOperator
from airflow_provider_lakehouse.operators.query_load import ARGUMENTS, QueryLoad, names_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_lakehouse.core.flows import QueryResult
    from airflow_provider_lakehouse.core.quality.checks import Check, CheckOutcome
    from airflow_provider_lakehouse.core.tables.base import Table, WriteToken


class LakehouseQueryOperator(JudgingOperator):
    """Run a query over tables and load its rows into another, in one commit, staged on a branch where one is named.

    On retry: the token of the run decides. What was committed is not written again and the query does not run.
    On kill: nothing is half loaded; files of the dead attempt are removed by the next. Where it dies between the commit and
    the end, what checks found of the rows may be missing from `results`; refused rows are in quarantine.

    Args:
        sql: One SELECT, or the path of a `.sql` file. Tables are named as in the lakehouse; values as `$name`.
        reads: Tables that the query names, or a mapping from the name in the query to the table.
        table: `namespace.table` to load into; created where it is not there. None returns the rows, at most `max_rows`.
        mode: How rows change the table; a name, or a mapping with `mode` and its settings.
        policy: What happens to rows that do not fit the table.
        parameters: Values for `$name`.
        branch: Branch to stage on; None writes the main branch.
        checks: Conditions on rows, see `RowCheck` and `Expectation`; mappings or checks.
        contract: File of a contract that has the table (Open Data Contract Standard): a table that is created is as it
            says, and rows that break one of its checks of severity `quarantine` or `drop` are set aside.
        results: Table that keeps how many rows broke which check; None keeps nothing.
        quarantine: Table for rows that break a check of severity `quarantine`.
        reject_limit: How many rows may be set aside before nothing is loaded: `rows`, `share` from 0 to 1, or both; None
            for any share, and 100,000 rows in quarantine.
        pipeline: First half of the token; None for the DAG, the task, the table and the map index.
        batch: Second half; None for the partition key of the run, or its id.
        max_rows: More rows are refused where no table is named.
        breaker: Scope of the circuit breaker that stops the task while it is open, see `GuardedOperator`; None for none.
        **options: Of every operator.
    """

    template_fields: Sequence[str] = (
        "lakehouse_conn_id", "sql", "reads", "table", "mode", "policy", "parameters", "branch", "checks", "contract",
        "results", "quarantine", "reject_limit", "pipeline", "batch", "breaker",
    )  # fmt: skip
    template_ext: Sequence[str] = (".sql",)
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
        checks: Sequence[Mapping[str, Any] | Check] = (),
        contract: str | None = None,
        quarantine: str = "quarantine.rows",
        reject_limit: Mapping[str, Any] | None = None,
        pipeline: str | None = None,
        batch: str | None = None,
        max_rows: int = 1000,
        **options: Any,  # noqa: ANN401
    ) -> None:
        # What is staged is not yet an update of the table: only publishing it is.
        super().__init__(**declared(options, writes=() if branch else (table,), reads=names_of(reads).values()))
        self.sql = sql
        self.reads = reads
        self.table = table
        self.mode = mode
        self.policy = policy
        self.parameters = parameters
        self.branch = branch
        self.checks = checks
        self.contract = contract
        self.quarantine = quarantine
        self.reject_limit = reject_limit
        self.pipeline = pipeline
        self.batch = batch
        self.max_rows = max_rows

    def execute(self, context: Context) -> Any:  # noqa: ANN401
        """Run the query; return what was written, or the rows."""
        self.pass_breaker(context)
        load = QueryLoad(**{name: getattr(self, name) for name in ARGUMENTS})
        sources = load.sources(self.hook)
        self.lineage = SeenLineage({name: self.see(table) for name, table in sources.items()}, sql=self.sql)
        if not self.table:
            return self._rows({name: TableView(table) for name, table in sources.items()})
        table = self.open_target(self.table, self.quarantine)
        self.judged = load.row_checks
        token = token_of(context, pipeline=self.pipeline, batch=self.batch, table=self.table)
        self.log.info(
            "Loading a query over %s into %s by %s%s, as batch %r of %r",
            ", ".join(sources) or "no table", self.table, load.mode_name,
            f", on branch {self.branch}" if self.branch else "", token.batch, token.pipeline,
        )  # fmt: skip
        judge = partial(self._judge, context, load)
        at = table.facts().version if table.exists() else NO_VERSION
        result = load.apply(
            self.hook, table, token=token, now=now(), run=str(context["ti"].run_id), on_refusal=partial(judge, at)
        )
        self._tell(context, table, result, token)
        judge(result.load.commit.version, result.checks, result.rows_checked)
        return as_json(result)

    def _tell(self, context: Context, table: Table, result: QueryResult, token: WriteToken) -> None:
        load = result.load
        is_staged = bool(self.branch) and not load.is_replay  # a branch that was published meanwhile is gone
        at = At(branch=self.branch) if is_staged else HEAD
        found = assertions_of(result.checks)
        seen = replace(self.see(table, at=at, commit=load.commit), assertions=found)
        self.lineage = replace(self.lineage, outputs=(seen,))
        for one in result.checks:
            if not one.passed:
                self.log.warning("%s rows break %r (%s)", f"{one.violations:,}", one.name, one.severity)
        if load.rows_rejected:
            where = f"pipeline = '{token.pipeline}' AND batch = '{token.batch}'"
            self.log.warning("Refused rows: SELECT * FROM %s WHERE %s", self.quarantine, where)
        facts = ("rows_read", "rows_inserted", "rows_updated", "rows_deleted", "rows_rejected", "is_replay")
        self.announce(context, seen, {"branch": self.branch} | {name: getattr(load, name) for name in facts})
        if is_staged:
            self.log.info("Readers see it when branch %s is published.", self.branch)

    def _judge(
        self, context: Context, how: QueryLoad, version: int, outcomes: tuple[CheckOutcome, ...], rows: int | None
    ) -> None:
        """Keep what the checks of rows found, and tell the breaker, under a name that the table's own checks do not have."""
        if not outcomes:
            return
        from airflow_provider_lakehouse.core.quality.run import ChecksResult

        contract = how.agreed.name if how.agreed else ""
        found = ChecksResult(how.table, version, rows, outcomes, now(), contract=contract, is_on_the_way=True)
        self.keep_results(context, found, self.judged)
        self.tell_breaker(context, replace(found, table=f"{how.table}, rows on their way"))

    def _rows(self, tables: Mapping[str, TableView]) -> list[dict[str, Any]]:
        limited = f"SELECT * FROM ({self.sql.strip().rstrip(';')}\n) AS answer LIMIT {int(self.max_rows) + 1}"
        with self.hook.engine.query(limited, tables=tables, parameters=self.parameters) as rows:
            found: list[dict[str, Any]] = as_json(rows.read_all().to_pylist())
        if len(found) > self.max_rows:
            raise InvalidRequestError(
                f"The query returns more than {self.max_rows} rows. Name a table to load them into.",
                max_rows=self.max_rows,
            )
        return found
