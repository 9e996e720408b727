"""Add the rows of a batch that a table does not have yet, by canonical hash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.engines.dialect import quoted
from airflow_provider_lakehouse.core.load.align import INCOMING, ROW
from airflow_provider_lakehouse.core.load.change_set import ChangeSet, bounds_of
from airflow_provider_lakehouse.core.load.modes import is_metadata
from airflow_provider_lakehouse.core.load.row_hash import row_hash

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.engines.base import Workspace
    from airflow_provider_lakehouse.core.load.change_set import Target
    from airflow_provider_lakehouse.core.load.modes import Dedup
    from airflow_provider_lakehouse.core.load.plan import LoadPlan

HASH: Final = "__lakehouse_hash"
_FIRST: Final = "__lakehouse_first"
_SEEN: Final = "__lakehouse_seen"
_TARGET: Final = "__lakehouse_target"
_INSTANTS: Final = ("date", "timestamp", "timestamptz")


def hashed_columns(mode: Dedup, plan: LoadPlan) -> dict[str, str]:
    """Return the columns that the hash of a row covers: type by name."""
    return {
        c.name: c.type
        for c in plan.columns
        if c.name != mode.hash_column
        and (c.name in mode.columns if mode.columns is not None else not is_metadata(c.name))
    }


def computed_for_dedup(mode: Dedup, plan: LoadPlan) -> dict[str, str]:
    """Return what a deduplication computes while the batch is read: SQL over `source`, by name."""
    computed = row_hash(hashed_columns(mode, plan), of="source")
    if mode.hash_column in plan.given:
        computed = f"coalesce(source.{quoted(mode.hash_column)}, {computed})"
    return {HASH: computed}


def dedup_changes(mode: Dedup, plan: LoadPlan, *, workspace: Workspace, target: Target) -> ChangeSet:
    """Compute which rows are new. Of equal rows in the batch the first is kept.

    Two rows with one hash agree in every hashed column, so only rows of the table within the range of the batch's
    dates, partition and sort columns are looked at, and only such rows, added by others meanwhile, are a conflict.
    """
    workspace.execute(
        f"CREATE OR REPLACE TABLE {_FIRST} AS SELECT min({ROW}) AS {ROW}, {HASH} FROM {INCOMING} GROUP BY {HASH}"
    )
    guard = bounds_of(workspace, INCOMING, _bounding(mode, plan, target), schema=plan.schema)
    if not target.is_empty:
        workspace.execute(
            f"CREATE OR REPLACE TABLE {_SEEN} AS SELECT DISTINCT {quoted(mode.hash_column)} AS {HASH} FROM {_TARGET} t "
            f"SEMI JOIN {_FIRST} f ON f.{HASH} = t.{quoted(mode.hash_column)}",
            inputs={_TARGET: TableView(target.table, target.at, guard)},
        )
        workspace.execute(f"DELETE FROM {_FIRST} WHERE {HASH} IN (FROM {_SEEN})")
    read, new = workspace.rows(f"SELECT (SELECT count(*) FROM {INCOMING}), (SELECT count(*) FROM {_FIRST})")[0]
    columns = ", ".join(
        f"{HASH if c.name == mode.hash_column else f'source.{quoted(c.name)}'} AS {quoted(c.name)}"
        for c in plan.columns
    )
    every = f"SELECT {columns} FROM {INCOMING} source"
    chosen = every if new == read else f"{every} WHERE {ROW} IN (SELECT {ROW} FROM {_FIRST})"
    return ChangeSet(chosen if new else None, guard=guard, inserted=new, unchanged=read - new)


def _bounding(mode: Dedup, plan: LoadPlan, target: Target) -> list[str]:
    if mode.hash_column in plan.given:  # whoever computed it may have hashed other columns
        return []
    facts = target.facts
    ordered = (
        {p.column for p in facts.partitioning} | {s.column for s in facts.sort_order} | set(facts.schema.identifier)
    )
    hashed = hashed_columns(mode, plan)
    return [n for n, kind in hashed.items() if n in facts.schema.by_name and (n in ordered or kind in _INSTANTS)]
