"""Which column type holds the values that a driver gives, and how they become Arrow: exactly, or not at all.

| Python value | Type when none is declared | Taken as well for a declared type |
|---|---|---|
| `bool` | `boolean` | `string` |
| `int` | `long` | `boolean` (0 and 1), `int`, `float`, `double`, `decimal`, `string` |
| `float` | `double`, also among `int` | `float`, `decimal` by its shortest text, whole ones as `int` and `long`, `string` |
| `Decimal` | `decimal(38,S)`, where the driver tells the scale or all of the sample share one | `int`, `long`, `string` |
| `str` | `string` | every other type but `binary`, in ISO 8601 or as a number |
| `bytes`, `bytearray`, `memoryview` | `binary` | `fixed(N)`, `uuid` (16 bytes), `boolean` (one bit) |
| `date`, `time`, `datetime` | `date`, `time`, `timestamp`; with a zone `timestamptz` | `string`; a naive one as UTC for `timestamptz` |
| `timedelta` | none | `time` below one day |
| `UUID` | `uuid` | `string` |
| `list`, `dict`, ... | none | `list<T>`, `map<K,V>`, `struct<...>`; as JSON for `string` |

A value that its column's type does not hold, to the last digit, is not rounded, cut or wrapped: its row is rejected.
"""  # noqa: E501

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.types import MAX_DECIMAL_PRECISION, arrow_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pyarrow as pa

    from airflow_provider_lakehouse.core.types import TypeNode

    Converted = tuple[pa.Array[Any], Sequence[int]]

_BYTES: Final = (bytes, bytearray, memoryview)
_INFERRED: Final[Mapping[frozenset[type], str]] = {
    frozenset({bool}): "boolean", frozenset({int}): "long", frozenset({float}): "double",
    frozenset({int, float}): "double", frozenset({str}): "string", frozenset({date}): "date",
    frozenset({time}): "time", frozenset({UUID}): "uuid",
    **{frozenset({kind}): "binary" for kind in _BYTES},
}  # fmt: skip
_READY: Final[Mapping[str, type]] = {
    "boolean": bool, "int": int, "long": int, "double": float, "decimal": Decimal, "date": date, "string": str,
    "binary": bytes,
}  # fmt: skip
"""Values that Arrow itself takes exactly or refuses, so that a column of them needs no look at each."""
_LONG: Final = 2**63
_WHOLE: Final = re.compile(r"\s*[-+]?\d+\s*")
_CLOCK: Final = re.compile(r"[^.,]*([.,]\d{1,6}0*)?([^.,\d][^.,]*)?")
_WIDE: Final = Context(prec=2 * MAX_DECIMAL_PRECISION)
_NOT: Final = (TypeError, ValueError, ArithmeticError)


def infer_type(values: Iterable[Any], *, column: str, scale: int | None = None) -> str | None:
    """Return the type of which all values are, None where there are none.

    Args:
        values: Of a sample of rows.
        column: For the error.
        scale: What the driver says of decimal places; None where it says nothing.

    Raises:
        InvalidRequestError: No type holds all of them for sure.

    Example:
        >>> infer_type([1, None, 2.5], column="a"), infer_type([Decimal("1.50")], column="a")
        ('double', 'decimal(38,2)')
    """
    known = [value for value in values if value is not None]
    kinds = frozenset(map(type, known))
    if not kinds:
        return None
    found = _INFERRED.get(kinds)
    if kinds == {Decimal}:
        found = _decimal_type(known, scale)
    elif kinds == {datetime}:
        zones = {value.tzinfo is None for value in known}
        found = None if len(zones) > 1 else "timestamp" if zones == {True} else "timestamptz"
    elif found == "long" and not all(-_LONG <= value < _LONG for value in known):
        found = None
    if found is None:
        raise InvalidRequestError(
            f"No type is sure to hold the values of column {column!r}. Declare its type in columns.",
            column=column,
            python_types=tuple(sorted(kind.__name__ for kind in kinds)),
        )
    return found


def _decimal_type(values: Sequence[Decimal], scale: int | None) -> str | None:
    places = {max(0, -int(value.as_tuple().exponent)) for value in values if value.is_finite()}
    if scale is None and len(places) == 1:
        (scale,) = places
    if scale is None or not 0 <= scale <= MAX_DECIMAL_PRECISION or max(places, default=0) > scale:
        return None
    return f"decimal({MAX_DECIMAL_PRECISION},{scale})"


def to_arrow(values: Sequence[Any], node: TypeNode) -> Converted:
    """Return values as an Arrow array, and the numbers of those that do not fit, which are null in it."""
    import pyarrow as pa

    target = arrow_type(str(node))
    if _are_ready(values, node):
        try:
            return pa.array(values, target), ()
        except (pa.ArrowException, *_NOT):
            pass  # some do not fit: look at each
    exactly = _CONVERTERS.get(node.name, _nested)
    converted: list[Any] = []
    unfit: list[int] = []
    for number, value in enumerate(values):
        try:
            converted.append(None if value is None else exactly(value, node))
        except (pa.ArrowException, *_NOT):
            converted.append(None)
            unfit.append(number)
    if node.name == "uuid":
        return pa.ExtensionArray.from_storage(target, pa.array(converted, target.storage_type)), unfit
    return pa.array(converted, target), unfit


def _are_ready(values: Sequence[Any], node: TypeNode) -> bool:
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {datetime} and node.name == "timestamp":
        return all(value is None or value.tzinfo is None for value in values)
    return kinds <= {_READY.get(node.name)}


def as_json(values: Mapping[str, Any]) -> str:
    """Return a row as JSON, for the quarantine: what JSON has no form for as text, bytes as hexadecimal digits."""
    return json.dumps(values, ensure_ascii=False, default=_shown)


def _shown(value: object) -> str:
    return bytes(value).hex() if isinstance(value, _BYTES) else str(value)


def _boolean(value: Any, node: TypeNode) -> bool:  # noqa: ANN401
    if isinstance(value, _BYTES):
        value = int.from_bytes(value)
    if isinstance(value, str):
        value = {"true": 1, "false": 0, "t": 1, "f": 0, "1": 1, "0": 0}.get(value.strip().lower())
    if value not in (0, 1):
        raise ValueError(node.name)
    return bool(value)


def _whole(value: Any, node: TypeNode) -> int:  # noqa: ANN401
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and _WHOLE.fullmatch(value)):
        raise ValueError(node.name)
    number = int(value)
    limit = 2**31 if node.name == "int" else _LONG
    if (is_number and number != value) or not -limit <= number < limit:
        raise ValueError(node.name)
    return number


def _double(value: Any, node: TypeNode) -> float:  # noqa: ANN401
    if isinstance(value, bool | Decimal) or not isinstance(value, int | float | str):
        raise TypeError(node.name)
    number = float(value)
    if isinstance(value, int) and number != value:
        raise ValueError(node.name)
    return number


def _float(value: Any, node: TypeNode) -> float:  # noqa: ANN401
    import numpy as np

    number = _double(value, node)
    with np.errstate(over="ignore"):
        single = np.float32(number)
    # A driver may give 0.1 for the single nearest to it: its shortest text says which number was meant.
    if number == number and number not in (float(single), float(str(single))):
        raise ValueError(node.name)
    return float(single)


def _decimal(value: Any, node: TypeNode) -> Decimal:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, Decimal | int | float | str):
        raise TypeError(node.name)
    number = Decimal(repr(value) if isinstance(value, float) else value)
    precision, scale = node.numbers
    exact = number.quantize(Decimal(1).scaleb(-scale), context=_WIDE)
    if exact != number or (exact and exact.adjusted() + 1 + scale > precision):
        raise ValueError(node.name)
    return exact


def _date(value: Any, node: TypeNode) -> date:  # noqa: ANN401
    if isinstance(value, str):
        value = _instant(value) if len(value.strip()) > len("2026-03-01") else date.fromisoformat(value.strip())
    if isinstance(value, datetime):
        if value.tzinfo or value.time() != time():
            raise ValueError(node.name)
        return value.date()
    if not isinstance(value, date):
        raise TypeError(node.name)
    return value


def _time(value: Any, node: TypeNode) -> time:  # noqa: ANN401
    if isinstance(value, str):
        value = time.fromisoformat(_checked(value))
    if isinstance(value, timedelta) and timedelta(0) <= value < timedelta(days=1):
        return (datetime(1970, 1, 1, tzinfo=UTC) + value).time()
    if not isinstance(value, time) or value.tzinfo:
        raise TypeError(node.name)
    return value


def _timestamp(value: Any, node: TypeNode) -> datetime:  # noqa: ANN401
    instant = _instant(value)
    if instant.tzinfo:
        raise ValueError(node.name)
    return instant


def _timestamptz(value: Any, node: TypeNode) -> datetime:  # noqa: ANN401
    instant = _instant(value)
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


def _instant(value: Any) -> datetime:  # noqa: ANN401
    if isinstance(value, str):
        value = datetime.fromisoformat(_checked(value))
    if not isinstance(value, datetime) or getattr(value, "nanosecond", None):
        raise TypeError("datetime")
    return value


def _checked(text: str) -> str:
    """Refuse more than microseconds: Python reads such a text and cuts them off."""
    if not _CLOCK.fullmatch(text.strip()):
        raise ValueError("fraction")
    return text.strip()


def _string(value: Any, node: TypeNode) -> str:  # noqa: ANN401
    match value:
        case str():
            value.encode()
            return value
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(value, "f")
        case int() | float() | UUID() | date() | time():
            return str(value)
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
    raise TypeError(node.name)


def _binary(value: Any, node: TypeNode) -> bytes:  # noqa: ANN401
    if not isinstance(value, _BYTES):
        raise TypeError(node.name)
    data = bytes(value)
    if node.numbers and len(data) != node.numbers[0]:
        raise ValueError(node.name)
    return data


def _uuid(value: Any, node: TypeNode) -> bytes:  # noqa: ANN401
    if isinstance(value, _BYTES):
        return UUID(bytes=bytes(value)).bytes
    if not isinstance(value, UUID | str):
        raise TypeError(node.name)
    return UUID(str(value)).bytes


def _nested(value: Any, node: TypeNode) -> Any:  # noqa: ANN401
    import pyarrow as pa

    return pa.array([value], arrow_type(str(node)))[0].as_py()


_CONVERTERS: Final[Mapping[str, Callable[[Any, TypeNode], Any]]] = {
    "boolean": _boolean, "int": _whole, "long": _whole, "float": _float, "double": _double, "decimal": _decimal,
    "date": _date, "time": _time, "timestamp": _timestamp, "timestamptz": _timestamptz, "string": _string,
    "binary": _binary, "fixed": _binary, "uuid": _uuid,
}  # fmt: skip
