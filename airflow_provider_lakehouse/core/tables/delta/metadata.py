"""What a Delta table says of itself: columns, partitioning and properties, and what the provider keeps in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.tables.delta.schema import file_schema, schema_of
from airflow_provider_lakehouse.core.tables.spec import DEFAULT_FILE_BYTES, SortField

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.tables.delta.log import Action

IDENTIFIER: Final = "lakehouse.identifier"
"""Property that remembers which columns identify a row: a JSON list."""
SORT_ORDER: Final = "lakehouse.sort-order"
"""Property that remembers the order asked of writers: a JSON list of pairs of column and `descending`."""
FILE_SIZE: Final = "delta.targetFileSize"
CHECKPOINT_INTERVAL: Final = "delta.checkpointInterval"
_DEFAULT_CHECKPOINT_INTERVAL: Final = 10
_SIZE_UNITS: Final = {"k": 2**10, "m": 2**20, "g": 2**30}


@dataclass(frozen=True)
class Metadata:
    """The newest `metaData` action.

    Args:
        id: Of the table; another one is another table at the same place.
        name: As its creator called it.
        description: The comment.
        created_at_ms: When it was created, in milliseconds since 1970.
        partition_columns: In order.
        fields: Delta's own description of the columns.
        properties: The table's configuration.
    """

    id: str
    name: str | None
    description: str
    created_at_ms: int | None
    partition_columns: tuple[str, ...]
    fields: list[dict[str, Any]]
    properties: Mapping[str, str]

    @classmethod
    def from_action(cls, action: Action) -> Metadata:
        """Read the action's content."""
        return cls(
            id=action["id"],
            name=action.get("name"),
            description=action.get("description") or "",
            created_at_ms=action.get("createdTime"),
            partition_columns=tuple(action["partitionColumns"]),
            fields=json.loads(action["schemaString"])["fields"],
            properties=action.get("configuration") or {},
        )

    def to_action(self) -> Action:
        """Return the action of the log."""
        content = {
            "id": self.id,
            "name": self.name,
            "description": self.description or None,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": json.dumps({"type": "struct", "fields": self.fields}, separators=(",", ":")),
            "partitionColumns": list(self.partition_columns),
            "configuration": dict(self.properties),
            "createdTime": self.created_at_ms,
        }
        return {"metaData": {name: value for name, value in content.items() if value is not None}}

    @cached_property
    def identifier(self) -> tuple[str, ...]:
        """Columns that identify a row, as the table remembers them."""
        return tuple(json.loads(self.properties.get(IDENTIFIER, "[]")))

    @cached_property
    def schema(self) -> Schema:
        """The columns."""
        return schema_of(self.fields, identifier=self.identifier)

    @property
    def sort_order(self) -> tuple[SortField, ...]:
        """The order asked of writers."""
        fields = [
            SortField(column, descending) for column, descending in json.loads(self.properties.get(SORT_ORDER, "[]"))
        ]
        return tuple(field for field in fields if field.column in self.schema.by_name)

    @property
    def target_file_bytes(self) -> int:
        """Size at which a data file is closed."""
        text = self.properties.get(FILE_SIZE, "").strip().lower().removesuffix("b")
        unit = _SIZE_UNITS.get(text[-1:], 1)
        digits = text.rstrip("kmg")
        return int(digits) * unit if digits.isdecimal() and int(digits) else DEFAULT_FILE_BYTES

    @property
    def checkpoint_interval(self) -> int:
        """After how many commits a checkpoint is due."""
        text = self.properties.get(CHECKPOINT_INTERVAL, "")
        return int(text) if text.isdecimal() and int(text) else _DEFAULT_CHECKPOINT_INTERVAL

    @property
    def stored_fields(self) -> list[dict[str, Any]]:
        """The columns that data files hold: all but those of the partitioning."""
        return [f for f in self.fields if f["name"] not in self.partition_columns]

    def file_schema(self) -> pa.Schema:
        """The Arrow schema of new data files."""
        return file_schema(self.stored_fields)
