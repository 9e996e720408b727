"""Importing the package, or parsing a DAG of it, loads no heavy library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "airflow_provider_lakehouse"
HEAVY = (
    "adbc_driver_manager",
    "awswrangler",
    "boto3",
    "confluent_kafka",
    "deltalake",
    "duckdb",
    "fastavro",
    "great_expectations",
    "numpy",
    "pandas",
    "psycopg",
    "pyarrow",
    "pyiceberg",
    "pyspark",
    "s3fs",
    "snowflake",
)
SAYS = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules} & set(sys.argv[2:])))"


def modules() -> list[str]:
    """Every module that somebody may import; `__main__` is for running."""
    found = [path.relative_to(ROOT).with_suffix("") for path in sorted(PACKAGE.rglob("*.py"))]
    return [".".join(path.parts).removesuffix(".__init__") for path in found if path.name != "__main__"]


def loaded_by(code: str, argument: str, home: Path) -> set[str]:
    """Run code in an interpreter of its own, and return which heavy libraries it loaded."""
    environment = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{SAYS}", argument, *HEAVY],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return set(done.stdout.splitlines()[-1].split())


def test_no_module_loads_a_heavy_library(tmp_path: Path) -> None:
    names = modules()
    assert len(names) > 50
    code = f"import importlib\nfor name in {names!r}: importlib.import_module(name)"
    assert loaded_by(code, "-", tmp_path) == set()


@pytest.mark.parametrize("name", ["get_provider_info", "__init__"])
def test_what_airflow_reads_of_every_provider_imports_nothing(name: str, tmp_path: Path) -> None:
    module = f"airflow_provider_lakehouse.{name}".removesuffix(".__init__")
    code = f"import sys, {module}\nassert 'airflow' not in sys.modules"
    assert loaded_by(code, "-", tmp_path) == set()


@pytest.mark.parametrize("dag_file", sorted((ROOT / "dags").glob("*.py")), ids=lambda path: path.name)
def test_parsing_a_dag_loads_no_heavy_library(dag_file: Path, tmp_path: Path) -> None:
    code = "import runpy, sys\nrunpy.run_path(sys.argv[1])"
    # For the first asset that a DAG names, Airflow itself imports what every installed provider has to say about URIs.
    by_airflow = loaded_by("from airflow.sdk import Asset\nAsset('other://x')", "-", tmp_path)
    assert loaded_by(code, str(dag_file), tmp_path) <= by_airflow
