"""Publish a batch that was staged on a branch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from airflow_provider_lakehouse.bridge.lineage import SeenLineage
from airflow_provider_lakehouse.bridge.quality import QUALITY_KEY, quality_facts
from airflow_provider_lakehouse.bridge.results import as_json
from airflow_provider_lakehouse.bridge.tokens import token_of
from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.errors import ConflictError, DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.tables.abilities import Publishing
from airflow_provider_lakehouse.core.tables.base import WriteToken
from airflow_provider_lakehouse.operators.base import declared, now
from airflow_provider_lakehouse.operators.guarded import GuardedOperator
from airflow_provider_lakehouse.operators.query_load import QueryLoad
from airflow_provider_lakehouse.operators.table_audit import TableAudit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_lakehouse.core.quality.checks import Check
    from airflow_provider_lakehouse.core.quality.run import ChecksResult
    from airflow_provider_lakehouse.core.tables.base import CommitResult, Table

RESTAGES: Final = 3
"""How often a batch is staged anew before the conflict is left to a retry of the task."""


class LakehousePublishOperator(GuardedOperator):
    """Make the main branch of a table what was staged on a branch, and drop the branch. Readers see all of it at once.

    Where another run published to the table meanwhile, what was staged does not rest on what readers see. With
    `restage`, the batch is then staged anew from the newest state, checked, and published; without it the branch is
    dropped and the task fails, so that clearing the task that staged it, with what follows, is enough.

    On retry: the token of the run decides; what was published is not published again.
    On kill: either nothing was published or all of it, and only what was checked.

    Args:
        table: `namespace.table`.
        branch: The branch that was staged and checked.
        restage: How the batch was staged: the arguments of `LakehouseQueryOperator` by name.
        checks: What the staged table was checked for, see `LakehouseCheckOperator`; asked again after staging anew.
        contract: File of a contract whose checks were asked; likewise.
        reads: Further tables that checks name; likewise.
        severities: Only checks of these were asked; likewise.
        stage: Id of the task that staged the branch, a `LakehouseQueryOperator`: rows that are refused when the batch is
            staged anew take the place of those it refused. None keeps both.
        audit: Id of the task that checked the branch: exactly the version it passed is published, and where the branch
            moved since, it is as if the table had moved. None publishes what the branch holds; on Delta together with rows
            that were appended to the table meanwhile.
        pipeline: First half of the token; None for the DAG, the task and the table.
        batch: Second half; None for the partition key of the run, or its id.
        breaker: Scope of the circuit breaker that stops the task while it is open, see `GuardedOperator`; None for none.
        **options: Of every operator.
    """

    template_fields: Sequence[str] = (
        "lakehouse_conn_id", "table", "branch", "restage", "checks", "contract", "reads", "severities", "stage", "audit",
        "pipeline", "batch", "breaker",
    )  # fmt: skip
    template_ext: Sequence[str] = (".sql",)  # of the query in `restage`
    template_fields_renderers: ClassVar[dict[str, str]] = {"restage": "json", "checks": "json"}

    def __init__(
        self,
        *,
        table: str,
        branch: str,
        restage: Mapping[str, Any] | None = None,
        checks: Sequence[Mapping[str, Any] | Check] = (),
        contract: str | None = None,
        reads: Sequence[str] | Mapping[str, str] = (),
        severities: Sequence[str] | None = None,
        stage: str | None = None,
        audit: str | None = None,
        pipeline: str | None = None,
        batch: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**declared(options, writes=(table,)))
        self.table = table
        self.branch = branch
        self.restage = restage
        self.checks = checks
        self.contract = contract
        self.reads = reads
        self.severities = severities
        self.stage = stage
        self.audit = audit
        self.pipeline = pipeline
        self.batch = batch

    def execute(self, context: Context) -> dict[str, Any]:
        """Publish, and return the commit."""
        self.pass_breaker(context)
        table = self.open_target(self.table)
        named = token_of(context, pipeline=self.pipeline, batch=self.batch, table=self.table)
        # Publishing is another write than staging, also where a DAG names both the same.
        token = WriteToken(f"{named.pipeline}/publish", named.batch)
        publishing = require(table, Publishing, purpose="to publish a staged batch")
        verdict = self._verdict(context)
        try:
            commit = publishing.publish(self.branch, token=token, audited=verdict.get("version"))
        except ConflictError as conflict:
            if not self.restage:
                publishing.drop_branch(self.branch)
                raise InvalidRequestError(
                    f"{self.table!r} moved since the batch was staged, and branch {self.branch!r} was dropped. Clear the "
                    "task that staged it, with what follows; or tell the operator how with 'restage'.",
                    table=self.table,
                    branch=self.branch,
                ) from conflict
            commit, verdict = self._publish_anew(context, table, token, conflict)
        self._tidy(table, publishing)
        seen = self.see(table, commit=commit)
        self.lineage = SeenLineage(outputs=(seen,))
        told = {QUALITY_KEY: {**verdict, "version": commit.version}} if verdict else {}
        self.announce(context, seen, {"published": self.branch, "rows_added": commit.rows_added, **told})
        result: dict[str, Any] = as_json(commit)
        return result

    def _verdict(self, context: Context) -> Mapping[str, Any]:
        """Return what the task of the audit says, see `quality_facts`; empty where none is named."""
        if not self.audit:
            return {}
        found = self._result_of(context, self.audit)
        if not isinstance(found, dict) or found.get("table") != self.table:
            raise InvalidRequestError(
                f"Task {self.audit!r} did not check {self.table!r} in this run. Name the task that checks the branch.",
                table=self.table,
                audit=self.audit,
            )
        verdict: Mapping[str, Any] = found[QUALITY_KEY]
        if verdict["verdict"] != "passed":
            raise DataRejectedError(
                f"What is staged of {self.table!r} did not pass its checks. Correct the source, and stage it again.",
                table=self.table,
                audit=self.audit,
                **verdict,
            )
        return verdict

    def _staged_as(self, context: Context) -> WriteToken | None:
        """Return the token under which the batch was staged; None where no task is named."""
        if not self.stage:
            return None
        try:
            return WriteToken(**self._result_of(context, self.stage)["load"]["commit"]["token"])
        except (TypeError, KeyError) as error:
            raise InvalidRequestError(
                f"Task {self.stage!r} staged nothing of {self.table!r} in this run. Name the task that staged the branch.",
                table=self.table,
                stage=self.stage,
            ) from error

    def _result_of(self, context: Context, task_id: str) -> Any:  # noqa: ANN401
        """Return the result of another task of the run; a mapped one is asked for its own table."""
        return context["ti"].xcom_pull(task_ids=task_id, map_indexes=context["ti"].map_index)

    def _publish_anew(
        self, context: Context, table: Table, token: WriteToken, conflict: ConflictError
    ) -> tuple[CommitResult, Mapping[str, Any]]:
        """Stage, check and publish on branches of our own, so that what was not checked is never published."""
        publishing = require(table, Publishing, purpose="to publish a staged batch")
        load, refused_as = QueryLoad.from_json(self.restage or {}), self._staged_as(context)
        for _ in range(RESTAGES):
            base = table.facts().version
            again = f"{self.branch}-on-{base}"
            self.log.warning("%s moved meanwhile: the batch is staged anew on version %s", self.table, base)
            staged = WriteToken(f"{token.pipeline}/staged", f"{token.batch} on {base}")
            run = str(context["ti"].run_id)
            load.on(again).apply(self.hook, table, token=staged, now=now(), run=run, refused_as=refused_as)
            try:
                found = self._check(table, again)
                return publishing.publish(again, token=token, audited=found.version), quality_facts(found)
            except (ConflictError, DataRejectedError) as error:
                publishing.drop_branch(again)
                if isinstance(error, DataRejectedError):
                    raise
                conflict = error
        raise conflict

    def _check(self, table: Table, branch: str) -> ChecksResult:
        audit = TableAudit(self.table, self.checks, self.contract, self.reads, severities=self.severities)
        found = audit.apply(self.hook, table, branch=branch, now=now())
        found.require()
        return found

    def _tidy(self, table: Table, publishing: Publishing) -> None:
        """Drop what the batch was staged on and not published from: by us, or by an attempt that died."""
        for branch in table.facts().branches:
            if branch == self.branch or branch.startswith(f"{self.branch}-on-"):
                publishing.drop_branch(branch)
