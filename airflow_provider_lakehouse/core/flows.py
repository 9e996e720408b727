"""Whole journeys: from files, from a database, from a query, into a table. The one place where rooms of the core meet."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.extract.apply import apply_files, extract
from airflow_provider_lakehouse.core.extract.plan import position_properties
from airflow_provider_lakehouse.core.load.apply import LoadResult, apply_load
from airflow_provider_lakehouse.core.load.modes import Dedup, Scd2
from airflow_provider_lakehouse.core.load.policy import FREEZE
from airflow_provider_lakehouse.core.quality.gate import RowGate
from airflow_provider_lakehouse.core.quality.release_apply import apply_release
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.sources.base import SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN, Rejects
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Engine, Relation
    from airflow_provider_lakehouse.core.extract.plan import FilesPlan
    from airflow_provider_lakehouse.core.load.modes import Mode
    from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
    from airflow_provider_lakehouse.core.quality.checks import CheckOutcome, Limit
    from airflow_provider_lakehouse.core.quality.gate import RowLevelCheck
    from airflow_provider_lakehouse.core.quality.release_apply import ReleaseResult
    from airflow_provider_lakehouse.core.quality.release_plan import ReleasePlan
    from airflow_provider_lakehouse.core.sources.base import ExtractPlan, Source
    from airflow_provider_lakehouse.core.state.base import FileLedger
    from airflow_provider_lakehouse.core.tables.base import CommitResult, Table, WriteToken

INGESTED_AT_COLUMN: Final = "_ingested_at"
"""When the batch of a row was planned; the same for every attempt."""
BATCH_COLUMN: Final = "_batch"
"""Number of the batch a row came in; with the pipeline, its token."""
_HASH_TYPE: Final = "binary"
_SOURCE_COLUMN: Final = re.compile(r'\bsource\.(?:"((?:[^"]|"")+)"|(\w+))')


@dataclass(frozen=True)
class Target:
    """Where a journey ends.

    Args:
        table: The table; created where it is not there.
        mode: How rows change it.
        policy: What happens to rows that do not fit.
        spec: What a table that is created should be, with the columns that loads and modes keep for themselves added where
            it lacks them; None derives it from the rows.
        quarantine: Table for refused rows; None refuses the batch instead.
        branch: Branch to stage on; None is the main branch.
        limit: How many rows of a batch may be set aside before all of it is refused, and nothing of it written. None
            for any share, and 100,000 rows.
        run: Which run loads, kept with refused rows.
        contract: Name and version of the contract that refuses rows, kept with them.
        refused_as: Batch that refused rows are kept as, in place of those it kept before; None for the one that is written.
    """

    table: Table
    mode: Mode
    policy: SchemaPolicy = FREEZE
    spec: TableSpec | None = None
    quarantine: Table | None = None
    branch: str | None = None
    limit: Limit | None = None
    run: str = ""
    contract: str = ""
    refused_as: WriteToken | None = None


@dataclass(frozen=True)
class IngestResult:
    """What an ingestion did. Counts are of this run; a replayed batch counts nothing anew.

    Args:
        pipeline: Who ran.
        batches: Numbers of the batches this run finished, lowest first.
        files_loaded: Files that gave rows, refused ones included.
        files_empty: Files without rows.
        files_corrupt: Files that could not be read.
        files_left_out: Files that were found and not read, such as those seen before.
        rows_read: Rows the files gave.
        rows_inserted: Rows that are new in the table.
        rows_unchanged: Rows the table had already.
        rows_rejected: Rows in quarantine.
        version: Version of the table afterwards.
    """

    pipeline: str
    batches: tuple[int, ...]
    files_loaded: int
    files_empty: int
    files_corrupt: int
    files_left_out: int
    rows_read: int
    rows_inserted: int
    rows_unchanged: int
    rows_rejected: int
    version: int


@dataclass(frozen=True)
class QueryResult:
    """What a query wrote into a table.

    Args:
        load: What was written.
        checks: What the checks of rows found; empty where the batch was replayed.
        rows_checked: Rows that the query gave.
    """

    load: LoadResult
    checks: tuple[CheckOutcome, ...] = ()
    rows_checked: int | None = None


def ingest_files(
    plan: FilesPlan,
    source: Source,
    ledger: FileLedger,
    target: Target,
    *,
    engine: Engine,
    now: datetime,
    taking: Callable[[int], None] | None = None,
) -> IngestResult:
    """Load the files of a plan, each exactly once, with where and when every row came from.

    Args:
        plan: From `plan_files`.
        source: The source it was made with.
        ledger: The ledger it was made with.
        target: Where rows go. The columns `_source_file`, `_source_row`, `_ingested_at` and `_batch` are filled where the
            table has them; a table that is created gets them.
        engine: Compares rows.
        now: The instant of this run.
        taking: Told the number of each batch before it is loaded.

    Returns:
        What was done.

    Raises:
        DataRejectedError: Rows are refused and have no place to go, or too many are. The batch stays claimed.
        ConflictError: Other writers came first again and again.
        UnavailableError: Source or table did not answer. Run again.

    Guarantees:
        Once: see `apply_files`.
    """
    loads: list[LoadResult] = []

    def load(rows: pa.RecordBatchReader, *, token: WriteToken, plan: ExtractPlan, rejects: Rejects) -> LoadResult:
        known = target.table.find(token) if target.table.exists() else None
        if known is not None:
            return LoadResult(known, "replay")
        loads.append(_load_extract(rows, target, token=token, plan=plan, rejects=rejects, engine=engine))
        return loads[-1]

    found = apply_files(plan, source, ledger, load=load, now=now, reject_limit=target.limit, taking=taking)
    return IngestResult(
        pipeline=found.pipeline,
        batches=tuple(batch.batch for batch in found.batches),
        files_loaded=len(found.files("loaded")),
        files_empty=len(found.files("empty")),
        files_corrupt=len(found.files("corrupt")),
        files_left_out=len(found.left_out),
        rows_read=found.rows + found.rejected,
        rows_inserted=sum(one.rows_inserted or 0 for one in loads),
        rows_unchanged=sum(one.rows_unchanged or 0 for one in loads),
        rows_rejected=found.rejected,
        version=target.table.facts().version if target.table.exists() else -1,
    )


def ingest_slice(plan: ExtractPlan, source: Source, target: Target, *, token: WriteToken, engine: Engine) -> LoadResult:
    """Load the range of a source that a plan names, and keep the source's position in the same commit.

    Args:
        plan: From the source, kept for every retry.
        source: The source that made it.
        target: Where rows go.
        token: Names the write.
        engine: Compares rows.

    Raises:
        UnavailableError: Source or table did not answer. Run again with the same plan.
    """
    if target.table.exists() and (known := target.table.find(token)) is not None:
        return LoadResult(known, "replay")
    found = extract(source, plan=plan, reject_limit=target.limit)
    return _load_extract(found.rows, target, token=token, plan=plan, rejects=found.rejects, engine=engine)


def load_query(
    sql: str,
    target: Target,
    *,
    token: WriteToken,
    engine: Engine,
    now: datetime,
    tables: Mapping[str, Relation],
    parameters: Mapping[str, object] | None = None,
    checks: tuple[RowLevelCheck, ...] = (),
    on_refusal: Callable[[tuple[CheckOutcome, ...], int], None] | None = None,
) -> QueryResult:
    """Load what a query returns, with rows that break a check kept aside.

    Args:
        sql: One query over `tables`.
        target: Where rows go.
        token: Names the write.
        engine: Runs the query.
        now: Instant written into the quarantine table.
        tables: What the query names.
        parameters: Values the query names.
        checks: Conditions that rows must meet; of expectations those that look at single rows.
        on_refusal: Told what the checks found of how many rows, where they refuse the batch.

    Raises:
        InvalidRequestError: The query cannot run, or does not fit the table.
        DataRejectedError: A check allows no broken rows, and some are; or more are set aside than the limit of a check,
            or of the target, allows. Nothing was written.

    Guarantees:
        Replay: with a token that is committed the query does not run.
    """
    if target.table.exists() and (known := target.table.find(token)) is not None:
        return QueryResult(LoadResult(known, "replay"))
    rejects = Rejects(limit=target.limit)
    gate = RowGate(checks, rejects, source=target.table.identity.name, limit=target.limit)
    described = engine.describe(sql, tables=tables, parameters=parameters)
    gated = gate.wrap(sql, described)
    if not target.table.exists():
        target.table.create(_spec_of(target, described))
    with engine.query(gated, tables=tables, parameters=parameters) as rows:
        try:
            load = _apply(gate.pass_on(rows), target, token=token, engine=engine, now=now, rejects=rejects)
        except DataRejectedError:
            if gate.has_refused and on_refusal is not None:
                on_refusal(gate.outcomes(), gate.rows)
            raise
    return QueryResult(load, gate.outcomes(), gate.rows)


def release_quarantined(plan: ReleasePlan, target: Target, *, engine: Engine, now: datetime) -> ReleaseResult:
    """Load the refused rows of a plan into the table that refused them, and remove them from quarantine.

    Args:
        plan: From `plan_release`.
        target: Where the rows go, and how; its `quarantine` is the table they are in. Rows that its policy keeps aside
            are refused anew, with the reason.
        engine: Reads, corrects and compares rows.
        now: Instant written with rows that are refused anew.

    Returns:
        What was done.

    Raises:
        InvalidRequestError: There is no quarantine table, or the plan is of other tables.
        DataRejectedError: The target refuses the rows. They stay in quarantine.
        ConflictError: Other writers came first again and again. Run again with the same plan.

    Guarantees:
        Once: see `apply_release`.
    """
    if target.quarantine is None:
        raise InvalidRequestError("A release needs the table that the rows are in. Name the quarantine table.")

    def load(rows: pa.RecordBatchReader, *, token: WriteToken) -> CommitResult:
        rejects = Rejects(limit=target.limit)
        return _apply(rows, replace(target, branch=None), token=token, engine=engine, now=now, rejects=rejects).commit

    return apply_release(plan, target.quarantine, target=target.table, load=load, engine=engine)


def _spec_of(target: Target, rows: Schema, *further: Column) -> TableSpec:
    """Return what a table that is created for rows is: as it was told, with the columns that we and its mode keep."""
    derived = derived_spec(rows.with_columns(*further), target.mode)
    if target.spec is None:
        return derived
    ours = {*METADATA_COLUMNS, *(set(derived.schema.names) - set(rows.names))} - set(target.spec.schema.names)
    kept = tuple(column for column in derived.schema.columns if column.name in ours)
    return replace(target.spec, schema=target.spec.schema.with_columns(*kept))


def derived_spec(rows: Schema, mode: Mode) -> TableSpec:
    """Return the specification of a table for rows of a schema, with the columns that a mode keeps for itself."""
    columns = [replace(column, nullable=True) for column in rows.columns if not _is_dropped(column.name, mode)]
    if isinstance(mode, Dedup) and mode.hash_column not in rows.by_name:
        columns.append(Column(mode.hash_column, _HASH_TYPE, comment="Canonical SHA-256 of the row"))
    if isinstance(mode, Scd2):
        moment = rows.by_name[mode.effective_at].type if mode.effective_at in rows.by_name else "timestamptz"
        columns += [
            Column(mode.valid_from, moment, comment="From when the state held"),
            Column(mode.valid_to, moment, comment="Until when, exclusive; null while it holds"),
            Column(mode.is_current, "boolean", comment="Whether it holds"),
            Column(mode.change_hash, _HASH_TYPE, comment="Canonical SHA-256 of the tracked columns"),
        ]
    return TableSpec(Schema(tuple(columns)))


def _is_dropped(name: str, mode: Mode) -> bool:
    """Tell whether a column only tells how a row changes the table."""
    if isinstance(mode, Scd2) and name == mode.effective_at:
        return True
    used = _SOURCE_COLUMN.findall(getattr(mode, "delete_when", None) or "")
    keys: tuple[str, ...] = getattr(mode, "keys", ())
    return name in {quoted.replace('""', '"') or plain for quoted, plain in used} and name not in keys


def _load_extract(
    rows: pa.RecordBatchReader,
    target: Target,
    *,
    token: WriteToken,
    plan: ExtractPlan,
    rejects: Rejects,
    engine: Engine,
) -> LoadResult:
    described = Schema.from_arrow(rows.schema)
    further = (
        Column(INGESTED_AT_COLUMN, "timestamptz", comment="When the batch was planned"),
        Column(BATCH_COLUMN, "long" if token.is_ordered else "string", comment="The batch the row came in"),
    )
    target.table.create(_spec_of(target, described, *further))
    has = target.table.facts().schema.by_name
    constants = {INGESTED_AT_COLUMN: plan.planned_at, BATCH_COLUMN: token.batch}
    wanted = {name: value for name, value in constants.items() if name in has}
    return _apply(
        with_constants(rows, wanted, types={name: has[name].type for name in wanted}),
        target,
        token=token,
        engine=engine,
        now=plan.planned_at,
        rejects=rejects,
        properties=position_properties(token.pipeline, position=plan.position) if plan.position else None,
    )


def _apply(
    rows: pa.RecordBatchReader,
    target: Target,
    *,
    token: WriteToken,
    engine: Engine,
    now: datetime,
    rejects: Rejects,
    properties: Mapping[str, str | None] | None = None,
) -> LoadResult:
    return apply_load(
        target.table,
        rows,
        mode=target.mode,
        token=token,
        engine=engine,
        now=now,
        policy=target.policy,
        branch=target.branch,
        rejects=rejects,
        quarantine=target.quarantine,
        properties=properties,
        run=target.run,
        contract=target.contract,
        refused_as=target.refused_as,
    )


def with_constants(
    rows: pa.RecordBatchReader, values: Mapping[str, object], *, types: Mapping[str, str]
) -> pa.RecordBatchReader:
    """Return rows with further columns that hold one value each."""
    import pyarrow as pa

    from airflow_provider_lakehouse.core.types import arrow_type

    scalars = {name: pa.scalar(value, arrow_type(types[name])) for name, value in values.items()}
    schema = rows.schema
    for name, scalar in scalars.items():
        schema = schema.append(pa.field(name, scalar.type))

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            added = [pa.repeat(scalar, batch.num_rows) for scalar in scalars.values()]
            yield pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


METADATA_COLUMNS: Final = (SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN, INGESTED_AT_COLUMN, BATCH_COLUMN)
"""Columns that an ingestion fills by itself."""
