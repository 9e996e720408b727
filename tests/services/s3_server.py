"""A real S3 server, with a persistent folder and conditional writes that are atomic.

The server is versitygw, which `tests/services/install.sh` builds with Go. Its version is pinned because older ones
checked `If-None-Match` and `If-Match` apart from the write, so that two racing writers could both win.

For a person: `python tests/services/s3_server.py --port 9000 --data DIR` runs it in the foreground.
"""

import argparse
import contextlib
import http.client
import os
import secrets
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

if not __package__:
    # Run as a script: the modules beside this one are found as the package they are in the tests.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "services"

from .process import LOOPBACK, Command, LoopbackServer, ServiceFailedError, ServiceMissingError

# install.sh reads this line.
VERSITYGW_VERSION = "v1.8.0"
PROGRAM_VARIABLE = "LAKEHOUSE_S3_SERVER"
DEFAULT_ACCESS_KEY = "lakehouse"
DEFAULT_SECRET_KEY = "lakehouse-secret"
DEFAULT_REGION = "us-east-1"
DEFAULT_PORT = 9000
HEALTH_TIMEOUT_SECONDS = 2.0


def find_program() -> Path:
    """Returns the S3 server's program.

    Returns:
        The program that the variable LAKEHOUSE_S3_SERVER names, or else the one that install.sh built.

    Raises:
        ServiceMissingError: There is none.
    """
    named = os.environ.get(PROGRAM_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    program = Path(named) if named else cache / "airflow-provider-lakehouse" / "bin" / f"versitygw-{VERSITYGW_VERSION}"
    if not os.access(program, os.X_OK):
        raise ServiceMissingError(
            f"no S3 server at {program}: install Go 1.25 or newer and run tests/services/install.sh, "
            f"or set {PROGRAM_VARIABLE} to a versitygw {VERSITYGW_VERSION} or newer"
        )
    return program.resolve()


def keeps_attributes(folder: Path) -> bool:
    """Tells whether files in a folder can carry the extended attributes in which the server keeps an object's metadata.

    Args:
        folder: An existing folder.
    """
    if not hasattr(os, "setxattr"):
        return True
    probe = folder / ".attribute-probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.probe", b"1")
    except OSError:
        return False
    else:
        return True
    finally:
        probe.unlink()


class S3Server(LoopbackServer):
    """An S3 server on loopback.

    Attributes:
        access_key: The access key id of its only account.
        secret_key: The secret of that account.
        region: The region it signs for.
    """

    name = "the S3 server"

    def __init__(
        self,
        data: Path | None = None,
        port: int | None = None,
        *,
        access_key: str = DEFAULT_ACCESS_KEY,
        secret_key: str = DEFAULT_SECRET_KEY,
        region: str = DEFAULT_REGION,
    ) -> None:
        """Describes the server without starting it.

        Args:
            data: The folder that keeps the buckets and outlives the server; None for one that goes away with it.
            port: The port to listen on; None for a free one.
            access_key: The access key id of its only account.
            secret_key: The secret of that account.
            region: The region it signs for.
        """
        super().__init__(data, port)
        self.access_key = access_key
        self.secret_key = secret_key
        self.region = region
        # A path of its own: another server that happens to have the port does not pass for this one.
        self._health_path = f"/health-{secrets.token_hex(8)}"

    @property
    def endpoint(self) -> str:
        """The address of the server; buckets are addressed by path."""
        return f"http://{LOOPBACK}:{self.port}"

    def client(self, **settings: object) -> Any:
        """Returns a boto3 client for the server; the caller closes it.

        Args:
            **settings: Settings of botocore's Config besides path addressing.
        """
        import boto3  # type: ignore[import-untyped, unused-ignore]
        from botocore.config import Config  # type: ignore[import-untyped, unused-ignore]

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(s3={"addressing_style": "path"}, **settings),
        )

    def create_bucket(self, name: str) -> str:
        """Creates a bucket, or finds that it is there.

        Args:
            name: The name of the bucket.

        Returns:
            The address of the bucket, such as `s3://name`.
        """
        with (
            contextlib.closing(self.client()) as client,
            contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou),
        ):
            client.create_bucket(Bucket=name)
        return f"s3://{name}"

    def _prepare(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)

    def _command(self) -> Command:
        metadata: list[str | Path] = []
        if not keeps_attributes(self.data):
            sidecar = self.data.with_name(f"metadata-of-{self.data.name}")
            sidecar.mkdir(exist_ok=True)
            metadata = ["--sidecar", sidecar]
        address = f"{LOOPBACK}:{self.port}"
        options = ["--port", address, "--region", self.region, "--health", self._health_path, "--quiet"]
        return Command(
            [find_program(), *options, "posix", *metadata, self.data],
            env={"ROOT_ACCESS_KEY_ID": self.access_key, "ROOT_SECRET_ACCESS_KEY": self.secret_key},
        )

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=HEALTH_TIMEOUT_SECONDS)
        try:
            connection.request("GET", self._health_path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server in the foreground until it is interrupted.

    Args:
        arguments: The command line; None for that of this process.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="Run a real S3 server on loopback, in the foreground.")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="the port, 0 for a free one (default: %(default)s)"
    )
    parser.add_argument("--data", type=Path, help="the folder that keeps the buckets (default: one that goes away)")
    parser.add_argument("--bucket", action="append", default=[], help="a bucket to create; may be given many times")
    chosen = parser.parse_args(arguments)
    done = threading.Event()

    def finish(_signal: int, _frame: FrameType | None) -> None:
        done.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, finish)
    try:
        with S3Server(chosen.data, chosen.port or None) as server:
            for bucket in chosen.bucket:
                server.create_bucket(bucket)
            print(f"S3 server on {server.endpoint}, data in {server.data}; Ctrl-C stops it.")
            print(f"export AWS_ENDPOINT_URL={server.endpoint} AWS_REGION={server.region} AWS_ALLOW_HTTP=true")
            print(f"export AWS_ACCESS_KEY_ID={server.access_key} AWS_SECRET_ACCESS_KEY={server.secret_key}", flush=True)
            done.wait()
    except (ServiceMissingError, ServiceFailedError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
