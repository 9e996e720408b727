"""Run checks by Great Expectations itself, for those who want its judgement.

It is slow to import and holds the rows it looks at in memory as pandas frames: run it in a process of its own, such as a task's,
and on tables that fit.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.engines.dialect import listed
from airflow_provider_lakehouse.core.errors import LakehouseError
from airflow_provider_lakehouse.core.quality.checks import Expectation, require_distinct
from airflow_provider_lakehouse.core.quality.conditions import looked_at
from airflow_provider_lakehouse.core.quality.questions import CHECKED, Finding, shown
from airflow_provider_lakehouse.core.quality.run import (
    ChecksResult,
    judged_outcome,
    pinned,
    reason_of,
    run_checks,
    unknown_outcome,
)
from airflow_provider_lakehouse.core.quality.statements import require_queries
from airflow_provider_lakehouse.core.quality.suites import gx_arguments
from airflow_provider_lakehouse.core.quality.vocabulary import KINDS, require_valid
from airflow_provider_lakehouse.core.registry import require_extra
from airflow_provider_lakehouse.core.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Engine, Relation
    from airflow_provider_lakehouse.core.quality.checks import Check, CheckOutcome
    from airflow_provider_lakehouse.core.schema import Schema

RUNNER: Final = "great_expectations"
_OURS: Final = frozenset(
    {
        "expect_column_values_to_be_of_type",
        "expect_column_values_to_be_in_type_list",
        "expect_table_row_count_to_equal_other_table",
        "unexpected_rows_expectation",
    }
)
"""Types that Great Expectations judges otherwise over pandas, or not at all: by pandas' types, or with a database."""
_OF_VALUES: Final = frozenset(
    {
        "expect_column_values_to_be_between",
        "expect_column_min_to_be_between",
        "expect_column_max_to_be_between",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_not_be_in_set",
        "expect_column_distinct_values_to_be_in_set",
        "expect_column_distinct_values_to_contain_set",
        "expect_column_distinct_values_to_equal_set",
        "expect_column_most_common_value_to_be_in_set",
    }
)
"""Types whose arguments are values of the column."""
_EXACT: Final = 2**53
_COUNTS: Final = ("unexpected_count", "element_count", "missing_count")
_INSTANTS: Final = ("date", "timestamp", "timestamptz")


@dataclass(frozen=True, slots=True)
class _Frame:
    """Which rows a check looks at, in which order."""

    condition: str
    order: tuple[str, ...]


def run_great_expectations(
    relation: Relation,
    checks: Sequence[Check],
    *,
    engine: Engine,
    table: str,
    version: int,
    now: datetime | None = None,
    tables: Mapping[str, Relation] | None = None,
) -> ChecksResult:
    """Check a table as `run_checks` does, with the judgement of Great Expectations over pandas.

    Row conditions and orders are applied by the engine, which hands out the columns that checks name. Conditions and queries in
    SQL, types of columns, other tables and our own types of expectations are judged by `run_checks`: Great Expectations has
    no judgement of them over pandas.

    Args:
        relation: What is checked.
        checks: As for `run_checks`.
        engine: Reads the rows.
        table: Name of the table, for the result.
        version: Version that `relation` shows, for the result.
        now: Instant of the check, timezone-aware.
        tables: Other tables that checks name, by the name they use.

    Returns:
        What was found, with the runner `great_expectations`.

    Raises:
        UnsupportedError: Great Expectations is not installed.
        InvalidRequestError: As for `run_checks`.

    Guarantees:
        Memory: once as Arrow and once or more as pandas, of all rows and of the columns that checks name; for each row condition
            anew.
        Network: none; nothing is reported to anybody.
    """
    require_extra("great-expectations", purpose="to run checks by Great Expectations")
    require_distinct(tuple(checks))
    require_valid(checks)
    require_queries(checks, engine=engine)
    steady, schema = pinned(relation)
    own = [check for check in checks if not _is_theirs(check)]
    ours = run_checks(steady, own, engine=engine, table=table, version=version, now=now, tables=tables)
    found = {one.name: one for one in ours.outcomes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own deprecations, about which nobody here can do anything
        for frame, some in _by_frame(check for check in checks if _is_theirs(check)).items():
            found |= _run(steady, some, frame, schema=schema, engine=engine)
    outcomes = tuple(found[check.name] for check in checks)
    rows = max((one.rows for one in outcomes if one.rows is not None), default=None)
    return ChecksResult(table, version, rows, outcomes, now, runner=RUNNER)


def _is_theirs(check: Check) -> bool:
    return isinstance(check, Expectation) and not KINDS[check.type].is_extension and check.type not in _OURS


def _by_frame(checks: Iterable[Check]) -> dict[_Frame, list[Expectation]]:
    frames: dict[_Frame, list[Expectation]] = {}
    for check in checks:
        if isinstance(check, Expectation):
            order = check.arguments.get("order_by") or ()
            order = (order,) if isinstance(order, str) else tuple(order)
            frames.setdefault(_Frame(looked_at(check), order), []).append(check)
    return frames


def _run(
    relation: Relation, checks: list[Expectation], frame: _Frame, *, schema: Schema, engine: Engine
) -> dict[str, CheckOutcome]:
    """Run the checks of one frame, those first that can be: a column that is not there is known before."""
    absent = {c.name: reason for c in checks if (reason := _absent(c, frame, schema))}
    judged = [check for check in checks if check.name not in absent]
    outcomes = {check.name: unknown_outcome(check, absent[check.name]) for check in checks if check.name in absent}
    try:
        rows = _rows(relation, judged, frame, schema=schema, engine=engine) if judged else None
    except LakehouseError as error:
        return outcomes | {check.name: unknown_outcome(check, reason_of(error)) for check in judged}
    return outcomes | (_judge(rows, judged, schema) if rows is not None else {})


def _absent(check: Expectation, frame: _Frame, schema: Schema) -> str:
    if KINDS[check.type].scope == "table":
        return ""
    missing = [name for name in (*check.columns, *frame.order) if name not in schema.by_name]
    return f"There is no column {missing[0]!r}, which a check looks at." if missing else ""


def _rows(
    relation: Relation, checks: list[Expectation], frame: _Frame, *, schema: Schema, engine: Engine
) -> pd.DataFrame:
    """Return the columns that checks name; all where a check is about the columns themselves, but then no more rows than needed."""
    named = dict.fromkeys(name for check in checks for name in check.columns if name in schema.by_name)
    whole = any(KINDS[check.type].scope == "table" for check in checks)
    wanted = schema.names if whole else tuple(named)
    where = f" WHERE {frame.condition}" if frame.condition else ""
    order = f" ORDER BY {listed(frame.order)}" if frame.order else ""
    with engine.query(f"SELECT {listed(wanted)} FROM {CHECKED}{where}{order}", tables={CHECKED: relation}) as reader:
        return _as_pandas(reader.read_all())


def _as_pandas(rows: pa.Table) -> pd.DataFrame:
    """Return rows as a frame of numbers, texts and instants, which Great Expectations compares with what it is given.

    Dates become instants and decimals become doubles. Whole numbers with nulls among them become doubles too, where a double holds
    them all.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    nullable = {pa.int64(): pd.Int64Dtype()}
    columns = [column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column for column in rows.columns]
    frame = pa.table(columns, names=rows.column_names).to_pandas(date_as_object=False)
    for name, column in zip(rows.column_names, columns, strict=True):
        if column.type in nullable and column.null_count and (pc.max(pc.abs(column)).as_py() or 0) > _EXACT:
            frame[name] = column.to_pandas(types_mapper=nullable.get)
    return frame


def _judge(rows: pd.DataFrame, checks: list[Expectation], schema: Schema) -> dict[str, CheckOutcome]:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.registry import get_expectation_impl

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    asset = context.data_sources.add_pandas(name="rows").add_dataframe_asset(name=CHECKED)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": rows})
    outcomes, expectations = {}, []
    for number, check in enumerate(checks):
        try:
            kind = get_expectation_impl(check.type)
            expectations.append(kind(**_arguments(check, schema), meta={"number": number}))
        except (ValueError, TypeError) as error:  # pydantic's errors among them
            outcomes[check.name] = unknown_outcome(
                check, f"Great Expectations does not take it: {type(error).__name__}."
            )
    suite = gx.ExpectationSuite(name="checks", expectations=expectations)
    for one in batch.validate(suite, result_format="SUMMARY").results:
        check = checks[one.expectation_config.meta["number"]]  # type: ignore[union-attr]
        outcomes[check.name] = _outcome(check, one)
    return outcomes


def _arguments(check: Expectation, schema: Schema) -> dict[str, Any]:
    """Return arguments as Great Expectations over pandas takes them: instants are pandas' own."""
    given = gx_arguments(check)
    names = check.columns
    kinds = {parse_type(schema.by_name[name].type).name for name in names if name in schema.by_name}
    if check.type not in _OF_VALUES or len(kinds) != 1 or not kinds & set(_INSTANTS):
        return given
    zone = UTC if kinds == {"timestamptz"} else None
    for name in ("min_value", "max_value"):
        if given.get(name) is not None:
            given[name] = _instant(given[name], zone)
    if "value_set" in given:
        given["value_set"] = [_instant(value, zone) for value in given["value_set"]]
    return given


def _instant(value: Any, zone: Any) -> Any:  # noqa: ANN401
    import pandas as pd

    moment = value if isinstance(value, date) else datetime.fromisoformat(value)
    stamp = pd.Timestamp(moment)
    return stamp.tz_localize(zone) if zone is not None and stamp.tz is None else stamp


def _outcome(check: Expectation, found: Any) -> CheckOutcome:  # noqa: ANN401
    failures = _exceptions(found.exception_info or {})
    if failures:
        return unknown_outcome(check, f"Great Expectations could not evaluate it: {', '.join(failures)}.")
    result, met = found.result, bool(found.success)
    if KINDS[check.type].tolerant:
        broken, looked, missing = (int(result.get(name) or 0) for name in _COUNTS)
        return judged_outcome(check, Finding(met, broken, looked, missing))
    observed = result.get("observed_value")
    plain = shown(observed.item() if hasattr(observed, "item") else observed)
    return judged_outcome(check, Finding(met, 0 if met else 1, observed=plain))


def _exceptions(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the kinds of what was raised. Messages are left out, since they may hold values of rows."""
    parts = [info] if "raised_exception" in info else list(info.values())
    raised = [part for part in parts if part.get("raised_exception")]
    return tuple(sorted({_kind(part) for part in raised}))


def _kind(part: Mapping[str, Any]) -> str:
    trace = str(part.get("exception_traceback") or "").strip().splitlines()
    name = trace[-1].partition(":")[0].rpartition(".")[2].strip() if trace else ""
    # The last line may be one of a message of many, and then it is no name.
    return name if name.isidentifier() and name.endswith(("Error", "Exception")) else "an error"
