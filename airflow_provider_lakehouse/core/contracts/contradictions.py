"""Find what cannot be true in a contract that keeps to the schema of the standard."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.contracts.contract import OPERATORS
from airflow_provider_lakehouse.core.contracts.relationships import RELATIONSHIPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow_provider_lakehouse.core.contracts.yaml_text import Path

type _Found = tuple[Path, str]

SEVERITIES: Final = ("fail", "quarantine", "drop", "warn")
OWN_PROPERTIES: Final = (
    "lakehouseSeverity", "lakehouseOwner", "lakehouseLimitRows", "lakehouseLimitShare",
)  # fmt: skip
"""Custom properties that say what follows when something is broken, of rules and of columns."""
ROW_CONDITION: Final = "lakehouseRowCondition"
"""Custom property of a rule: SQL; only rows that meet it are looked at."""
PARTITION_PROPERTY: Final = "lakehousePartition"
"""Custom property of a column: the transform by which the table is partitioned, such as `day` or `bucket(16)`."""
_PAIRS: Final = (
    ("minimum", "maximum", False), ("minimum", "exclusiveMaximum", True), ("exclusiveMinimum", "maximum", True),
    ("exclusiveMinimum", "exclusiveMaximum", True), ("minLength", "maxLength", False), ("minItems", "maxItems", False),
    ("minProperties", "maxProperties", False),
)  # fmt: skip
"""Lower bound, upper bound, and whether the two may not be equal."""


def contradictions(contract: Mapping[str, Any]) -> Iterator[_Found]:
    """Yield what cannot be true, each with its path and the reason.

    Args:
        contract: As plain values.

    Example:
        >>> columns = [{"name": "n", "logicalType": "integer", "logicalTypeOptions": {"minimum": 2, "maximum": 1}}]
        >>> [reason for _, reason in contradictions({"schema": [{"name": "t", "properties": columns}]})]
        ['minimum is above maximum']
    """
    tables = _list(contract, "schema")
    yield from _repeated(tables, ("schema",), "name", "table")
    yield from _repeated(tables, ("schema",), "physicalName", "table")
    for place, table in enumerate(tables):
        path: Path = ("schema", place)
        columns = _list(table, "properties")
        yield from _columns(columns, (*path, "properties"))
        names = frozenset(name for column in columns for name in _names(column))
        yield from _rules(table, path, names, of_table=True)
        yield from _custom(table, path, ())
        yield from _relationships(table, path)
    yield from _custom(contract, (), ())
    for place, level in enumerate(_list(contract, "slaProperties")):
        yield from _custom(level, ("slaProperties", place), OWN_PROPERTIES[:2])
    yield from _levels(contract, tables)


def _columns(columns: Sequence[Mapping[str, Any]], path: Path) -> Iterator[_Found]:
    yield from _repeated(columns, path, "name", "column")
    yield from _repeated(columns, path, "physicalName", "column")
    yield from _positions(columns, path, "primaryKey", "primaryKeyPosition")
    yield from _positions(columns, path, "partitioned", "partitionKeyPosition")
    for place, column in enumerate(columns):
        yield from _column(column, (*path, place))


def _column(column: Mapping[str, Any], path: Path) -> Iterator[_Found]:
    yield from _bounds(column.get("logicalTypeOptions") or {}, (*path, "logicalTypeOptions"))
    values = [repr(one.get("value")) for one in _list(column, "enum")]
    for place, value in enumerate(values):
        if value in values[:place]:
            yield (*path, "enum", place, "value"), "the value stands twice"
    yield from _custom(column, path, (*OWN_PROPERTIES, PARTITION_PROPERTY))
    yield from _rules(column, path, frozenset(_names(column)), of_table=False)
    yield from _relationships(column, path)
    yield from _columns(_list(column, "properties"), (*path, "properties"))
    if isinstance(items := column.get("items"), dict):
        yield from _column(items, (*path, "items"))
    for name, part in (column.get("map") or {}).items():
        yield from _column(part, (*path, "map", name))


def _relationships(element: Mapping[str, Any], path: Path) -> Iterator[_Found]:
    for place, one in enumerate(_list(element, RELATIONSHIPS)):
        at: Path = (*path, RELATIONSHIPS, place)
        yield from _custom(one, at, OWN_PROPERTIES[:2])
        if isinstance(one.get("from"), list) and len(one["from"]) != len(one["to"]):
            yield at, "it leads from a number of columns to another number of them"


def _bounds(options: Mapping[str, Any], path: Path) -> Iterator[_Found]:
    for low, high, strict in _PAIRS:
        before, after = options.get(low), options.get(high)
        if before is None or after is None or isinstance(before, str) != isinstance(after, str):
            continue
        if before > after:
            yield (*path, low), f"{low} is above {high}"
        elif strict and before == after:
            yield (*path, low), f"no value lies between {low} and {high}"


def _rules(element: Mapping[str, Any], path: Path, columns: frozenset[str], *, of_table: bool) -> Iterator[_Found]:
    for place, rule in enumerate(_list(element, "quality")):
        at: Path = (*path, "quality", place)
        yield from _comparison(rule, at)
        yield from _custom(rule, at, (*OWN_PROPERTIES, ROW_CONDITION))
        yield from _arguments(rule, at, columns, of_table=of_table)
        yield from _implementation(rule, at, columns, of_table=of_table)


def _comparison(rule: Mapping[str, Any], path: Path) -> Iterator[_Found]:
    for operator in OPERATORS:
        value = rule.get(operator)
        if value is None:
            continue
        numbers = [one for one in (value if isinstance(value, list) else [value]) if _is_number(one)]
        if len(numbers) == 2 and numbers[0] > numbers[1]:
            yield (*path, operator), "the smaller number stands first"
        if rule.get("unit") == "percent" and any(not 0 <= one <= 100 for one in numbers):
            yield (*path, operator), "a percentage lies between 0 and 100"
        if "metric" in rule and any(one < 0 for one in numbers):
            yield (*path, operator), "a count is never below 0"


def _custom(element: Mapping[str, Any], path: Path, known: tuple[str, ...]) -> Iterator[_Found]:
    for place, one in enumerate(_list(element, "customProperties")):
        name, at = str(one["property"]), (*path, "customProperties", place)
        value: Any = one.get("value")
        if name.startswith("lakehouse") and name not in known:
            yield (*at, "property"), f"there is no such property here, only: {', '.join(known) or 'none'}"
        elif name == "lakehouseSeverity" and value not in SEVERITIES:
            yield (*at, "value"), f"the severity is not one of: {', '.join(SEVERITIES)}"
        elif name == "lakehouseLimitShare" and not (_is_number(value) and 0 <= value <= 1):
            yield (*at, "value"), "a share lies between 0 and 1"
        elif name == "lakehouseLimitRows" and not (isinstance(value, int) and _is_number(value) and value >= 0):
            yield (*at, "value"), "a number of rows is a whole number from 0 on"


def _arguments(rule: Mapping[str, Any], path: Path, columns: frozenset[str], *, of_table: bool) -> Iterator[_Found]:
    named = (rule.get("arguments") or {}).get("properties")
    if of_table and rule.get("metric") == "duplicateValues" and not (isinstance(named, list) and named):
        yield path, "it needs `arguments.properties`, the columns that together are unique"
    for place, name in enumerate(named if of_table and isinstance(named, list) else ()):
        if name not in columns:
            yield (*path, "arguments", "properties", place), "the table has no such column"


def _implementation(
    rule: Mapping[str, Any], path: Path, columns: frozenset[str], *, of_table: bool
) -> Iterator[_Found]:
    given = rule.get("implementation")
    if not isinstance(given, dict):
        return
    for name in ("kwargs", "arguments"):
        arguments = given.get(name)
        if not isinstance(arguments, dict):
            continue
        at: Path = (*path, "implementation", name)
        mostly = arguments.get("mostly", given.get("mostly"))
        if mostly is not None and not (_is_number(mostly) and 0 < mostly <= 1):
            yield (*at, "mostly"), "a share lies above 0, and is at most 1"
        for key in ("column", "column_A", "column_B"):
            if of_table and isinstance(arguments.get(key), str) and arguments[key] not in columns:
                yield (*at, key), "the table has no such column"


def _levels(contract: Mapping[str, Any], tables: Sequence[Mapping[str, Any]]) -> Iterator[_Found]:
    if not tables:  # a contract may promise a service before it says of which tables
        return
    places: set[str] = set()
    for table in tables:
        columns = [name for column in _list(table, "properties") for name in _names(column)]
        for name in _names(table):
            places |= {name, *(f"{name}.{column}" for column in columns)}
        places |= set(columns) if len(tables) == 1 else set()
    for place, level in enumerate(_list(contract, "slaProperties")):
        for element in str(level.get("element") or "").split(","):
            if element.strip() and element.strip() not in places:
                yield ("slaProperties", place, "element"), "there is no such table or column"


def _positions(columns: Sequence[Mapping[str, Any]], path: Path, flag: str, key: str) -> Iterator[_Found]:
    taken: set[int] = set()
    for place, column in enumerate(columns):
        position = column.get(key, -1)
        if position == -1:
            continue
        if not column.get(flag):
            yield (*path, place, key), f"{flag} is not true, so there is no position"
        elif position < 1:
            yield (*path, place, key), "positions start at 1"
        elif position in taken:
            yield (*path, place, key), "the position stands twice"
        taken.add(position)


def _repeated(elements: Sequence[Mapping[str, Any]], path: Path, key: str, kind: str) -> Iterator[_Found]:
    names = Counter(str(one[key]) for one in elements if one.get(key))
    seen: set[str] = set()
    for place, one in enumerate(elements):
        name = str(one.get(key))
        if names[name] > 1 and name in seen:
            yield (*path, place, key), f"another {kind} has the same {key}"
        seen.add(name)


def _names(element: Mapping[str, Any]) -> Iterator[str]:
    yield from (str(element[key]) for key in ("name", "physicalName", "id") if element.get(key))


def _list(element: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    return element.get(key) or ()


def _is_number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, int | float) and not isinstance(value, bool)
