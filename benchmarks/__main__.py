"""The command: `python -m benchmarks [area ...] [--rounds N] [--scale S]`."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

from benchmarks.child import AREAS, area_of
from benchmarks.measure import ROOT, measure, versions
from benchmarks.report import table

PEERS = (
    "airflow-provider-lakehouse", "apache-airflow", "awswrangler", "connectorx", "deltalake", "dlt", "duckdb",
    "great-expectations", "pandas", "pyarrow", "pyiceberg",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print a table for each area.

    Returns:
        0, or 1 when ours came to a wrong result or failed.
    """
    asked = _parser().parse_args(arguments)
    print(f"Python {platform.python_version()}; " + ", ".join(f"{k} {v}" for k, v in versions(PEERS).items()), "\n")
    is_sound = True
    for name in asked.areas or AREAS:
        area = area_of(name)
        results = measure(
            area, scale=asked.scale, rounds=asked.rounds or area.rounds, data=asked.data, only=asked.only, tell=_tell
        )
        print(table(area, results), flush=True)
        is_sound &= not any(r.failure and r.contender.kind == "ours" for r in results)
    return 0 if is_sound else 1


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure ours, peers and limits.")
    parser.add_argument("areas", nargs="*", metavar="area", help=f"one of {', '.join(AREAS)}; all by default")
    parser.add_argument(
        "--rounds", type=int, default=0, metavar="N", help="runs of each contender; the area's own number"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="S", help="size of the inputs (bulk: 10 is 6 M rows)"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only contenders whose name contains this")
    parser.add_argument(
        "--data", type=Path, default=ROOT / ".cache" / "benchmarks", metavar="DIR", help="working folder"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
