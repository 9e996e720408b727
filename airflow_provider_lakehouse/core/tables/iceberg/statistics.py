"""What a Parquet footer says, in the form in which Iceberg keeps it, and back.

Bounds are taken from the raw values of the footer, so that instants outside of Python's calendar are kept as well.
Source: Apache Iceberg table specification, appendix D, "Single-value serialization".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from airflow_provider_lakehouse.core.tables.filters import Bounds

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow.parquet as pq
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema as IcebergSchema
    from pyiceberg.types import IcebergType, NestedField, PrimitiveType

_EPOCH_DAY: Final = date(1970, 1, 1)
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001
_INT_BYTES: Final = 4


@dataclass
class FileStatistics:
    """Statistics of one data file by field id, named as Iceberg names them."""

    column_sizes: dict[int, int] = field(default_factory=dict)
    value_counts: dict[int, int] = field(default_factory=dict)
    null_value_counts: dict[int, int] = field(default_factory=dict)
    lower_bounds: dict[int, bytes] = field(default_factory=dict)
    upper_bounds: dict[int, bytes] = field(default_factory=dict)
    split_offsets: list[int] = field(default_factory=list)


def statistics_of(footer: pq.FileMetaData, schema: IcebergSchema, properties: Mapping[str, str]) -> FileStatistics:
    """Read a footer.

    Args:
        footer: Of a file written with `schema`.
        schema: Columns with their field ids.
        properties: The table's; `write.metadata.metrics.*` decides what is kept of which column.
    """
    from pyiceberg.io.pyarrow import compute_statistics_plan, parquet_path_to_id_mapping

    ids = parquet_path_to_id_mapping(schema)
    plan = compute_statistics_plan(schema, dict(properties))
    result = FileStatistics()
    columns = [
        _Column(ids[footer.schema.column(i).path], plan[ids[footer.schema.column(i).path]])
        for i in range(footer.num_columns)
    ]
    for index in range(footer.num_row_groups):
        group = footer.row_group(index)
        result.split_offsets.append(_start(group.column(0)))
        for place, column in enumerate(columns):
            column.add(group.column(place))
    for column in columns:
        column.report(result)
    result.split_offsets.sort()
    return result


def _start(chunk: pq.ColumnChunkMetaData) -> int:
    if chunk.has_dictionary_page and chunk.dictionary_page_offset < chunk.data_page_offset:
        return int(chunk.dictionary_page_offset)
    return int(chunk.data_page_offset)


class _Column:
    """Statistics of one leaf column, gathered over row groups."""

    def __init__(self, field_id: int, plan: Any) -> None:  # noqa: ANN401
        self.field_id = field_id
        self.kind: PrimitiveType = plan.iceberg_type
        self.mode: str = plan.mode.type.value
        self.length: int | None = plan.mode.length
        self.size_bytes = 0
        self.values = 0
        self.nulls: int | None = 0
        self.lower: Any = None
        self.upper: Any = None
        self.bounded = self.mode in ("truncate", "full")

    def add(self, chunk: pq.ColumnChunkMetaData) -> None:
        self.size_bytes += chunk.total_compressed_size
        self.values += chunk.num_values
        statistics = chunk.statistics if chunk.is_stats_set else None
        if statistics is None or not statistics.has_null_count:
            self.nulls = None
        elif self.nulls is not None:
            self.nulls += statistics.null_count
        if statistics is not None and statistics.has_min_max:
            lower, upper = comparable(self.kind, statistics.min_raw), comparable(self.kind, statistics.max_raw)
            self.lower = lower if self.lower is None else min(self.lower, lower)
            self.upper = upper if self.upper is None else max(self.upper, upper)
        elif statistics is None or statistics.null_count != chunk.num_values:
            self.bounded = False

    def report(self, result: FileStatistics) -> None:
        result.column_sizes[self.field_id] = self.size_bytes
        if self.mode == "none":
            return
        result.value_counts[self.field_id] = self.values
        if self.nulls is not None:
            result.null_value_counts[self.field_id] = self.nulls
        if self.bounded and self.lower is not None:
            result.lower_bounds[self.field_id] = self._serialized(self._cut_lower())
            if (upper := self._cut_upper()) is not None:
                result.upper_bounds[self.field_id] = self._serialized(upper)

    def _cut_lower(self) -> Any:  # noqa: ANN401
        return self.lower[: self.length] if self.length and isinstance(self.lower, str | bytes) else self.lower

    def _cut_upper(self) -> Any:  # noqa: ANN401
        from pyiceberg.types import BinaryType
        from pyiceberg.utils.truncate import truncate_upper_bound_binary_string, truncate_upper_bound_text_string

        if isinstance(self.upper, str):
            return truncate_upper_bound_text_string(self.upper, self.length)
        if isinstance(self.upper, bytes) and isinstance(self.kind, BinaryType):
            return truncate_upper_bound_binary_string(self.upper, self.length)
        return self.upper

    def _serialized(self, value: Any) -> bytes:  # noqa: ANN401
        from pyiceberg.conversions import to_bytes
        from pyiceberg.types import DecimalType, FixedType, UUIDType

        if isinstance(self.kind, DecimalType):
            return int(value).to_bytes((int(value).bit_length() + 8) // 8, "big", signed=True)
        return value if isinstance(self.kind, UUIDType | FixedType) else to_bytes(self.kind, value)


def comparable(kind: PrimitiveType, raw: Any) -> Any:  # noqa: ANN401
    """Return a raw value of a footer as it compares and serializes: decimals unscaled, instants as numbers."""
    from pyiceberg.types import DecimalType, StringType

    if isinstance(kind, DecimalType):
        return raw if isinstance(raw, int) else int.from_bytes(raw, "big", signed=True)
    if isinstance(kind, StringType):
        return raw.decode("utf-8") if isinstance(raw, bytes) else raw
    return raw


def primitive_fields(schema: IcebergSchema) -> dict[str, NestedField]:
    """Return the columns that can have bounds, by name."""
    return {field.name: field for field in schema.fields if field.field_type.is_primitive}


class FileBounds(Mapping[str, Bounds]):
    """Statistics of a data file by column name, read when asked for."""

    def __init__(self, file: DataFile, fields: Mapping[str, NestedField]) -> None:
        self._file = file
        self._fields = fields

    def __len__(self) -> int:
        """Return the number of columns that have statistics."""
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[str]:
        """Yield the columns that have statistics."""
        counts = self._file.value_counts or {}
        return (name for name, f in self._fields.items() if f.field_id in counts)

    def __getitem__(self, name: str) -> Bounds:
        """Return what is known of a column."""
        field_ = self._fields[name]
        if field_.field_id not in (self._file.value_counts or {}):
            raise KeyError(name)
        return Bounds(
            lower=bound_value(field_.field_type, (self._file.lower_bounds or {}).get(field_.field_id)),
            upper=bound_value(field_.field_type, (self._file.upper_bounds or {}).get(field_.field_id)),
            nulls=(self._file.null_value_counts or {}).get(field_.field_id),
            rows=self._file.record_count,
        )


def bound_value(kind: IcebergType, value: bytes | None) -> Any:  # noqa: ANN401
    """Return a bound as Python knows it; None where it does not."""
    from pyiceberg.conversions import from_bytes
    from pyiceberg.types import DecimalType, DoubleType, FixedType, LongType, UUIDType

    if value is None:
        return None
    if isinstance(kind, DecimalType):
        return Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-kind.scale)
    if isinstance(kind, UUIDType | FixedType):
        return value
    if isinstance(kind, LongType) and len(value) == _INT_BYTES:  # written before the column was widened
        return struct.unpack("<i", value)[0]
    if isinstance(kind, DoubleType) and len(value) == _INT_BYTES:
        return struct.unpack("<f", value)[0]
    try:
        return _logical(kind, from_bytes(cast("PrimitiveType", kind), value))
    except (OverflowError, ValueError):
        return None


def _logical(kind: IcebergType, value: Any) -> Any:  # noqa: ANN401
    from pyiceberg.types import DateType, TimestampType, TimestamptzType, TimeType

    if isinstance(kind, DateType):
        return _EPOCH_DAY + timedelta(days=value)
    if isinstance(kind, TimestampType):
        return _EPOCH + timedelta(microseconds=value)
    if isinstance(kind, TimestamptzType):
        return _EPOCH.replace(tzinfo=UTC) + timedelta(microseconds=value)
    if isinstance(kind, TimeType):
        return (_EPOCH + timedelta(microseconds=value)).time() if value else time()
    return value
