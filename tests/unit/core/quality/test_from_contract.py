"""What a contract demands is checked: each rule as an expectation, a condition or a query, and nothing is left out in silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.contracts.odcs import read_contract, read_contract_file
from airflow_provider_lakehouse.core.contracts.tables import spec_of_contract
from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.quality.checks import Check, Expectation, Limit, RowCheck, TableCheck
from airflow_provider_lakehouse.core.quality.from_contract import checks_of_contract, schema_check_of_contract
from airflow_provider_lakehouse.core.quality.run import run_checks
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.tables.base import CatalogSettings
from tests.unit.core.contracts.contract_texts import HEAD, ORDERS, with_column, with_rule, with_schema

ENGINE = DuckDBEngine(EngineSettings(threads=1))


def checks(text: str, **options: Any) -> tuple[Check, ...]:
    return checks_of_contract(read_contract(text, source="t.odcs.yaml"), table="t", **options)


def only(text: str) -> Check:
    (check,) = checks(text)
    return check


def of_column(rule: str, *, kind: str = "string") -> Check:
    """Return the check of one rule of the column `c`."""
    return only(with_column(f"{{name: c, logicalType: {kind}, quality: [{rule}]}}"))


def violations(check: Check, rows: pa.Table) -> int:
    (outcome,) = run_checks(rows, [check], engine=ENGINE, table="t", version=1).outcomes
    return outcome.violations


def expected(check: Check) -> tuple[str, dict[str, Any]]:
    assert isinstance(check, Expectation)
    return check.type, dict(check.arguments)


def test_a_whole_contract_becomes_checks_in_its_order() -> None:
    found = checks_of_contract(read_contract(ORDERS), table="orders")
    assert [check.name for check in found] == [
        "id: values not be null",
        "customer_email: value lengths be between (max_value 200)",
        "customer_email: values match regex (regex ^[^@]+@[^@]+$)",
        "amount: values be between (min_value 0)",
        "status: values be in set (value_set ['open', 'paid'])",
        "ordered_at: values not be null",
        "id: values be unique",
        "amounts are there",
        "no order of the future",
        "ordered_at: max be recent (max_age_seconds 14400)",
    ]
    assert {check.owner for check in found} == {"checkout"}
    assert next(check for check in found if check.name == "amounts are there").description == "(completeness)"


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        ("required: true", ("expect_column_values_to_not_be_null", {})),
        ("unique: true", ("expect_column_values_to_be_unique", {})),
        (
            "logicalType: integer, logicalTypeOptions: {minimum: 18, exclusiveMaximum: 100}",
            ("expect_column_values_to_be_between", {"min_value": 18, "max_value": 100, "strict_max": True}),
        ),
        (
            "logicalType: date, logicalTypeOptions: {exclusiveMinimum: 2017-01-01}",
            ("expect_column_values_to_be_between", {"min_value": "2017-01-01", "strict_min": True}),
        ),
        (
            "logicalType: integer, logicalTypeOptions: {minimum: 5, exclusiveMinimum: 3}",
            ("expect_column_values_to_be_between", {"min_value": 5}),
        ),
        (
            "logicalType: string, logicalTypeOptions: {minLength: 2, maxLength: 3}",
            ("expect_column_value_lengths_to_be_between", {"min_value": 2, "max_value": 3}),
        ),
        (
            "logicalType: string, logicalTypeOptions: {pattern: '^A'}",
            ("expect_column_values_to_match_regex", {"regex": "^A"}),
        ),
        ("enum: [{value: a}, {value: 2}]", ("expect_column_values_to_be_in_set", {"value_set": ["a", 2]})),
    ],
)
def test_what_is_declared_of_a_column_becomes_an_expectation(column: str, wanted: tuple[str, dict[str, Any]]) -> None:
    check = only(with_column(f"{{name: c, physicalName: stored c, {column}}}"))
    assert expected(check) == (wanted[0], {"column": "stored c", **wanted[1]})


def test_a_key_of_several_columns_is_unique_as_a_whole() -> None:
    columns = "".join(
        f"      - {{name: {name}, primaryKey: true, primaryKeyPosition: {place}}}\n"
        for name, place in (("b", 2), ("a", 1))
    )
    found = checks(with_schema(f"  - name: t\n    properties:\n{columns}"))
    assert expected(found[-1]) == ("expect_compound_columns_to_be_unique", {"column_list": ["a", "b"]})


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("{metric: nullValues, mustBe: 0}", ("expect_column_values_to_not_be_null", {"column": "c"})),
        ("{metric: nullValues, mustBeLessThan: 1}", ("expect_column_values_to_not_be_null", {"column": "c"})),
        ("{metric: duplicateValues, mustBe: 0}", ("expect_column_values_to_be_unique", {"column": "c"})),
        (
            "{metric: invalidValues, mustBe: 0, arguments: {validValues: [a, null]}}",
            ("expect_column_values_to_be_in_set", {"column": "c", "value_set": ["a"]}),
        ),
        (
            "{metric: invalidValues, mustBe: 0, arguments: {pattern: '^a'}}",
            ("expect_column_values_to_match_regex", {"column": "c", "regex": "^a"}),
        ),
        (
            "{metric: missingValues, mustBe: 0, arguments: {missingValues: ['', n/a]}}",
            ("expect_column_values_to_not_be_in_set", {"column": "c", "value_set": ["", "n/a"]}),
        ),
        (
            (
                "{type: custom, engine: greatExpectations, "
                "implementation: {type: expect_column_mean_to_be_between, kwargs: {min_value: 1}}}"
            ),
            ("expect_column_mean_to_be_between", {"column": "c", "min_value": 1}),
        ),
        (
            '{type: custom, engine: great-expectations, implementation: "type: expect_column_to_exist\\nkwargs: {column: c}"}',
            ("expect_column_to_exist", {"column": "c"}),
        ),
    ],
)
def test_a_rule_of_a_column_becomes_the_expectation_that_means_the_same(
    rule: str, wanted: tuple[str, dict[str, Any]]
) -> None:
    assert expected(of_column(rule)) == wanted


@pytest.mark.parametrize(
    ("must", "wanted"),
    [
        ("mustBe: 5", ("expect_table_row_count_to_equal", {"value": 5})),
        ("mustBeGreaterThan: 5", ("expect_table_row_count_to_be_between", {"min_value": 5, "strict_min": True})),
        ("mustBeGreaterOrEqualTo: 5", ("expect_table_row_count_to_be_between", {"min_value": 5})),
        ("mustBeLessThan: 5", ("expect_table_row_count_to_be_between", {"max_value": 5, "strict_max": True})),
        ("mustBeLessOrEqualTo: 5", ("expect_table_row_count_to_be_between", {"max_value": 5})),
        (
            "mustBeBetween: [1, 5]",
            (
                "expect_table_row_count_to_be_between",
                {"min_value": 1, "max_value": 5, "strict_min": True, "strict_max": True},
            ),
        ),
    ],
)
def test_a_number_of_rows_becomes_an_expectation(must: str, wanted: tuple[str, dict[str, Any]]) -> None:
    assert expected(only(with_rule(f"{{metric: rowCount, {must}}}"))) == wanted


def test_a_share_of_nulls_that_is_allowed_is_the_share_that_need_not_be_met() -> None:
    check = of_column("{metric: nullValues, mustBeLessOrEqualTo: 4.9, unit: percent}")
    assert isinstance(check, Expectation)
    assert check.mostly == 0.951


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        ("{metric: nullValues, mustBeLessThan: 3}", False),
        ("{metric: nullValues, mustBeLessThan: 2}", True),
        ("{metric: nullValues, mustBeLessThan: 41, unit: percent}", False),
        ("{metric: nullValues, mustBeLessThan: 40, unit: percent}", True),
        ("{metric: nullValues, mustBeBetween: [1, 3]}", False),
        ("{metric: nullValues, mustBeBetween: [2, 3]}", True),
        ("{metric: nullValues, mustNotBeBetween: [1, 3]}", True),
        ("{metric: nullValues, mustNotBeBetween: [2, 3]}", False),
        ("{metric: duplicateValues, mustBeLessThan: 2}", False),
        ("{metric: duplicateValues, mustBe: 2}", True),
        ("{metric: missingValues, mustBe: 3, arguments: {missingValues: [null, n/a]}}", False),
        ("{metric: missingValues, mustBe: 1, arguments: {missingValues: [n/a]}}", False),
        ("{metric: invalidValues, mustBe: 1, arguments: {validValues: [a], pattern: '^a'}}", False),
        ("{metric: invalidValues, mustBe: 20, unit: percent, arguments: {validValues: [a]}}", False),
        ("{type: sql, query: 'SELECT count(*) FROM {object} WHERE {property} IS NULL', mustBe: 2}", False),
        ("{type: sql, query: 'SELECT count(*) FROM ${table} WHERE ${column} IS NULL;', mustNotBe: 2}", True),
        ("{type: sql, query: 'WITH x AS (SELECT * FROM T) SELECT count(*) FROM x -- all', mustBe: 5}", False),
        ("{type: sql, query: 'SELECT bool_and({property} <> {property}) FROM t', mustBe: false}", False),
        ("{type: sql, query: \"SELECT count(*) FROM {table} WHERE {column} ~ '^a{1}$'\", mustBe: 2}", False),
        ("{type: sql, query: 'SELECT 1 WHERE false', mustBe: 1}", True),
        ("{type: sql, query: 'SELECT NULL', mustNotBe: 1}", True),
    ],
)
def test_a_count_or_an_answer_is_compared(rule: str, broken: bool) -> None:
    check = of_column(rule)
    assert isinstance(check, TableCheck)
    assert violations(check, pa.table({"c": ["a", "a", "n/a", None, None]})) == int(broken)


def test_no_rows_are_a_share_of_nothing() -> None:
    check = of_column("{metric: nullValues, mustBeLessThan: 1, unit: percent}")
    assert violations(check, pa.table({"c": pa.array([], pa.string())})) == 0


def test_rows_that_are_the_same_in_several_columns_are_counted() -> None:
    check = only(with_rule("{metric: duplicateValues, mustBeLessThan: 2, arguments: {properties: [a, b]}}"))
    assert violations(check, pa.table({"a": [1, 1, None, None], "b": ["x", "x", "x", "y"]})) == 0
    assert violations(check, pa.table({"a": [1, 1, None, None], "b": ["x", "x", "x", "x"]})) == 1


@pytest.mark.parametrize(
    ("column", "values", "kind", "bad"),
    [
        ("logicalType: integer, logicalTypeOptions: {multipleOf: 5}", [0, -10, 7, None], pa.int64(), 1),
        (
            "logicalType: number, logicalTypeOptions: {multipleOf: 0.1}",
            [Decimal("0.30"), Decimal("0.35"), None],
            pa.decimal128(5, 2),
            1,
        ),
        ("logicalType: number, logicalTypeOptions: {multipleOf: 0.1}", [0.3, 0.35, 1e6, None], pa.float64(), 1),
        (
            "logicalType: array, items: {logicalType: string}, logicalTypeOptions: {minItems: 1, maxItems: 2, uniqueItems: true}",
            [["a"], [], ["a", "b", "c"], ["a", "a"], None],
            pa.list_(pa.string()),
            3,
        ),
        (
            "logicalType: array, items: {logicalType: integer, required: true, logicalTypeOptions: {minimum: 0}}",
            [[0], [None], [-1], [], None],
            pa.list_(pa.int64()),
            2,
        ),
        (
            "logicalType: object, logicalTypeOptions: {required: [a]}, properties: [{name: a, logicalType: date}]",
            [{"a": date(2017, 1, 1)}, {"a": None}, None],
            pa.struct([("a", pa.date32())]),
            1,
        ),
        (
            (
                "logicalType: object, properties: [{name: o, logicalType: object, properties: ["
                "{name: '''a', required: true, logicalType: string, logicalTypeOptions: {minLength: 2, pattern: '^x'}}]}]"
            ),
            [{"o": {"'a": "xy"}}, {"o": {"'a": "x"}}, {"o": {"'a": None}}, {"o": None}, None],
            pa.struct([("o", pa.struct([("'a", pa.string())]))]),
            2,
        ),
        (
            (
                "logicalType: map, map: {key: {logicalType: string, enum: [{value: a}]}, value: {logicalType: integer, "
                "logicalTypeOptions: {exclusiveMaximum: 5}}}"
            ),
            [[("a", 1)], [("b", 1)], [("a", 5)], None],
            pa.map_(pa.string(), pa.int64()),
            2,
        ),
    ],
)
def test_what_no_expectation_says_is_a_condition_on_rows(
    column: str, values: list[Any], kind: pa.DataType, bad: int
) -> None:
    found = checks(
        with_column(f"{{name: c, {column}, customProperties: [{{property: lakehouseSeverity, value: quarantine}}]}}")
    )
    assert {(type(check), check.severity) for check in found} == {(RowCheck, "quarantine")}
    broken = " OR ".join(f"({check.condition}) IS NOT TRUE" for check in found if isinstance(check, RowCheck))
    with ENGINE.query(
        f"SELECT count(*) FROM t WHERE {broken}", tables={"t": pa.table({"c": pa.array(values, kind)})}
    ) as rows:
        assert rows.read_all()[0][0].as_py() == bad


@pytest.mark.parametrize(
    ("rule", "severity"),
    [
        ("severity: error", "fail"),
        ("severity: warning", "warn"),
        ("severity: info", "warn"),
        ("customProperties: [{property: lakehouseSeverity, value: drop}]", "drop"),
        ("severity: error, customProperties: [{property: lakehouseSeverity, value: quarantine}]", "quarantine"),
    ],
)
def test_severity_is_the_contracts_word_or_ours(rule: str, severity: str) -> None:
    assert of_column(f"{{metric: nullValues, mustBe: 0, {rule}}}").severity == severity


def test_owner_limit_condition_name_and_description_are_kept() -> None:
    check = of_column(
        "{name: there, description: Needed., dimension: completeness, metric: nullValues, mustBe: 0, customProperties: ["
        "{property: lakehouseOwner, value: bob}, {property: lakehouseLimitShare, value: 0.1}, "
        "{property: lakehouseLimitRows, value: 5}, {property: lakehouseRowCondition, value: c <> ''}]}"
    )
    assert check == Expectation(
        "expect_column_values_to_not_be_null",
        {"column": "c"},
        row_condition="c <> ''",
        limit=Limit(5, 0.1),
        name="there",
        owner="bob",
        description="Needed. (completeness)",
    )


def test_a_rule_stands_in_for_what_is_declared_too() -> None:
    rule = "{name: there, metric: nullValues, mustBe: 0, severity: warning}"
    check = only(with_column(f"{{name: c, required: true, quality: [{rule}]}}"))
    assert (check.name, check.severity) == ("there", "warn")


def test_uniqueness_sets_no_single_row_aside() -> None:
    column = "{name: c, primaryKey: true, customProperties: [{property: lakehouseSeverity, value: quarantine}]}"
    assert [check.severity for check in checks(with_column(column))] == ["quarantine", "fail"]


def test_our_own_rules_are_conditions_and_queries() -> None:
    rule = "{{type: custom, engine: lakehouse, name: n, implementation: {{{0}}}}}"
    assert only(with_rule(rule.format("condition: a > 0"))) == RowCheck("n", "a > 0")
    assert only(with_rule(rule.format("query: SELECT 1 FROM checked"))) == TableCheck("n", "SELECT 1 FROM checked")


def test_texts_are_for_people() -> None:
    assert checks(with_rule("{type: text, description: Checked by hand.}")) == ()
    assert checks(with_rule("{description: Checked by hand.}")) == ()


def test_rules_of_other_engines_are_left_to_them_only_where_that_is_said() -> None:
    text = with_rule("{type: custom, engine: soda, implementation: {type: x}}")
    with pytest.raises(UnsupportedError, match="'soda' are not run here"):
        checks(text)
    assert checks(text, left_to=("soda",)) == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (with_rule("{metric: nullValues, mustBe: 0}"), "is about a column"),
        (with_column("{name: c, quality: [{metric: rowCount, mustBe: 0}]}"), "of a table"),
        (with_rule("{metric: rowCount, mustBe: 5, unit: percent}"), "of a table"),
        (with_rule("{metric: rowCount, mustBe: 5, unit: bushels}"), "neither rows nor percent"),
        (with_rule("{metric: rowCount, mustBe: 5, severity: purple}"), "severity means nothing"),
        (with_column("{name: c, quality: [{metric: missingValues, mustBe: 0}]}"), "no values in"),
        (with_column("{name: c, quality: [{metric: invalidValues, mustBe: 0}]}"), "neither `arguments.validValues`"),
        (with_rule("{type: sql, query: 'SELECT ${CUTOFF}', mustBe: 0}"), "placeholder '${CUTOFF}'"),
        (with_rule("{type: sql, query: 'SELECT {column}', mustBe: 0}"), "placeholder '{column}'"),
        (with_rule("{type: sql, query: 'SELECT ${A:-1}', mustBe: 0}"), "variable with a default"),
        (with_rule("{type: sql, query: ' ; ', mustBe: 0}"), "query is empty"),
        (with_rule("{type: sql, query: SELECT 1, mustBe: [1, [2]]}"), "no single value"),
        (
            with_rule(
                "{type: sql, query: SELECT 1, mustBe: 1, customProperties: [{property: lakehouseSeverity, value: drop}]}"
            ),
            "no single row can be set aside",
        ),
        (
            with_rule(
                "{metric: rowCount, mustBe: 1, customProperties: [{property: lakehouseSeverity, value: quarantine}]}"
            ),
            "no single row can be set aside",
        ),
        (
            with_rule(
                "{type: sql, query: SELECT 1, mustBe: 1, customProperties: [{property: lakehouseRowCondition, value: a > 1}]}"
            ),
            "is for rules that become expectations",
        ),
        (with_rule("{type: custom, engine: lakehouse, implementation: {sql: x}}"), "neither a `condition`"),
        (with_rule("{type: custom, engine: gx, implementation: 'a: [1'}"), "cannot be read"),
        (with_rule("{type: custom, engine: gx, implementation: text}"), "no mapping"),
        (
            with_rule(
                '{type: custom, engine: gx, implementation: "{type: expect_column_to_exist, kwargs: {column: x}}"}'
            ),
            "no column 'x'",
        ),
        (
            with_rule(
                "{type: custom, engine: gx, implementation: "
                "{type: expect_compound_columns_to_be_unique, kwargs: {column_list: [a, x]}}}"
            ),
            "no column 'x'",
        ),
        (with_rule("{type: custom, engine: gx, implementation: {kwargs: {}}}"), "not a `type`"),
        (
            with_column("{name: c, logicalType: object, logicalTypeOptions: {maxProperties: 1}}"),
            "an option of its type",
        ),
        (
            with_column("{name: c, logicalType: array, items: {logicalType: string, unique: true}}"),
            "inside it that no check reaches",
        ),
        (
            with_column("{name: c, semanticType: measure, quality: [{metric: nullValues, mustBe: 0}]}"),
            "measure or dimension",
        ),
    ],
)
def test_what_cannot_be_checked_is_refused_with_file_and_line(text: str, reason: str) -> None:
    with pytest.raises((UnsupportedError, InvalidRequestError)) as refused:
        checks(text)
    assert reason in refused.value.message
    assert (refused.value.facts["file"], refused.value.facts["line"]) == ("t.odcs.yaml", 9 if "name: c" in text else 12)


def test_two_rules_of_one_name_are_refused() -> None:
    rules = ", ".join(f"{{name: n, metric: {metric}, mustBe: 0}}" for metric in ("nullValues", "duplicateValues"))
    with pytest.raises(InvalidRequestError, match="same name"):
        checks(with_column(f"{{name: c, quality: [{rules}]}}"))


@pytest.mark.parametrize("query", ["SELECT 1; SELECT 2", "DROP TABLE t", "SELECT 1) AS x, (DELETE FROM t"])
def test_a_query_that_is_not_one_query_runs_nowhere(query: str) -> None:
    check = only(with_rule(f"{{type: sql, query: '{query}', mustBe: 1}}"))
    with pytest.raises(InvalidRequestError):
        violations(check, pa.table({"a": [1], "b": ["x"]}))


@pytest.mark.parametrize("name", ['c"; DROP TABLE x; --', "it's", "{object}", "naïve ☃", "a.b"])
def test_odd_names_are_names(name: str) -> None:
    quoted = name.replace("'", "''")
    rule = "{metric: nullValues, mustBe: 1}"
    options = "logicalType: integer, logicalTypeOptions: {multipleOf: 2}"
    column = f"{{name: '{quoted}', {options}, quality: [{rule}]}}"
    rows = pa.table({name: [2, 3, None]})
    condition, count = checks(with_column(column))
    assert (violations(condition, rows), violations(count, rows)) == (1, 0)


def test_a_latency_without_a_column_asks_nothing_of_the_table() -> None:
    text = (
        HEAD + "schema: [{name: t, properties: [{name: a}]}]\nslaProperties: [{property: latency, value: 1, unit: d}]\n"
    )
    assert checks(text) == ()


def test_a_latency_without_a_fixed_length_is_refused() -> None:
    text = (
        HEAD + "schema: [{name: t, properties: [{name: a, logicalType: timestamp}]}]\n"
        "slaProperties: [{property: latency, value: 1, unit: y, element: a}]\n"
    )
    with pytest.raises(InvalidRequestError, match="no length of time"):
        checks(text)


def test_a_column_of_the_key_is_never_null_though_it_is_said_not_to_be_required() -> None:
    text = with_column("{name: c, primaryKey: true, required: false}")
    assert [expected(check)[0] for check in checks(text)] == [
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_be_unique",
    ]
    assert [one.verdict for one in run_checks(
        pa.table({"c": [1, None]}), checks(text), engine=ENGINE, table="t", version=1
    ).outcomes] == ["broken", "passed"]  # fmt: skip


SHOP = with_schema(
    "  - {name: products, id: products_obj, physicalName: silver.products, properties: ["
    "{name: id, id: products_id, physicalName: product_id}]}\n"
    "  - {name: people, physicalName: silver.people, properties: ["
    "{name: id}, {name: land}, {name: boss, relationships: [{to: people.id}]}]}\n"
    "  - name: t\n"
    "    relationships:\n"
    "      - {from: [t.person, t.land], to: [people.id, people.land]}\n"
    "    properties:\n"
    "      - name: product\n"
    "        relationships:\n"
    "          - {to: RELATED, customProperties: [{property: lakehouseSeverity, value: warn}]}\n"
    "      - {name: person, physicalName: person_id}\n"
    "      - {name: land}\n"
)  # fmt: skip


@pytest.mark.parametrize("reference", ["products.id", "schema/products_obj/properties/products_id"])
def test_what_a_column_refers_to_has_to_be_there(reference: str) -> None:
    found = checks(SHOP.replace("RELATED", reference))
    assert [(expected(one), one.severity) for one in found] == [
        (
            (
                "expect_column_values_to_exist_in_other_table",
                {"column": "product", "other_table": "silver.products", "other_columns": ["product_id"]},
            ),
            "warn",
        ),
        (
            (
                "expect_column_values_to_exist_in_other_table",
                {"column_list": ["person_id", "land"], "other_table": "silver.people", "other_columns": ["id", "land"]},
            ),
            "fail",
        ),
    ]


def test_rows_that_refer_to_what_is_not_there_are_counted() -> None:
    tables = {
        "silver.products": pa.table({"product_id": [1, 2]}),
        "silver.people": pa.table({"id": [1, 2], "land": ["a", "b"]}),
    }
    rows = pa.table({"product": [1, 3, None], "person_id": [1, 1, 2], "land": ["a", "b", "b"]})
    found = checks(SHOP.replace("RELATED", "products.id"))
    result = run_checks(rows, found, engine=ENGINE, table="t", version=1, tables=tables)
    assert [(one.violations, one.verdict) for one in result.outcomes] == [(1, "broken"), (1, "broken")]


def test_rows_may_refer_to_rows_of_their_own_table() -> None:
    (check,) = checks_of_contract(read_contract(SHOP.replace("RELATED", "products.id")), table="people")
    rows = pa.table({"id": [1, 2, 3], "land": ["a"] * 3, "boss": [None, 1, 9]})
    (outcome,) = run_checks(rows, [check], engine=ENGINE, table="silver.people", version=1).outcomes
    assert (outcome.verdict, outcome.violations) == ("broken", 1)


@pytest.mark.parametrize("reference", ["products.name", "elsewhere.id", "other.yaml#/schema/a/properties/b"])
def test_a_relationship_that_leads_nowhere_is_refused_with_its_line(reference: str) -> None:
    with pytest.raises(UnsupportedError, match="relationship") as refused:
        checks(SHOP.replace("RELATED", reference))
    assert (refused.value.facts["file"], refused.value.facts["line"]) == ("t.odcs.yaml", 13)


def test_a_table_that_is_read_alone_knows_what_it_refers_to(tmp_path: Path) -> None:
    path = tmp_path / "t.odcs.yaml"
    path.write_text(SHOP.replace("RELATED", "products.id"))
    alone = checks_of_contract(read_contract_file(path, table="t"), table="t")
    assert alone == checks_of_contract(read_contract_file(path), table="t")


@pytest.mark.parametrize("backend", ["memory", "iceberg", "delta"])
def test_a_table_that_its_contract_made_has_the_columns_of_the_contract(backend: str, tmp_path: Path) -> None:
    contract = read_contract(ORDERS)
    table = find("tables", backend)(CatalogSettings(backend, f"file://{tmp_path}")).table("silver.orders")
    spec = spec_of_contract(contract, table="orders")
    table.create(replace(spec, partitioning=()))
    check = schema_check_of_contract(contract, table="orders")
    (outcome,) = run_checks(table, [check], engine=ENGINE, table="silver.orders", version=0).outcomes
    assert outcome.passed


def test_columns_that_differ_from_the_contract_are_named() -> None:
    contract = read_contract(with_column("{name: c, logicalType: integer}"))
    rows = pa.table({"c": ["1"], "further": [1]})
    for exact, surplus in ((False, []), (True, ["further"])):
        check = schema_check_of_contract(contract, table="t", exact=exact)
        (outcome,) = run_checks(rows, [check], engine=ENGINE, table="t", version=1).outcomes
        assert outcome.verdict == "broken"
        assert outcome.observed == {"missing": [], "surplus": surplus, "different": ["c"]}
