"""Keep the history of what a key has been: slowly changing dimension, type 2.

The rule. A key's history is a line of changes, each at an instant: "from now on it is like this", or "it ceased to
be". The changes known are those the table's periods stand for (each opens one; a period that ends where none begins
ends with "ceased to be") and those of the batch. They are ordered by their instants, whatever the order in which they
arrived; then

* two changes at one instant: the batch's counts, because it is the later word. Two different ones in one batch are
  refused; two equal ones are one;
* a change to what the key already is, by the hash of the tracked columns, is no change: the period goes on and keeps
  the row it was opened with, untracked columns included. It leaves no trace: a change that arrives later, and lies
  before it, holds until the next period that is known;
* "ceased to be" closes the period; where there is none it does nothing;
* every remaining change opens a period that lasts until the next one.

So a late change splits the period it falls into, a batch applied twice is a batch applied once, and batches in which
no change repeats the state before it may arrive in any order. All periods of a key that change are written in one
commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.engines.dialect import listed, quoted, sql_type
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.load.align import INCOMING, ROW
from airflow_provider_lakehouse.core.load.change_set import ChangeSet, bounds_of
from airflow_provider_lakehouse.core.load.merge import GONE
from airflow_provider_lakehouse.core.load.modes import is_metadata
from airflow_provider_lakehouse.core.load.row_hash import row_hash
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN, Positions

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.engines.base import Workspace
    from airflow_provider_lakehouse.core.load.change_set import Target
    from airflow_provider_lakehouse.core.load.modes import Scd2
    from airflow_provider_lakehouse.core.load.plan import LoadPlan
    from airflow_provider_lakehouse.core.tables.filters import Filter

AT: Final = "__lakehouse_at"
CHANGE: Final = "__lakehouse_change"
_KNOWN: Final = "__lakehouse_known"
_KEPT: Final = "__lakehouse_kept"
_KNOWN_ROW: Final = "__lakehouse_known_row"
_CHANGES: Final = "__lakehouse_changes"
_PERIODS: Final = "__lakehouse_periods"
_FATES: Final = "__lakehouse_fates"
_TARGET: Final = "__lakehouse_target"


def tracked_columns(mode: Scd2, plan: LoadPlan) -> dict[str, str]:
    """Return the columns whose change opens a new period: type by name."""
    apart = {*mode.keys, *mode.period_columns, mode.effective_at}
    return {
        c.name: c.type
        for c in plan.columns
        if c.name not in apart and (c.name in mode.track if mode.track is not None else not is_metadata(c.name))
    }


def computed_for_scd2(mode: Scd2, plan: LoadPlan) -> dict[str, str]:
    """Return what a history computes while the batch is read: SQL over `source`, by name.

    Raises:
        InvalidRequestError: Instants of changes and periods are of different types.
    """
    by_name = plan.schema.by_name
    given = dict(plan.extras).get(mode.effective_at) or by_name[mode.effective_at].type
    wanted = by_name[mode.valid_from].type
    if given != wanted:
        raise InvalidRequestError(
            f"Changes take effect at a {given}, periods of {plan.table!r} start at a {wanted}. Make them one type.",
            effective_at=mode.effective_at,
            valid_from=mode.valid_from,
        )
    return {
        AT: f"source.{quoted(mode.effective_at)}",
        CHANGE: row_hash(tracked_columns(mode, plan), of="source"),
        GONE: f"coalesce(({mode.delete_when}\n), false)" if mode.delete_when else "false",
    }


def scd2_changes(mode: Scd2, plan: LoadPlan, *, workspace: Workspace, target: Target) -> ChangeSet:
    """Compute how the histories of the batch's keys change.

    Raises:
        DataRejectedError: A change has no instant, or a key changes to two different things at one.
    """
    _require_clear_changes(mode, workspace)
    guard = bounds_of(workspace, INCOMING, mode.keys, schema=plan.schema)
    _read_known(mode, plan, workspace, target, guard)
    _draw_line(mode, workspace)
    _draw_periods(mode, workspace)
    return _change_set(mode, plan, workspace, guard)


def _require_clear_changes(mode: Scd2, workspace: Workspace) -> None:
    nulls = workspace.rows(f"SELECT count(*) FROM {INCOMING} WHERE {AT} IS NULL")[0][0]
    if nulls:
        raise DataRejectedError(
            f"Changes without an instant in {mode.effective_at!r}. Deliver when they took effect.",
            column=mode.effective_at,
            rows=nulls,
        )
    by = f"FROM {INCOMING} GROUP BY {listed(mode.keys)}, {AT} HAVING"
    if not workspace.rows(f"SELECT 1 {by} count(*) > 1 LIMIT 1"):
        return
    what = f"CASE WHEN {GONE} THEN 'gone' ELSE hex({CHANGE}) END"
    unclear = workspace.rows(f"SELECT count(*) FROM (SELECT 1 {by} min({what}) <> max({what}))")[0][0]
    if unclear:
        raise DataRejectedError(
            "Keys change to different things at one instant. Deliver one change for each key and instant.",
            keys=mode.keys,
            effective_at=mode.effective_at,
            instants=unclear,
        )


def _read_known(mode: Scd2, plan: LoadPlan, workspace: Workspace, target: Target, guard: Filter) -> None:
    """Read every period of the batch's keys into the view `_KNOWN`."""
    present = [c.name for c in plan.columns if c.name in target.facts.schema.by_name]
    columns = f"{listed(present, of='target')}, target.{FILE_COLUMN}, target.{POSITION_COLUMN}"
    new = "".join(
        f", CAST(NULL AS {sql_type(c.type)}) AS {quoted(c.name)}" for c in plan.columns if c.name not in present
    )
    tracked = {n: kind for n, kind in tracked_columns(mode, plan).items() if n in present}
    change = f"coalesce(target.{quoted(mode.change_hash)}, {row_hash(tracked, of='target')})"
    on = " AND ".join(f"source.{quoted(k)} IS NOT DISTINCT FROM target.{quoted(k)}" for k in mode.keys)
    workspace.execute(
        f"CREATE OR REPLACE TABLE {_KEPT} AS SELECT {columns}{new}, {change} AS {CHANGE} "
        f"FROM {_TARGET} target SEMI JOIN {INCOMING} source ON {on}",
        inputs={_TARGET: target.addressed(where=guard)},
    )
    workspace.execute(f"CREATE OR REPLACE VIEW {_KNOWN} AS SELECT *, rowid AS {_KNOWN_ROW} FROM {_KEPT}")


def _draw_line(mode: Scd2, workspace: Workspace) -> None:
    """Write one change for each key and instant into the table `_CHANGES`."""
    keys, start, end = listed(mode.keys), quoted(mode.valid_from), quoted(mode.valid_to)
    line = (
        f"SELECT {keys}, {AT}, {ROW}, NULL AS {_KNOWN_ROW}, {CHANGE} AS ours, NULL AS theirs, {GONE}, false AS ends "
        f"FROM {INCOMING} UNION ALL "
        f"SELECT {keys}, {start}, NULL, {_KNOWN_ROW}, NULL, {CHANGE}, NULL, false FROM {_KNOWN} UNION ALL "
        f"SELECT {keys}, {end}, NULL, NULL, NULL, NULL, NULL, true FROM {_KNOWN} WHERE {end} IS NOT NULL"
    )
    settled = (
        f"SELECT {keys}, {AT}, min({ROW}) AS {ROW}, min({_KNOWN_ROW}) AS {_KNOWN_ROW}, min(ours) AS ours, "
        f"min(theirs) AS theirs, bool_or({GONE}) AS gone_now, bool_or(ends) AS ends FROM ({line}) GROUP BY {keys}, {AT}"
    )
    workspace.execute(
        f"CREATE OR REPLACE TABLE {_CHANGES} AS SELECT {keys}, {AT}, {ROW}, ends, "
        f"CASE WHEN {ROW} IS NULL THEN {_KNOWN_ROW} IS NULL ELSE gone_now END AS {GONE}, "
        f"CASE WHEN {GONE} THEN NULL ELSE coalesce(ours, theirs) END AS {CHANGE}, "
        f"CASE WHEN NOT {GONE} AND (ours IS NULL OR ours = theirs) THEN {_KNOWN_ROW} END AS {_KNOWN_ROW} "
        f"FROM ({settled})"
    )


def _draw_periods(mode: Scd2, workspace: Workspace) -> None:
    """Write the periods that follow from the changes into `_PERIODS`, and what becomes of known ones into `_FATES`."""
    keys, end, mark = listed(mode.keys), quoted(mode.valid_to), quoted(mode.is_current)
    over = f"OVER (PARTITION BY {keys} ORDER BY {AT})"
    workspace.execute(
        f"CREATE OR REPLACE TABLE {_PERIODS} AS SELECT {ROW}, {_KNOWN_ROW}, {GONE}, ends, {AT} AS starts_at, "
        f"lead({AT}) {over} AS ends_at FROM (FROM {_CHANGES} QUALIFY {CHANGE} IS DISTINCT FROM lag({CHANGE}) {over})"
    )
    same = (
        f"period.ends_at IS NOT DISTINCT FROM known.{end} AND known.{mark} IS NOT DISTINCT FROM (known.{end} IS NULL)"
    )
    workspace.execute(
        f"CREATE OR REPLACE TABLE {_FATES} AS SELECT known.{_KNOWN_ROW}, period.ends_at, "
        f"CASE WHEN period.{_KNOWN_ROW} IS NULL THEN 'delete' WHEN {same} THEN 'same' ELSE 'update' END AS fate "
        f"FROM {_KNOWN} known LEFT JOIN {_PERIODS} period USING ({_KNOWN_ROW})"
    )


def _change_set(mode: Scd2, plan: LoadPlan, workspace: Workspace, guard: Filter) -> ChangeSet:
    fates = dict(workspace.rows(f"SELECT fate, count(*) FROM {_FATES} GROUP BY 1"))
    opens = f"NOT period.{GONE} AND period.{_KNOWN_ROW} IS NULL"
    inserted, counting = workspace.rows(
        f"SELECT count(*) FILTER (WHERE {opens}), "
        f"count(*) FILTER (WHERE {ROW} IS NOT NULL AND (({opens}) OR ({GONE} AND NOT ends))) FROM {_PERIODS} period"
    )[0]
    read = workspace.rows(f"SELECT count(*) FROM {INCOMING}")[0][0]
    opened = {
        mode.valid_from: "period.starts_at",
        mode.valid_to: "period.ends_at",
        mode.is_current: "period.ends_at IS NULL",
        mode.change_hash: f"source.{CHANGE}",
    }
    moved = {
        mode.valid_to: "fate.ends_at",
        mode.is_current: "fate.ends_at IS NULL",
        mode.change_hash: f"known.{CHANGE}",
    }
    inserts = (
        f"SELECT {_images(plan, 'source', opened)} FROM {INCOMING} source JOIN {_PERIODS} period USING ({ROW}) "
        f"WHERE {opens}"
    )
    updates = (
        f"SELECT {_images(plan, 'known', moved)} FROM {_KNOWN} known JOIN {_FATES} fate USING ({_KNOWN_ROW}) "
        "WHERE fate = 'update'"
    )
    queries = [inserts] * bool(inserted) + [updates] * bool(fates.get("update"))
    moved_rows = f"(FROM {_FATES} WHERE fate <> 'same')"
    positions = workspace.table(
        f"SELECT {FILE_COLUMN}, {POSITION_COLUMN} FROM {_KNOWN} SEMI JOIN {moved_rows} USING ({_KNOWN_ROW})"
    )
    return ChangeSet(
        rows_sql=" UNION ALL ".join(queries) or None,
        removes=Positions(positions) if positions.num_rows else "nothing",
        guard=guard,
        inserted=inserted,
        updated=fates.get("update", 0),
        deleted=fates.get("delete", 0),
        unchanged=read - counting,
    )


def _images(plan: LoadPlan, relation: str, filled: dict[str, str]) -> str:
    return ", ".join(f"{filled.get(c.name, f'{relation}.{quoted(c.name)}')} AS {quoted(c.name)}" for c in plan.columns)
