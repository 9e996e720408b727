"""Die around every call that leaves the process while a breaker opens, is probed and closes, and do the same again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_provider_lakehouse.core.quality.breaker import BreakerRules
from airflow_provider_lakehouse.core.quality.breaker_log import BreakerLog
from airflow_provider_lakehouse.core.quality.checks import CheckOutcome
from airflow_provider_lakehouse.core.quality.run import ChecksResult
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, no_probe
from airflow_provider_lakehouse.testing.faults import crash_sweep

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from airflow_provider_lakehouse.core.tables.base import Probe

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DUE = NOW + timedelta(hours=1)
RULES = BreakerRules()
SCOPE = "sales.orders"


def log_of(format_: str, root: Path, probe: Probe = no_probe) -> BreakerLog:
    settings = CatalogSettings(format_, f"memory://{root}" if format_ == "memory" else f"file://{root}/lake")
    return BreakerLog(find("tables", format_)(settings, probe=probe).table("quality.breakers"))


def result(verdict: Any, version: int, severity: Any = "fail") -> ChecksResult:
    return ChecksResult(SCOPE, version, 10, (CheckOutcome("amount", severity, int(verdict == "broken"), verdict),))


def count(log: BreakerLog) -> None:
    log.record(SCOPE, result("broken", 1, "quarantine"), rules=RULES, by="run-0", now=NOW)


def opening(log: BreakerLog) -> None:
    log.record(SCOPE, result("broken", 2), rules=RULES, by="run-1", now=NOW)


def probing(log: BreakerLog) -> None:
    assert log.admit(SCOPE, rules=RULES, by="run-2", now=DUE).is_probe


def failing(log: BreakerLog) -> None:
    log.record(SCOPE, result("broken", 3), rules=RULES, by="run-2", now=DUE)


def closing(log: BreakerLog) -> None:
    log.record(SCOPE, result("passed", 3), rules=RULES, by="run-2", now=DUE)


def holding(log: BreakerLog) -> None:
    log.hold_open(SCOPE, by="ann", reason="migration", now=NOW)


def resetting(log: BreakerLog) -> None:
    log.reset(SCOPE, by="ann", reason="the source was mended", now=DUE)


SWEEPS = {
    "count": ([], count),
    "open": ([count], opening),
    "probe": ([opening], probing),
    "fail the probe": ([opening, probing], failing),
    "close": ([opening, probing], closing),
    "hold": ([count], holding),
    "reset": ([opening], resetting),
}


@pytest.mark.parametrize("format_", ["memory", "iceberg", "delta"])
@pytest.mark.parametrize("name", SWEEPS)
def test_a_change_that_dies_anywhere_and_is_done_again_is_there_once(tmp_path: Path, format_: str, name: str) -> None:
    before, act = SWEEPS[name]

    def prepare(number: int) -> Path:
        root = tmp_path / str(number)
        root.mkdir()
        for step in before:
            step(log_of(format_, root))
        return root

    steps = crash_sweep(
        prepare=prepare,
        act=lambda root, probe: act(log_of(format_, root, probe)),
        observe=lambda root: log_of(format_, root).history(SCOPE),
        # The other calls of a commit are the backend's, which its own specification dies at.
        at=bool if format_ == "memory" else lambda step: step.endswith("commit"),
    )
    assert any("commit" in step for step in steps)
