"""What changes of a column break: its name, its type, whether it may be null, and which values it may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.contracts.column_types import type_of_column
from airflow_provider_lakehouse.core.contracts.differences import (
    NOBODY,
    READERS,
    WRITERS,
    Difference,
    described,
    joined,
    matched,
    rest_differences,
)
from airflow_provider_lakehouse.core.contracts.rule_changes import relationship_differences, rule_differences
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.types import is_widening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_lakehouse.core.contracts.contract import ContractColumn
    from airflow_provider_lakehouse.core.contracts.differences import Kind

_WIDER: Final = "values may come that were promised not to"
_NARROWER: Final = "values that were allowed are refused"
_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_OF_TYPE: Final = ("format", "timezone", "elementType")
"""Options that are part of the type."""


def column_differences(path: str, old: ContractColumn | None, new: ContractColumn | None) -> Iterator[Difference]:
    """Yield the differences of a column.

    Args:
        path: Of what holds it.
        old: As it was; None where it is new.
        new: As it is; None where it is gone.
    """
    if new is None:
        yield Difference(joined(path, old.name if old else ""), "removed", READERS, "whoever reads it does not find it")
        return
    here = joined(path, new.name)
    if old is None:
        must = new.required or new.primary_key
        why = "every row must have a value for it" if must else "nobody relies on it yet"
        yield Difference(here, "added", WRITERS if must else NOBODY, why)
        return
    yield from _names(here, old, new)
    yield from _types(here, old, new)
    yield from _nulls(here, old, new)
    yield from _values(here, old, new)
    spellings = () if _type_changes(old, new) else ("physical_type", "logical_type")
    yield from described(here, old, new, ("description", "tags", "classification", "custom", *spellings))
    yield from rest_differences(here, old.extra, new.extra)
    yield from relationship_differences(here, old.extra, new.extra)
    yield from rule_differences(here, old.rules, new.rules)


def _names(path: str, old: ContractColumn, new: ContractColumn) -> Iterator[Difference]:
    if old.stored_name != new.stored_name:
        yield Difference(path, "changed", READERS + WRITERS, f"it was stored as {old.stored_name!r}")
    elif old.name != new.name:
        yield Difference(path, "described", NOBODY, f"only the contract called it {old.name!r}")


def _types(path: str, old: ContractColumn, new: ContractColumn) -> Iterator[Difference]:
    if not _type_changes(old, new):
        return
    before, after = _type(old), _type(new)
    here = joined(path, "type")
    if before is None or after is None:
        yield Difference(here, "changed", READERS + WRITERS, "the types cannot be compared")
    elif old.fields and new.fields:
        for one, other in matched(old.fields, new.fields):
            yield from column_differences(path, one, other)
    elif is_widening(before, after):
        why = f"a reader of {before} cannot hold every {after}; the table itself can follow"
        yield Difference(here, "changed", READERS, why)
    elif is_widening(after, before):
        yield Difference(here, "changed", WRITERS, f"not every {before} is a {after}; the table has to be rewritten")
    else:
        why = f"{before} became {after}; the table has to be rewritten"
        yield Difference(here, "changed", READERS + WRITERS, why)


def _type_changes(old: ContractColumn, new: ContractColumn) -> bool:
    before, after = _type(old), _type(new)
    if before is None and after is None:
        return (old.logical_type, old.physical_type) != (new.logical_type, new.physical_type)
    # Fields are compared one by one, also where their types are the same.
    return before != after or bool(old.fields and new.fields and old.fields != new.fields)


def _type(column: ContractColumn) -> str | None:
    try:
        return type_of_column(column)
    except InvalidRequestError:
        return None


def _nulls(path: str, old: ContractColumn, new: ContractColumn) -> Iterator[Difference]:
    before, after = (column.required or column.primary_key for column in (old, new))
    if before and not after:
        yield Difference(joined(path, "required"), "removed", READERS, "nulls may come")
    elif after and not before:
        yield Difference(joined(path, "required"), "added", WRITERS, "rows without a value are refused")
    if old.unique and not new.unique:
        yield Difference(joined(path, "unique"), "removed", READERS, "values may stand twice")
    elif new.unique and not old.unique:
        yield Difference(joined(path, "unique"), "added", WRITERS, "a value that stands twice is refused")


def _values(path: str, old: ContractColumn, new: ContractColumn) -> Iterator[Difference]:
    for name in sorted({*old.options, *new.options} - set(_OF_TYPE)):
        before, after = old.options.get(name), new.options.get(name)
        if before != after:
            yield _option(joined(path, name), name, before, after)
    before_set, after_set = set(map(repr, old.allowed_values)), set(map(repr, new.allowed_values))
    here = joined(path, "enum")
    if before_set == after_set:
        if old.extra.get("enum") != new.extra.get("enum"):
            yield Difference(here, "described", NOBODY, "the values are the same, only their description is another")
    elif not before_set or not after_set:
        yield _bound(here, "added" if after_set else "removed", tighter=bool(after_set))
    elif before_set < after_set or after_set < before_set:
        yield _bound(here, "changed", tighter=after_set < before_set)
    else:
        yield Difference(here, "changed", READERS + WRITERS, "some values are new, and some are refused")


def _option(path: str, name: str, before: Any, after: Any) -> Difference:  # noqa: ANN401
    if before is None or after is None:
        return _bound(path, "added" if before is None else "removed", tighter=before is None)
    if name in _LOWER or name in _UPPER:
        return _bound(path, "changed", tighter=(after > before) == (name in _LOWER))
    return Difference(
        path, "changed", READERS + WRITERS, "it cannot be told which values are new and which are refused"
    )


def _bound(path: str, kind: Kind, *, tighter: bool) -> Difference:
    return Difference(path, kind, WRITERS, _NARROWER) if tighter else Difference(path, kind, READERS, _WIDER)
