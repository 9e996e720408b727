"""Read results back, always by the library that owns the format, and add them up in DuckDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from benchmarks.area import Answer

type Measures = Mapping[str, str]
"""SQL aggregates by name; the columns they use are read."""


def delta_rows(path: Path, columns: list[str]) -> pa.RecordBatchReader:
    """Stream columns of a Delta table."""
    import pyarrow as pa
    from deltalake import DeltaTable, QueryBuilder

    names = ", ".join(f'"{column}"' for column in columns)
    found = QueryBuilder().register("t", DeltaTable(str(path))).execute(f"SELECT {names} FROM t")
    return pa.RecordBatchReader.from_stream(found)


def iceberg_rows(path: Path, columns: list[str]) -> pa.RecordBatchReader:
    """Stream columns of the newest state of the Iceberg table below a folder."""
    return iceberg_table(path).scan(selected_fields=tuple(columns)).to_arrow_batch_reader()


def iceberg_table(path: Path) -> Any:  # noqa: ANN401
    """Return the newest state of the Iceberg table below a folder, found without its catalog."""
    from pyiceberg.table import StaticTable

    newest = max(path.glob("**/metadata/*.metadata.json"), key=lambda file: (file.stat().st_mtime_ns, file.name))
    return StaticTable.from_metadata(str(newest))


def parquet_rows(pattern: str, columns: list[str]) -> pa.RecordBatchReader:
    """Stream columns of Parquet files."""
    import duckdb

    names = ", ".join(f'"{column}"' for column in columns)
    return duckdb.connect().sql(f"SELECT {names} FROM read_parquet('{pattern}')").to_arrow_reader(65_536)


READERS = {"delta": delta_rows, "iceberg": iceberg_rows}


def added_up(rows: pa.RecordBatchReader, measures: Measures) -> Answer:
    """Compute measures over rows; numbers as text, so that none is rounded."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("rows", rows)
    wanted = ", ".join(f"CAST({sql} AS VARCHAR)" for sql in measures.values())
    found = connection.execute(f"SELECT {wanted} FROM rows").fetchone() or ()
    return dict(zip(measures, found, strict=True))
