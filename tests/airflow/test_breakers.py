"""A circuit breaker stops loads of every DAG, is fed by checks, and tells Airflow when it opens and closes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, RetryAction
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from airflow_provider_lakehouse.assets import breaker_asset
from airflow_provider_lakehouse.bridge.breakers import BREAKER_ALIAS, BreakerSettings
from airflow_provider_lakehouse.bridge.retries import retry_policy
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, UnavailableError
from airflow_provider_lakehouse.core.quality.breaker_log import BreakerLog
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.operators.check import LakehouseCheckOperator
from airflow_provider_lakehouse.operators.ingest_files import LakehouseIngestFilesOperator
from airflow_provider_lakehouse.operators.ingest_sql import LakehouseIngestSqlOperator
from airflow_provider_lakehouse.operators.publish import LakehousePublishOperator
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator
from airflow_provider_lakehouse.operators.reset_breaker import LakehouseResetBreakerOperator
from airflow_provider_lakehouse.sensors.breaker import LakehouseBreakerSensor
from airflow_provider_lakehouse.triggers.breaker import LakehouseBreakerConditionTrigger

Contexts = Callable[..., dict[str, Any]]
Tables = Callable[..., Any]
SCOPE = "sales.orders"
NOW = datetime.now(UTC)
POSITIVE = {"name": "amount is positive", "condition": "amount > 0"}


def log() -> BreakerLog:
    return BreakerLog(LakehouseHook().table("quality.breakers"))


def state() -> str:
    return log().read(SCOPE).state


def hold(until: datetime | None = None) -> None:
    log().hold_open(SCOPE, by="ann", reason="prices are wrong", now=NOW, until=until)


def check(context: dict[str, Any], breaker: Any = SCOPE, **options: Any) -> Any:
    usual = {"task_id": "check", "table": SCOPE, "checks": [POSITIVE], "breaker": breaker}
    return LakehouseCheckOperator(**usual | options).execute(context)


def query(**options: Any) -> LakehouseQueryOperator:
    return LakehouseQueryOperator(**{"task_id": "load", "sql": "SELECT 1 AS id", "table": "sales.copy"} | options)


def told(context: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The events of breakers that a task would have recorded."""
    events = context["outlet_events"][BREAKER_ALIAS].asset_alias_events
    return [(event.dest_asset_key.uri, event.extra["before"], event.extra["state"]) for event in events]


@pytest.fixture
def orders(table: Tables) -> Any:
    return table(SCOPE, {"amount": "long"}, (5,), (0,))


@pytest.fixture
def sound(table: Tables) -> Any:
    return table(SCOPE, {"amount": "long"}, (5,))


class TestLoads:
    loads = [
        query,
        lambda **o: LakehousePublishOperator(task_id="publish", table="sales.copy", branch="staged", **o),
        lambda **o: LakehouseIngestFilesOperator(task_id="files", files="/nowhere/*.csv", table="sales.copy", **o),
        lambda **o: LakehouseIngestSqlOperator(
            task_id="sql", sql_conn_id="nowhere", table="sales.copy", relation="a.b", mode="replace", **o
        ),
    ]

    @pytest.mark.parametrize("load", loads, ids=["query", "publish", "ingest files", "ingest sql"])
    def test_an_open_breaker_stops_every_kind_of_load_before_anything_is_done(
        self, load: Any, warehouse: str, context: Contexts
    ) -> None:
        hold()
        with pytest.raises(DataRejectedError, match="prices are wrong"):
            load(breaker=SCOPE).execute(context())
        assert LakehouseHook().catalog.tables("sales") == ()

    def test_it_can_skip_instead(self, warehouse: str, context: Contexts) -> None:
        hold()
        with pytest.raises(AirflowSkipException, match="prices are wrong"):
            query(breaker={"scope": SCOPE, "on_open": "skip"}).execute(context())

    def test_a_task_that_was_stopped_is_not_tried_again(self, warehouse: str, context: Contexts) -> None:
        hold()
        with pytest.raises(DataRejectedError) as stopped:
            query(breaker=SCOPE).execute(context())
        assert retry_policy().evaluate(stopped.value, try_number=1, max_tries=3).action is RetryAction.FAIL

    def test_a_closed_breaker_costs_no_entry(self, warehouse: str, context: Contexts) -> None:
        given = context()
        query(breaker=SCOPE).execute(given)
        assert (log().history(SCOPE), told(given)) == ((), [])

    def test_all_breakers_have_to_let_a_task_pass(self, warehouse: str, context: Contexts) -> None:
        hold(until=NOW + timedelta(seconds=0.001))
        log().hold_open("sales.*", by="ann", reason="migration", now=NOW)
        with pytest.raises(DataRejectedError, match="migration"):
            query(breaker=[SCOPE, "sales.*"]).execute(context())
        assert state() == "open", "no probe is taken that another breaker would stop"

    def test_a_probe_is_given_to_one_run_and_to_all_of_its_tasks(self, warehouse: str, context: Contexts) -> None:
        hold(until=NOW + timedelta(seconds=0.001))
        given = context(run_id="run-2")
        query(breaker=SCOPE).execute(given)
        query(breaker=SCOPE, table="sales.other").execute(context(run_id="run-2", task_id="next"))
        with pytest.raises(DataRejectedError):
            query(breaker=SCOPE).execute(context(run_id="run-3"))
        assert told(given) == [(breaker_asset(SCOPE).uri, "open", "half_open")]

    @pytest.mark.parametrize("on_open", ["fail", "skip"])
    def test_breakers_that_cannot_be_read_stop_a_load_that_is_tried_again(
        self, connect: Callable[..., None], context: Contexts, on_open: str
    ) -> None:
        unreachable(connect)
        with pytest.raises(UnavailableError):
            query(breaker={"scope": SCOPE, "on_open": on_open}).execute(context())

    @pytest.mark.parametrize(
        "breaker", [{}, {"scope": ""}, {"scope": SCOPE, "on_open": "wait"}, {"scope": SCOPE, "opens": 1}, [], [""]]
    )
    def test_settings_that_mean_nothing_are_refused(self, breaker: Any) -> None:
        with pytest.raises(InvalidRequestError):
            BreakerSettings.from_json(breaker)

    def test_a_deployment_says_where_breakers_are_kept(
        self, warehouse: str, context: Contexts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW__LAKEHOUSE__BREAKER_LOG", "platform.breakers")
        LakehouseResetBreakerOperator(task_id="hold", breaker=SCOPE, reason="why", action="hold").execute(context())
        assert LakehouseHook().catalog.tables("platform") == ("platform.breakers",)


def unreachable(connect: Callable[..., None]) -> None:
    properties = {"type": "rest", "uri": "http://127.0.0.1:9/"}
    connect(extra={"format": "iceberg", "warehouse": "file:///nowhere", "catalog_properties": properties})


class TestChecks:
    def test_a_check_that_fails_opens_the_breaker_and_fails(self, orders: Any, context: Contexts) -> None:
        with pytest.raises(DataRejectedError, match="breaks 1 of its checks"):
            check(context())
        (entry,) = log().history(SCOPE)
        assert (entry.after.state, entry.checks, entry.by) == ("open", ("amount is positive: 1",), "dag/run-1")
        assert (entry.table, entry.version) == (SCOPE, orders.facts().version)

    def test_a_retry_of_the_check_is_no_second_failure(self, orders: Any, context: Contexts) -> None:
        for _ in range(3):
            with pytest.raises(DataRejectedError):
                check(context(), breaker={"scope": SCOPE, "severities": []})
        assert state() == "closed"
        with pytest.raises(DataRejectedError):
            check(context(run_id="run-2"), breaker={"scope": SCOPE, "severities": [], "consecutive_failures": 2})
        assert state() == "open"

    def test_checks_of_the_run_that_is_the_probe_close_it(self, sound: Any, context: Contexts) -> None:
        hold(until=NOW + timedelta(seconds=0.001))
        given = context()
        query(breaker=SCOPE).execute(context())
        check(given, breaker=SCOPE)
        assert (state(), told(given)) == ("closed", [(breaker_asset(SCOPE).uri, "half_open", "closed")])

    def test_a_check_is_never_stopped_by_the_breaker_it_feeds(self, sound: Any, context: Contexts) -> None:
        hold()
        assert check(context())["outcomes"][0]["verdict"] == "passed"
        assert state() == "open"

    def test_an_opening_is_an_event_where_the_task_succeeds(self, orders: Any, context: Contexts) -> None:
        given = context()
        check(given, is_blocking=False)
        assert told(given) == [(breaker_asset(SCOPE).uri, "closed", "open")]
        (event,) = given["outlet_events"][BREAKER_ALIAS].asset_alias_events
        assert event.extra["checks"] == ["amount is positive: 1"]
        assert json.loads(json.dumps(event.extra)) == event.extra

    def test_a_branch_that_fails_opens_the_breaker_before_it_is_dropped(
        self, local_format: str, context: Contexts
    ) -> None:
        query(sql="SELECT 0 AS amount", table=SCOPE, branch="staged").execute(context())
        with pytest.raises(DataRejectedError):
            check(context(), branch="staged")
        assert state() == "open"
        assert "staged" not in LakehouseHook().table(SCOPE).facts().branches


class TestPeople:
    def reset(self, context: dict[str, Any], **options: Any) -> Any:
        usual = {"task_id": "reset", "breaker": SCOPE, "reason": "they were right", "by": "bob"}
        return LakehouseResetBreakerOperator(**usual | options).execute(context)

    def test_a_reset_closes_and_says_who_and_why(self, warehouse: str, context: Contexts) -> None:
        hold()
        given = context()
        (made,) = self.reset(given)
        assert (made["state"], made["by"], made["reason"]) == ("closed", "bob", "they were right")
        assert (state(), told(given)) == ("closed", [(breaker_asset(SCOPE).uri, "open", "closed")])
        assert self.reset(context()) == []

    def test_without_a_reason_nothing_is_done(self, warehouse: str, context: Contexts) -> None:
        hold()
        with pytest.raises(InvalidRequestError, match="a reason"):
            self.reset(context(), reason=" ")
        assert state() == "open"

    def test_a_breaker_can_be_held_open_for_a_while(self, warehouse: str, context: Contexts) -> None:
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        (made,) = self.reset(context(), action="hold", until=until, by="")
        assert (made["state"], made["due_at"], made["by"]) == ("open", until, "dag/run-1")

    @pytest.mark.parametrize("options", [{"action": "open"}, {"breaker": ""}, {"action": "hold", "until": "tomorrow"}])
    def test_what_means_nothing_is_refused(self, warehouse: str, context: Contexts, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidRequestError):
            self.reset(context(), **options)


class TestSensor:
    def sensor(self, **options: Any) -> LakehouseBreakerSensor:
        return LakehouseBreakerSensor(**{"task_id": "wait", "breaker": SCOPE} | options)

    def test_a_closed_breaker_is_not_waited_for(self, warehouse: str, context: Contexts) -> None:
        assert self.sensor().poke(context()).is_done

    def test_an_open_breaker_is_waited_for(self, warehouse: str, context: Contexts) -> None:
        hold()
        found = self.sensor().poke(context())
        assert not found.is_done
        assert found.xcom_value[0]["reason"] == "prices are wrong"  # type: ignore[index]

    def test_it_passes_when_it_is_given_the_probe(self, warehouse: str, context: Contexts) -> None:
        hold(until=NOW + timedelta(seconds=0.001))
        given = context()
        assert self.sensor().poke(given).is_done
        assert told(given) == [(breaker_asset(SCOPE).uri, "open", "half_open")]
        assert not self.sensor().poke(context(run_id="run-2")).is_done

    @pytest.mark.parametrize(("on_open", "kind"), [("fail", DataRejectedError), ("skip", AirflowSkipException)])
    def test_it_can_fail_or_skip_at_once(
        self, warehouse: str, context: Contexts, on_open: Any, kind: type[Exception]
    ) -> None:
        hold()
        with pytest.raises(kind, match="prices are wrong"):
            self.sensor(on_open=on_open).poke(context())

    @pytest.mark.parametrize("on_open", ["wait", "fail", "skip"])
    def test_breakers_that_cannot_be_read_are_asked_again(
        self, connect: Callable[..., None], context: Contexts, on_open: Any
    ) -> None:
        unreachable(connect)
        assert not self.sensor(on_open=on_open).poke(context()).is_done

    def test_a_word_that_means_nothing_is_refused(self, warehouse: str, context: Contexts) -> None:
        with pytest.raises(InvalidRequestError):
            self.sensor(on_open="hope").poke(context())

    def test_a_deferrable_sensor_hands_the_wait_to_a_trigger_and_asks_again(
        self, warehouse: str, context: Contexts
    ) -> None:
        hold(until=NOW + timedelta(seconds=0.001))
        log().admit(SCOPE, rules=BreakerSettings.from_json(SCOPE).rules, by="dag/other", now=datetime.now(UTC))
        wait = self.sensor(deferrable=True, poke_interval=5, timeout=90)
        with pytest.raises(TaskDeferred) as deferred:
            wait.execute(context())
        assert isinstance(deferred.value.trigger, LakehouseBreakerConditionTrigger)
        until = deferred.value.kwargs["until"]  # type: ignore[index]
        with pytest.raises(TaskDeferred) as again:
            wait.execute_complete(context(), {"status": "met"}, until=until)
        assert again.value.kwargs["until"] == until  # type: ignore[index]
        log().reset(SCOPE, by="ann", reason="over", now=NOW)
        assert wait.execute_complete(context(), {"status": "met"}, until=until)[0]["state"] == "closed"

    def test_its_time_is_over_once_however_often_it_was_deferred(self, warehouse: str, context: Contexts) -> None:
        hold()
        with pytest.raises(AirflowSensorTimeout):
            self.sensor(deferrable=True).execute_complete(context(), {"status": "met"}, until=NOW.isoformat())
        with pytest.raises(AirflowSkipException):
            self.sensor(deferrable=True, soft_fail=True).execute_complete(
                context(), {"status": "met"}, until=NOW.isoformat()
            )

    def test_what_the_trigger_met_is_raised_as_its_kind(self, context: Contexts) -> None:
        event = {"status": "failed", "kind": "InvalidRequestError", "message": "It happened."}
        with pytest.raises(InvalidRequestError, match="It happened"):
            self.sensor().execute_complete(context(), event, until=NOW.isoformat())


@pytest.mark.airflow
@pytest.mark.slow
def test_airflow_records_that_a_breaker_changed(run_dag: Callable[..., Any], warehouse: str) -> None:
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with DAG("hold_breaker", schedule=None) as dag:
        hold_it = LakehouseResetBreakerOperator(
            task_id="hold", breaker=SCOPE, action="hold", reason="{{ dag_run.run_id }} says so"
        )
        load = query(breaker={"scope": SCOPE, "on_open": "skip"})
        hold_it >> load
    run = run_dag(dag)
    states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
    assert states == {"hold": "success", "load": "skipped"}
    with create_session() as session:
        events = session.scalars(
            select(AssetEvent)
            .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
            .where(AssetModel.uri == breaker_asset(SCOPE).uri)
        ).all()
        assert [(event.extra["state"], event.extra["rule"]) for event in events] == [("open", "hold")]
