"""What people are told about a task: table, checks, counts, owner, run and link; never a value of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from airflow.sdk.configuration import conf

from airflow_provider_lakehouse.core.errors import LakehouseError
from airflow_provider_lakehouse.core.quality.checks import check_from_json
from airflow_provider_lakehouse.core.quality.run import ChecksResult

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_CHECKS: Final = 20
"""More broken checks than these are only counted."""


@dataclass(frozen=True)
class BrokenCheck:
    """A check that did not pass.

    Args:
        name: Of the check.
        count: What its count is, as text; `unknown` where it could not be evaluated.
        severity: Of the check; empty where nobody knows.
        owner: Who is told; likewise.
    """

    name: str
    count: str
    severity: str = ""
    owner: str = ""

    def __str__(self) -> str:
        """Return the check as a line."""
        about = ", ".join(part for part in (self.severity, f"owner {self.owner}" if self.owner else "") if part)
        return f"{self.name}: {self.count}" + (f" ({about})" if about else "")


@dataclass(frozen=True)
class QualityMessage:
    """A message about one task, or about a run that missed its deadline.

    Args:
        subject: What happened, on one line.
        facts: Names and values, in order.
        checks: Those that did not pass.
        link: Page of the task or of the run; empty where there is none.
        page: Page about what the checks found; empty where none is kept.
    """

    subject: str
    facts: Mapping[str, str]
    checks: tuple[BrokenCheck, ...] = ()
    link: str = ""
    page: str = ""

    @property
    def links(self) -> tuple[str, ...]:
        """The pages to open: first what was found, then the task."""
        return tuple(one for one in (self.page, self.link) if one)

    @property
    def text(self) -> str:
        """The message as plain text."""
        return "\n".join((*self._lines, *self.links))

    @property
    def slack_text(self) -> str:
        """The message as Slack takes it: its three control characters written as entities."""
        return self.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    @property
    def html(self) -> str:
        """The message as the body of a mail."""
        links = (f'<a href="{escape(link)}">{escape(link)}</a>' for link in self.links)
        return "<br>\n".join((*map(escape, self._lines), *links))

    def to_json(self) -> dict[str, Any]:
        """Return the message as JSON, for a webhook."""
        checks = [
            {"name": one.name, "count": one.count, "severity": one.severity, "owner": one.owner} for one in self.checks
        ]
        return {
            "subject": self.subject, "text": self.text, "facts": dict(self.facts), "checks": checks, "link": self.link,
            "page": self.page,
        }  # fmt: skip

    @property
    def _lines(self) -> tuple[str, ...]:
        lines = [self.subject, *(f"{name}: {value}" for name, value in self.facts.items())]
        lines += [f"- {one}" for one in self.checks[:MAX_CHECKS]]
        if len(self.checks) > MAX_CHECKS:
            lines.append(f"- and {len(self.checks) - MAX_CHECKS} more")
        return tuple(lines)


def message_of(context: Mapping[str, Any]) -> QualityMessage:
    """Return the message about what a callback was called for.

    An error that is not of this package may quote what a query returned, so only its type is told.

    Args:
        context: Airflow's: of a task, or of a deadline, which knows the run only.
    """
    ti, run, error = context.get("ti"), context.get("dag_run"), context.get("exception")
    task = context.get("task") or getattr(ti, "task", None)
    result = getattr(task, "result", None)
    found = result if isinstance(result, ChecksResult) else None
    told = error.facts if isinstance(error, LakehouseError) else {}
    facts = {
        "Table": told.get("table") or (found.table if found else getattr(task, "table", None)),
        "Version": told.get("version") or (found.version if found else None),
        "Breaker": told.get("scope"),
        "Reason": error.message if isinstance(error, LakehouseError) else type(error).__name__ if error else None,
        "DAG": _of(run, "dag_id") or _of(ti, "dag_id"),
        "Task": _of(ti, "task_id"),
        "Run": _of(run, "run_id") or _of(ti, "run_id"),
        "Try": _of(ti, "try_number"),
        "Owner": getattr(task, "owner", None),
        "Deadline": _of(context.get("deadline"), "deadline_time"),
    }
    known = {name: str(value) for name, value in facts.items() if value not in (None, "")}
    page = str(getattr(task, "quality_page", ""))
    return QualityMessage(_subject(known, context), known, _broken(task, found, told), _link(known, ti), page)


def _subject(facts: Mapping[str, str], context: Mapping[str, Any]) -> str:
    about = facts.get("Table") or facts.get("Breaker") or facts.get("Task") or facts.get("DAG", "")
    if context.get("deadline"):
        return f"A run of {about} missed its deadline"
    return f"{about} did not pass" if context.get("exception") else f"Checks of {about}"


def _broken(task: object, result: ChecksResult | None, told: Mapping[str, Any]) -> tuple[BrokenCheck, ...]:
    """Return the checks that did not pass: as the task found them, otherwise as its error names them."""
    owners = {one.name: one for one in _checks(task)}
    if result is not None:
        return tuple(
            BrokenCheck(
                one.name,
                "unknown" if one.verdict == "unknown" else f"{one.violations:,}",
                one.severity,
                owners[one.name].owner if one.name in owners else "",
            )
            for one in result.outcomes
            if not one.passed
        )
    named = [str(one).rpartition(": ") for one in told.get("checks") or ()]
    return tuple(
        BrokenCheck(name, count, owners[name].severity, owners[name].owner)
        if name in owners
        else BrokenCheck(name, count)
        for name, _, count in named
    )


def _checks(task: object) -> Iterable[Any]:
    """Return what a task judged by, those of its contract among it; else what it was given."""
    given = getattr(task, "judged", None) or getattr(task, "checks", None)
    try:
        return [check_from_json(one) for one in given] if isinstance(given, (list, tuple)) else []
    except (LakehouseError, TypeError):
        return []  # what is wrong with them is what the task says


def _link(facts: Mapping[str, str], ti: object) -> str:
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    if not base or "DAG" not in facts or "Run" not in facts:
        return ""
    page = f"{base}/dags/{quote(facts['DAG'], safe='')}/runs/{quote(facts['Run'], safe='')}"
    if "Task" not in facts:
        return page
    index = _of(ti, "map_index")
    mapped = f"/mapped/{index}" if isinstance(index, int) and index >= 0 else ""
    return f"{page}/tasks/{quote(facts['Task'], safe='')}{mapped}"


def _of(thing: object, name: str) -> Any:  # noqa: ANN401
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)
