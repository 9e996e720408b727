"""People are told what failed, by real servers of each kind, and never see the value of a row."""

from __future__ import annotations

import asyncio
import json
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email import message_from_string
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, AsyncCallback
from airflow.serialization.decoders import decode_deadline_alert
from airflow.serialization.serialized_objects import DagSerialization
from airflow.triggers.callback import CallbackTrigger

from airflow_provider_lakehouse.bridge.deadlines import deadlines_of_contract
from airflow_provider_lakehouse.core.contracts.contract import Contract
from airflow_provider_lakehouse.core.contracts.service_level import ServiceLevel
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.notifications.message import MAX_CHECKS, message_of
from airflow_provider_lakehouse.notifications.quality import LakehouseQualityNotifier
from airflow_provider_lakehouse.operators.check import LakehouseCheckOperator
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator

Contexts = Callable[..., dict[str, Any]]
SECRET = 48151623
CHECKS = [
    {"name": "amount is small & <sound>", "condition": "amount < 10", "owner": "sales"},
    {"name": "amount is known", "condition": "amount IS NOT NULL", "severity": "warn"},
]


@pytest.fixture
def failed(table: Callable[..., Any], context: Contexts, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a callback is called with after a check failed."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/")
    table("sales.orders", {"amount": "long"}, (SECRET,), (None,), (3,))
    task = LakehouseCheckOperator(task_id="check", table="sales.orders", checks=CHECKS, owner="ann")
    given = context(run_id="manual__2026-05-01T00:00:00+00:00", task_id="check")
    given["ti"].try_number = 2
    with pytest.raises(DataRejectedError) as error:
        task.execute(given)
    return given | {"task": task, "exception": error.value}


class TestMessages:
    def test_it_says_what_failed_where_and_whom_to_ask(self, failed: dict[str, Any]) -> None:
        version = LakehouseHook().table("sales.orders").facts().version
        assert message_of(failed).text.split("\n") == [
            "sales.orders did not pass",
            "Table: sales.orders",
            f"Version: {version}",
            "Reason: Table 'sales.orders' breaks 1 of its checks. Correct the rows at the source.",
            "DAG: dag",
            "Task: check",
            "Run: manual__2026-05-01T00:00:00+00:00",
            "Try: 2",
            "Owner: ann",
            "- amount is small & <sound>: 2 (fail, owner sales)",
            "- amount is known: 1 (warn)",
            "https://airflow.example/dags/dag/runs/manual__2026-05-01T00%3A00%3A00%2B00%3A00/tasks/check",
        ]

    def test_the_page_about_what_was_found_is_linked(
        self, failed: dict[str, Any], context: Contexts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("AIRFLOW__LAKEHOUSE__QUALITY_PAGES", str(tmp_path))
        with pytest.raises(DataRejectedError) as error:
            failed["task"].execute(context())
        message = message_of(failed | {"exception": error.value})
        assert message.page.startswith("https://airflow.example/lakehouse/quality/page?dag_id=dag&run_id=run-1&")
        assert message.text.split("\n")[-2:] == [message.page, message.link]
        assert message.html.count("<a href=") == 2
        assert message.to_json()["page"] == message.page

    def test_checks_of_a_contract_have_their_owner(
        self, table: Callable[..., Any], context: Contexts, tmp_path: Path
    ) -> None:
        path = tmp_path / "orders.odcs.yaml"
        path.write_text(
            "{apiVersion: v3.2.0, kind: DataContract, id: o, version: 1.0.0, status: active, team: {name: sales-data}, schema: ["
            "{name: orders, physicalName: sales.orders, properties: [{name: amount, required: true}]}]}"
        )
        table("sales.orders", {"amount": "long"}, (None,))
        task = LakehouseCheckOperator(task_id="check", table="sales.orders", contract=str(path))
        load = LakehouseQueryOperator(
            task_id="load",
            sql="SELECT 1::BIGINT AS amount",
            table="sales.orders",
            checks=[{"name": "amount is large", "condition": "amount > 10", "owner": "sales"}],
        )
        told = []
        for one in (task, load):
            with pytest.raises(DataRejectedError) as error:
                one.execute(context())
            told += [str(check) for check in message_of(context() | {"task": one, "exception": error.value}).checks]
        assert told == [
            "amount: values not be null: 1 (fail, owner sales-data)",
            "amount is large: 1 (fail, owner sales)",
        ]

    def test_no_value_of_a_row_is_told(self, failed: dict[str, Any]) -> None:
        assert str(SECRET) not in json.dumps(message_of(failed).to_json())

    def test_an_error_of_others_is_told_by_its_type_only(self, failed: dict[str, Any]) -> None:
        message = message_of(failed | {"exception": ValueError(f"cannot read {SECRET}")})
        assert message.facts["Reason"] == "ValueError"
        assert str(SECRET) not in json.dumps(message.to_json())

    def test_where_only_the_error_is_left_it_names_the_checks(self, failed: dict[str, Any]) -> None:
        without = SimpleNamespace(checks=CHECKS, owner="ann", table="sales.orders")
        (only,) = message_of(failed | {"task": without}).checks
        assert str(only) == "amount is small & <sound>: 2 (fail, owner sales)"
        (nameless,) = message_of(failed | {"task": None}).checks
        assert str(nameless) == "amount is small & <sound>: 2"

    @pytest.mark.parametrize("checks", ["{{ checks }}", [{"nonsense": 1}], [7], None])
    def test_checks_that_cannot_be_read_do_not_keep_it_back(self, failed: dict[str, Any], checks: Any) -> None:
        task = SimpleNamespace(checks=checks, table="sales.orders")
        assert message_of(failed | {"task": task}).checks[0].count == "2"

    def test_an_open_breaker_is_named(self, warehouse: str, context: Contexts) -> None:
        error = DataRejectedError("The breaker of 'sales.*' is open: migration.", scope="sales.*")
        message = message_of(context() | {"exception": error})
        assert (message.subject, message.facts["Breaker"]) == ("sales.* did not pass", "sales.*")

    def test_of_many_checks_the_first_are_named_and_the_others_counted(self, context: Contexts) -> None:
        error = DataRejectedError("It broke.", table="a.b", checks=tuple(f"c{n}: 1" for n in range(MAX_CHECKS + 5)))
        assert message_of(context() | {"exception": error}).text.split("\n")[-1] == "- and 5 more"

    def test_of_a_missed_deadline_only_the_run_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example")
        run = {"dag_id": "retail", "run_id": "run 1"}
        message = message_of({"dag_run": run, "deadline": {"id": "x", "deadline_time": "2026-05-01T06:00:00Z"}})
        assert message.text.split("\n") == [
            "A run of retail missed its deadline",
            "DAG: retail",
            "Run: run 1",
            "Deadline: 2026-05-01T06:00:00Z",
            "https://airflow.example/dags/retail/runs/run%201",
        ]

    def test_a_mapped_task_is_linked_by_its_index(self, context: Contexts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example")
        assert message_of(context(map_index=3)).link.endswith("/tasks/task/mapped/3")

    def test_nothing_known_is_still_a_message(self) -> None:
        assert message_of({}).text == "Checks of "


@pytest.fixture
def posted() -> Iterator[tuple[int, list[tuple[str, dict[str, Any]]]]]:
    """A port, and what is posted to it."""
    found: list[tuple[str, dict[str, Any]]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(500 if self.path == "/down" else 200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, found
        server.shutdown()
        thread.join()


class MailServer(socketserver.ThreadingTCPServer):
    """Enough of SMTP (RFC 5321) to take mails."""

    allow_reuse_address = True

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], str]] = []
        super().__init__(("127.0.0.1", 0), MailSession)


class MailSession(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        to: list[str] = []
        self.say("220 ready")
        while line := self.rfile.readline().decode().strip():
            word = line[:4].upper()
            if word == "RCPT":
                to.append(line.partition("<")[2].partition(">")[0])
            if word == "DATA":
                self.say("354 go on")
                body = "".join(iter(lambda: self.rfile.readline().decode(), ".\r\n"))
                self.server.mails.append((to, body))
            self.say("221 bye" if word == "QUIT" else "250 ok")
            if word == "QUIT":
                return

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with MailServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class TestWebhook:
    def test_the_message_is_posted_as_json(
        self, failed: dict[str, Any], posted: Any, connect: Callable[..., None]
    ) -> None:
        port, found = posted
        connect("alerts", conn_type="http", host="127.0.0.1", port=port)
        LakehouseQualityNotifier(channel="webhook", conn_id="alerts", endpoint="/quality/{{ ti.task_id }}")(failed)
        ((path, body),) = found
        assert path == "/quality/check"
        assert body["facts"]["Table"] == "sales.orders"
        assert body["checks"][0] == {
            "name": "amount is small & <sound>", "count": "2", "severity": "fail", "owner": "sales",
        }  # fmt: skip

    def test_a_server_that_refuses_is_an_error(
        self, failed: dict[str, Any], posted: Any, connect: Callable[..., None]
    ) -> None:
        from airflow.sdk.exceptions import AirflowException

        connect("alerts", conn_type="http", host="127.0.0.1", port=posted[0])
        with pytest.raises(AirflowException, match="500"):
            LakehouseQualityNotifier(channel="webhook", conn_id="alerts", endpoint="/down")(failed)

    def test_a_missed_deadline_is_told_from_the_event_loop(self, posted: Any, connect: Callable[..., None]) -> None:
        port, found = posted
        connect("alerts", conn_type="http", host="127.0.0.1", port=port)
        context = {"dag_run": {"dag_id": "retail", "run_id": "run-1"}, "deadline": {"deadline_time": "06:00"}}

        async def main() -> None:
            await LakehouseQualityNotifier(channel="webhook", conn_id="alerts", context=context)

        asyncio.run(main())
        assert found[0][1]["subject"] == "A run of retail missed its deadline"

    def test_the_triggerer_tells_of_a_run_that_missed_the_deadline_of_a_contract(
        self, posted: Any, connect: Callable[..., None]
    ) -> None:
        port, found = posted
        connect("alerts", conn_type="http", host="127.0.0.1", port=port)
        contract = Contract("shop", "1.0.0", service_levels=(ServiceLevel("latency", 4, "h"),))
        tell = AsyncCallback(LakehouseQualityNotifier, kwargs={"channel": "webhook", "conn_id": "alerts"})
        deadlines = deadlines_of_contract(contract, callback=tell)
        with DAG("retail", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule="@daily", deadline=deadlines) as dag:
            pass
        (kept,) = DagSerialization.from_dict(DagSerialization.to_dict(dag)).deadline
        callback = decode_deadline_alert(kept).callback
        context = {"dag_run": {"dag_id": "retail", "run_id": "run-1"}, "deadline": {"deadline_time": "06:00"}}
        trigger = CallbackTrigger(callback.path, callback.kwargs | {"context": context})

        async def main() -> list[Any]:
            return [event async for event in trigger.run()]

        states = [event.payload["state"] for event in asyncio.run(main())]
        assert states[-1] == "success"
        assert found[0][1]["subject"] == "A run of retail missed its deadline"


class TestMail:
    def test_the_message_is_mailed(
        self, failed: dict[str, Any], mails: MailServer, connect: Callable[..., None]
    ) -> None:
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "lake@example.org"}
        connect("mail", conn_type="smtp", host="127.0.0.1", port=mails.server_address[1], extra=extra)
        LakehouseQualityNotifier(channel="email", conn_id="mail", to="ann@example.org, bob@example.org")(failed)
        ((to, source),) = mails.mails
        mail = message_from_string(source)
        (body,) = [part.get_payload(decode=True) for part in mail.walk() if part.get_content_type() == "text/html"]
        assert isinstance(body, bytes)
        assert to == ["ann@example.org", "bob@example.org"]
        assert (mail["Subject"], mail["From"]) == ("sales.orders did not pass", "lake@example.org")
        assert "- amount is small &amp; &lt;sound&gt;: 2 (fail, owner sales)<br>" in body.decode()
        assert '<a href="https://airflow.example/dags/dag/' in body.decode()

    def test_a_mail_needs_an_address(self, failed: dict[str, Any]) -> None:
        with pytest.raises(InvalidRequestError, match="somebody to go to"):
            LakehouseQualityNotifier(channel="email", conn_id="mail", to=" ,")(failed)


class TestSlack:
    def test_the_message_is_sent(self, failed: dict[str, Any], posted: Any, connect: Callable[..., None]) -> None:
        port, found = posted
        connect("slack", conn_type="slackwebhook", schema="http", host=f"127.0.0.1:{port}", password="T/B/x")
        LakehouseQualityNotifier(channel="slack", conn_id="slack")(failed)
        assert "- amount is small &amp; &lt;sound&gt;: 2 (fail, owner sales)" in found[0][1]["text"]

    def test_a_provider_that_is_missing_is_named(self, failed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "airflow.providers.slack.hooks.slack_webhook", None)
        with pytest.raises(UnsupportedError, match="apache-airflow-providers-slack"):
            LakehouseQualityNotifier(channel="slack", conn_id="slack")(failed)


def test_a_channel_that_does_not_exist_is_refused(failed: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="no channel 'pigeon'"):
        LakehouseQualityNotifier(channel="pigeon", conn_id="x")(failed)  # type: ignore[arg-type]


@pytest.mark.airflow
@pytest.mark.slow
def test_airflow_calls_it_when_a_task_fails(
    run_dag: Callable[..., Any], table: Callable[..., Any], posted: Any, connect: Callable[..., None]
) -> None:
    port, found = posted
    connect("alerts", conn_type="http", host="127.0.0.1", port=port)
    table("sales.orders", {"amount": "long"}, (SECRET,))
    tell = LakehouseQualityNotifier(channel="webhook", conn_id="alerts")
    with DAG("told", schedule=None, default_args={"on_failure_callback": tell, "retries": 0}) as dag:
        LakehouseCheckOperator(task_id="check", table="sales.orders", checks=CHECKS, breaker="sales.orders")
    run_dag(dag)
    ((_, body),) = found
    assert (body["facts"]["Table"], body["facts"]["Task"]) == ("sales.orders", "check")
    assert [one["name"] for one in body["checks"]] == ["amount is small & <sound>"]
    assert str(SECRET) not in json.dumps(body)
