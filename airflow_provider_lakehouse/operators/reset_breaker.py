"""Close a circuit breaker by hand, or hold it open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_lakehouse.bridge.breakers import transition_facts
from airflow_provider_lakehouse.bridge.values import instant_or_none
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.operators.base import now
from airflow_provider_lakehouse.operators.guarded import GuardedOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class LakehouseResetBreakerOperator(GuardedOperator):
    """Close a circuit breaker, or hold it open, with the name of the person and a reason.

    A reset also forgets what the breaker counted: failures in a row, and row counts, so that a new level is not taken for
    an anomaly. Made for a DAG that people trigger with parameters:
    `breaker="{{ params.scope }}", reason="{{ params.reason }}"`.

    On retry: a breaker that is closed, or held for the same reason, is left as it is.
    On kill: the change was made or not.

    Args:
        breaker: Scope of the breaker, or several.
        reason: Why; without one nothing is done.
        by: Who; empty for the user who triggered the run, or the run itself where nobody did.
        action: `close`, or `hold` it open.
        until: End of a hold, ISO 8601 with a time zone: from then on a probe is let through. None for a reset only.
        **options: Of every operator.
    """

    template_fields: Sequence[str] = ("lakehouse_conn_id", "breaker", "reason", "by", "action", "until")

    def __init__(
        self,
        *,
        breaker: str | Sequence[str],
        reason: str,
        by: str = "",
        action: Literal["close", "hold"] = "close",
        until: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(breaker=breaker, **options)
        self.reason = reason
        self.by = by
        self.action = action
        self.until = until

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Change the breakers; return what was changed, empty where nothing had to be."""
        settings = self.breaker_settings
        if settings is None or self.action not in ("close", "hold"):
            raise InvalidRequestError(
                "A breaker is named by its scope, and what to do is 'close' or 'hold'. Correct them.",
                action=self.action,
            )
        log, who, at = self.log_of(settings), self.by or _who(context), now()
        until = instant_or_none(self.until, name="until")
        entries = [
            log.hold_open(scope, by=who, reason=self.reason, now=at, until=until)
            if self.action == "hold"
            else log.reset(scope, by=who, reason=self.reason, now=at)
            for scope in settings.scopes
        ]
        made = [entry for entry in entries if entry is not None]
        self.tell_changes(context, made)
        if not made:
            self.log.info("Nothing had to be changed: %s", ", ".join(settings.scopes))
        return [transition_facts(entry) for entry in made]


def _who(context: Context) -> str:
    """Return who triggered the run."""
    user = getattr(context.get("dag_run"), "triggering_user_name", None)
    ti = context["ti"]
    return str(user or f"{ti.dag_id}/{ti.run_id}")
