"""Partitions in memory are Iceberg's: the same bucket, the same day, for every value."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.transforms import parse_transform
from pyiceberg.types import BinaryType, DateType, DecimalType, LongType, StringType, TimestamptzType, UUIDType

from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.memory.partitions import partition_keys
from airflow_provider_lakehouse.core.tables.spec import PartitionField, TableSpec

LONGS = st.integers(-(2**63), 2**63 - 1)
KINDS: dict[str, tuple[Any, Any]] = {
    "long": (LongType(), LONGS),
    "string": (StringType(), st.text(max_size=12)),
    "decimal(38,4)": (DecimalType(38, 4), st.integers(-(10**37), 10**37).map(lambda n: Decimal(f"{n}E-4"))),
    "uuid": (UUIDType(), st.uuids()),
    "binary": (BinaryType(), st.binary(max_size=9)),
    "date": (DateType(), st.integers(-719_162, 2_932_896)),
    "timestamptz": (TimestamptzType(), st.integers(-(10**16), 10**16)),
}
CASES = [
    *((kind, f"bucket[{n}]") for kind in KINDS for n in (3, 16)),
    *((kind, "truncate[7]") for kind in ("long", "string", "decimal(38,4)")),
    *((kind, unit) for kind in ("date", "timestamptz") for unit in ("year", "month", "day")),
    ("timestamptz", "hour"),
]


@pytest.mark.parametrize(("kind", "transform"), CASES)
@given(data=st.data())
def test_rows_share_a_partition_exactly_where_iceberg_says_so(kind: str, transform: str, data: st.DataObject) -> None:
    iceberg, values = KINDS[kind]
    if (kind, transform[:5]) == ("long", "trunc"):
        values = st.integers(-(2**62), 2**62)
    rows = data.draw(st.lists(values | st.none(), min_size=1, max_size=8))
    spec = TableSpec(Schema.of(Column("v", kind)), partitioning=(field(transform),))
    column = arrow(rows, kind)
    ours = partition_keys(pa.table({"v": column}), spec)
    theirs = [parse_transform(transform).transform(iceberg)(value) for value in rows]
    assert [[a == b for b in ours] for a in ours] == [[a == b for b in theirs] for a in theirs]
    if transform.startswith("bucket"):
        assert [key for (key,) in ours] == theirs


def field(transform: str) -> PartitionField:
    name, _, rest = transform.partition("[")
    return PartitionField("v", name, int(rest[:-1]) if rest else None)  # type: ignore[arg-type]


def arrow(values: list[Any], kind: str) -> pa.Array:
    wanted = Schema.of(Column("v", kind)).to_arrow().field("v").type
    if kind == "date":
        return pa.array(values, pa.int32()).cast(wanted)
    if kind == "uuid":
        return pa.array([value and value.bytes for value in values], pa.binary(16)).cast(wanted)
    return pa.array(values, pa.int64()).cast(wanted) if kind == "timestamptz" else pa.array(values, wanted)
