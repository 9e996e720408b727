"""Results of checks, and logs of breakers, for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.core.quality.breaker_log import BreakerLog
from airflow_provider_lakehouse.core.quality.checks import CheckOutcome
from airflow_provider_lakehouse.core.quality.run import ChecksResult
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, no_probe

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import Probe

START = datetime(2026, 5, 1, 6, tzinfo=UTC)
FORMATS = ("memory", "iceberg", "delta")
SCOPE = "sales.orders"


def after(**time: float) -> datetime:
    """An instant so long after the start."""
    return START + timedelta(**time)


def found(
    severity: Any = "fail",
    verdict: Any = "broken",
    *,
    version: int = 1,
    table: str = SCOPE,
    rows: int | None = None,
    **more: Any,
) -> ChecksResult:
    """What one check found."""
    violations = 0 if verdict == "passed" else 3
    return ChecksResult(table, version, rows, (CheckOutcome("amount", severity, violations, verdict),), **more)


def good(**options: Any) -> ChecksResult:
    """A check that passed."""
    return found(verdict="passed", **options)


def opened_log(format_: str, root: Path, probe: Probe = no_probe) -> BreakerLog:
    """The log below a folder; the same folder again is the same log."""
    settings = CatalogSettings(format_, f"memory://{root}" if format_ == "memory" else f"file://{root}/lake")
    return BreakerLog(find("tables", format_)(settings, probe=probe).table("quality.breakers"))
