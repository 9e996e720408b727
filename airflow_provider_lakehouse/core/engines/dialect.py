"""Names, literals and types in DuckDB's SQL: the one place where text becomes part of a statement."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.types import TypeNode, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.tables.filters import Comparison, Filter

_PRIMITIVES: Final = {
    "boolean": "BOOLEAN", "int": "INTEGER", "long": "BIGINT", "float": "FLOAT", "double": "DOUBLE", "date": "DATE",
    "time": "TIME", "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMP WITH TIME ZONE", "string": "VARCHAR",
    "uuid": "UUID", "binary": "BLOB", "fixed": "BLOB",
}  # fmt: skip
_NAMES: Final = {
    "boolean": "boolean", "tinyint": "int", "smallint": "int", "utinyint": "int", "usmallint": "int", "integer": "int",
    "uinteger": "long", "bigint": "long", "float": "float", "double": "double", "date": "date", "time": "time",
    "timestamp": "timestamp", "timestamp_s": "timestamp", "timestamp_ms": "timestamp", "timestamp_ns": "timestamp",
    "timestamp with time zone": "timestamptz", "varchar": "string", "enum": "string", "bit": "string", "uuid": "uuid",
    "blob": "binary", "null": "string", "sqlnull": "string",
}  # fmt: skip
_COMPARABLE: Final[dict[str, type]] = {
    "boolean": bool, "int": int, "long": int, "decimal": Decimal, "date": date, "timestamp": datetime,
    "timestamptz": datetime, "string": str, "uuid": UUID,
}  # fmt: skip
"""Types whose values compare in SQL as they do in Arrow, with the Python type whose text is read as the same value."""
_INT_LIMITS: Final = {"int": 2**31, "long": 2**63}
_WIDE_INTEGERS: Final = {"ubigint": 20, "hugeint": 38, "uhugeint": 38, "bignum": 38}


def quoted(name: str) -> str:
    """Return a name as an identifier, whatever characters it has.

    Raises:
        InvalidRequestError: The name holds the character NUL, which no identifier can.

    Example:
        >>> quoted('ship "to"; --')
        '"ship ""to""; --"'
    """
    if "\0" in name:
        raise InvalidRequestError(
            "A name holds the character NUL. Rename the column or table.", name=name.replace("\0", "?")
        )
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str], *, of: str = "") -> str:
    """Return names as a list of columns, of the relation `of` where it is given.

    Example:
        >>> listed(("a", "b c"), of="t")
        't."a", t."b c"'
    """
    prefix = f"{of}." if of else ""
    return ", ".join(f"{prefix}{quoted(name)}" for name in names)


def text(value: str) -> str:
    """Return a text literal.

    Example:
        >>> text("it's")
        "'it''s'"
    """
    if "\0" in value:
        return "||chr(0)||".join(text(part) for part in value.split("\0"))
    return "'" + value.replace("'", "''") + "'"


def filter_sql(where: Filter, schema: Schema) -> str | None:
    """Return a filter as a condition, empty for the empty filter; None where SQL would judge a value otherwise.

    Example:
        >>> from airflow_provider_lakehouse.core.schema import Column, Schema
        >>> from airflow_provider_lakehouse.core.tables.filters import Comparison
        >>> schema = Schema.of(Column("n", "long"), Column("x", "double"))
        >>> print(filter_sql((Comparison("n", ">=", 3), Comparison("x", "is null")), schema))
        "n" >= CAST('3' AS BIGINT) AND "x" IS NULL
        >>> filter_sql((Comparison("x", ">", 0.5),), schema) is None
        True
    """
    conditions = [_comparison_sql(comparison, schema) for comparison in where]
    return None if None in conditions else " AND ".join(filter(None, conditions))


def _comparison_sql(comparison: Comparison, schema: Schema) -> str | None:
    name, kind = quoted(comparison.column), schema.by_name[comparison.column].type
    if comparison.operator in ("is null", "is not null"):
        return f"{name} {comparison.operator.upper()}"
    is_list = isinstance(comparison.value, tuple)
    values = comparison.value if is_list else (comparison.value,)
    if not all(_is_of(value, parse_type(kind)) for value in values):
        return None
    literals = ", ".join(f"CAST({text(str(value))} AS {sql_type(kind)})" for value in values)
    return f"{name} {comparison.operator.upper()} {f'({literals})' if is_list else literals}"


def _is_of(value: Any, kind: TypeNode) -> bool:  # noqa: ANN401
    """Tell whether a value is one that the type can hold, exactly."""
    if type(value) is not _COMPARABLE.get(kind.name):
        return False
    match value:
        case datetime():
            return (value.tzinfo is None) == (kind.name == "timestamp")
        case Decimal():
            precision, scale = kind.numbers
            return value.is_finite() and value == round(value, scale) and abs(value) < 10 ** (precision - scale)
        case int() if kind.name in _INT_LIMITS:
            return -_INT_LIMITS[kind.name] <= value < _INT_LIMITS[kind.name]
        case _:
            return True


def sql_type(type_text: str) -> str:
    """Return DuckDB's name of a column type.

    Example:
        >>> sql_type("struct<id:long,tags:list<string>>")
        'STRUCT("id" BIGINT, "tags" VARCHAR[])'
    """
    return _sql(parse_type(type_text))


def _sql(node: TypeNode) -> str:
    if node.name == "decimal":
        return f"DECIMAL({node.numbers[0]},{node.numbers[1]})"
    if node.name == "list":
        return f"{_sql(node.children[0])}[]"
    if node.name == "map":
        return f"MAP({_sql(node.children[0])}, {_sql(node.children[1])})"
    if node.name == "struct":
        fields = zip(node.names, node.children, strict=True)
        return f"STRUCT({', '.join(f'{quoted(name)} {_sql(child)}' for name, child in fields)})"
    return _PRIMITIVES[node.name]


def column_type(found: Any, *, column: str) -> str:  # noqa: ANN401
    """Return the column type that holds what a DuckDB type holds.

    Args:
        found: A `DuckDBPyType`, as the description of a result gives it.
        column: For the error.

    Raises:
        InvalidRequestError: None does: intervals, unions, times with a zone.
    """
    kind = str(found.id).lower()
    if kind in _NAMES:
        return _NAMES[kind]
    if kind in _WIDE_INTEGERS:
        return f"decimal({_WIDE_INTEGERS[kind]},0)"
    return str(_nested_type(found, kind, column))


def _nested_type(found: Any, kind: str, column: str) -> TypeNode:  # noqa: ANN401
    if kind not in ("decimal", "list", "array", "map", "struct"):
        raise InvalidRequestError(
            f"Column {column!r} of the query has type {found}, which no table can hold. Cast it in the query.",
            column=column,
            type=str(found),
        )
    children = list(found.children)
    if kind == "decimal":
        return TypeNode("decimal", numbers=(children[0][1], children[1][1]))
    if kind in ("list", "array"):
        children = children[:1]
    parts = tuple(parse_type(column_type(child, column=column)) for _, child in children)
    names = tuple(name for name, _ in children) if kind == "struct" else ()
    return TypeNode("list" if kind == "array" else kind, children=parts, names=names)
