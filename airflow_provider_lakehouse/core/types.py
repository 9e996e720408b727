"""Column types: the names Apache Iceberg gives them, and their Arrow counterparts.

A type is written as text, so that a specification can be kept in JSON or YAML: `boolean`, `int` (32 bits), `long` (64 bits),
`float`, `double`, `decimal(P,S)`, `date`, `time`, `timestamp` and `timestamptz` (both to the microsecond), `string`, `uuid`,
`fixed(N)`, `binary`, `list<T>`, `map<K,V>` and `struct<name:T,...>`. A field name with other characters than letters, digits
and underscores stands between backticks, a backtick in it doubled. Source: Apache Iceberg table specification, section
"Schemas and Data Types".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

PRIMITIVES: Final = frozenset(
    {
        "boolean", "int", "long", "float", "double", "date", "time", "timestamp", "timestamptz", "string", "uuid", "binary",
    }
)  # fmt: skip
_TOKEN = re.compile(r"\s*(`(?:[^`]|``)*`|\w+|[<>(),:])")
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)
MAX_DECIMAL_PRECISION: Final = 38


@dataclass(frozen=True, slots=True)
class TypeNode:
    """A parsed type.

    Args:
        name: A primitive's name, or `decimal`, `fixed`, `list`, `map`, `struct`.
        numbers: Precision and scale of a decimal, length in bytes of a fixed.
        children: Element of a list; key and value of a map; fields of a struct.
        names: Field names of a struct, in the order of `children`.
    """

    name: str
    numbers: tuple[int, ...] = ()
    children: tuple[TypeNode, ...] = ()
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the canonical text."""
        if self.name == "struct":
            fields = zip(self.names, self.children, strict=True)
            return f"struct<{','.join(f'{_quoted(field)}:{child}' for field, child in fields)}>"
        if self.children:
            return f"{self.name}<{','.join(map(str, self.children))}>"
        return f"{self.name}({','.join(map(str, self.numbers))})" if self.numbers else self.name


@lru_cache(maxsize=10_000)
def parse_type(text: str) -> TypeNode:
    """Read the text of a type.

    Args:
        text: For example `decimal(10,2)` or `list<struct<a:int,b:string>>`.

    Returns:
        The parsed type; its `str` is the canonical text.

    Raises:
        InvalidRequestError: The text is not a type.

    Example:
        >>> str(parse_type("map< string , list<decimal(10, 2)> >"))
        'map<string,list<decimal(10,2)>>'
    """
    tokens = _tokens(text)
    node = _parse(tokens, text)
    if tokens:
        raise _not_a_type(text)
    return node


def is_widening(before: str, after: str) -> bool:
    """Tell whether every value of `before` is a value of `after`, unchanged.

    Allowed are `int` to `long`, `float` to `double`, a larger decimal precision at the same scale, and within a struct
    further fields at any place. Every other change could lose digits, so it is refused even where a library allows it.

    Args:
        before: Type now.
        after: Type wanted.

    Returns:
        True for a lossless change, and for no change.

    Example:
        >>> is_widening("decimal(10,2)", "decimal(12,2)"), is_widening("decimal(10,2)", "decimal(12,3)")
        (True, False)
    """
    return _widens(parse_type(before), parse_type(after))


def arrow_type(text: str) -> pa.DataType:
    """Return the Arrow type that holds a column of the type `text`.

    Example:
        >>> arrow_type("timestamptz")
        TimestampType(timestamp[us, tz=UTC])
    """
    return _arrow(parse_type(text))


def type_of(arrow: pa.DataType) -> str:
    """Return the type that holds every value of an Arrow type without loss.

    Args:
        arrow: Any Arrow type a reader delivers. A dictionary counts as its values; nanoseconds as microseconds (a value that
            has nanoseconds is refused when it is written); an all-null column as `string`.

    Returns:
        The canonical text.

    Raises:
        UnsupportedError: No column type can hold it (durations, unions, months-days intervals).

    Example:
        >>> import pyarrow as pa
        >>> type_of(pa.list_(pa.uint32()))
        'list<long>'
    """
    import pyarrow.types as t

    for holds, name in _nested_rules():
        if holds(arrow):
            return name(arrow)
    rules: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
        (t.is_boolean, "boolean"), (t.is_uint32, "long"), (t.is_uint64, "decimal(20,0)"), (t.is_int64, "long"),
        (t.is_integer, "int"), (t.is_float64, "double"), (t.is_floating, "float"), (t.is_date, "date"), (t.is_time, "time"),
        (_is_text, "string"), (_is_bytes, "binary"), (t.is_null, "string"),
    )  # fmt: skip
    for fits, text in rules:
        if fits(arrow):
            return text
    raise UnsupportedError(
        f"No column type can hold Arrow's {arrow}. Cast the column in the source.", arrow_type=str(arrow)
    )


def _nested_rules() -> tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType], str]], ...]:
    import pyarrow.types as t

    return (
        (lambda a: getattr(a, "extension_name", "") == "arrow.uuid", lambda a: "uuid"),
        (lambda a: hasattr(a, "storage_type"), lambda a: type_of(a.storage_type)),
        (t.is_dictionary, lambda a: type_of(a.value_type)),
        (t.is_run_end_encoded, lambda a: type_of(a.value_type)),
        (t.is_decimal, lambda a: f"decimal({a.precision},{a.scale})"),
        (t.is_timestamp, lambda a: "timestamptz" if a.tz else "timestamp"),
        (t.is_fixed_size_binary, lambda a: f"fixed({a.byte_width})"),
        (t.is_map, lambda a: f"map<{type_of(a.key_type)},{type_of(a.item_type)}>"),
        (t.is_struct, lambda a: f"struct<{','.join(f'{_quoted(f.name)}:{type_of(f.type)}' for f in a)}>"),
        (lambda a: t.is_nested(a) and hasattr(a, "value_type"), lambda a: f"list<{type_of(a.value_type)}>"),
    )


def _is_text(arrow: pa.DataType) -> bool:
    import pyarrow.types as t

    return bool(t.is_string(arrow) or t.is_large_string(arrow) or t.is_string_view(arrow))


def _is_bytes(arrow: pa.DataType) -> bool:
    import pyarrow.types as t

    return bool(t.is_binary(arrow) or t.is_large_binary(arrow) or t.is_binary_view(arrow))


def _arrow(node: TypeNode) -> pa.DataType:
    import pyarrow as pa

    simple = {
        "boolean": pa.bool_, "int": pa.int32, "long": pa.int64, "float": pa.float32, "double": pa.float64, "date": pa.date32,
        "string": pa.string, "uuid": pa.uuid, "binary": pa.binary, "time": lambda: pa.time64("us"),
        "timestamp": lambda: pa.timestamp("us"), "timestamptz": lambda: pa.timestamp("us", tz="UTC"),
    }  # fmt: skip
    if node.name in simple:
        return simple[node.name]()
    match node.name:
        case "decimal":
            return pa.decimal128(*node.numbers)
        case "fixed":
            return pa.binary(node.numbers[0])
        case "list":
            return pa.list_(_arrow(node.children[0]))
        case "map":
            return pa.map_(_arrow(node.children[0]), _arrow(node.children[1]))
        case _:
            return pa.struct([(name, _arrow(child)) for name, child in zip(node.names, node.children, strict=True)])


def _widens(before: TypeNode, after: TypeNode) -> bool:
    if before == after or (before.name, after.name) in {("int", "long"), ("float", "double")}:
        return True
    if before.name != after.name:
        return False
    if before.name == "decimal":
        return before.numbers[1] == after.numbers[1] and before.numbers[0] <= after.numbers[0]
    if before.name == "struct":
        wanted = dict(zip(after.names, after.children, strict=True))
        kept = zip(before.names, before.children, strict=True)
        return all(name in wanted and _widens(child, wanted[name]) for name, child in kept)
    if before.name == "map" and before.children[0] != after.children[0]:
        return False
    return bool(before.children) and all(map(_widens, before.children, after.children))


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    text = text.strip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _not_a_type(text)
        tokens.append(found.group(1))
        at = found.end()
    return tokens[::-1]


def _parse(tokens: list[str], text: str) -> TypeNode:
    name = _take(tokens, text)
    if name in PRIMITIVES:
        return TypeNode(name)
    if name in ("decimal", "fixed"):
        return TypeNode(name, numbers=_numbers(name, tokens, text))
    if name not in ("list", "map", "struct"):
        raise _not_a_type(text)
    return _parse_nested(name, tokens, text)


def _parse_nested(name: str, tokens: list[str], text: str) -> TypeNode:
    _expect("<", tokens, text)
    names: list[str] = []
    children: list[TypeNode] = []
    while True:
        if name == "struct":
            names.append(_unquoted(_take(tokens, text), text))
            _expect(":", tokens, text)
        children.append(_parse(tokens, text))
        if (mark := _take(tokens, text)) == ">":
            break
        if mark != ",":
            raise _not_a_type(text)
    if len(children) != {"list": 1, "map": 2}.get(name, len(children)) or len(set(names)) != len(names):
        raise _not_a_type(text)
    return TypeNode(name, children=tuple(children), names=tuple(names))


def _numbers(name: str, tokens: list[str], text: str) -> tuple[int, ...]:
    _expect("(", tokens, text)
    numbers: list[int] = []
    while True:
        token = _take(tokens, text)
        if not token.isdecimal():
            raise _not_a_type(text)
        numbers.append(int(token))
        if (mark := _take(tokens, text)) == ")":
            break
        if mark != ",":
            raise _not_a_type(text)
    if name == "decimal":
        fits = len(numbers) == 2 and 1 <= numbers[0] <= MAX_DECIMAL_PRECISION and numbers[1] <= numbers[0]
    else:
        fits = len(numbers) == 1 and numbers[0] > 0
    if not fits:
        raise _not_a_type(text)
    return tuple(numbers)


def _take(tokens: list[str], text: str) -> str:
    if not tokens:
        raise _not_a_type(text)
    return tokens.pop()


def _expect(mark: str, tokens: list[str], text: str) -> None:
    if _take(tokens, text) != mark:
        raise _not_a_type(text)


def _quoted(name: str) -> str:
    return name if _PLAIN_NAME.match(name) else f"`{name.replace('`', '``')}`"


def _unquoted(token: str, text: str) -> str:
    if token.startswith("`"):
        return token[1:-1].replace("``", "`")
    if not re.match(r"\w", token):
        raise _not_a_type(text)
    return token


def _not_a_type(text: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{text!r} is not a column type. Write one such as 'long', 'decimal(10,2)' or 'list<string>'.", type=text
    )
