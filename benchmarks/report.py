"""The table of an area: medians, ranges, memory, and ratios to ours and to the limit."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.area import EVERYWHERE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.area import Area, Clock, Contender, Measured, Run

CLOCKS = {"process": "whole process", "work": "work alone", "cpu": "CPU of the work"}
_HEADER = ("contender", "median s", "min-max", "work s", "CPU s", "peak MiB", "x ours", "x limit", "CPU x ours")
_MEBIBYTE = 1024 * 1024


def seconds_of(run: Run, clock: Clock) -> float:
    """Return what a clock said of a run."""
    return {"process": run.process_seconds, "work": run.work_seconds, "cpu": run.cpu_seconds}[clock]


def middle(measured: Measured | None, clock: Clock) -> float | None:
    """Return the median seconds of a contender; None when it was not measured."""
    if measured is None or not measured.runs:
        return None
    return median(seconds_of(run, clock) for run in measured.runs)


def _cpu(measured: Measured, clock: Clock) -> float:
    return median(run.process_cpu_seconds if clock == "process" else run.cpu_seconds for run in measured.runs)


def table(area: Area, results: Sequence[Measured]) -> str:
    """Return the results of an area in Markdown, a part for each group."""
    lines = [f"### {area.name}: {area.title}", "", f"Ratios compare: {CLOCKS[area.clock]}.", ""]
    everywhere = [r for r in results if r.contender.group == EVERYWHERE]
    for group in area.groups():
        members = [r for r in results if r.contender.group == group]
        if members:
            lines += _part(group, [*members, *everywhere], area.clock)
    notes = {f"* {_name(r.contender)}: {r.contender.note}" for r in results if r.contender.note}
    failures = [f"* {r.contender.name}: NOT MEASURED, {r.failure}" for r in results if r.failure]
    return "\n".join([*lines, *failures, *sorted(notes), ""])


def _part(group: str, members: Sequence[Measured], clock: Clock) -> list[str]:
    ours = middle(next((m for m in members if m.contender.kind == "ours"), None), clock)
    ours_cpu = next((_cpu(m, clock) for m in members if m.contender.kind == "ours" and m.runs), None)
    limits = [found for m in members if m.contender.kind == "limit" and (found := middle(m, clock)) is not None]
    limit = max(limits, default=None)
    rows: list[tuple[str, ...]] = [(f"**{group}**", *_HEADER[1:])]
    rows += [_row(member, clock, ours, limit, ours_cpu) for member in members]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    shown = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows]
    return [shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:], ""]


def _row(
    member: Measured, clock: Clock, ours: float | None, limit: float | None, ours_cpu: float | None
) -> tuple[str, ...]:
    name = _name(member.contender)
    found = middle(member, clock)
    if member.failure or found is None:
        return (name, "-", "not measured", *[""] * (len(_HEADER) - 3))
    seconds, cpu = [seconds_of(run, clock) for run in member.runs], _cpu(member, clock)
    return (
        name,
        f"{found:.3g}",
        f"{min(seconds):.3g}-{max(seconds):.3g}",
        f"{median(run.work_seconds for run in member.runs):.3g}",
        f"{cpu:.3g}",
        f"{median(run.peak_bytes for run in member.runs) / _MEBIBYTE:.0f}",
        f"{found / ours:.2f}" if ours else "-",
        f"{found / limit:.2f}" if limit else "-",
        f"{cpu / ours_cpu:.2f}" if ours_cpu else "-",
    )


def _name(contender: Contender) -> str:
    name = contender.name.partition(" [")[0]
    return name if contender.kind == "peer" else f"{name} ({contender.kind})"
