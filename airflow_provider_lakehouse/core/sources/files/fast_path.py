"""Read many good text files in one statement of DuckDB, and notice every file that is not good."""

from __future__ import annotations

import json
import sys
from array import array
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import UnavailableError, UnsupportedError
from airflow_provider_lakehouse.core.sources.files.scanning import count_lines
from airflow_provider_lakehouse.core.sources.files.values import ColumnReading, reason_sql, sql_text
from airflow_provider_lakehouse.core.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.sources.files.copies import PlannedFile
    from airflow_provider_lakehouse.core.sources.files.lines import CsvDialect

_BATCH_VALUES: Final = 2_000_000
_MAX_BATCH_ROWS: Final = 100_000
_BATCH_BYTES: Final = 32 * 1024 * 1024
MAX_LINE_BYTES: Final = 32 * 1024
"""DuckDB works on 2,048 rows at once, however long they are; the careful path counts characters."""
MAX_COLUMNS: Final = 500
"""DuckDB keeps 2,048 rows of every expression in memory for each thread, so a statement must not have too many."""
NEEDS_CARE: Final = "needs care"
"""Reason of a row that may be good: only the careful path can tell."""
_DOUBLE_DIGITS: Final = 15
"""So many digits of a number survive DuckDB's JSON reader, which keeps it as a double."""
_LONG_NUMBER: Final = "[0-9.]{17}"
_LOOSE_END: Final = r",\s*[}\]]"
"""A comma behind the last item, which JSON forbids; DuckDB lets it pass inside of a value."""
_NESTED_OBJECT: Final = r"[:\[,]\s*\{"
_FIELD_NAME: Final = r'"((?:[^"\\]|\\.)*)"\s*:'
_FRACTION: Final = r"-?[0-9]+([.][0-9]+)?(e[-+]?[0-9]+)?"


class CarefulReadingNeededError(Exception):
    """The fast path does not vouch for some of the files.

    Args:
        places: Which, by their place in the statement; empty when it is not known.
    """

    def __init__(self, places: frozenset[int] = frozenset()) -> None:
        self.places = places
        super().__init__("some files need to be read with care")


@dataclass(frozen=True, slots=True)
class TextFile:
    r"""A text file on local disk, and how it is laid out.

    Args:
        file: What was planned.
        path: Where its plain content is.
        names: Its columns in order; of JSON lines none.
        header_lines: Lines before the first row.
        ends_lines_with: Of its first line: `\n` or `\r\n`.
        line_bytes: How long its first lines are, on average.
    """

    file: PlannedFile
    path: str
    names: tuple[str, ...] = ()
    header_lines: int = 0
    ends_lines_with: str = "\n"
    line_bytes: int = 0

    @property
    def layout(self) -> tuple[object, ...]:
        """What files must have in common to be read in one statement."""
        return (self.file.format, self.names, self.header_lines, self.ends_lines_with)


def connect(*, memory_bytes: int, threads: int | None, folder: str) -> DuckDBPyConnection:
    """Open a session that downloads nothing, keeps to its memory, and reads instants without a zone as UTC.

    Raises:
        UnsupportedError: duckdb is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise UnsupportedError(
            "Files of text need DuckDB. Install 'airflow-provider-lakehouse[duckdb]'.", module=error.name
        ) from error
    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "memory_limit": f"{memory_bytes // 1024}KiB",
        "temp_directory": folder,
    }
    connection = duckdb.connect(config=settings | ({"threads": threads} if threads else {}))
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")  # it would write into the standard output of the task
    return connection


def batch_rows(columns: int, row_bytes: int = 0) -> int:
    """Return how many rows a batch may have: fewer where there are many columns, or long values."""
    return max(16, min(_MAX_BATCH_ROWS, _BATCH_VALUES // max(1, columns), _BATCH_BYTES // max(1, row_bytes)))


def read_fast(
    connection: DuckDBPyConnection,
    files: Sequence[TextFile],
    *,
    schema: Schema,
    dialect: CsvDialect,
    allows_others: bool,
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Stream the rows of files of one layout, in order, each batch with the place of its file.

    The last column of a batch is the reason why a row is refused, null for a good one.

    Raises:
        CarefulReadingNeededError: A file cannot be taken apart. What was streamed does not count.
        UnavailableError: DuckDB ran out of memory.
    """
    if max(len(schema.columns), len(files[0].names)) > MAX_COLUMNS or max(f.line_bytes for f in files) > MAX_LINE_BYTES:
        raise CarefulReadingNeededError(frozenset(range(len(files))))
    if files[0].file.format == "csv":
        statement = _csv_statement(files, schema, dialect)
    else:
        statement = _json_statement(files, schema, allows_others=allows_others)
    yield from stream(connection, statement, rows=rows_at_once(files, schema))


def rows_at_once(files: Sequence[TextFile], schema: Schema) -> int:
    """Return how many rows of some files make a batch."""
    return batch_rows(len(schema.columns), max(file.line_bytes for file in files))


def stream(connection: DuckDBPyConnection, statement: str, *, rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Run a statement of which the last two columns are the place of a row's file, and what is wrong with the row.

    Raises:
        CarefulReadingNeededError: It failed. What was streamed does not count.
        UnavailableError: DuckDB ran out of memory.
    """
    import duckdb

    try:
        with connection.sql(statement).to_arrow_reader(rows) as reader:
            for batch in reader:
                yield from _split(batch)
    except duckdb.OutOfMemoryException as error:
        raise UnavailableError("DuckDB ran out of memory while reading files. Allow it more.") from error
    except (duckdb.Error, OSError) as error:
        raise CarefulReadingNeededError from error


def _split(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Split a batch by file; its last two columns are the file's place and what is wrong with the row."""
    import pyarrow.compute as pc

    place = batch.columns[-2]
    rows = batch.select([*range(batch.num_columns - 2), batch.num_columns - 1])
    runs = pc.run_end_encode(place)
    at = 0
    for run, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield run, rows.slice(at, end - at)
        at = end


def _csv_statement(files: Sequence[TextFile], schema: Schema, dialect: CsvDialect) -> str:
    names = files[0].names
    places = {name: place for place, name in enumerate(names)}
    readings = [
        ColumnReading(c, f"c{places[c.name]}" if c.name in places else None, made=f"v{n}")
        for n, c in enumerate(schema.columns)
    ]
    columns = ", ".join(f"c{place}: 'VARCHAR'" for place in range(len(names)))
    options = {
        "auto_detect": "false",
        "header": "true" if files[0].header_lines else "false",
        "columns": f"{{{columns}}}",
        "delim": sql_text(dialect.delimiter),
        "quote": sql_text(dialect.quote),
        "escape": sql_text(dialect.quote),
        "nullstr": f"[{', '.join(map(sql_text, dialect.null_texts))}]",
        "allow_quoted_nulls": "false",
        "strict_mode": "true",
        "compression": "'none'",
    }
    if files[0].ends_lines_with == "\n":
        # Said aloud, it allows other line ends between quotes. `\r\n` must not be: DuckDB 2.0 then returns no rows.
        options["new_line"] = "'\\n'"
    given = ", ".join(f"{name} = {value}" for name, value in options.items())
    return values_and_reason(readings, reason_sql(readings), source=f"read_csv({paths(files)}, {given})")


def _json_statement(files: Sequence[TextFile], schema: Schema, *, allows_others: bool) -> str:
    names = schema.names
    structure = sql_text(json.dumps(dict.fromkeys(names, "VARCHAR"), ensure_ascii=False))
    readings = [
        ColumnReading(c, f"struct_extract(fields, {sql_text(c.name)})", made=f"v{n}")
        for n, c in enumerate(schema.columns)
    ]
    doubts = ["json IS NULL OR NOT starts_with(CAST(json AS VARCHAR), '{')"]
    doubts.append("list_unique(json_keys(json)) < len(json_keys(json))")
    doubts += _doubts_within("CAST(json AS VARCHAR)")
    if not allows_others:
        doubts.append(f"NOT list_has_all([{', '.join(map(sql_text, names))}], json_keys(json))")
    if digits_matter(schema):
        doubts.append(f"regexp_matches(CAST(json AS VARCHAR), {sql_text(_LONG_NUMBER)})")
    source = (
        f"(SELECT json, from_json(json, {structure}) AS fields, file_index "
        f"FROM read_ndjson_objects({paths(files)}, compression = 'none'))"
    )
    return values_and_reason(readings, reason_to_doubt(readings, doubts), source=source)


def _doubts_within(line: str) -> list[str]:
    """Return SQL of what DuckDB does not notice inside of a value: a comma too many, a field that stands twice.

    Objects of one line may have fields of one name, and texts may look like either: then care is taken for nothing.
    """
    names = f"regexp_extract_all({line}, {sql_text(_FIELD_NAME)}, 1)"
    return [
        f"regexp_matches({line}, {sql_text(_LOOSE_END)})",
        f"CASE WHEN regexp_matches({line}, {sql_text(_NESTED_OBJECT)}) THEN list_unique({names}) < len({names}) END",
    ]


def reason_to_doubt(readings: Sequence[ColumnReading], doubts: Sequence[str]) -> str:
    """Return SQL that says whether a line of JSON must be judged once more, by its text; null where it need not be.

    DuckDB has made doubles of the numbers, so what looks wrong may be right, and what is text may have lost digits.
    """
    tests = [
        *doubts,
        *(
            f"length({reading.raw}) >= 16 AND regexp_full_match({reading.raw}, {sql_text(_FRACTION)})"
            for reading in readings
            if reading.column.type == "string"
        ),
        *(f"isinf({reading.made})" for reading in readings if reading.column.type in ("float", "double")),
        *(test for reading in readings for test, _ in reading.faults),
    ]
    return f"CASE {' '.join(f'WHEN {test} THEN {sql_text(NEEDS_CARE)}' for test in tests)} END"


def digits_matter(schema: Schema) -> bool:
    """Tell whether a column holds more digits than a double does."""
    nodes = [parse_type(column.type) for column in schema.columns]
    return any(node.name == "decimal" and node.numbers[0] > _DOUBLE_DIGITS for node in nodes)


def paths(files: Sequence[TextFile]) -> str:
    """Return SQL of the list of files."""
    return f"[{', '.join(sql_text(_literal(file.path)) for file in files)}]"


def _literal(path: str) -> str:
    """Return a pattern that only this path matches."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)


def values_and_reason(readings: Sequence[ColumnReading], reason: str, *, source: str) -> str:
    """Return the statement that makes the values, and then judges them: two steps, so that no value is made twice."""
    values = ", ".join(f"{reading.value} AS {reading.made}" for reading in readings)
    made = ", ".join(str(reading.made) for reading in readings)
    return f"SELECT {made}, file_index, {reason} AS reason FROM (SELECT *, file_index, {values} FROM {source})"


def row_lines(file: TextFile, *, rows: int, quote: str) -> array[int] | None:
    """Return the line on which each row starts; None when the rows stand line by line below the header.

    This counts the rows a second time, without DuckDB: a file of which the two say different things is read with care.

    Raises:
        CarefulReadingNeededError: The lines do not tell where the rows start.
    """
    if count_lines(file.path) == rows + file.header_lines:
        return None
    starts = array("q")
    mark = quote.encode()
    is_csv = file.file.format == "csv"
    has_one_column = len(file.names) == 1  # then a blank line is a row
    is_open = False
    with Path(file.path).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            is_row = has_one_column or line.strip(b"\r\n" if is_csv else None)
            if not is_open and number > file.header_lines and is_row:
                starts.append(number)
            if is_csv and line.count(mark) % 2:
                is_open = not is_open
    if len(starts) != rows:
        raise CarefulReadingNeededError
    return starts


def record_texts(file: TextFile, lines: Sequence[int], *, starts: array[int] | None) -> dict[int, str]:
    """Return the texts of the records that start on the lines given, without their line ends."""
    wanted = frozenset(lines)
    following = None if starts is None else dict(pairwise(starts))
    found: dict[int, bytes] = {}
    current, until = 0, 0
    with Path(file.path).open("rb") as source:
        for number, line in enumerate(source, 1):
            if number in wanted:
                current, until = number, number + 1 if following is None else following.get(number, sys.maxsize)
                found[current] = b""
            if number < until:
                found[current] += line
    return {number: text.decode().rstrip("\r\n") for number, text in found.items()}
