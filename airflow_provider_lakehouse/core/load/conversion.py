"""Which values of one type fit a column of another: decided by type, and tested in SQL value by value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from airflow_provider_lakehouse.core.engines.dialect import sql_type, text
from airflow_provider_lakehouse.core.types import arrow_type, is_widening, parse_type, type_of

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_provider_lakehouse.core.load.policy import Reaction

How = Literal["same", "cast", "check", "reject", "refuse"]
_NUMBERS: Final = frozenset({"int", "long", "float", "double", "decimal"})
_BYTES: Final = frozenset({"binary", "fixed"})
_NESTED: Final = frozenset({"list", "map", "struct"})
_CLOCK: Final = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6}0*)?)?"
_DAY: Final = r"[0-9]{4,}-[0-9]{2}-[0-9]{2}"
_ZONE: Final = r" ?(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
_PATTERNS: Final = {
    "int": r"\s*[+-]?[0-9]+\s*",
    "long": r"\s*[+-]?[0-9]+\s*",
    "boolean": r"(?i)\s*(true|false)\s*",
    "date": rf"\s*{_DAY}\s*",
    "time": rf"\s*{_CLOCK}\s*",
    "timestamp": rf"\s*{_DAY}([ T]{_CLOCK})?\s*",
    "timestamptz": rf"\s*{_DAY}[ T]{_CLOCK}{_ZONE}\s*",
}
"""What text has to look like before it is read, because SQL's casts round, cut and guess."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """How values come to their column.

    Args:
        how: `same` and `cast` lose nothing, `check` looks at every value, `reject` lets only nulls pass, `refuse`
            means that the policy takes no such batch.
        type: Type of the column, wider than before where the policy lets it evolve.
    """

    how: How
    type: str


def conversion(arrow: pa.DataType, column_type: str, reaction: Reaction) -> Conversion:
    """Decide how values of an Arrow type come to a column.

    Args:
        arrow: Type of the batch's column.
        column_type: Type of the table's column.
        reaction: What happens to values that do not fit.

    Example:
        >>> import pyarrow as pa
        >>> conversion(pa.int64(), "int", "freeze")
        Conversion(how='check', type='int')
        >>> conversion(pa.int64(), "int", "evolve")
        Conversion(how='cast', type='long')
        >>> conversion(pa.string(), "int", "freeze").how, conversion(pa.string(), "int", "quarantine").how
        ('refuse', 'check')
    """
    import pyarrow as pa

    if arrow == arrow_type(column_type):
        return Conversion("same", column_type)
    given = type_of(arrow)
    if pa.types.is_null(arrow) or is_widening(given, column_type) or _is_bytes(given, column_type):
        is_fine_grained = pa.types.is_timestamp(arrow) and arrow.unit == "ns"
        return Conversion("check" if is_fine_grained else "cast", column_type)
    if reaction == "evolve" and is_widening(column_type, given):
        return Conversion("cast", given)
    return Conversion(_by_value(given, column_type, reaction), column_type)


def _is_bytes(given: str, column_type: str) -> bool:
    return parse_type(given).name in _BYTES and column_type == "binary"


def _by_value(given: str, column_type: str, reaction: Reaction) -> How:
    before, after = parse_type(given).name, parse_type(column_type).name
    if (before in _NUMBERS and after in _NUMBERS) or (before in _BYTES and after == "fixed"):
        return "check"
    if reaction in ("freeze", "evolve"):
        return "refuse"
    return "check" if before == "string" and after not in _NESTED | _BYTES else "reject"


def converted(value: str, given: str, column_type: str) -> str:
    """Return the SQL of a value as its column takes it, null where it does not fit."""
    wanted = sql_type(column_type)
    before, after = parse_type(given), parse_type(column_type)
    if before.name == "string":
        pattern = _PATTERNS.get(after.name)
        if after.name == "decimal":
            pattern = rf"\s*[+-]?[0-9]*([.][0-9]{{0,{after.numbers[1]}}}0*)?\s*"
        read = f"TRY_CAST({value} AS {wanted})"
        return f"CASE WHEN regexp_full_match({value}, {text(pattern)}) THEN {read} END" if pattern else read
    if after.name == "fixed":
        return f"CASE WHEN octet_length({value}) = {after.numbers[0]} THEN {value} END"
    # There and back again: whatever was rounded, cut or wrapped does not come back as it was.
    there = f"TRY_CAST({value} AS {wanted})"
    return f"CASE WHEN TRY_CAST({there} AS {_original(given)}) = {value} THEN {there} END"


def _original(given: str) -> str:
    return "TIMESTAMP_NS" if given in ("timestamp", "timestamptz") else sql_type(given)
