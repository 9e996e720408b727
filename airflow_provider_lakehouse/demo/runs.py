"""Trigger runs of the reference DAG, follow their tasks, and kill one."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from airflow_provider_lakehouse.core.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_lakehouse.demo.server import AirflowServer

DAG_SECONDS: Final = 120
RUN_SECONDS: Final = 900
QUESTIONS: Final = 5
"""How often a question is asked before the server counts as gone."""
POLL_SECONDS: Final = 0.5
_ENDED: Final = ("success", "failed")


@dataclass(frozen=True)
class TaskTime:
    """How long a task of a run took, all its mapped instances together.

    Args:
        task: Task id.
        instances: How many.
        seconds: From the start of the first to the end of the last.
        tries: Attempts, over all instances.
    """

    task: str
    instances: int
    seconds: float
    tries: int


@dataclass(frozen=True)
class RunReport:
    """What became of a run.

    Args:
        run_id: Which.
        state: `success` or `failed`.
        seconds: From the start of its first task to the end of its last.
        tasks: In the order in which they started.
        failed: Ids of tasks that failed.
    """

    run_id: str
    state: str
    seconds: float
    tasks: tuple[TaskTime, ...]
    failed: tuple[str, ...]


@dataclass
class Killer:
    """Sends SIGKILL to the process of a task, once, while it runs.

    Args:
        task: Id of the task to kill.
        delay_seconds: How long it may run before.
    """

    task: str
    delay_seconds: float
    pid: int | None = None
    _seen_at: dict[int, float] = field(default_factory=dict)

    def look(self, instances: list[dict[str, Any]]) -> bool:
        """Kill when it is time; tell whether it did just now."""
        if self.pid is not None:
            return False
        for one in instances:
            pid = one.get("pid")
            if one["task_id"] == self.task and one["state"] == "running" and pid:
                since = self._seen_at.setdefault(pid, time.monotonic())
                if time.monotonic() - since >= self.delay_seconds:
                    os.kill(pid, signal.SIGKILL)
                    self.pid = pid
                    return True
        return False


class Runs:
    """Runs of one DAG on a demonstration server.

    Args:
        server: A healthy server.
        dag_id: Which DAG.
        say: Called with a line of progress.
    """

    def __init__(self, server: AirflowServer, dag_id: str, *, say: Callable[[str], None]) -> None:
        self._server = server
        self._dag_id = dag_id
        self._path = f"/api/v2/dags/{dag_id}"
        self._say = say

    def wait_for_dag(self) -> None:
        """Wait until the dag-processor has read the DAG's file.

        Raises:
            UnavailableError: It could not be imported, or did not turn up in time.
        """
        deadline = time.monotonic() + DAG_SECONDS
        while time.monotonic() < deadline:
            try:
                self._server.call("GET", self._path)
            except UnavailableError:
                self._raise_import_errors()
                time.sleep(POLL_SECONDS)
            else:
                return
        raise UnavailableError("The DAG did not turn up. Read the log of the dag-processor.", dag_id=self._dag_id)

    def _raise_import_errors(self) -> None:
        errors = self._server.call("GET", "/api/v2/importErrors")["import_errors"]
        if errors:
            raise UnavailableError(f"A DAG file cannot be imported: {errors[0]['stack_trace']}", count=len(errors))

    def run(
        self,
        run_id: str,
        *,
        partition: str | None = None,
        conf: Mapping[str, Any] | None = None,
        killer: Killer | None = None,
    ) -> RunReport:
        """Trigger a run and wait for its end.

        Args:
            run_id: Its id; a run that is there is waited for.
            partition: Partition key, for a run of one day.
            conf: Its configuration.
            killer: Kills one of its tasks on the way.

        Raises:
            UnavailableError: It did not end in time.
        """
        body: dict[str, Any] = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf or {})}
        if partition is not None:
            body["partition_key"] = partition
        try:
            self._ask("POST", f"{self._path}/dagRuns", body)
        except UnavailableError as error:
            if error.facts.get("status") != HTTPStatus.CONFLICT:
                raise
        path = f"{self._path}/dagRuns/{quote(run_id)}"
        deadline = time.monotonic() + RUN_SECONDS
        told: Counter[str] = Counter()
        while time.monotonic() < deadline:
            instances = self._ask("GET", f"{path}/taskInstances?limit=1000")["task_instances"]
            if killer is not None and killer.look(instances):
                self._say(f"  kill -9 {killer.pid}: the worker process of {killer.task} is dead")
            self._tell(instances, told)
            run = self._ask("GET", path)
            if run["state"] in _ENDED:
                instances = self._ask("GET", f"{path}/taskInstances?limit=1000")["task_instances"]
                self._tell(instances, told)
                return _report(run, instances)
            time.sleep(POLL_SECONDS)
        raise UnavailableError("The run did not end in time. Look at it in the UI.", run_id=run_id)

    def _ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401
        """Ask the API server, again where a busy one did not answer in time."""
        for _ in range(QUESTIONS - 1):
            try:
                return self._server.call(method, path, body)
            except UnavailableError as error:
                if "status" in error.facts:
                    raise
        return self._server.call(method, path, body)

    def _tell(self, instances: list[dict[str, Any]], told: Counter[str]) -> None:
        for one in instances:
            key = f"{one['task_id']}[{one['map_index']}]:{one['state']}:{one['try_number']}"
            if one["state"] in ("failed", "up_for_retry", "upstream_failed") and not told[key]:
                told[key] += 1
                self._say(f"  {one['task_id']} is {one['state'].replace('_', ' ')} after try {one['try_number']}")


def _report(run: Mapping[str, Any], instances: list[dict[str, Any]]) -> RunReport:
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in instances:
        if one["start_date"] and one["end_date"]:
            groups.setdefault(one["task_id"], []).append(one)
    spans = {task: (min(map(_start, group)), max(map(_end, group))) for task, group in groups.items()}
    tasks = tuple(
        TaskTime(task, len(groups[task]), (end - start).total_seconds(), sum(one["try_number"] for one in groups[task]))
        for task, (start, end) in sorted(spans.items(), key=lambda item: item[1])
    )
    seconds = (max(e for _, e in spans.values()) - min(s for s, _ in spans.values())).total_seconds() if spans else 0.0
    failed = tuple(sorted({one["task_id"] for one in instances if one["state"] == "failed"}))
    return RunReport(str(run["dag_run_id"]), str(run["state"]), seconds, tasks, failed)


def _start(instance: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(instance["start_date"])


def _end(instance: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(instance["end_date"])
