"""Refused rows are kept, once, before the others can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.errors import UnavailableError
from airflow_provider_lakehouse.core.load.modes import Append, Merge
from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
from airflow_provider_lakehouse.core.schema import Column
from airflow_provider_lakehouse.core.sources.base import RejectedRow, Rejects

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.load.modes import Mode

POLICY = SchemaPolicy(wrong_values="quarantine")
ROWS = pa.table({"id": [1, 2], "n": ["7", "seven"]})


class Dying:
    """A table whose process dies before the first commit."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def commit(self, change: Any, **_: Any) -> Any:
        for _batch in change.rows:
            pass
        raise UnavailableError("The process died here.")


@pytest.mark.parametrize("mode", [Append(), Merge(("id",))], ids=["append", "merge"])
def test_refused_rows_of_a_killed_attempt_are_kept_once(lake: Any, mode: Mode) -> None:
    table, aside = lake.table(Column("id", "long"), Column("n", "int")), lake.catalog.table("tests.aside")
    with pytest.raises(UnavailableError):
        lake.load(Dying(table), ROWS, mode, token="b", policy=POLICY, quarantine=aside)
    assert len(lake.rows(aside)) == 1
    for _ in range(2):
        lake.load(table, ROWS, mode, token="b", policy=POLICY, quarantine=aside)
    (row,) = lake.rows(aside)
    assert (row["reason"], row["pipeline"], row["batch"]) == ("n: not a int", "tests", "b")
    assert lake.rows(table) == [{"id": 1, "n": 7}]


def test_rows_that_the_source_refuses_while_it_streams_are_kept_too(lake: Any) -> None:
    table, aside, rejects = lake.table(Column("id", "long")), lake.catalog.table("tests.aside"), Rejects()

    def rows() -> Any:
        yield pa.record_batch({"id": [1]})
        rejects.add(RejectedRow("wrong number of fields", "file:///a.csv", 3, "1,2"))

    reader = pa.RecordBatchReader.from_batches(pa.schema([("id", pa.int64())]), rows())
    result = lake.load(table, reader, Append(), rejects=rejects, quarantine=aside)
    assert (result.rows_inserted, result.rows_rejected) == (1, 1)
    assert [row["source_row"] for row in lake.rows(aside)] == [3]


def test_nothing_refused_makes_no_table(lake: Any) -> None:
    aside = lake.catalog.table("tests.aside")
    lake.load(lake.table(Column("id", "long")), pa.table({"id": [1]}), Append(), quarantine=aside)
    assert not aside.exists()
