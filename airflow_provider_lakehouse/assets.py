"""Assets: a table as Airflow knows it, `iceberg://<catalog>/<namespace>/<table>` or `delta://...`.

The identity is declared when a DAG is parsed, and checked against the table that a task writes when it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from airflow_provider_lakehouse.bridge.breakers import breaker_uri
from airflow_provider_lakehouse.bridge.identity import SCHEMES, check_uri, table_uri
from airflow_provider_lakehouse.bridge.lineage import dataset_name
from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from openlineage.client.event_v2 import Dataset


def table_asset(table: str, *, format: str = "iceberg", catalog: str = "default", **options: Any) -> Asset:  # noqa: A002, ANN401
    """Return the asset that stands for a table.

    Args:
        table: `namespace.table`. No Jinja: the scheduler needs the identity before anything is rendered.
        format: `iceberg` or `delta`.
        catalog: Name of the catalog, as the connection calls it (`catalog_name`).
        **options: Of every asset, such as `group`, `extra` or `watchers`.

    Raises:
        InvalidRequestError: The name is not `namespace.table`, holds Jinja, or there are no assets of the format.

    Example:
        >>> table_asset("sales.orders").uri
        'iceberg://default/sales/orders'
    """
    if format not in SCHEMES:
        raise InvalidRequestError(
            f"There are no assets of format {format!r}. Use one of those there are.", formats=SCHEMES
        )
    return Asset(uri=table_uri(table, format=format, catalog=catalog), **options)


def iceberg_asset(table: str, *, catalog: str = "default", **options: Any) -> Asset:  # noqa: ANN401
    """Return the asset that stands for an Iceberg table; see `table_asset`."""
    return table_asset(table, format="iceberg", catalog=catalog, **options)


def delta_asset(table: str, *, catalog: str = "default", **options: Any) -> Asset:  # noqa: ANN401
    """Return the asset that stands for a Delta table; see `table_asset`."""
    return table_asset(table, format="delta", catalog=catalog, **options)


def breaker_asset(scope: str, *, catalog: str = "default", **options: Any) -> Asset:  # noqa: ANN401
    """Return the asset that stands for a circuit breaker: it has an event whenever the breaker opens, is probed or closes.

    Args:
        scope: Of the breaker. No Jinja.
        catalog: Name of the catalog that holds the log of breakers, as the connection calls it.
        **options: Of every asset, such as `group`, `extra` or `watchers`.

    Example:
        >>> breaker_asset("sales.*").uri
        'x-lakehouse-breaker://default/sales.%2A'
    """
    return Asset(uri=breaker_uri(scope, catalog=catalog), **options)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check the URI of a table's asset and bring it to its one spelling; Airflow calls it for our schemes.

    Raises:
        ValueError: It does not name a catalog, a namespace and a table, or it holds Jinja.
    """
    return check_uri(uri)


def to_openlineage(asset: Asset, lineage_context: object) -> Dataset:
    """Return the OpenLineage dataset of a table's asset: catalog and table, by which tasks name it as a symlink."""
    from openlineage.client.event_v2 import Dataset

    namespace, name = dataset_name(str(asset.uri))
    return Dataset(namespace=namespace, name=name)
