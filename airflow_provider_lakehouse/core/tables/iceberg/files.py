"""Write the data files of an Iceberg commit: partitioned by its transforms, with field ids and statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.tables.calendar import refuse_far_partitions
from airflow_provider_lakehouse.core.tables.data_files import write_files
from airflow_provider_lakehouse.core.tables.iceberg.schema import file_schema, partitioning, sort_fields, type_text
from airflow_provider_lakehouse.core.tables.iceberg.statistics import statistics_of
from airflow_provider_lakehouse.core.tables.truncation import refuse_low_partitions
from airflow_provider_lakehouse.core.types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from pyiceberg.manifest import DataFile
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema as IcebergSchema
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.types import IcebergType

    from airflow_provider_lakehouse.core.tables.base import Probe
    from airflow_provider_lakehouse.core.tables.data_files import Partitioner, WrittenFile
    from airflow_provider_lakehouse.core.tables.storage import Storage

TARGET_BYTES_PROPERTY: Final = "write.target-file-size-bytes"
DATA_PATH_PROPERTY: Final = "write.data.path"
METADATA_PATH_PROPERTY: Final = "write.metadata.path"
DEFAULT_TARGET_BYTES: Final = 128 * 1024 * 1024
_SAMPLE: Final = 20


@dataclass(frozen=True)
class WriteLayout:
    """How the files of one write look; fixed when the write begins, whatever other commits do meanwhile.

    Args:
        schema: Columns with field ids, as they are after the change's own schema changes.
        spec: The table's partitioning.
        sort_order_id: Recorded in files that are sorted; None where the table asks for no order that we can write.
        metadata: The table's, for properties and sort order.
        folder: Where the files of this attempt go.
    """

    schema: IcebergSchema
    spec: PartitionSpec
    sort_order_id: int | None
    metadata: TableMetadata
    folder: str

    def write(self, rows: pa.RecordBatchReader, *, storage: Storage, probe: Probe) -> tuple[DataFile, ...]:
        """Write rows that are in the table's schema.

        Raises:
            DataRejectedError: A row breaks the schema. The files are removed.
            UnsupportedError: The table is partitioned in a way that this package does not know.
        """
        properties = self.metadata.properties
        order = sort_fields(self.metadata.sort_order(), self.metadata.schema()) or ()
        written = write_files(
            rows,
            storage=storage,
            folder=self.folder,
            file_schema=file_schema(self.schema),
            partition_by=partitioner(self.spec, self.schema),
            sort_order=order,
            target_file_bytes=int(properties.get(TARGET_BYTES_PROPERTY, DEFAULT_TARGET_BYTES)),
            probe=probe,
        )
        return tuple(self._data_file(file) for file in written)

    def _data_file(self, file: WrittenFile) -> DataFile:
        from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
        from pyiceberg.typedef import Record

        statistics = statistics_of(file.metadata, self.schema, self.metadata.properties)
        data_file = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=file.path,
            file_format=FileFormat.PARQUET,
            partition=Record(*file.partition),
            record_count=file.rows,
            file_size_in_bytes=file.size_bytes,
            column_sizes=statistics.column_sizes,
            value_counts=statistics.value_counts,
            null_value_counts=statistics.null_value_counts,
            nan_value_counts={},
            lower_bounds=statistics.lower_bounds,
            upper_bounds=statistics.upper_bounds,
            split_offsets=statistics.split_offsets,
            sort_order_id=self.sort_order_id,
            equality_ids=None,
            key_metadata=None,
        )
        data_file.spec_id = self.spec.spec_id
        return data_file


def data_folder(metadata: TableMetadata) -> str:
    """Return the folder below which data files are written."""
    return str(metadata.properties.get(DATA_PATH_PROPERTY) or f"{metadata.location.rstrip('/')}/data").rstrip("/")


def metadata_folder(metadata: TableMetadata) -> str:
    """Return the folder below which manifests are written."""
    return str(metadata.properties.get(METADATA_PATH_PROPERTY) or f"{metadata.location.rstrip('/')}/metadata").rstrip(
        "/"
    )


def partitioner(spec: PartitionSpec, schema: IcebergSchema) -> Partitioner | None:
    """Return the function that computes partition values as Iceberg stores them; None for a table without partitions.

    Raises:
        UnsupportedError: A transform is not known.
    """
    from pyiceberg.transforms import IdentityTransform, TruncateTransform

    partitioning(spec, schema)
    if spec.is_unpartitioned():
        return None
    steps = []
    for field in spec.fields:
        source = schema.find_field(field.source_id)
        steps.append((source.name, source.field_type, field.transform))

    def values(batch: pa.RecordBatch) -> Sequence[pa.Array]:
        columns = [_typed(batch.column(name), kind) for name, kind, _ in steps]
        for array, (name, _, transform) in zip(columns, steps, strict=True):
            if isinstance(transform, IdentityTransform):
                refuse_far_partitions(array, name)
            elif isinstance(transform, TruncateTransform):
                refuse_low_partitions(array, name, width=transform.width)
        return [
            _partition_values(array, kind, transform)
            for array, (_, kind, transform) in zip(columns, steps, strict=True)
        ]

    return values


def _typed(array: pa.Array, kind: IcebergType) -> pa.Array:
    """Return the source column in its type: a partition value follows from the value that is stored."""
    wanted = arrow_type(type_text(kind))
    return array if array.type == wanted else array.cast(wanted)


def _partition_values(array: pa.Array, kind: IcebergType, transform: Any) -> pa.Array:  # noqa: ANN401
    import pyarrow as pa
    import pyarrow.types as t

    name = str(transform)
    if name == "void":
        return pa.nulls(len(array), pa.int32())
    values = array if name == "identity" else transform.pyarrow_transform(kind)(array)
    if isinstance(values, pa.ExtensionArray):
        return values.storage
    if t.is_date32(values.type):
        return values.cast(pa.int32())
    return values.cast(pa.int64()) if t.is_timestamp(values.type) or t.is_time(values.type) else values
