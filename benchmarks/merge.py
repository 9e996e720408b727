"""Area `merge`: an upsert by a composite key into a table that is there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.area import Area, Contender
from benchmarks.contents import READERS, added_up
from benchmarks.writing import create_iceberg, load_iceberg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from benchmarks.area import Answer, Job

BASE_ROWS = 200_000
KEYS = ("region", "id")
COLUMNS = (*KEYS, "amount", "quantity", "status", "note", "updated_at")
BATCHES = {"100k": 100_000, "100k null": 100_000, "5k": 5_000, "1k": 1_000}
"""Rows by name of the batch; of five, four are there and one is new. `null`: one key in a hundred has no region."""
MEASURES = {
    "rows": "count(*)",
    "no_region": "count(*) FILTER (region IS NULL)",
    "amount": "sum(amount)::DECIMAL(30,2)",
    "quantity": "sum(quantity)::HUGEINT",
    "changed": "count(*) FILTER (status = 'changed')",
    "notes": "sum(strlen(note))::HUGEINT",
}


def _rows(start: int, stop: int, *, changed: bool, with_nulls: bool) -> str:
    region = "['north', 'south', 'east', 'west', 'centre'][1 + i % 5]"
    if with_nulls:
        region = f"CASE WHEN i % 100 <> 7 THEN {region} END"
    status = "'changed'" if changed else "['new', 'open', 'paid'][1 + i % 3]"
    return (
        f"SELECT {region} AS region, i AS id, "
        f"CAST((i * 37 % 1000003) / 100 AS DECIMAL(12,2)) + {int(changed)} AS amount, "
        f"i * 11 % 97 + {int(changed)} AS quantity, {status} AS status, "
        f"'a note of some length on order ' || i || ' of ' || i * 7919 % 100003 AS note, "
        f"TIMESTAMP '2026-01-01 00:00:00' + to_seconds({int(changed)} * 86400 + i % 86400) AS updated_at "
        f"FROM range({start}, {stop}) t(i)"
    )


def prepare(folder: Path, scale: float) -> Mapping[str, Answer]:
    """Make the base and the batches, and what they come to."""
    import duckdb

    base = max(100, round(BASE_ROWS * scale))
    connection, expected = duckdb.connect(), {}
    for name, rows in BATCHES.items():
        given, nulls = max(10, round(rows * scale)), "null" in name
        known = given * 4 // 5
        there = _rows(0, base, changed=False, with_nulls=nulls)
        changes = (
            f"{_rows(base - known, base, changed=True, with_nulls=nulls)} UNION ALL "
            f"{_rows(base, base + given - known, changed=True, with_nulls=nulls)}"
        )
        connection.execute(f"COPY ({there}) TO '{_base(folder, name)}' (FORMAT parquet)")
        connection.execute(f"COPY ({changes}) TO '{_batch(folder, name)}' (FORMAT parquet)")
        merged = f"{_rows(0, base - known, changed=False, with_nulls=nulls)} UNION ALL {changes}"
        expected[name] = added_up(connection.sql(merged).to_arrow_reader(65_536), MEASURES)
    return expected


def _base(folder: Path, batch: str) -> Path:
    return folder / f"base{'-null' if 'null' in batch else ''}.parquet"


def _batch(folder: Path, batch: str) -> Path:
    return folder / f"batch-{batch.replace(' ', '-')}.parquet"


def stage_ours(job: Job, *, batch: str, table_format: str) -> None:
    """Load the base with ours."""
    import pyarrow.parquet as pq

    from airflow_provider_lakehouse.core.load.modes import Append
    from airflow_provider_lakehouse.core.schema import Schema
    from benchmarks import ours as provider

    rows = pq.read_table(_base(job.inputs, batch))
    table = provider.open_table(job.folder / "lake", table_format)
    provider.create(table, Schema.from_arrow(rows.schema))
    provider.load(table, rows.to_reader(), mode=Append(), batch="base")


def ours(job: Job, *, batch: str, table_format: str) -> Callable[[], object]:
    """Load in mode `merge`."""
    import pyarrow.parquet as pq

    from airflow_provider_lakehouse.core.load.modes import Merge
    from benchmarks import ours as provider

    table, engine = provider.open_table(job.folder / "lake", table_format), provider.open_engine()
    table.facts()  # opens the catalog

    def work() -> None:
        rows = pq.read_table(_batch(job.inputs, batch)).to_reader()
        provider.load(table, rows, mode=Merge(keys=KEYS), batch="merge", engine=engine)

    return work


def check(job: Job, *, table_format: str, folder: str) -> Answer:
    """Add up the table of a run."""
    return added_up(READERS[table_format](job.folder / folder, list(COLUMNS)), MEASURES)


def stage_pyiceberg(job: Job, *, batch: str) -> None:
    """Append the base with PyIceberg."""
    import pyarrow.parquet as pq

    rows = pq.read_table(_base(job.inputs, batch))
    create_iceberg(job.folder / "lake", rows.schema).append(rows)


def pyiceberg_upsert(job: Job, *, batch: str) -> Callable[[], object]:
    """Call PyIceberg's own upsert."""
    import pyarrow.parquet as pq

    table = load_iceberg(job.folder / "lake")
    return lambda: table.upsert(pq.read_table(_batch(job.inputs, batch)), join_cols=list(KEYS))


def stage_delta(job: Job, *, batch: str) -> None:
    """Write the base with delta-rs."""
    import pyarrow.parquet as pq
    from deltalake import write_deltalake

    write_deltalake(str(job.folder / "lake"), pq.read_table(_base(job.inputs, batch)))


def delta_merge(job: Job, *, batch: str, on: str) -> Callable[[], object]:
    """Call delta-rs's own MERGE."""
    import pyarrow.parquet as pq
    from deltalake import DeltaTable

    table = DeltaTable(str(job.folder / "lake"))

    def work() -> None:
        rows = pq.read_table(_batch(job.inputs, batch))
        merger = table.merge(rows, predicate=on, source_alias="s", target_alias="t")
        merger.when_matched_update_all().when_not_matched_insert_all().execute()

    return work


def rewritten_iceberg(job: Job, *, batch: str) -> Callable[[], object]:
    """Write what stays and the batch into one file, and swap it in with PyIceberg: no token, no conflict check."""
    from pyiceberg.expressions import AlwaysTrue

    table = load_iceberg(job.folder / "lake")
    rewrite = rewritten(job, batch=batch)

    def work() -> None:
        rewrite()
        with table.transaction() as transaction:
            transaction.delete(AlwaysTrue())
            transaction.add_files([f"{job.folder}/out.parquet"])

    return work


def rewritten(job: Job, *, batch: str) -> Callable[[], object]:
    """Write what stays and the batch into one Parquet file: no table, no commit."""
    import duckdb

    connection = duckdb.connect()
    base, changes = _base(job.inputs, batch), _batch(job.inputs, batch)
    on = " AND ".join(f"t.{key} IS NOT DISTINCT FROM s.{key}" for key in KEYS)
    statement = (
        f"COPY (FROM read_parquet('{base}') t ANTI JOIN read_parquet('{changes}') s ON {on} "
        f"UNION ALL FROM read_parquet('{changes}')) TO '{job.folder}/out.parquet' (FORMAT parquet, COMPRESSION zstd)"
    )
    return lambda: connection.execute(statement)


def _ours(batch: str, table_format: str) -> Contender:
    group = f"{table_format}, {batch}"
    how: dict[str, Any] = {"batch": batch, "table_format": table_format}
    location = "lake/bench/result" if table_format == "delta" else "lake"
    return Contender(
        f"merge [{group}]", "ours", group, partial(ours, **how), partial(stage_ours, **how),
        partial(check, table_format=table_format, folder=location), batch,
    )  # fmt: skip


def _pyiceberg(batch: str) -> Contender:
    group = f"iceberg, {batch}"
    return Contender(
        f"pyiceberg upsert [{group}]", "peer", group, partial(pyiceberg_upsert, batch=batch),
        partial(stage_pyiceberg, batch=batch), partial(check, table_format="iceberg", folder="lake"), batch,
        note="builds one expression of all keys and crashes at 20,000: only 1,000 and 5,000 are tried, each once",
        most_rounds=1,
    )  # fmt: skip


def _by_hand(batch: str) -> Contender:
    group = f"iceberg, {batch}"
    return Contender(
        f"DuckDB rewrite + pyiceberg add_files [{group}]", "peer", group, partial(rewritten_iceberg, batch=batch),
        partial(stage_pyiceberg, batch=batch), partial(check, table_format="iceberg", folder="lake"), batch,
    )  # fmt: skip


def _delta(batch: str, equals: str) -> Contender:
    group = f"delta, {batch}"
    on = " AND ".join(f"(t.{key} {equals} s.{key})" for key in KEYS)
    return Contender(
        f"delta-rs MERGE [{group}]", "peer", group, partial(delta_merge, batch=batch, on=on),
        partial(stage_delta, batch=batch), partial(check, table_format="delta", folder="lake"), batch,
    )  # fmt: skip


def _limit(group: str, batch: str) -> Contender:
    return Contender(f"DuckDB rewrite to Parquet [{group}]", "limit", group, partial(rewritten, batch=batch))


AREA = Area(
    name="merge",
    title="upsert by (region, id) into 200,000 rows, of which the batch has four of five keys",
    clock="work",
    prepare=prepare,
    rounds=5,
    contenders=(
        _ours("100k", "iceberg"), _by_hand("100k"), _limit("iceberg, 100k", "100k"),
        _ours("100k null", "iceberg"), _by_hand("100k null"), _limit("iceberg, 100k null", "100k null"),
        _ours("5k", "iceberg"), _pyiceberg("5k"), _limit("iceberg, 5k", "5k"),
        _ours("1k", "iceberg"), _pyiceberg("1k"), _limit("iceberg, 1k", "1k"),
        _ours("100k", "delta"), _delta("100k", "="), _limit("delta, 100k", "100k"),
        _ours("100k null", "delta"), _delta("100k null", "IS NOT DISTINCT FROM"),
        _limit("delta, 100k null", "100k null"),
        _ours("5k", "delta"), _delta("5k", "="), _limit("delta, 5k", "5k"),
    ),
)  # fmt: skip
