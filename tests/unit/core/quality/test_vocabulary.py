"""What a check says is judged before anything runs: an unknown type, a wrong argument or a contradiction is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import Expectation, RowCheck
from airflow_provider_lakehouse.core.quality.vocabulary import KINDS, kind_of, require_valid

BETWEEN = "expect_column_values_to_be_between"
QUANTILES = "expect_column_quantile_values_to_be_between"
PAIR = {"column_A": "a", "column_B": "b"}


def refusal(type_: str, arguments: dict[str, Any], **settings: Any) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as refused:
        require_valid([Expectation(type_, arguments, name="checked", **settings)])
    return refused.value


def test_an_unknown_type_is_refused_with_the_known_ones() -> None:
    error = refusal("expect_column_values_to_be_nice", {"column": "a"})
    assert error.facts["known"] == tuple(sorted(KINDS))


def test_unknown_and_missing_arguments_are_named() -> None:
    error = refusal(BETWEEN, {"colum": "a", "min_value": 1})
    assert (error.facts["unknown"], error.facts["missing"]) == (("colum",), ("column",))


@pytest.mark.parametrize(
    ("type_", "arguments"),
    [
        (BETWEEN, {"column": "a"}),
        (BETWEEN, {"column": "a", "min_value": 2, "max_value": 1}),
        (BETWEEN, {"column": "a", "min_value": "2024-02-01", "max_value": "2024-01-01"}),
        (BETWEEN, {"column": "a", "min_value": 1, "max_value": 1, "strict_min": True}),
        (BETWEEN, {"column": "a", "min_value": 1, "max_value": "z"}),
        (BETWEEN, {"column": "a", "min_value": float("nan")}),
        (BETWEEN, {"column": "a", "min_value": [1]}),
        (BETWEEN, {"column": "a", "min_value": 1, "strict_min": "yes"}),
        (BETWEEN, {"column": 1, "min_value": 1}),
        (BETWEEN, {"column": "", "min_value": 1}),
        ("expect_column_values_to_be_in_set", {"column": "a", "value_set": []}),
        ("expect_column_values_to_be_in_set", {"column": "a", "value_set": "abc"}),
        ("expect_column_values_to_be_in_set", {"column": "a", "value_set": [None]}),
        ("expect_column_values_to_match_regex", {"column": "a", "regex": "("}),
        ("expect_column_values_to_match_regex", {"column": "a", "regex": ""}),
        ("expect_column_values_to_match_regex", {"column": "a", "regex": "a(?=b)"}),
        ("expect_column_values_to_match_regex", {"column": "a", "regex": r"(a)\1"}),
        ("expect_column_values_to_match_regex_list", {"column": "a", "regex_list": []}),
        ("expect_column_values_to_match_regex_list", {"column": "a", "regex_list": ["a"], "match_on": "some"}),
        ("expect_column_values_to_match_strftime_format", {"column": "a", "strftime_format": "year"}),
        ("expect_column_values_to_match_strftime_format", {"column": "a", "strftime_format": "%Q"}),
        ("expect_column_value_lengths_to_be_between", {"column": "a", "min_value": -1}),
        ("expect_column_value_lengths_to_equal", {"column": "a", "value": 1.5}),
        ("expect_column_proportion_of_unique_values_to_be_between", {"column": "a", "min_value": 1.5}),
        ("expect_column_mean_to_be_between", {"column": "a", "min_value": "1"}),
        (QUANTILES, {"column": "a", "quantile_ranges": {"quantiles": [0.5], "value_ranges": []}}),
        (QUANTILES, {"column": "a", "quantile_ranges": {"quantiles": [1.5], "value_ranges": [[0, 1]]}}),
        (QUANTILES, {"column": "a", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[2, 1]]}}),
        (QUANTILES, {"column": "a", "quantile_ranges": {"quantiles": [0.5]}}),
        (QUANTILES, {"column": "a", "quantile_ranges": [0.5]}),
        ("expect_compound_columns_to_be_unique", {"column_list": ["a"]}),
        ("expect_compound_columns_to_be_unique", {"column_list": ["a", "a"]}),
        ("expect_multicolumn_sum_to_equal", {"column_list": ["a", "b"], "sum_total": "much"}),
        ("expect_column_pair_values_to_be_equal", {**PAIR, "ignore_row_if": "never"}),
        ("expect_column_pair_values_to_be_in_set", {**PAIR, "value_pairs_set": [[1]]}),
        ("expect_column_value_z_scores_to_be_less_than", {"column": "a", "threshold": 0, "double_sided": True}),
        ("expect_column_values_to_be_of_type", {"column": "a", "type_": "money"}),
        ("expect_column_values_to_be_in_type_list", {"column": "a", "type_list": []}),
        ("expect_column_values_to_be_increasing", {"column": "a"}),
        ("expect_column_max_to_be_recent", {"column": "a", "max_age_seconds": -1}),
        ("expect_column_values_to_exist_in_other_table", {"other_table": "t"}),
        ("expect_column_values_to_exist_in_other_table", {"other_table": "t", "column": "a", "column_list": ["a", "b"]}),
        ("expect_column_values_to_exist_in_other_table", {"other_table": "t", "column": "a", "other_columns": ["a", "b"]}),
        ("expect_table_to_match_schema", {"columns": {"a": "money"}}),
        ("expect_table_row_count_to_equal", {"value": -1}),
        ("unexpected_rows_expectation", {"unexpected_rows_query": " "}),
    ],
)  # fmt: skip
def test_arguments_that_mean_nothing_are_refused_with_the_name_of_the_check(
    type_: str, arguments: dict[str, Any]
) -> None:
    error = refusal(type_, arguments)
    assert "checked" in str(error) or "type" in error.message


@pytest.mark.parametrize(
    ("type_", "arguments", "settings"),
    [
        ("expect_column_mean_to_be_between", {"column": "a", "min_value": 1}, {"mostly": 0.9}),
        ("expect_column_to_exist", {"column": "a"}, {"row_condition": "a > 1"}),
        ("expect_column_values_to_be_unique", {"column": "a"}, {"severity": "quarantine"}),
        ("expect_table_row_count_to_equal", {"value": 1}, {"severity": "drop"}),
        ("expect_column_values_to_be_unique", {"column": "a"}, {"limit": {"rows": 1}}),
    ],
)
def test_settings_that_mean_nothing_for_a_type_are_refused(
    type_: str, arguments: dict[str, Any], settings: dict[str, Any]
) -> None:
    refusal(type_, arguments, **settings)


@pytest.mark.parametrize("share", [0, 1.1, -1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InvalidRequestError, match="mostly"):
        Expectation("expect_column_values_to_not_be_null", {"column": "a"}, mostly=share)


def test_an_argument_of_none_counts_as_not_given() -> None:
    require_valid([Expectation(BETWEEN, {"column": "a", "min_value": None, "max_value": 5})])


def test_a_pattern_may_look_as_if_it_looked_ahead() -> None:
    require_valid(
        [Expectation("expect_column_values_to_match_regex", {"column": "a", "regex": r"[(?=]\(?=(?:a|b)\\1"})]
    )


def test_conditions_in_sql_are_not_of_the_vocabulary() -> None:
    require_valid([RowCheck("positive", "a > 0")])


def test_every_type_says_what_it_looks_at() -> None:
    assert {kind.scope for kind in KINDS.values()} == {"row", "group", "aggregate", "table"}
    assert kind_of(Expectation("expect_column_max_to_be_recent", {"column": "a", "max_age_seconds": 1})).is_extension


def test_every_type_is_on_the_page() -> None:
    page = (Path(__file__).parents[4] / "docs" / "how-to" / "write-checks.md").read_text()
    assert [name for name in KINDS if f"`{name}`" not in page] == []
