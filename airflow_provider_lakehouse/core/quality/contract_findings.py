"""Everything that is wrong with contracts before any data is there: as text, as tables, as checks, and their SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.core.contracts.column_types import type_of_column
from airflow_provider_lakehouse.core.contracts.faults import Fault
from airflow_provider_lakehouse.core.contracts.odcs import contract_file_faults, read_contract_file
from airflow_provider_lakehouse.core.contracts.tables import spec_of_contract
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, LakehouseError
from airflow_provider_lakehouse.core.quality.checks import Expectation, RowCheck
from airflow_provider_lakehouse.core.quality.from_contract import checks_of_contract
from airflow_provider_lakehouse.core.quality.groups import UNEXPECTED_ROWS, query_of
from airflow_provider_lakehouse.core.quality.statements import require_queries
from airflow_provider_lakehouse.core.quality.vocabulary import require_valid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from airflow_provider_lakehouse.core.contracts.contract import Contract, ContractTable
    from airflow_provider_lakehouse.core.engines.base import Engine
    from airflow_provider_lakehouse.core.quality.checks import Check


def contract_findings(
    paths: Sequence[str | Path], *, engine: Engine, left_to: tuple[str, ...] = ()
) -> dict[str, tuple[Fault, ...]]:
    """Return what is wrong with contracts.

    Their checks are looked at as before a run, and the SQL of their rules is bound to empty tables; it may name every table of all
    the contracts.

    Args:
        paths: Files.
        engine: Knows SQL.
        left_to: Engines whose `custom` rules somebody else runs.

    Returns:
        By path, in the order of lines; an empty tuple for a contract that is right.

    Raises:
        UnsupportedError: The extra `contracts` is not installed.
    """
    found = {str(path): _text_faults(path) for path in paths}
    contracts = {path: read_contract_file(path) for path, faults in found.items() if not faults}
    empty = {path: dict(_empty(contract)) for path, contract in contracts.items()}
    everywhere = {name: rows for tables in empty.values() for name, rows in tables.items()}
    for path, contract in contracts.items():
        known = {**everywhere, **empty[path]}
        faults = [fault for table in contract.tables for fault in _of_table(contract, table, engine, known, left_to)]
        found[path] = tuple(sorted(set(faults)))
    return found


def _text_faults(path: str | Path) -> tuple[Fault, ...]:
    try:
        return contract_file_faults(path)
    except InvalidRequestError as error:
        return (Fault(1, "", error.message),)


def _of_table(
    contract: Contract, table: ContractTable, engine: Engine, empty: Mapping[str, pa.Table], left_to: tuple[str, ...]
) -> Iterator[Fault]:
    here = f"schema[{table.name}]"
    faults = tuple(_of_columns(table, here))
    yield from faults
    if table.stored_columns and not faults:
        try:
            spec_of_contract(contract, table=table.name)
        except LakehouseError as error:
            yield _fault(error, here, table.line)
    try:
        checks = checks_of_contract(contract, table=table.name, left_to=left_to)
    except LakehouseError as error:
        yield _fault(error, here, table.line)
        return
    if table.stored_name in empty:
        named = {**empty, "checked": empty[table.stored_name]}
        rules = (*table.rules, *(rule for column in table.columns for rule in column.rules))
        lines = {rule.name or rule.id: rule.line for rule in rules}
        for check in checks:
            line = lines.get(check.name) or _line_of_columns(table, check)
            yield from _of_check(check, f"{here}.quality[{check.name}]", line, engine, named)


def _line_of_columns(table: ContractTable, check: Check) -> int:
    column = table.column(check.columns[0]) if check.columns else None
    return column.line if column is not None else table.line


def _of_columns(table: ContractTable, path: str) -> Iterator[Fault]:
    for column in table.stored_columns:
        try:
            type_of_column(column)
        except LakehouseError as error:
            yield _fault(error, f"{path}.properties[{column.name}]", column.line)


def _of_check(check: Check, path: str, line: int, engine: Engine, named: Mapping[str, pa.Table]) -> Iterator[Fault]:
    try:
        require_valid([check])
        _bind(_sql_of(check), engine, named)
        require_queries([check], engine=engine)
    except InvalidRequestError as error:
        yield Fault(line, path, error.message)


def _bind(sql: str, engine: Engine, named: Mapping[str, pa.Table]) -> None:
    try:
        if sql:
            engine.describe(sql, tables=named)
    except (InvalidRequestError, DataRejectedError) as error:
        raise InvalidRequestError(f"its SQL cannot run: {_reason(error)}") from error


def _sql_of(check: Check) -> str:
    """Return the query that a check's own SQL stands in; empty where it brings none."""
    if not isinstance(check, Expectation):
        return _condition(check.condition) if isinstance(check, RowCheck) else _query(check.query)
    if check.row_condition is not None:
        return _condition(check.row_condition)
    return _query(query_of(check)) if check.type == UNEXPECTED_ROWS else ""


def _condition(sql: str) -> str:
    return f"SELECT (({sql}\n)) AS met FROM checked"


def _query(sql: str) -> str:
    return f"SELECT count(*) AS wrong FROM ({sql.strip().rstrip(';')}\n) AS found"


def _empty(contract: Contract) -> Iterator[tuple[str, pa.Table]]:
    for table in contract.tables:
        try:
            yield table.stored_name, spec_of_contract(contract, table=table.name).schema.to_arrow().empty_table()
        except LakehouseError:  # told where the table itself is looked at
            continue


def _fault(error: LakehouseError, path: str, line: int) -> Fault:
    known: Any = error.facts.get("line") or line
    return Fault(int(known), path, error.message)


def _reason(error: LakehouseError) -> str:
    return str(error.facts.get("reason") or error.facts.get("error") or error.message)
