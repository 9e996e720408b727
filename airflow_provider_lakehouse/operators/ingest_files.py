"""Ingest files into a table, each exactly once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_lakehouse.bridge.contracts import TableContract
from airflow_provider_lakehouse.bridge.lineage import SeenDataset, SeenLineage
from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.bridge.specs import read_schema
from airflow_provider_lakehouse.bridge.state import KeptBatches
from airflow_provider_lakehouse.bridge.tokens import pipeline_of
from airflow_provider_lakehouse.bridge.values import limit_or_none
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.operators.base import declared, now
from airflow_provider_lakehouse.operators.guarded import GuardedOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_lakehouse.core.flows import IngestResult, Target
    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.sources.files.source import FileSettings


class LakehouseIngestFilesOperator(GuardedOperator):
    """Load new files into a table, each content exactly once.

    A ledger, itself a table, knows which contents were claimed; files that turn up late, or anew with other content,
    are loaded when they are there. Rows get `_source_file`, `_source_row`, `_ingested_at` and `_batch`.

    On retry: claimed files are loaded under the number they were claimed with; what was committed is not written again,
    and the result names the batches of all tries. A task that had loaded everything tells its batches again when it is
    retried or cleared; files that came since are for the next run.
    On kill: nothing is half loaded. Files stay claimed, and the next run, of whatever date and whatever `files`, finishes
    them first, as they were to be read; where `columns` were wrong, correct them and clear the task that claimed.

    Args:
        files: Local path, `file://` or `s3://`, with wildcards; the same in every run, or one for each, such as
            `s3://landing/{{ ds }}/*.csv`.
        table: `namespace.table`; created where it is not there.
        columns: Type by name; None takes those of the contract, or infers them.
        required: Columns that may not be null, besides those of the contract.
        contract: File of a contract that has the table (Open Data Contract Standard): the columns that files have, and what a
            table that is created is. Rows that lack what it requires, or have other types, are refused; its other rules are not
            asked on the way, but by `LakehouseCheckOperator`.
        file_format: `auto` goes by the ending.
        mode: How rows change the table; a name, or a mapping with `mode` and its settings.
        policy: What happens to rows that do not fit; a word or a mapping, see `SchemaPolicy`.
        quarantine: Table for refused rows.
        reject_limit: How much of a batch may be refused before nothing of it is loaded: `rows`, `share` from 0 to 1, or
            both; None for any share, and 100,000 rows.
        ledger: Table that knows which files were claimed.
        pipeline: Who claims; None for the DAG, the task and the table. Another pipeline reads every file anew. Name one
            where several mapped tasks fill one table.
        settle_seconds: Files modified more recently are left for a later run.
        max_batch_files: A commit takes no more files.
        skip_when_empty: Whether the task is skipped, and with it what follows, when there is no new file.
        breaker: Scope of the circuit breaker that stops the task while it is open, see `GuardedOperator`; None for none.
        **options: Of every operator.
    """

    template_fields: Sequence[str] = (
        "lakehouse_conn_id", "files", "table", "columns", "required", "contract", "file_format", "mode", "policy",
        "quarantine", "reject_limit", "ledger", "pipeline", "breaker",
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "columns": "json", "mode": "json", "policy": "json", "reject_limit": "json",
    }  # fmt: skip

    def __init__(
        self,
        *,
        files: str,
        table: str,
        columns: Mapping[str, str] | None = None,
        required: Sequence[str] = (),
        contract: str | None = None,
        file_format: Literal["auto", "csv", "jsonl", "parquet", "avro"] = "auto",
        mode: str | Mapping[str, Any] = "append",
        policy: str | Mapping[str, Any] = "quarantine",
        quarantine: str = "quarantine.rows",
        reject_limit: Mapping[str, Any] | None = None,
        ledger: str = "ledger.files",
        pipeline: str | None = None,
        settle_seconds: float = 0,
        max_batch_files: int | None = None,
        skip_when_empty: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**declared(options, writes=(table,)))
        self.files = files
        self.table = table
        self.columns = columns
        self.required = required
        self.contract = contract
        self.file_format = file_format
        self.mode = mode
        self.policy = policy
        self.quarantine = quarantine
        self.reject_limit = reject_limit
        self.ledger = ledger
        self.pipeline = pipeline
        self.settle_seconds = settle_seconds
        self.max_batch_files = max_batch_files
        self.skip_when_empty = skip_when_empty

    def execute(self, context: Context) -> dict[str, Any]:
        """Plan, claim, load, and return counts and batch numbers."""
        from airflow_provider_lakehouse.core.extract.plan import FilesPlan, plan_files
        from airflow_provider_lakehouse.core.flows import Target, ingest_files
        from airflow_provider_lakehouse.core.load.modes import mode_from_json
        from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
        from airflow_provider_lakehouse.core.state.table import TableFileLedger

        self.pass_breaker(context)
        table = self.open_target(self.table, self.quarantine, self.ledger)
        agreed = TableContract.read(self.contract, table=self.table) if self.contract else None
        target = Target(
            table,
            mode_from_json(self.mode),
            SchemaPolicy.from_json(self.policy),
            spec=agreed.spec if agreed else None,
            contract=agreed.name if agreed else "",
            quarantine=self.hook.table(self.quarantine),
            limit=limit_or_none(self.reject_limit, name="reject_limit"),
            run=str(context["ti"].run_id),
        )
        source = find("sources", "files")(self._source_settings(agreed))
        ledger = TableFileLedger(self.hook.table(self.ledger))
        pipeline = self.pipeline or pipeline_of(context, table=self.table)
        batches = KeptBatches(context)
        if batches.are_done:
            self.log.info("An earlier try has loaded batches %s: they are told again", batches.numbers)
            plan = FilesPlan(pipeline)
        else:
            plan = plan_files(source, ledger, pipeline=pipeline, now=now(), max_batch_files=self.max_batch_files)
        self.log.info(
            "%s: %s files to load into %s, %s known already or left for later",
            source.identity, f"{plan.files:,}", self.table, f"{len(plan.left_out):,}",
        )  # fmt: skip
        if plan.is_empty and not batches.numbers and self.skip_when_empty:
            raise AirflowSkipException(f"There is no new file for {self.table}.")
        result = ingest_files(plan, source, ledger, target, engine=self.hook.engine, now=now(), taking=batches.take)
        batches.end()
        result = replace(result, batches=batches.numbers)
        if table.exists():
            self._tell(context, target, source.identity, result)
        answer: dict[str, Any] = as_json(result)
        return answer

    def _tell(self, context: Context, target: Target, source: str, result: IngestResult) -> None:
        seen = replace(self.see(target.table), rows=result.rows_inserted)
        self.lineage = SeenLineage({"files": SeenDataset(source, columns=seen.columns)}, (seen,))
        facts = ("files_loaded", "files_corrupt", "rows_read", "rows_inserted", "rows_unchanged", "rows_rejected")
        self.announce(context, seen, {name: getattr(result, name) for name in facts})
        if result.rows_rejected:
            batches = ", ".join(f"'{batch}'" for batch in result.batches)
            self.log.warning(
                "%s rows were refused: SELECT * FROM %s WHERE pipeline = '%s' AND batch IN (%s)",
                f"{result.rows_rejected:,}", self.quarantine, result.pipeline, batches,
            )  # fmt: skip

    def _source_settings(self, agreed: TableContract | None) -> FileSettings:
        from airflow_provider_lakehouse.core.sources.files.source import FileSettings

        settings = self.hook.settings
        return FileSettings(
            self.files,
            format=self.file_format,
            schema=self._schema(agreed),
            settle=timedelta(seconds=self.settle_seconds),
            properties=settings.catalog.properties,
            memory_bytes=settings.engine.memory_limit_bytes,
            threads=settings.engine.threads,
            folder=settings.engine.spill_directory,
        )

    def _schema(self, agreed: TableContract | None) -> Schema | None:
        """Return the columns that files have; None where the files say it."""
        if self.columns:
            return read_schema(self.columns, required=self.required)
        if agreed is None:
            return None
        columns = {column.name: column for column in agreed.file_columns}
        required = [name for name, column in columns.items() if not column.nullable]
        return read_schema({name: c.type for name, c in columns.items()}, required=(*required, *self.required))
