"""Ingest rows of a database: all of them, what is new, or one partition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.sdk import BaseHook

from airflow_provider_lakehouse.bridge.connections import open_sql_source
from airflow_provider_lakehouse.bridge.contracts import TableContract
from airflow_provider_lakehouse.bridge.lineage import SeenDataset, SeenLineage
from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.bridge.state import kept_plan
from airflow_provider_lakehouse.bridge.tokens import pipeline_of, range_batch, token_of
from airflow_provider_lakehouse.bridge.values import limit_or_none
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.operators.base import declared, now
from airflow_provider_lakehouse.operators.guarded import GuardedOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_lakehouse.core.load.apply import LoadResult
    from airflow_provider_lakehouse.core.sources.base import ExtractPlan, Source
    from airflow_provider_lakehouse.core.tables.base import Table, WriteToken


class LakehouseIngestSqlOperator(GuardedOperator):
    """Load rows of a database into a table: the whole relation, what is new by a cursor column, or one partition.

    The range is decided before it is read, and kept for every try and clear of the task. The position that an increment
    starts from is a property of the target, set in the commit that loads the rows before it. An increment is named by
    the position it starts from, so two runs that start from the same one load it once.

    On retry: the same range is read again under the same token; what was committed is not written again.
    On kill: nothing is half loaded; connections to the database end with the worker.

    Args:
        sql_conn_id: Connection of the database: `postgres`, or of any type whose provider has a hook for SQL.
        table: `namespace.table`; created where it is not there.
        relation: `schema.table` to read. Or:
        query: one SELECT.
        mode: How rows change the table: `replace` goes with `full`, `append` or `merge` with `incremental` (`merge`
            where there is a lag), `overwrite_partitions` with `partition`. A name, or a mapping with `mode` and its
            settings.
        extract: `full`; `incremental` by `cursor`; or one `partition`.
        columns: Which; empty for all. For other databases than PostgreSQL also a mapping to types, which then win over
            what the driver says: `{"id": "long", "amount": "decimal(10,2)"}`.
        contract: File of a contract that has the table (Open Data Contract Standard): what a table that is created is, and
            whose name refused rows carry. What happens to rows that do not fit the table says `policy`; its other rules are not
            asked on the way, but by `LakehouseCheckOperator`.
        cursor: Column whose values only grow.
        lag_seconds: For a cursor of time: how far below the last position an increment starts again.
        lag: Likewise for a cursor of numbers.
        partition: `{"column": ..., "start": ..., "end": ...}`, the end exclusive.
        parallelism: Connections at most; only PostgreSQL is read over more than one.
        unfit: What becomes of values no column can hold: `reject` the row, or write `null`.
        as_text: Columns to take as PostgreSQL's text.
        policy: What happens to rows that do not fit; a word or a mapping, see `SchemaPolicy`.
        quarantine: Table for refused rows.
        reject_limit: How much of a batch may be refused before nothing of it is loaded: `rows`, `share` from 0 to 1, or
            both; None for any share, and 100,000 rows.
        pipeline: First half of the token, and owner of the position; None for the DAG, the task and the table.
        batch: Second half; None for the position an increment starts from, otherwise for the partition key of the run,
            or its id.
        breaker: Scope of the circuit breaker that stops the task while it is open, see `GuardedOperator`; None for none.
        **options: Of every operator.
    """

    template_fields: Sequence[str] = (
        "lakehouse_conn_id", "sql_conn_id", "table", "relation", "query", "columns", "contract", "extract", "cursor",
        "partition", "mode", "policy", "quarantine", "reject_limit", "pipeline", "batch", "breaker",
    )  # fmt: skip
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "query": "sql", "partition": "json", "mode": "json", "reject_limit": "json",
    }  # fmt: skip

    def __init__(
        self,
        *,
        sql_conn_id: str,
        table: str,
        mode: str | Mapping[str, Any],
        relation: str = "",
        query: str = "",
        extract: Literal["full", "incremental", "partition"] = "full",
        columns: Sequence[str] | Mapping[str, str] = (),
        contract: str | None = None,
        cursor: str = "",
        lag_seconds: float | None = None,
        lag: int | None = None,
        partition: Mapping[str, str] | None = None,
        parallelism: int = 2,
        unfit: Literal["reject", "null"] = "reject",
        as_text: Sequence[str] = (),
        policy: str | Mapping[str, Any] = "evolve",
        quarantine: str = "quarantine.rows",
        reject_limit: Mapping[str, Any] | None = None,
        pipeline: str | None = None,
        batch: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**declared(options, writes=(table,)))
        self.sql_conn_id = sql_conn_id
        self.table = table
        self.mode = mode
        self.relation = relation
        self.query = query
        self.extract = extract
        self.columns = columns
        self.contract = contract
        self.cursor = cursor
        self.lag_seconds = lag_seconds
        self.lag = lag
        self.partition = partition
        self.parallelism = parallelism
        self.unfit = unfit
        self.as_text = as_text
        self.policy = policy
        self.quarantine = quarantine
        self.reject_limit = reject_limit
        self.pipeline = pipeline
        self.batch = batch

    def execute(self, context: Context) -> dict[str, Any]:
        """Plan or take the plan that was kept, load, and return counts."""
        from airflow_provider_lakehouse.core.flows import Target, ingest_slice
        from airflow_provider_lakehouse.core.load.modes import mode_from_json
        from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
        from airflow_provider_lakehouse.core.sources.base import ExtractPlan

        self.pass_breaker(context)
        agreed = TableContract.read(self.contract, table=self.table) if self.contract else None
        target = Target(
            self.open_target(self.table, self.quarantine),
            mode_from_json(self.mode),
            SchemaPolicy.from_json(self.policy),
            spec=agreed.spec if agreed else None,
            contract=agreed.name if agreed else "",
            quarantine=self.hook.table(self.quarantine),
            limit=limit_or_none(self.reject_limit, name="reject_limit"),
            run=str(context["ti"].run_id),
        )
        source = open_sql_source(BaseHook.get_connection(self.sql_conn_id), **self._source_settings())
        pipeline = self.pipeline or pipeline_of(context, table=self.table)
        kept = kept_plan(context, lambda: self._decide(source, target.table, pipeline))
        plan = ExtractPlan.from_json(kept["plan"])
        if not plan.slices:
            self.log.info("There is nothing new in %s", plan.source)
            return {"rows_read": 0, "position": dict(plan.position)}
        batch = self.batch or range_batch(before=kept["before"], after=plan.position)
        token = token_of(context, pipeline=pipeline, batch=batch, table=self.table)
        self.log.info("Loading %d ranges of %s into %s", len(plan.slices), plan.source, self.table)
        result = ingest_slice(plan, source, target, token=token, engine=self.hook.engine)
        self._tell(context, target.table, plan, result, token)
        return {**as_json(result), "position": dict(plan.position)}

    def _decide(self, source: Source, table: Table, pipeline: str) -> dict[str, Any]:
        from airflow_provider_lakehouse.core.extract.plan import read_position

        properties = table.facts().properties if table.exists() else {}
        before = read_position(properties, pipeline=pipeline)
        plan = source.plan(position=before, now=now())
        return {"before": dict(before) if before else None, "plan": plan.to_json()}

    def _tell(self, context: Context, table: Table, plan: ExtractPlan, result: LoadResult, token: WriteToken) -> None:
        seen = self.see(table, commit=result.commit)
        self.lineage = SeenLineage({"source": SeenDataset(plan.source)}, (replace(seen, rows=result.rows_inserted),))
        for reason in plan.left_out.values():
            self.log.warning("Left out of %s: %s", plan.source, reason)
        facts = ("rows_read", "rows_inserted", "rows_updated", "rows_deleted", "rows_rejected", "is_replay")
        self.announce(context, seen, {"batch": str(token.batch)} | {name: getattr(result, name) for name in facts})

    def _source_settings(self) -> dict[str, Any]:
        if self.lag is not None and self.lag_seconds is not None:
            raise InvalidRequestError("A lag is of time or of numbers. Give one of lag_seconds and lag.")
        return {
            "relation": self.relation,
            "query": self.query,
            "columns": dict(self.columns) if isinstance(self.columns, Mapping) else tuple(self.columns),
            "mode": self.extract,
            "cursor": self.cursor,
            "lag": timedelta(seconds=self.lag_seconds) if self.lag_seconds is not None else self.lag,
            "partition": dict(self.partition) if self.partition else None,
            "parallelism": self.parallelism,
            "unfit": self.unfit,
            "as_text": tuple(self.as_text),
        }
