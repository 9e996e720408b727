"""Where in a contract a check comes from, and what follows from that: severity, limit, owner, and how it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.contracts.contract import custom_value
from airflow_provider_lakehouse.core.errors import UnsupportedError
from airflow_provider_lakehouse.core.quality.checks import Limit

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.contracts.contract import (
        Contract,
        ContractColumn,
        ContractTable,
        CustomProperty,
    )
    from airflow_provider_lakehouse.core.errors import LakehouseError
    from airflow_provider_lakehouse.core.quality.checks import Severity

_SEVERITIES: Final[dict[str, Severity]] = {
    "": "fail", "fail": "fail", "error": "fail", "critical": "fail", "warn": "warn", "warning": "warn", "info": "warn",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where in a contract something stands.

    Args:
        contract: The contract.
        table: The table.
        column: The column; None for what is about the table as a whole.
    """

    contract: Contract
    table: ContractTable
    column: ContractColumn | None = None

    @property
    def name(self) -> str:
        """Name of the column, or of the table."""
        return self.column.name if self.column else self.table.name

    @property
    def stored_columns(self) -> tuple[str, ...]:
        """The one column in question, by its name in the table; empty for the table as a whole."""
        return (self.column.stored_name,) if self.column else ()

    def refused(
        self,
        reason: str,
        *,
        line: int,
        kind: type[LakehouseError] = UnsupportedError,
        **facts: Any,  # noqa: ANN401
    ) -> LakehouseError:
        """Return the error for what is no check."""
        return kind(
            f"No check can be made for {self.name!r}: {reason}. Change the contract.",
            file=self.contract.source,
            line=line,
            table=self.table.name,
            **facts,
        )


def settings_of(place: Place, custom: tuple[CustomProperty, ...], severity: str, *, line: int) -> dict[str, Any]:
    """Return what follows when a check is broken: severity, limit and owner.

    Args:
        place: Where it stands.
        custom: Its custom properties; `lakehouseSeverity` wins over `severity`.
        severity: In the words of the contract.
        line: Where it stands.

    Raises:
        UnsupportedError: The word is not known.
    """
    own = custom_value(custom, "lakehouseSeverity") or _SEVERITIES.get(severity.casefold())
    if own is None:
        raise place.refused("its severity means nothing here", line=line, severities=tuple(sorted(_SEVERITIES))[1:])
    rows, share = custom_value(custom, "lakehouseLimitRows"), custom_value(custom, "lakehouseLimitShare")
    return {
        "severity": own,
        "limit": Limit(rows, share) if rows is not None or share is not None else None,
        "owner": custom_value(custom, "lakehouseOwner") or place.contract.team.owner,
    }
