"""Circuit breaker: whether a table or a domain may be loaded, and what opens and closes that."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import MAX_NAME_CHARACTERS, SEVERITIES
from airflow_provider_lakehouse.core.quality.row_counts import RowCountRule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_provider_lakehouse.core.quality.checks import CheckOutcome
    from airflow_provider_lakehouse.core.quality.run import ChecksResult

BreakerState = Literal["closed", "open", "half_open"]
"""`closed` lets everybody through, `open` nobody, `half_open` the one run that holds the probe."""
Rule = Literal[
    "severity",
    "consecutive failures",
    "row count",
    "hold",
    "probe",
    "probe passed",
    "probe failed",
    "reset",
    "observed",
]
"""Why a breaker has a new state; `observed` keeps the state and remembers what a check found."""
_OBSERVED: Final = "observed"
_MAX_BACK_OFFS: Final = 60


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """What opens a breaker, for how long, and what closes it again.

    Args:
        severities: A broken check of one of these opens at once; an unknown verdict counts as broken.
        consecutive_failures: A check of any severity but `warn` that is broken so many times in a row opens; None does
            not count.
        row_count: Row counts that are out of the ordinary open; None does not look at them.
        open_for: Until the first probe is let through.
        back_off: Each probe that fails multiplies the time until the next one by it; at least 1.
        max_open_for: That time grows no longer.
        good_probes: Probes that have to pass in a row to close.
        probe_for: How long a run may hold the probe, before another may take it over.
        on_unreadable: What a breaker whose state cannot be read counts as: `open` or `closed`.

    Raises:
        InvalidRequestError: A value means nothing.
    """

    severities: tuple[str, ...] = ("fail",)
    consecutive_failures: int | None = 3
    row_count: RowCountRule | None = None
    open_for: timedelta = timedelta(hours=1)
    back_off: float = 2.0
    max_open_for: timedelta = timedelta(days=1)
    good_probes: int = 1
    probe_for: timedelta = timedelta(hours=1)
    on_unreadable: Literal["open", "closed"] = "open"

    def __post_init__(self) -> None:
        """Read lists as tuples, and refuse rules that mean nothing."""
        object.__setattr__(self, "severities", tuple(self.severities))
        durations = (self.open_for, self.max_open_for, self.probe_for)
        wrong = {
            "severities": not set(self.severities) <= set(SEVERITIES),
            "consecutive_failures": self.consecutive_failures is not None and self.consecutive_failures < 1,
            "open_for, max_open_for, probe_for": min(durations) <= timedelta(0) or self.max_open_for < self.open_for,
            "back_off": self.back_off < 1,
            "good_probes": self.good_probes < 1,
            "on_unreadable": self.on_unreadable not in ("open", "closed"),
        }
        if named := tuple(name for name, is_wrong in wrong.items() if is_wrong):
            raise InvalidRequestError(
                f"The rules of a breaker have values that mean nothing: {', '.join(named)}. Correct them.", rules=named
            )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read rules from settings; durations are `open_for_seconds`, `max_open_for_seconds` and `probe_for_seconds`.

        Raises:
            InvalidRequestError: There is no such setting, or a value means nothing.

        Example:
            >>> BreakerRules.from_json({"open_for_seconds": 600, "row_count": {"lowest_rows": 1}}).open_for
            datetime.timedelta(seconds=600)
        """
        given = dict(value)
        names = {one.name for one in fields(cls)}
        for name in ("open_for", "max_open_for", "probe_for"):
            names.remove(name)
            names.add(f"{name}_seconds")
        if unknown := tuple(sorted(set(given) - names)):
            raise InvalidRequestError("A breaker has other settings. Correct their names.", unknown=unknown)
        try:
            settings: dict[str, Any] = {
                name.removesuffix("_seconds"): timedelta(seconds=float(one)) if name.endswith("_seconds") else one
                for name, one in given.items()
            }
            if isinstance(row_count := settings.get("row_count"), dict):
                settings["row_count"] = RowCountRule(**row_count)
            return cls(**settings)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidRequestError(
                "A setting of a breaker has a value of another kind. Correct it.", settings=tuple(sorted(given))
            ) from error


@dataclass(frozen=True)
class Breaker:
    """The state of one breaker. A scope that nobody wrote about yet is closed.

    Args:
        scope: A table, a domain such as `sales.*`, or any other name.
        state: See `BreakerState`.
        number: Entries of its log so far; the next one has the next number.
        since_at: Since when it has the state; None for always.
        reason: Why it was opened; empty while it is closed.
        due_at: When the next run may take the probe. None while it is closed, and where only a reset ends a hold.
        probe: The run that holds the probe; empty where none does.
        openings: How often it opened since it was closed last.
        good_probes: Probes that passed since it opened last.
        failing: How often in a row each check was broken, by `table: check`; sound checks are left out.
        row_counts: Row counts found in order, oldest first, by what was counted.
    """

    scope: str
    state: BreakerState = "closed"
    number: int = 0
    since_at: datetime | None = None
    reason: str = ""
    due_at: datetime | None = None
    probe: str = ""
    openings: int = 0
    good_probes: int = 0
    failing: Mapping[str, int] = field(default_factory=dict)
    row_counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a scope without a name."""
        if not self.scope.strip() or len(self.scope) > MAX_NAME_CHARACTERS:
            raise InvalidRequestError(
                f"A breaker needs a scope of 1 to {MAX_NAME_CHARACTERS} characters. Name a table or a domain.",
                scope=self.scope[:80],
            )

    def is_due(self, now: datetime) -> bool:
        """Tell whether a run may take the probe now."""
        return self.state != "closed" and self.due_at is not None and now >= self.due_at

    def admits(self, by: str) -> bool:
        """Tell whether a run may pass as things are."""
        return self.state == "closed" or (self.state == "half_open" and self.probe == by)


@dataclass(frozen=True)
class Transition:
    """One entry of a breaker's log.

    Args:
        before: State before it.
        after: The breaker from then on.
        rule: What decided it.
        reason: In words, for people.
        by: The run or the person.
        at: When.
        checks: Names and counts of the checks that are broken.
        table: The table that was checked; empty where none was.
        version: Its version; likewise None.
    """

    before: BreakerState
    after: Breaker
    rule: Rule
    reason: str
    by: str
    at: datetime
    checks: tuple[str, ...] = ()
    table: str = ""
    version: int | None = None

    @property
    def is_change(self) -> bool:
        """True when the state is another one than before."""
        return self.before != self.after.state


def plan_transition(
    rules: BreakerRules, breaker: Breaker, result: ChecksResult, *, by: str, now: datetime
) -> Transition | None:
    """Decide what the outcomes of checks mean for a breaker.

    While it is closed, they may open it. A good result counts as a passed probe when it comes from the run that holds the
    probe, or when the probe is free; it does not close the breaker while other checks, of this table or of others of the
    scope, are known to be broken. A bad result fails the probe, whoever brings it. A result without checks is neither.

    Args:
        rules: Of the breaker.
        breaker: As it is.
        result: What the checks found.
        by: The run that checked.
        now: Instant of the decision, timezone-aware.

    Returns:
        The entry to write; None when there is nothing to remember.
    """
    rule: Rule
    seen = _remember(rules, breaker, result)
    cause = _cause(rules, breaker, seen, result)
    broken = tuple(one for one in result.outcomes if _counts(rules, one))
    after, rule, reason = seen, _OBSERVED, "what was found is remembered"
    if breaker.state == "closed":
        if cause is not None:
            rule, reason = cause
            after = _opened(rules, seen, reason, now)
    elif (cause is not None or broken) and (breaker.state == "half_open" or breaker.is_due(now)):
        rule, reason = "probe failed", cause[1] if cause else f"broken while it was probed: {_names(broken)}"
        after = _opened(rules, seen, reason, now)
    elif result.outcomes and cause is None and not broken and (breaker.probe == by or breaker.is_due(now)):
        rule, reason = "probe passed", "all checks of the probe passed"
        after = _probed(rules, seen, now)
    if after == breaker:
        return None
    checks = tuple(f"{one.name}: {one.violations}" for one in result.outcomes if not one.passed)
    entry = Transition(breaker.state, after, rule, reason, by, now, checks, result.table, result.version)
    return _numbered(entry)


def plan_probe(rules: BreakerRules, breaker: Breaker, *, by: str, now: datetime) -> Transition | None:
    """Decide whether a run may be the probe.

    Returns:
        The entry that gives it the probe; None when it needs none, or may not have it; see `Breaker.admits`.
    """
    if breaker.admits(by) or not breaker.is_due(now):
        return None
    after = replace(breaker, state="half_open", probe=by, due_at=now + rules.probe_for)
    after = replace(after, since_at=breaker.since_at if breaker.state == "half_open" else now)
    return _numbered(Transition(breaker.state, after, "probe", "one run is let through", by, now))


def plan_reset(breaker: Breaker, *, by: str, reason: str, now: datetime) -> Transition | None:
    """Decide to close a breaker by hand, and to forget what it remembers: broken checks, and row counts.

    Returns:
        The entry to write; None when it is closed and remembers nothing.

    Raises:
        InvalidRequestError: The person or the reason is missing.
    """
    _require_reason(breaker.scope, by, reason)
    after = Breaker(breaker.scope, number=breaker.number, since_at=now)
    if breaker == replace(after, since_at=breaker.since_at):
        return None
    return _numbered(Transition(breaker.state, after, "reset", reason, by, now))


def plan_hold(
    breaker: Breaker, *, by: str, reason: str, now: datetime, until: datetime | None = None
) -> Transition | None:
    """Decide to open a breaker by hand.

    Args:
        breaker: As it is.
        by: The person.
        reason: For whoever meets the open breaker.
        now: Instant of the decision, timezone-aware.
        until: When the first probe may be let through, timezone-aware; None for only after a reset.

    Returns:
        The entry to write; None when it is held so already.

    Raises:
        InvalidRequestError: The person or the reason is missing, or `until` is not in the future.
    """
    _require_reason(breaker.scope, by, reason)
    if until is not None and (until.tzinfo is None or until <= now):
        raise InvalidRequestError(
            f"Breaker {breaker.scope!r} can be held until an instant in the future, with a time zone. Correct it.",
            until=until.isoformat(),
        )
    if (breaker.state, breaker.reason, breaker.due_at) == ("open", reason, until):
        return None
    after = replace(breaker, state="open", since_at=now, reason=reason, due_at=until, probe="", good_probes=0)
    return _numbered(Transition(breaker.state, replace(after, openings=breaker.openings + 1), "hold", reason, by, now))


def _remember(rules: BreakerRules, breaker: Breaker, result: ChecksResult) -> Breaker:
    """Return the breaker with what a result adds to its memory; of checks that did not run it says nothing."""
    failing = dict(breaker.failing)
    for one in result.outcomes:
        before = failing.pop(name := f"{result.table}: {one.name}", 0)
        if _counts(rules, one):
            failing[name] = before + 1
    counts = dict(breaker.row_counts)
    rule, rows, series = rules.row_count, result.rows, _series(result)
    if rule is not None and rows is not None and not rule.is_anomaly(rows, before=counts.get(series, ())):
        counts[series] = (*counts.get(series, ()), rows)[-rule.window :]
    return replace(breaker, failing=failing, row_counts=counts)


def _cause(rules: BreakerRules, before: Breaker, seen: Breaker, result: ChecksResult) -> tuple[Rule, str] | None:
    """Return the rule by which a result opens a breaker that is closed, and the reason."""
    at_once = tuple(one for one in result.outcomes if not one.passed and one.severity in rules.severities)
    if at_once:
        return "severity", f"broken or unknown: {_names(at_once)}"
    limit = rules.consecutive_failures
    if limit is not None:
        often = tuple(one for one in result.outcomes if seen.failing.get(f"{result.table}: {one.name}", 0) >= limit)
        if often:
            return "consecutive failures", f"broken {limit} times in a row: {_names(often)}"
    if rules.row_count is not None and result.rows is not None:
        counts = before.row_counts.get(_series(result), ())
        if rules.row_count.is_anomaly(result.rows, before=counts):
            low, high = rules.row_count.bounds(counts)
            return "row count", f"{result.rows} rows of {result.table}, usual are {low:.0f} to {high:.0f}"
    return None


def _opened(rules: BreakerRules, breaker: Breaker, reason: str, now: datetime) -> Breaker:
    grown = rules.open_for.total_seconds() * rules.back_off ** min(breaker.openings, _MAX_BACK_OFFS)
    wait = timedelta(seconds=min(grown, rules.max_open_for.total_seconds()))
    return replace(
        breaker, state="open", since_at=now, reason=reason, due_at=now + wait, probe="", openings=breaker.openings + 1,
        good_probes=0,
    )  # fmt: skip


def _probed(rules: BreakerRules, breaker: Breaker, now: datetime) -> Breaker:
    """Return the breaker after a probe that passed: closed when that is enough, otherwise free for the next probe."""
    good = breaker.good_probes + (0 if breaker.failing else 1)
    if good >= rules.good_probes and not breaker.failing:
        return Breaker(breaker.scope, number=breaker.number, since_at=now, row_counts=breaker.row_counts)
    since = breaker.since_at if breaker.state == "half_open" else now
    return replace(breaker, state="half_open", since_at=since, due_at=now, probe="", good_probes=good)


def _numbered(entry: Transition) -> Transition:
    return replace(entry, after=replace(entry.after, number=entry.after.number + 1))


def _counts(rules: BreakerRules, outcome: CheckOutcome) -> bool:
    """Tell whether an outcome is bad: it did not pass, and a rule looks at its severity."""
    is_counted = rules.consecutive_failures is not None and outcome.severity != "warn"
    return not outcome.passed and (is_counted or outcome.severity in rules.severities)


def _series(result: ChecksResult) -> str:
    """Return the name under which row counts are compared: counts of partitions are not compared with those of tables."""
    return f"{result.table} by partition" if result.partition else result.table


def _names(outcomes: tuple[CheckOutcome, ...]) -> str:
    return ", ".join(one.name for one in outcomes[:5])


def _require_reason(scope: str, by: str, reason: str) -> None:
    if not by.strip() or not reason.strip():
        raise InvalidRequestError(
            f"Breaker {scope!r} is changed by hand only with a name and a reason. Say who, and why.", scope=scope
        )
