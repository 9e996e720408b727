"""Suites of Great Expectations: read as checks, and written from checks."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from airflow_provider_lakehouse.core.engines.dialect import listed, quoted
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import (
    Expectation,
    RowCheck,
    TableCheck,
    check_from_json,
    require_distinct,
)
from airflow_provider_lakehouse.core.quality.groups import PLACEHOLDER, UNEXPECTED_ROWS
from airflow_provider_lakehouse.core.quality.questions import CHECKED
from airflow_provider_lakehouse.core.quality.row_conditions import condition_sql
from airflow_provider_lakehouse.core.quality.vocabulary import KINDS, require_valid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider_lakehouse.core.quality.checks import Check, Severity

META: Final = "airflow_provider_lakehouse"
"""Key of `meta` under which a check is kept as it is here."""
_SEVERITIES: Final = {"fail": "critical", "quarantine": "critical", "drop": "warning", "warn": "info"}
_THEIRS: Final = {"critical": "fail", "warning": "warn", "info": "warn"}
_NOT_THEIRS: Final = frozenset({"order_by"})
"""Arguments of ours to types of Great Expectations."""
_SETTINGS: Final = frozenset(
    {
        "mostly",
        "row_condition",
        "condition_parser",
        "severity",
        "result_format",
        "catch_exceptions",
        "batch_id",
        "windows",
    }
)


def suite_of(checks: Iterable[Check], *, name: str) -> dict[str, Any]:
    """Return a suite of Great Expectations as JSON, from which `checks_from_suite` reads the same checks.

    What Great Expectations does not know is written as the nearest that it does, mostly a query of unexpected rows, and as it
    is under `meta`.

    Args:
        checks: Of one table.
        name: Of the suite.

    Raises:
        InvalidRequestError: A check contradicts itself, or has a value that JSON does not hold.

    Example:
        >>> suite = suite_of([Expectation("expect_column_values_to_be_unique", {"column": "id"})], name="orders")
        >>> suite["expectations"][0]["kwargs"]
        {'column': 'id'}
        >>> checks_from_suite(suite)[0].type
        'expect_column_values_to_be_unique'
    """
    given = tuple(checks)
    require_distinct(given)
    require_valid(given)
    return {"name": name, "expectations": [_written(check) for check in given], "meta": {}}


def checks_from_suite(suite: Mapping[str, Any]) -> tuple[Check, ...]:
    """Return the checks of a suite, written by `suite_of` or by Great Expectations, before 1.0 or since.

    A severity `critical` fails and the others warn, unless we wrote another.

    Args:
        suite: Its JSON.

    Raises:
        InvalidRequestError: It is no suite, or an expectation in it is not known or has arguments that mean nothing.
    """
    listed_ = suite.get("expectations") if hasattr(suite, "get") else None
    if not isinstance(listed_, list) or not all(hasattr(one, "get") for one in listed_):
        raise InvalidRequestError("This is no suite: it has no list of expectations. Give the JSON of a suite.")
    checks = tuple(_read(one) for one in listed_)
    require_valid(checks)
    require_distinct(checks)
    return checks


def gx_arguments(check: Expectation) -> dict[str, Any]:
    """Return the arguments of an expectation that Great Expectations knows, in JSON's types."""
    given = {name: as_json(value) for name, value in check.arguments.items() if name not in _NOT_THEIRS}
    if check.mostly < 1:
        given["mostly"] = check.mostly
    return given


def as_json(value: Any) -> Any:  # noqa: ANN401
    """Return an argument in JSON's types; the texts of dates and instants are read as such again.

    Raises:
        InvalidRequestError: A decimal has more digits than a number of JSON keeps.
    """
    if isinstance(value, (set, frozenset)):
        return sorted((as_json(one) for one in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [as_json(one) for one in value]
    if hasattr(value, "items"):
        return {name: as_json(one) for name, one in value.items()}
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return _number(value) if isinstance(value, Decimal) else value


def _number(value: Decimal) -> float | int:
    if value == value.to_integral_value():
        return int(value)
    if Decimal(repr(float(value))) != value:
        raise InvalidRequestError("A number of a check has more digits than JSON keeps. Shorten it.")
    return float(value)


def _written(check: Check) -> dict[str, Any]:
    type_, arguments = _nearest(check)
    written: dict[str, Any] = {
        "type": type_,
        "kwargs": arguments,
        "meta": {META: kept(check)},
        "severity": _SEVERITIES[check.severity],
    }
    if check.description:
        written["description"] = check.description
    return written


def kept(check: Check) -> dict[str, Any]:
    """Return a check as JSON, without settings that are as they are by default."""
    defaults = {field.name: field.default for field in fields(check)}
    settings = {field.name: getattr(check, field.name) for field in fields(check)}
    settings = {name: value for name, value in settings.items() if value != defaults[name]}
    if settings.get("limit") is not None:
        settings["limit"] = asdict(settings["limit"])
    return cast("dict[str, Any]", as_json(settings))


def _nearest(check: Check) -> tuple[str, dict[str, Any]]:
    """Return the nearest that Great Expectations knows."""
    if isinstance(check, RowCheck):
        return _query(f"SELECT * FROM {PLACEHOLDER} WHERE ({check.condition}\n) IS NOT TRUE")
    if isinstance(check, TableCheck):
        wrong = check.query.strip().rstrip(";")
        return _query(f"WITH {CHECKED} AS (SELECT * FROM {PLACEHOLDER}) SELECT * FROM ({wrong}\n) AS wrong")
    if KINDS[check.type].is_extension:
        return _EXTENSIONS[check.type](check)
    arguments = gx_arguments(check)
    if check.row_condition is not None:
        arguments["row_condition"] = {"type": "pass_through", "pass_through_filter": check.row_condition}
    return check.type, arguments


def _query(sql: str) -> tuple[str, dict[str, Any]]:
    return UNEXPECTED_ROWS, {"unexpected_rows_query": sql}


def _recent(check: Expectation) -> tuple[str, dict[str, Any]]:
    newest = f"max({quoted(check.arguments['column'])})"
    where = f" WHERE {check.row_condition}" if check.row_condition else ""
    age = f"INTERVAL '{check.arguments['max_age_seconds']}' SECOND"
    return _query(
        f"SELECT {newest} FROM {PLACEHOLDER}{where} HAVING {newest} IS NULL OR {newest} < CURRENT_TIMESTAMP - {age}"
    )


def _referenced(check: Expectation) -> tuple[str, dict[str, Any]]:
    given = check.arguments
    here = given.get("column_list") or (given["column"],)
    there = given.get("other_columns") or here
    other = ".".join(quoted(part) for part in given["other_table"].rsplit(".", 1))
    same = " AND ".join(f"t.{quoted(b)} = h.{quoted(a)}" for a, b in zip(here, there, strict=True))
    present = " AND ".join(f"h.{quoted(a)} IS NOT NULL" for a in here)
    looked = f"({check.row_condition}) AND " if check.row_condition else ""
    return _query(
        f"SELECT {listed(here, of='h')} FROM {PLACEHOLDER} AS h WHERE {looked}{present} "
        f"AND NOT EXISTS (SELECT 1 FROM {other} AS t WHERE {same})"
    )


def _schema(check: Expectation) -> tuple[str, dict[str, Any]]:
    exact = check.arguments.get("exact_match")
    columns = sorted(check.arguments["columns"])
    return "expect_table_columns_to_match_set", {"column_set": columns, "exact_match": exact is None or exact}


_EXTENSIONS: Final[dict[str, Callable[[Expectation], tuple[str, dict[str, Any]]]]] = {
    "expect_column_max_to_be_recent": _recent,
    "expect_column_values_to_exist_in_other_table": _referenced,
    "expect_table_to_match_schema": _schema,
}


def _read(written: Mapping[str, Any]) -> Check:
    meta = written.get("meta") or {}
    if META in meta:
        return check_from_json(meta[META])
    type_ = written.get("type") or written.get("expectation_type")
    arguments = {name: value for name, value in (written.get("kwargs") or {}).items() if value is not None}
    if not isinstance(type_, str):
        raise InvalidRequestError("An expectation of the suite has no type. Give the JSON of a suite.")
    condition = arguments.get("row_condition")
    severity = _THEIRS.get(str(written.get("severity") or "critical"), "fail")
    return Expectation(
        type_,
        {name: value for name, value in arguments.items() if name not in _SETTINGS},
        mostly=arguments.get("mostly", 1.0),
        row_condition=condition_sql(condition, parser=arguments.get("condition_parser")) if condition else None,
        severity=cast("Severity", severity),
        name=str(meta.get("name") or ""),
        description=str(written.get("description") or ""),
    )
