"""Release refused rows into their table, and remove those that are old enough."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from airflow_provider_lakehouse.bridge.lineage import SeenLineage
from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.bridge.state import PLAN_KEY, forget_plan, kept_plan
from airflow_provider_lakehouse.bridge.values import instant_or_none
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.quality.checks import check_from_json
from airflow_provider_lakehouse.operators.base import LakehouseOperator, declared, now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_lakehouse.core.flows import Target
    from airflow_provider_lakehouse.core.quality.checks import Check
    from airflow_provider_lakehouse.core.quality.quarantine import Selection
    from airflow_provider_lakehouse.core.quality.release_apply import ReleaseResult
    from airflow_provider_lakehouse.core.quality.release_plan import ReleasePlan

_SELECTION: Final = ("check", "pipeline", "batch", "since", "before")


class LakehouseReleaseQuarantineOperator(LakehouseOperator):
    """Load refused rows that pass today's checks into the table that refused them, and remove them from quarantine.

    Which rows is decided first and kept for every try; rows that are refused later are for the next run. Rows that still
    break a check stay, with today's reason. Lines of files that could not be read have no types and stay too: deliver the
    file again, corrected.

    On retry: the same rows under the same token; what was loaded is not loaded again. Releases of the table that died
    before are finished first. Other arguments make another plan.
    On kill: every row is either in quarantine, or claimed by this release, or in the table, and never twice in it.

    Args:
        table: `namespace.table`, the one that refused the rows.
        checks: What rows have to meet now: conditions on rows and expectations on single rows, mappings or checks. An empty
            list releases every row.
        correction: One SELECT over `quarantined`, which has the columns that the rows had and `_quarantine_id`, which it
            keeps; or the path of a `.sql` file. None releases the rows as they are.
        selection: Which refused rows: a mapping with any of `check`, `pipeline`, `batch`, `since` and `before` (ISO 8601 with
            a time zone); None for all of the table.
        mode: How rows change the table; a name, or a mapping with `mode` and its settings. As the task that was to load
            them has it.
        policy: What happens to rows that do not fit the table.
        contract: Name and version of the contract that the checks come from, for the records.
        quarantine: The table of refused rows.
        max_rows: A run releases no more rows, the oldest first.
        dry_run: Whether the plan is only returned.
        **options: Of every operator.
    """

    template_fields: Sequence[str] = (
        "lakehouse_conn_id", "table", "checks", "correction", "selection", "mode", "policy", "contract", "quarantine",
    )  # fmt: skip
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "checks": "json", "correction": "sql", "selection": "json", "mode": "json", "policy": "json",
    }  # fmt: skip

    def __init__(
        self,
        *,
        table: str,
        checks: Sequence[Mapping[str, Any] | Check],
        correction: str | None = None,
        selection: Mapping[str, Any] | None = None,
        mode: str | Mapping[str, Any] = "append",
        policy: str | Mapping[str, Any] = "freeze",
        contract: str = "",
        quarantine: str = "quarantine.rows",
        max_rows: int = 10_000,
        dry_run: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**declared(options, writes=(table,)))
        self.table = table
        self.checks = checks
        self.correction = correction
        self.selection = selection
        self.mode = mode
        self.policy = policy
        self.contract = contract
        self.quarantine = quarantine
        self.max_rows = max_rows
        self.plans_only = dry_run  # `dry_run` is a method of every operator

    def execute(self, context: Context) -> dict[str, Any]:
        """Finish what died, plan or take the plan that was kept, release, and return plan and result."""
        from airflow_provider_lakehouse.core.quality.release_plan import ReleasePlan

        target = self._target(context)
        if self.plans_only:
            plan = self._decide(target)
            self._log_plan(plan)
            return {"plan": _told(plan), "result": None}
        self._finish_others(target)
        key = self._plan_key()
        plan = ReleasePlan.from_json(kept_plan(context, lambda: self._decide(target).to_json(), key=key))
        self._log_plan(plan)
        try:
            result = self._release(plan, target)
        except (DataRejectedError, InvalidRequestError, UnsupportedError):
            forget_plan(context, key=key)
            raise
        seen = self.see(target.table)
        self.lineage = SeenLineage(outputs=(seen,))
        self.announce(context, seen, {"rows_released": result.rows_released, "is_replay": result.is_replay})
        return {"plan": _told(plan), "result": as_json(result)}

    def _target(self, context: Context) -> Target:
        from airflow_provider_lakehouse.core.flows import Target
        from airflow_provider_lakehouse.core.load.modes import mode_from_json
        from airflow_provider_lakehouse.core.load.policy import SchemaPolicy

        return Target(
            self.open_target(self.table, self.quarantine),
            mode_from_json(self.mode),
            SchemaPolicy.from_json(self.policy),
            quarantine=self.hook.table(self.quarantine),
            run=str(context["ti"].run_id),
            contract=self.contract,
        )

    def _decide(self, target: Target) -> ReleasePlan:
        from airflow_provider_lakehouse.core.quality.release_plan import ReleasePlan, plan_release, read_quarantined

        refused, engine, planned_at = self.hook.table(self.quarantine), self.hook.engine, now()
        selection = read_selection(self.selection, target=self.table)
        if not refused.exists():
            return ReleasePlan(refused.identity.name, target.table.identity.name, planned_at, ())
        return plan_release(
            read_quarantined(refused, engine=engine, selection=selection),
            checks=[check_from_json(check) for check in self.checks],
            engine=engine,
            now=planned_at,
            correction=self.correction or None,
            contract=self.contract,
            max_rows=self.max_rows,
        )

    def _finish_others(self, target: Target) -> None:
        from airflow_provider_lakehouse.core.quality.release_apply import unfinished_releases

        refused = self.hook.table(self.quarantine)
        for plan in unfinished_releases(refused, engine=self.hook.engine, target=self.table, now=now()):
            self.log.warning(
                "Release %s claimed %s rows and did not finish: it is finished now", plan.release_id, len(plan.ids)
            )
            self._release(plan, target)

    def _release(self, plan: ReleasePlan, target: Target) -> ReleaseResult:
        from airflow_provider_lakehouse.core.flows import release_quarantined
        from airflow_provider_lakehouse.core.quality.release_apply import ReleaseResult

        if plan.is_empty:
            return ReleaseResult(plan.release_id, plan.target, rows_broken=plan.rows_broken)
        return release_quarantined(plan, target, engine=self.hook.engine, now=now())

    def _plan_key(self) -> str:
        """Return the name of the plan in the task's state: other arguments, other plan."""
        arguments = [getattr(self, name) for name in (*self.template_fields, "max_rows")]
        digest = hashlib.sha256(json.dumps(as_json(arguments), sort_keys=True, default=str).encode()).hexdigest()[:16]
        return f"{PLAN_KEY}_{digest}"

    def _log_plan(self, plan: ReleasePlan) -> None:
        self.log.info("%s refused rows go into %s, %s pass", f"{len(plan.ids):,}", self.table, f"{plan.rows_passing:,}")
        for name, rows in plan.rows_broken.items():
            self.log.warning("%s rows stay: they break %r", f"{rows:,}", name)
        if plan.rows_as_text:
            files = ", ".join(plan.files_as_text)
            self.log.warning("%s lines stay: deliver them again, corrected: %s", f"{plan.rows_as_text:,}", files)


class LakehouseExpireQuarantineOperator(LakehouseOperator):
    """List refused rows that are older than they need be and, when asked to, remove them.

    On retry: what is old enough and still there is removed; nothing else.
    On kill: either nothing was removed or all of it.

    Args:
        older_than_days: Rows refused longer ago go.
        table: Only rows that this table refused; None for all.
        quarantine: The table of refused rows.
        dry_run: True, unless asked otherwise, removes nothing.
        **options: Of every operator.
    """

    template_fields: Sequence[str] = ("lakehouse_conn_id", "older_than_days", "table", "quarantine")

    def __init__(
        self,
        *,
        older_than_days: float,
        table: str | None = None,
        quarantine: str = "quarantine.rows",
        dry_run: bool = True,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**declared(options, writes=() if dry_run else (quarantine,)))
        self.older_than_days = older_than_days
        self.table = table
        self.quarantine = quarantine
        self.plans_only = dry_run  # `dry_run` is a method of every operator

    def execute(self, context: Context) -> dict[str, Any]:
        """Plan, expire, and return both."""
        from airflow_provider_lakehouse.core.quality.expiry import apply_expire, plan_expire

        refused = self.open_target(self.quarantine)
        plan = plan_expire(
            refused, engine=self.hook.engine, older_than=self._age(), now=now(), target=self.table or None
        )
        for name, rows in plan.checks.items():
            self.log.info("%s rows refused before %s: %s", f"{rows:,}", plan.before.isoformat(), name)
        result = apply_expire(plan, refused, engine=self.hook.engine, dry_run=self.plans_only)
        if not self.plans_only and refused.exists():
            seen = self.see(refused)
            self.lineage = SeenLineage(outputs=(seen,))
            self.announce(context, seen, {"rows_expired": result.rows_expired})
        answer: dict[str, Any] = as_json(result)
        return answer

    def _age(self) -> timedelta:
        try:
            return timedelta(days=float(self.older_than_days))
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidRequestError(
                "'older_than_days' is no number of days after rendering. Correct it.", given=str(self.older_than_days)
            ) from error


def read_selection(value: Mapping[str, Any] | None, *, target: str) -> Selection:
    """Read which refused rows of a table are meant.

    Raises:
        InvalidRequestError: A setting is unknown, or an instant is none.
    """
    from airflow_provider_lakehouse.core.quality.quarantine import Selection

    given = dict(value or {})
    unknown = tuple(sorted(set(given) - set(_SELECTION)))
    if unknown:
        raise InvalidRequestError(
            "A selection of refused rows has other settings. Correct their names.",
            unknown=unknown,
            settings=_SELECTION,
        )
    return Selection(
        target,
        check=given.get("check") or None,
        pipeline=given.get("pipeline") or None,
        batch=given.get("batch") or None,
        since=instant_or_none(given.get("since"), name="since"),
        before=instant_or_none(given.get("before"), name="before"),
    )


def _told(plan: ReleasePlan) -> dict[str, Any]:
    """Return what XCom keeps of a plan: counts, without the ids."""
    told: dict[str, Any] = as_json(plan)
    return {**told, "ids": len(plan.ids), "still_broken": sum(len(one.ids) for one in plan.still_broken)}
