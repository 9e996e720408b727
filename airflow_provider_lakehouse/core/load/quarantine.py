"""Keep refused rows where people can look at them: a table of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import Change
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    import pyarrow as pa

    from airflow_provider_lakehouse.core.sources.base import Rejects
    from airflow_provider_lakehouse.core.tables.base import CommitResult, Table, WriteToken

QUARANTINE: Final = "quarantine"
"""Part of the token under which refused rows are written: `token.derive(QUARANTINE)`."""
_SCHEMA: Final = Schema.of(
    Column("reason", "string", nullable=False, comment="Why the row was refused: short, stable, without values"),
    Column("source_file", "string", comment="Where it came from"),
    Column("source_row", "long", comment="Which row there, counted from 1"),
    Column("payload", "string", comment="The row as it was found"),
    Column("pipeline", "string", nullable=False, comment="Who was loading"),
    Column("batch", "string", nullable=False, comment="What was being loaded"),
    Column("rejected_at", "timestamptz", nullable=False, comment="When the batch was loaded"),
)
_BATCH_ROWS: Final = 10_000


def quarantine_spec() -> TableSpec:
    """Return what a table for refused rows looks like.

    Example:
        >>> quarantine_spec().schema.names[:2]
        ('reason', 'source_file')
    """
    return TableSpec(_SCHEMA, comment="Rows that loads refused, with the reason")


def write_rejects(table: Table, rejects: Rejects, *, token: WriteToken, now: datetime) -> CommitResult | None:
    """Write refused rows in one commit.

    Args:
        table: A table made by `quarantine_spec`; created where it is not there.
        rejects: The rows.
        token: Names the write; derive it from the token of the load with the part `QUARANTINE`.
        now: Instant of the load, timezone-aware.

    Returns:
        What was written, None when there is nothing to write.

    Raises:
        OutcomeUnknownError: The answer to the commit was lost. Rerun with the same token.

    Guarantees:
        Replay: the same token twice writes once.
    """
    if not rejects.rows:
        return None
    table.create(quarantine_spec())
    if (known := table.find(token)) is not None:
        return known
    return table.commit(Change(rows=_reader(rejects, token, now)), token=token)


def _reader(rejects: Rejects, token: WriteToken, now: datetime) -> pa.RecordBatchReader:
    import pyarrow as pa

    schema = _SCHEMA.to_arrow()

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(rejects.rows), _BATCH_ROWS):
            part = rejects.rows[start : start + _BATCH_ROWS]
            columns = [
                [row.reason for row in part],
                [row.source_file or None for row in part],
                [row.source_row for row in part],
                [row.payload for row in part],
                [token.pipeline.partition("#")[0]] * len(part),
                [str(token.batch)] * len(part),
                [now] * len(part),
            ]
            arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())
