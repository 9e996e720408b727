"""Area `parse`: what it costs Airflow to parse a DAG file that imports everything of ours."""

from __future__ import annotations

import json
import pkgutil
import sys
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.area import Area, Contender

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from benchmarks.area import Answer, Job

HEAVY = (
    "awswrangler", "boto3", "confluent_kafka", "deltalake", "duckdb", "fastavro", "great_expectations", "numpy",
    "obstore", "pandas", "psycopg", "pyarrow", "pyiceberg", "pyspark", "s3fs", "snowflake",
)  # fmt: skip
PUBLIC = ("assets", "decorators", "hooks", "links", "notifications", "operators", "sensors", "task_groups", "triggers")
"""Rooms that DAG files import."""
LEFT_OUT = ("demo", "samples", "testing")
"""Rooms that not even an operator imports."""
_DAG = """
from __future__ import annotations

from datetime import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG
{imports}
with DAG("bench", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    first = EmptyOperator(task_id="first")
    for number in range(5):
        first >> BashOperator(task_id=f"bash_{{number}}", bash_command="true") >> PythonOperator(
            task_id=f"python_{{number}}", python_callable=print
        )
"""


def modules() -> list[str]:
    """Return every module of the provider that a worker could come to import."""
    import airflow_provider_lakehouse as package

    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=lambda name: None)
    return [module.name for module in found if module.name.split(".")[1] not in LEFT_OUT]


def _importing(names: list[str]) -> str:
    return _DAG.format(imports="".join(f"import {name}\n" for name in names))


def prepare(folder: Path, scale: float) -> Mapping[str, Answer]:
    """Write the DAG files."""
    del scale
    public = [name for name in modules() if name.split(".")[1] in PUBLIC]
    for file, names in (("plain.py", []), ("ours.py", public), ("whole.py", modules())):
        (folder / file).write_text(_importing(names))
    return {"parsed": {"tasks": 11, "heavy": []}}


def parse(job: Job, *, file: str) -> Callable[[], object]:
    """Parse a file the way Airflow does: run it as a module of its own."""
    from importlib.util import module_from_spec, spec_from_file_location

    path = job.inputs / file

    def work() -> None:
        spec = spec_from_file_location(f"parsed_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ImportError(path)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        heavy = sorted({name.partition(".")[0] for name in sys.modules} & set(HEAVY))
        (job.folder / "parsed.json").write_text(json.dumps({"tasks": len(module.dag.tasks), "heavy": heavy}))

    return work


def check(job: Job) -> Answer:
    """Return how many tasks the file has, and which heavy libraries were imported."""
    found: Answer = json.loads((job.folder / "parsed.json").read_text())
    return found


AREA = Area(
    name="parse",
    title="a DAG file of 11 tasks that imports every operator, sensor, ... of the provider, and the same without",
    clock="cpu",
    prepare=prepare,
    rounds=9,
    contenders=(
        Contender(
            "every public module of ours",
            "ours",
            "parse",
            partial(parse, file="ours.py"),
            check=check,
            expects="parsed",
        ),
        Contender(
            "every module, the core's too",
            "peer",
            "parse",
            partial(parse, file="whole.py"),
            check=check,
            expects="parsed",
        ),
        Contender(
            "Airflow's own operators", "limit", "parse", partial(parse, file="plain.py"), check=check, expects="parsed"
        ),
    ),
)
