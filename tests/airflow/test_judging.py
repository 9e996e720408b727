"""What checks found stays: a record for each check and run, and a page that says what failed, since when, and whose it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.bridge.pages import PageKey, read_page
from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.errors import DataRejectedError
from airflow_provider_lakehouse.core.quality.history import history_of
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Schema
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, WriteToken
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.operators.check import LakehouseCheckOperator
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator
from airflow_provider_lakehouse.operators.table_audit import TableAudit

Contexts = Callable[..., dict[str, Any]]
POSITIVE = {"name": "amount is <positive>", "condition": "amount > 0", "owner": "sales"}


def records(of: str = "silver.orders") -> list[tuple[str, str, int]]:
    hook = LakehouseHook()
    found = history_of(hook.table("quality.results"), engine=hook.engine, of=of)
    return [(one.check_name, one.verdict, one.violations) for one in found]


def check(**options: Any) -> LakehouseCheckOperator:
    return LakehouseCheckOperator(task_id="task", table="silver.orders", checks=[POSITIVE], **options)


def test_a_check_leaves_a_record_also_when_it_fails(warehouse: str, table: Any, context: Contexts) -> None:
    table("silver.orders", {"amount": "long"}, (-1,), (5,))
    run = context()
    for _ in range(2):
        with pytest.raises(DataRejectedError):
            check().execute(run)
    assert records() == [("amount is <positive>", "broken", 1)]


def test_another_version_is_another_record(warehouse: str, table: Any, context: Contexts) -> None:
    orders = {"amount": "long"}
    table("silver.orders", orders, (5,))
    check().execute(context())
    table("silver.orders", orders, (6,))
    check().execute(context())
    assert records() == [("amount is <positive>", "passed", 0)] * 2


def test_rows_that_are_set_aside_on_their_way_leave_a_record(warehouse: str, context: Contexts) -> None:
    sql = "SELECT unnest([5, -1, -2])::BIGINT AS amount"
    how = {"checks": [{**POSITIVE, "severity": "quarantine"}], "table": "silver.orders"}
    run = context()
    for _ in range(2):
        LakehouseQueryOperator(task_id="task", sql=sql, **how).execute(run)
    assert records() == [("amount is <positive>", "broken", 2)]


def test_the_page_of_a_load_does_not_say_that_rows_set_aside_stop_anything(
    warehouse: str, context: Contexts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW__LAKEHOUSE__QUALITY_PAGES", str(tmp_path))
    check = {**POSITIVE, "severity": "quarantine"}
    sql = "SELECT unnest([5, -1])::BIGINT AS amount"
    LakehouseQueryOperator(task_id="task", sql=sql, table="silver.orders", checks=[check]).execute(context())
    assert "none of them stops what follows" in (read_page(PageKey("dag", "run-1", "task", -1, 1)) or "")


def test_a_batch_that_is_refused_leaves_a_record_and_opens_the_breaker(warehouse: str, context: Contexts) -> None:
    sql = "SELECT unnest([5, -1])::BIGINT AS amount"
    operator = LakehouseQueryOperator(
        task_id="task", sql=sql, table="silver.orders", checks=[POSITIVE], breaker="silver.orders"
    )
    with pytest.raises(DataRejectedError, match="allow none"):
        operator.execute(context())
    assert records() == [("amount is <positive>", "broken", 1)]
    with pytest.raises(DataRejectedError, match="is open"):
        operator.execute(context(run_id="run-2"))


def test_what_is_told_of_a_version_was_found_of_it_whoever_writes_meanwhile(tmp_path: Path) -> None:
    """A writer comes in before every look at the catalog in turn."""
    orders = pa.table({"amount": pa.array([1], pa.int64())})
    for place in range(8):
        settings, looks = CatalogSettings("iceberg", f"file://{tmp_path}/{place}"), []
        plain = find("tables", "iceberg")(settings).table("silver.orders")
        plain.create(TableSpec(Schema.from_arrow(orders.schema)))
        rows = {plain.commit(Change(rows=orders.to_reader()), token=WriteToken("test", 0)).version: 1}

        def meanwhile(step: str, plain: Any = plain, rows: Any = rows, looks: Any = looks, place: int = place) -> None:
            if step == "before iceberg.load":
                looks.append(step)
                if len(looks) == place + 1:
                    rows[plain.commit(Change(rows=orders.to_reader()), token=WriteToken("test", 1)).version] = 2

        watched = find("tables", "iceberg")(settings, probe=meanwhile).table("silver.orders")
        audit = TableAudit("silver.orders", [POSITIVE])
        found = audit.apply(SimpleNamespace(engine=open_engine()), watched, branch=None, now=datetime.now(UTC))
        assert found.rows == rows[found.version], place


def test_without_a_table_of_results_nothing_is_kept(warehouse: str, table: Any, context: Contexts) -> None:
    table("silver.orders", {"amount": "long"}, (5,))
    check(results=None).execute(context())
    assert not LakehouseHook().table("quality.results").exists()


def test_a_page_says_what_failed_since_when_and_whose_it_is(
    warehouse: str, table: Any, context: Contexts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW__LAKEHOUSE__QUALITY_PAGES", str(tmp_path))
    table("silver.orders", {"amount": "long"}, (-987654,), (5,))
    operator = check()
    with pytest.raises(DataRejectedError):
        operator.execute(context())
    page = read_page(PageKey("dag", "run-1", "task", -1, 1)) or ""
    assert "amount is &lt;positive&gt;" in page
    assert "sales" in page
    assert "987654" not in page
    (since,) = (one.checked_at for one in history_of(
        LakehouseHook().table("quality.results"), engine=LakehouseHook().engine, of="silver.orders"
    ))  # fmt: skip
    assert f"{since:%Y-%m-%d %H:%M}" in page
    link = next(one for one in operator.operator_extra_links if one.name == "Lakehouse quality")
    assert "task_id=task" in link.get_link(operator, ti_key=None)


def test_great_expectations_judges_the_same(warehouse: str, table: Any, context: Contexts) -> None:
    table("silver.orders", {"amount": "long"}, (5,), (None,))
    checks = [{"type": "expect_column_values_to_be_between", "arguments": {"column": "amount", "min_value": 6}}]
    found = {}
    for runner in ("lakehouse", "great_expectations"):
        operator = LakehouseCheckOperator(
            task_id="task", table="silver.orders", checks=checks, runner=runner, is_blocking=False
        )
        result = operator.execute(context(run_id=runner))
        (one,) = result["outcomes"]
        found[result["runner"]] = (one["verdict"], one["violations"], one["missing"])
    assert found == {"lakehouse": ("broken", 1, 1), "great_expectations": ("broken", 1, 1)}
