"""The gate judges expectations too: a share of the rows is enough where `mostly` says so."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
from airflow_provider_lakehouse.core.errors import DataRejectedError
from airflow_provider_lakehouse.core.quality.checks import Expectation
from airflow_provider_lakehouse.core.quality.gate import RowGate
from airflow_provider_lakehouse.core.schema import Schema
from airflow_provider_lakehouse.core.sources.base import Rejects

ENGINE = DuckDBEngine(EngineSettings(threads=1))
ROWS = pa.table({"id": list(range(10)), "amount": [-1, -2, None, None, *range(6)]})


def gated(**settings: Any) -> tuple[list[int], RowGate]:
    between = Expectation("expect_column_values_to_be_between", {"column": "amount", "min_value": 0}, **settings)
    gate = RowGate((between,), Rejects(), source="orders")
    with ENGINE.query(gate.wrap("FROM given", Schema.from_arrow(ROWS.schema)), tables={"given": ROWS}) as found:
        return gate.pass_on(found).read_all()["id"].to_pylist(), gate


def test_a_batch_of_which_a_large_enough_share_is_sound_passes_whole() -> None:
    ids, gate = gated(mostly=0.75)
    (outcome,) = gate.outcomes()
    assert ids == list(range(10))
    assert (outcome.verdict, outcome.violations, outcome.rows, outcome.missing) == ("passed", 2, 10, 2)


def test_a_batch_of_which_too_small_a_share_is_sound_is_refused() -> None:
    with pytest.raises(DataRejectedError, match="allow none"):
        gated(mostly=0.76)


def test_the_share_is_of_the_rows_that_are_looked_at() -> None:
    ids, gate = gated(mostly=0.85, row_condition="id > 0")
    assert len(ids) == 10
    assert (gate.outcomes()[0].rows, gate.outcomes()[0].violations) == (9, 1)


def test_rows_that_break_a_quarantining_expectation_are_set_aside_and_nulls_are_not() -> None:
    ids, gate = gated(severity="quarantine")
    assert ids == list(range(2, 10))
    assert gate.rejects.rows[0].checks == ("amount: values be between (min_value 0)",)
