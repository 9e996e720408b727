"""The name of a task's write: the same for every attempt at it, and for no other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.tables.base import WriteToken

if TYPE_CHECKING:
    from collections.abc import Mapping

RELOAD_KEY: Final = "lakehouse_reload"
"""Key of a run's configuration. Its value, a reason, becomes part of the tokens of the run, so that a person can have a
batch written again that counts as written: trigger the same partition with `{"lakehouse_reload": "prices were wrong"}`.
Retries and clears of that run still write once. An appending load then adds the rows a second time: that is what was
asked for."""


def pipeline_of(context: Mapping[str, Any], *, table: str = "") -> str:
    """Return the default name of a pipeline that remembers what it has read: the DAG, the task and the table.

    It does not hold the map index, so a table keeps its pipeline when the list that a task is mapped over changes.
    """
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.task_id}" + (f"/{table}" if table else "")


def token_of(
    context: Mapping[str, Any], *, pipeline: str | None = None, batch: str | int | None = None, table: str = ""
) -> WriteToken:
    """Return the token of a task's write.

    Args:
        context: Airflow's.
        pipeline: Who writes; None or empty for the DAG, the task, the table and the map index.
        batch: What is written; None or empty for the partition key of the run, or its run id where it has none.
        table: The table written to.
    """
    ti = context["ti"]
    index = ti.map_index if ti.map_index is not None else -1
    who = pipeline or pipeline_of(context, table=table) + (f"/{index}" if index >= 0 else "")
    what = batch if batch not in (None, "") else partition_key(context) or str(ti.run_id)
    reason = _configuration(context).get(RELOAD_KEY)
    return WriteToken(who, f"{what} again: {reason}" if reason else what)


def partition_key(context: Mapping[str, Any]) -> str | None:
    """Return the partition that the run is for, None where it is for none."""
    key = context.get("partition_key") or getattr(context.get("dag_run"), "partition_key", None)
    return str(key) if key else None


def _configuration(context: Mapping[str, Any]) -> Mapping[str, Any]:
    return getattr(context.get("dag_run"), "conf", None) or {}


def range_batch(*, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> str | None:
    """Return what an increment is called: by the position it starts from, so that whoever starts there writes it once.

    Args:
        before: Where it starts; None at the beginning.
        after: Where it ends.

    Returns:
        None where the position does not move: a read of everything, or again of what lies within a lag.

    Example:
        >>> range_batch(before={"cursor": "id", "high": "7"}, after={"cursor": "id", "high": "9"})
        'after {"cursor":"id","high":"7"}'
    """
    if not after or dict(after) == dict(before or {}):
        return None
    return "after " + (json.dumps(dict(before), sort_keys=True, separators=(",", ":")) if before else "nothing")
