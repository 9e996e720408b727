"""Write, audit, publish: a load that nobody reads before it has passed its checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import TaskGroup

from airflow_provider_lakehouse.operators.check import LakehouseCheckOperator
from airflow_provider_lakehouse.operators.publish import LakehousePublishOperator
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator
from airflow_provider_lakehouse.operators.query_load import ARGUMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow.sdk import BaseOperator

    from airflow_provider_lakehouse.core.quality.checks import Check

STAGED_BRANCH: Final = "staged-{{ run_id | replace(':', '-') | replace('+', '-') }}"
"""The branch on which a run stages its batches: one for each run."""
_ASKED_AGAIN: Final = ("checks", "contract", "reads", "severities")
"""What of a check has to be asked again where the batch is staged anew."""


def audited(
    *,
    group_id: str,
    table: str,
    load: Callable[[str], BaseOperator],
    checks: Sequence[Mapping[str, Any] | Check] = (),
    check_options: Mapping[str, Any] | None = None,
    publish_options: Mapping[str, Any] | None = None,
    **options: Any,  # noqa: ANN401
) -> TaskGroup:
    """Build the tasks around a load: it writes to a branch, the branch is checked, and exactly what passed is published.

    Args:
        group_id: Prefix of the task ids.
        table: `namespace.table` that the load writes.
        load: Called with the name of the branch, a template; returns the task that writes to it. Where that is a
            `LakehouseQueryOperator`, a batch that another run overtook is staged and checked anew.
        checks: Of the staged table, see `LakehouseCheckOperator`.
        check_options: Further arguments of `LakehouseCheckOperator`.
        publish_options: Further arguments of `LakehousePublishOperator`.
        **options: Of the tasks `check` and `publish`, such as `lakehouse_conn_id` and `retries`.

    Returns:
        The group: the load, then `check`, then `publish`.

    Guarantees:
        Nothing bad passes: readers see the table as it was until what was checked, and nothing else, is published.

    Example:
        >>> from airflow.sdk import DAG
        >>> with DAG("orders", schedule=None):
        ...     group = audited(
        ...         group_id="orders",
        ...         table="silver.orders",
        ...         load=lambda branch: LakehouseQueryOperator(
        ...             task_id="stage", sql="SELECT 1 AS id", table="silver.orders", branch=branch
        ...         ),
        ...         checks=[{"name": "id is there", "condition": "id IS NOT NULL"}],
        ...     )
        >>> sorted(group.children)
        ['orders.check', 'orders.publish', 'orders.stage']
    """
    with TaskGroup(group_id=group_id) as group:
        stage = load(STAGED_BRANCH)
        audit: dict[str, Any] = {"table": table, "checks": list(checks), **(check_options or {})}
        asked: dict[str, Any] = {name: audit[name] for name in _ASKED_AGAIN if name in audit}
        check = LakehouseCheckOperator(task_id="check", branch=STAGED_BRANCH, **(options | audit))
        publish = LakehousePublishOperator(
            task_id="publish",
            table=table,
            branch=STAGED_BRANCH,
            audit=check.task_id,
            **(_restaging(stage) | asked | options | dict(publish_options or {})),
        )
        stage >> check >> publish
    return group


def _restaging(stage: BaseOperator) -> dict[str, Any]:
    """Return how a batch was staged, and by whom, where the task that publishes it can stage it again."""
    if not isinstance(stage, LakehouseQueryOperator):
        return {}
    return {"stage": stage.task_id, "restage": {name: getattr(stage, name) for name in ARGUMENTS if name != "branch"}}
