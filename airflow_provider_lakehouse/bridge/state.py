"""Keep a decision for all attempts at a task, so that each of them does the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PLAN_KEY: Final = "lakehouse_plan"
BATCHES_KEY: Final = "lakehouse_batches"


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


def forget_plan(context: Mapping[str, Any], *, key: str = PLAN_KEY) -> None:
    """Forget a plan that can never be done, so that clearing the task decides anew."""
    store = context.get("task_state_store")
    if store is not None:
        store.delete(key)


class KeptBatches:
    """Which batches a task instance has taken up, in whatever try, so that it can tell what follows of all of them.

    A task that is killed after its last commit, and before Airflow knows its result, finds nothing to do when it is tried
    again; without this it would say so, and what it had loaded would go no further.

    Args:
        context: Airflow's. Where it has no task state store, a try knows of its own batches alone.

    Guarantees:
        Order: `take` returns when the number is kept, so that a batch is loaded only after that.
    """

    def __init__(self, context: Mapping[str, Any]) -> None:
        self._store = context.get("task_state_store")
        kept = (self._store.get(BATCHES_KEY) if self._store is not None else None) or {}
        self.numbers: tuple[int, ...] = tuple(kept.get("numbers", ()))
        self.are_done: bool = bool(kept.get("are_done")) and bool(self.numbers)
        """True when a try loaded all of its batches: every further one has only to tell them again."""

    def take(self, number: int) -> None:
        """Remember a batch that is going to be loaded."""
        self.numbers = tuple(sorted({*self.numbers, number}))
        self._keep()

    def end(self) -> None:
        """Remember that all are loaded."""
        self.are_done = bool(self.numbers)
        self._keep()

    def _keep(self) -> None:
        if self._store is not None:
            from airflow.sdk.execution_time.context import NEVER_EXPIRE

            value = {"numbers": list(self.numbers), "are_done": self.are_done}
            self._store.set(BATCHES_KEY, value, retention=NEVER_EXPIRE)
