"""What checks found, as lineage and asset events tell it, and the verdict as those that read a table find it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow_provider_lakehouse.bridge.lineage import Assertion, Metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_lakehouse.core.quality.checks import CheckOutcome
    from airflow_provider_lakehouse.core.quality.run import ChecksResult

QUALITY_KEY: Final = "quality"
"""Key of the verdict in the extra of an asset event."""

_VERDICTS: Final[dict[Any, Literal["passed", "broken"]]] = {"passed": "passed", "broken": "broken"}
"""Verdicts that an event may name; any other word is one that nobody knows."""


def quality_facts(result: ChecksResult) -> dict[str, Any]:
    """Return the verdict on what was checked, for an asset event.

    Broken warnings are counted and do not change it. Where the checks that do are broken here and unknown there, it is
    `broken`.

    Example:
        >>> from airflow_provider_lakehouse.core.quality.run import ChecksResult
        >>> quality_facts(ChecksResult("sales.orders", 7, 100, ()))["verdict"]
        'passed'
    """
    verdicts = {one.verdict for one in result.failed}
    verdict = "broken" if "broken" in verdicts else "unknown" if verdicts else "passed"
    return {
        "version": result.version,
        "verdict": verdict,
        "checks": len(result.outcomes),
        "broken": sum(one.verdict == "broken" for one in result.outcomes),
        "unknown": sum(one.verdict == "unknown" for one in result.outcomes),
    }


@dataclass(frozen=True)
class QualitySighting:
    """What the events of an asset say about its newest version.

    Args:
        verdict: `missing` where nobody checked that version, or said so.
        version: The newest version that an event names; None where none does.
        checks: Checks that ran.
        broken: Those that are broken.
        unknown: Those that could not be evaluated.
    """

    verdict: Literal["passed", "broken", "unknown", "missing"]
    version: int | None = None
    checks: int = 0
    broken: int = 0
    unknown: int = 0


def newest_quality(events: Iterable[Mapping[str, Any]]) -> QualitySighting:
    """Return the verdict on the newest version.

    Args:
        events: Extras of an asset's events, newest first. Those that name no version are passed over.

    Example:
        >>> checked = {"version": 7, "quality": {"version": 7, "verdict": "passed", "checks": 3}}
        >>> newest_quality([checked, {"version": 7}]).verdict
        'passed'
        >>> newest_quality([{"version": 8}, checked])
        QualitySighting(verdict='missing', version=8, checks=0, broken=0, unknown=0)
    """
    newest: int | None = None
    for extra in events:
        version = _version(extra)
        newest = version if newest is None else newest
        said = extra.get(QUALITY_KEY)
        if newest is not None and isinstance(said, Mapping) and said.get("version") == newest:
            known: Literal["passed", "broken", "unknown"] = _VERDICTS.get(said.get("verdict"), "unknown")
            counts = {name: int(said.get(name) or 0) for name in ("checks", "broken", "unknown")}
            return QualitySighting(known, newest, **counts)
    return QualitySighting("missing", newest)


def _version(extra: Mapping[str, Any]) -> int | None:
    """Return the version an event names; a watcher's event has it in its payload. Staged batches are no versions yet."""
    payload = extra.get("payload")
    told = payload if isinstance(payload, Mapping) else extra
    version = told.get("version")
    return version if isinstance(version, int) and not told.get("branch") else None


_MEASURES: Final = {
    "expect_column_unique_value_count_to_be_between": "distinctCount",
    "expect_column_min_to_be_between": "min",
    "expect_column_max_to_be_between": "max",
    "expect_column_sum_to_be_between": "sum",
}
"""What the observed value of an expectation is called in OpenLineage's metrics of a column."""


def assertions_of(outcomes: Iterable[CheckOutcome]) -> tuple[Assertion, ...]:
    """Return what checks found as assertions."""
    return tuple(
        Assertion(
            one.name,
            one.severity,
            one.violations,
            one.columns[0] if len(one.columns) == 1 else "",
            one.passed,
            one.type,
        )
        for one in outcomes
    )


def metrics_of(result: ChecksResult) -> Metrics:
    """Return the metrics of columns that checks measured on their way.

    Example:
        >>> from airflow_provider_lakehouse.core.quality.checks import CheckOutcome
        >>> from airflow_provider_lakehouse.core.quality.run import ChecksResult
        >>> there = CheckOutcome("id", "fail", 2, "broken", "expect_column_values_to_not_be_null", ("id",), 10)
        >>> metrics_of(ChecksResult("sales.orders", 1, 10, (there,))).columns
        {'id': {'nullCount': 2}}
    """
    columns: dict[str, dict[str, Any]] = {}
    for one in result.outcomes:
        if len(one.columns) != 1 or one.verdict == "unknown":
            continue
        found = columns.setdefault(one.columns[0], {})
        if one.type == "expect_column_values_to_not_be_null":
            found["nullCount"] = one.violations
        elif one.type in _MEASURES and _is_number(one.observed):
            found[_MEASURES[one.type]] = one.observed
    return Metrics(result.rows, {name: found for name, found in columns.items() if found})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
