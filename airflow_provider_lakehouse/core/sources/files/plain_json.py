r"""Read JSON lines that are as plain as programs write them, in few steps; anything else is left to the other ways.

DuckDB reads the fields it is asked for straight into columns, and says nothing of others. So the fields are counted
once more, in the bytes: behind the name of each stands `":`. Text that only looks like it makes the count too high and
never too low, so a count that agrees proves that there is no field that was not asked for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.sources.files.fast_path import (
    MAX_COLUMNS,
    MAX_LINE_BYTES,
    CarefulReadingNeededError,
    digits_matter,
    paths,
    reason_to_doubt,
    rows_at_once,
    stream,
    values_and_reason,
)
from airflow_provider_lakehouse.core.sources.files.scanning import count_pairs, count_texts, holds_long_number
from airflow_provider_lakehouse.core.sources.files.values import ColumnReading, sql_name, sql_text
from airflow_provider_lakehouse.core.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.sources.files.fast_path import TextFile

_END_OF_NAME: Final = b'":'
_SPACED_ENDS: Final = (b" :", b"\t:", b"\r:")
"""What could stand between a name and its colon, so that the name would not be counted."""
_LOOSE_ENDS: Final = (b",}", b",]", b" }", b" ]", b"\t}", b"\t]", b"\r}", b"\r]")
"""How a list or an object may end behind a comma, which JSON forbids; DuckDB lets it pass inside of a value."""


def read_plain_json(
    connection: DuckDBPyConnection, files: Sequence[TextFile], *, schema: Schema, allows_others: bool
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Stream the rows of JSON lines as `read_fast` does, where every line is plain and good.

    Raises:
        CarefulReadingNeededError: Some line is not. What was streamed does not count.
        UnavailableError: DuckDB ran out of memory.
    """
    is_wide = len(schema.columns) > MAX_COLUMNS or max(file.line_bytes for file in files) > MAX_LINE_BYTES
    if is_wide or any(parse_type(column.type).children for column in schema.columns):
        raise CarefulReadingNeededError
    rows = [0] * len(files)
    nulls = [[0] * len(schema.columns) for _ in files]
    for place, batch in stream(connection, _statement(files, schema), rows=rows_at_once(files, schema)):
        if batch.columns[-1].null_count < batch.num_rows:
            raise CarefulReadingNeededError
        rows[place] += batch.num_rows
        nulls[place] = [sum(two) for two in zip(nulls[place], (c.null_count for c in batch.columns[:-1]), strict=True)]
        yield place, batch
    has_digits = digits_matter(schema)
    for place, file in enumerate(files):
        if has_digits and holds_long_number(file.path):
            raise CarefulReadingNeededError
        if any(count_pairs(file.path, *_LOOSE_ENDS)):
            raise CarefulReadingNeededError
        if not allows_others and _may_hold_others(file.path, schema.names, rows[place], nulls[place]):
            raise CarefulReadingNeededError


def _statement(files: Sequence[TextFile], schema: Schema) -> str:
    readings = [ColumnReading(column, f"t{n}", made=f"v{n}") for n, column in enumerate(schema.columns)]
    fields = ", ".join(f"{sql_text(name)}: 'VARCHAR'" for name in schema.names)
    texts = ", ".join(f"{sql_name(name)} AS t{n}" for n, name in enumerate(schema.names))
    options = f"columns = {{{fields}}}, format = 'newline_delimited', compression = 'none'"
    # The line `null` is no object, but DuckDB reads it like one without a field.
    is_bare = f"coalesce({', '.join(f't{n}' for n in range(len(readings)))}) IS NULL"
    return values_and_reason(
        readings,
        reason_to_doubt(readings, [is_bare]),
        source=f"(SELECT {texts}, file_index FROM read_json({paths(files)}, {options}))",
    )


def _may_hold_others(path: str, names: Sequence[str], rows: int, nulls: Sequence[int]) -> bool:
    """Tell whether an object of a file may have a field beside the known ones.

    A known field whose value is null is there or is not; only the bytes tell.
    """
    fields, *spaced = count_pairs(path, _END_OF_NAME, *_SPACED_ENDS)
    others = fields - (rows * len(names) - sum(nulls))
    if others:
        written = [
            json.dumps(name, ensure_ascii=False).encode() for name, count in zip(names, nulls, strict=True) if count
        ]
        others -= sum(count_texts(path, name + b":null", name + b": null") for name in written)
    return bool(others) or any(spaced)
