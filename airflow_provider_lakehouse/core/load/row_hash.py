"""The canonical hash of a row: equal rows share it, wherever and whenever they were stored.

Definition, version 1. The hash is the SHA-256 (FIPS 180-4) of a text in UTF-8. The text is the concatenation, over
the columns that are not null in the order of their names by code point, of

    <bytes of the name> ":" <name> <family> <value>

| Family | Types | Value |
|---|---|---|
| `b` | boolean | `1` or `0` |
| `i` | int, long | decimal digits, `-` before negatives, then `;` |
| `n` | decimal | digits with as many decimals as the scale, `-` before negatives, then `;` |
| `f` | float, double | 16 hexadecimal digits, upper case, of the IEEE 754 double, then `;`; NaN is `nan`, -0.0 is 0.0 |
| `d` | date | days since 1970-01-01, then `;` |
| `c` | time | microseconds since midnight, then `;` |
| `t` | timestamp | microseconds since 1970-01-01 00:00, then `;` |
| `z` | timestamptz | microseconds since 1970-01-01 00:00 UTC, then `;` |
| `s` | string | length in bytes, `:`, the characters |
| `u` | uuid | 36 characters, lower case |
| `x` | binary, fixed | length of the hexadecimal text, `:`, the hexadecimal digits, upper case |
| `l` | list | number of elements, `:`, each element as family and value, or `0` for null |
| `m` | map | number of entries, `:`, each as key and value like elements of a list, in the order of that text |
| `r` | struct | its fields that are not null, written like columns, then `;` |

Names and values cannot run into one another, because each says where it ends. Nulls leave no trace, and a number
hashes the same in a wider type, so that neither a new column nor a lossless widening changes the hash of an old row.
No null, empty text or separator can be mistaken for another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.engines.dialect import quoted, text
from airflow_provider_lakehouse.core.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_lakehouse.core.types import TypeNode

HASH_BYTES: Final = 32
_ENDED: Final = {
    "int": ("i", "{v}"), "long": ("i", "{v}"), "decimal": ("n", "{v}"), "date": ("d", "({v} - DATE '1970-01-01')"),
    "time": ("c", "epoch_us({v})"), "timestamp": ("t", "epoch_us({v})"), "timestamptz": ("z", "epoch_us({v})"),
    "float": ("f", "{bits}"), "double": ("f", "{bits}"),
}  # fmt: skip
_BITS: Final = "CASE WHEN isnan({v}) THEN 'nan' ELSE hex(CAST(CAST(CAST({v} AS DOUBLE) + 0.0 AS BIT) AS BLOB)) END"


def row_hash(columns: Mapping[str, str], *, of: str = "") -> str:
    """Return the SQL expression of the hash of a row: 32 bytes.

    Args:
        columns: What is hashed: type by name.
        of: The relation the columns belong to.

    Example:
        >>> from airflow_provider_lakehouse.core.engines.duckdb import open_engine
        >>> sql = f"SELECT hex({row_hash({'id': 'long', 'name': 'string'})}) AS h FROM (SELECT 7 AS id, 'x' AS name)"
        >>> with open_engine().query(sql) as rows:
        ...     found = rows.read_all()["h"][0].as_py()
        >>> import hashlib
        >>> found == hashlib.sha256(b"2:idi7;4:names1:x").hexdigest().upper()
        True
    """
    relation = f"{of}." if of else ""
    parts = [_field(name, parse_type(columns[name]), f"{relation}{quoted(name)}", depth=0) for name in sorted(columns)]
    return f"unhex(sha256({_concatenated(parts)}))"


def _concatenated(parts: Iterable[str]) -> str:
    joined = ", ".join(parts)
    return f"concat('', {joined})" if joined else "''"


def _field(name: str, node: TypeNode, value: str, *, depth: int) -> str:
    """Return the text of a column; null where the value is."""
    return _value(node, value, prefix=f"{len(name.encode())}:{name}", depth=depth)


def _value(node: TypeNode, value: str, *, prefix: str, depth: int) -> str:
    """Return the text of a value after `prefix`; null where the value is."""
    if node.name in _ENDED:
        family, form = _ENDED[node.name]
        shown = form.format(v=value, bits=_BITS.format(v=value))
        return f"{text(prefix + family)} || {shown} || ';'"
    match node.name:
        case "boolean":
            return f"CASE WHEN {value} THEN {text(prefix + 'b1')} WHEN NOT {value} THEN {text(prefix + 'b0')} END"
        case "string":
            return f"{text(prefix + 's')} || strlen({value}) || ':' || {value}"
        case "uuid":
            return f"{text(prefix + 'u')} || CAST({value} AS VARCHAR)"
        case "list":
            return f"{text(prefix + 'l')} || len({value}) || ':' || {_elements(node.children[0], value, depth)}"
        case "map":
            return f"{text(prefix + 'm')} || cardinality({value}) || ':' || {_entries(node, value, depth)}"
        case "struct":
            return _struct(node, value, prefix=prefix, depth=depth)
        case _:
            return f"{text(prefix + 'x')} || 2 * octet_length({value}) || ':' || hex({value})"


def _elements(node: TypeNode, value: str, depth: int) -> str:
    item = f"e{depth}"
    element = f"coalesce({_value(node, item, prefix='', depth=depth + 1)}, '0')"
    return f"array_to_string(list_transform({value}, lambda {item}: {element}), '')"


def _entries(node: TypeNode, value: str, depth: int) -> str:
    item = f"e{depth}"
    halves = [
        f"coalesce({_value(child, f'{item}.{part}', prefix='', depth=depth + 1)}, '0')"
        for part, child in zip(("key", "value"), node.children, strict=True)
    ]
    texts = f"list_transform(map_entries({value}), lambda {item}: {' || '.join(halves)})"
    return f"array_to_string(list_sort({texts}), '')"


def _struct(node: TypeNode, value: str, *, prefix: str, depth: int) -> str:
    children = dict(zip(node.names, node.children, strict=True))
    parts = [_field(name, children[name], f"{value}.{quoted(name)}", depth=depth) for name in sorted(children)]
    return f"CASE WHEN {value} IS NOT NULL THEN concat({text(prefix + 'r')}, {', '.join(parts)}, ';') END"
