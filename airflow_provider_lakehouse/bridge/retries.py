"""What Airflow does next after each kind of error."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.configuration import conf

from airflow_provider_lakehouse.core.errors import (
    ConflictError,
    DamagedError,
    DataRejectedError,
    InvalidRequestError,
    OutcomeUnknownError,
    UnavailableError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.errors import LakehouseError

DEFAULT_RETRIES: Final = 2
_Decision = tuple[RetryAction, timedelta | None, str]
DECISIONS: Final[dict[type[LakehouseError], _Decision]] = {
    InvalidRequestError: (RetryAction.FAIL, None, "the call is wrong: correct it"),
    UnsupportedError: (RetryAction.FAIL, None, "this backend cannot do it: choose another"),
    DataRejectedError: (RetryAction.FAIL, None, "the data breaks a rule: correct it at the source"),
    DamagedError: (RetryAction.FAIL, None, "what is stored is damaged: somebody has to look"),
    ConflictError: (RetryAction.RETRY, timedelta(seconds=1), "another writer came first and nothing was written"),
    UnavailableError: (RetryAction.RETRY, timedelta(seconds=30), "a service did not answer and nothing was written"),
    OutcomeUnknownError: (RetryAction.RETRY, timedelta(seconds=10), "the commit may have landed: the token will tell"),
}
"""For every kind: what to do, after how long, and why. Everything that is not of a kind is for Airflow to decide."""


def retry_policy() -> ExceptionRetryPolicy:
    """Return the policy that operators and sensors have unless the DAG gives another.

    Example:
        >>> retry_policy().evaluate(DataRejectedError("Rows break a check."), try_number=1, max_tries=3).action
        <RetryAction.FAIL: 'fail'>
    """
    return ExceptionRetryPolicy(
        rules=[
            RetryRule(
                exception=f"{kind.__module__}.{kind.__qualname__}", action=action, retry_delay=delay, reason=reason
            )
            for kind, (action, delay, reason) in DECISIONS.items()
        ]
    )


def is_final(error: BaseException) -> bool:
    """Tell whether a retry cannot help."""
    return any(isinstance(error, kind) and action is RetryAction.FAIL for kind, (action, _, _) in DECISIONS.items())


def with_retry_defaults(options: dict[str, Any]) -> dict[str, Any]:
    """Fill in `retries` and `retry_policy` where neither the task, nor the DAG, nor a group says otherwise.

    A policy can only end retries early, so a task without retries has no use for one: `[lakehouse] default_retries`
    counts where Airflow's own default is zero.
    """
    decided = options.get("default_args") or {}
    if (
        "retries" not in options
        and "retries" not in decided
        and not conf.getint("core", "default_task_retries", fallback=0)
    ):
        options["retries"] = conf.getint("lakehouse", "default_retries", fallback=DEFAULT_RETRIES)
    if "retry_policy" not in options and "retry_policy" not in decided:
        options["retry_policy"] = retry_policy()
    return options
