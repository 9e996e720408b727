"""Which texts are values of a type, and how DuckDB reads them. One definition for every format that is text.

DuckDB's own casts are generous: `1.5` becomes the integer 2, `1.005` the decimal 1.01, a time zone in a timestamp
without one is dropped, `1e400` is infinite. Here a text either says exactly a value of the type, or its row is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import UnsupportedError
from airflow_provider_lakehouse.core.types import TypeNode, parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_lakehouse.core.schema import Column

_DATE: Final = r"\d{4,6}-\d{1,2}-\d{1,2}"
_CLOCK: Final = r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6}0*)?)?"
_ZONE: Final = r" ?(Z|z|UTC|GMT|[+-](0\d|1[0-5])(:?[0-5]\d)?)"
_NUMBER: Final = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_SPACES: Final = r"\s*"
_PATTERNS: Final = {
    "int": r"[-+]?\d+",
    "long": r"[-+]?\d+",
    "float": rf"{_NUMBER}|[-+]?(nan|NaN|NAN|inf|Inf|INF|infinity|Infinity|INFINITY)",
    "double": rf"{_NUMBER}|[-+]?(nan|NaN|NAN|inf|Inf|INF|infinity|Infinity|INFINITY)",
    "date": rf"{_DATE}([ T]0?0:00(:00(\.0+)?)?)?",
    "time": _CLOCK,
    "timestamp": rf"{_DATE}([ T]{_CLOCK})?",
    "timestamptz": rf"{_DATE}([ T]{_CLOCK}({_ZONE})?)?",
    "binary": r"([0-9a-fA-F]{2})*",
}
"""What a text must look like, white space around it aside; types that are not here are decided by the cast alone."""
_SQL_TYPES: Final = {
    "boolean": "BOOLEAN", "int": "INTEGER", "long": "BIGINT", "float": "FLOAT", "double": "DOUBLE", "date": "DATE",
    "time": "TIME", "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMP WITH TIME ZONE", "string": "VARCHAR",
    "uuid": "UUID", "binary": "BLOB", "fixed": "BLOB",
}  # fmt: skip
_CANONICAL: Final = ("int", "long", "decimal")
"""Types whose values all match their pattern when DuckDB writes them. Dates are not among them: `infinity`, `(BC)`."""
_INFERRED: Final = ("long", "double", "date", "timestamp", "timestamptz", "boolean")
_LEADING_ZERO: Final = re.compile(r"[-+]?0\d")
_TRUTHS: Final = frozenset({"true", "false", "TRUE", "FALSE", "True", "False"})
_LONG_LIMIT: Final = 2**63


@dataclass(frozen=True, slots=True)
class ColumnReading:
    """How a column is made from text.

    Args:
        column: What it shall be.
        raw: SQL of the text; None where the file has no such column.
        made: SQL name of the value where it is at hand, so that it need not be made again to be judged.
    """

    column: Column
    raw: str | None
    made: str | None = None

    @property
    def value(self) -> str:
        """SQL of the value; null where the text is none."""
        node = parse_type(self.column.type)
        if self.raw is None:
            return f"CAST(NULL AS {sql_type(node)})"
        if node.name == "string":
            return self.raw
        if node.name in ("binary", "fixed"):
            # `unhex` fails on anything else, for the whole statement.
            return f"CASE WHEN {_matches(node, self.raw)} THEN unhex({_trimmed(self.raw)}) END"
        if node.name == "uuid":
            return f"unhex(replace(CAST(TRY_CAST({self.raw} AS UUID) AS VARCHAR), '-', ''))"
        if node.children:
            return f"TRY_CAST({_as_texts(node, self.raw)} AS {sql_type(node)})"
        return f"TRY_CAST({self.raw} AS {sql_type(node)})"

    @property
    def faults(self) -> tuple[tuple[str, str], ...]:
        """SQL of what is wrong with the row, each with its reason; empty for a text that may be null."""
        name = self.column.name
        if self.raw is None:
            return () if self.column.nullable else (("true", f"{name}: missing, and required"),)
        faults = [] if self.column.nullable else [(f"{self.raw} IS NULL", f"{name}: null, and required")]
        if self.column.type != "string":
            # Null is not wrong here, so it makes each test null, and a CASE passes on.
            faults.append((self._wrong(parse_type(self.column.type), self.raw), f"{name}: not a {self.column.type}"))
        return tuple(faults)

    def _wrong(self, node: TypeNode, raw: str) -> str:
        test = _wrong(node, raw, self.made or self.value)
        if self.made is None or node.name not in _CANONICAL:
            return test
        # Most numbers are written as DuckDB writes them; comparing is cheaper than matching a pattern.
        return f"(CAST({self.made} AS VARCHAR) IS DISTINCT FROM {raw} AND {test})"


def reason_sql(readings: Iterable[ColumnReading]) -> str:
    """Return SQL of the first thing wrong with a row, null when nothing is."""
    faults = [fault for reading in readings for fault in reading.faults]
    cases = " ".join(f"WHEN {test} THEN {sql_text(reason)}" for test, reason in faults)
    return f"CASE {cases} END" if cases else "CAST(NULL AS VARCHAR)"


def check_readable(column: Column) -> None:
    """Refuse types whose values have no text within JSON.

    Raises:
        UnsupportedError: A list, map or struct holds bytes or UUIDs.
    """
    node = parse_type(column.type)
    if node.children and any(_holds(child, frozenset({"binary", "fixed", "uuid"})) for child in node.children):
        raise UnsupportedError(
            f"Column {column.name!r} of type {column.type} cannot be read from text. Deliver such files as Parquet.",
            column=column.name,
        )


def _holds(node: TypeNode, names: frozenset[str]) -> bool:
    return node.name in names or any(_holds(child, names) for child in node.children)


def sql_text(text: str) -> str:
    """Return a text as an SQL literal.

    Example:
        >>> sql_text("it's")
        "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def sql_name(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def sql_type(node: TypeNode) -> str:
    """Return DuckDB's name of a type."""
    if node.name == "decimal":
        return f"DECIMAL({node.numbers[0]},{node.numbers[1]})"
    if node.name == "list":
        return f"{sql_type(node.children[0])}[]"
    if node.name == "map":
        return f"MAP({sql_type(node.children[0])},{sql_type(node.children[1])})"
    if node.name == "struct":
        fields = zip(node.names, node.children, strict=True)
        return f"STRUCT({', '.join(f'{sql_name(name)} {sql_type(child)}' for name, child in fields)})"
    return _SQL_TYPES[node.name]


def _trimmed(raw: str) -> str:
    return f"trim({raw})"


def _pattern(node: TypeNode) -> str | None:
    if node.name == "decimal":
        scale = node.numbers[1]
        return rf"[-+]?(\d+(\.(\d{{0,{scale}}}0*))?|\.\d{{1,{scale}}}0*)" if scale else r"[-+]?\d+(\.0*)?"
    if node.name == "fixed":
        return rf"([0-9a-fA-F]{{2}}){{{node.numbers[0]}}}"
    return _PATTERNS.get(node.name)


def _matches(node: TypeNode, raw: str) -> str:
    pattern = _pattern(node)
    return "true" if pattern is None else f"regexp_full_match({raw}, {sql_text(f'{_SPACES}({pattern}){_SPACES}')})"


def _wrong(node: TypeNode, raw: str, value: str) -> str:
    if node.children:
        texts = _as_texts(node, raw)
        return f"({raw} IS NOT NULL AND ({texts} IS NULL OR {_wrong_within(node, texts)}))"
    test = f"NOT {_matches(node, raw)} OR ({raw} IS NOT NULL AND {value} IS NULL)"
    if node.name in ("float", "double"):
        test += f" OR (isinf({value}) AND NOT contains(lower({raw}), 'inf'))"
    return f"({test})"


def _as_texts(node: TypeNode, raw: str) -> str:
    """Return SQL of the JSON text taken apart, its innermost values still text; null when it is of another shape."""
    return f"TRY_CAST(TRY_CAST({raw} AS JSON) AS {sql_type(_texts_only(node))})"


def _texts_only(node: TypeNode) -> TypeNode:
    if not node.children:
        return TypeNode("string")
    return TypeNode(node.name, children=tuple(map(_texts_only, node.children)), names=node.names)


def _wrong_within(node: TypeNode, texts: str, depth: int = 0) -> str:
    """Return SQL of whether an innermost text is no value of its type."""
    if not node.children:
        if node.name == "string":
            return "false"
        return f"coalesce({_wrong(node, texts, f'TRY_CAST({texts} AS {sql_type(node)})')}, false)"
    if node.name == "struct":
        fields = zip(node.names, node.children, strict=True)
        tests = [_wrong_within(c, f"struct_extract({texts}, {sql_text(n)})", depth) for n, c in fields]
        return f"({' OR '.join(tests)})"
    lists = [texts] if node.name == "list" else [f"map_keys({texts})", f"map_values({texts})"]
    item = f"item{depth}"
    tests = [
        f"coalesce(list_bool_or(list_transform({one}, lambda {item}: {_wrong_within(child, item, depth + 1)})), false)"
        for one, child in zip(lists, node.children, strict=True)
    ]
    return f"({' OR '.join(tests)})"


def infer_type(texts: Iterable[str | None]) -> str:
    """Return the narrowest type of which all texts are values; `string` when there is none, and for no texts.

    A number with leading zeros is a code, not a number, and only the words `true` and `false` are booleans.

    Example:
        >>> infer_type(["1", None, "-20"]), infer_type(["1", "2.5"]), infer_type(["007"]), infer_type(["2017-01-31"])
        ('long', 'double', 'string', 'date')
    """
    known = {text for text in texts if text is not None}
    if not known:
        return "string"
    return next((name for name in _INFERRED if all(_is(name, text) for text in known)), "string")


_COMPILED: Final[dict[str, re.Pattern[str]]] = {
    name: re.compile(rf"{_SPACES}({_PATTERNS[name]}){_SPACES}") for name in _INFERRED if name in _PATTERNS
}


def _is(name: str, text: str) -> bool:
    if name == "boolean":
        return text in _TRUTHS
    if not _COMPILED[name].fullmatch(text) or not text.isascii():
        return False
    if name == "long":
        return not _LEADING_ZERO.match(text.strip()) and -_LONG_LIMIT <= int(text) < _LONG_LIMIT
    return name != "double" or not _LEADING_ZERO.match(text.strip())
