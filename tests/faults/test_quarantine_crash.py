"""Die around every call of a release or an expiry, and run again: every row ends in one place, and there once."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.flows import Target, load_query, release_quarantined
from airflow_provider_lakehouse.core.load.modes import Append, Dedup
from airflow_provider_lakehouse.core.quality.checks import RowCheck
from airflow_provider_lakehouse.core.quality.expiry import ExpirePlan, apply_expire, plan_expire
from airflow_provider_lakehouse.core.quality.quarantine import Selection
from airflow_provider_lakehouse.core.quality.release_apply import unfinished_releases
from airflow_provider_lakehouse.core.quality.release_plan import ReleasePlan, plan_release, read_quarantined
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, WriteToken, no_probe
from airflow_provider_lakehouse.testing.faults import crash_sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_lakehouse.core.load.modes import Mode
    from airflow_provider_lakehouse.core.tables.base import Probe

NOW = datetime(2026, 2, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=10)
ENGINE = open_engine(EngineSettings(threads=1))
FORMATS = ("memory", "iceberg", "delta")
POSITIVE = RowCheck("amount is positive", "amount > 0", "quarantine")
SMALL = RowCheck("amount is small", "abs(amount) < 5", "quarantine")
CORRECTION = "SELECT * REPLACE (abs(amount) AS amount) FROM quarantined"
UNFIT = "SELECT * REPLACE ('much' AS amount) FROM quarantined"
LOADED = [(1, 5), (2, 1), (4, 2)]
READS = ("find", "open", "load", "list", "get", "plan")
"""Steps that only read: whoever dies at one leaves what he had left at the last step that wrote, which is tried as well."""


def around_commits(step: str) -> bool:
    """The other calls of a commit are the backend's, which its own specification dies at."""
    return step.endswith("commit")


class Lake:
    """A table with one row, and three rows in quarantine, of which one is too large to be released."""

    def __init__(self, format_: str, root: Path, mode: Mode | None = None, *, correction: str = CORRECTION) -> None:
        self.format, self.root, self.mode, self.runs = format_, root, mode or Append(), 0
        self.root.mkdir(parents=True, exist_ok=True)
        rows = pa.table({"id": [1, 2, 3, 4], "amount": [5, -1, -7, -2]})
        token = WriteToken("shop", "1")
        load_query(
            "FROM given",
            self.target(no_probe),
            token=token,
            engine=ENGINE,
            now=NOW,
            tables={"given": rows},
            checks=(POSITIVE,),
        )
        self.plan = self.planned(correction, now=NOW)

    def catalog(self, probe: Probe = no_probe) -> Any:
        place = f"memory://{self.root}" if self.format == "memory" else f"file://{self.root}/lake"
        return find("tables", self.format)(CatalogSettings(self.format, place), probe=probe)

    def target(self, probe: Probe) -> Target:
        catalog = self.catalog(probe)
        return Target(catalog.table("silver.orders"), self.mode, quarantine=catalog.table("quarantine.rows"))

    def planned(self, correction: str, *, now: datetime) -> ReleasePlan:
        table = self.catalog().table("quarantine.rows")
        found = read_quarantined(table, engine=ENGINE, selection=Selection(target="silver.orders"))
        checks = (POSITIVE, SMALL) if correction == CORRECTION else ()
        return plan_release(found, checks=checks, engine=ENGINE, now=now, correction=correction)

    def release(self, plan: ReleasePlan, probe: Probe = no_probe) -> Any:
        return release_quarantined(plan, self.target(probe), engine=ENGINE, now=LATER)

    def loaded(self) -> list[tuple[int, int]]:
        rows = self.catalog().table("silver.orders").read(columns=("id", "amount")).read_all().to_pylist()
        return sorted((row["id"], row["amount"]) for row in rows)

    def refused(self) -> list[tuple[Any, ...]]:
        rows = self.catalog().table("quarantine.rows").read().read_all().to_pylist()
        return sorted((row["payload"], row["reason"], row["release_id"] or "") for row in rows)

    def files(self) -> int:
        return len(list(self.root.rglob("*.parquet")))


def fresh(format_: str, root: Path, **options: Any) -> Callable[[int], Lake]:
    """What makes the same lake again and again: on disk, by copying the first one back to its place."""
    place, kept, made = root / "place", root / "kept", []

    def prepare(number: int) -> Lake:
        if format_ == "memory":
            return Lake(format_, root / str(number), **options)
        if made:
            shutil.rmtree(place)
            shutil.copytree(kept, place)
        else:
            made.append(Lake(format_, place, **options))
            shutil.copytree(place, kept)
        return made[0]

    return prepare


def at_writes(probe: Probe) -> Probe:
    """A probe that is told before each step that writes, and after each commit: between those nothing is written."""

    def tell(step: str) -> None:
        if not step.endswith(READS) and (step.startswith("before") or step.endswith("commit")):
            probe(step)

    return tell


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format_", "mode"),
    [("memory", Append()), ("memory", Dedup()), ("iceberg", Append()), ("delta", Append())],
    ids=["memory append", "memory dedup", "iceberg append", "delta append"],
)
def test_a_release_that_dies_anywhere_and_runs_again_ends_as_if_it_had_run_once(
    tmp_path: Path, format_: str, mode: Mode
) -> None:
    def observe(lake: Lake) -> object:
        return lake.loaded(), lake.refused(), lake.files()

    steps = crash_sweep(
        prepare=fresh(format_, tmp_path, mode=mode),
        act=lambda lake, probe: lake.release(lake.plan, at_writes(probe)),
        observe=observe,
        at=bool if format_ == "memory" else around_commits,
    )

    assert sum(step.startswith("before") and step.endswith("commit") for step in steps) == 3
    last = Lake(format_, tmp_path / "last", mode)
    last.release(last.plan)
    assert (last.loaded(), last.refused()) == (LOADED, [('{"id":3,"amount":-7}', "amount is small", "")])


@pytest.mark.slow
def test_a_release_that_the_target_refuses_leaves_the_rows_free_wherever_it_dies(tmp_path: Path) -> None:
    def act(lake: Lake, probe: Probe) -> None:
        with pytest.raises((DataRejectedError, InvalidRequestError)):
            lake.release(lake.plan, at_writes(probe))

    def observe(lake: Lake) -> object:
        assert all(claim == "" for _, _, claim in lake.refused())
        lake.release(lake.planned(CORRECTION, now=LATER))
        return lake.loaded(), lake.refused()

    assert crash_sweep(prepare=fresh("memory", tmp_path, correction=UNFIT), act=act, observe=observe)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_release_that_the_target_refused_can_be_planned_again(tmp_path: Path, format_: str) -> None:
    lake = Lake(format_, tmp_path, correction=UNFIT)
    for kind in (DataRejectedError, InvalidRequestError):
        with pytest.raises(kind):
            lake.release(lake.plan)
        assert lake.loaded() == [(1, 5)]

    lake.release(lake.planned(CORRECTION, now=LATER))
    assert lake.loaded() == LOADED


@pytest.mark.slow
def test_a_release_that_dies_anywhere_is_finished_by_another_that_finds_its_claim(tmp_path: Path) -> None:
    def act(lake: Lake, probe: Probe) -> None:
        lake.runs += 1
        if lake.runs == 1:
            lake.release(lake.plan, at_writes(probe))
            return
        table = lake.catalog().table("quarantine.rows")
        for unfinished in unfinished_releases(table, engine=ENGINE, target="silver.orders", now=LATER):
            lake.release(unfinished)
        lake.release(lake.planned(CORRECTION, now=LATER))

    crash_sweep(
        prepare=fresh("memory", tmp_path),
        act=act,
        observe=lambda lake: (lake.loaded(), lake.refused()),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format_", "same"),
    [("memory", True), ("iceberg", False), ("delta", False)],
    ids=["one plan, memory", "two plans, iceberg", "two plans, delta"],
)
def test_two_live_releases_of_the_same_rows_load_them_once(tmp_path: Path, format_: str, same: bool) -> None:
    """The other one comes around each commit; elsewhere memory's lock would let neither of them go on."""
    steps: list[str] = []
    learning = Lake(format_, tmp_path / "steps")
    learning.release(learning.plan, steps.append)
    for index in (place for place, step in enumerate(steps) if step.endswith("commit")):
        lake = Lake(format_, tmp_path / str(index))
        other = lake.plan if same else lake.planned(CORRECTION, now=LATER)
        seen: list[str] = []

        def meanwhile(
            step: str, lake: Lake = lake, other: Any = other, seen: list[str] = seen, at: int = index
        ) -> None:
            seen.append(step)
            if len(seen) == at + 1:
                lake.release(other)

        lake.release(lake.plan, meanwhile)
        assert lake.loaded() == LOADED, steps[index]
        assert lake.refused() == [('{"id":3,"amount":-7}', "amount is small", "")], steps[index]


@pytest.mark.slow
@pytest.mark.parametrize("format_", FORMATS)
def test_an_expiry_that_dies_anywhere_and_runs_again_removes_what_was_listed(tmp_path: Path, format_: str) -> None:
    def planned(lake: Lake) -> ExpirePlan:
        table = lake.catalog().table("quarantine.rows")
        return plan_expire(table, engine=ENGINE, older_than=timedelta(days=7), now=LATER)

    def act(lake: Lake, probe: Probe) -> None:
        table = lake.catalog(at_writes(probe)).table("quarantine.rows")
        apply_expire(planned(lake), table, engine=ENGINE, dry_run=False)

    steps = crash_sweep(
        prepare=fresh(format_, tmp_path),
        act=act,
        observe=lambda lake: (lake.refused(), lake.files()),
        at=bool if format_ == "memory" else around_commits,
    )
    assert any("commit" in step for step in steps)
