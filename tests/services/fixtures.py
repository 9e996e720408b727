"""Session fixtures for the real servers; a conftest makes them known by importing them."""

import contextlib
import os
from collections.abc import Iterator
from typing import NoReturn

import pytest

from .duckdb_reader import DuckDBReader
from .glue_server import GlueServer
from .mariadb_server import MariaDBServer
from .postgres_server import PostgresServer
from .process import LoopbackServer, ServiceMissingError
from .rest_server import RestCatalogServer
from .s3_server import S3Server

REQUIRE_VARIABLE = "LAKEHOUSE_REQUIRE_SERVICES"


def report_missing(error: ServiceMissingError) -> NoReturn:
    """Skips the test that needs a missing server, or fails it where the servers are required.

    Args:
        error: Says what is missing and how to install it.
    """
    if os.environ.get(REQUIRE_VARIABLE) == "1":
        pytest.fail(f"{REQUIRE_VARIABLE}=1, but there is {error}", pytrace=False)
    pytest.skip(str(error))


def run[S: LoopbackServer | DuckDBReader](server: S) -> Iterator[S]:
    """Runs a server for as long as a fixture lives.

    Args:
        server: The server, not yet started.

    Yields:
        The running server.
    """
    with contextlib.ExitStack() as cleanup:
        try:
            cleanup.enter_context(server)
        except ServiceMissingError as error:
            report_missing(error)
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Runs a real S3 server, shared by the session: give each test a bucket or a prefix of its own."""
    yield from run(S3Server())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Runs a real PostgreSQL server, shared by the session: give each test a database of its own."""
    yield from run(PostgresServer())


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDBServer]:
    """Runs a real MariaDB server, shared by the session: give each test a database of its own."""
    yield from run(MariaDBServer())


@pytest.fixture(scope="session")
def rest_server(s3_server: S3Server) -> Iterator[RestCatalogServer]:
    """Runs a real Iceberg REST catalog, shared by the session: give each test a warehouse of its own."""
    yield from run(RestCatalogServer(s3_server))


@pytest.fixture(scope="session")
def glue_server() -> Iterator[GlueServer]:
    """Runs moto's Glue, shared by the session: give each test an account of its own."""
    yield from run(GlueServer())


@pytest.fixture(scope="session")
def duckdb_reader() -> Iterator[DuckDBReader]:
    """Runs an independent reader of Iceberg and Delta, shared by the session."""
    yield from run(DuckDBReader())
