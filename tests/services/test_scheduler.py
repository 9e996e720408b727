"""A real scheduler runs the reference DAG, a worker is killed in the middle of a load, and nobody can tell from the tables."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.tables.base import At, CatalogSettings
from airflow_provider_lakehouse.demo.__main__ import DAG_ID, KILLED_TASK, Story
from airflow_provider_lakehouse.demo.reconcile import LAYERS, reconcile, refused_rows, report_tables
from airflow_provider_lakehouse.demo.runs import Killer, Runs
from airflow_provider_lakehouse.samples import retail

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.tables.base import Catalog
    from airflow_provider_lakehouse.demo.runs import RunReport

DAGS = Path(__file__).parents[2] / "dags"
SINCE, UNTIL = date(2017, 2, 1), date(2017, 3, 1)
KILL_AFTER_SECONDS = 1.0


@pytest.fixture(params=["iceberg", "delta"], scope="module")
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Story:
    root = tmp_path_factory.mktemp("demo")
    return Story(root, DAGS, request.param, SINCE, UNTIL, increments=1, kill=True)


@pytest.fixture(scope="module")
def reports(story: Story) -> dict[str, RunReport]:
    """What became of a historical run whose loading worker was killed, of a daily run, and of the daily run once more."""
    day = story.history_until
    killer = Killer(KILLED_TASK, KILL_AFTER_SECONDS)
    conf = {"since": SINCE.isoformat(), "until": day.isoformat(), "bad_file": True}
    with story.server() as server:
        runs = Runs(server, DAG_ID, say=print)
        runs.wait_for_dag()
        found = {
            "history": runs.run("history", conf=conf, killer=killer),
            "day": runs.run("day", partition=day.isoformat()),
            "day again": runs.run("day-again", partition=day.isoformat()),
        }
    assert killer.pid is not None
    return found


@pytest.fixture(scope="module")
def catalog(story: Story, reports: dict[str, RunReport]) -> Catalog:
    assert {report.state for report in reports.values()} == {"success"}, reports
    return find("tables", story.format)(CatalogSettings(story.format, story.warehouse))


def test_the_killed_task_is_tried_again_and_succeeds(reports: dict[str, RunReport]) -> None:
    tries = {task.task: task.tries - task.instances for task in reports["history"].tasks}
    assert tries[KILLED_TASK] == 1
    assert reports["history"].state == "success"


def test_every_total_agrees_with_the_source_to_the_cent(catalog: Catalog) -> None:
    expected = retail.expected_totals(since=SINCE, until=UNTIL).total
    checked = reconcile(catalog, engine=open_engine(), expected=expected)
    assert [one for one in checked if not one.agrees] == []


def test_what_the_broken_file_holds_is_in_quarantine_once(catalog: Catalog) -> None:
    refused = refused_rows(catalog, engine=open_engine())
    assert sum(row["rows"] for row in refused) == 7
    assert [row["source_row"] for row in refused if row["source_row"]] == [7, 8, 10, 11]


def test_no_file_is_left_of_the_attempt_that_was_killed(catalog: Catalog, story: Story) -> None:
    listed = set()
    for layer, names in LAYERS:
        for name in names:
            table = catalog.table(f"{layer}.{name}")
            versions = [entry.version for entry in table.history()]
            for version in versions:
                listed |= {file.path for file in table.list_files(at=At(version=version)).files}
    found = {
        f"file://{path}"
        for layer, names in LAYERS
        for name in names
        for path in (story.root / story.format / layer / name).rglob("*.parquet")
        if "delete" not in path.name and "_delta_log" not in path.parts
    }
    assert found <= listed


def test_a_second_run_of_a_day_changes_no_table(catalog: Catalog, reports: dict[str, RunReport]) -> None:
    assert reports["day again"].state == "success"
    by_name = {one.table: one for one in report_tables(catalog, engine=open_engine())}
    assert by_name["bronze.transactions"].commits == 2
    assert by_name["silver.transactions"].commits == 2
    assert by_name["gold.baskets"].commits == 2
