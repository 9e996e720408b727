"""Both runners come to the same verdicts and counts, except where a difference is written down here with its reason."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
from airflow_provider_lakehouse.core.quality.checks import CheckOutcome, Expectation
from airflow_provider_lakehouse.core.quality.conditions import is_row_check, violation_sql
from airflow_provider_lakehouse.core.quality.great_expectations import run_great_expectations
from airflow_provider_lakehouse.core.quality.run import run_checks
from airflow_provider_lakehouse.core.quality.vocabulary import KINDS
from airflow_provider_lakehouse.core.schema import Schema

NOW = dt.datetime(2026, 3, 3, tzinfo=dt.UTC)
NAN, INFINITE = float("nan"), float("inf")
DAYS = [
    dt.date(2026, 3, 1),
    dt.date(2026, 3, 2),
    None,
    dt.date(1969, 12, 31),
    dt.date(2026, 3, 2),
    dt.date(2026, 3, 29),
]
MOMENTS = [
    *(dt.datetime.fromisoformat(f"2026-03-29T0{hour}:30:00") for hour in range(4)),
    None,
    dt.datetime.fromisoformat("1969-12-31T23:59:59.999999"),
]

MIXED = pa.table(
    {
        "row": [1, 2, 3, 4, 5, 6],
        "n": [3, 1, 2, 2, None, -7],
        "whole": [5, 4, 3, 2, 1, 0],
        "big": pa.array([2**62, 2**62 + 1, None, 1, 1, 0]),
        "x": [1.5, NAN, None, -0.0, 2.5, 1.5],
        "narrow": pa.array([0.1, 0.2, None, 0.1, 1.0, 2.0], pa.float32()),
        "amount": pa.array([Decimal("1.50"), Decimal("2.25"), None, Decimal("0.10"), Decimal("1.50"), Decimal("9.99")]),
        "text": ["a", "bb", None, "ключ", "", "naïve ☃"],
        "code": ["2026-03-01", "2026-3-1", None, "no date", "2026-02-30", "2026-03-01"],
        "flag": [True, False, None, True, True, True],
        "day": pa.array(DAYS, pa.date32()),
        "naive": pa.array(MOMENTS, pa.timestamp("us")),
        "moment": pa.array(MOMENTS, pa.timestamp("us", tz="UTC")),
    }
)
ENDLESS = pa.table({"row": [1, 2, 3, 4], "x": [1.0, INFINITE, -INFINITE, None], "y": [INFINITE, 1.0, 2.0, NAN]})
TABLES = {"mixed": MIXED, "empty": MIXED.slice(0, 0), "endless": ENDLESS, "nulls": MIXED.slice(2, 1)}
OTHERS = {"sales.other": pa.table({"k": [1, 2, 3]})}


def of(name: str, column: str, **arguments: Any) -> Expectation:
    return Expectation(f"expect_column_{name}", {"column": column, **arguments})


def pair(name: str, first: str, second: str, **arguments: Any) -> Expectation:
    return Expectation(f"expect_column_pair_values_{name}", {"column_A": first, "column_B": second, **arguments})


def several(type_: str, *columns: str, **arguments: Any) -> Expectation:
    return Expectation(type_, {"column_list": list(columns), **arguments})


RANGES: dict[str, tuple[Any, Any]] = {
    "n": (1, 2), "whole": (1, 4), "big": (2**62, 2**62 + 1), "x": (0, 1.5), "narrow": (0.1, 1), "amount": (0.1, 2.25),
    "day": ("2026-03-01", "2026-03-02"), "naive": ("2026-03-29T01:00:00", "2026-03-29T02:30:00"),
    "moment": ("2026-03-29T01:00:00+00:00", "2026-03-29T04:30:00+02:00"),
}  # fmt: skip
SETS: dict[str, list[Any]] = {
    "n": [1, 2], "whole": [1, 2, 3], "x": [1.5, 2.5], "narrow": [0.1, 1.0], "amount": [1.5, 0.1], "text": ["a", "", "ключ"],
    "flag": [True], "day": ["2026-03-02", "2026-03-29"], "naive": ["2026-03-29T01:30:00"], "moment": ["2026-03-29T01:30:00Z"],
}  # fmt: skip
NUMBERS = ("n", "whole", "x", "narrow", "amount")
COLUMNS = ("n", "x", "narrow", "amount", "text", "flag", "day", "naive", "moment")


def of_any_value() -> list[Expectation]:
    checks: list[Expectation] = []
    for column in COLUMNS:
        checks += [
            of("values_to_not_be_null", column),
            of("values_to_be_null", column),
            of("values_to_be_unique", column),
        ]
        checks += [of("unique_value_count_to_be_between", column, min_value=3, max_value=4)]
        checks += [of("proportion_of_unique_values_to_be_between", column, min_value=0.8)]
        checks += [of("proportion_of_non_null_values_to_be_between", column, min_value=0.8)]
    for column, (low, high) in RANGES.items():
        checks += [of("values_to_be_between", column, min_value=low, max_value=high)]
        checks += [of("values_to_be_between", column, min_value=low, strict_min=True)]
        checks += [of("values_to_be_between", column, max_value=high, strict_max=True)]
        checks += [of("min_to_be_between", column, min_value=low), of("max_to_be_between", column, max_value=high)]
    for column, members in SETS.items():
        checks += [
            of("values_to_be_in_set", column, value_set=members),
            of("values_to_not_be_in_set", column, value_set=members),
        ]
        checks += [
            of(f"distinct_values_to_{name}_set", column, value_set=members) for name in ("be_in", "contain", "equal")
        ]
        checks += [
            of("most_common_value_to_be_in_set", column, value_set=members, ties_okay=ties) for ties in (True, False)
        ]
    return checks


def of_numbers() -> list[Expectation]:
    checks: list[Expectation] = []
    for column in NUMBERS:
        checks += [
            of(f"{name}_to_be_between", column, min_value=0, max_value=2) for name in ("mean", "median", "stdev", "sum")
        ]
        quantiles = {"quantiles": [0, 0.25, 0.5, 0.9], "value_ranges": [[None, 2], [0, 2], [1, 3], [2, None]]}
        checks += [
            of("quantile_values_to_be_between", column, quantile_ranges=quantiles, allow_relative_error=between)
            for between in ((False, "linear", "lower", "higher", "midpoint") if column == "n" else (False,))
        ]
        checks += [
            of("value_z_scores_to_be_less_than", column, threshold=1.2, double_sided=sided) for sided in (True, False)
        ]
    for column in ("n", "whole", "x", "day", "moment"):
        checks += [
            of(f"values_to_be_{way}", column, order_by="row", strictly=strictly)
            for way in ("increasing", "decreasing")
            for strictly in (True, False)
        ]
    return checks


def of_texts() -> list[Expectation]:
    checks: list[Expectation] = []
    for pattern in ("^a$", "[а-я]+", "^$", "☃", r"^\w+$", "a|b", "."):
        checks += [
            of("values_to_match_regex", "text", regex=pattern),
            of("values_to_not_match_regex", "text", regex=pattern),
        ]
    for match_on in ("any", "all"):
        checks += [of("values_to_match_regex_list", "text", regex_list=["a", "^n"], match_on=match_on)]
    checks += [
        of("values_to_not_match_regex_list", "text", regex_list=["a", "b"]),
        of("values_to_match_regex", "whole", regex="^[1-4]$"),
        of("value_lengths_to_be_between", "text", min_value=1, max_value=4),
        of("value_lengths_to_be_between", "text", min_value=2, strict_min=True),
        of("value_lengths_to_equal", "text", value=7),
        of("values_to_match_strftime_format", "code", strftime_format="%Y-%m-%d"),
        of("values_to_be_between", "text", min_value="a", max_value="b"),
    ]
    return checks


def of_several_columns() -> list[Expectation]:
    checks: list[Expectation] = []
    for rule in ("both_values_are_missing", "either_value_is_missing", "neither"):
        checks += [
            pair("to_be_equal", "n", "x", ignore_row_if=rule),
            pair("a_to_be_greater_than_b", "n", "x", ignore_row_if=rule),
            pair("a_to_be_greater_than_b", "whole", "n", or_equal=True, ignore_row_if=rule),
            pair("a_to_be_greater_than_b", "day", "naive", ignore_row_if=rule),
            pair("to_be_in_set", "n", "text", value_pairs_set=[[3, "a"], [2, None], [None, ""]], ignore_row_if=rule),
        ]
    for rule in ("all_values_are_missing", "any_value_is_missing", "never"):
        checks += [
            several("expect_compound_columns_to_be_unique", "n", "x", ignore_row_if=rule),
            several("expect_compound_columns_to_be_unique", "flag", "day", ignore_row_if=rule),
            several("expect_multicolumn_sum_to_equal", "n", "x", sum_total=4.5, ignore_row_if=rule),
            several("expect_multicolumn_sum_to_equal", "row", "whole", sum_total=6, ignore_row_if=rule),
            several("expect_select_column_values_to_be_unique_within_record", "n", "x", "whole", ignore_row_if=rule),
        ]
    return checks


def of_tables() -> list[Expectation]:
    return [
        of("to_exist", "n"), of("to_exist", "n", column_index=1), of("to_exist", "nobody"), of("values_to_be_null", "nobody"),
        Expectation("expect_table_columns_to_match_set", {"column_set": ["n", "row"]}),
        Expectation("expect_table_columns_to_match_set", {"column_set": ["n", "row"], "exact_match": False}),
        Expectation("expect_table_columns_to_match_ordered_list", {"column_list": MIXED.column_names}),
        Expectation("expect_table_columns_to_match_ordered_list", {"column_list": ["n", "row"]}),
        Expectation("expect_table_column_count_to_equal", {"value": 13}),
        Expectation("expect_table_column_count_to_be_between", {"max_value": 3}),
        Expectation("expect_table_row_count_to_equal", {"value": 6}),
        Expectation("expect_table_row_count_to_be_between", {"min_value": 1, "max_value": 4}),
        of("values_to_be_of_type", "n", type_="long"),
        of("values_to_be_in_type_list", "amount", type_list=["double", "decimal"]),
        of("max_to_be_recent", "moment", max_age_seconds=60),
        of("values_to_exist_in_other_table", "n", other_table="sales.other", other_columns=["k"]),
        Expectation("expect_table_to_match_schema", {"columns": {"n": "long"}}),
        Expectation("expect_table_row_count_to_equal_other_table", {"other_table_name": "sales.other"}),
        Expectation("unexpected_rows_expectation", {"unexpected_rows_query": "SELECT * FROM {batch} WHERE n < 0"}),
    ]  # fmt: skip


def once_of_each_type(checks: list[Expectation]) -> list[Expectation]:
    return list({check.type: check for check in reversed(checks)}.values())


def checks_of(table: str) -> list[Expectation]:
    """All over mixed values, with a share and a condition for one of each type; over the other tables one of each type."""
    if table == "endless":
        return _named(endless_checks())
    every = [*of_any_value(), *of_numbers(), *of_texts(), *of_several_columns(), *of_tables()]
    some = once_of_each_type(every)
    if table != "mixed":
        return _named(some)
    mostly = [replace(c, mostly=share, name="") for c in some if KINDS[c.type].tolerant for share in (0.5, 0.8)]
    limited = [replace(c, row_condition="row < 4", name="") for c in some if KINDS[c.type].conditional]
    return _named([*every, *mostly, *limited])


def _named(checks: list[Expectation]) -> list[Expectation]:
    return [replace(check, name=f"{number}: {check.name[:150]}") for number, check in enumerate(checks)]


def endless_checks() -> list[Expectation]:
    checks = [
        of("values_to_not_be_null", "x"),
        of("values_to_be_between", "x", min_value=0),
        of("values_to_be_unique", "x"),
    ]
    checks += [
        of(f"{name}_to_be_between", "y", min_value=0) for name in ("min", "max", "mean", "sum", "stdev", "median")
    ]
    checks += [of(f"{name}_to_be_between", "x", min_value=0) for name in ("mean", "sum", "stdev")]
    checks += [of("value_z_scores_to_be_less_than", "y", threshold=1, double_sided=True)]
    return checks


@dataclass(frozen=True)
class Difference:
    """A known difference: which checks of which column, what ours says and what theirs, and why."""

    reason: str
    type: str
    column: str
    ours: str
    theirs: str
    table: str = "mixed"


DOUBLES = "Great Expectations reads the ends of a range as doubles, which do not tell large whole numbers apart."
NARROW = "A `float` column is compared in its own 32 bits; pandas widens it, and then 0.1 is not 0.1."
ZONES = "The most common value loses its zone in pandas, so that it is in no set of instants."
ASCII = r"In RE2 `\w` is a letter of ASCII; in Python it is any letter."
TEXT = "Great Expectations takes no texts as the ends of a range."
SCORES = "With an infinite value there are no scores: pandas lets every row pass, here none does."
BETWEEN, MATCH = "expect_column_values_to_be_between", "expect_column_values_to_match_regex"

KNOWN = (
    Difference(DOUBLES, BETWEEN, "big", "broken", "broken"),
    Difference(NARROW, BETWEEN, "narrow", "broken", "passed"),
    Difference(NARROW, "expect_column_values_to_be_in_set", "narrow", "broken", "broken"),
    Difference(NARROW, "expect_column_values_to_not_be_in_set", "narrow", "broken", "broken"),
    Difference(NARROW, "expect_column_distinct_values_to_contain_set", "narrow", "passed", "broken"),
    Difference(NARROW, "expect_column_most_common_value_to_be_in_set", "narrow", "passed", "broken"),
    Difference(ZONES, "expect_column_most_common_value_to_be_in_set", "moment", "passed", "broken"),
    Difference(ASCII, MATCH, "text", "broken", "broken"),
    Difference(ASCII, "expect_column_values_to_not_match_regex", "text", "broken", "broken"),
    Difference(TEXT, BETWEEN, "text", "broken", "unknown"),
    Difference(SCORES, "expect_column_value_z_scores_to_be_less_than", "y", "broken", "passed", "endless"),
)
"""All that is known to differ. A difference that is not here fails, and so does one here that is gone."""


def compared(outcome: CheckOutcome) -> tuple[Any, ...]:
    counts = (outcome.violations, outcome.rows, outcome.missing) if KINDS[outcome.type].tolerant else ()
    return (outcome.verdict, *counts)


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_both_runners_judge_alike_but_for_what_is_known(table: str) -> None:
    engine = DuckDBEngine(EngineSettings(threads=1))
    checks = checks_of(table)
    asked: dict[str, Any] = {"engine": engine, "table": table, "version": 1, "now": NOW, "tables": OTHERS}
    ours = run_checks(TABLES[table], checks, **asked)
    theirs = run_great_expectations(TABLES[table], checks, **asked)
    assert (ours.runner, theirs.runner) == ("lakehouse", "great_expectations")
    different = {
        (mine.type, mine.columns[0], mine.verdict, other.verdict)
        for mine, other in zip(ours.outcomes, theirs.outcomes, strict=True)
        if compared(mine) != compared(other)
    }
    assert different == {(one.type, one.column, one.ours, one.theirs) for one in KNOWN if one.table == table}


@pytest.mark.slow
def test_what_great_expectations_cannot_evaluate_is_unknown_without_a_value_of_a_row() -> None:
    checks = [of("mean_to_be_between", "text", min_value=1), of("values_to_be_increasing", "text", order_by="row")]
    engine = DuckDBEngine(EngineSettings(threads=1))
    found = run_great_expectations(MIXED, checks, engine=engine, table="mixed", version=1).outcomes
    assert [one.verdict for one in found] == ["unknown", "unknown"]
    assert all("Great Expectations could not evaluate it" in one.error for one in found)
    assert not any(text in one.error for one in found for text in ("ключ", "☃", "bb"))


@pytest.mark.parametrize("table", TABLES)
def test_rows_on_their_way_into_a_table_are_judged_as_those_that_are_there(table: str) -> None:
    engine, rows = DuckDBEngine(EngineSettings(threads=1)), TABLES[table]
    schema = Schema.from_arrow(rows.schema)
    checks = [check for check in checks_of(table) if is_row_check(check) and set(check.columns) <= set(schema.names)]
    sums = (f"count(*) FILTER ({violation_sql(check, schema)}) AS m{n}" for n, check in enumerate(checks))
    nulls = (f"count(*) FILTER (({violation_sql(check, schema)}) IS NULL) AS n{n}" for n, check in enumerate(checks))
    with engine.query(f"SELECT {', '.join([*sums, *nulls])} FROM rows", tables={"rows": rows}) as reader:
        found = [column[0].as_py() for column in reader.read_all().columns]
    outcomes = run_checks(rows, checks, engine=engine, table=table, version=1).outcomes
    assert found == [*(one.violations for one in outcomes), *(0 for _ in checks)]


def test_every_type_is_compared() -> None:
    assert {check.type for check in checks_of("mixed")} == set(KINDS)
