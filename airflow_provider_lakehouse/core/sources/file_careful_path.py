"""Read one file row by row: what is good goes on, what is not is refused with its line, its text and the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.sources.base import RejectedRow
from airflow_provider_lakehouse.core.sources.file_fast_path import batch_rows
from airflow_provider_lakehouse.core.sources.file_lines import Record, csv_records, json_records
from airflow_provider_lakehouse.core.sources.file_rows import conform
from airflow_provider_lakehouse.core.sources.file_values import ColumnReading, reason_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from airflow_provider_lakehouse.core.schema import Column, Schema
    from airflow_provider_lakehouse.core.sources.file_fast_path import TextFile
    from airflow_provider_lakehouse.core.sources.file_lines import CsvDialect

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
    places = {name: place for place, name in enumerate(names)}
    readings = [ColumnReading(c, f"c{places[c.name]}" if c.name in places else None) for c in schema.columns]
    with Path(file.path).open("rb") as lines:
        if file.file.format == "csv":
            records = _below_header(csv_records(lines, dialect), file)
        else:
            records = json_records(lines, names, allows_others=allows_others)
        for batch in _batches(records, batch_rows(len(names))):
            yield _read_batch(connection, batch, readings=readings, width=len(names), uri=file.file.uri)


def read_records_carefully(
    connection: DuckDBPyConnection,
    file: TextFile,
    texts: Mapping[int, str],
    *,
    schema: Schema,
    allows_others: bool,
) -> Rows:
    """Read a few records of a file of JSON lines, given by the line on which each stands."""
    readings = [ColumnReading(column, f"c{place}") for place, column in enumerate(schema.columns)]
    found = json_records((text.encode() for text in texts.values()), schema.names, allows_others=allows_others)
    numbered = [replace(record, line=line) for line, record in zip(texts, found, strict=True)]
    return _read_batch(connection, numbered, readings=readings, width=len(schema.names), uri=file.file.uri)


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
    readings: Sequence[ColumnReading],
    width: int,
    uri: str,
) -> Rows:
    import pyarrow as pa

    rejects = [RejectedRow(r.fault, uri, r.line, r.text) for r in records if r.fault]
    whole = [record for record in records if not record.fault]
    columns: list[tuple[str | None, ...]] = list(zip(*(r.fields for r in whole), strict=True)) or [()] * width
    texts = pa.table([pa.array(c, pa.string()) for c in columns], names=[f"c{place}" for place in range(width)])
    found = _evaluate(connection, texts, readings)
    reasons = found.column(found.num_columns - 1)
    for record, reason in zip(whole, reasons.to_pylist(), strict=True):
        if reason is not None:
            rejects.append(RejectedRow(reason, uri, record.line, record.text))
    rejects.sort(key=lambda reject: reject.source_row or 0)
    lines = pa.array([record.line for record in whole], pa.int64())
    is_good = reasons.is_null()
    good = found.select(range(found.num_columns - 1)).filter(is_good)
    return good, lines.filter(is_good), rejects


def _evaluate(connection: DuckDBPyConnection, texts: pa.Table, readings: Sequence[ColumnReading]) -> pa.RecordBatch:
    import pyarrow as pa

    values = [f"{reading.value} AS v{place}" for place, reading in enumerate(readings)]
    connection.register("texts", texts)
    found = connection.sql(
        f"SELECT {', '.join([*values, f'{reason_sql(readings)} AS reason'])} FROM texts"
    ).to_arrow_table()
    connection.unregister("texts")
    arrays = [column.combine_chunks() for column in found.columns]
    return pa.RecordBatch.from_arrays(arrays, names=found.column_names)


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
        RejectedRow(faults[place], uri, first + place, _as_json(batch.slice(place, 1).to_pylist()[0]))
        for place in sorted(faults)
    ]
    is_good = pa.array([place not in faults for place in range(batch.num_rows)])
    return good.filter(is_good), numbers.filter(is_good), rejects


def _typed_column(
    connect: Callable[[], DuckDBPyConnection], batch: pa.RecordBatch, column: Column, faults: dict[int, str]
) -> pa.Array:
    import pyarrow as pa

    from airflow_provider_lakehouse.core.types import arrow_type

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

    is_text = pa.types.is_string(raw.type) or pa.types.is_large_string(raw.type)
    if is_text and column.type != "string":
        found = _evaluate(connect(), pa.table({"c0": raw}), [ColumnReading(column, "c0")])
        wrong = found.column(1).is_valid().to_pylist()
        values = conform(found.column(0), wanted)
        return values, [place for place, is_wrong in enumerate(wrong) if is_wrong and raw[place].is_valid]
    return _conformed(raw, wanted)


def _conformed(raw: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, list[int]]:
    import pyarrow as pa

    try:
        return conform(raw, wanted), []
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


def _as_json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=str, separators=(",", ":"))
