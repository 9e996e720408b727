"""The foreign keys of a contract: which columns of a table name rows of which other table.

Source: Open Data Contract Standard 3.2, section "Relationships".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.contracts.contract import CustomProperty
from airflow_provider_lakehouse.core.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_lakehouse.core.contracts.contract import Contract, ContractColumn, ContractTable

RELATIONSHIPS: Final = "relationships"
"""Field of the standard in which tables and columns name what they refer to."""


@dataclass(frozen=True)
class ForeignKey:
    """Columns whose values together stand in columns of a table, row by row.

    Args:
        columns: Names in the table.
        other: The table they refer to; it may be the same one.
        other_columns: Names there, in the order of `columns`.
        custom: Properties that the standard does not know.
        line: Where the table or column starts that says so.
    """

    columns: tuple[str, ...]
    other: ContractTable
    other_columns: tuple[str, ...]
    custom: tuple[CustomProperty, ...] = ()
    line: int = 0


def foreign_keys(contract: Contract, *, table: ContractTable) -> Iterator[ForeignKey]:
    """Yield the foreign keys of a table: those of its columns, then its own.

    Args:
        contract: The contract, with all its tables.
        table: One of them.

    Raises:
        UnsupportedError: One names no column of a table of this contract, such as one in another file; the error names
            file and line.

    Example:
        >>> from airflow_provider_lakehouse.core.contracts.odcs import read_contract
        >>> contract = read_contract('''
        ... {apiVersion: v3.2.0, kind: DataContract, id: c1, version: 1.0.0, status: draft, schema: [
        ...   {name: shops, properties: [{name: id}]},
        ...   {name: sales, properties: [{name: shop, relationships: [{to: shops.id}]}]}]}
        ... ''')
        >>> [(one.columns, one.other.name, one.other_columns) for one in foreign_keys(contract, table=contract.table("sales"))]
        [(('shop',), 'shops', ('id',))]
    """
    for column in table.columns:
        for one in column.extra.get(RELATIONSHIPS) or ():
            yield _key(contract, table, one, here=(column,), line=column.line)
    for one in table.extra.get(RELATIONSHIPS) or ():
        places = [_place(contract, reference) for reference in _listed(one["from"])]
        here = tuple(place[1] for place in places if place is not None and place[0] is table)
        if len(here) < len(places):
            raise _refused(contract, table, one["from"], line=table.line)
        yield _key(contract, table, one, here=here, line=table.line)


def _key(
    contract: Contract, table: ContractTable, given: Mapping[str, Any], *, here: tuple[ContractColumn, ...], line: int
) -> ForeignKey:
    places = [_place(contract, reference) for reference in _listed(given["to"])]
    there = [place for place in places if place is not None]
    others = {id(place[0]): place[0] for place in there}
    if len(there) < len(places) or len(others) != 1 or len(there) != len(here):
        raise _refused(contract, table, given["to"], line=line)
    (other,) = others.values()
    custom = tuple(CustomProperty(one["property"], one.get("value")) for one in given.get("customProperties") or ())
    columns = tuple(column.stored_name for column in here)
    return ForeignKey(columns, other, tuple(column.stored_name for _, column in there), custom, line)


def _place(contract: Contract, reference: str) -> tuple[ContractTable, ContractColumn] | None:
    """Return the column that `table.column`, or `schema/table/properties/column`, names; None where there is none."""
    parts = reference.strip("/").split("/")
    is_full = len(parts) == 4 and (parts[0], parts[2]) == ("schema", "properties")
    found = contract.place_of(f"{parts[1]}.{parts[3]}" if is_full else reference)
    return (found[0], found[1]) if found is not None and found[1] is not None else None


def _listed(references: str | list[str]) -> list[str]:
    return [references] if isinstance(references, str) else references


def _refused(contract: Contract, table: ContractTable, references: str | list[str], *, line: int) -> UnsupportedError:
    return UnsupportedError(
        f"A relationship of {table.name!r} does not lead from its columns to as many columns of one table of the contract. "
        "Correct what it names.",
        file=contract.source,
        line=line,
        table=table.name,
        references=tuple(_listed(references)),
    )
