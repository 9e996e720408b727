"""A result as the `ValidationResult` of Great Expectations, from which its Data Docs are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import require_distinct
from airflow_provider_lakehouse.core.quality.suites import META, as_json, suite_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_lakehouse.core.quality.checks import Check, CheckOutcome
    from airflow_provider_lakehouse.core.quality.run import ChecksResult


def to_validation_result(result: ChecksResult, checks: Sequence[Check]) -> dict[str, Any]:
    """Return a result as JSON in the form of Great Expectations.

    What the form has no place for is under `meta`: table, version, partition, contract and runner of the result, and name, verdict,
    owner and counts of each check. A check that is unknown is one that raised an exception. Values of rows are nowhere.

    Args:
        result: What was found.
        checks: Those that were run, in any order.

    Raises:
        InvalidRequestError: Two checks have the same name, or an outcome is of none of them.

    Example:
        >>> from airflow_provider_lakehouse.core.quality.checks import CheckOutcome, RowCheck
        >>> from airflow_provider_lakehouse.core.quality.run import ChecksResult
        >>> found = ChecksResult("sales.orders", 7, 10, (CheckOutcome("positive", "fail", 2, "broken", rows=10),))
        >>> written = to_validation_result(found, [RowCheck("positive", "amount > 0")])
        >>> written["success"], written["results"][0]["result"]["unexpected_percent"]
        (False, 20.0)
    """
    require_distinct(tuple(checks))
    by_name = {check.name: check for check in checks}
    lost = tuple(one.name for one in result.outcomes if one.name not in by_name)
    if lost:
        raise InvalidRequestError(
            "Outcomes are of checks that are not given. Give the checks that were run.", checks=lost
        )
    suite = suite_of([by_name[one.name] for one in result.outcomes], name=result.table)
    written = zip(result.outcomes, suite["expectations"], strict=True)
    results = [_outcome(outcome, expectation, by_name[outcome.name]) for outcome, expectation in written]
    met = sum(one["success"] for one in results)
    return {
        "success": met == len(results),
        "suite_name": result.table,
        "suite_parameters": {},
        "statistics": {
            "evaluated_expectations": len(results),
            "successful_expectations": met,
            "unsuccessful_expectations": len(results) - met,
            "success_percent": 100 * met / len(results) if results else None,
        },
        "results": results,
        "meta": _meta(result),
        "id": None,
    }


def _meta(result: ChecksResult) -> dict[str, Any]:
    batch = "/".join(filter(None, (result.table, result.partition)))
    at = result.checked_at.isoformat() if result.checked_at else None
    return {
        "run_id": {"run_name": f"{batch}@{result.version}", "run_time": at},
        "validation_time": at,
        "batch_spec": {"batch_data": batch},
        "active_batch_definition": {
            "datasource_name": META,
            "data_connector_name": "lakehouse",
            "data_asset_name": result.table,
            "batch_identifiers": {"version": result.version, "partition": result.partition},
        },
        META: {
            "table": result.table,
            "version": result.version,
            "partition": result.partition,
            "contract": result.contract,
            "runner": result.runner,
            "rows": result.rows,
        },
    }


def _outcome(outcome: CheckOutcome, expectation: dict[str, Any], check: Check) -> dict[str, Any]:
    facts = {
        "name": outcome.name,
        "verdict": outcome.verdict,
        "severity": outcome.severity,
        "owner": check.owner,
        "violations": outcome.violations,
    }
    return {
        "success": outcome.passed,
        "expectation_config": expectation,
        "result": _counts(outcome) if not outcome.error else {},
        "meta": {META: facts},
        "exception_info": {
            "raised_exception": bool(outcome.error),
            "exception_message": outcome.error or None,
            # Data Docs need one where something was raised.
            "exception_traceback": "" if outcome.error else None,
        },
    }


def _counts(outcome: CheckOutcome) -> dict[str, Any]:
    if outcome.rows is None:
        observed = outcome.violations if outcome.observed is None else as_json(outcome.observed)
        return {"observed_value": observed}
    missing = outcome.missing or 0
    present = outcome.rows - missing
    counts: dict[str, Any] = {
        "element_count": outcome.rows,
        "unexpected_count": outcome.violations,
        "unexpected_percent": _percent(outcome.violations, present),
        "partial_unexpected_list": [],
    }
    if outcome.missing is not None:
        counts["missing_count"] = missing
        counts["missing_percent"] = _percent(missing, outcome.rows)
        counts["unexpected_percent_total"] = _percent(outcome.violations, outcome.rows)
        counts["unexpected_percent_nonmissing"] = counts["unexpected_percent"]
    return counts


def _percent(part: int, of: int) -> float | None:
    return 100 * part / of if of else None
