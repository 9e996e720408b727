"""Run the demonstration: `python -m airflow_provider_lakehouse.demo run` or `ui`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.errors import UnavailableError
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.tables.base import CatalogSettings
from airflow_provider_lakehouse.demo.reconcile import (
    reconcile,
    refused_rows,
    report_quality,
    report_tables,
    totals_line,
)
from airflow_provider_lakehouse.demo.runs import Killer, Runs
from airflow_provider_lakehouse.demo.server import AirflowServer, ServerSettings
from airflow_provider_lakehouse.samples import retail
from airflow_provider_lakehouse.samples.retail_contract import BROKEN_DAY, END, FIRST_DAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_lakehouse.demo.reconcile import QualityReport, TableReport
    from airflow_provider_lakehouse.demo.runs import RunReport

DAG_ID: Final = "medallion_retail"
KILLED_TASK: Final = "retail.bronze"
KILL_AFTER_SECONDS: Final = 1.0
MEMORY_LIMIT_MB: Final = 1536
MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class Story:
    """What the demonstration does.

    Args:
        root: Folder for everything it makes.
        dags: Folder of DAG files.
        format: `iceberg` or `delta`.
        since: First day of the historical load.
        until: Day after the last one that is loaded.
        increments: How many of the last days are loaded as daily partitions.
        kill: Whether a worker is killed on the way.
    """

    root: Path
    dags: Path
    format: str
    since: date
    until: date
    increments: int
    kill: bool

    @property
    def history_until(self) -> date:
        """Day after the last one of the historical load."""
        return self.until - timedelta(days=self.increments)

    @property
    def warehouse(self) -> str:
        """URI of the lakehouse."""
        return f"file://{self.root / self.format}"

    def server(self, *, port: int = 0) -> AirflowServer:
        """Return the server of the demonstration, not started."""
        extra = {"format": self.format, "warehouse": self.warehouse, "memory_limit_mb": MEMORY_LIMIT_MB}
        connections = {"lakehouse_default": {"conn_type": "lakehouse", "extra": extra}}
        variables = {"LAKEHOUSE_RETAIL_LANDING": str(self.root / "landing"), "LAKEHOUSE_RETAIL_FORMAT": self.format}
        variables["AIRFLOW__LAKEHOUSE__QUALITY_PAGES"] = str(self.root / "quality")
        return AirflowServer(
            ServerSettings(self.root / "airflow", self.dags, connections, port=port, variables=variables)
        )


def run(story: Story) -> int:
    """Run the story from an empty folder; return 0 when every total agrees with the source."""
    shutil.rmtree(story.root, ignore_errors=True)
    started = time.monotonic()
    say(f"Starting Airflow: scheduler, dag-processor, triggerer, API server (log: {story.root}/airflow/airflow.out)")
    with story.server() as server:
        say(f"Airflow is healthy after {time.monotonic() - started:.0f} s at {server.url}")
        runs = Runs(server, DAG_ID, say=say)
        runs.wait_for_dag()
        reports = [_history(story, runs)]
        for number in range(story.increments):
            day = story.history_until + timedelta(days=number)
            say(f"Daily run of partition {day}")
            reports.append(runs.run(f"day-{day}", partition=day.isoformat()))
    return conclude(story, reports, seconds=time.monotonic() - started)


def _history(story: Story, runs: Runs) -> RunReport:
    say(f"Historical run: {story.since} to {story.history_until - timedelta(days=1)}, broken and late files included")
    broken = story.since <= BROKEN_DAY < story.history_until
    conf = {"since": story.since.isoformat(), "until": story.history_until.isoformat(), "bad_file": broken}
    killer = Killer(KILLED_TASK, KILL_AFTER_SECONDS) if story.kill else None
    return runs.run("history", conf=conf, killer=killer)


def conclude(story: Story, reports: Sequence[RunReport], *, seconds: float) -> int:
    """Print what the runs produced, and say whether it is right."""
    for report in reports:
        say(f"\nRun {report.run_id}: {report.state} in {report.seconds:.1f} s")
        for task in report.tasks:
            again = f", {task.tries} tries" if task.tries > task.instances else ""
            say(
                f"  {task.task:24} {task.seconds:6.1f} s  {task.instances} task{'s' if task.instances > 1 else ''}{again}"
            )
    if any(report.state != "success" for report in reports):
        say(f"A run failed. Its logs are in {story.root}/airflow/logs.")
        return 1
    catalog = find("tables", story.format)(CatalogSettings(story.format, story.warehouse))
    engine = find("engines", "duckdb")(EngineSettings())
    say(
        f"\n{'table':24} {'rows in':>10} {'kept':>10} {'quarantined':>11} {'files':>6} {'MiB':>7} {'commits':>7}  version"
    )
    for table in report_tables(catalog, engine=engine):
        say(_row(table))
    say("\nIn quarantine (table quarantine.rows):")
    for row in refused_rows(catalog, engine=engine):
        line = f" line {row['source_row']}" if row["source_row"] else ""
        say(f"  {row['source']}{line}: {row['reason']}")
    say("\nChecks of the contracts, over all runs (tables quality.results and quality.breakers):")
    for quality in report_quality(catalog, engine=engine):
        say(_quality_row(quality))
    totals = retail.expected_totals(since=story.since, until=story.until).total
    checked = reconcile(catalog, engine=engine, expected=totals)
    say(f"\n{totals_line(checked)}")
    say(f"  {totals.lines:,} lines, sales of {totals.sales_cents / 100:,.2f} in {totals.baskets:,} baskets")
    say(f"The runs took {sum(report.seconds for report in reports):.0f} s, the whole demonstration {seconds:.0f} s.")
    say(f"\nWhere to look next: `make ui` shows the DAG in Airflow; the tables are in {story.root / story.format}.")
    return 0 if all(one.agrees for one in checked) else 1


def _row(table: TableReport) -> str:
    offered = f"{table.rows_in:,}" if table.rows_in is not None else ""
    return (
        f"{table.table:24} {offered:>10} {table.rows:>10,} {table.rows_quarantined:>11,} {table.files:>6,} "
        f"{table.size_bytes / MIB:>7.1f} {table.commits:>7}  {table.version}"
    )


def _quality_row(one: QualityReport) -> str:
    broken = "; ".join(f"broken in {times} run{'s' if times > 1 else ''}: {name}" for name, times in one.broken.items())
    found = f"{one.checks} checks, asked {one.asked} times, {broken or 'never broken'}"
    return f"  {one.table:22} breaker {one.breaker:9} {found}"


def ui(story: Story, *, port: int) -> int:
    """Leave Airflow up with what the last run made, until it is interrupted."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started this in the background
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        say(f"Starting Airflow (log: {story.root}/airflow/airflow.out)")
        with story.server(port=port) as server:
            say(f"Airflow is up at {server.url}/dags/{DAG_ID}  (Ctrl-C ends it)")
            server.wait()
    except KeyboardInterrupt:
        say("Stopped.")
    except UnavailableError as error:
        say(str(error))
        return 1
    return 0


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_lakehouse.demo", description=__doc__)
    parser.add_argument("command", choices=("run", "ui"))
    parser.add_argument("--format", choices=("iceberg", "delta"), default=os.environ.get("FORMAT") or "iceberg")
    parser.add_argument(
        "--root", type=Path, default=Path(".demo"), help="folder for everything the demonstration makes"
    )
    parser.add_argument("--dags", type=Path, default=Path("dags"), help="folder of DAG files")
    parser.add_argument("--since", type=date.fromisoformat, default=FIRST_DAY, help="first day")
    parser.add_argument("--until", type=date.fromisoformat, default=END, help="day after the last")
    parser.add_argument("--increments", type=int, default=2, help="how many of the last days are daily runs")
    parser.add_argument("--no-kill", action="store_true", help="kill no worker")
    parser.add_argument("--port", type=int, default=8080, help="port of the API server, for ui")
    given = parser.parse_args(arguments)
    story = Story(
        given.root.resolve(),
        given.dags.resolve(),
        given.format,
        given.since,
        given.until,
        given.increments,
        not given.no_kill,
    )
    return run(story) if given.command == "run" else ui(story, port=given.port)


if __name__ == "__main__":
    sys.exit(main())
