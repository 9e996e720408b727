"""An Airflow of its own for these tests: a home and a database that live as long as the session."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

HOME = Path(tempfile.mkdtemp(prefix="lakehouse-airflow-"))
SETTINGS = {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(HOME / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
    "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": "[]",
    "AIRFLOW__OPENLINEAGE__DISABLED": "True",
}
# Airflow reads them when it is imported for the first time, which collecting these tests does.
os.environ.update(SETTINGS)


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def database() -> Path:
    """A migrated metadata database."""
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], env=os.environ | SETTINGS, check=True, capture_output=True
    )
    return HOME / "airflow.db"


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set a connection the way a deployment can: by a variable of the environment."""

    def set_connection(conn_id: str = "lakehouse_default", **fields: Any) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "lakehouse", **fields}))

    return set_connection


@pytest.fixture
def warehouse(connect: Callable[..., None]) -> str:
    """A warehouse in memory behind the default connection."""
    uri = f"memory://{uuid.uuid4()}"
    connect(extra={"format": "memory", "warehouse": uri, "memory_limit_mb": 256, "threads": 1})
    return uri


@pytest.fixture(params=["iceberg", "delta"])
def local_format(request: pytest.FixtureRequest, connect: Callable[..., None], tmp_path: Path) -> str:
    """A warehouse on disk behind the default connection, in each format that has assets."""
    connect(extra={"format": request.param, "warehouse": f"file://{tmp_path}/warehouse", "memory_limit_mb": 256})
    return str(request.param)


class Store:
    """What Airflow offers a task for its state, kept in a dictionary."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.values[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


@pytest.fixture
def context() -> Callable[..., dict[str, Any]]:
    """Build what Airflow hands to `execute`; the same task state for the same context."""
    from airflow.sdk.execution_time.context import OutletEventAccessors

    def build(
        *,
        run_id: str = "run-1",
        task_id: str = "task",
        map_index: int = -1,
        partition_key: str | None = None,
        conf: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        ti = SimpleNamespace(dag_id="dag", task_id=task_id, run_id=run_id, map_index=map_index)
        dag_run = SimpleNamespace(run_id=run_id, conf=conf or {}, partition_key=partition_key)
        return {
            "ti": ti,
            "dag_run": dag_run,
            "run_id": run_id,
            "partition_key": partition_key,
            "outlet_events": OutletEventAccessors(),
            "task_state_store": Store(),
        }

    return build


@pytest.fixture
def table(warehouse: str) -> Callable[..., Any]:
    """Create a table of the default connection with rows in it."""
    from airflow_provider_lakehouse.bridge.specs import read_schema
    from airflow_provider_lakehouse.core.tables.base import Change, WriteToken
    from airflow_provider_lakehouse.core.tables.spec import TableSpec
    from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook

    def create(name: str, columns: dict[str, str], *rows: tuple[Any, ...]) -> Any:
        import pyarrow as pa

        found = LakehouseHook().table(name)
        schema = read_schema(columns)
        found.create(TableSpec(schema))
        if rows:
            values = pa.Table.from_pylist(
                [dict(zip(columns, row, strict=True)) for row in rows], schema=schema.to_arrow()
            )
            found.commit(Change(rows=values.to_reader()), token=WriteToken("test", uuid.uuid4().hex))
        return found

    return create


def rows_of(table: Any, **at: Any) -> list[dict[str, Any]]:
    """Return the rows of a table in a stable order."""
    from airflow_provider_lakehouse.core.tables.base import At

    with table.read(at=At(**at)) as reader:
        rows: list[dict[str, Any]] = reader.read_all().to_pylist()
    return sorted(rows, key=lambda row: json.dumps(row, default=str))


@pytest.fixture
def rows() -> Callable[..., list[dict[str, Any]]]:
    return rows_of


@pytest.fixture
def run_dag(database: Path) -> Iterator[Callable[..., Any]]:
    """Run a DAG that a test defines, as `airflow dags test` does; it has to be serialized first."""
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.sdk.lineage import get_hook_lineage_collector
    from airflow.serialization.serialized_objects import LazyDeserializedDAG, SerializedDAG
    from airflow.utils.session import create_session

    def run(dag: Any, **options: Any) -> Any:
        with create_session() as session:
            if session.get(DagBundleModel, "testing") is None:
                session.add(DagBundleModel(name="testing"))
                session.flush()
            SerializedDAG.bulk_write_to_db("testing", None, [dag], session=session)
            SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), bundle_name="testing", session=session)
        return dag.test(**options)

    yield run
    get_hook_lineage_collector.cache_clear()
