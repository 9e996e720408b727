"""Wait until a table is as it has to be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.configuration import conf

from airflow_provider_lakehouse.bridge.connections import DEFAULT_CONNECTION
from airflow_provider_lakehouse.bridge.retries import is_final, with_retry_defaults
from airflow_provider_lakehouse.bridge.state import kept_plan
from airflow_provider_lakehouse.bridge.versions import TableCondition, look
from airflow_provider_lakehouse.core.errors import KINDS, DamagedError, LakehouseError
from airflow_provider_lakehouse.core.tables.base import NO_VERSION
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.triggers.table import LakehouseTableConditionTrigger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Asset, Context

CURSOR_KEY = "lakehouse_sensor_version"
"""Key under which the version that was found is kept with `cursor_asset`."""


class LakehouseTableSensor(BaseSensorOperator):
    """Wait until a table has new rows, is fresh, or has a partition; everything that is asked for has to hold.

    Rewrites that change no rows count as nothing. Errors that pass are waited out, others fail the task.

    On retry: waits again, for the same.
    On kill: nothing is left behind; a deferred wait ends with the task.

    Args:
        table: `namespace.table`; it need not exist yet.
        since_version: Wait for rows that changed after this version.
        cursor_asset: Wait for rows that changed after the version that this sensor found in an earlier run, which is
            kept with the asset (from Airflow 3.3 on). Declare the asset as outlet of the task that writes the table,
            too: Airflow forgets the state of assets that no DAG names. The first run takes any rows.
        max_age_seconds: Wait until rows changed at most so many seconds ago.
        partition: Wait until a row has these values, such as `{"business_date": "{{ partition_key }}"}`.
        lakehouse_conn_id: A connection of type `lakehouse`.
        deferrable: Whether to wait in the triggerer, without a worker.
        **options: Of every sensor, such as `poke_interval` and `timeout`, in seconds.
    """

    template_fields: Sequence[str] = (
        "lakehouse_conn_id", "table", "since_version", "max_age_seconds", "partition",
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {"partition": "json"}
    ui_color = "#e3f0f5"

    def __init__(
        self,
        *,
        table: str,
        since_version: int | str | None = None,
        cursor_asset: Asset | None = None,
        max_age_seconds: float | str | None = None,
        partition: Mapping[str, str | int | float | bool] | None = None,
        lakehouse_conn_id: str = DEFAULT_CONNECTION,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **options: Any,  # noqa: ANN401
    ) -> None:
        if cursor_asset is not None:
            options["inlets"] = [*(options.get("inlets") or []), cursor_asset]
        super().__init__(**with_retry_defaults(options))
        self.table = table
        self.since_version = since_version
        self.cursor_asset = cursor_asset
        self.max_age_seconds = max_age_seconds
        self.partition = partition
        self.lakehouse_conn_id = lakehouse_conn_id
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:  # noqa: ANN401
        """Look; where there is nothing yet, wait here or in the triggerer. Returns what was found."""
        if not self.deferrable:
            return super().execute(context)
        seen = self.poke(context)
        if seen.is_done:
            return seen.xcom_value
        return self.defer(
            trigger=LakehouseTableConditionTrigger(
                table=self.table,
                condition=self._condition(context).to_json(),
                lakehouse_conn_id=self.lakehouse_conn_id,
                poll_interval_seconds=self.poke_interval,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout),
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        condition = self._condition(context)
        try:
            sighting = look(LakehouseHook(self.lakehouse_conn_id).table(self.table), condition, now=datetime.now(UTC))
        except LakehouseError as error:
            if is_final(error):
                raise
            self.log.warning("%s could not be looked at, and will be again: %s", self.table, error)
            return PokeReturnValue(is_done=False)
        self.log.info("%s: %s", self.table, sighting.reason)
        if sighting.is_met:
            self._keep(context, sighting.version)
        return PokeReturnValue(is_done=sighting.is_met, xcom_value=sighting.to_json())

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Return what the trigger found, or fail with the error it met."""
        if event["status"] != "met":
            kind = next((kind for kind in KINDS if kind.__name__ == event["kind"]), DamagedError)
            raise kind(event["message"])
        sighting: dict[str, Any] = event["sighting"]
        self._keep(context, sighting["version"])
        return sighting

    def _condition(self, context: Context) -> TableCondition:
        since = self.since_version
        if self.cursor_asset is not None:
            since = kept_plan(context, lambda: {"since": self._last_found(context)})["since"]
        given = {"since": since, "max_age_seconds": self.max_age_seconds, "partition": self.partition}
        return TableCondition.from_json(given)

    def _last_found(self, context: Context) -> int:
        store = context.get("asset_state_store")
        found = (
            store[self.cursor_asset].get(CURSOR_KEY) if store is not None and self.cursor_asset is not None else None
        )
        return NO_VERSION if found is None else int(str(found))

    def _keep(self, context: Context, version: int | None) -> None:
        store = context.get("asset_state_store")
        if store is not None and self.cursor_asset is not None and version is not None:
            store[self.cursor_asset].set(CURSOR_KEY, version)
