"""Contracts of the standard are read into values, lose nothing on the way back, and are refused by line when they are wrong."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from airflow_provider_lakehouse.core.contracts.contract import Comparison, Contract
from airflow_provider_lakehouse.core.contracts.odcs import (
    contract_faults,
    contract_file_faults,
    read_contract,
    read_contract_file,
    write_contract,
)
from airflow_provider_lakehouse.core.contracts.service_level import ServiceLevel
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from tests.unit.core.contracts.contract_texts import HEAD, ORDERS, with_column, with_rule, with_schema

EXAMPLES = os.environ.get("LAKEHOUSE_ODCS_EXAMPLES", "")


def plain(text: str) -> object:
    return yaml.load(text, Loader=yaml.BaseLoader)


def test_a_contract_is_read_into_values(orders: Contract) -> None:
    table = orders.table("silver.orders")
    assert (orders.id, orders.version, orders.status, orders.domain) == ("shop-orders", "1.4.0", "active", "sales")
    assert orders.purpose == "What customers bought, one row for each order."
    assert (orders.team.owner, orders.team.members[0].name) == ("checkout", "ann@shop.example")
    assert [column.stored_name for column in table.columns] == [
        "id",
        "customer_email",
        "amount",
        "status",
        "ordered_at",
    ]
    assert [column.name for column in table.key] == ["id"]
    assert table.column("amount").rules[0].must == Comparison("mustBe", 0)  # type: ignore[union-attr]
    assert table.column("status").allowed_values == ("open", "paid")  # type: ignore[union-attr]
    assert table.column("customer_email").classification == "confidential"  # type: ignore[union-attr]


MANY = with_schema(
    "  - {name: a, properties: [{name: x, logicalType: integer}]}\n"
    "  - {name: b, physicalName: silver.b, properties: [{name: y, logicalType: string, required: true}]}\n"
)


def test_one_table_of_a_contract_is_read_as_in_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "many.odcs.yaml"
    path.write_text(MANY)
    whole, part = read_contract_file(path), read_contract_file(path, table="silver.b")
    assert part.table("silver.b") == whole.table("silver.b")
    assert part.table("silver.b").columns[0].line == whole.table("silver.b").columns[0].line
    assert [one.name for one in part.tables] == ["a", "b"]
    assert read_contract_file(path, table="a").table("a") == whole.table("a")


def test_a_fault_of_the_table_that_is_read_is_told_as_in_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "many.odcs.yaml"
    path.write_text(MANY.replace("required: true", "requierd: true"))
    for table in (None, "b"):
        with pytest.raises(InvalidRequestError, match="requierd"):
            read_contract_file(path, table=table)
    assert read_contract_file(path, table="a").table("a").columns


def test_a_table_that_a_contract_lacks_is_refused_by_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "many.odcs.yaml"
    path.write_text(MANY)
    with pytest.raises(InvalidRequestError, match="has no table 'c'"):
        read_contract_file(path, table="c").table("c")


def test_values_know_their_line(orders: Contract) -> None:
    lines = ORDERS.splitlines()
    amount = orders.table("orders").columns[2]
    assert lines[amount.line - 1].strip() == "- name: amount"
    assert lines[amount.rules[0].line - 1].strip() == "- name: amounts are there"


def test_what_is_written_reads_as_the_same_contract(orders: Contract) -> None:
    assert read_contract(write_contract(orders)) == orders


def test_nothing_that_was_read_is_lost() -> None:
    assert plain(write_contract(read_contract(ORDERS))) == plain(ORDERS)


def test_a_team_that_is_a_list_stays_one() -> None:
    text = HEAD + "team:\n  - username: ann\n    role: owner\n"
    contract = read_contract(text)
    assert contract.team.owner == "ann"
    assert plain(write_contract(contract)) == plain(text)


@pytest.mark.parametrize(
    "name",
    [
        'say "no"',
        "line\nbreak",
        "NO",
        "1e3",
        "0o7",
        "2017-01-01",
        "on",
        "~",
        "naïve ☃ 𝔘",
        "'''",
        " x ",
        "\x85",
        "a\u2028b",
    ],
)
def test_odd_names_stay_as_they_are(name: str, orders: Contract) -> None:
    table = orders.tables[0]
    columns = (replace(table.columns[0], name=name),)
    odd = replace(orders, name=name, tables=(replace(table, columns=columns),), service_levels=())
    written = write_contract(odd)
    assert yaml.safe_load(written)["name"] == name
    assert read_contract(written) == odd


def test_texts_that_other_readers_take_for_something_else_are_texts() -> None:
    contract = read_contract(with_column("{name: c, logicalType: string, enum: [{value: NO}, {value: 2017-01-01}]}"))
    assert contract.tables[0].columns[0].allowed_values == ("NO", "2017-01-01")


def test_a_column_needs_no_logical_type() -> None:
    assert contract_faults(with_column("{name: c, physicalType: BIGINT, logicalTypeOptions: {minimum: 3}}")) == ()


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "the file is empty"),
        ("- a\n", 1, "a contract is a mapping"),
        ("a: [1, 2\n", 2, "expected ',' or ']'"),
        ("a: 1\nb: \x07\n", 2, "a character that YAML does not allow"),
        (HEAD + "id: again\n", 6, "the key 'id' stands twice"),
        (HEAD + "name: !!python/object:os.system x\n", 6, "tags are not allowed"),
        (HEAD + "1: x\n", 6, "a key is not a plain text"),
        (HEAD + "custom: {<<: {a: 1}}\n", 6, "a key is not a plain text"),
        (HEAD + f"name: {'9' * 5000}\n", 6, "a number is too large"),
        (HEAD + f"name: {'[' * 80}{']' * 80}\n", 6, "deeper than 50 levels"),
        (HEAD + "name: &a [*a]\n", 6, "it holds too much"),
        ("apiVersion: v4.0.0\nkind: DataContract\n", 1, "version 'v4.0.0' of the standard"),
        (HEAD.replace("v3.2.0", "v3.9.9"), 1, "it is not one of: v3.2.0"),
        (HEAD.replace("kind: DataContract", "kind: DataProduct"), 2, "it is not one of: DataContract"),
        (HEAD.replace("id: shop-orders\n", ""), 1, "'id' is missing"),
        (HEAD + "owner: ann\n", 6, "there is no field 'owner' here"),
        (HEAD + "team: {name: a, lead: b}\n", 6, "there is no field 'lead' here"),
        (with_column("{name: c, logicalType: text}"), 9, "it is not one of: string"),
        (with_column("{name: c, logicalType: string, logicalTypeOptions: {minimum: 1}}"), 9, "there is no field 'minimum'"),
        (with_column("{name: c, required: 1}"), 9, "it is no boolean"),
        (with_column("{name: c, logicalType: integer, logicalTypeOptions: {minimum: 2, maximum: 1}}"), 9, "minimum is above"),
        (
            with_column("{name: c, logicalType: integer, logicalTypeOptions: {exclusiveMinimum: 1, maximum: 1}}"),
            9,
            "no value lies between",
        ),
        (
            with_column("{name: c, logicalType: date, logicalTypeOptions: {minimum: 2018-01-01, maximum: 2017-01-01}}"),
            9,
            "minimum is above maximum",
        ),
        (with_column("{name: c, logicalType: string, logicalTypeOptions: {minLength: 2, maxLength: 1}}"), 9, "minLength is above"),
        (with_column("{name: c, primaryKeyPosition: 1}"), 9, "primaryKey is not true"),
        (with_column("{name: c, partitioned: true, partitionKeyPosition: 0}"), 9, "positions start at 1"),
        (
            with_schema(
                "  - name: t\n    properties:\n"
                "      - {name: a, primaryKey: true, primaryKeyPosition: 1}\n"
                "      - {name: b, primaryKey: true, primaryKeyPosition: 1}\n"
            ),
            10,
            "the position stands twice",
        ),
        (
            with_schema(
                "  - name: t\n    properties:\n"
                "      - {name: a, partitioned: true, partitionKeyPosition: 2}\n"
                "      - {name: b, partitioned: true, partitionKeyPosition: 2}\n"
            ),
            10,
            "the position stands twice",
        ),
        (
            with_schema("  - {name: t, relationships: [{from: [t.a, t.b], to: [u.a]}]}\n"),
            7,
            "it leads from a number of columns to another number",
        ),
        (
            with_column("{name: c, relationships: [{to: t.c, customProperties: [{property: lakehouseLimitRows, value: 1}]}]}"),
            9,
            "there is no such property here",
        ),
        (with_schema("  - name: t\n  - name: t\n"), 8, "another table has the same name"),
        (with_schema("  - name: t\n    properties:\n      - name: a\n      - name: a\n"), 10, "another column has the same name"),
        (with_column("{name: c, enum: [{value: 1}, {value: 1, label: one}]}"), 9, "the value stands twice"),
        (with_rule("{metric: duplicateValues, mustBe: 0, arguments: {properties: [a, c]}}"), 12, "no such column"),
        (with_rule("{metric: duplicateValues, mustBe: 0}"), 12, "it needs `arguments.properties`"),
        (with_rule("{metric: rowCount}"), 12, "exactly one operator, such as 'mustBe', and has none"),
        (with_rule("{metric: rowCount, mustBe: 1, mustNotBe: 2}"), 12, "and has mustBe, mustNotBe"),
        (with_rule("{metric: rowCount, mustBeBetween: [2, 1]}"), 12, "the smaller number stands first"),
        (with_rule("{metric: rowCount, mustBeGreaterThan: -1}"), 12, "a count is never below 0"),
        (with_rule("{metric: rowCount, mustBeLessThan: 101, unit: percent}"), 12, "a percentage lies between 0 and 100"),
        (
            with_rule("{metric: rowCount, mustBe: 1, customProperties: [{property: lakehouseLimitShare, value: 2}]}"),
            12,
            "a share lies between 0 and 1",
        ),
        (HEAD + "customProperties: [{property: lakehouseOwner, value: ann}]\n", 6, "there is no such property here, only: none"),
        (
            with_column("{name: c, customProperties: [{property: lakehouseRowCondition, value: true}]}"),
            9,
            "there is no such property here",
        ),
        (
            with_rule("{metric: rowCount, mustBe: 1, customProperties: [{property: lakehouseSeverty, value: fail}]}"),
            12,
            "there is no such property here",
        ),
        (
            with_rule("{metric: rowCount, mustBe: 1, customProperties: [{property: lakehouseSeverity, value: stop}]}"),
            12,
            "the severity is not one of",
        ),
        (
            with_rule(
                "{type: custom, engine: greatExpectations, implementation: "
                "{type: expect_column_values_to_be_unique, kwargs: {column: x}}}"
            ),
            12,
            "the table has no such column",
        ),
        (
            with_rule(
                "{type: custom, engine: greatExpectations, implementation: "
                "{type: expect_column_values_to_be_unique, kwargs: {column: a, mostly: 1.5}}}"
            ),
            12,
            "a share lies above 0",
        ),
        (
            with_rule("{metric: rowCount, mustBe: 1}") + "slaProperties: [{property: latency, value: 1, unit: d, element: t.x}]\n",
            13,
            "there is no such table or column",
        ),
    ],
)  # fmt: skip
def test_a_wrong_contract_is_refused_with_file_line_and_reason(text: str, line: int, reason: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read_contract(text, source="orders.odcs.yaml")
    facts = refused.value.facts
    assert (facts["file"], facts["line"]) == ("orders.odcs.yaml", line)
    assert reason in str(facts["reason"])


def test_aliases_may_not_make_a_small_file_large() -> None:
    levels = "\n".join(f"  {chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]" for n in range(8))
    with pytest.raises(InvalidRequestError, match="it holds too much"):
        read_contract(f"{HEAD}context:\n  a: &a [x]\n{levels}\n")


def test_all_faults_are_listed_by_line() -> None:
    text = with_column("{name: c, color: red, logicalType: strng}") + "slaProperties: [{property: latency}]\n"
    assert [(fault.line, fault.path) for fault in contract_faults(text)] == [
        (9, "schema[t].properties[c].color"),
        (9, "schema[t].properties[c].logicalType"),
        (10, "slaProperties[0]"),
    ]


def test_what_stands_in_a_wrong_field_is_not_repeated() -> None:
    text = HEAD + "servers: [{server: s, type: postgresql, host: [hunter2], port: 1, database: d, schema: s}]\n"
    assert "hunter2" not in str(contract_faults(text))
    assert contract_faults(text)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        read_contract_file(tmp_path / "none.yaml")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidRequestError, match="UTF-8"):
        read_contract_file(tmp_path / "odd.yaml")


def test_a_table_that_is_not_there_is_refused_with_those_that_are(orders: Contract) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        orders.table("order")
    assert refused.value.facts["tables"] == ("orders",)


@pytest.mark.parametrize(
    ("value", "unit"), [(0, "h"), (-1, "d"), ("soon", "h"), (1, "m"), (1, "y"), (True, "h"), (1e300, "d")]
)
def test_a_service_level_without_a_fixed_length_is_no_length_of_time(value: object, unit: str) -> None:
    with pytest.raises(InvalidRequestError, match="no length of time"):
        ServiceLevel("latency", value, unit).duration()


def test_service_levels_are_found_by_the_column_they_are_about(orders: Contract) -> None:
    found = [
        (level.property_name, column.name if column else None) for level, column in orders.levels_of(orders.tables[0])
    ]
    assert found == [("latency", "ordered_at"), ("retention", None)]


def examples() -> list[Path]:
    return sorted(Path(EXAMPLES).rglob("*.odcs.yaml")) if EXAMPLES else []


@pytest.mark.skipif(not EXAMPLES, reason="LAKEHOUSE_ODCS_EXAMPLES names no folder with examples of the standard")
@pytest.mark.parametrize("path", examples(), ids=lambda path: path.stem)
def test_an_example_of_the_standard_is_kept_whole_or_refused_with_a_reason(path: Path) -> None:
    faults = contract_file_faults(path)
    if faults:
        assert all(fault.line and fault.reason for fault in faults)
        with pytest.raises(InvalidRequestError) as refused:
            read_contract_file(path)
        assert (refused.value.facts["file"], refused.value.facts["line"]) == (str(path), faults[0].line)
    else:
        contract = read_contract_file(path)
        assert read_contract(write_contract(contract)) == contract
