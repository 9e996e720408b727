"""Show a table to DuckDB so that it asks for the columns and rows it needs, and no others."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.tables.abilities import Addressing
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN
from airflow_provider_lakehouse.core.tables.filters import Comparison

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    from airflow_provider_lakehouse.core.engines.base import TableView
    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.tables.filters import Filter

_OPERATORS: Final = {"==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_ATOM: Final = re.compile(r'\((\w+) (==|!=|<=|>=|<|>) ("[^"\\]*"|[^\s()"]+(?: [0-9:.]+Z?)?)\)')
_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "int": int, "long": int, "date": date.fromisoformat, "string": lambda t: t[1:-1],
    "timestamptz": lambda t: datetime.fromisoformat(t if t.endswith("Z") else ""),
}  # fmt: skip


def scan_of(view: TableView, schema: Schema, note_failure: Callable[[BaseException], None]) -> ds.Dataset:
    """Return a table as an Arrow dataset that reads only when, and what, it is asked for.

    Args:
        view: The table.
        schema: Its columns.
        note_failure: Told what goes wrong while the table is read.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    arrow = schema.to_arrow()
    if view.addressed:
        arrow = arrow.append(pa.field(FILE_COLUMN, pa.string())).append(pa.field(POSITION_COLUMN, pa.int64()))

    class TableScan(ds.Dataset):  # type: ignore[misc]
        """Answers the two questions that DuckDB asks of a dataset."""

        def __init__(self) -> None:
            """Hold nothing: Arrow's own constructor wants files."""

        @property
        def schema(self) -> pa.Schema:
            """The columns."""
            return arrow

        def scanner(
            self,
            columns: list[str] | None = None,
            filter: pc.Expression | None = None,  # noqa: A002
            **_: object,
        ) -> ds.Scanner:
            """Read `columns` of the rows that satisfy `filter`."""
            wanted = list(arrow.names if columns is None else columns)
            needed = wanted + [n for n in arrow.names if n not in wanted and filter is not None and n in str(filter)]
            pushed = read_filter(str(filter), schema) if filter is not None else ()
            rows = _read(view, tuple(needed), view.where + pushed)
            return _scanner(watched(rows, note_failure), rows.schema, wanted, filter)

    return TableScan()


def _read(view: TableView, columns: tuple[str, ...], where: Filter) -> pa.RecordBatchReader:
    stored = tuple(name for name in columns if not (view.addressed and name in (FILE_COLUMN, POSITION_COLUMN)))
    if len(stored) < len(columns):
        table = require(view.table, Addressing, purpose="to tell where rows are")
        return table.read_addressed(columns=stored, where=where, at=view.at)
    return view.table.read(columns=stored, where=where, at=view.at)


def _scanner(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, wanted: list[str], condition: pc.Expression | None
) -> ds.Scanner:
    """Keep the rows that satisfy a condition in SQL's sense, in which NaN is above every number."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    floats = [f.name for f in schema if condition is not None and pa.types.is_floating(f.type)]
    columns: dict[str, Any] = {name: ds.field(f"kept {name}" if name in floats else name) for name in wanted}
    if floats:
        fields = [pa.field(f"kept {name}", schema.field(name).type) for name in floats]
        batches, schema = (_without_nan(batch, floats) for batch in batches), pa.schema([*schema, *fields])
    reader = pa.RecordBatchReader.from_batches(schema, batches)
    return ds.Scanner.from_batches(reader, columns=columns, filter=condition, use_threads=False)


def _without_nan(batch: pa.RecordBatch, names: list[str]) -> pa.RecordBatch:
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in names:
        values = batch.column(name)
        infinity = pa.scalar(float("inf"), values.type)
        batch = batch.append_column(f"kept {name}", values)
        replaced = pc.if_else(pc.is_nan(values), infinity, values)
        batch = batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), replaced)
    return batch


def read_filter(expression: str, schema: Schema) -> Filter:
    """Read those conditions of an Arrow expression that a table understands, so that it can leave out files.

    Only a chain of `and` is read, and of it only comparisons of plainly named columns with plain values. What is not
    understood is left out, which is safe: the whole expression is applied to the rows afterwards.

    Args:
        expression: An Arrow expression as text.
        schema: Columns of the table.

    Example:
        >>> from airflow_provider_lakehouse.core.schema import Column, Schema
        >>> schema = Schema.of(Column("n", "long"), Column("s", "string"))
        >>> read_filter('((n >= 3) and (s == "a"))', schema)
        (Comparison(column='n', operator='>=', value=3), Comparison(column='s', operator='=', value='a'))
        >>> read_filter('((n >= 3) or (s == "a"))', schema)
        ()
    """
    atoms = list(_ATOM.finditer(expression))
    rest = _ATOM.sub("", expression)
    if rest.replace(" and ", "").strip("()"):
        return ()
    found = (_comparison(atom[1], atom[2], atom[3], schema) for atom in atoms)
    return tuple(comparison for comparison in found if comparison is not None)


def _comparison(name: str, operator: str, value: str, schema: Schema) -> Comparison | None:
    column = schema.by_name.get(name)
    reads = _READERS.get(column.type.partition("(")[0]) if column is not None else None
    if column is not None and column.type.startswith("decimal"):
        reads = Decimal
    if reads is None:
        return None
    try:
        return Comparison(name, _OPERATORS[operator], reads(value))  # type: ignore[arg-type]
    except (ValueError, ArithmeticError):
        return None


def watched(
    batches: Iterable[pa.RecordBatch], note_failure: Callable[[BaseException], None]
) -> Iterator[pa.RecordBatch]:
    """Pass batches on, and tell what goes wrong between them."""
    try:
        yield from batches
    except GeneratorExit:
        raise
    except BaseException as failure:
        note_failure(failure)
        raise


def in_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch that DuckDB gave in the schema it stands for: same columns, other names for the same types."""
    if batch.schema.equals(schema):
        return batch
    renamed = batch.rename_columns(schema.names)
    return renamed.cast(schema) if not renamed.schema.equals(schema) else renamed
