"""Ask a database what a relation looks like: its columns and their types, the high-water mark of a cursor."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.sources.base import SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN
from airflow_provider_lakehouse.core.sources.dbapi.batches import BATCH_BYTES, column_type
from airflow_provider_lakehouse.core.sources.dbapi.connection import opened
from airflow_provider_lakehouse.core.sources.dbapi.drivers import ArrowResult, run
from airflow_provider_lakehouse.core.sources.dbapi.plan import names_of, text_of, value_of
from airflow_provider_lakehouse.core.sources.dbapi.values import infer_type
from airflow_provider_lakehouse.core.sources.relations import Condition
from airflow_provider_lakehouse.core.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_lakehouse.core.sources.dbapi.drivers import Driver, RowResult
    from airflow_provider_lakehouse.core.sources.dbapi.settings import DbApiSettings


def describe(settings: DbApiSettings) -> tuple[tuple[str, str], ...]:
    """Return name and type of every column to read.

    Types come from the caller, else from the driver (Arrow), else from a sample of rows. A database whose columns are all
    declared is not asked.

    Raises:
        InvalidRequestError: There is no such relation or column, two have the same name, or the type of one is unknown.
    """
    declared = {name: str(parse_type(kind)) for name, kind in settings.declared.items()}
    if declared:
        return tuple(declared.items())
    with opened(settings) as (connection, driver):
        dialect = driver.dialect
        statement = dialect.select(names_of(tuple(settings.columns), dialect), dialect.origin(settings))
        with closing(run(connection, driver, statement, batch_bytes=BATCH_BYTES)) as result:
            names = result.names
            _refuse_names(names, settings)
            types = _arrow_types(result, driver) if isinstance(result, ArrowResult) else _row_types(result)
    unknown = tuple(name for name, kind in zip(names, types, strict=True) if kind is None)
    if unknown:
        raise InvalidRequestError(
            f"{settings.relation or 'The query'!r} shows no value from which to learn the type of some columns. "
            "Declare the types in columns.",
            unknown=unknown,
        )
    return tuple((name, str(kind)) for name, kind in zip(names, types, strict=True))


def _refuse_names(names: Sequence[str], settings: DbApiSettings) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    reserved = sorted({SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN}.intersection(names))
    if repeated or reserved:
        raise InvalidRequestError(
            f"{settings.relation or 'The query'!r} delivers columns of the same name, or of reserved ones. "
            "Give each a name of its own.",
            repeated=tuple(repeated),
            reserved=tuple(reserved),
        )


def _arrow_types(result: ArrowResult, driver: Driver) -> list[str | None]:
    types: list[str | None] = [column_type(field.type, column=field.name) for field in result.reader.schema]
    if driver.guesses_types:
        sample = next((batch for batch in result.batches() if batch.num_rows), None)
        for place in range(len(types)):
            if sample is None or sample.column(place).null_count == sample.num_rows:
                types[place] = None
    return types


def _row_types(result: RowResult) -> list[str | None]:
    rows = result.fetch()
    columns = zip(result.names, result.scales, strict=True)
    return [
        infer_type((row[place] for row in rows), column=name, scale=scale)
        for place, (name, scale) in enumerate(columns)
    ]


def high_water_mark(settings: DbApiSettings, column: str, *, seen: tuple[str, str] | None) -> tuple[str, str] | None:
    """Return type and text of the largest value of a column, see `text_of`, but never one below what was seen.

    Args:
        settings: Of the source.
        column: Whose values.
        seen: Type and text of the last high-water mark; None for none.

    Returns:
        `seen` where no value is larger; None where there is no value and nothing was seen.
    """
    conditions, values = [], []
    if seen is not None:
        conditions = [Condition(column, ">=", seen[1])]
        values = [value_of(seen[1], kind=seen[0], column=column)]
    found = _largest(settings, column, conditions, values)
    return seen if found is None else text_of(found, column=column)


def has_null(settings: DbApiSettings, column: str) -> bool:
    """Tell whether a row has no value in a column."""
    with opened(settings) as (connection, driver):
        dialect = driver.dialect
        statement = f"{dialect.select('MAX(1)', dialect.origin(settings))} WHERE {dialect.name(column)} IS NULL"
        return _first_value(connection, driver, statement) is not None


def _largest(settings: DbApiSettings, column: str, conditions: Sequence[Condition], values: Sequence[Any]) -> Any:  # noqa: ANN401
    with opened(settings) as (connection, driver):
        dialect = driver.dialect
        statement = dialect.select(f"MAX({dialect.name(column)})", dialect.origin(settings), conditions)
        return _first_value(connection, driver, statement, values)


def _first_value(connection: Any, driver: Driver, statement: str, values: Sequence[Any] = ()) -> Any:  # noqa: ANN401
    with closing(run(connection, driver, statement, values, batch_bytes=BATCH_BYTES)) as result:
        if not isinstance(result, ArrowResult):
            return next((row[0] for row in result.fetch()), None)
        batch = next((batch for batch in result.batches() if batch.num_rows), None)
        return None if batch is None else _python_value(batch.column(0))


def _python_value(array: Any) -> Any:  # noqa: ANN401
    """Return the first value, one with nanoseconds as the next microsecond: as a bound it must not lie below itself."""
    import pyarrow as pa

    if not (pa.types.is_timestamp(array.type) and array.type.unit == "ns"):
        return array[0].as_py()
    cut = array.cast(pa.timestamp("us", tz=array.type.tz), safe=False)
    is_exact = cut.cast(array.type)[0] == array[0]
    return cut[0].as_py() if is_exact or not array[0].is_valid else cut[0].as_py() + timedelta(microseconds=1)
