"""Run the checks of a table that is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import DataRejectedError
from airflow_provider_lakehouse.core.quality.checks import CheckOutcome, RowCheck, TableCheck, require_distinct
from airflow_provider_lakehouse.core.quality.conditions import violation_sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from airflow_provider_lakehouse.core.engines.base import Engine, Relation
    from airflow_provider_lakehouse.core.quality.checks import Check, Verdict

CHECKED: Final = "checked"


@dataclass(frozen=True)
class ChecksResult:
    """What the checks of a table found.

    Args:
        table: Which table.
        version: Which version of it.
        rows: Rows that were checked; None where no check looked at rows.
        outcomes: One for each check, in their order.
        checked_at: When; None where nobody said.
        partition: Key of the partition that was checked; empty for the whole table.
        contract: Name and version of the contract that the checks come from; empty where they come from none.
        runner: Who ran the checks: `lakehouse` or `great_expectations`.
    """

    table: str
    version: int
    rows: int | None
    outcomes: tuple[CheckOutcome, ...]
    checked_at: datetime | None = None
    partition: str = ""
    contract: str = ""
    runner: str = "lakehouse"

    @property
    def failed(self) -> tuple[CheckOutcome, ...]:
        """Outcomes that stop the pipeline."""
        return tuple(one for one in self.outcomes if one.stops)

    def require(self) -> None:
        """Stop when a check failed.

        Raises:
            DataRejectedError: Names the checks, with counts.
        """
        if self.failed:
            raise DataRejectedError(
                f"Table {self.table!r} breaks {len(self.failed)} of its checks. Correct the rows at the source.",
                table=self.table,
                version=self.version,
                checks=tuple(f"{one.name}: {one.violations}" for one in self.failed),
            )


def run_checks(
    relation: Relation,
    checks: Sequence[Check],
    *,
    engine: Engine,
    table: str,
    version: int,
    now: datetime | None = None,
    tables: Mapping[str, Relation] | None = None,
) -> ChecksResult:
    """Check a table. All conditions on rows are counted in one scan.

    Args:
        relation: What is checked.
        checks: Conditions on rows and queries.
        engine: Runs them.
        table: Name of the table, for the result.
        version: Version that `relation` shows, for the result.
        now: Instant of the check, timezone-aware.
        tables: Other tables that checks name, by the name they use.

    Returns:
        What was found; call `require` to stop on failures.

    Raises:
        InvalidRequestError: A check is not SQL over the table's columns, or two have the same name.
    """
    require_distinct(tuple(checks))
    named = {**(tables or {}), CHECKED: relation}
    of_rows = [check for check in checks if isinstance(check, RowCheck)]
    counts: dict[str, int] = {}
    rows: int | None = None
    if of_rows:
        schema = engine.describe(f"SELECT * FROM {CHECKED}", tables=named)
        sums = ", ".join(f"count(*) FILTER ({violation_sql(check, schema)})" for check in of_rows)
        rows, *found = _first_row(engine, f"SELECT count(*), {sums} FROM {CHECKED}", named)
        counts = dict(zip((check.name for check in of_rows), found, strict=True))
    for check in checks:
        if isinstance(check, TableCheck):
            query = check.query.strip().rstrip(";")
            (counts[check.name],) = _first_row(engine, f"SELECT count(*) FROM ({query}\n) AS wrong", named)
    outcomes = tuple(outcome_of(check, counts[check.name], rows=rows) for check in checks)
    return ChecksResult(table, version, rows, outcomes, now)


def outcome_of(check: Check, violations: int, *, rows: int | None = None) -> CheckOutcome:
    """Return the outcome of a check that allows no violations."""
    looked_at = rows if isinstance(check, RowCheck) else None
    verdict: Verdict = "broken" if violations else "passed"
    return CheckOutcome(check.name, check.severity, violations, verdict, columns=check.columns, rows=looked_at)


def _first_row(engine: Engine, sql: str, tables: Mapping[str, Relation]) -> tuple[int, ...]:
    with engine.query(sql, tables=tables) as reader:
        columns = reader.read_all().columns
        return tuple(int(column[0].as_py()) for column in columns)
