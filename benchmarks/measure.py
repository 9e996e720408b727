"""Run contenders in turn, each in a process of its own, and count only runs that came to the right answer.

This process must stay small: Linux lets a new process inherit the peak memory of the one it came from.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import nullcontext
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import TYPE_CHECKING, Any

from benchmarks.area import Job, Measured, Run
from benchmarks.child import REPORT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from resource import struct_rusage

    from benchmarks.area import Answer, Area, Contender

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = "expected.json"
_KIBIBYTE = 1024
_TAIL = 300
_ENVIRONMENT = {
    "PYTHONWARNINGS": "ignore",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    # Else dlt finds Airflow installed, imports it, and asks it for every setting: four seconds that are not its work.
    "PROVIDERS__ENABLE_AIRFLOW_SECRETS": "false",
}


class StepFailedError(Exception):
    """A step ended with an error, or gave another answer than it should."""


def run_step(area: str, contender: str, step: str, job: Job) -> tuple[Any, float, struct_rusage]:
    """Run one step in a process of its own.

    Returns:
        What it gave, the seconds it took, and the resources it used.

    Raises:
        StepFailedError: It ended with an error; the message is the end of what it said.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | _ENVIRONMENT
    environment["AIRFLOW_HOME"] = str(job.inputs / "airflow")
    command = [sys.executable, "-m", "benchmarks.child", area, contender, step, job.to_json()]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = Popen(command, stdin=DEVNULL, stdout=output, stderr=errors, cwd=ROOT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        said = output.read().decode(errors="replace")
        if process.returncode:
            complaint = errors.read().decode(errors="replace").strip().splitlines() or [f"exit {process.returncode}"]
            raise StepFailedError(complaint[-1][-_TAIL:])
    report = next(line for line in reversed(said.splitlines()) if line.startswith(REPORT))
    return json.loads(report.removeprefix(REPORT)), seconds, usage


def measure(
    area: Area, *, scale: float, rounds: int, data: Path, only: str = "", tell: Callable[[str], object] = lambda _: None
) -> list[Measured]:
    """Measure the contenders of an area in turn: A B C, A B C, ...

    Args:
        area: Which.
        scale: Size of the inputs.
        rounds: How often each runs.
        data: Folder for inputs, which are kept, and runs, which are not.
        only: Measure only contenders whose name contains this.
        tell: Takes a line of progress.
    """
    made_by = sha256((Path(__file__).parent / f"{area.name}.py").read_bytes()).hexdigest()[:8]
    inputs = data / "inputs" / f"{area.name}-{scale:g}-{made_by}"
    measured = [Measured(c, failure=_missing(c)) for c in area.contenders if only in c.name]
    inputs.mkdir(parents=True, exist_ok=True)
    with area.service(inputs) if area.service is not None else nullcontext("") as service:
        expected = _expected(area, Job(inputs, data, scale, service), tell)
        for number in range(rounds):
            for one in measured:
                if not one.failure and number < one.contender.most_rounds:
                    _run_once(area, one, expected, Job(inputs, data / f"run-{os.getpid()}", scale, service))
                    tell(f"{area.name} {number + 1}/{rounds} {one.contender.name}: {_last_word(one)}")
    return measured


def _last_word(measured: Measured) -> str:
    return measured.failure or f"{measured.runs[-1].process_seconds:.2f} s"


def _missing(contender: Contender) -> str:
    missing = [name for name in contender.needs if find_spec(name) is None and shutil.which(name) is None]
    return f"needs {', '.join(missing)}" if missing else ""


def _expected(area: Area, job: Job, tell: Callable[[str], object]) -> Mapping[str, Answer]:
    path = job.inputs / EXPECTED
    if area.service is None and path.exists():
        kept: Mapping[str, Answer] = json.loads(path.read_text())
        return kept
    tell(f"{area.name}: making inputs at scale {job.scale:g}")
    found, _, _ = run_step(area.name, "", "prepare", job)
    path.write_text(json.dumps(found))
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def _run_once(area: Area, measured: Measured, expected: Mapping[str, Answer], job: Job) -> None:
    contender = measured.contender
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    try:
        if contender.stage is not None:
            run_step(area.name, contender.name, "stage", job)
        inner, seconds, usage = run_step(area.name, contender.name, "work", job)
        if contender.check is not None:
            found, _, _ = run_step(area.name, contender.name, "check", job)
            require_equal(found, expected[contender.expects or contender.group])
        whole_cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _KIBIBYTE
        measured.runs.append(Run(seconds, inner["work_seconds"], inner["cpu_seconds"], whole_cpu, peak))
    except StepFailedError as error:
        measured.failure = str(error)
    finally:
        shutil.rmtree(job.folder, ignore_errors=True)


def require_equal(found: Answer, expected: Answer) -> None:
    """Check an answer.

    Raises:
        StepFailedError: It is another one.
    """
    wrong = [
        f"{name}: {found.get(name)} instead of {value}" for name, value in expected.items() if found.get(name) != value
    ]
    if wrong:
        raise StepFailedError("WRONG RESULT: " + "; ".join(wrong))


def versions(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of installed distributions, those there are."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
