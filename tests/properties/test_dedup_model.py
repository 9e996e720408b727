"""Deduplication keeps the set of rows, and the hash of a row is what its definition says."""

from __future__ import annotations

import hashlib
import math
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_lakehouse.core.load.modes import Dedup
from airflow_provider_lakehouse.core.load.row_hash import row_hash
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_lakehouse.core.types import TypeNode

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "decimal(9,2)": st.decimals(-9999999, 9999999, places=2),
    "float": st.floats(width=32),
    "double": st.floats(),
    "date": st.dates(),
    "time": st.times(),
    "timestamp": st.datetimes(),
    "timestamptz": st.datetimes(timezones=st.just(UTC)),
    "string": TEXT,
    "uuid": st.uuids(),
    "binary": st.binary(max_size=5),
    "list<string>": st.lists(st.none() | TEXT, max_size=3),
    "map<string,int>": st.dictionaries(TEXT, st.none() | st.integers(-5, 5), max_size=3).map(lambda d: list(d.items())),
    "struct<y:int,`x 1`:list<double>>": st.fixed_dictionaries(
        {"y": st.none() | st.integers(-5, 5), "x 1": st.none() | st.lists(st.none() | st.floats(), max_size=2)}
    ),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def float_text(value: float) -> str:
    return "nan" if math.isnan(value) else struct.pack(">d", value + 0.0).hex().upper()


def microseconds(value: datetime) -> int:
    return ((value if value.tzinfo else value.replace(tzinfo=UTC)) - EPOCH) // timedelta(microseconds=1)


ENCODERS: dict[str, Callable[[Any], str]] = {
    "boolean": lambda v: f"b{int(v)}",
    "int": lambda v: f"i{v};",
    "long": lambda v: f"i{v};",
    "decimal": lambda v: f"n{v + 0:.2f};",
    "float": lambda v: f"f{float_text(v)};",
    "double": lambda v: f"f{float_text(v)};",
    "date": lambda v: f"d{(v - EPOCH.date()).days};",
    "time": lambda v: f"c{microseconds(datetime.combine(EPOCH.date(), v))};",
    "timestamp": lambda v: f"t{microseconds(v)};",
    "timestamptz": lambda v: f"z{microseconds(v)};",
    "string": lambda v: f"s{len(v.encode())}:{v}",
    "uuid": lambda v: f"u{v}",
    "binary": lambda v: f"x{2 * len(v)}:{v.hex().upper()}",
}


def encoded(node: TypeNode, value: Any) -> str:
    """The definition in the docstring of `row_hash`, in plain Python."""
    return ENCODERS[node.name](value) if node.name in ENCODERS else nested(node, value)


def nested(node: TypeNode, value: Any) -> str:
    def item(child: TypeNode, element: Any) -> str:
        return "0" if element is None else encoded(child, element)

    if node.name == "list":
        return f"l{len(value)}:{''.join(item(node.children[0], e) for e in value)}"
    if node.name == "map":
        texts = [item(node.children[0], k) + item(node.children[1], v) for k, v in value]
        return f"m{len(value)}:{''.join(sorted(texts, key=str.encode))}"
    return f"r{row_text(dict(zip(node.names, node.children, strict=True)), value)};"


def row_text(nodes: dict[str, TypeNode], row: dict[str, Any]) -> str:
    given = [(name, node) for name, node in sorted(nodes.items()) if row[name] is not None]
    return "".join(f"{len(name.encode())}:{name}{encoded(node, row[name])}" for name, node in given)


@st.composite
def tables(draw: Any) -> tuple[Schema, list[dict[str, Any]]]:
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=5))
    names = draw(st.lists(TEXT.filter(bool), min_size=len(kinds), max_size=len(kinds), unique_by=str.lower))
    schema = Schema(tuple(Column(n, k) for n, k in zip(names, kinds, strict=True)))
    row = st.fixed_dictionaries({n: st.none() | VALUES[k] for n, k in zip(names, kinds, strict=True)})
    return schema, draw(st.lists(row, max_size=5))


def arrow_rows(schema: Schema, rows: list[dict[str, Any]]) -> pa.Table:
    arrow = schema.to_arrow()
    arrays = []
    for column, field in zip(schema.columns, arrow, strict=True):
        values = [row[column.name] for row in rows]
        if column.type == "uuid":
            storage = pa.array([v.bytes if isinstance(v, UUID) else None for v in values], pa.binary(16))
            arrays.append(pa.ExtensionArray.from_storage(pa.uuid(), storage))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=arrow)


@given(tables())
def test_the_hash_of_a_row_follows_its_definition(lake: Any, example: Any) -> None:
    schema, rows = example
    nodes = {c.name: parse_type(c.type) for c in schema.columns}
    expected = [hashlib.sha256(row_text(nodes, row).encode()).digest() for row in rows]
    with lake.engine.workspace() as workspace:
        sql = f"CREATE TABLE h AS SELECT {row_hash({c.name: c.type for c in schema.columns}, of='t')} AS h FROM t"
        workspace.execute(sql, inputs={"t": arrow_rows(schema, rows)})
        assert [row[0] for row in workspace.rows("SELECT h FROM h")] == expected


ROW = st.fixed_dictionaries(
    {
        "a": st.none() | st.sampled_from(["", "a", "a|b", "b", "1"]),
        "b": st.none() | st.sampled_from(["", "a", "b|c", "b", "1"]),
        "n": st.none() | st.sampled_from([Decimal("1.00"), Decimal("-1.00")]),
        "day": st.none() | st.dates(date(2026, 1, 1), date(2026, 1, 3)),
        "_line": st.integers(1, 9),
    }
)
ARROW = pa.schema(
    [("a", pa.string()), ("b", pa.string()), ("n", pa.decimal128(5, 2)), ("day", pa.date32()), ("_line", pa.int32())]
)


def identity(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("a", "b", "n", "day"))


@given(st.lists(st.lists(ROW, max_size=8), min_size=1, max_size=4))
@settings(max_examples=30)
def test_loading_batches_in_any_overlap_keeps_the_first_of_equal_rows(lake: Any, read: Any, batches: Any) -> None:
    columns = (Column("a", "string"), Column("b", "string"), Column("n", "decimal(5,2)"), Column("day", "date"))
    table = lake.table(*columns, Column("_line", "int"), Column("_row_hash", "fixed(32)"))
    model: dict[Any, dict[str, Any]] = {}
    for batch in batches:
        known = len(model)
        for row in batch:
            model.setdefault(identity(row), row)
        result = lake.load(table, batch, schema=ARROW, mode=Dedup())
        found = read(table)
        assert {identity(row): {n: row[n] for n in ARROW.names} for row in found} == model
        assert len(found) == len(model) == len({row["_row_hash"] for row in found})
        assert (result.rows_inserted, result.rows_unchanged) == (len(model) - known, len(batch) - len(model) + known)
