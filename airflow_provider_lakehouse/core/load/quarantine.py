"""Keep refused rows where people can look at them: a table of its own."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError
from airflow_provider_lakehouse.core.schema import changed, plan_schema
from airflow_provider_lakehouse.core.sources.quarantine import AS_FOUND, QUARANTINE_SPEC, TYPED
from airflow_provider_lakehouse.core.tables.base import Change

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import pyarrow as pa

    from airflow_provider_lakehouse.core.schema import Schema, SchemaChange
    from airflow_provider_lakehouse.core.sources.base import RejectedRow, Rejects
    from airflow_provider_lakehouse.core.tables.base import CommitResult, Table, WriteToken
    from airflow_provider_lakehouse.core.tables.spec import TableSpec

QUARANTINE: Final = "quarantine"
"""Part of the token under which refused rows are written: `token.derive(QUARANTINE)`."""
_BATCH_ROWS: Final = 10_000
_MAX_ATTEMPTS: Final = 5


def quarantine_spec() -> TableSpec:
    """Return what a table for refused rows looks like.

    Example:
        >>> quarantine_spec().schema.names[:2]
        ('reason', 'source_file')
    """
    return QUARANTINE_SPEC


def write_rejects(
    table: Table,
    rejects: Rejects,
    *,
    token: WriteToken,
    now: datetime,
    target: str = "",
    run: str = "",
    contract: str = "",
) -> CommitResult | None:
    """Write refused rows in one commit. A table of an earlier shape gets the columns it lacks in the same commit.

    Args:
        table: A table made by `quarantine_spec`; created where it is not there.
        rejects: The rows.
        token: Names the write; derive it from the token of the load with the part `QUARANTINE`.
        now: Instant of the load, timezone-aware.
        target: Name of the table that the rows were for.
        run: Which run loaded them; empty where unknown.
        contract: Name and version of the contract that the checks come from; empty where they come from none.

    Returns:
        What was written, None when there is nothing to write.

    Raises:
        InvalidRequestError: The table has columns of other types. Nothing was written.
        ConflictError: Other writers came first again and again. Nothing was written.
        OutcomeUnknownError: The answer to the commit was lost. Rerun with the same token.

    Guarantees:
        Replay: the same token twice writes once. A row has the same id in every attempt, in whatever order rows come.
    """
    if not rejects.rows:
        return None
    table.create(quarantine_spec())
    if (known := table.find(token)) is not None:
        return known
    facts = {
        "pipeline": token.pipeline.partition("#")[0], "batch": str(token.batch), "rejected_at": now,
        "target": target or None, "run": run or None, "contract": contract or None,
    }  # fmt: skip
    ids = _ids(rejects.rows, token)
    attempt = 1
    while True:
        schema, changes = _evolved(table)
        rows = _reader(rejects.rows, ids, facts, schema)
        try:
            return table.commit(Change(rows=rows, schema_changes=changes), token=token)
        except ConflictError:
            if attempt == _MAX_ATTEMPTS:
                raise
            attempt += 1


def _evolved(table: Table) -> tuple[Schema, tuple[SchemaChange, ...]]:
    """Return the table's columns after what it lacks was added, and what has to be added."""
    schema = table.facts().schema
    plan = plan_schema(schema, quarantine_spec().schema)
    if plan.refused:
        raise InvalidRequestError(
            f"Table {table.identity.name!r} cannot keep refused rows: it has columns of other types. Name another one.",
            table=table.identity.name,
            refused=plan.refused,
        )
    additions = tuple(change for change in plan.changes if change.kind == "add")
    return changed(schema, additions), additions


def _ids(rows: Sequence[RejectedRow], token: WriteToken) -> list[str]:
    """Return 32 hexadecimal characters for each row: of the token, the row, and how many like it came before.

    The place among all refused rows would not do, since an engine may give the rows of a query in another order.
    """
    seen: Counter[tuple[object, ...]] = Counter()
    prefix = (token.pipeline, token.batch)
    ids = []
    for row in rows:
        one = (row.source_file, row.source_row, row.payload)
        text = ascii((*prefix, *one, seen[one]))  # the quickest text that is the same for the same values only
        ids.append(hashlib.sha256(text.encode()).hexdigest()[:32])
        seen[one] += 1
    return ids


def _reader(
    rows: Sequence[RejectedRow], ids: Sequence[str], facts: dict[str, Any], schema: Schema
) -> pa.RecordBatchReader:
    import pyarrow as pa

    arrow = schema.to_arrow()

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(rows), _BATCH_ROWS):
            part = rows[start : start + _BATCH_ROWS]
            columns: dict[str, list[Any]] = {name: [value] * len(part) for name, value in facts.items()}
            columns |= {
                "id": list(ids[start : start + _BATCH_ROWS]),
                "reason": [row.reason for row in part],
                "source_file": [row.source_file or None for row in part],
                "source_row": [row.source_row for row in part],
                "payload": [row.payload for row in part],
                "checks": [list(row.checks) for row in part],
                "severity": [row.severity for row in part],
                "payload_format": [TYPED if row.payload_types else AS_FOUND for row in part],
                "payload_types": [row.payload_types or None for row in part],
            }
            nothing = [None] * len(part)
            arrays = [pa.array(columns.get(field.name, nothing), field.type) for field in arrow]
            yield pa.RecordBatch.from_arrays(arrays, schema=arrow)

    return pa.RecordBatchReader.from_batches(arrow, batches())
