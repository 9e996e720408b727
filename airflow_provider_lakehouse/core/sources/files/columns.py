"""Which columns a file has: from its header, its footer, or its first lines."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.schema import Column
from airflow_provider_lakehouse.core.sources.base import SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN
from airflow_provider_lakehouse.core.sources.files.copies import CorruptFileError
from airflow_provider_lakehouse.core.sources.files.lines import BYTE_ORDER_MARK, csv_records
from airflow_provider_lakehouse.core.sources.files.values import infer_type
from airflow_provider_lakehouse.core.types import is_widening, type_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    import pyarrow as pa

    from airflow_provider_lakehouse.core.sources.files.lines import CsvDialect, Record

RESERVED: Final = frozenset({SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN})
SAMPLE_ROWS: Final = 1_000
_SAMPLE_VALUES: Final = 1_000_000
_MAX_LONG: Final = 2**63


def column_names(header: Sequence[str | None]) -> tuple[str, ...]:
    """Return the names of columns: a name that is empty becomes `column_3`, one that is taken gets `_2` behind it.

    Example:
        >>> column_names(["id", "", "id", "id_2"])
        ('id', 'column_2', 'id_3', 'id_2')
    """
    given = [name or f"column_{place}" for place, name in enumerate(header, 1)]
    taken = set(given) | RESERVED
    first = set(RESERVED)
    names: list[str] = []
    for name in given:
        free, number = name, 2
        while free in first or (free != name and free in taken):
            free, number = f"{name}_{number}", number + 1
        first.add(free)
        names.append(free)
    return tuple(names)


def csv_header(lines: Iterable[bytes], dialect: CsvDialect, *, is_whole: bool) -> tuple[tuple[str, ...], int] | None:
    """Return the column names of a CSV file and the number of lines they take; None for a file without any record.

    Without a header the names are `column_1` and so on, and no line is taken.

    Raises:
        CorruptFileError: The first record cannot be taken apart.
    """
    record = next(csv_records(lines, dialect, is_whole=is_whole), None)
    if record is None:
        return None
    if record.fault or ("\r" in record.text and dialect.quote not in record.text):
        raise CorruptFileError(f"no readable header: {record.fault or 'lines must end with a line feed'}")
    if "\0" in record.text:
        raise CorruptFileError("no readable header: NUL bytes, as of another encoding")
    if not dialect.has_header:
        return column_names([""] * len(record.fields)), 0
    return column_names(record.fields), record.line + record.text.count("\n")


def csv_columns(lines: Sequence[bytes], dialect: CsvDialect, *, is_whole: bool, infers: bool) -> tuple[Column, ...]:
    """Return the columns of a CSV file; all of type `string` unless they are to be inferred from the lines given."""
    header = csv_header(lines, dialect, is_whole=is_whole)
    if header is None:
        return ()
    names, skipped = header
    if not infers:
        return tuple(Column(name, "string") for name in names)
    sample = [
        record.fields
        for record in _first(csv_records(lines, dialect, is_whole=is_whole), 1 + _SAMPLE_VALUES // max(1, len(names)))
        if len(record.fields) == len(names)
    ][1 if skipped else 0 :]
    return tuple(
        Column(name, infer_type(row[place] for row in sample)) for place, name in enumerate(names)
    )  # fmt: skip


def _first(records: Iterable[Record], rows: int) -> list[Record]:
    return [record for record, _ in zip(records, range(min(rows, SAMPLE_ROWS)), strict=False)]


def json_columns(lines: Iterable[bytes], *, infers: bool) -> tuple[Column, ...]:
    """Return the fields of the objects in the lines given, in order of appearance.

    They have the types of their values, or all of them `string` where types are not to be inferred.
    """
    objects = [found for line in islice(lines, SAMPLE_ROWS) if isinstance(found := _parsed(line), dict)]
    named = (name for found in objects for name in found if name and name not in RESERVED)
    names = [name for name in dict.fromkeys(named) if name.encode(errors="ignore").decode() == name]
    if not infers:
        return tuple(Column(name, "string") for name in names)
    return tuple(Column(name, _json_type([found[name] for found in objects if name in found])) for name in names)


def json_has_only(start: bytes, names: Iterable[str]) -> bool:
    """Tell, without parsing, whether all names in the lines of a text of JSON are among those given.

    False where only parsing tells: the names are counted, and so is what looks like the end of one.

    Example:
        >>> json_has_only(b'{"a":1,"b":"x"}', ["a", "b"]), json_has_only(b'{"a":1,"b":"x"}', ["a"])
        (True, False)
    """
    if any(odd in start for odd in (b"\\", b" :", b"\t:", b"\r:")):
        return False
    ends = start.count(b'":')
    return ends == sum(start.count(f'"{name}":'.encode()) for name in names if name.isprintable() and '"' not in name)


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line.decode().removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError):  # the reading says so, with the line
        return None


def _json_type(values: list[Any]) -> str:
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {bool}:
        return "boolean"
    if kinds == {int} and all(-_MAX_LONG <= value < _MAX_LONG for value in values if value is not None):
        return "long"
    if kinds and kinds <= {int, float}:
        return "double"
    if kinds == {str}:
        found = infer_type(values)
        return found if found in ("date", "timestamp", "timestamptz") else "string"
    return "string"


def parquet_columns(file: BinaryIO, *, known: Container[str]) -> tuple[Column, ...]:
    """Return the columns of a Parquet file beside those that are known.

    Raises:
        CorruptFileError: It is not a whole Parquet file, or has columns that no table can hold.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        arrow = pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise CorruptFileError("not a whole Parquet file") from error
    return new_columns(arrow, known=known)


def avro_columns(file: BinaryIO, *, known: Container[str]) -> tuple[Column, ...]:
    """Return the columns of an Avro file beside those that are known.

    Raises:
        CorruptFileError: It is not an Avro file, or has columns that no table can hold.
        UnsupportedError: fastavro is not installed.
    """
    from airflow_provider_lakehouse.core.sources.files.avro import avro_schema

    return new_columns(avro_schema(file), known=known)


def new_columns(arrow: pa.Schema, *, known: Container[str]) -> tuple[Column, ...]:
    """Return the columns of an Arrow schema beside those that are known.

    Raises:
        CorruptFileError: A name stands twice, or one of the columns is of a type that no table can hold.
    """
    if len(set(arrow.names)) < len(arrow.names):
        raise CorruptFileError("two columns of one name")
    return tuple(_column(field) for field in arrow if field.name not in known and field.name not in RESERVED)


def _column(field: pa.Field) -> Column:
    try:
        return Column(field.name, type_of(field.type))
    except (UnsupportedError, InvalidRequestError) as error:
        raise CorruptFileError(f"a column of a type that no table can hold: {field.type}") from error


def merge_columns(files: Iterable[Iterable[Column]]) -> tuple[Column, ...]:
    """Return the columns of several files together.

    A column whose types do not agree gets one that holds all of them, or `string`.

    Example:
        >>> merged = merge_columns([[Column("a", "int")], [Column("a", "long"), Column("b", "date")]])
        >>> [(column.name, column.type) for column in merged]
        [('a', 'long'), ('b', 'date')]
    """
    types: dict[str, str] = {}
    for columns in files:
        for column in columns:
            types[column.name] = _wider(types.get(column.name, column.type), column.type)
    return tuple(Column(name, type_) for name, type_ in types.items())


def _wider(one: str, other: str) -> str:
    if is_widening(one, other):
        return other
    if is_widening(other, one):
        return one
    numbers = {"int", "long", "float", "double"}
    return "double" if {one, other} <= numbers else "string"
