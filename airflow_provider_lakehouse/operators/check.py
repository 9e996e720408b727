"""Check a table, or a batch that is staged on a branch of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_lakehouse.bridge.lineage import Assertion, SeenLineage
from airflow_provider_lakehouse.bridge.quality import quality_facts
from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.quality.checks import check_from_json, meaning_of
from airflow_provider_lakehouse.core.tables.base import HEAD, At, Publishing
from airflow_provider_lakehouse.operators.base import declared
from airflow_provider_lakehouse.operators.guarded import GuardedOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_lakehouse.bridge.lineage import SeenDataset
    from airflow_provider_lakehouse.core.quality.checks import Check
    from airflow_provider_lakehouse.core.quality.run import ChecksResult
    from airflow_provider_lakehouse.core.tables.base import Table


class LakehouseCheckOperator(GuardedOperator):
    """Check a table, and fail when it breaks a check.

    A branch that fails is dropped, so that the batch can be staged anew; nothing else is touched. A branch that is gone
    because it was published before is checked as the main branch.

    On retry: checks again; a check that fails is not retried, since the data would be the same.
    On kill: nothing is left behind.

    Args:
        table: `namespace.table`.
        checks: Conditions on rows (`condition`) and queries over `checked` (`query`); mappings or checks.
        branch: Branch to check; None checks the main branch.
        drop_on_failure: Whether a branch that fails is dropped.
        is_blocking: Whether a check that fails fails the task. Otherwise the verdict is only announced, and consumers
            decide, see `LakehouseQualitySensor`: a task that fails has no asset event.
        breaker: Scope of the circuit breaker that opens and closes by the outcomes, see `GuardedOperator`; None for none.
            It never stops the check itself.
        **options: Of every operator. Declare the table as outlet to have the verdict announced, see `quality_facts`.
    """

    template_fields: Sequence[str] = ("lakehouse_conn_id", "table", "checks", "branch", "breaker")
    template_fields_renderers: ClassVar[dict[str, str]] = {"checks": "json"}

    def __init__(
        self,
        *,
        table: str,
        checks: Sequence[Mapping[str, Any] | Check],
        branch: str | None = None,
        drop_on_failure: bool = True,
        is_blocking: bool = True,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**declared(options, reads=(table,)))
        self.table = table
        self.checks = checks
        self.branch = branch
        self.drop_on_failure = drop_on_failure
        self.is_blocking = is_blocking
        self.result: ChecksResult | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the checks, and return what they found."""
        from airflow_provider_lakehouse.core.quality.run import run_checks

        table = self.hook.table(self.table)
        staged = self._staged(table)
        at = At(branch=staged) if staged else HEAD
        checks = [check_from_json(check) for check in self.checks]
        seen = self.see(table, at=at)
        self.log.info("%d checks of %s%s", len(checks), self.table, f", branch {staged}" if staged else "")
        result = run_checks(
            TableView(table, at), checks, engine=self.hook.engine, table=self.table, version=seen.version or 0
        )
        found = tuple(
            Assertion(one.name, one.severity, one.violations, _column(checks, one.name), one.passed, one.type)
            for one in result.outcomes
        )
        self.lineage = SeenLineage({"checked": replace(seen, assertions=found)})
        self._log(result, checks)
        self._feed(context, result, seen)
        if result.failed and staged and self.drop_on_failure:
            require(table, Publishing, purpose="to drop a branch that failed").drop_branch(staged)
            self.log.error(
                "Branch %s was dropped, and readers of %s see what they saw before. Correct the source or the check, then "
                "clear the task that staged the batch, with what follows it.", staged, self.table,
            )  # fmt: skip
        if self.is_blocking:
            result.require()
        answer: dict[str, Any] = as_json(result)
        return answer

    def _staged(self, table: Table) -> str | None:
        if not self.branch or self.branch in table.facts().branches:
            return self.branch or None
        self.log.warning("%s has no branch %s: the main branch is checked", self.table, self.branch)
        return None

    def _feed(self, context: Context, result: ChecksResult, seen: SeenDataset) -> None:
        """Tell breakers and consumers; before a branch is dropped, since a retry would no longer find it."""
        self.result = result
        self.tell_breaker(context, result)
        if not self.branch:
            self.announce(context, seen, {"quality": quality_facts(result)})

    def _log(self, result: ChecksResult, checks: Sequence[Check]) -> None:
        meaning = {one.name: meaning_of(one) for one in checks}
        for one in result.outcomes:
            if one.passed:
                self.log.info("Passed: %s", one.name)
            else:
                self.log.warning(
                    "Broken %s times (%s): %s [%s]",
                    f"{one.violations:,}",
                    one.severity,
                    one.name,
                    meaning.get(one.name, ""),
                )


def _column(checks: Sequence[Check], name: str) -> str:
    columns = next((c.columns for c in checks if c.name == name), ())
    return str(columns[0]) if len(columns) == 1 else ""
