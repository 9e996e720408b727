"""Write the data files of a commit: Parquet, streamed, sized by compressed bytes, routed to partitions.

Memory is bounded whatever the batch: rows wait in at most `BUFFER_BYTES`. While a batch falls into few partitions each has an
open file; rows of further partitions, and every row of a table with a sort order, are first brought into order by DuckDB,
which spills to disk, so that one file is open at a time.
"""

from __future__ import annotations

import itertools
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, LakehouseError
from airflow_provider_lakehouse.core.tables.base import RESERVED_PREFIX, no_probe
from airflow_provider_lakehouse.core.tables.encoding import in_utf8
from airflow_provider_lakehouse.core.tables.ordering import in_order
from airflow_provider_lakehouse.core.tables.storage import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    import pyarrow as pa
    import pyarrow.parquet as pq

    from airflow_provider_lakehouse.core.tables.base import Probe
    from airflow_provider_lakehouse.core.tables.spec import SortField
    from airflow_provider_lakehouse.core.tables.storage import Storage

    Partitioner = Callable[[pa.RecordBatch], Sequence[pa.Array]]

OPEN_FILES: Final = 32
"""Files open at a time; further partitions wait until the stream has ended."""
BUFFER_BYTES: Final = 192 * 1024 * 1024
"""Uncompressed bytes that wait for their row group over all open files."""
ROW_GROUP_BYTES: Final = 32 * 1024 * 1024
"""Uncompressed bytes of a row group, less where the target of a file is small."""
SMALLEST_ROW_GROUP_BYTES: Final = 64 * 1024
COMPRESSION: Final = "zstd"
DICTIONARY_BYTES: Final = 128 * 1024
"""Size at which a column's dictionary is given up. Arrow's default, 1 MiB, makes columns of many values larger, not smaller,
and their encoding up to twice as slow."""
PARTITION_PREFIX: Final = f"{RESERVED_PREFIX}partition_"


@dataclass(frozen=True)
class WrittenFile:
    """A closed data file.

    Args:
        path: Absolute URI.
        rows: Rows in it.
        size_bytes: Its size.
        partition: One value for each partition field, in their order.
        metadata: Parquet's footer.
    """

    path: str
    rows: int
    size_bytes: int
    partition: tuple[Any, ...]
    metadata: pq.FileMetaData


def write_files(
    rows: pa.RecordBatchReader,
    *,
    storage: Storage,
    folder: str,
    file_schema: pa.Schema,
    partition_by: Partitioner | None = None,
    sort_order: tuple[SortField, ...] = (),
    target_file_bytes: int,
    probe: Probe = no_probe,
) -> tuple[WrittenFile, ...]:
    """Write a stream of rows into data files.

    Args:
        rows: Columns by name; those that `file_schema` does not have are used for partitioning only.
        storage: Where.
        folder: URI of the folder, made for the write's token alone; file names carry a random part for the attempt.
        file_schema: Columns to store; field metadata (such as `PARQUET:field_id`) goes into the files. A column that is not
            nullable is checked.
        partition_by: Returns the partition values of a batch, an array for each partition field.
        sort_order: Order of rows in each file.
        target_file_bytes: Size at which a file is closed.
        probe: Called around every file's creation and closing.

    Returns:
        The closed files, at least none: no rows, no files.

    Raises:
        DataRejectedError: A null in a column that allows none, or a value that its column cannot hold. The files written by
            this call are removed.
        UnavailableError: The storage failed; likewise.

    Guarantees:
        Crash: whatever a killed call leaves is below `folder`; `sweep` removes it.
    """
    sink = _Sink(storage, folder.rstrip("/"), file_schema, target_file_bytes, probe)
    try:
        with sink:
            if sort_order:
                _write_in_order(map(in_utf8, rows), sink, partition_by, sort_order)
            else:
                _write_as_it_comes(map(in_utf8, rows), sink, partition_by)
    except Exception:
        with suppress(LakehouseError):
            storage.delete(sink.created)
        raise
    return tuple(sink.written)


def sweep(storage: Storage, folder: str, *, keep: frozenset[str] | set[str], probe: Probe = no_probe) -> int:
    """Remove what attempts at one write have left behind, once the write is committed.

    No attempt with the same token can commit any more, so nothing live can be among the files.

    Args:
        storage: Where.
        folder: The folder of the token.
        keep: URIs of files that are part of the table.
        probe: Called around listing and removal.

    Returns:
        How many files were removed.
    """
    probe("before data.sweep")
    leftovers = [uri for uri in storage.list(folder) if uri not in keep]
    storage.delete(leftovers)
    probe("after data.sweep")
    return len(leftovers)


def _write_as_it_comes(rows: Iterable[pa.RecordBatch], sink: _Sink, partition_by: Partitioner | None) -> None:
    if partition_by is None:
        for batch in rows:
            sink.add((), batch)
        return
    with closing(in_order(_routed(rows, sink, partition_by), order=())) as late:
        _write_sequence(late, sink)


def _routed(rows: Iterable[pa.RecordBatch], sink: _Sink, partition_by: Partitioner) -> Iterator[pa.RecordBatch]:
    """Write rows of the first partitions, and yield the others with their partition values as further columns."""
    for batch in rows:
        late: list[pa.RecordBatch] = []
        for partition, part, keys in _split(batch, partition_by):
            if sink.accepts(partition):
                sink.add(partition, part)
            else:
                late.append(_with_keys(part, keys))
        yield from late


def _write_in_order(
    rows: Iterable[pa.RecordBatch], sink: _Sink, partition_by: Partitioner | None, order: tuple[SortField, ...]
) -> None:
    keyed = (_with_keys(batch, partition_by(batch) if partition_by else ()) for batch in rows)
    with closing(in_order(keyed, order=order)) as ordered:
        _write_sequence(ordered, sink)


def _write_sequence(batches: Iterator[pa.RecordBatch], sink: _Sink) -> None:
    """Write rows that arrive partition by partition, one file open at a time."""
    current: tuple[Any, ...] | None = None
    for batch in batches:
        count = sum(name.startswith(PARTITION_PREFIX) for name in batch.schema.names)
        names = batch.schema.names[: len(batch.schema.names) - count]
        keys = batch.columns[len(names) :]
        for start, stop in _runs(keys, batch.num_rows):
            partition = tuple(key[start].as_py() for key in keys)
            if partition != current:
                sink.close_open_files()
                current = partition
            sink.add(partition, batch.slice(start, stop - start).select(names))


def _runs(keys: Sequence[pa.Array], rows: int) -> Iterator[tuple[int, int]]:
    """Yield the stretches of rows over which no key changes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    breaks = {0, rows}
    for key in keys:
        codes = pc.run_end_encode(pc.dictionary_encode(key, null_encoding="encode").indices, pa.int64())
        breaks.update(codes.run_ends.to_pylist())
    ordered = sorted(breaks)
    yield from itertools.pairwise(ordered)


def _with_keys(batch: pa.RecordBatch, keys: Sequence[pa.Array]) -> pa.RecordBatch:
    for index, key in enumerate(keys):
        batch = batch.append_column(f"{PARTITION_PREFIX}{index}", key)
    return batch


def _split(
    batch: pa.RecordBatch, partition_by: Partitioner
) -> Iterator[tuple[tuple[Any, ...], pa.RecordBatch, list[pa.Array]]]:
    """Yield the rows of each partition in a batch, with the partition as values and as arrays."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if batch.num_rows == 0:
        return
    keys = list(partition_by(batch))
    codes = [pc.dictionary_encode(key, null_encoding="encode").indices for key in keys]
    if all(pc.all(pc.equal(code, 0)).as_py() for code in codes):
        yield tuple(key[0].as_py() for key in keys), batch, keys
        return
    names = [str(index) for index in range(len(codes))]
    table = pa.table([*codes, pa.array(range(batch.num_rows), pa.int64())], names=[*names, "row"])
    for indices in table.group_by(names, use_threads=False).aggregate([("row", "list")])["row_list"].combine_chunks():
        chosen = indices.values
        part = [key.take(chosen) for key in keys]
        yield tuple(key[0].as_py() for key in part), batch.take(chosen), part


class _Sink:
    """The open files of a write. Encoding runs in one thread beside the one that reads."""

    def __init__(self, storage: Storage, folder: str, schema: pa.Schema, target_bytes: int, probe: Probe) -> None:
        self._storage = storage
        self._prefix = f"{folder}/{uuid.uuid4().hex[:12]}"
        self._schema = schema
        self._target_bytes = target_bytes
        self._group_bytes = min(ROW_GROUP_BYTES, max(SMALLEST_ROW_GROUP_BYTES, target_bytes // 2))
        self._probe = probe
        self._open: dict[tuple[Any, ...], _OpenFile] = {}
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parquet")
        self._pending: deque[Future[None]] = deque()
        self.created: list[str] = []
        self.written: list[WrittenFile] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.close_open_files()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def accepts(self, partition: tuple[Any, ...]) -> bool:
        return partition in self._open or len(self._open) < OPEN_FILES

    def add(self, partition: tuple[Any, ...], batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        file = self._open.get(partition)
        if file is None:
            file = self._open[partition] = _OpenFile(partition)
        file.hold(conformed(batch, self._schema))
        if file.held_bytes >= self._group_bytes:
            self._flush(file)
        elif sum(other.held_bytes for other in self._open.values()) > BUFFER_BYTES:
            self._flush(max(self._open.values(), key=lambda other: other.held_bytes))

    def close_open_files(self) -> None:
        for file in self._open.values():
            self._submit(self._write_group, file, file.release(), True)
        self._open.clear()
        self._drain(0)

    def _flush(self, file: _OpenFile) -> None:
        self._submit(self._write_group, file, file.release(), False)

    def _submit(self, work: Callable[..., None], *arguments: object) -> None:
        self._drain(1)
        self._pending.append(self._pool.submit(work, *arguments))

    def _drain(self, most: int) -> None:
        while len(self._pending) > most:
            self._pending.popleft().result()

    def _write_group(self, file: _OpenFile, batches: list[pa.RecordBatch], last: bool) -> None:  # noqa: FBT001
        import pyarrow as pa

        if batches:
            if file.writer is None:
                self._create(file)
            group = pa.Table.from_batches(batches, schema=self._schema)
            with translated(file.uri):
                file.writer.write_table(group, row_group_size=max(1, group.num_rows))
            file.rows += group.num_rows
        if file.writer is not None and (last or file.stream.tell() >= self._target_bytes):
            self._close(file)

    def _create(self, file: _OpenFile) -> None:
        import pyarrow.parquet as pq

        file.uri = f"{self._prefix}-{len(self.created):05d}.parquet"
        self._probe("before data.create")
        self.created.append(file.uri)
        file.stream = self._storage.create(file.uri)
        self._probe("after data.create")
        file.footers = []
        file.writer = pq.ParquetWriter(
            file.stream,
            self._schema,
            compression=COMPRESSION,
            dictionary_pagesize_limit=DICTIONARY_BYTES,
            metadata_collector=file.footers,
        )

    def _close(self, file: _OpenFile) -> None:
        self._probe("before data.close")
        with translated(file.uri):
            file.writer.close()
            size = file.stream.tell()
            file.stream.close()
        self._probe("after data.close")
        self.written.append(WrittenFile(file.uri, file.rows, size, file.partition, file.footers[0]))
        file.reset()


class _OpenFile:
    """Rows that wait for their row group, and the file they go to once there is one."""

    def __init__(self, partition: tuple[Any, ...]) -> None:
        self.partition = partition
        self.held: list[pa.RecordBatch] = []
        self.held_bytes = 0
        self.reset()

    def reset(self) -> None:
        self.uri = ""
        self.rows = 0
        self.writer: Any = None
        self.stream: Any = None
        self.footers: list[pq.FileMetaData] = []

    def hold(self, batch: pa.RecordBatch) -> None:
        self.held.append(batch)
        self.held_bytes += batch.get_total_buffer_size() if batch.num_rows == 0 else batch.nbytes

    def release(self) -> list[pa.RecordBatch]:
        held, self.held, self.held_bytes = self.held, [], 0
        return held


def conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch in a schema, columns chosen by name, cast without loss, nulls checked.

    Raises:
        InvalidRequestError: A column is missing.
        DataRejectedError: A value does not fit, or a null stands where none may.
    """
    import pyarrow as pa

    has = set(batch.schema.names)
    missing = [name for name in schema.names if name not in has]
    if missing:
        raise InvalidRequestError("Rows lack columns of the table. Add them.", missing=tuple(missing[:20]))
    chosen = batch.select(schema.names)
    try:
        if not chosen.schema.equals(schema):
            chosen = chosen.cast(schema) if not _has_nulls(chosen, schema) else chosen
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise DataRejectedError(
            "A value does not fit its column. Correct it, or widen the column.",
            columns=_differing(chosen.schema, schema),
        ) from error
    if nulls := _has_nulls(chosen, schema):
        raise DataRejectedError(
            "A column that allows no nulls has some. Fill them, or declare the column nullable.", columns=nulls
        )
    return chosen


def _has_nulls(batch: pa.RecordBatch, schema: pa.Schema) -> tuple[str, ...]:
    pairs = zip(schema, batch.columns, strict=True)
    return tuple(field.name for field, column in pairs if not field.nullable and column.null_count)


def _differing(have: pa.Schema, want: pa.Schema) -> tuple[str, ...]:
    return tuple(f"{f.name}: {have.field(f.name).type} -> {f.type}" for f in want if have.field(f.name).type != f.type)
