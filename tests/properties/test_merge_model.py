"""A merge does to a table what it does to a dict."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_lakehouse.core.errors import DataRejectedError
from airflow_provider_lakehouse.core.load.modes import Merge, SnapshotDiff
from airflow_provider_lakehouse.core.schema import Column

KEYS = st.tuples(st.none() | st.integers(0, 3), st.none() | st.sampled_from(["", "a", "A", "a'b", "ß"]))
SEQUENCES = st.none() | st.integers(-2, 3)
VALUES = st.none() | st.sampled_from(["", "x", "y"])
COLUMNS = (
    Column("a", "long"),
    Column('b "key"', "string"),
    Column("seq", "int"),
    Column("v", "string"),
    Column("w", "double"),
    Column("_loaded", "int"),
)
INCOMING = pa.schema(
    [("a", pa.int64()), ('b "key"', pa.string()), ("seq", pa.int32()), ("v", pa.string()), ("w", pa.float64()),
     ("_loaded", pa.int32()), ("op", pa.string())]
)  # fmt: skip
NUMBERS = st.none() | st.sampled_from([0.0, 1.5, float("inf")])
ROWS = st.tuples(KEYS, SEQUENCES, VALUES, NUMBERS, st.sampled_from(["u", "u", "d"]))


def as_row(row: Any, loaded: int) -> dict[str, Any]:
    (a, b), seq, v, w, op = row
    return {"a": a, 'b "key"': b, "seq": seq, "v": v, "w": w, "_loaded": loaded, "op": op}


def higher(ours: int | None, theirs: int | None) -> bool:
    return ours is not None and (theirs is None or ours > theirs)


def batches(most: int = 8) -> Any:
    batch = st.lists(ROWS, max_size=most, unique_by=lambda row: row[0])
    return st.lists(batch, min_size=1, max_size=4)


def by_key(rows: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    found = {(row["a"], row['b "key"']): row for row in rows}
    assert len(found) == len(rows)
    return found


def differs(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return any(old[name] != new[name] for name in new if not name.startswith("_"))


@given(batches())
@settings(max_examples=30)
def test_merging_batch_after_batch_equals_updating_a_dict(lake: Any, read: Any, batches: Any) -> None:
    table = lake.table(*COLUMNS)
    model: dict[Any, dict[str, Any]] = {}
    for number, batch in enumerate(batches):
        rows = [as_row(row, number) for row in batch]
        counts = {"inserted": 0, "updated": 0, "deleted": 0, "unchanged": 0}
        for row in rows:
            key, old = (row["a"], row['b "key"']), model.get((row["a"], row['b "key"']))
            new = {name: value for name, value in row.items() if name != "op"}
            if row["op"] == "d":
                counts["deleted" if model.pop(key, None) else "unchanged"] += 1
            elif old is None:
                model[key] = new
                counts["inserted"] += 1
            elif differs(old, new):
                model[key] = new
                counts["updated"] += 1
            else:
                counts["unchanged"] += 1
        mode = Merge(("a", 'b "key"'), delete_when="source.op = 'd'")
        result = lake.load(table, rows, schema=INCOMING, mode=mode)
        assert by_key(read(table)) == model
        assert {name: getattr(result, f"rows_{name}") for name in counts} == counts


@given(st.lists(st.lists(ROWS, max_size=10), min_size=1, max_size=4))
@settings(max_examples=30)
def test_a_sequence_makes_the_order_of_arrival_irrelevant(lake: Any, read: Any, batches: Any) -> None:
    table = lake.table(*COLUMNS)
    mode = Merge(("a", 'b "key"'), sequence="seq")
    model: dict[Any, dict[str, Any]] = {}
    for number, batch in enumerate(batches):
        rows = [as_row(row, number) for row in batch]
        latest: dict[Any, list[dict[str, Any]]] = {}
        for row in rows:
            kept = latest.setdefault((row["a"], row['b "key"']), [])
            if kept and row["seq"] != kept[0]["seq"]:
                if not higher(row["seq"], kept[0]["seq"]):
                    continue
                kept.clear()
            kept.append(row)
        plain = [{n: v for n, v in row.items() if n != "op"} for row in rows]
        schema = pa.schema([field for field in INCOMING if field.name != "op"])
        if any(len(kept) > 1 for kept in latest.values()):
            with pytest.raises(DataRejectedError):
                lake.load(table, plain, schema=schema, mode=mode)
            continue
        for key, (row,) in latest.items():
            if key not in model or higher(row["seq"], model[key]["seq"]):
                model[key] = {name: value for name, value in row.items() if name != "op"}
        lake.load(table, plain, schema=schema, mode=mode)
        assert by_key(read(table)) == model


@given(batches(), st.sampled_from([("v",), ("w",), ("v", "w")]))
@settings(max_examples=30)
def test_chosen_columns_are_updated_and_the_others_kept(lake: Any, read: Any, batches: Any, chosen: Any) -> None:
    table = lake.table(*COLUMNS)
    mode = Merge(("a", 'b "key"'), update_columns=chosen, condition="source.v IS DISTINCT FROM 'x'")
    model: dict[Any, dict[str, Any]] = {}
    for number, batch in enumerate(batches):
        rows = [{n: v for n, v in as_row(row, number).items() if n != "op"} for row in batch]
        for row in rows:
            old = model.setdefault((row["a"], row['b "key"']), dict(row))
            if old is not row and row["v"] != "x":
                old.update({name: row[name] for name in chosen})
        schema = pa.schema([field for field in INCOMING if field.name != "op"])
        lake.load(table, rows, schema=schema, mode=mode)
        assert by_key(read(table)) == model


@given(batches())
@settings(max_examples=30)
def test_a_snapshot_diff_makes_the_table_the_extract(lake: Any, read: Any, batches: Any) -> None:
    table = lake.table(*COLUMNS)
    schema = pa.schema([field for field in INCOMING if field.name != "op"])
    before: dict[Any, dict[str, Any]] = {}
    for batch in batches:
        rows = [{n: v for n, v in as_row(row, 0).items() if n != "op"} for row in batch]
        mode = SnapshotDiff(("a", 'b "key"'), max_deleted_share=1)
        result = lake.load(table, rows, schema=schema, mode=mode)
        after = by_key(rows)
        assert by_key(read(table)) == after
        assert result.rows_deleted == len(before.keys() - after.keys())
        assert result.rows_inserted == len(after.keys() - before.keys())
        assert result.rows_updated == sum(after[key] != before[key] for key in after.keys() & before.keys())
        before = after
