"""Keep a decision for all attempts at a task, so that each of them does the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PLAN_KEY: Final = "lakehouse_plan"


def kept_plan(
    context: Mapping[str, Any], decide: Callable[[], dict[str, Any]], *, key: str = PLAN_KEY
) -> dict[str, Any]:
    """Return the plan that an earlier attempt decided, or decide now and keep it.

    It is a convenience, not the truth: what was loaded is known by the target's own commit.

    Args:
        context: Airflow's. Where it has no task state store (before Airflow 3.3), every attempt decides anew.
        decide: Makes the plan; JSON without secrets.
        key: Name in the store, which is shared by all tries and clears of one task instance.

    Guarantees:
        Replay: the plan is kept before this returns, so nothing is read that a retry would not read again.
    """
    store = context.get("task_state_store")
    if store is None:
        return decide()
    plan = store.get(key)
    if plan is None:
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        plan = decide()
        store.set(key, plan, retention=NEVER_EXPIRE)
    found: dict[str, Any] = plan
    return found
