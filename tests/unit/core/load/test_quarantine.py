"""Refused rows are kept, once, before the others can be seen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, UnavailableError
from airflow_provider_lakehouse.core.load.modes import Append, Merge
from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
from airflow_provider_lakehouse.core.load.quarantine import write_rejects
from airflow_provider_lakehouse.core.quality.checks import Limit
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.sources.base import RejectedRow, Rejects
from airflow_provider_lakehouse.core.sources.quarantine import QUARANTINE_SPEC
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, Positions, WriteToken
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.load.modes import Mode

TOKEN = WriteToken("tests", "b")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
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


def quarantined(lake: Any, *, token: str = "b", **options: Any) -> tuple[Any, list[dict[str, Any]]]:
    table, aside = lake.table(Column("id", "long"), Column("n", "int")), lake.catalog.table("tests.aside")
    lake.load(table, ROWS, Append(), token=token, policy=POLICY, quarantine=aside, **options)
    return table, lake.rows(aside)


def test_a_refused_row_says_which_table_run_and_contract_refused_it(lake: Any) -> None:
    table, (row,) = quarantined(lake, run="run 7", contract="orders 1.2.0")
    assert (row["target"], row["run"], row["contract"]) == (table.identity.name, "run 7", "orders 1.2.0")
    assert (row["checks"], row["severity"], row["release_id"]) == ([], "quarantine", None)


def test_a_row_that_does_not_fit_is_kept_typed_as_the_batch_had_it(lake: Any) -> None:
    _, (row,) = quarantined(lake)
    assert (row["payload_format"], row["payload"]) == ("json", '{"id":2,"n":"seven"}')
    assert row["payload_types"] == '{"id":"long","n":"string"}'


def test_equal_rows_have_ids_of_their_own_that_do_not_depend_on_their_order(lake: Any) -> None:
    rows = [RejectedRow("bad", "a.csv", None, text) for text in ("x", "x", "y")]
    found = []
    for name, given in (("one", rows), ("other", rows[::-1])):
        rejects = Rejects()
        rejects.rows.extend(given)
        write_rejects(lake.catalog.table(f"tests.{name}"), rejects, token=TOKEN, now=NOW)
        found.append({row["id"] for row in lake.rows(lake.catalog.table(f"tests.{name}"))})
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_a_text_as_found_is_not_taken_for_a_typed_row(lake: Any) -> None:
    rejects, aside = Rejects(), lake.catalog.table("tests.aside")
    rejects.add(RejectedRow("wrong number of fields", "a.csv", 3, '{"id": 1}'))
    write_rejects(aside, rejects, token=TOKEN, now=NOW)
    assert [(row["payload_format"], row["payload_types"]) for row in lake.rows(aside)] == [("text", None)]


@pytest.mark.parametrize("format_", ["memory", "iceberg", "delta"])
def test_a_table_of_an_earlier_shape_is_extended_and_keeps_its_rows(tmp_path: Path, format_: str) -> None:
    place = f"memory://{tmp_path}" if format_ == "memory" else f"file://{tmp_path}/lake"
    aside = find("tables", format_)(CatalogSettings(format_, place)).table("tests.aside")
    earlier = Schema(QUARANTINE_SPEC.schema.columns[:7])
    aside.create(TableSpec(earlier))
    old = {"reason": "odd", "payload": "1,2", "pipeline": "p", "batch": "1", "rejected_at": NOW}
    rows = pa.Table.from_pylist([old], schema=earlier.to_arrow())
    aside.commit(Change(rows=rows.to_reader()), token=WriteToken("p", "1"))
    rejects = Rejects()
    rejects.add(RejectedRow("bad", "a.csv", 1, "x"))
    for _ in range(2):
        write_rejects(aside, rejects, token=TOKEN, now=NOW, target="tests.t")

    found = sorted(aside.read().read_all().to_pylist(), key=lambda row: row["reason"])
    assert [(row["reason"], row["payload"], row["target"]) for row in found] == [
        ("bad", "x", "tests.t"),
        ("odd", "1,2", None),
    ]


def test_a_table_that_means_something_else_is_refused_by_name(lake: Any) -> None:
    other = lake.table(Column("reason", "long"))
    rejects = Rejects()
    rejects.add(RejectedRow("bad", "a.csv", 1, "x"))
    with pytest.raises(InvalidRequestError, match=other.identity.name):
        write_rejects(other, rejects, token=TOKEN, now=NOW)


@pytest.mark.parametrize("mode", [Append(), Merge(("id",))], ids=["append", "merge"])
def test_a_batch_of_which_more_is_refused_than_the_limit_allows_writes_nothing(lake: Any, mode: Mode) -> None:
    table, aside = lake.table(Column("id", "long"), Column("n", "int")), lake.catalog.table("tests.aside")
    with pytest.raises(DataRejectedError, match="1 of 2 rows"):
        lake.load(table, ROWS, mode, policy=POLICY, quarantine=aside, rejects=Rejects(limit=Limit(share=0.4)))
    assert (lake.rows(table), aside.exists()) == ([], False)


@pytest.fixture(params=["memory", "iceberg", "delta"])
def aside(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    place = f"memory://{tmp_path}" if request.param == "memory" else f"file://{tmp_path}/lake"
    return find("tables", request.param)(CatalogSettings(request.param, place)).table("tests.aside")


def keep(aside: Any, *payloads: str, token: WriteToken = TOKEN, target: str = "tests.t") -> None:
    rejects = Rejects()
    for payload in payloads:
        rejects.add(RejectedRow("bad", "a.csv", None, payload))
    write_rejects(aside, rejects, token=token, now=NOW, target=target)


def kept(aside: Any) -> list[str]:
    return sorted(row["payload"] for row in aside.read().read_all().to_pylist())


def test_a_further_attempt_at_a_batch_leaves_what_it_refuses_and_nothing_else_of_the_batch(aside: Any) -> None:
    keep(aside, "x", token=WriteToken("tests", "other batch"))
    keep(aside, "x", target="tests.other")
    for payloads in (("x", "y"), ("y", "z", "z"), ("y", "z", "z"), (), ("z", "z"), ("x",)):
        keep(aside, *payloads)
        assert kept(aside) == sorted(["x", "x", *payloads])


def test_a_batch_of_which_nothing_was_refused_before_does_not_look_at_the_rows(aside: Any) -> None:
    keep(aside)
    assert not aside.exists()
    keep(aside, "x")
    keep(aside, token=WriteToken("tests", "clean"))
    assert kept(aside) == ["x"]


def test_rows_that_were_released_are_not_kept_again_by_the_same_batch(aside: Any) -> None:
    keep(aside, "x", "y")
    where = (Comparison("payload", "=", "x"),)
    found = aside.read_addressed(columns=(), where=where).read_all()
    version = aside.facts().version
    aside.commit(Change(removes=Positions(found), base=version), token=WriteToken("tests", "release"))
    keep(aside, "x", "y")
    assert kept(aside) == ["y"]
