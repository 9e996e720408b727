"""The engine reads tables on S3 as the tables read themselves: what was removed, renamed, and kept in folder names included."""

from __future__ import annotations

import uuid
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyiceberg.catalog import load_catalog

from airflow_provider_lakehouse.core.engines.base import EngineSettings, TableView
from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.errors import DamagedError
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Column, Schema, SchemaChange
from airflow_provider_lakehouse.core.tables.abilities import Listing
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change
from airflow_provider_lakehouse.core.tables.iceberg import changes as iceberg_changes
from airflow_provider_lakehouse.core.tables.iceberg.catalog import catalog_properties
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.core.tables.storage import open_storage
from airflow_provider_lakehouse.testing.orders import NAME, ORDERS, append, orders, positions_of, token

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
    from airflow_provider_lakehouse.core.tables.base import Table

    from .s3_server import S3Server

DAYS = (date(2026, 1, 1), date(2026, 1, 2), None)


@pytest.fixture(autouse=True)
def plain_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads without trailing checksums: versitygw takes a late one for the next request, and refuses that."""
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    monkeypatch.setattr(iceberg_changes, "SMALL_FILE_BYTES", 0)  # small files get delete files too


@pytest.fixture
def keys(s3_server: S3Server) -> dict[str, str]:
    return {
        "s3.endpoint": s3_server.endpoint,
        "s3.access-key-id": s3_server.access_key,
        "s3.secret-access-key": s3_server.secret_key,
        "s3.region": s3_server.region,
    }


@pytest.fixture
def engine() -> DuckDBEngine:
    return open_engine(EngineSettings(threads=2))


@pytest.fixture(params=["iceberg", "delta"])
def settings(
    request: pytest.FixtureRequest, s3_server: S3Server, keys: dict[str, str], tmp_path: Path
) -> CatalogSettings:
    warehouse = f"{s3_server.create_bucket('engine')}/{uuid.uuid4().hex}/a b"
    catalog = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db"} if request.param == "iceberg" else {}
    return CatalogSettings(request.param, warehouse, properties={**keys, **catalog})


@pytest.fixture
def table(settings: CatalogSettings) -> Table:
    """A table by day, with rows removed, a column added, and partitions of odd and of no value."""
    table: Table = find("tables", settings.format)(settings).table(NAME)
    table.create(TableSpec(ORDERS, partitioning=("day",)))
    for number, day in enumerate(DAYS):
        first = number * 100
        table.commit(append(*range(first, first + 50), day=day), token=token(f"day {number}"))
    positions, version = positions_of(table, 3, 101, 249)
    table.commit(Change(removes=positions, base=version), token=token("gone"))
    wider = ORDERS.with_columns(Column("more", "string"))
    rows = orders(900, day=DAYS[1]).append_column("more", [["x"]]).cast(wider.to_arrow())
    change = Change(rows=rows.to_reader(), schema_changes=(SchemaChange("add", Column("more", "string")),))
    table.commit(change, token=token("wider"))
    return table


def answer(engine: DuckDBEngine, sql: str, table: Any) -> list[dict[str, Any]]:
    with engine.query(sql, tables={"orders": table}) as rows:
        found: list[dict[str, Any]] = rows.read_all().to_pylist()
    return found


def test_a_query_sees_the_rows_that_a_read_gives(engine: DuckDBEngine, table: Table) -> None:
    assert isinstance(table, Listing)
    assert table.identity.format == "delta" or any(file.removed is not None for file in table.list_files().files)
    expected = table.read().read_all().sort_by("id").to_pylist()
    assert answer(engine, "SELECT * FROM orders ORDER BY id", table) == expected
    assert len(expected) == 148


def test_a_query_takes_columns_and_rows_it_asks_for(engine: DuckDBEngine, table: Table) -> None:
    found = answer(engine, "SELECT id, more FROM orders WHERE day = DATE '2026-01-02' AND id > 147 ORDER BY id", table)
    assert found == [{"id": 148, "more": None}, {"id": 149, "more": None}, {"id": 900, "more": "x"}]
    assert answer(engine, "SELECT count(*) AS n FROM orders WHERE day IS NULL", table) == [{"n": 49}]


def test_addresses_are_those_of_the_table(engine: DuckDBEngine, table: Table) -> None:
    found = answer(engine, "SELECT _file, _pos FROM orders WHERE id = 140", TableView(table, addressed=True))
    positions, version = positions_of(table, 140)
    assert found == positions.rows.to_pylist()
    assert version == table.facts().version


def test_a_missing_file_is_damage(engine: DuckDBEngine, table: Table, keys: dict[str, str]) -> None:
    assert isinstance(table, Listing)
    listed = table.list_files().files[0].path
    open_storage(listed, keys).delete([listed])
    with pytest.raises(DamagedError):
        answer(engine, "SELECT sum(id) FROM orders", table)


def test_threads_that_read_a_large_file_get_what_is_in_it(engine: DuckDBEngine, settings: CatalogSettings) -> None:
    large: Table = find("tables", settings.format)(settings).table("large.numbers")
    large.create(TableSpec(Schema.of(Column("n", "long"), Column("x", "double"))))
    noise = np.random.default_rng(7).random(1_500_000)
    rows = pa.table({"n": np.arange(len(noise)), "x": noise})
    large.commit(Change(rows=rows.to_reader()), token=token("large"))
    found = answer(engine, "SELECT sum(n) AS n, max(x) AS x, count(*) AS rows FROM orders", large)
    assert found == [{"n": sum(range(len(noise))), "x": noise.max(), "rows": len(noise)}]


def test_columns_that_others_renamed_are_found(
    engine: DuckDBEngine, table: Table, settings: CatalogSettings, keys: dict[str, str]
) -> None:
    if settings.format == "iceberg":
        catalog = load_catalog(settings.name, **catalog_properties(settings))
        with catalog.load_table(NAME).update_schema() as update:
            update.rename_column("note", "remark")
        found = answer(engine, "SELECT remark FROM orders WHERE id = 1", table)
        assert found == [{"remark": "n"}]
        return
    options = {
        "AWS_ENDPOINT_URL": keys["s3.endpoint"], "AWS_ACCESS_KEY_ID": keys["s3.access-key-id"], "AWS_ALLOW_HTTP": "true",
        "AWS_SECRET_ACCESS_KEY": keys["s3.secret-access-key"], "AWS_REGION": keys["s3.region"],
    }  # fmt: skip
    uri = f"{settings.warehouse}/sales/mapped"
    mapped = {"delta.columnMapping.mode": "name", "delta.minReaderVersion": "2", "delta.minWriterVersion": "5"}
    rows = pa.table({"a b": [1, 2], "c": ["x", "y"]})
    write_deltalake(uri, rows, storage_options=options, configuration=mapped)
    other = find("tables", "delta")(settings).table("sales.mapped")
    assert answer(engine, 'SELECT "a b", c FROM orders ORDER BY c', other) == rows.to_pylist()
