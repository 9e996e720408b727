"""What all operators share: the connection, the retry policy, and how they tell what they did."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.configuration import conf

from airflow_provider_lakehouse.assets import table_asset
from airflow_provider_lakehouse.bridge.connections import DEFAULT_CONNECTION
from airflow_provider_lakehouse.bridge.identity import is_template
from airflow_provider_lakehouse.bridge.lineage import SeenLineage, operator_lineage, seen_table
from airflow_provider_lakehouse.bridge.outlets import announce, asset_uri, check_outlets
from airflow_provider_lakehouse.bridge.retries import with_retry_defaults
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.base import HEAD
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.operators.table_link import LakehouseTableLink

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import BaseOperatorLink, Context

    from airflow_provider_lakehouse.bridge.lineage import SeenDataset
    from airflow_provider_lakehouse.core.tables.base import At, CommitResult, Table


class LakehouseOperator(BaseOperator):
    """Base of the operators; see each of them.

    Args:
        lakehouse_conn_id: A connection of type `lakehouse`.
        **options: Of every Airflow operator. `retries` defaults to `[lakehouse] default_retries`, and `retry_policy` to
            the one that follows from the kind of error. A mapped task has Airflow's own default of `retries`: give it
            to `partial`. An outlet that is a lakehouse table has to be the table that the task writes.
    """

    template_fields: Sequence[str] = ("lakehouse_conn_id",)
    operator_extra_links: tuple[BaseOperatorLink, ...] = (LakehouseTableLink(),)
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
            InvalidRequestError: An outlet is a lakehouse table, but another one than the task writes. Nothing was
                written.
        """
        tables = [self.hook.table(_required(name)) for name in names]
        writes = {table.identity.name: table.identity for table in tables}
        check_outlets(self.outlets, writes=writes, catalog=self.hook.settings.catalog.name)
        return tables[0]

    def see(self, table: Table, *, at: At = HEAD, commit: CommitResult | None = None) -> SeenDataset:
        """Return what lineage tells about a table, and keep the table's page for the link."""
        facts = table.facts(at=at)
        self.page = self.hook.page_of(facts.identity)
        return seen_table(
            facts, alias=asset_uri(facts.identity, catalog=self.hook.settings.catalog.name), commit=commit
        )

    def announce(self, context: Context, written: SeenDataset, facts: Mapping[str, Any]) -> None:
        """Tell the outlet's event and the log what was written."""
        announce(context, self.outlets, uri=written.alias, facts={"version": written.version, **facts})
        self.log.info("%s is at version %s: %s", written.alias, written.version, in_words(facts))
        if facts.get("is_replay"):
            self.log.info("An earlier attempt had written it. Nothing was written now, and none of it is there twice.")

    def get_openlineage_facets_on_complete(self, task_instance: object) -> OperatorLineage[Any, Any]:
        """Return what OpenLineage is told: only what `execute` saved, since it is asked for in a forked child."""
        return operator_lineage(self.lineage)


def declared(options: dict[str, Any], *, writes: Iterable[object] = (), reads: Iterable[object] = ()) -> dict[str, Any]:
    """Fill in inlets and outlets where the DAG gives none and the deployment says what its default connection is.

    The identity has to be known when the DAG is parsed, and no connection is read there. So `[lakehouse]
    default_format` and `default_catalog` tell it for the default connection; tables whose name is a template are left
    out.
    """
    decided = options.get("default_args") or {}
    given = {**decided, **options}
    format_ = conf.get("lakehouse", "default_format", fallback="")
    if not format_ or given.get("lakehouse_conn_id", DEFAULT_CONNECTION) != DEFAULT_CONNECTION:
        return options
    catalog = conf.get("lakehouse", "default_catalog", fallback="default")
    for name, tables in (("outlets", writes), ("inlets", reads)):
        known = [str(table) for table in tables if isinstance(table, str) and not is_template(table)]
        if known and name not in given:
            options[name] = [table_asset(table, format=format_, catalog=catalog) for table in known]
    return options


def in_words(facts: Mapping[str, Any]) -> str:
    """Return facts as a person reads them; what is unknown or false is left out.

    Example:
        >>> in_words({"rows_read": 1470854, "rows_rejected": 0, "branch": None, "is_replay": False})
        '1,470,854 rows read, 0 rows rejected'
    """
    told = []
    for name, value in facts.items():
        words = name.removeprefix("is_").replace("_", " ")
        if value is True:
            told.append(words)
        elif isinstance(value, int) and value is not False:
            told.append(f"{value:,} {words}")
        elif value is not None and value is not False:
            told.append(f"{words} {value}")
    return ", ".join(told)


def now() -> datetime:
    """Return the instant of this attempt."""
    return datetime.now(UTC)


def _required(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidRequestError(
            "The name of a table is empty after rendering. Write 'namespace.table'.", table=str(name)
        )
    return name
