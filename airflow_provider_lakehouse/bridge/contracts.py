"""Contracts as operators use them: a file in, the table's specification, its checks and who answers for it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from airflow_provider_lakehouse.bridge.lineage import Promise

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.contracts.contract import Contract
    from airflow_provider_lakehouse.core.quality.checks import Check
    from airflow_provider_lakehouse.core.schema import Column
    from airflow_provider_lakehouse.core.tables.spec import TableSpec


@dataclass(frozen=True)
class TableContract:
    """What a contract says of one table.

    Args:
        contract: The contract.
        table: Name of the table, as the lakehouse and the contract know it.
    """

    contract: Contract
    table: str

    @classmethod
    def read(cls, path: str, *, table: str) -> Self:
        """Read a contract that has a table.

        Args:
            path: File of the Open Data Contract Standard.
            table: Name or physical name of one of its tables: `namespace.table`.

        Raises:
            InvalidRequestError: The file is no contract, or it has no such table; the error names file, line and reason.
            UnsupportedError: The extra `contracts` is not installed.
        """
        from airflow_provider_lakehouse.core.contracts.odcs import read_contract_file

        contract = read_contract_file(path, table=table)
        contract.table(table)
        return cls(contract, table)

    @property
    def name(self) -> str:
        """Id and version, as results and refused rows keep it."""
        return f"{self.contract.id}@{self.contract.version}"

    @property
    def promise(self) -> Promise:
        """What lineage tells of it."""
        table = self.contract.table(self.table)
        delicate = tuple((c.stored_name, c.classification) for c in table.stored_columns if c.classification)
        return Promise(self.name, self.contract.team.owner, table.description or self.contract.purpose, delicate)

    @property
    def spec(self) -> TableSpec:
        """What the table is."""
        from airflow_provider_lakehouse.core.contracts.tables import spec_of_contract

        return spec_of_contract(self.contract, table=self.table)

    @property
    def file_columns(self) -> tuple[Column, ...]:
        """The columns that files bring: those that no load fills by itself."""
        from airflow_provider_lakehouse.core.load.modes import is_metadata

        return tuple(column for column in self.spec.schema.columns if not is_metadata(column.name))

    @property
    def checks(self) -> tuple[Check, ...]:
        """What it promises of its rows."""
        from airflow_provider_lakehouse.core.quality.from_contract import checks_of_contract

        return checks_of_contract(self.contract, table=self.table)

    @property
    def row_checks(self) -> tuple[Check, ...]:
        """Those of its checks that set rows aside on their way into the table."""
        return tuple(check for check in self.checks if check.severity in ("quarantine", "drop"))
