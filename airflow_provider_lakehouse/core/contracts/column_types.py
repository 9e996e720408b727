"""The column type that a contract's logical and physical types ask for.

A physical type that is known decides; else the logical one, with the meaning that the standard gives to its options. An integer
without format has 32 bits, a timestamp without `timezone` is an instant. Source: Open Data Contract Standard 3.2, section
"Logical Type Options".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.types import TypeNode, parse_type

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.contracts.contract import ContractColumn

_PHYSICAL: Final = {
    **dict.fromkeys(("bool",), "boolean"),
    **dict.fromkeys(("tinyint", "smallint", "integer", "int2", "int4", "int32", "mediumint"), "int"),
    **dict.fromkeys(("bigint", "int8", "int64"), "long"),
    **dict.fromkeys(("real", "float4", "float32"), "float"),
    **dict.fromkeys(("double precision", "float8", "float64"), "double"),
    **dict.fromkeys(
        ("varchar", "char", "character", "character varying", "nvarchar", "nchar", "text", "clob", "json", "jsonb"), "string"
    ),
    **dict.fromkeys(("datetime", "datetime2", "timestamp_ntz", "timestamp without time zone"), "timestamp"),
    **dict.fromkeys(("timestamp_tz", "timestamp_ltz", "timestamp with time zone", "datetimeoffset"), "timestamptz"),
    **dict.fromkeys(("varbinary", "bytea", "blob", "bytes"), "binary"),
    "uniqueidentifier": "uuid",
}  # fmt: skip
"""What databases call the column types, without their parameters."""
_DECIMALS: Final = re.compile(r"(?:decimal|numeric|number)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)\Z", re.IGNORECASE)
_PARAMETERS: Final = re.compile(r"\s*\([\d\s,]*\)")
_INTEGERS: Final = {
    **dict.fromkeys(("i8", "i16", "i32", "u8", "u16"), "int"), "u32": "long", "i64": "long", "u64": "decimal(20,0)",
}  # fmt: skip
_ELEMENTS: Final = {"float64": "double", "int8": "int", "uint8": "int"}
_FITTING: Final = {
    "integer": {"int", "long", "decimal"},
    "number": {"int", "long", "decimal", "float", "double"},
    "string": {"string", "uuid", "binary", "fixed"},
    "date": {"date", "timestamp", "timestamptz", "string"},
    "timestamp": {"timestamp", "timestamptz", "string"},
    "time": {"time", "string"},
    "boolean": {"boolean"},
    "array": {"list"},
    "object": {"struct", "string"},
    "map": {"map", "string"},
    "vector": {"list"},
}
"""Column types in which a logical type can be kept. Dates and objects may be kept as text."""


def type_of_column(column: ContractColumn) -> str:
    """Return the type that a column of the table has.

    Args:
        column: Of a contract.

    Returns:
        A type as `core.types` writes it.

    Raises:
        InvalidRequestError: No column type can hold it, or its two types contradict each other; the error names the line.

    Example:
        >>> from airflow_provider_lakehouse.core.contracts.contract import ContractColumn
        >>> type_of_column(ContractColumn("price", logical_type="number", physical_type="NUMERIC(10, 2)"))
        'decimal(10,2)'
        >>> item = ContractColumn(logical_type="integer", options={"format": "i64"})
        >>> type_of_column(ContractColumn("ids", logical_type="array", items=item))
        'list<long>'
    """
    node = _node(column)
    if node is None:
        raise _refused(column, "its types name no column type")
    return str(node)


def _node(column: ContractColumn) -> TypeNode | None:
    physical = _physical(column)
    if physical is not None:
        return _checked(column, physical)
    return _nested(column) or _logical(column)


def _physical(column: ContractColumn) -> TypeNode | None:
    text = column.physical_type.strip()
    if not text or column.fields or column.items or column.key:
        return None
    if decimal := _DECIMALS.match(text):
        text = f"decimal({decimal[1]},{decimal[2] or 0})"
    bare = " ".join(_PARAMETERS.sub("", text).lower().split())
    for one in (text, text.lower(), re.sub(r"\barray\s*<", "list<", text.lower()), _PHYSICAL.get(bare, bare)):
        try:
            return parse_type(one)
        except InvalidRequestError:
            continue
    return None


def _checked(column: ContractColumn, node: TypeNode) -> TypeNode:
    fitting = _FITTING.get(column.logical_type)
    fits = fitting is None or node.name in fitting
    if column.logical_type == "integer" and node.name == "decimal":
        fits = node.numbers[1] == 0
    if not fits:
        raise _refused(column, f"a column of type {node} keeps no {column.logical_type}")
    zone = column.options.get("timezone")
    if zone is not None and node.name == "timestamp":  # many databases have one name for both kinds
        return TypeNode("timestamptz" if zone else "timestamp")
    if zone is False and node.name == "timestamptz":
        raise _refused(column, "its physical type has a time zone, and its option `timezone` is false")
    return node


def _nested(column: ContractColumn) -> TypeNode | None:
    match column.logical_type:
        case "array" if column.items is not None:
            return TypeNode("list", children=(_part(column.items, column),))
        case "map" if column.key is not None and column.value is not None:
            return TypeNode("map", children=(_part(column.key, column), _part(column.value, column)))
        case "vector":
            return _vector(column)
        case "object" | "" if column.fields:
            stored = [field for field in column.fields if field.is_stored]
            return TypeNode(
                "struct",
                children=tuple(_part(field, column) for field in stored),
                names=tuple(field.stored_name for field in stored),
            )
        case _:
            return None


def _part(part: ContractColumn, of: ContractColumn) -> TypeNode:
    node = _node(part)
    if node is None:
        raise _refused(of, f"its part {part.name or 'without name'!r} has no column type")
    return node


def _vector(column: ContractColumn) -> TypeNode:
    element = str(column.options.get("elementType", "float32"))
    if element == "binary":
        raise _refused(column, "no column type holds a vector of bits")
    return TypeNode("list", children=(TypeNode(_ELEMENTS.get(element, "float")),))


def _logical(column: ContractColumn) -> TypeNode | None:
    format_name = str(column.options.get("format", ""))
    zone = column.options.get("timezone")
    match column.logical_type:
        case "string":
            return TypeNode("binary" if format_name == "binary" else "string")
        case "integer":
            return parse_type(_integer(column, format_name or "i32"))
        case "number":
            return TypeNode("float" if format_name == "f32" else "double")
        case "timestamp":
            return TypeNode("timestamp" if zone is False else "timestamptz")
        case "time" if zone:
            raise _refused(column, "no column type holds a time of day with a zone")
        case "date" | "time" | "boolean" as plain:
            return TypeNode(plain)
        case _:
            return None


def _integer(column: ContractColumn, format_name: str) -> str:
    if format_name not in _INTEGERS:
        raise _refused(column, f"no column type holds all integers of the format {format_name!r}")
    return _INTEGERS[format_name]


def _refused(column: ContractColumn, reason: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"Column {column.name!r} has no possible type: {reason}. Correct `logicalType` or `physicalType`.",
        column=column.name,
        line=column.line,
        logical_type=column.logical_type,
        physical_type=column.physical_type[:60],
    )
