"""What a table is checked for, as the rendered arguments of an operator say it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.bridge.contracts import TableContract
from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.engines.steady import steady
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import Expectation, check_from_json
from airflow_provider_lakehouse.core.quality.questions import CHECKED
from airflow_provider_lakehouse.core.tables.base import HEAD, At
from airflow_provider_lakehouse.operators.query_load import names_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from airflow_provider_lakehouse.core.quality.checks import Check
    from airflow_provider_lakehouse.core.quality.run import ChecksResult
    from airflow_provider_lakehouse.core.tables.base import Table
    from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook

RUNNERS: Final = ("lakehouse", "great_expectations")


@dataclass(frozen=True)
class TableAudit:
    """What a table is checked for; see `LakehouseCheckOperator` for each of them.

    Args:
        table: `namespace.table`.
        checks: Checks, or mappings that describe them.
        contract: File of a contract that has the table; its checks come first.
        reads: Further tables that checks name; those that expectations compare with need not be named.
        runner: Who judges: `lakehouse` or `great_expectations`.
        partition: Key of the partition that is checked, for the result.
        severities: Only checks of these are asked; None for all.
    """

    table: str
    checks: Sequence[Mapping[str, Any] | Check] = field(default=())
    contract: str | None = None
    reads: Sequence[str] | Mapping[str, str] = ()
    runner: str = "lakehouse"
    partition: str = ""
    severities: Sequence[str] | None = None

    @cached_property
    def agreed(self) -> TableContract | None:
        """The contract; None where there is none."""
        return TableContract.read(self.contract, table=self.table) if self.contract else None

    @cached_property
    def all_checks(self) -> tuple[Check, ...]:
        """The checks of the contract, then the others."""
        given = tuple(check_from_json(check) for check in self.checks)
        asked = (*(self.agreed.checks if self.agreed else ()), *given)
        return tuple(check for check in asked if self.severities is None or check.severity in self.severities)

    @cached_property
    def other_tables(self) -> dict[str, str]:
        """The other tables that checks look at, by the name that they use."""
        compared = [one for check in self.all_checks if isinstance(check, Expectation) for one in check.other_tables]
        return {name: name for name in compared if name != CHECKED} | names_of(self.reads)

    def apply(self, hook: LakehouseHook, table: Table, *, branch: str | None, now: datetime) -> ChecksResult:
        """Check the table, or a branch of it.

        Raises:
            InvalidRequestError: A check or the contract means nothing. Nothing has run.
        """
        from airflow_provider_lakehouse.core.quality.run import run_checks

        if self.runner not in RUNNERS:
            raise InvalidRequestError(
                f"No runner is called {self.runner!r}. Use one of those there are.", runners=RUNNERS
            )
        run = run_checks
        if self.runner == "great_expectations":
            from airflow_provider_lakehouse.core.quality.great_expectations import run_great_expectations

            run = run_great_expectations
        at = At(branch=branch) if branch else HEAD
        view, facts = steady(TableView(table, at))
        result = run(
            view,
            self.all_checks,
            engine=hook.engine,
            table=self.table,
            version=facts.version,  # what is told of a version is what was found of it, whoever writes meanwhile
            now=now,
            tables={name: TableView(hook.table(other)) for name, other in self.other_tables.items()},
        )
        return replace(result, partition=self.partition, contract=self.agreed.name if self.agreed else "")
