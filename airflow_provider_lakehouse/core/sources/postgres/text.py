r"""Turn the text of PostgreSQL's COPY into Arrow, a block of whole rows at a time.

In this text a row is a line and a column ends with a tab; line ends, tabs and backslashes of a value are escaped, and
`\N` is null. So a block is cut into columns without looking for quotes, and an empty string is never taken for a null.
Source: PostgreSQL documentation, COPY, "Text Format", and "Array Input and Output Syntax".
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow_provider_lakehouse.core.errors import DamagedError, DataRejectedError
from airflow_provider_lakehouse.core.sources.base import SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN, RejectedRow
from airflow_provider_lakehouse.core.types import arrow_type, parse_type

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from airflow_provider_lakehouse.core.sources.postgres.types import SourceColumn
    from airflow_provider_lakehouse.core.types import TypeNode

    Converted = tuple[pa.Array[Any], pa.BooleanArray | None]

# What Arrow reads; the rest of what PostgreSQL writes for the type does not fit it.
_FITS: Final = {
    "date": r"^\d{4}-\d\d-\d\d$",
    "timestamp": r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?$",
    "timestamptz": r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00$",
    "time": r"^([01]\d|2[0-3]):",
    "decimal": r"^-?\d",
}
_REASONS: Final = {
    "date": "not within the years 1 to 9999",
    "timestamp": "not within the years 1 to 9999",
    "timestamptz": "not within the years 1 to 9999",
    "time": "24:00:00 is not a time of day",
    "decimal": "not a number",
}
_NOT_ONE_DIMENSION: Final = "not an array of one dimension counted from 1"
_ELEMENT: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([^",{}]+)', re.DOTALL)
_UUID_DIGITS: Final = 32


@dataclass(frozen=True)
class TextLayout:
    """How to read a block.

    Args:
        columns: In the order of the text.
        origin: What `_source_file` says.
        unfit: What becomes of a value that its column type does not hold: the row is rejected, or the value is null.
    """

    columns: tuple[SourceColumn, ...]
    origin: str
    unfit: Literal["reject", "null"] = "reject"
    schema: pa.Schema = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Build the Arrow schema once."""
        import pyarrow as pa

        fields = [pa.field(c.name, arrow_type(c.type), nullable=self._may_be_null(c)) for c in self.columns]
        fields += [pa.field(SOURCE_FILE_COLUMN, pa.string(), nullable=False), pa.field(SOURCE_ROW_COLUMN, pa.int64())]
        object.__setattr__(self, "schema", pa.schema(fields))

    def _may_be_null(self, column: SourceColumn) -> bool:
        return column.nullable or (self.unfit == "null" and column.may_be_unfit)


@dataclass(frozen=True)
class DecodedBlock:
    """The rows of a block: those that fit, and those that do not."""

    batch: pa.RecordBatch
    rejected: tuple[RejectedRow, ...] = ()


def decode_block(text: bytes | bytearray, *, rows: int, layout: TextLayout) -> DecodedBlock:
    """Read a block of COPY text.

    Args:
        text: Whole rows.
        rows: How many; the server sends each in a message of its own, so the number is known without parsing.
        layout: Columns, and what becomes of values that do not fit.

    Raises:
        DataRejectedError: The text is not UTF-8, or there are nulls where the catalog forbids them.
        DamagedError: The text is not what PostgreSQL promises to send.
    """
    import pyarrow as pa

    cells = _cells(text, rows=rows, columns=len(layout.columns), origin=layout.origin)
    arrays: list[pa.Array[Any]] = []
    unfit: list[tuple[SourceColumn, pa.BooleanArray]] = []
    for column, cell in zip(layout.columns, cells, strict=True):
        array, mask = _convert(cell, parse_type(column.type), column)
        arrays.append(array)
        if mask is not None:
            unfit.append((column, mask))
    arrays += [pa.repeat(pa.scalar(layout.origin), rows), pa.nulls(rows, pa.int64())]
    batch = pa.RecordBatch.from_arrays(arrays, schema=layout.schema)
    decoded = DecodedBlock(batch)
    if unfit and layout.unfit == "reject":
        decoded = _without_unfit(batch, cells, unfit, layout)
    _refuse_nulls(decoded.batch, layout)
    return decoded


def _refuse_nulls(batch: pa.RecordBatch, layout: TextLayout) -> None:
    """Refuse nulls where the catalog forbids them: since PostgreSQL 18 a constraint may be there and not validated."""
    names = [
        f.name for f, array in zip(batch.schema, batch.columns, strict=True) if not f.nullable and array.null_count
    ]
    if names:
        raise DataRejectedError(
            f"Columns of {layout.origin!r} that are declared NOT NULL hold nulls. Validate the constraint.",
            relation=layout.origin,
            columns=tuple(names),
        )


def _cells(text: bytes | bytearray, *, rows: int, columns: int, origin: str) -> list[pa.StringArray]:
    import pyarrow as pa
    from pyarrow import csv

    names = [str(number) for number in range(columns)]
    try:
        table = csv.read_csv(
            pa.BufferReader(pa.py_buffer(text)),
            read_options=csv.ReadOptions(column_names=names, block_size=len(text) + 1, use_threads=False),
            parse_options=csv.ParseOptions(
                delimiter="\t", quote_char=False, double_quote=False, escape_char=False, ignore_empty_lines=False
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), null_values=["\\N"], strings_can_be_null=True
            ),
        )
    except pa.ArrowInvalid:
        raise _unreadable(text, origin) from None  # Arrow's message quotes the row
    if table.num_rows != rows:
        raise DamagedError(
            f"PostgreSQL sent other rows of {origin} than arrived. Report this with the table's definition.",
            relation=origin,
            rows_sent=rows,
            rows_read=table.num_rows,
        )
    cells = [_one_array(column) for column in table.columns]
    # Counts differ unless every backslash belongs to a null.
    has_escapes = b"\\" in text and text.count(b"\\") != text.count(b"\\N")
    return [_unescaped(cell) for cell in cells] if has_escapes else cells


def _one_array(column: pa.ChunkedArray[Any]) -> Any:  # noqa: ANN401
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _unreadable(text: bytes | bytearray, origin: str) -> DataRejectedError | DamagedError:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return DataRejectedError(
            f"Text in {origin} is not UTF-8. Repair it, or select it as bytea with a query.", relation=origin
        )
    return DamagedError(
        f"What PostgreSQL sent of {origin} is not COPY text. Look for a proxy that alters it.", relation=origin
    )


def _unescaped(cell: pa.StringArray) -> pa.StringArray:
    """Undo the escapes. PostgreSQL's text never holds the character zero, so that stands for a backslash meanwhile."""
    import pyarrow.compute as pc

    if not pc.any(pc.match_substring(cell, "\\")).as_py():
        return cell
    escapes = (("\\\\", "\0"), ("\\n", "\n"), ("\\r", "\r"), ("\\t", "\t"), ("\\b", "\b"), ("\\f", "\f"), ("\\v", "\v"))
    for escape, meaning in (*escapes, ("\0", "\\")):
        cell = pc.replace_substring(cell, escape, meaning)
    return cell


def _without_unfit(
    batch: pa.RecordBatch,
    cells: list[pa.StringArray],
    unfit: list[tuple[SourceColumn, pa.BooleanArray]],
    layout: TextLayout,
) -> DecodedBlock:
    import pyarrow.compute as pc

    reasons: dict[int, str] = {}
    for column, mask in unfit:
        for row in pc.indices_nonzero(mask).to_pylist():
            reasons.setdefault(row, f"{column.name}: {_reason(parse_type(column.type))}")
    rejected = tuple(
        RejectedRow(reasons[row], layout.origin, None, _payload(cells, row, layout)) for row in sorted(reasons)
    )
    unusable = unfit[0][1]
    for _, mask in unfit[1:]:
        unusable = pc.or_(unusable, mask)
    return DecodedBlock(batch.filter(pc.invert(unusable)), rejected)


def _payload(cells: list[pa.StringArray], row: int, layout: TextLayout) -> str:
    values = {column.name: cell[row].as_py() for column, cell in zip(layout.columns, cells, strict=True)}
    return json.dumps(values, ensure_ascii=False)


def _reason(node: TypeNode) -> str:
    if node.name != "list":
        return _REASONS[node.name]
    element = node.children[0].name
    return f"{_NOT_ONE_DIMENSION}, or an element is {_REASONS[element]}" if element in _REASONS else _NOT_ONE_DIMENSION


def _convert(cell: pa.StringArray, node: TypeNode, column: SourceColumn) -> Converted:
    """Return the values, and where they do not fit; None when all do."""
    import pyarrow as pa

    converters: dict[str, Callable[[Any], Converted]] = {
        "string": lambda text: (text, None),
        "boolean": _boolean,
        "binary": _binary,
        "uuid": _uuid,
        "list": partial(_list, node=node, column=column),
    }
    convert = converters.get(node.name, partial(_cast, node=node))
    try:
        return convert(cell)
    except (pa.ArrowInvalid, ValueError):
        raise DamagedError(
            f"What PostgreSQL sent for {column.name!r} is not of its type. Report this with the column's type.",
            column=column.name,
            sql_type=column.sql_type,
        ) from None  # Arrow's message quotes the value


def _cast(cell: pa.StringArray, *, node: TypeNode) -> Converted:
    import pyarrow as pa
    import pyarrow.compute as pc

    target = arrow_type(str(node))
    try:
        return _cast_text(cell, target), None
    except pa.ArrowInvalid:
        if node.name not in _FITS:
            raise
    unfit = pc.fill_null(pc.invert(pc.match_substring_regex(cell, _FITS[node.name])), fill_value=False)
    return _cast_text(pc.if_else(unfit, pa.scalar(None, pa.string()), cell), target), unfit


def _cast_text(cell: pa.StringArray, target: pa.DataType) -> pa.Array[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_time(target):
        return pc.cast(cell, target)
    instants = pc.binary_join_element_wise("1970-01-01", cell, " ")  # Arrow reads instants, not times of day
    return pc.cast(pc.cast(instants, pa.timestamp("us")), target)


def _boolean(cell: pa.StringArray) -> Converted:
    import pyarrow.compute as pc

    return pc.equal(cell, "t"), None


def _binary(cell: pa.StringArray) -> Converted:
    r"""Read `\x` and hexadecimal digits: all values at once, since they lie side by side."""
    import pyarrow as pa
    import pyarrow.compute as pc

    digits = pc.fill_null(pc.replace_substring(cell, "\\x", ""), "")
    offsets = pa.Array.from_buffers(pa.int32(), len(digits) + 1, [None, digits.buffers()[1]])
    offsets = pc.divide(offsets, pa.scalar(2, pa.int32()))  # two digits a byte
    data = pa.py_buffer(_from_hex(digits.buffers()[2]))
    array = pa.Array.from_buffers(pa.binary(), len(digits), [None, offsets.buffers()[1], data])
    return _with_nulls_of(cell, array), None


def _uuid(cell: pa.StringArray) -> Converted:
    import pyarrow as pa
    import pyarrow.compute as pc

    digits = pc.fill_null(pc.replace_substring(cell, "-", ""), "0" * _UUID_DIGITS)
    data = pa.py_buffer(_from_hex(digits.buffers()[2]))
    array = pa.Array.from_buffers(pa.binary(_UUID_DIGITS // 2), len(digits), [None, data])
    return pa.ExtensionArray.from_storage(pa.uuid(), _with_nulls_of(cell, array)), None


def _from_hex(digits: pa.Buffer | None) -> bytes:
    return bytes.fromhex(str(memoryview(digits), "ascii")) if digits else b""


def _with_nulls_of(cell: pa.StringArray, array: pa.Array[Any]) -> pa.Array[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.is_valid(cell), array, pa.scalar(None, array.type)) if cell.null_count else array


def _list(cell: pa.StringArray, *, node: TypeNode, column: SourceColumn) -> Converted:
    import pyarrow as pa
    import pyarrow.compute as pc

    unfit = pc.fill_null(pc.match_substring_regex(cell, r"^(\{\{|\[)"), fill_value=False)
    cell = pc.if_else(unfit, pa.scalar(None, pa.string()), cell)
    lists = _lists_of_text(cell)
    elements, unfit_elements = _convert(lists.values, node.children[0], column)
    array = pa.ListArray.from_arrays(lists.offsets, elements, type=pa.list_(elements.type), mask=pc.is_null(cell))
    if unfit_elements is not None:
        rows = pc.list_parent_indices(lists).filter(unfit_elements)
        unfit = pc.or_(unfit, pc.is_in(pa.array(range(len(cell)), pa.int64()), value_set=rows))
        array = pc.if_else(unfit, pa.scalar(None, array.type), array)
    return array, unfit if pc.any(unfit).as_py() else None


def _lists_of_text(cell: pa.StringArray) -> pa.ListArray[Any]:
    """Cut arrays into the text of their elements; rows that are null or `{}` become lists of length 0."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.any(pc.match_substring(cell, '"')).as_py():
        return pa.array([_elements(text) for text in cell.to_pylist()], pa.list_(pa.string()))
    inner = pc.utf8_slice_codeunits(cell, 1, -1)
    inner = pc.if_else(pc.equal(inner, ""), pa.scalar(None, pa.string()), inner)
    lists = pc.split_pattern(inner, ",")
    values = pc.if_else(pc.equal(lists.values, "NULL"), pa.scalar(None, pa.string()), lists.values)
    return pa.ListArray.from_arrays(lists.offsets, values)


def _elements(text: str | None) -> list[str | None]:
    elements: list[str | None] = []
    for found in _ELEMENT.finditer(text or ""):
        quoted, plain = found.groups()
        if plain is None:
            elements.append(re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL))
        else:
            elements.append(None if plain == "NULL" else plain)
    return elements
