"""Area `query`: SQL over a table of the lake, with few columns and few rows wanted of many."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import lineitem
from benchmarks.area import Area, Contender
from benchmarks.contents import added_up, parquet_rows
from benchmarks.writing import create_iceberg, load_iceberg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pyarrow as pa

    from benchmarks.area import Answer, Job

ROWS = 3_000_000
FILES = 12
FIRST, END = "1995-03-01", "1995-04-01"
WHERE = f"l_shipdate >= DATE '{FIRST}' AND l_shipdate < DATE '{END}'"
NEEDED = ("l_shipdate", "l_extendedprice", "l_discount")
NARROW = f"SELECT count(*), sum(l_extendedprice * l_discount) FROM lineitem WHERE {WHERE}"
WIDE = "SELECT count(*), sum(l_extendedprice * l_discount) FROM lineitem"
QUERIES = {"month": NARROW, "all": WIDE}
MEASURES = {"rows": "count(*)", "value": "sum(l_extendedprice * l_discount)::DECIMAL(38,4)"}


def prepare(folder: Path, scale: float) -> Mapping[str, Answer]:
    """Make a table of each format out of the same rows: twelve files, each with a range of dates."""
    import duckdb
    import pyarrow.parquet as pq
    from deltalake import write_deltalake

    rows = max(1_000, round(ROWS * scale))
    connection = duckdb.connect()
    connection.execute(f"SET memory_limit = '3GB'; SET temp_directory = '{folder}/spill'")
    connection.execute(
        f"CREATE TABLE lineitem AS SELECT *, ntile({FILES}) OVER (ORDER BY l_shipdate) AS part "
        f"FROM ({lineitem.select(rows)})"
    )
    (folder / "bare").mkdir(exist_ok=True)
    table: Any = None
    for part in range(1, FILES + 1):
        file = folder / "bare" / f"{part:02}.parquet"
        chosen = f"SELECT * EXCLUDE (part) FROM lineitem WHERE part = {part} ORDER BY l_shipdate"
        connection.execute(f"COPY ({chosen}) TO '{file}' (FORMAT parquet, COMPRESSION zstd)")
        found = pq.read_table(file)
        write_deltalake(str(folder / "delta/bench/result"), found, mode="append")
        table = table or create_iceberg(folder / "iceberg", found.schema)
        table.append(found)
    bare = str(folder / "bare/*.parquet")
    everything = added_up(parquet_rows(bare, list(NEEDED)), MEASURES)
    chosen_rows = connection.sql(f"SELECT {', '.join(NEEDED)} FROM lineitem WHERE {WHERE}")
    return {"month": added_up(chosen_rows.to_arrow_reader(65_536), MEASURES), "all": everything}


def _answers(job: Job, row: tuple[Any, ...]) -> None:
    (job.folder / "answer.json").write_text(json.dumps([str(value) for value in row]))


def check(job: Job) -> Answer:
    """Return what the query gave."""
    rows, value = json.loads((job.folder / "answer.json").read_text())
    return {"rows": rows, "value": value}


def ours(job: Job, *, question: str, table_format: str) -> Callable[[], object]:
    """Run the query with the engine over the table."""
    from benchmarks import ours as provider

    engine = provider.open_engine()
    table = provider.open_table(job.inputs / table_format, table_format)
    engine.describe("SELECT 1")
    table.facts()  # opens the catalog, as the peers have done

    def work() -> None:
        with engine.query(QUERIES[question], tables={"lineitem": table}) as rows:
            _answers(job, tuple(rows.read_all().to_pylist()[0].values()))

    return work


def pyiceberg_scan(job: Job, *, question: str) -> Callable[[], object]:
    """Scan with PyIceberg, columns and condition pushed down by hand, and add up in DuckDB."""
    import duckdb  # noqa: F401
    import pyarrow as pa  # noqa: F401

    table = load_iceberg(job.inputs / "iceberg")
    condition = f"l_shipdate >= '{FIRST}' and l_shipdate < '{END}'" if question == "month" else "true"

    def work() -> None:
        scan = (
            table.scan(selected_fields=NEEDED) if condition == "true" else table.scan(condition, selected_fields=NEEDED)
        )
        _run(job, scan.to_arrow(), question)

    return work


def deltalake_scan(job: Job, *, question: str) -> Callable[[], object]:
    """Hand delta-rs's dataset to DuckDB, which pushes columns and condition down."""
    import duckdb  # noqa: F401
    from deltalake import DeltaTable

    table = DeltaTable(str(job.inputs / "delta/bench/result"))
    return lambda: _run(job, table.to_pyarrow_dataset(), question)


def _run(job: Job, rows: pa.Table | pa.dataset.Dataset, question: str) -> None:
    import duckdb

    connection = duckdb.connect()
    connection.register("lineitem", rows)
    _answers(job, connection.execute(QUERIES[question]).fetchone() or ())


def bare_files(job: Job, *, question: str) -> Callable[[], object]:
    """Run the query over the bare Parquet files."""
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"CREATE VIEW lineitem AS FROM '{job.inputs}/bare/*.parquet'")
    return lambda: _answers(job, connection.execute(QUERIES[question]).fetchone() or ())


def _of(table_format: str, question: str) -> list[Contender]:
    group = f"{table_format}, {question}"
    peer = pyiceberg_scan if table_format == "iceberg" else deltalake_scan
    name = "pyiceberg scan + DuckDB" if table_format == "iceberg" else "deltalake dataset + DuckDB"
    how: dict[str, Any] = {"check": check, "expects": question}
    return [
        Contender(
            f"engine.query [{group}]", "ours", group, partial(ours, question=question, table_format=table_format), **how
        ),
        Contender(f"{name} [{group}]", "peer", group, partial(peer, question=question), **how),
        Contender(f"DuckDB on bare files [{group}]", "limit", group, partial(bare_files, question=question), **how),
    ]


AREA = Area(
    name="query",
    title="two aggregates over 3 M rows in 12 files: one month of them, and all; 3 of 16 columns",
    clock="work",
    prepare=prepare,
    rounds=5,
    contenders=tuple(c for table in ("iceberg", "delta") for question in QUERIES for c in _of(table, question)),
)
