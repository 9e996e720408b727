"""Schemas: what they refuse, and what may change about them."""

from __future__ import annotations

import pytest

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.schema import Column, Schema, plan_schema

BASE = Schema.of(Column("id", "int", nullable=False), Column("name", "string"), identifier=("id",))


def test_names_are_distinct_and_not_empty() -> None:
    with pytest.raises(InvalidRequestError, match="distinct") as caught:
        Schema.of(Column("a", "int"), Column("a", "long"))
    assert caught.value.facts["repeated"] == ("a",)
    with pytest.raises(InvalidRequestError):
        Schema.of()
    with pytest.raises(InvalidRequestError):
        Column("", "int")


def test_an_identifier_names_columns_that_are_there_and_never_null() -> None:
    for identifier in (("name",), ("nope",)):
        with pytest.raises(InvalidRequestError, match="identifier"):
            Schema(BASE.columns, identifier)


def test_an_unknown_column_is_refused_with_the_columns_there_are() -> None:
    with pytest.raises(InvalidRequestError, match="'nope'") as caught:
        BASE.require(["id", "nope"], purpose="a test")
    assert caught.value.facts["columns"] == ("id", "name")


def test_equal_schemas_need_no_change() -> None:
    assert plan_schema(BASE, BASE).is_empty
    narrower = Schema.of(Column("id", "int", nullable=False))
    assert plan_schema(BASE, narrower).is_empty


def test_lossless_changes_are_planned_in_order() -> None:
    wanted = Schema.of(Column("id", "long"), Column("name", "string", comment="Full name"), Column("more", "date"))
    kinds = [(change.kind, change.column.name) for change in plan_schema(BASE, wanted).changes]
    assert kinds == [("widen", "id"), ("relax", "id"), ("comment", "name"), ("add", "more")]


def test_changes_that_lose_data_are_refused_with_the_reason() -> None:
    wanted = Schema.of(
        Column("id", "string", nullable=False),
        Column("name", "string", nullable=False),
        Column("x", "int", nullable=False),
    )
    plan = plan_schema(BASE, wanted)
    assert not plan.changes
    assert [reason.split("'")[1] for reason in plan.refused] == ["id", "name", "x"]


def test_a_narrower_type_fits_without_a_change() -> None:
    current = Schema.of(Column("n", "long"))
    assert plan_schema(current, Schema.of(Column("n", "int"))).is_empty


def test_ten_thousand_columns_are_a_schema() -> None:
    schema = Schema.of(*(Column(f"c{i}", "long") for i in range(10_000)))
    assert len(schema.to_arrow()) == 10_000
    assert plan_schema(schema, schema).is_empty
