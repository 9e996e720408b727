"""Columns as checks see them: the SQL of their values, and of values that they are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.engines.dialect import quoted, sql_type, text
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.types import PRIMITIVES, parse_type

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.types import TypeNode

EXACT: Final = frozenset({"int", "long", "decimal"})
FLOATING: Final = frozenset({"float", "double"})
NUMBERS: Final = EXACT | FLOATING
_FAMILIES: Final = (NUMBERS, frozenset({"date", "timestamp"}))
_READABLE: Final = frozenset({"string", "int", "long", "date", "uuid"})
"""Types whose text is the same to every engine, so that it can be matched and measured."""
_FAMILY_NAMES: Final = frozenset({"decimal", "fixed", "list", "map", "struct"})
_OTHER_NAMES: Final = {
    "bool": "boolean", "booleantype": "boolean",
    "int32": "int", "integer": "int", "integertype": "int",
    "int64": "long", "bigint": "long", "longtype": "long",
    "float32": "float", "real": "float", "floattype": "float",
    "float64": "double", "doubletype": "double", "double precision": "double",
    "numeric": "decimal", "decimaltype": "decimal",
    "str": "string", "object": "string", "text": "string", "varchar": "string", "stringtype": "string",
    "datetype": "date", "time64[us]": "time",
    "datetime64": "timestamp", "datetime64[us]": "timestamp", "datetime64[ns]": "timestamp", "timestamp_ntz": "timestamp",
    "timestampntztype": "timestamp", "timestamp without time zone": "timestamp",
    "datetime64[us, utc]": "timestamptz", "datetime64[ns, utc]": "timestamptz", "timestamptype": "timestamptz",
    "timestamp with time zone": "timestamptz",
    "bytes": "binary", "blob": "binary", "binarytype": "binary",
}  # fmt: skip
_MOST_DIGITS: Final = 38


def known_type(name: str) -> str:
    """Return our name of a type that pandas, SQL or Spark may name otherwise; ours comes first.

    Args:
        name: One of ours, a family without its numbers such as `decimal`, or another system's name.

    Raises:
        InvalidRequestError: Nobody calls a type so.

    Example:
        >>> known_type("int64"), known_type("decimal"), known_type("decimal(10, 2)"), known_type("VARCHAR")
        ('long', 'decimal', 'decimal(10,2)', 'string')
    """
    plain = name.strip()
    folded = plain.lower()
    if plain in PRIMITIVES or plain in _FAMILY_NAMES:
        return plain
    if folded in _OTHER_NAMES:
        return _OTHER_NAMES[folded]
    if folded in PRIMITIVES or folded in _FAMILY_NAMES:
        return folded
    try:
        return str(parse_type(plain))
    except InvalidRequestError as error:
        raise InvalidRequestError(
            f"There is no type {name!r}. Use one of those there are.",
            known=tuple(sorted(PRIMITIVES | _FAMILY_NAMES)),
            also=tuple(sorted(_OTHER_NAMES)),
        ) from error


def is_of_type(column: str, wanted: str) -> bool:
    """Tell whether a column's type is the wanted one, or of the wanted family.

    Example:
        >>> is_of_type("decimal(10,2)", "decimal"), is_of_type("int", "int64")
        (True, False)
    """
    known = known_type(wanted)
    return column == known or (known in _FAMILY_NAMES and parse_type(column).name == known)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a checked table, as SQL.

    A NaN is no value: it counts as missing, as in pandas and so in Great Expectations.

    Args:
        schema: Of the table.
        check: Who asks, for errors.
    """

    schema: Schema
    check: str

    def type_of(self, name: str) -> TypeNode:
        """Return the type of a column.

        Raises:
            InvalidRequestError: There is no such column.
        """
        if name not in self.schema.by_name:
            raise InvalidRequestError(
                f"There is no column {name!r}, which a check looks at. Correct the check or the table.",
                check=self.check,
                column=name,
            )
        return parse_type(self.schema.by_name[name].type)

    def value(self, name: str) -> str:
        """Return the SQL of a value, null where it is missing."""
        kind = self.type_of(name).name
        return (
            f"CASE WHEN isnan({quoted(name)}) THEN NULL ELSE {quoted(name)} END" if kind in FLOATING else quoted(name)
        )

    def number(self, name: str) -> str:
        """Return the SQL of a value that is a number."""
        self._require(name, NUMBERS, "numbers")
        return self.value(name)

    def text(self, name: str) -> str:
        """Return the SQL of a value as text."""
        kind = self.type_of(name).name
        self._require(name, _READABLE, "values whose text is the same everywhere")
        return quoted(name) if kind == "string" else f"CAST({quoted(name)} AS VARCHAR)"

    def comparable(self, first: str, second: str) -> tuple[str, str]:
        """Return the SQL of two values that can be compared."""
        kinds = {self.type_of(first).name, self.type_of(second).name}
        if len(kinds) > 1 and not any(kinds <= family for family in _FAMILIES):
            raise InvalidRequestError(
                f"Columns {first!r} and {second!r} cannot be compared: their types differ. Correct the check.",
                check=self.check,
                types=tuple(sorted(kinds)),
            )
        return self.value(first), self.value(second)

    def literal(self, value: Any, name: str) -> str:  # noqa: ANN401
        """Return the SQL of a value that a column is compared with.

        Raises:
            InvalidRequestError: No value of the column could be compared with it.
        """
        node = self.type_of(name)
        try:
            return _literal(value, node)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise InvalidRequestError(
                f"A value in a check is none that column {name!r} can be compared with. Correct the check.",
                check=self.check,
                column=name,
                type=str(node),
            ) from error

    def literals(self, values: Any, name: str) -> str:  # noqa: ANN401
        """Return the SQL of a list of values, without repetitions."""
        return ", ".join(dict.fromkeys(self.literal(value, name) for value in values))

    def _require(self, name: str, kinds: frozenset[str], what: str) -> None:
        if self.type_of(name).name not in kinds:
            raise InvalidRequestError(
                f"Column {name!r} does not hold {what}, which a check needs. Correct the check.",
                check=self.check,
                column=name,
                type=str(self.type_of(name)),
            )


def _literal(value: Any, node: TypeNode) -> str:  # noqa: ANN401
    match node.name:
        case "boolean" if isinstance(value, bool):
            return "true" if value else "false"
        case "string" if isinstance(value, str):
            return text(value)
        case "uuid" if isinstance(value, str):
            return f"CAST({text(value)} AS UUID)"
        case kind if kind in NUMBERS and isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
            return _number(value, kind)
        case "time":
            return (
                f"CAST({text((value if isinstance(value, time) else time.fromisoformat(value)).isoformat())} AS TIME)"
            )
        case "date" | "timestamp" | "timestamptz":
            return _instant(value, node.name)
    raise TypeError


def _number(value: float | Decimal, kind: str) -> str:
    if kind in FLOATING:
        return f"CAST({text(repr(float(value)))} AS {sql_type(kind)})"
    if not isfinite(value):
        return f"CAST({text(repr(float(value)))} AS DOUBLE)"
    written = format(Decimal(repr(value)) if isinstance(value, float) else Decimal(value), "f")
    is_exact = len(written.strip("-0").replace(".", "")) <= _MOST_DIGITS
    return written if is_exact else f"CAST({text(repr(float(value)))} AS DOUBLE)"


def _instant(value: Any, kind: str) -> str:  # noqa: ANN401
    found = value if isinstance(value, date) else _read_instant(value)
    if kind == "date" and not isinstance(found, datetime):
        return f"CAST({text(found.isoformat())} AS DATE)"
    moment = found if isinstance(found, datetime) else datetime(found.year, found.month, found.day)  # noqa: DTZ001
    if kind == "timestamptz":
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return f"CAST({text(moment.isoformat())} AS TIMESTAMP WITH TIME ZONE)"
    if moment.tzinfo is not None:
        raise ValueError
    return f"CAST({text(moment.isoformat())} AS TIMESTAMP)"


def _read_instant(value: Any) -> date:  # noqa: ANN401
    if not isinstance(value, str):
        raise TypeError
    try:
        return date.fromisoformat(value)
    except ValueError:
        return datetime.fromisoformat(value)
