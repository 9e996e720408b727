"""The columns of a table, and what may change about them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, Self

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.types import arrow_type, is_widening, parse_type, type_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

_SAMPLE: Final = 20


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Args:
        name: Any text but the empty one; quotes, spaces, dots and unicode are kept as they are.
        type: See `core.types`; kept in canonical form.
        nullable: False refuses rows in which it is null.
        comment: Shown to readers of the table.
    """

    name: str
    type: str
    nullable: bool = True
    comment: str = ""

    def __post_init__(self) -> None:
        """Check the name and bring the type to its canonical text."""
        if not self.name:
            raise InvalidRequestError("A column has no name. Give it one.")
        object.__setattr__(self, "type", str(parse_type(self.type)))


@dataclass(frozen=True)
class Schema:
    """Columns in order, and which of them identify a row.

    Args:
        columns: At least one; names are distinct.
        identifier: Names of the columns that identify a row; none of them is nullable. Empty where rows have no identity.

    Raises:
        InvalidRequestError: Names repeat, or the identifier names no column or a nullable one.

    Example:
        >>> schema = Schema.of(Column("id", "long", nullable=False), Column("amount", "decimal(10,2)"), identifier=("id",))
        >>> schema.names
        ('id', 'amount')
    """

    columns: tuple[Column, ...]
    identifier: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Check names and identifier."""
        names = [column.name for column in self.columns]
        repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if repeated or not names:
            raise InvalidRequestError(
                "A schema needs columns with distinct names. Rename or remove some.", repeated=tuple(repeated)
            )
        unusable = [n for n in self.identifier if n not in self.by_name or self.by_name[n].nullable]
        if unusable:
            raise InvalidRequestError(
                "An identifier must be made of columns that exist and are not nullable. Declare them so.",
                columns=tuple(unusable),
            )

    @classmethod
    def of(cls, *columns: Column, identifier: Iterable[str] = ()) -> Self:
        """Build a schema from columns."""
        return cls(columns=columns, identifier=tuple(identifier))

    @classmethod
    def from_arrow(cls, arrow: pa.Schema, *, identifier: Iterable[str] = ()) -> Self:
        """Read a schema from Arrow's; see `type_of` for what becomes of each type.

        Raises:
            UnsupportedError: A column has a type that no table can hold.
        """
        columns = tuple(Column(f.name, type_of(f.type), nullable=f.nullable) for f in arrow)
        return cls(columns=columns, identifier=tuple(identifier))

    def to_arrow(self) -> pa.Schema:
        """Return the Arrow schema in which rows of the table travel."""
        import pyarrow as pa

        return pa.schema([pa.field(c.name, arrow_type(c.type), nullable=c.nullable) for c in self.columns])

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by name."""
        return {column.name: column for column in self.columns}

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)

    def with_columns(self, *columns: Column) -> Schema:
        """Return the schema with further columns at its end, or with columns of the same name replaced."""
        new = {column.name: column for column in columns}
        kept = tuple(new.pop(column.name, column) for column in self.columns)
        return replace(self, columns=kept + tuple(new.values()))

    def require(self, names: Iterable[str], *, purpose: str) -> None:
        """Check that columns exist.

        Raises:
            InvalidRequestError: Some do not; the error names them, and the columns there are.
        """
        unknown = tuple(name for name in names if name not in self.by_name)
        if unknown:
            raise InvalidRequestError(
                f"No such column for {purpose}: {', '.join(map(repr, unknown))}. Use one of the columns there are.",
                unknown=unknown,
                columns=self.names[:50],
            )


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One lossless change of a schema.

    Args:
        kind: `add` a nullable column, `widen` a type, `relax` not-null to nullable, `comment` it.
        column: The column as it will be.
    """

    kind: Literal["add", "widen", "relax", "comment"]
    column: Column


@dataclass(frozen=True, slots=True)
class SchemaPlan:
    """What would bring a schema to another.

    Args:
        changes: Lossless changes, in order.
        refused: Why the rest cannot be done without losing data or breaking readers; one sentence each.
    """

    changes: tuple[SchemaChange, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True when the schemas agree."""
        return not self.changes and not self.refused


def plan_schema(current: Schema, wanted: Schema) -> SchemaPlan:
    """Decide how to bring `current` to hold what `wanted` describes. Columns that only `current` has are kept.

    Example:
        >>> plan = plan_schema(Schema.of(Column("n", "int")), Schema.of(Column("n", "long"), Column("m", "string")))
        >>> [(change.kind, change.column.name, change.column.type) for change in plan.changes]
        [('widen', 'n', 'long'), ('add', 'm', 'string')]
    """
    changes: list[SchemaChange] = []
    refused: list[str] = []
    for column in wanted.columns:
        before = current.by_name.get(column.name)
        if before is None:
            _plan_addition(column, changes, refused)
        else:
            _plan_column(before, column, changes, refused)
    return SchemaPlan(tuple(changes), tuple(refused))


def _plan_addition(column: Column, changes: list[SchemaChange], refused: list[str]) -> None:
    if column.nullable:
        changes.append(SchemaChange("add", column))
    else:
        refused.append(f"Column {column.name!r} cannot be added as not-null: rows that are there have no value for it.")


def _plan_column(before: Column, after: Column, changes: list[SchemaChange], refused: list[str]) -> None:
    column = before
    if is_widening(before.type, after.type):
        if before.type != after.type:
            column = replace(column, type=after.type)
            changes.append(SchemaChange("widen", column))
    elif not is_widening(after.type, before.type):
        refused.append(f"Column {before.name!r} cannot change from {before.type} to {after.type} without losing data.")
    if after.nullable and not before.nullable:
        column = replace(column, nullable=True)
        changes.append(SchemaChange("relax", column))
    elif before.nullable and not after.nullable:
        refused.append(f"Column {before.name!r} cannot become not-null: rows that are there may lack it.")
    if after.comment and after.comment != before.comment:
        changes.append(SchemaChange("comment", replace(column, comment=after.comment)))


def changed(schema: Schema, changes: Iterable[SchemaChange]) -> Schema:
    """Return a schema after changes.

    Raises:
        InvalidRequestError: A change does not fit the schema, or would lose data.

    Example:
        >>> changed(Schema.of(Column("n", "int")), [SchemaChange("widen", Column("n", "long"))]).columns[0].type
        'long'
    """
    for change in changes:
        before, after = schema.by_name.get(change.column.name), change.column
        if before is None:
            schema = schema.with_columns(_new_column(change))
        elif change.kind == "comment":
            schema = schema.with_columns(replace(before, comment=after.comment))
        elif change.kind == "relax":
            schema = schema.with_columns(replace(before, nullable=True))
        elif is_widening(before.type, after.type):
            schema = schema.with_columns(replace(before, type=after.type))
        else:
            raise InvalidRequestError(
                f"Column {after.name!r} cannot change from {before.type} to {after.type}. Keep the type.",
                column=after.name,
            )
    return schema


def _new_column(change: SchemaChange) -> Column:
    if change.kind != "add" or not change.column.nullable:
        raise InvalidRequestError(
            f"There is no column {change.column.name!r} to {change.kind}, or it is new and allows no nulls. Look at the schema.",
            column=change.column.name,
        )
    return change.column


def check_rows(rows: pa.Schema, schema: Schema) -> None:
    """Check that rows can be written to a table as they are.

    Args:
        rows: Their Arrow schema.
        schema: The table's, after the changes of its schema.

    Raises:
        InvalidRequestError: Names or their order differ, or a type cannot become the column's without loss.
    """
    import pyarrow.types as t

    if tuple(rows.names) != schema.names:
        raise InvalidRequestError(
            "Rows do not have the table's columns in the table's order. Align them first.",
            missing=tuple(sorted(set(schema.names) - set(rows.names)))[:_SAMPLE],
            unknown=tuple(sorted(set(rows.names) - set(schema.names)))[:_SAMPLE],
        )
    unfit = tuple(
        f"{column.name}: {field.type} -> {column.type}"
        for field, column in zip(rows, schema.columns, strict=True)
        if not t.is_null(field.type) and not is_widening(type_of(field.type), column.type)
    )
    if unfit:
        raise InvalidRequestError(
            "Rows have types that the table's columns do not hold. Cast them first.", columns=unfit[:_SAMPLE]
        )
