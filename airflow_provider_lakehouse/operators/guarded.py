"""Tasks that a circuit breaker can stop, and tasks that tell it what they found."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_lakehouse.bridge.breakers import (
    BREAKER_ALIAS,
    BreakerSettings,
    admit,
    announce_transitions,
    record,
    run_of,
)
from airflow_provider_lakehouse.core.quality.breaker_log import BreakerLog
from airflow_provider_lakehouse.operators.base import LakehouseOperator, now

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow.sdk import Context

    from airflow_provider_lakehouse.bridge.breakers import BreakerArgument
    from airflow_provider_lakehouse.core.quality.breaker import Transition
    from airflow_provider_lakehouse.core.quality.run import ChecksResult


class GuardedOperator(LakehouseOperator):
    """Base of the operators that know of circuit breakers.

    Args:
        breaker: A scope, several, or a mapping with `scope`, `on_open` and rules, see `BreakerRules`; None for none.
        **options: Of every operator.
    """

    template_fields: Sequence[str] = ("lakehouse_conn_id", "breaker")

    def __init__(self, *, breaker: BreakerArgument | None = None, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self.breaker = breaker
        if breaker:
            self.outlets = [*self.outlets, BREAKER_ALIAS]

    @cached_property
    def breaker_settings(self) -> BreakerSettings | None:
        """Which breakers the task knows, None for none; read when its fields are rendered."""
        return BreakerSettings.from_json(self.breaker) if self.breaker else None

    def pass_breaker(self, context: Context) -> None:
        """Go on when every breaker of the task lets it pass, before anything else is done.

        Raises:
            DataRejectedError: A breaker is open. The task is not tried again: within the minutes of a retry neither the
                data nor the breaker would be different.
            UnavailableError: The log of breakers does not answer, and the rules do not say that it then counts as closed.
            AirflowSkipException: A breaker is open, and `on_open` is `skip`.
        """
        settings = self.breaker_settings
        if settings is None:
            return
        asked = admit(settings, self.log_of(settings), by=run_of(context), now=now())
        self.tell_changes(context, (one.transition for one in asked if one.transition))
        for one in asked:
            if one.error is not None and one.is_admitted:
                self.log.warning("The breakers cannot be read and count as closed: %s", one.error)
            if not one.is_admitted and one.breaker is not None and settings.on_open == "skip":
                raise AirflowSkipException(f"The breaker of {one.breaker.scope} is open: {one.breaker.reason}.")
            one.require()

    def tell_breaker(self, context: Context, result: ChecksResult) -> None:
        """Let the breakers of the task open or close by what checks found."""
        settings = self.breaker_settings
        if settings is not None:
            self.tell_changes(context, record(settings, self.log_of(settings), result, by=run_of(context), now=now()))

    def log_of(self, settings: BreakerSettings) -> BreakerLog:
        """Return the log that holds the breakers."""
        return BreakerLog(self.hook.table(settings.log))

    def tell_changes(self, context: Context, entries: Iterable[Transition]) -> None:
        """Tell the log of the task, and Airflow, which breakers have another state."""
        told = tuple(entries)
        for entry in told:
            if entry.is_change:
                self.log.warning(
                    "The breaker of %s is %s, it was %s: %s",
                    entry.after.scope, entry.after.state, entry.before, entry.reason,
                )  # fmt: skip
        announce_transitions(context, told, catalog=self.hook.settings.catalog.name)
