"""A connection says all that is needed, and nothing that is not understood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import Connection

from airflow_provider_lakehouse.bridge.connections import open_sql_source, read_connection
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.base import TableIdentity
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook

BASE = {"format": "memory", "warehouse": "memory://connections"}


def connection(extra: str | dict[str, Any], **fields: Any) -> Connection:
    import json

    text = extra if isinstance(extra, str) else json.dumps(extra)
    return Connection(conn_id="lake", **{"conn_type": "lakehouse", "extra": text, **fields})


def test_all_keys_are_understood() -> None:
    extra = {
        **BASE,
        "catalog_name": "retail",
        "catalog_properties": {"type": "rest", "uri": "http://rest", "s3.session-token": "t"},
        "s3_endpoint": "http://s3",
        "s3_region": "eu-central-1",
        "s3_path_style_access": True,
        "engine": "duckdb",
        "memory_limit_mb": 512,
        "threads": "2",
        "spill_directory": "/spill",
        "table_page": "http://pages/{namespace}/{name}",
    }
    found = read_connection(connection(extra, login="key", password="hidden"))
    assert found.catalog.name == "retail"
    assert found.catalog.properties == {
        "type": "rest",
        "uri": "http://rest",
        "s3.session-token": "t",
        "s3.endpoint": "http://s3",
        "s3.region": "eu-central-1",
        "s3.path-style-access": "true",
        "s3.access-key-id": "key",
        "s3.secret-access-key": "hidden",
    }
    assert (found.engine.memory_limit_bytes, found.engine.threads) == (512 * 1024 * 1024, 2)
    assert found.engine.spill_directory == "/spill"
    assert "hidden" not in repr(found)


def test_empty_fields_of_the_form_are_as_good_as_none() -> None:
    empty = {"s3_endpoint": "", "threads": None, "catalog_properties": None, "table_page": ""}
    found = read_connection(connection(BASE | empty))
    assert found.catalog.properties == {}
    assert found.engine.threads is None


@pytest.mark.parametrize(
    ("extra", "facts"),
    [
        ({**BASE, "warehous": "x", "endpoint": "y"}, {"unknown": ("endpoint", "warehous")}),
        ({"warehouse": "memory://x"}, {"missing": ("format",)}),
        ({}, {"missing": ("format", "warehouse")}),
        ({**BASE, "threads": "many"}, {}),
        ({**BASE, "memory_limit_mb": "1 GB"}, {}),
        ({**BASE, "memory_limit_mb": 1}, {"memory_limit_bytes": 1024 * 1024}),
        ({**BASE, "catalog_properties": "type=rest"}, {}),
        ("not json", {}),
        ("[1]", {}),
    ],
)
def test_what_is_not_understood_is_refused_by_name(extra: str | dict[str, Any], facts: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read_connection(connection(extra))
    assert facts.items() <= refused.value.facts.items()


def test_a_connection_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="not of type 'lakehouse'"):
        read_connection(connection(BASE, conn_type="aws"))


def test_a_refusal_holds_no_secret() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read_connection(connection({**BASE, "s3_secret": "do-not-show"}, password="do-not-show"))
    assert "do-not-show" not in str(refused.value)


def test_the_hook_opens_catalog_and_engine(warehouse: str) -> None:
    hook = LakehouseHook()
    assert hook.get_conn() is hook.catalog
    assert hook.table("sales.orders").identity.location == f"{warehouse}/sales/orders"
    with hook.engine.query("SELECT 1 AS one") as rows:
        assert rows.read_all().to_pylist() == [{"one": 1}]


def test_the_test_button_says_what_was_opened(warehouse: str) -> None:
    is_working, message = LakehouseHook().test_connection()
    assert is_working
    assert warehouse in message


def test_the_test_button_says_what_is_wrong(connect: Callable[..., None]) -> None:
    connect(extra={"format": "parquet", "warehouse": "file:///tmp/x"})
    is_working, message = LakehouseHook().test_connection()
    assert not is_working
    assert "'parquet'" in message


@pytest.mark.parametrize(
    ("page", "link"),
    [("https://pages/{table}?ns={namespace}&t={name}", "https://pages/a.b.c?ns=a.b&t=c"), ("", "memory://x/a/b/c")],
)
def test_a_table_has_a_page_or_a_location(connect: Callable[..., None], page: str, link: str) -> None:
    connect(extra={"format": "memory", "warehouse": "memory://x", "table_page": page})
    hook = LakehouseHook()
    assert hook.page_of(hook.table("a.b.c").identity) == link


def test_a_database_is_opened_by_the_type_of_its_connection() -> None:
    database = Connection(
        conn_id="shop",
        conn_type="postgres",
        host="db",
        port=5433,
        login="a user",
        password="p@ss/word",
        schema="shop",
        extra='{"sslmode": "require"}',
    )
    source = open_sql_source(database, relation="public.orders")
    assert source.identity.endswith("db:5433/shop/public.orders")
    assert source.settings.dsn == "postgres://a%20user:p%40ss%2Fword@db:5433/shop?sslmode=require"
    assert "p%40ss" not in repr(source.settings)


def test_a_database_without_a_source_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="'oracle'"):
        open_sql_source(Connection(conn_id="old", conn_type="oracle", host="db"), relation="a.b")


def test_without_a_page_a_table_on_s3_is_linked_to_the_console_of_amazon(connect: Callable[..., None]) -> None:
    def page(**extra: str) -> str:
        connect(extra={"format": "delta", "warehouse": "s3://lake/house", **extra})
        return LakehouseHook().page_of(TableIdentity("delta", "a.b", "s3://lake/house/a/b"))

    assert page() == "https://s3.console.aws.amazon.com/s3/buckets/lake?prefix=house%2Fa%2Fb/"
    assert page(s3_endpoint="http://minio:9000") == "s3://lake/house/a/b"
