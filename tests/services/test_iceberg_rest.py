"""Iceberg tables in a real REST catalog keep every promise, also when answers are lost on their way."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnavailableError
from airflow_provider_lakehouse.core.tables.base import At, CatalogSettings, Change, no_probe
from airflow_provider_lakehouse.core.tables.iceberg.table import open_catalog
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.core.tables.storage import open_storage
from airflow_provider_lakehouse.testing.orders import NAME, ORDERS, append, ids, orders, positions_of, token
from airflow_provider_lakehouse.testing.table_spec import TableSpecification

from .faulty_proxy import FaultyProxy
from .racing import WRITERS, expected_ids, race

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import Catalog, Probe, Table

    from .faulty_proxy import Fate
    from .rest_server import RestCatalogServer
    from .s3_server import S3Server


def settings(server: RestCatalogServer, warehouse: str, *, port: int | None = None) -> CatalogSettings:
    """The catalog lends the keys to S3, so that the client has none of its own."""
    return CatalogSettings("iceberg", warehouse, properties={"type": "rest", "uri": server.uri(warehouse, port=port)})


class TestIcebergTablesInARestCatalog(TableSpecification):
    @pytest.fixture(autouse=True)
    def _server(self, rest_server: RestCatalogServer) -> None:
        self.server = rest_server

    def catalog(self, root: Path, probe: Probe = no_probe) -> Catalog:
        return open_catalog(settings(self.server, f"file://{root}"), probe=probe)


def is_commit(method: str, path: str, headers: Mapping[str, str]) -> bool:
    del headers
    return method == "POST" and path.endswith("/tables/orders")


@pytest.fixture
def proxy(rest_server: RestCatalogServer) -> Iterator[FaultyProxy]:
    with FaultyProxy(rest_server.port, spoils=is_commit) as proxy:
        yield proxy


@pytest.fixture
def table(rest_server: RestCatalogServer, proxy: FaultyProxy, tmp_path: Path) -> Table:
    """An empty table whose catalog is reached through the proxy."""
    table = open_catalog(settings(rest_server, f"file://{tmp_path}", port=proxy.port)).table(NAME)
    table.create(TableSpec(ORDERS))
    return table


def files_below(root: Path, ending: str) -> int:
    return len(list(root.rglob(f"*{ending}")))


@pytest.mark.parametrize("fate", ["answer lost", "answer garbled", "sent twice", "refused", "failed after"])
class TestWhateverBecomesOfARequest:
    def test_a_write_is_done_once_and_its_files_stay(
        self, table: Table, proxy: FaultyProxy, tmp_path: Path, fate: Fate
    ) -> None:
        proxy.spoil(fate)
        result = table.commit(append(1, 2), token=token("a"))
        assert (result.replayed, result.rows_added, proxy.spoilt) == (False, 2, 1)
        assert ids(table) == [1, 2]
        assert table.commit(append(1, 2), token=token("a")).replayed
        assert files_below(tmp_path, ".parquet") == 1
        assert files_below(tmp_path, "-snapshot.avro") == 1
        assert [entry.rows_added for entry in table.history()] == [2]

    def test_rows_are_replaced_once(self, table: Table, proxy: FaultyProxy, fate: Fate) -> None:
        table.commit(append(1, 2, 3), token=token("a"))
        positions, version = positions_of(table, 2)
        proxy.spoil(fate, fate)
        change = Change(rows=orders(2, note="new").to_reader(), removes=positions, base=version)
        assert not table.commit(change, token=token("b")).replayed
        assert ids(table) == [1, 2, 3]

    def test_a_batch_is_published_once(self, table: Table, proxy: FaultyProxy, fate: Fate) -> None:
        table.commit(append(1), token=token("a"))
        table.commit(Change(rows=orders(2).to_reader(), branch="audit"), token=token("b"))
        proxy.spoil(fate)
        assert not table.publish("audit", token=token("p")).replayed
        assert ids(table) == [1, 2]
        assert table.facts().branches == {}
        assert table.publish("audit", token=token("p")).replayed

    def test_a_table_is_rolled_back_and_names_are_given_and_dropped_once(
        self, table: Table, proxy: FaultyProxy, fate: Fate
    ) -> None:
        first = table.commit(append(1), token=token("a"))
        proxy.spoil(fate)
        table.tag("month end")
        table.commit(append(2), token=token("b"))
        proxy.spoil(fate)
        assert not table.roll_back(At(version=first.version), token=token("back")).replayed
        assert (ids(table), ids(table, at=At(tag="month end"))) == ([1], [1])
        proxy.spoil(fate)
        table.drop_tag("month end")
        with pytest.raises(InvalidRequestError):
            ids(table, at=At(tag="month end"))


def test_a_request_that_the_catalog_forbids_is_refused_at_once_and_leaves_nothing(
    table: Table, proxy: FaultyProxy, tmp_path: Path
) -> None:
    proxy.spoil("forbidden")
    with pytest.raises(InvalidRequestError, match="credentials"):
        table.commit(append(1), token=token("a"))
    assert proxy.spoilt == 1
    assert files_below(tmp_path, ".parquet") == files_below(tmp_path, ".avro") == 0


def test_a_commit_to_a_table_that_was_dropped_meanwhile_is_refused(
    rest_server: RestCatalogServer, tmp_path: Path
) -> None:
    given = settings(rest_server, f"file://{tmp_path}")
    other = open_catalog(given).table(NAME)
    other.create(TableSpec(ORDERS))

    def drop(step: str) -> None:
        if step == "before iceberg.commit":
            other.drop()

    with pytest.raises(InvalidRequestError, match="no table"):
        open_catalog(given, probe=drop).table(NAME).commit(append(1), token=token("a"))
    assert not other.exists()


def test_processes_that_race_lose_nothing_and_double_nothing(rest_server: RestCatalogServer, tmp_path: Path) -> None:
    given = settings(rest_server, f"file://{tmp_path}")
    assert race(given) == [0] * WRITERS
    assert ids(open_catalog(given).table(NAME)) == expected_ids()


def test_a_catalog_that_is_gone_is_unavailable_and_the_write_goes_on_when_it_is_back(
    rest_server: RestCatalogServer, tmp_path: Path
) -> None:
    given = settings(rest_server, f"file://{tmp_path}")
    table = open_catalog(given).table(NAME)
    table.create(TableSpec(ORDERS))
    table.commit(append(1), token=token("a"))

    def crash(step: str) -> None:
        if step == "after iceberg.commit":
            rest_server.crash()

    open_catalog(given, probe=crash).table(NAME).commit(append(2), token=token("b"))
    try:
        with pytest.raises(UnavailableError):
            table.commit(append(3), token=token("c"))
    finally:
        rest_server.start()
    assert table.commit(append(2), token=token("b")).replayed
    table.commit(append(3), token=token("c"))
    assert ids(table) == [1, 2, 3]


@pytest.fixture
def plain_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads without trailing checksums: versitygw takes a late one for the next request, and refuses that."""
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")


@pytest.mark.usefixtures("plain_uploads")
class TestOnS3WithKeysThatTheCatalogLends:
    @pytest.fixture
    def warehouse(self, s3_server: S3Server) -> str:
        return f"{s3_server.create_bucket('iceberg')}/{uuid.uuid4().hex}"

    def test_a_table_goes_through_its_life(
        self, rest_server: RestCatalogServer, s3_server: S3Server, warehouse: str
    ) -> None:
        table = open_catalog(settings(rest_server, warehouse)).table(NAME)
        assert table.create(TableSpec(ORDERS, partitioning=("day",)))
        first = table.commit(append(1, 2, 3), token=token("a"))
        assert table.commit(append(1, 2, 3), token=token("a")).replayed
        positions, version = positions_of(table, 2)
        table.commit(Change(removes=positions, base=version), token=token("b"))
        table.commit(Change(rows=orders(9).to_reader(), branch="audit"), token=token("c"))
        table.tag("before", at=At(version=first.version))
        table.publish("audit", token=token("p"))
        assert (ids(table), ids(table, at=At(tag="before"))) == ([1, 3, 9], [1, 2, 3])
        table.roll_back(At(version=first.version), token=token("back"))
        assert ids(table) == [1, 2, 3]
        table.drop()
        keys = {"s3.access-key-id": s3_server.access_key, "s3.secret-access-key": s3_server.secret_key}
        storage = open_storage(warehouse, {"s3.endpoint": s3_server.endpoint, "s3.region": s3_server.region, **keys})
        assert storage.list(warehouse) == ()
