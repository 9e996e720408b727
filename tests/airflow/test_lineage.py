"""OpenLineage is told what was read, what was written, and which column came from which."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lakehouse.bridge.lineage import SeenDataset, SeenLineage, operator_lineage
from airflow_provider_lakehouse.bridge.quality import assertions_of, metrics_of
from airflow_provider_lakehouse.core.errors import DataRejectedError
from airflow_provider_lakehouse.core.quality.checks import CheckOutcome
from airflow_provider_lakehouse.core.quality.run import ChecksResult
from airflow_provider_lakehouse.operators.check import LakehouseCheckOperator
from airflow_provider_lakehouse.operators.ingest_files import LakehouseIngestFilesOperator
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator

Contexts = Callable[..., dict[str, Any]]


def test_a_query_tells_schema_version_statistics_source_names_and_columns(
    warehouse: str, table: Any, context: Contexts
) -> None:
    table("bronze.orders", {"id": "long", "amount": "long"}, (1, 10), (2, 20))
    operator = LakehouseQueryOperator(
        task_id="task",
        sql="SELECT o.id, o.amount * 2 AS twice FROM bronze.orders AS o",
        reads=["bronze.orders"],
        table="silver.orders",
    )
    operator.execute(context())
    lineage = operator.get_openlineage_facets_on_complete(None)
    (source,), (target,) = lineage.inputs, lineage.outputs
    assert (source.namespace, source.name) == (warehouse, "bronze.orders")
    assert target.facets["symlinks"].identifiers[0].namespace == "memory://default"
    assert target.facets["symlinks"].identifiers[0].name == "silver.orders"
    assert [(f.name, f.type) for f in target.facets["schema"].fields] == [("id", "long"), ("twice", "long")]
    assert target.facets["version"].datasetVersion == "1"
    assert target.facets["dataSource"].uri == f"{warehouse}/silver/orders"
    assert target.outputFacets["outputStatistics"].rowCount == 2
    columns = {name: [(f.name, f.field) for f in found.inputFields] for name, found in _fields(target)}
    assert columns == {"id": [("bronze.orders", "id")], "twice": [("bronze.orders", "amount")]}
    assert lineage.job_facets["sql"].query == operator.sql


def _fields(target: Any) -> Any:
    return target.facets["columnLineage"].fields.items()


def test_what_was_replayed_claims_no_rows(warehouse: str, context: Contexts) -> None:
    operator = LakehouseQueryOperator(task_id="task", sql="SELECT 1 AS id", table="silver.orders")
    for _ in range(2):
        operator.execute(context())
    (target,) = operator.get_openlineage_facets_on_complete(None).outputs
    assert target.outputFacets == {}


def test_a_check_tells_what_it_found_also_when_it_fails(warehouse: str, table: Any, context: Contexts) -> None:
    table("silver.orders", {"id": "long"}, (-1,))
    operator = LakehouseCheckOperator(
        task_id="task",
        table="silver.orders",
        checks=[{"name": "id is positive", "condition": "id > 0", "columns": ["id"]}],
    )
    with pytest.raises(DataRejectedError):
        operator.execute(context())
    (checked,) = operator.get_openlineage_facets_on_complete(None).inputs
    (assertion,) = checked.inputFacets["dataQualityAssertions"].assertions
    assert (assertion.name, assertion.success, assertion.column, assertion.actual) == (
        "id is positive",
        False,
        "id",
        "1",
    )


def test_what_checks_measured_of_columns_is_told() -> None:
    outcomes = (
        CheckOutcome("id is there", "fail", 2, "broken", "expect_column_values_to_not_be_null", ("id",), rows=10),
        CheckOutcome(
            "few ids", "warn", 0, "passed", "expect_column_unique_value_count_to_be_between", ("id",), observed=8
        ),
        CheckOutcome("lowest", "warn", 0, "passed", "expect_column_min_to_be_between", ("day",), observed="2026-01-01"),
        CheckOutcome("nobody knows", "fail", 0, "unknown", "expect_column_sum_to_be_between", ("id",), observed=1),
    )
    result = ChecksResult("silver.orders", 3, 10, outcomes)
    seen = SeenDataset("s3://lake/orders", assertions=assertions_of(outcomes), metrics=metrics_of(result))
    (told,) = operator_lineage(SeenLineage({"checked": seen})).inputs
    metrics = told.inputFacets["dataQualityMetrics"]
    assert metrics.rowCount == 10
    assert {name: (one.nullCount, one.distinctCount) for name, one in metrics.columnMetrics.items()} == {"id": (2, 8)}
    assertions = {
        one.name: (one.success, one.assertion) for one in told.inputFacets["dataQualityAssertions"].assertions
    }
    assert assertions["nobody knows"] == (False, "expect_column_sum_to_be_between")
    assert assertions["few ids"][0]


def test_files_are_named_by_their_pattern(warehouse: str, tmp_path: Path, context: Contexts) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    operator = LakehouseIngestFilesOperator(task_id="task", files=f"{tmp_path}/*.csv", table="bronze.orders")
    operator.execute(context())
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert [(one.namespace, one.name) for one in lineage.inputs] == [("file", f"{tmp_path}/*.csv")]
    assert lineage.outputs[0].outputFacets["outputStatistics"].rowCount == 1


@pytest.mark.parametrize("sql", ["", "SELECT * FROM bronze.orders", "SELECT FROM WHERE", "SELECT x FROM elsewhere"])
def test_columns_that_the_parser_cannot_follow_are_left_out(sql: str) -> None:
    columns = (("x", "long", ""),)
    seen = SeenLineage({"bronze.orders": SeenDataset("s3://b/o")}, (SeenDataset("s3://b/t", columns=columns),), sql)
    assert "columnLineage" not in operator_lineage(seen).outputs[0].facets


@pytest.mark.airflow
def test_airflow_emits_it(database: Path, tmp_path: Path) -> None:
    events_file = tmp_path / "events.json"
    connection = {"format": "iceberg", "warehouse": f"file://{tmp_path}/warehouse"}
    settings = {
        "AIRFLOW__OPENLINEAGE__DISABLED": "False",
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "tests",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "file", "log_file_path": str(events_file), "append": True}
        ),
        "AIRFLOW_CONN_LAKEHOUSE_DEFAULT": json.dumps({"conn_type": "lakehouse", "extra": connection}),
    }
    script = Path(__file__).with_name("lineage_dag.py")
    done = subprocess.run(
        [sys.executable, script], env=os.environ | settings, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    events = [json.loads(line) for line in events_file.read_text().splitlines()]
    completed = {event["job"]["name"]: event for event in events if event["eventType"] == "COMPLETE"}
    (target,) = completed["lineage.load"]["outputs"]
    assert target["name"].startswith(f"{tmp_path}/warehouse")
    assert target["facets"]["symlinks"]["identifiers"] == [
        {"namespace": "iceberg://default", "name": "silver.orders", "type": "TABLE"}
    ]
    origins = target["facets"]["columnLineage"]["fields"]["total"]["inputFields"]
    assert sorted(one["field"] for one in origins) == ["price", "quantity"]
    assert target["outputFacets"]["outputStatistics"]["rowCount"] == 1
    (checked,) = completed["lineage.check"]["inputs"]
    assert checked["inputFacets"]["dataQualityAssertions"]["assertions"][0]["success"]
    assert (checked["namespace"], checked["name"]) == (target["namespace"], target["name"])
