"""One state of a Delta table: what its metadata says, and which files are live in it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from airflow_provider_lakehouse.core.errors import DamagedError, UnsupportedError
from airflow_provider_lakehouse.core.tables.base import DataFile
from airflow_provider_lakehouse.core.tables.delta.metadata import Metadata
from airflow_provider_lakehouse.core.tables.delta.protocol import Protocol, check_readable
from airflow_provider_lakehouse.core.tables.delta.schema import is_nested, renames_of
from airflow_provider_lakehouse.core.tables.delta.values import (
    bounds_of,
    parse_statistics,
    partition_text,
    partition_value,
)
from airflow_provider_lakehouse.core.tables.filters import Bounds
from airflow_provider_lakehouse.core.tables.storage import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from deltalake import DeltaTable

    from airflow_provider_lakehouse.core.tables.delta.log import Action, DeltaLog
    from airflow_provider_lakehouse.core.tables.filters import Filter
    from airflow_provider_lakehouse.core.tables.storage import Storage

_FOOTER_THREADS: Final = 8


@dataclass(frozen=True)
class LiveFile:
    """A data file of a state.

    Args:
        path: As the log writes it.
        size_bytes: Its size.
        modified_at_ms: When it was written, in milliseconds since 1970.
        rows: Rows in it, removed ones included; None where its writer did not say.
        partition: Value of each partition column.
        bounds: Of the columns that were asked for.
        known: Columns, by the table's name, that its statistics prove to be in it.
        removed: Positions of rows that a deletion vector removes; None for none.
    """

    path: str
    size_bytes: int
    modified_at_ms: int
    rows: int | None
    partition: Mapping[str, Any]
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    removed: pa.Array | None = None

    def uri(self, location: str) -> str:
        """Return the file's address."""
        return file_uri(self.path, location)

    def is_known(self, needed: Iterable[str]) -> bool:
        """Tell whether the log alone says how many rows there are, and that these columns are."""
        return self.rows is not None and self.known.issuperset(needed)

    def live_rows(self) -> int | None:
        """Return how many of its rows count."""
        return None if self.rows is None else self.rows - (0 if self.removed is None else len(self.removed))

    def may_satisfy(self, where: Filter) -> bool:
        """Tell whether a row of the file may satisfy every condition; True in doubt."""
        return all(self._bounds(c.column).may_satisfy(c) for c in where)

    def _bounds(self, column: str) -> Bounds:
        if column in self.partition:
            value = self.partition[column]
            return Bounds(value, value, nulls=self.rows if value is None else 0, rows=self.rows)
        return self.bounds.get(column, Bounds())

    def partition_texts(self, columns: Iterable[str]) -> tuple[str | None, ...]:
        """Return its partition as the log writes it, in the order of the columns."""
        return tuple(partition_text(self.partition.get(name)) for name in columns)

    def to_removal(self, at_ms: int) -> Action:
        """Return the action that takes the file out of the table.

        Raises:
            UnsupportedError: The file has a deletion vector, which the action would have to name.
        """
        if self.removed is not None:
            raise UnsupportedError(
                "Files with deletion vectors are read here and not removed. "
                "Purge them first (REORG TABLE ... APPLY (PURGE)).",
                feature="deletionVectors",
            )
        return {
            "remove": {
                "path": self.path,
                "deletionTimestamp": at_ms,
                "dataChange": True,
                "extendedFileMetadata": True,
                "partitionValues": {name: partition_text(value) for name, value in self.partition.items()},
                "size": self.size_bytes,
            }
        }


def file_uri(path: str, location: str) -> str:
    """Return the address of a file from its path in the log, which is URL-encoded, and relative or absolute."""
    decoded = unquote(path)
    if "://" in decoded:
        return decoded
    return f"file://{decoded.removeprefix('file:')}" if decoded.startswith(("/", "file:")) else f"{location}/{decoded}"


@dataclass(frozen=True)
class TableState:
    """A state of a table, on its main branch or on another.

    Args:
        version: Its number.
        metadata: What holds in it.
        protocol: What it asks of readers and writers.
        location: URI of the table's folder.
        loaded: The table as delta-rs read it, at this version or at the one a branch left.
        hidden: Paths of files that a branch has removed.
        added: Actions of the files that a branch has added.
    """

    version: int
    metadata: Metadata
    protocol: Protocol
    location: str
    loaded: DeltaTable
    hidden: frozenset[str] = frozenset()
    added: tuple[Action, ...] = ()

    @classmethod
    def load(cls, log: DeltaLog, version: int | None = None) -> TableState:
        """Read a state of the main branch.

        Raises:
            InvalidRequestError: There is no such table or version.
            UnsupportedError: The table uses a feature that is not known.
        """
        loaded = log.load(version)
        raw, protocol = loaded.metadata(), loaded.protocol()
        metadata = Metadata(
            id=str(raw.id),
            name=raw.name,
            description=raw.description or "",
            created_at_ms=raw.created_time,
            partition_columns=tuple(raw.partition_columns),
            fields=json.loads(loaded.schema().to_json())["fields"],
            properties=dict(raw.configuration),
        )
        asked = Protocol(
            protocol.min_reader_version,
            protocol.min_writer_version,
            tuple(protocol.reader_features or ()),
            tuple(protocol.writer_features or ()),
        )
        check_readable(asked, metadata.properties, table=log.table)
        return cls(loaded.version(), metadata, asked, log.location, loaded)

    def transaction(self, application: str) -> int | None:
        """Return the version of an application transaction; None where there is none."""
        return self.loaded.transaction_version(application)

    def files(self, *, columns: Iterable[str] = ()) -> tuple[LiveFile, ...]:
        """Return the live files.

        Args:
            columns: Columns whose bounds are wanted.
        """
        wanted = tuple(dict.fromkeys(columns))
        kept = (file for file in self._loaded_files(wanted) if file.path not in self.hidden)
        return (*kept, *(self.file_of(action, columns=wanted) for action in self.added))

    def file_of(self, action: Action, *, columns: Iterable[str] = ()) -> LiveFile:
        """Return the file of an `add` action."""
        schema = self.metadata.schema
        wanted = [name for name in columns if name in schema.by_name]
        rows, bounds = parse_statistics(action.get("stats"), schema, columns=wanted)
        partition = {
            name: partition_value(text, schema.by_name[name].type) for name, text in action["partitionValues"].items()
        }
        known = frozenset(json.loads(action.get("stats") or "{}").get("nullCount") or {})
        return LiveFile(
            action["path"], action["size"], action["modificationTime"], rows, partition, bounds=bounds, known=known
        )

    def _loaded_files(self, columns: tuple[str, ...]) -> Iterator[LiveFile]:

        actions = _arrow(self.loaded.get_add_actions(flatten=False))
        rows = actions.column("num_records").to_pylist()
        bounds = {name: self._bounds(actions, name, rows) for name in columns if name in self.metadata.schema.by_name}
        partitions = _column(actions, "partition")
        known = self._known(actions)
        removed = self._removed()
        paths, sizes, times = (actions.column(name).to_pylist() for name in ("path", "size_bytes", "modification_time"))
        for index, path in enumerate(paths):
            yield LiveFile(
                path,
                sizes[index],
                times[index],
                rows[index],
                partitions[index] or {},
                bounds={name: values[index] for name, values in bounds.items()},
                known=known[index],
                removed=removed.get(file_uri(path, self.location)) if removed else None,
            )

    def _bounds(self, actions: pa.Table, name: str, rows: list[int | None]) -> list[Bounds]:
        kind = self.metadata.schema.by_name[name].type
        sides = [_member(actions, side, name) for side in ("min", "max", "null_count")]
        return [
            bounds_of(lower, upper, nulls, count, kind) for lower, upper, nulls, count in zip(*sides, rows, strict=True)
        ]

    def _known(self, actions: pa.Table) -> list[frozenset[str]]:
        """Return for each file the columns whose nulls its statistics count."""
        found: list[list[str]] = [[] for _ in range(actions.num_rows)]
        for name in self.metadata.schema.names:
            for place, count in enumerate(_member(actions, "null_count", name)):
                if _counts(count):
                    found[place].append(name)
        return [frozenset(names) for names in found]

    def _removed(self) -> dict[str, pa.Array]:
        """Return the positions that deletion vectors remove, by address of the file."""
        if "deletionVectors" not in self.protocol.reader_features:
            return {}
        import pyarrow as pa
        import pyarrow.compute as pc

        vectors = _arrow(self.loaded.deletion_vectors())
        removed = {}
        for path, kept in zip(vectors.column("filepath"), vectors.column("selection_vector"), strict=True):
            positions = pc.indices_nonzero(pc.invert(kept.values)).cast(pa.int64())
            uri = unquote(path.as_py())
            removed[uri if "://" in uri else f"file://{uri}"] = positions
        return removed

    def data_files(
        self, files: Iterable[LiveFile], *, storage: Storage, columns: Sequence[str] | None = None
    ) -> Iterator[DataFile]:
        """Yield files as readers need them. The footer of a file is read where only it tells which columns there are.

        Args:
            files: Of this state.
            storage: Where they are.
            columns: Columns that will be read; None for all.
        """
        needed = self._needed(columns)
        for file in files:
            footer = None if file.is_known(needed) else read_footer(file.uri(self.location), storage)
            yield self._data_file(file, needed, footer)

    def listed(self, files: Sequence[LiveFile], *, storage: Storage) -> tuple[DataFile, ...]:
        """Return files as readers need them, all at once."""
        needed = self._needed(None)
        unknown = [file for file in files if not file.is_known(needed)]
        with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
            found = pool.map(lambda file: read_footer(file.uri(self.location), storage), unknown)
            footers = {file.path: footer for file, footer in zip(unknown, found, strict=True)}
        return tuple(self._data_file(file, needed, footers.get(file.path)) for file in files)

    def _needed(self, columns: Sequence[str] | None) -> dict[str, str]:
        """Return the names in the files of the columns that will be read and that files hold."""
        renames = renames_of(self.metadata.fields)
        if renames and any(is_nested(f) for f in self.metadata.fields):
            raise UnsupportedError(
                "Columns of a Delta table are mapped, and some have fields within: not supported. Read it with Spark.",
                feature="columnMapping",
            )
        stored = (f["name"] for f in self.metadata.stored_fields)
        return {name: renames.get(name, name) for name in stored if columns is None or name in columns}

    def _data_file(self, file: LiveFile, needed: Mapping[str, str], footer: Footer | None) -> DataFile:
        missing = () if footer is None else tuple(n for n, stored in needed.items() if stored not in footer.columns)
        return DataFile(
            file.uri(self.location),
            footer.rows if footer is not None else file.rows or 0,
            file.size_bytes,
            constants=file.partition,
            renames={name: stored for name, stored in needed.items() if name != stored},
            missing=missing,
            removed=file.removed,
            bounds=file.bounds,
        )

    def with_metadata(self, metadata: Metadata) -> TableState:
        """Return the state as it is after a change of the metadata."""
        return replace(self, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Footer:
    """What the footer of a Parquet file tells.

    Args:
        columns: Names of its columns.
        rows: Rows in it.
    """

    columns: frozenset[str]
    rows: int


def read_footer(uri: str, storage: Storage) -> Footer:
    """Read the footer of a Parquet file.

    Raises:
        DamagedError: The file is missing, or is no Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with translated(uri):
        try:
            with storage.open(uri) as stream:
                footer = pq.read_metadata(stream)
        except pa.ArrowInvalid as error:
            raise DamagedError("A data file is not Parquet, or is cut short. Restore it.", uri=uri) from error
    return Footer(frozenset(footer.schema.to_arrow_schema().names), footer.num_rows)


def _column(actions: pa.Table, name: str) -> list[Any]:
    return actions.column(name).to_pylist() if name in actions.column_names else [None] * actions.num_rows


def _member(actions: pa.Table, side: str, name: str) -> list[Any]:
    """Return one column's statistics; nulls where there are none."""
    if side in actions.column_names:
        struct = actions.column(side).combine_chunks()
        place = struct.type.get_field_index(name)
        if place >= 0:
            return struct.field(place).to_pylist()  # type: ignore[no-any-return]
    return [None] * actions.num_rows


def _counts(nulls: Any) -> bool:  # noqa: ANN401
    return any(map(_counts, nulls.values())) if isinstance(nulls, dict) else isinstance(nulls, int)


def _arrow(rows: Any) -> pa.Table:  # noqa: ANN401
    """Return rows of delta-rs as a table of Arrow; `pyarrow.table` would import pandas to see whether they are a frame."""
    import pyarrow as pa

    return pa.RecordBatchReader.from_stream(rows).read_all()
