"""Which rows to read, and the statement that reads them. Nothing here talks to a database."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Self

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.sources.dbapi.settings import MAX_NAME_PARTS
from airflow_provider_lakehouse.core.sources.relations import Condition, parse_relation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from airflow_provider_lakehouse.core.sources.base import Json
    from airflow_provider_lakehouse.core.sources.dbapi.settings import DbApiSettings

_PERCENT_STYLES: Final = ("format", "pyformat")
_READ: Final[Mapping[str, Callable[[str], Any]]] = {
    "long": int, "decimal": Decimal, "date": date.fromisoformat, "string": str,
    "timestamp": datetime.fromisoformat, "timestamptz": lambda text: _in_utc(datetime.fromisoformat(text)),
}  # fmt: skip
"""Types of bounds, and how each is read from a plan."""


@dataclass(frozen=True, slots=True)
class RangeFacts:
    """What a slice says of the rows to read.

    Args:
        columns: Name and type of each, as they were planned.
        bound: Type of the bounds, see `text_of`; empty where there are none.
        conditions: Bounds that all hold.
    """

    columns: tuple[tuple[str, str], ...]
    bound: str = ""
    conditions: tuple[Condition, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Return the facts as JSON."""
        return {
            "columns": [[name, kind] for name, kind in self.columns],
            "bound": self.bound,
            "conditions": [[c.column, c.operator, c.value] for c in self.conditions],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            InvalidRequestError: It did not write this.
        """
        try:
            columns = tuple((str(name), str(kind)) for name, kind in value["columns"])
            conditions = tuple(Condition.from_json(*condition) for condition in value["conditions"])
            return cls(columns, str(value["bound"]), conditions)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRequestError("A slice of the plan is not of a database source. Plan anew.") from error

    @property
    def name(self) -> str:
        """The range for logs; bounds are positions, not rows."""
        return " and ".join(f"{c.column} {c.operator} {c.value}" for c in self.conditions) or "all rows"

    @property
    def parameters(self) -> list[Any]:
        """The bounds as values, in the order of the conditions."""
        return [value_of(condition.value, kind=self.bound, column=condition.column) for condition in self.conditions]


def text_of(value: object, *, column: str) -> tuple[str, str]:
    """Return the type of a bound and its text; what the database orders by must be what we compare.

    Raises:
        InvalidRequestError: A value of this kind has no order that grows exactly, or no text.

    Example:
        >>> text_of(7, column="id"), text_of(date(2026, 3, 1), column="day")
        (('long', '7'), ('date', '2026-03-01'))
    """
    match value:
        case bool() | float():
            pass
        case int():
            return "long", str(value)
        case Decimal() if value.is_finite():
            return "decimal", format(value, "f")
        case datetime():
            kind = "timestamptz" if value.tzinfo else "timestamp"
            return kind, (value.astimezone(UTC) if value.tzinfo else value).isoformat(sep=" ")
        case date():
            return "date", value.isoformat()
        case str():
            return "string", value
    raise InvalidRequestError(
        f"Column {column!r} cannot bound a range. Choose a whole number, decimal, date, timestamp or text.",
        column=column,
        python_type=type(value).__name__,
    )


def value_of(text: str, *, kind: str, column: str) -> Any:  # noqa: ANN401
    """Read what `text_of` wrote, or what a person wrote as the bound of a partition.

    Raises:
        InvalidRequestError: It is no value of the type.
    """
    try:
        return _READ[kind](text)
    except (KeyError, ValueError, ArithmeticError) as error:
        raise InvalidRequestError(
            f"A bound for column {column!r} is no {kind}. Write it as the column holds it.", column=column, type=kind
        ) from error


def lowered(text: str, *, kind: str, lag: timedelta | int | None, column: str) -> str:
    """Return a high-water mark less the lag; never below the smallest date or instant.

    Raises:
        InvalidRequestError: The lag does not go with the type.
    """
    if not lag:
        return text
    mark = value_of(text, kind=kind, column=column)
    wants_number, is_number = kind in ("long", "decimal"), isinstance(lag, int)
    if kind == "string" or wants_number != is_number:
        wanted = {"long": "a number", "decimal": "a number", "string": "none"}.get(kind, "a timedelta")
        raise InvalidRequestError(
            f"The lag of cursor {column!r} must be {wanted}. Change it.", cursor=column, type=kind
        )
    return text_of(mark - lag if is_number else _earlier(mark, lag), column=column)[1]


def _earlier(mark: Any, lag: Any) -> Any:  # noqa: ANN401
    try:
        if isinstance(mark, datetime):
            return mark - lag
        return (datetime.combine(mark, time()) - lag).date()
    except OverflowError:
        return datetime.min.replace(tzinfo=mark.tzinfo) if isinstance(mark, datetime) else date.min


def _in_utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a driver wants its statements.

    Args:
        paramstyle: See `PARAMSTYLES`.
        quote: Character around names.
    """

    paramstyle: str
    quote: str = '"'

    def name(self, *parts: str) -> str:
        """Return a name, quoted part by part.

        Example:
            >>> Dialect("qmark").name("sales", 'a"b')
            '"sales"."a""b"'
        """
        return ".".join(self.quote + part.replace(self.quote, self.quote * 2) + self.quote for part in parts)

    def origin(self, settings: DbApiSettings) -> str:
        """Return what stands after FROM."""
        if settings.relation:
            return self.name(*parse_relation(settings.relation, max_parts=MAX_NAME_PARTS))
        # The line end keeps a comment at the end of the query from hiding what follows it.
        return f"({settings.query.strip().rstrip(';')}\n) source"

    def select(self, what: str, origin: str, conditions: Sequence[Condition] = ()) -> str:
        """Return a query; each condition is compared with a parameter.

        Example:
            >>> Dialect("format").select("MAX(`%`)", "`t`", [Condition("id", ">", "7")])
            'SELECT MAX(`%%`) FROM `t` WHERE "id" > %s'
        """
        text = f"SELECT {what} FROM {origin}"
        if not conditions:
            return text
        # Where parameters are given, these drivers take every other percent sign for one, too.
        bounds = [f"{self.name(c.column)} {c.operator} " for c in conditions]
        if self.paramstyle in _PERCENT_STYLES:
            text, bounds = text.replace("%", "%%"), [bound.replace("%", "%%") for bound in bounds]
        marked = [bound + self._mark(number) for number, bound in enumerate(bounds, 1)]
        return f"{text} WHERE {' AND '.join(marked)}"

    def bind(self, values: Sequence[Any]) -> Any:  # noqa: ANN401
        """Return parameters in the form the driver takes; None where there are none."""
        if not values:
            return None
        return {f"p{n}": value for n, value in enumerate(values, 1)} if self.paramstyle == "named" else tuple(values)

    def _mark(self, number: int) -> str:
        marks = {"numeric": f":{number}", "named": f":p{number}", "dollar": f"${number}", "qmark": "?"}
        return marks.get(self.paramstyle, "%s")


def names_of(columns: Sequence[str], dialect: Dialect) -> str:
    """Return what stands after SELECT."""
    return ", ".join(dialect.name(column) for column in columns) if columns else "*"


def kind_of_bound(text: str) -> str:
    """Return what `text_of` calls the values of a column type.

    Example:
        >>> kind_of_bound("decimal(38,2)"), kind_of_bound("int")
        ('decimal', 'long')
    """
    plain = re.sub(r"\(.*", "", text)
    return "long" if plain == "int" else plain
