"""A real Iceberg REST catalog: the server side that Iceberg publishes itself, over a database in a file.

`tests/services/install.sh` lets Maven fetch it, and compiles the main program `iceberg_rest/RestCatalog.java`.
"""

import base64
import hashlib
import http.client
import os
import shutil
from pathlib import Path

from .process import LOOPBACK, Command, LoopbackServer, ServiceMissingError
from .s3_server import S3Server

SOURCES = Path(__file__).with_name("iceberg_rest")
MAIN_CLASS = "org.apache.iceberg.rest.RestCatalog"
ANSWER_TIMEOUT_SECONDS = 2.0


def find_program() -> Path:
    """Returns the folder of the compiled server and the libraries it needs.

    Raises:
        ServiceMissingError: There is none, or no Java to run it.
    """
    content = b"".join((SOURCES / name).read_bytes() for name in ("pom.xml", "RestCatalog.java"))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airflow-provider-lakehouse"
    folder = cache / f"iceberg-rest-{hashlib.sha256(content).hexdigest()[:12]}"
    if not folder.is_dir() or shutil.which("java") is None:
        raise ServiceMissingError(
            f"no Iceberg REST catalog at {folder}: install Java 17 or newer and Maven, and run tests/services/install.sh"
        )
    return folder


class RestCatalogServer(LoopbackServer):
    """An Iceberg REST catalog on loopback, with a catalog for every warehouse; what it has committed outlives a crash."""

    name = "the Iceberg REST catalog"

    def __init__(self, s3: S3Server | None = None) -> None:
        """Describes the server without starting it.

        Args:
            s3: The S3 server it keeps metadata on, besides local disk, and whose keys it lends to clients.
        """
        super().__init__()
        self._s3 = s3

    def uri(self, warehouse: str, *, port: int | None = None) -> str:
        """Returns the address of the catalog of a warehouse.

        Args:
            warehouse: The warehouse's address, such as `file:///data/lake`.
            port: Of what stands before the server; None for the server's own.
        """
        name = base64.urlsafe_b64encode(warehouse.encode()).decode()
        return f"http://{LOOPBACK}:{port or self.port}/{name}"

    def _prepare(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)

    def _command(self) -> Command:
        folder, s3 = find_program(), self._s3
        env = {"S3_ENDPOINT": s3.endpoint, "S3_ACCESS_KEY": s3.access_key, "S3_SECRET_KEY": s3.secret_key} if s3 else {}
        env["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"  # versitygw takes a late one for the next request
        java = ["java", "-XX:TieredStopAtLevel=1", "-Xmx512m", "-cp", f"{folder}/classes:{folder}/jars/*"]
        return Command([*java, MAIN_CLASS, str(self.port), self.data], env=env)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=ANSWER_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == http.HTTPStatus.NO_CONTENT
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
