"""Keep refused rows where people can look at them: a table of its own."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError
from airflow_provider_lakehouse.core.schema import changed, plan_schema
from airflow_provider_lakehouse.core.sources.quarantine import AS_FOUND, QUARANTINE_SPEC, TYPED
from airflow_provider_lakehouse.core.tables.abilities import Addressing
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN, At, Change, Positions
from airflow_provider_lakehouse.core.tables.filters import Comparison

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    import pyarrow as pa

    from airflow_provider_lakehouse.core.schema import Schema, SchemaChange
    from airflow_provider_lakehouse.core.sources.base import RejectedRow, Rejects
    from airflow_provider_lakehouse.core.tables.base import CommitResult, Removal, Table, WriteToken
    from airflow_provider_lakehouse.core.tables.filters import Filter
    from airflow_provider_lakehouse.core.tables.spec import TableSpec

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
    """Keep the refused rows of a batch, in one commit. A table of an earlier shape gets the columns it lacks with it.

    Where an earlier attempt at the batch kept other rows, since its source or its checks were corrected meanwhile, those
    that are no longer refused are taken away and the others added, so that no row is both here and in its table, or in
    neither. Rows that a release has claimed stay.

    Args:
        table: A table made by `quarantine_spec`; created where it is not there.
        rejects: The rows.
        token: Of the load. What is written here is named after it and the target, which other loads may share it with.
        now: Instant of the load, timezone-aware.
        target: Name of the table that the rows were for.
        run: Which run loaded them; empty where unknown.
        contract: Name and version of the contract that the checks come from; empty where they come from none.

    Returns:
        What was written last for the batch, None when there is nothing to write.

    Raises:
        InvalidRequestError: The table has columns of other types. Nothing was written.
        ConflictError: Other writers came first again and again. Nothing was written.
        OutcomeUnknownError: The answer to the commit was lost. Rerun with the same token.

    Guarantees:
        Replay: the same rows under the same token twice are written once. Those that were released in between are not
            added again, unless the batch was corrected as well. A row has the same id in every attempt, in whatever order
            rows come.
    """
    if rejects.rows:
        table.create(quarantine_spec())
    elif not table.exists():
        return None
    batch = _Batch(table, token, target, now, run, contract)
    for _ in range(_MAX_ATTEMPTS - 1):
        try:
            return batch.keep(rejects.rows)
        except ConflictError:
            continue
    return batch.keep(rejects.rows)


@dataclass(frozen=True)
class _Batch:
    """The refused rows of one batch; see `write_rejects`."""

    table: Table
    token: WriteToken
    target: str
    now: datetime
    run: str
    contract: str

    @property
    def first(self) -> WriteToken:
        """Under which refused rows of the batch are written first."""
        return self.token.derive(f"quarantine of {self.target}")

    @property
    def where(self) -> Filter:
        """Rows that may be of the batch."""
        return (Comparison("pipeline", "=", self.token.pipeline), Comparison("batch", "=", str(self.token.batch)))

    def keep(self, rows: Sequence[RejectedRow]) -> CommitResult | None:
        """Decide on the newest version of the table what to add and to take away, and commit it.

        Raises:
            ConflictError: Another writer came first.
        """
        by_id = dict(zip(_ids(rows, self.first), rows, strict=True))
        known = self.table.find(self.first)
        if known is not None:
            return self._correct(by_id, known)
        return self._commit(by_id, self.first) if by_id else None

    def _correct(self, rows: Mapping[str, RejectedRow], known: CommitResult) -> CommitResult:
        """Bring what an earlier attempt kept to what is refused now."""
        facts = self.table.facts()
        if not {"id", "release_id", "target"} <= set(facts.schema.names):
            return known
        kept = self._kept(at=At(version=facts.version))
        ids = set(kept["id"].to_pylist())
        correction = self.first.derive("corrected")
        is_corrected = self.table.find(correction) is not None
        # Where the first attempt kept as many, the rows that are missing are not new: they were released, or expired.
        if ids <= set(rows) and not is_corrected and len(rows) == known.rows_added:
            return known
        new = {one: row for one, row in rows.items() if one not in ids}
        over = _rows(kept, [one not in rows and claim is None for one, claim in _pairs(kept, "id", "release_id")])
        if not new and not over.num_rows:
            return known
        token = self.first.derive(f"after {facts.version}") if is_corrected else correction
        return self._commit(new, token, over=over, base=facts.version)

    def _kept(self, *, at: At) -> pa.Table:
        reading = require(self.table, Addressing, purpose="to take away rows that are no longer refused")
        found = reading.read_addressed(columns=("id", "release_id", "target"), where=self.where, at=at).read_all()
        return _rows(found, [name == (self.target or None) for name in found["target"].to_pylist()])

    def _commit(
        self,
        rows: Mapping[str, RejectedRow],
        token: WriteToken,
        *,
        over: pa.Table | None = None,
        base: int | None = None,
    ) -> CommitResult:
        schema, changes = _evolved(self.table)
        facts = {
            "pipeline": self.token.pipeline, "batch": str(self.token.batch), "rejected_at": self.now,
            "target": self.target or None, "run": self.run or None, "contract": self.contract or None,
        }  # fmt: skip
        reader = _reader(list(rows.values()), list(rows), facts, schema) if rows else None
        removes: Removal = "nothing"
        if over is not None and over.num_rows:
            removes = Positions(over.select([FILE_COLUMN, POSITION_COLUMN]))
        guard = None if base is None else self.where
        change = Change(rows=reader, removes=removes, base=base, guard=guard, schema_changes=changes)
        done = self.table.commit(change, token=token)
        if done.replayed:
            raise ConflictError("Another attempt at the batch came first. Run again.", table=self.table.identity.name)
        return done


def _rows(table: pa.Table, are_meant: list[bool]) -> pa.Table:
    import pyarrow as pa

    return table.filter(pa.array(are_meant, pa.bool_()))


def _pairs(table: pa.Table, first: str, second: str) -> Iterator[tuple[Any, Any]]:
    return zip(table[first].to_pylist(), table[second].to_pylist(), strict=True)


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
