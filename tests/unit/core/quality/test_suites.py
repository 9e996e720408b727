"""A suite of Great Expectations is read as checks, and checks are written as a suite, without loss."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import Expectation, Limit, RowCheck, TableCheck
from airflow_provider_lakehouse.core.quality.row_conditions import condition_sql
from airflow_provider_lakehouse.core.quality.suites import checks_from_suite, suite_of

CHECKS = (
    Expectation("expect_column_values_to_be_between", {"column": "n", "min_value": 1}, mostly=0.9, owner="sales"),
    Expectation("expect_column_values_to_not_be_null", {"column": "n"}, row_condition="m > 1", name="n is there"),
    Expectation("expect_column_values_to_be_in_set", {"column": "s", "value_set": ["a"]}, severity="drop"),
    Expectation(
        "expect_column_values_to_match_regex", {"column": "s", "regex": "^a"}, severity="quarantine", limit=Limit(rows=5)
    ),
    Expectation("expect_column_values_to_be_increasing", {"column": "n", "order_by": "at"}, severity="warn"),
    Expectation("expect_column_max_to_be_recent", {"column": "at", "max_age_seconds": 3600}),
    Expectation("expect_column_values_to_exist_in_other_table", {"column": "n", "other_table": "sales.customers"}),
    Expectation("expect_table_to_match_schema", {"columns": {"n": "long not null"}}, description="as agreed"),
    RowCheck("positive", "n > 0 -- always", "quarantine", columns=("n",), owner="sales"),
    TableCheck("unique", "SELECT n FROM checked GROUP BY n HAVING count(*) > 1;", "warn"),
)  # fmt: skip


def read(**expectation: Any) -> Any:
    (check,) = checks_from_suite({"expectations": [expectation]})
    return check


def test_what_is_written_is_read_without_loss() -> None:
    assert checks_from_suite(json.loads(json.dumps(suite_of(CHECKS, name="orders")))) == CHECKS


def test_types_that_only_we_know_are_written_as_the_nearest_that_is_known() -> None:
    written = suite_of(CHECKS, name="orders")["expectations"]
    assert {one["type"] for one in written[5:]} == {"unexpected_rows_expectation", "expect_table_columns_to_match_set"}
    assert all("{batch}" in one["kwargs"].get("unexpected_rows_query", "{batch}") for one in written)


def test_an_expectation_of_the_old_form_is_read() -> None:
    check = read(
        expectation_type="expect_column_values_to_be_unique", kwargs={"column": "id", "result_format": "BASIC"}, meta={}
    )
    assert check == Expectation("expect_column_values_to_be_unique", {"column": "id"})


@pytest.mark.parametrize(
    ("theirs", "ours"), [("critical", "fail"), ("warning", "warn"), ("info", "warn"), (None, "fail")]
)
def test_severities_are_read(theirs: str | None, ours: str) -> None:
    check = read(type="expect_column_values_to_be_unique", kwargs={"column": "id"}, severity=theirs)
    assert check.severity == ours


@pytest.mark.parametrize(
    "suite",
    [
        {},
        {"expectations": "all"},
        {"expectations": [1]},
        {"expectations": [{"kwargs": {}}]},
        {"expectations": [{"type": "expect_the_best", "kwargs": {}}]},
        {"expectations": [{"type": "expect_column_values_to_be_unique", "kwargs": {"col": "id"}}]},
    ],
)
def test_what_is_no_suite_is_refused(suite: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        checks_from_suite(suite)


@pytest.mark.parametrize(
    ("condition", "parser", "sql"),
    [
        ("a > 1 AND b IS NULL", None, "a > 1 AND b IS NULL"),
        ("a > 1", "spark", "a > 1"),
        ("`odd name` != 'x' | ~(b == True)", "pandas", '"odd name" IS DISTINCT FROM \'x\' OR NOT ("b" = true)'),
        ({"type": "pass_through", "pass_through_filter": "a >= -1.5"}, "pandas", '"a" >= - 1.5'),
        ({"type": "nullity", "column": {"name": "a"}, "is_null": False}, None, '"a" IS NOT NULL'),
        (
            {
                "type": "or",
                "conditions": [
                    {"type": "comparison", "column": {"name": 'a"b'}, "operator": "NOT_IN", "parameter": [1, 2]},
                    {"type": "nullity", "column": {"name": "c"}, "is_null": True},
                ],
            },
            None,
            '("a""b" NOT IN (1, 2)) OR ("c" IS NULL)',
        ),
    ],
)
def test_row_conditions_are_read_as_sql(condition: Any, parser: str | None, sql: str) -> None:
    assert condition_sql(condition, parser=parser) == sql


@pytest.mark.parametrize(
    ("condition", "parser"),
    [
        ("a.str.contains('x')", "pandas"),
        ("a in [1, 2]", "pandas"),
        ("@variable > 1", "pandas"),
        ({"type": "comparison", "column": {"name": "a"}, "operator": "LIKE", "parameter": "x"}, None),
        ({"type": "comparison", "column": {"name": "a"}, "operator": "==", "parameter": {}}, None),
        ({"type": "and", "conditions": []}, None),
        ({}, None),
    ],
)
def test_a_row_condition_that_is_not_understood_is_refused(condition: Any, parser: str | None) -> None:
    with pytest.raises(InvalidRequestError, match="row condition"):
        condition_sql(condition, parser=parser)
