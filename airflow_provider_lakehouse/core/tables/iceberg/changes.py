"""Turn a change into files that come and files that go, on one state of a branch."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN, Positions
from airflow_provider_lakehouse.core.tables.data_files import conformed
from airflow_provider_lakehouse.core.tables.file_reading import read_files
from airflow_provider_lakehouse.core.tables.iceberg.columns import Projection
from airflow_provider_lakehouse.core.tables.iceberg.deletes import PositionDeletes, by_file, may_name, read_deletes
from airflow_provider_lakehouse.core.tables.iceberg.schema import file_schema, from_iceberg
from airflow_provider_lakehouse.core.tables.iceberg.snapshot import FileChanges, live_entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pyarrow as pa
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile, ManifestEntry
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

    from airflow_provider_lakehouse.core.tables.base import Change, Probe
    from airflow_provider_lakehouse.core.tables.iceberg.files import WriteLayout
    from airflow_provider_lakehouse.core.tables.storage import Storage

REWRITE_FRACTION: Final = 0.2
"""Share of removed rows from which a data file is rewritten rather than given a delete file.

Measured on a file of two million rows (35 MB): a rewrite costs as much more than a delete file as the delete file
slows down ten full reads where 10 % of the rows go, three where 20 % go, and one to two from 30 % on.
"""
SMALL_FILE_BYTES: Final = 1024 * 1024
"""Data files up to this size are always rewritten, several into one: a request to an object store takes as long as
moving a few megabytes, and a delete file costs one more at every read."""


@dataclass(frozen=True)
class Live:
    """The live files of one snapshot.

    Args:
        entries: By path, data and delete files.
        storage: Where the delete files are read.
    """

    entries: Mapping[str, ManifestEntry]
    storage: Storage

    @classmethod
    def of(cls, snapshot: Snapshot | None, *, io: FileIO, storage: Storage) -> Live:
        """Read the manifests of a snapshot."""
        return cls(live_entries(snapshot, io), storage)

    @cached_property
    def data(self) -> dict[str, DataFile]:
        """Data files by path."""
        return {path: e.data_file for path, e in self.entries.items() if e.data_file.content == 0}

    @cached_property
    def deletes(self) -> tuple[DataFile, ...]:
        """Delete files of either kind."""
        return tuple(e.data_file for e in self.entries.values() if e.data_file.content != 0)

    @property
    def has_equality_deletes(self) -> bool:
        """True when some rows are removed by value."""
        return any(_by_value(file) for file in self.deletes)

    def deletes_of(self, paths: Iterable[str]) -> tuple[DataFile, ...]:
        """Return the position-delete files that may remove rows of some data files."""
        wanted = sorted(path.encode() for path in paths)
        return tuple(file for file in self.deletes if not _by_value(file) and may_name(file, wanted))

    def removed(self, paths: frozenset[str]) -> dict[str, pa.Array]:
        """Return the positions of rows of some data files that no longer count."""
        return read_deletes(self.deletes_of(paths), storage=self.storage, only=paths)


@dataclass(frozen=True)
class Work:
    """What a commit does to files, and how many rows that adds and takes away.

    Args:
        files: The files.
        rows_added: Rows of the change.
        rows_removed: None where rows were removed by value before, so that nobody has counted them.
    """

    files: FileChanges = field(default_factory=FileChanges)
    rows_added: int = 0
    rows_removed: int | None = 0


class Workshop:
    """Writes the files of one attempt at a write.

    Args:
        layout: How data files look.
        storage: Where they go.
        probe: Called around every file.
    """

    def __init__(self, layout: WriteLayout, *, storage: Storage, probe: Probe) -> None:
        self._layout = layout
        self._storage = storage
        self._probe = probe
        self._numbers = itertools.count()
        self._deletes = PositionDeletes(storage, layout.folder, probe)

    def prepare(self, change: Change, live: Live) -> Work:
        """Write the rows of a change and what its removals by position ask for; done once.

        Args:
            change: The change.
            live: The branch, checked for conflicts with the change.

        Raises:
            InvalidRequestError: A position is not in its file.
            DataRejectedError: A row breaks the schema.
        """
        if not isinstance(change.removes, Positions):
            added, count = self._write(change.rows, ())
            return Work(FileChanges(added=added), rows_added=count)
        gone = by_file(change.removes.rows, path=FILE_COLUMN, position=POSITION_COLUMN)
        return self._without_positions(change.rows, gone, live)

    def take_away(self, change: Change, work: Work, live: Live) -> Work:
        """Add to prepared work the removal of all, or of partitions, as the branch is now; done for every attempt."""
        if change.removes == "all":
            return self._without_files(work, live, tuple(live.data.values()), everything=True)
        if change.removes == "partitions":
            return self._without_files(work, live, self._overwritten(work.files.added, live))
        return work

    def _write(
        self, rows: pa.RecordBatchReader | None, further: Iterable[pa.RecordBatch]
    ) -> tuple[tuple[DataFile, ...], int]:
        import pyarrow as pa

        schema = file_schema(self._layout.schema)
        count = 0

        def stream() -> Iterator[pa.RecordBatch]:
            nonlocal count
            for batch in rows if rows is not None else ():
                count += batch.num_rows
                yield conformed(batch, schema)
            for batch in further:
                yield conformed(batch, schema)

        reader = pa.RecordBatchReader.from_batches(schema, stream())
        return self._layout.write(reader, storage=self._storage, probe=self._probe), count

    def _without_positions(self, rows: pa.RecordBatchReader | None, gone: dict[str, pa.Array], live: Live) -> Work:
        import pyarrow as pa
        import pyarrow.compute as pc

        before = live.removed(frozenset(gone))
        rewritten: dict[str, pa.Array | None] = {}
        marked: dict[str, pa.Array] = {}
        for path, positions in gone.items():
            whole = pc.unique(pa.concat_arrays([before[path], positions])).sort() if path in before else positions
            _check_positions(live.data[path], positions)
            if _is_rewritten(live.data[path], removed=len(whole)):
                rewritten[path] = whole
            else:
                marked[path] = positions
        added, count = self._write(rows, self._survivors(rewritten, live))
        deletes = tuple(self._delete_file(live.data[path], positions) for path, positions in marked.items())
        files = FileChanges(added=added + deletes, removed=tuple(live.data[path] for path in rewritten))
        removed = sum(len(positions) for positions in gone.values())
        return Work(self._with_delete_files(files, live), rows_added=count, rows_removed=removed)

    def _survivors(self, rewritten: Mapping[str, pa.Array | None], live: Live) -> Iterator[pa.RecordBatch]:
        """Yield the rows that stay of files that go."""
        kept = [
            live.data[path]
            for path, gone in rewritten.items()
            if gone is not None and len(gone) < live.data[path].record_count
        ]
        projection = Projection(self._layout.metadata, self._layout.schema, storage=self._storage)
        files = (projection.describe(file, removed=rewritten[file.file_path]) for file in kept)
        yield from read_files(files, storage=self._storage, schema=from_iceberg(self._layout.schema))

    def _without_files(
        self, work: Work, live: Live, removed: tuple[DataFile, ...], *, everything: bool = False
    ) -> Work:
        paths = frozenset(file.file_path for file in removed)
        before = sum(len(positions) for positions in live.removed(paths).values())
        count = None if live.has_equality_deletes else sum(file.record_count for file in removed) - before
        files = FileChanges(added=work.files.added, removed=(*work.files.removed, *removed))
        if everything:
            files = FileChanges(added=files.added, removed=(*files.removed, *live.deletes))
        else:
            files = self._with_delete_files(files, live)
        return Work(files, rows_added=work.rows_added, rows_removed=count)

    def _with_delete_files(self, files: FileChanges, live: Live) -> FileChanges:
        """Let delete files go with their data files; what they say of files that stay is written anew."""
        paths = frozenset(file.file_path for file in files.removed)
        if not paths:
            return files
        going: list[DataFile] = []
        new: list[DataFile] = []
        for file in live.deletes_of(paths):
            named = read_deletes([file], storage=self._storage)
            if not paths & named.keys():
                continue
            going.append(file)
            staying = [
                (path, positions) for path, positions in named.items() if path in live.data and path not in paths
            ]
            new += [self._delete_file(live.data[path], positions) for path, positions in staying]
        return FileChanges(added=(*files.added, *new), removed=(*files.removed, *going))

    def _delete_file(self, target: DataFile, positions: pa.Array) -> DataFile:
        return self._deletes.write(target, positions, number=next(self._numbers))

    def _overwritten(self, added: tuple[DataFile, ...], live: Live) -> tuple[DataFile, ...]:
        """Return the live data files of the partitions that new files are in.

        Raises:
            UnsupportedError: A file of an older partitioning may hold rows of them, and others.
        """
        spec = self._layout.spec
        partitions = {_partition(file) for file in added}
        if not partitions:
            return ()
        foreign = [path for path, file in live.data.items() if file.spec_id != spec.spec_id]
        if foreign:
            raise UnsupportedError(
                "The table has files of an older partitioning, whose rows may belong to the partitions that are to be "
                "overwritten. Compact the table first.",
                files=len(foreign),
                uri=foreign[0],
            )
        return tuple(file for file in live.data.values() if _partition(file) in partitions)


def check_removal(change: Change, metadata: TableMetadata) -> None:
    """Refuse removals that have no meaning for the table.

    Raises:
        InvalidRequestError: Partitions are to be overwritten of a table that has none.
    """
    if change.removes == "partitions" and metadata.spec().is_unpartitioned():
        raise InvalidRequestError(
            "The table has no partitions to overwrite. Use 'replace'.", location=metadata.location
        )


def _partition(file: DataFile) -> tuple[object, ...]:
    """Return partition values in one form: UUIDs are bytes when they are written, and objects when they are read."""
    values = (file.partition[place] for place in range(len(file.partition)))
    return tuple(value.bytes if isinstance(value, UUID) else value for value in values)


def _is_rewritten(file: DataFile, *, removed: int) -> bool:
    return file.file_size_in_bytes <= SMALL_FILE_BYTES or removed >= REWRITE_FRACTION * file.record_count


def _check_positions(file: DataFile, positions: pa.Array) -> None:
    first, last = positions[0].as_py(), positions[len(positions) - 1].as_py()
    if first < 0 or last >= file.record_count:
        raise InvalidRequestError(
            "A row to remove is not in its file. Take positions from an addressed read.",
            uri=file.file_path,
            rows=file.record_count,
        )


def _by_value(file: Any) -> bool:  # noqa: ANN401
    from pyiceberg.manifest import DataFileContent

    return bool(file.content == DataFileContent.EQUALITY_DELETES)
