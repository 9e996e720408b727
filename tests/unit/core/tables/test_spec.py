"""Specifications of tables: short forms, refusals, drift."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError
from airflow_provider_lakehouse.core.schema import Column, Schema, SchemaChange
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, WriteToken
from airflow_provider_lakehouse.core.tables.memory.table import open_catalog
from airflow_provider_lakehouse.core.tables.spec import PartitionField, SortField, TableSpec, apply_spec, plan_spec

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.tables.memory.table import MemoryTable

SCHEMA = Schema.of(Column("at", "timestamptz"), Column("user (id)", "long"), Column("tags", "list<string>"))


@pytest.fixture
def table(request: pytest.FixtureRequest) -> MemoryTable:
    table = open_catalog(CatalogSettings("memory", f"memory://{request.node.name}")).table("a.b")
    table.create(TableSpec(SCHEMA, properties={"kept": "yes"}))
    return table


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("at", PartitionField("at")),
        ("day(at)", PartitionField("at", "day")),
        (" bucket( 16 , user (id)) ", PartitionField("user (id)", "bucket", 16)),
        ("truncate(4, name)", PartitionField("name", "truncate", 4)),
        ("user (id)", PartitionField("user (id)")),
    ],
)
def test_partition_fields_have_a_short_form(text: str, field: PartitionField) -> None:
    assert PartitionField.parse(text) == field
    assert PartitionField.parse(str(field)) == field


@pytest.mark.parametrize(
    "parts", [("nope",), ("hour(tags)",), ("day(user (id))",), ("tags",), ("at", "at"), ("truncate(3, at)",)]
)
def test_a_partitioning_that_makes_no_sense_is_refused(parts: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequestError):
        TableSpec(SCHEMA, parts)


def test_buckets_need_a_number_and_days_none() -> None:
    with pytest.raises(InvalidRequestError, match="parameter"):
        PartitionField("at", "bucket")
    with pytest.raises(InvalidRequestError, match="parameter"):
        PartitionField("at", "day", 3)


def test_an_order_names_columns_that_are_there() -> None:
    assert TableSpec(SCHEMA, sort_order=("at",)).sort_fields == (SortField("at"),)
    with pytest.raises(InvalidRequestError, match="sort order"):
        TableSpec(SCHEMA, sort_order=("nope",))


def test_a_table_as_specified_has_no_drift(table: MemoryTable) -> None:
    assert plan_spec(TableSpec(SCHEMA, properties={"kept": "yes"}), table.facts()).is_empty
    assert plan_spec(TableSpec(SCHEMA), table.facts()).is_empty


def test_another_partitioning_is_refused_and_nothing_is_written(table: MemoryTable) -> None:
    plan = plan_spec(TableSpec(SCHEMA, ("day(at)",), comment="new"), table.facts())
    with pytest.raises(InvalidRequestError, match="new table"):
        apply_spec(table, plan, token=WriteToken("t", "1"))
    assert table.facts().comment == ""


def test_a_plan_is_refused_when_the_columns_have_changed_since(table: MemoryTable) -> None:
    wanted = TableSpec(SCHEMA.with_columns(Column("more", "int")))
    plan = plan_spec(wanted, table.facts())
    table.commit(Change(schema_changes=(SchemaChange("add", Column("other", "int")),)), token=WriteToken("x", "1"))
    with pytest.raises(ConflictError):
        apply_spec(table, plan, token=WriteToken("t", "1"))
