"""Remove refused rows that nobody will release any more: listed first, removed in one commit, counted in the history."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.quarantine import Selection, read_refused, refused_sql
from airflow_provider_lakehouse.core.quality.refused_rows import trace_of
from airflow_provider_lakehouse.core.tables.base import (
    FILE_COLUMN,
    NO_VERSION,
    POSITION_COLUMN,
    At,
    Change,
    Positions,
    WriteToken,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Engine
    from airflow_provider_lakehouse.core.tables.base import Table, TableFacts


@dataclass(frozen=True)
class ExpirePlan:
    """Which refused rows have been kept long enough. Rows that a release has claimed are never among them.

    Args:
        table: Name of the table of refused rows.
        version: Which version was looked at; nothing that came later is removed.
        before: Rows refused before this instant go.
        target: Only rows that this table refused; None for all.
        rows: How many.
        checks: How many of them by check or reason; a row that breaks several is counted in each.
    """

    table: str
    version: int
    before: datetime
    target: str | None = None
    rows: int = 0
    checks: Mapping[str, int] = field(default_factory=dict)

    @property
    def token(self) -> WriteToken:
        """Under which they are removed."""
        parts = [self.version, self.before.isoformat(), self.target]
        return WriteToken(f"expire/{self.table}", hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32])


@dataclass(frozen=True)
class ExpireResult:
    """What was removed.

    Args:
        plan: What was to be removed.
        rows_expired: Rows that are gone; None where an earlier attempt removed them and the table no longer knows.
        dry_run: Whether nothing was to be written.
    """

    plan: ExpirePlan
    rows_expired: int | None
    dry_run: bool


def plan_expire(
    table: Table, *, engine: Engine, older_than: timedelta, now: datetime, target: str | None = None
) -> ExpirePlan:
    """List the refused rows that are older than they need be. Writes nothing.

    Args:
        table: The table of refused rows.
        engine: Counts.
        older_than: Rows refused longer ago than this go; positive.
        now: The instant of planning, timezone-aware.
        target: Only rows that this table refused; None for all, those among them that name no table.

    Raises:
        InvalidRequestError: The age is not positive, or the instant has no time zone.
    """
    if older_than.total_seconds() <= 0:
        raise InvalidRequestError(
            "Refused rows are kept for some time. Give a positive age.", seconds=older_than.total_seconds()
        )
    plan = ExpirePlan(table.identity.name, NO_VERSION, now - older_than, target)
    Selection(before=plan.before)
    if not table.exists():
        return plan
    facts = table.facts()
    labels = _expired(table, facts, plan, "labels", engine)["labels"].to_pylist()
    checks = Counter(label for one in labels for label in one)
    return ExpirePlan(plan.table, facts.version, plan.before, target, len(labels), dict(checks.most_common()))


def apply_expire(plan: ExpirePlan, table: Table, *, engine: Engine, dry_run: bool = True) -> ExpireResult:
    """Remove the rows of a plan.

    Args:
        plan: From `plan_expire`.
        table: The table of refused rows.
        engine: Finds where the rows are.
        dry_run: True, unless asked otherwise, writes nothing.

    Returns:
        What was removed.

    Raises:
        InvalidRequestError: The plan is of another table.
        ConflictError: Another commit touched the same files, such as a release. Nothing was removed; plan again.
        OutcomeUnknownError: The answer to the commit was lost. Run again with the same plan.

    Guarantees:
        Once: one commit, under a token of the plan. Its entry in the table's history says how many rows of which check
            it removed.
    """
    if table.identity.name != plan.table:
        raise InvalidRequestError(
            f"The plan is of table {plan.table!r}. Give it this table.", table=table.identity.name
        )
    if dry_run or not plan.rows:
        return ExpireResult(plan, 0, dry_run)
    if (known := table.find(plan.token)) is not None:
        return ExpireResult(plan, known.rows_removed, dry_run)
    facts = table.facts(at=At(version=plan.version))
    places = _expired(table, facts, plan, f"{FILE_COLUMN}, {POSITION_COLUMN}", engine)
    summary = trace_of("expired", plan.checks, rows=places.num_rows, target=plan.target or "")
    change = Change(removes=Positions(places), base=plan.version, summary=summary)
    return ExpireResult(plan, table.commit(change, token=plan.token).rows_removed, dry_run)


def _expired(table: Table, facts: TableFacts, plan: ExpirePlan, columns: str, engine: Engine) -> pa.Table:
    selection = Selection(target=plan.target, before=plan.before)
    sql = f"SELECT {columns} FROM ({refused_sql(facts)}) AS refused WHERE {selection.condition} AND release_id IS NULL"
    return read_refused(table, facts, sql, engine=engine, parameters=selection.parameters, addressed=True)
