"""A contract is proposed from rows; written to a file and read again, the rows keep it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.contracts.odcs import read_contract, read_contract_file, write_contract
from airflow_provider_lakehouse.core.contracts.tables import spec_of_contract
from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.quality.checks import Check
from airflow_provider_lakehouse.core.quality.contract_proposal import suggest_contract
from airflow_provider_lakehouse.core.quality.from_contract import checks_of_contract
from airflow_provider_lakehouse.core.quality.profile import suggest_checks
from airflow_provider_lakehouse.core.quality.run import run_checks
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, WriteToken
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from tests.unit.core.quality.test_profile import ENGINE, ROWS

HOURS = [dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=number) for number in range(100)]
FURTHER: dict[str, Any] = {
    "at": pa.array(HOURS),
    "local": pa.array([one.replace(tzinfo=None) for one in HOURS]),
    "time": pa.array([dt.time(1, 2)] * 100),
    "bytes": pa.array([b"1"] * 100),
    "four": pa.array([b"1234"] * 100, pa.binary(4)),
    "id of another": pa.array([bytes(16)] * 100, pa.uuid()),
    'say "no"': pa.array([1, 2] * 50, pa.int32()),
    "float": pa.array([1.5] * 100, pa.float32()),
    "object": pa.array([{"a": 1, "b c": ["x"]}] * 100),
    "map": pa.array([[("k", 1)]] * 100, pa.map_(pa.string(), pa.int32())),
}
MANY = pa.table({**dict(zip(ROWS.column_names, ROWS.columns, strict=True)), **FURTHER})


def asked(checks: tuple[Check, ...]) -> set[tuple[str, str]]:
    """Return what expectations ask, but of the columns and the number of rows."""
    told = {(check.type, repr(sorted(check.arguments.items()))) for check in checks}  # type: ignore[union-attr]
    return {one for one in told if not one[0].startswith("expect_table_")}


def test_the_rows_keep_the_contract_that_was_written_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "orders.odcs.yaml"
    path.write_text(write_contract(suggest_contract(MANY, engine=ENGINE, table="silver.orders")), "utf-8")
    checks = checks_of_contract(read_contract_file(path), table="silver.orders")
    outcomes = run_checks(MANY, checks, engine=ENGINE, table="silver.orders", version=1).outcomes
    assert [one for one in outcomes if not one.passed] == []
    assert asked(checks) == asked(suggest_checks(MANY, engine=ENGINE))
    assert [check.name for check in checks[-2:]] == ["at least 50 rows", "at most 150 rows"]


def test_a_table_made_by_the_contract_has_the_columns_that_were_looked_at() -> None:
    contract = read_contract(write_contract(suggest_contract(MANY, engine=ENGINE, table="orders")))
    made = spec_of_contract(contract, table="orders").schema
    assert [(one.name, one.type) for one in made.columns] == [
        (one.name, one.type) for one in Schema.from_arrow(MANY.schema).columns
    ]


def test_of_a_table_without_rows_its_columns_are_proposed() -> None:
    contract = suggest_contract(MANY.slice(0, 0), engine=ENGINE, table="silver.orders")
    (table,) = read_contract(write_contract(contract)).tables
    assert [column.name for column in table.columns] == MANY.column_names
    assert [column.name for column in table.columns if column.required or column.options] == []
    assert table.rules == ()


@pytest.mark.parametrize("backend", ["memory", "iceberg", "delta"])
def test_a_table_of_every_format_can_be_looked_at(backend: str, tmp_path: Path) -> None:
    table = find("tables", backend)(CatalogSettings(backend, f"file://{tmp_path}")).table("silver.orders")
    table.create(TableSpec(Schema.of(Column("id", "long", nullable=False), Column("note", "string"))))
    rows = pa.table(
        {"id": [1, 2, 3], "note": ["a", None, "b"]},
        schema=pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("note", pa.string())]),
    )
    table.commit(Change(rows=rows.to_reader()), token=WriteToken("test", 1))
    proposed = suggest_contract(table, engine=ENGINE, table="silver.orders")
    assert [(column.name, column.required, column.unique) for column in proposed.tables[0].columns] == [
        ("id", True, True),
        ("note", False, False),
    ]
    checks = checks_of_contract(proposed, table="silver.orders")
    assert run_checks(TableView(table), checks, engine=ENGINE, table="t", version=1).failed == ()


def test_one_row_more_or_less_is_within_what_is_proposed_and_twice_as_many_are_not() -> None:
    checks = checks_of_contract(suggest_contract(ROWS, engine=ENGINE, table="t"), table="t")
    counts = [check for check in checks if check.name.endswith(" rows")]
    for rows, failed in ((ROWS.slice(1), []), (ROWS.slice(60), ["at least 50 rows"])):
        result = run_checks(rows, counts, engine=ENGINE, table="t", version=1)
        assert [one.name for one in result.failed] == failed
    twice = run_checks(pa.concat_tables([ROWS, ROWS]), counts, engine=ENGINE, table="t", version=1)
    assert [one.name for one in twice.failed] == ["at most 150 rows"]
