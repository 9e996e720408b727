"""Bring a stream of rows into order, larger than memory."""

from __future__ import annotations

import itertools
import tempfile
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import UnavailableError, UnsupportedError
from airflow_provider_lakehouse.core.tables.base import RESERVED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import ModuleType

    import duckdb
    import pyarrow as pa

    from airflow_provider_lakehouse.core.tables.spec import SortField

SORT_MEMORY_BYTES: Final = 512 * 1024 * 1024
"""Memory DuckDB may use before it spills."""
_BATCH_ROWS: Final = 65_536
_PARTITION_PREFIX: Final = f"{RESERVED_PREFIX}partition_"


def in_order(batches: Iterator[pa.RecordBatch], *, order: tuple[SortField, ...]) -> Generator[pa.RecordBatch]:
    """Yield all rows by partition values first, then by `order`.

    Args:
        batches: Columns called `__lakehouse_partition_0`, ... hold partition values. All batches have one schema.
        order: Further fields; nulls come first when ascending, last when descending.

    Raises:
        UnsupportedError: DuckDB is not installed.
        UnavailableError: There is no room to spill to.
    """
    import pyarrow as pa

    first = next(batches, None)
    if first is None:
        return
    duckdb = _duckdb()

    names = first.schema.names
    numbered = pa.schema([field.with_name(f"c{place}") for place, field in enumerate(first.schema)])

    def stream() -> Iterator[pa.RecordBatch]:
        for batch in itertools.chain([first], batches):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=numbered)

    reader = pa.RecordBatchReader.from_batches(numbered, stream())  # SQL does not tell names apart by case
    keys = [f"c{place} ASC NULLS FIRST" for place, name in enumerate(names) if name.startswith(_PARTITION_PREFIX)]
    keys += [f"c{names.index(f.column)} {'DESC NULLS LAST' if f.descending else 'ASC NULLS FIRST'}" for f in order]
    with tempfile.TemporaryDirectory(prefix="lakehouse-sort-") as folder, duckdb.connect(":memory:") as connection:
        _settle(connection, folder)
        connection.register("rows_in", reader)
        try:
            ordered = connection.sql(f"SELECT * FROM rows_in ORDER BY {', '.join(keys)}")
            read = getattr(ordered, "to_arrow_reader", None) or ordered.fetch_arrow_reader  # DuckDB 2 and 1
            for batch in read(_BATCH_ROWS):
                yield pa.RecordBatch.from_arrays(batch.cast(numbered).columns, schema=first.schema)
        except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
            raise UnavailableError(
                "There is not enough room to sort the rows. Free space for temporary files.", folder=folder
            ) from error


def _duckdb() -> ModuleType:
    try:
        import duckdb
    except ImportError as error:
        raise UnsupportedError(
            "Writing in order, or into many partitions at once, needs DuckDB. Install 'airflow-provider-lakehouse[duckdb]'."
        ) from error
    return duckdb


def _settle(connection: duckdb.DuckDBPyConnection, folder: str) -> None:
    settings = {
        "memory_limit": f"{SORT_MEMORY_BYTES}B",
        "temp_directory": folder,
        "TimeZone": "UTC",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "arrow_lossless_conversion": "true",
    }
    for name, value in settings.items():
        connection.execute(f"SET {name} = '{value}'")
