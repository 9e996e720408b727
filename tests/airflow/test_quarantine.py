"""The operators of the quarantine: release what passes, once for all tries; expire what is old, when asked to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.quality.quarantine import Selection
from airflow_provider_lakehouse.core.quality.release_apply import apply_release
from airflow_provider_lakehouse.core.quality.release_plan import plan_release, read_quarantined
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.operators.quarantine import (
    LakehouseExpireQuarantineOperator,
    LakehouseReleaseQuarantineOperator,
)
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator

Contexts = Callable[..., dict[str, Any]]
Rows = Callable[..., list[dict[str, Any]]]
NOW = datetime(2026, 2, 1, tzinfo=UTC)
POSITIVE = {"name": "amount is positive", "condition": "amount > 0", "severity": "quarantine"}
CORRECTION = "SELECT * REPLACE (abs(amount) AS amount) FROM quarantined"


@pytest.fixture
def refused(table: Callable[..., Any], context: Contexts) -> None:
    """Refuse one of two orders, the one with the id 2."""
    table("bronze.orders", {"id": "long", "amount": "long"}, (1, 10), (2, -20))
    LakehouseQueryOperator(
        task_id="load", sql="SELECT id, amount FROM bronze.orders", reads=["bronze.orders"], table="silver.orders",
        checks=[POSITIVE],
    ).execute(context())  # fmt: skip


def release(**options: Any) -> LakehouseReleaseQuarantineOperator:
    usual = {"task_id": "release", "table": "silver.orders", "checks": [POSITIVE], "correction": CORRECTION}
    return LakehouseReleaseQuarantineOperator(**usual | options)


def expire(**options: Any) -> LakehouseExpireQuarantineOperator:
    return LakehouseExpireQuarantineOperator(**{"task_id": "expire", "older_than_days": "0.0000001"} | options)


def orders(rows: Rows) -> list[tuple[int, int]]:
    return [(row["id"], row["amount"]) for row in rows(LakehouseHook().table("silver.orders"))]


@pytest.mark.usefixtures("refused")
class TestRelease:
    def test_corrected_rows_go_into_their_table(self, context: Contexts, rows: Rows) -> None:
        answer = release(contract="orders 1.1.0").execute(context())
        assert (answer["plan"]["ids"], answer["result"]["rows_released"]) == (1, 1)
        assert answer["result"]["checks"] == {"amount is positive": 1}
        assert orders(rows) == [(1, 10), (2, 20)]
        assert rows(LakehouseHook().table("quarantine.rows")) == []

    def test_every_try_and_clear_releases_the_rows_of_the_first(self, context: Contexts, rows: Rows) -> None:
        run = context()
        results = [release().execute(run)["result"] for _ in range(3)]
        assert [result["is_replay"] for result in results] == [False, True, True]
        assert orders(rows) == [(1, 10), (2, 20)]

    def test_a_run_after_it_finds_nothing_to_release(self, context: Contexts, rows: Rows) -> None:
        release().execute(context())
        assert release().execute(context(run_id="run-2"))["result"]["rows_released"] == 0
        assert len(orders(rows)) == 2

    def test_a_dry_run_tells_what_would_be_released_and_writes_nothing(self, context: Contexts, rows: Rows) -> None:
        answer = release(dry_run=True, checks=[POSITIVE, POSITIVE | {"name": "amount is 1", "condition": "amount = 1"}])
        told = answer.execute(context())
        assert (told["plan"]["ids"], told["plan"]["rows_broken"], told["result"]) == (0, {"amount is 1": 1}, None)
        assert orders(rows) == [(1, 10)]

    @pytest.mark.parametrize(
        "selection", [{"check": "another"}, {"batch": "2"}, {"before": "2020-01-01T00:00:00+00:00"}]
    )
    def test_only_selected_rows_are_released(self, context: Contexts, rows: Rows, selection: dict[str, str]) -> None:
        assert release(selection=selection).execute(context())["result"]["rows_released"] == 0
        assert release(selection={"check": "amount is positive"}).execute(context())["result"]["rows_released"] == 1

    @pytest.mark.parametrize("selection", [{"cheque": "x"}, {"since": "yesterday"}, {"since": "2026-01-01"}])
    def test_a_selection_that_is_none_is_refused(self, context: Contexts, selection: dict[str, str]) -> None:
        with pytest.raises(InvalidRequestError):
            release(selection=selection).execute(context())

    def test_a_refusal_of_the_table_is_told_and_clearing_with_another_correction_releases(
        self, context: Contexts, rows: Rows
    ) -> None:
        run = context()
        unfit = release(checks=[], correction="SELECT * REPLACE ('much' AS amount) FROM quarantined")
        for _ in range(2):
            with pytest.raises(DataRejectedError):
                unfit.execute(run)
        release().execute(run)
        assert orders(rows) == [(1, 10), (2, 20)]

    def test_a_release_that_died_is_finished_by_a_run_with_other_arguments(self, context: Contexts, rows: Rows) -> None:
        def dies(*_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

        hook = LakehouseHook()
        refused, target = hook.table("quarantine.rows"), hook.table("silver.orders")
        found = read_quarantined(refused, engine=hook.engine, selection=Selection(target="silver.orders"))
        plan = plan_release(found, checks=(), engine=hook.engine, now=NOW, correction=CORRECTION)
        with pytest.raises(KeyboardInterrupt):
            apply_release(plan, refused, target=target, load=dies, engine=hook.engine)

        release(correction=None).execute(context())
        assert orders(rows) == [(1, 10), (2, 20)]

    def test_it_tells_lineage_and_the_log_what_it_wrote(self, context: Contexts) -> None:
        operator = release()
        operator.execute(context())
        (written,) = operator.lineage.outputs
        assert written.uri.endswith("silver/orders")


def test_a_lake_without_quarantine_has_nothing_to_release(table: Callable[..., Any], context: Contexts) -> None:
    table("silver.orders", {"id": "long", "amount": "long"}, (1, 10))
    assert release().execute(context())["result"]["rows_released"] == 0
    assert expire(dry_run=False).execute(context())["rows_expired"] == 0


@pytest.mark.usefixtures("refused")
class TestExpire:
    def test_it_only_lists_unless_asked_otherwise(self, context: Contexts, rows: Rows) -> None:
        answer = expire().execute(context())
        assert (answer["plan"]["rows"], answer["plan"]["checks"], answer["rows_expired"]) == (
            1, {"amount is positive": 1}, 0,
        )  # fmt: skip
        assert len(rows(LakehouseHook().table("quarantine.rows"))) == 1

    def test_it_removes_what_is_old_enough_once(self, context: Contexts, rows: Rows) -> None:
        assert expire(older_than_days=1, dry_run=False).execute(context())["rows_expired"] == 0
        assert expire(table="silver.other", dry_run=False).execute(context())["rows_expired"] == 0
        expired = [expire(dry_run=False).execute(context())["rows_expired"] for _ in range(2)]
        assert expired == [1, 0]
        assert rows(LakehouseHook().table("quarantine.rows")) == []

    @pytest.mark.parametrize("age", ["", "a week", 0, -1])
    def test_an_age_that_is_none_is_refused(self, context: Contexts, age: Any) -> None:
        with pytest.raises(InvalidRequestError):
            expire(older_than_days=age, dry_run=False).execute(context())
