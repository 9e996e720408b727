"""The operator that ingests rows of a database, against a real PostgreSQL: once, whatever is retried, cleared or run at once."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="lakehouse-airflow-"))

import pytest
from airflow.sdk import BaseHook
from psycopg.conninfo import conninfo_to_dict

from airflow_provider_lakehouse.bridge.connections import open_sql_source
from airflow_provider_lakehouse.bridge.state import PLAN_KEY
from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnavailableError
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.operators.ingest_sql import LakehouseIngestSqlOperator

from .postgres_rows import database, dsn, sql

__all__ = ["database", "dsn", "sql"]


class Store:
    """The state of a task, shared by its tries and clears."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def get(self, key: str) -> Any:
        return json.loads(self.values[key]) if key in self.values else None

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.values[key] = json.dumps(value)


@pytest.fixture(autouse=True)
def connections(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = conninfo_to_dict(dsn)
    shop = {"conn_type": "postgres", "host": parts["host"], "port": int(parts["port"]), "schema": parts["dbname"]}
    shop |= {"login": parts.get("user"), "password": parts.get("password")}
    lake = {"format": "memory", "warehouse": f"memory://{uuid.uuid4()}", "memory_limit_mb": 256}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps(shop))
    monkeypatch.setenv("AIRFLOW_CONN_LAKEHOUSE_DEFAULT", json.dumps({"conn_type": "lakehouse", "extra": lake}))


def context(run_id: str = "run-1") -> dict[str, Any]:
    ti = SimpleNamespace(dag_id="dag", task_id="task", run_id=run_id, map_index=-1)
    return {"ti": ti, "dag_run": SimpleNamespace(conf={}, partition_key=None), "task_state_store": Store()}


def ingest(**options: Any) -> LakehouseIngestSqlOperator:
    usual = {"task_id": "task", "sql_conn_id": "shop", "table": "bronze.orders", "relation": "orders", "mode": "append"}
    return LakehouseIngestSqlOperator(**usual | options)


def increment(**options: Any) -> LakehouseIngestSqlOperator:
    return ingest(**{"extract": "incremental", "cursor": "id"} | options)


def ids() -> list[int]:
    with LakehouseHook().table("bronze.orders").read(columns=("id",)) as rows:
        return sorted(rows.read_all().column("id").to_pylist())


@pytest.fixture
def orders(sql: Any) -> Any:
    sql("CREATE TABLE orders (id bigint, amount numeric(10,2))")
    sql("INSERT INTO orders SELECT i, i * 1.5 FROM generate_series(1, 3) AS i")
    return sql


def test_an_increment_takes_what_is_new_each_time(orders: Any) -> None:
    assert increment().execute(context())["rows_inserted"] == 3
    assert increment().execute(context("run-2"))["rows_read"] == 0
    orders("INSERT INTO orders VALUES (4, 6), (5, 7.5)")
    result = increment().execute(context("run-3"))
    assert (result["rows_inserted"], result["position"]) == (2, {"cursor": "id", "high": "5"})
    assert ids() == [1, 2, 3, 4, 5]


def test_a_cleared_task_writes_nothing_again_though_there_is_more(orders: Any) -> None:
    first = context()
    increment().execute(first)
    orders("INSERT INTO orders VALUES (4, 6)")
    assert increment().execute(first)["commit"]["replayed"]
    assert ids() == [1, 2, 3]


def test_two_runs_that_start_from_the_same_position_load_it_once(orders: Any) -> None:
    """The second decided before the first had committed, as live attempts do, and saw more rows."""
    late = context("run-2")
    orders("INSERT INTO orders VALUES (4, 6)")
    operator = increment()
    table = LakehouseHook().table("bronze.orders")
    source = open_sql_source(BaseHook.get_connection("shop"), **operator._source_settings())
    late["task_state_store"].set(PLAN_KEY, operator._decide(source, table, "dag/task/bronze.orders"))
    increment().execute(context())
    orders("INSERT INTO orders VALUES (5, 7.5)")
    assert increment().execute(late)["commit"]["replayed"]
    increment().execute(context("run-3"))
    assert ids() == [1, 2, 3, 4, 5]


def test_a_lag_reads_again_and_merges(orders: Any) -> None:
    merge = {"mode": "merge", "keys": ["id"]}
    increment(mode=merge, lag=2).execute(context())
    orders("INSERT INTO orders VALUES (4, 6)")
    increment(mode=merge, lag=2).execute(context("run-2"))
    increment(mode=merge, lag=2).execute(context("run-3"))
    assert ids() == [1, 2, 3, 4]


def test_a_full_extract_replaces(orders: Any) -> None:
    for run_id in ("run-1", "run-2"):
        ingest(mode="replace").execute(context(run_id))
        orders("DELETE FROM orders WHERE id = 1")
    assert ids() == [2, 3]


def test_a_partition_is_read_alone(orders: Any) -> None:
    ingest(extract="partition", partition={"column": "id", "start": "2", "end": "3"}).execute(context())
    assert ids() == [2]


def test_a_connection_that_is_lost_commits_nothing_and_a_retry_reads_the_same_range(orders: Any, dsn: str) -> None:
    """The database itself kills the session in the middle of its rows; planning does not ask for that column."""
    orders(
        "CREATE TABLE switch AS SELECT true AS is_on; INSERT INTO orders SELECT i, 0 FROM generate_series(4, 200000) AS i"
    )
    orders("""
        CREATE FUNCTION lose(i bigint) RETURNS bigint STABLE LANGUAGE plpgsql AS $$ BEGIN
            IF i = 150000 AND (SELECT is_on FROM switch) THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
            RETURN i;
        END $$
    """)
    first = context()
    lossy = {"relation": "", "query": "SELECT id, lose(id) AS same FROM orders", "cursor": "id"}
    with pytest.raises(UnavailableError):
        increment(**lossy).execute(first)
    table = LakehouseHook().table("bronze.orders")
    assert not table.exists() or not ids()
    orders("UPDATE switch SET is_on = false; INSERT INTO orders VALUES (200001, 1)")
    assert increment(**lossy).execute(first)["rows_inserted"] == 200_000
    assert max(ids()) == 200_000


def test_lineage_names_the_relation(orders: Any) -> None:
    operator = increment()
    operator.execute(context())
    lineage = operator.get_openlineage_facets_on_complete(None)
    (source,) = lineage.inputs
    assert source.namespace.startswith("postgres://")
    assert source.name.endswith(".orders")
    assert lineage.outputs[0].outputFacets["outputStatistics"].rowCount == 3


@pytest.mark.parametrize(
    "options", [{"lag": 1, "lag_seconds": 1}, {"cursor": ""}, {"extract": "some"}, {"relation": ""}]
)
def test_settings_that_contradict_each_other_are_refused(orders: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        increment(**options).execute(context())
