"""A new version of a contract says whom it breaks: readers who lose a promise, writers who face a demand, or nobody."""

from __future__ import annotations

import pytest

from airflow_provider_lakehouse.core.contracts.compatibility import ContractChange, plan_contract_change
from airflow_provider_lakehouse.core.contracts.contract import Contract
from airflow_provider_lakehouse.core.contracts.odcs import read_contract
from tests.unit.core.contracts.contract_texts import HEAD, ORDERS, with_column, with_rule, with_schema

R, W, RW, NOBODY = ("readers",), ("writers",), ("readers", "writers"), ()


def change(before: str, after: str) -> ContractChange:
    return plan_contract_change(read_contract(before), read_contract(after))


def found(before: str, after: str) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.path, one.kind, one.breaks) for one in change(before, after).differences]


def column(settings: str) -> str:
    return with_column(f"{{name: c, {settings}}}")


def level(settings: str) -> str:
    return HEAD + f"slaProperties: [{{property: latency, {settings}}}]\n"


def test_the_same_contract_is_no_change(orders: Contract) -> None:
    assert plan_contract_change(orders, orders).differences == ()
    assert plan_contract_change(orders, orders).step == "none"


@pytest.mark.parametrize(
    ("before", "after", "path", "kind", "breaks"),
    [
        ("physicalType: int", "physicalType: long", "t.c.type", "changed", R),
        ("physicalType: long", "physicalType: int", "t.c.type", "changed", W),
        ("physicalType: 'decimal(10,2)'", "physicalType: 'decimal(12,2)'", "t.c.type", "changed", R),
        ("physicalType: 'decimal(10,2)'", "physicalType: 'decimal(12,3)'", "t.c.type", "changed", RW),
        ("physicalType: string", "physicalType: date", "t.c.type", "changed", RW),
        ("physicalType: geography", "physicalType: geometry", "t.c.type", "changed", RW),
        ("logicalType: integer", "logicalType: integer, logicalTypeOptions: {format: i64}", "t.c.type", "changed", R),
        ("required: true", "required: false", "t.c.required", "removed", R),
        ("required: false", "required: true", "t.c.required", "added", W),
        ("unique: true", "unique: false", "t.c.unique", "removed", R),
        ("unique: false", "unique: true", "t.c.unique", "added", W),
        ("logicalType: integer, logicalTypeOptions: {minimum: 0}", "logicalType: integer", "t.c.minimum", "removed", R),
        ("logicalType: integer", "logicalType: integer, logicalTypeOptions: {minimum: 0}", "t.c.minimum", "added", W),
        (
            "logicalType: integer, logicalTypeOptions: {minimum: 0}",
            "logicalType: integer, logicalTypeOptions: {minimum: -1}",
            "t.c.minimum",
            "changed",
            R,
        ),
        (
            "logicalType: integer, logicalTypeOptions: {maximum: 5}",
            "logicalType: integer, logicalTypeOptions: {maximum: 4}",
            "t.c.maximum",
            "changed",
            W,
        ),
        (
            "logicalType: string, logicalTypeOptions: {pattern: a}",
            "logicalType: string, logicalTypeOptions: {pattern: b}",
            "t.c.pattern",
            "changed",
            RW,
        ),
        ("enum: [{value: a}]", "enum: [{value: a}, {value: b}]", "t.c.enum", "changed", R),
        ("enum: [{value: a}, {value: b}]", "enum: [{value: a}]", "t.c.enum", "changed", W),
        ("enum: [{value: a}]", "enum: [{value: b}]", "t.c.enum", "changed", RW),
        ("enum: [{value: a}]", "enum: [{value: a, label: A}]", "t.c.enum", "described", NOBODY),
        ("enum: [{value: a}]", "tags: []", "t.c.enum", "removed", R),
        ("tags: []", "relationships: [{to: t.c}]", "t.c.relationships[t.c]", "added", W),
        ("relationships: [{to: t.c}]", "tags: []", "t.c.relationships[t.c]", "removed", R),
        (
            "relationships: [{to: t.c}]",
            "relationships: [{to: t.c, id: self}]",
            "t.c.relationships[t.c]",
            "described",
            NOBODY,
        ),
        ("description: a", "description: b", "t.c.description", "described", NOBODY),
        ("classification: public", "classification: secret", "t.c.classification", "described", NOBODY),
        ("physicalType: VARCHAR(9)", "physicalType: TEXT", "t.c.physical_type", "described", NOBODY),
        ("businessName: a", "businessName: b", "t.c.businessName", "described", NOBODY),
        ("physicalName: a", "physicalName: b", "t.c", "changed", RW),
        ("quality: [{metric: nullValues, mustBe: 0}]", "tags: []", "t.c.quality[nullValues]", "removed", R),
        ("tags: []", "quality: [{metric: nullValues, mustBe: 0}]", "t.c.quality[nullValues]", "added", W),
        ("tags: []", "quality: [{type: text, description: a}]", "t.c.quality[text]", "described", NOBODY),
    ],
)
def test_a_change_of_a_column_breaks_whom_it_must(
    before: str, after: str, path: str, kind: str, breaks: tuple[str, ...]
) -> None:
    assert found(column(before), column(after)) == [(path, kind, breaks)]


@pytest.mark.parametrize(
    ("before", "after", "breaks"),
    [
        ("mustBeLessThan: 5", "mustBeLessThan: 9", R),
        ("mustBeLessThan: 5", "mustBeLessThan: 3", W),
        ("mustBeGreaterOrEqualTo: 5", "mustBeGreaterOrEqualTo: 9", W),
        ("mustBeBetween: [1, 9]", "mustBeBetween: [2, 8]", W),
        ("mustBeBetween: [1, 9]", "mustBeBetween: [0, 9]", R),
        ("mustBeBetween: [1, 9]", "mustBeBetween: [5, 12]", RW),
        ("mustNotBeBetween: [1, 9]", "mustNotBeBetween: [2, 8]", R),
        ("mustBe: 1", "mustBe: 2", RW),
        ("mustBe: 1", "mustBeLessThan: 2", RW),
        ("mustBe: 1, severity: error", "mustBe: 1, severity: warning", R),
        ("mustBe: 1, severity: warning", "mustBe: 1", W),
        ("mustBe: 1, description: a", "mustBe: 1, description: b", NOBODY),
        ("mustBe: 1", "mustBe: 1, name: called", NOBODY),
    ],
)
def test_a_rule_that_demands_less_breaks_readers_and_one_that_demands_more_breaks_writers(
    before: str, after: str, breaks: tuple[str, ...]
) -> None:
    differences = found(with_rule(f"{{metric: rowCount, {before}}}"), with_rule(f"{{metric: rowCount, {after}}}"))
    assert [one[2] for one in differences] == [breaks]


@pytest.mark.parametrize(
    ("before", "after", "breaks"),
    [
        ("value: 4, unit: h", "value: 1, unit: d", R),
        ("value: 4, unit: h", "value: 30, unit: min", W),
        ("value: 1, unit: y", "value: 1, unit: mo", W),
        ("value: 4, unit: h", "value: soon", RW),
        ("value: 4, unit: furlongs", "value: 4, unit: miles", RW),
        ("value: 4, unit: h", "value: 4, unit: h, description: x", NOBODY),
    ],
)
def test_a_service_level_that_promises_less_breaks_readers(before: str, after: str, breaks: tuple[str, ...]) -> None:
    assert [one[2] for one in found(level(before), level(after))] == [breaks]


def test_longer_retention_and_later_ends_promise_more() -> None:
    text = (
        HEAD
        + "slaProperties: [{property: retention, value: 3, unit: y}, {property: eol, value: '2030-01-01T00:00:00Z'}]\n"
    )
    text = text.replace("eol", "endOfLife")
    after = text.replace("value: 3", "value: 5").replace("2030", "2027")
    assert [one[2] for one in found(text, after)] == [W, R]


def test_a_service_level_that_is_no_longer_promised_breaks_readers() -> None:
    assert found(level("value: 1, unit: d"), HEAD) == [("slaProperties[latency]", "removed", R)]
    assert found(HEAD, level("value: 1, unit: d")) == [("slaProperties[latency]", "added", W)]


def test_a_column_that_is_gone_breaks_readers_and_one_that_must_be_filled_breaks_writers() -> None:
    two = with_schema("  - name: t\n    properties: [{name: a}, {name: b}]\n")
    one = with_schema("  - name: t\n    properties: [{name: a}]\n")
    demanding = with_schema("  - name: t\n    properties: [{name: a}, {name: b, required: true}]\n")
    assert found(two, one) == [("t.b", "removed", R)]
    assert found(one, two) == [("t.b", "added", NOBODY)]
    assert found(one, demanding) == [("t.b", "added", W)]


def test_a_column_with_another_name_is_known_by_its_id_or_where_it_is_stored() -> None:
    assert found(with_column("{name: a, id: x}"), with_column("{name: b, id: x}")) == [("t.b", "changed", RW)]
    renamed = found(with_column("{name: a, physicalName: x}"), with_column("{name: b, physicalName: x}"))
    assert renamed == [("t.b", "described", NOBODY)]
    assert found(with_column("{name: a}"), with_column("{name: b}")) == [
        ("t.b", "added", NOBODY),
        ("t.a", "removed", R),
    ]


def test_fields_of_objects_are_compared_one_by_one() -> None:
    before = column("logicalType: object, properties: [{name: x, logicalType: date}, {name: y, logicalType: date}]")
    after = column("logicalType: object, properties: [{name: x, logicalType: date, required: true}]")
    assert found(before, after) == [("t.c.x.required", "added", W), ("t.c.y", "removed", R)]


def test_other_keys_break_both_and_other_partitions_nobody() -> None:
    columns = "  - name: t\n    properties: [{{name: a, required: true{0}}}, {{name: b, required: true{1}}}]\n"
    one, other, none = (
        with_schema(columns.format(*keys))
        for keys in ((", primaryKey: true", ""), ("", ", primaryKey: true"), ("", ""))
    )
    assert found(one, other) == [("t.primaryKey", "changed", RW)]
    assert found(one, none) == [("t.primaryKey", "removed", R)]
    assert found(none, one) == [("t.primaryKey", "added", W)]
    assert found(none, with_schema(columns.format(", partitioned: true", ""))) == [
        ("t.partitioning", "changed", NOBODY)
    ]


def test_tables_come_go_and_move() -> None:
    one = with_schema("  - {name: t}\n")
    two = with_schema("  - {name: t}\n  - {name: u}\n")
    assert found(one, two) == [("u", "added", NOBODY)]
    assert found(two, one) == [("u", "removed", R)]
    assert found(one, with_schema("  - {name: t, physicalName: gold.t}\n")) == [("t", "changed", RW)]
    assert found(one, with_schema("  - {name: t, description: x}\n")) == [("t.description", "described", NOBODY)]


def test_a_contract_that_retires_breaks_readers() -> None:
    assert found(HEAD, HEAD.replace("active", "retired")) == [("status", "changed", R)]
    assert found(HEAD.replace("active", "draft"), HEAD) == [("status", "described", NOBODY)]


@pytest.mark.parametrize(
    ("before", "after", "step"),
    [
        ("tags: []", "tags: [x]", "patch"),
        ("tags: []", "unique: true", "major"),
        ("tags: []", "partitioned: true", "minor"),
        ("tags: []", "tags: []", "none"),
    ],
)
def test_the_version_makes_the_step_that_the_change_asks_for(before: str, after: str, step: str) -> None:
    assert change(column(before), column(after)).step == step


def test_what_breaks_is_told_by_party() -> None:
    result = change(ORDERS, ORDERS.replace("maxLength: 200", "maxLength: 100").replace("minimum: 0", "minimum: -5"))
    assert [one.path for one in result.breaking("writers")] == ["orders.customer.maxLength"]
    assert [one.path for one in result.breaking("readers")] == ["orders.amount.minimum"]
    assert [one.who for one in result.breaking()] == ["writers", "readers"]
