"""A row as JSON text, and back without loss of a digit: expressions of SQL, so that the engine does it.

Booleans, whole numbers and texts are JSON's own. Every other value is the text by which SQL names it, so that no reader of JSON
rounds it: `"12.50"`, `"nan"`, `"2026-01-31 10:00:00+00"` (instants with a zone in UTC, microseconds where there are any);
bytes are in base 64. A list is an array, a struct an object with all of its fields, a map an array of objects with `key` and
`value`. Null is null. Text alone does not tell a decimal from a text, so `types_to_json` goes with it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.engines.dialect import quoted, sql_type, text
from airflow_provider_lakehouse.core.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_lakehouse.core.types import TypeNode

_AS_THEY_ARE: Final = frozenset({"boolean", "int", "long", "string"})
_BYTES: Final = frozenset({"binary", "fixed"})


def row_to_json(types: Mapping[str, str], *, of: str) -> str:
    """Return SQL for the JSON text of a row.

    Args:
        types: Column types by name, in order; at least one.
        of: Name of the relation whose row it is.

    Example:
        >>> print(row_to_json({"id": "long", "price": "decimal(9,2)"}, of="r"))
        CAST(to_json(struct_pack("id" := r."id", "price" := CAST(r."price" AS VARCHAR))) AS VARCHAR)
    """
    fields = (
        f"{quoted(name)} := {_encoded(f'{of}.{quoted(name)}', parse_type(kind), 0)}" for name, kind in types.items()
    )
    return f"CAST(to_json(struct_pack({', '.join(fields)})) AS VARCHAR)"


def row_from_json(types: Mapping[str, str], *, payload: str) -> str:
    """Return SQL for a list of columns, each with its name, that reads what `row_to_json` wrote.

    Args:
        types: As they were written.
        payload: SQL of the text.
    """
    nodes = {name: parse_type(kind) for name, kind in types.items()}
    columns = []
    for name, node in nodes.items():
        member = f"json_extract({payload}, {text(_path(name))})"
        columns.append(f"{_decoded(_read(member, node), node, 0)} AS {quoted(name)}")
    return ", ".join(columns)


def types_to_json(types: Mapping[str, str]) -> str:
    """Return types by name as JSON text, in order.

    Example:
        >>> types_from_json(types_to_json({"id": "long"}))
        {'id': 'long'}
    """
    return json.dumps(dict(types), ensure_ascii=False, separators=(",", ":"))


def types_from_json(value: str) -> dict[str, str]:
    """Read what `types_to_json` wrote."""
    return {str(name): str(kind) for name, kind in json.loads(value).items()}


def _path(name: str) -> str:
    """Return a name as a JSON pointer (RFC 6901)."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _read(member: str, node: TypeNode) -> str:
    """Return SQL for a member of the row with text at every leaf."""
    if node.children:
        shape = json.dumps(_shape(node), ensure_ascii=False)
        return f"from_json({member}, {text(shape)})"
    return f"({member} ->> '$')"


def _shape(node: TypeNode) -> object:
    """Return the structure that JSON of a type has, as `from_json` takes it."""
    if node.name == "list":
        return [_shape(node.children[0])]
    if node.name == "map":
        return [{"key": _shape(node.children[0]), "value": _shape(node.children[1])}]
    if node.name == "struct":
        return {name: _shape(child) for name, child in zip(node.names, node.children, strict=True)}
    return "VARCHAR"


def _encoded(value: str, node: TypeNode, depth: int) -> str:
    each = f"e{depth}"
    match node.name:
        case "list":
            return f"list_transform({value}, lambda {each}: {_encoded(each, node.children[0], depth + 1)})"
        case "map":
            key, item = (
                _encoded(f"{each}.{part}", child, depth + 1)
                for part, child in zip(("key", "value"), node.children, strict=True)
            )
            pair = f"struct_pack(key := {key}, value := {item})"
            return f"list_transform(map_entries({value}), lambda {each}: {pair})"
        case "struct":
            fields = ", ".join(
                f"{quoted(name)} := {_encoded(f'({value}).{quoted(name)}', child, depth)}"
                for name, child in zip(node.names, node.children, strict=True)
            )
            return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({fields}) END"
        case name if name in _AS_THEY_ARE:
            return value
        case name if name in _BYTES:
            return f"to_base64({value})"
        case _:
            return f"CAST({value} AS VARCHAR)"


def _decoded(value: str, node: TypeNode, depth: int) -> str:
    each = f"d{depth}"
    match node.name:
        case "list":
            return f"list_transform({value}, lambda {each}: {_decoded(each, node.children[0], depth + 1)})"
        case "map":
            key, item = (
                _decoded(f"{each}.{part}", child, depth + 1)
                for part, child in zip(("key", "value"), node.children, strict=True)
            )
            pair = f"struct_pack(key := {key}, value := {item})"
            return f"map_from_entries(list_transform({value}, lambda {each}: {pair}))"
        case "struct":
            fields = ", ".join(
                f"{quoted(name)} := {_decoded(f'({value}).{quoted(name)}', child, depth)}"
                for name, child in zip(node.names, node.children, strict=True)
            )
            return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({fields}) END"
        case name if name in _BYTES:
            return f"from_base64({value})"
        case _:
            return f"CAST({value} AS {sql_type(str(node))})"
