"""Delta tables: folders of Parquet files with a log, read through delta-rs and committed to by put-if-absent.

Any reader of Delta reads what is written here. The write token is an application transaction of the same commit; rows
are removed by writing their files anew; branches and tags are kept beside the log (see `stage`, `tags`).
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.apart import listings_apart, read_listing
from airflow_provider_lakehouse.core.tables.base import (
    HEAD,
    FileListing,
    TableFacts,
    TableIdentity,
    WriteToken,
    no_probe,
)
from airflow_provider_lakehouse.core.tables.delta.commit import Committer, MainLine, rows_in
from airflow_provider_lakehouse.core.tables.delta.create import create_actions
from airflow_provider_lakehouse.core.tables.delta.folder import LostRaceError
from airflow_provider_lakehouse.core.tables.delta.history import history, version_as_of
from airflow_provider_lakehouse.core.tables.delta.log import LOG, Commit, DeltaLog
from airflow_provider_lakehouse.core.tables.delta.publish import (
    EndDraft,
    PublishDraft,
    RollBackDraft,
    published_branch,
    require_new,
    require_unmoved,
)
from airflow_provider_lakehouse.core.tables.delta.stage import (
    DROPPED,
    FIRST_BRANCH_VERSION,
    PUBLISHED,
    Branches,
    BranchLine,
    staged_at,
)
from airflow_provider_lakehouse.core.tables.delta.state import TableState
from airflow_provider_lakehouse.core.tables.delta.tags import Tags
from airflow_provider_lakehouse.core.tables.file_reading import read_files
from airflow_provider_lakehouse.core.tables.publishing import require_audited
from airflow_provider_lakehouse.core.tables.spec import PartitionField
from airflow_provider_lakehouse.core.tables.storage import local_uri, open_storage, translated

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

    from airflow_provider_lakehouse.core.tables.base import (
        At,
        CatalogSettings,
        Change,
        CommitResult,
        Probe,
        VersionFacts,
    )
    from airflow_provider_lakehouse.core.tables.delta.commit import Line
    from airflow_provider_lakehouse.core.tables.delta.state import LiveFile
    from airflow_provider_lakehouse.core.tables.filters import Filter
    from airflow_provider_lakehouse.core.tables.spec import TableSpec
    from airflow_provider_lakehouse.core.tables.storage import Storage

MAIN: Final = "main"
_LONGEST_PART: Final = 255
"""Bytes that file systems allow for the name of a folder."""
_PART: Final = re.compile(r"[^./\\\x00-\x1f][^./\\\x00-\x1f]*\Z")


def open_catalog(settings: CatalogSettings, *, probe: Probe = no_probe) -> DeltaCatalog:
    """Open a warehouse of Delta tables: `namespace.table` is the folder `<warehouse>/<namespace>/<table>`."""
    return DeltaCatalog(settings, probe=probe)


class DeltaCatalog:
    """Finds Delta tables by their folder; see `Catalog`.

    Args:
        settings: The warehouse, and the `s3.*` properties to reach it.
        probe: Called around every call that leaves the process.
    """

    def __init__(self, settings: CatalogSettings, *, probe: Probe = no_probe) -> None:
        self._settings = settings
        self._probe = probe
        self._warehouse = local_uri(settings.warehouse).rstrip("/")
        self._storage = open_storage(self._warehouse, settings.properties)

    def table(self, name: str) -> DeltaLakeTable:
        """Return the table, whether it exists or not.

        Raises:
            InvalidRequestError: The name is not made of parts, separated by dots, that can be folders.
        """
        identity = TableIdentity("delta", name, f"{self._warehouse}/{'/'.join(_parts(name))}")
        log = DeltaLog(identity.location, table=name, properties=self._settings.properties, probe=self._probe)
        return DeltaLakeTable(identity, log, self._storage)

    def tables(self, namespace: str) -> tuple[str, ...]:
        """Return the names of the tables of a namespace, sorted."""
        import pyarrow.fs as fs

        folder = f"{self._warehouse}/{'/'.join(_parts(namespace))}"
        filesystem = self._storage.filesystem
        self._probe("before delta.tables")
        with translated(folder):
            found = filesystem.get_file_info(fs.FileSelector(self._storage.path(folder), allow_not_found=True))
            logs = filesystem.get_file_info([f"{info.path}/{LOG}" for info in found])
        self._probe("after delta.tables")
        names = (info.base_name for info, log in zip(found, logs, strict=True) if log.type == fs.FileType.Directory)
        return tuple(sorted(f"{namespace}.{name}" for name in names))


def _parts(name: str) -> list[str]:
    parts = name.split(".")
    if not all(map(_PART.match, parts)) or LOG in parts or max(len(part.encode()) for part in parts) > _LONGEST_PART:
        raise InvalidRequestError(f"{name!r} cannot be a folder. Name the table 'namespace.table'.", name=name)
    return parts


class DeltaLakeTable:
    """A Delta table; see `Table` and the abilities it has.

    Args:
        identity: Which.
        log: Its log.
        storage: Where its data files are.

    Example:
        >>> import pyarrow as pa, tempfile
        >>> from airflow_provider_lakehouse.core.schema import Column, Schema
        >>> from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change
        >>> from airflow_provider_lakehouse.core.tables.spec import TableSpec
        >>> warehouse = tempfile.TemporaryDirectory()
        >>> table = open_catalog(CatalogSettings("delta", f"file://{warehouse.name}")).table("sales.orders")
        >>> table.create(TableSpec(Schema.of(Column("id", "long"))))
        True
        >>> rows = pa.table({"id": [1, 2]})
        >>> table.commit(Change(rows=rows.to_reader()), token=WriteToken("doc", "first")).version
        1
        >>> table.commit(Change(rows=rows.to_reader()), token=WriteToken("doc", "first")).replayed
        True
        >>> warehouse.cleanup()
    """

    def __init__(self, identity: TableIdentity, log: DeltaLog, storage: Storage) -> None:
        self._identity = identity
        self._log = log
        self._storage = storage
        self._branches = Branches(log, storage)
        self._tags = Tags(log)
        self._main = MainLine(log)
        self._committer = Committer(log, storage)

    @property
    def identity(self) -> TableIdentity:
        """Which table."""
        return self._identity

    def exists(self) -> bool:
        """Tell whether the table is there."""
        return self._log.exists()

    def create(self, spec: TableSpec) -> bool:
        """Create the table unless it is there.

        Raises:
            UnsupportedError: Delta has no such type or partitioning, or a property asks for what is not done here.
        """
        self._log.refuse_folder()
        if self.exists():
            return False
        self._log.files.check_puts()
        actions = create_actions(spec, name=self._identity.name, table_id=str(uuid.uuid4()))
        try:
            self._log.put_commit(Commit(0, actions))
        except LostRaceError:
            return False
        return True

    def drop(self) -> None:
        """Remove the table and its files.

        The log goes first and backwards, so that a killed attempt leaves an older state of the table, or none. Let no other
        attempt write meanwhile: one that hangs in the very call that adds its commit would add it to a table that is made anew
        in the same folder.
        """
        entries = self._log.files.list(LOG)
        hints = tuple(path for path in entries if "/_" in path)
        self._log.files.delete((*hints, *sorted(set(entries) - set(hints), reverse=True)))
        self._log.probe("before delta.drop")
        self._storage.delete_folder(self._identity.location)
        self._log.probe("after delta.drop")

    def facts(self, *, at: At = HEAD) -> TableFacts:
        """Describe the table."""
        state = self._state(at)
        files = state.files()
        metadata = state.metadata
        return TableFacts(
            identity=self._identity,
            version=state.version,
            committed_at=self._committed_at(state.version),
            schema=metadata.schema,
            partitioning=tuple(PartitionField(name) for name in metadata.partition_columns),
            sort_order=metadata.sort_order,
            properties=dict(metadata.properties),
            comment=metadata.description,
            rows=rows_in(files),
            files=len(files),
            size_bytes=sum(file.size_bytes for file in files),
            branches={branch.name: branch.version for branch in self._branches.all()},
            tags=self._tags.all(),
            target_file_bytes=metadata.target_file_bytes,
        )

    def read(
        self, *, columns: tuple[str, ...] | None = None, where: Filter = (), at: At = HEAD
    ) -> pa.RecordBatchReader:
        """Stream rows."""
        return self._reader(columns, where=where, at=at, addressed=False)

    def read_addressed(self, *, columns: tuple[str, ...], where: Filter = (), at: At = HEAD) -> pa.RecordBatchReader:
        """Stream rows with their address."""
        return self._reader(columns, where=where, at=at, addressed=True)

    def list_files(self, *, where: Filter = (), at: At = HEAD) -> FileListing:
        """Return the live files that may hold rows that satisfy the filter."""
        state = self._state(at)
        files = state.listed(self._chosen(state, where), storage=self._storage)
        return FileListing(state.version, state.metadata.schema, files)

    def read_apart(self, *, before: At | None, after: At) -> tuple[pa.RecordBatchReader, pa.RecordBatchReader]:
        """Stream the rows of files that are not the same in two states."""
        old, new = listings_apart(self, before=before, after=after)
        storage = self._storage
        return read_listing(old, storage=storage, schema=new.schema), read_listing(
            new, storage=storage, schema=new.schema
        )

    def find(self, token: WriteToken) -> CommitResult | None:
        """Return what a token wrote, on any branch.

        The counts are None, and the time is that of the table's creation, where the log no longer has the commit.
        """
        found = self._find(token, self._main.load())
        return None if found is None else found[0]

    def commit(self, change: Change, *, token: WriteToken) -> CommitResult:
        """Write a change once; see `Table`."""
        head = self._main.load()
        found = self._find(token, head)
        if found is not None:
            self._committer.clear(token, found[1])
            return found[0]
        if change.branch is None or change.branch == MAIN:
            return self._committer.write(self._main, change, token=token, state=head)
        line: Line = BranchLine(change.branch, self._log, self._branches)
        return self._committer.write(line, change, token=token, state=line.load())

    def publish(self, branch: str, *, token: WriteToken, audited: int | None = None) -> CommitResult:
        """Make the main branch the staged one, as one commit of the net change, and drop the branch."""
        head = self._main.load()
        known = self._main.find(token, head)
        present = self._branches.get(branch)
        if known is not None:
            if present is not None and present.number == published_branch(known[1]):
                self._branches.finished(present)
            return known[0]
        staged = self._branches.require(branch)
        name, is_audited = self._identity.name, audited is not None
        since = self._log.commits_between(staged.base, head.version) or ()
        require_new(staged, since, table=name)
        # Sealing fails where the branch moved since it was read, so what is sealed is what was audited.
        require_audited(branch, version=staged.version, audited=audited, table=name)
        if is_audited:
            require_unmoved(staged, since, table=name)  # before the branch is sealed, so that it can still be staged on
        sealed = self._branches.seal(staged, PUBLISHED)
        draft = PublishDraft(sealed, sealed.state(self._log), token, name, is_audited)
        result = self._committer.land(self._main, draft, token=token, state=head)
        self._branches.finished(sealed)
        return result

    def drop_branch(self, branch: str) -> None:
        """Forget a branch, and remove the data files that only it has."""
        if branch == MAIN:
            raise InvalidRequestError("The main branch cannot be dropped. Drop the table.")
        present = self._branches.get(branch)
        if present is None or self._branches.finished(present):
            return
        if present.seal == PUBLISHED:
            token = WriteToken("lakehouse/drop-branch", present.application)
            head = self._main.load()
            if self._main.find(token, head) is None:
                self._committer.land(self._main, EndDraft(present, token), token=token, state=head)
        self._branches.finished(self._branches.seal(present, DROPPED))

    def tag(self, name: str, *, at: At = HEAD) -> None:
        """Name a version of the main branch. Vacuum by other tools does not know of tags.

        Raises:
            InvalidRequestError: The name stands for another version, or the state is on another branch.
        """
        version = self._state(at).version
        if version >= FIRST_BRANCH_VERSION:
            raise InvalidRequestError("A tag names a version of the main branch. Publish the branch first.", tag=name)
        self._tags.set(name, version)

    def drop_tag(self, name: str) -> None:
        """Forget a name."""
        self._tags.drop(name)

    def roll_back(self, to: At, *, token: WriteToken) -> CommitResult:
        """Make the main branch hold the rows it held at `to`; columns and properties stay as they are.

        Raises:
            InvalidRequestError: There is no such state of the main branch, or its files were vacuumed.
            UnsupportedError: The table had other columns then, or has deletion vectors.
        """
        head = self._main.load()
        known = self._main.find(token, head)
        if known is not None:
            return known[0]
        target = self._state(to)
        if target.version >= FIRST_BRANCH_VERSION:
            raise InvalidRequestError("A rollback goes to a state of the main branch. Publish the branch instead.")
        draft = RollBackDraft(target, token, self._identity.name, self._storage)
        return self._committer.land(self._main, draft, token=token, state=head)

    def history(self, *, since: int | None = None) -> tuple[VersionFacts, ...]:
        """Return the commits of the main branch that the log still has, oldest first."""
        return history(self._log, since=since)

    def _find(self, token: WriteToken, head: TableState) -> tuple[CommitResult, Commit | None] | None:
        found = self._main.find(token, head)
        if found is not None:
            return found
        return next((staged for branch in self._branches.all() if (staged := branch.find(token))), None)

    def _reader(
        self, columns: tuple[str, ...] | None, *, where: Filter, at: At, addressed: bool
    ) -> pa.RecordBatchReader:
        state = self._state(at)
        schema = state.metadata.schema
        needed = None if columns is None else (*columns, *(c.column for c in where))
        files = state.data_files(self._chosen(state, where), storage=self._storage, columns=needed)
        return read_files(
            files, storage=self._storage, schema=schema, columns=columns, where=where, addressed=addressed
        )

    def _chosen(self, state: TableState, where: Filter) -> tuple[LiveFile, ...]:
        names = [condition.column for condition in where]
        state.metadata.schema.require(names, purpose="a condition")
        return tuple(file for file in state.files(columns=names) if file.may_satisfy(where))

    def _state(self, at: At) -> TableState:
        if at.branch is not None and at.branch != MAIN:
            return self._branches.require(at.branch).state(self._log)
        version = at.version
        if at.tag is not None:
            version = self._tags.version(at.tag)
        elif at.as_of is not None:
            version = version_as_of(self._log, at.as_of)
        if version is None:
            return self._main.load()
        if version >= FIRST_BRANCH_VERSION:
            return self._branches.of_version(version).state(self._log, version=version)
        if version < 0:
            raise InvalidRequestError(f"Table {self._identity.name!r} has no version {version}.", version=version)
        return TableState.load(self._log, version)

    def _committed_at(self, version: int) -> datetime | None:
        if version >= FIRST_BRANCH_VERSION:
            return staged_at(self._branches.of_version(version))
        commit = self._log.commit_at(version)
        return None if commit is None else commit.committed_at
