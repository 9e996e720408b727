"""A query whose rows go into a table, as the rendered arguments of an operator say it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

from airflow_provider_lakehouse.bridge.contracts import TableContract
from airflow_provider_lakehouse.bridge.values import limit_or_none
from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import check_from_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from airflow_provider_lakehouse.core.flows import QueryResult
    from airflow_provider_lakehouse.core.quality.checks import Check, CheckOutcome
    from airflow_provider_lakehouse.core.tables.base import Table, WriteToken
    from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook


@dataclass(frozen=True)
class QueryLoad:
    """A query, and how its rows change a table; see `LakehouseQueryOperator` for each of them.

    Args:
        sql: One SELECT.
        table: `namespace.table` to load into.
        reads: Tables that the query names, or a mapping from the name in the query to the table.
        mode: How rows change the table.
        policy: What happens to rows that do not fit.
        parameters: Values for `$name`.
        branch: Branch to stage on; None is the main branch.
        checks: Conditions on rows.
        contract: File of a contract that has the table; None for none.
        quarantine: Table for refused rows.
        reject_limit: How many rows may be set aside before nothing is loaded.
    """

    sql: str
    table: str
    reads: Sequence[str] | Mapping[str, str] = ()
    mode: str | Mapping[str, Any] = "append"
    policy: str | Mapping[str, Any] = "freeze"
    parameters: Mapping[str, Any] | None = None
    branch: str | None = None
    checks: Sequence[Mapping[str, Any] | Check] = field(default=())
    contract: str | None = None
    quarantine: str = "quarantine.rows"
    reject_limit: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, arguments: Mapping[str, Any]) -> Self:
        """Read arguments by name.

        Raises:
            InvalidRequestError: One is missing, or unknown.
        """
        try:
            return cls(**arguments)
        except TypeError as error:
            raise InvalidRequestError(f"How the batch was staged is not told as it has to be: {error}") from error

    @property
    def mode_name(self) -> str:
        """How rows change the table, in one word."""
        from airflow_provider_lakehouse.core.load.modes import mode_from_json, mode_name

        return mode_name(mode_from_json(self.mode))

    @cached_property
    def agreed(self) -> TableContract | None:
        """The contract; None where there is none."""
        return TableContract.read(self.contract, table=self.table) if self.contract else None

    @cached_property
    def row_checks(self) -> tuple[Check, ...]:
        """What rows are judged by: what the contract sets aside, then the others."""
        return (*(self.agreed.row_checks if self.agreed else ()), *map(check_from_json, self.checks))

    def on(self, branch: str) -> Self:
        """Return the same for another branch."""
        return replace(self, branch=branch)

    def sources(self, hook: LakehouseHook) -> dict[str, Table]:
        """Return the tables that the query reads, by the name it calls them."""
        return {name: hook.table(table) for name, table in names_of(self.reads).items()}

    def apply(
        self,
        hook: LakehouseHook,
        table: Table,
        *,
        token: WriteToken,
        now: datetime,
        run: str = "",
        refused_as: WriteToken | None = None,
        on_refusal: Callable[[tuple[CheckOutcome, ...], int], None] | None = None,
    ) -> QueryResult:
        """Run the query and load its rows, once for each token; see `load_query` and, for the last two, `Target`."""
        from airflow_provider_lakehouse.core.flows import Target, load_query
        from airflow_provider_lakehouse.core.load.modes import mode_from_json
        from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
        from airflow_provider_lakehouse.core.quality.gate import row_level

        agreed = self.agreed
        target = Target(
            table,
            mode_from_json(self.mode),
            SchemaPolicy.from_json(self.policy),
            spec=agreed.spec if agreed else None,
            contract=agreed.name if agreed else "",
            quarantine=hook.table(self.quarantine),
            branch=self.branch or None,
            limit=limit_or_none(self.reject_limit, name="reject_limit"),
            run=run,
            refused_as=refused_as,
        )
        return load_query(
            self.sql,
            target,
            token=token,
            engine=hook.engine,
            now=now,
            tables={name: TableView(source) for name, source in self.sources(hook).items()},
            parameters=self.parameters,
            checks=row_level(self.row_checks),
            on_refusal=on_refusal,
        )


ARGUMENTS: Final = tuple(one.name for one in fields(QueryLoad))
"""The arguments of `LakehouseQueryOperator` that tell how its rows change a table."""


def names_of(reads: Sequence[str] | Mapping[str, str] | object) -> dict[str, str]:
    """Return tables by the name that a query calls them; nothing while it is not rendered."""
    if isinstance(reads, dict):
        return reads
    return {str(name): str(name) for name in reads} if isinstance(reads, (list, tuple)) else {}
