"""Decide what one run reads, before it reads: batches of files, or the next range of a source that has a position."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

from airflow_provider_lakehouse.core.errors import DamagedError, InvalidRequestError
from airflow_provider_lakehouse.core.state.base import ClaimedBatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from airflow_provider_lakehouse.core.sources.base import ExtractPlan, Json, Slice, Source
    from airflow_provider_lakehouse.core.state.base import FileLedger

POSITION_PREFIX: Final = "lakehouse.position."
"""Name of the table property that holds the position of a pipeline, before the pipeline's name."""


@dataclass(frozen=True)
class FilesPlan:
    """What one run over files will do.

    Args:
        pipeline: Who runs.
        unfinished: Batches that an earlier run claimed and did not finish; they come first, each under its own token.
        new: Plans of files that nobody has claimed, one for each further batch.
        left_out: Why a file that was found is not among them, by URI.
    """

    pipeline: str
    unfinished: tuple[ClaimedBatch, ...] = ()
    new: tuple[ExtractPlan, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to load."""
        return not self.unfinished and not self.new

    @property
    def files(self) -> int:
        """How many files it covers."""
        return sum(len(c.plan.slices) for c in self.unfinished) + sum(len(p.slices) for p in self.new)

    def to_json(self) -> dict[str, Json]:
        """Return the plan as JSON, to be shown, kept and approved."""
        return {
            "pipeline": self.pipeline,
            "unfinished": [{"batch": c.batch, "plan": c.plan.to_json()} for c in self.unfinished],
            "new": [plan.to_json() for plan in self.new],
            "left_out": dict(self.left_out),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FilesPlan:
        """Read what `to_json` wrote."""
        from airflow_provider_lakehouse.core.sources.base import ExtractPlan

        pipeline = value["pipeline"]
        return cls(
            pipeline=pipeline,
            unfinished=tuple(
                ClaimedBatch(pipeline, c["batch"], ExtractPlan.from_json(c["plan"])) for c in value["unfinished"]
            ),
            new=tuple(ExtractPlan.from_json(plan) for plan in value["new"]),
            left_out=value["left_out"],
        )


def plan_files(
    source: Source,
    ledger: FileLedger,
    *,
    pipeline: str,
    now: datetime,
    max_batch_files: int | None = None,
    max_batch_bytes: int | None = None,
) -> FilesPlan:
    """Decide which files a run loads. Nothing is claimed and nothing is written.

    Args:
        source: A source of files.
        ledger: What the pipeline has claimed before.
        pipeline: Who runs, the same in every run, such as `dag_id/task_id`.
        now: The instant of planning.
        max_batch_files: A batch takes no more files; None for no limit.
        max_batch_bytes: A batch takes no more bytes of files, but at least one file; None for no limit.

    Returns:
        Unfinished batches, then new ones in the order of the source.

    Raises:
        InvalidRequestError: A limit is not positive.
        UnavailableError: The source did not answer.
    """
    if any(limit is not None and limit < 1 for limit in (max_batch_files, max_batch_bytes)):
        raise InvalidRequestError("A batch needs room for something. Give positive limits, or none.")
    unfinished = ledger.unfinished(pipeline)
    seen = {uri: cast("Json", sorted(known)) for uri, known in ledger.seen(pipeline).items()}
    found = source.plan(position={"seen": seen}, now=now)
    groups = _groups(found.slices, max_batch_files, max_batch_bytes)
    new = tuple(replace(found, slices=group, left_out={}) for group in groups)
    return FilesPlan(pipeline, unfinished, new, found.left_out)


def _groups(slices: tuple[Slice, ...], max_files: int | None, max_bytes: int | None) -> Iterator[tuple[Slice, ...]]:
    group: list[Slice] = []
    size = 0
    for one in slices:
        more = int(one.facts.get("size") or 0)  # type: ignore[arg-type]
        is_full = (max_files is not None and len(group) >= max_files) or (
            max_bytes is not None and size + more > max_bytes
        )
        if group and is_full:
            yield tuple(group)
            group, size = [], 0
        group.append(one)
        size += more
    if group:
        yield tuple(group)


def position_properties(pipeline: str, *, position: Mapping[str, Json]) -> dict[str, str | None]:
    """Return the table property that keeps a position, for the commit that loads the rows before it.

    Example:
        >>> position_properties("sales/orders", position={"updated_at": "2026-01-01"})
        {'lakehouse.position.sales/orders': '{"updated_at":"2026-01-01"}'}
    """
    return {POSITION_PREFIX + pipeline: json.dumps(dict(position), sort_keys=True, separators=(",", ":"))}


def read_position(properties: Mapping[str, str], *, pipeline: str) -> Mapping[str, Json] | None:
    """Return the position a table keeps for a pipeline, None when it has none.

    Raises:
        DamagedError: The property holds something else.

    Example:
        >>> read_position({"lakehouse.position.sales/orders": '{"id":7}'}, pipeline="sales/orders")
        {'id': 7}
    """
    text = properties.get(POSITION_PREFIX + pipeline)
    if text is None:
        return None
    try:
        position = json.loads(text)
    except ValueError:
        position = None
    if not isinstance(position, dict):
        raise DamagedError(
            "The table's memory of a position cannot be read. Look at its properties.", name=POSITION_PREFIX + pipeline
        )
    return position
