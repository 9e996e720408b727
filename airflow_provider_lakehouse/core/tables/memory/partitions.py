"""Partition values by Iceberg's transforms, row by row: slow, plain, and the same as the other backends'.

Source: Apache Iceberg table specification, section "Partition Transforms" and appendix B, "32-bit Hash Requirements"
(Murmur3, x86 variant, seed 0).
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from airflow_provider_lakehouse.core.tables.spec import PartitionField, TableSpec

_MASK: Final = 0xFFFFFFFF
_LARGEST: Final = 0x7FFFFFFF


def partition_keys(rows: pa.Table, spec: TableSpec) -> list[tuple[object, ...]]:
    """Return the partition of every row, in their order."""
    return list(zip(*(_values(rows, part) for part in spec.partition_fields), strict=True))


def _values(rows: pa.Table, part: PartitionField) -> list[object]:
    array = rows.column(part.column)
    if part.transform in _INSTANTS:
        return _INSTANTS[part.transform](array)
    change = _BY_VALUE[part.transform]
    return [None if value is None else change(value, part.parameter) for value in _plain(array)]


def _plain(array: pa.ChunkedArray) -> list[Any]:
    """Return values as Python's; instants and dates as numbers, because they may lie outside of Python's years."""
    import pyarrow as pa
    import pyarrow.types as t

    if t.is_date(array.type):
        array = array.cast(pa.int32())
    elif t.is_timestamp(array.type) or t.is_time(array.type):
        array = array.cast(pa.int64())
    values: list[Any] = array.to_pylist()
    return values


def _calendar(array: pa.ChunkedArray, unit: str) -> list[object]:
    import pyarrow.compute as pc

    years: list[object] = pc.year(array).to_pylist()
    if unit == "year":
        return years
    return list(zip(years, pc.month(array).to_pylist(), strict=True))


def _days(array: pa.ChunkedArray) -> list[object]:
    import pyarrow.types as t

    per_day = 1 if t.is_date(array.type) else 86_400_000_000
    return [None if value is None else value // per_day for value in _plain(array)]


def _hours(array: pa.ChunkedArray) -> list[object]:
    return [None if value is None else value // 3_600_000_000 for value in _plain(array)]


def _truncated(value: Any, width: int) -> object:  # noqa: ANN401
    if isinstance(value, Decimal):
        digits = _unscaled(value)
        return digits - digits % width
    return value - value % width if isinstance(value, int) else value[:width]


def _unscaled(value: Decimal) -> int:
    sign, digits, _ = value.as_tuple()  # arithmetic would round to the precision of the context
    number = int("".join(map(str, digits)))
    return -number if sign else number


def bucket_of(value: Any, buckets: int) -> int:  # noqa: ANN401
    """Return the bucket of a value.

    Example:
        >>> bucket_of(34, 2**31 - 1), bucket_of("iceberg", 2**31 - 1)
        (2017239379, 1210000089)
    """
    return (_murmur3(_bytes(value)) & _LARGEST) % buckets


def _bytes(value: Any) -> bytes:  # noqa: ANN401
    if isinstance(value, int):
        return value.to_bytes(8, "little", signed=True)
    if isinstance(value, Decimal):
        digits = _unscaled(value)
        return digits.to_bytes((digits + (digits < 0)).bit_length() // 8 + 1, "big", signed=True)
    if isinstance(value, str):
        return value.encode()
    content: bytes = getattr(value, "bytes", value)
    return content


def _murmur3(data: bytes) -> int:
    state = 0
    whole = len(data) - len(data) % 4
    for start in range(0, whole, 4):
        state ^= _scrambled(int.from_bytes(data[start : start + 4], "little"))
        state = (_rotated(state, 13) * 5 + 0xE6546B64) & _MASK
    if whole < len(data):
        state ^= _scrambled(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    state = ((state ^ (state >> 16)) * 0x85EBCA6B) & _MASK
    state = ((state ^ (state >> 13)) * 0xC2B2AE35) & _MASK
    return state ^ (state >> 16)


def _scrambled(block: int) -> int:
    return (_rotated((block * 0xCC9E2D51) & _MASK, 15) * 0x1B873593) & _MASK


def _rotated(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & _MASK


_INSTANTS: Final[dict[str, Callable[[Any], list[object]]]] = {
    "year": lambda array: _calendar(array, "year"),
    "month": lambda array: _calendar(array, "month"),
    "day": _days,
    "hour": _hours,
}
_BY_VALUE: Final[dict[str, Callable[[Any, Any], object]]] = {
    "identity": lambda value, _: value,
    "truncate": _truncated,
    "bucket": bucket_of,
}
