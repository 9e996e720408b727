"""Turn what a driver gives, rows or Arrow, into batches of the planned columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow_provider_lakehouse.core.errors import DataRejectedError, UnsupportedError
from airflow_provider_lakehouse.core.sources.base import SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN, RejectedRow
from airflow_provider_lakehouse.core.sources.dbapi.drivers import ArrowResult
from airflow_provider_lakehouse.core.sources.dbapi.values import as_json, to_arrow
from airflow_provider_lakehouse.core.types import MAX_DECIMAL_PRECISION, arrow_type, is_widening, parse_type, type_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from airflow_provider_lakehouse.core.sources.dbapi.drivers import RowResult
    from airflow_provider_lakehouse.core.sources.dbapi.values import Converted

BATCH_BYTES: Final = 4 * 1024 * 1024
"""About how much Arrow a batch of rows is; Arrow drivers cut their own batches."""
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31, counted from 1970-01-01
_DAY_MICROSECONDS: Final = 86_400_000_000
_HUGEINT: Final = "hugeint"  # DuckDB's integer of 128 bits, which is also what its sums are


@dataclass(frozen=True)
class Layout:
    """What batches shall look like.

    Args:
        columns: Name and type of each.
        origin: What `_source_file` says.
        unfit: What becomes of a value that its column's type does not hold.
    """

    columns: tuple[tuple[str, str], ...]
    origin: str
    unfit: Literal["reject", "null"] = "reject"
    schema: pa.Schema = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Build the Arrow schema once."""
        import pyarrow as pa

        fields = [pa.field(name, arrow_type(kind)) for name, kind in self.columns]
        fields += [pa.field(SOURCE_FILE_COLUMN, pa.string(), nullable=False), pa.field(SOURCE_ROW_COLUMN, pa.int64())]
        object.__setattr__(self, "schema", pa.schema(fields))


@dataclass(frozen=True)
class Decoded:
    """The rows of a batch: those that fit, and those that do not."""

    batch: pa.RecordBatch
    rejected: tuple[RejectedRow, ...] = ()


def decode(result: ArrowResult | RowResult, layout: Layout) -> Iterator[Decoded]:
    """Yield batches of the planned columns.

    Raises:
        DataRejectedError: The columns are not those that were planned.
    """
    if result.names != tuple(name for name, _ in layout.columns):
        raise DataRejectedError(
            f"Columns of {layout.origin!r} changed since the plan was made. Plan anew.", relation=layout.origin
        )
    nodes = [parse_type(kind) for _, kind in layout.columns]
    if isinstance(result, ArrowResult):
        for batch in result.batches():
            found = [
                _of_arrow(array, kind, column=name)
                for array, (name, kind) in zip(batch.columns, layout.columns, strict=True)
            ]
            yield _assembled(found, batch.columns, batch.num_rows, layout)
        return
    while rows := result.fetch():
        values = list(zip(*rows, strict=True))
        decoded = _assembled(
            [to_arrow(column, node) for column, node in zip(values, nodes, strict=True)], values, len(rows), layout
        )
        result.resize(rows=len(rows), size_bytes=decoded.batch.nbytes)
        yield decoded


def _assembled(found: Sequence[Converted], values: Sequence[Any], rows: int, layout: Layout) -> Decoded:
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays = [array for array, _ in found] + [pa.repeat(pa.scalar(layout.origin), rows), pa.nulls(rows, pa.int64())]
    batch = pa.RecordBatch.from_arrays(arrays, schema=layout.schema)
    reasons: dict[int, str] = {}
    for (name, kind), (_, unfit) in zip(layout.columns, found, strict=True):
        for row in unfit:
            reasons.setdefault(row, f"{name}: not a {kind}")
    if not reasons or layout.unfit == "null":
        return Decoded(batch)
    names = [name for name, _ in layout.columns]
    rejected = tuple(
        RejectedRow(reasons[row], layout.origin, None, as_json(dict(zip(names, _row(values, row), strict=True))))
        for row in sorted(reasons)
    )
    is_fit = pc.invert(pc.is_in(pa.array(range(rows), pa.int64()), value_set=pa.array(sorted(reasons), pa.int64())))
    return Decoded(batch.filter(is_fit), rejected)


def _row(values: Sequence[Any], row: int) -> list[Any]:
    return [_python_value(column[row]) if hasattr(column[row], "as_py") else column[row] for column in values]


def _python_value(scalar: pa.Scalar[Any]) -> Any:  # noqa: ANN401
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):  # a date that Python does not know
        return getattr(scalar, "value", None)


def column_type(arrow: pa.DataType, *, column: str) -> str:
    """Return the type that holds every value of an Arrow column as drivers give it.

    Raises:
        UnsupportedError: There is none, or only the database knows what the bytes mean.
    """
    import pyarrow as pa

    match getattr(arrow, "extension_name", ""):
        case "arrow.bool8":
            return "boolean"
        case "arrow.opaque" if arrow.type_name == _HUGEINT:
            return f"decimal({MAX_DECIMAL_PRECISION},0)"
        case "arrow.opaque" if not pa.types.is_string(arrow.storage_type):
            raise UnsupportedError(
                f"Column {column!r} is of a type that only its database can read. Cast it in a query.",
                column=column,
                type=arrow.type_name,
            )
    return type_of(arrow)


def _of_arrow(array: pa.Array[Any], kind: str, *, column: str) -> Converted:
    """Return an Arrow array in the type of a column, and the numbers of values that do not fit it."""
    target = arrow_type(kind)
    unfit: set[int] = set()
    storage = _storage(array, target)
    if getattr(storage.type, "unit", "") == "ns":
        storage, unfit = _in_microseconds(storage)
    if getattr(array.type, "type_name", "") == _HUGEINT:
        numbers = [
            None if value is None else int.from_bytes(value, "little", signed=True) for value in storage.to_pylist()
        ]
        return to_arrow(numbers, parse_type(kind))
    if not is_widening(column_type(array.type, column=column), kind):
        converted, more = to_arrow(storage.to_pylist(), parse_type(kind))
        return converted, sorted(unfit.union(more))
    converted = storage if storage.type == target else storage.cast(target)
    converted, outside = _within_years(converted)
    return converted, sorted(unfit | outside)


def _storage(array: pa.Array[Any], target: pa.DataType) -> pa.Array[Any]:
    """Take an extension type off that the target does not have."""
    import pyarrow as pa

    if not isinstance(array, pa.ExtensionArray) or array.type == target:
        return array
    return array.storage.cast(pa.bool_()) if array.type.extension_name == "arrow.bool8" else array.storage


def _in_microseconds(array: pa.Array[Any]) -> tuple[pa.Array[Any], set[int]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    coarse = pa.time64("us") if pa.types.is_time(array.type) else pa.timestamp("us", tz=array.type.tz)
    cut = array.cast(coarse, safe=False)
    return _without(cut, pc.not_equal(cut.cast(array.type, safe=False), array))


def _within_years(array: pa.Array[Any]) -> tuple[pa.Array[Any], set[int]]:
    """Take out dates and instants outside the years 1 to 9999, infinite ones among them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(array.type):
        numbers, first, end = (
            array.cast(pa.int64()),
            _FIRST_DAY * _DAY_MICROSECONDS,
            (_LAST_DAY + 1) * _DAY_MICROSECONDS,
        )
    elif pa.types.is_date(array.type):
        numbers, first, end = array.cast(pa.int32()), _FIRST_DAY, _LAST_DAY + 1
    else:
        return array, set()
    return _without(array, pc.or_(pc.less(numbers, first), pc.greater_equal(numbers, end)))


def _without(array: pa.Array[Any], mask: pa.BooleanArray) -> tuple[pa.Array[Any], set[int]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = pc.fill_null(mask, fill_value=False)
    if not pc.any(mask).as_py():
        return array, set()
    return pc.if_else(mask, pa.scalar(None, array.type), array), set(pc.indices_nonzero(mask).to_pylist())
