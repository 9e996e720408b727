"""Area `bulk`: a whole PostgreSQL table into a new table of the lake."""

from __future__ import annotations

import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from benchmarks import lineitem
from benchmarks.area import EVERYWHERE, Area, Contender
from benchmarks.contents import READERS, added_up, parquet_rows
from benchmarks.writing import writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pyarrow as pa

    from benchmarks.area import Answer, Job

FORMATS = ("delta", "iceberg")
CHUNK_ROWS = 100_000


def prepare(folder: Path, scale: float) -> Mapping[str, Answer]:
    """Make the rows; the server is filled by the first contender that runs."""
    file = lineitem.write(folder, rows=int(lineitem.ROWS * scale))
    expected = added_up(parquet_rows(str(file), list(lineitem.COLUMNS)), lineitem.MEASURES)
    return dict.fromkeys((*FORMATS, "parquet"), expected)


def require_rows(job: Job) -> None:
    """Fill the server unless it is filled."""
    import psycopg

    with psycopg.connect(job.service) as connection:
        found = connection.execute("SELECT to_regclass('lineitem')").fetchone()
    if found is None or found[0] is None:
        lineitem.fill(job.service, job.inputs / "lineitem.csv")


def check(job: Job, *, table_format: str) -> Answer:
    """Add up the table of a run."""
    columns = list(lineitem.COLUMNS)
    return added_up(READERS[table_format](_table_folder(job.folder, table_format), columns), lineitem.MEASURES)


def _table_folder(folder: Path, table_format: str) -> Path:
    """Return the folder of the only table below another."""
    marker = "_delta_log" if table_format == "delta" else "metadata"
    return next(found.parent for found in folder.glob(f"**/{marker}") if "_dlt" not in found.parent.name)


def ours(job: Job, *, table_format: str) -> Callable[[], object]:
    """PostgresSource -> append."""
    from airflow_provider_lakehouse.core.load.modes import Append
    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.sources.base import Rejects
    from airflow_provider_lakehouse.core.sources.postgres.settings import PostgresSettings
    from airflow_provider_lakehouse.core.sources.postgres.source import PostgresSource
    from benchmarks import ours as provider

    def work() -> None:
        import pyarrow as pa

        source = PostgresSource(PostgresSettings(job.service, relation="public.lineitem", parallelism=2))
        rows = source.read(source.plan(position=None, now=provider.NOW), rejects=Rejects())
        table = provider.open_table(job.folder / "lake", table_format)
        provider.create(table, Schema.from_arrow(pa.schema([f for f in rows.schema if f.name in lineitem.COLUMNS])))
        provider.load(table, rows, mode=Append(), batch="1")

    return work


def dlt_connectorx(job: Job, *, table_format: str) -> Callable[[], object]:
    """Run dlt's own source of SQL tables with its fastest backend."""
    import dlt
    from dlt.destinations import filesystem
    from dlt.sources.sql_database import sql_table

    def work() -> None:
        source = sql_table(credentials=job.service, schema="public", table="lineitem", backend="connectorx")
        source.apply_hints(table_format=cast("Any", table_format))
        pipeline = dlt.pipeline(
            "bench",
            destination=filesystem(bucket_url=f"file://{job.folder}/lake"),
            dataset_name="bench",
            pipelines_dir=str(job.folder / "pipelines"),
        )
        pipeline.run(source, write_disposition="append")

    return work


def connectorx_alone(job: Job, *, table_format: str) -> Callable[[], object]:
    """Read with connectorx as a stream of Arrow, write with the library of the format."""
    import connectorx

    write = writer(job.folder / "lake", table_format)

    def work() -> None:
        write(
            connectorx.read_sql(
                job.service, "SELECT * FROM lineitem", return_type="arrow_stream", batch_size=CHUNK_ROWS
            )
        )

    return work


def pandas_chunks(job: Job, *, table_format: str) -> Callable[[], object]:
    """Read with pandas.read_sql in chunks over a server-side cursor, write with the library of the format."""
    import pandas as pd
    import pyarrow as pa
    import sqlalchemy

    write = writer(job.folder / "lake", table_format)
    schema = _arrow_schema()

    def work() -> None:
        engine = sqlalchemy.create_engine(job.service.replace("postgresql://", "postgresql+psycopg2://"))
        with engine.connect().execution_options(stream_results=True, max_row_buffer=CHUNK_ROWS) as connection:
            chunks = pd.read_sql("SELECT * FROM lineitem", connection, chunksize=CHUNK_ROWS, coerce_float=False)
            batches = (pa.RecordBatch.from_pandas(chunk, schema=schema, preserve_index=False) for chunk in chunks)
            write(pa.RecordBatchReader.from_batches(schema, batches))

    return work


def awswrangler_chunks(job: Job, *, table_format: str) -> Callable[[], object]:
    """Read with awswrangler, which converts to Arrow types by itself, write with the library of the format."""
    from urllib.parse import urlsplit

    import awswrangler as wr
    import pg8000  # type: ignore[import-not-found]
    import pyarrow as pa

    write = writer(job.folder / "lake", table_format)
    schema, server = _arrow_schema(), urlsplit(job.service)

    def work() -> None:
        with pg8000.connect(
            user=server.username, password=server.password, host=server.hostname, port=server.port, database="postgres"
        ) as connection:
            chunks = wr.postgresql.read_sql_query("SELECT * FROM lineitem", con=connection, chunksize=CHUNK_ROWS)
            batches = (pa.RecordBatch.from_pandas(chunk, schema=schema, preserve_index=False) for chunk in chunks)
            write(pa.RecordBatchReader.from_batches(schema, batches))

    return work


def _arrow_schema() -> pa.Schema:
    import pyarrow as pa

    kinds = {"bigint": pa.int64(), "integer": pa.int32(), "numeric(15,2)": pa.decimal128(15, 2), "date": pa.date32()}
    return pa.schema([(name, kinds.get(kind, pa.string())) for name, kind in lineitem.COLUMNS.items()])


def copy_to_nowhere(job: Job) -> Callable[[], object]:
    """Send every row once, over two connections, to programs that drop it."""
    import psycopg

    with psycopg.connect(job.service) as connection:
        found = connection.execute(
            "SELECT pg_relation_size('lineitem') / current_setting('block_size')::int"
        ).fetchone()
    middle = int(found[0] if found else 0) // 2

    def work() -> None:
        conditions = (f"ctid < '({middle},0)'", f"ctid >= '({middle},0)'")
        statements = [f"COPY (SELECT * FROM lineitem WHERE {c}) TO STDOUT (FORMAT binary)" for c in conditions]
        running = [subprocess.Popen(["psql", "-Xqc", s, job.service], stdout=subprocess.DEVNULL) for s in statements]
        failed = [process.args for process in running if process.wait()]
        if failed:
            raise RuntimeError(f"psql failed: {failed}")

    return work


def write_only(job: Job) -> Callable[[], object]:
    """Write the same rows from Parquet to Parquet."""
    import duckdb

    source, target = job.inputs / "lineitem.parquet", job.folder / "out.parquet"
    return lambda: duckdb.sql(f"COPY (FROM '{source}') TO '{target}' (FORMAT parquet, COMPRESSION zstd)")


def _of_format(table_format: str) -> list[Contender]:
    ways = [
        ("PostgresSource -> append", "ours", ours, ()),
        ("dlt, connectorx backend", "peer", dlt_connectorx, ("dlt", "connectorx")),
        (
            f"connectorx stream + {'delta-rs' if table_format == 'delta' else 'pyiceberg'}",
            "peer",
            connectorx_alone,
            ("connectorx",),
        ),
        ("pandas.read_sql in chunks", "peer", pandas_chunks, ("pandas", "psycopg2")),
        ("awswrangler in chunks", "peer", awswrangler_chunks, ("awswrangler", "pg8000")),
    ]
    return [
        Contender(
            name=f"{name} [{table_format}]", kind=kind, group=table_format,  # type: ignore[arg-type]
            begin=partial(way, table_format=table_format), stage=require_rows,
            check=partial(check, table_format=table_format), needs=needs,
        )
        for name, kind, way, needs in ways
    ]  # fmt: skip


AREA = Area(
    name="bulk",
    title="PostgreSQL -> new table, lineitem-like, 16 columns, 600,000 rows x scale",
    clock="process",
    prepare=prepare,
    service=lineitem.server,
    contenders=(
        *_of_format("delta"),
        *_of_format("iceberg"),
        Contender(
            "psql COPY, two connections, to nowhere",
            "limit",
            EVERYWHERE,
            copy_to_nowhere,
            require_rows,
            needs=("psql",),
        ),
        Contender("DuckDB Parquet -> Parquet, write only", "limit", EVERYWHERE, write_only),
    ),
)
