"""The gate refuses a batch of which too much is broken, before anything of it is written."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import Limit, RowCheck, TableCheck
from airflow_provider_lakehouse.core.quality.gate import RowGate, row_level
from airflow_provider_lakehouse.core.schema import Schema
from airflow_provider_lakehouse.core.sources.base import RejectedRow, Rejects

ENGINE = DuckDBEngine(EngineSettings(threads=1))
ROWS = pa.table({"id": list(range(10)), "amount": [-1, -2, *range(8)]})


def check(
    severity: Any = "quarantine", *, limit: Any = None, name: str = "amount", sql: str = "amount >= 0"
) -> RowCheck:
    return RowCheck(name, sql, severity, limit=limit)


def passed(*checks: RowCheck, limit: Limit | None = None) -> tuple[list[int], Rejects]:
    rejects = Rejects()
    gate = RowGate(checks, rejects, source="orders", limit=limit)
    with ENGINE.query(gate.wrap("FROM given", Schema.from_arrow(ROWS.schema)), tables={"given": ROWS}) as found:
        return gate.pass_on(found).read_all()["id"].to_pylist(), rejects


@pytest.mark.parametrize("severity", ["quarantine", "drop"])
@pytest.mark.parametrize("limit", [{"rows": 2}, {"share": 0.2}, {"rows": 2, "share": 0.2}])
def test_as_many_rows_may_be_set_aside_as_the_limits_allow(severity: str, limit: dict[str, Any]) -> None:
    assert passed(check(severity, limit=limit), limit=Limit(**limit))[0] == list(range(2, 10))


@pytest.mark.parametrize("severity", ["quarantine", "drop"])
@pytest.mark.parametrize(("limit", "words"), [({"rows": 1}, "1 rows"), ({"share": 0.19}, "19 %")])
def test_more_than_a_check_allows_refuse_the_batch(severity: str, limit: dict[str, Any], words: str) -> None:
    with pytest.raises(DataRejectedError, match="limits allow") as refused:
        passed(check(severity, limit=limit))
    assert refused.value.facts["checks"] == (f"amount: 2 of 10, limit {words}",)


def test_more_than_the_batch_allows_refuse_it_also_where_each_check_allows_them() -> None:
    with pytest.raises(DataRejectedError, match="the limit of the batch") as refused:
        passed(
            check(limit={"rows": 2}), check("drop", name="id", sql="id <> 9", limit={"rows": 1}), limit=Limit(rows=2)
        )
    assert refused.value.facts == {"rows": 3, "of": 10, "limit": "2 rows", "checks": ("amount: 2", "id: 1")}


def test_rows_that_break_two_checks_count_once_for_the_batch() -> None:
    checks = (check(), check("drop", name="again"))
    assert len(passed(*checks, limit=Limit(rows=2))[0]) == 8


def test_warnings_set_nothing_aside_so_no_limit_holds_for_them() -> None:
    assert len(passed(check("warn", limit={"rows": 0}), limit=Limit(rows=0))[0]) == 10


def test_rows_pass_in_the_order_in_which_they_came() -> None:
    assert passed(check("warn"), check(name="id", sql="id <> 5"))[0] == [0, 1, 2, 3, 4, 6, 7, 8, 9]


def test_a_refused_row_keeps_its_checks_and_can_be_read_back() -> None:
    _, rejects = passed(check(), check("warn", name="warned", sql="id > 0"))
    first = rejects.rows[0]
    assert (first.checks, first.reason) == (("amount",), "amount")
    assert (first.payload, first.payload_types) == ('{"id":0,"amount":-1}', '{"id":"long","amount":"long"}')


def test_a_check_of_a_whole_table_judges_no_rows() -> None:
    with pytest.raises(InvalidRequestError, match="whole table"):
        row_level([check(), TableCheck("unique", "SELECT 1")])


def test_refused_rows_of_all_kinds_are_held_against_the_limit_of_the_batch() -> None:
    rejects = Rejects(limit=Limit(share=0.1))
    for number in range(2):
        rejects.add(RejectedRow("too short", "a.csv", number, "x"))
    rejects.require_limit(of=20)
    with pytest.raises(DataRejectedError) as refused:
        rejects.require_limit(of=19)
    assert refused.value.facts["reasons"] == ("too short: 2",)
