"""What a new version of a contract breaks, for whom, and why; and the step of its version that says so.

Readers rely on what a contract promises: whatever is promised no longer breaks them. Writers rely on what it demands: whatever is
demanded anew breaks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from airflow_provider_lakehouse.core.contracts.column_changes import column_differences
from airflow_provider_lakehouse.core.contracts.differences import (
    NOBODY,
    READERS,
    WRITERS,
    Difference,
    described,
    matched,
    rest_differences,
)
from airflow_provider_lakehouse.core.contracts.rule_changes import (
    level_differences,
    relationship_differences,
    rule_differences,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_lakehouse.core.contracts.contract import Contract, ContractTable
    from airflow_provider_lakehouse.core.contracts.differences import (
        Party,
    )

Step = Literal["major", "minor", "patch", "none"]
_RETIRED: Final = ("deprecated", "retired")


@dataclass(frozen=True)
class ContractChange:
    """What is different between two versions of a contract.

    Args:
        id: Of the contract.
        before: Version it had.
        after: Version it has.
        differences: In the order of the contract.
    """

    id: str
    before: str
    after: str
    differences: tuple[Difference, ...]

    def breaking(self, party: Party | None = None) -> tuple[Difference, ...]:
        """Return what breaks somebody, or one of the two parties."""
        return tuple(one for one in self.differences if (party in one.breaks if party else one.breaks))

    @property
    def step(self) -> Step:
        """The step that the version has to make: `major` where somebody is broken, `minor` where more is promised or demanded."""
        if self.breaking():
            return "major"
        if any(one.kind in ("added", "changed") for one in self.differences):
            return "minor"
        return "patch" if self.differences else "none"


def plan_contract_change(old: Contract, new: Contract) -> ContractChange:
    """Compare two versions of a contract.

    Tables, columns and rules are the same where their id is, and else where their name is; a column also where its physical
    name is.

    Args:
        old: The version that readers and writers know.
        new: The version that is to replace it.

    Returns:
        Every difference, with whom it breaks and why.

    Example:
        >>> from dataclasses import replace
        >>> from airflow_provider_lakehouse.core.contracts.contract import Contract, ContractColumn, ContractTable
        >>> old = Contract("c", "1.0.0", tables=(ContractTable("sales", columns=(ContractColumn("id", logical_type="integer"),)),))
        >>> change = plan_contract_change(old, replace(old, tables=(replace(old.tables[0], columns=()),)))
        >>> [(one.path, one.kind, one.breaks) for one in change.differences], change.step
        ([('sales.id', 'removed', ('readers',))], 'major')
    """
    return ContractChange(old.id, old.version, new.version, tuple(_differences(old, new)))


def _differences(old: Contract, new: Contract) -> Iterator[Difference]:
    if old.id != new.id:
        yield Difference("id", "changed", READERS + WRITERS, "it is another contract")
    if old.status != new.status:
        retired = new.status.casefold() in _RETIRED
        why = "its status is now " + (new.status or "not said")
        yield Difference("status", "changed" if retired else "described", READERS if retired else NOBODY, why)
    yield from described("", old, new, ("name", "domain", "purpose", "api_version", "team", "tags", "custom"))
    yield from rest_differences("", old.extra, new.extra)
    for before, after in matched(old.tables, new.tables):
        yield from _table(before, after)
    yield from level_differences(old, new)


def _table(old: ContractTable | None, new: ContractTable | None) -> Iterator[Difference]:
    if new is None:
        yield Difference(old.name if old else "", "removed", READERS, "whoever reads it has nothing to read")
        return
    path = new.name
    if old is None:
        yield Difference(path, "added", NOBODY, "nobody relies on it yet")
        return
    if old.name != new.name:
        yield Difference(path, "changed", READERS, f"contracts and programs know it as {old.name!r}")
    if old.stored_name != new.stored_name and (old.physical_name or new.physical_name):
        yield Difference(path, "changed", READERS + WRITERS, f"it is stored elsewhere, and was in {old.stored_name!r}")
    yield from described(path, old, new, ("description", "tags", "custom", "physical_type"))
    yield from rest_differences(path, old.extra, new.extra)
    yield from relationship_differences(path, old.extra, new.extra)
    yield from _key(path, old, new)
    for before, after in matched(old.columns, new.columns):
        yield from column_differences(path, before, after)
    yield from rule_differences(path, old.rules, new.rules)


def _key(path: str, old: ContractTable, new: ContractTable) -> Iterator[Difference]:
    before, after = ([column.stored_name for column in table.key] for table in (old, new))
    if before != after and set(before) == set(after):
        yield Difference(f"{path}.primaryKey", "described", NOBODY, "only the order of the key's columns is another")
    elif before and after and before != after:
        yield Difference(f"{path}.primaryKey", "changed", READERS + WRITERS, "other columns identify a row")
    elif before and not after:
        yield Difference(
            f"{path}.primaryKey", "removed", READERS, "rows have no identity any more, and may stand twice"
        )
    elif after and not before:
        yield Difference(f"{path}.primaryKey", "added", WRITERS, "rows must not stand twice")
    parts = [[(column.stored_name, column.custom) for column in table.partitioning] for table in (old, new)]
    if parts[0] != parts[1]:
        yield Difference(
            f"{path}.partitioning", "changed", NOBODY, "queries find other partitions; the table has to be rewritten"
        )
