"""One step of one run, in a process of its own: `python -m benchmarks.child AREA CONTENDER STEP JOB`.

Nothing heavy is imported here: what a contender imports is part of what it costs.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING

from benchmarks.area import Job

if TYPE_CHECKING:
    from benchmarks.area import Area, Contender

AREAS = ("bulk", "files", "merge", "scd2", "parse", "query", "quality")
REPORT = "benchmarks-report "
"""Start of the line that carries the answer: libraries print lines of their own."""


def area_of(name: str) -> Area:
    """Return an area by its name."""
    area: Area = import_module(f"benchmarks.{name}").AREA
    return area


def prepare(area: Area, job: Job) -> object:
    """Make the inputs, and return the expected answers."""
    job.inputs.mkdir(parents=True, exist_ok=True)
    return {name: dict(answer) for name, answer in area.prepare(job.inputs, job.scale).items()}


def work(contender: Contender, job: Job) -> object:
    """Do the work, and return the seconds it took."""
    go = contender.begin(job)
    cpu, start = _cpu_seconds(), time.perf_counter()
    go()
    return {"work_seconds": time.perf_counter() - start, "cpu_seconds": _cpu_seconds() - cpu}


def _cpu_seconds() -> float:
    import resource

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main(area_name: str, contender_name: str, step: str, job_text: str) -> None:
    """Run one step, and print what it gives."""
    area, job = area_of(area_name), Job.from_json(job_text)
    if step == "prepare":
        result = prepare(area, job)
    else:
        contender = next(c for c in area.contenders if c.name == contender_name)
        result = _step(contender, job, step)
    sys.stdout.write(f"\n{REPORT}{json.dumps(result, default=str)}\n")


def _step(contender: Contender, job: Job, step: str) -> object:
    if step == "work":
        return work(contender, job)
    if step == "stage" and contender.stage is not None:
        contender.stage(job)
    elif step == "check" and contender.check is not None:
        return dict(contender.check(job))
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
