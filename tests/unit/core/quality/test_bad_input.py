"""Bad input of checks and contracts: a clear error before anything is written, or a verdict; never a pass by mistake."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.contracts.odcs import read_contract
from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, LakehouseError
from airflow_provider_lakehouse.core.flows import Target, load_query
from airflow_provider_lakehouse.core.load.modes import Append
from airflow_provider_lakehouse.core.quality.breaker import Breaker, BreakerRules, plan_transition
from airflow_provider_lakehouse.core.quality.checks import Expectation, Limit, RowCheck, TableCheck
from airflow_provider_lakehouse.core.quality.from_contract import checks_of_contract
from airflow_provider_lakehouse.core.quality.run import ChecksResult, run_checks
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, Table, WriteToken
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from tests.unit.core.contracts.contract_texts import HEAD, with_column, with_rule

ENGINE = DuckDBEngine(EngineSettings(threads=1))
NOW = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
SECRET = "48151623a"
ROWS = pa.table({"id": [1, 2, 3], "text": ["1", SECRET, None]})
NOT_NULL = "expect_column_values_to_not_be_null"
REGEX = "expect_column_values_to_match_regex"
HALF_WAY = RowCheck("text is a number above 0", "CAST(text AS INTEGER) > 0")
"""Cannot be computed of the second row."""


def ran(*checks: Any, rows: Any = ROWS, table: str = "sales.orders") -> ChecksResult:
    return run_checks(rows, checks, engine=ENGINE, table=table, version=1, now=NOW)


@pytest.fixture(params=["memory", "iceberg", "delta"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Table:
    """A table of every format with the rows in it."""
    scheme = "memory://" if request.param == "memory" else "file://"
    opened = find("tables", request.param)(CatalogSettings(request.param, f"{scheme}{tmp_path}/lake"))
    found: Table = opened.table("sales.orders")
    found.create(TableSpec(Schema.of(Column("id", "long"), Column("text", "string"))))
    found.commit(Change(rows=ROWS.to_reader()), token=WriteToken("test", 1))
    return found


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: read_contract(HEAD + "colour: red\n"), "there is no field 'colour' here"),
        (lambda: read_contract(with_column("{name: c, colour: red}")), "there is no field 'colour' here"),
        (
            lambda: read_contract(
                with_column("{name: c, logicalType: integer, logicalTypeOptions: {minimum: 2, maximum: 1}}")
            ),
            "minimum is above maximum",
        ),
        (
            lambda: ran(Expectation("expect_column_values_to_be_between", {"column": "id", "min_value": 2, "max_value": 1})),
            "lowest value .* above the highest",
        ),
        (
            lambda: read_contract(with_rule("{metric: duplicateValues, mustBe: 0, arguments: {properties: [a, zz]}}")),
            "the table has no such column",
        ),
        (lambda: ran(TableCheck("two", "SELECT 1; SELECT 2")), "'two' is not one condition, or one query that only reads"),
        (lambda: ran(TableCheck("write", "DELETE FROM checked")), "'write' is not one condition"),
        (lambda: ran(TableCheck("write", "WITH x AS (DELETE FROM checked RETURNING *) SELECT * FROM x")), "'write' is not"),
        (lambda: ran(TableCheck("copy", "COPY checked TO '/tmp/stolen.csv'")), "'copy' is not"),
        (lambda: ran(TableCheck("setting", "SET memory_limit = '1TB'")), "'setting' is not"),
        (lambda: ran(RowCheck("write", "true); DROP TABLE checked; --")), "'write' is not"),
        (lambda: ran(Expectation(REGEX, {"column": "text", "regex": "(?=a)"})), "cannot be matched in linear time"),
        (lambda: ran(Expectation(REGEX, {"column": "text", "regex": r"(a)\1"})), "cannot be matched in linear time"),
        (lambda: ran(Expectation(REGEX, {"column": "text", "regex": "a{1001}{1001}"})), "pattern|repetition"),
        (lambda: Expectation(NOT_NULL, {"column": "id"}, mostly=1.01), "`mostly` is above 0 and at most 1"),
        (lambda: RowCheck("n", "id > 0", "quarantine", limit=Limit(share=1.01)), "share between 0 and 1"),
        (lambda: RowCheck("n", "id > 0", "quarantine", limit=Limit(rows=-1)), "rows from 0 on"),
        (
            lambda: read_contract(
                with_rule("{metric: rowCount, mustBe: 1, customProperties: [{property: lakehouseLimitShare, value: 1.01}]}")
            ),
            "a share lies between 0 and 1",
        ),
        (lambda: ran(Expectation("expect_nothing_special")), "There is no expectation"),
        (lambda: ran(RowCheck("n", "id > 0"), RowCheck("n", "id > 1")), "same name"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused_with_a_clear_error(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        make()


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "^(a|a?)+$", "(x+x+)+y", "^(.*a){25}$"])
def test_a_pattern_that_explodes_elsewhere_is_matched_in_a_moment(pattern: str) -> None:
    rows = pa.table({"text": ["a" * 20_000 + "!", "x" * 20_000]})
    started = time.monotonic()
    (outcome,) = ran(Expectation(REGEX, {"column": "text", "regex": pattern}), rows=rows).outcomes
    assert outcome.verdict == "broken"
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "check",
    [
        Expectation(NOT_NULL, {"column": "zz"}),
        Expectation("expect_column_mean_to_be_between", {"column": "zz", "min_value": 0}),
        Expectation(NOT_NULL, {"column": "id"}, row_condition="zz > 1"),
        RowCheck("zz", "zz > 1"),
        TableCheck("zz", "SELECT zz FROM checked"),
        TableCheck("elsewhere", "SELECT 1 FROM elsewhere"),
    ],
    ids=lambda check: check.name,
)
def test_a_rule_on_what_is_not_there_is_unknown_and_stops(check: Any) -> None:
    unknown, sound = ran(check, Expectation(NOT_NULL, {"column": "id"}, name="sound")).outcomes
    assert (unknown.verdict, unknown.passed, unknown.stops) == ("unknown", False, True)
    assert unknown.error
    assert sound.passed


def test_a_thousand_checks_are_judged_each_by_itself() -> None:
    checks = [RowCheck(f"check {number}", f"id <> {number}") for number in range(1_000)]
    outcomes = ran(*checks).outcomes
    assert [one.name for one in outcomes] == [one.name for one in checks]
    assert [one.name for one in outcomes if not one.passed] == ["check 1", "check 2", "check 3"]


def test_a_contract_of_a_thousand_rules_is_read_and_judged() -> None:
    rules = ", ".join(
        f"{{name: r{n}, type: custom, engine: lakehouse, implementation: {{condition: id <> {n}}}}}"
        for n in range(1_000)
    )
    contract = read_contract(with_column(f"{{name: id, logicalType: integer, quality: [{rules}]}}"))
    outcomes = ran(*checks_of_contract(contract, table="t")).outcomes
    assert [one.name for one in outcomes if not one.passed] == ["r1", "r2", "r3"]


def test_of_a_table_without_rows_the_verdicts_are_those_of_the_page(table: Table) -> None:
    table.commit(Change(removes="all"), token=WriteToken("test", 2))
    checks = [
        Expectation(NOT_NULL, {"column": "id"}),
        RowCheck("positive", "id > 0"),
        TableCheck("none", "SELECT id FROM checked"),
        Expectation("expect_table_row_count_to_be_between", {"min_value": 1}),
        Expectation("expect_column_mean_to_be_between", {"column": "id", "min_value": 0}),
    ]
    assert [one.verdict for one in ran(*checks, rows=table).outcomes] == [
        "passed", "passed", "passed", "broken", "broken",
    ]  # fmt: skip


@pytest.mark.parametrize("severity", ["fail", "warn"])
def test_a_check_that_fails_half_way_is_unknown_without_a_value_and_the_others_are_judged(severity: Any) -> None:
    half = RowCheck(HALF_WAY.name, HALF_WAY.condition, severity)
    unknown, sound = ran(half, RowCheck("sound", "id > 0")).outcomes
    assert (unknown.verdict, unknown.stops, sound.passed) == ("unknown", severity == "fail", True)
    assert SECRET not in unknown.error


@pytest.mark.parametrize("severity", ["fail", "quarantine", "drop", "warn"])
def test_a_load_whose_check_fails_half_way_writes_nothing(table: Table, severity: Any, tmp_path: Path) -> None:
    before = table.facts().version
    quarantine = find("tables", "memory")(CatalogSettings("memory", f"memory://{tmp_path}/aside")).table("q.rows")
    target = Target(table, Append(), quarantine=quarantine)
    check = RowCheck(HALF_WAY.name, HALF_WAY.condition, severity)
    with pytest.raises(DataRejectedError) as refused:
        load_query(
            "SELECT * FROM given", target, token=WriteToken("load", 1), engine=ENGINE, now=NOW, tables={"given": ROWS},
            checks=(check,),
        )  # fmt: skip
    assert SECRET not in str(refused.value)
    assert table.facts().version == before
    assert not quarantine.exists() or quarantine.facts().version <= 0


@pytest.mark.parametrize(
    "check", [RowCheck("zz", "zz > 0"), Expectation(NOT_NULL, {"column": "zz"}), RowCheck("two", "true); SELECT (1")]
)
def test_a_load_whose_check_cannot_be_asked_writes_nothing(table: Table, check: Any) -> None:
    before = table.facts().version
    with pytest.raises(LakehouseError):
        load_query(
            "SELECT * FROM given", Target(table, Append()), token=WriteToken("load", 1), engine=ENGINE, now=NOW,
            tables={"given": ROWS}, checks=(check,),
        )  # fmt: skip
    assert table.facts().version == before


def test_an_unknown_verdict_stops_what_follows_and_opens_a_breaker() -> None:
    result = ran(HALF_WAY)
    with pytest.raises(DataRejectedError, match="breaks 1 of its checks"):
        result.require()
    entry = plan_transition(BreakerRules(), Breaker("sales.orders"), result, by="run-1", now=NOW)
    assert entry is not None
    assert entry.after.state == "open"


def test_an_unknown_verdict_closes_no_breaker() -> None:
    probing = Breaker("sales.orders", "half_open", 3, NOW, "it was broken", NOW, probe="run-1", openings=1)
    entry = plan_transition(BreakerRules(), probing, ran(HALF_WAY), by="run-1", now=NOW)
    assert entry is not None
    assert entry.after.state == "open"
