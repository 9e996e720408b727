"""A ledger kept as a lakehouse table, next to the tables it keeps account of."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import ConflictError, DamagedError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.sources.base import ExtractPlan
from airflow_provider_lakehouse.core.state.base import ClaimedBatch, FileOutcome, check_claim, check_outcomes
from airflow_provider_lakehouse.core.tables.base import Change, WriteToken
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from airflow_provider_lakehouse.core.tables.base import Table
    from airflow_provider_lakehouse.core.tables.filters import Filter

LEDGER_SPEC: Final = TableSpec(
    Schema.of(
        Column("pipeline", "string", nullable=False, comment="Who claimed the file."),
        Column(
            "batch", "long", nullable=False, comment="Number of the claim; with the pipeline, the token of the load."
        ),
        Column("ordinal", "int", nullable=False, comment="Place of the file in the batch."),
        Column("file", "string", nullable=False, comment="URI."),
        Column("identity", "string", nullable=False, comment="Which content: entity tag, or modification and size."),
        Column("state", "string", nullable=False, comment="claimed, loaded, empty, corrupt or changed."),
        Column("row_count", "long", comment="Rows the file gave; null where unknown, and for a claim."),
        Column("rejected", "long", comment="Rows of it that were refused; likewise."),
        Column("at", "timestamptz", nullable=False, comment="When it was planned, or finished."),
        Column("facts", "string", comment="Of a claim: what the reader needs to read the very same rows again."),
    ),
    comment="Which files each pipeline has claimed, and what became of them. Rows are only ever added.",
)
"""What a ledger table is: two rows for a file, one when it is claimed and one when its outcome is known."""
_MAX_ATTEMPTS: Final = 10


class TableFileLedger:
    """A `FileLedger` in any table that can be read with a filter and appended to.

    A claim is one commit, made on the version that was read and guarded against rows of the same pipeline that came
    after it. Both writes carry tokens, so an attempt whose answer was lost is found and not repeated.

    Args:
        table: Created when it is not there.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def seen(self, pipeline: str) -> Mapping[str, frozenset[str]]:
        """Return the contents of every URI that the pipeline has claimed, finished or not."""
        found: dict[str, set[str]] = defaultdict(set)
        for row in self._rows(pipeline, Comparison("state", "=", "claimed"), columns=("file", "identity")):
            found[row["file"]].add(row["identity"])
        return {uri: frozenset(identities) for uri, identities in found.items()}

    def unfinished(self, pipeline: str) -> tuple[ClaimedBatch, ...]:
        """Return the batches that were claimed and not finished, oldest first; at most one."""
        states: dict[int, set[str]] = defaultdict(set)
        for row in self._rows(pipeline, columns=("batch", "state")):
            states[row["batch"]].add(row["state"])
        return tuple(self._claimed(pipeline, batch) for batch in sorted(states) if states[batch] == {"claimed"})

    def claim(self, pipeline: str, *, plan: ExtractPlan) -> ClaimedBatch:
        """Claim all files of a plan as one batch; see `FileLedger.claim`.

        Guarantees:
            Crash: an attempt that was killed after its commit leaves an unfinished batch, which the next run finishes.
        """
        check_claim(plan)
        self._table.create(LEDGER_SPEC)
        base = self._table.facts().version
        latest = self._check_free(pipeline, plan)
        claimed = ClaimedBatch(pipeline, latest + 1, plan)
        change = Change(
            rows=_stream(_claim_rows(claimed)), base=base, guard=_of(pipeline), summary={"step": "claim files"}
        )
        result = self._table.commit(change, token=WriteToken(f"{pipeline}#claim", claimed.batch))
        if result.replayed and not _is_same(self._claimed(pipeline, claimed.batch), claimed):
            raise _conflict(pipeline)
        return claimed

    def finish(
        self, claimed: ClaimedBatch, *, outcomes: tuple[FileOutcome, ...], at: datetime
    ) -> tuple[FileOutcome, ...]:
        """Write what became of the files of a batch; see `FileLedger.finish`."""
        rows = [
            _row(claimed, ordinal, one.uri, one.identity, one.state, at, row_count=one.rows, rejected=one.rejected)
            for ordinal, one in enumerate(check_outcomes(claimed, outcomes))
        ]
        token = WriteToken(f"{claimed.pipeline}#finish", claimed.batch)
        for attempt in range(_MAX_ATTEMPTS):
            try:
                self._table.commit(Change(rows=_stream(rows), summary={"step": "finish files"}), token=token)
                break
            except ConflictError:
                if attempt == _MAX_ATTEMPTS - 1:
                    raise
        return self.outcomes(claimed.pipeline, batch=claimed.batch)

    def outcomes(self, pipeline: str, *, batch: int) -> tuple[FileOutcome, ...]:
        """Return what became of the files of a batch, in the plan's order; empty when it is not finished."""
        rows = self._rows(pipeline, Comparison("batch", "=", batch), Comparison("state", "!=", "claimed"))
        return tuple(
            FileOutcome(row["file"], row["identity"], row["state"], row["row_count"], row["rejected"])
            for row in sorted(rows, key=lambda row: row["ordinal"])
        )

    def _check_free(self, pipeline: str, plan: ExtractPlan) -> int:
        states: dict[int, set[str]] = defaultdict(set)
        taken = {(s.name, s.facts["identity"]) for s in plan.slices}
        overlap: set[str] = set()
        for row in self._rows(pipeline, columns=("batch", "state", "file", "identity")):
            states[row["batch"]].add(row["state"])
            if (row["file"], row["identity"]) in taken:
                overlap.add(row["file"])
        if overlap or any(known == {"claimed"} for known in states.values()):
            raise _conflict(pipeline, tuple(sorted(overlap)[:10]))
        return max(states, default=0)

    def _claimed(self, pipeline: str, batch: int) -> ClaimedBatch:
        found = self._rows(pipeline, Comparison("batch", "=", batch), Comparison("state", "=", "claimed"))
        rows = sorted(found, key=lambda row: row["ordinal"])
        try:
            plan = json.loads(rows[0]["facts"])["plan"]
            slices = [{"name": row["file"], "facts": json.loads(row["facts"])["slice"]} for row in rows]
            return ClaimedBatch(pipeline, batch, ExtractPlan.from_json({**plan, "slices": slices}))
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise DamagedError(
                "A claim in the ledger of files cannot be read. Look at the rows of its batch.",
                table=self._table.identity.name,
                pipeline=pipeline,
                batch=batch,
            ) from error

    def _rows(self, pipeline: str, *where: Comparison, columns: tuple[str, ...] | None = None) -> list[dict[str, Any]]:
        if not self._table.exists():
            return []
        with self._table.read(columns=columns, where=(*_of(pipeline), *where)) as reader:
            return [row for batch in reader for row in batch.to_pylist()]


def _is_same(found: ClaimedBatch, claimed: ClaimedBatch) -> bool:
    return (found.plan.planned_at, found.plan.fingerprint) == (claimed.plan.planned_at, claimed.plan.fingerprint)


def _of(pipeline: str) -> Filter:
    return (Comparison("pipeline", "=", pipeline),)


def _conflict(pipeline: str, files: tuple[str, ...] = ()) -> ConflictError:
    return ConflictError("Another run has claimed files of this pipeline. Plan again.", pipeline=pipeline, files=files)


def _claim_rows(claimed: ClaimedBatch) -> list[dict[str, Any]]:
    plan = claimed.plan.to_json()
    whole = {name: plan[name] for name in ("source", "planned_at", "position", "options")} | {"left_out": {}}
    rows = []
    for ordinal, one in enumerate(claimed.plan.slices):
        facts = {"slice": dict(one.facts)} | ({} if ordinal else {"plan": whole})
        identity = str(one.facts["identity"])
        row = _row(claimed, ordinal, one.name, identity, "claimed", claimed.plan.planned_at, facts=json.dumps(facts))
        rows.append(row)
    return rows


def _row(
    claimed: ClaimedBatch, ordinal: int, file: str, identity: str, state: str, at: datetime, **others: object
) -> dict[str, Any]:
    return {
        "pipeline": claimed.pipeline, "batch": claimed.batch, "ordinal": ordinal, "file": file, "identity": identity,
        "state": state, "at": at, **others,
    }  # fmt: skip


def _stream(rows: Sequence[dict[str, Any]]) -> Any:  # noqa: ANN401
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=LEDGER_SPEC.schema.to_arrow()).to_reader()
