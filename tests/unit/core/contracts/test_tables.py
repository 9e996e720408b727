"""A contract says what its tables are: types, nullability, identity, partitions and comments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_lakehouse.core.contracts.contract import Contract
from airflow_provider_lakehouse.core.contracts.odcs import read_contract
from airflow_provider_lakehouse.core.contracts.tables import spec_of_contract
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.tables.base import CatalogSettings
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from tests.unit.core.contracts.contract_texts import with_column, with_schema


def spec_of(column: str) -> TableSpec:
    return spec_of_contract(read_contract(with_column(column), source="t.odcs.yaml"), table="t")


def test_the_specification_of_a_table_follows_its_contract(orders: Contract) -> None:
    spec = spec_of_contract(orders, table="orders")
    assert [(c.name, c.type, c.nullable) for c in spec.schema.columns] == [
        ("id", "long", False),
        ("customer_email", "string", True),
        ("amount", "decimal(12,2)", False),
        ("status", "string", True),
        ("ordered_at", "timestamptz", False),
    ]
    assert spec.schema.identifier == ("id",)
    assert [str(part) for part in spec.partition_fields] == ["day(ordered_at)"]
    assert (spec.comment, spec.schema.by_name["amount"].comment) == ("One row for each order.", "In euros, with tax.")


@pytest.mark.parametrize("backend", ["memory", "iceberg", "delta"])
def test_a_table_is_created_as_its_contract_says(backend: str, orders: Contract, tmp_path: Path) -> None:
    table = find("tables", backend)(CatalogSettings(backend, f"file://{tmp_path}")).table("silver.orders")
    spec = spec_of_contract(orders, table="orders")
    # Delta has no transforms of partitions, and says so when it is created with one.
    table.create(replace(spec, partitioning=()) if backend == "delta" else spec)
    facts = table.facts()
    assert [(c.name, c.type, c.nullable) for c in facts.schema.columns] == [
        (c.name, c.type, c.nullable) for c in spec.schema.columns
    ]


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        ("logicalType: string", "string"),
        ("logicalType: string, logicalTypeOptions: {format: binary}", "binary"),
        ("logicalType: integer", "int"),
        ("logicalType: integer, logicalTypeOptions: {format: i64}", "long"),
        ("logicalType: integer, logicalTypeOptions: {format: u64}", "decimal(20,0)"),
        ("logicalType: number", "double"),
        ("logicalType: number, physicalType: 'NUMERIC(10, 2)'", "decimal(10,2)"),
        ("logicalType: number, physicalType: 'NUMBER(9)'", "decimal(9,0)"),
        ("logicalType: date", "date"),
        ("logicalType: time", "time"),
        ("logicalType: boolean", "boolean"),
        ("logicalType: timestamp", "timestamptz"),
        ("logicalType: timestamp, logicalTypeOptions: {timezone: false}", "timestamp"),
        ("logicalType: timestamp, physicalType: TIMESTAMP WITHOUT TIME ZONE", "timestamp"),
        ("logicalType: timestamp, physicalType: timestamp, logicalTypeOptions: {timezone: true}", "timestamptz"),
        ("logicalType: timestamp, physicalType: TIMESTAMP_TZ(9)", "timestamptz"),
        ("physicalType: VARCHAR(20)", "string"),
        ("physicalType: BIGINT", "long"),
        ("physicalType: 'MAP<STRING, DOUBLE>'", "map<string,double>"),
        ("physicalType: 'array<bigint>', logicalType: array, items: {logicalType: string}", "list<string>"),
        ("physicalType: uuid, logicalType: string", "uuid"),
        ("physicalType: geography, logicalType: string", "string"),
        ("logicalType: array, items: {logicalType: array, items: {logicalType: date}}", "list<list<date>>"),
        ("logicalType: map, map: {key: {logicalType: string}, value: {logicalType: number}}", "map<string,double>"),
        ("logicalType: vector, logicalTypeOptions: {dimensions: 3, elementType: float64}", "list<double>"),
        (
            "logicalType: object, properties: [{name: a b, logicalType: date}, {name: c, physicalType: int}]",
            "struct<`a b`:date,c:int>",
        ),
    ],
)
def test_types_are_those_of_the_table(column: str, wanted: str) -> None:
    assert spec_of(f"{{name: c, {column}}}").schema.columns[0].type == wanted


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("physicalType: geography", "name no column type"),
        ("logicalType: array", "name no column type"),
        ("logicalType: object", "name no column type"),
        ("logicalType: integer, logicalTypeOptions: {format: u128}", "format 'u128'"),
        ("logicalType: integer, physicalType: 'decimal(10,2)'", "keeps no integer"),
        ("logicalType: boolean, physicalType: date", "keeps no boolean"),
        ("logicalType: time, logicalTypeOptions: {timezone: true}", "no column type holds a time of day with a zone"),
        ("logicalType: timestamp, physicalType: timestamptz, logicalTypeOptions: {timezone: false}", "is false"),
        ("logicalType: vector, logicalTypeOptions: {dimensions: 8, elementType: binary}", "vector of bits"),
        ("logicalType: object, properties: [{name: inner}]", "its part 'inner'"),
        ("logicalType: number, partitioned: true", "cannot be partitioned"),
        (
            "logicalType: date, partitioned: true, customProperties: [{property: lakehousePartition, value: fortnight}]",
            "no transform",
        ),
    ],
)
def test_an_impossible_type_is_refused_with_file_and_line(column: str, reason: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        spec_of(f"{{name: c, {column}}}")
    assert reason in refused.value.message
    assert refused.value.facts["file"] == "t.odcs.yaml"
    assert refused.value.facts["line"] in (7, 9)


def test_a_table_without_columns_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="needs columns"):
        spec_of_contract(read_contract(with_schema("  - name: t\n")), table="t")


def test_the_key_and_the_partitions_come_by_their_positions() -> None:
    columns = (
        "      - {name: a, logicalType: string, primaryKey: true, primaryKeyPosition: 2, partitioned: true, "
        "partitionKeyPosition: 2}\n"
        "      - {name: b, logicalType: string, primaryKey: true, primaryKeyPosition: 1, partitioned: true, "
        "partitionKeyPosition: 1}\n"
    )
    spec = spec_of_contract(read_contract(with_schema(f"  - name: t\n    properties:\n{columns}")), table="t")
    assert spec.schema.identifier == ("b", "a")
    assert [part.column for part in spec.partition_fields] == ["b", "a"]


def test_measures_are_not_stored() -> None:
    columns = (
        "      - {name: a, logicalType: string}\n"
        "      - {name: n, logicalType: integer, semanticType: measure, transformLogic: count(*)}\n"
    )
    spec = spec_of_contract(read_contract(with_schema(f"  - name: t\n    properties:\n{columns}")), table="t")
    assert spec.schema.names == ("a",)
