"""Tables in Apache Iceberg, through PyIceberg: catalogs in SQL, REST and Glue; files on local disk and S3; no Java."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.apart import listings_apart, read_listing
from airflow_provider_lakehouse.core.tables.base import HEAD, TableIdentity, no_probe
from airflow_provider_lakehouse.core.tables.file_reading import read_files
from airflow_provider_lakehouse.core.tables.iceberg.catalog import Connection
from airflow_provider_lakehouse.core.tables.iceberg.commit import commit_once
from airflow_provider_lakehouse.core.tables.iceberg.creation import create_table, default_location, drop_table
from airflow_provider_lakehouse.core.tables.iceberg.history import facts_of, history_of
from airflow_provider_lakehouse.core.tables.iceberg.references import (
    PublishStep,
    RollBackStep,
    drop_reference,
    name_state,
)
from airflow_provider_lakehouse.core.tables.iceberg.refusals import translated
from airflow_provider_lakehouse.core.tables.iceberg.scan import list_files
from airflow_provider_lakehouse.core.tables.iceberg.tokens import remembered
from airflow_provider_lakehouse.core.tables.iceberg.write import ChangeStep

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import Table as PyIcebergTable

    from airflow_provider_lakehouse.core.tables.base import (
        At,
        CatalogSettings,
        Change,
        CommitResult,
        FileListing,
        Probe,
        TableFacts,
        VersionFacts,
        WriteToken,
    )
    from airflow_provider_lakehouse.core.tables.filters import Filter
    from airflow_provider_lakehouse.core.tables.iceberg.commit import Step
    from airflow_provider_lakehouse.core.tables.spec import TableSpec


def open_catalog(settings: CatalogSettings, *, probe: Probe = no_probe) -> IcebergCatalog:
    """Open an Iceberg catalog; nothing is asked of it before it is used.

    Args:
        settings: `properties` are PyIceberg's: `type` (`sql`, `rest`, `glue`, `in-memory`, ...), `uri`, `s3.*`. A local
            warehouse without either gets a catalog in an SQLite file of its own.
        probe: Called around every call that leaves the process.
    """
    return IcebergCatalog(settings, probe=probe)


class IcebergCatalog:
    """Finds Iceberg tables by name; see `Catalog`."""

    def __init__(self, settings: CatalogSettings, *, probe: Probe = no_probe) -> None:
        self._connection = Connection(settings, probe=probe)

    def table(self, name: str) -> IcebergTable:
        """Return the table, whether it exists or not.

        Raises:
            InvalidRequestError: The name has no namespace.
        """
        if "." not in name or not all(name.split(".")):
            raise InvalidRequestError(f"{name!r} is not the name of a table. Write 'namespace.table'.", table=name)
        return IcebergTable(name, self._connection)

    def tables(self, namespace: str) -> tuple[str, ...]:
        """Return the names of the tables of a namespace, sorted."""
        from pyiceberg.exceptions import NoSuchNamespaceError

        catalog = self._connection.catalog
        self._connection.probe("before iceberg.list")
        with translated(namespace):
            try:
                found = catalog.list_tables(namespace)
            except NoSuchNamespaceError:
                found = []
        self._connection.probe("after iceberg.list")
        return tuple(sorted(".".join(identifier) for identifier in found))


class IcebergTable:
    """An Iceberg table; see `Table` and the abilities it has.

    Every commit is one snapshot, also one without rows, so that commits on any branch exclude each other. The token is
    a table property set in the same commit. Columns, properties and tokens belong to the table, not to a branch: a
    change of columns on a branch is seen on the main one, where the new columns are null.
    """

    def __init__(self, name: str, connection: Connection) -> None:
        self._name = name
        self._connection = connection
        self._location = default_location(connection.settings, name)

    @property
    def identity(self) -> TableIdentity:
        """Which table; its location is empty before it has been looked at where the catalog chooses."""
        return TableIdentity("iceberg", self._name, self._location)

    def exists(self) -> bool:
        """Tell whether the table is there."""
        return self._find() is not None

    def create(self, spec: TableSpec) -> bool:
        """Create the table, and its namespace, unless it is there."""
        if self._find() is not None:
            return False
        return create_table(self._connection, self._name, spec)

    def drop(self) -> None:
        """Remove the table from the catalog, and then its folder with all that is in it."""
        if (table := self._find()) is not None:
            drop_table(self._connection, table)

    def facts(self, *, at: At = HEAD) -> TableFacts:
        """Describe the table, from its metadata alone."""
        return facts_of(self._load(), at=at, identity=self.identity)

    def read(
        self, *, columns: tuple[str, ...] | None = None, where: Filter = (), at: At = HEAD
    ) -> pa.RecordBatchReader:
        """Stream rows, file by file."""
        return self._read(columns, where=where, at=at, addressed=False)

    def read_addressed(self, *, columns: tuple[str, ...], where: Filter = (), at: At = HEAD) -> pa.RecordBatchReader:
        """Stream rows with their address."""
        return self._read(columns, where=where, at=at, addressed=True)

    def list_files(self, *, where: Filter = (), at: At = HEAD) -> FileListing:
        """Return the live files that may hold rows that satisfy the filter, told by partition and statistics."""
        return self._listing(self._load(), where=where, at=at)

    def read_apart(self, *, before: At | None, after: At) -> tuple[pa.RecordBatchReader, pa.RecordBatchReader]:
        """Stream the rows of files that are not the same in two states."""
        old, new = listings_apart(self, before=before, after=after)
        storage = self._connection.storage(self._load())
        return read_listing(old, storage=storage, schema=new.schema), read_listing(
            new, storage=storage, schema=new.schema
        )

    def find(self, token: WriteToken) -> CommitResult | None:
        """Return what a token wrote."""
        return remembered(self._load().metadata, token)

    def commit(self, change: Change, *, token: WriteToken) -> CommitResult:
        """Write a change once.

        Rows removed by position become position-delete files; data files that are small, or lose many of their rows,
        are rewritten instead. Both, and the new rows, are one snapshot.

        Guarantees:
            Crash: what a killed attempt left is removed by the next one with its token.
        """
        step = ChangeStep(change, token=token, connection=self._connection, name=self._name)
        return self._once(token, step)

    def publish(self, branch: str, *, token: WriteToken, audited: int | None = None) -> CommitResult:
        """Fast-forward the main branch to a staged one, and drop that.

        Commits of the main branch since then that changed no files (of properties, columns, or a batch without rows)
        are passed over: they leave its history, not their effect. Any other, compaction included, is a conflict: what was staged
        was audited against the state before it.
        """
        return self._once(token, PublishStep(branch, token=token, table=self._name, audited=audited))

    def drop_branch(self, branch: str) -> None:
        """Forget a branch and the tokens of what was staged on it; its files stay until its snapshots expire."""
        drop_reference(self._connection, self._name, branch, kind="branch")

    def tag(self, name: str, *, at: At = HEAD) -> None:
        """Name a state."""
        name_state(self._connection, self._name, name, at=at)

    def drop_tag(self, name: str) -> None:
        """Forget a name."""
        drop_reference(self._connection, self._name, name, kind="tag")

    def roll_back(self, to: At, *, token: WriteToken) -> CommitResult:
        """Make the main branch hold what it held at `to`: a new snapshot of the same files; columns stay."""
        return self._once(token, RollBackStep(to, token=token, connection=self._connection, table=self._name))

    def history(self, *, since: int | None = None) -> tuple[VersionFacts, ...]:
        """Return the commits of the main branch, oldest first, as far back as snapshots have not expired."""
        return history_of(self._load(), since=since)

    def _once(self, token: WriteToken, step: Step) -> CommitResult:
        return commit_once(self._connection, self._name, token=token, step=step)

    def _read(self, columns: tuple[str, ...] | None, *, where: Filter, at: At, addressed: bool) -> pa.RecordBatchReader:
        table = self._load()
        listing = self._listing(table, where=where, at=at)
        storage = self._connection.storage(table)
        return read_files(
            listing.files, storage=storage, schema=listing.schema, columns=columns, where=where, addressed=addressed
        )

    def _listing(self, table: PyIcebergTable, *, where: Filter, at: At) -> FileListing:
        self._connection.probe("before iceberg.plan")
        listing = list_files(table, at=at, where=where, storage=self._connection.storage(table))
        self._connection.probe("after iceberg.plan")
        return listing

    def _find(self) -> PyIcebergTable | None:
        table = self._connection.find(self._name)
        if table is not None:
            self._location = table.location()
        return table

    def _load(self) -> PyIcebergTable:
        table = self._connection.load(self._name)
        self._location = table.location()
        return table
