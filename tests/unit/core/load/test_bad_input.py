"""Bad input: a clear error of the right kind before anything is written, or the stated result."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.errors import (
    DataRejectedError,
    InvalidRequestError,
    UnsupportedError,
)
from airflow_provider_lakehouse.core.load.modes import Append, Dedup, Merge, OverwritePartitions, Scd2
from airflow_provider_lakehouse.core.load.plan import plan_load
from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
from airflow_provider_lakehouse.core.schema import Column

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.errors import (
        LakehouseError,
    )
    from airflow_provider_lakehouse.core.load.modes import Mode

ID, V, HASH = Column("id", "long"), Column("v", "string"), Column("_row_hash", "fixed(32)")
ROWS = pa.table({"id": [1], "v": ["x"]})
NAMES = ["it's", 'a "quoted" one', "with space", "do.t", "ключ", "select", "x); DROP TABLE t; --", "🦆", "rowid", "$a"]


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (Merge(("nope",)), InvalidRequestError), (Merge(("id",), update_columns=("nope",)), InvalidRequestError),
        (Merge(("id",), sequence="nope"), InvalidRequestError), (Dedup(columns=("nope",)), InvalidRequestError),
        (Dedup(hash_column="v"), InvalidRequestError), (OverwritePartitions(), InvalidRequestError),
        (Scd2(("id",), "nope"), InvalidRequestError), (Scd2(("id",), "v"), InvalidRequestError),
        (Merge(("id",), condition="source.nope = 1"), InvalidRequestError),
        (Merge(("id",), condition="source.id ="), InvalidRequestError),
        (Merge(("id",), condition="true) OR (true; DROP TABLE x"), InvalidRequestError),
        (Merge(("id",), delete_when="CAST(source.v AS INTEGER) = 1"), DataRejectedError),
    ],
)  # fmt: skip
def test_modes_that_ask_for_what_is_not_there_are_refused(lake: Any, mode: Mode, kind: type[LakehouseError]) -> None:
    table = lake.table(ID, V)
    with pytest.raises(kind):
        lake.load(table, ROWS, mode)
    assert lake.rows(table) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["append", "merge", "dedup", "scd2"])
def test_names_may_hold_anything(lake: Any, name: str, mode: str) -> None:
    periods = (Column("valid_from", "date"), Column("valid_to", "date"), Column("is_current", "boolean"))
    table = lake.table(Column(name, "long"), Column(f"{name} 2", "string"), Column("at", "date"), *periods,
                       Column("change_hash", "fixed(32)"), HASH)  # fmt: skip
    modes: dict[str, Mode] = {
        "append": Append(), "merge": Merge((name,)), "dedup": Dedup(), "scd2": Scd2((name,), "at"),
    }  # fmt: skip
    for value in ("x", "y"):
        rows = pa.table({name: [1], f"{name} 2": [value], "at": [dt.date(2026, 1, 1)]})
        lake.load(table, rows, modes[mode], policy=SchemaPolicy(missing_columns="fill"))
    assert len(lake.rows(table)) == {"append": 2, "merge": 1, "dedup": 2, "scd2": 1}[mode]


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (pa.table({"id": [1], "v": ["x"], "V": ["y"]}), InvalidRequestError),
        (pa.table([[1], ["x"], ["y"]], names=["id", "v", "v"]), InvalidRequestError),
        (pa.table({"id": [1], "v": ["x"], "__lakehouse_row": [1]}), InvalidRequestError),
        (pa.table({"id": [1], "v": ["x"], "d": pa.array([1], pa.duration("s"))}), UnsupportedError),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_told_apart_or_kept_are_refused(lake: Any, rows: pa.Table, kind: type) -> None:
    table = lake.table(ID, V)
    with pytest.raises(kind):
        lake.load(table, rows, Append(), policy=SchemaPolicy(new_columns="evolve"))
    assert lake.rows(table) == []


@pytest.mark.slow
def test_ten_thousand_columns_are_merged(lake: Any) -> None:
    names = [f"c{number}" for number in range(10_000)]
    table = lake.table(*(Column(name, "long") for name in names))
    for value in (1, 2):
        lake.load(table, pa.table({name: [value if name != "c0" else 7] for name in names}), Merge(("c0",)))
    (row,) = lake.rows(table)
    assert (row["c0"], row["c9999"], len(row)) == (7, 2, 10_000)


def test_huge_strings_are_merged_and_hashed(lake: Any) -> None:
    table = lake.table(ID, V, HASH)
    huge = "ß" * 20_000_000
    rows = pa.table({"id": [1], "v": [huge]})
    assert lake.load(table, rows, Dedup()).rows_inserted == 1
    assert lake.load(table, rows, Dedup()).rows_unchanged == 1
    keyed = lake.table(ID, V)
    for _ in range(2):
        lake.load(keyed, rows, Merge(("v",)))
    assert len(lake.rows(keyed)) == 1


DAYS = pa.array([-719_529, -1, 0, 2_932_897, 30_000_000], pa.int32()).cast(pa.date32())
INSTANTS = pa.array([-62_200_000_000_000_000, -1, 0, 253_402_300_800_000_000, 2**60], pa.timestamp("us", "UTC"))


@pytest.mark.parametrize("keys", [pa.chunked_array([DAYS]), pa.chunked_array([INSTANTS])], ids=["date", "timestamptz"])
def test_dates_before_1970_and_outside_pythons_years_are_keys_like_any_other(lake: Any, keys: pa.ChunkedArray) -> None:
    kind = "date" if pa.types.is_date(keys.type) else "timestamptz"
    table = lake.table(Column("k", kind), V)
    for value in ("x", "y"):
        result = lake.load(table, pa.table({"k": keys, "v": [value] * len(keys)}), Merge(("k",)))
    assert (result.rows_updated, result.rows_inserted) == (len(keys), 0)
    assert table.read(columns=("k",)).read_all()["k"].cast(keys.type).to_numpy().tolist() == keys.to_numpy().tolist()


def test_time_zones_are_one_instant_however_they_are_written(lake: Any) -> None:
    table = lake.table(Column("at", "timestamptz"), V)
    utc = pa.array([1_774_746_000_000_000], pa.timestamp("us", "UTC"))  # in the hour that Berlin skips
    for zone in ("UTC", "Europe/Berlin", "America/New_York"):
        rows = pa.table({"at": utc.cast(pa.timestamp("us", zone)), "v": [zone]})
        lake.load(table, rows, Merge(("at",)))
    assert [row["v"] for row in lake.rows(table)] == ["America/New_York"]


def test_nan_is_one_key_and_both_zeros_are_one(lake: Any) -> None:
    table = lake.table(Column("k", "double"), V)
    for value in ("x", "y"):
        keys = [float("nan"), 0.0 if value == "x" else -0.0, float("inf"), None]
        lake.load(table, pa.table({"k": keys, "v": [value] * 4}), Merge(("k",)))
    assert [row["v"] for row in lake.rows(table)] == ["y"] * 4


def test_a_null_in_the_identifier_is_refused(lake: Any) -> None:
    table = lake.table(Column("id", "long", nullable=False), V, identifier=("id",))
    with pytest.raises(DataRejectedError):
        lake.load(table, pa.table({"id": [1, None], "v": ["x", "y"]}), Merge(("id",)))
    assert lake.rows(table) == []


def test_planning_is_pure_and_can_be_read_as_json(lake: Any) -> None:
    import json

    table = lake.table(ID, V)
    rows = pa.schema([("id", pa.int32()), ("v", pa.string()), ("new", pa.float64())])
    plans = [plan_load(Merge(("id",)), table.facts(), rows, SchemaPolicy.from_json("evolve")) for _ in range(2)]
    assert plans[0] == plans[1]
    shown = json.loads(json.dumps(plans[0].to_json()))
    assert shown["schema_changes"] == ["add new: double"]
    assert [column["how"] for column in shown["columns"]] == ["cast", "same", "cast"]
