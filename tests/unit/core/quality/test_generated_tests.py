"""A generated test file runs as it is, holds the table to the contract, and takes names for what they are."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.contracts.contract import Contract, ContractColumn, ContractTable, Rule
from airflow_provider_lakehouse.core.contracts.odcs import write_contract
from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.generated_tests import (
    CATALOG_VARIABLE,
    catalog_from_environment,
    pytest_file,
)
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, WriteToken
from airflow_provider_lakehouse.core.tables.spec import TableSpec

ROOT = Path(__file__).parents[4]
HOSTILE = ['"""', "'''", '"; raise SystemExit #', "a\nb", "back\\slash", "{}%s", "naïve ☃ 𝔘", "\\N{BULLET}"]


def rule(name: str, condition: str) -> Rule:
    return Rule("custom", name=name, engine="lakehouse", implementation={"condition": condition})


def contract_of(name: str, *rules: Rule) -> Contract:
    column = ContractColumn("n", logical_type="integer")
    table = ContractTable(name, physical_name="shop.numbers", columns=(column,), rules=rules)
    return Contract("c", "1.0.0", status="active", tables=(table,))


def run(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_numbers.py").write_text(test, "utf-8")
    catalog = {"format": "delta", "warehouse": f"file://{folder}/lake"}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            "--rootdir",
            folder,
            "test_numbers.py",
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), CATALOG_VARIABLE: json.dumps(catalog), "PYTHONUTF8": "1"},
        capture_output=True,
        check=False,
        text=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a lake in it: a table of the numbers 1, 2 and 3."""
    table = find("tables", "delta")(CatalogSettings("delta", f"file://{tmp_path}/lake")).table("shop.numbers")
    table.create(TableSpec(Schema.of(Column("n", "int"))))
    table.commit(Change(rows=pa.table({"n": pa.array([1, 2, 3], pa.int32())}).to_reader()), token=WriteToken("test", 1))
    return tmp_path


def test_one_test_runs_for_each_check_whatever_names_there_are(folder: Path) -> None:
    name = "numbers " + " ".join(HOSTILE)
    contract = contract_of(name, *(rule(f"check {one}", "n > 0") for one in HOSTILE))
    path = folder / "odd '\" name.odcs.yaml"
    path.write_text(write_contract(contract), "utf-8")
    done = run(folder, pytest_file(path, table=name))
    assert f"{len(HOSTILE)} passed" in done.stdout, done.stdout + done.stderr


def test_a_table_that_the_contract_refers_to_is_read_as_well(folder: Path) -> None:
    known = ContractTable("known", physical_name="shop.known", columns=(ContractColumn("n", logical_type="integer"),))
    refers = ContractColumn("n", logical_type="integer", extra={"relationships": [{"to": "known.n"}]})
    numbers = ContractTable("numbers", physical_name="shop.numbers", columns=(refers,))
    path = folder / "numbers.odcs.yaml"
    path.write_text(write_contract(Contract("c", "1.0.0", status="active", tables=(numbers, known))), "utf-8")
    table = find("tables", "delta")(CatalogSettings("delta", f"file://{folder}/lake")).table("shop.known")
    table.create(TableSpec(Schema.of(Column("n", "int"))))
    done = run(folder, pytest_file(path, table="numbers"))
    assert "1 failed" in done.stdout, done.stdout + done.stderr
    assert "violations=3" in done.stdout


def test_a_check_that_is_broken_fails_and_the_others_pass(folder: Path) -> None:
    contract = contract_of("numbers", rule("positive", "n > 0"), rule("small", "n < 3"))
    path = folder / "contracts" / "numbers.odcs.yaml"
    path.parent.mkdir()
    path.write_text(write_contract(contract), "utf-8")
    text = pytest_file(path, table="numbers").replace(f"{folder}/", "")
    done = run(folder, text)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "breaks 'small'" in done.stdout


def test_the_file_is_plain_python_with_the_names_as_data(tmp_path: Path) -> None:
    name = "".join(HOSTILE)
    path = tmp_path / "c.odcs.yaml"
    path.write_text(write_contract(contract_of(name)), "utf-8")
    tree = ast.parse(pytest_file(path, table=name))
    literals = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [json.loads(one)["table"] for one in literals if one.startswith('{"contract"')] == [name]


def test_no_file_is_made_for_a_table_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "c.odcs.yaml"
    path.write_text(write_contract(contract_of("numbers")), "utf-8")
    with pytest.raises(InvalidRequestError, match="no table 'letters'"):
        pytest_file(path, table="letters")


@pytest.mark.parametrize(
    "value", [None, "", "delta", "[]", '{"format": "delta"}', '{"format": "delta", "warehouse": "x", "secret": 1}']
)
def test_an_environment_that_names_no_lakehouse_is_refused(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CATALOG_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(CATALOG_VARIABLE, value)
    with pytest.raises(InvalidRequestError, match="names no lakehouse"):
        catalog_from_environment()
