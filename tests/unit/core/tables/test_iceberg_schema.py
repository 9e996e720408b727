"""Schemas, partitionings and sort orders there and back, and what may change about them."""

from __future__ import annotations

import pytest
from pyiceberg.types import TimestampNanoType

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.schema import Column, Schema, SchemaChange
from airflow_provider_lakehouse.core.tables.base import CatalogSettings
from airflow_provider_lakehouse.core.tables.iceberg.catalog import Connection, catalog_properties
from airflow_provider_lakehouse.core.tables.iceberg.creation import default_location
from airflow_provider_lakehouse.core.tables.iceberg.schema import (
    evolved,
    from_iceberg,
    partition_spec,
    partitioning,
    sort_fields,
    sort_order,
    to_iceberg,
    type_text,
)
from airflow_provider_lakehouse.core.tables.spec import TableSpec

EVERY_TYPE = (
    "boolean", "int", "long", "float", "double", "decimal(38,10)", "date", "time", "timestamp", "timestamptz",
    "string", "uuid", "fixed(3)", "binary", "list<list<int>>", "map<string,struct<a:int,`b c`:uuid>>",
    "struct<a:struct<b:decimal(5,2)>>",
)  # fmt: skip
NESTED = Schema.of(Column("id", "int", nullable=False), Column("s", "struct<a:int,b:list<float>>"), identifier=("id",))


@pytest.mark.parametrize("text", EVERY_TYPE)
def test_every_type_is_kept(text: str) -> None:
    schema = Schema.of(Column("c", text, comment="about c"), Column("k", "long", nullable=False), identifier=("k",))
    assert from_iceberg(to_iceberg(schema)) == schema


def test_a_type_unknown_to_this_package_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="timestamp_ns"):
        type_text(TimestampNanoType())


def test_a_floating_identifier_is_refused() -> None:
    with pytest.raises(UnsupportedError):
        to_iceberg(Schema.of(Column("x", "double", nullable=False), identifier=("x",)))


def test_changes_keep_the_field_ids_of_what_is_there() -> None:
    before = to_iceberg(NESTED)
    last = before.highest_field_id
    changes = (
        SchemaChange("widen", Column("s", "struct<a:long,b:list<double>,c:string>")),
        SchemaChange("add", Column("new", "list<int>", comment="fresh")),
        SchemaChange("widen", Column("id", "long", nullable=False)),
        SchemaChange("comment", Column("id", "long", nullable=False, comment="key")),
    )
    after = evolved(before, changes, last_field_id=last)
    assert {name: after.find_field(name).field_id for name in ("id", "s", "s.a", "s.b", "s.b.element")} == {
        name: before.find_field(name).field_id for name in ("id", "s", "s.a", "s.b", "s.b.element")
    }
    assert sorted(after.find_field(name).field_id for name in ("s.c", "new", "new.element")) == [
        last + 1,
        last + 2,
        last + 3,
    ]
    assert from_iceberg(after) == Schema.of(
        Column("id", "long", nullable=False, comment="key"),
        Column("s", "struct<a:long,b:list<double>,c:string>"),
        Column("new", "list<int>", comment="fresh"),
        identifier=("id",),
    )
    assert evolved(after, changes, last_field_id=after.highest_field_id) == after


@pytest.mark.parametrize(
    "change",
    [
        SchemaChange("widen", Column("id", "string")),
        SchemaChange("relax", Column("id", "int")),
        SchemaChange("widen", Column("nothing", "long")),
        SchemaChange("add", Column("strict", "long", nullable=False)),
    ],
)
def test_changes_that_would_lose_something_are_refused(change: SchemaChange) -> None:
    with pytest.raises(InvalidRequestError):
        evolved(to_iceberg(NESTED), (change,), last_field_id=10)


def test_partitionings_and_orders_are_kept() -> None:
    columns = Schema.of(Column("id", "long"), Column("at", "timestamptz"), Column("at_day", "string"))
    parts = ("id", "bucket(7, id)", "truncate(3, at_day)", "year(at)", "month(at)", "day(at)", "hour(at)")
    spec = TableSpec(columns, partitioning=parts, sort_order=("at",))
    schema = to_iceberg(columns)
    assert partitioning(partition_spec(spec, schema), schema) == spec.partition_fields
    assert sort_fields(sort_order(spec, schema), schema) == spec.sort_fields


def test_a_warehouse_that_is_not_local_needs_a_catalog() -> None:
    with pytest.raises(InvalidRequestError, match="catalog"):
        catalog_properties(CatalogSettings("iceberg", "s3://lake"))


def test_settings_that_no_catalog_takes_are_the_callers_mistake() -> None:
    settings = CatalogSettings("iceberg", "/tmp/lake", properties={"type": "nonsense", "uri": "x"})
    with pytest.raises(InvalidRequestError):
        _ = Connection(settings).catalog


def test_names_that_a_uri_would_garble_get_a_folder_of_safe_characters() -> None:
    settings = CatalogSettings("iceberg", "/lake")
    assert default_location(settings, "shop.items") == "file:///lake/shop/items"
    odd = [default_location(settings, f"shop.{name}") for name in ("a#b", "a?b", "a%b")]
    assert len(set(odd)) == 3
    assert all(location.startswith("file:///lake/shop/a_b-") for location in odd)
    assert (
        default_location(CatalogSettings("iceberg", "s3://l", properties={"type": "rest", "uri": "http://x"}), "a.b")
        == ""
    )
