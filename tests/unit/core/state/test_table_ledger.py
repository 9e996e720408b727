"""A ledger kept in a table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from airflow_provider_lakehouse.core.errors import DamagedError, InvalidRequestError
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.state.base import FileOutcome
from airflow_provider_lakehouse.core.state.table import LEDGER_SPEC, TableFileLedger
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, WriteToken
from airflow_provider_lakehouse.testing.store_spec import outcomes_of, plan_of

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import Table

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return find("tables", "memory")(CatalogSettings("memory", f"memory://{tmp_path}")).table("lakehouse.files")


def test_reading_a_ledger_does_not_create_its_table(table: Table):
    ledger = TableFileLedger(table)
    assert (ledger.unfinished("p"), dict(ledger.seen("p")), table.exists()) == ((), {}, False)


def test_a_file_has_one_row_for_its_claim_and_one_for_its_outcome(table: Table):
    ledger = TableFileLedger(table)
    claimed = ledger.claim("p", plan=plan_of("a"))
    ledger.finish(claimed, outcomes=outcomes_of(claimed.plan), at=NOW)
    rows = sorted(table.read().read_all().to_pylist(), key=lambda row: row["state"])
    assert [(row["state"], row["row_count"], row["at"]) for row in rows] == [("claimed", None, NOW), ("loaded", 1, NOW)]
    assert set(table.facts().properties) == set()


def test_a_claim_that_cannot_be_read_is_damage(table: Table):
    import pyarrow as pa

    table.create(LEDGER_SPEC)
    row = {"pipeline": "p", "batch": 1, "ordinal": 0, "file": "f", "identity": "1", "state": "claimed", "at": NOW}
    rows = pa.Table.from_pylist([{**row, "facts": "{}"}], schema=LEDGER_SPEC.schema.to_arrow()).to_reader()
    table.commit(Change(rows=rows), token=WriteToken("someone", "else"))
    with pytest.raises(DamagedError):
        TableFileLedger(table).unfinished("p")


def test_a_claim_is_no_outcome():
    with pytest.raises(InvalidRequestError):
        FileOutcome("f", "1", "claimed")
    outcome = FileOutcome("f", "1", "loaded")
    assert replace(outcome, state="empty").state == "empty"
