"""Checks of one number of a column, such as its mean, as questions."""

from __future__ import annotations

from datetime import UTC, date, datetime
from math import floor, isclose
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.columns import FLOATING, Columns
from airflow_provider_lakehouse.core.quality.conditions import ends_of, looked_at, range_sql
from airflow_provider_lakehouse.core.quality.questions import (
    CHECKED,
    Finding,
    Question,
    both,
    filtered,
    shown,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_lakehouse.core.quality.checks import Expectation
    from airflow_provider_lakehouse.core.quality.questions import Row, Setting

_QUANTILE_TOLERANCE: Final = 1e-4
"""How far, relatively, a quantile may lie beside an end of its range: Great Expectations allows it."""


def _measured(check: Expectation, *measures: str, number: Callable[..., Any] = lambda value: value) -> Question:
    """Return a question about a number that is made of measures."""

    def judge(row: Row) -> Finding:
        found = number(*row)
        is_met = within(found, check.arguments)
        return Finding(is_met, 0 if is_met else 1, observed=shown(found))

    return Question(judge, measures)


def _extreme(function: str) -> Callable[[Expectation, Setting], Question]:
    def question(check: Expectation, setting: Setting) -> Question:
        columns, name = Columns(setting.schema, check.name), check.arguments["column"]
        found = filtered(f"{function}({columns.value(name)})", looked_at(check))
        # SQL compares, since it knows texts, dates and numbers alike.
        met = range_sql(found, *ends_of(check.arguments, columns, name), given=check.arguments)

        def judge(row: Row) -> Finding:
            value, is_met = row
            return Finding(bool(is_met), 0 if is_met else 1, observed=shown(value))

        return Question(judge, (_plain(found, columns.type_of(name).name), met))

    return question


def _plain(value: str, kind: str) -> str:
    """Return a value that may be shown: those of other types are not, and need not be carried."""
    return "NULL" if kind in ("string", "binary", "uuid", "fixed") else value


def _of_numbers(function: str, *, empty: str = "") -> Callable[[Expectation, Setting], Question]:
    def question(check: Expectation, setting: Setting) -> Question:
        value = Columns(setting.schema, check.name).number(check.arguments["column"])
        found = filtered(f"{function}({value})", looked_at(check))
        return _measured(check, f"coalesce({found}, {empty})" if empty else found)

    return question


def _stdev(check: Expectation, setting: Setting) -> Question:
    """Return the question about the standard deviation of a sample. With an infinite value among them there is none."""
    columns, name = Columns(setting.schema, check.name), check.arguments["column"]
    value, rows = columns.number(name), looked_at(check)
    if columns.type_of(name).name not in FLOATING:
        return _measured(check, filtered(f"stddev_samp({value})", rows))
    finite = filtered(f"stddev_samp({value})", both(rows, f"isfinite({value})"))
    infinite = filtered("count(*)", both(rows, f"isinf({value})"))
    return _measured(check, finite, infinite, number=lambda found, endless: None if endless else found)


def _non_null_share(check: Expectation, setting: Setting) -> Question:
    value, rows = Columns(setting.schema, check.name).value(check.arguments["column"]), looked_at(check)
    measures = (filtered(f"count({value})", rows), filtered("count(*)", rows))
    return _measured(check, *measures, number=lambda there, of: there / of if of else 0.0)


def _counts_of_values(check: Expectation, value: str) -> str:
    """Return a query of every value with how often it is there."""
    rows = both(looked_at(check), f"{value} IS NOT NULL")
    return f"SELECT {value} AS value, count(*) AS times FROM {CHECKED} WHERE {rows} GROUP BY 1"


def _distinct(number: Callable[[int, int], float]) -> Callable[[Expectation, Setting], Question]:
    def question(check: Expectation, setting: Setting) -> Question:
        value = Columns(setting.schema, check.name).value(check.arguments["column"])
        asked = f"SELECT count(*), coalesce(sum(times), 0) FROM ({_counts_of_values(check, value)}) AS counts"
        judge = _measured(check, number=lambda distinct, of: number(int(distinct), int(of))).judge
        return Question(judge, statement=asked, width=2)

    return question


def _distinct_set(check: Expectation, setting: Setting) -> Question:
    """Return the question how many distinct values are of a set, and how many are not."""
    columns, name = Columns(setting.schema, check.name), check.arguments["column"]
    listed = columns.literals(check.arguments["value_set"], name)
    counts = _counts_of_values(check, columns.value(name))
    # The members are counted by the engine, which knows that 1 and 1.0 are one value.
    members = f"SELECT count(DISTINCT member) FROM (SELECT unnest([{listed}]) AS member) AS members"
    asked = f"SELECT count(*), count(*) FILTER (value IN ({listed})), ({members}) FROM ({counts}) AS counts"

    def judge(row: Row) -> Finding:
        distinct, inside, wanted = row
        outside, absent = distinct - inside, wanted - inside
        wrong = {
            "expect_column_distinct_values_to_be_in_set": outside,
            "expect_column_distinct_values_to_contain_set": absent,
        }.get(check.type, outside + absent)
        return Finding(not wrong, wrong, observed={"distinct": distinct, "outside": outside, "absent": absent})

    return Question(judge, statement=asked, width=3)


def _most_common(check: Expectation, setting: Setting) -> Question:
    columns, name = Columns(setting.schema, check.name), check.arguments["column"]
    counts = _counts_of_values(check, columns.value(name))
    listed = columns.literals(check.arguments["value_set"], name)
    asked = (
        f"WITH counts AS MATERIALIZED ({counts}) SELECT count(*), count(*) FILTER (value IN ({listed})) FROM counts "
        "WHERE times = (SELECT max(times) FROM counts)"
    )

    def judge(row: Row) -> Finding:
        tied, inside = row
        is_met = inside > 0 if check.arguments.get("ties_okay") else tied == inside == 1
        return Finding(is_met, 0 if is_met else 1, observed={"most_common": tied, "in_set": inside})

    return Question(judge, statement=asked, width=2)


def _median(check: Expectation, setting: Setting) -> Question:
    value = Columns(setting.schema, check.name).number(check.arguments["column"])

    def judge(row: Row) -> Finding:
        found = _quantile(row[1], row[2], row[0], 0.5, "midpoint")
        is_met = within(found, check.arguments)
        return Finding(is_met, 0 if is_met else 1, observed=shown(found))

    return Question(judge, statement=_ranked(check, value, (0.5,)), width=3)


def _quantiles(check: Expectation, setting: Setting) -> Question:
    shares = tuple(map(float, check.arguments["quantile_ranges"]["quantiles"]))
    ranges = check.arguments["quantile_ranges"]["value_ranges"]
    between = check.arguments.get("allow_relative_error")
    between = between if isinstance(between, str) else "nearest"
    value = Columns(setting.schema, check.name).number(check.arguments["column"])

    def judge(row: Row) -> Finding:
        total, *ends = row
        pairs = zip(ends[::2], ends[1::2], shares, strict=True)
        found = [_quantile(low, high, total, share, between) for low, high, share in pairs]
        wrong = sum(not _is_near(value, *ends) for value, ends in zip(found, ranges, strict=True))
        observed = {"quantiles": list(shares), "values": list(map(shown, found))}
        return Finding(not wrong, wrong, observed=observed)

    return Question(judge, statement=_ranked(check, value, shares), width=1 + 2 * len(shares))


def _ranked(check: Expectation, value: str, shares: tuple[float, ...]) -> str:
    """Return a query of the values at and beside the places of quantiles. The engine sorts, on disk where memory ends."""
    places = (f"{end}((total - 1) * CAST({share!r} AS DOUBLE))" for share in shares for end in ("floor", "ceil"))
    found = ", ".join(f"max(value) FILTER (place = {place})" for place in places)
    rows = both(looked_at(check), f"{value} IS NOT NULL")
    ranked = f"SELECT {value} AS value, row_number() OVER (ORDER BY {value}) - 1 AS place FROM {CHECKED} WHERE {rows}"
    total = f"SELECT count(*) AS total FROM {CHECKED} WHERE {rows}"
    return f"SELECT count(*), {found} FROM ({ranked}) AS ranked, ({total}) AS counted"


def _quantile(low: Any, high: Any, total: int, share: float, between: str) -> float | None:  # noqa: ANN401
    """Return a quantile from the values at both sides of its place."""
    if low is None or high is None:
        return None
    place = (total - 1) * share
    lower, higher = float(low), float(high)
    if lower == higher or between == "lower":
        return lower
    if between == "nearest":
        return lower if round(place) == floor(place) else higher
    part = {"higher": 1.0, "midpoint": 0.5}.get(between, place - floor(place))
    return higher if part == 1 else lower + (higher - lower) * part


def _is_near(value: float | None, low: float | None, high: float | None) -> bool:
    """Tell whether a value lies in a range, or so little beside it that Great Expectations lets it pass."""
    if value is None:
        return False
    if any(end is not None and isclose(value, end, rel_tol=_QUANTILE_TOLERANCE) for end in (low, high)):
        return True
    return (low is None or low <= value) and (high is None or value <= high)


def _recent(check: Expectation, setting: Setting) -> Question:
    columns, name = Columns(setting.schema, check.name), check.arguments["column"]
    kind, now = columns.type_of(name).name, setting.now
    if kind not in ("date", "timestamp", "timestamptz") or now is None:
        raise InvalidRequestError(
            "How recent a column is needs a column of dates or instants, and the instant of the check. Give both.",
            check=check.name,
            type=kind,
        )

    def judge(row: Row) -> Finding:
        newest = _moment(row[0])
        age = None if newest is None else (now - newest).total_seconds()
        is_met = age is not None and age <= check.arguments["max_age_seconds"]
        observed = {"newest_at": shown(newest), "age_seconds": age}
        return Finding(is_met, 0 if is_met else 1, observed=observed)

    return Question(judge, (filtered(f"max({columns.value(name)})", looked_at(check)),))


def _moment(value: Any) -> datetime | None:  # noqa: ANN401
    """Return a date or an instant as an instant; without a zone it is of UTC."""
    if value is None or isinstance(value, datetime):
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)
    return datetime(value.year, value.month, value.day, tzinfo=UTC) if isinstance(value, date) else None


QUESTIONS: Final[dict[str, Callable[[Expectation, Setting], Question]]] = {
    "expect_column_min_to_be_between": _extreme("min"),
    "expect_column_max_to_be_between": _extreme("max"),
    "expect_column_mean_to_be_between": _of_numbers("avg"),
    "expect_column_sum_to_be_between": _of_numbers("sum", empty="0"),
    "expect_column_stdev_to_be_between": _stdev,
    "expect_column_median_to_be_between": _median,
    "expect_column_quantile_values_to_be_between": _quantiles,
    "expect_column_unique_value_count_to_be_between": _distinct(lambda distinct, of: distinct),
    "expect_column_proportion_of_unique_values_to_be_between": _distinct(
        lambda distinct, of: distinct / of if of else 0.0
    ),
    "expect_column_proportion_of_non_null_values_to_be_between": _non_null_share,
    "expect_column_distinct_values_to_be_in_set": _distinct_set,
    "expect_column_distinct_values_to_contain_set": _distinct_set,
    "expect_column_distinct_values_to_equal_set": _distinct_set,
    "expect_column_most_common_value_to_be_in_set": _most_common,
    "expect_column_max_to_be_recent": _recent,
}
"""By type of expectation: how its question is made."""
