"""The log of breakers: a lakehouse table to which every change of a breaker is added, so that all DAGs see the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import ConflictError, DamagedError, DataRejectedError, UnavailableError
from airflow_provider_lakehouse.core.quality.breaker import (
    Breaker,
    Transition,
    plan_hold,
    plan_probe,
    plan_reset,
    plan_transition,
)
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import Change, WriteToken
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from airflow_provider_lakehouse.core.quality.breaker import BreakerRules
    from airflow_provider_lakehouse.core.quality.run import ChecksResult
    from airflow_provider_lakehouse.core.tables.base import Table
    from airflow_provider_lakehouse.core.tables.filters import Filter

BREAKER_LOG_SPEC: Final = TableSpec(
    Schema.of(
        Column("scope", "string", nullable=False, comment="Table, domain or other name the breaker is for."),
        Column("number", "long", nullable=False, comment="Place in the log of the scope, counted from 1."),
        Column("before", "string", nullable=False, comment="State before: closed, open or half_open."),
        Column("state", "string", nullable=False, comment="State from then on."),
        Column("rule", "string", nullable=False, comment="What decided it."),
        Column("reason", "string", nullable=False, comment="In words."),
        Column("checks", "string", nullable=False, comment="Names and counts of broken checks, as a JSON list."),
        Column("changed_by", "string", nullable=False, comment="The run or the person."),
        Column("changed_at", "timestamptz", nullable=False, comment="When."),
        Column("due_at", "timestamptz", comment="When the next run may take the probe; null for not by itself."),
        Column("probe", "string", nullable=False, comment="The run that holds the probe; empty for none."),
        Column("table_name", "string", nullable=False, comment="The table that was checked; empty for none."),
        Column("table_version", "long", comment="Its version."),
        Column("memory", "string", nullable=False, comment="What the next decision rests on, as JSON."),
        Column("cause", "string", nullable=False, comment="Digest of the write; the same for every attempt at it."),
    ),
    comment="What became of each circuit breaker, and why. Rows are only ever added; the last of a scope is its state.",
)
"""What the log is."""
STATE_PREFIX: Final = "lakehouse.breaker."
"""Prefix of the table's property that holds the last entry of a scope, set in the commit that adds the entry's row. So who asks
reads one property, and not a log that grows."""
_KEPT_CAUSES: Final = 10
"""So many of the newest writes are known again by their cause, beyond what the token of the last one tells."""
_MAX_ATTEMPTS: Final = 20
_MEMORY: Final = ("reason", "openings", "good_probes", "failing", "row_counts")


@dataclass(frozen=True)
class Admission:
    """Whether a run may pass a breaker.

    Args:
        breaker: As it is now; None where its state cannot be read.
        by: The run.
        is_admitted: Whether it may.
        transition: The entry that gave it the probe; None where nothing was written.
        error: Why the state cannot be read.
    """

    breaker: Breaker | None
    by: str
    is_admitted: bool
    transition: Transition | None = None
    error: UnavailableError | None = None

    @property
    def is_probe(self) -> bool:
        """True when the run passes as the probe."""
        return self.is_admitted and self.breaker is not None and self.breaker.state == "half_open"

    def require(self) -> None:
        """Stop a run that may not pass.

        Raises:
            DataRejectedError: The breaker is open: another try within minutes would meet the same data.
            UnavailableError: Its state cannot be read.
        """
        if self.is_admitted:
            return
        if self.breaker is None:
            raise self.error or UnavailableError("The state of a breaker cannot be read. Run again later.")
        due, since = self.breaker.due_at, self.breaker.since_at
        when = f"a probe is let through from {due.isoformat()} on" if due else "it stays so until somebody resets it"
        raise DataRejectedError(
            f"The breaker of {self.breaker.scope!r} is open: {self.breaker.reason}. "
            f"Correct the data or reset the breaker; {when}.",
            scope=self.breaker.scope,
            state=self.breaker.state,
            since=since.isoformat() if since else None,
            due=due.isoformat() if due else None,
            probe=self.breaker.probe or None,
        )


class BreakerLog:
    """The breakers of a lakehouse, kept in any table that can be read with a filter and appended to.

    Every change is one commit, made on the version that was read and guarded against rows of the same scope that came
    after it; who loses reads again and decides again. So of two runs that ask for the probe, one gets it.

    Args:
        table: Created when something is written to it first.

    Guarantees:
        Replay: the same result recorded twice counts once; a run that holds the probe is let through again.
        Crash: a change is there whole or not at all, and doing the same again ends in the same state.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def read(self, scope: str) -> Breaker:
        """Return a breaker as it is.

        Raises:
            UnavailableError: The log did not answer.
            DamagedError: What it holds cannot be read.
        """
        return self._stored(scope).breaker

    def history(self, scope: str, *, since: int = 0) -> tuple[Transition, ...]:
        """Return the entries of a breaker after a number, oldest first."""
        if self.read(scope).number <= since:
            return ()
        return self._entries((*_of(scope), Comparison("number", ">", since)))

    def admit(self, scope: str, *, rules: BreakerRules, by: str, now: datetime) -> Admission:
        """Let a run pass, give it the probe when one is due, or refuse it.

        Args:
            scope: Of the breaker.
            rules: How long a probe may be held, and what counts where the state cannot be read.
            by: The run; all its tasks and tries under one name.
            now: Instant of the question, timezone-aware.

        Returns:
            The answer; call `require` to stop a run that may not pass.
        """
        try:
            found, entry = self._change(scope, lambda found: plan_probe(rules, found, by=by, now=now))
        except UnavailableError as error:
            return Admission(None, by, rules.on_unreadable == "closed", error=error)
        return Admission(found, by, found.admits(by), entry)

    def record(
        self, scope: str, result: ChecksResult, *, rules: BreakerRules, by: str, now: datetime
    ) -> Transition | None:
        """Tell a breaker what checks found.

        Args:
            scope: Of the breaker.
            result: What was found; the same outcomes of the same version by the same run count once.
            rules: What opens and closes.
            by: The run that checked.
            now: Instant of the report, timezone-aware.

        Returns:
            What was written, also where an earlier attempt wrote it; None when there was nothing to remember.
        """
        cause = _digest(
            ["record", by, result.table, result.version, result.partition, result.rows]
            + [[one.name, one.severity, one.verdict, one.violations] for one in result.outcomes]
        )
        return self._change(scope, lambda found: plan_transition(rules, found, result, by=by, now=now), cause=cause)[1]

    def reset(self, scope: str, *, by: str, reason: str, now: datetime) -> Transition | None:
        """Close a breaker by hand; None when it is closed and remembers nothing. See `plan_reset`."""
        return self._change(scope, lambda found: plan_reset(found, by=by, reason=reason, now=now))[1]

    def hold_open(
        self, scope: str, *, by: str, reason: str, now: datetime, until: datetime | None = None
    ) -> Transition | None:
        """Open a breaker by hand; None when it is held so already. See `plan_hold`."""
        return self._change(scope, lambda found: plan_hold(found, by=by, reason=reason, now=now, until=until))[1]

    def _change(
        self, scope: str, decide: Callable[[Breaker], Transition | None], *, cause: str = ""
    ) -> tuple[Breaker, Transition | None]:
        """Return the breaker as it is afterwards, and what was written now or by an earlier attempt."""
        for _ in range(_MAX_ATTEMPTS):
            stored = self._stored(scope)
            if cause and cause in stored.causes:
                return stored.breaker, self._entries((*_of(scope), Comparison("cause", "=", cause)))[0]
            entry = decide(stored.breaker)
            if entry is None:
                return stored.breaker, None
            if stored.version is None:
                self._table.create(BREAKER_LOG_SPEC)
            elif self._add(entry, stored, cause or _digest([entry.rule, entry.by, entry.at.isoformat()])):
                return entry.after, entry
        raise ConflictError("Others changed the breaker again and again. Run again.", scope=scope)

    def _add(self, entry: Transition, stored: _Stored, cause: str) -> bool:
        """Commit an entry under its number; false when another one came first."""
        scope, row = entry.after.scope, {**_row(entry), "cause": cause}
        state = {"entry": row, "causes": [*stored.causes, cause][-_KEPT_CAUSES:]}
        change = Change(
            rows=_stream(row),
            base=stored.version,
            guard=_of(scope),
            properties={STATE_PREFIX + scope: json.dumps(state, default=datetime.isoformat)},
            summary={"step": f"breaker {entry.rule}"},
        )
        try:
            result = self._table.commit(change, token=WriteToken(f"breaker {scope}", entry.after.number))
        except ConflictError:
            return False
        return not result.replayed or cause in self._stored(scope).causes

    def _stored(self, scope: str) -> _Stored:
        if not self._table.exists():
            return _Stored(None, Breaker(scope))
        facts = self._table.facts()
        text = facts.properties.get(STATE_PREFIX + scope)
        if text is None:
            return _Stored(facts.version, Breaker(scope))
        try:
            state = json.loads(text)
            row, causes = dict(state["entry"]), tuple(map(str, state["causes"]))
            for name in ("changed_at", "due_at"):
                row[name] = datetime.fromisoformat(row[name]) if row[name] else None
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(scope) from error
        return _Stored(facts.version, _entry(row).after, causes)

    def _entries(self, where: Filter) -> tuple[Transition, ...]:
        with self._table.read(where=where) as reader:
            rows = sorted((row for batch in reader for row in batch.to_pylist()), key=lambda row: row["number"])
        return tuple(_entry(row) for row in rows)


@dataclass(frozen=True)
class _Stored:
    """A breaker as one version of the log has it; no version where there is no log yet."""

    version: int | None
    breaker: Breaker
    causes: tuple[str, ...] = ()


def _of(scope: str) -> tuple[Comparison, ...]:
    return (Comparison("scope", "=", scope),)


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _row(entry: Transition) -> dict[str, Any]:
    after = entry.after
    memory = {name: getattr(after, name) for name in _MEMORY}
    memory["since_at"] = after.since_at.isoformat() if after.since_at else None
    return {
        "scope": after.scope, "number": after.number, "before": entry.before, "state": after.state, "rule": entry.rule,
        "reason": entry.reason, "checks": json.dumps(entry.checks), "changed_by": entry.by, "changed_at": entry.at,
        "due_at": after.due_at, "probe": after.probe, "table_name": entry.table, "table_version": entry.version,
        "memory": json.dumps(memory, sort_keys=True),
    }  # fmt: skip


def _entry(row: dict[str, Any]) -> Transition:
    try:
        memory = json.loads(row["memory"])
        since = memory.pop("since_at")
        counts = {name: tuple(rows) for name, rows in memory.pop("row_counts").items()}
        after = Breaker(
            row["scope"], row["state"], row["number"], datetime.fromisoformat(since) if since else None,
            due_at=row["due_at"], probe=row["probe"], row_counts=counts, **memory,
        )  # fmt: skip
        return Transition(
            row["before"], after, row["rule"], row["reason"], row["changed_by"], row["changed_at"],
            tuple(json.loads(row["checks"])), row["table_name"], row["table_version"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(str(row.get("scope"))) from error


def _damaged(scope: str) -> DamagedError:
    return DamagedError(
        "The log of breakers cannot be read. Look at the rows and the property of its scope.", scope=scope
    )


def _stream(row: dict[str, Any]) -> pa.RecordBatchReader:
    import pyarrow as pa

    return pa.Table.from_pylist([row], schema=BREAKER_LOG_SPEC.schema.to_arrow()).to_reader()
