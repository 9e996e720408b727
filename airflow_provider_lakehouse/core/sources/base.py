"""What a source is: it decides what to read, and reads exactly that as often as asked."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, runtime_checkable

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

type Json = str | int | float | bool | list[Json] | dict[str, Json] | None

SOURCE_FILE_COLUMN: Final = "_source_file"
"""Where a row came from: URI of the file, or name of the source's relation."""
SOURCE_ROW_COLUMN: Final = "_source_row"
"""Which row of it, counted from 1 (CSV and JSON lines: the line on which it starts); null where rows have no order."""

DEFAULT_MAX_REJECTS: Final = 100_000
_REASONS_TOLD: Final = 10


@dataclass(frozen=True)
class Slice:
    """A part of a plan that one reader reads from start to end.

    Args:
        name: For logs and errors: a file's URI, a range of keys.
        facts: What the reader needs to read the very same rows again; JSON, no secrets.
    """

    name: str
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class ExtractPlan:
    """What will be read, decided before it is read and kept for every retry.

    Args:
        source: Identity of the source: a URI without credentials.
        planned_at: When it was decided; also the ingestion time of its rows, so that a retry writes the same rows.
        slices: In the order in which they count. Empty when there is nothing new.
        position: What the target has seen once these slices are loaded; the next plan starts from it. JSON.
        left_out: Why something that was found is not read, by name: still being written, empty, already loaded.
        options: How the slices are read, where a reader with other settings must read the very same rows. JSON, no
            secrets.
    """

    source: str
    planned_at: datetime
    slices: tuple[Slice, ...]
    position: Mapping[str, Json] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a naive instant."""
        if self.planned_at.tzinfo is None:
            raise InvalidRequestError("A plan needs a time zone with its instant. Use an aware datetime.")

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal characters of what will be read: the same for the same slices, whenever they were planned."""
        parts: list[Any] = [self.source, [[s.name, dict(s.facts)] for s in self.slices], dict(self.options)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Json]:
        """Return the plan as JSON, for XCom or a state store."""
        return {
            "source": self.source,
            "planned_at": self.planned_at.isoformat(),
            "slices": [{"name": s.name, "facts": dict(s.facts)} for s in self.slices],
            "position": dict(self.position),
            "left_out": dict(self.left_out),
            "options": dict(self.options),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(
            source=value["source"],
            planned_at=datetime.fromisoformat(value["planned_at"]),
            slices=tuple(Slice(s["name"], s["facts"]) for s in value["slices"]),
            position=value["position"],
            left_out=value["left_out"],
            options=value.get("options", {}),
        )


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that could not be read, or that breaks the schema or a check.

    Args:
        reason: Short and stable, without values: `wrong number of fields`, `amount: not a decimal(10,2)`.
        source_file: Where it came from.
        source_row: Which row there, counted from 1; None where unknown.
        payload: The row as it was found: the text of the line, or JSON. Goes into the quarantine table and nowhere else.
        payload_types: Where `payload` is a typed row that can be read back (see `engines.row_json`), its types; empty where
            it is text as found.
        checks: Names of the checks that refuse it; empty where none does.
        severity: Of those checks.
    """

    reason: str
    source_file: str
    source_row: int | None
    payload: str
    payload_types: str = ""
    checks: tuple[str, ...] = ()
    severity: str = "quarantine"


class Tolerance(Protocol):
    """How much may be refused; `core.quality.checks.Limit` is one."""

    @property
    def rows(self) -> int | None:
        """At most so many rows; None for any number."""

    @property
    def share(self) -> float | None:
        """At most this share, from 0 to 1; None for any."""

    def is_exceeded(self, rows: int, *, of: int) -> bool:
        """Tell whether so many rows are too many."""


class Rejects:
    """Collects rows that are refused while the others are read.

    Args:
        max_rows: More than this many end the read: the batch is broken, not some of its rows.
            A limit that allows more rows raises it.
        limit: More than this refuse the batch when all of it has been read; None for any.
    """

    def __init__(self, *, max_rows: int = DEFAULT_MAX_REJECTS, limit: Tolerance | None = None) -> None:
        self.max_rows = max(max_rows, (limit.rows if limit is not None else None) or 0)
        self.limit = limit
        self.rows: list[RejectedRow] = []

    def add(self, row: RejectedRow) -> None:
        """Keep a refused row.

        Raises:
            DataRejectedError: There are more than `max_rows`. Nothing was written.
        """
        self.rows.append(row)
        if len(self.rows) > self.max_rows:
            raise DataRejectedError(
                f"More than {self.max_rows} rows of the batch are refused. Look at the source, or allow more.",
                max_rows=self.max_rows,
                first_reason=self.rows[0].reason,
                source_file=row.source_file,
            )

    def require_limit(self, *, of: int) -> None:
        """Refuse the batch when it has been read and too much of it is refused.

        Args:
            of: Rows of the batch, refused ones included.

        Raises:
            DataRejectedError: Names the most frequent reasons, with counts.
        """
        if self.limit is None or not self.limit.is_exceeded(len(self.rows), of=of):
            return
        reasons = Counter(row.reason for row in self.rows).most_common(_REASONS_TOLD)
        raise DataRejectedError(
            f"{len(self.rows)} of {of} rows of the batch are refused, which is more than the limit. "
            "Correct them at the source, or raise the limit.",
            rows=len(self.rows),
            of=of,
            limit_rows=self.limit.rows,
            limit_share=self.limit.share,
            reasons=tuple(f"{reason}: {count}" for reason, count in reasons),
        )


@runtime_checkable
class Source(Protocol):
    """A source of rows.

    Guarantees:
        Replay: reading the same plan again gives the same rows, or raises; never silently others.
    """

    @property
    def identity(self) -> str:
        """URI of the source, without credentials."""

    def plan(self, *, position: Mapping[str, Json] | None, now: datetime) -> ExtractPlan:
        """Decide what to read.

        Args:
            position: What the target has seen, from its last commit; None when it has seen nothing.
            now: The instant of planning.

        Raises:
            UnavailableError: The source did not answer.
        """

    def read(self, plan: ExtractPlan, *, rejects: Rejects) -> pa.RecordBatchReader:
        """Stream the rows of a plan, bounded in memory, with `_source_file` and `_source_row` as last columns.

        Raises:
            InvalidRequestError: The plan is not of this source.
            DataRejectedError: What was planned is no longer there as it was, or too many rows are refused.
            UnavailableError: The source did not answer.
        """
