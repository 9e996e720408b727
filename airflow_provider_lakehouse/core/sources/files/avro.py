"""Read Avro files: the schema as Arrow knows it, and the records in batches."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import UnsupportedError
from airflow_provider_lakehouse.core.sources.files.copies import CorruptFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

_CORRUPT: Final = "not a whole Avro file"
_FEW_DIGITS: Final = 38
_MOST_DIGITS: Final = 76


@contextmanager
def _reader(file: Any) -> Iterator[Any]:  # noqa: ANN401
    try:
        import fastavro
    except ImportError as error:
        raise UnsupportedError(
            "Avro files need fastavro. Install 'airflow-provider-lakehouse[avro]'.", module=error.name
        ) from error
    try:
        yield fastavro.reader(file)
    except (CorruptFileError, UnsupportedError, OSError):
        raise
    except Exception as error:  # fastavro raises whatever the broken bytes make it stumble over
        raise CorruptFileError(_CORRUPT) from error


def avro_schema(file: Any) -> pa.Schema:  # noqa: ANN401
    """Return the schema of an open Avro file.

    Raises:
        CorruptFileError: It is not an Avro file, or its records are not of one kind with named fields.
        UnsupportedError: fastavro is not installed.
    """
    import pyarrow as pa

    with _reader(file) as reader:
        arrow = _arrow(reader.writer_schema, {})
        if not pa.types.is_struct(arrow):
            raise CorruptFileError("its records have no fields")
        return pa.schema(list(arrow))


def avro_batches(file: Any, *, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:  # noqa: ANN401
    """Stream the records of an open Avro file.

    Raises:
        CorruptFileError: It is not a whole Avro file.
    """
    import pyarrow as pa

    with _reader(file) as reader:
        held: list[dict[str, Any]] = []
        for record in reader:
            held.append(record)
            if len(held) == rows:
                yield pa.RecordBatch.from_pylist(held, schema=schema)
                held = []
        if held:
            yield pa.RecordBatch.from_pylist(held, schema=schema)


def _arrow(avro: Any, named: dict[str, Any]) -> pa.DataType:  # noqa: ANN401
    """Return the Arrow type in which fastavro's values travel. Source: Apache Avro 1.12, "Schema Declaration"."""
    if isinstance(avro, list):
        kinds = [one for one in avro if one != "null"]
        if len(kinds) != 1:
            raise CorruptFileError("a union of several types, which no table can hold")
        return _arrow(kinds[0], named)
    if isinstance(avro, str):
        return named[avro] if avro in named else _primitive(avro)
    found = _logical(avro) or _nested(avro, named) or _arrow(avro["type"], named)
    named[avro.get("name", "")] = found
    return found


def _nested(avro: dict[str, Any], named: dict[str, Any]) -> pa.DataType | None:
    import pyarrow as pa

    match avro["type"]:
        case "record":
            return pa.struct([(f["name"], _arrow(f["type"], named)) for f in avro["fields"]])
        case "array":
            return pa.list_(_arrow(avro["items"], named))
        case "map":
            return pa.map_(pa.string(), _arrow(avro["values"], named))
        case "enum":
            return pa.string()
        case "fixed":
            return pa.binary(avro["size"])
    return None


def _logical(avro: dict[str, Any]) -> pa.DataType | None:
    import pyarrow as pa

    logical = avro.get("logicalType")
    if logical == "decimal":
        return _decimal(avro["precision"], avro.get("scale", 0))
    known = {
        "date": pa.date32(), "uuid": pa.uuid(), "time-millis": pa.time64("us"), "time-micros": pa.time64("us"),
        "timestamp-millis": pa.timestamp("us", tz="UTC"), "timestamp-micros": pa.timestamp("us", tz="UTC"),
        "local-timestamp-millis": pa.timestamp("us"), "local-timestamp-micros": pa.timestamp("us"),
        # Of these fastavro hands out the numbers.
        "timestamp-nanos": pa.timestamp("ns", tz="UTC"), "local-timestamp-nanos": pa.timestamp("ns"),
    }  # fmt: skip
    return known.get(str(logical))


def _decimal(precision: int, scale: int) -> pa.DataType:
    import pyarrow as pa

    if precision > _MOST_DIGITS:
        raise CorruptFileError(f"a decimal of {precision} digits, which no table can hold")
    return pa.decimal128(precision, scale) if precision <= _FEW_DIGITS else pa.decimal256(precision, scale)


def _primitive(name: str) -> pa.DataType:
    import pyarrow as pa

    known = {
        "null": pa.string(), "boolean": pa.bool_(), "int": pa.int32(), "long": pa.int64(), "float": pa.float32(),
        "double": pa.float64(), "bytes": pa.binary(), "string": pa.string(),
    }  # fmt: skip
    if name not in known:
        raise CorruptFileError(f"of a type that is not known: {name}")
    return known[name]
