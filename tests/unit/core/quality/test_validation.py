"""A result is written as a ValidationResult that Great Expectations renders, and as a page that stands for itself."""

from __future__ import annotations

import datetime as dt
import json
import re
import warnings
from html.parser import HTMLParser

import pytest

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import CheckOutcome, Expectation, RowCheck, TableCheck
from airflow_provider_lakehouse.core.quality.page import page_of
from airflow_provider_lakehouse.core.quality.run import ChecksResult
from airflow_provider_lakehouse.core.quality.suites import checks_from_suite, suite_of
from airflow_provider_lakehouse.core.quality.validation import to_validation_result

NOW = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
QUANTILES = {"quantiles": [0.5], "value_ranges": [[1, 2]]}
CHECKS = (
    Expectation("expect_column_values_to_not_be_null", {"column": "n"}, name="n is there", owner="sales", mostly=0.9),
    Expectation("expect_column_mean_to_be_between", {"column": "n", "min_value": 1}, name="mean", severity="warn"),
    Expectation(
        "expect_column_quantile_values_to_be_between", {"column": "n", "quantile_ranges": QUANTILES}, name="middle"
    ),
    Expectation("expect_column_distinct_values_to_be_in_set", {"column": "s", "value_set": ["a"]}, name="states"),
    Expectation("expect_column_max_to_be_recent", {"column": "at", "max_age_seconds": 60}, name="recent"),
    RowCheck("<b>positive</b>", "n > 0 AND '<script>' <> ''", "quarantine", description="as agreed & signed"),
    TableCheck("unique", "SELECT n FROM checked GROUP BY n HAVING count(*) > 1"),
)
OUTCOMES = (
    CheckOutcome("n is there", "fail", 0, "passed", CHECKS[0].type, ("n",), 10, 0),
    CheckOutcome("mean", "warn", 1, "broken", CHECKS[1].type, ("n",), observed=0.5),
    CheckOutcome("middle", "fail", 0, "passed", CHECKS[2].type, ("n",), observed={"quantiles": [0.5], "values": [1.0]}),
    CheckOutcome(
        "states", "fail", 1, "broken", CHECKS[3].type, ("s",), observed={"distinct": 2, "outside": 1, "absent": 0}
    ),
    CheckOutcome("recent", "fail", 0, "unknown", CHECKS[4].type, ("at",), error="There is no column 'at'."),
    CheckOutcome("<b>positive</b>", "quarantine", 3, "broken", rows=10),
    CheckOutcome("unique", "fail", 0),
)
RESULT = ChecksResult("sales.<orders>", 7, 10, OUTCOMES, NOW, partition="day=1", contract="orders 1.0.0")


def test_the_form_is_that_of_great_expectations_and_its_docs_are_rendered_from_it() -> None:
    written = json.loads(json.dumps(to_validation_result(RESULT, CHECKS)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
        from great_expectations.render.renderer import ValidationResultsPageRenderer
        from great_expectations.render.view import DefaultJinjaPageView

        read = expectationSuiteValidationResultSchema.load(written)
        page = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(read))
    assert read.success is False
    assert read.statistics["successful_expectations"] == 3
    assert "<script>' " not in page
    assert all(text in page for text in ("Failed", "values must not be null", "There is no column"))


def test_great_expectations_reads_the_suite_that_is_written_and_writes_one_that_is_read() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations as gx

        theirs = gx.ExpectationSuite(**suite_of(CHECKS, name="orders"))
        again = theirs.to_json_dict()
    assert len(theirs.expectations) == len(CHECKS)
    assert sorted(check.name for check in checks_from_suite(again)) == sorted(check.name for check in CHECKS)
    for expectation in again["expectations"]:
        del expectation["meta"]
    assert {c.type for c in checks_from_suite(again) if isinstance(c, Expectation)} >= {CHECKS[0].type, CHECKS[2].type}


def test_outcomes_of_other_checks_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="not given"):
        to_validation_result(RESULT, CHECKS[:2])


def test_the_page_names_what_failed_first_with_owner_count_and_what_to_do() -> None:
    page = page_of(RESULT, CHECKS, since={"states": dt.datetime(2026, 2, 1, tzinfo=dt.UTC)})
    order = [
        page.index(text) for text in ("Not passed", "positive", "states", "recent", "mean", "<h2>Passed", "n is there")
    ]
    assert order == sorted(order)
    assert all(
        text in page for text in ("3 (30.00%)", "2026-02-01", "quarantine table", "sales", "4 of 7 checks did not")
    )


def test_the_page_loads_nothing_and_escapes_every_text() -> None:
    page = page_of(RESULT, CHECKS)
    assert not re.search(r"<script|<link|<img|https?:|url\(|@import|<b>", page)
    assert "&lt;b&gt;positive&lt;/b&gt;" in page
    assert "prefers-color-scheme:dark" in page


def test_the_page_is_well_formed() -> None:
    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    tags = Tags()
    tags.feed(page_of(RESULT, CHECKS))
    assert tags.open == []
