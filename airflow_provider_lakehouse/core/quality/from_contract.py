"""The checks that a contract asks for: what it declares of columns and keys, its rules, and how young data must be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.contracts.relationships import foreign_keys
from airflow_provider_lakehouse.core.contracts.tables import spec_of_contract
from airflow_provider_lakehouse.core.quality.checks import (
    MAX_NAME_CHARACTERS,
    Expectation,
    RowCheck,
    require_distinct,
)
from airflow_provider_lakehouse.core.quality.contract_conditions import (
    DESCRIBING,
    bounds,
    field_of,
    further_conditions,
    option_conditions,
    value_of,
)
from airflow_provider_lakehouse.core.quality.contract_place import Place, settings_of
from airflow_provider_lakehouse.core.quality.contract_rules import check_of_level, check_of_rule
from airflow_provider_lakehouse.core.quality.questions import CHECKED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_lakehouse.core.contracts.contract import Contract, ContractColumn, Rule
    from airflow_provider_lakehouse.core.quality.checks import Check

_KNOWN_OPTIONS: Final = DESCRIBING | {
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern", "multipleOf",
    "minItems", "maxItems", "uniqueItems", "required",
}  # fmt: skip
_YOUNG: Final = ("latency", "freshness")


def checks_of_contract(contract: Contract, *, table: str, left_to: tuple[str, ...] = ()) -> tuple[Check, ...]:
    """Return the checks that a contract asks for.

    What it declares becomes expectations: not null, unique, between, length, regular expression, set. Relationships become checks
    that the other table has what is named. Rules of quality become expectations where one means the same, and else queries. A
    latency or freshness of a column becomes a check that its newest value is young enough. Rules of kind `text` are for people.
    What is declared and demanded by a rule as well is checked once, with the severity of the rule.

    A rule says with its severity, or with the custom property `lakehouseSeverity`, what happens when it is broken; a column says it
    with that property for what is declared of it. Whole tables and uniqueness fail or warn.

    Args:
        contract: The contract.
        table: Name or physical name of one of its tables.
        left_to: Engines whose `custom` rules somebody else runs; they are left out.

    Returns:
        Checks with distinct names, in the order of the contract.

    Raises:
        UnsupportedError: There is no check for something that the contract demands; the error names file, line and reason.
        InvalidRequestError: There is no such table, or two rules have the same name.

    Example:
        >>> from airflow_provider_lakehouse.core.contracts.odcs import read_contract
        >>> contract = read_contract('''
        ... {apiVersion: v3.2.0, kind: DataContract, id: c1, version: 1.0.0, status: draft, schema: [{name: sales, properties: [
        ...   {name: amount, logicalType: number, required: true, logicalTypeOptions: {minimum: 0}}]}]}
        ... ''')
        >>> [check.name for check in checks_of_contract(contract, table="sales")]
        ['amount: values not be null', 'amount: values be between (min_value 0)']
    """
    of_table = Place(contract, contract.table(table))
    declared: list[Check] = []
    demanded: list[Check] = []
    for column in of_table.table.columns:
        place = replace(of_table, column=column)
        if column.is_stored:
            declared += _declared(place, column)
        elif column.rules or column.options:
            raise place.refused("it is a measure or dimension, which the table does not have", line=column.line)
        demanded += _of_rules(column.rules, place, left_to)
    declared += _key(of_table)
    declared += _foreign_keys(of_table)
    demanded += _of_rules(of_table.table.rules, of_table, left_to)
    for level, about in contract.levels_of(of_table.table):
        if about is not None and level.property_name in _YOUNG:
            demanded.append(check_of_level(level, replace(of_table, column=about)))
    found = (*(check for check in declared if not _stands_in(demanded, check)), *demanded)
    require_distinct(found)
    return found


def schema_check_of_contract(contract: Contract, *, table: str, exact: bool = False) -> Expectation:
    """Return the check that a table has the columns of its contract, with their types.

    It is no part of `checks_of_contract`: a table that was there before its contract may hold the same values in wider types.

    Args:
        contract: The contract.
        table: Name or physical name of one of its tables.
        exact: Whether the table may have no other columns, those that loads fill by themselves among them.

    Raises:
        InvalidRequestError: There is no such table, or a column of it has no possible type; the error names file and line.

    Example:
        >>> from airflow_provider_lakehouse.core.contracts.odcs import read_contract
        >>> contract = read_contract('''
        ... {apiVersion: v3.2.0, kind: DataContract, id: c1, version: 1.0.0, status: draft, schema: [{name: sales, properties: [
        ...   {name: amount, logicalType: number, physicalType: "decimal(10,2)"}]}]}
        ... ''')
        >>> schema_check_of_contract(contract, table="sales").arguments["columns"]
        {'amount': 'decimal(10,2)'}
    """
    spec = spec_of_contract(contract, table=table)
    arguments = {"columns": {column.name: column.type for column in spec.schema.columns}, "exact_match": exact}
    name = "columns are those of the contract"
    owner = contract.team.owner
    return Expectation("expect_table_to_match_schema", arguments, name=name, owner=owner)


def _of_rules(rules: tuple[Rule, ...], place: Place, left_to: tuple[str, ...]) -> Iterator[Check]:
    for rule in rules:
        if rule.kind != "text" and not (rule.kind == "custom" and rule.engine in left_to):
            yield check_of_rule(rule, place)


def _stands_in(demanded: list[Check], check: Check) -> bool:
    return isinstance(check, Expectation) and any(
        isinstance(other, Expectation)
        and (other.type, dict(other.arguments), other.mostly, other.row_condition)
        == (check.type, dict(check.arguments), 1.0, None)
        for other in demanded
    )


def _declared(place: Place, column: ContractColumn) -> Iterator[Check]:
    settings = settings_of(place, column.custom, "", line=column.line)
    about = {"column": column.stored_name}
    if unknown := tuple(sorted(set(column.options) - _KNOWN_OPTIONS)):
        raise place.refused("there is no check for an option of its type", line=column.line, options=unknown)
    if column.required or column.primary_key:
        yield Expectation("expect_column_values_to_not_be_null", about, **settings)
    if column.unique:
        yield Expectation("expect_column_values_to_be_unique", about, **_whole(settings))
    for kind, arguments in _of_options(column):
        yield Expectation(kind, {**about, **arguments}, **settings)
    value = value_of(column)
    for words, condition in (*further_conditions(column, value), *_inside(place, column, value, depth=1)):
        yield _row_check(f"{column.name}: {words}", f"{value} IS NULL OR {condition}", place, settings)


def _of_options(column: ContractColumn) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the expectations that the options of a column ask for: type and arguments."""
    if limits := bounds(column.options):
        yield "expect_column_values_to_be_between", limits
    names = {"minLength": "min_value", "maxLength": "max_value"}
    if lengths := {names[name]: column.options[name] for name in names if name in column.options}:
        yield "expect_column_value_lengths_to_be_between", lengths
    if "pattern" in column.options:
        yield "expect_column_values_to_match_regex", {"regex": column.options["pattern"]}
    if column.allowed_values:
        yield "expect_column_values_to_be_in_set", {"value_set": list(column.allowed_values)}


def _inside(place: Place, column: ContractColumn, expression: str, *, depth: int) -> Iterator[tuple[str, str]]:
    """Yield what is demanded of the parts of a value that is not null: in words, and in SQL."""
    for field in column.fields:
        for words, condition in _of_part(place, field, field_of(expression, field.stored_name), depth):
            yield f"{field.name} {words}", condition
    each = f"each_{depth}"
    for what, part, values in (
        ("items", column.items, expression),
        ("keys", column.key, f"map_keys({expression})"),
        ("values", column.value, f"map_values({expression})"),
    ):
        for words, condition in _of_part(place, part, each, depth + 1) if part is not None else ():
            yield f"{what} {words}", f"len(list_filter({values}, lambda {each}: ({condition}) IS NOT TRUE)) = 0"


def _of_part(place: Place, part: ContractColumn, value: str, depth: int) -> Iterator[tuple[str, str]]:
    if part.unique or part.rules or set(part.options) - _KNOWN_OPTIONS:
        raise place.refused("something is demanded inside it that no check reaches", line=part.line, part=part.name)
    if part.required:
        yield "is there", f"{value} IS NOT NULL"
    for words, condition in (*option_conditions(part, value), *_inside(place, part, value, depth=depth)):
        yield words, f"({value} IS NULL OR {condition})"


def _row_check(name: str, condition: str, place: Place, settings: dict[str, Any]) -> RowCheck:
    return RowCheck(name[:MAX_NAME_CHARACTERS], condition, columns=place.stored_columns, **settings)


def _key(place: Place) -> Iterator[Check]:
    key = place.table.key
    if len(key) > 1:
        names = [column.stored_name for column in key]
        yield Expectation(
            "expect_compound_columns_to_be_unique", {"column_list": names}, owner=place.contract.team.owner
        )
    elif key and not key[0].unique:
        column = key[0]
        own = settings_of(replace(place, column=column), column.custom, "", line=column.line)
        yield Expectation("expect_column_values_to_be_unique", {"column": column.stored_name}, **_whole(own))


def _foreign_keys(place: Place) -> Iterator[Check]:
    for key in foreign_keys(place.contract, table=place.table):
        settings = _whole(settings_of(place, key.custom, "", line=key.line))
        # The table itself is known by the name that every check has for it: on a branch, as it is there.
        other = CHECKED if key.other is place.table else key.other.stored_name
        about = {"column": key.columns[0]} if len(key.columns) == 1 else {"column_list": list(key.columns)}
        arguments = {**about, "other_table": other, "other_columns": list(key.other_columns)}
        yield Expectation("expect_column_values_to_exist_in_other_table", arguments, **settings)


def _whole(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings for what no single row breaks."""
    severity = settings["severity"] if settings["severity"] == "warn" else "fail"
    return {**settings, "severity": severity, "limit": None}
