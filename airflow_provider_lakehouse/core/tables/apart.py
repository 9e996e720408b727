"""Tell two states of a table of files apart without reading the files that both have whole."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.tables.file_reading import read_files

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.tables.abilities import Listing
    from airflow_provider_lakehouse.core.tables.base import At, DataFile, FileListing
    from airflow_provider_lakehouse.core.tables.storage import Storage


def listings_apart(table: Listing, *, before: At | None, after: At) -> tuple[FileListing | None, FileListing]:
    """Return the files of two states that are not the same in both.

    Args:
        table: The table.
        before: The earlier state; None for a table without rows.
        after: The later state.

    Returns:
        The two listings, without the files that have the same live rows in both.
    """
    new = table.list_files(at=after)
    if before is None:
        return None, new
    old = table.list_files(at=before)
    shared = _alike(old.files, new.files)
    return (
        replace(old, files=tuple(file for file in old.files if file.path not in shared)),
        replace(new, files=tuple(file for file in new.files if file.path not in shared)),
    )


def read_listing(listing: FileListing | None, *, storage: Storage, schema: Schema) -> pa.RecordBatchReader:
    """Stream the live rows of listed files.

    Args:
        listing: None for no files.
        storage: Where they are.
        schema: Of the rows where there are no files.
    """
    files = listing.files if listing is not None else ()
    return read_files(files, storage=storage, schema=listing.schema if listing is not None else schema)


def _alike(old: Iterable[DataFile], new: Iterable[DataFile]) -> frozenset[str]:
    known = {file.path: file for file in old}
    return frozenset(f.path for f in new if f.path in known and _same(known[f.path].removed, f.removed))


def _same(one: pa.Array | None, other: pa.Array | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(one.equals(other))
