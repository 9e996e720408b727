"""Go on only when the newest version of a table passed its checks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_lakehouse.assets import table_asset
from airflow_provider_lakehouse.bridge.quality import newest_quality
from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.bridge.retries import with_retry_defaults
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.sensors.deferral import defer_within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Asset, Context

    from airflow_provider_lakehouse.bridge.quality import QualitySighting

Reaction = Literal["wait", "fail", "skip"]
LOOKED_AT: Final = 50
"""So many of the newest events of an asset are looked at."""


class LakehouseQualitySensor(BaseSensorOperator):
    """Let what follows run only when the newest version of an asset passed its checks.

    The verdict is read from the asset's events: `LakehouseCheckOperator` announces it on the outlet of the table. A check
    that could not be evaluated did not pass. A version that nobody checked has no verdict, which is another thing than a
    bad one: it may still come. A check task that fails has no event, so its version stays without a verdict; with
    `is_blocking=False` it says `broken`.

    On retry: looks again.
    On kill: nothing is left behind.

    Args:
        asset: Of the table, see `table_asset`. It becomes an inlet of the task.
        on_bad: What to do when the verdict is `broken` or `unknown`: `fail`, without a retry, `skip` what follows, or
            `wait` for a newer version.
        on_missing: What to do while there is no verdict: `wait`, `fail` or `skip`.
        deferrable: Whether to wait in the triggerer. Events are read by a worker, so each look takes one for a moment.
        **options: Of every sensor, such as `poke_interval` and `timeout`, in seconds.
    """

    template_fields: Sequence[str] = ("on_bad", "on_missing")
    ui_color = "#e3f0f5"

    def __init__(
        self,
        *,
        asset: Asset,
        on_bad: Reaction = "fail",
        on_missing: Reaction = "wait",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **options: Any,  # noqa: ANN401
    ) -> None:
        options["inlets"] = [*(options.get("inlets") or []), asset]
        super().__init__(**with_retry_defaults(options))
        self.asset = asset
        self.on_bad = on_bad
        self.on_missing = on_missing
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:  # noqa: ANN401
        """Look; while it is worth waiting, wait here or in the triggerer. Returns the verdict."""
        if not self.deferrable:
            return super().execute(context)
        return self._look_or_defer(context, until=datetime.now(UTC) + timedelta(seconds=self.timeout))

    def execute_complete(self, context: Context, event: Any, until: str) -> Any:  # noqa: ANN401
        """Look again after a pause."""
        del event
        return self._look_or_defer(context, until=datetime.fromisoformat(until))

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once.

        Raises:
            DataRejectedError: The newest version did not pass, or has no verdict, and that fails the task.
            AirflowSkipException: Likewise, and that skips what follows.
        """
        if not {self.on_bad, self.on_missing} <= {"wait", "fail", "skip"}:
            raise InvalidRequestError(
                "Without a good verdict, 'wait', 'fail' or 'skip'.", on_bad=self.on_bad, on_missing=self.on_missing
            )
        newest_first = context["inlet_events"][self.asset].ascending(False).limit(LOOKED_AT)
        found = newest_quality(event.extra or {} for event in islice(newest_first, LOOKED_AT))
        self.log.info("%s: version %s, %s", self.asset.uri, found.version, _in_words(found))
        if found.verdict != "passed":
            self._react(found)
        return PokeReturnValue(is_done=found.verdict == "passed", xcom_value=as_json(found))

    def _react(self, found: QualitySighting) -> None:
        reaction = self.on_missing if found.verdict == "missing" else self.on_bad
        if reaction == "skip":
            raise AirflowSkipException(f"The newest version of {self.asset.uri}: {_in_words(found)}.")
        if reaction == "fail":
            raise DataRejectedError(
                f"The newest version of {self.asset.uri!r} did not pass: {_in_words(found)}. "
                "Correct the data, or have it checked, and clear this task.",
                asset=self.asset.uri,
                version=found.version,
                verdict=found.verdict,
                broken=found.broken,
                unknown=found.unknown,
            )

    def _look_or_defer(self, context: Context, *, until: datetime) -> Any:  # noqa: ANN401
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        found = self.poke(context)
        if found.is_done:
            return found.xcom_value
        left = max(until - datetime.now(UTC), timedelta(0))
        # The trigger ends before the deferral times out, so that the last look is at the end of the time.
        pause = min(timedelta(seconds=self.poke_interval), left * 0.9)
        return defer_within(self, TimeDeltaTrigger(pause), until=until)


def require_quality(
    table: str,
    *,
    format: str = "iceberg",  # noqa: A002
    catalog: str = "default",
    task_id: str | None = None,
    **options: Any,  # noqa: ANN401
) -> LakehouseQualitySensor:
    """Return a task that lets what follows run only when the newest version of a table passed its checks.

    Args:
        table: `namespace.table`.
        format: `iceberg` or `delta`.
        catalog: Name of the catalog, as the connection calls it.
        task_id: None for `require_quality_of_<table>`.
        **options: Of `LakehouseQualitySensor`.
    """
    name = task_id or f"require_quality_of_{table}"
    return LakehouseQualitySensor(task_id=name, asset=table_asset(table, format=format, catalog=catalog), **options)


def _in_words(found: QualitySighting) -> str:
    match found.verdict:
        case "missing":
            return "nobody has checked it yet" if found.version is not None else "no event names a version yet"
        case "passed":
            return f"passed {found.checks} checks"
        case _:
            return f"{found.broken} of {found.checks} checks are broken, {found.unknown} could not be evaluated"
