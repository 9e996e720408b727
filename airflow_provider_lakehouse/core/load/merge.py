"""Merge a batch into a table by key, or find what a full extract changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.engines.dialect import listed, quoted
from airflow_provider_lakehouse.core.errors import DataRejectedError
from airflow_provider_lakehouse.core.load.align import INCOMING, ROW
from airflow_provider_lakehouse.core.load.change_set import ChangeSet, bounds_of
from airflow_provider_lakehouse.core.load.modes import is_metadata
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN, Positions

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.engines.base import Workspace
    from airflow_provider_lakehouse.core.load.change_set import Target
    from airflow_provider_lakehouse.core.load.modes import Merge, SnapshotDiff
    from airflow_provider_lakehouse.core.load.plan import LoadPlan
    from airflow_provider_lakehouse.core.tables.filters import Filter

GONE: Final = "__lakehouse_gone"
_MATCHED: Final = "__lakehouse_matched"
_ACTION: Final = "__lakehouse_action"
_LATEST: Final = "__lakehouse_latest"
_TARGET: Final = "__lakehouse_target"


@dataclass(frozen=True)
class _Matching:
    """What happens to rows of the table whose key the batch has.

    Args:
        source: Relation of the workspace with the batch, one row for each key.
        keys: Columns that identify a row.
        written: Columns that an update takes from the batch.
        compared: Columns whose difference makes an update.
        applies: SQL over `source` and `target` of "this row counts".
        gone: SQL over `source` of "this key is to be removed".
        finds_missing: True to find the rows of the table whose key the batch lacks.
    """

    source: str
    keys: tuple[str, ...]
    written: tuple[str, ...]
    compared: tuple[str, ...]
    applies: str = "true"
    gone: str = "false"
    finds_missing: bool = False


def computed_for_merge(mode: Merge) -> dict[str, str]:
    """Return what a merge computes while the batch is read: SQL over `source`, by name."""
    return {GONE: f"coalesce(({mode.delete_when}\n), false)"} if mode.delete_when else {}


def merge_changes(mode: Merge, plan: LoadPlan, *, workspace: Workspace, target: Target) -> ChangeSet:
    """Compute what a merge changes.

    Raises:
        DataRejectedError: A key stands more than once in the batch, and nothing tells which row counts.
    """
    source, superseded = _one_row_a_key(mode, workspace)
    written = tuple(c for c in mode.update_columns or plan.given if c not in mode.keys)
    if mode.sequence and mode.sequence not in written:
        written += (mode.sequence,)
    compared = tuple(c for c in written if not is_metadata(c) or c == mode.sequence)
    conditions = [f"({mode.condition}\n)"] if mode.condition else []
    if mode.sequence:
        ours, theirs = f"source.{quoted(mode.sequence)}", f"target.{quoted(mode.sequence)}"
        conditions.append(f"({ours} > {theirs} OR ({theirs} IS NULL AND {ours} IS NOT NULL))")
    matching = _Matching(
        source=source,
        keys=mode.keys,
        written=written,
        compared=compared,
        applies=" AND ".join(conditions) or "true",
        gone=f"source.{GONE}" if mode.delete_when else "false",
    )
    guard = bounds_of(workspace, source, mode.keys, schema=plan.schema)
    _match(matching, plan, workspace, target, where=guard)
    return _change_set(matching, plan, workspace, guard=guard, superseded=superseded)


def snapshot_changes(mode: SnapshotDiff, plan: LoadPlan, *, workspace: Workspace, target: Target) -> ChangeSet:
    """Compute what a full extract changes.

    Raises:
        DataRejectedError: A key stands more than once in the extract, or too many rows of the table are missing from
            it.
    """
    _require_single_keys(mode.keys, workspace, advice="Look at the extract.")
    written = tuple(c for c in plan.given if c not in mode.keys)
    compared = mode.columns or tuple(c for c in written if not is_metadata(c))
    matching = _Matching(INCOMING, mode.keys, written, compared, finds_missing=mode.removes_missing)
    _match(matching, plan, workspace, target, where=())
    if mode.removes_missing:
        _require_share(mode, plan, workspace)
    return _change_set(matching, plan, workspace, guard=(), superseded=0)


def _one_row_a_key(mode: Merge, workspace: Workspace) -> tuple[str, int]:
    """Return the relation in which each key stands once, and how many rows of the batch it leaves out."""
    if mode.sequence is None:
        _require_single_keys(mode.keys, workspace, advice="Name a sequence column that tells which row counts.")
        return INCOMING, 0
    keys, order = listed(mode.keys), quoted(mode.sequence)
    repeated = workspace.rows(f"SELECT count(*) - count(DISTINCT ({keys},)) FROM {INCOMING}")[0][0]
    if not repeated:
        return INCOMING, 0
    joined = " AND ".join(f"i.{quoted(k)} IS NOT DISTINCT FROM m.{quoted(k)}" for k in mode.keys)
    workspace.execute(
        f"CREATE OR REPLACE TABLE {_LATEST} AS SELECT i.* FROM {INCOMING} i SEMI JOIN "
        f"(SELECT {keys}, max({order}) AS __lakehouse_max FROM {INCOMING} GROUP BY ALL) m "
        f"ON {joined} AND i.{order} IS NOT DISTINCT FROM m.__lakehouse_max"
    )
    _require_single_keys(
        mode.keys, workspace, relation=_LATEST, advice="Rows of one key share the highest sequence: make it unique."
    )
    return _LATEST, repeated


def _require_single_keys(keys: tuple[str, ...], workspace: Workspace, *, advice: str, relation: str = INCOMING) -> None:
    repeats = f"SELECT count(*) AS n FROM {relation} GROUP BY {listed(keys)} HAVING count(*) > 1"
    distinct, rows = workspace.rows(f"SELECT count(*), coalesce(sum(n), 0) FROM ({repeats})")[0]
    if distinct:
        raise DataRejectedError(
            f"Keys stand more than once in the batch. {advice}", keys=keys, repeated_keys=int(distinct), rows=int(rows)
        )


def _match(
    matching: _Matching,
    plan: LoadPlan,
    workspace: Workspace,
    target: Target,
    *,
    where: Filter,
) -> None:
    """Write, for every row of the table whose key the batch has, what happens to it into the table `_MATCHED`."""
    known = target.facts.schema.by_name
    kept = _kept(matching, plan)
    on = " AND ".join(f"source.{quoted(k)} IS NOT DISTINCT FROM target.{quoted(k)}" for k in matching.keys)
    same = " AND ".join(_equal(c, c in known) for c in matching.compared) or "true"
    action = (
        f"CASE WHEN source.{ROW} IS NULL THEN 'missing' WHEN NOT coalesce({matching.applies}, false) THEN 'older' "
        f"WHEN {matching.gone} THEN 'delete' WHEN {same} THEN 'same' ELSE 'update' END"
    )
    old = "".join(
        f", {f'target.{quoted(c)}' if c in known else 'NULL'} AS __lakehouse_kept_{i}" for i, c in enumerate(kept)
    )
    join = "LEFT JOIN" if matching.finds_missing else "JOIN"
    matched = (
        f"SELECT source.{ROW}, {action} AS {_ACTION}, target.{FILE_COLUMN}, target.{POSITION_COLUMN}{old} "
        f"FROM {_TARGET} target {join} {matching.source} source ON {on}"
    )
    # In a query of its own: the action would be planned once more for the file, which takes minutes in wide tables.
    workspace.execute(
        f"CREATE OR REPLACE TABLE {_MATCHED} AS SELECT * REPLACE "
        f"(CASE WHEN {_ACTION} IN ('update', 'delete', 'missing') THEN {FILE_COLUMN} END AS {FILE_COLUMN}) FROM ({matched})",
        inputs={_TARGET: target.addressed(where=where)},
    )


def _kept(matching: _Matching, plan: LoadPlan) -> list[str]:
    """Return the columns that an update takes from the table."""
    given = {*matching.written, *matching.keys}
    return [c.name for c in plan.columns if c.name not in given]


def _equal(column: str, is_present: bool) -> str:  # noqa: FBT001
    name = quoted(column)
    return f"source.{name} IS NOT DISTINCT FROM target.{name}" if is_present else f"source.{name} IS NULL"


def _change_set(
    matching: _Matching,
    plan: LoadPlan,
    workspace: Workspace,
    *,
    guard: Filter,
    superseded: int,
) -> ChangeSet:
    counts = dict(workspace.rows(f"SELECT {_ACTION}, count(*) FROM {_MATCHED} GROUP BY 1"))
    new = f"FROM {matching.source} source ANTI JOIN {_MATCHED} matched ON matched.{ROW} = source.{ROW}"
    inserted, never = workspace.rows(
        f"SELECT count(*) FILTER (WHERE NOT {matching.gone}), count(*) FILTER (WHERE {matching.gone}) {new}"
    )[0]
    kept = {name: f"matched.__lakehouse_kept_{i}" for i, name in enumerate(_kept(matching, plan))}
    images = ", ".join(f"{kept.get(c.name, f'source.{quoted(c.name)}')} AS {quoted(c.name)}" for c in plan.columns)
    pairs = f"{matching.source} source JOIN {_MATCHED} matched USING ({ROW})"
    updates = f"SELECT {images} FROM {pairs} WHERE {_ACTION} = 'update'"
    inserts = f"SELECT {listed((c.name for c in plan.columns), of='source')} {new} WHERE NOT {matching.gone}"
    queries = [updates] * bool(counts.get("update")) + [inserts] * bool(inserted)
    deleted = counts.get("delete", 0) + counts.get("missing", 0)
    positions = workspace.table(
        f"SELECT {FILE_COLUMN}, {POSITION_COLUMN} FROM {_MATCHED} WHERE {FILE_COLUMN} IS NOT NULL"
    )
    return ChangeSet(
        rows_sql=" UNION ALL ".join(queries) or None,
        removes=Positions(positions) if positions.num_rows else "nothing",
        guard=guard,
        inserted=inserted,
        updated=counts.get("update", 0),
        deleted=deleted,
        unchanged=counts.get("same", 0) + counts.get("older", 0) + never + superseded,
    )


def _require_share(mode: SnapshotDiff, plan: LoadPlan, workspace: Workspace) -> None:
    missing, rows = workspace.rows(f"SELECT count(*) FILTER (WHERE {_ACTION} = 'missing'), count(*) FROM {_MATCHED}")[0]
    if missing > mode.max_deleted_share * rows:
        raise DataRejectedError(
            f"The extract lacks more rows of table {plan.table!r} than may be gone. Look at it, or allow more.",
            table=plan.table,
            rows_missing=missing,
            rows=rows,
            max_deleted_share=mode.max_deleted_share,
        )
