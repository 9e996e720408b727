"""The identity of a table is one URI, known before anything is rendered."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from airflow.sdk import Asset

from airflow_provider_lakehouse.assets import delta_asset, iceberg_asset, sanitize_uri, table_asset, to_openlineage
from airflow_provider_lakehouse.core.errors import InvalidRequestError


def test_an_asset_names_catalog_namespace_and_table() -> None:
    assert iceberg_asset("sales.orders", catalog="prod").uri == "iceberg://prod/sales/orders"
    assert delta_asset("eu.sales.orders", group="silver").uri == "delta://default/eu.sales/orders"


def test_names_with_odd_characters_have_one_spelling() -> None:
    asset = table_asset("sales.order lines/ä", catalog="my catalog")
    assert asset.uri == "iceberg://my%20catalog/sales/order%20lines%2F%C3%A4"
    assert Asset(uri=asset.uri).uri == asset.uri


@pytest.mark.parametrize("table", ["sales.{{ ds }}", "{% if x %}a.b{% endif %}", "sales.{# c #}orders"])
def test_templates_are_refused_with_the_reason(table: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be a template"):
        table_asset(table)


@pytest.mark.parametrize("table", ["orders", ".orders", "sales.", "", "a..b"])
def test_what_is_no_table_is_refused(table: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"namespace\.table"):
        table_asset(table)


def test_formats_without_assets_are_refused() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        table_asset("sales.orders", format="memory")
    assert refused.value.facts["formats"] == ("iceberg", "delta")


@pytest.mark.parametrize("uri", ["iceberg://default/sales/orders", "delta://c/a.b/t"])
def test_a_good_uri_is_kept(uri: str) -> None:
    assert sanitize_uri(urlsplit(uri)).geturl() == uri


@pytest.mark.parametrize(
    "uri",
    [
        "iceberg:///sales/orders",
        "iceberg://default",
        "iceberg://default/orders",
        "iceberg://default/a/b/c",
        "iceberg://default/sales/",
        "iceberg://default//orders",
        "iceberg://default/sales/orders?version=1",
        "iceberg://default/sales/orders#branch",
        "iceberg://user:secret@default/sales/orders",
        "iceberg://default/sales/{{ ds }}",
        "iceberg://default/sales/%7B%7B%20ds%20%7D%7D",
    ],
)
def test_a_bad_uri_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"is no table|is a template"):
        sanitize_uri(urlsplit(uri))


def test_airflow_refuses_a_bad_uri_when_the_dag_is_parsed() -> None:
    with pytest.raises(ValueError, match="is no table"):
        Asset("iceberg://default/orders")


def test_lineage_knows_an_asset_by_the_name_that_tasks_give_as_a_symlink() -> None:
    dataset = to_openlineage(iceberg_asset("sales.orders", catalog="prod"), None)
    assert (dataset.namespace, dataset.name) == ("iceberg://prod", "sales.orders")
