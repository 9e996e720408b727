"""What changes of rules of quality and of service levels break."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.contracts.contract import custom_value
from airflow_provider_lakehouse.core.contracts.differences import (
    NOBODY,
    READERS,
    WRITERS,
    Difference,
    described,
    joined,
    rest_differences,
)
from airflow_provider_lakehouse.core.contracts.relationships import RELATIONSHIPS
from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow_provider_lakehouse.core.contracts.contract import Contract, Rule
    from airflow_provider_lakehouse.core.contracts.service_level import ServiceLevel

_LESS_IS_MORE: Final = (
    "latency",
    "freshness",
    "frequency",
    "errorrate",
    "timetodetect",
    "timetonotify",
    "timetorepair",
)
"""Service levels of which a smaller value promises more."""
_MORE_IS_MORE: Final = ("availability", "throughput", "retention", "endofsupport", "endoflife")
_LOOSENED: Final = "less is promised than before"
_TIGHTENED: Final = "more is demanded than before"
_UNITS: Final = {"mo": 30.0, "month": 30.0, "months": 30.0, "y": 365.0, "yr": 365.0, "year": 365.0, "years": 365.0}
"""Days of the units that have no fixed length, close enough to tell which of two is longer."""
_DAY_SECONDS: Final = 86_400


def rule_differences(path: str, old: Sequence[Rule], new: Sequence[Rule]) -> Iterator[Difference]:
    """Yield the differences of the rules of a table or column. Rules are the same by id or name, or where they measure the same."""
    left = list(old)
    for rule in new:
        before = next((one for one in left if _same(one, rule)), None)
        if before is not None:
            left.remove(before)
            yield from _rule(joined(path, _label(rule)), before, rule)
        elif rule.kind == "text":
            yield Difference(joined(path, _label(rule)), "described", NOBODY, "it is for people")
        else:
            yield Difference(joined(path, _label(rule)), "added", WRITERS, "data is refused that was not before")
    for rule in left:
        is_text = rule.kind == "text"
        why = "it is for people" if is_text else "nobody checks it any more"
        yield Difference(
            joined(path, _label(rule)), "described" if is_text else "removed", NOBODY if is_text else READERS, why
        )


def relationship_differences(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield the differences of what a table or column refers to.

    Args:
        path: Of the table or column.
        old: What else was said of it, see `ContractColumn.extra`.
        new: Likewise.
    """
    before, after = ({_reference(one): one for one in extra.get(RELATIONSHIPS) or ()} for extra in (old, new))
    for name in before | after:
        here = f"{path}.{RELATIONSHIPS}[{name}]"
        if name not in before:
            yield Difference(here, "added", WRITERS, "rows that name what is not there are refused")
        elif name not in after:
            yield Difference(here, "removed", READERS, "rows may name what is not there")
        elif before[name] != after[name]:
            yield Difference(here, "described", NOBODY, "it is for people, catalogs and tools")


def _reference(given: Mapping[str, Any]) -> str:
    ends = [[one] if isinstance(one, str) else one for one in (given.get("from", []), given["to"])]
    return " to ".join(", ".join(end) for end in ends if end)


def _same(old: Rule, new: Rule) -> bool:
    for one, other in ((old.id, new.id), (old.name, new.name)):
        if one and other:
            return one == other
    return (old.kind, old.metric, old.arguments, old.query, old.implementation, old.unit) == (
        new.kind, new.metric, new.arguments, new.query, new.implementation, new.unit
    )  # fmt: skip


def _label(rule: Rule) -> str:
    return f"quality[{rule.name or rule.id or rule.metric or rule.kind}]"


def _rule(path: str, old: Rule, new: Rule) -> Iterator[Difference]:
    yield from described(path, old, new, ("name", "description", "dimension"))
    yield from rest_differences(path, old.extra, new.extra)
    yield from _severities(path, old, new)
    before, after = _demand(old), _demand(new)
    if before == after:
        return
    tighter = _tighter(old, new) if replace(before, must=None) == replace(after, must=None) else None
    if tighter is None:
        yield Difference(path, "changed", READERS + WRITERS, "it cannot be told whether more or less is promised")
    else:
        yield Difference(path, "changed", WRITERS if tighter else READERS, _TIGHTENED if tighter else _LOOSENED)


def _demand(rule: Rule) -> Rule:
    """Return what a rule measures and demands, without words about it."""
    return replace(rule, id="", name="", description="", dimension="", severity="", custom=(), extra={})


def _severities(path: str, old: Rule, new: Rule) -> Iterator[Difference]:
    before, after = (_stops(rule) for rule in (old, new))
    if before and not after:
        yield Difference(joined(path, "severity"), "changed", READERS, "data that breaks it is published now")
    elif after and not before:
        yield Difference(joined(path, "severity"), "changed", WRITERS, "data that breaks it is refused now")
    elif old.severity != new.severity or old.custom != new.custom:
        yield Difference(joined(path, "severity"), "described", NOBODY, "what is broken is kept from readers as before")


def _stops(rule: Rule) -> bool:
    """Tell whether data that breaks a rule is kept from readers."""
    own = custom_value(rule.custom, "lakehouseSeverity")
    return (own or rule.severity.casefold()) not in ("warn", "warning", "info")


def _tighter(old: Rule, new: Rule) -> bool | None:
    """Tell whether a comparison allows less than before; None where that cannot be told."""
    before, after = old.must, new.must
    if before is None or after is None or before.operator != after.operator:
        return None
    match before.operator:
        case "mustBeLessThan" | "mustBeLessOrEqualTo":
            return bool(after.value < before.value)
        case "mustBeGreaterThan" | "mustBeGreaterOrEqualTo":
            return bool(after.value > before.value)
        case "mustBeBetween" | "mustNotBeBetween":
            inside = before.value[0] <= after.value[0] and after.value[1] <= before.value[1]
            outside = after.value[0] <= before.value[0] and before.value[1] <= after.value[1]
            if inside == outside:
                return None
            return bool(inside if before.operator == "mustBeBetween" else outside)
        case _:
            return None


def level_differences(old: Contract, new: Contract) -> Iterator[Difference]:
    """Yield the differences of the service levels of two versions. Levels are the same by property, element and driver."""
    before = {_level_key(level): level for level in old.service_levels}
    after = {_level_key(level): level for level in new.service_levels}
    for key, level in after.items():
        path = _level_path(level)
        if key in before:
            yield from _level(path, before[key], level)
        else:
            yield Difference(path, "added", WRITERS, "more is demanded than before")
    for key, level in before.items():
        if key not in after:
            yield Difference(_level_path(level), "removed", READERS, "nobody promises it any more")


def _level_key(level: ServiceLevel) -> tuple[str, str, str]:
    return level.property_name, level.element, str(level.extra.get("driver", ""))


def _level_path(level: ServiceLevel) -> str:
    return f"slaProperties[{level.name}{f' {level.element}' if level.element else ''}]"


def _level(path: str, old: ServiceLevel, new: ServiceLevel) -> Iterator[Difference]:
    yield from described(path, old, new, ("description", "scheduler", "schedule", "custom"))
    yield from rest_differences(path, old.extra, new.extra)
    if (old.value, old.unit) == (new.value, new.unit):
        return
    before, after = _size(old), _size(new)
    name = new.property_name
    if name not in (*_LESS_IS_MORE, *_MORE_IS_MORE) or before is None or after is None or before[0] != after[0]:
        yield Difference(path, "changed", READERS + WRITERS, "it cannot be told whether more or less is promised")
    elif before != after:
        tighter = (after[1] < before[1]) == (name in _LESS_IS_MORE)
        yield Difference(path, "changed", WRITERS if tighter else READERS, _TIGHTENED if tighter else _LOOSENED)


def _size(level: ServiceLevel) -> tuple[str, float] | None:
    """Return what is measured, and how much of it; None where two levels cannot be compared."""
    value, unit = level.value, level.unit.strip().casefold()
    if isinstance(value, str):
        try:
            return ("instant", datetime.fromisoformat(value).timestamp()) if "T" in value else None
        except ValueError:
            return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if days := _UNITS.get(unit):
        return "seconds", value * days * _DAY_SECONDS
    try:
        return "seconds", level.duration().total_seconds()
    except InvalidRequestError:
        return unit, float(value)
