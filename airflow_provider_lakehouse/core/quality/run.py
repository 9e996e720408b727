"""Run the checks of a table that is there."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.engines.steady import steady
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, LakehouseError
from airflow_provider_lakehouse.core.quality.checks import CheckOutcome, require_distinct
from airflow_provider_lakehouse.core.quality.compile import PARTS_OF_A_STATEMENT, plan_parts, question_of, together
from airflow_provider_lakehouse.core.quality.questions import CHECKED, Setting
from airflow_provider_lakehouse.core.quality.statements import require_queries
from airflow_provider_lakehouse.core.quality.vocabulary import require_valid
from airflow_provider_lakehouse.core.schema import Schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from airflow_provider_lakehouse.core.engines.base import Engine, Relation
    from airflow_provider_lakehouse.core.quality.checks import Check
    from airflow_provider_lakehouse.core.quality.compile import Part
    from airflow_provider_lakehouse.core.quality.questions import Finding, Question, Row


@dataclass(frozen=True)
class ChecksResult:
    """What the checks of a table found.

    Args:
        table: Which table.
        version: Which version of it.
        rows: Rows that were checked; None where no check looked at rows.
        outcomes: One for each check, in their order.
        checked_at: When; None where nobody said.
        partition: Key of the partition that was checked; empty for the whole table.
        contract: Name and version of the contract that the checks come from; empty where they come from none.
        runner: Who ran the checks: `lakehouse` or `great_expectations`.
        is_on_the_way: True where rows were judged on their way into the table: those that break a check of severity
            `quarantine` or `drop` are not in it.
    """

    table: str
    version: int
    rows: int | None
    outcomes: tuple[CheckOutcome, ...]
    checked_at: datetime | None = None
    partition: str = ""
    contract: str = ""
    runner: str = "lakehouse"
    is_on_the_way: bool = False

    @property
    def failed(self) -> tuple[CheckOutcome, ...]:
        """Outcomes that stop the pipeline."""
        harmless = ("quarantine", "drop") if self.is_on_the_way else ()
        return tuple(
            one for one in self.outcomes if one.stops and not (one.verdict == "broken" and one.severity in harmless)
        )

    def require(self) -> None:
        """Stop when a check failed.

        Raises:
            DataRejectedError: Names the checks, with counts.
        """
        if self.failed:
            raise DataRejectedError(
                f"Table {self.table!r} breaks {len(self.failed)} of its checks. Correct the rows at the source.",
                table=self.table,
                version=self.version,
                checks=tuple(f"{one.name}: {one.violations if not one.error else one.error}" for one in self.failed),
            )


def run_checks(
    relation: Relation,
    checks: Sequence[Check],
    *,
    engine: Engine,
    table: str,
    version: int,
    now: datetime | None = None,
    tables: Mapping[str, Relation] | None = None,
) -> ChecksResult:
    """Check a table. Whatever aggregates can tell is asked in one scan, of the columns that checks name.

    A check that cannot be evaluated is `unknown` with the reason, and the others are judged all the same: its column or the
    other table that it names is not there, its values cannot be compared, its SQL fails on a row. Where the common scan fails,
    each check is asked alone.

    Args:
        relation: What is checked. All statements see one version of it.
        checks: Conditions on rows, queries, and expectations.
        engine: Runs them.
        table: Name of the table, for the result.
        version: Version that `relation` shows, for the result.
        now: Instant of the check, timezone-aware.
        tables: Other tables that checks name, by the name they use.

    Returns:
        What was found; call `require` to stop on failures.

    Raises:
        InvalidRequestError: A check is not SQL, is not a single reading query, or contradicts itself; or two have the same
            name; or the instant has no zone. Nothing has run.
        UnavailableError: The table did not answer. Run again.

    Guarantees:
        Memory: that of the engine; what does not fit waits on disk, and no rows are held in Python.
    """
    if now is not None and now.tzinfo is None:
        raise InvalidRequestError("The instant of a check has no time zone. Give one.", table=table)
    require_distinct(tuple(checks))
    require_valid(checks)
    require_queries(checks, engine=engine)
    kept, schema = pinned(relation)
    others = {name: one for name, one in (tables or {}).items() if _exists(one)}
    asking = _Asking(engine, {**others, CHECKED: kept})
    setting = Setting(schema, now)
    asked = [_question(check, setting) for check in checks]
    answers = asking.answers({n: one for n, one in enumerate(asked) if not isinstance(one, str) and one.needs_rows})
    outcomes = []
    for number, (check, question) in enumerate(zip(checks, asked, strict=True)):
        found = question if isinstance(question, str) else _finding(question, answers.get(number, ()))
        outcomes.append(unknown_outcome(check, found) if isinstance(found, str) else judged_outcome(check, found))
    rows = max((one.rows for one in outcomes if one.rows is not None), default=None)
    return ChecksResult(table, version, rows, tuple(outcomes), now)


class _Asking:
    """Asks questions of one table, and gives answers, or why there is none."""

    def __init__(self, engine: Engine, tables: Mapping[str, Relation]) -> None:
        self._engine = engine
        self._tables = tables

    def answers(self, questions: Mapping[int, Question]) -> dict[int, Row | str]:
        """Return the answer to each question, or why there is none.

        Statements that fail are taken apart until those remain that fail alone.
        """
        found: dict[int, Row | str] = {}
        for parts in batched(plan_parts(questions), PARTS_OF_A_STATEMENT):
            found |= self._of_parts(parts, questions)
        return found

    def _of_parts(self, parts: Sequence[Part], questions: Mapping[int, Question]) -> dict[int, Row | str]:
        numbers = [number for part in parts for number, _ in part.places]
        try:
            row = self._row(parts)
        except (InvalidRequestError, DataRejectedError) as error:
            if len(numbers) == 1:
                return {numbers[0]: reason_of(error)}
            smaller = parts if len(parts) > 1 else [plan_parts({n: questions[n]})[0] for n in numbers]
            apart = (self._of_parts([part], questions) for part in smaller)
            return {number: answer for one in apart for number, answer in one.items()}
        found: dict[int, Row | str] = {}
        for part in parts:
            found |= part.answers(row[: part.width])
            row = row[part.width :]
        return found

    def _row(self, parts: Sequence[Part]) -> Row:
        absent = tuple(name for part in parts for name in part.tables if name not in self._tables)
        if absent:
            raise InvalidRequestError(
                "A table that a check names is not there, or not given. Create it, or name it for the run.",
                tables=absent,
            )
        with self._engine.query(together(parts), tables=self._tables) as reader:
            return tuple(column[0].as_py() for column in reader.read_all().columns)


def _exists(relation: Relation) -> bool:
    """Tell whether a relation can be asked. One that cannot leaves the checks unknown that name it, and no others."""
    view: Any = relation
    table = view.table if isinstance(relation, TableView) else view
    return not hasattr(table, "exists") or bool(table.exists())


def _finding(question: Question, answer: Row | str) -> Finding | str:
    """Return what a question found, or why it could not be answered."""
    return answer if isinstance(answer, str) else question.judge(answer)


def reason_of(error: LakehouseError) -> str:
    """Return why a check could not be evaluated: the error's sentences, and of its facts those that name things."""
    told = {
        name: error.facts[name]
        for name in ("column", "tables", "type", "types", "cause", "reason")
        if name in error.facts
    }
    return str(LakehouseError(error.message, **told))


def judged_outcome(check: Check, found: Finding) -> CheckOutcome:
    """Return the outcome of a check that was evaluated."""
    return CheckOutcome(
        check.name,
        check.severity,
        found.violations,
        "passed" if found.met else "broken",
        getattr(check, "type", ""),
        check.columns,
        found.rows,
        found.missing,
        found.observed,
    )


def unknown_outcome(check: Check, reason: str) -> CheckOutcome:
    """Return the outcome of a check that could not be evaluated."""
    return CheckOutcome(
        check.name, check.severity, 0, "unknown", getattr(check, "type", ""), check.columns, error=reason
    )


def _question(check: Check, setting: Setting) -> Question | str:
    try:
        return question_of(check, setting)
    except InvalidRequestError as error:
        return reason_of(error)


def pinned(relation: Relation) -> tuple[Relation, Schema]:
    """Return a relation that stays what it is while others write, see `steady`, and its schema."""
    view: Any = relation
    if hasattr(relation, "column_names"):
        return relation, Schema.from_arrow(view.schema)
    kept, facts = steady(view if isinstance(relation, TableView) else TableView(view))
    return kept, facts.schema
