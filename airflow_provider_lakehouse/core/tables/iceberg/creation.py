"""Create Iceberg tables from their specification, and remove them."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError, LakehouseError
from airflow_provider_lakehouse.core.tables.iceberg.catalog import FORMAT_VERSION, catalog_properties
from airflow_provider_lakehouse.core.tables.iceberg.files import TARGET_BYTES_PROPERTY
from airflow_provider_lakehouse.core.tables.iceberg.refusals import translated
from airflow_provider_lakehouse.core.tables.iceberg.schema import partition_spec, sort_order, to_iceberg
from airflow_provider_lakehouse.core.tables.iceberg.write import COMMENT_PROPERTY

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog as IcebergCatalog
    from pyiceberg.table import Table as IcebergTable

    from airflow_provider_lakehouse.core.tables.base import CatalogSettings
    from airflow_provider_lakehouse.core.tables.iceberg.catalog import Connection
    from airflow_provider_lakehouse.core.tables.spec import TableSpec

_DEFAULTS: Final = {
    # Each metadata file repeats every snapshot and every token; without this they would pile up, one a commit.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "50",
}
_LONGEST_FOLDER: Final = 200
_UNSAFE = re.compile(r"[^\w.-]", re.ASCII)


def create_table(connection: Connection, name: str, spec: TableSpec) -> bool:
    """Create a table and its namespace.

    Returns:
        False when another process created the table first.

    Raises:
        UnsupportedError: Iceberg cannot hold what the specification asks for. Nothing was created.
    """
    from pyiceberg.exceptions import TableAlreadyExistsError

    schema = to_iceberg(spec.schema)
    partitions, order = partition_spec(spec, schema), sort_order(spec, schema)
    properties = {**_DEFAULTS, TARGET_BYTES_PROPERTY: str(spec.target_file_bytes), **spec.properties}
    if spec.comment:
        properties[COMMENT_PROPERTY] = spec.comment
    catalog = connection.catalog
    connection.probe("before iceberg.create")
    with translated(name):
        _ensure_namespace(catalog, name.rpartition(".")[0])
        try:
            catalog.create_table(
                name,
                schema,
                location=default_location(connection.settings, name) or None,
                partition_spec=partitions,
                sort_order=order,
                properties={**properties, "format-version": str(FORMAT_VERSION)},
            )
        except TableAlreadyExistsError:
            return False
    connection.probe("after iceberg.create")
    return True


def drop_table(connection: Connection, table: IcebergTable) -> None:
    """Remove a table from the catalog, then its folder.

    Raises:
        InvalidRequestError: The table lies in the warehouse's own folder, beside others. Nothing was removed.
    """
    from pyiceberg.exceptions import NoSuchTableError

    name = ".".join(table.name())
    storage = connection.storage(table)
    folder = storage.path(table.location()).rstrip("/")
    warehouse = storage.path(catalog_properties(connection.settings).get("warehouse", "")).rstrip("/")
    if warehouse and (warehouse == folder or warehouse.startswith(f"{folder}/")):
        raise InvalidRequestError(f"Table {name!r} has the warehouse for its folder. Remove it by hand.", table=name)
    catalog = connection.catalog
    connection.probe("before iceberg.drop")
    try:
        with translated(name):
            catalog.drop_table(table.name())
    except LakehouseError as error:
        if not isinstance(error.__cause__, NoSuchTableError):
            raise
    connection.probe("after iceberg.drop")
    connection.probe("before iceberg.purge")
    storage.delete_folder(table.location())
    connection.probe("after iceberg.purge")


def default_location(settings: CatalogSettings, name: str) -> str:
    """Return the folder of a new table, empty where the catalog chooses it.

    Names that a URI would garble get a folder whose name is spelled with safe characters and told apart by a hash.
    """
    properties = catalog_properties(settings)
    if properties.get("type", "sql" if "sqlite" in properties.get("uri", "") else "") not in ("sql", "in-memory"):
        return ""
    parts = [_folder(part) for part in name.split(".")]
    return "/".join([properties["warehouse"].rstrip("/"), *parts]) if "warehouse" in properties else ""


def _folder(name: str) -> str:
    if not _UNSAFE.search(name) and len(name) <= _LONGEST_FOLDER:
        return name
    return f"{_UNSAFE.sub('_', name)[:_LONGEST_FOLDER]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _ensure_namespace(catalog: IcebergCatalog, namespace: str) -> None:
    """Create a namespace; of several that do so at once the losers hear of it in many ways, so they look whether it is there."""
    try:
        catalog.create_namespace_if_not_exists(namespace)
    except Exception:
        with suppress(Exception):
            if catalog.namespace_exists(namespace):
                return
        raise
