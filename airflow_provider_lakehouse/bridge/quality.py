"""What checks found, as lineage, asset events and XCom tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.bridge.lineage import Assertion, Metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_lakehouse.core.quality.checks import CheckOutcome
    from airflow_provider_lakehouse.core.quality.run import ChecksResult

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
