"""Checks as values: a condition on every row, or a query that finds what is wrong with a table."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args

from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

Severity = Literal["fail", "quarantine", "drop", "warn"]
SEVERITIES: Final[tuple[str, ...]] = get_args(Severity)
MAX_NAME_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class RowCheck:
    """A condition that every row must meet. Where it is unknown, because a value is null, it is not met.

    Args:
        name: Short and stable; the reason in the quarantine table.
        condition: SQL over the columns of the row, such as `quantity >= 0`.
        severity: What happens to rows that do not meet it: `fail` refuses the batch, `quarantine` keeps them aside,
            `drop` leaves them out, `warn` only counts them.
        columns: The columns it is about, for reports; empty where it is about the row as a whole.
    """

    name: str
    condition: str
    severity: Severity = "fail"
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Read lists as tuples, and refuse checks without name or condition."""
        object.__setattr__(self, "columns", tuple(self.columns))
        _check(self.name, self.condition, self.severity)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a check from settings.

        Raises:
            InvalidRequestError: There is no such setting.

        Example:
            >>> RowCheck.from_json({"name": "amount is positive", "condition": "amount > 0"}).severity
            'fail'
        """
        return cls(**_settings(cls, value))


@dataclass(frozen=True, slots=True)
class TableCheck:
    """A query that returns what is wrong: no rows when all is well.

    Args:
        name: Short and stable.
        query: SQL over the relation `checked`, such as `SELECT id FROM checked GROUP BY id HAVING count(*) > 1`.
        severity: `fail` stops the pipeline, `warn` only counts.
    """

    name: str
    query: str
    severity: Literal["fail", "warn"] = "fail"

    def __post_init__(self) -> None:
        """Refuse checks without name or query."""
        _check(self.name, self.query, self.severity)
        if self.severity not in ("fail", "warn"):
            raise InvalidRequestError("A check of a table fails or warns. Choose one.", check=self.name)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a check from settings."""
        return cls(**_settings(cls, value))


type Check = RowCheck | TableCheck


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """What a check found.

    Args:
        name: Of the check.
        severity: Of the check.
        violations: Rows that do not meet it, or rows its query returned.
    """

    name: str
    severity: Severity
    violations: int

    @property
    def passed(self) -> bool:
        """True when nothing is wrong."""
        return self.violations == 0


def check_from_json(value: Check | Mapping[str, Any]) -> Check:
    """Read a check: one with a `condition` is of rows, one with a `query` of a table."""
    if isinstance(value, RowCheck | TableCheck):
        return value
    return TableCheck.from_json(value) if "query" in value else RowCheck.from_json(value)


def _check(name: str, text: str, severity: str) -> None:
    if not name.strip() or len(name) > MAX_NAME_CHARACTERS or not text.strip():
        raise InvalidRequestError("A check needs a short name, and something to check. Give both.", check=name[:200])
    if severity not in SEVERITIES:
        raise InvalidRequestError(
            f"There is no severity {severity!r}. Use one of those there are.", check=name, severities=SEVERITIES
        )


def _settings(kind: type, value: Mapping[str, Any]) -> dict[str, Any]:
    known = {setting.name for setting in fields(kind)}
    unknown = tuple(sorted(set(value) - known))
    needed = tuple(sorted({"name", "condition" if "condition" in known else "query"} - set(value)))
    if unknown or needed:
        raise InvalidRequestError("A check has other settings. Correct their names.", unknown=unknown, missing=needed)
    return dict(value)
