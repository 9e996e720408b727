"""Area `files`: a year of landed files into a new bronze table, with metadata columns, row hash and deduplication."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from benchmarks.area import Area, Contender
from benchmarks.contents import READERS, added_up
from benchmarks.writing import writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from benchmarks.area import Answer, Job

FILE_FORMATS = ("csv", "jsonl", "parquet")
TABLE_FORMATS = ("delta", "iceberg")
DAYS = 365
MEASURES = {
    "rows": "count(*)",
    "households": "sum(household_id)::HUGEINT",
    "baskets": "sum(basket_id)::HUGEINT",
    "quantity": "sum(quantity)::HUGEINT",
    "sales": "sum(sales_value::DECIMAL(10,2))::DECIMAL(30,2)",
    "seconds": "sum(epoch(transaction_timestamp::TIMESTAMPTZ)::BIGINT)::HUGEINT",
}
BRONZE = {**MEASURES, "hashes": "count(DISTINCT _row_hash)", "no_file": "count(*) FILTER (_source_file IS NULL)"}
READ = ("household_id", "basket_id", "quantity", "sales_value", "transaction_timestamp")
_SPELLED = {
    "csv": ("FORMAT csv, HEADER", "strftime(timezone('UTC', transaction_timestamp), '%Y-%m-%dT%H:%M:%SZ')", "{0}"),
    "jsonl": (
        "FORMAT json",
        "strftime(timezone('UTC', transaction_timestamp), '%Y-%m-%dT%H:%M:%SZ')",
        "CAST({0} AS VARCHAR)",
    ),
    "parquet": ("FORMAT parquet", "transaction_timestamp", "{0}"),
}


def columns() -> Mapping[str, str]:
    """Return the columns of the files: type by name."""
    from airflow_provider_lakehouse.samples.retail_contract import COLUMNS

    return COLUMNS["transactions"]


def prepare(folder: Path, scale: float) -> Mapping[str, Answer]:
    """Land days of the retail sample, and spell all of them in each of the three formats."""
    import duckdb

    from airflow_provider_lakehouse.samples import retail
    from airflow_provider_lakehouse.samples.retail_contract import FIRST_DAY

    days = max(2, round(DAYS * min(scale, 1.0)))
    landed = retail.land(folder / "landed", since=FIRST_DAY, until=FIRST_DAY + timedelta(days=days))
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    names = ", ".join(f"{name}: '{sql_type(kind)}'" for name, kind in columns().items())
    readers = {
        ".csv": f"read_csv('{{0}}', header = true, columns = {{{{{names}}}}})",
        ".jsonl": f"read_json('{{0}}', format = 'newline_delimited', columns = {{{{{names}}}}})",
        ".parquet": "read_parquet('{0}')",
    }
    for file in (f for f in landed if f.kind == "transactions" and f.rows):
        source = readers[file.path.suffix].format(file.path)
        typed = ", ".join(f"CAST({name} AS {sql_type(kind)}) AS {name}" for name, kind in columns().items())
        connection.execute(f"CREATE OR REPLACE TABLE day AS SELECT {typed} FROM {source}")
        for file_format in FILE_FORMATS:
            _spell(connection, folder / file_format / f"{file.path.stem}.{file_format}", file_format)
    everything = connection.sql(f"FROM read_parquet('{folder}/parquet/*.parquet')")
    return {
        "every row": added_up(everything.to_arrow_reader(65_536), MEASURES),
        "bronze": _expected_bronze(connection, folder),
    }


def sql_type(kind: str) -> str:
    """Return DuckDB's name of a type of the contract."""
    return {"long": "BIGINT", "int": "INTEGER", "timestamptz": "TIMESTAMPTZ"}.get(kind, kind)


def _spell(connection: Any, path: Path, file_format: str) -> None:  # noqa: ANN401
    path.parent.mkdir(parents=True, exist_ok=True)
    options, instant, money = _SPELLED[file_format]
    spelled = {name: money.format(name) if kind.startswith("decimal") else name for name, kind in columns().items()}
    spelled["transaction_timestamp"] = instant
    chosen = ", ".join(f"{value} AS {name}" for name, value in spelled.items())
    connection.execute(f"COPY (SELECT {chosen} FROM day) TO '{path}' ({options})")


def _expected_bronze(connection: Any, folder: Path) -> Answer:  # noqa: ANN401
    distinct = connection.sql(f"SELECT DISTINCT * FROM read_parquet('{folder}/parquet/*.parquet')")
    found = added_up(distinct.to_arrow_reader(65_536), MEASURES)
    return {**found, "hashes": found["rows"], "no_file": "0"}


def ours(job: Job, *, file_format: str, table_format: str) -> Callable[[], object]:
    """FileSource -> dedup."""
    from airflow_provider_lakehouse.core.load.modes import Dedup
    from airflow_provider_lakehouse.core.schema import Column, Schema
    from airflow_provider_lakehouse.core.sources.base import Rejects
    from airflow_provider_lakehouse.core.sources.files.source import FileSettings, FileSource
    from benchmarks import ours as provider

    def work() -> None:
        import pyarrow as pa

        given = [Column(name, kind) for name, kind in columns().items()]
        source = FileSource(FileSettings(f"{job.inputs}/{file_format}/*", schema=Schema(tuple(given))))
        rows = source.read(source.plan(position=None, now=provider.NOW), rejects=Rejects())
        ingested = pa.field("_ingested_at", pa.timestamp("us", "UTC"))
        stamped = pa.RecordBatchReader.from_batches(
            rows.schema.append(ingested),
            (b.append_column(ingested, pa.repeat(pa.scalar(provider.NOW, ingested.type), b.num_rows)) for b in rows),
        )
        metadata = (
            Column("_ingested_at", "timestamptz"),
            Column("_source_file", "string"),
            Column("_row_hash", "binary"),
        )
        table = provider.open_table(job.folder / "lake", table_format)
        provider.create(table, Schema((*given, *metadata)))
        provider.load(table, stamped, mode=Dedup(), batch="1")

    return work


def dlt_files(job: Job, *, file_format: str, table_format: str) -> Callable[[], object]:
    """Run dlt's own readers of files, which neither hash nor drop repeated rows."""
    import dlt
    from dlt.destinations import filesystem as lake
    from dlt.sources.filesystem import filesystem, read_csv_duckdb, read_parquet

    def work() -> None:
        found = filesystem(bucket_url=f"file://{job.inputs}/{file_format}", file_glob="*")
        reader = read_csv_duckdb(use_pyarrow=True, chunk_size=100_000) if file_format == "csv" else read_parquet()
        rows = (found | reader).with_name("result")
        rows.apply_hints(table_format=cast("Any", table_format))
        dlt.pipeline(
            "bench",
            destination=lake(bucket_url=f"file://{job.folder}/lake"),
            dataset_name="bench",
            pipelines_dir=str(job.folder / "pipelines"),
        ).run(rows, write_disposition="append")

    return work


def pandas_hashlib(job: Job, *, file_format: str, table_format: str) -> Callable[[], object]:
    """Read with pandas, hash each row with hashlib, drop duplicates, write with the format's library."""
    import hashlib

    import pandas as pd
    import pyarrow as pa

    write = writer(job.folder / "lake", table_format)
    money = [name for name, kind in columns().items() if kind.startswith("decimal")]
    readers: dict[str, Callable[[Path], Any]] = {
        "csv": lambda path: pd.read_csv(path, dtype=dict.fromkeys(money, str)),
        "jsonl": lambda path: pd.read_json(path, lines=True, dtype=dict.fromkeys(money, str), convert_dates=False),
        "parquet": pd.read_parquet,
    }

    def work() -> None:
        files = sorted((job.inputs / file_format).iterdir())
        frame = pd.concat(
            [readers[file_format](path).assign(_source_file=str(path)) for path in files], ignore_index=True
        )
        texts = [frame[name].astype(str) for name in columns()]
        joined = ("\x1f".join(row).encode() for row in zip(*texts, strict=True))
        frame["_row_hash"] = [hashlib.sha256(text).digest() for text in joined]
        frame["transaction_timestamp"] = pd.to_datetime(frame["transaction_timestamp"], utc=True).dt.as_unit("us")
        frame["_ingested_at"] = pd.Timestamp("2026-01-01", tz="UTC").as_unit("us")
        kept = frame.drop_duplicates("_row_hash")
        table = pa.Table.from_pandas(kept, preserve_index=False)
        for name in money:
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, table.column(name).cast(pa.decimal128(10, 2)))
        write(table.to_reader())

    return work


def duckdb_by_hand(job: Job, *, file_format: str, table_format: str) -> Callable[[], object]:
    """Do the same in one statement of DuckDB, with a plain joined text as what is hashed."""
    import duckdb

    del table_format
    texts = ", ".join(f"CAST({name} AS VARCHAR)" for name in columns())
    names = ", ".join(columns())
    source = _source(job, file_format)

    def work() -> None:
        connection = duckdb.connect(config={"preserve_insertion_order": "false"})
        connection.execute(
            f"COPY (SELECT {names}, first(filename) AS _source_file, "
            "TIMESTAMPTZ '2026-01-01 00:00:00+00' AS _ingested_at, "
            f"unhex(sha256(concat_ws('|', {texts}))) AS _row_hash FROM {source} GROUP BY ALL) "
            f"TO '{job.folder}/out.parquet' (FORMAT parquet, COMPRESSION zstd)"
        )

    return work


def straight(job: Job, *, file_format: str) -> Callable[[], object]:
    """Spell the files as Parquet: no metadata, no hash, no deduplication."""
    import duckdb

    source = _source(job, file_format)
    return lambda: duckdb.connect(config={"preserve_insertion_order": "false"}).execute(
        f"COPY (SELECT {', '.join(columns())} FROM {source}) TO '{job.folder}/out.parquet' "
        "(FORMAT parquet, COMPRESSION zstd)"
    )


def _source(job: Job, file_format: str) -> str:
    files, names = f"'{job.inputs}/{file_format}/*'", ", ".join(f"{n}: '{sql_type(k)}'" for n, k in columns().items())
    return {
        "csv": f"read_csv({files}, header = true, auto_detect = false, filename = true, columns = {{{names}}})",
        "jsonl": f"read_json({files}, format = 'newline_delimited', filename = true, columns = {{{names}}})",
        "parquet": f"read_parquet({files}, filename = true)",
    }[file_format]


def check(job: Job, *, table_format: str, measures: Mapping[str, str]) -> Answer:
    """Add up the table of a run."""
    marker = "_delta_log" if table_format == "delta" else "metadata"
    folder = next(found.parent for found in job.folder.glob(f"**/{marker}") if "_dlt" not in found.parent.name)
    read = [*READ, "_row_hash", "_source_file"] if measures is BRONZE else list(READ)
    return added_up(READERS[table_format](folder, read), measures)


def check_parquet(job: Job) -> Answer:
    """Add up the Parquet file of a run."""
    from benchmarks.contents import parquet_rows

    return added_up(parquet_rows(f"{job.folder}/out.parquet", [*READ, "_row_hash", "_source_file"]), BRONZE)


def _of(file_format: str, table_format: str) -> list[Contender]:
    group = f"{file_format} -> {table_format}"
    how: dict[str, Any] = {"file_format": file_format, "table_format": table_format}
    bronze: dict[str, Any] = {
        "check": partial(check, table_format=table_format, measures=BRONZE), "expects": "bronze"
    }  # fmt: skip
    by_hand = partial(duckdb_by_hand, **how)
    found = [
        Contender(f"FileSource -> dedup [{group}]", "ours", group, partial(ours, **how), **bronze),
        Contender(
            f"pandas + hashlib [{group}]", "peer", group, partial(pandas_hashlib, **how), **bronze,
            needs=("pandas",),
            most_rounds=1,
        ),
        Contender(f"DuckDB by hand [{group}]", "peer", group, by_hand, check=check_parquet, expects="bronze"),
        Contender(f"DuckDB straight to Parquet [{group}]", "limit", group, partial(straight, file_format=file_format)),
    ]  # fmt: skip
    if file_format != "jsonl":
        raw = partial(check, table_format=table_format, measures=MEASURES)
        name = f"dlt, no hash, no dedup [{group}]"
        found.insert(
            1, Contender(name, "peer", group, partial(dlt_files, **how), check=raw, expects="every row", needs=("dlt",))
        )
    return found


AREA = Area(
    name="files",
    title="a year of retail files (1.48 M rows in 369 files) -> bronze: metadata columns, SHA-256, deduplicated",
    clock="process",
    prepare=prepare,
    contenders=tuple(c for table in TABLE_FORMATS for file in FILE_FORMATS for c in _of(file, table)),
)
