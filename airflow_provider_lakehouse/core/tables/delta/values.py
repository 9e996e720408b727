"""Values as Delta's log writes them: partition values as text, statistics as JSON.

Source: Delta transaction log protocol, sections "Partition Value Serialization" and "Per-file Statistics".
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import DamagedError
from airflow_provider_lakehouse.core.tables.file_reading import exact_bounds
from airflow_provider_lakehouse.core.tables.filters import Bounds
from airflow_provider_lakehouse.core.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    import pyarrow.parquet as pq

    from airflow_provider_lakehouse.core.schema import Schema

DEFAULT_INDEXED_COLUMNS: Final = 32
"""Leaf columns that have statistics where the table does not say: the default of `delta.dataSkippingNumIndexedCols`."""
STRING_CHARACTERS: Final = 32
"""Characters of a text that statistics keep."""
_EXACT_DIGITS: Final = 15
"""Digits up to which a decimal survives writers that print statistics through a double."""
_MILLISECOND: Final = timedelta(milliseconds=1)
_LAST_BEFORE_SURROGATES: Final = 0xD7FF
_FIRST_AFTER_SURROGATES: Final = 0xE000
_LAST_CHARACTER: Final = 0x10FFFF


def partition_text(value: Any) -> str | None:  # noqa: ANN401
    """Return a partition value as the log writes it.

    Example:
        >>> partition_text(True), partition_text(None), partition_text(datetime(2026, 1, 2, 3, tzinfo=UTC))
        ('true', None, '2026-01-02T03:00:00.000000Z')
    """
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case datetime():
            instant = value.replace(tzinfo=None) if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
            zone = "" if value.tzinfo is None else "Z"
            return instant.isoformat(sep="T" if zone else " ", timespec="microseconds") + zone
        case date():
            return value.isoformat()
        case Decimal():
            return f"{value:f}"
        case float():
            return repr(value).replace("inf", "Infinity").replace("nan", "NaN")
        case _:
            return str(value)


def partition_value(text: str | None, type_text: str) -> Any:  # noqa: ANN401
    """Read a partition value. The empty text is null, whatever the type, as the protocol has it.

    Raises:
        DamagedError: The text is no value of the type.
    """
    if text is None or text == "":
        return None
    name = parse_type(type_text).name
    try:
        return _PARTITION_READERS.get(name, str)(text)
    except (ValueError, ArithmeticError) as error:
        raise DamagedError(
            "A partition value in the table's log cannot be read. Look at its log.", type=name
        ) from error


def _read_boolean(text: str) -> bool:
    return text.lower() == "true"


def _read_instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


_PARTITION_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "boolean": _read_boolean,
    "int": int,
    "long": int,
    "float": float,
    "double": float,
    "decimal": Decimal,
    "date": date.fromisoformat,
    "timestamp": datetime.fromisoformat,
    "timestamptz": _read_instant,
    "binary": str.encode,
}


def to_json(value: Any) -> str:  # noqa: ANN401
    """Return compact JSON in which decimals are numbers with all their digits, and no character is escaped needlessly.

    delta-rs reads an escaped character from U+100000 on as another one.

    Example:
        >>> to_json({"x": Decimal("1.10"), "y": [None, "é"]})
        '{"x":1.10,"y":[null,"é"]}'
    """
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{to_json(item)}" for name, item in value.items())
            + "}"
        )
    if isinstance(value, Decimal):
        return f"{value:f}"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def statistics_json(
    footer: pq.FileMetaData, schema: pa.Schema, *, indexed: int = DEFAULT_INDEXED_COLUMNS, named: Sequence[str] = ()
) -> str:
    """Return the statistics of a data file that was written here.

    A double's maximum is left out: Parquet's ignores that NaN is the largest value for SQL engines. Texts are cut,
    their maximum upwards; instants are brought to milliseconds, the maximum upwards, so that no reader skips a row.

    Args:
        footer: Of the Parquet file.
        schema: Its columns.
        indexed: How many leaf columns have statistics; -1 for all.
        named: Instead, the columns that have them.
    """
    lower: dict[str, Any] = {}
    upper: dict[str, Any] = {}
    nulls: dict[str, Any] = {}
    leaves = ((place, path) for place, path in _leaves(schema) if path is not None)
    chosen = (leaf for leaf in leaves if not named or leaf[1][0] in named)
    for place, path in islice(chosen, None if named or indexed < 0 else indexed):
        least, most, missing = _column_statistics(footer, place)
        _put(lower, path, _stored_lower(least))
        _put(upper, path, _stored_upper(most))
        _put(nulls, path, missing)
    body = {
        "numRecords": footer.num_rows,
        "minValues": lower,
        "maxValues": upper,
        "nullCount": nulls,
        "tightBounds": True,
    }
    return to_json(body)


def bounds_json(rows: int | None, bounds: Mapping[str, Bounds]) -> str:
    """Return the statistics of a file of which only the bounds of its columns are known."""
    body: dict[str, Any] = {} if rows is None else {"numRecords": rows}
    body["minValues"] = _known({name: _stored_lower(known.lower) for name, known in bounds.items()})
    body["maxValues"] = _known({name: _stored_upper(known.upper) for name, known in bounds.items()})
    body["nullCount"] = _known({name: known.nulls for name, known in bounds.items()})
    return to_json(body)


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _leaves(schema: pa.Schema) -> Iterator[tuple[int, tuple[str, ...] | None]]:
    """Yield the place of every leaf column in the file, and its path; None within lists and maps."""
    places = count()
    for field in schema:
        yield from _leaves_below(field.type, (field.name,), places)


def _leaves_below(
    kind: pa.DataType, path: tuple[str, ...] | None, places: Iterator[int]
) -> Iterator[tuple[int, tuple[str, ...] | None]]:
    import pyarrow.types as t

    if t.is_struct(kind):
        for field in kind:
            yield from _leaves_below(field.type, path and (*path, field.name), places)
    elif t.is_map(kind):
        yield from _leaves_below(kind.key_type, None, places)
        yield from _leaves_below(kind.item_type, None, places)
    elif t.is_list(kind):
        yield from _leaves_below(kind.value_type, None, places)
    else:
        yield next(places), path


def _column_statistics(footer: pq.FileMetaData, place: int) -> tuple[Any, Any, int | None]:
    least: list[Any] = []
    most: list[Any] = []
    nulls: int | None = 0
    known = True
    for group in range(footer.num_row_groups):
        statistics = footer.row_group(group).column(place).statistics
        if statistics is None or not statistics.has_null_count:
            return None, None, None
        nulls += statistics.null_count
        bounds = exact_bounds(statistics)
        if bounds is not None:
            least.append(bounds[0])
            most.append(bounds[1])
        elif statistics.null_count < footer.row_group(group).num_rows:
            known = False
    return (min(least), max(most), nulls) if known and least else (None, None, nulls)


def _put(target: dict[str, Any], path: tuple[str, ...], value: Any) -> None:  # noqa: ANN401
    if value is None:
        return
    for name in path[:-1]:
        target = target.setdefault(name, {})
    target[path[-1]] = value


def _stored_lower(value: Any) -> Any:  # noqa: ANN401
    match value:
        case None | bool() | bytes():
            return None
        case float():
            return value if abs(value) != float("inf") else None
        case datetime():
            return _instant(value)
        case date():
            return value.isoformat()
        case str():
            return value[:STRING_CHARACTERS]
        case _:
            return value


def _stored_upper(value: Any) -> Any:  # noqa: ANN401
    match value:
        case float():
            return None
        case datetime():
            try:
                return _instant(value if value.microsecond % 1000 == 0 else value + _MILLISECOND)
            except OverflowError:
                return None
        case str():
            return text_above(value)
        case _:
            return _stored_lower(value)


def _instant(value: datetime) -> str:
    text = value.replace(tzinfo=None).isoformat(timespec="milliseconds")
    return text if value.tzinfo is None else f"{text}Z"


def text_above(text: str, *, characters: int = STRING_CHARACTERS) -> str | None:
    """Return a text of at most so many characters that is not below `text`; None where there is none.

    Example:
        >>> text_above("abcdef", characters=3), text_above("ab", characters=3)
        ('abd', 'ab')
    """
    if len(text) <= characters:
        return text
    kept = text[:characters]
    while kept:
        last = ord(kept[-1])
        if last < _LAST_CHARACTER:
            following = last + 1 if last != _LAST_BEFORE_SURROGATES else _FIRST_AFTER_SURROGATES
            return kept[:-1] + chr(following)
        kept = kept[:-1]
    return None


def bounds_of(
    lower: Any,  # noqa: ANN401
    upper: Any,  # noqa: ANN401
    nulls: Any,  # noqa: ANN401
    rows: int | None,
    type_text: str,
) -> Bounds:
    """Return what statistics of any writer prove about a column.

    Writers cut instants to milliseconds, leave NaN out of a maximum, and print decimals through a double: the bounds
    are widened, or dropped, by what that may hide.

    Args:
        lower: Minimum in the column's type; None where unknown.
        upper: Maximum, likewise.
        nulls: How many nulls; anything but a number counts as unknown.
        rows: How many rows; None where unknown.
        type_text: Type of the column.
    """
    node = parse_type(type_text)
    known_nulls = nulls if isinstance(nulls, int) else None
    if (
        node.children
        or node.name in ("boolean", "binary")
        or (node.name == "decimal" and node.numbers[0] > _EXACT_DIGITS)
    ):
        return Bounds(nulls=known_nulls, rows=rows)
    if node.name in ("float", "double"):
        return Bounds(lower=lower, nulls=known_nulls, rows=rows)
    if isinstance(upper, datetime):
        try:
            upper += _MILLISECOND
        except OverflowError:
            upper = None
    return Bounds(lower, upper, known_nulls, rows)


def parse_statistics(
    text: str | None, schema: Schema, *, columns: Iterable[str]
) -> tuple[int | None, dict[str, Bounds]]:
    """Read the statistics of an action in the log.

    Args:
        text: The action's `stats`.
        schema: The table's.
        columns: Those whose bounds are wanted.

    Returns:
        The number of rows and the bounds by column; what cannot be read counts as unknown.
    """
    try:
        value: Mapping[str, Any] = json.loads(text or "{}", parse_float=Decimal)
    except ValueError:
        return None, {}
    rows = value.get("numRecords")
    least, most, nulls = (value.get(name) or {} for name in ("minValues", "maxValues", "nullCount"))
    bounds = {}
    for name in columns:
        kind = schema.by_name[name].type
        lower, upper = (_statistic(side.get(name), kind) for side in (least, most))
        bounds[name] = bounds_of(lower, upper, nulls.get(name), rows, kind)
    return rows, bounds


def _statistic(value: Any, kind: str) -> Any:  # noqa: ANN401
    if value is None or isinstance(value, dict):
        return None
    if kind == "string":
        return str(value)
    try:
        return partition_value(str(value), kind)
    except DamagedError:
        return None
