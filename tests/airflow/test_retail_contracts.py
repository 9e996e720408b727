"""The contracts of the reference DAG say what it does: its columns, and its checks."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lakehouse.core.contracts.contract import Contract
from airflow_provider_lakehouse.core.contracts.odcs import read_contract, read_contract_file, write_contract
from airflow_provider_lakehouse.core.contracts.tables import spec_of_contract
from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
from airflow_provider_lakehouse.core.flows import METADATA_COLUMNS, derived_spec
from airflow_provider_lakehouse.core.load.modes import mode_from_json
from airflow_provider_lakehouse.core.quality.checks import Expectation, RowCheck
from airflow_provider_lakehouse.core.quality.contract_findings import contract_findings
from airflow_provider_lakehouse.core.quality.from_contract import checks_of_contract
from airflow_provider_lakehouse.samples.retail_contract import COLUMNS
from airflow_provider_lakehouse.task_groups.medallion import DerivedTable

DAGS = Path(__file__).parents[2] / "dags"
FILES = sorted((DAGS / "contracts" / "retail").glob("*.odcs.yaml"))
ENGINE = DuckDBEngine(EngineSettings(threads=1))


@pytest.fixture(scope="module")
def contracts() -> dict[str, Contract]:
    """Contracts by layer."""
    return {path.name.partition(".")[0]: read_contract_file(path) for path in FILES}


@pytest.fixture(scope="module")
def derived() -> list[DerivedTable]:
    """What the reference DAG derives, in its order."""
    dag: dict[str, Any] = runpy.run_path(str(DAGS / "medallion_retail.py"))
    return [*dag["SILVER"], *dag["SALES"], *dag["GOLD"]]


def test_nothing_is_wrong_with_them() -> None:
    assert contract_findings(FILES, engine=ENGINE) == {str(path): () for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_they_are_written_as_they_are_read(path: Path) -> None:
    contract = read_contract_file(path)
    assert read_contract(write_contract(contract)) == contract


@pytest.mark.parametrize("name", COLUMNS)
def test_bronze_has_the_columns_of_the_files_and_where_they_came_from(
    name: str, contracts: dict[str, Contract]
) -> None:
    schema = spec_of_contract(contracts["bronze"], table=f"bronze.{name}").schema
    assert {c.name: c.type for c in schema.columns if c.name in COLUMNS[name]} == dict(COLUMNS[name])
    assert schema.names == (*COLUMNS[name], *METADATA_COLUMNS, "_row_hash")


def test_every_derived_table_has_the_columns_that_its_query_gives(
    contracts: dict[str, Contract], derived: list[DerivedTable]
) -> None:
    tables = {
        table.stored_name: spec_of_contract(contract, table=table.name).schema
        for contract in contracts.values()
        for table in contract.tables
    }
    empty = {name: schema.to_arrow().empty_table() for name, schema in tables.items()}
    for one in derived:
        found = ENGINE.describe(one.sql, tables=empty, parameters={"first_batch": 1, "last_batch": 1})
        wanted = derived_spec(found, mode_from_json(one.mode)).schema
        assert [(c.name, c.type) for c in tables[one.table].columns] == [(c.name, c.type) for c in wanted.columns]


def test_every_check_of_the_dag_is_one_of_the_contract(
    contracts: dict[str, Contract], derived: list[DerivedTable]
) -> None:
    for one in derived:
        demanded = checks_of_contract(contracts[one.table.partition(".")[0]], table=one.table)
        for check in (*one.row_checks, *one.checks):
            if check.name.endswith("is unique"):
                keys = check.name.removesuffix(" is unique").split(", ")
                assert any(
                    isinstance(o, Expectation) and "unique" in o.type and list(o.columns) == keys for o in demanded
                )
                continue
            (same,) = [other for other in demanded if other.name == check.name]
            assert (type(same), same.severity) == (type(check), check.severity)
            if isinstance(check, RowCheck):
                assert getattr(same, "condition", None) == check.condition
