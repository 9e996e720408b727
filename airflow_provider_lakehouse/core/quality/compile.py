"""Make of many checks a few statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.quality import aggregates, groups, structure
from airflow_provider_lakehouse.core.quality.checks import Expectation, RowCheck
from airflow_provider_lakehouse.core.quality.conditions import (
    counted_sql,
    is_row_check,
    looked_at,
    row_test,
    violation_sql,
)
from airflow_provider_lakehouse.core.quality.questions import (
    CHECKED,
    Finding,
    Question,
    both,
    counted,
    filtered,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_provider_lakehouse.core.quality.checks import Check
    from airflow_provider_lakehouse.core.quality.questions import Row, Setting
    from airflow_provider_lakehouse.core.schema import Schema

MEASURES_OF_A_SCAN: Final = 300
"""Aggregates in one statement; planning takes more time than it is linear in their number."""
CHARACTERS_OF_A_SCAN: Final = 500_000
PARTS_OF_A_STATEMENT: Final = 8
"""Queries that one statement runs side by side. Each may fill memory before it waits on disk."""

_QUESTIONS: Final[dict[str, Callable[[Expectation, Setting], Question]]] = {
    **structure.QUESTIONS,
    **aggregates.QUESTIONS,
    **groups.QUESTIONS,
}


@dataclass(frozen=True, slots=True)
class Part:
    """One query that gives one row, and how that row answers questions.

    Args:
        sql: The query.
        width: Columns of its row.
        places: By the number of a question, which columns are its answer.
        tables: Names of other tables that it reads.
    """

    sql: str
    width: int
    places: tuple[tuple[int, tuple[int, ...]], ...]
    tables: tuple[str, ...] = ()

    def answers(self, row: Row) -> dict[int, Row]:
        """Return the answer to each question."""
        return {number: tuple(row[place] for place in places) for number, places in self.places}


def question_of(check: Check, setting: Setting) -> Question:
    """Return what has to be asked to judge a check.

    Raises:
        InvalidRequestError: The check does not fit the table.
    """
    if isinstance(check, RowCheck):
        return _condition(check, setting.schema)
    if not isinstance(check, Expectation):
        return groups.count_of(check.query)
    if is_row_check(check):
        return _row_question(check, setting.schema)
    return _QUESTIONS[check.type](check, setting)


def plan_parts(questions: Mapping[int, Question]) -> tuple[Part, ...]:
    """Put questions into few queries. Aggregates are asked together, equal ones once; other queries stand for themselves.

    Args:
        questions: By number.

    Example:
        >>> asked = {0: Question(print, ("count(*)", "max(a)")), 1: Question(print, ("count(*)",))}
        >>> [part.sql for part in plan_parts(asked)]
        ['SELECT count(*), max(a) FROM checked']
    """
    parts: list[Part] = []
    places: list[tuple[int, tuple[int, ...]]] = []
    measures: dict[str, int] = {}
    for number, question in questions.items():
        if question.statement:
            every = tuple(range(question.width))
            parts.append(Part(question.statement, question.width, ((number, every),), question.tables))
        elif question.measures:
            if len(measures) >= MEASURES_OF_A_SCAN or sum(map(len, measures)) >= CHARACTERS_OF_A_SCAN:
                parts.append(_scan(measures, places))
                places, measures = [], {}
            places.append((number, tuple(measures.setdefault(one, len(measures)) for one in question.measures)))
    return (*parts, _scan(measures, places)) if places else tuple(parts)


def together(parts: Sequence[Part]) -> str:
    """Return one query whose row is the rows of parts side by side.

    Example:
        >>> together([Part("SELECT 1", 1, ()), Part("SELECT 2, 3", 2, ())])
        'SELECT * FROM (SELECT 1) AS p0(c0), (SELECT 2, 3) AS p1(c1, c2)'
    """
    written, column = [], 0
    for number, part in enumerate(parts):
        names = ", ".join(f"c{place}" for place in range(column, column + part.width))
        written.append(f"({part.sql}) AS p{number}({names})")
        column += part.width
    return f"SELECT * FROM {', '.join(written)}"


def _scan(measures: Mapping[str, int], places: Sequence[tuple[int, tuple[int, ...]]]) -> Part:
    return Part(f"SELECT {', '.join(measures)} FROM {CHECKED}", len(measures), tuple(places))


def _condition(check: RowCheck, schema: Schema) -> Question:
    def judge(row: Row) -> Finding:
        looked, broken = (int(value) for value in row)
        return Finding(not broken, broken, looked)

    return Question(judge, ("count(*)", f"count(*) FILTER ({violation_sql(check, schema)})"))


def _row_question(check: Expectation, schema: Schema) -> Question:
    test, rows = row_test(check, schema), looked_at(check)
    looked = filtered("count(*)", rows)
    if test.present:
        missing = f"{looked} - {filtered(f'count({test.present})', rows)}"
    else:
        missing = filtered("count(*)", both(rows, test.missing)) if test.missing else "0"
    return Question(counted(check), (looked, missing, filtered("count(*)", counted_sql(test, rows))))
