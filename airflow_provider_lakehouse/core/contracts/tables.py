"""The table that a contract asks for: its specification, ready to be created or compared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.contracts.column_types import type_of_column
from airflow_provider_lakehouse.core.contracts.contract import custom_value
from airflow_provider_lakehouse.core.contracts.contradictions import PARTITION_PROPERTY
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.spec import TRANSFORMS, PartitionField, TableSpec

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.contracts.contract import Contract, ContractColumn, ContractTable

_TRANSFORM: Final = re.compile(r"(?P<name>\w+)(?:\(\s*(?P<parameter>\d+)\s*\))?\Z")


def spec_of_contract(contract: Contract, *, table: str) -> TableSpec:
    """Return the specification of a contract's table.

    Columns come in the order of the contract, with their physical names; the primary key identifies rows. A column that
    is partitioned is partitioned by its value, or by what its custom property `lakehousePartition` says, such as `day` or
    `bucket(16)`. Measures and dimensions are not stored.

    Args:
        contract: The contract.
        table: Name or physical name of one of its tables.

    Raises:
        InvalidRequestError: There is no such table, it has no columns, or one of them has no possible type; the error names
            file and line.

    Example:
        >>> from airflow_provider_lakehouse.core.contracts.odcs import read_contract
        >>> contract = read_contract('''
        ... {apiVersion: v3.2.0, kind: DataContract, id: c1, version: 1.0.0, status: draft, schema: [{name: sales, properties: [
        ...   {name: id, logicalType: integer, primaryKey: true},
        ...   {name: sold_at, logicalType: timestamp, partitioned: true,
        ...    customProperties: [{property: lakehousePartition, value: day}]}]}]}
        ... ''')
        >>> spec = spec_of_contract(contract, table="sales")
        >>> [(c.name, c.type, c.nullable) for c in spec.schema.columns], list(map(str, spec.partition_fields))
        ([('id', 'int', False), ('sold_at', 'timestamptz', True)], ['day(sold_at)'])
    """
    wanted = contract.table(table)
    try:
        columns = tuple(
            Column(
                column.stored_name,
                type_of_column(column),
                nullable=not (column.required or column.primary_key),
                comment=column.description,
            )
            for column in wanted.stored_columns
        )
        schema = Schema(columns, identifier=tuple(column.stored_name for column in wanted.key))
        return TableSpec(schema, partitioning=_partitioning(wanted), comment=wanted.description)
    except InvalidRequestError as error:
        facts: dict[str, Any] = {"line": wanted.line, **error.facts}
        raise InvalidRequestError(error.message, file=contract.source, table=wanted.name, **facts) from error


def _partitioning(table: ContractTable) -> tuple[PartitionField, ...]:
    return tuple(_partition(column) for column in table.partitioning)


def _partition(column: ContractColumn) -> PartitionField:
    wanted = custom_value(column.custom, PARTITION_PROPERTY)
    if wanted is None:
        return PartitionField(column.stored_name)
    found = _TRANSFORM.match(str(wanted))
    if found is None or found["name"] not in TRANSFORMS:
        raise InvalidRequestError(
            f"Column {column.name!r} is partitioned by something that is no transform. Write one such as 'day' or 'bucket(16)'.",
            column=column.name,
            line=column.line,
        )
    parameter = int(found["parameter"]) if found["parameter"] else None
    return PartitionField(column.stored_name, found["name"], parameter)
