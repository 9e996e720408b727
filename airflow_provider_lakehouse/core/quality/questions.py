"""What has to be asked of a table to judge a check, and what the answer means."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from airflow_provider_lakehouse.core.quality.checks import Expectation
    from airflow_provider_lakehouse.core.schema import Schema

CHECKED: Final = "checked"
"""Name under which statements know the table that is checked."""

type Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What an answer means.

    Args:
        met: Whether the check is met.
        violations: As in `CheckOutcome`.
        rows: As in `CheckOutcome`.
        missing: As in `CheckOutcome`.
        observed: As in `CheckOutcome`.
    """

    met: bool
    violations: int = 0
    rows: int | None = None
    missing: int | None = None
    observed: Any = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for one check.

    Args:
        judge: Tells what the answer means. The answer is one row: of the measures, or of the statement.
        measures: SQL of aggregates over the table, for a scan that is shared with other checks.
        statement: A query of its own that gives one row, where aggregates do not do.
        width: Columns of that row.
        tables: Names of other tables that the statement reads.
    """

    judge: Callable[[Row], Finding]
    measures: tuple[str, ...] = ()
    statement: str = ""
    width: int = 0
    tables: tuple[str, ...] = ()

    @property
    def needs_rows(self) -> bool:
        """Whether the table has to be read, and not only its schema."""
        return bool(self.measures or self.statement)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a check is compiled for.

    Args:
        schema: Of the table.
        now: Instant of the check.
    """

    schema: Schema
    now: datetime | None = None


def known(met: bool, *, observed: Any = None) -> Question:  # noqa: ANN401, FBT001
    """Return a question whose answer is in the schema."""
    return Question(lambda _: Finding(met, 0 if met else 1, observed=observed))


def counted(check: Expectation) -> Callable[[Row], Finding]:
    """Return the judge of rows that were looked at, left out, and not as they should be."""

    def judge(row: Row) -> Finding:
        looked, missing, broken = (int(value or 0) for value in row)
        return Finding(is_mostly_met(broken, looked - missing, check.mostly), broken, looked, missing)

    return judge


def is_mostly_met(broken: int, of: int, mostly: float) -> bool:
    """Tell whether enough rows are as they should be; none is enough where there are none.

    Example:
        >>> is_mostly_met(1, 100, 0.99), is_mostly_met(2, 100, 0.99), is_mostly_met(0, 0, 1.0)
        (True, False, True)
    """
    return of == 0 or (of - broken) / of >= mostly


def within(value: Any, given: Any) -> bool:  # noqa: ANN401
    """Tell whether a number lies in the range of a check. No number, or NaN, lies in none.

    Example:
        >>> within(5, {"min_value": 5}), within(5, {"min_value": 5, "strict_min": True}), within(None, {"max_value": 1})
        (True, False, False)
    """
    if value is None:
        return False
    low, high = given.get("min_value"), given.get("max_value")
    above = low is None or (value > low if given.get("strict_min") else value >= low)
    below = high is None or (value < high if given.get("strict_max") else value <= high)
    return above and below


def shown(value: Any) -> Any:  # noqa: ANN401
    """Return a measured value in JSON's types. Texts are not shown: they are values of rows.

    Example:
        >>> shown(Decimal("1.50")), shown(float("nan")), shown("Smith")
        (1.5, 'nan', None)
    """
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, int):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else None


def filtered(aggregate: str, condition: str) -> str:
    """Return an aggregate over the rows that meet a condition.

    Example:
        >>> filtered("count(*)", "a > 1"), filtered("count(*)", "")
        ('count(*) FILTER (a > 1)', 'count(*)')
    """
    return f"{aggregate} FILTER ({condition})" if condition else aggregate


def both(*conditions: str) -> str:
    """Return the conjunction of conditions, of which some may be empty."""
    given = [condition for condition in conditions if condition]
    return " AND ".join(f"({condition})" for condition in given) if len(given) > 1 else "".join(given)
