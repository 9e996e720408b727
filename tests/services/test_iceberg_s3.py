"""Iceberg tables on S3 with their catalog in PostgreSQL keep every promise, also when processes race."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from airflow_provider_lakehouse.core.tables.abilities import Listing
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, no_probe
from airflow_provider_lakehouse.core.tables.file_reading import read_files
from airflow_provider_lakehouse.core.tables.iceberg.table import open_catalog
from airflow_provider_lakehouse.core.tables.storage import open_storage
from airflow_provider_lakehouse.testing.orders import NAME, append, ids, positions_of, token
from airflow_provider_lakehouse.testing.table_spec import TableSpecification

from .racing import WRITERS, expected_ids, race

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import Catalog, Probe, Table

    from .postgres_server import PostgresServer
    from .s3_server import S3Server


def settings(s3: S3Server, dsn: str, warehouse: str, *, name: str = "default") -> CatalogSettings:
    properties = {
        "type": "sql",
        "uri": dsn.replace("postgresql://", "postgresql+psycopg://"),
        "s3.endpoint": s3.endpoint,
        "s3.access-key-id": s3.access_key,
        "s3.secret-access-key": s3.secret_key,
        "s3.region": s3.region,
        "s3.path-style-access": "true",
    }
    return CatalogSettings("iceberg", warehouse, name=name, properties=properties)


@pytest.fixture(scope="module", autouse=True)
def plain_uploads() -> Iterator[None]:
    """Uploads without trailing checksums: versitygw takes a late one for the next request, and refuses that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        yield


class TestIcebergTablesOnS3(TableSpecification):
    @pytest.fixture(autouse=True)
    def _servers(self, s3_server: S3Server, postgres_server: PostgresServer) -> None:
        self.servers = (s3_server, postgres_server.dsn)
        self.bucket = s3_server.create_bucket("iceberg")

    def settings(self, root: Path) -> CatalogSettings:
        return settings(*self.servers, self.bucket + str(root), name=str(root))

    def catalog(self, root: Path, probe: Probe = no_probe) -> Catalog:
        return open_catalog(self.settings(root), probe=probe)

    def test_listed_files_hold_exactly_the_live_rows(self, tmp_path: Path, partitioned: Table) -> None:
        partitioned.commit(append(1, 2, 3), token=token("a"))
        positions, version = positions_of(partitioned, 2)
        partitioned.commit(Change(removes=positions, base=version), token=token("b"))
        assert isinstance(partitioned, Listing)
        listing = partitioned.list_files()
        storage = open_storage(listing.files[0].path, self.settings(tmp_path).properties)
        rows = read_files(listing.files, storage=storage, schema=listing.schema).read_all()
        assert sorted(rows.column("id").to_pylist()) == [1, 3]

    def count_data_files(self, root: Path) -> int:
        location = self.bucket + str(root)
        found = open_storage(location, self.settings(root).properties).list(location)
        return sum(uri.endswith(".parquet") for uri in found)


def test_processes_that_race_in_a_new_catalog_lose_nothing_and_double_nothing(
    s3_server: S3Server, postgres_server: PostgresServer
) -> None:
    warehouse = f"{s3_server.create_bucket('iceberg')}/{uuid.uuid4().hex}"
    given = settings(s3_server, postgres_server.create_database(f"catalog_{uuid.uuid4().hex}"), warehouse)
    assert race(given) == [0] * WRITERS
    table = open_catalog(given).table(NAME)
    assert ids(table) == expected_ids()
    table.drop()
    assert open_storage(warehouse, given.properties).list(warehouse) == ()
