"""A consumer goes on only when the newest version passed; no verdict is another thing than a bad one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, RetryAction
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from airflow_provider_lakehouse.assets import table_asset
from airflow_provider_lakehouse.bridge.quality import newest_quality, quality_facts
from airflow_provider_lakehouse.bridge.retries import retry_policy
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import CheckOutcome
from airflow_provider_lakehouse.core.quality.run import ChecksResult
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.operators.check import LakehouseCheckOperator
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator
from airflow_provider_lakehouse.sensors.quality import LakehouseQualitySensor, require_quality

Contexts = Callable[..., dict[str, Any]]
ASSET = table_asset("sales.orders")


def said(version: int, verdict: str, **counts: int) -> dict[str, Any]:
    return {"version": version, "quality": {"version": version, "verdict": verdict, "checks": 2, **counts}}


class Events(list[Any]):
    """The events of an asset, as Airflow offers them to a task: oldest first unless asked otherwise."""

    def ascending(self, wanted: bool) -> Events:
        return Events(self if wanted else reversed(self))

    def limit(self, count: int) -> Events:
        return Events(self[:count])


def look(context: dict[str, Any], *extras: dict[str, Any] | None, **options: Any) -> Any:
    """Let a sensor look at events, oldest first."""
    events = Events(SimpleNamespace(extra=extra) for extra in extras)
    sensor = LakehouseQualitySensor(**{"task_id": "gate", "asset": ASSET} | options)
    return sensor.poke(context | {"inlet_events": {ASSET: events}})


def outcome(severity: Any, verdict: Any) -> CheckOutcome:
    return CheckOutcome(f"{severity} {verdict}", severity, int(verdict != "passed"), verdict)


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ([], "passed"),
        ([("fail", "passed"), ("warn", "broken"), ("warn", "unknown")], "passed"),
        ([("fail", "passed"), ("quarantine", "broken")], "broken"),
        ([("fail", "unknown"), ("fail", "passed")], "unknown"),
        ([("fail", "unknown"), ("drop", "broken")], "broken"),
    ],
)
def test_the_verdict_is_of_the_checks_that_are_more_than_warnings(
    outcomes: list[tuple[str, str]], verdict: str
) -> None:
    found = quality_facts(ChecksResult("a.b", 3, 10, tuple(outcome(*one) for one in outcomes)))
    assert (found["version"], found["verdict"], found["checks"]) == (3, verdict, len(outcomes))


class TestVerdicts:
    def test_a_version_that_passed_lets_pass(self, context: Contexts) -> None:
        found = look(context(), {"version": 1}, said(1, "passed"))
        assert found.is_done
        assert found.xcom_value == {"verdict": "passed", "version": 1, "checks": 2, "broken": 0, "unknown": 0}

    @pytest.mark.parametrize("verdict", ["broken", "unknown", "fine", None])
    def test_any_other_word_is_not_a_pass_and_fails_without_a_retry(self, context: Contexts, verdict: Any) -> None:
        with pytest.raises(DataRejectedError, match="did not pass") as refused:
            look(context(), said(1, verdict, broken=1))
        assert refused.value.facts["version"] == 1
        assert retry_policy().evaluate(refused.value, try_number=1, max_tries=3).action is RetryAction.FAIL

    @pytest.mark.parametrize(
        "extras",
        [[], [None], [{}], [{"version": 2}], [said(1, "passed"), {"version": 2}], [said(1, "broken"), {"version": 2}]],
        ids=["no event", "no extra", "no version", "never checked", "an older one passed", "an older one is broken"],
    )
    def test_without_a_verdict_on_the_newest_version_it_waits(self, context: Contexts, extras: list[Any]) -> None:
        found = look(context(), *extras)
        assert not found.is_done
        assert found.xcom_value is not None
        assert found.xcom_value["verdict"] == "missing"

    def test_a_verdict_may_come_before_other_news_of_the_same_version(self, context: Contexts) -> None:
        assert look(context(), said(2, "passed"), {"version": 2}, {"note": "no version"}).is_done

    def test_the_newest_verdict_on_a_version_counts(self, context: Contexts) -> None:
        assert look(context(), said(2, "broken"), said(2, "passed")).is_done

    def test_events_of_a_watcher_name_versions_too(self, context: Contexts) -> None:
        watched = {"from_trigger": True, "payload": {"version": 3}}
        assert not look(context(), said(2, "passed"), watched).is_done

    def test_what_is_only_staged_is_no_newer_version(self, context: Contexts) -> None:
        assert look(context(), said(2, "passed"), {"version": 3, "branch": "staged"}).is_done


class TestReactions:
    def test_what_follows_can_be_skipped(self, context: Contexts) -> None:
        with pytest.raises(AirflowSkipException, match="1 of 2 checks are broken"):
            look(context(), said(1, "broken", broken=1), on_bad="skip")
        with pytest.raises(AirflowSkipException, match="nobody has checked it yet"):
            look(context(), {"version": 1}, on_missing="skip")

    def test_a_missing_verdict_can_fail(self, context: Contexts) -> None:
        with pytest.raises(DataRejectedError, match="no event names a version yet"):
            look(context(), on_missing="fail")

    def test_a_bad_verdict_can_be_waited_out(self, context: Contexts) -> None:
        assert not look(context(), said(1, "broken"), on_bad="wait").is_done

    def test_a_word_that_means_nothing_is_refused(self, context: Contexts) -> None:
        with pytest.raises(InvalidRequestError):
            look(context(), said(1, "passed"), on_bad="ignore")  # type: ignore[arg-type]

    def test_a_deferrable_gate_pauses_in_the_triggerer_and_looks_again(self, context: Contexts) -> None:
        gate = LakehouseQualitySensor(task_id="gate", asset=ASSET, deferrable=True, poke_interval=5, timeout=90)
        events = Events()
        given = context() | {"inlet_events": {ASSET: events}}
        with pytest.raises(TaskDeferred) as deferred:
            gate.execute(given)
        until = deferred.value.kwargs["until"]  # type: ignore[index]
        with pytest.raises(TaskDeferred) as again:
            gate.execute_complete(given, None, until=until)
        assert again.value.kwargs["until"] == until  # type: ignore[index]
        events.append(SimpleNamespace(extra=said(1, "passed")))
        assert gate.execute_complete(given, None, until=until)["verdict"] == "passed"
        events.clear()
        with pytest.raises(AirflowSensorTimeout):
            gate.execute_complete(given, None, until=datetime.now(UTC).isoformat())


def test_the_short_form_names_the_task_and_its_inlet() -> None:
    gate = require_quality("sales.orders", format="delta", on_missing="fail")
    assert gate.task_id == "require_quality_of_sales.orders"
    assert [inlet.uri for inlet in gate.inlets] == ["delta://default/sales/orders"]
    assert gate.on_missing == "fail"


class TestChecksAnnounce:
    def test_a_check_announces_its_verdict_on_the_outlet_of_the_table(
        self, local_format: str, context: Contexts
    ) -> None:
        asset, given = table_asset("sales.orders", format=local_format), context()
        LakehouseQueryOperator(task_id="load", sql="SELECT 0 AS amount", table="sales.orders").execute(context())
        checks = [
            {"name": "positive", "condition": "amount > 0"},
            {"name": "known", "condition": "amount IS NOT NULL"},
        ]
        LakehouseCheckOperator(
            task_id="check", table="sales.orders", checks=checks, is_blocking=False, outlets=[asset]
        ).execute(given)
        extra = given["outlet_events"][asset].extra
        version = LakehouseHook().table("sales.orders").facts().version
        assert extra["quality"] == {"version": version, "verdict": "broken", "checks": 2, "broken": 1, "unknown": 0}
        assert newest_quality([extra, {"version": version}]).verdict == "broken"

    def test_what_is_staged_is_not_announced(self, local_format: str, context: Contexts) -> None:
        asset, given = table_asset("sales.orders", format=local_format), context()
        load = LakehouseQueryOperator(task_id="load", sql="SELECT 1 AS n", table="sales.orders", branch="staged")
        load.execute(context())
        check = LakehouseCheckOperator(
            task_id="check",
            table="sales.orders",
            branch="staged",
            checks=[{"name": "n", "condition": "n > 0"}],
            outlets=[asset],
        )
        check.execute(given)
        assert given["outlet_events"][asset].extra == {}


@pytest.mark.airflow
@pytest.mark.slow
def test_a_consumer_waits_for_checks_under_airflow(
    run_dag: Callable[..., Any], connect: Callable[..., None], tmp_path: Any
) -> None:
    connect(extra={"format": "iceberg", "warehouse": f"file://{tmp_path}/warehouse", "memory_limit_mb": 256})

    def run(name: str, condition: str) -> dict[str, str]:
        with DAG(name, schedule=None) as dag:
            load = LakehouseQueryOperator(
                task_id="load", sql=f"SELECT '{name}' AS id, 1 AS n", table="sales.orders", outlets=[ASSET]
            )
            check = LakehouseCheckOperator(
                task_id="check",
                table="sales.orders",
                checks=[{"name": "n", "condition": condition}],
                is_blocking=False,
                outlets=[ASSET],
            )
            gate = require_quality("sales.orders", task_id="gate", retries=0)
            load >> check >> gate
        return {ti.task_id: str(ti.state) for ti in run_dag(dag).get_task_instances()}

    done = {"load": "success", "check": "success"}
    assert run("sound", "n > 0") == done | {"gate": "success"}
    assert run("broken", "n > 1") == done | {"gate": "failed"}
