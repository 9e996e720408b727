"""A real Airflow on this machine: scheduler, dag-processor, triggerer and API server, in a folder of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from airflow_provider_lakehouse.core.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

START_SECONDS: Final = 180
STOP_SECONDS: Final = 20
POLL_SECONDS: Final = 0.25
PRELOADED: Final = (
    "pyarrow.dataset",
    "pyarrow.parquet",
    "duckdb",
    "pyiceberg.catalog.sql",
    "pyiceberg.io.pyarrow",
    "airflow_provider_lakehouse.core.tables.iceberg.table",
    "airflow_provider_lakehouse.core.tables.delta.table",
    "airflow_provider_lakehouse.core.engines.duckdb",
    "airflow_provider_lakehouse.core.contracts.faults",
    "airflow_provider_lakehouse.core.contracts.yaml_text",
    "airflow_provider_lakehouse.core.quality.from_contract",
    "airflow_provider_lakehouse.core.quality.gate",
    "airflow_provider_lakehouse.core.quality.history",
    "airflow_provider_lakehouse.core.quality.page",
    "jsonschema.validators",
    "airflow_provider_lakehouse.task_groups.medallion",
)
"""What its tasks use; delta-rs is left out, which starts a thread when it is imported."""
_COMPONENTS: Final = ("metadatabase", "scheduler", "triggerer", "dag_processor")


@dataclass(frozen=True)
class ServerSettings:
    """How the demonstration's Airflow is set up.

    Args:
        home: Folder for its database, logs and settings.
        dags: Folder of DAG files.
        connections: Airflow connections by id, as JSON values.
        port: Port of the API server on the loopback address; 0 takes a free one.
        parallelism: Tasks at a time.
        variables: Further environment variables.
    """

    home: Path
    dags: Path
    connections: Mapping[str, Mapping[str, Any]]
    port: int = 0
    parallelism: int = 3
    variables: Mapping[str, str] = field(default_factory=dict)


class AirflowServer:
    """Starts Airflow in a process group of its own, and stops exactly that.

    Args:
        settings: How to set it up.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.port = settings.port or _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = settings.home / "airflow.out"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of `airflow standalone`, and of the process group; None while it does not run."""
        return self._process.pid if self._process is not None else None

    def __enter__(self) -> Self:
        """Start, and wait until every component is healthy."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Start, and wait until every component is healthy.

        Raises:
            UnavailableError: Its port is taken, it ended, or it was not healthy in time; the error names its log.
        """
        if _is_taken(self.port):
            raise UnavailableError(
                f"Port {self.port} is taken, perhaps by another Airflow. End it, or choose another port.",
                port=self.port,
            )
        self.settings.home.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "standalone"],
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_healthy(self._process)
        except BaseException:
            self.stop()
            raise

    def _wait_until_healthy(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_healthy():
            if process.poll() is not None or time.monotonic() > deadline:
                raise UnavailableError("Airflow did not start. Read its log.", log=str(self.log))
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End the process group, politely first."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                break
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()
        self._process = None

    def wait(self) -> None:
        """Wait until somebody ends it."""
        if self._process is not None:
            self._process.wait()

    def environment(self) -> dict[str, str]:
        """Return the environment of its processes."""
        values = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        connections = {
            f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in self.settings.connections.items()
        }
        values["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), values.get("PATH", "")])
        return values | self._airflow_settings() | connections | dict(self.settings.variables)

    def _airflow_settings(self) -> dict[str, str]:
        home = self.settings.home
        return {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.settings.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": str(self.settings.parallelism),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",  # seconds; a busy laptop needs more than five
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            # A worker may notice the end of a task only with its next heartbeat.
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__LAKEHOUSE__PRELOAD": ",".join(PRELOADED),
        }

    def _is_healthy(self) -> bool:
        try:
            health = self.call("GET", "/api/v2/monitor/health", anonymous=True)
        except UnavailableError:
            return False
        return all((health.get(component) or {}).get("status") == "healthy" for component in _COMPONENTS)

    def call(self, method: str, path: str, body: object = None, *, anonymous: bool = False) -> Any:  # noqa: ANN401
        """Ask the API server.

        Args:
            method: HTTP method.
            path: Path below the server's address.
            body: Sent as JSON.
            anonymous: Ask without a token.

        Raises:
            UnavailableError: It did not answer, or refused.
        """
        headers = {"Content-Type": "application/json"}
        if not anonymous:
            headers["Authorization"] = f"Bearer {self._token()}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, headers=headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise UnavailableError(f"Airflow refused: {error.read()[:300]!r}", path=path, status=error.code) from error
        except (OSError, ValueError) as error:
            raise UnavailableError("Airflow's API server did not answer.", path=path) from error

    def _token(self) -> str:
        if not hasattr(self, "_access_token"):
            self._access_token: str = self.call("GET", "/auth/token", anonymous=True)["access_token"]
        return self._access_token


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
