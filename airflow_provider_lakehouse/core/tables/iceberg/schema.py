"""Translate schemas, partitionings and sort orders between this package and Apache Iceberg."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final, cast

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.spec import TRANSFORMS, PartitionField, SortField
from airflow_provider_lakehouse.core.types import TypeNode, is_widening, parse_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema as IcebergSchema
    from pyiceberg.table.sorting import SortOrder
    from pyiceberg.types import IcebergType, NestedField

    from airflow_provider_lakehouse.core.schema import SchemaChange
    from airflow_provider_lakehouse.core.tables.spec import TableSpec, Transform

FIELD_ID_KEY: Final = b"PARQUET:field_id"
FIRST_PARTITION_FIELD_ID: Final = 1000
_SUFFIXES: Final[dict[Transform, str]] = {
    "identity": "", "bucket": "_bucket", "truncate": "_trunc", "year": "_year", "month": "_month", "day": "_day",
    "hour": "_hour",
}  # fmt: skip
_TRANSFORM = re.compile(r"(\w+)(?:\[(\d+)\])?\Z")


def to_iceberg(schema: Schema) -> IcebergSchema:
    """Return the schema as Iceberg keeps it, field ids counted from 1.

    Raises:
        UnsupportedError: Iceberg does not take the identifier (floating point columns identify nothing).
    """
    from pyiceberg.schema import Schema as IcebergSchema
    from pyiceberg.types import NestedField

    fresh = itertools.count(1)
    fields = [
        NestedField(
            next(fresh), c.name, _new_type(parse_type(c.type), fresh), required=not c.nullable, doc=c.comment or None
        )
        for c in schema.columns
    ]
    ids = [field.field_id for field in fields if field.name in schema.identifier]
    try:
        return IcebergSchema(*fields, identifier_field_ids=ids)
    except ValueError as error:
        raise UnsupportedError(
            "Iceberg does not take these columns. Change their names, or the identifier.", identifier=schema.identifier
        ) from error


def from_iceberg(schema: IcebergSchema) -> Schema:
    """Return what Iceberg keeps as our schema; which fields inside a type allow nulls is left out.

    Raises:
        UnsupportedError: A column has a type that this package does not know.
    """
    columns = tuple(
        Column(f.name, type_text(f.field_type), nullable=not f.required, comment=f.doc or "") for f in schema.fields
    )
    identifying = set(schema.identifier_field_ids)
    return Schema(columns, identifier=tuple(f.name for f in schema.fields if f.field_id in identifying))


def type_text(kind: IcebergType) -> str:
    """Return the text of an Iceberg type.

    Raises:
        UnsupportedError: The type is not one of those in `core.types`.

    Example:
        >>> from pyiceberg.types import DecimalType, ListType
        >>> type_text(ListType(element_id=7, element_type=DecimalType(10, 2), element_required=False))
        'list<decimal(10,2)>'
    """
    return str(_node(kind))


def evolved(schema: IcebergSchema, changes: Sequence[SchemaChange], *, last_field_id: int) -> IcebergSchema:
    """Return a schema with changes made, ids of what is there kept, the rest counted from `last_field_id`.

    Raises:
        InvalidRequestError: A change does not fit the schema, or would lose data.
    """
    from pyiceberg.schema import Schema as IcebergSchema

    fresh = itertools.count(last_field_id + 1)
    fields = {field.name: field for field in schema.fields}
    for change in changes:
        name = change.column.name
        before = fields.get(name)
        if before is None and change.kind == "add":
            fields[name] = _added(change.column, fresh)
        elif before is None:
            raise InvalidRequestError(f"There is no column {name!r} to {change.kind}. Look at the schema.", column=name)
        else:
            fields[name] = _changed(before, change, fresh)
    try:
        return IcebergSchema(*fields.values(), identifier_field_ids=schema.identifier_field_ids)
    except ValueError as error:
        raise InvalidRequestError("The table cannot take these changes of its schema. Leave them out.") from error


def file_schema(schema: IcebergSchema) -> pa.Schema:
    """Return the Arrow schema of a data file: field ids at every level, as readers of Iceberg match columns by them."""
    import pyarrow as pa

    return pa.schema([_arrow_field(field) for field in schema.fields])


def partition_spec(spec: TableSpec, schema: IcebergSchema) -> PartitionSpec:
    """Return the partitioning as Iceberg keeps it; fields are named as Iceberg's own writers name them."""
    from pyiceberg.partitioning import PartitionField as IcebergField
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.transforms import parse_transform

    taken = set(spec.schema.names)
    fields = []
    for index, part in enumerate(spec.partition_fields):
        name = part.column + _SUFFIXES[part.transform]
        while part.transform != "identity" and name in taken:
            name += "_"
        taken.add(name)
        text = f"{part.transform}[{part.parameter}]" if part.parameter else part.transform
        source = schema.find_field(part.column).field_id
        fields.append(IcebergField(source, FIRST_PARTITION_FIELD_ID + index, parse_transform(text), name))
    return PartitionSpec(*fields)


def partitioning(spec: PartitionSpec, schema: IcebergSchema) -> tuple[PartitionField, ...]:
    """Return a partitioning as ours; fields that Iceberg has emptied (`void`) are left out.

    Raises:
        UnsupportedError: A field has a transform that this package does not know, or is derived from a nested field.
    """
    columns = {field.field_id: field.name for field in schema.fields}
    fields = []
    for field in spec.fields:
        found = _TRANSFORM.match(str(field.transform))
        name = found.group(1) if found else ""
        if name == "void":
            continue
        if found is None or name not in TRANSFORMS or field.source_id not in columns:
            raise UnsupportedError(
                f"Partition field {field.name!r} is of a kind this package does not know. Write with another engine.",
                transform=str(field.transform),
            )
        parameter = int(found.group(2)) if found.group(2) else None
        fields.append(PartitionField(columns[field.source_id], cast("Transform", name), parameter))
    return tuple(fields)


def sort_order(spec: TableSpec, schema: IcebergSchema) -> SortOrder:
    """Return the sort order as Iceberg keeps it."""
    from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, NullOrder, SortDirection, SortOrder
    from pyiceberg.table.sorting import SortField as IcebergField
    from pyiceberg.transforms import IdentityTransform

    if not spec.sort_fields:
        return UNSORTED_SORT_ORDER
    return SortOrder(
        *(
            IcebergField(
                source_id=schema.find_field(field.column).field_id,
                transform=IdentityTransform(),
                direction=SortDirection.DESC if field.descending else SortDirection.ASC,
                null_order=NullOrder.NULLS_LAST if field.descending else NullOrder.NULLS_FIRST,
            )
            for field in spec.sort_fields
        )
    )


def sort_fields(order: SortOrder, schema: IcebergSchema) -> tuple[SortField, ...] | None:
    """Return a sort order as ours; None when it is of a kind that we cannot write: files are then marked unsorted."""
    from pyiceberg.table.sorting import NullOrder, SortDirection
    from pyiceberg.transforms import IdentityTransform

    columns = {field.field_id: field.name for field in schema.fields}
    fields = []
    for field in order.fields:
        descending = field.direction == SortDirection.DESC
        nulls = NullOrder.NULLS_LAST if descending else NullOrder.NULLS_FIRST
        plain = isinstance(field.transform, IdentityTransform) and field.source_id in columns
        if not plain or field.null_order != nulls:
            return None
        fields.append(SortField(columns[field.source_id], descending))
    return tuple(fields)


def _added(column: Column, fresh: Iterator[int]) -> NestedField:
    from pyiceberg.types import NestedField

    if not column.nullable:
        raise InvalidRequestError(
            f"Column {column.name!r} cannot be added as not-null: rows that are there have no value."
        )
    return NestedField(next(fresh), column.name, _new_type(parse_type(column.type), fresh), doc=column.comment or None)


def _changed(before: NestedField, change: SchemaChange, fresh: Iterator[int]) -> NestedField:
    from pyiceberg.types import NestedField

    column, kind = change.column, before.field_type
    if change.kind in ("add", "widen"):  # an addition that is there already is a change of its type, or none
        if not is_widening(type_text(kind), column.type):
            raise InvalidRequestError(
                f"Column {column.name!r} cannot change from {type_text(kind)} to {column.type}. Keep the type.",
                column=column.name,
            )
        kind = _merged(kind, parse_type(column.type), fresh)
    return NestedField(
        before.field_id,
        before.name,
        kind,
        required=before.required and change.kind != "relax",
        doc=(column.comment or None) if change.kind == "comment" else before.doc,
    )


def _merged(before: IcebergType, node: TypeNode, fresh: Iterator[int]) -> IcebergType:
    from pyiceberg.types import ListType, MapType, NestedField, StructType

    if isinstance(before, StructType):
        known = {field.name: field for field in before.fields}
        pairs = zip(node.names, node.children, strict=True)
        return StructType(
            *(
                NestedField(f.field_id, n, _merged(f.field_type, child, fresh), required=f.required, doc=f.doc)
                if (f := known.get(n))
                else NestedField(next(fresh), n, _new_type(child, fresh))
                for n, child in pairs
            )
        )
    if isinstance(before, ListType):
        element = _merged(before.element_type, node.children[0], fresh)
        return ListType(before.element_id, element, element_required=before.element_required)
    if isinstance(before, MapType):
        value = _merged(before.value_type, node.children[1], fresh)
        return MapType(before.key_id, before.key_type, before.value_id, value, value_required=before.value_required)
    return _new_type(node, fresh)


def _new_type(node: TypeNode, fresh: Iterator[int]) -> IcebergType:
    from pyiceberg import types as t

    match node.name:
        case "decimal":
            return t.DecimalType(*node.numbers)
        case "fixed":
            return t.FixedType(node.numbers[0])
        case "list":
            return t.ListType(next(fresh), _new_type(node.children[0], fresh), element_required=False)
        case "map":
            key, value = next(fresh), next(fresh)
            kinds = [_new_type(child, fresh) for child in node.children]
            return t.MapType(key, kinds[0], value, kinds[1], value_required=False)
        case "struct":
            ids = [next(fresh) for _ in node.names]
            fields = zip(ids, node.names, node.children, strict=True)
            return t.StructType(*(t.NestedField(i, name, _new_type(child, fresh)) for i, name, child in fields))
        case _:
            return _primitives()[node.name]()


def _primitives() -> dict[str, Callable[[], IcebergType]]:
    from pyiceberg import types as t

    return {
        "boolean": t.BooleanType, "int": t.IntegerType, "long": t.LongType, "float": t.FloatType,
        "double": t.DoubleType, "date": t.DateType, "time": t.TimeType, "timestamp": t.TimestampType,
        "timestamptz": t.TimestamptzType, "string": t.StringType, "uuid": t.UUIDType, "binary": t.BinaryType,
    }  # fmt: skip


def _node(kind: IcebergType) -> TypeNode:
    from pyiceberg import types as t

    if isinstance(kind, t.StructType):
        return TypeNode(
            "struct", children=tuple(_node(f.field_type) for f in kind.fields), names=tuple(f.name for f in kind.fields)
        )
    if isinstance(kind, t.ListType):
        return TypeNode("list", children=(_node(kind.element_type),))
    if isinstance(kind, t.MapType):
        return TypeNode("map", children=(_node(kind.key_type), _node(kind.value_type)))
    if isinstance(kind, t.DecimalType):
        return TypeNode("decimal", numbers=(kind.precision, kind.scale))
    if isinstance(kind, t.FixedType):
        return TypeNode("fixed", numbers=(len(kind),))
    for name, known in _primitives().items():
        if type(kind) is known:
            return TypeNode(name)
    raise UnsupportedError(
        f"Column type {kind} is not known to this package. Read it with another engine.", type=str(kind)
    )


def _arrow_field(field: NestedField) -> pa.Field:
    import pyarrow as pa

    return pa.field(
        field.name,
        _arrow_type(field.field_type),
        nullable=not field.required,
        metadata={FIELD_ID_KEY: str(field.field_id).encode()},
    )


def _arrow_type(kind: IcebergType) -> pa.DataType:
    import pyarrow as pa
    from pyiceberg.types import ListType, MapType, StructType

    from airflow_provider_lakehouse.core.types import arrow_type

    if isinstance(kind, StructType):
        return pa.struct([_arrow_field(field) for field in kind.fields])
    if isinstance(kind, ListType):
        return pa.list_(_arrow_field(kind.element_field))
    if isinstance(kind, MapType):
        return pa.map_(_arrow_field(kind.key_field), _arrow_field(kind.value_field))
    return arrow_type(type_text(kind))
