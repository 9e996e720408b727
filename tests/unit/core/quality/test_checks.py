"""Checks are values; they are run in as few scans as possible, and say how much is wrong, never what."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import RowCheck, TableCheck, check_from_json
from airflow_provider_lakehouse.core.quality.gate import RowGate
from airflow_provider_lakehouse.core.quality.run import run_checks
from airflow_provider_lakehouse.core.schema import Schema
from airflow_provider_lakehouse.core.sources.base import Rejects

ENGINE = DuckDBEngine(EngineSettings(threads=1))
ROWS = pa.table({"id": [1, 2, 2, None], "amount": [5, -1, -1, 7]})
POSITIVE = RowCheck("amount is positive", "amount > 0")


def checked(*checks: RowCheck | TableCheck) -> Any:
    return run_checks(ROWS, checks, engine=ENGINE, table="sales.orders", version=3)


def gated(*checks: RowCheck, rows: pa.Table = ROWS) -> tuple[list[dict[str, Any]], Rejects, RowGate]:
    rejects = Rejects()
    gate = RowGate(checks, rejects, source="sales.orders")
    with ENGINE.query(
        gate.wrap("SELECT * FROM given", Schema.from_arrow(rows.schema)), tables={"given": rows}
    ) as found:
        passed = gate.pass_on(found).read_all().to_pylist()
    return passed, rejects, gate


def test_conditions_and_queries_are_counted() -> None:
    result = checked(
        POSITIVE,
        RowCheck("id is there", "id IS NOT NULL", "warn", columns=("id",)),
        TableCheck("id is unique", "SELECT id FROM checked GROUP BY id HAVING count(*) > 1;"),
    )
    assert [(o.name, o.violations) for o in result.outcomes] == [
        ("amount is positive", 2),
        ("id is there", 1),
        ("id is unique", 1),
    ]
    assert result.rows == 4


def test_a_null_does_not_meet_a_condition() -> None:
    assert checked(RowCheck("id is positive", "id > 0")).outcomes[0].violations == 1


def test_failures_stop_and_tell_names_and_counts_but_no_values() -> None:
    with pytest.raises(DataRejectedError) as rejected:
        checked(POSITIVE).require()
    assert rejected.value.facts == {"table": "sales.orders", "version": 3, "checks": ("amount is positive: 2",)}


def test_warnings_do_not_stop() -> None:
    checked(RowCheck("amount is positive", "amount > 0", "warn")).require()


def test_rows_that_break_a_quarantining_check_are_kept_aside_with_the_reason() -> None:
    passed, rejects, gate = gated(RowCheck("amount is positive", "amount > 0", "quarantine"))
    assert [row["amount"] for row in passed] == [5, 7]
    assert {row.reason for row in rejects.rows} == {"amount is positive"}
    assert [row.payload for row in rejects.rows] == ['{"id":2,"amount":-1}'] * 2
    assert (gate.rows, gate.outcomes()[0].violations) == (4, 2)


def test_a_row_that_knows_where_it_comes_from_is_quarantined_with_it() -> None:
    rows = pa.table({"amount": [-1], "_source_file": ["file:///in/a.csv"], "_source_row": pa.array([7], pa.int64())})
    _, rejects, _ = gated(RowCheck("amount is positive", "amount > 0", "quarantine"), rows=rows)
    assert [(row.source_file, row.source_row) for row in rejects.rows] == [("file:///in/a.csv", 7)]


def test_dropped_rows_are_counted_and_kept_nowhere() -> None:
    passed, rejects, gate = gated(RowCheck("amount is positive", "amount > 0", "drop"))
    assert (len(passed), rejects.rows, gate.outcomes()[0].violations) == (2, [], 2)


def test_warned_of_rows_pass() -> None:
    passed, _, gate = gated(RowCheck("amount is positive", "amount > 0", "warn"))
    assert (len(passed), gate.outcomes()[0].violations) == (4, 2)


def test_a_row_that_breaks_several_checks_is_kept_aside_once_with_all_reasons() -> None:
    _, rejects, _ = gated(
        RowCheck("amount is positive", "amount > 0", "quarantine"), RowCheck("id is one", "id = 1", "quarantine")
    )
    assert [row.reason for row in rejects.rows] == ["amount is positive; id is one"] * 2 + ["id is one"]


def test_a_failing_check_ends_the_stream_with_an_error_of_its_kind() -> None:
    with pytest.raises(DataRejectedError) as rejected:
        gated(POSITIVE)
    assert rejected.value.facts["checks"] == ("amount is positive: 2",)


def test_without_checks_the_query_is_not_touched() -> None:
    assert RowGate((), Rejects(), source="x").wrap("SELECT 1", Schema.from_arrow(ROWS.schema)) == "SELECT 1"


def test_two_checks_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="same name"):
        RowGate((POSITIVE, POSITIVE), Rejects(), source="x")
    with pytest.raises(InvalidRequestError, match="same name"):
        checked(POSITIVE, POSITIVE)


def test_a_condition_that_is_no_sql_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="'odd' is not one condition"):
        checked(RowCheck("odd", "amount >"))


def test_a_condition_on_a_column_that_is_not_there_is_unknown_and_stops() -> None:
    odd, positive = checked(RowCheck("odd", "amont > 0"), POSITIVE).outcomes
    assert (odd.verdict, odd.stops, positive.violations) == ("unknown", True, 2)
    assert "amont" in odd.error


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "", "condition": "true"},
        {"name": "x", "condition": " "},
        {"name": "x", "condition": "true", "severity": "explode"},
        {"name": "x", "query": "SELECT 1", "severity": "drop"},
        {"name": "x"},
        {"name": "x", "condition": "true", "levle": "fail"},
    ],
)
def test_checks_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        check_from_json(settings)


def test_a_check_is_read_from_settings() -> None:
    assert check_from_json({"name": "x", "condition": "true", "columns": ["a"]}) == RowCheck(
        "x", "true", columns=("a",)
    )
    assert check_from_json({"name": "x", "query": "SELECT 1"}) == TableCheck("x", "SELECT 1")
    assert check_from_json(POSITIVE) is POSITIVE
