"""Refused rows are seen, corrected and released once; those that still break stay with today's reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.flows import Target, load_query, release_quarantined
from airflow_provider_lakehouse.core.load.apply import apply_load
from airflow_provider_lakehouse.core.load.modes import Append, Merge
from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
from airflow_provider_lakehouse.core.load.quarantine import write_rejects
from airflow_provider_lakehouse.core.quality.checks import RowCheck, TableCheck
from airflow_provider_lakehouse.core.quality.expiry import apply_expire, plan_expire
from airflow_provider_lakehouse.core.quality.quarantine import Selection, inspect_quarantined, list_quarantined
from airflow_provider_lakehouse.core.quality.release_apply import apply_release, unfinished_releases
from airflow_provider_lakehouse.core.quality.release_plan import ReleasePlan, plan_release, read_quarantined
from airflow_provider_lakehouse.core.schema import Schema
from airflow_provider_lakehouse.core.sources.base import RejectedRow, Rejects
from airflow_provider_lakehouse.core.sources.quarantine import QUARANTINE_SPEC
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, WriteToken
from airflow_provider_lakehouse.core.tables.memory.table import open_catalog
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 2, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ENGINE = open_engine(EngineSettings(threads=1))
POSITIVE = RowCheck("amount is positive", "amount > 0", "quarantine")
SMALL = RowCheck("amount is small", "abs(amount) < 5", "quarantine")
CORRECTION = "SELECT * REPLACE (abs(amount) AS amount) FROM quarantined"
ROWS = pa.table({"id": [1, 2, 3, 4], "amount": [5, -1, -7, -2]})


class Shop:
    """A table that refuses negative amounts, with the rows 2, 3 and 4 in quarantine."""

    def __init__(self, warehouse: str) -> None:
        catalog = open_catalog(CatalogSettings("memory", warehouse))
        self.orders, self.quarantine = catalog.table("silver.orders"), catalog.table("quarantine.rows")
        self.load(ROWS)

    def target(self, **settings: Any) -> Target:
        return Target(self.orders, **{"mode": Append(), "quarantine": self.quarantine, **settings})

    def load(self, rows: pa.Table, *, batch: str = "1", checks: Any = (POSITIVE,), now: datetime = NOW) -> Any:
        token = WriteToken("shop", batch)
        return load_query(
            "FROM given", self.target(), token=token, engine=ENGINE, now=now, tables={"given": rows}, checks=checks
        )

    def plan(self, *, checks: Any = (POSITIVE,), now: datetime = LATER, **settings: Any) -> ReleasePlan:
        found = read_quarantined(self.quarantine, engine=ENGINE, selection=Selection(target="silver.orders"))
        return plan_release(found, checks=checks, engine=ENGINE, now=now, **settings)

    def release(self, plan: ReleasePlan, **settings: Any) -> Any:
        return release_quarantined(plan, self.target(**settings), engine=ENGINE, now=LATER)

    def loaded(self) -> list[tuple[int, int]]:
        rows = self.orders.read(columns=("id", "amount")).read_all().to_pylist()
        return sorted((row["id"], row["amount"]) for row in rows)

    def refused(self) -> list[tuple[str, str]]:
        rows = self.quarantine.read().read_all().to_pylist()
        return sorted((row["payload"], row["reason"]) for row in rows)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(f"memory://{tmp_path}")


def test_what_was_refused_is_counted_by_table_check_and_batch(shop: Shop) -> None:
    shop.load(pa.table({"id": [9], "amount": [-9]}), batch="2", checks=(POSITIVE, SMALL), now=LATER)
    found = list_quarantined(shop.quarantine, engine=ENGINE)

    assert found.rows == 4
    assert [(g.check, g.batch, g.rows, g.releasable_rows, g.last_rejected_at) for g in found.groups] == [
        ("amount is positive", "2", 1, 1, LATER),
        ("amount is small", "2", 1, 1, LATER),
        ("amount is positive", "1", 3, 3, NOW),
    ]


@pytest.mark.parametrize(
    ("selection", "rows"),
    [
        (Selection(target="silver.orders"), 4),
        (Selection(target="silver.other"), 0),
        (Selection(check="amount is small"), 1),
        (Selection(pipeline="shop", batch="1"), 3),
        (Selection(since=LATER), 1),
        (Selection(before=LATER), 3),
    ],
)
def test_a_selection_narrows_what_is_seen(shop: Shop, selection: Selection, rows: int) -> None:
    shop.load(pa.table({"id": [9], "amount": [-9]}), batch="2", checks=(POSITIVE, SMALL), now=LATER)
    assert list_quarantined(shop.quarantine, engine=ENGINE, selection=selection).rows == rows


def test_values_are_shown_on_request_only_and_not_in_a_repr(shop: Shop) -> None:
    rows = inspect_quarantined(shop.quarantine, engine=ENGINE, selection=Selection(), max_rows=2)
    assert len(rows) == 2
    assert {row.payload for row in rows} < {f'{{"id":{i},"amount":{a}}}' for i, a in ((2, -1), (3, -7), (4, -2))}
    assert 'amount":' not in repr(rows)
    assert "payload" not in repr(list_quarantined(shop.quarantine, engine=ENGINE))


def test_a_lake_without_quarantine_has_nothing_in_it(tmp_path: Path) -> None:
    table = open_catalog(CatalogSettings("memory", f"memory://{tmp_path}")).table("quarantine.rows")
    assert list_quarantined(table, engine=ENGINE).groups == ()
    assert inspect_quarantined(table, engine=ENGINE, selection=Selection()) == ()
    assert unfinished_releases(table, engine=ENGINE, target="silver.orders", now=NOW) == ()


def test_rows_that_break_the_same_check_still_are_not_released(shop: Shop) -> None:
    plan = shop.plan()
    assert (plan.is_empty, plan.rows_passing, plan.rows_broken) == (True, 0, {"amount is positive": 3})
    assert shop.release(plan).rows_released == 0
    assert shop.loaded() == [(1, 5)]


def test_corrected_rows_are_released_into_their_table_and_leave_a_trace(shop: Shop) -> None:
    result = shop.release(shop.plan(correction=CORRECTION, contract="orders 1.1.0"))

    assert shop.loaded() == [(1, 5), (2, 1), (3, 7), (4, 2)]
    assert shop.refused() == []
    assert (result.rows_released, result.checks, result.is_replay) == (3, {"amount is positive": 3}, False)
    summary = shop.quarantine.history()[-1].summary  # type: ignore[attr-defined]
    assert (summary["lakehouse.quarantine"], summary["lakehouse.rows"]) == ("released", "3")
    assert (summary["lakehouse.target"], summary["lakehouse.contract"]) == ("silver.orders", "orders 1.1.0")
    assert summary["lakehouse.checks"] == '{"amount is positive": 3}'


def test_rows_that_break_another_check_now_stay_with_that_reason(shop: Shop) -> None:
    plan = shop.plan(checks=(POSITIVE, SMALL), correction=CORRECTION)
    assert (plan.rows_passing, plan.rows_broken) == (2, {"amount is small": 1})
    shop.release(plan)

    assert shop.loaded() == [(1, 5), (2, 1), (4, 2)]
    assert shop.refused() == [('{"id":3,"amount":-7}', "amount is small")]
    assert list_quarantined(shop.quarantine, engine=ENGINE).groups[0].check == "amount is small"


def test_rows_are_released_as_they_are_when_nothing_is_asked_of_them(shop: Shop) -> None:
    shop.release(shop.plan(checks=()))
    assert shop.loaded() == [(1, 5), (2, -1), (3, -7), (4, -2)]


def test_what_only_warns_keeps_no_row(shop: Shop) -> None:
    assert shop.plan(checks=(RowCheck("amount is positive", "amount > 0", "warn"),)).rows_passing == 3


def test_a_release_applied_twice_loads_once(shop: Shop) -> None:
    plan = shop.plan(correction=CORRECTION)
    first, again = shop.release(plan), shop.release(plan)

    assert (first.is_replay, again.is_replay, again.rows_released) == (False, True, 3)
    assert len(shop.loaded()) == 4


def test_of_two_releases_of_one_row_one_takes_it(shop: Shop) -> None:
    one, other = (shop.plan(correction=CORRECTION, now=now) for now in (NOW, LATER))
    shop.release(one)
    result = shop.release(other)

    assert (result.rows_released, result.rows_taken) == (0, 3)
    assert len(shop.loaded()) == 4


def test_a_plan_takes_the_oldest_rows_up_to_its_size_and_the_next_plan_the_others(shop: Shop) -> None:
    plan = shop.plan(correction=CORRECTION, max_rows=2)
    assert (len(plan.ids), plan.rows_passing) == (2, 3)
    shop.release(plan)
    shop.release(shop.plan(correction=CORRECTION))
    assert len(shop.loaded()) == 4


def test_a_plan_survives_json_and_holds_no_values(shop: Shop) -> None:
    plan = shop.plan(checks=(POSITIVE, SMALL), correction=CORRECTION)
    assert ReleasePlan.from_json(plan.to_json()) == plan
    assert "-7" not in str(plan.to_json()["still_broken"])


def test_rows_are_loaded_by_the_mode_of_their_table(shop: Shop) -> None:
    shop.load(pa.table({"id": [2], "amount": [100]}), batch="2")
    shop.release(shop.plan(correction=CORRECTION), mode=Merge(("id",)))
    assert shop.loaded() == [(1, 5), (2, 1), (3, 7), (4, 2)]


def test_a_correction_may_leave_rows_out_and_they_stay_as_they_are(shop: Shop) -> None:
    plan = shop.plan(correction=f"{CORRECTION} WHERE id <> 3")
    shop.release(plan)
    assert plan.rows_left_out == 1
    assert shop.refused() == [('{"id":3,"amount":-7}', "amount is positive")]


@pytest.mark.parametrize(
    ("correction", "message"),
    [
        ("SELECT id, amount FROM quarantined", "_quarantine_id"),
        ("SELECT q.* FROM quarantined q, quarantined", "_quarantine_id"),
        ("SELECT 'x' AS _quarantine_id, 1 AS id", "_quarantine_id"),
        ("DELETE FROM quarantined", "single query"),
        ("SELECT * FROM quarantined; SELECT 1", "single query"),
        ("SELECT amont FROM quarantined", "amont"),
    ],
)
def test_a_correction_that_is_none_is_refused_before_anything_is_written(
    shop: Shop, correction: str, message: str
) -> None:
    version = shop.quarantine.facts().version
    with pytest.raises(InvalidRequestError, match=message):
        shop.plan(correction=correction)
    assert shop.quarantine.facts().version == version


def test_a_check_of_a_whole_table_releases_nothing(shop: Shop) -> None:
    with pytest.raises(InvalidRequestError, match="whole table"):
        shop.plan(checks=(TableCheck("unique", "FROM checked"),))


def test_a_selection_without_target_is_refused(shop: Shop) -> None:
    with pytest.raises(InvalidRequestError, match="Name the target"):
        read_quarantined(shop.quarantine, engine=ENGINE, selection=Selection())


def test_a_plan_of_another_table_is_refused(shop: Shop) -> None:
    plan = shop.plan(correction=CORRECTION)
    with pytest.raises(InvalidRequestError, match=r"silver\.orders"):
        release_quarantined(plan, Target(shop.quarantine, Append(), quarantine=shop.quarantine), engine=ENGINE, now=NOW)


def test_lines_kept_as_text_are_refused_by_the_name_of_their_file(shop: Shop) -> None:
    rejects = Rejects()
    rejects.add(RejectedRow("wrong number of fields", "file:///in/a.csv", 3, "1,2"))
    write_rejects(shop.quarantine, rejects, token=WriteToken("shop", "t"), now=NOW, target="bronze.lines")
    found = read_quarantined(shop.quarantine, engine=ENGINE, selection=Selection(target="bronze.lines"))
    with pytest.raises(InvalidRequestError, match="as a new file") as refused:
        plan_release(found, checks=(), engine=ENGINE, now=NOW)
    assert refused.value.facts["files"] == ("file:///in/a.csv",)


def test_rows_of_batches_with_other_types_are_released_together(shop: Shop) -> None:
    shop.load(pa.table({"id": [9], "amount": pa.array([-9], pa.int32())}), batch="2")
    shop.release(shop.plan(correction=CORRECTION))
    assert shop.loaded() == [(1, 5), (2, 1), (3, 7), (4, 2), (9, 9)]


def test_rows_that_do_not_fit_are_refused_anew_by_the_policy_of_the_load(shop: Shop) -> None:
    odd = "SELECT * REPLACE (CASE WHEN id = 2 THEN 'two' ELSE '7' END AS amount) FROM quarantined"
    plan = shop.plan(checks=(), correction=odd)
    shop.release(plan, policy=SchemaPolicy.from_json("quarantine"))
    assert shop.loaded() == [(1, 5), (3, 7), (4, 7)]
    assert [reason for _, reason in shop.refused()] == ["amount: not a long"]


def test_a_target_that_refuses_the_rows_leaves_them_free_for_another_plan(shop: Shop) -> None:
    before = shop.refused()
    plan = shop.plan(checks=(), correction="SELECT * REPLACE ('much' AS amount) FROM quarantined")
    with pytest.raises(DataRejectedError):
        shop.release(plan)
    assert shop.refused() == before
    with pytest.raises(InvalidRequestError, match="plan again"):
        shop.release(plan)

    shop.release(shop.plan(correction=CORRECTION))
    assert shop.loaded() == [(1, 5), (2, 1), (3, 7), (4, 2)]


@pytest.mark.parametrize("dies_before_load", [True, False], ids=["before the load", "after the load"])
def test_a_release_that_died_is_finished_from_what_the_table_remembers(shop: Shop, dies_before_load: bool) -> None:
    def dies(rows: pa.RecordBatchReader, *, token: WriteToken) -> Any:
        if not dies_before_load:
            apply_load(shop.orders, rows, mode=Append(), token=token, engine=ENGINE, now=NOW)
        raise KeyboardInterrupt

    plan = shop.plan(correction=CORRECTION)
    with pytest.raises(KeyboardInterrupt):
        apply_release(plan, shop.quarantine, target=shop.orders, load=dies, engine=ENGINE)
    assert shop.plan(correction=CORRECTION).rows_claimed == 3
    assert shop.plan(correction=CORRECTION).is_empty

    (unfinished,) = unfinished_releases(shop.quarantine, engine=ENGINE, target="silver.orders", now=NOW)
    assert (unfinished.release_id, unfinished.correction) == (plan.release_id, CORRECTION)
    shop.release(unfinished)
    assert shop.release(plan).is_replay
    assert shop.loaded() == [(1, 5), (2, 1), (3, 7), (4, 2)]
    assert shop.refused() == []


def expired(shop: Shop, *, days: int = 7, dry_run: bool = False, target: str | None = None) -> Any:
    plan = plan_expire(
        shop.quarantine, engine=ENGINE, older_than=timedelta(days=days), now=NOW + timedelta(days=8), target=target
    )
    return apply_expire(plan, shop.quarantine, engine=ENGINE, dry_run=dry_run)


def test_what_is_old_enough_is_listed_and_kept_unless_asked_otherwise(shop: Shop) -> None:
    plan = plan_expire(shop.quarantine, engine=ENGINE, older_than=timedelta(days=7), now=NOW + timedelta(days=8))
    assert (plan.rows, plan.checks) == (3, {"amount is positive": 3})
    assert apply_expire(plan, shop.quarantine, engine=ENGINE).rows_expired == 0
    assert len(shop.refused()) == 3


def test_what_is_old_enough_is_removed_and_leaves_its_counts(shop: Shop) -> None:
    shop.load(pa.table({"id": [9], "amount": [-9]}), batch="2", now=NOW + timedelta(days=2))
    assert expired(shop, target="silver.other").rows_expired == 0
    assert expired(shop).rows_expired == 3
    assert shop.refused() == [('{"id":9,"amount":-9}', "amount is positive")]
    summary = shop.quarantine.history()[-1].summary  # type: ignore[attr-defined]
    assert (summary["lakehouse.quarantine"], summary["lakehouse.checks"]) == ("expired", '{"amount is positive": 3}')


def test_a_plan_of_expiry_applied_twice_removes_once_and_nothing_that_came_later(shop: Shop) -> None:
    plan = plan_expire(shop.quarantine, engine=ENGINE, older_than=timedelta(days=7), now=NOW + timedelta(days=8))
    shop.load(pa.table({"id": [9], "amount": [-9]}), batch="late", now=NOW)
    found = [apply_expire(plan, shop.quarantine, engine=ENGINE, dry_run=False).rows_expired for _ in range(2)]

    assert found == [3, 3]
    assert len(shop.refused()) == 1


def test_rows_that_a_release_has_claimed_do_not_expire(shop: Shop) -> None:
    def dies(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply_release(shop.plan(checks=()), shop.quarantine, target=shop.orders, load=dies, engine=ENGINE)
    assert expired(shop).plan.rows == 0


def test_rows_of_an_earlier_shape_can_be_seen_and_expire(tmp_path: Path) -> None:
    table = open_catalog(CatalogSettings("memory", f"memory://{tmp_path}")).table("quarantine.rows")
    earlier = Schema(QUARANTINE_SPEC.schema.columns[:7])
    table.create(TableSpec(earlier))
    old = {"reason": "odd", "payload": "1,2", "pipeline": "p", "batch": "1", "rejected_at": NOW}
    rows = pa.Table.from_pylist([old], schema=earlier.to_arrow())
    table.commit(Change(rows=rows.to_reader()), token=WriteToken("p", "1"))

    (group,) = list_quarantined(table, engine=ENGINE).groups
    assert (group.check, group.rows, group.releasable_rows) == ("odd", 1, 0)
    plan = plan_expire(table, engine=ENGINE, older_than=timedelta(days=1), now=LATER + timedelta(seconds=1))
    assert apply_expire(plan, table, engine=ENGINE, dry_run=False).rows_expired == 1


@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=-1)])
def test_an_age_that_is_none_is_refused(shop: Shop, age: timedelta) -> None:
    with pytest.raises(InvalidRequestError, match="positive age"):
        plan_expire(shop.quarantine, engine=ENGINE, older_than=age, now=NOW)
