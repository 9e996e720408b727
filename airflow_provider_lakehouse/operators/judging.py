"""Tasks whose checks leave a trace: rows in the table of results, and a page for people."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.bridge.pages import are_kept, keep_page
from airflow_provider_lakehouse.bridge.tokens import token_of
from airflow_provider_lakehouse.operators.base import now
from airflow_provider_lakehouse.operators.guarded import GuardedOperator
from airflow_provider_lakehouse.operators.quality_link import LakehouseQualityLink

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from airflow.sdk import Context

    from airflow_provider_lakehouse.core.quality.checks import Check
    from airflow_provider_lakehouse.core.quality.run import ChecksResult


class JudgingOperator(GuardedOperator):
    """Base of the operators that judge rows or tables.

    What it judges by is in `judged`, and the address of its page in `quality_page`, for those that tell people when it fails.

    Args:
        results: Table that keeps what was found, one row for each check and run; None keeps nothing.
        **options: Of every operator, and `breaker`.
    """

    template_fields: Sequence[str] = ("lakehouse_conn_id", "results", "breaker")
    operator_extra_links = (*GuardedOperator.operator_extra_links, LakehouseQualityLink())

    def __init__(self, *, results: str | None = "quality.results", **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self.results = results
        self.judged: Sequence[Check] = ()
        self.quality_page = ""

    def keep_results(self, context: Context, result: ChecksResult, checks: Sequence[Check]) -> None:
        """Write what was found into the table of results, and the page about it.

        Guarantees:
            Once: the same findings about the same version by the same run are written once, whatever is retried or cleared;
                other findings are a further record.
        """
        if self.results and result.outcomes:
            from airflow_provider_lakehouse.core.quality.history import write_results

            found = [[one.name, one.verdict, one.violations] for one in result.outcomes]
            digest = hashlib.sha256(json.dumps([result.version, found]).encode()).hexdigest()[:16]
            token = token_of(context, table=result.table).derive(f"results/{digest}")
            owners = {check.name: check.owner for check in checks if check.owner}
            write_results(self.hook.table(self.results), result, token=token, now=now(), owners=owners)
        if are_kept():
            from airflow_provider_lakehouse.core.quality.page import page_of

            self.quality_page = keep_page(page_of(result, checks, since=self._since(result)), context)

    def _since(self, result: ChecksResult) -> Mapping[str, datetime]:
        """Return since when checks are broken."""
        if not self.results or all(one.passed for one in result.outcomes):
            return {}
        from airflow_provider_lakehouse.core.quality.history import since_when

        known = since_when(
            self.hook.table(self.results), engine=self.hook.engine, of=result.table, partition=result.partition
        )
        return {one.check_name: one.checked_at for one in known}
