"""The operator that ingests rows of a database, over a connection of any type that has a hook for SQL: here SQLite's."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection

from airflow_provider_lakehouse.bridge.connections import open_sql_source
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.operators.ingest_sql import LakehouseIngestSqlOperator

Contexts = Callable[..., dict[str, Any]]
Rows = Callable[..., list[dict[str, Any]]]
Execute = Callable[[str], None]


@pytest.fixture
def execute(tmp_path: Path, connect: Callable[..., None], warehouse: str) -> Execute:
    """Runs statements in the database behind the connection `shop`."""
    path = tmp_path / "shop.db"
    connect("shop", conn_type="sqlite", host=str(path))

    def run(statement: str) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(statement)

    run("CREATE TABLE orders (id INTEGER, amount TEXT); INSERT INTO orders VALUES (1, '1.50'), (2, '2.50')")
    return run


def ingest(**options: Any) -> LakehouseIngestSqlOperator:
    usual = {"task_id": "task", "sql_conn_id": "shop", "table": "bronze.orders", "relation": "orders", "mode": "append"}
    return LakehouseIngestSqlOperator(**usual | options)


def test_an_increment_takes_what_is_new_each_time(execute: Execute, context: Contexts, rows: Rows) -> None:
    increment = {"extract": "incremental", "cursor": "id"}
    assert ingest(**increment).execute(context())["rows_inserted"] == 2
    assert ingest(**increment).execute(context(run_id="run-2"))["rows_read"] == 0
    execute("INSERT INTO orders VALUES (3, '3.50')")
    result = ingest(**increment).execute(context(run_id="run-3"))
    assert (result["rows_inserted"], result["position"]) == (1, {"cursor": "id", "high": "3", "type": "long"})
    assert [row["id"] for row in rows(LakehouseHook().table("bronze.orders"))] == [1, 2, 3]


def test_a_cleared_task_writes_nothing_again_though_there_is_more(execute: Execute, context: Contexts) -> None:
    first = context()
    increment = {"extract": "incremental", "cursor": "id"}
    ingest(**increment).execute(first)
    execute("INSERT INTO orders VALUES (3, '3.50')")
    assert ingest(**increment).execute(first)["commit"]["replayed"]


def test_declared_types_are_those_of_the_table(execute: Execute, context: Contexts) -> None:
    ingest(mode="replace", columns={"id": "int", "amount": "decimal(10,2)"}).execute(context())
    schema = LakehouseHook().table("bronze.orders").facts().schema
    assert (schema.by_name["id"].type, schema.by_name["amount"].type) == ("int", "decimal(10,2)")


def test_rows_that_do_not_fit_are_in_quarantine(execute: Execute, context: Contexts, rows: Rows) -> None:
    execute("INSERT INTO orders VALUES (3, 'cheap')")
    result = ingest(columns={"id": "int", "amount": "decimal(10,2)"}).execute(context())
    assert (result["rows_inserted"], result["rows_rejected"]) == (2, 1)
    (refused,) = rows(LakehouseHook().table("quarantine.rows"))
    assert (refused["reason"], refused["source_file"]) == ("amount: not a decimal(10,2)", "orders")


CONTRACT = """
{apiVersion: v3.2.0, kind: DataContract, id: shop, version: 1.0.0, status: active, schema: [
  {name: orders, physicalName: bronze.orders, properties: [
    {name: id, logicalType: integer, physicalType: long, primaryKey: true},
    {name: amount, logicalType: number, physicalType: "decimal(10,2)"}]}]}
"""


def test_a_table_is_created_by_its_contract_and_refused_rows_carry_its_name_and_the_run(
    execute: Execute, context: Contexts, rows: Rows, tmp_path: Path
) -> None:
    execute("INSERT INTO orders VALUES (3, 'cheap'), (NULL, '3.50')")
    path = tmp_path / "shop.odcs.yaml"
    path.write_text(CONTRACT)
    result = ingest(contract=str(path), policy="quarantine").execute(context(run_id="run-7"))
    assert (result["rows_inserted"], result["rows_rejected"]) == (2, 2)
    facts = LakehouseHook().table("bronze.orders").facts()
    assert [(facts.schema.by_name[name].type, facts.schema.by_name[name].nullable) for name in ("id", "amount")] == [
        ("long", False),
        ("decimal(10,2)", True),
    ]
    refused = rows(LakehouseHook().table("quarantine.rows"))
    assert {(row["contract"], row["run"]) for row in refused} == {("shop@1.0.0", "run-7")}


@pytest.mark.parametrize("limit", [{"rows": 0}, {"share": "0.1"}])
def test_more_refused_rows_than_the_limit_allows_refuse_the_batch(
    execute: Execute, context: Contexts, limit: dict[str, Any]
) -> None:
    execute("INSERT INTO orders VALUES (3, 'cheap')")
    given = {"columns": {"id": "int", "amount": "decimal(10,2)"}, "reject_limit": limit}
    with pytest.raises(DataRejectedError, match="more than the limit"):
        ingest(**given).execute(context())
    assert LakehouseHook().table("bronze.orders").facts().version <= 0
    assert ingest(**given | {"reject_limit": {"rows": 1}}).execute(context())["rows_rejected"] == 1


def test_a_limit_that_is_none_is_refused_before_anything_is_read(execute: Execute, context: Contexts) -> None:
    with pytest.raises(InvalidRequestError, match="reject_limit"):
        ingest(reject_limit={"percent": 1}).execute(context())
    assert not LakehouseHook().table("bronze.orders").exists()


def test_lineage_names_the_relation(execute: Execute, context: Contexts) -> None:
    operator = ingest()
    operator.execute(context())
    (source,) = operator.get_openlineage_facets_on_complete(None).inputs
    assert "sqlite" in source.namespace
    assert source.name.endswith("orders")


@pytest.mark.parametrize("conn_type", ["http", "oracle"])
def test_a_connection_that_is_not_of_an_sql_database_is_refused(connect: Callable[..., None], conn_type: str) -> None:
    connect("other", conn_type=conn_type, host="localhost")
    with pytest.raises(InvalidRequestError, match=conn_type):
        open_sql_source(Connection.get("other"), relation="orders")
