"""What checks found is kept, run after run, so that one can ask what failed, and since when."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import CheckOutcome
from airflow_provider_lakehouse.core.quality.history import history_of, since_when, write_results
from airflow_provider_lakehouse.core.quality.run import ChecksResult
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, WriteToken

if TYPE_CHECKING:
    from pathlib import Path

ENGINE = open_engine(EngineSettings(threads=1))
START = datetime(2026, 1, 30, tzinfo=UTC)
TABLE = "silver.orders"


@pytest.fixture(params=["memory", "iceberg", "delta"])
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    place = f"memory://{tmp_path}" if request.param == "memory" else f"file://{tmp_path}/lake"
    return find("tables", request.param)(CatalogSettings(request.param, place)).table("quality.results")


def result(*outcomes: CheckOutcome, day: int = 0, **facts: Any) -> ChecksResult:
    return ChecksResult(TABLE, 7, 10, outcomes, START + timedelta(days=day), **facts)


def outcome(verdict: Any, name: str = "amount") -> CheckOutcome:
    return CheckOutcome(name, "fail", int(verdict == "broken"), verdict)


def write(table: Any, given: ChecksResult, batch: str) -> Any:
    return write_results(table, given, token=WriteToken("dag/check", batch), now=START, owners={"amount": "sales"})


def test_everything_that_was_found_is_kept(results: Any) -> None:
    full = CheckOutcome(
        "amount", "warn", 2, "broken", "expect_column_mean_to_be_between", ("amount",), 10, 1, Decimal("3.5"), "odd"
    )
    write(results, result(full, partition="2026-01-30", contract="orders 1.0.0", runner="great_expectations"), "1")
    (record,) = history_of(results, engine=ENGINE, of=TABLE)

    assert (record.table_name, record.table_version, record.partition) == (TABLE, 7, "2026-01-30")
    assert (record.check_name, record.check_type, record.column_names) == ("amount", full.type, ("amount",))
    assert (record.severity, record.verdict, record.row_count) == ("warn", "broken", 10)
    assert (record.violations, record.missing, json.loads(record.observed or "")) == (2, 1, "3.5")
    assert (record.error, record.contract, record.runner) == ("odd", "orders 1.0.0", "great_expectations")
    assert (record.owner, record.pipeline, record.batch, record.checked_at) == ("sales", "dag/check", "1", START)


def test_a_run_is_written_once_and_as_one_file(results: Any) -> None:
    given = result(outcome("passed"), outcome("broken", "id"))
    assert [write(results, given, "1").replayed for _ in range(2)] == [False, True]
    assert len(history_of(results, engine=ENGINE, of=TABLE)) == 2
    assert results.facts().files == 1


def test_a_run_without_checks_writes_nothing(results: Any) -> None:
    assert write(results, result(), "1") is None
    assert history_of(results, engine=ENGINE, of=TABLE) == ()
    assert since_when(results, engine=ENGINE, of=TABLE) == ()
    assert not results.exists()


def test_the_newest_records_come_first_and_can_be_narrowed(results: Any) -> None:
    for day in range(4):
        write(results, result(outcome("passed"), outcome("broken", "id"), day=day), str(day))
    days = [one.checked_at.day for one in history_of(results, engine=ENGINE, of=TABLE, check="id", last=2)]

    assert days == [2, 1]
    assert len(history_of(results, engine=ENGINE, of=TABLE)) == 8
    assert history_of(results, engine=ENGINE, of="silver.other") == ()


@pytest.mark.parametrize(
    ("verdicts", "since"),
    [
        (["broken"], 0),
        (["passed", "broken", "broken"], 1),
        (["broken", "passed", "broken", "broken"], 2),
        (["passed", "broken", "unknown", "broken"], 1),
        (["unknown", "broken"], 1),
        (["broken", "passed"], None),
        (["broken", "unknown"], None),
    ],
)
def test_a_check_is_broken_since_the_first_time_after_it_last_passed(
    results: Any, verdicts: list[str], since: int | None
) -> None:
    for day, verdict in enumerate(verdicts):
        write(results, result(outcome(verdict), outcome("passed", "id"), day=day), str(day))
    found = since_when(results, engine=ENGINE, of=TABLE)

    assert [(one.check_name, one.checked_at) for one in found] == (
        [] if since is None else [("amount", START + timedelta(days=since))]
    )


def test_each_partition_has_a_history_of_its_own(results: Any) -> None:
    write(results, result(outcome("broken"), partition="a"), "1")
    write(results, result(outcome("passed"), partition="b", day=1), "2")

    assert [one.partition for one in since_when(results, engine=ENGINE, of=TABLE)] == ["a"]
    assert since_when(results, engine=ENGINE, of=TABLE, partition="b") == ()


def test_an_instant_without_time_zone_is_refused_before_anything_is_written(results: Any) -> None:
    given = ChecksResult(TABLE, 1, 1, (outcome("passed"),), datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidRequestError, match="time zone"):
        write(results, given, "1")
    assert not results.exists()
