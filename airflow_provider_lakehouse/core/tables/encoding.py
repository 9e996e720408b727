"""Values that are what their type says: Arrow takes texts that are not UTF-8 as they come, and nobody who reads the table does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.errors import DataRejectedError

if TYPE_CHECKING:
    import pyarrow as pa


def in_utf8(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch as it is, once its texts are known to be UTF-8 and its decimals to have no digit too many.

    Raises:
        DataRejectedError: They are not.
    """
    import pyarrow as pa

    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        broken = tuple(
            name for name, column in zip(batch.schema.names, batch.columns, strict=True) if _is_broken(column)
        )
        raise DataRejectedError(
            "A column holds texts that are not UTF-8, or decimals with more digits than its type. Correct them in the source.",
            columns=broken,
        ) from error
    return batch


def _is_broken(column: pa.Array) -> bool:
    import pyarrow as pa

    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return True
    return False
