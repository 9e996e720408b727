"""Make of many checks a few statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.quality import aggregates, groups, structure
from airflow_provider_lakehouse.core.quality.checks import Expectation, RowCheck
from airflow_provider_lakehouse.core.quality.conditions import is_row_check, looked_at, row_test, violation_sql
from airflow_provider_lakehouse.core.quality.questions import (
    CHECKED,
    Finding,
    Question,
    both,
    counted,
    filtered,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_lakehouse.core.quality.checks import Check
    from airflow_provider_lakehouse.core.quality.questions import Rows, Setting
    from airflow_provider_lakehouse.core.schema import Schema

MEASURES_OF_A_SCAN: Final = 300
"""Aggregates in one statement; planning takes more time than it is linear in their number."""
CHARACTERS_OF_A_SCAN: Final = 500_000

_QUESTIONS: Final[dict[str, Callable[[Expectation, Setting], Question]]] = {
    **structure.QUESTIONS,
    **aggregates.QUESTIONS,
    **groups.QUESTIONS,
}


@dataclass(frozen=True, slots=True)
class Scan:
    """One statement that answers several questions.

    Args:
        numbers: Which questions.
        measures: Aggregates that the statement computes.
        places: For each question, where its measures are among those of the statement.
    """

    numbers: tuple[int, ...]
    measures: tuple[str, ...]
    places: tuple[tuple[int, ...], ...]

    @property
    def sql(self) -> str:
        """The statement."""
        named = (f"{measure} AS m{place}" for place, measure in enumerate(self.measures))
        return f"SELECT {', '.join(named)} FROM {CHECKED}"

    def answers(self, rows: Rows) -> dict[int, Rows]:
        """Return the answer to each question."""
        (row,) = rows
        return {n: [tuple(row[p] for p in places)] for n, places in zip(self.numbers, self.places, strict=True)}


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


def plan_scans(questions: Sequence[Question | None]) -> tuple[Scan, ...]:
    """Put the measures of questions into as few statements as an engine plans quickly; equal measures are asked once.

    Args:
        questions: All; those without measures, and None, are left out.

    Example:
        >>> asked = [Question(judge=print, measures=("count(*)", "max(a)")), Question(judge=print, measures=("count(*)",))]
        >>> [scan.sql for scan in plan_scans(asked)]
        ['SELECT count(*) AS m0, max(a) AS m1 FROM checked']
    """
    scans: list[Scan] = []
    numbers: list[int] = []
    places: list[tuple[int, ...]] = []
    measures: dict[str, int] = {}
    characters = 0
    for number, question in enumerate(questions):
        if question is None or not question.measures:
            continue
        if len(measures) >= MEASURES_OF_A_SCAN or characters >= CHARACTERS_OF_A_SCAN:
            scans.append(Scan(tuple(numbers), tuple(measures), tuple(places)))
            numbers, places, measures, characters = [], [], {}, 0
        numbers.append(number)
        places.append(tuple(measures.setdefault(measure, len(measures)) for measure in question.measures))
        characters += sum(map(len, question.measures))
    if numbers:
        scans.append(Scan(tuple(numbers), tuple(measures), tuple(places)))
    return tuple(scans)


def alone(question: Question) -> str:
    """Return the statement that answers one question and no other."""
    if question.statement:
        return question.statement
    (scan,) = plan_scans([Question(question.judge, tuple(dict.fromkeys(question.measures)))])
    return scan.sql


def _condition(check: RowCheck, schema: Schema) -> Question:
    def judge(rows: Rows) -> Finding:
        looked, broken = (int(value) for value in rows[0])
        return Finding(not broken, broken, looked)

    return Question(judge, ("count(*)", f"count(*) FILTER ({violation_sql(check, schema)})"))


def _row_question(check: Expectation, schema: Schema) -> Question:
    test, rows = row_test(check, schema), looked_at(check)
    looked = filtered("count(*)", rows)
    if test.present:
        missing = f"{looked} - {filtered(f'count({test.present})', rows)}"
    else:
        missing = filtered("count(*)", both(rows, test.missing)) if test.missing else "0"
    return Question(counted(check), (looked, missing, filtered("count(*)", violation_sql(check, schema))))
