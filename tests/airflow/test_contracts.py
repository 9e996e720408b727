"""A contract drives what a load creates, which rows are set aside, which checks are asked, and what lineage tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.operators.check import LakehouseCheckOperator
from airflow_provider_lakehouse.operators.ingest_files import LakehouseIngestFilesOperator
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator

Contexts = Callable[..., dict[str, Any]]
Rows = Callable[..., list[dict[str, Any]]]
CONTRACT = """
apiVersion: v3.2.0
kind: DataContract
id: orders
version: 1.2.0
status: active
team: {name: sales-data}
schema:
  - name: orders
    physicalName: silver.orders
    description: One row for each order.
    properties:
      - {name: id, logicalType: integer, physicalType: bigint, primaryKey: true}
      - name: email
        logicalType: string
        classification: confidential
        quality:
          - metric: nullValues
            mustBe: 0
            customProperties: [{property: lakehouseSeverity, value: quarantine}]
      - name: amount
        logicalType: number
        physicalType: decimal(10,2)
        quality:
          - metric: invalidValues
            mustBe: 0
            arguments: {validValues: [1, 2, 3]}
"""
SELECT = "SELECT * FROM (VALUES {}) AS v(id, email, amount)"
GOOD = SELECT.format("(1::BIGINT, 'a@b.c', 1.00::DECIMAL(10,2))")


@pytest.fixture
def contract(tmp_path: Path) -> str:
    path = tmp_path / "orders.odcs.yaml"
    path.write_text(CONTRACT)
    return str(path)


def query(contract: str, sql: str, **options: Any) -> LakehouseQueryOperator:
    return LakehouseQueryOperator(task_id="task", sql=sql, table="silver.orders", contract=contract, **options)


def test_a_table_that_a_load_creates_is_as_its_contract_says(warehouse: str, context: Contexts, contract: str) -> None:
    query(contract, GOOD).execute(context())
    facts = LakehouseHook().table("silver.orders").facts()
    assert [(c.name, c.type, c.nullable) for c in facts.schema.columns] == [
        ("id", "long", False), ("email", "string", True), ("amount", "decimal(10,2)", True),
    ]  # fmt: skip
    assert facts.schema.identifier == ("id",)


def test_rows_that_break_what_the_contract_sets_aside_go_to_quarantine_with_its_name(
    warehouse: str, context: Contexts, contract: str, rows: Rows
) -> None:
    query(contract, SELECT.format("(1::BIGINT, NULL, 1.00::DECIMAL(10,2)), (2, 'a@b.c', 2.00)")).execute(context())
    assert [row["id"] for row in rows(LakehouseHook().table("silver.orders"))] == [2]
    (refused,) = rows(LakehouseHook().table("quarantine.rows"))
    assert refused["contract"] == "orders@1.2.0"


def test_the_checks_of_the_contract_are_asked_of_the_table(warehouse: str, context: Contexts, contract: str) -> None:
    query(contract, SELECT.format("(1::BIGINT, 'a@b.c', 9.00::DECIMAL(10,2)), (1, 'd@e.f', 1.00)")).execute(context())
    check = LakehouseCheckOperator(task_id="task", table="silver.orders", contract=contract)
    with pytest.raises(DataRejectedError, match="breaks 2 of its checks"):
        check.execute(context())
    assert check.result is not None
    assert check.result.contract == "orders@1.2.0"


RELATED = """
apiVersion: v3.2.0
kind: DataContract
id: shop
version: 1.0.0
status: active
schema:
  - {name: products, physicalName: silver.products, properties: [{name: id, logicalType: integer}]}
  - name: sales
    physicalName: silver.sales
    properties: [{name: product, logicalType: integer, relationships: [{to: products.id}]}]
"""


@pytest.mark.parametrize("reads", [(), ["silver.products"]])
def test_the_tables_that_a_contract_refers_to_are_read_without_being_named(
    warehouse: str, table: Any, context: Contexts, tmp_path: Path, reads: Any
) -> None:
    path = tmp_path / "shop.odcs.yaml"
    path.write_text(RELATED)
    table("silver.sales", {"product": "int"}, (1,), (7,))
    check = LakehouseCheckOperator(task_id="task", table="silver.sales", contract=str(path), reads=reads)
    with pytest.raises(DataRejectedError, match=r"silver\.products"):
        check.execute(context())
    table("silver.products", {"id": "int"}, (1,))
    check = LakehouseCheckOperator(
        task_id="task", table="silver.sales", contract=str(path), is_blocking=False, reads=reads
    )
    (outcome,) = check.execute(context())["outcomes"]
    assert (outcome["verdict"], outcome["violations"]) == ("broken", 1)


def test_a_check_may_call_another_table_by_a_name_that_the_task_explains(
    warehouse: str, table: Any, context: Contexts
) -> None:
    table("silver.sales", {"product": "int"}, (1,))
    table("silver.products", {"id": "int"}, (1,))
    known = {
        "type": "expect_column_values_to_exist_in_other_table",
        "arguments": {"column": "product", "other_table": "products", "other_columns": ["id"]},
    }
    check = LakehouseCheckOperator(
        task_id="task", table="silver.sales", checks=[known], reads={"products": "silver.products"}
    )
    assert check.execute(context())["quality"]["verdict"] == "passed"


def test_only_checks_of_the_named_severities_are_asked(warehouse: str, context: Contexts, contract: str) -> None:
    query(contract, GOOD).execute(context())
    names = {}
    for severities in (["quarantine"], ["fail", "warn"], None):
        check = LakehouseCheckOperator(task_id="task", table="silver.orders", contract=contract, severities=severities)
        names[str(severities)] = len(check.execute(context())["outcomes"])
    assert names["['quarantine']"] == 1
    assert names["None"] == names["['quarantine']"] + names["['fail', 'warn']"]


def test_files_have_the_columns_of_the_contract(
    warehouse: str, context: Contexts, contract: str, rows: Rows, tmp_path: Path
) -> None:
    (tmp_path / "orders.csv").write_text("id,email,amount\n1,a@b.c,1.00\n,x@y.z,2.00\n3,d@e.f,much\n")
    operator = LakehouseIngestFilesOperator(
        task_id="task", files=f"{tmp_path}/*.csv", table="silver.orders", contract=contract
    )
    result = operator.execute(context())
    assert (result["rows_inserted"], result["rows_rejected"]) == (1, 2)
    (row,) = rows(LakehouseHook().table("silver.orders"))
    assert row["_source_row"] == 2
    assert {one["contract"] for one in rows(LakehouseHook().table("quarantine.rows"))} == {"orders@1.2.0"}


def test_lineage_tells_owner_purpose_and_classification(warehouse: str, context: Contexts, contract: str) -> None:
    query(contract, GOOD).execute(context())
    check = LakehouseCheckOperator(task_id="task", table="silver.orders", contract=contract)
    check.execute(context())
    (checked,) = check.get_openlineage_facets_on_complete(None).inputs
    assert checked.facets["ownership"].owners[0].name == "sales-data"
    assert checked.facets["documentation"].description == "One row for each order."
    assert [(t.key, t.value, t.field) for t in checked.facets["tags"].tags] == [
        ("contract", "orders@1.2.0", None), ("classification", "confidential", "email"),
    ]  # fmt: skip


@pytest.mark.parametrize("table", ["silver.others", "bronze.orders"])
def test_a_contract_of_another_table_is_refused_before_anything_is_written(
    warehouse: str, context: Contexts, contract: str, table: str
) -> None:
    operator = LakehouseQueryOperator(task_id="task", sql=GOOD, table=table, contract=contract)
    with pytest.raises(InvalidRequestError, match="has no table"):
        operator.execute(context())
    assert not LakehouseHook().table(table).exists()


def test_a_contract_that_is_not_there_is_named(warehouse: str, table: Any, context: Contexts) -> None:
    table("a.b", {"id": "long"})
    with pytest.raises(InvalidRequestError, match="nowhere"):
        LakehouseCheckOperator(task_id="task", table="a.b", contract="/nowhere.odcs.yaml").execute(context())
