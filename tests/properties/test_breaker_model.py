"""A breaker in a lakehouse table does what a dozen lines of plain Python do, whatever happens in whatever order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from airflow_provider_lakehouse.core.quality.breaker import BreakerRules
from airflow_provider_lakehouse.core.quality.breaker_log import BreakerLog
from airflow_provider_lakehouse.core.quality.checks import CheckOutcome
from airflow_provider_lakehouse.core.quality.run import ChecksResult
from airflow_provider_lakehouse.core.tables.base import CatalogSettings
from airflow_provider_lakehouse.core.tables.memory.table import open_catalog

HOUR = timedelta(hours=1)
RULES = BreakerRules(consecutive_failures=2, open_for=HOUR, max_open_for=5 * HOUR, good_probes=2, probe_for=3 * HOUR)
RUNS = st.sampled_from(["a", "b"])
NUMBERS = count()


class Model:
    """The state, the hour of the next probe, who holds it, openings, good probes, failures in a row."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.state, self.due, self.holder = "closed", None, ""
        self.openings = self.good = self.failures = 0

    def open(self, hour: int) -> None:
        self.state, self.due, self.holder = "open", hour + min(2**self.openings, 5), ""
        self.openings, self.good = self.openings + 1, 0

    def is_due(self, hour: int) -> bool:
        return self.state != "closed" and self.due is not None and hour >= self.due

    def admits(self, run: str, hour: int) -> bool:
        if self.state != "closed" and self.holder != run and self.is_due(hour):
            self.state, self.holder, self.due = "half_open", run, hour + 3
        return self.state == "closed" or self.holder == run

    def report(self, run: str, severity: str, hour: int) -> None:
        self.failures = 0 if severity == "passed" else self.failures + 1
        if self.state == "closed":
            if severity == "fail" or self.failures >= 2:
                self.open(hour)
        elif severity != "passed":
            if self.state == "half_open" or self.is_due(hour):
                self.open(hour)
        elif self.holder == run or self.is_due(hour):
            self.good += 1
            if self.good >= 2:
                self.clear()
            else:
                self.state, self.due, self.holder = "half_open", hour, ""


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        catalog = open_catalog(CatalogSettings("memory", f"memory://breakers-{next(NUMBERS)}"))
        self.log = BreakerLog(catalog.table("quality.breakers"))
        self.model = Model()
        self.hour = 0
        self.version = 0

    @property
    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + self.hour * HOUR

    @rule(hours=st.integers(1, 4))
    def time_passes(self, hours: int) -> None:
        self.hour += hours

    @rule(run=RUNS, twice=st.booleans())
    def a_run_asks(self, run: str, twice: bool) -> None:
        for _ in range(1 + twice):
            admission = self.log.admit("s", rules=RULES, by=run, now=self.now)
        assert admission.is_admitted == self.model.admits(run, self.hour)

    @rule(run=RUNS, severity=st.sampled_from(["passed", "drop", "fail"]), twice=st.booleans())
    def a_run_reports(self, run: str, severity: Any, twice: bool) -> None:
        self.version += 1
        is_good = severity == "passed"
        outcome = CheckOutcome(
            "c", "fail" if is_good else severity, int(not is_good), "passed" if is_good else "broken"
        )
        for _ in range(1 + twice):
            self.log.record("s", ChecksResult("s", self.version, None, (outcome,)), rules=RULES, by=run, now=self.now)
        self.model.report(run, severity, self.hour)

    @rule()
    def somebody_resets(self) -> None:
        self.log.reset("s", by="ann", reason="why", now=self.now)
        self.model.clear()

    @rule(hours=st.none() | st.integers(1, 3))
    def somebody_holds(self, hours: int | None) -> None:
        until = None if hours is None else self.now + hours * HOUR
        if self.log.hold_open("s", by="ann", reason="why", now=self.now, until=until) is not None:
            self.model.open(self.hour)
            self.model.due = None if hours is None else self.hour + hours

    @invariant()
    def both_are_the_same(self) -> None:
        found, model = self.log.read("s"), self.model
        due = None if found.due_at is None else (found.due_at - datetime(2026, 1, 1, tzinfo=UTC)) / HOUR
        assert (found.state, due, found.probe) == (model.state, model.due, model.holder)
        assert (found.openings, found.good_probes) == (model.openings, model.good)
        assert found.failing.get("s: c", 0) == model.failures


BreakerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestBreakerAgainstItsModel = BreakerMachine.TestCase
