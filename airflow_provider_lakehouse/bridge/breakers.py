"""Circuit breakers of tasks: which, by which rules, who asks, and how their changes become asset events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.configuration import conf

from airflow_provider_lakehouse.bridge.identity import is_template
from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnavailableError
from airflow_provider_lakehouse.core.quality.breaker import Breaker, BreakerRules
from airflow_provider_lakehouse.core.quality.breaker_log import Admission

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from airflow_provider_lakehouse.core.quality.breaker import Transition
    from airflow_provider_lakehouse.core.quality.breaker_log import BreakerLog
    from airflow_provider_lakehouse.core.quality.run import ChecksResult

DEFAULT_LOG: Final = "quality.breakers"
BREAKER_SCHEME: Final = "x-lakehouse-breaker"
BREAKER_ALIAS: Final = AssetAlias("lakehouse-breakers")
"""Outlet of every task that may change a breaker: only real changes become events, each of its breaker's asset."""

type BreakerArgument = str | Sequence[str] | Mapping[str, Any]
"""A scope, several, or a mapping with `scope`, `on_open`, `log` and rules; see `BreakerRules.from_json`."""


@dataclass(frozen=True)
class BreakerSettings:
    """Which breakers a task honours, and how.

    Args:
        scopes: Of the breakers; all of them have to let the task pass.
        rules: What opens and closes them.
        on_open: What becomes of a task that may not pass: it fails, without a retry, or is skipped.
        log: Table that holds the breakers.
    """

    scopes: tuple[str, ...]
    rules: BreakerRules = field(default_factory=BreakerRules)
    on_open: Literal["fail", "skip"] = "fail"
    log: str = DEFAULT_LOG

    @classmethod
    def from_json(cls, value: BreakerArgument) -> Self:
        """Read what a task was given.

        Raises:
            InvalidRequestError: A scope is missing, or a setting is unknown or means nothing.

        Example:
            >>> BreakerSettings.from_json({"scope": "sales.orders", "good_probes": 2}).scopes
            ('sales.orders',)
        """
        given = dict(value) if isinstance(value, Mapping) else {"scope": value}
        scope = given.pop("scope", ())
        scopes = (scope,) if isinstance(scope, str) else tuple(str(one) for one in scope)
        on_open = given.pop("on_open", "fail")
        log = str(given.pop("log", "") or conf.get("lakehouse", "breaker_log", fallback=DEFAULT_LOG))
        if not scopes or on_open not in ("fail", "skip"):
            raise InvalidRequestError(
                "A breaker needs a 'scope', and 'on_open' is 'fail' or 'skip'. Correct them.", on_open=str(on_open)
            )
        for one in scopes:
            Breaker(one)  # refuses names that are empty or overlong
        return cls(scopes, BreakerRules.from_json(given), on_open, log)


def run_of(context: Mapping[str, Any]) -> str:
    """Return who asks: the run of the DAG, so that all tasks and tries of a run pass as one probe."""
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.run_id}"


def admit(settings: BreakerSettings, log: BreakerLog, *, by: str, now: datetime) -> tuple[Admission, ...]:
    """Ask all breakers, and end with the first one that refuses.

    No probe is taken while another of the breakers refuses, as far as can be seen beforehand.
    """
    if len(settings.scopes) > 1 and (refusal := _refusal(settings, log, by, now)):
        return (refusal,)
    found: list[Admission] = []
    for scope in settings.scopes:
        found.append(log.admit(scope, rules=settings.rules, by=by, now=now))
        if not found[-1].is_admitted:
            break
    return tuple(found)


def record(
    settings: BreakerSettings, log: BreakerLog, result: ChecksResult, *, by: str, now: datetime
) -> tuple[Transition, ...]:
    """Tell all breakers what checks found, and return what changed."""
    found = (log.record(scope, result, rules=settings.rules, by=by, now=now) for scope in settings.scopes)
    return tuple(one for one in found if one is not None)


def breaker_uri(scope: str, *, catalog: str) -> str:
    """Return the URI of a breaker's asset.

    Raises:
        InvalidRequestError: A part is a template or empty.

    Example:
        >>> breaker_uri("sales.orders", catalog="default")
        'x-lakehouse-breaker://default/sales.orders'
    """
    if is_template(scope) or is_template(catalog) or not catalog:
        raise InvalidRequestError(
            "The asset of a breaker has a fixed name, and names its catalog. Write both out.",
            scope=scope,
            catalog=catalog,
        )
    return f"{BREAKER_SCHEME}://{quote(catalog, safe='')}/{quote(Breaker(scope).scope, safe='')}"


def transition_facts(entry: Transition) -> dict[str, Any]:
    """Return what an event tells about a change of a breaker, as JSON."""
    after = entry.after
    facts = {
        "scope": after.scope, "number": after.number, "before": entry.before, "state": after.state, "rule": entry.rule,
        "reason": entry.reason, "checks": entry.checks, "table": entry.table or None, "version": entry.version,
        "by": entry.by, "at": entry.at, "due_at": after.due_at,
    }  # fmt: skip
    return {name: as_json(value) for name, value in facts.items() if value is not None}


def announce_transitions(context: Mapping[str, Any], entries: Iterable[Transition], *, catalog: str) -> None:
    """Add an event to each breaker that opened, closed or is probed. It is recorded only when the task succeeds."""
    events = context.get("outlet_events")
    for entry in entries:
        if events is not None and entry.is_change:
            asset = Asset(uri=breaker_uri(entry.after.scope, catalog=catalog))
            events[BREAKER_ALIAS].add(asset, extra=transition_facts(entry))


def _refusal(settings: BreakerSettings, log: BreakerLog, by: str, now: datetime) -> Admission | None:
    try:
        found = [log.read(scope) for scope in settings.scopes]
    except UnavailableError:
        return None  # asking one by one says what follows
    refusing = next((one for one in found if not one.admits(by) and not one.is_due(now)), None)
    return Admission(refusing, by, is_admitted=False) if refusing else None
