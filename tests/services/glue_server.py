"""AWS Glue as moto plays it, with the one promise added that commits rest on: an update names the version it is based on.

Glue refuses an update whose `VersionId` is not the table's newest; moto lets it pass. The first part of a path is the
number of the account, so that each test has a Glue of its own. As a script it runs the server: `glue_server.py PORT`.
"""

import http.client
import sys
import threading
import zlib
from collections.abc import Callable, Iterable
from typing import Any

if not __package__:
    # Run as a script: the modules beside this one are found as the package they are in the tests.
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "services"

from .process import LOOPBACK, Command, LoopbackServer

ANSWER_TIMEOUT_SECONDS = 2.0


class GlueServer(LoopbackServer):
    """A Glue that keeps its tables in memory; their files are elsewhere."""

    name = "moto's Glue"

    def uri(self, account: str, *, port: int | None = None) -> str:
        """Returns the endpoint of an account.

        Args:
            account: Any text; the same text is the same account.
            port: Of what stands before the server; None for the server's own.
        """
        return f"http://{LOOPBACK}:{port or self.port}/{zlib.crc32(account.encode()):012d}"

    def _prepare(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)

    def _command(self) -> Command:
        return Command([sys.executable, __file__, str(self.port)])

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=ANSWER_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/moto-api/")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def serve(port: int) -> None:
    """Runs the server until it is stopped.

    Args:
        port: The port to listen on.
    """
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    check_versions()
    moto = DomainDispatcherApplication(create_backend_app)

    def accounts(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        account, _, rest = environ["PATH_INFO"].strip("/").partition("/")
        if account.isdigit():
            environ |= {"HTTP_X_MOTO_ACCOUNT_ID": account, "PATH_INFO": f"/{rest}"}
        found: Iterable[bytes] = moto(environ, start)
        return found

    run_simple(LOOPBACK, port, accounts, threaded=True)


def check_versions() -> None:
    """Lets moto refuse updates of a version that is not the newest, as Glue does."""
    from moto.core.exceptions import JsonRESTError
    from moto.glue.responses import GlueResponse

    update, one_at_a_time = GlueResponse.update_table, threading.Lock()

    def update_table(self: GlueResponse) -> Any:
        wanted, asked = self.parameters.get("VersionId"), self.parameters
        with one_at_a_time:
            table = self.glue_backend.get_table(asked["DatabaseName"], asked["TableInput"]["Name"])
            if wanted is not None and wanted != table.as_dict()["VersionId"]:
                raise JsonRESTError("ConcurrentModificationException", "Update table failed due to concurrent changes.")
            return update(self)

    GlueResponse.update_table = update_table


if __name__ == "__main__":
    serve(int(sys.argv[1]))
