"""Instants outside of the years 1 to 9999: columns hold them, partitions named by them do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import DataRejectedError

if TYPE_CHECKING:
    import pyarrow as pa

_FIRST_DAY: Final = -719_162
_LAST_DAY: Final = 2_932_896
_MICROSECONDS: Final = 86_400_000_000


def refuse_far_partitions(array: pa.Array, column: str) -> None:
    """Check that dates and instants that name partitions can be written down.

    Args:
        array: Values of a partition column as they are; of other types than dates and instants nothing is checked.
        column: Its name, for the message.

    Raises:
        DataRejectedError: A value lies before the year 1 or after 9999.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as t

    if t.is_date32(array.type):
        numbers, first, last = array.cast(pa.int32()), _FIRST_DAY, _LAST_DAY
    elif t.is_timestamp(array.type) and array.type.unit == "us":
        numbers, first, last = array.cast(pa.int64()), _FIRST_DAY * _MICROSECONDS, (_LAST_DAY + 1) * _MICROSECONDS - 1
    else:
        return
    bounds = pc.min_max(numbers)
    lower, upper = bounds["min"].as_py(), bounds["max"].as_py()
    if lower is not None and (lower < first or upper > last):
        raise DataRejectedError(
            f"Partition column {column!r} has values outside of the years 1 to 9999. Partition by another transform, "
            "or correct them.",
            column=column,
        )
