"""What every source of relations has in common: names of relations, and bounds on a column."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self, cast, get_args

from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_lakehouse.core.sources.base import Json

Bound = Literal[">", ">=", "<", "<="]
_NAME: Final = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([^".]+))\s*(\.|\Z)')


@dataclass(frozen=True, slots=True)
class Condition:
    """A bound on a column.

    Args:
        column: Its name.
        operator: How its values stand to the bound.
        value: The bound as text.
    """

    column: str
    operator: Bound
    value: str

    @classmethod
    def from_json(cls, column: str, operator: str, value: str) -> Self:
        """Read a condition from a plan.

        Raises:
            ValueError: There is no such operator.
        """
        if operator not in get_args(Bound):
            raise ValueError(operator)
        return cls(str(column), cast("Bound", operator), str(value))


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """The rows of one partition: `start <= column < end`. Rows in which the column is null are in none.

    Args:
        column: Its name.
        start: Smallest value, as the database writes it (instants without a zone are UTC); None for no lower bound.
        end: The value after the largest; None for no upper bound.
    """

    column: str
    start: str | None = None
    end: str | None = None

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The bounds there are."""
        lower = (Condition(self.column, ">=", self.start),) if self.start is not None else ()
        upper = (Condition(self.column, "<", self.end),) if self.end is not None else ()
        return lower + upper


def high_of(position: Mapping[str, Json], cursor: str) -> str | None:
    """Return the high-water mark that a position holds; None where there is none yet.

    Raises:
        InvalidRequestError: The position is of another cursor.
    """
    if not position:
        return None
    if position.get("cursor") != cursor or not isinstance(position.get("high"), str):
        raise InvalidRequestError(
            f"The position is not one of cursor {cursor!r}. Keep the cursor, or begin again without a position.",
            cursor=cursor,
            position_cursor=str(position.get("cursor")),
        )
    return str(position["high"])


def parse_relation(text: str, *, max_parts: int = 2) -> tuple[str, ...]:
    """Cut a relation's name into its parts.

    Args:
        text: `schema.table` or `table`. Every character counts, upper case too; a name with a dot or a quote stands
            between double quotes, a quote in it doubled.
        max_parts: How many names the database knows a relation by: 3 where schemas are in catalogs.

    Returns:
        One to `max_parts` names.

    Raises:
        InvalidRequestError: The text has another form.

    Example:
        >>> parse_relation('sales."order.lines"')
        ('sales', 'order.lines')
    """
    parts: list[str] = []
    at, separator = 0, "."
    while separator == ".":
        found = _NAME.match(text, at)
        if found is None:
            break
        quoted, plain, separator = found.groups()
        parts.append(quoted.replace('""', '"') if quoted else plain.strip())
        at = found.end()
    if separator == "." or len(parts) > max_parts or not all(parts):
        raise InvalidRequestError(
            f"{text!r} does not name a relation. Write schema.table, names with dots or quotes between double quotes.",
            relation=text,
        )
    return tuple(parts)
