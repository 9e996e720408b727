"""Reach Iceberg catalogs: by configuration, one compare-and-swap at a time."""

from __future__ import annotations

import random
import sqlite3
import time
import weakref
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import (
    DamagedError,
    InvalidRequestError,
    LakehouseError,
    UnavailableError,
    UnsupportedError,
)
from airflow_provider_lakehouse.core.tables.base import no_probe
from airflow_provider_lakehouse.core.tables.iceberg.glue import keep_tokens_out
from airflow_provider_lakehouse.core.tables.iceberg.io import IO_CLASS
from airflow_provider_lakehouse.core.tables.iceberg.refusals import refusal, translated
from airflow_provider_lakehouse.core.tables.storage import local_uri, open_storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyiceberg.catalog import Catalog as IcebergCatalog
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableRequirement, TableUpdate

    from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Probe
    from airflow_provider_lakehouse.core.tables.storage import Storage

FORMAT_VERSION: Final = 2
"""The version of the table format that is written; 1 is read."""
SQLITE_FILE: Final = "catalog.db"
"""Name of the catalog in a local warehouse that names none."""
SQLITE_WAIT_SECONDS: Final = 60
"""How long a process waits for another that writes to the same SQLite catalog."""
_OPEN_ATTEMPTS: Final = 5


class Connection:
    """A catalog that is opened when it is first used.

    Args:
        settings: Where it is.
        probe: Called around every call to it.
    """

    def __init__(self, settings: CatalogSettings, *, probe: Probe = no_probe) -> None:
        self.settings = settings
        self.probe = probe

    @cached_property
    def catalog(self) -> IcebergCatalog:
        """The catalog, opened."""
        self.probe("before iceberg.open")
        catalog = _open(self.settings)
        if (engine := getattr(catalog, "engine", None)) is not None:  # a catalog in SQL keeps connections
            weakref.finalize(self, engine.dispose)
        keep_tokens_out(catalog)
        self.probe("after iceberg.open")
        return catalog

    def storage(self, table: IcebergTable) -> Storage:
        """Return the file system of a table, with the credentials the catalog gave for it."""
        return open_storage(table.location(), {**self.settings.properties, **table.io.properties})

    def find(self, name: str) -> IcebergTable | None:
        """Return the newest state of a table, None when there is no such table."""
        from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

        catalog = self.catalog
        self.probe("before iceberg.load")
        try:
            with translated(name):
                table = catalog.load_table(name)
        except InvalidRequestError as error:
            if isinstance(error.__cause__, NoSuchTableError | NoSuchNamespaceError):
                return None
            raise
        self.probe("after iceberg.load")
        check_format(table.metadata, name=name)
        return table

    def load(self, name: str) -> IcebergTable:
        """Return the newest state of a table.

        Raises:
            InvalidRequestError: There is no such table.
            UnsupportedError: Its format version is unknown to this package.
        """
        table = self.find(name)
        if table is None:
            raise InvalidRequestError(f"There is no table {name!r}. Create it.", table=name)
        return table

    def submit(
        self, table: IcebergTable, *, updates: Sequence[TableUpdate], requirements: Sequence[TableRequirement]
    ) -> None:
        """Try a commit once.

        Raises:
            LostRaceError: Another commit came first.
            UnknownOutcomeError: The catalog did not answer; the commit may have landed, or may land yet.
            LakehouseError: The catalog refused; nothing was written.
        """
        from pyiceberg.table.update import AssertTableUUID

        catalog = self.catalog
        uuid = AssertTableUUID(uuid=table.metadata.table_uuid)
        self.probe("before iceberg.commit")
        try:
            response = catalog.commit_table(table, (uuid, *requirements), tuple(updates))
        except Exception as error:
            raise refusal(error, name=".".join(table.name())) from error
        self.probe("after iceberg.commit")
        self._remove_old_metadata(table, response.metadata)

    def _remove_old_metadata(self, table: IcebergTable, after: TableMetadata) -> None:
        """Delete metadata files that fell out of the log, if the table asks for it; what fails is an orphan."""
        if after.properties.get("write.metadata.delete-after-commit.enabled", "false").lower() != "true":
            return
        before = {entry.metadata_file for entry in table.metadata.metadata_log}
        gone = before - {entry.metadata_file for entry in after.metadata_log}
        try:
            self.storage(table).delete(sorted(gone))
        except LakehouseError:
            return


def check_format(metadata: TableMetadata, *, name: str) -> None:
    """Refuse tables of a format version that this package does not know.

    Raises:
        UnsupportedError: Versions above 2 have deletion vectors, row lineage, defaults and types that would be misread.
    """
    if metadata.format_version > FORMAT_VERSION:
        raise UnsupportedError(
            f"Table {name!r} has Iceberg format version {metadata.format_version}. Use an engine that knows it.",
            table=name,
            format_version=metadata.format_version,
        )


def check_writable(metadata: TableMetadata, *, name: str) -> None:
    """Refuse to write tables of another format version than ours.

    Raises:
        UnsupportedError: The table is of version 1: it cannot hold row-level deletes. Upgrade it first.
    """
    if metadata.format_version != FORMAT_VERSION:
        raise UnsupportedError(
            f"Table {name!r} has Iceberg format version {metadata.format_version}, which is only read. Upgrade it.",
            table=name,
            format_version=metadata.format_version,
        )


def _open(settings: CatalogSettings) -> IcebergCatalog:
    from pyiceberg.catalog import load_catalog
    from sqlalchemy.exc import SQLAlchemyError

    properties = catalog_properties(settings)
    _prepare_sqlite(properties.get("uri", ""))
    for attempt in range(_OPEN_ATTEMPTS):
        try:
            with translated(settings.name):
                return load_catalog(settings.name, **properties)
        except DamagedError as error:
            raise InvalidRequestError(
                "The catalog cannot be opened with these settings. Correct them.", catalog=settings.name
            ) from error
        except UnavailableError as error:
            # Two processes that open a new catalog at once both create its tables, and one of them fails.
            if not isinstance(error.__cause__, SQLAlchemyError) or attempt == _OPEN_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def catalog_properties(settings: CatalogSettings) -> dict[str, str]:
    """Return PyIceberg's properties for a catalog; a local warehouse without a catalog gets one in SQLite.

    Raises:
        InvalidRequestError: A warehouse that is not local names no catalog.

    Example:
        >>> from airflow_provider_lakehouse.core.tables.base import CatalogSettings
        >>> catalog_properties(CatalogSettings("iceberg", "/data/lake"))["uri"]
        'sqlite:////data/lake/catalog.db?timeout=60'
    """
    warehouse = local_uri(settings.warehouse) if settings.warehouse else ""
    defaults = {
        "warehouse": warehouse,
        "py-io-impl": IO_CLASS,
        "pool_pre_ping": "true",  # a load may take longer than a firewall lets a connection idle
    }
    properties = {**defaults, **settings.properties}
    if not warehouse:
        del properties["warehouse"]
    if "type" not in properties and "uri" not in properties:
        if not warehouse.startswith("file://"):
            raise InvalidRequestError(
                "A warehouse that is not a local folder needs a catalog. Give 'type' and 'uri' among the properties.",
                warehouse=settings.warehouse,
            )
        path = open_storage(warehouse, {}).path(warehouse).rstrip("/")
        properties |= {"type": "sql", "uri": f"sqlite:///{path}/{SQLITE_FILE}"}
    uri = properties.get("uri", "")
    if uri.startswith("sqlite:///") and ":memory:" not in uri and "timeout=" not in uri:
        properties["uri"] = f"{uri}{'&' if '?' in uri else '?'}timeout={SQLITE_WAIT_SECONDS}"
    return properties


def _prepare_sqlite(uri: str) -> None:
    """Let readers and a writer of an SQLite file not wait for each other; its write-ahead log is there to stay."""
    if not uri.startswith("sqlite:///") or ":memory:" in uri:
        return
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=SQLITE_WAIT_SECONDS)) as connection:
            _switch_to_wal(connection)
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            raise UnavailableError("The catalog's file is locked by others. Run again later.", path=path) from error
        # A folder that is not mounted just now looks the same as a wrong one, and whoever waits has to outlive it.
        raise UnavailableError(
            "The catalog's file cannot be opened. Check its folder and rights.", path=path
        ) from error


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switch once; SQLite does not wait by itself when several processes want to switch a new file at the same time."""
    deadline = time.monotonic() + SQLITE_WAIT_SECONDS
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.01, 0.1))  # noqa: S311 - spreads the attempts, guards nothing
        else:
            return
