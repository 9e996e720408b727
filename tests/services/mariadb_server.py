"""A real MariaDB server for tests."""

import secrets
import shutil
from collections.abc import Mapping
from typing import Any

from .postgres_server import unprivileged_user
from .process import LOOPBACK, Command, LoopbackServer, ServiceMissingError

USER = "lakehouse"
SETTINGS: Mapping[str, str] = {
    "bind-address": LOOPBACK,
    "character-set-server": "utf8mb4",
    # A zone that is not UTC, so that a session that does not say its own shows.
    "default-time-zone": "-05:00",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-buffer-pool-size": "32M",
    "skip-name-resolve": "1",
}


class MariaDBServer(LoopbackServer):
    """A MariaDB server on loopback, whose only account that may log in has a password made for the run."""

    name = "the MariaDB server"

    def __init__(self, port: int | None = None) -> None:
        """Describes the server without starting it.

        Args:
            port: The port to listen on; None for a free one.
        """
        super().__init__(port=port)
        self._password = secrets.token_hex(16)

    @property
    def arguments(self) -> dict[str, Any]:
        """What a driver's `connect` takes."""
        return {"host": LOOPBACK, "port": self.port, "user": USER, "password": self._password, "charset": "utf8mb4"}

    def create_database(self, name: str) -> dict[str, Any]:
        """Creates an empty database.

        Args:
            name: The name of the database.

        Returns:
            What a driver's `connect` takes to open it.
        """
        import pymysql

        connection = pymysql.connect(**self.arguments)
        with connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}`")
        return self.arguments | {"database": name}

    def _prepare(self) -> None:
        if self.data.exists():
            return
        install, user = shutil.which("mariadb-install-db"), unprivileged_user()
        if (
            install is None
            or shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None
        ):
            raise ServiceMissingError(
                "no MariaDB server: run tests/services/install.sh as root, or install your system's mariadb-server-core"
            )
        self.data.mkdir(mode=0o700)
        accounts = self.scratch / "accounts.sql"
        accounts.touch(mode=0o600)
        accounts.write_text(
            f"CREATE USER IF NOT EXISTS '{USER}'@'{LOOPBACK}' IDENTIFIED BY '{self._password}';\n"
            f"GRANT ALL ON *.* TO '{USER}'@'{LOOPBACK}' WITH GRANT OPTION;\n"
            "DROP USER IF EXISTS 'root'@'127.0.0.1';\n"
        )
        if user is not None:
            shutil.chown(accounts, user)
            shutil.chown(self.data, user)
        options = [
            "--no-defaults",
            "--skip-test-db",
            "--auth-root-authentication-method=socket",
            f"--datadir={self.data}",
        ]
        self._run_to_end(Command([install, *options], user=user))

    def _command(self) -> Command:
        program = shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        files = [f"--datadir={self.data}", f"--socket={self.data}/s", f"--pid-file={self.data}/pid"]
        accounts = f"--init-file={self.scratch / 'accounts.sql'}"
        return Command(
            [str(program), "--no-defaults", *files, f"--port={self.port}", accounts, *settings],
            user=unprivileged_user(),
        )

    def _is_ready(self) -> bool:
        import pymysql

        try:
            pymysql.connect(**self.arguments).close()
        except pymysql.Error:
            return False
        return True
