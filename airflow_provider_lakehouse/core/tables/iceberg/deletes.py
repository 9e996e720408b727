"""Position-delete files: write them, read them.

Source: Apache Iceberg table specification, section "Position Delete Files". Each file that is written here names rows
of one data file only, so that it can go when the data file goes, and totals stay exact.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import DamagedError, UnsupportedError
from airflow_provider_lakehouse.core.tables.storage import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyiceberg.manifest import DataFile

    from airflow_provider_lakehouse.core.tables.base import Probe
    from airflow_provider_lakehouse.core.tables.storage import Storage

PATH_FIELD_ID: Final = 2147483546
POSITION_FIELD_ID: Final = 2147483545
_PATH: Final = "file_path"
_POSITION: Final = "pos"


@dataclass(frozen=True)
class PositionDeletes:
    """Writes the position-delete files of one commit.

    Args:
        storage: Where.
        folder: Folder of this attempt.
        probe: Called around every file.
    """

    storage: Storage
    folder: str
    probe: Probe

    def write(self, target: DataFile, positions: pa.Array, *, number: int) -> DataFile:
        """Write the file that removes rows of one data file.

        Args:
            target: The data file.
            positions: Zero-based, sorted, each once, int64.
            number: Distinguishes the files of this commit.
        """
        uri = f"{self.folder}/deletes-{number:05d}.parquet"
        self.probe("before iceberg.deletes")
        footer, size = _write(self.storage, uri, path=target.file_path, positions=positions)
        self.probe("after iceberg.deletes")
        return _described(uri, target=target, positions=positions, footer=footer, size_bytes=size)


def _write(storage: Storage, uri: str, *, path: str, positions: pa.Array) -> tuple[Any, int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            pa.field(_PATH, pa.string(), nullable=False, metadata={"PARQUET:field_id": str(PATH_FIELD_ID)}),
            pa.field(_POSITION, pa.int64(), nullable=False, metadata={"PARQUET:field_id": str(POSITION_FIELD_ID)}),
        ]
    )
    rows = pa.table([pa.repeat(pa.scalar(path), len(positions)), positions], schema=schema)
    footers: list[Any] = []
    with translated(uri), storage.create(uri) as stream:
        with pq.ParquetWriter(stream, schema, compression="zstd", metadata_collector=footers) as writer:
            writer.write_table(rows)
        return footers[0], stream.tell()


def _described(
    uri: str, *, target: DataFile, positions: pa.Array, footer: pq.FileMetaData, size_bytes: int
) -> DataFile:
    from pyiceberg.conversions import to_bytes
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.types import LongType

    path = target.file_path.encode()
    count = len(positions)
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    sizes = {
        field_id: sum(group.column(place).total_compressed_size for group in groups)
        for place, field_id in enumerate((PATH_FIELD_ID, POSITION_FIELD_ID))
    }
    first, last = (to_bytes(LongType(), positions[index].as_py()) for index in (0, count - 1))
    file = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=uri,
        file_format=FileFormat.PARQUET,
        partition=target.partition,
        record_count=count,
        file_size_in_bytes=size_bytes,
        column_sizes=sizes,
        value_counts=dict.fromkeys(sizes, count),
        null_value_counts=dict.fromkeys(sizes, 0),
        nan_value_counts={},
        lower_bounds={PATH_FIELD_ID: path, POSITION_FIELD_ID: first},
        upper_bounds={PATH_FIELD_ID: path, POSITION_FIELD_ID: last},
        split_offsets=[4],
        sort_order_id=None,
        equality_ids=None,
        key_metadata=None,
    )
    file.spec_id = target.spec_id
    return file


def read_deletes(
    files: Iterable[DataFile], *, storage: Storage, only: frozenset[str] | None = None
) -> dict[str, pa.Array]:
    """Read position-delete files.

    Args:
        files: Position-delete files.
        storage: Where they are.
        only: Paths of data files of interest; None for all.

    Returns:
        Removed positions by path of the data file, sorted, each once.

    Raises:
        UnsupportedError: A file is not Parquet.
        DamagedError: A file is missing, or is not what the table says.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[str, list[pa.Array]] = {}
    for file in files:
        for path, positions in _positions(file, storage):
            if only is None or path in only:
                found.setdefault(path, []).append(positions)
    result = {}
    for path, parts in found.items():
        whole = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
        result[path] = pc.unique(whole).sort()
    return result


def by_file(rows: pa.Table, *, path: str, position: str) -> dict[str, pa.Array]:
    """Return sorted positions by path.

    Args:
        rows: A column of paths and one of positions.
        path: Name of the first.
        position: Name of the second.
    """
    import pyarrow as pa

    if rows.num_rows == 0:
        return {}
    coded = rows.column(path).dictionary_encode().unify_dictionaries().combine_chunks()
    places = pa.table({_PATH: coded.indices, _POSITION: rows.column(position)})
    ordered = places.sort_by([(_PATH, "ascending"), (_POSITION, "ascending")])
    codes = pa.DictionaryArray.from_arrays(ordered.column(_PATH).combine_chunks(), coded.dictionary)
    parts: dict[str, pa.Array] = dict(_stretches(pa.chunked_array([codes]), ordered.column(_POSITION)))
    return parts


def may_name(file: DataFile, paths: Sequence[bytes]) -> bool:
    """Tell whether a delete file may remove rows of one of some data files.

    Args:
        file: A position-delete file.
        paths: Addresses of data files in UTF-8, sorted.
    """
    lower = (file.lower_bounds or {}).get(PATH_FIELD_ID)
    upper = (file.upper_bounds or {}).get(PATH_FIELD_ID)
    first = bisect_left(paths, lower) if lower is not None else 0
    return first < len(paths) and (upper is None or paths[first] <= upper)


def _positions(file: DataFile, storage: Storage) -> Iterator[tuple[str, pa.Array]]:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyiceberg.manifest import FileFormat

    if file.file_format != FileFormat.PARQUET:
        raise UnsupportedError(
            f"A delete file of the table is in {file.file_format.value}, not in Parquet. Compact the table with the "
            "engine that wrote it.",
            uri=file.file_path,
        )
    with translated(file.file_path):
        try:
            rows = pq.read_table(storage.open(file.file_path), columns=[_PATH, _POSITION], read_dictionary=[_PATH])
        except (pa.ArrowInvalid, KeyError) as error:
            raise DamagedError("A delete file cannot be read. Restore it.", uri=file.file_path) from error
    yield from _stretches(rows.column(_PATH), rows.column(_POSITION))


def _stretches(paths: pa.ChunkedArray, positions: pa.ChunkedArray) -> Iterator[tuple[str, pa.Array]]:
    """Yield the positions of each stretch of rows with one path."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(paths) == 0:
        return
    whole = positions.cast(pa.int64()).combine_chunks()
    coded = (
        (paths if pa.types.is_dictionary(paths.type) else paths.dictionary_encode())
        .unify_dictionaries()
        .combine_chunks()
    )
    runs = pc.run_end_encode(coded.indices.cast(pa.int32()), pa.int64())
    start = 0
    for code, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield coded.dictionary[code].as_py(), whole.slice(start, end - start)
        start = end
