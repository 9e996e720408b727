"""What all operators share: the connection, the retry policy, and how they tell what they did."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_provider_lakehouse.bridge.connections import DEFAULT_CONNECTION
from airflow_provider_lakehouse.bridge.lineage import SeenLineage, operator_lineage, seen_table
from airflow_provider_lakehouse.bridge.outlets import announce, asset_uri, check_outlets
from airflow_provider_lakehouse.bridge.retries import with_retry_defaults
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.base import HEAD
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.operators.table_link import LakehouseTableLink

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_lakehouse.bridge.lineage import Assertion, SeenDataset
    from airflow_provider_lakehouse.core.tables.base import At, CommitResult, Table


class LakehouseOperator(BaseOperator):
    """Base of the operators; see each of them.

    Args:
        lakehouse_conn_id: A connection of type `lakehouse`.
        **options: Of every Airflow operator. `retries` defaults to `[lakehouse] default_retries`, and `retry_policy` to the one
            that follows from the kind of error. A mapped task has Airflow's own default of `retries`: give it to `partial`.
            An outlet that is a lakehouse table has to be the table that the task writes.
    """

    template_fields: ClassVar[Sequence[str]] = ("lakehouse_conn_id",)
    operator_extra_links = (LakehouseTableLink(),)
    ui_color = "#e3f0f5"

    def __init__(self, *, lakehouse_conn_id: str = DEFAULT_CONNECTION, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**with_retry_defaults(options))
        self.lakehouse_conn_id = lakehouse_conn_id
        self.page = ""
        self.lineage = SeenLineage()

    @cached_property
    def hook(self) -> LakehouseHook:
        """The hook; opens nothing before it is used."""
        return LakehouseHook(self.lakehouse_conn_id)

    def open_target(self, *names: str) -> Table:
        """Return the table that the task writes, after a look at the outlets.

        Args:
            *names: The target, then further tables that the task may write.

        Raises:
            InvalidRequestError: An outlet is a lakehouse table, but another one than the task writes. Nothing was written.
        """
        tables = [self.hook.table(_required(name)) for name in names]
        writes = {table.identity.name: table.identity for table in tables}
        check_outlets(self.outlets, writes=writes, catalog=self.hook.settings.catalog.name)
        return tables[0]

    def see(
        self, table: Table, *, at: At = HEAD, commit: CommitResult | None = None, assertions: Sequence[Assertion] = ()
    ) -> SeenDataset:
        """Return what lineage tells about a table, and keep the table's page for the link."""
        facts = table.facts(at=at)
        self.page = self.hook.page_of(facts.identity)
        alias = asset_uri(facts.identity, catalog=self.hook.settings.catalog.name)
        return seen_table(facts, alias=alias, commit=commit, assertions=tuple(assertions))

    def announce(self, context: Context, written: SeenDataset, facts: Mapping[str, Any]) -> None:
        """Tell the outlet's event and the log what was written."""
        announce(context, self.outlets, uri=written.alias, facts={"version": written.version, **facts})
        told = ", ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
        if written.commit is not None and written.commit.replayed:
            self.log.info("%s: an earlier attempt had done it; nothing was written. %s", written.alias, told)
        else:
            self.log.info("%s is at version %s. %s", written.alias, written.version, told)

    def get_openlineage_facets_on_complete(self, task_instance: object) -> OperatorLineage:  # noqa: ARG002
        """Return what OpenLineage is told: only what `execute` saved, since it is asked for in a forked child."""
        return operator_lineage(self.lineage)


def now() -> datetime:
    """Return the instant of this attempt."""
    return datetime.now(UTC)


def _required(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidRequestError("The name of a table is empty after rendering. Write 'namespace.table'.", table=str(name))
    return name
