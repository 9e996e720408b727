"""Whole journeys: files, queries and checks end in the right table, once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.extract.plan import plan_files
from airflow_provider_lakehouse.core.flows import Target, derived_spec, ingest_files, load_query
from airflow_provider_lakehouse.core.load.modes import Append, Dedup, Scd2
from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
from airflow_provider_lakehouse.core.quality.checks import Expectation, Limit, RowCheck
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.sources.files.source import FileSettings, FileSource
from airflow_provider_lakehouse.core.state.table import TableFileLedger
from airflow_provider_lakehouse.core.tables.base import At, CatalogSettings, WriteToken
from airflow_provider_lakehouse.core.tables.memory.table import MemoryCatalog, open_catalog

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.flows import IngestResult, QueryResult

NOW = datetime(2026, 2, 1, tzinfo=UTC)
ORDERS = Schema.of(Column("id", "long", nullable=False), Column("amount", "decimal(10,2)"))


@pytest.fixture
def catalog(tmp_path: Path) -> MemoryCatalog:
    return open_catalog(CatalogSettings("memory", f"memory://{tmp_path}"))


def ingest(catalog: MemoryCatalog, folder: Path, mode: Any = None, limit: Limit | None = None) -> IngestResult:
    source = FileSource(FileSettings(f"{folder}/*.csv", schema=ORDERS))
    ledger = TableFileLedger(catalog.table("ledger.files"))
    plan = plan_files(source, ledger, pipeline="test", now=NOW)
    target = Target(
        catalog.table("bronze.orders"),
        mode or Dedup(),
        SchemaPolicy.from_json("quarantine"),
        quarantine=catalog.table("quarantine.rows"),
        limit=limit,
        run="run 7",
    )
    return ingest_files(plan, source, ledger, target, engine=open_engine(), now=NOW)


def query(catalog: MemoryCatalog, severity: Any, *, batch: str = "1", limit: Limit | None = None) -> QueryResult:
    rows = pa.table({"id": [1, 2, 3], "amount": [5, -1, None]})
    checks = (RowCheck("amount is positive", "amount > 0", severity),)
    target = Target(catalog.table("silver.orders"), Append(), quarantine=catalog.table("quarantine.rows"), limit=limit)
    return load_query(
        "SELECT * FROM source",
        target,
        token=WriteToken("test", batch),
        engine=open_engine(),
        now=NOW,
        tables={"source": rows},
        checks=checks,
    )


def ids(catalog: MemoryCatalog, name: str) -> list[int]:
    return sorted(catalog.table(name).read(columns=("id",)).read_all()["id"].to_pylist())


def test_files_are_loaded_once_with_where_and_when_they_came_from(catalog: MemoryCatalog, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,amount\n1,2.50\n2,cheap\n1,2.50\n")
    first = ingest(catalog, tmp_path)
    again = ingest(catalog, tmp_path)

    assert (first.rows_read, first.rows_inserted, first.rows_unchanged, first.rows_rejected) == (3, 1, 1, 1)
    assert (again.batches, again.files_left_out) == ((), 1)
    (row,) = catalog.table("bronze.orders").read().read_all().to_pylist()
    assert (row["_source_file"], row["_source_row"], row["_batch"]) == (f"file://{tmp_path}/a.csv", 2, 1)
    assert row["_ingested_at"] == NOW
    (refused,) = catalog.table("quarantine.rows").read().read_all().to_pylist()
    assert (refused["reason"], refused["source_row"]) == ("amount: not a decimal(10,2)", 3)


def test_a_late_file_is_a_batch_of_its_own(catalog: MemoryCatalog, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("id,amount\n1,2.50\n")
    ingest(catalog, tmp_path)
    (tmp_path / "a.csv").write_text("id,amount\n2,2.50\n")
    late = ingest(catalog, tmp_path)

    assert (late.batches, late.files_loaded, late.rows_inserted) == ((2,), 1, 1)
    assert ids(catalog, "bronze.orders") == [1, 2]


@pytest.mark.parametrize(
    ("severity", "kept", "refused"), [("quarantine", [1], 2), ("drop", [1], 0), ("warn", [1, 2, 3], 0)]
)
def test_the_severity_of_a_check_says_what_happens_to_rows_that_break_it(
    catalog: MemoryCatalog, severity: str, kept: list[int], refused: int
) -> None:
    result = query(catalog, severity)

    assert ids(catalog, "silver.orders") == kept
    assert [(outcome.name, outcome.violations) for outcome in result.checks] == [("amount is positive", 2)]
    table = catalog.table("quarantine.rows")
    assert (len(table.read().read_all()) if table.exists() else 0) == refused
    assert result.rows_checked == 3


def test_a_check_that_allows_none_refuses_the_batch_and_shows_no_row(catalog: MemoryCatalog) -> None:
    with pytest.raises(DataRejectedError, match="allow none") as caught:
        query(catalog, "fail")

    assert caught.value.facts["checks"] == ("amount is positive: 2",)
    assert ids(catalog, "silver.orders") == []


def test_a_check_that_does_not_fit_the_rows_is_refused_before_the_table_is_made(catalog: MemoryCatalog) -> None:
    check = Expectation("expect_column_values_to_not_be_null", {"column": "price"}, severity="quarantine")
    target = Target(catalog.table("silver.orders"), Append(), quarantine=catalog.table("quarantine.rows"))
    with pytest.raises(InvalidRequestError, match="price"):
        load_query(
            "SELECT 1 AS id",
            target,
            token=WriteToken("test", "1"),
            engine=open_engine(),
            now=NOW,
            tables={},
            checks=(check,),
        )
    assert not target.table.exists()


def test_a_query_of_which_too_much_is_set_aside_writes_nothing(catalog: MemoryCatalog) -> None:
    with pytest.raises(DataRejectedError, match="limit of the batch"):
        query(catalog, "quarantine", limit=Limit(share=0.5))

    assert (ids(catalog, "silver.orders"), catalog.table("quarantine.rows").exists()) == ([], False)
    assert query(catalog, "quarantine", limit=Limit(rows=2)).load.rows_rejected == 2


def test_files_of_which_too_much_is_refused_stay_claimed_until_more_is_allowed(
    catalog: MemoryCatalog, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("id,amount\n1,2.50\n2,cheap\n3,3.50\n")
    with pytest.raises(DataRejectedError, match="1 of 3 rows"):
        ingest(catalog, tmp_path, limit=Limit(share=0.3))
    assert (ids(catalog, "bronze.orders"), catalog.table("quarantine.rows").exists()) == ([], False)

    result = ingest(catalog, tmp_path, limit=Limit(rows=1))

    assert (result.rows_inserted, result.rows_rejected) == (2, 1)
    (refused,) = catalog.table("quarantine.rows").read().read_all().to_pylist()
    assert (refused["target"], refused["run"]) == ("bronze.orders", "run 7")


def test_a_query_with_a_known_token_does_not_run_again(catalog: MemoryCatalog) -> None:
    query(catalog, "warn")

    assert query(catalog, "fail").load.is_replay
    assert ids(catalog, "silver.orders") == [1, 2, 3]


def test_a_batch_that_is_staged_again_from_a_corrected_source_is_in_quarantine_as_it_is_now(
    catalog: MemoryCatalog,
) -> None:
    table, aside = catalog.table("silver.orders"), catalog.table("quarantine.rows")
    for amounts in ([5, -1, 3], [-5, 1, 3]):
        load_query(
            "SELECT * FROM source",
            Target(table, Append(), quarantine=aside, branch="staged"),
            token=WriteToken("test", "1"),
            engine=open_engine(),
            now=NOW,
            tables={"source": pa.table({"id": [1, 2, 3], "amount": amounts})},
            checks=(RowCheck("amount is positive", "amount > 0", "quarantine"),),
        )
        staged = table.read(at=At(branch="staged")).read_all()
        refused = aside.read().read_all()["payload"].to_pylist()
        assert sorted(staged["amount"].to_pylist()) == sorted(amount for amount in amounts if amount > 0)
        assert [json.loads(one)["amount"] for one in refused] == [amount for amount in amounts if amount < 0]
        table.drop_branch("staged")


def test_a_query_that_names_an_unknown_table_is_refused(catalog: MemoryCatalog) -> None:
    target = Target(catalog.table("silver.orders"), Append())
    with pytest.raises(InvalidRequestError):
        load_query(
            "SELECT * FROM nowhere", target, token=WriteToken("t", "1"), engine=open_engine(), now=NOW, tables={}
        )


def test_a_derived_table_has_the_columns_its_mode_keeps_and_none_that_only_tell_what_to_do() -> None:
    rows = Schema.of(Column("id", "long"), Column("name", "string"), Column("at", "date"), Column("gone", "boolean"))
    mode = Scd2(keys=("id",), effective_at="at", delete_when="source.gone")

    assert derived_spec(rows, mode).schema.names == (
        "id", "name", "valid_from", "valid_to", "is_current", "change_hash",
    )  # fmt: skip
    assert derived_spec(rows, Dedup()).schema.names[-1] == "_row_hash"
