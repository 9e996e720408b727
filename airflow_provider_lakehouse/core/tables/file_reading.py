"""Read live rows out of data files: renames, missing columns, constants, removed rows and older types applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import DamagedError
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN
from airflow_provider_lakehouse.core.tables.filters import Bounds, arrow_expression
from airflow_provider_lakehouse.core.tables.storage import translated
from airflow_provider_lakehouse.core.types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa
    import pyarrow.parquet as pq

    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.tables.base import DataFile
    from airflow_provider_lakehouse.core.tables.filters import Filter
    from airflow_provider_lakehouse.core.tables.storage import Storage

BATCH_ROWS: Final = 65_536


def read_files(
    files: Iterable[DataFile],
    *,
    storage: Storage,
    schema: Schema,
    columns: tuple[str, ...] | None = None,
    where: Filter = (),
    addressed: bool = False,
) -> pa.RecordBatchReader:
    """Stream the live rows of data files, one file after the other.

    Args:
        files: As a table listed them.
        storage: Where they are.
        schema: The table's, to which older files are brought.
        columns: Which, in which order; None for all.
        where: Rows to keep; row groups whose statistics exclude it are not read.
        addressed: Add `_file` and `_pos`.

    Returns:
        A reader that holds one batch at a time.

    Raises:
        InvalidRequestError: There is no such column.
        DamagedError: A file is missing, or is not what the table says (while reading).
        UnavailableError: The storage failed (while reading).
    """
    import pyarrow as pa

    chosen = schema.names if columns is None else columns
    schema.require(chosen, purpose="reading")
    schema.require([comparison.column for comparison in where], purpose="a condition")
    fields = [pa.field(name, arrow_type(schema.by_name[name].type)) for name in chosen]
    if addressed:
        fields += [pa.field(FILE_COLUMN, pa.string()), pa.field(POSITION_COLUMN, pa.int64())]
    result = pa.schema(fields)
    needed = tuple(dict.fromkeys((*chosen, *(comparison.column for comparison in where))))
    return pa.RecordBatchReader.from_batches(
        result,
        _batches(files, storage=storage, schema=schema, needed=needed, where=where, result=result, addressed=addressed),
    )


def _batches(
    files: Iterable[DataFile],
    *,
    storage: Storage,
    schema: Schema,
    needed: tuple[str, ...],
    where: Filter,
    result: pa.Schema,
    addressed: bool,
) -> Iterator[pa.RecordBatch]:
    import numpy as np
    import pyarrow as pa

    condition = arrow_expression(where)
    for file in files:
        for start, batch in _physical_batches(file, storage=storage, needed=needed, where=where):
            rows = _logical(batch, file, schema=schema, needed=needed)
            if addressed:
                positions = pa.array(np.arange(start, start + batch.num_rows, dtype=np.int64))
                uris = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), batch.num_rows), [file.path])
                rows = rows.append_column(FILE_COLUMN, uris.cast(pa.string())).append_column(POSITION_COLUMN, positions)
            rows = _without_removed(rows, file, start)
            if condition is not None:
                rows = rows.filter(condition)
            yield from rows.select(result.names).cast(result).to_batches()


def _physical_batches(
    file: DataFile, *, storage: Storage, needed: tuple[str, ...], where: Filter
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield batches as they are in the file, with the position of their first row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    stored = [file.renames.get(n, n) for n in needed if n not in file.missing and n not in file.constants]
    with translated(file.path):
        try:
            parquet = pq.ParquetFile(storage.open(file.path))
        except pa.ArrowInvalid as error:
            raise DamagedError("A data file is not Parquet, or is cut short. Restore it.", uri=file.path) from error
        if parquet.metadata.num_rows != file.rows:
            raise DamagedError("A data file has another number of rows than the table says. Look.", uri=file.path)
        start = 0
        for group in range(parquet.metadata.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if _may_hold(parquet, group, file, where):
                at = start
                for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=stored):
                    yield at, batch
                    at += batch.num_rows
            start += rows


def _may_hold(parquet: pq.ParquetFile, group: int, file: DataFile, where: Filter) -> bool:
    if not where:
        return True
    described = parquet.metadata.row_group(group)
    places = {described.column(i).path_in_schema: i for i in range(described.num_columns)}
    for comparison in where:
        place = places.get(file.renames.get(comparison.column, comparison.column))
        statistics = described.column(place).statistics if place is not None else None
        if statistics is None or (known := exact_bounds(statistics)) is None:
            continue
        nulls = statistics.null_count if statistics.has_null_count else None
        bounds = Bounds(*known, nulls=nulls, rows=described.num_rows)
        if not bounds.may_satisfy(comparison):
            return False
    return True


def exact_bounds(statistics: pq.Statistics) -> tuple[Any, Any] | None:
    """Return the least and the largest value that Parquet knows; None where there are none that Python can hold."""
    try:
        return (statistics.min, statistics.max) if statistics.has_min_max else None
    except (OverflowError, ValueError):  # outside of Python's years
        return None


def _logical(batch: pa.RecordBatch, file: DataFile, *, schema: Schema, needed: tuple[str, ...]) -> pa.Table:
    """Return the columns asked for under the table's names and in the table's types."""
    import pyarrow as pa

    arrays = []
    for name in needed:
        kind = arrow_type(schema.by_name[name].type)
        if name in file.constants:
            arrays.append(pa.repeat(pa.scalar(file.constants[name], kind), batch.num_rows))
        elif name in file.missing:
            arrays.append(pa.nulls(batch.num_rows, kind))
        else:
            array = batch.column(file.renames.get(name, name))
            arrays.append(array if array.type == kind else array.cast(kind))
    if not arrays:
        return pa.table({"": pa.nulls(batch.num_rows)})
    return pa.table(arrays, names=list(needed))


def _without_removed(rows: pa.Table, file: DataFile, start: int) -> pa.Table:
    if file.removed is None or len(file.removed) == 0 or rows.num_rows == 0:
        return rows
    import numpy as np
    import pyarrow as pa

    removed = file.removed.to_numpy(zero_copy_only=False)
    here = removed[(removed >= start) & (removed < start + rows.num_rows)] - start
    if len(here) == 0:
        return rows
    kept = np.ones(rows.num_rows, dtype=bool)
    kept[here] = False
    return rows.filter(pa.array(kept))
