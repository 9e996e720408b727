"""A breaker opens by its rules, lets one probe through, and closes when it passed or when a person says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.breaker import (
    Breaker,
    BreakerRules,
    plan_hold,
    plan_probe,
    plan_reset,
    plan_transition,
)
from airflow_provider_lakehouse.core.quality.checks import CheckOutcome
from airflow_provider_lakehouse.core.quality.row_counts import RowCountRule
from airflow_provider_lakehouse.core.quality.run import ChecksResult

from .breakers import SCOPE, START, after, found, good

RULES = BreakerRules()
CLOSED = Breaker(SCOPE)


def told(breaker: Breaker, *results: Any, rules: BreakerRules = RULES, by: str = "run", now: Any = START) -> Breaker:
    """The breaker after results, in order."""
    for result in results:
        entry = plan_transition(rules, breaker, result, by=by, now=now)
        breaker = entry.after if entry else breaker
    return breaker


@pytest.fixture
def opened() -> Breaker:
    return told(CLOSED, found())


@pytest.fixture
def probed(opened: Breaker) -> Breaker:
    entry = plan_probe(RULES, opened, by="probe", now=after(hours=1))
    assert entry is not None
    return entry.after


class TestOpening:
    def test_a_broken_check_of_a_chosen_severity_opens_at_once(self) -> None:
        entry = plan_transition(RULES, CLOSED, found(version=7), by="run", now=START)
        assert entry is not None
        assert (entry.before, entry.after.state, entry.rule) == ("closed", "open", "severity")
        assert (entry.checks, entry.table, entry.version, entry.by) == (("amount: 3",), SCOPE, 7, "run")
        assert entry.after.due_at == after(hours=1)
        assert entry.after.reason == "broken or unknown: amount"

    def test_a_check_that_could_not_be_evaluated_opens_as_if_it_were_broken(self) -> None:
        assert told(CLOSED, found(verdict="unknown")).state == "open"

    def test_a_warning_opens_only_where_the_rules_say_so(self) -> None:
        assert told(CLOSED, *[found("warn")] * 9) == CLOSED
        assert told(CLOSED, found("warn"), rules=BreakerRules(severities=("warn",))).state == "open"

    def test_what_passes_is_not_worth_an_entry(self) -> None:
        assert plan_transition(RULES, CLOSED, good(), by="run", now=START) is None

    def test_a_check_that_is_broken_again_and_again_opens(self) -> None:
        twice = told(CLOSED, found("quarantine"), found("quarantine"))
        assert (twice.state, twice.failing) == ("closed", {"sales.orders: amount": 2})
        entry = plan_transition(RULES, twice, found("quarantine"), by="run", now=START)
        assert entry is not None
        assert (entry.after.state, entry.rule) == ("open", "consecutive failures")

    def test_a_pass_in_between_starts_the_count_anew(self) -> None:
        results = [found("drop"), found("drop"), good(), found("drop"), found("drop")]
        assert told(CLOSED, *results).state == "closed"

    def test_tables_of_a_domain_are_counted_apart(self) -> None:
        results = [found("drop", table=table) for table in ("a.b", "a.c", "a.b", "a.c")]
        breaker = told(Breaker("a.*"), *results)
        assert (breaker.state, breaker.failing) == ("closed", {"a.b: amount": 2, "a.c: amount": 2})

    def test_two_tasks_with_checks_of_their_own_do_not_disturb_each_other(self) -> None:
        other = ChecksResult(SCOPE, 1, None, (CheckOutcome("id", "fail", 0),))
        results = [found("drop"), other, found("drop"), other, found("drop")]
        assert told(CLOSED, *results).reason == "broken 3 times in a row: amount"

    def test_counting_can_be_switched_off(self) -> None:
        rules = BreakerRules(consecutive_failures=None)
        assert told(CLOSED, *[found("drop")] * 9, rules=rules).state == "closed"


class TestRowCounts:
    rules = BreakerRules(row_count=RowCountRule(points=5, window=6))
    usual = (1000, 1010, 990, 1005, 995)

    def breaker(self) -> Breaker:
        return told(CLOSED, *[good(rows=rows) for rows in self.usual], rules=self.rules)

    @pytest.mark.parametrize("rows", [0, 880, 1200])
    def test_a_count_out_of_the_ordinary_opens(self, rows: int) -> None:
        entry = plan_transition(self.rules, self.breaker(), good(rows=rows), by="run", now=START)
        assert entry is not None
        assert (entry.rule, entry.reason) == ("row count", f"{rows} rows of sales.orders, usual are 900 to 1100")

    def test_an_outlier_does_not_become_usual(self) -> None:
        assert told(self.breaker(), good(rows=0), rules=self.rules).row_counts == {SCOPE: self.usual}

    def test_only_the_newest_counts_are_kept(self) -> None:
        breaker = told(self.breaker(), good(rows=1001), good(rows=1002), rules=self.rules)
        assert breaker.row_counts == {SCOPE: (*self.usual[1:], 1001, 1002)}

    def test_without_enough_counts_the_fixed_bounds_decide(self) -> None:
        rules = BreakerRules(row_count=RowCountRule(lowest_rows=10, highest_rows=20))
        assert told(CLOSED, good(rows=15), rules=rules).state == "closed"
        assert told(CLOSED, good(rows=9), rules=rules).state == "open"
        assert told(CLOSED, good(rows=21), rules=rules).state == "open"

    def test_partitions_are_not_compared_with_whole_tables(self) -> None:
        assert told(self.breaker(), good(rows=3, partition="2026-05-01"), rules=self.rules).state == "closed"

    def test_the_spread_of_earlier_counts_widens_what_is_usual(self) -> None:
        rule = RowCountRule(points=5, deviations=2, tolerance=0)
        assert rule.bounds((80, 90, 100, 110, 120)) == (100 - 2 * 14.826, 100 + 2 * 14.826)

    @pytest.mark.parametrize(
        "values",
        [
            {"deviations": 0},
            {"tolerance": -1},
            {"points": 0},
            {"points": 9, "window": 8},
            {"lowest_rows": 5, "highest_rows": 4},
        ],
    )
    def test_a_rule_that_means_nothing_is_refused(self, values: dict[str, Any]) -> None:
        with pytest.raises(InvalidRequestError):
            RowCountRule(**values)


class TestProbing:
    def test_before_it_is_due_nobody_gets_the_probe(self, opened: Breaker) -> None:
        assert plan_probe(RULES, opened, by="run", now=after(minutes=59)) is None
        assert not opened.admits("run")

    def test_one_run_is_let_through_and_no_other(self, probed: Breaker) -> None:
        assert (probed.state, probed.probe, probed.due_at) == ("half_open", "probe", after(hours=2))
        assert probed.admits("probe")
        assert not probed.admits("other")
        assert plan_probe(RULES, probed, by="other", now=after(minutes=90)) is None

    def test_a_run_that_holds_the_probe_too_long_loses_it(self, probed: Breaker) -> None:
        entry = plan_probe(RULES, probed, by="other", now=after(hours=2))
        assert entry is not None
        assert (entry.after.probe, entry.after.since_at, entry.is_change) == ("other", after(hours=1), False)

    def test_a_probe_that_passes_closes_and_forgets(self, probed: Breaker) -> None:
        closed = told(probed, good(), by="probe", now=after(hours=1))
        assert closed == Breaker(SCOPE, number=3, since_at=after(hours=1))

    def test_a_probe_that_fails_opens_for_longer_each_time(self, opened: Breaker) -> None:
        waits, now = [], START
        for _ in range(7):
            assert opened.due_at is not None
            waits.append((opened.due_at - now) / timedelta(hours=1))
            now = opened.due_at
            opened = told(opened, found(), now=now)
        assert waits == [1, 2, 4, 8, 16, 24, 24]

    def test_a_result_without_checks_is_no_evidence(self, probed: Breaker) -> None:
        assert told(probed, ChecksResult(SCOPE, 2, 10, ()), by="probe", now=after(hours=1)) == probed

    def test_a_broken_check_that_no_longer_runs_keeps_it_half_open_until_it_is_reset(self, probed: Breaker) -> None:
        other = ChecksResult(SCOPE, 2, 10, (CheckOutcome("a new name", "fail", 0),))
        half = told(probed, other, by="probe", now=after(hours=1))
        assert (half.state, half.failing) == ("half_open", {"sales.orders: amount": 1})
        assert plan_probe(RULES, half, by="next", now=after(hours=1)) is not None
        assert plan_reset(half, by="ann", reason="renamed", now=after(hours=1)) is not None

    def test_a_quarantined_row_fails_a_probe_too(self, probed: Breaker) -> None:
        assert told(probed, found("quarantine"), by="probe").state == "open"

    def test_what_could_not_have_opened_it_does_not_keep_it_open(self, opened: Breaker) -> None:
        rules = BreakerRules(consecutive_failures=None)
        outcomes = (*good().outcomes, *found("quarantine").outcomes)
        trickle = replace(good(), outcomes=(outcomes[0], replace(outcomes[1], name="price")))
        assert told(CLOSED, trickle, rules=rules).state == "closed"
        assert told(opened, trickle, rules=rules, now=after(hours=1)).state == "closed"

    def test_another_run_cannot_pass_the_probe_but_fail_it(self, probed: Breaker) -> None:
        now = after(hours=1, minutes=1)
        assert told(probed, good(), by="late", now=now).state == "half_open"
        assert told(probed, found(), by="late", now=now).state == "open"

    def test_checks_of_a_run_of_their_own_are_the_probe_when_one_is_due(self, opened: Breaker) -> None:
        assert told(opened, good(), by="checks", now=after(minutes=59)).state == "open"
        assert told(opened, good(), by="checks", now=after(hours=1)).state == "closed"

    def test_several_probes_may_have_to_pass(self, probed: Breaker) -> None:
        rules = BreakerRules(good_probes=2)
        once = told(probed, good(), by="probe", now=after(hours=1), rules=rules)
        assert (once.state, once.probe, once.good_probes) == ("half_open", "", 1)
        entry = plan_probe(rules, once, by="next", now=after(hours=1))
        assert entry is not None
        assert told(entry.after, good(version=2), by="next", now=after(hours=1), rules=rules).state == "closed"

    def test_a_domain_closes_when_all_its_broken_tables_are_sound(self) -> None:
        domain = told(Breaker("sales.*"), found(table="sales.a"), found("drop", table="sales.b"))
        now = after(hours=1)
        half = told(domain, good(table="sales.a"), now=now)
        assert (half.state, half.failing) == ("half_open", {"sales.b: amount": 1})
        assert told(half, good(table="sales.b"), now=now).state == "closed"


class TestPeople:
    def test_a_reset_closes_and_forgets(self, probed: Breaker) -> None:
        entry = plan_reset(replace(probed, row_counts={SCOPE: (1,)}), by="ann", reason="prices were right", now=START)
        assert entry is not None
        assert entry.after == Breaker(SCOPE, number=3, since_at=START)
        assert (entry.by, entry.reason, entry.rule) == ("ann", "prices were right", "reset")
        assert plan_reset(entry.after, by="ann", reason="again", now=START) is None

    def test_a_hold_lets_nobody_through_until_it_is_reset(self) -> None:
        entry = plan_hold(CLOSED, by="ann", reason="migration", now=START)
        assert entry is not None
        held = entry.after
        assert plan_probe(RULES, held, by="run", now=after(days=365)) is None
        assert told(held, good(), now=after(days=365)).state == "open"
        assert plan_hold(held, by="ann", reason="migration", now=after(days=1)) is None

    def test_a_hold_may_end_with_a_probe(self) -> None:
        entry = plan_hold(CLOSED, by="ann", reason="migration", now=START, until=after(days=1))
        assert entry is not None
        assert plan_probe(RULES, entry.after, by="run", now=after(hours=23)) is None
        assert plan_probe(RULES, entry.after, by="run", now=after(days=1)) is not None

    @pytest.mark.parametrize(("by", "reason"), [("", "why"), ("ann", ""), ("ann", "  ")])
    def test_a_person_has_a_name_and_a_reason(self, by: str, reason: str) -> None:
        with pytest.raises(InvalidRequestError, match="name and a reason"):
            plan_reset(CLOSED, by=by, reason=reason, now=START)
        with pytest.raises(InvalidRequestError, match="name and a reason"):
            plan_hold(CLOSED, by=by, reason=reason, now=START)

    @pytest.mark.parametrize("until", [START, START.replace(tzinfo=None) + timedelta(days=9)])
    def test_a_hold_ends_in_the_future_in_a_time_zone(self, until: Any) -> None:
        with pytest.raises(InvalidRequestError, match="in the future"):
            plan_hold(CLOSED, by="ann", reason="why", now=START, until=until)


class TestSettings:
    @pytest.mark.parametrize(
        "settings",
        [
            {"severities": ["fatal"]},
            {"consecutive_failures": 0},
            {"open_for_seconds": 0},
            {"open_for_seconds": 100, "max_open_for_seconds": 10},
            {"back_off": 0.5},
            {"good_probes": 0},
            {"on_unreadable": "maybe"},
            {"probe_for_seconds": "soon"},
            {"open_for_seconds": 1e30},
            {"open_for": 60},
            {"opens_for_seconds": 60},
            {"row_count": {"deviation": 3}},
            {"good_probes": "many"},
        ],
    )
    def test_rules_that_mean_nothing_are_refused(self, settings: dict[str, Any]) -> None:
        with pytest.raises(InvalidRequestError):
            BreakerRules.from_json(settings)

    @pytest.mark.parametrize("scope", ["", "  ", "x" * 201])
    def test_a_scope_has_a_short_name(self, scope: str) -> None:
        with pytest.raises(InvalidRequestError):
            Breaker(scope)
