"""The first commit of a Delta table: what it is, decided from its specification."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import UnsupportedError
from airflow_provider_lakehouse.core.tables.delta.actions import ENGINE, now_ms
from airflow_provider_lakehouse.core.tables.delta.metadata import FILE_SIZE, IDENTIFIER, SORT_ORDER, Metadata
from airflow_provider_lakehouse.core.tables.delta.protocol import INITIAL, check_properties
from airflow_provider_lakehouse.core.tables.delta.schema import delta_schema
from airflow_provider_lakehouse.core.types import parse_type

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.tables.delta.log import Action
    from airflow_provider_lakehouse.core.tables.spec import TableSpec

_NO_PARTITION: Final = frozenset({"binary", "list", "map", "struct"})


def create_actions(spec: TableSpec, *, name: str, table_id: str) -> tuple[Action, ...]:
    """Return the lines of a table's first commit.

    The identifier, the sort order and the size of files are kept as properties: Delta has no other place for them.

    Args:
        spec: What the table should be.
        name: Shown to readers of the log.
        table_id: Distinguishes it from any other table.

    Raises:
        UnsupportedError: Delta has no such type or partitioning, or a property asks for what is not done here.
    """
    fields = delta_schema(spec.schema)["fields"]
    _check_partitioning(spec)
    check_properties(spec.properties, INITIAL)
    properties = dict(spec.properties)
    properties.setdefault(FILE_SIZE, str(spec.target_file_bytes))
    if spec.schema.identifier:
        properties[IDENTIFIER] = json.dumps(spec.schema.identifier)
    if spec.sort_fields:
        properties[SORT_ORDER] = json.dumps([[f.column, f.descending] for f in spec.sort_fields])
    at_ms = now_ms()
    metadata = Metadata(
        id=table_id,
        name=name,
        description=spec.comment,
        created_at_ms=at_ms,
        partition_columns=tuple(part.column for part in spec.partition_fields),
        fields=fields,
        properties=properties,
    )
    info = {
        "timestamp": at_ms,
        "operation": "CREATE TABLE",
        "operationParameters": {"partitionBy": json.dumps(metadata.partition_columns)},
        "engineInfo": ENGINE,
        "txnId": table_id,
    }
    protocol = INITIAL.for_fields(fields)
    return ({"commitInfo": info}, protocol.to_action(), metadata.to_action())


def _check_partitioning(spec: TableSpec) -> None:
    for part in spec.partition_fields:
        if part.transform != "identity":
            raise UnsupportedError(
                f"Delta partitions by columns only, not by '{part}'. Add a column with the value, and partition by it.",
                column=part.column,
                transform=part.transform,
            )
        if (kind := parse_type(spec.schema.by_name[part.column].type).name) in _NO_PARTITION:
            raise UnsupportedError(
                f"Delta cannot be partitioned here by column {part.column!r} of type {kind}. Choose another column.",
                column=part.column,
            )
    if len(spec.partition_fields) == len(spec.schema.columns):
        raise UnsupportedError("A Delta table needs a column that it is not partitioned by. Add one.")
