"""See what loads have refused: how much of it, by table, check and batch, and on request the rows themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.engines.dialect import quoted, sql_type
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.sources.quarantine import QUARANTINE_SPEC, TYPED
from airflow_provider_lakehouse.core.tables.base import HEAD, NO_VERSION, At

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Engine
    from airflow_provider_lakehouse.core.tables.base import Table, TableFacts

QUARANTINE_RELATION: Final = "__lakehouse_quarantine"
"""Name under which queries of this room see the table of refused rows."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which refused rows; without settings all of them.

    Args:
        target: Refused by this table.
        check: That break this check, or were refused for this reason where they break none.
        pipeline: Of this pipeline.
        batch: Of this batch.
        since: Refused at this instant or later, timezone-aware.
        before: Refused before this instant, timezone-aware.
    """

    target: str | None = None
    check: str | None = None
    pipeline: str | None = None
    batch: str | None = None
    since: datetime | None = None
    before: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse naive instants."""
        if any(at is not None and at.tzinfo is None for at in (self.since, self.before)):
            raise InvalidRequestError("An instant needs a time zone. Use an aware datetime.")

    @property
    def condition(self) -> str:
        """SQL over `refused_sql`; its values are `parameters`."""
        tests = {
            "target": "target = $target",
            "check": "list_contains(labels, $check)",
            "pipeline": "pipeline = $pipeline",
            "batch": "batch = $batch",
            "since": "rejected_at >= $since",
            "before": "rejected_at < $before",
        }
        return " AND ".join(test for name, test in tests.items() if getattr(self, name) is not None) or "true"

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Values by name."""
        names = ("target", "check", "pipeline", "batch", "since", "before")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


EVERYTHING: Final = Selection()


@dataclass(frozen=True, slots=True)
class QuarantineGroup:
    """Refused rows of one table, check and batch.

    Args:
        target: The table that refused them; empty where that was not written down.
        check: The check they break, or the reason where they break none.
        pipeline: Who was loading.
        batch: What was being loaded.
        rows: How many; a row that breaks several checks is in the group of each.
        releasable_rows: Those of them that are typed and that no release has claimed.
        first_rejected_at: When the first of them was refused.
        last_rejected_at: When the last of them was.
    """

    target: str
    check: str
    pipeline: str
    batch: str
    rows: int
    releasable_rows: int
    first_rejected_at: datetime
    last_rejected_at: datetime


@dataclass(frozen=True, slots=True)
class QuarantineSummary:
    """What is in quarantine.

    Args:
        table: Name of the table of refused rows.
        version: Which version of it.
        rows: Rows of the selection, each once.
        groups: The last refused first.
    """

    table: str
    version: int
    rows: int
    groups: tuple[QuarantineGroup, ...]


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """One refused row.

    Args:
        id: Of this refused row.
        target: The table that refused it.
        reason: Why.
        checks: Names of the checks it breaks.
        payload: The row: JSON of a typed row, or text as found. Left out of `repr`, so that no log shows it by accident.
        payload_format: `json` or `text`.
        source_file: Where it came from.
        source_row: Which row there.
        pipeline: Who was loading.
        batch: What was being loaded.
        run: Which run loaded.
        contract: Name and version of the contract that the checks come from.
        rejected_at: When.
    """

    id: str | None
    target: str | None
    reason: str
    checks: tuple[str, ...]
    payload: str | None = field(repr=False)
    payload_format: str
    source_file: str | None
    source_row: int | None
    pipeline: str
    batch: str
    run: str | None
    contract: str | None
    rejected_at: datetime


def list_quarantined(table: Table, *, engine: Engine, selection: Selection = EVERYTHING) -> QuarantineSummary:
    """Count refused rows by table, check and batch.

    Args:
        table: The table of refused rows.
        engine: Counts.
        selection: Which rows.

    Returns:
        Counts and instants, and no value of a row. Nothing where there is no such table yet.
    """
    facts = _facts(table)
    if facts is None:
        return QuarantineSummary(table.identity.name, NO_VERSION, 0, ())
    chosen = f"FROM ({refused_sql(facts)}) AS refused WHERE {selection.condition}"
    releasable = f"payload_format = '{TYPED}' AND release_id IS NULL"
    groups = (
        f'SELECT coalesce(target, \'\') AS target, label AS "check", pipeline, batch, count(*) AS "rows", '
        f"count(*) FILTER ({releasable}) AS releasable_rows, min(rejected_at) AS first_rejected_at, "
        f"max(rejected_at) AS last_rejected_at FROM (SELECT *, unnest(labels) AS label {chosen}) AS labelled "
        f"GROUP BY 1, 2, 3, 4 ORDER BY last_rejected_at DESC, 1, 2, 3, 4"
    )
    found = read_refused(table, facts, groups, engine=engine, parameters=selection.parameters).to_pylist()
    total = read_refused(
        table, facts, f'SELECT count(*) AS "rows" {chosen}', engine=engine, parameters=selection.parameters
    )
    return QuarantineSummary(
        table.identity.name, facts.version, total["rows"][0].as_py(), tuple(QuarantineGroup(**one) for one in found)
    )


def inspect_quarantined(
    table: Table, *, engine: Engine, selection: Selection, max_rows: int = 100
) -> tuple[QuarantinedRow, ...]:
    """Return refused rows with their values, the last refused first. For the eyes of those who may see the data.

    Args:
        table: The table of refused rows.
        engine: Reads.
        selection: Which rows.
        max_rows: No more than these.
    """
    facts = _facts(table)
    if facts is None:
        return ()
    sql = (
        "SELECT id, target, reason, coalesce(checks, []) AS checks, payload, coalesce(payload_format, 'text') AS "
        "payload_format, source_file, source_row, pipeline, batch, run, contract, rejected_at "
        f"FROM ({refused_sql(facts)}) AS refused WHERE {selection.condition} "
        f"ORDER BY rejected_at DESC, source_file, source_row, id LIMIT {int(max_rows)}"
    )
    found = read_refused(table, facts, sql, engine=engine, parameters=selection.parameters).to_pylist()
    return tuple(QuarantinedRow(**{**row, "checks": tuple(row["checks"])}) for row in found)


def refused_sql(facts: TableFacts) -> str:
    """Return SQL for the refused rows with all columns that such a table has today, and `labels`.

    Labels are what a row counts under: the checks it breaks, or the reason where it breaks none.
    """
    known = facts.schema.by_name
    missing = [
        f"CAST(NULL AS {sql_type(column.type)}) AS {quoted(column.name)}"
        for column in QUARANTINE_SPEC.schema.columns
        if column.name not in known
    ]
    whole = f"SELECT *{''.join(f', {one}' for one in missing)} FROM {QUARANTINE_RELATION}"
    return f"SELECT *, CASE WHEN len(checks) > 0 THEN checks ELSE [reason] END AS labels FROM ({whole})"


def read_refused(
    table: Table,
    facts: TableFacts,
    sql: str,
    *,
    engine: Engine,
    parameters: Mapping[str, Any] | None = None,
    addressed: bool = False,
    tables: Mapping[str, pa.Table] | None = None,
) -> pa.Table:
    """Return what a query over one version of the table of refused rows gives, held in memory.

    Args:
        table: The table of refused rows.
        facts: Its version.
        sql: Over `QUARANTINE_RELATION`.
        engine: Runs it.
        parameters: Values by name.
        addressed: Whether rows come with file and place.
        tables: Other relations by name.
    """
    at = HEAD if facts.version == NO_VERSION else At(version=facts.version)
    named = {QUARANTINE_RELATION: TableView(table, at, addressed=addressed), **(tables or {})}
    with engine.query(sql, tables=named, parameters=parameters) as reader:
        return reader.read_all()


def _facts(table: Table) -> TableFacts | None:
    return table.facts() if table.exists() else None
