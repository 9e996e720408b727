"""Propose checks from what a table holds, for people to review."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.engines.dialect import quoted, text
from airflow_provider_lakehouse.core.quality.checks import Expectation
from airflow_provider_lakehouse.core.quality.columns import NUMBERS, Columns
from airflow_provider_lakehouse.core.quality.questions import CHECKED
from airflow_provider_lakehouse.core.quality.run import pinned
from airflow_provider_lakehouse.core.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_lakehouse.core.engines.base import Engine, Relation
    from airflow_provider_lakehouse.core.schema import Column, Schema

MOST_MEMBERS: Final = 12
"""Distinct values that are proposed as a set."""
_ROWS_OF_A_MEMBER: Final = 20
"""Rows there have to be for each distinct value, before the values look like a set."""
_MARGIN: Final = 0.5
"""Rows that may be missing, or added, before the number of rows is odd: this share."""
_PATTERNS: Final = {
    "digits": r"^[0-9]+$",
    "uuid": r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
    "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "mail": r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
    "code": r"^[A-Z][A-Z0-9_-]*$",
}
_COMPARED: Final = NUMBERS | {"date", "timestamp", "timestamptz", "string", "boolean"}


@dataclass(frozen=True, slots=True)
class _Profile:
    """What a column holds: counts, ends, lengths of texts, and which patterns all of them match."""

    column: Column
    rows: int
    present: int
    distinct: int
    low: Any
    high: Any
    shortest: int | None
    longest: int | None
    patterns: tuple[str, ...]

    @property
    def kind(self) -> str:
        return parse_type(self.column.type).name

    @property
    def is_key(self) -> bool:
        return 1 < self.rows == self.present == self.distinct

    @property
    def is_set(self) -> bool:
        is_small = 0 < self.distinct <= MOST_MEMBERS and self.present >= self.distinct * _ROWS_OF_A_MEMBER
        return is_small and self.kind in ("string", "int", "long")


def suggest_checks(relation: Relation, *, engine: Engine) -> tuple[Expectation, ...]:
    """Propose checks that the rows meet as they are: a beginning for people who know what the rows should be.

    Proposed are the columns and their types, the number of rows, and of each column whether it is never null, unique, within a
    range, of a small set, of a length, of a pattern. Ranges are wider than what is there: numbers to the next round one, dates and
    instants only from below, since time goes on.

    Args:
        relation: What is looked at.
        engine: Reads it: once for counts and ends, and once for the members of small sets.

    Returns:
        Checks that fail, in the order of the columns; the same for the same rows.

    Guarantees:
        Values: ends of ranges and members of sets are values of rows. Review them before others see the checks.

    Example:
        >>> import pyarrow as pa
        >>> from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
        >>> orders = pa.table({"id": [1, 2, 3]})
        >>> for check in suggest_checks(orders, engine=DuckDBEngine()):
        ...     print(check.type, dict(check.arguments))
        expect_table_to_match_schema {'columns': {'id': 'long'}}
        expect_table_row_count_to_be_between {'min_value': 1, 'max_value': 5}
        expect_column_values_to_not_be_null {'column': 'id'}
        expect_column_values_to_be_unique {'column': 'id'}
        expect_column_values_to_be_between {'column': 'id', 'min_value': 1, 'max_value': 10}
    """
    steady, schema = pinned(relation)
    profiles = _profiles(steady, schema, engine)
    sets = _members(steady, [one for one in profiles if one.is_set], engine)
    columns = {c.name: c.type if c.nullable else f"{c.type} not null" for c in schema.columns}
    found = [Expectation("expect_table_to_match_schema", {"columns": columns})]
    rows = profiles[0].rows
    if rows:
        ends = {"min_value": floor(rows * (1 - _MARGIN)), "max_value": ceil(rows * (1 + _MARGIN))}
        found.append(Expectation("expect_table_row_count_to_be_between", ends))
    return (*found, *(check for one in profiles for check in _of_column(one, sets)))


def _of_column(profile: _Profile, sets: Mapping[str, tuple[Any, ...]]) -> Iterator[Expectation]:
    name = profile.column.name
    if not profile.present:
        return
    if profile.present == profile.rows:
        yield Expectation("expect_column_values_to_not_be_null", {"column": name})
    if profile.is_key:
        yield Expectation("expect_column_values_to_be_unique", {"column": name})
    if name in sets:
        yield Expectation("expect_column_values_to_be_in_set", {"column": name, "value_set": list(sets[name])})
        return
    if profile.kind == "string":
        yield from _of_texts(profile)
    elif (ends := _range(profile.low, profile.high)) is not None:
        yield Expectation("expect_column_values_to_be_between", {"column": name, **ends})


def _of_texts(profile: _Profile) -> Iterator[Expectation]:
    ends = {"min_value": profile.shortest, "max_value": profile.longest}
    yield Expectation("expect_column_value_lengths_to_be_between", {"column": profile.column.name, **ends})
    if profile.patterns:
        given = {"column": profile.column.name, "regex": _PATTERNS[profile.patterns[0]]}
        yield Expectation("expect_column_values_to_match_regex", given)


def _range(low: Any, high: Any) -> dict[str, Any] | None:  # noqa: ANN401
    """Return a range around values, None where there is none to propose."""
    if isinstance(low, date):
        earliest = low - timedelta(days=1)
        return {"min_value": earliest.isoformat() if isinstance(low, datetime) else str(earliest)}
    if isinstance(low, bool) or not isinstance(low, (int, float, Decimal)):
        return None
    ends = (_rounded(low, floor), _rounded(high, ceil))
    return None if None in ends else {"min_value": ends[0], "max_value": ends[1]}


def _rounded(value: float | Decimal, way: Any) -> int | None:  # noqa: ANN401
    """Return the next number with one digit, away from the values.

    Example:
        >>> _rounded(734, ceil), _rounded(0.2, floor), _rounded(float("inf"), ceil)
        (800, 0, None)
    """
    number = float(value)
    if number in (float("inf"), float("-inf")):
        return None
    step = 10 ** max(0, floor(log10(abs(number)))) if number else 1
    # A single digit is rounded to the ten, so that small ranges have room.
    step = max(step, 10) if way is ceil and number > 1 else step
    return int(way(number / step) * step)


def _profiles(relation: Relation, schema: Schema, engine: Engine) -> list[_Profile]:
    measures = ["count(*)"]
    for column in schema.columns:
        measures += _measures(column, Columns(schema, "profile"))
    named = ", ".join(f"{measure} AS m{place}" for place, measure in enumerate(measures))
    with engine.query(f"SELECT {named} FROM {CHECKED}", tables={CHECKED: relation}) as reader:
        row = [found[0].as_py() for found in reader.read_all().columns]
    rows, width = int(row[0]), (len(measures) - 1) // len(schema.columns)
    parts = (row[1 + place * width : 1 + (place + 1) * width] for place in range(len(schema.columns)))
    return [_profile(column, rows, part) for column, part in zip(schema.columns, parts, strict=True)]


def _measures(column: Column, columns: Columns) -> list[str]:
    kind, value = parse_type(column.type).name, columns.value(column.name)
    is_compared, is_text = kind in _COMPARED, kind == "string"
    ends = [f"min({value})", f"max({value})"] if is_compared and not is_text else ["NULL", "NULL"]
    lengths = [f"min(length({value}))", f"max(length({value}))"] if is_text else ["NULL", "NULL"]
    matched = [
        f"count(*) FILTER (NOT regexp_matches({value}, {text(pattern)}))" if is_text else "NULL"
        for pattern in _PATTERNS.values()
    ]
    return [f"count({value})", f"count(DISTINCT {value})" if is_compared else "NULL", *ends, *lengths, *matched]


def _profile(column: Column, rows: int, found: list[Any]) -> _Profile:
    present, distinct, low, high, shortest, longest, *unmatched = found
    patterns = tuple(name for name, wrong in zip(_PATTERNS, unmatched, strict=True) if wrong == 0)
    return _Profile(column, rows, present, distinct or 0, low, high, shortest, longest, patterns)


def _members(relation: Relation, profiles: list[_Profile], engine: Engine) -> dict[str, tuple[Any, ...]]:
    if not profiles:
        return {}
    listed = ", ".join(f"list_sort(list(DISTINCT {quoted(p.column.name)})) AS m{n}" for n, p in enumerate(profiles))
    with engine.query(f"SELECT {listed} FROM {CHECKED}", tables={CHECKED: relation}) as reader:
        found = [column[0].as_py() for column in reader.read_all().columns]
    sets = zip(profiles, found, strict=True)
    return {p.column.name: tuple(value for value in members if value is not None) for p, members in sets}
