"""The log of breakers is the same for all who read it, counts each result once, and gives each probe to one run."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_provider_lakehouse.core.errors import (
    DamagedError,
    DataRejectedError,
    OutcomeUnknownError,
    UnavailableError,
)
from airflow_provider_lakehouse.core.quality.breaker import Breaker, BreakerRules
from airflow_provider_lakehouse.core.quality.breaker_log import STATE_PREFIX, BreakerLog
from airflow_provider_lakehouse.core.quality.row_counts import RowCountRule
from airflow_provider_lakehouse.core.tables.base import Change, WriteToken

from .breakers import FORMATS, SCOPE, START, after, found, good, opened_log

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import Table

RULES = BreakerRules()


def record(log: BreakerLog, result: object, *, by: str = "run", rules: BreakerRules = RULES, **time: float) -> object:
    return log.record(SCOPE, result, rules=rules, by=by, now=after(**time))  # type: ignore[arg-type]


def table_of(log: BreakerLog) -> Table:
    return log._table


@pytest.fixture
def log(tmp_path: Path) -> BreakerLog:
    return opened_log("memory", tmp_path)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_breaker_goes_round_once(format_: str, tmp_path: Path) -> None:
    log = opened_log(format_, tmp_path)
    assert log.read(SCOPE) == Breaker(SCOPE)
    record(log, found(version=5))
    assert not log.admit(SCOPE, rules=RULES, by="early", now=after(minutes=1)).is_admitted
    assert log.admit(SCOPE, rules=RULES, by="probe", now=after(hours=1)).is_probe
    record(log, good(version=6), by="probe", hours=1, minutes=5)
    entries = opened_log(format_, tmp_path).history(SCOPE)
    assert [(e.before, e.after.state, e.rule, e.by) for e in entries] == [
        ("closed", "open", "severity", "run"),
        ("open", "half_open", "probe", "probe"),
        ("half_open", "closed", "probe passed", "probe"),
    ]
    assert [e.after.number for e in entries] == [1, 2, 3]
    assert (entries[0].checks, entries[0].table, entries[0].version) == (("amount: 3",), SCOPE, 5)
    assert log.history(SCOPE, since=2) == entries[2:]
    assert log.admit(SCOPE, rules=RULES, by="anybody", now=after(hours=2)).is_admitted


def test_reading_and_asking_do_not_create_the_log(log: BreakerLog) -> None:
    assert log.admit(SCOPE, rules=RULES, by="run", now=START).is_admitted
    record(log, good())
    assert log.history(SCOPE) == ()
    assert not table_of(log).exists()


def test_scopes_do_not_know_of_one_another(log: BreakerLog) -> None:
    record(log, found())
    assert log.read("sales.*").state == "closed"
    assert log.hold_open("sales.*", by="ann", reason="migration", now=START) is not None
    assert [log.read(scope).number for scope in (SCOPE, "sales.*")] == [1, 1]


def test_what_is_remembered_comes_back_as_it_was(log: BreakerLog) -> None:
    rules = BreakerRules(row_count=RowCountRule())
    first = record(log, found("drop", rows=7), rules=rules)
    assert log.history(SCOPE) == (first,)
    assert log.read(SCOPE) == Breaker(SCOPE, number=1, failing={f"{SCOPE}: amount": 1}, row_counts={SCOPE: (7,)})


@pytest.mark.parametrize("format_", FORMATS)
def test_the_same_result_of_the_same_run_counts_once(format_: str, tmp_path: Path) -> None:
    log = opened_log(format_, tmp_path)
    first = record(log, found("drop"))
    assert record(log, found("drop"), minutes=5) == first
    assert log.read(SCOPE).failing == {f"{SCOPE}: amount": 1}
    record(log, found("drop", version=2))
    record(log, found("drop"), by="next")
    assert log.read(SCOPE).failing == {f"{SCOPE}: amount": 3}


def test_a_run_that_holds_the_probe_is_let_through_again_without_an_entry(log: BreakerLog) -> None:
    record(log, found())
    first = log.admit(SCOPE, rules=RULES, by="probe", now=after(hours=1))
    again = log.admit(SCOPE, rules=RULES, by="probe", now=after(hours=1, minutes=1))
    assert (first.transition is not None, again.transition, again.is_probe) == (True, None, True)


def test_people_reset_and_hold_once(log: BreakerLog) -> None:
    assert log.reset(SCOPE, by="ann", reason="nothing was wrong", now=START) is None
    assert log.hold_open(SCOPE, by="ann", reason="migration", now=START) is not None
    assert log.hold_open(SCOPE, by="bob", reason="migration", now=after(hours=1)) is None
    assert log.reset(SCOPE, by="ann", reason="it is over", now=after(hours=2)) is not None
    assert log.reset(SCOPE, by="ann", reason="it is over", now=after(hours=3)) is None
    assert [entry.rule for entry in log.history(SCOPE)] == ["hold", "reset"]


class TestRefusals:
    def test_who_meets_an_open_breaker_is_told_why_and_until_when(self, log: BreakerLog) -> None:
        record(log, found())
        with pytest.raises(DataRejectedError, match="broken or unknown: amount") as refused:
            log.admit(SCOPE, rules=RULES, by="run", now=START).require()
        assert refused.value.facts["due"] == after(hours=1).isoformat()
        assert refused.value.facts["scope"] == SCOPE

    def test_a_hold_without_end_says_that_a_person_has_to_act(self, log: BreakerLog) -> None:
        log.hold_open(SCOPE, by="ann", reason="migration", now=START)
        with pytest.raises(DataRejectedError, match="until somebody resets it"):
            log.admit(SCOPE, rules=RULES, by="run", now=after(days=9)).require()

    def test_a_log_that_does_not_answer_counts_as_open(self, tmp_path: Path) -> None:
        unreachable = BreakerLog(Unreachable(table_of(opened_log("memory", tmp_path))))  # type: ignore[arg-type]
        refused = unreachable.admit(SCOPE, rules=RULES, by="run", now=START)
        assert (refused.is_admitted, refused.breaker) == (False, None)
        with pytest.raises(UnavailableError):
            refused.require()

    def test_it_counts_as_closed_where_somebody_says_so(self, tmp_path: Path) -> None:
        unreachable = BreakerLog(Unreachable(table_of(opened_log("memory", tmp_path))))  # type: ignore[arg-type]
        admitted = unreachable.admit(SCOPE, rules=BreakerRules(on_unreadable="closed"), by="run", now=START)
        admitted.require()
        assert (admitted.is_admitted, admitted.is_probe) == (True, False)

    @pytest.mark.parametrize("change", [{"memory": "no json"}, {"memory": "[]"}, {"memory": "{}"}, {"due_at": 1}, None])
    def test_a_state_that_cannot_be_read_is_damage(self, log: BreakerLog, change: dict[str, object] | None) -> None:
        record(log, found())
        name = f"{STATE_PREFIX}{SCOPE}"
        state = json.loads(table_of(log).facts().properties[name])
        text = "{" if change is None else json.dumps(state | {"entry": state["entry"] | change})
        table_of(log).commit(Change(properties={name: text}), token=WriteToken("someone", "else"))
        with pytest.raises(DamagedError):
            log.admit(SCOPE, rules=BreakerRules(on_unreadable="closed"), by="run", now=START)


class Unreachable:
    """A table whose catalog is down."""

    def __init__(self, table: Table) -> None:
        self.identity = table.identity

    def exists(self) -> bool:
        raise UnavailableError("The catalog did not answer. Run again later.")


class Meanwhile:
    """A probe that lets somebody else act once, just before the commit."""

    def __init__(self, act: object) -> None:
        self.act = act
        self.done = False

    def __call__(self, step: str) -> None:
        if step.startswith("before") and step.endswith("commit") and not self.done:
            self.done = True
            self.act()  # type: ignore[operator]


@pytest.mark.parametrize("format_", FORMATS)
class TestTwoAtOnce:
    def test_of_two_runs_that_ask_for_the_probe_one_gets_it(self, format_: str, tmp_path: Path) -> None:
        record(opened_log(format_, tmp_path), found())
        won = []

        def other() -> None:
            won.append(opened_log(format_, tmp_path).admit(SCOPE, rules=RULES, by="first", now=after(hours=1)))

        meanwhile = Meanwhile(other)
        lost = opened_log(format_, tmp_path, meanwhile).admit(SCOPE, rules=RULES, by="second", now=after(hours=1))
        assert meanwhile.done
        assert [won[0].is_probe, lost.is_admitted] == [True, False]
        assert lost.breaker is not None
        assert lost.breaker.probe == "first"

    def test_two_results_at_once_both_count(self, format_: str, tmp_path: Path) -> None:
        record(opened_log(format_, tmp_path), found("drop"), by="before")
        meanwhile = Meanwhile(lambda: record(opened_log(format_, tmp_path), found("drop"), by="first"))
        entry = record(opened_log(format_, tmp_path, meanwhile), found("drop"), by="second")
        assert meanwhile.done
        assert entry.after.state == "open"  # type: ignore[attr-defined]
        assert [e.by for e in opened_log(format_, tmp_path).history(SCOPE)] == ["before", "first", "second"]

    def test_two_attempts_at_one_report_count_once(self, format_: str, tmp_path: Path) -> None:
        meanwhile = Meanwhile(lambda: record(opened_log(format_, tmp_path), found("drop")))
        record(opened_log(format_, tmp_path), found("drop"), by="before")
        record(opened_log(format_, tmp_path, meanwhile), found("drop"))
        assert meanwhile.done
        assert opened_log(format_, tmp_path).read(SCOPE).failing == {f"{SCOPE}: amount": 2}

    def test_the_very_first_entry_is_written_once(self, format_: str, tmp_path: Path) -> None:
        meanwhile = Meanwhile(lambda: record(opened_log(format_, tmp_path), found(), by="first"))
        record(opened_log(format_, tmp_path, meanwhile), found(version=2), by="second")
        entries = opened_log(format_, tmp_path).history(SCOPE)
        assert [e.after.number for e in entries] == list(range(1, len(entries) + 1))
        assert entries[-1].after.state == "open"

    def test_breakers_of_other_scopes_do_not_get_in_the_way(self, format_: str, tmp_path: Path) -> None:
        record(opened_log(format_, tmp_path), found())
        tries = []

        def other() -> None:
            tries.append(opened_log(format_, tmp_path).hold_open("other", by="ann", reason="why", now=START))

        admitted = opened_log(format_, tmp_path, Meanwhile(other)).admit(
            SCOPE, rules=RULES, by="run", now=after(hours=1)
        )
        assert admitted.is_probe
        assert len(tries) == 1
        log = opened_log(format_, tmp_path)
        assert [log.read(scope).state for scope in (SCOPE, "other")] == ["half_open", "open"]
        assert [len(log.history(scope)) for scope in (SCOPE, "other")] == [2, 1]


def test_an_answer_that_was_lost_is_found_by_doing_it_again(tmp_path: Path) -> None:
    def lose(step: str) -> None:
        if step.startswith("after") and step.endswith("commit"):
            raise OutcomeUnknownError("The answer was lost.")

    record(opened_log("memory", tmp_path), good(rows=1), rules=BreakerRules(row_count=RowCountRule()))
    with pytest.raises(OutcomeUnknownError):
        record(opened_log("memory", tmp_path, lose), found("drop"))
    record(opened_log("memory", tmp_path), found("drop"))
    assert opened_log("memory", tmp_path).read(SCOPE).failing == {f"{SCOPE}: amount": 1}


def test_a_breaker_that_is_open_for_long_still_says_since_when(log: BreakerLog) -> None:
    record(log, found())
    record(log, found(version=2), minutes=1)
    breaker = log.read(SCOPE)
    assert (breaker.since_at, breaker.number) == (START, 2)
    assert replace(breaker, number=1, failing={}).due_at == START + timedelta(hours=1)
