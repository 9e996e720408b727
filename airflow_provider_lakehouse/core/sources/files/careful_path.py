"""Read one file row by row: what is good goes on, what is not is refused with its line, its text and the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.schema import Column
from airflow_provider_lakehouse.core.sources.base import RejectedRow
from airflow_provider_lakehouse.core.sources.files.copies import CorruptFileError
from airflow_provider_lakehouse.core.sources.files.fast_path import batch_rows
from airflow_provider_lakehouse.core.sources.files.lines import Record, csv_records, json_records
from airflow_provider_lakehouse.core.sources.files.rows import conform
from airflow_provider_lakehouse.core.sources.files.values import ColumnReading
from airflow_provider_lakehouse.core.types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.sources.files.fast_path import TextFile
    from airflow_provider_lakehouse.core.sources.files.lines import CsvDialect

_MAX_BATCH_CHARACTERS: Final = 16 * 1024 * 1024
_WRONG_COUNT: Final = "wrong number of fields"

type Rows = tuple[pa.RecordBatch, pa.Array, list[RejectedRow]]
"""Good rows, the line or place of each, and refused rows."""


def read_text_carefully(
    connection: DuckDBPyConnection,
    file: TextFile,
    *,
    schema: Schema,
    dialect: CsvDialect,
    allows_others: bool,
) -> Iterator[Rows]:
    """Stream the rows of a text file.

    Raises:
        CorruptFileError: It is not UTF-8.
    """
    names = file.names if file.file.format == "csv" else schema.names
    with Path(file.path).open("rb") as lines:
        if file.file.format == "csv":
            records = _below_header(csv_records(lines, dialect), file)
        else:
            records = json_records(lines, schema.columns, allows_others=allows_others)
        for batch in _batches(records, batch_rows(len(names))):
            yield _read_batch(connection, batch, columns=schema.columns, names=names, uri=file.file.uri)


def read_records_carefully(
    connection: DuckDBPyConnection,
    file: TextFile,
    texts: Mapping[int, str],
    *,
    schema: Schema,
    allows_others: bool,
) -> Rows:
    """Read a few records of a file of JSON lines, given by the line on which each stands."""
    found = json_records((text.encode() for text in texts.values()), schema.columns, allows_others=allows_others)
    numbered = [replace(record, line=line) for line, record in zip(texts, found, strict=True)]
    return _read_batch(connection, numbered, columns=schema.columns, names=schema.names, uri=file.file.uri)


def _below_header(records: Iterable[Record], file: TextFile) -> Iterator[Record]:
    for record in records:
        if record.line <= file.header_lines:
            continue
        is_wrong = record.fault is None and len(record.fields) != len(file.names)
        yield Record(record.line, record.text, (), _WRONG_COUNT) if is_wrong else record


def _batches(records: Iterable[Record], rows: int) -> Iterator[list[Record]]:
    held: list[Record] = []
    size = 0
    for record in records:
        held.append(record)
        size += len(record.text)
        if len(held) == rows or size > _MAX_BATCH_CHARACTERS:
            yield held
            held, size = [], 0
    if held:
        yield held


def _read_batch(
    connection: DuckDBPyConnection,
    records: Sequence[Record],
    *,
    columns: Sequence[Column],
    names: Sequence[str],
    uri: str,
) -> Rows:
    import pyarrow as pa

    rejects = [RejectedRow(r.fault, uri, r.line, r.text) for r in records if r.fault]
    whole = [record for record in records if not record.fault]
    fields: list[tuple[str | None, ...]] = list(zip(*(r.fields for r in whole), strict=True)) or [()] * len(names)
    texts = pa.table([pa.array(texts, pa.string()) for texts in fields], names=list(names))
    found = _evaluate(connection, texts, columns)
    reasons = found.column(found.num_columns - 1)
    for record, reason in zip(whole, reasons.to_pylist(), strict=True):
        if reason is not None:
            rejects.append(RejectedRow(reason, uri, record.line, record.text))
    rejects.sort(key=lambda reject: reject.source_row or 0)
    lines = pa.array([record.line for record in whole], pa.int64())
    is_good = reasons.is_null()
    good = found.select(range(found.num_columns - 1)).filter(is_good)
    return good, lines.filter(is_good), rejects


def _evaluate(connection: DuckDBPyConnection, texts: pa.Table, columns: Sequence[Column]) -> pa.RecordBatch:
    """Return the values of the columns, and behind them the first thing wrong with each row.

    Columns of one type are evaluated as one long column, so that ten thousand of them are as cheap as ten.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays: dict[str, pa.Array] = {}
    faults: dict[str, list[tuple[pa.Array, str]]] = {}
    rows, known = texts.num_rows, frozenset(texts.schema.names)
    for type_, alike in _by_type(columns):
        there = [column.name for column in alike if column.name in known]
        stacked = pa.chunked_array([chunk for name in there for chunk in texts.column(name).chunks], pa.string())
        values, wrong = _evaluate_stacked(connection, stacked, type_)
        for place, name in enumerate(there):
            arrays[name] = values.slice(place * rows, rows)
            faults[name] = [(wrong.slice(place * rows, rows), f"{name}: not a {type_}")]
    reasons = pa.nulls(rows, pa.string())
    for column in columns:
        name = column.name
        if name not in arrays:
            arrays[name] = pa.nulls(rows, arrow_type(column.type))
        if not column.nullable:
            what = "null" if name in faults else "missing"
            missing = texts.column(name).combine_chunks().is_null() if name in faults else arrays[name].is_null()
            faults.setdefault(name, []).append((missing, f"{name}: {what}, and required"))
        for wrong, reason in faults.get(name, ()):
            if wrong.true_count:
                reasons = pc.coalesce(reasons, pc.if_else(wrong, reason, pa.scalar(None, pa.string())))
    return pa.RecordBatch.from_arrays(
        [*(arrays[c.name] for c in columns), reasons], names=[*(c.name for c in columns), ""]
    )


def _by_type(columns: Sequence[Column]) -> list[tuple[str, list[Column]]]:
    found: dict[str, list[Column]] = {}
    for column in columns:
        found.setdefault(column.type, []).append(column)
    return list(found.items())


def _evaluate_stacked(
    connection: DuckDBPyConnection, texts: pa.ChunkedArray, type_: str
) -> tuple[pa.Array, pa.BooleanArray]:
    """Return the values of texts in one type, and which texts are no values."""
    import pyarrow as pa

    if type_ == "string":
        return _combined(texts), pa.repeat(pa.scalar(False), len(texts))
    reading = ColumnReading(Column("text", type_), "text")
    ((wrong, _),) = reading.faults
    statement = f"SELECT {reading.value} AS value, coalesce({wrong}, false) AS wrong FROM texts"
    connection.register("texts", pa.table({"text": texts}))
    found = connection.sql(statement).to_arrow_table()
    connection.unregister("texts")
    return _combined(found.column(0)), _combined(found.column(1))


def _combined(column: pa.ChunkedArray) -> Any:  # noqa: ANN401
    import pyarrow as pa

    combined = column.combine_chunks()
    return combined if not isinstance(combined, pa.ChunkedArray) else pa.concat_arrays(combined.chunks)


def parquet_batches(path: str) -> Iterator[pa.RecordBatch]:
    """Stream the rows of a Parquet file in batches of a bounded size.

    Raises:
        CorruptFileError: It is not a whole Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # As nanoseconds, which is what Arrow makes of INT96 by itself, the year 2262 is the last.
        with pq.ParquetFile(path, page_checksum_verification=True, coerce_int96_timestamp_unit="us") as file:
            groups = [file.metadata.row_group(place) for place in range(file.metadata.num_row_groups)]
            row_bytes = max((one.total_byte_size // max(1, one.num_rows) for one in groups), default=0)
            yield from file.iter_batches(batch_size=batch_rows(file.metadata.num_columns, row_bytes))
    except (pa.ArrowException, OSError) as error:
        raise CorruptFileError("not a whole Parquet file") from error


def read_typed(
    connect: Callable[[], DuckDBPyConnection], batch: pa.RecordBatch, *, first: int, schema: Schema, uri: str
) -> Rows:
    """Bring rows of a format that has types into the planned columns.

    Args:
        connect: Gives a connection, for columns that are text in the file and something else in the plan.
        batch: As the file has it.
        first: Place in the file of its first row, counted from 1.
        schema: The planned columns.
        uri: The file.
    """
    import pyarrow as pa

    faults: dict[int, str] = {}
    columns = [_typed_column(connect, batch, column, faults) for column in schema.columns]
    good = pa.RecordBatch.from_arrays(columns, names=list(schema.names))
    numbers = pa.arange(first, first + batch.num_rows)
    if not faults:
        return good, numbers, []
    rejects = [
        RejectedRow(faults[place], uri, first + place, _as_json(batch.slice(place, 1))) for place in sorted(faults)
    ]
    is_good = pa.array([place not in faults for place in range(batch.num_rows)])
    return good.filter(is_good), numbers.filter(is_good), rejects


def _typed_column(
    connect: Callable[[], DuckDBPyConnection], batch: pa.RecordBatch, column: Column, faults: dict[int, str]
) -> pa.Array:
    import pyarrow as pa

    wanted = arrow_type(column.type)
    wrong: list[int] = []
    if column.name not in batch.schema.names:
        values = pa.nulls(batch.num_rows, wanted)
        reason = f"{column.name}: missing, and required"
    else:
        raw = batch.column(column.name)
        reason = f"{column.name}: null, and required"
        values, wrong = _converted(connect, raw, column, wanted)
    for place in wrong:
        faults.setdefault(place, f"{column.name}: not a {column.type}")
    if not column.nullable and values.null_count:
        for place, value in enumerate(values.is_null().to_pylist()):
            if value:
                faults.setdefault(place, reason)
    return values


def _converted(
    connect: Callable[[], DuckDBPyConnection], raw: pa.Array, column: Column, wanted: pa.DataType
) -> tuple[pa.Array, list[int]]:
    """Return the values, null where they are none of the type, and the places of those."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_text = pa.types.is_string(raw.type) or pa.types.is_large_string(raw.type)
    if is_text and column.type != "string":
        values, wrong = _evaluate_stacked(connect(), pa.chunked_array([raw.cast(pa.string())]), column.type)
        return conform(values, wanted), pc.indices_nonzero(wrong).to_pylist()
    return _conformed(raw, wanted)


def _conformed(raw: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, list[int]]:
    import pyarrow as pa

    try:
        values = conform(raw, wanted)
        values.validate(full=True)  # a text of a typed file need not be UTF-8
        return values, []
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _halved(raw, wanted)


def _halved(raw: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Convert what can be converted, halving until the values that cannot stand alone."""
    import pyarrow as pa

    if len(raw) == 1:
        return pa.nulls(1, wanted), [0]
    middle = len(raw) // 2
    first, wrong = _conformed(raw.slice(0, middle), wanted)
    second, wrong_too = _conformed(raw.slice(middle), wanted)
    return pa.concat_arrays([first, second]), [*wrong, *(middle + place for place in wrong_too)]


def _as_json(row: pa.RecordBatch) -> str:
    values = {name: _python(column[0]) for name, column in zip(row.schema.names, row.columns, strict=True)}
    return json.dumps(values, ensure_ascii=False, default=str, separators=(",", ":"))


def _python(value: pa.Scalar) -> Any:  # noqa: ANN401
    """Return a value as Python's, or its text where Python has none; of a nested one nothing then."""
    import pyarrow as pa

    try:
        return value.as_py()
    except UnicodeDecodeError:
        return value.as_buffer().to_pybytes().decode(errors="backslashreplace") if hasattr(value, "as_buffer") else None
    except (ValueError, OverflowError):  # nanoseconds, or an instant outside of Python's years
        return None if pa.types.is_nested(value.type) else value.cast(pa.string()).as_py()
