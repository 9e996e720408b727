"""Checks of rows among other rows, and of rows in other tables, as questions with a statement of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.engines.dialect import listed, quoted
from airflow_provider_lakehouse.core.quality.columns import Columns
from airflow_provider_lakehouse.core.quality.conditions import left_out, looked_at
from airflow_provider_lakehouse.core.quality.questions import (
    CHECKED,
    Finding,
    Question,
    both,
    counted,
    filtered,
    within,
)
from airflow_provider_lakehouse.core.tables.base import RESERVED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_lakehouse.core.quality.checks import Expectation
    from airflow_provider_lakehouse.core.quality.questions import Row, Setting

UNEXPECTED_ROWS: Final = "unexpected_rows_expectation"
PLACEHOLDER: Final = "{batch}"
"""What stands for the checked table in a query, as in Great Expectations."""
# Names that no column of a table has.
_VALUE: Final = f"{RESERVED_PREFIX}value"
_MEAN: Final = f"{RESERVED_PREFIX}mean"
_DEVIATION: Final = f"{RESERVED_PREFIX}deviation"


def _unique(check: Expectation, setting: Setting) -> Question:
    """Return the question how many rows have a value, or values, that other rows have too."""
    columns = Columns(setting.schema, check.name)
    names = check.arguments.get("column_list") or (check.arguments["column"],)
    values = [columns.value(name) for name in names]
    rule = check.arguments.get("ignore_row_if") or "all_values_are_missing"
    missing, rows = left_out(values, rule), looked_at(check)
    keys = ", ".join(f"{value} AS k{number}" for number, value in enumerate(values))
    # Rows that are left out form groups too, with a null among their keys, so that one scan counts everything.
    groups = f"SELECT {keys}, count(*) AS times FROM {CHECKED}{_where(rows)} GROUP BY ALL"
    absent = left_out([f"k{number}" for number in range(len(values))], rule) if missing else "false"
    return Question(
        counted(check),
        statement=f"SELECT sum(times), sum(times) FILTER ({absent}), sum(times) FILTER (times > 1 AND NOT {absent}) "
        f"FROM ({groups}) AS groups",
        width=3,
    )


def _ordered(sign: str) -> Callable[[Expectation, Setting], Question]:
    def question(check: Expectation, setting: Setting) -> Question:
        columns, given = Columns(setting.schema, check.name), check.arguments
        value, rows = columns.value(given["column"]), looked_at(check)
        order = (given["order_by"],) if isinstance(given["order_by"], str) else tuple(given["order_by"])
        for name in order:
            columns.type_of(name)
        mark = sign if given.get("strictly") else f"{sign}="
        # Rows that the order does not tell apart stand in the way that is kindest to the check.
        way = "ASC" if sign == ">" else "DESC"
        by = f"{listed(order)}, {_VALUE} {way}"
        keys = f"{listed(order)}, {value} AS {_VALUE}"
        inner = f"SELECT {keys} FROM {CHECKED}{_where(both(rows, f'{value} IS NOT NULL'))}"
        steps = f"SELECT {_VALUE}, lag({_VALUE}) OVER (ORDER BY {by}) AS before FROM ({inner}) AS present"
        looked = f"SELECT count(*) FROM {CHECKED}{_where(rows)}"
        broken = f"count(*) FILTER (NOT {_VALUE} {mark} before)"
        return Question(
            counted(check),
            statement=f"SELECT ({looked}), ({looked}) - count(*), {broken} FROM ({steps}) AS steps",
            width=3,
        )

    return question


def _z_scores(check: Expectation, setting: Setting) -> Question:
    """Return the question how many values lie too many standard deviations off. Where there is no deviation, none does."""
    columns, given = Columns(setting.schema, check.name), check.arguments
    value, rows = columns.number(given["column"]), looked_at(check)
    number = f"CAST({value} AS DOUBLE)"
    spread = f"SELECT avg({number}) AS {_MEAN}, stddev_samp({number}) AS {_DEVIATION} FROM {CHECKED}{_where(rows)}"
    score = f"({number} - {_MEAN}) / nullif({_DEVIATION}, 0)"
    score = f"abs({score})" if given["double_sided"] else score
    broken = filtered("count(*)", both(rows, f"NOT {score} < {given['threshold']!r}"))
    looked, present = filtered("count(*)", rows), filtered(f"count({value})", rows)
    return Question(
        counted(check),
        statement=f"SELECT {looked}, {looked} - {present}, {broken} FROM {CHECKED}, ({spread}) AS spread",
        width=3,
    )


def _referenced(check: Expectation, setting: Setting) -> Question:
    """Return the question how many rows name what another table does not have; a null among the names lets a row pass."""
    columns, given = Columns(setting.schema, check.name), check.arguments
    here = given.get("column_list") or (given["column"],)
    there = given.get("other_columns") or here
    values, rows = [columns.value(name) for name in here], looked_at(check)
    keys = ", ".join(f"{value} AS k{number}" for number, value in enumerate(values))
    known = ", ".join(f"{quoted(name)} AS o{number}" for number, name in enumerate(there))
    match = " AND ".join(f"h.k{number} = t.o{number}" for number in range(len(here)))
    present = " AND ".join(f"{value} IS NOT NULL" for value in values)
    missing = filtered("count(*)", both(rows, f"NOT ({present})"))
    named = f"SELECT {keys} FROM {CHECKED}{_where(both(rows, present))}"
    unknown = f"SELECT count(*) FROM ({named}) AS h ANTI JOIN (SELECT {known} FROM {_named(given['other_table'])}) AS t ON {match}"
    return Question(
        counted(check),
        statement=f"SELECT {filtered('count(*)', rows)}, {missing}, ({unknown}) FROM {CHECKED}",
        width=3,
        tables=(given["other_table"],),
    )


def _row_count(check: Expectation, setting: Setting) -> Question:
    del setting
    given = check.arguments
    ends = {"min_value": given["value"], "max_value": given["value"]} if "value" in given else given

    def judge(row: Row) -> Finding:
        found = int(row[0])
        is_met = within(found, ends)
        return Finding(is_met, 0 if is_met else 1, observed=found)

    return Question(judge, (filtered("count(*)", looked_at(check)),))


def _other_row_count(check: Expectation, setting: Setting) -> Question:
    del setting
    other = check.arguments["other_table_name"]
    asked = f"SELECT {filtered('count(*)', looked_at(check))}, (SELECT count(*) FROM {_named(other)}) FROM {CHECKED}"

    def judge(row: Row) -> Finding:
        here, there = (int(value) for value in row)
        return Finding(here == there, 0 if here == there else 1, observed={"self": here, "other": there})

    return Question(judge, statement=asked, width=2, tables=(other,))


def _unexpected_rows(check: Expectation, setting: Setting) -> Question:
    del setting
    return count_of(query_of(check))


def query_of(check: Expectation) -> str:
    """Return the query of an expectation that brings its own, over the checked table."""
    query: str = check.arguments["unexpected_rows_query"]
    return query.replace(PLACEHOLDER, CHECKED)


def count_of(query: str) -> Question:
    """Return the question how many rows a query returns; none is right."""

    def judge(row: Row) -> Finding:
        found = int(row[0])
        return Finding(not found, found, observed=found)

    return Question(judge, statement=f"SELECT count(*) FROM ({query.strip().rstrip(';')}\n) AS wrong", width=1)


def _where(condition: str) -> str:
    return f" WHERE {condition}" if condition else ""


def _named(table: Any) -> str:  # noqa: ANN401
    """Return the name of a table, which may be one with a namespace."""
    return ".".join(quoted(part) for part in str(table).rsplit(".", 1))


QUESTIONS: Final[dict[str, Callable[[Expectation, Setting], Question]]] = {
    "expect_column_values_to_be_unique": _unique,
    "expect_compound_columns_to_be_unique": _unique,
    "expect_column_values_to_be_increasing": _ordered(">"),
    "expect_column_values_to_be_decreasing": _ordered("<"),
    "expect_column_value_z_scores_to_be_less_than": _z_scores,
    "expect_column_values_to_exist_in_other_table": _referenced,
    "expect_table_row_count_to_equal": _row_count,
    "expect_table_row_count_to_be_between": _row_count,
    "expect_table_row_count_to_equal_other_table": _other_row_count,
    UNEXPECTED_ROWS: _unexpected_rows,
}
"""By type of expectation: how its question is made."""
