"""Checks are proposed from rows, and the rows meet them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
from airflow_provider_lakehouse.core.quality.profile import suggest_checks
from airflow_provider_lakehouse.core.quality.run import run_checks
from airflow_provider_lakehouse.core.quality.suites import checks_from_suite, suite_of

ENGINE = DuckDBEngine(EngineSettings(threads=1))
NAN = float("nan")
ROWS = pa.table(
    {
        "id": range(100),
        "state": ["open", "closed"] * 50,
        "code": [f"{number:05}" for number in range(100)],
        "amount": [Decimal(number) / 4 for number in range(100)],
        "x": [NAN, None, *(number / 7 - 3 for number in range(98))],
        "day": [dt.date(2026, 1, 1) + dt.timedelta(days=number) for number in range(100)],
        "flag": [True, None] * 50,
        "nothing": pa.nulls(100, pa.string()),
        "tags": [["a"]] * 100,
        "endless": [float("inf"), *range(99)],
    }
)


def proposed(rows: pa.Table = ROWS) -> dict[tuple[str, str], dict[str, Any]]:
    checks = suggest_checks(rows, engine=ENGINE)
    return {
        (check.type.removeprefix("expect_column_"), ",".join(check.columns)): dict(check.arguments) for check in checks
    }


def test_the_rows_meet_what_is_proposed_from_them() -> None:
    checks = suggest_checks(ROWS, engine=ENGINE)
    outcomes = run_checks(ROWS, checks, engine=ENGINE, table="t", version=1).outcomes
    assert [one for one in outcomes if not one.passed] == []
    assert checks == suggest_checks(ROWS, engine=ENGINE)
    assert checks_from_suite(suite_of(checks, name="t")) == checks


def test_what_a_column_looks_like_is_proposed() -> None:
    found = proposed()
    assert ("values_to_be_unique", "id") in found
    assert found["values_to_be_in_set", "state"]["value_set"] == ["closed", "open"]
    assert found["values_to_match_regex", "code"]["regex"] == "^[0-9]+$"
    assert found["value_lengths_to_be_between", "code"] == {"column": "code", "min_value": 5, "max_value": 5}
    assert found["values_to_be_between", "amount"] == {"column": "amount", "min_value": 0, "max_value": 30}
    assert found["values_to_be_between", "day"] == {"column": "day", "min_value": "2025-12-31"}


def test_nothing_is_proposed_of_what_is_not_there() -> None:
    about = {columns for _, columns in proposed()}
    assert "nothing" not in about
    assert ("values_to_not_be_null", "x") not in proposed()
    assert ("values_to_be_between", "endless") not in proposed()


def test_of_a_table_without_rows_only_its_columns_are_proposed() -> None:
    (check,) = suggest_checks(ROWS.slice(0, 0), engine=ENGINE)
    assert check.type == "expect_table_to_match_schema"
