"""The data files of one change of a Delta table: new rows, and the rows that stay of files that lose some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN, Positions
from airflow_provider_lakehouse.core.tables.calendar import refuse_far_partitions
from airflow_provider_lakehouse.core.tables.data_files import conformed, write_files
from airflow_provider_lakehouse.core.tables.file_reading import read_files
from airflow_provider_lakehouse.core.types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

    from airflow_provider_lakehouse.core.tables.base import Change, DataFile, Probe, WriteToken
    from airflow_provider_lakehouse.core.tables.data_files import WrittenFile
    from airflow_provider_lakehouse.core.tables.delta.metadata import Metadata
    from airflow_provider_lakehouse.core.tables.delta.state import LiveFile, TableState
    from airflow_provider_lakehouse.core.tables.storage import Storage


@dataclass(frozen=True)
class Written:
    """Data files that are written and not yet part of a table.

    Args:
        files: The files.
        rows_added: New rows in them.
        rows_removed: Rows that the change removes by position.
        replaced: Files that lose rows; what stays of them is in `files`.
    """

    files: tuple[WrittenFile, ...] = ()
    rows_added: int = 0
    rows_removed: int = 0
    replaced: tuple[LiveFile, ...] = ()


def token_folder(location: str, token: WriteToken) -> str:
    """Return the folder of the data files of a token."""
    return f"{location}/data/{token.digest}"


def write_change(
    change: Change, *, token: WriteToken, state: TableState, metadata: Metadata, storage: Storage, probe: Probe
) -> Written:
    """Write the data files of a change.

    Args:
        change: What to write.
        token: Names the folder the files go to.
        state: The newest; files that lose rows are live in it.
        metadata: As it is after the change.
        storage: Where.
        probe: Called around file creation and closing.

    Raises:
        InvalidRequestError: A position is in no live file, or beyond its end.
        UnsupportedError: A file that loses rows has a deletion vector.
        DataRejectedError: A row breaks the schema. Nothing is left behind.
    """
    import pyarrow as pa

    lost = positions_by_file(change.removes) if isinstance(change.removes, Positions) else {}
    replaced = _files_named(lost, state)
    counted = _Counted(change.rows)
    schema = metadata.schema
    rows_schema = pa.schema([pa.field(column.name, arrow_type(column.type)) for column in schema.columns])

    def batches() -> Iterator[pa.RecordBatch]:
        rest = list(_remaining(replaced, lost, state.with_metadata(metadata), storage))
        yield from read_files(rest, storage=storage, schema=schema) if rest else ()
        for batch in counted:
            yield conformed(batch, rows_schema)

    files = write_files(
        pa.RecordBatchReader.from_batches(rows_schema, batches()),
        storage=storage,
        folder=token_folder(state.location, token),
        file_schema=metadata.file_schema(),
        partition_by=_partitioner(metadata),
        sort_order=metadata.sort_order,
        target_file_bytes=metadata.target_file_bytes,
        probe=probe,
    )
    removed = sum(len(positions) for positions in lost.values())
    return Written(files, counted.rows, removed, tuple(replaced.values()))


class _Counted:
    """New rows, and how many of them were read."""

    def __init__(self, rows: Iterable[pa.RecordBatch] | None) -> None:
        self._source = rows or ()
        self.rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._source:
            self.rows += batch.num_rows
            yield batch


def positions_by_file(removes: Positions) -> dict[str, pa.Array]:
    """Return the distinct positions to remove, by address of their file."""
    import pyarrow as pa

    chosen = removes.rows.select([FILE_COLUMN, POSITION_COLUMN])
    grouped = chosen.group_by(FILE_COLUMN).aggregate([(POSITION_COLUMN, "distinct")])
    uris = grouped.column(FILE_COLUMN).to_pylist()
    lists = grouped.column(f"{POSITION_COLUMN}_distinct")
    return {uri: positions.values.cast(pa.int64()) for uri, positions in zip(uris, lists, strict=True)}


def _files_named(lost: dict[str, pa.Array], state: TableState) -> dict[str, LiveFile]:
    if not lost:
        return {}
    live = {file.uri(state.location): file for file in state.files() if file.uri(state.location) in lost}
    unknown = sorted(lost.keys() - live.keys())
    if unknown:
        raise InvalidRequestError(
            "Rows to remove are in files that are not part of the table. Read their addresses again.",
            files=len(unknown),
        )
    for file in live.values():
        file.to_removal(at_ms=0)  # refused before anything is written
    return live


def _remaining(
    replaced: dict[str, LiveFile], lost: dict[str, pa.Array], state: TableState, storage: Storage
) -> Iterator[DataFile]:
    """Yield the files of which rows stay, with the rows that go marked as removed."""
    from dataclasses import replace

    import pyarrow.compute as pc

    for file in state.data_files(replaced.values(), storage=storage):
        positions = lost[file.path]
        if pc.min(positions).as_py() < 0 or pc.max(positions).as_py() >= file.rows:
            raise InvalidRequestError("A position to remove is beyond the end of its file. Read the addresses again.")
        if len(positions) < file.rows:
            yield replace(file, removed=positions)


def _partitioner(metadata: Metadata) -> Callable[[pa.RecordBatch], Sequence[pa.Array]] | None:
    if not metadata.partition_columns:
        return None
    columns = [metadata.schema.by_name[name] for name in metadata.partition_columns]

    def partition_by(batch: pa.RecordBatch) -> list[pa.Array]:
        arrays = []
        for column in columns:
            array = batch.column(column.name)
            refuse_far_partitions(array, column.name)
            _refuse_unfit_partition(array, column.name, nullable=column.nullable, text=column.type == "string")
            arrays.append(array)
        return arrays

    return partition_by


def _refuse_unfit_partition(array: pa.Array, name: str, *, nullable: bool, text: bool) -> None:
    import pyarrow.compute as pc

    if array.null_count and not nullable:
        raise DataRejectedError(
            "A column that allows no nulls has some. Fill them, or declare the column nullable.", columns=(name,)
        )
    if text and pc.any(pc.equal(array, "")).as_py():
        raise DataRejectedError(
            "Delta cannot tell an empty text from null in a partition column. Give it another value.", columns=(name,)
        )


def partitions_of(files: Iterable[WrittenFile]) -> frozenset[tuple[Any, ...]]:
    """Return the partitions that data files fall into."""
    return frozenset(file.partition for file in files)
