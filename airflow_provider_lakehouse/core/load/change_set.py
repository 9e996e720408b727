"""What a load wants to change in a table: computed in a workspace against one version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.engines.dialect import quoted
from airflow_provider_lakehouse.core.tables.abilities import Addressing
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, HEAD, NO_VERSION, POSITION_COLUMN, At
from airflow_provider_lakehouse.core.tables.filters import Comparison

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Input, Workspace
    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.tables.base import Removal, Table, TableFacts
    from airflow_provider_lakehouse.core.tables.filters import Filter

_BOUNDED: Final = frozenset({"int", "long", "decimal", "date", "timestamp", "timestamptz", "string"})
_LONGEST_BOUND: Final = 256
MOST_BOUNDED_COLUMNS: Final = 16


@dataclass(frozen=True)
class ChangeSet:
    """A change of a table's rows, and what it amounts to.

    Args:
        rows_sql: Query over the workspace that gives the rows to add; None for none.
        removes: Rows to take away.
        guard: Rows that nobody may have added meanwhile; None for no condition.
        inserted: New rows.
        updated: Rows written anew.
        deleted: Rows that are gone.
        unchanged: Rows of the batch that change nothing.
    """

    rows_sql: str | None
    removes: Removal = "nothing"
    guard: Filter | None = None
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0


@dataclass(frozen=True)
class Target:
    """One version of the table that is being changed.

    Args:
        table: Which table.
        facts: What it was when the change was planned.
        at: How to read that version.
    """

    table: Table
    facts: TableFacts
    at: At

    @property
    def is_empty(self) -> bool:
        """True when there is surely nothing to read."""
        return self.facts.version == NO_VERSION or self.facts.rows == 0

    def addressed(self, *, where: Filter) -> Input:
        """Return the table's rows with the address of each, for a statement of a workspace.

        Raises:
            UnsupportedError: The table gives no addresses.
        """
        if self.is_empty:
            return _addressed_schema(self.facts.schema).empty_table()
        require(self.table, Addressing, purpose="to change chosen rows")
        return TableView(self.table, self.at, where, addressed=True)


def _addressed_schema(schema: Schema) -> pa.Schema:
    import pyarrow as pa

    fields = [field.with_nullable(True) for field in schema.to_arrow()]
    return pa.schema([*fields, pa.field(FILE_COLUMN, pa.string()), pa.field(POSITION_COLUMN, pa.int64())])


def look_at(table: Table, *, branch: str | None) -> Target:
    """Describe the newest state of a branch, or of the main one where the branch does not exist yet."""
    facts = table.facts()
    if branch is not None and branch in facts.branches:
        at = At(branch=branch)
        return Target(table, table.facts(at=at), at)
    at = HEAD if facts.version == NO_VERSION else At(version=facts.version)
    return Target(table, facts, at)


def bounds_of(workspace: Workspace, relation: str, columns: Iterable[str], *, schema: Schema) -> Filter:
    """Return the box that holds the values of columns: no row outside of it equals a row inside in all of them.

    A column with nulls, of a type without order, or with values that Python cannot hold, has no bounds.

    Args:
        workspace: Where the relation is.
        relation: Its name.
        columns: Which columns.
        schema: Their types.
    """
    chosen = [c for c in columns if schema.by_name[c].type.partition("(")[0] in _BOUNDED][:MOST_BOUNDED_COLUMNS]
    if not chosen:
        return ()
    parts = [f"min({quoted(c)}), max({quoted(c)}), count(*) - count({quoted(c)}), count(*)" for c in chosen]
    table = workspace.table(f"SELECT {', '.join(parts)} FROM {relation}")
    found: list[Comparison] = []
    for index, name in enumerate(chosen):
        lower, upper, nulls, rows = (table.column(4 * index + offset)[0] for offset in range(4))
        if nulls.as_py() or not rows.as_py():
            continue
        found += _range(name, _python(lower), _python(upper))
    return tuple(found)


def _range(name: str, lower: Any, upper: Any) -> list[Comparison]:  # noqa: ANN401
    comparisons = []
    if lower is not None and not (isinstance(lower, str) and len(lower) > _LONGEST_BOUND):
        comparisons.append(Comparison(name, ">=", lower))
    if upper is not None and not (isinstance(upper, str) and len(upper) > _LONGEST_BOUND):
        comparisons.append(Comparison(name, "<=", upper))
    return comparisons


def _python(scalar: pa.Scalar) -> Any:  # noqa: ANN401
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):  # an instant outside of Python's years
        return None
