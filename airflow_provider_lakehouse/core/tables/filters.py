"""Conditions on rows that every backend can push down to its files."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    import pyarrow.compute as pc

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in", "is null", "is not null"]
_WITHOUT_VALUE = ("is null", "is not null")
_WITH_LIST = ("in", "not in")
_ORDERINGS: Final = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition on one column. A null satisfies only `is null`, as in SQL.

    Args:
        column: Name of the column.
        operator: As in SQL.
        value: What to compare with; a non-empty tuple for `in` and `not in`; None for `is null` and `is not null`. Instants
            are timezone-aware.

    Raises:
        InvalidRequestError: Operator and value do not go together.
    """

    column: str
    operator: Operator
    value: Any = None

    def __post_init__(self) -> None:
        """Check that operator and value go together."""
        if self.operator in _WITHOUT_VALUE:
            fits = self.value is None
        elif self.operator in _WITH_LIST:
            fits = isinstance(self.value, tuple) and bool(self.value) and None not in self.value
        else:
            fits = self.value is not None and not isinstance(self.value, tuple)
        if not fits:
            raise InvalidRequestError(
                f"Condition {self.operator!r} on column {self.column!r} cannot take that value. "
                "Use 'is null' for nulls and a tuple for lists.",
                column=self.column,
                operator=self.operator,
            )


Filter = tuple[Comparison, ...]
"""Conditions that all hold; the empty filter holds for every row."""


def arrow_expression(where: Filter) -> pc.Expression | None:
    """Return the filter as an Arrow expression, None for the empty one."""
    import pyarrow.compute as pc

    expression: pc.Expression | None = None
    for comparison in where:
        one = _arrow_comparison(pc.field(comparison.column), comparison)
        expression = one if expression is None else expression & one
    return expression


def _arrow_comparison(column: pc.Expression, comparison: Comparison) -> pc.Expression:
    value = list(comparison.value) if isinstance(comparison.value, tuple) else comparison.value
    if isinstance(value[0] if isinstance(value, list) else value, UUID):
        column, value = _stored_uuids(column, value)
    match comparison.operator:
        case "is null":
            return column.is_null()
        case "is not null":
            return column.is_valid()
        case "in":
            return column.isin(value)
        case "not in":
            return ~column.isin(value) & column.is_valid()
        case _:
            return _ORDERINGS[comparison.operator](column, value)


def _stored_uuids(column: pc.Expression, value: UUID | list[UUID]) -> tuple[pc.Expression, Any]:
    """Return column and value as the bytes that UUIDs are: Arrow compares these, and no UUIDs."""
    import pyarrow as pa

    kind = pa.binary(16)
    if isinstance(value, list):
        return column.cast(kind), pa.array([one.bytes for one in value], kind)
    return column.cast(kind), pa.scalar(value.bytes, kind)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a file's statistics say of one column.

    Args:
        lower: A value not above any in the file; None where unknown.
        upper: A value not below any in the file; None where unknown.
        nulls: How many nulls; None where unknown.
        rows: How many rows; None where unknown.
    """

    lower: Any = None
    upper: Any = None
    nulls: int | None = None
    rows: int | None = None

    def may_satisfy(self, comparison: Comparison) -> bool:
        """Tell whether a row of the file may satisfy the condition; True in doubt.

        Example:
            >>> Bounds(lower=3, upper=9).may_satisfy(Comparison("n", "=", 10))
            False
        """
        if comparison.operator == "is null":
            return self.nulls != 0
        if self.rows is not None and self.nulls == self.rows:
            return False
        if comparison.operator == "in":
            return any(self.may_satisfy(Comparison(comparison.column, "=", value)) for value in comparison.value)
        if comparison.value != comparison.value:
            return True
        try:
            return self._overlaps(comparison.operator, comparison.value)
        except TypeError:  # bounds kept in another type than the value's: no conclusion
            return True

    def _overlaps(self, sign: Operator, value: Any) -> bool:  # noqa: ANN401
        above_lower = self.lower is None or (value > self.lower if sign == "<" else value >= self.lower)
        below_upper = self.upper is None or (value < self.upper if sign == ">" else value <= self.upper)
        if sign in ("<", "<="):
            return above_lower
        if sign in (">", ">="):
            return below_upper
        return (above_lower and below_upper) if sign == "=" else True
