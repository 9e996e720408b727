"""A ledger that lives as long as its process."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.errors import ConflictError
from airflow_provider_lakehouse.core.state.base import ClaimedBatch, check_claim, check_outcomes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_provider_lakehouse.core.sources.base import ExtractPlan
    from airflow_provider_lakehouse.core.state.base import FileOutcome


class MemoryFileLedger:
    """A `FileLedger` in memory, for tests and for runs that need no memory of the last one.

    Example:
        >>> from datetime import datetime, timezone
        >>> from airflow_provider_lakehouse.core.sources.base import ExtractPlan, Slice
        >>> from airflow_provider_lakehouse.core.state.base import FileOutcome
        >>> now = datetime(2026, 1, 1, tzinfo=timezone.utc)
        >>> ledger = MemoryFileLedger()
        >>> plan = ExtractPlan("file:///in", now, (Slice("file:///in/a.csv", {"identity": "1"}),))
        >>> claimed = ledger.claim("p", plan=plan)
        >>> done = ledger.finish(claimed, outcomes=(FileOutcome("file:///in/a.csv", "1", "loaded", 3, 0),), at=now)
        >>> ledger.unfinished("p"), dict(ledger.seen("p"))
        ((), {'file:///in/a.csv': frozenset({'1'})})
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._claims: dict[str, list[ClaimedBatch]] = {}
        self._finished: dict[tuple[str, int], tuple[FileOutcome, ...]] = {}

    def seen(self, pipeline: str) -> Mapping[str, frozenset[str]]:
        """Return the contents of every URI that the pipeline has claimed, finished or not."""
        found: dict[str, frozenset[str]] = {}
        for claimed in self._claims.get(pipeline, []):
            for one in claimed.plan.slices:
                found[one.name] = found.get(one.name, frozenset()) | {str(one.facts["identity"])}
        return found

    def unfinished(self, pipeline: str) -> tuple[ClaimedBatch, ...]:
        """Return the batches that were claimed and not finished, oldest first."""
        return tuple(c for c in self._claims.get(pipeline, []) if (pipeline, c.batch) not in self._finished)

    def claim(self, pipeline: str, *, plan: ExtractPlan) -> ClaimedBatch:
        """Claim all files of a plan as one batch; see `FileLedger.claim`."""
        check_claim(plan)
        with self._lock:
            seen = self.seen(pipeline)
            taken = tuple(s.name for s in plan.slices if s.facts["identity"] in seen.get(s.name, ()))
            if taken or self.unfinished(pipeline):
                raise ConflictError(
                    "Another run has claimed files of this pipeline. Plan again.", pipeline=pipeline, files=taken[:10]
                )
            claims = self._claims.setdefault(pipeline, [])
            claims.append(ClaimedBatch(pipeline, len(claims) + 1, plan))
            return claims[-1]

    def finish(
        self, claimed: ClaimedBatch, *, outcomes: tuple[FileOutcome, ...], at: datetime
    ) -> tuple[FileOutcome, ...]:
        """Write what became of the files of a batch; see `FileLedger.finish`."""
        ordered = check_outcomes(claimed, outcomes)
        with self._lock:
            return self._finished.setdefault((claimed.pipeline, claimed.batch), ordered)

    def outcomes(self, pipeline: str, *, batch: int) -> tuple[FileOutcome, ...]:
        """Return what became of the files of a batch."""
        return self._finished.get((pipeline, batch), ())
