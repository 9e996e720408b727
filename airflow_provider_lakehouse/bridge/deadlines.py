"""The promises of a contract about time as deadlines of a DAG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from airflow.sdk import DeadlineAlert, DeadlineReference  # type: ignore[attr-defined]  # its stub lacks them

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import AsyncCallback, SyncCallback  # type: ignore[attr-defined]

    from airflow_provider_lakehouse.core.contracts.contract import Contract
    from airflow_provider_lakehouse.core.contracts.service_level import ServiceLevel

Since = Literal["logical_date", "queued_at"]
_LEVELS: Final = ("latency", "freshness")


def deadlines_of_contract(
    contract: Contract,
    *,
    callback: AsyncCallback | SyncCallback,
    table: str | None = None,
    since: Since = "logical_date",
) -> list[DeadlineAlert]:
    """Return the deadlines by which a run must have ended, for `DAG(deadline=...)`.

    Every latency and freshness of the contract is one: a run that is not finished so long after its logical date calls the
    callback.

    Args:
        contract: With service levels.
        callback: What is called, and where: `AsyncCallback` in the triggerer, `SyncCallback` by the executor. A notifier works,
            too.
        table: Only the levels of this table, and those that name none; None for those of all tables.
        since: From when time counts. Runs that have no logical date, such as those of partitions and assets, need `queued_at`.

    Returns:
        Shortest first; empty where the contract promises nothing about time.

    Raises:
        InvalidRequestError: A level is no length of time, or there is no such table.

    Example:
        >>> from airflow.sdk import SyncCallback
        >>> from airflow_provider_lakehouse.core.contracts.contract import Contract
        >>> from airflow_provider_lakehouse.core.contracts.service_level import ServiceLevel
        >>> contract = Contract("orders", "1.0.0", service_levels=(ServiceLevel("latency", 4, "h"),))
        >>> [(one.name, one.interval) for one in deadlines_of_contract(contract, callback=SyncCallback("builtins.print"))]
        [('orders: latency 4 h', datetime.timedelta(seconds=14400))]
    """
    reference = DeadlineReference.DAGRUN_QUEUED_AT if since == "queued_at" else DeadlineReference.DAGRUN_LOGICAL_DATE
    levels = [level for level in _levels(contract, table) if level.property_name in _LEVELS]
    return [
        DeadlineAlert(reference, level.duration(), callback, name=_name(contract, level))
        for level in sorted(levels, key=lambda level: level.duration())
    ]


def _levels(contract: Contract, table: str | None) -> Iterator[ServiceLevel]:
    if table is None:
        yield from contract.service_levels
    else:
        yield from {id(level): level for level, _ in contract.levels_of(contract.table(table))}.values()


def _name(contract: Contract, level: ServiceLevel) -> str:
    about = f" of {level.element}" if level.element else ""
    return f"{contract.name or contract.id}: {level.property_name}{about} {level.value} {level.unit}"
