"""Check a table, or a batch that is staged on a branch of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.quality.checks import check_from_json
from airflow_provider_lakehouse.core.quality.run import run_checks
from airflow_provider_lakehouse.core.tables.base import HEAD, At, Publishing
from airflow_provider_lakehouse.operators.base import LakehouseOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_lakehouse.core.quality.checks import Check


class LakehouseCheckOperator(LakehouseOperator):
    """Check a table and fail when it breaks a check; a branch that fails is dropped, so that the batch can be staged anew.

    Nothing but the branch is touched. A branch that is gone because it was published before is checked as the main branch.

    On retry: checks again.
    On kill: nothing is left behind.

    Args:
        table: `namespace.table`.
        checks: Conditions on rows (`condition`) and queries over `checked` (`query`); mappings or checks.
        branch: Branch to check; None checks the main branch.
        drop_on_failure: Whether a branch that fails is dropped.
        **options: Of every operator.
    """

    template_fields: ClassVar[Sequence[str]] = ("lakehouse_conn_id", "table", "checks", "branch")
    template_fields_renderers: ClassVar[dict[str, str]] = {"checks": "json"}

    def __init__(
        self,
        *,
        table: str,
        checks: Sequence[Mapping[str, Any] | Check],
        branch: str | None = None,
        drop_on_failure: bool = True,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**options)
        self.table = table
        self.checks = checks
        self.branch = branch
        self.drop_on_failure = drop_on_failure

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the checks, and return what they found."""
        table = self.hook.table(self.table)
        staged = self.branch if self.branch and self.branch in table.facts().branches else None
        at = At(branch=staged) if staged else HEAD
        checks = [check_from_json(check) for check in self.checks]
        version = table.facts(at=at).version
        result = run_checks(
            TableView(table, At(version=version) if not staged else at), checks, engine=self.hook.engine, table=self.table, version=version
        )
        for outcome in result.outcomes:
            self.log.info("%s %s: %d rows", "pass" if outcome.passed else outcome.severity, outcome.name, outcome.violations)
        if result.failed and staged and self.drop_on_failure:
            require(table, Publishing, purpose="to drop a branch that failed").drop_branch(staged)
        result.require()
        return self.announce(context, table, as_json(result))
