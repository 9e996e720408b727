"""Delta tables on S3 keep every promise: the specification, racing processes, and answers that get lost."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import uuid
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from airflow_provider_lakehouse.core.errors import OutcomeUnknownError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.abilities import Listing
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, WriteToken, no_probe
from airflow_provider_lakehouse.core.tables.delta.table import open_catalog
from airflow_provider_lakehouse.core.tables.file_reading import read_files
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.core.tables.storage import open_storage
from airflow_provider_lakehouse.testing.orders import NAME, ORDERS, append, ids, positions_of, token
from airflow_provider_lakehouse.testing.table_spec import TableSpecification

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import Catalog, Probe, Table
    from tests.services.s3_server import S3Server

WRITERS = 4
BATCHES = 8


def settings(server: S3Server, warehouse: str, *, endpoint: str = "") -> CatalogSettings:
    properties = {
        "s3.endpoint": endpoint or server.endpoint,
        "s3.access-key-id": server.access_key,
        "s3.secret-access-key": server.secret_key,
        "s3.region": server.region,
        "s3.path-style-access": "true",
    }
    return CatalogSettings("delta", warehouse, properties=properties)


@pytest.fixture
def warehouse(s3_server: S3Server) -> str:
    return f"{s3_server.create_bucket('delta')}/{uuid.uuid4().hex}"


class TestDeltaTablesOnS3(TableSpecification):
    @pytest.fixture(autouse=True)
    def _server(self, s3_server: S3Server) -> None:
        self.server = s3_server
        self.bucket = s3_server.create_bucket("specification")

    def catalog(self, root: Path, probe: Probe = no_probe) -> Catalog:
        return open_catalog(settings(self.server, self.bucket + str(root)), probe=probe)

    def test_listed_files_hold_exactly_the_live_rows(self, tmp_path: Path, partitioned: Table) -> None:
        partitioned.commit(append(1, 2, 3), token=token("a"))
        positions, version = positions_of(partitioned, 2)
        partitioned.commit(Change(removes=positions, base=version), token=token("b"))
        assert isinstance(partitioned, Listing)
        listing = partitioned.list_files()
        location = listing.files[0].path
        storage = open_storage(location, settings(self.server, location).properties)
        rows = read_files(listing.files, storage=storage, schema=listing.schema).read_all()
        assert sorted(rows.column("id").to_pylist()) == [1, 3]

    def count_data_files(self, root: Path) -> int:
        location = self.bucket + str(root)
        found = open_storage(location, settings(self.server, location).properties).list(location)
        return sum(uri.endswith(".parquet") and "_delta_log" not in uri for uri in found)


WRITER = """
import json, sys
from airflow_provider_lakehouse.core.tables.base import CatalogSettings
from airflow_provider_lakehouse.core.tables.delta.table import open_catalog
from airflow_provider_lakehouse.testing.orders import (NAME, append, token)

warehouse, properties, first, batches = json.loads(sys.argv[1])
table = open_catalog(CatalogSettings("delta", warehouse, properties=properties)).table(NAME)
for batch in range(first, first + batches):
    table.commit(append(batch), token=token(f"batch {batch}"))
"""


def test_no_append_of_racing_processes_is_lost(s3_server: S3Server, warehouse: str) -> None:
    chosen = settings(s3_server, warehouse)
    table = open_catalog(chosen).table(NAME)
    table.create(TableSpec(ORDERS))
    shares = [json.dumps([warehouse, chosen.properties, writer * BATCHES, BATCHES]) for writer in range(WRITERS)]
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, share]) for share in shares]
    assert [writer.wait(120) for writer in writers] == [0] * WRITERS
    assert ids(table) == list(range(WRITERS * BATCHES))
    assert table.facts().version == WRITERS * BATCHES


def test_delta_rs_reads_and_appends_to_our_table_on_s3(s3_server: S3Server, warehouse: str) -> None:
    table = open_catalog(settings(s3_server, warehouse)).table("a.b")
    table.create(TableSpec(Schema.of(Column("n", "long"))))
    table.commit(Change(rows=pa.table({"n": [1, 2]}).to_reader()), token=WriteToken("p", "a"))
    options = {
        "aws_endpoint": s3_server.endpoint,
        "aws_access_key_id": s3_server.access_key,
        "aws_secret_access_key": s3_server.secret_key,
        "aws_region": s3_server.region,
        "aws_allow_http": "true",
    }
    theirs = DeltaTable(f"{warehouse}/a/b", storage_options=options)
    assert sorted(pa.table(theirs.scan().read_all()).column("n").to_pylist()) == [1, 2]


class Relay:
    """Passes connections on to a server, and cuts the answer to the first request that contains a text.

    Args:
        upstream: Port of the server.
        cut: What the request has to contain.
        times: How many answers are cut.
    """

    def __init__(self, upstream: int, *, cut: bytes, times: int) -> None:
        self._upstream = upstream
        self._cut = cut
        self._left = times
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._upstream)) as server, suppress(OSError):
            answers = threading.Thread(target=self._answer, args=(server, client), daemon=True)
            answers.start()
            while data := client.recv(65_536):
                if self._left and self._cut in data:
                    self._left -= 1
                    client.shutdown(socket.SHUT_WR)
                server.sendall(data)
            answers.join(5)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                client.sendall(data)


@pytest.fixture
def relays() -> Iterator[list[Relay]]:
    made: list[Relay] = []
    yield made
    for relay in made:
        with closing(relay):
            pass


def test_a_commit_whose_answer_is_lost_is_found_and_not_repeated(
    s3_server: S3Server, warehouse: str, relays: list[Relay]
) -> None:
    direct = open_catalog(settings(s3_server, warehouse)).table("a.b")
    direct.create(TableSpec(Schema.of(Column("n", "long"))))
    relay = Relay(s3_server.port, cut=b"_delta_log/00000000000000000001.json", times=1)
    relays.append(relay)
    table = open_catalog(settings(s3_server, warehouse, endpoint=relay.endpoint)).table("a.b")
    change = Change(rows=pa.table({"n": [1]}).to_reader())
    assert not table.commit(change, token=WriteToken("p", "a")).replayed
    assert direct.read().read_all().column("n").to_pylist() == [1]
    assert direct.facts().version == 1


def test_a_commit_whose_answers_are_all_lost_is_unknown_and_its_rerun_writes_once(
    s3_server: S3Server, warehouse: str, relays: list[Relay]
) -> None:
    direct = open_catalog(settings(s3_server, warehouse)).table("a.b")
    direct.create(TableSpec(Schema.of(Column("n", "long"))))
    relay = Relay(s3_server.port, cut=b"_delta_log/00000000000000000001.json", times=1_000_000)
    relays.append(relay)
    table = open_catalog(settings(s3_server, warehouse, endpoint=relay.endpoint)).table("a.b")
    with pytest.raises(OutcomeUnknownError):
        table.commit(Change(rows=pa.table({"n": [1]}).to_reader()), token=WriteToken("p", "a"))
    direct.commit(Change(rows=pa.table({"n": [1]}).to_reader()), token=WriteToken("p", "a"))
    assert direct.read().read_all().column("n").to_pylist() == [1]
