"""Checks as values: what rows and tables must be like, and what follows where they are not."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args

from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

Severity = Literal["fail", "quarantine", "drop", "warn"]
SEVERITIES: Final[tuple[str, ...]] = get_args(Severity)
Verdict = Literal["passed", "broken", "unknown"]
MAX_NAME_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Limit:
    """How much may be set aside before all of it is refused.

    Args:
        rows: At most so many rows; None for any number.
        share: At most this share of the rows, between 0 and 1; None for any share.
    """

    rows: int | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        """Refuse limits that mean nothing."""
        if (self.rows is not None and self.rows < 0) or (self.share is not None and not 0 <= self.share <= 1):
            raise InvalidRequestError(
                "A limit is a number of rows from 0 on, or a share between 0 and 1. Correct it.",
                rows=self.rows,
                share=self.share,
            )

    def is_exceeded(self, rows: int, *, of: int) -> bool:
        """Tell whether so many rows are too many.

        Example:
            >>> Limit(share=0.01).is_exceeded(2, of=100), Limit(rows=5).is_exceeded(2, of=100)
            (True, False)
        """
        return (self.rows is not None and rows > self.rows) or (self.share is not None and rows > self.share * of)


@dataclass(frozen=True, slots=True)
class RowCheck:
    """A condition that every row must meet. Where it is unknown, because a value is null, it is not met.

    Args:
        name: Short and stable; the reason in the quarantine table.
        condition: SQL over the columns of the row, such as `quantity >= 0`.
        severity: What happens to rows that do not meet it: `fail` refuses the batch, `quarantine` keeps them aside,
            `drop` leaves them out, `warn` only counts them.
        columns: The columns it is about, for reports; empty where it is about the row as a whole.
        limit: How many rows may be set aside before the batch is refused; None for any number.
        owner: Who is told when it is broken.
        description: What it is for, for reports.
    """

    name: str
    condition: str
    severity: Severity = "fail"
    columns: tuple[str, ...] = ()
    limit: Limit | None = None
    owner: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        """Read lists as tuples, and refuse checks without name or condition."""
        _read_common(self)
        object.__setattr__(self, "columns", tuple(self.columns))
        _require_text(self.name, self.condition)

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
        columns: The columns it is about, for reports.
        owner: Who is told when it is broken.
        description: What it is for, for reports.
    """

    name: str
    query: str
    severity: Literal["fail", "warn"] = "fail"
    columns: tuple[str, ...] = ()
    owner: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        """Refuse checks without name or query."""
        _read_common(self)
        object.__setattr__(self, "columns", tuple(self.columns))
        _require_text(self.name, self.query)
        if self.severity not in ("fail", "warn"):
            raise InvalidRequestError("A check of a table fails or warns. Choose one.", check=self.name)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a check from settings."""
        return cls(**_settings(cls, value))


@dataclass(frozen=True, slots=True)
class Expectation:
    """A check in the vocabulary of Great Expectations.

    Args:
        type: A known type of expectation, such as `expect_column_values_to_be_between`.
        arguments: Its arguments by the names that Great Expectations gives them, such as `column` and `min_value`;
            without `mostly`, `row_condition` and `severity`, which are settings here.
        mostly: Share of the rows that have to meet it, above 0 and at most 1.
        row_condition: SQL over the columns of the row; only rows that meet it are looked at. None for all.
        severity: What happens when it is broken. `quarantine` and `drop` are for conditions on single rows.
        limit: How many rows may be set aside before the batch is refused; None for any number.
        name: Short, stable, and different from those of the other checks; empty derives it from type and arguments.
        owner: Who is told when it is broken.
        description: What it is for, for reports.
    """

    type: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    mostly: float = 1.0
    row_condition: str | None = None
    severity: Severity = "fail"
    limit: Limit | None = None
    name: str = ""
    owner: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        """Freeze the arguments and refuse settings that mean nothing; the vocabulary judges type and arguments."""
        _read_common(self)
        object.__setattr__(self, "arguments", MappingProxyType(dict(self.arguments)))
        if not self.name:
            object.__setattr__(self, "name", _derived_name(self))
        _require_text(self.name, self.type)
        if not 0 < self.mostly <= 1:
            raise InvalidRequestError(
                "The share `mostly` is above 0 and at most 1. Correct it.", check=self.name, mostly=self.mostly
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it is about, in the order of its arguments."""
        given = self.arguments
        if isinstance(several := given.get("column_list") or given.get("column_set"), (list, tuple)):
            return tuple(str(name) for name in several)
        return tuple(str(given[one]) for one in ("column", "column_A", "column_B") if one in given)

    @property
    def other_tables(self) -> tuple[str, ...]:
        """The other tables that it compares with."""
        return tuple(str(self.arguments[one]) for one in ("other_table", "other_table_name") if one in self.arguments)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a check from settings.

        Example:
            >>> check = {"type": "expect_column_values_to_not_be_null", "arguments": {"column": "id"}}
            >>> Expectation.from_json(check).name
            'id: values not be null'
        """
        return cls(**_settings(cls, value))


type Check = RowCheck | TableCheck | Expectation


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """What a check found.

    Args:
        name: Of the check.
        severity: Of the check.
        violations: Rows that do not meet it, or rows its query returned; 1 where what is wrong has no rows.
        verdict: Whether all is well. `unknown` where it could not be found out, which is never a pass.
        type: Of the expectation; empty for conditions and queries in SQL.
        columns: The columns it is about.
        rows: Rows it looked at; None where it does not look at single rows.
        missing: Rows it looked at whose value is null, and that count neither for nor against; None as for `rows`.
        observed: What was measured, such as a mean or a list of columns, in JSON's types; None where nothing is.
        error: Why the verdict is unknown, without values of rows.
    """

    name: str
    severity: Severity
    violations: int
    verdict: Verdict = "passed"
    type: str = ""
    columns: tuple[str, ...] = ()
    rows: int | None = None
    missing: int | None = None
    observed: Any = None
    error: str = ""

    @property
    def passed(self) -> bool:
        """True when nothing is wrong."""
        return self.verdict == "passed"

    @property
    def stops(self) -> bool:
        """Whether nothing may be published: it is broken and not only a warning, or nobody knows."""
        return not self.passed and self.severity != "warn"


def check_from_json(value: Check | Mapping[str, Any]) -> Check:
    """Read a check: one with a `condition` is of rows, one with a `query` of a table, one with a `type` of the vocabulary."""
    if isinstance(value, RowCheck | TableCheck | Expectation):
        return value
    if "type" in value:
        return Expectation.from_json(value)
    return TableCheck.from_json(value) if "query" in value else RowCheck.from_json(value)


def meaning_of(check: Check) -> str:
    """Return what a check asks for, for logs and reports: its SQL, or the type of its expectation."""
    match check:
        case RowCheck():
            return check.condition
        case TableCheck():
            return check.query
        case Expectation():
            return check.type


def require_distinct(checks: tuple[Check, ...] | list[Check]) -> None:
    """Refuse two checks of one name, since nobody could tell their outcomes apart."""
    names = tuple(check.name for check in checks)
    if len(set(names)) < len(names):
        twice = tuple(sorted({name for name in names if names.count(name) > 1}))
        raise InvalidRequestError("Two checks have the same name. Rename one.", checks=twice)


def _derived_name(check: Expectation) -> str:
    """Return words that tell an expectation from others of a usual suite."""
    given = check.arguments
    words = check.type.removeprefix("expect_").removeprefix("column_").replace("_to_", " ").replace("_", " ")
    about = ", ".join(check.columns)
    known = {"column", "column_A", "column_B", "column_list", "column_set"}
    rest = ", ".join(f"{name} {given[name]}" for name in sorted(set(given) - known) if given[name] is not None)
    name = f"{about}: {words}" if about else words
    name = f"{name} ({rest})" if rest else name
    name = f"{name} where {check.row_condition}" if check.row_condition else name
    return name if len(name) <= MAX_NAME_CHARACTERS else f"{name[: MAX_NAME_CHARACTERS - 1]}…"


def _read_common(check: RowCheck | TableCheck | Expectation) -> None:
    limit = getattr(check, "limit", None)
    if limit is not None and not isinstance(limit, Limit):
        object.__setattr__(check, "limit", Limit(**limit))
    if check.severity not in SEVERITIES:
        raise InvalidRequestError(
            f"There is no severity {check.severity!r}. Use one of those there are.",
            check=check.name[:MAX_NAME_CHARACTERS],
            severities=SEVERITIES,
        )


def _require_text(name: str, text: str) -> None:
    if not name.strip() or len(name) > MAX_NAME_CHARACTERS or not text.strip():
        raise InvalidRequestError("A check needs a short name, and something to check. Give both.", check=name[:200])


_NEEDED: Final = {"RowCheck": {"name", "condition"}, "TableCheck": {"name", "query"}, "Expectation": {"type"}}


def _settings(kind: type, value: Mapping[str, Any]) -> dict[str, Any]:
    unknown = tuple(sorted(set(value) - {setting.name for setting in fields(kind)}))
    missing = tuple(sorted(_NEEDED[kind.__name__] - set(value)))
    if unknown or missing:
        raise InvalidRequestError("A check has other settings. Correct their names.", unknown=unknown, missing=missing)
    return dict(value)
