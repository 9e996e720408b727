"""Keep what checks found, run after run, in a table of the lakehouse: what failed, since when."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import Change
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_provider_lakehouse.core.engines.base import Engine
    from airflow_provider_lakehouse.core.quality.run import ChecksResult
    from airflow_provider_lakehouse.core.tables.base import CommitResult, Table, WriteToken

RESULTS_SPEC: Final = TableSpec(
    Schema.of(
        Column("table_name", "string", nullable=False, comment="What was checked"),
        Column("table_version", "long", comment="Which version of it"),
        Column("partition", "string", nullable=False, comment="Key of the partition; empty for the whole table"),
        Column("check_name", "string", nullable=False),
        Column("check_type", "string", nullable=False, comment="Of the expectation; empty for conditions and queries"),
        Column("column_names", "list<string>", comment="Columns the check is about"),
        Column("severity", "string", nullable=False),
        Column("verdict", "string", nullable=False, comment="passed, broken, or unknown, which is never a pass"),
        Column("row_count", "long", comment="Rows that were looked at; null where no single rows were"),
        Column("violations", "long", nullable=False, comment="Rows that do not meet the check"),
        Column("missing", "long", comment="Rows whose value is null, and that count neither for nor against"),
        Column("observed", "string", comment="What was measured, as JSON"),
        Column("error", "string", nullable=False, comment="Why the verdict is unknown"),
        Column("contract", "string", nullable=False, comment="Name and version of the contract the check comes from"),
        Column("runner", "string", nullable=False, comment="Who ran the check"),
        Column("owner", "string", nullable=False, comment="Who is told when it is broken"),
        Column("pipeline", "string", nullable=False, comment="Who asked"),
        Column("batch", "string", nullable=False, comment="Of which batch"),
        Column("checked_at", "timestamptz", nullable=False),
        Column("checked_month", "string", nullable=False, comment="Month of checked_at in UTC, such as 2026-01"),
    ),
    partitioning=("checked_month",),
    sort_order=("table_name", "check_name", "checked_at"),
    comment="What checks found, one row for each check and run",
)
"""What the table of results looks like.

It is partitioned by month and by nothing else: a run is one instant, so it adds one file whatever it checked, partitions are
twelve a year, and compacting a month that is over leaves one file for good. The month is a column, as not every format has
hidden partitions.
"""
RESULTS_RELATION: Final = "results"
DEFAULT_LAST: Final = 100


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """What one check found in one run; see `CheckOutcome` and `ChecksResult`.

    Args:
        table_name: What was checked.
        table_version: Which version of it.
        partition: Key of the partition; empty for the whole table.
        check_name: Of the check.
        check_type: Of the expectation; empty for conditions and queries.
        column_names: Columns the check is about.
        severity: Of the check.
        verdict: `passed`, `broken` or `unknown`.
        row_count: Rows that were looked at; None where no single rows were.
        violations: Rows that do not meet it.
        missing: Rows whose value is null; None as for `row_count`.
        observed: What was measured, as JSON text; None where nothing was.
        error: Why the verdict is unknown.
        contract: Name and version of the contract the check comes from.
        runner: Who ran the check.
        owner: Who is told when it is broken.
        pipeline: Who asked.
        batch: Of which batch.
        checked_at: When, timezone-aware.
    """

    table_name: str
    table_version: int | None
    partition: str
    check_name: str
    check_type: str
    column_names: tuple[str, ...]
    severity: str
    verdict: str
    row_count: int | None
    violations: int
    missing: int | None
    observed: str | None
    error: str
    contract: str
    runner: str
    owner: str
    pipeline: str
    batch: str
    checked_at: datetime


def write_results(
    table: Table,
    result: ChecksResult,
    *,
    token: WriteToken,
    now: datetime,
    owners: Mapping[str, str] | None = None,
) -> CommitResult | None:
    """Write what the checks of a run found, in one commit.

    Args:
        table: The table of results; created where it is not there.
        result: Of the run.
        token: Names the write, and tells pipeline and batch.
        now: When the checks ran where the result does not say, timezone-aware.
        owners: Who is told when a check is broken, by its name.

    Returns:
        What was written; None where there were no checks.

    Raises:
        InvalidRequestError: The instant has no time zone. Nothing was written.
        OutcomeUnknownError: The answer to the commit was lost. Rerun with the same token.

    Guarantees:
        Replay: the same token twice writes once.
    """
    import pyarrow as pa

    checked_at = result.checked_at or now
    if checked_at.tzinfo is None:
        raise InvalidRequestError("An instant needs a time zone. Use an aware datetime.")
    if not result.outcomes:
        return None
    table.create(RESULTS_SPEC)
    records = _records(result, token, checked_at, owners or {})
    month = f"{checked_at.astimezone(UTC):%Y-%m}"
    rows = pa.Table.from_pylist(
        [asdict(one) | {"checked_month": month} for one in records], schema=RESULTS_SPEC.schema.to_arrow()
    )
    return table.commit(Change(rows=rows.to_reader(), summary={"lakehouse.checks": result.table}), token=token)


def history_of(
    table: Table,
    *,
    engine: Engine,
    of: str,
    check: str | None = None,
    partition: str | None = None,
    last: int = DEFAULT_LAST,
) -> tuple[CheckRecord, ...]:
    """Return what checks of a table found, the newest first.

    Args:
        table: The table of results.
        engine: Reads.
        of: Name of the table that was checked.
        check: One check; None for all.
        partition: One partition; None for all, the empty text for checks of the whole table.
        last: No more records than these.
    """
    return _read(
        table,
        f"SELECT * EXCLUDE (checked_month) FROM {RESULTS_RELATION} "
        f"ORDER BY checked_at DESC, check_name, partition, pipeline, batch LIMIT {int(last)}",
        engine=engine,
        of=of,
        check=check,
        partition=partition,
    )


def since_when(
    table: Table, *, engine: Engine, of: str, check: str | None = None, partition: str | None = None
) -> tuple[CheckRecord, ...]:
    """Return, for each check that is broken now, the record with which that began.

    A check is broken since the first broken verdict after it last passed. An unknown verdict in between does not end
    that: nobody saw it pass. Each partition has a history of its own.

    Args:
        table: The table of results.
        engine: Reads.
        of: Name of the table that was checked.
        check: One check; None for all.
        partition: One partition; None for all.

    Returns:
        One record for each check and partition whose newest verdict is `broken`; the longest broken first.
    """
    numbered = (
        "SELECT *, row_number() OVER (PARTITION BY check_name, partition ORDER BY checked_at, pipeline, batch) AS place "
        f"FROM {RESULTS_RELATION}"
    )
    return _read(
        table,
        f"WITH numbered AS ({numbered}), ends AS (SELECT check_name, partition, "
        "coalesce(max(place) FILTER (verdict = 'passed'), 0) AS passed, max_by(verdict, place) AS newest "
        "FROM numbered GROUP BY ALL) "
        "SELECT numbered.* EXCLUDE (place, checked_month) FROM numbered JOIN ends USING (check_name, partition) "
        "WHERE newest = 'broken' AND verdict = 'broken' AND place > passed "
        "QUALIFY row_number() OVER (PARTITION BY check_name, partition ORDER BY place) = 1 "
        "ORDER BY checked_at, check_name, partition",
        engine=engine,
        of=of,
        check=check,
        partition=partition,
    )


def _records(
    result: ChecksResult, token: WriteToken, checked_at: datetime, owners: Mapping[str, str]
) -> list[CheckRecord]:
    return [
        CheckRecord(
            table_name=result.table,
            table_version=result.version,
            partition=result.partition,
            check_name=one.name,
            check_type=one.type,
            column_names=one.columns,
            severity=one.severity,
            verdict=one.verdict,
            row_count=one.rows,
            violations=one.violations,
            missing=one.missing,
            observed=None if one.observed is None else json.dumps(one.observed, ensure_ascii=False, default=str),
            error=one.error,
            contract=result.contract,
            runner=result.runner,
            owner=owners.get(one.name, ""),
            pipeline=token.pipeline.partition("#")[0],
            batch=str(token.batch),
            checked_at=checked_at,
        )
        for one in result.outcomes
    ]


def _read(
    table: Table, sql: str, *, engine: Engine, of: str, check: str | None, partition: str | None
) -> tuple[CheckRecord, ...]:
    if not table.exists():
        return ()
    wanted: dict[str, Any] = {"table_name": of, "check_name": check, "partition": partition}
    where = tuple(Comparison(name, "=", value) for name, value in wanted.items() if value is not None)
    with engine.query(sql, tables={RESULTS_RELATION: TableView(table, where=where)}) as reader:
        rows = reader.read_all().to_pylist()
    return tuple(CheckRecord(**{**row, "column_names": tuple(row["column_names"] or ())}) for row in rows)
