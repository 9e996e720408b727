"""Tell which column of a data file is which column of the table: by field id, as Iceberg wants it.

Source: Apache Iceberg table specification, section "Column Projection".
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from airflow_provider_lakehouse.core.errors import DamagedError, UnsupportedError
from airflow_provider_lakehouse.core.tables.base import DataFile
from airflow_provider_lakehouse.core.tables.iceberg.statistics import FileBounds, bound_value, primitive_fields
from airflow_provider_lakehouse.core.tables.storage import translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from pyiceberg.manifest import DataFile as IcebergDataFile
    from pyiceberg.schema import Schema as IcebergSchema
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.types import IcebergType, NestedField, PrimitiveType

    from airflow_provider_lakehouse.core.tables.storage import Storage

_NAME_MAPPING: Final = "schema.name-mapping.default"
_FIELD_ID: Final = b"PARQUET:field_id"
_REMEMBERED_FOOTERS: Final = 10_000


class Projection:
    """Brings the data files of a table to one set of columns.

    Args:
        metadata: The table's.
        schema: Columns to read.
        storage: Where footers are read, if the metadata alone do not tell the columns of files.
    """

    def __init__(self, metadata: TableMetadata, schema: IcebergSchema, *, storage: Storage) -> None:
        self._metadata = metadata
        self._schema = schema
        self._storage = storage
        self._plain = _has_plain_names(metadata, schema)
        self._bounded = primitive_fields(schema)

    def describe(self, file: IcebergDataFile, *, removed: pa.Array | None) -> DataFile:
        """Return what a reader must know of a data file.

        Args:
            file: As the manifest has it.
            removed: Positions of rows that no longer count.

        Raises:
            UnsupportedError: A field inside a column has another name in the file.
            DamagedError: The file is missing or cut short.
        """
        described = DataFile(
            path=file.file_path,
            rows=file.record_count,
            size_bytes=file.file_size_in_bytes,
            removed=removed,
            bounds=FileBounds(file, self._bounded),
        )
        return described if self._plain else self._located(described, file)

    def _located(self, described: DataFile, file: IcebergDataFile) -> DataFile:
        footer = _footer(_Address(file.file_path, self._storage))
        stored = _stored_columns(footer, self._metadata, self._schema)
        constants = _constants(file, self._metadata, self._schema, stored=stored)
        renames: dict[str, str] = {}
        missing: list[str] = []
        for field in self._schema.fields:
            column = stored.get(field.field_id)
            if column is not None:
                _check_inside(field.field_type, column.type, uri=file.file_path, name=field.name)
                renames |= {field.name: column.name} if column.name != field.name else {}
            elif field.name not in constants:
                missing.append(field.name)
        return replace(described, constants=constants, renames=renames, missing=tuple(missing))


def _has_plain_names(metadata: TableMetadata, schema: IcebergSchema) -> bool:
    """Tell whether every file must store all columns under their names, so that footers need not be asked.

    True when the table has had one set of columns only, whose names every writer keeps as they are.
    """
    from pyiceberg.schema import index_name_by_id, make_compatible_name

    if _NAME_MAPPING in metadata.properties:
        return False
    columns = index_name_by_id(schema)
    plain = all(make_compatible_name(part) == part for name in columns.values() for part in name.split("."))
    return plain and all(index_name_by_id(known) == columns for known in metadata.schemas)


class _Address:
    """A file, whose footer does not change: equal to every other of the same address."""

    def __init__(self, uri: str, storage: Storage) -> None:
        self.uri = uri
        self.storage = storage

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Address) and other.uri == self.uri

    def __hash__(self) -> int:
        return hash(self.uri)


@lru_cache(maxsize=_REMEMBERED_FOOTERS)
def _footer(address: _Address) -> pa.Schema:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with translated(address.uri):
        try:
            return pq.read_schema(address.storage.open(address.uri))
        except pa.ArrowInvalid as error:
            raise DamagedError("A data file is not Parquet, or is cut short. Restore it.", uri=address.uri) from error


def _stored_columns(footer: pa.Schema, metadata: TableMetadata, schema: IcebergSchema) -> dict[int, pa.Field]:
    """Return the columns of a file by field id; of a file without ids, by the table's name mapping."""
    if any(_id(field) is not None for field in footer):
        return {field_id: field for field in footer if (field_id := _id(field)) is not None}
    ids = _mapped_ids(metadata, schema)
    return {ids[field.name]: field for field in footer if field.name in ids}


def _mapped_ids(metadata: TableMetadata, schema: IcebergSchema) -> dict[str, int]:
    from pyiceberg.table.name_mapping import parse_mapping_from_json

    text = metadata.properties.get(_NAME_MAPPING)
    if text is None:
        return {field.name: field.field_id for field in schema.fields}
    mapping = parse_mapping_from_json(text).root
    return {name: field.field_id for field in mapping if field.field_id is not None for name in field.names}


def _id(field: pa.Field) -> int | None:
    found = (field.metadata or {}).get(_FIELD_ID)
    return int(found) if found is not None else None


def _constants(
    file: IcebergDataFile, metadata: TableMetadata, schema: IcebergSchema, *, stored: Mapping[int, pa.Field]
) -> dict[str, Any]:
    """Return identity partition values of columns that a file does not store."""
    from pyiceberg.conversions import to_bytes
    from pyiceberg.transforms import IdentityTransform

    constants = {}
    columns = {field.field_id: field for field in schema.fields}
    for place, part in enumerate(metadata.specs()[file.spec_id].fields):
        column = columns.get(part.source_id)
        if column is None or part.source_id in stored or not isinstance(part.transform, IdentityTransform):
            continue
        value = file.partition[place]
        kind = cast("PrimitiveType", column.field_type)
        constants[column.name] = None if value is None else bound_value(kind, to_bytes(kind, value))
    return constants


def _check_inside(kind: IcebergType, stored: pa.DataType, *, uri: str, name: str) -> None:
    """Refuse a file in which a field inside a column has another name, or its name another field.

    Readers of our listings match fields inside a column by name: such a file would read as nulls, or as another
    field's values.
    """
    for fields, column in _structs(kind, stored):
        known = {field.field_id: field.name for field in fields}
        names = set(known.values())
        for inner in column:
            field_id = _id(inner)
            renamed = known.get(field_id, inner.name) != inner.name if field_id is not None else False
            replaced = field_id is not None and field_id not in known and inner.name in names
            if renamed or replaced:
                raise UnsupportedError(
                    f"A field inside column {name!r} was renamed or replaced after a file was written. Rewrite it with "
                    "an engine that matches fields by id.",
                    column=name,
                    uri=uri,
                )


def _structs(kind: IcebergType, stored: pa.DataType) -> Iterator[tuple[tuple[NestedField, ...], pa.StructType]]:
    """Yield the structs inside a column, as the table and as a file have them."""
    import pyarrow as pa
    from pyiceberg.types import ListType, MapType, StructType

    if isinstance(kind, StructType) and pa.types.is_struct(stored):
        yield kind.fields, stored
        inner = {_id(field): field.type for field in stored}
        for field in kind.fields:
            if field.field_id in inner:
                yield from _structs(field.field_type, inner[field.field_id])
    elif isinstance(kind, ListType) and pa.types.is_list(stored):
        yield from _structs(kind.element_type, stored.value_type)
    elif isinstance(kind, MapType) and pa.types.is_map(stored):
        yield from _structs(kind.key_type, stored.key_type)
        yield from _structs(kind.value_type, stored.item_type)
