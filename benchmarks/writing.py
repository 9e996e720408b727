"""Write with the formats' own libraries, as peers do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa


def writer(lake: Path, table_format: str) -> Callable[[pa.RecordBatchReader], None]:
    """Import the library of a format, and return what writes a stream into a new table with it."""
    if table_format == "delta":
        from deltalake import write_deltalake

        return lambda rows: write_deltalake(str(lake), rows)
    import pyiceberg.catalog.sql  # noqa: F401

    return lambda rows: create_iceberg(lake, rows.schema).append(rows)


def create_iceberg(lake: Path, schema: pa.Schema) -> Any:  # noqa: ANN401
    """Create the table `bench.result` in a catalog of its own."""
    from pyiceberg.catalog.sql import SqlCatalog

    lake.mkdir(parents=True, exist_ok=True)
    catalog = SqlCatalog("default", uri=f"sqlite:///{lake}/catalog.db", warehouse=f"file://{lake}")
    catalog.create_namespace("bench")
    return catalog.create_table("bench.result", schema=schema)


def load_iceberg(lake: Path) -> Any:  # noqa: ANN401
    """Load the table `bench.result`."""
    from pyiceberg.catalog.sql import SqlCatalog

    return SqlCatalog("default", uri=f"sqlite:///{lake}/catalog.db", warehouse=f"file://{lake}").load_table(
        "bench.result"
    )
