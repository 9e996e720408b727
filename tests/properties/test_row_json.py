"""A row survives JSON: whatever its types, nulls, and the odd values of each."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
from airflow_provider_lakehouse.core.engines.row_json import (
    row_from_json,
    row_to_json,
    types_from_json,
    types_to_json,
)
from airflow_provider_lakehouse.core.types import arrow_type

ENGINE = DuckDBEngine(EngineSettings(threads=1))
UTC = dt.UTC
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0`"), min_size=1, max_size=5)
LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32),
    "double": st.floats(),
    "decimal(38,10)": st.decimals(Decimal(-(10**27)), Decimal(10**27), places=10),
    "decimal(5,0)": st.decimals(-99999, 99999, places=0),
    "date": st.dates(),
    "time": st.times(),
    "timestamp": st.datetimes(),
    "timestamptz": st.datetimes(timezones=st.just(UTC)),
    "string": TEXTS,
    "binary": st.binary(max_size=8),
}
UUIDS = ("uuid", st.uuids())  # of which Arrow builds no nested values from Python's
type Typed = tuple[str, st.SearchStrategy[Any]]


def nullable(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def nested(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    lists = inner.map(lambda one: (f"list<{one[0]}>", st.lists(nullable(one[1]), max_size=3)))
    maps = inner.map(
        lambda one: (f"map<string,{one[0]}>", st.dictionaries(TEXTS, nullable(one[1]), max_size=3).map(list_of_pairs))
    )
    fields = st.lists(st.tuples(NAMES, inner), min_size=1, max_size=3, unique_by=lambda field: field[0].casefold())
    return lists | maps | fields.map(struct)


def list_of_pairs(value: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(value.items())


def struct(fields: list[tuple[str, Typed]]) -> Typed:
    text = ",".join(f"`{name}`:{kind}" for name, (kind, _) in fields)
    return f"struct<{text}>", st.fixed_dictionaries({name: nullable(values) for name, (_, values) in fields})


TYPED = st.just(UUIDS) | st.recursive(st.sampled_from(sorted(LEAVES.items())), nested, max_leaves=5)


@st.composite
def tables(draw: Any) -> tuple[dict[str, str], pa.Table]:
    columns = draw(st.lists(st.tuples(NAMES, TYPED), min_size=1, max_size=4, unique_by=lambda one: one[0].casefold()))
    types = {name: kind for name, (kind, _) in columns}
    schema = pa.schema([(name, arrow_type(kind)) for name, kind in types.items()])
    row = st.fixed_dictionaries({name: nullable(values) for name, (_, values) in columns})
    rows = draw(st.lists(row, min_size=1, max_size=3))
    arrays = [pa.array([one[field.name] for one in rows], field.type) for field in schema]
    return types, pa.Table.from_arrays(arrays, schema=schema)


def comparable(value: Any) -> Any:
    """Return a value in which NaN equals NaN, and the zeros differ."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else (value, math.copysign(1, value))
    if isinstance(value, list | tuple):
        return [comparable(one) for one in value]
    if isinstance(value, dict):
        return {name: comparable(one) for name, one in value.items()}
    return value


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(tables())
def test_what_is_written_as_json_is_read_back_as_it_was(given: tuple[dict[str, str], pa.Table]) -> None:
    types, rows = given
    sql = f"SELECT {row_to_json(types, of='r')} AS payload FROM r"
    with ENGINE.query(sql, tables={"r": rows}) as found:
        written = found.read_all()
    kept = types_from_json(types_to_json(types))
    with ENGINE.query(f"SELECT {row_from_json(kept, payload='payload')} FROM w", tables={"w": written}) as found:
        read = found.read_all()

    assert read.schema.types == rows.schema.types
    assert comparable(read.to_pylist()) == comparable(rows.to_pylist())
