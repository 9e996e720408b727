"""Iceberg tables in AWS Glue, as moto plays it, keep every promise, also when answers are lost and requests repeated."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from pyiceberg.catalog import load_catalog

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, no_probe
from airflow_provider_lakehouse.core.tables.iceberg.table import open_catalog
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.core.tables.storage import open_storage
from airflow_provider_lakehouse.core.tables.tokens import TOKEN_PREFIX
from airflow_provider_lakehouse.testing.orders import NAME, ORDERS, append, ids, orders, positions_of, token
from airflow_provider_lakehouse.testing.table_spec import TableSpecification

from .faulty_proxy import FaultyProxy
from .racing import WRITERS, expected_ids, race

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import Catalog, Probe, Table

    from .faulty_proxy import Fate
    from .glue_server import GlueServer
    from .s3_server import S3Server


def settings(server: GlueServer, warehouse: str, *, port: int | None = None, **more: str) -> CatalogSettings:
    properties = {
        "type": "glue",
        "glue.endpoint": server.uri(warehouse, port=port),
        "client.region": "us-east-1",
        "client.access-key-id": "anyone",
        "client.secret-access-key": "anything",
        **more,
    }
    return CatalogSettings("iceberg", warehouse, properties=properties)


class TestIcebergTablesInGlue(TableSpecification):
    @pytest.fixture(autouse=True)
    def _server(self, glue_server: GlueServer) -> None:
        self.server = glue_server

    def catalog(self, root: Path, probe: Probe = no_probe) -> Catalog:
        return open_catalog(settings(self.server, f"file://{root}"), probe=probe)

    def _changes(self) -> dict[str, Callable[[Table], Change]]:
        """The change with the most steps stands for all: each catalog opened here costs boto3 a sixth of a second."""
        return {"positions": self._update_change}


def is_commit(method: str, path: str, headers: Mapping[str, str]) -> bool:
    del method, path
    return headers.get("X-Amz-Target") == "AWSGlue.UpdateTable"


@pytest.fixture
def proxy(glue_server: GlueServer) -> Iterator[FaultyProxy]:
    with FaultyProxy(glue_server.port, spoils=is_commit) as proxy:
        yield proxy


@pytest.fixture
def table(glue_server: GlueServer, proxy: FaultyProxy, tmp_path: Path) -> Table:
    """An empty table whose catalog is reached through the proxy; boto3 does not wait long before it asks again."""
    table = open_catalog(settings(glue_server, f"file://{tmp_path}", port=proxy.port)).table(NAME)
    table.create(TableSpec(ORDERS))
    return table


@pytest.mark.parametrize("fate", ["answer lost", "sent twice", "refused", "failed after"])
def test_a_commit_that_is_sent_again_on_its_way_is_done_once_and_its_files_stay(
    table: Table, proxy: FaultyProxy, tmp_path: Path, fate: Fate
) -> None:
    """boto3 itself sends a request again whose answer was lost, and is told of a conflict with its own first one."""
    table.commit(append(1, 2, 3), token=token("a"))
    positions, version = positions_of(table, 2)
    proxy.spoil(fate)
    change = Change(rows=orders(2, note="new").to_reader(), removes=positions, base=version)
    assert not table.commit(change, token=token("b")).replayed
    assert proxy.spoilt == 1
    assert ids(table) == [1, 2, 3]
    assert table.commit(append(2), token=token("b")).replayed
    table.commit(Change(rows=orders(4).to_reader(), branch="audit"), token=token("c"))
    proxy.spoil(fate)
    assert not table.publish("audit", token=token("p")).replayed
    assert ids(table) == [1, 2, 3, 4]
    assert len(list(tmp_path.rglob("*-snapshot.avro"))) == 3


def test_of_two_commits_from_the_same_state_one_wins_and_the_other_goes_on_top_of_it(
    glue_server: GlueServer, tmp_path: Path
) -> None:
    given = settings(glue_server, f"file://{tmp_path}")
    other = open_catalog(given).table(NAME)
    other.create(TableSpec(ORDERS))
    catalog = load_catalog("default", **given.properties)
    stale = catalog.glue.get_table(DatabaseName="sales", Name="orders")["Table"]
    other.commit(append(1), token=token("a"))
    entry = {"Name": "orders", "Parameters": stale["Parameters"]}
    with pytest.raises(catalog.glue.exceptions.ConcurrentModificationException):
        catalog.glue.update_table(DatabaseName="sales", TableInput=entry, VersionId=stale["VersionId"])

    def overtake(step: str) -> None:
        if step == "before iceberg.commit" and not done:
            done.append(step)
            other.commit(append(2), token=token("b"))

    done: list[str] = []
    open_catalog(given, probe=overtake).table(NAME).commit(append(3), token=token("c"))
    assert ids(other) == [1, 2, 3]


def test_glue_is_told_no_tokens(glue_server: GlueServer, tmp_path: Path) -> None:
    given = settings(glue_server, f"file://{tmp_path}")
    table = open_catalog(given).table(NAME)
    table.create(TableSpec(ORDERS, properties={"owner": "sales"}))
    table.commit(append(1), token=token("a"))
    catalog = load_catalog("default", **given.properties)
    told = catalog.glue.get_table(DatabaseName="sales", Name="orders")["Table"]["Parameters"]
    assert told["owner"] == "sales"
    assert not [name for name in told if name.startswith(TOKEN_PREFIX)]
    assert [name for name in catalog.load_table(NAME).properties if name.startswith(TOKEN_PREFIX)]


def test_a_request_that_glue_refuses_is_not_tried_again(table: Table, proxy: FaultyProxy, tmp_path: Path) -> None:
    proxy.spoil("forbidden")
    with pytest.raises(InvalidRequestError, match="credentials"):
        table.commit(append(1), token=token("a"))
    assert proxy.spoilt == 1
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.fixture
def plain_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads without trailing checksums: versitygw takes a late one for the next request, and refuses that."""
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")


@pytest.mark.usefixtures("plain_uploads")
def test_processes_that_race_on_s3_lose_nothing_and_double_nothing(
    glue_server: GlueServer, s3_server: S3Server
) -> None:
    warehouse = f"{s3_server.create_bucket('iceberg')}/{uuid.uuid4().hex}"
    keys = {"client.access-key-id": s3_server.access_key, "client.secret-access-key": s3_server.secret_key}
    given = settings(glue_server, warehouse, **keys, **{"s3.endpoint": s3_server.endpoint})
    assert race(given) == [0] * WRITERS
    table = open_catalog(given).table(NAME)
    assert ids(table) == expected_ids()
    table.drop()
    assert open_storage(warehouse, given.properties).list(warehouse) == ()
