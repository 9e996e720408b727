"""A task declares the tables it writes when the DAG is parsed, and writes no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import Asset

from airflow_provider_lakehouse.assets import table_asset
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.operators.publish import LakehousePublishOperator
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator

Contexts = Callable[..., dict[str, Any]]


def query(**options: Any) -> LakehouseQueryOperator:
    return LakehouseQueryOperator(**{"task_id": "task", "sql": "SELECT 1 AS id", "table": "sales.orders"} | options)


def test_the_event_of_the_outlet_tells_version_and_row_counts(local_format: str, context: Contexts) -> None:
    asset, other = table_asset("sales.orders", format=local_format), Asset("s3://bucket/report")
    given = context()
    query(outlets=[asset, other]).execute(given)
    extra = given["outlet_events"][asset].extra
    assert extra == {
        "version": LakehouseHook().table("sales.orders").facts().version,
        "rows_read": 1,
        "rows_inserted": 1,
        "rows_updated": 0,
        "rows_deleted": 0,
        "rows_rejected": 0,
        "is_replay": False,
    }
    assert given["outlet_events"][other].extra == {}


def test_what_is_staged_is_announced_with_its_branch(local_format: str, context: Contexts) -> None:
    asset = table_asset("sales.orders", format=local_format)
    given = context()
    query(outlets=[asset], branch="staged").execute(given)
    assert given["outlet_events"][asset].extra["branch"] == "staged"


@pytest.mark.parametrize(
    "outlet",
    [{"table": "sales.items"}, {"catalog": "other"}, {"format": "the other"}],
    ids=["another table", "another catalog", "another format"],
)
def test_a_task_that_declares_another_table_writes_nothing(
    local_format: str, context: Contexts, outlet: dict[str, str]
) -> None:
    if "format" in outlet:
        outlet = {"format": "delta" if local_format == "iceberg" else "iceberg"}
    asset = table_asset(**{"table": "sales.orders", "format": local_format} | outlet)
    with pytest.raises(InvalidRequestError) as refused:
        query(outlets=[asset]).execute(context())
    assert refused.value.facts["declares"] == (asset.uri,)
    assert not LakehouseHook().table("sales.orders").exists()


def test_a_table_for_refused_rows_can_be_declared_too(local_format: str, context: Contexts) -> None:
    names = ("sales.orders", "quarantine.rows")
    query(outlets=[table_asset(name, format=local_format) for name in names]).execute(context())
    with pytest.raises(InvalidRequestError):
        query(outlets=[table_asset("quarantine.rows", format=local_format)]).execute(context())


class TestDefaults:
    @pytest.fixture(autouse=True)
    def deployment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__LAKEHOUSE__DEFAULT_FORMAT", "iceberg")
        monkeypatch.setenv("AIRFLOW__LAKEHOUSE__DEFAULT_CATALOG", "prod")

    def test_assets_are_declared_where_the_deployment_says_what_its_lakehouse_is(self) -> None:
        operator = query(reads=["bronze.orders", "bronze.{{ ds }}"])
        assert [asset.uri for asset in operator.outlets] == ["iceberg://prod/sales/orders"]
        assert [asset.uri for asset in operator.inlets] == ["iceberg://prod/bronze/orders"]

    def test_what_is_only_staged_is_no_outlet_and_what_is_published_is(self) -> None:
        assert query(branch="staged").outlets == []
        publish = LakehousePublishOperator(task_id="publish", table="sales.orders", branch="staged")
        assert [asset.uri for asset in publish.outlets] == ["iceberg://prod/sales/orders"]

    @pytest.mark.parametrize(
        "options", [{"lakehouse_conn_id": "other"}, {"table": "sales.{{ ds }}"}, {"outlets": []}, {"table": None}]
    )
    def test_what_is_not_known_when_the_dag_is_parsed_is_not_declared(self, options: dict[str, Any]) -> None:
        assert query(**options).outlets == []
