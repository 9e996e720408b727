"""Ingest files into a table, each exactly once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.bridge.tokens import pipeline_of
from airflow_provider_lakehouse.core.extract.plan import plan_files
from airflow_provider_lakehouse.core.flows import Target, ingest_files
from airflow_provider_lakehouse.core.load.modes import mode_from_json
from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.sources.files import FileSettings
from airflow_provider_lakehouse.core.state.table import TableFileLedger
from airflow_provider_lakehouse.operators.base import LakehouseOperator, now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

class LakehouseIngestFilesOperator(LakehouseOperator):
    """Load new files into a table.

    A ledger, itself a table, knows which contents were claimed; files that turn up late, or anew with other content, are
    loaded when they are there. Rows get `_source_file`, `_source_row`, `_ingested_at` and `_batch`.

    On retry: claimed files are loaded under the number they were claimed with; what was committed is not written again.
    On kill: nothing is half loaded. Files stay claimed, and the next run, of whatever date, finishes them first.

    Args:
        files: Local path, `file://` or `s3://`, with wildcards.
        table: `namespace.table`; created where it is not there.
        columns: Type by name; None infers them.
        required: Columns that may not be null.
        file_format: `auto` goes by the ending.
        mode: How rows change the table; a name, or a mapping with `mode` and its settings.
        policy: What happens to rows that do not fit; a word or a mapping, see `SchemaPolicy`.
        quarantine: Table for refused rows.
        ledger: Table that knows which files were claimed.
        pipeline: Who claims; None for the DAG, the task and the table.
        settle_seconds: Files modified more recently are left for a later run.
        max_batch_files: A commit takes no more files.
        **options: Of every operator.
    """

    template_fields: ClassVar[Sequence[str]] = (
        "lakehouse_conn_id", "files", "table", "columns", "mode", "policy", "quarantine", "ledger", "pipeline",
    )  # fmt: skip

    def __init__(
        self,
        *,
        files: str,
        table: str,
        columns: Mapping[str, str] | None = None,
        required: Sequence[str] = (),
        file_format: Literal["auto", "csv", "jsonl", "parquet", "avro"] = "auto",
        mode: str | Mapping[str, Any] = "append",
        policy: str | Mapping[str, Any] = "quarantine",
        quarantine: str = "quarantine.rows",
        ledger: str = "ledger.files",
        pipeline: str | None = None,
        settle_seconds: float = 0,
        max_batch_files: int | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**options)
        self.files = files
        self.table = table
        self.columns = columns
        self.required = required
        self.file_format = file_format
        self.mode = mode
        self.policy = policy
        self.quarantine = quarantine
        self.ledger = ledger
        self.pipeline = pipeline
        self.settle_seconds = settle_seconds
        self.max_batch_files = max_batch_files

    def execute(self, context: Context) -> dict[str, Any]:
        """Plan, claim, load, and return counts and batch numbers."""
        source = find("sources", "files")(self._source_settings())
        ledger = TableFileLedger(self.hook.table(self.ledger))
        pipeline = self.pipeline or pipeline_of(context, table=self.table)
        plan = plan_files(source, ledger, pipeline=pipeline, now=now(), max_batch_files=self.max_batch_files)
        self.log.info("%d files to load into %s, %d left out", plan.files, self.table, len(plan.left_out))
        target = Target(
            self.hook.table(self.table),
            mode_from_json(self.mode),
            SchemaPolicy.from_json(self.policy),
            quarantine=self.hook.table(self.quarantine),
        )
        result = ingest_files(plan, source, ledger, target, engine=self.hook.engine, now=now())
        return self.announce(context, target.table, as_json(result))

    def _source_settings(self) -> FileSettings:
        schema = None
        if self.columns:
            columns = (Column(name, kind, nullable=name not in self.required) for name, kind in self.columns.items())
            schema = Schema(tuple(columns))
        return FileSettings(
            self.files,
            format=self.file_format,
            schema=schema,
            settle=timedelta(seconds=self.settle_seconds),
            properties=self.hook.settings.engine.storage,
            memory_bytes=self.hook.settings.engine.memory_limit_bytes,
            threads=self.hook.settings.engine.threads,
            folder=self.hook.settings.engine.spill_directory,
        )
