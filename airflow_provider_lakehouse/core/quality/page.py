"""A result as one HTML page that stands for itself: nothing is loaded, nothing has to run."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.quality.checks import RowCheck, TableCheck, meaning_of
from airflow_provider_lakehouse.core.quality.groups import UNEXPECTED_ROWS
from airflow_provider_lakehouse.core.quality.vocabulary import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from airflow_provider_lakehouse.core.quality.checks import Check, CheckOutcome
    from airflow_provider_lakehouse.core.quality.run import ChecksResult

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b1f24;--quiet:#59636e;--line:#d1d9e0;--paper:#fff;--soft:#f6f8fa;
--bad:#b3261e;--warn:#8a5a00;--good:#1a6e33;--open:#5b3fa6}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--quiet:#9198a1;--line:#3d444d;--paper:#0d1117;--soft:#151b23;
--bad:#ff8a80;--warn:#e3b341;--good:#56d364;--open:#b9a3ff}}
body{margin:0;padding:2rem 1rem;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:72rem;margin:auto}h1{font-size:1.5rem;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:2rem 0 .5rem}
p{margin:.25rem 0}.quiet{color:var(--quiet)}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.45rem .7rem;border-top:1px solid var(--line)}
th{color:var(--quiet);font-weight:600;font-size:.85rem}
td:last-child{min-width:9rem}td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}
code{font:.85rem/1.4 ui-monospace,monospace;color:var(--quiet);overflow-wrap:anywhere}
.broken{color:var(--bad)}.warned{color:var(--warn)}.passed{color:var(--good)}.unknown{color:var(--open)}
.verdict{font-weight:600;white-space:nowrap}
.summary{padding:.75rem 1rem;background:var(--soft);border:1px solid var(--line);
border-radius:.5rem;margin:1rem 0}
@media print{body{padding:0}}
"""
_ADVICE: Final = {
    "fail": "It stops what follows. Correct the rows at their source, or the check, and run again.",
    "quarantine": "They are set aside on their way in. Look at them in the quarantine table; release them when they are right.",
    "drop": "Such rows are left out on their way in. Correct them at their source if they should be there.",
    "warn": "Only counted. Tell the owner.",
}
_UNKNOWN_ADVICE: Final = "It could not be judged, which counts as not passed. Correct the check or what it needs."
_WORDS: Final = {"broken": "Broken", "warned": "Warning", "unknown": "Unknown", "passed": "Passed"}
_ORDER: Final = ("broken", "unknown", "warned", "passed")


def page_of(result: ChecksResult, checks: Sequence[Check] = (), *, since: Mapping[str, datetime] | None = None) -> str:
    """Return a result as an HTML page: what failed first, how much, who is told, since when, and what to do.

    Args:
        result: What was found.
        checks: Those that were run, for what they mean, whom they belong to and what they are for.
        since: By name of a check: since when it has not passed, timezone-aware.

    Guarantees:
        Self-contained: no script, no address, no value of a row; every text is escaped.

    Example:
        >>> from airflow_provider_lakehouse.core.quality.run import ChecksResult
        >>> "All 0 checks passed" in page_of(ChecksResult("sales.orders", 7, 10, ()))
        True
    """
    by_name = {check.name: check for check in checks}
    ranked = sorted(
        enumerate(result.outcomes), key=lambda one: (_ORDER.index(_class(one[1])), -one[1].violations, one[0])
    )
    found = [outcome for _, outcome in ranked]
    failing = [one for one in found if not one.passed]
    passing = [one for one in found if one.passed]
    started = since or {}
    title = f"{escape(result.table)}: checks"
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><main>",
        f"<h1>{escape(result.table)}</h1>{_facts(result)}{_summary(result)}",
        _section("Not passed", failing, by_name, started) if failing else "",
        _section("Passed", passing, by_name, started) if passing else "",
        "</main></body></html>\n",
    ]
    return "".join(parts)


def _class(outcome: CheckOutcome) -> str:
    return "warned" if outcome.verdict == "broken" and outcome.severity == "warn" else outcome.verdict


def _facts(result: ChecksResult) -> str:
    facts = [f"version {result.version}"]
    facts += [f"partition {result.partition}"] if result.partition else []
    facts += [f"{result.rows:,} rows"] if result.rows is not None else []
    facts += [f"contract {result.contract}"] if result.contract else []
    facts += [f"checked {result.checked_at:%Y-%m-%d %H:%M:%S %Z}"] if result.checked_at else []
    facts += [f"by {result.runner}"]
    return f'<p class="quiet">{" · ".join(escape(fact) for fact in facts)}</p>'


def _summary(result: ChecksResult) -> str:
    total, stopping = len(result.outcomes), len(result.failed)
    passed = sum(one.passed for one in result.outcomes)
    if passed == total:
        return f'<p class="summary passed">All {total} checks passed.</p>'
    stops = f"{stopping} of them stop what follows" if stopping else "none of them stops what follows"
    words = f"{total - passed} of {total} checks did not pass; {stops}."
    return f'<p class="summary {"broken" if stopping else "warned"}">{words}</p>'


def _section(
    title: str, outcomes: list[CheckOutcome], checks: Mapping[str, Check], since: Mapping[str, datetime]
) -> str:
    head = "<th>Verdict</th><th>Check</th><th class='number'>Rows that break it</th><th>Severity</th><th>Owner</th>"
    failing = any(not one.passed for one in outcomes)
    head += "<th>Since</th><th>What to do</th>" if failing else ""
    rows = "".join(_row(one, checks.get(one.name), since.get(one.name), failing=failing) for one in outcomes)
    return (
        f'<h2>{title}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _row(outcome: CheckOutcome, check: Check | None, since: datetime | None, *, failing: bool) -> str:
    kind = _class(outcome)
    about = [f"<strong>{escape(outcome.name)}</strong>"]
    about += [f"<p>{escape(check.description)}</p>"] if check and check.description else []
    about += [f"<p><code>{escape(meaning_of(check))}</code></p>"] if isinstance(check, (RowCheck, TableCheck)) else []
    about += (
        [f'<p class="quiet">Measured: {escape(_measured(outcome.observed))}</p>']
        if outcome.observed is not None
        else []
    )
    about += [f'<p class="quiet">{escape(outcome.error)}</p>'] if outcome.error else []
    cells = [
        f'<td class="verdict {kind}">{_WORDS[kind]}</td><td>{"".join(about)}</td>',
        f'<td class="number">{_count(outcome)}</td><td>{escape(outcome.severity)}</td>',
        f"<td>{escape(check.owner if check else '')}</td>",
    ]
    if failing:
        advice = _UNKNOWN_ADVICE if outcome.verdict == "unknown" else _ADVICE[outcome.severity]
        cells.append(f"<td>{f'{since:%Y-%m-%d %H:%M %Z}' if since else ''}</td><td>{advice}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _measured(observed: Any) -> str:  # noqa: ANN401
    if isinstance(observed, dict):
        return ", ".join(f"{name} {_measured(value)}" for name, value in observed.items())
    return ", ".join(map(str, observed)) or "none" if isinstance(observed, list) else str(observed)


def _count(outcome: CheckOutcome) -> str:
    kind = KINDS.get(outcome.type)
    counts_rows = kind is None or kind.tolerant or kind.type == UNEXPECTED_ROWS
    if outcome.error or not counts_rows:
        return "–"
    of = (outcome.rows or 0) - (outcome.missing or 0)
    share = f" ({outcome.violations / of:.2%})" if of and outcome.violations else ""
    return f"{outcome.violations:,}{share}"
