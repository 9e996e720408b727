"""Propose a contract from what a table holds, as a file for people to review."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.contracts.contract import (
    Comparison,
    Contract,
    ContractColumn,
    ContractTable,
    Rule,
)
from airflow_provider_lakehouse.core.quality.profile import suggest_checks
from airflow_provider_lakehouse.core.quality.run import pinned
from airflow_provider_lakehouse.core.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_lakehouse.core.engines.base import Engine, Relation
    from airflow_provider_lakehouse.core.quality.checks import Expectation
    from airflow_provider_lakehouse.core.types import TypeNode

_FIRST_VERSION: Final = "0.1.0"
_LOGICAL: Final = {
    "boolean": "boolean", "int": "integer", "long": "integer", "float": "number", "double": "number", "decimal": "number",
    "date": "date", "time": "time", "timestamp": "timestamp", "timestamptz": "timestamp", "string": "string",
    "uuid": "string", "fixed": "string", "binary": "string",
}  # fmt: skip
"""The standard's type by the name of ours. The physical type says the rest."""
_OPTIONS: Final = {
    "expect_column_values_to_be_between": {"min_value": "minimum", "max_value": "maximum"},
    "expect_column_value_lengths_to_be_between": {"min_value": "minLength", "max_value": "maxLength"},
    "expect_column_values_to_match_regex": {"regex": "pattern"},
}
"""By type of expectation: the options that ask for the same, by its arguments."""


def suggest_contract(relation: Relation, *, engine: Engine, table: str) -> Contract:
    """Propose a contract that the rows keep as they are: a draft for people who know what the rows should be.

    It says of every column its type, and what `suggest_checks` proposes: whether it is required, unique, within a range, of a
    length, of a pattern, of a small set; and of the table how many rows it has. The checks of the contract judge as those
    of `suggest_checks` do. Who owns the table, how delicate its columns are and how young they must be, no row can tell.

    Args:
        relation: What is looked at.
        engine: Reads it.
        table: `namespace.table`: id of the contract, and physical name of its only table.

    Returns:
        A draft, the same for the same rows; `write_contract` makes a file of it.

    Guarantees:
        Values: ends of ranges and members of sets are values of rows. Review them before others see the contract.

    Example:
        >>> import pyarrow as pa
        >>> from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
        >>> orders = pa.table({"id": [1, 2, 3]})
        >>> found = suggest_contract(orders, engine=DuckDBEngine(), table="silver.orders").table("orders")
        >>> found.columns[0].physical_type, found.columns[0].required, found.columns[0].options
        ('long', True, {'minimum': 1, 'maximum': 10})
        >>> [rule.name for rule in found.rules]
        ['at least 1 rows', 'at most 5 rows']
    """
    steady, schema = pinned(relation)
    checks = suggest_checks(steady, engine=engine)
    columns = [
        _declared(replace(_typed(parse_type(one.type), name=one.name), required=not one.nullable), checks)
        for one in schema.columns
    ]
    rules = tuple(rule for check in checks for rule in _rules(check))
    name = table.rpartition(".")[2]
    proposed = ContractTable(
        name, physical_name=table if table != name else "", columns=tuple(columns), rules=rules, physical_type="table"
    )
    return Contract(table, _FIRST_VERSION, status="draft", tables=(proposed,))


def _typed(node: TypeNode, *, name: str = "") -> ContractColumn:
    column = ContractColumn(name)
    match node.name:
        case "list":
            return replace(column, logical_type="array", items=_typed(node.children[0]))
        case "map":
            key, value = map(_typed, node.children)
            return replace(column, logical_type="map", key=key, value=value)
        case "struct":
            parts = zip(node.children, node.names, strict=True)
            return replace(column, logical_type="object", fields=tuple(_typed(part, name=one) for part, one in parts))
        case _:
            return replace(column, logical_type=_LOGICAL[node.name], physical_type=str(node))


def _declared(column: ContractColumn, checks: tuple[Expectation, ...]) -> ContractColumn:
    """Return a column with what checks ask of it."""
    for check in checks:
        if check.columns != (column.name,):
            continue
        given: dict[str, Any] = dict(check.arguments)
        match check.type:
            case "expect_column_values_to_not_be_null":
                column = replace(column, required=True)
            case "expect_column_values_to_be_unique":
                column = replace(column, unique=True)
            case "expect_column_values_to_be_in_set":
                column = replace(column, extra={"enum": [{"value": value} for value in given["value_set"]]})
            case kind:
                names = _OPTIONS[kind]
                options = {option: given[argument] for argument, option in names.items() if argument in given}
                column = replace(column, options={**column.options, **options})
    return column


def _rules(check: Expectation) -> Iterator[Rule]:
    """Yield the rules about the number of rows."""
    if check.type != "expect_table_row_count_to_be_between":
        return
    fewest, most = check.arguments["min_value"], check.arguments["max_value"]
    if fewest:
        must = Comparison("mustBeGreaterOrEqualTo", fewest)
        yield Rule(name=f"at least {fewest} rows", metric="rowCount", must=must)
    yield Rule(name=f"at most {most} rows", metric="rowCount", must=Comparison("mustBeLessOrEqualTo", most))
