"""A DAG that tests of lineage run in a process of its own, with OpenLineage switched on: `python lineage_dag.py`."""

from __future__ import annotations

import datetime
import sys

from airflow.sdk import DAG

from airflow_provider_lakehouse.assets import table_asset
from airflow_provider_lakehouse.operators.check import LakehouseCheckOperator
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator

with DAG("lineage", start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), default_args={"retries": 0}) as dag:
    seed = LakehouseQueryOperator(
        task_id="seed", sql="SELECT 1::BIGINT AS id, 2::BIGINT AS price, 3::BIGINT AS quantity", table="bronze.orders"
    )
    load = LakehouseQueryOperator(
        task_id="load",
        sql="SELECT id, price * quantity AS total FROM bronze.orders",
        reads=["bronze.orders"],
        table="silver.orders",
        outlets=[table_asset("silver.orders", format="iceberg")],
    )
    check = LakehouseCheckOperator(
        task_id="check",
        table="silver.orders",
        checks=[{"name": "total is positive", "condition": "total > 0", "columns": ["total"]}],
    )
    seed >> load >> check

if __name__ == "__main__":
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import LazyDeserializedDAG, SerializedDAG
    from airflow.utils.session import create_session

    with create_session() as session:
        if session.get(DagBundleModel, "testing") is None:
            session.add(DagBundleModel(name="testing"))
            session.flush()
        SerializedDAG.bulk_write_to_db("testing", None, [dag], session=session)
        SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), bundle_name="testing", session=session)
    sys.exit(dag.test().state != "success")
