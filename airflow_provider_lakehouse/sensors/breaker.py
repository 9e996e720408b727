"""Wait until circuit breakers let a run pass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_lakehouse.bridge.breakers import (
    BREAKER_ALIAS,
    BreakerSettings,
    admit,
    announce_transitions,
    run_of,
)
from airflow_provider_lakehouse.bridge.connections import DEFAULT_CONNECTION
from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.bridge.retries import is_final, with_retry_defaults
from airflow_provider_lakehouse.core.errors import KINDS, DamagedError, InvalidRequestError, LakehouseError
from airflow_provider_lakehouse.core.quality.breaker_log import BreakerLog
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.sensors.deferral import defer_within
from airflow_provider_lakehouse.triggers.breaker import LakehouseBreakerConditionTrigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_lakehouse.bridge.breakers import BreakerArgument
    from airflow_provider_lakehouse.core.quality.breaker_log import Admission


class LakehouseBreakerSensor(BaseSensorOperator):
    """Wait until every breaker is closed, or gives this run its probe; the run's later tasks then pass, too.

    A log that does not answer is asked again: nobody passes a breaker that cannot be read, unless `on_unreadable` says so.

    On retry: waits again; a run that was given the probe has it still.
    On kill: nothing is left behind. A probe that the run holds is free for another run after `probe_for_seconds`.

    Args:
        breaker: A scope, several, or a mapping with `scope` and rules, see `BreakerRules`.
        on_open: What to do while a breaker is open: `wait`, `fail` at once, or `skip` what follows.
        lakehouse_conn_id: A connection of type `lakehouse`.
        deferrable: Whether to wait in the triggerer, without a worker.
        **options: Of every sensor, such as `poke_interval` and `timeout`, in seconds.
    """

    template_fields: Sequence[str] = ("lakehouse_conn_id", "breaker", "on_open")
    template_fields_renderers: ClassVar[dict[str, str]] = {"breaker": "json"}
    ui_color = "#e3f0f5"

    def __init__(
        self,
        *,
        breaker: BreakerArgument,
        on_open: Literal["wait", "fail", "skip"] = "wait",
        lakehouse_conn_id: str = DEFAULT_CONNECTION,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**with_retry_defaults(options))
        self.outlets = [*self.outlets, BREAKER_ALIAS]
        self.breaker = breaker
        self.on_open = on_open
        self.lakehouse_conn_id = lakehouse_conn_id
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:  # noqa: ANN401
        """Ask; where a breaker is open, wait here or in the triggerer. Returns the breakers as they are."""
        if not self.deferrable:
            return super().execute(context)
        return self._ask_or_defer(context, until=datetime.now(UTC) + timedelta(seconds=self.timeout))

    def execute_complete(self, context: Context, event: dict[str, Any], until: str) -> Any:  # noqa: ANN401
        """Ask again when the trigger saw that the run would pass: another may have been faster."""
        if event["status"] != "met":
            kind = next((kind for kind in KINDS if kind.__name__ == event["kind"]), DamagedError)
            raise kind(event["message"])
        return self._ask_or_defer(context, until=datetime.fromisoformat(until))

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once.

        Raises:
            DataRejectedError: A breaker is open, and `on_open` is `fail`.
            AirflowSkipException: A breaker is open, and `on_open` is `skip`.
        """
        if self.on_open not in ("wait", "fail", "skip"):
            raise InvalidRequestError("While a breaker is open, 'wait', 'fail' or 'skip'.", on_open=self.on_open)
        settings = BreakerSettings.from_json(self.breaker)
        hook = LakehouseHook(self.lakehouse_conn_id)
        try:
            log = BreakerLog(hook.table(settings.log))
            asked = admit(settings, log, by=run_of(context), now=datetime.now(UTC))
        except LakehouseError as error:
            if is_final(error):
                raise
            self.log.warning("The breakers could not be asked, and will be again: %s", error)
            return PokeReturnValue(is_done=False)
        announce_transitions(
            context, (one.transition for one in asked if one.transition), catalog=hook.settings.catalog.name
        )
        for one in asked:
            self._react(one)
        return PokeReturnValue(
            is_done=all(one.is_admitted for one in asked), xcom_value=[as_json(one.breaker) for one in asked]
        )

    def _react(self, asked: Admission) -> None:
        if asked.breaker is None:
            self.log.warning("The breakers cannot be read, and count as %s: %s",
                             "closed" if asked.is_admitted else "open", asked.error)  # fmt: skip
        elif asked.is_admitted:
            self.log.info("%s: %s", asked.breaker.scope, "this run is the probe" if asked.is_probe else "closed")
        elif self.on_open == "skip":
            raise AirflowSkipException(f"The breaker of {asked.breaker.scope} is open: {asked.breaker.reason}.")
        elif self.on_open == "fail":
            asked.require()
        else:
            self.log.info("%s is %s: %s", asked.breaker.scope, asked.breaker.state, asked.breaker.reason)

    def _ask_or_defer(self, context: Context, *, until: datetime) -> Any:  # noqa: ANN401
        found = self.poke(context)
        if found.is_done:
            return found.xcom_value
        trigger = LakehouseBreakerConditionTrigger(
            breaker=self.breaker,
            run=run_of(context),
            lakehouse_conn_id=self.lakehouse_conn_id,
            poll_interval_seconds=self.poke_interval,
        )
        return defer_within(self, trigger, until=until)
