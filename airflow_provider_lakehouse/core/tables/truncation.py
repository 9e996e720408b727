"""Numbers that no truncation rounds down: those within one width of the least their type holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.errors import DataRejectedError

if TYPE_CHECKING:
    import pyarrow as pa


def refuse_low_partitions(array: pa.Array, column: str, *, width: int) -> None:
    """Check that values can be rounded down to a multiple of a width within their type.

    Iceberg truncates downwards. Below the least number of the type an integer wraps around to a partition at the other
    end, where no reader with a condition looks for it, and a decimal needs a digit more than the type has.

    Args:
        array: Values of a partition column; of other types than integers and decimals nothing is checked.
        column: Its name, for the message.
        width: Of the truncation; of a decimal in units of its last digit.

    Raises:
        DataRejectedError: A value cannot be rounded down.
    """
    import pyarrow.compute as pc
    import pyarrow.types as t

    if t.is_signed_integer(array.type):
        least, scale = -(2 ** (array.type.bit_width - 1)), 0
    elif t.is_decimal(array.type):
        least, scale = 1 - 10**array.type.precision, array.type.scale
    else:
        return
    lowest = pc.min(array).as_py()
    if lowest is None:
        return
    unscaled = int(f"{lowest:f}".replace(".", "")) if scale else int(lowest)
    if unscaled - unscaled % width < least:
        raise DataRejectedError(
            f"Partition column {column!r} has values that cannot be rounded down to a multiple of {width} in their type. "
            "Partition by another transform, or correct them.",
            column=column,
        )
