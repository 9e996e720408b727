"""Bring what a reader found into the columns that were planned, and let it wait until its file is known to be good."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.sources.base import SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN
from airflow_provider_lakehouse.core.types import is_widening, type_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from airflow_provider_lakehouse.core.schema import Schema

_LAST_BITS: Final = 1e-15
_MEMORY_BYTES: Final = 64 * 1024 * 1024


def delivered_schema(schema: Schema | None) -> pa.Schema:
    """Return the Arrow schema of a read: the planned columns, if any, the file and the row."""
    import pyarrow as pa

    arrow = pa.schema([]) if schema is None else schema.to_arrow()
    return arrow.append(pa.field(SOURCE_FILE_COLUMN, pa.string())).append(pa.field(SOURCE_ROW_COLUMN, pa.int64()))


def with_source(rows: pa.RecordBatch, *, uri: str, numbers: pa.Array, schema: pa.Schema) -> pa.RecordBatch:
    """Return the rows with their file and place, in the schema of the read."""
    import pyarrow as pa

    columns = [conform(column, wanted.type) for column, wanted in zip(rows.columns, list(schema)[:-2], strict=False)]
    file = pa.repeat(pa.scalar(uri, pa.string()), rows.num_rows)
    return pa.RecordBatch.from_arrays([*columns, file, numbers], schema=schema)


def conform(values: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Return the values in an Arrow type that holds them without loss.

    Raises:
        pyarrow.ArrowInvalid: It does not.

    Example:
        >>> import pyarrow as pa
        >>> conform(pa.array([1, None], pa.int32()), pa.int64()).type
        DataType(int64)
    """
    import pyarrow as pa
    import pyarrow.types as t

    if values.type == wanted:
        return values
    if values.null_count == len(values):
        return pa.nulls(len(values), wanted)
    if t.is_dictionary(values.type):
        return conform(values.dictionary_decode(), wanted)
    if isinstance(values.type, pa.ExtensionType):
        return conform(values.storage, wanted)
    if wanted == pa.uuid():
        return pa.ExtensionArray.from_storage(wanted, values.cast(pa.binary(16)))
    _check_instants(values.type, wanted)
    found = values.cast(wanted, safe=True)
    if not _widens(values.type, wanted) and not _is_same(found, values):
        raise pa.ArrowInvalid("digits would be lost")
    return found


def _check_instants(before: pa.DataType, after: pa.DataType) -> None:
    """Refuse what Arrow would make of an instant by assuming a time zone or a unit."""
    import pyarrow as pa
    import pyarrow.types as t

    if t.is_timestamp(before) and before.tz and not getattr(after, "tz", None):
        raise pa.ArrowInvalid("an instant has no value without a time zone")
    if (t.is_integer(before) and t.is_temporal(after)) or (t.is_temporal(before) and t.is_integer(after)):
        raise pa.ArrowInvalid("a number is an instant only to who knows its unit")


def _widens(before: pa.DataType, after: pa.DataType) -> bool:
    try:
        return is_widening(type_of(before), type_of(after))
    except (InvalidRequestError, UnsupportedError):  # no table holds such a column, but another may hold its values
        return False


def _is_same(found: pa.Array, values: pa.Array) -> bool:
    """Tell whether the values are there again when they are cast back."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_nested(values.type):
        return bool(found.cast(values.type).equals(values))
    back = found.cast(values.type)
    same = pc.equal(back, values)
    if pa.types.is_decimal(found.type) and pa.types.is_floating(
        values.type
    ):  # the way back is not exact in its last bit
        same = pc.less_equal(pc.abs(pc.subtract(back, values)), pc.multiply(pc.abs(values), _LAST_BITS))
    elif pa.types.is_floating(values.type):
        same = pc.or_(same, pc.is_nan(values))
    return bool(pc.all(same, min_count=0).as_py())


@dataclass
class RowsInWaiting:
    """Batches of rows with a tag each, in memory first and on disk when they grow; read once, in order.

    Args:
        folder: Where they wait on disk.
    """

    folder: str
    _tags: list[int] = field(default_factory=list)
    _held: list[Any] = field(default_factory=list)
    _held_bytes: int = 0
    _file: Any = None
    _path: str = ""

    def add(self, tag: int, rows: pa.RecordBatch) -> None:
        """Let rows wait."""
        if rows.num_rows == 0:
            return
        self._tags.append(tag)
        if self._file is None and self._held_bytes + rows.nbytes <= _MEMORY_BYTES:
            self._held.append(rows)
            self._held_bytes += rows.nbytes
            return
        self._writer(rows.schema).write_batch(rows)

    def _writer(self, schema: pa.Schema) -> Any:  # noqa: ANN401
        import pyarrow as pa

        if self._file is None:
            self._path = f"{self.folder}/rows-{id(self)}"
            self._file = pa.ipc.new_stream(self._path, schema)
        return self._file

    def take(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Return what waits, and forget it."""
        import pyarrow as pa

        tags = iter(self._tags)
        while self._held:
            yield next(tags), self._held.pop(0)
        if self._file is not None:
            self._file.close()
            with pa.OSFile(self._path) as source, pa.ipc.open_stream(source) as reader:
                for rows in reader:
                    yield next(tags), rows
        self.drop()

    def drop(self) -> None:
        """Forget everything, the file on disk included."""
        self._tags.clear()
        self._held.clear()
        if self._file is not None:
            self._file.close()
            Path(self._path).unlink()
            self._file = None
