"""Find the live files of one state of an Iceberg table, and what a reader must know to read them."""

from __future__ import annotations

import math
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import DamagedError, InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.tables.base import HEAD, NO_VERSION, FileListing
from airflow_provider_lakehouse.core.tables.iceberg.columns import Projection
from airflow_provider_lakehouse.core.tables.iceberg.deletes import read_deletes
from airflow_provider_lakehouse.core.tables.iceberg.refusals import translated
from airflow_provider_lakehouse.core.tables.iceberg.schema import from_iceberg
from airflow_provider_lakehouse.core.tables.iceberg.updates import kind_of

if TYPE_CHECKING:
    from datetime import datetime

    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.schema import Schema as IcebergSchema
    from pyiceberg.table import FileScanTask
    from pyiceberg.table import Table as IcebergTable
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

    from airflow_provider_lakehouse.core.tables.base import At
    from airflow_provider_lakehouse.core.tables.filters import Comparison, Filter
    from airflow_provider_lakehouse.core.tables.storage import Storage

MAIN: Final = "main"


def snapshot_at(metadata: TableMetadata, at: At, *, name: str) -> Snapshot | None:
    """Return the snapshot of a state, None for a main branch without any.

    Raises:
        InvalidRequestError: There is no such version, branch, tag, or nothing yet at the instant.
    """
    if at.version == NO_VERSION or at.branch == MAIN or at == HEAD:
        return None if at.version == NO_VERSION else metadata.current_snapshot()
    found: Snapshot | None
    if at.version is not None:
        found = metadata.snapshot_by_id(at.version)
    elif at.as_of is not None:
        found = _snapshot_as_of(metadata, at.as_of)
    else:
        reference, kind = at.branch or at.tag or "", "branch" if at.branch is not None else "tag"
        found = metadata.snapshot_by_name(reference) if kind_of(metadata, reference) == kind else None
    if found is None:
        raise InvalidRequestError(f"Table {name!r} has no such state. Choose another.", table=name, at=str(at))
    return found


def _snapshot_as_of(metadata: TableMetadata, instant: datetime) -> Snapshot | None:
    """Return what the main branch held at an instant, also where it was moved without a new snapshot."""
    milliseconds = int(instant.timestamp() * 1000)
    entries = [entry for entry in metadata.snapshot_log if entry.timestamp_ms <= milliseconds]
    return metadata.snapshot_by_id(entries[-1].snapshot_id) if entries else None


def schema_at(metadata: TableMetadata, at: At, snapshot: Snapshot | None) -> IcebergSchema:
    """Return the columns of a state: those of its time for versions, tags and instants, today's for branches."""
    if snapshot is None or (at.version is None and at.tag is None and at.as_of is None):
        return metadata.schema()
    known = metadata.schema_by_id(snapshot.schema_id) if snapshot.schema_id is not None else None
    return known or metadata.schema()


def list_files(table: IcebergTable, *, at: At, where: Filter, storage: Storage) -> FileListing:
    """Return the live files of a state that may hold rows that satisfy a filter.

    Raises:
        InvalidRequestError: There is no such state or column.
        UnsupportedError: The table has equality deletes, or files that are not Parquet.
    """
    name = ".".join(table.name())
    snapshot = snapshot_at(table.metadata, at, name=name)
    schema = schema_at(table.metadata, at, snapshot)
    ours = from_iceberg(schema)
    ours.require([comparison.column for comparison in where], purpose="a condition")
    if snapshot is None:
        return FileListing(NO_VERSION, ours, ())
    tasks = _plan(table, snapshot, schema, where)
    wanted = frozenset(task.file.file_path for task in tasks if task.delete_files)
    deletes = {file.file_path: file for task in tasks for file in task.delete_files}
    removed = read_deletes(deletes.values(), storage=storage, only=wanted)
    projection = Projection(table.metadata, schema, storage=storage)
    files = []
    for task in tasks:
        _check_parquet(task, name)
        rows = removed.get(task.file.file_path) if task.delete_files else None
        files.append(projection.describe(task.file, removed=rows))
    return FileListing(snapshot.snapshot_id, ours, tuple(files))


def _plan(table: IcebergTable, snapshot: Snapshot, schema: IcebergSchema, where: Filter) -> list[FileScanTask]:
    total = (snapshot.summary.additional_properties if snapshot.summary else {}).get("total-equality-deletes", "0")
    if total not in ("0", "", None):
        raise _equality_deletes(table)
    today = {field.name: field.field_id for field in table.metadata.schema().fields}
    same = {field.name for field in schema.fields if today.get(field.name) == field.field_id}
    known = tuple(comparison for comparison in where if comparison.column in same)
    scan = table.scan(row_filter=expression(known, table.metadata.schema()), snapshot_id=snapshot.snapshot_id)
    with translated(".".join(table.name())):
        try:
            return list(scan.plan_files())
        except ValueError as error:
            if "equality deletes" in str(error):
                raise _equality_deletes(table) from error
            raise DamagedError("The table's files cannot be listed. Look before you write again.") from error
        except FileNotFoundError as error:
            raise DamagedError("A manifest of the table is missing. Look before you write again.") from error


def _equality_deletes(table: IcebergTable) -> UnsupportedError:
    name = ".".join(table.name())
    return UnsupportedError(
        f"Table {name!r} holds equality-delete files, which this backend cannot apply. Compact it with the engine that "
        "writes them.",
        table=name,
    )


def _check_parquet(task: FileScanTask, name: str) -> None:
    from pyiceberg.manifest import FileFormat

    if task.file.file_format != FileFormat.PARQUET:
        raise UnsupportedError(
            f"Table {name!r} has data files in {task.file.file_format.value}. Rewrite them as Parquet.",
            table=name,
            uri=task.file.file_path,
        )


def expression(where: Filter, schema: IcebergSchema) -> BooleanExpression:
    """Return what of a filter can rule out files by their metadata; the rest is left to the reader of rows."""
    from pyiceberg.expressions import AlwaysTrue, And

    whole: BooleanExpression = AlwaysTrue()
    for comparison in where:
        if (one := _bindable(comparison, schema)) is not None:
            whole = And(whole, one)
    return whole


def _bindable(comparison: Comparison, schema: IcebergSchema) -> BooleanExpression | None:
    """Return the condition, None when PyIceberg cannot compare the value with the column, or does it wrong."""
    import pyiceberg.expressions as x
    from pyiceberg.expressions.literals import literal
    from pyiceberg.types import UUIDType

    column = comparison.column
    kind = schema.find_field(column).field_type
    if not kind.is_primitive:
        return None
    tests: dict[str, Any] = {
        "=": x.EqualTo, "!=": x.NotEqualTo, "<": x.LessThan, "<=": x.LessThanOrEqual, ">": x.GreaterThan,
        ">=": x.GreaterThanOrEqual, "in": x.In, "not in": x.NotIn, "is null": x.IsNull, "is not null": x.NotNull,
    }  # fmt: skip
    test = tests[comparison.operator]
    values = comparison.value if isinstance(comparison.value, tuple) else (comparison.value,)
    try:
        if comparison.operator in ("is null", "is not null"):
            one = test(column)
        elif isinstance(kind, UUIDType) or any(map(_is_misjudged, values)) or _excludes_no_date(comparison):
            return None
        else:
            literals = [literal(value) for value in values]
            one = test(column, literals if isinstance(comparison.value, tuple) else literals[0])
        one.bind(schema)
    except (TypeError, ValueError, OverflowError):
        return None
    bindable: BooleanExpression = one
    return bindable


def _excludes_no_date(comparison: Comparison) -> bool:
    """Tell whether a condition compares with the day before Python's first or after its last, as PyIceberg puts it.

    For the transforms `year` and `month` it takes that day apart, and fails.
    """
    ends = {("<", date.min), (">=", date.min), ("<=", date.max), (">", date.max)}
    return type(comparison.value) is date and (comparison.operator, comparison.value) in ends


def _is_misjudged(value: object) -> bool:
    """Tell whether PyIceberg rules out files that hold the value, as it does with floats that are not finite."""
    return isinstance(value, float) and not math.isfinite(value)
