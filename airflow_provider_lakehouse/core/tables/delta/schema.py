"""Columns of a Delta table: Delta's schema JSON, the project's schema, and the Arrow schema of the data files.

Source: Delta transaction log protocol, section "Schema Serialization Format".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.types import TypeNode, arrow_type, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from airflow_provider_lakehouse.core.schema import SchemaChange

type DeltaType = str | dict[str, Any]

_TO_DELTA: Final = {
    "boolean": "boolean", "int": "integer", "long": "long", "float": "float", "double": "double", "date": "date",
    "timestamp": "timestamp_ntz", "timestamptz": "timestamp", "string": "string", "binary": "binary",
}  # fmt: skip
_FROM_DELTA: Final = {delta: name for name, delta in _TO_DELTA.items()} | {"byte": "int", "short": "int"}
_INSTEAD: Final = {"uuid": "string", "fixed": "binary", "time": "string, or long for microseconds"}
_PHYSICAL_NAME: Final = "delta.columnMapping.physicalName"
_WRITER_COMPUTES: Final = (
    "delta.invariants",
    "delta.generationExpression",
    "delta.identity.start",
    "delta.identity.step",
    "delta.identity.allowExplicitInsert",
)
_NOT_NULL_WITHIN: Final = ('"nullable": false', '"containsNull": false', '"valueContainsNull": false')


def delta_schema(schema: Schema) -> dict[str, Any]:
    """Return Delta's schema of a table that is to be created.

    Raises:
        UnsupportedError: Delta has no such type, or cannot tell two columns apart.
    """
    lowered = [name.lower() for name in schema.names]
    alike = tuple(name for name in schema.names if lowered.count(name.lower()) > 1)
    if alike:
        raise UnsupportedError("Delta does not tell column names apart by case. Rename some.", columns=alike)
    return {"type": "struct", "fields": [delta_field(column) for column in schema.columns]}


def delta_field(column: Column) -> dict[str, Any]:
    """Return Delta's description of a column.

    Raises:
        UnsupportedError: Delta has no such type.
    """
    return _field(column.name, _delta_type(parse_type(column.type), column.name), column.nullable, column.comment)


def _field(name: str, kind: DeltaType, nullable: bool, comment: str = "") -> dict[str, Any]:  # noqa: FBT001
    return {"name": name, "type": kind, "nullable": nullable, "metadata": {"comment": comment} if comment else {}}


def _delta_type(node: TypeNode, column: str) -> DeltaType:
    if node.name in _TO_DELTA:
        return _TO_DELTA[node.name]
    if node.name == "decimal":
        return str(node)
    parts = [_delta_type(child, column) for child in node.children]
    match node.name:
        case "list":
            return {"type": "array", "elementType": parts[0], "containsNull": True}
        case "map":
            return {"type": "map", "keyType": parts[0], "valueType": parts[1], "valueContainsNull": True}
        case "struct":
            fields = zip(node.names, parts, strict=True)
            return {"type": "struct", "fields": [_field(name, part, nullable=True) for name, part in fields]}
    raise UnsupportedError(
        f"Delta has no type {node.name!r}, asked for by column {column!r}. Use {_INSTEAD[node.name]} instead.",
        column=column,
        type=str(node),
    )


def schema_of(fields: Iterable[dict[str, Any]], *, identifier: tuple[str, ...] = ()) -> Schema:
    """Return the schema of a table from Delta's fields.

    Args:
        fields: Of the schema JSON.
        identifier: As the table remembers it; forgotten where another tool dropped or relaxed one of its columns.

    Raises:
        UnsupportedError: A column has a type that the project does not know.
    """
    columns = tuple(
        Column(f["name"], str(_node(f["type"], f["name"])), f["nullable"], f["metadata"].get("comment") or "")
        for f in fields
    )
    required = {column.name for column in columns if not column.nullable}
    return Schema(columns, identifier if required.issuperset(identifier) else ())


def _node(kind: DeltaType, column: str) -> TypeNode:
    if isinstance(kind, str):
        name = _FROM_DELTA.get(kind)
        if name is None and not kind.startswith("decimal"):
            raise UnsupportedError(
                f"Column {column!r} has Delta's type {kind!r}, which is not supported. Read the table with Spark.",
                column=column,
                type=kind,
            )
        return TypeNode(name) if name else parse_type(kind)
    match kind["type"]:
        case "array":
            return TypeNode("list", children=(_node(kind["elementType"], column),))
        case "map":
            return TypeNode("map", children=(_node(kind["keyType"], column), _node(kind["valueType"], column)))
        case _:
            fields = kind["fields"]
            children = tuple(_node(field["type"], column) for field in fields)
            return TypeNode("struct", children=children, names=tuple(field["name"] for field in fields))


def file_schema(fields: Iterable[dict[str, Any]]) -> pa.Schema:
    """Return the Arrow schema in which data files hold these columns; narrow integers stay narrow."""
    import pyarrow as pa

    return pa.schema([pa.field(f["name"], _file_type(f["type"]), nullable=f["nullable"]) for f in fields])


def _file_type(kind: DeltaType) -> pa.DataType:
    import pyarrow as pa

    if isinstance(kind, str):
        narrow = {"byte": pa.int8(), "short": pa.int16()}
        return narrow[kind] if kind in narrow else arrow_type(str(_node(kind, "")))
    match kind["type"]:
        case "array":
            return pa.list_(_file_type(kind["elementType"]))
        case "map":
            return pa.map_(_file_type(kind["keyType"]), _file_type(kind["valueType"]))
        case _:
            return pa.struct([(field["name"], _file_type(field["type"])) for field in kind["fields"]])


def renames_of(fields: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return the names that mapped columns have in the data files, by the table's name, where they differ."""
    names = {f["name"]: f["metadata"].get(_PHYSICAL_NAME, f["name"]) for f in fields}
    return {name: physical for name, physical in names.items() if name != physical}


def is_nested(field: dict[str, Any]) -> bool:
    """Tell whether a field has fields within."""
    return "struct" in json.dumps(field["type"])


def refuse_computed(fields: Iterable[dict[str, Any]]) -> None:
    """Refuse to write columns whose values other writers compute or check in ways that are not implemented here.

    Raises:
        UnsupportedError: Names the column and what it asks of writers.
    """
    for field in fields:
        asked = [key for key in _WRITER_COMPUTES if key in field["metadata"]]
        if asked:
            raise UnsupportedError(
                f"Column {field['name']!r} asks writers for {asked[0]!r}, which is not supported. Write it with Spark.",
                column=field["name"],
                feature=asked[0],
            )
        if any(mark in json.dumps(field["type"]) for mark in _NOT_NULL_WITHIN):
            raise UnsupportedError(
                f"Column {field['name']!r} forbids nulls within its values, and nobody checks. Write it with Spark.",
                column=field["name"],
            )


def changed_fields(
    fields: list[dict[str, Any]], changes: tuple[SchemaChange, ...], *, identifier: tuple[str, ...], rerun: bool
) -> list[dict[str, Any]]:
    """Return Delta's fields after changes of the schema.

    Args:
        fields: As they are.
        changes: To be made; one that has been made by somebody else changes nothing.
        identifier: Columns that must stay not-null.
        rerun: True when the fields are newer than those that the changes were first checked against.

    Raises:
        UnsupportedError: A type is to be widened: Delta's type widening is not implemented by delta-rs.
        InvalidRequestError: A change does not fit the schema.
        ConflictError: Likewise, on a rerun: another commit came first.
    """
    result = {field["name"]: field for field in fields}
    for change in changes:
        column = change.column
        present = result.get(column.name)
        if change.kind == "widen":
            raise UnsupportedError(
                f"Delta cannot widen column {column.name!r} here: delta-rs does not read widened tables. "
                "Create a new table, or keep the type.",
                column=column.name,
                type=column.type,
            )
        if change.kind == "add":
            result[column.name] = _added(present, column, rerun=rerun)
        else:
            result[column.name] = _amended(present, change, identifier=identifier)
    delta_schema(Schema(tuple(Column(name, "long") for name in result)))  # names that differ by case only
    return list(result.values())


def _added(present: dict[str, Any] | None, column: Column, *, rerun: bool) -> dict[str, Any]:
    if present is None:
        if not column.nullable:
            raise InvalidRequestError("A new column must be nullable: rows that are there lack it.", column=column.name)
        return delta_field(column)
    if present["nullable"] and str(_node(present["type"], column.name)) == column.type:
        return present
    kind = ConflictError if rerun else InvalidRequestError
    raise kind(f"There is another column {column.name!r}. Plan the change again.", column=column.name)


def _amended(present: dict[str, Any] | None, change: SchemaChange, *, identifier: tuple[str, ...]) -> dict[str, Any]:
    column = change.column
    if present is None:
        raise InvalidRequestError(f"There is no column {column.name!r}. Plan the change again.", column=column.name)
    if change.kind == "comment":
        return {**present, "metadata": {**present["metadata"], "comment": column.comment}}
    if column.name in identifier:
        raise InvalidRequestError("A column that identifies rows cannot become nullable. Keep it.", column=column.name)
    return {**present, "nullable": True}
