"""Checks of single rows as SQL: true for the rows that break them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.engines.dialect import text
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import Expectation, RowCheck
from airflow_provider_lakehouse.core.quality.columns import EXACT, FLOATING, Columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_lakehouse.core.schema import Schema


@dataclass(frozen=True, slots=True)
class RowTest:
    """What is asked of each row.

    Args:
        met: SQL that is true where the row is as it should be, false where it is not, and null where it is left out.
        missing: SQL that is true where the row is left out; empty where no row is.
        present: SQL whose value is null exactly where the row is left out; empty where `missing` says so alone.
        broken: SQL that is true where `met` is false, and not true elsewhere, in a form that is faster to count; empty for none.
    """

    met: str
    missing: str = ""
    present: str = ""
    broken: str = ""


def violation_sql(check: RowCheck | Expectation, schema: Schema) -> str:
    """Return SQL over the columns of a row that is true where it breaks the check, and false otherwise.

    Args:
        check: Of single rows.
        schema: Columns of the rows.

    Raises:
        InvalidRequestError: The check does not fit the columns, or is not of single rows.

    Example:
        >>> from airflow_provider_lakehouse.core.schema import Column, Schema
        >>> schema = Schema.of(Column("amount", "long"))
        >>> violation_sql(RowCheck("amount is positive", "amount > 0"), schema)
        '(amount > 0) IS NOT TRUE'
        >>> positive = Expectation("expect_column_values_to_be_between", {"column": "amount", "min_value": 1})
        >>> violation_sql(positive, schema)
        '("amount" >= 1) IS FALSE'
    """
    if isinstance(check, RowCheck):
        return f"({_whole(check.condition)}) IS NOT TRUE"
    broken = f"({row_test(check, schema).met}) IS FALSE"
    return f"({looked_at(check)} AND {broken})" if check.row_condition else broken


def counted_sql(test: RowTest, rows: str) -> str:
    """Return SQL that is true for the rows to count as broken among those that meet a condition, and not true for others."""
    broken = test.broken or f"({test.met}) IS FALSE"
    return f"{rows} AND ({broken})" if rows else broken


def looked_at(check: Expectation) -> str:
    """Return SQL that is true for the rows that a check looks at; empty for all."""
    return f"({_whole(check.row_condition)}) IS TRUE" if check.row_condition else ""


def _whole(condition: str) -> str:
    """Return a condition whose last line may end in a comment."""
    return f"{condition}\n" if "--" in condition else condition


def row_test(check: Expectation, schema: Schema) -> RowTest:
    """Return what an expectation asks of each row.

    Raises:
        InvalidRequestError: It does not fit the columns, or is not of single rows.
    """
    if check.type not in _TESTS:
        raise InvalidRequestError(
            "This check is not one of single rows. Run it on the table.", check=check.name, type=check.type
        )
    return _TESTS[check.type](check.arguments, Columns(schema, check.name))


def is_row_check(check: object) -> bool:
    """Tell whether each row is judged alone, so that it can be judged on its way into a table.

    Example:
        >>> is_row_check(Expectation("expect_column_values_to_be_unique", {"column": "id"}))
        False
    """
    return isinstance(check, RowCheck) or (isinstance(check, Expectation) and check.type in _TESTS)


def range_sql(value: str, low: str, high: str, *, given: Any) -> str:  # noqa: ANN401
    """Return SQL that is true for values within the ends of a range; an empty end is open."""
    above = f"{value} {'>' if given.get('strict_min') else '>='} {low}" if low else ""
    below = f"{value} {'<' if given.get('strict_max') else '<='} {high}" if high else ""
    return " AND ".join(filter(None, (above, below)))


def outside_sql(value: str, low: str, high: str, *, given: Any) -> str:  # noqa: ANN401
    """Return SQL that is true for values outside of a range; an empty end is open."""
    below = f"{value} {'<=' if given.get('strict_min') else '<'} {low}" if low else ""
    above = f"{value} {'>=' if given.get('strict_max') else '>'} {high}" if high else ""
    return " OR ".join(filter(None, (below, above)))


def ends_of(given: Any, columns: Columns, name: str) -> tuple[str, str]:  # noqa: ANN401
    """Return the SQL of the ends of a range of a column's values; empty where an end is open."""
    low, high = given.get("min_value"), given.get("max_value")
    return (
        "" if low is None else columns.literal(low, name),
        "" if high is None else columns.literal(high, name),
    )


def left_out(values: list[str], rule: str) -> str:
    """Return SQL that is true where values that are missing leave the row out; empty where they never do."""
    if rule in ("neither", "never"):
        return ""
    mark = " AND " if rule in ("both_values_are_missing", "all_values_are_missing") else " OR "
    return f"({mark.join(f'{value} IS NULL' for value in values)})"


def _present(value: str, met: str, *, broken: str = "") -> RowTest:
    return RowTest(met, f"{value} IS NULL", value, broken or f"NOT ({met})")


def _not_null(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    value = columns.value(given["column"])
    return RowTest(f"{value} IS NOT NULL", broken=f"{value} IS NULL")


def _null(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    value = columns.value(given["column"])
    return RowTest(f"{value} IS NULL", broken=f"{value} IS NOT NULL")


def _in_set(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    value = columns.value(given["column"])
    return _present(value, _member(value, given, columns))


def _not_in_set(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    value = columns.value(given["column"])
    member = _member(value, given, columns)
    return _present(value, f"NOT ({member})", broken=member)


def _member(value: str, given: Any, columns: Columns) -> str:  # noqa: ANN401
    """Return SQL that is true for members of a set. Whole numbers without a gap are a range, which is faster to compare."""
    members = set(given["value_set"])
    if columns.type_of(given["column"]).name in ("int", "long") and all(type(one) is int for one in members):
        low, high = min(members), max(members)
        if high - low + 1 == len(members):
            return f"{value} BETWEEN {low} AND {high}"
    return f"{value} IN ({columns.literals(given['value_set'], given['column'])})"


def _between(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    value, ends = columns.value(given["column"]), ends_of(given, columns, given["column"])
    return _present(value, range_sql(value, *ends, given=given), broken=outside_sql(value, *ends, given=given))


def _of_text(given: Any, columns: Columns, met: str, *, broken: str = "") -> RowTest:  # noqa: ANN401
    """Return a test of a value as text; whether there is one is told by the value itself."""
    return _present(columns.value(given["column"]), met, broken=broken)


def _lengths(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    value = columns.text(given["column"])
    low, high = given.get("min_value"), given.get("max_value")
    ends = ("" if low is None else str(low), "" if high is None else str(high))
    return _of_text(given, columns, range_sql(f"length({value})", *ends, given=given))


def _length(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    value = columns.text(given["column"])
    return _of_text(given, columns, f"length({value}) = {given['value']}")


def _matches(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    value = columns.text(given["column"])
    patterns = given.get("regex_list") or (given["regex"],)
    mark = " AND " if given.get("match_on") == "all" else " OR "
    return _of_text(given, columns, mark.join(f"regexp_matches({value}, {text(one)})" for one in patterns))


def _matches_not(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    found = _matches({**given, "match_on": "any"}, columns)
    return _of_text(given, columns, f"NOT ({found.met})", broken=found.met)


def _dated(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    value = columns.text(given["column"])
    parsed = f"try_strptime({value}, {text(given['strftime_format'])}) IS NOT NULL"
    return _of_text(given, columns, f"CASE WHEN {value} IS NOT NULL THEN {parsed} END")


def _judged(values: list[str], rule: str, met: str) -> RowTest:
    """Return a test of several values: rows that are not left out and have a value missing are not as they should be."""
    missing = left_out(values, rule)
    certain = f"coalesce({met}, false)"
    return RowTest(f"CASE WHEN NOT {missing} THEN {certain} END" if missing else certain, missing)


def _pair(given: Any, columns: Columns) -> list[str]:  # noqa: ANN401
    return list(columns.comparable(given["column_A"], given["column_B"]))


def _pair_rule(given: Any) -> str:  # noqa: ANN401
    return given.get("ignore_row_if") or "both_values_are_missing"


def _list_rule(given: Any) -> str:  # noqa: ANN401
    return given.get("ignore_row_if") or "all_values_are_missing"


def _equal(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    first, second = _pair(given, columns)
    return _judged_pair(first, second, _pair_rule(given), "=", "<>")


def _greater(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    first, second = _pair(given, columns)
    met, broken = (">=", "<") if given.get("or_equal") else (">", "<=")
    return _judged_pair(first, second, _pair_rule(given), met, broken)


def _judged_pair(first: str, second: str, rule: str, met: str, broken: str) -> RowTest:
    test = _judged([first, second], rule, f"{first} {met} {second}")
    counted = {
        "both_values_are_missing": f" OR ({first} IS NULL) <> ({second} IS NULL)",
        "either_value_is_missing": "",
        "neither": f" OR {first} IS NULL OR {second} IS NULL",
    }[rule]
    return replace(test, broken=f"{first} {broken} {second}{counted}")


def _pair_in_set(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    names = (given["column_A"], given["column_B"])
    values = [columns.value(name) for name in names]
    whole = [pair for pair in given["value_pairs_set"] if None not in pair]
    tests = []
    if whole:
        rows = (f"row({columns.literal(a, names[0])}, {columns.literal(b, names[1])})" for a, b in whole)
        both = f"{values[0]} IS NOT NULL AND {values[1]} IS NOT NULL"
        tests.append(f"({both} AND row({', '.join(values)}) IN ({', '.join(dict.fromkeys(rows))}))")
    for pair in (pair for pair in given["value_pairs_set"] if None in pair):
        parts = zip(names, values, pair, strict=True)
        tests.append("(" + " AND ".join(_same(columns, *part) for part in parts) + ")")
    return _judged(values, _pair_rule(given), " OR ".join(tests))


def _same(columns: Columns, name: str, value: str, wanted: Any) -> str:  # noqa: ANN401
    return f"{value} IS NULL" if wanted is None else f"{value} = {columns.literal(wanted, name)}"


def _sum(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    names = given["column_list"]
    values = [columns.number(name) for name in names]
    kinds = {columns.type_of(name).name for name in names}
    # Whole numbers are added in 128 bits, so that they do not run over.
    terms = [f"CAST({value} AS HUGEINT)" if kinds <= EXACT - {"decimal"} else value for value in values]
    like = next((name for name in names if columns.type_of(name).name in FLOATING), None)
    total = columns.literal(given["sum_total"], like or names[0])
    return _judged(values, _list_rule(given), f"{' + '.join(terms)} = {total}")


def _distinct_within(given: Any, columns: Columns) -> RowTest:  # noqa: ANN401
    names = given["column_list"]
    values = [columns.value(name) for name in names]
    pairs = [columns.comparable(first, second) for first, second in combinations(names, 2)]
    met = " AND ".join(f"{first} IS DISTINCT FROM {second}" for first, second in pairs)
    return _judged(values, _list_rule(given), met)


_TESTS: Final[dict[str, Callable[[Any, Columns], RowTest]]] = {
    "expect_column_values_to_not_be_null": _not_null,
    "expect_column_values_to_be_null": _null,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_not_be_in_set": _not_in_set,
    "expect_column_values_to_be_between": _between,
    "expect_column_value_lengths_to_be_between": _lengths,
    "expect_column_value_lengths_to_equal": _length,
    "expect_column_values_to_match_regex": _matches,
    "expect_column_values_to_not_match_regex": _matches_not,
    "expect_column_values_to_match_regex_list": _matches,
    "expect_column_values_to_not_match_regex_list": _matches_not,
    "expect_column_values_to_match_strftime_format": _dated,
    "expect_column_pair_values_to_be_equal": _equal,
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    "expect_column_pair_values_to_be_in_set": _pair_in_set,
    "expect_multicolumn_sum_to_equal": _sum,
    "expect_select_column_values_to_be_unique_within_record": _distinct_within,
}
