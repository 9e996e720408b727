"""What every real server of the tests shares: a free port, a scratch folder, a readiness poll and a stop by pid."""

import abc
import os
import pwd
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import ClassVar, Self

LOOPBACK = "127.0.0.1"
START_DEADLINE_SECONDS = 30.0
STOP_DEADLINE_SECONDS = 15.0
POLL_SECONDS = 0.02
START_ATTEMPTS = 5
LOG_TAIL_CHARACTERS = 2_000


class ServiceMissingError(RuntimeError):
    """The machine lacks the program; the message says what to install."""


class ServiceFailedError(RuntimeError):
    """The program is there, but the server did not start or stop as it should."""


class ServiceExitedError(ServiceFailedError):
    """The server ended before it was ready, as it does when something else took its port."""


@dataclass(frozen=True)
class Command:
    """How to run one server.

    Attributes:
        argv: The program and its arguments.
        env: Variables the server gets besides the bare minimum; the person's own settings never reach it.
        user: The account to run under, or None for the account of the tests.
    """

    argv: Sequence[str | Path]
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None

    def spawn(self, folder: Path, output: int) -> subprocess.Popen[bytes]:
        """Starts the program without waiting for it.

        Args:
            folder: The working folder.
            output: The file descriptor that takes what the program prints.

        Returns:
            The running child, in a session of its own so that a Ctrl-C reaches only the tests.
        """
        minimum = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LC_ALL": "C", "TZ": "UTC"}
        return subprocess.Popen(
            [str(word) for word in self.argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=minimum | dict(self.env),
            start_new_session=True,
            user=self.user,
            group=None if self.user is None else pwd.getpwnam(self.user).pw_gid,
            extra_groups=None if self.user is None else [],
        )


def free_port() -> int:
    """Returns a port of the loopback interface that nothing listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class LoopbackServer(abc.ABC):
    """A server that runs as a child of this process and listens on the loopback interface only.

    As a context manager it starts the server and, at the end, stops it and removes its scratch folder. Between the two
    `stop`, `crash` and `start` can be called at will: the port and the data stay the same.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    crash_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, data: Path | None = None, port: int | None = None) -> None:
        """Describes the server without starting it.

        Args:
            data: The folder that keeps the data and outlives the server; None for one that goes away with it.
            port: The port to listen on; None for a free one.
        """
        self._given_data = data
        self._fixed_port = port
        self._port = port
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The port the server listens on, known once it has started."""
        if self._port is None:
            raise ServiceFailedError(f"{self.name} has no port before it starts")
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServiceFailedError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server is up."""
        return self._process is not None and self._process.poll() is None

    @property
    def scratch(self) -> Path:
        """The folder for logs and, unless a data folder was given, the data."""
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="lakehouse-service-")
            # A server that runs under another account has to reach its own folder below this one.
            Path(self._scratch.name).chmod(0o711)
        return Path(self._scratch.name)

    @property
    def data(self) -> Path:
        """The folder that keeps the data."""
        return self._given_data.resolve() if self._given_data is not None else self.scratch / "data"

    @property
    def log(self) -> str:
        """The end of what the server printed."""
        log = self.scratch / "server.log"
        return log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:] if log.exists() else ""

    def start(self) -> None:
        """Starts the server and returns when it answers.

        Raises:
            ServiceMissingError: The program is not installed.
            ServiceFailedError: The server ended, or was not ready in time.
        """
        if self.running:
            return
        self._prepare()
        chosen = self._port
        for attempt in range(1, START_ATTEMPTS + 1):
            self._port = free_port() if chosen is None else chosen
            try:
                self._launch(self._command())
            except ServiceExitedError:
                # Between the look for a free port and the start, another process may have taken that port.
                if attempt == START_ATTEMPTS or self._fixed_port is not None:
                    raise
            else:
                return

    def stop(self) -> None:
        """Stops the server in an orderly way, or by force when it has not ended in time."""
        self._end(self.stop_signal)

    def crash(self) -> None:
        """Ends the server without the chance to tidy up; `start` brings it back on the same data."""
        self._end(self.crash_signal)

    def close(self) -> None:
        """Stops the server and removes its scratch folder."""
        self.stop()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def __enter__(self) -> Self:
        """Starts the server."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the server and removes what it left."""
        self.close()

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Makes the data folder ready; called before every start, so it has to find its own earlier work."""

    @abc.abstractmethod
    def _command(self) -> Command:
        """Returns the command that listens on `port`."""

    @abc.abstractmethod
    def _is_ready(self) -> bool:
        """Tells whether the server answers now."""

    def _run_to_end(self, command: Command) -> None:
        with (self.scratch / "server.log").open("ab") as log:
            process = command.spawn(self.scratch, log.fileno())
            try:
                status = process.wait(timeout=START_DEADLINE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
        if status != 0:
            raise ServiceFailedError(f"{command.argv[0]} ended with status {status}:\n{self.log}")

    def _launch(self, command: Command) -> None:
        with (self.scratch / "server.log").open("ab") as log:
            self._process = command.spawn(self.scratch, log.fileno())
        deadline = monotonic() + START_DEADLINE_SECONDS
        while not self._is_ready():
            try:
                status = self._process.wait(timeout=POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if monotonic() < deadline:
                    continue
                self._end(signal.SIGKILL)
                message = f"{self.name} was not ready after {START_DEADLINE_SECONDS:.0f} s:\n{self.log}"
                raise ServiceFailedError(message) from None
            self._process = None
            raise ServiceExitedError(f"{self.name} ended with status {status} instead of starting:\n{self.log}")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
        try:
            process.wait(timeout=STOP_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
