"""Check a table, or a batch that is staged on a branch of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_lakehouse.bridge.lineage import SeenLineage
from airflow_provider_lakehouse.bridge.quality import QUALITY_KEY, assertions_of, metrics_of, quality_facts
from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.quality.checks import meaning_of
from airflow_provider_lakehouse.core.tables.abilities import Publishing
from airflow_provider_lakehouse.core.tables.base import HEAD, At
from airflow_provider_lakehouse.operators.base import declared, now
from airflow_provider_lakehouse.operators.judging import JudgingOperator
from airflow_provider_lakehouse.operators.query_load import names_of
from airflow_provider_lakehouse.operators.table_audit import TableAudit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_lakehouse.bridge.lineage import SeenDataset
    from airflow_provider_lakehouse.core.quality.checks import Check
    from airflow_provider_lakehouse.core.quality.run import ChecksResult
    from airflow_provider_lakehouse.core.tables.base import Table


class LakehouseCheckOperator(JudgingOperator):
    """Check a table, and fail when it breaks a check.

    A branch that fails is dropped, so that the batch can be staged anew; nothing else is touched. A branch that is gone
    because it was published before is checked as the main branch.

    On retry: checks again; a check that fails is not retried, since the data would be the same.
    On kill: what was found may be kept already, in the table of results and by a breaker; a retry that finds the same keeps
    it once.

    Args:
        table: `namespace.table`.
        checks: Conditions on rows (`condition`), queries over `checked` (`query`), and expectations (`type`); mappings or
            checks.
        contract: File of a contract that has the table (Open Data Contract Standard); its checks come first.
        reads: Further tables that the SQL of checks names, or a mapping from the name in the check to the table. Tables that
            expectations compare with are read without being named here.
        branch: Branch to check; None checks the main branch.
        runner: Who judges: `lakehouse` in as few scans as possible, or `great_expectations` over pandas, which holds the
            columns in memory and needs seconds to start.
        severities: Only checks of these are asked; None for all. A load that sets rows aside has asked those of severity
            `quarantine` and `drop` already.
        drop_on_failure: Whether a branch that fails is dropped.
        is_blocking: Whether a check that fails fails the task. Otherwise the verdict is only announced, and consumers
            decide, see `LakehouseQualitySensor`: a task that fails has no asset event.
        breaker: Scope of the circuit breaker that opens and closes by the outcomes, see `GuardedOperator`; None for none.
            It never stops the check itself.
        **options: Of every operator, and `results`, the table that keeps what was found. Declare the table as outlet to
            have the verdict announced, see `quality_facts`.
    """

    template_fields: Sequence[str] = (
        "lakehouse_conn_id", "table", "checks", "contract", "reads", "branch", "runner", "severities", "results",
        "breaker",
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {"checks": "json"}

    def __init__(
        self,
        *,
        table: str,
        checks: Sequence[Mapping[str, Any] | Check] = (),
        contract: str | None = None,
        reads: Sequence[str] | Mapping[str, str] = (),
        branch: str | None = None,
        runner: str = "lakehouse",
        severities: Sequence[str] | None = None,
        drop_on_failure: bool = True,
        is_blocking: bool = True,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**declared(options, reads=(table, *names_of(reads).values())))
        self.table = table
        self.checks = checks
        self.contract = contract
        self.reads = reads
        self.branch = branch
        self.runner = runner
        self.severities = severities
        self.drop_on_failure = drop_on_failure
        self.is_blocking = is_blocking
        self.result: ChecksResult | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the checks, keep and tell what they found, and return it."""
        table = self.hook.table(self.table)
        staged = self._staged(table)
        partition = str(context.get("partition_key") or "")
        audit = TableAudit(self.table, self.checks, self.contract, self.reads, self.runner, partition, self.severities)
        self.judged = audit.all_checks
        seen = self.see(table, at=At(branch=staged) if staged else HEAD)
        self.log.info("%d checks of %s%s", len(self.judged), self.table, f", branch {staged}" if staged else "")
        result = audit.apply(self.hook, table, branch=staged, now=now())
        self.result = result
        checked = replace(
            seen,
            assertions=assertions_of(result.outcomes),
            metrics=metrics_of(result),
            promise=audit.agreed.promise if audit.agreed else None,
        )
        self.lineage = SeenLineage({"checked": checked})
        self._log(result, self.judged)
        self.keep_results(context, result, self.judged)
        self._feed(context, result, seen)
        if result.failed and staged and self.drop_on_failure:
            require(table, Publishing, purpose="to drop a branch that failed").drop_branch(staged)
            self.log.error(
                "Branch %s was dropped, and readers of %s see what they saw before. Correct the source or the check, then "
                "clear the task that staged the batch, with what follows it.", staged, self.table,
            )  # fmt: skip
        if self.is_blocking:
            result.require()
        return {**as_json(result), QUALITY_KEY: quality_facts(result)}

    def _staged(self, table: Table) -> str | None:
        if not self.branch or self.branch in table.facts().branches:
            return self.branch or None
        self.log.warning("%s has no branch %s: the main branch is checked", self.table, self.branch)
        return None

    def _feed(self, context: Context, result: ChecksResult, seen: SeenDataset) -> None:
        """Tell breakers and consumers; before a branch is dropped, since a retry would no longer find it."""
        self.tell_breaker(context, result)
        if not self.branch:
            self.announce(context, seen, {QUALITY_KEY: quality_facts(result)})

    def _log(self, result: ChecksResult, checks: Sequence[Check]) -> None:
        meaning = {one.name: meaning_of(one) for one in checks}
        for one in result.outcomes:
            if one.passed:
                self.log.info("Passed: %s", one.name)
            elif one.verdict == "unknown":
                self.log.warning("Not evaluated (%s): %s: %s", one.severity, one.name, one.error)
            else:
                self.log.warning(
                    "Broken %s times (%s): %s [%s]",
                    f"{one.violations:,}",
                    one.severity,
                    one.name,
                    meaning.get(one.name, ""),
                )
