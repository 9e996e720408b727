"""The hook: from a connection to tables and the engine."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseHook

from airflow_provider_lakehouse.bridge.connections import (
    CONNECTION_TYPE,
    DEFAULT_CONNECTION,
    open_catalog,
    open_engine,
    read_connection,
)
from airflow_provider_lakehouse.core.errors import LakehouseError

if TYPE_CHECKING:
    from airflow_provider_lakehouse.bridge.connections import LakehouseSettings
    from airflow_provider_lakehouse.core.engines.base import Engine
    from airflow_provider_lakehouse.core.tables.base import Catalog, Table, TableIdentity


class LakehouseHook(BaseHook):
    """Opens the catalog and the engine that a connection describes, each when it is first used.

    Args:
        lakehouse_conn_id: A connection of type `lakehouse`.
    """

    conn_name_attr = "lakehouse_conn_id"
    default_conn_name = DEFAULT_CONNECTION
    conn_type = CONNECTION_TYPE
    hook_name = "Lakehouse"

    def __init__(self, lakehouse_conn_id: str = DEFAULT_CONNECTION, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self.lakehouse_conn_id = lakehouse_conn_id

    @cached_property
    def settings(self) -> LakehouseSettings:
        """What the connection says.

        Raises:
            AirflowNotFoundException: There is no such connection.
            InvalidRequestError: The connection has unknown or missing keys.
        """
        return read_connection(self.get_connection(self.lakehouse_conn_id))

    async def load_settings(self) -> LakehouseSettings:
        """Read the connection without blocking an event loop; `settings` are known afterwards."""
        self.settings = read_connection(await self.aget_connection(self.lakehouse_conn_id))
        return self.settings

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog.

        Raises:
            UnsupportedError: What its format needs is not installed.
            UnavailableError: It did not answer.
        """
        return open_catalog(self.settings)

    @cached_property
    def engine(self) -> Engine:
        """The engine, within the limits that the connection sets."""
        return open_engine(self.settings)

    def table(self, name: str) -> Table:
        """Return the table `namespace.table`, whether it exists or not."""
        return self.catalog.table(name)

    def page_of(self, table: TableIdentity) -> str:
        """Return the URL of a table's page.

        Where the connection names no page, it is the table's folder: in the console of Amazon S3, or its location where
        that is elsewhere. Airflow's pages show links of http and https only.
        """
        namespace, _, name = table.name.rpartition(".")
        page = self.settings.table_page
        for place, value in (("{table}", table.name), ("{namespace}", namespace), ("{name}", name)):
            page = page.replace(place, value)
        return page or self._console_page(table.location) or table.location

    def _console_page(self, location: str) -> str:
        bucket, _, folder = location.removeprefix("s3://").partition("/")
        if not location.startswith("s3://") or "s3.endpoint" in self.settings.catalog.properties:
            return ""
        return f"https://s3.console.aws.amazon.com/s3/buckets/{bucket}?prefix={quote(folder.rstrip('/'), safe='')}/"

    def get_conn(self) -> Catalog:
        """Return the catalog."""
        return self.catalog

    def test_connection(self) -> tuple[bool, str]:
        """Open the catalog and ask it for a list of tables: the button of the connection's form. Nothing is written."""
        try:
            self.catalog.tables("default")
        except LakehouseError as error:
            return False, str(error)
        catalog = self.settings.catalog
        return True, f"Opened the {catalog.format} catalog {catalog.name!r} in {catalog.warehouse}."
