"""What happens to rows that do not fit."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.load.modes import Append, Merge
from airflow_provider_lakehouse.core.load.policy import SchemaPolicy
from airflow_provider_lakehouse.core.schema import Column
from airflow_provider_lakehouse.core.sources.base import Rejects

ID, AMOUNT = Column("id", "int", nullable=False), Column("amount", "decimal(5,2)")
TEXTS = pa.table(
    {"id": pa.array([1, 2, 3, 4], pa.int32()), "amount": ["1.50", "1.505", "abc", None], "_source_file": ["f"] * 4,
     "_source_row": [2, 3, 4, 5]}
)  # fmt: skip


def quarantine(**options: Any) -> SchemaPolicy:
    return SchemaPolicy(**{"new_columns": "quarantine", "wrong_values": "quarantine"} | options)


def test_values_that_do_not_fit_put_their_rows_aside_with_reason_and_line(lake: Any) -> None:
    table, rejects = lake.table(ID, AMOUNT), Rejects()
    result = lake.load(table, TEXTS, Append(), policy=quarantine(), rejects=rejects)
    assert lake.rows(table) == [{"id": 1, "amount": Decimal("1.50")}, {"id": 4, "amount": None}]
    assert [(row.reason, row.source_file, row.source_row) for row in rejects.rows] == [
        ("amount: not a decimal(5,2)", "f", 3), ("amount: not a decimal(5,2)", "f", 4),
    ]  # fmt: skip
    assert json.loads(rejects.rows[1].payload)["amount"] == "abc"
    assert (result.rows_read, result.rows_inserted, result.rows_rejected) == (4, 2, 2)


def test_discarded_rows_are_counted_and_discarded_values_become_null(lake: Any) -> None:
    table = lake.table(ID, AMOUNT)
    result = lake.load(table, TEXTS, Append(), policy=SchemaPolicy(wrong_values="discard_row"))
    assert (result.rows_inserted, result.rows_discarded, result.rows_rejected) == (2, 2, 0)
    other = lake.table(ID, AMOUNT)
    result = lake.load(other, TEXTS, Append(), policy=SchemaPolicy(wrong_values="discard_value"))
    assert (result.rows_inserted, result.values_discarded) == (4, 2)
    assert [row["amount"] for row in lake.rows(other)] == [Decimal("1.50"), None, None, None]


def test_a_value_is_not_discarded_where_null_is_not_allowed(lake: Any) -> None:
    table = lake.table(ID, AMOUNT)
    rows = pa.table({"id": [1, 2**40], "amount": pa.nulls(2, pa.decimal128(5, 2))})
    with pytest.raises(DataRejectedError):
        lake.load(table, rows, Append(), policy=SchemaPolicy(wrong_values="discard_value"))
    assert lake.rows(table) == []


@pytest.mark.parametrize("policy", ["freeze", "evolve"])
def test_text_is_never_read_as_a_number_unless_the_policy_looks_at_values(lake: Any, policy: str) -> None:
    with pytest.raises(DataRejectedError, match="amount"):
        lake.load(lake.table(ID, AMOUNT), TEXTS, Append(), policy=SchemaPolicy.from_json(policy))


def test_a_null_in_a_column_without_nulls_puts_its_row_aside(lake: Any) -> None:
    table, rejects = lake.table(ID, AMOUNT), Rejects()
    rows = pa.table({"id": pa.array([1, None], pa.int32()), "amount": pa.nulls(2, pa.decimal128(5, 2))})
    lake.load(table, rows, Append(), policy=quarantine(), rejects=rejects)
    assert [row.reason for row in rejects.rows] == ["id: null"]
    with pytest.raises(DataRejectedError):
        lake.load(table, rows, Append())


def test_new_columns_are_added_refused_left_out_or_put_aside(lake: Any) -> None:
    rows = pa.table({"id": pa.array([1, 2], pa.int32()), "coupon": [None, "x"]})
    table = lake.table(ID)
    with pytest.raises(DataRejectedError, match="lacks"):
        lake.load(table, rows, Append())
    assert lake.load(table, rows, Append(), policy=SchemaPolicy(new_columns="discard_value")).rows_inserted == 2
    assert table.facts().schema.names == ("id",)
    discarded = lake.load(table, rows, Append(), policy=SchemaPolicy(new_columns="discard_row"))
    assert (discarded.rows_inserted, discarded.rows_discarded) == (1, 1)
    rejects = Rejects()
    lake.load(table, rows, Append(), policy=quarantine(), rejects=rejects)
    assert [row.reason for row in rejects.rows] == ["coupon: no such column"]
    evolved = lake.load(table, rows, Append(), policy=SchemaPolicy(new_columns="evolve"))
    assert evolved.schema_changes == ("add coupon: string",)
    assert {"id": 2, "coupon": "x"} in lake.rows(table)


def test_types_evolve_by_lossless_widening_only(lake: Any) -> None:
    table = lake.table(ID, AMOUNT)
    wide = pa.table({"id": [2**40], "amount": pa.array([Decimal("12345.67")], pa.decimal128(7, 2))})
    with pytest.raises(DataRejectedError):
        lake.load(table, wide, Append())
    result = lake.load(table, wide, Append(), policy=SchemaPolicy(wrong_values="evolve"))
    assert result.schema_changes == ("widen id: long", "widen amount: decimal(7,2)")
    finer = pa.table({"id": [1], "amount": pa.array([Decimal("1.234")], pa.decimal128(7, 3))})
    with pytest.raises(DataRejectedError):
        lake.load(table, finer, Append(), policy=SchemaPolicy(wrong_values="evolve"))
    assert len(lake.rows(table)) == 1


def test_wider_types_are_taken_when_every_value_fits(lake: Any) -> None:
    table = lake.table(ID, AMOUNT, Column("at", "timestamptz"))
    rows = pa.table(
        {"id": [1], "amount": [1.5], "at": pa.array([1_000], pa.timestamp("ns", "Europe/Berlin"))}
    )  # fmt: skip
    lake.load(table, rows, Append())
    at = datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    assert lake.rows(table) == [{"id": 1, "amount": Decimal("1.50"), "at": at}]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("int", pa.array([2**31])), ("int", pa.array([1.5])), ("int", pa.array([float("nan")])),
        ("decimal(5,2)", pa.array([1000.0])), ("decimal(5,2)", pa.array([float("inf")])),
        ("decimal(5,2)", pa.array([Decimal("1.005")])), ("double", pa.array([2**53 + 1])),
        ("float", pa.array([0.1])), ("timestamptz", pa.array([1], pa.timestamp("ns", "UTC"))),
        ("timestamp", pa.array([1], pa.timestamp("ns"))), ("fixed(2)", pa.array([b"abc"])),
        ("timestamp", pa.array([0], pa.timestamp("us", "UTC"))), ("int", pa.array(["7"])),
        ("boolean", pa.array([1])), ("date", pa.array([0], pa.timestamp("us"))), ("list<int>", pa.array([["a"]])),
    ],
)  # fmt: skip
def test_a_value_that_would_be_changed_is_refused(lake: Any, kind: str, values: pa.Array) -> None:
    table = lake.table(Column("v", kind))
    with pytest.raises(DataRejectedError):
        lake.load(table, pa.table({"v": values}), Append())
    assert lake.rows(table) == []


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("int", ["7", " -3 ", "+4"], ["1.0", "", "0x1f", "2147483648", "1e3"]),
        ("decimal(5,2)", ["1.5", "-999.99", "1.500"], ["1000.00", "1.555", "1e2", "NaN", "."]),
        ("boolean", ["true", "FALSE"], ["yes", "1", ""]),
        ("date", ["2024-02-29"], ["2023-02-29", "01/02/2024", "2024-01-01 10:00"]),
        ("timestamp", ["2024-01-01", "2024-01-01T10:00:00.123456"], ["2024-01-01 10:00:00.1234567", "2024-01-01 Z"]),
        ("timestamptz", ["2024-03-31 02:30:00+01:00", "2024-01-01T10:00Z"], ["2024-01-01 10:00:00", "10:00Z"]),
        ("double", ["1.5", "1e3"], ["abc", ""]),
        ("uuid", ["12345678-1234-5678-1234-567812345678"], ["123"]),
    ],
)  # fmt: skip
def test_text_is_read_without_guessing(lake: Any, kind: str, good: list[str], bad: list[str]) -> None:
    table, rejects = lake.table(Column("v", kind)), Rejects()
    lake.load(table, pa.table({"v": [*good, *bad]}), Append(), policy=quarantine(), rejects=rejects)
    assert [json.loads(row.payload)["v"] for row in rejects.rows] == bad
    assert len(lake.rows(table)) == len(good)


def test_missing_columns_are_refused_or_filled_and_kept_by_a_merge(lake: Any) -> None:
    table = lake.table(ID, AMOUNT)
    rows = pa.table({"id": pa.array([1], pa.int32())})
    with pytest.raises(DataRejectedError, match="lacks"):
        lake.load(table, rows, Append())
    lake.load(table, rows.append_column("amount", pa.array([Decimal("1.00")])).cast(table.read().schema), Append())
    both = pa.table({"id": pa.array([1, 2], pa.int32())})
    lake.load(table, both, Merge(("id",)), policy=SchemaPolicy(missing_columns="fill"))
    assert lake.rows(table) == [{"id": 1, "amount": Decimal("1.00")}, {"id": 2, "amount": None}]
    with pytest.raises(DataRejectedError):
        lake.load(table, pa.table({"amount": [None]}), Append(), policy=SchemaPolicy(missing_columns="fill"))


def test_a_quarantine_needs_a_place(lake: Any) -> None:
    with pytest.raises(InvalidRequestError, match="place"):
        lake.load(lake.table(ID, AMOUNT), TEXTS, Append(), policy=quarantine())


def test_too_many_refused_rows_end_the_load(lake: Any) -> None:
    table = lake.table(ID, AMOUNT)
    with pytest.raises(DataRejectedError):
        lake.load(table, TEXTS, Append(), policy=quarantine(), rejects=Rejects(max_rows=1))
    assert lake.rows(table) == []
