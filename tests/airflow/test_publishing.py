"""Runs that overlap publish one after the other, and nothing is published that was not checked on what readers saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.operators.check import LakehouseCheckOperator
from airflow_provider_lakehouse.operators.publish import LakehousePublishOperator
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator

Contexts = Callable[..., dict[str, Any]]
Rows = Callable[..., list[dict[str, Any]]]
TABLE = "silver.orders"
UNIQUE = {"name": "id is unique", "query": "SELECT id FROM checked GROUP BY id HAVING count(*) > 1"}

pytestmark = pytest.mark.usefixtures("local_format")


def staging(run: int, *, mode: str = "merge", id: int | None = None) -> dict[str, Any]:  # noqa: A002
    """Return how a run stages its row; a merging one also changes the row of the first run."""
    ids = [run if id is None else id] if mode == "append" else sorted({1, run})
    sql = f"SELECT CAST(id AS BIGINT) AS id, CAST({run} AS BIGINT) AS run FROM (SELECT unnest({ids}) AS id)"
    return {"sql": sql, "table": TABLE, "mode": {"mode": mode, "keys": ["id"]} if mode == "merge" else mode}


def stage(context: dict[str, Any], run: int, **how: Any) -> Any:
    arguments = staging(run, **how) | {"branch": f"staged-{run}"}
    return LakehouseQueryOperator(task_id="stage", **arguments).execute(context)


def publish(context: dict[str, Any], run: int, **options: Any) -> Any:
    usual = {"table": TABLE, "branch": f"staged-{run}", "checks": [UNIQUE]}
    return LakehousePublishOperator(task_id="publish", **usual | options).execute(context)


@pytest.fixture
def runs(context: Contexts) -> dict[int, dict[str, Any]]:
    """Contexts of three runs; the first has published, the others have staged on what it left, and one more came first."""
    found = {run: context(run_id=f"run-{run}") for run in (1, 2, 3)}
    stage(found[1], 1)
    publish(found[1], 1)
    for run in (2, 3):
        stage(found[run], run)
    publish(found[2], 2)
    return found


def published(rows: Rows) -> list[tuple[int, int]]:
    return [(row["id"], row["run"]) for row in rows(LakehouseHook().table(TABLE))]


def branches() -> tuple[str, ...]:
    return tuple(name for name in LakehouseHook().table(TABLE).facts().branches if name != "main")


def test_a_batch_whose_table_moved_is_staged_anew_and_published(runs: dict[int, dict[str, Any]], rows: Rows) -> None:
    publish(runs[3], 3, restage=staging(3))
    assert published(rows) == [(1, 3), (2, 2), (3, 3)]
    assert branches() == ()


def audited(context: dict[str, Any], run: int) -> dict[str, Any]:
    """Check what a run staged, and let the next task find the result."""
    check = LakehouseCheckOperator(task_id="check", table=TABLE, branch=f"staged-{run}", checks=[UNIQUE])
    found = {"check": check.execute(context)}
    context["ti"].xcom_pull = lambda *, task_ids, map_indexes: found.get(task_ids) if map_indexes == -1 else None
    return context


def test_what_was_audited_is_published(context: Contexts, rows: Rows) -> None:
    run = context(run_id="run-1")
    stage(run, 1)
    publish(audited(run, 1), 1, audit="check")
    assert published(rows) == [(1, 1)]


def test_what_was_staged_after_the_audit_is_not_published(context: Contexts, rows: Rows) -> None:
    run = context(run_id="run-1")
    stage(run, 1)
    audited(run, 1)
    sql = "SELECT CAST(9 AS BIGINT) AS id, CAST(9 AS BIGINT) AS run"
    LakehouseQueryOperator(task_id="late", sql=sql, table=TABLE, branch="staged-1", pipeline="late").execute(run)
    with pytest.raises(InvalidRequestError, match="dropped"):
        publish(run, 1, audit="check")
    assert published(rows) == []
    stage(run, 1)
    publish(audited(run, 1), 1, audit="check")
    assert published(rows) == [(1, 1)]


def test_what_did_not_pass_is_not_published_also_where_the_check_does_not_fail_its_task(
    context: Contexts, rows: Rows
) -> None:
    run = context(run_id="run-1")
    stage(run, 1)
    broken = {"name": "there is no run", "condition": "run IS NULL"}
    options = {"branch": "staged-1", "is_blocking": False, "drop_on_failure": False}
    found = LakehouseCheckOperator(task_id="check", table=TABLE, checks=[broken], **options).execute(run)
    run["ti"].xcom_pull = lambda *, task_ids, map_indexes: found
    with pytest.raises(DataRejectedError, match="did not pass"):
        publish(run, 1, audit="check")
    assert published(rows) == []


def test_what_nobody_audited_is_not_published(context: Contexts, rows: Rows) -> None:
    run = context(run_id="run-1")
    stage(run, 1)
    audited(run, 1)
    with pytest.raises(InvalidRequestError, match="did not check"):
        publish(run, 1, audit="another_task")
    assert published(rows) == []


def test_publishing_again_and_staging_again_changes_nothing(runs: dict[int, dict[str, Any]], rows: Rows) -> None:
    publish(runs[3], 3, restage=staging(3))
    version = LakehouseHook().table(TABLE).facts().version
    stage(runs[3], 3)
    assert publish(runs[3], 3, restage=staging(3))["replayed"]
    assert published(rows) == [(1, 3), (2, 2), (3, 3)]
    assert (LakehouseHook().table(TABLE).facts().version, branches()) == (version, ())


def test_an_appended_batch_is_there_once(runs: dict[int, dict[str, Any]], context: Contexts, rows: Rows) -> None:
    late = context(run_id="run-4")
    stage(late, 4, mode="append")
    publish(runs[3], 3, restage=staging(3))
    for _ in range(2):
        publish(late, 4, restage=staging(4, mode="append"))
    assert published(rows) == [(1, 3), (2, 2), (3, 3), (4, 4)]


def test_what_breaks_a_check_on_the_newest_state_is_not_published(
    runs: dict[int, dict[str, Any]], context: Contexts, rows: Rows
) -> None:
    late = context(run_id="run-4")
    stage(late, 4, mode="append", id=3)
    audited(late, 4)
    publish(runs[3], 3, restage=staging(3))
    with pytest.raises(DataRejectedError):
        publish(late, 4, audit="check", restage=staging(4, mode="append", id=3))
    assert published(rows) == [(1, 3), (2, 2), (3, 3)]
    assert branches() == ("staged-4",)


def test_rows_that_are_refused_when_a_batch_is_staged_anew_carry_the_run(
    runs: dict[int, dict[str, Any]], rows: Rows
) -> None:
    small = {"name": "id is small", "condition": "id < 3", "severity": "quarantine"}
    publish(runs[3], 3, restage=staging(3) | {"checks": [small]})
    (refused,) = rows(LakehouseHook().table("quarantine.rows"))
    assert (refused["reason"], refused["run"]) == ("id is small", "run-3")


def test_what_an_attempt_that_died_staged_anew_is_used_once_and_leaves_no_branch(
    runs: dict[int, dict[str, Any]], rows: Rows
) -> None:
    base = LakehouseHook().table(TABLE).facts().version
    died = staging(3) | {"branch": f"staged-3-on-{base}", "pipeline": f"dag/task/{TABLE}/publish/staged"}
    LakehouseQueryOperator(task_id="publish", batch=f"run-3 on {base}", **died).execute(runs[3])
    publish(runs[3], 3, restage=staging(3))
    assert (published(rows), branches()) == ([(1, 3), (2, 2), (3, 3)], ())


def test_without_a_way_to_stage_anew_clearing_what_staged_the_batch_is_enough(
    runs: dict[int, dict[str, Any]], rows: Rows
) -> None:
    with pytest.raises(InvalidRequestError, match="Clear the task that staged it"):
        publish(runs[3], 3)
    assert published(rows) == [(1, 2), (2, 2)]
    stage(runs[3], 3)
    publish(runs[3], 3)
    assert published(rows) == [(1, 3), (2, 2), (3, 3)]


def test_rows_that_are_refused_when_a_batch_is_staged_anew_take_the_place_of_those_refused_before(
    context: Contexts, rows: Rows
) -> None:
    def give(table: str, *ids: int) -> None:
        sql = f"SELECT unnest({list(ids)})::BIGINT AS id, 0::BIGINT AS highest"
        LakehouseQueryOperator(task_id="give", sql=sql, table=table).execute(context(run_id=f"give {ids}"))

    how = {
        "sql": f"SELECT id, (SELECT max(id) FROM {TABLE}) AS highest FROM bronze.orders",
        "reads": ["bronze.orders", TABLE],
        "table": TABLE,
        "checks": [{"name": "id is new", "condition": "id > highest", "severity": "quarantine"}],
    }
    give("bronze.orders", 1, 2, 3)
    give(TABLE, 1)
    run = context(run_id="run-9")
    results = {"stage": LakehouseQueryOperator(task_id="stage", branch="staged-9", **how).execute(run)}
    results["check"] = audited(run, 9)["ti"].xcom_pull(task_ids="check", map_indexes=-1)
    run["ti"].xcom_pull = lambda *, task_ids, map_indexes: results[task_ids]
    give(TABLE, 2)
    publish(run, 9, audit="check", stage="stage", restage=how)
    assert [row["id"] for row in rows(LakehouseHook().table(TABLE))] == [1, 2, 3]
    refused = rows(LakehouseHook().table("quarantine.rows"))
    assert [row["payload"] for row in refused] == [f'{{"id":{id_},"highest":2}}' for id_ in (1, 2)]
    assert {(row["pipeline"], row["batch"], row["run"]) for row in refused} == {(f"dag/task/{TABLE}", "run-9", "run-9")}


def test_a_task_that_staged_nothing_is_named(runs: dict[int, dict[str, Any]], rows: Rows) -> None:
    runs[3]["ti"].xcom_pull = lambda *, task_ids, map_indexes: None
    with pytest.raises(InvalidRequestError, match="staged nothing"):
        publish(runs[3], 3, stage="another_task", restage=staging(3))
    assert published(rows) == [(1, 2), (2, 2)]
