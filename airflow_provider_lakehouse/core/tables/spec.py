"""What a table should be: columns, partitions, order, properties. Declared, compared, never guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Self

from airflow_provider_lakehouse.core.errors import ConflictError, InvalidRequestError
from airflow_provider_lakehouse.core.schema import SchemaPlan, plan_schema
from airflow_provider_lakehouse.core.tables.base import RESERVED_PREFIX, Change
from airflow_provider_lakehouse.core.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_lakehouse.core.schema import Schema
    from airflow_provider_lakehouse.core.tables.base import CommitResult, Table, TableFacts, WriteToken

Transform = Literal["identity", "bucket", "truncate", "year", "month", "day", "hour"]
TRANSFORMS: Final[tuple[Transform, ...]] = ("identity", "bucket", "truncate", "year", "month", "day", "hour")
_INSTANTS: Final = frozenset({"timestamp", "timestamptz"})
_SOURCE_TYPES: Final[dict[Transform, frozenset[str]]] = {
    "truncate": frozenset({"int", "long", "decimal", "string", "binary"}),
    "bucket": frozenset(
        {"int", "long", "decimal", "date", "time", "timestamp", "timestamptz", "string", "uuid", "fixed", "binary"}
    ),
    "year": _INSTANTS | {"date"},
    "month": _INSTANTS | {"date"},
    "day": _INSTANTS | {"date"},
    "hour": _INSTANTS,
}
_NO_PARTITION: Final = frozenset({"list", "map", "struct", "float", "double"})
"""Types of which rows make no partition: nested ones, and those in which NaN and the zeros leave open what is equal."""
_PARTITION_TEXT = re.compile(r"(?P<transform>\w+)\(\s*(?:(?P<parameter>\d+)\s*,\s*)?(?P<column>.+)\)\Z", re.DOTALL)
DEFAULT_FILE_BYTES: Final = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PartitionField:
    """One field of a hidden partitioning: readers filter on the column and never see the transform.

    Args:
        column: The column it is derived from.
        transform: One of Iceberg's transforms (table specification, section "Partition Transforms").
        parameter: Number of buckets, or truncation width; None for the others.
    """

    column: str
    transform: Transform = "identity"
    parameter: int | None = None

    def __post_init__(self) -> None:
        """Check that transform and parameter go together."""
        if self.transform not in TRANSFORMS:
            raise InvalidRequestError(
                f"There is no partition transform {self.transform!r}. Use one of those there are.",
                transforms=TRANSFORMS,
            )
        if (self.transform in ("bucket", "truncate")) != (self.parameter is not None and self.parameter > 0):
            raise InvalidRequestError(
                f"Partition transform {self.transform!r} on {self.column!r} has a wrong parameter. "
                "Give buckets and truncations a positive number, the others none.",
                column=self.column,
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the short form: a column name, or for example `day(event_at)`, `bucket(16, user_id)`.

        Example:
            >>> PartitionField.parse("bucket(16, user_id)")
            PartitionField(column='user_id', transform='bucket', parameter=16)
        """
        found = _PARTITION_TEXT.match(text.strip())
        if found is None or found["transform"] not in TRANSFORMS:
            return cls(text)
        parameter = int(found["parameter"]) if found["parameter"] else None
        return cls(found["column"].strip(), found["transform"], parameter)

    def __str__(self) -> str:
        """Return the short form."""
        if self.transform == "identity":
            return self.column
        return f"{self.transform}({f'{self.parameter}, ' if self.parameter else ''}{self.column})"


@dataclass(frozen=True, slots=True)
class SortField:
    """One field of the order in which rows are written into files. Nulls come first when ascending, last when descending."""

    column: str
    descending: bool = False


@dataclass(frozen=True)
class TableSpec:
    """What a table should be.

    Args:
        schema: Columns and identifier.
        partitioning: In order; a string is read as the short form, see `PartitionField.parse`.
        sort_order: Order of rows within each commit's files; a string is a column, ascending.
        properties: Properties of the format, set as they are.
        comment: Shown to readers of the table.
        target_file_bytes: Size at which a data file is closed, in compressed bytes.

    Raises:
        InvalidRequestError: A field names no column, or a column of a type its transform cannot take.

    Example:
        >>> from airflow_provider_lakehouse.core.schema import Column, Schema
        >>> spec = TableSpec(Schema.of(Column("at", "timestamptz")), partitioning=("day(at)",))
        >>> spec.partitioning
        (PartitionField(column='at', transform='day', parameter=None),)
    """

    schema: Schema
    partitioning: tuple[PartitionField | str, ...] = ()
    sort_order: tuple[SortField | str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    comment: str = ""
    target_file_bytes: int = DEFAULT_FILE_BYTES

    def __post_init__(self) -> None:
        """Read short forms and check columns and types."""
        parts = tuple(PartitionField.parse(p) if isinstance(p, str) else p for p in self.partitioning)
        order = tuple(SortField(s) if isinstance(s, str) else s for s in self.sort_order)
        object.__setattr__(self, "partitioning", parts)
        object.__setattr__(self, "sort_order", order)
        if reserved := tuple(name for name in self.schema.names if name.lower().startswith(RESERVED_PREFIX)):
            raise InvalidRequestError(
                f"Names that start with {RESERVED_PREFIX!r} are kept for rows on their way. Rename some.",
                columns=reserved,
            )
        self.schema.require([p.column for p in parts], purpose="partitioning")
        self.schema.require([s.column for s in order], purpose="the sort order")
        if len(set(parts)) < len(parts):
            raise InvalidRequestError("A partition field stands twice. Remove one.", fields=tuple(map(str, parts)))
        for part in parts:
            self._check_source_type(part)
        if self.target_file_bytes <= 0:
            raise InvalidRequestError("The target size of a file must be positive.", bytes=self.target_file_bytes)

    def _check_source_type(self, part: PartitionField) -> None:
        name = parse_type(self.schema.by_name[part.column].type).name
        allowed = _SOURCE_TYPES.get(part.transform)
        if (name in _NO_PARTITION) if allowed is None else (name not in allowed):
            raise InvalidRequestError(
                f"Column {part.column!r} of type {name} cannot be partitioned by {part.transform!r}. Choose another transform.",
                column=part.column,
                transform=part.transform,
            )

    @property
    def partition_fields(self) -> tuple[PartitionField, ...]:
        """The partitioning, with short forms read."""
        return self.partitioning  # type: ignore[return-value]

    @property
    def sort_fields(self) -> tuple[SortField, ...]:
        """The sort order, with short forms read."""
        return self.sort_order  # type: ignore[return-value]


@dataclass(frozen=True)
class SpecPlan:
    """What would bring a table to its specification.

    Args:
        base: Version of the table that was looked at.
        columns: Its columns then; formats change them without a new version, too.
        schema: Changes of columns.
        properties: Properties to set; None as a value removes.
        comment: The comment to set; None keeps.
        refused: Differences that need a new table; one sentence each.
    """

    base: int
    columns: Schema
    schema: SchemaPlan
    properties: Mapping[str, str | None] = field(default_factory=dict)
    comment: str | None = None
    refused: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True when table and specification agree."""
        return self.schema.is_empty and not self.properties and self.comment is None and not self.refused


def plan_spec(spec: TableSpec, facts: TableFacts) -> SpecPlan:
    """Compare a table with its specification. Columns and properties that only the table has are kept.

    Args:
        spec: What the table should be.
        facts: What it is.

    Returns:
        A plan; nothing is written before it is applied with `apply_spec`.
    """
    refused = list(plan_schema(facts.schema, spec.schema).refused)
    if facts.partitioning != spec.partition_fields:
        refused.append(
            f"The table is partitioned by ({', '.join(map(str, facts.partitioning))}), not by "
            f"({', '.join(map(str, spec.partition_fields))}); changing that rewrites it."
        )
    if facts.schema.identifier != spec.schema.identifier and facts.keeps_identifier:
        refused.append(f"Rows are identified by {facts.schema.identifier}, not by {spec.schema.identifier}.")
    properties: dict[str, str | None] = {k: v for k, v in spec.properties.items() if facts.properties.get(k) != v}
    comment = spec.comment if spec.comment and spec.comment != facts.comment else None
    schema = SchemaPlan(plan_schema(facts.schema, spec.schema).changes)
    return SpecPlan(facts.version, facts.schema, schema, properties, comment, tuple(refused))


def apply_spec(table: Table, plan: SpecPlan, *, token: WriteToken) -> CommitResult | None:
    """Bring a table to its specification, in one commit.

    Args:
        table: The table the plan was made for.
        plan: From `plan_spec`.
        token: Names this change.

    Returns:
        The commit; None when there was nothing to do.

    Raises:
        InvalidRequestError: The plan holds differences that need a new table. Nothing was written.
        UnsupportedError: The format cannot make one of the changes. Nothing was written.
        ConflictError: The table's columns changed since the plan was made. Nothing was written; plan again.

    Guarantees:
        Replay: the same token twice changes once.
    """
    if plan.is_empty:
        return None
    if plan.refused:
        raise InvalidRequestError(
            "The specification needs a new table. Create it under another name and load it, or change the specification.",
            table=table.identity.name,
            refused=plan.refused,
        )
    if table.find(token) is None and plan.columns != table.facts().schema:
        raise ConflictError(
            "The table's columns changed since the plan was made. Plan again.", table=table.identity.name
        )
    change = Change(schema_changes=plan.schema.changes, properties=plan.properties, comment=plan.comment)
    return table.commit(change, token=token)
