"""Prove that every extra can be installed alone, with today's releases, and does what it promises.

Usage: check_extras.py [EXTRA ...], all of them by default; `base` stands for the package without any extra.

For each extra a wheel of this checkout is installed into an environment of its own, which is thrown away. There `probe_extra.py`
imports every module of the package, uses what the extra brings, and demands that what other extras bring is refused by
their name. Packages are linked from uv's cache and not compiled: an environment lives for a few seconds.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parents[1]
PROBE = Path(__file__).with_name("probe_extra.py")
UV = Path(sys.executable).with_name("uv")
NAME = "airflow-provider-lakehouse"
OPTIONAL = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
BASE = "base"


@dataclass(frozen=True)
class Outcome:
    """What became of one extra: how much was installed, how long it took, and why it failed, if it did."""

    extra: str
    packages: int
    seconds: float
    failure: str = ""


def included(extra: str) -> set[str]:
    """Return the extras that come with one: itself, and those of ours that it names."""
    named = re.findall(rf"{NAME}\[([^]]*)\]", " ".join(OPTIONAL.get(extra, ())))
    return {extra}.union(*(included(other) for names in named for other in names.split(",")))


def run(*command: str | Path, **variables: str) -> str:
    """Run a command to its end and return what it printed.

    Raises:
        RuntimeError: It failed; the message is the end of what it said.
    """
    done = subprocess.run(
        list(map(str, command)),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **variables},
    )
    if done.returncode:
        raise RuntimeError("\n".join(done.stdout.splitlines()[-25:]) or f"ended with {done.returncode}")
    return done.stdout


def check(extra: str, wheel: Path) -> Outcome:
    """Install one extra and probe it."""
    started, packages, failure = monotonic(), 0, ""
    with tempfile.TemporaryDirectory(prefix="extra-", dir=wheel.parent) as folder:
        environment = Path(folder, "venv")
        wanted = NAME if extra == BASE else f"{NAME}[{extra}]"
        try:
            run(UV, "venv", "--quiet", "--no-project", "--python", sys.executable, environment)
            run(UV, "pip", "install", "--quiet", "--python", environment, f"{wanted} @ {wheel.as_uri()}")
            packages = len(run(UV, "pip", "freeze", "--python", environment).splitlines())
            variables = {"AIRFLOW_HOME": folder, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}
            run(environment / "bin/python", PROBE, folder, *sorted(included(extra)), **variables)
        except RuntimeError as error:
            failure = str(error)
    return Outcome(extra, packages, monotonic() - started, failure)


def main(extras: list[str]) -> int:
    """Check extras, as many at once as there are processors; return how many failed."""
    started, failed = monotonic(), 0
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="extras-", dir=build) as folder:
        run(UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT)
        (wheel,) = Path(folder).glob("*.whl")
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for outcome in pool.map(lambda extra: check(extra, wheel), extras):
                verdict = "FAILED" if outcome.failure else "works alone"
                print(
                    f"  {outcome.extra:<20} {outcome.packages:>4} packages {outcome.seconds:>4.0f} s  {verdict}",
                    flush=True,
                )
                if outcome.failure:
                    failed += 1
                    print(outcome.failure, flush=True)
    print(f"  {len(extras) - failed} of {len(extras)} extras work alone, {monotonic() - started:.0f} s")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:] or [BASE, *OPTIONAL]) else 0)
