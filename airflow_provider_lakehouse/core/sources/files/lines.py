"""Take texts apart with care: every record with its line, its text as it stands, and what is wrong with it.

This is the slow way, for files that the fast one refuses and for the first lines of every file. CSV is RFC 4180 with
three liberties that DuckDB takes too: any line end, spaces around a quoted field, quotes within an unquoted field.
"""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.sources.files.copies import CorruptFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_provider_lakehouse.core.schema import Column

BYTE_ORDER_MARK: Final = "\ufeff"
_MAX_LINES_OF_RECORD: Final = 100_000
_DOUBLE_DIGITS: Final = 15
_MAX_EXPONENT: Final = 100
_HALF_PAIR: Final = re.compile(r"\\u[dD][89a-fA-F]")
_SIGNIFICANT: Final = re.compile(r"^-?0?[.]?0*|[.]|[eE].*")
"""What is no significant digit of a number."""


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """How a CSV file is written.

    Args:
        delimiter: One character between fields.
        quote: One character around fields that hold delimiters, quotes or line ends; doubled within them.
        has_header: Whether the first record names the columns.
        null_texts: Unquoted texts that are null. A quoted text never is, so `""` is the empty string.
    """

    delimiter: str = ","
    quote: str = '"'
    has_header: bool = True
    null_texts: tuple[str, ...] = ("",)


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a text.

    Args:
        line: On which it starts, counted from 1.
        text: As it stands, without its line end.
        fields: Its values as text; empty where `fault` says why.
        fault: What is wrong with it; None for nothing.
    """

    line: int
    text: str
    fields: tuple[str | None, ...] = ()
    fault: str | None = None


def csv_records(lines: Iterable[bytes], dialect: CsvDialect, *, is_whole: bool = True) -> Iterator[Record]:
    r"""Take CSV apart. Blank lines are passed over, but where the first record has one field: there they are a null.

    Args:
        lines: Of the file, each with its line end.
        dialect: How it is written.
        is_whole: False when `lines` may stop in the middle: a last record that is not complete is passed over.

    Raises:
        CorruptFileError: A line is not UTF-8.

    Example:
        >>> [(r.line, r.fields, r.fault) for r in csv_records([b'a,"b\n', b'c"\n', b'd,"e"f\n'], CsvDialect())]
        [(1, ('a', 'b\nc'), None), (3, (), 'text after a closing quote')]
    """
    split = _Splitter(dialect)
    pending = _Lines(lines)
    is_single: bool | None = None
    while (line := pending.take()) is not None:
        text, fields, fault = line, split(_stripped(line)), None
        start, taken = pending.number, [line]
        while fields is None and len(taken) < _MAX_LINES_OF_RECORD and (more := pending.take()) is not None:
            taken.append(more)
            if dialect.quote in more:
                text = "".join(taken)
                fields = split(_stripped(text))
        if fields is None and not is_whole:
            return
        if fields is None or isinstance(fields, str):
            fault = fields or "a quote is not closed"
            pending.put_back(taken[1:])
            yield Record(start, _stripped(line), (), fault)
        elif _stripped(text) or is_single:
            yield Record(start, _stripped(text), tuple(fields))
            is_single = is_single if is_single is not None else len(fields) == 1


class _Lines:
    """Lines as text, with their number, that can be put back."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._back: deque[str] = deque()
        self.number = 0

    def take(self) -> str | None:
        self.number += 1
        if self._back:
            return self._back.popleft()
        line = next(self._lines, None)
        if line is None:
            self.number -= 1
            return None
        text = decoded(line)
        return text.removeprefix(BYTE_ORDER_MARK) if self.number == 1 else text

    def put_back(self, lines: Sequence[str]) -> None:
        self._back.extendleft(reversed(lines))
        self.number -= len(lines)


def decoded(line: bytes) -> str:
    """Return a line as text.

    Raises:
        CorruptFileError: It is not UTF-8.
    """
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise CorruptFileError("not valid utf-8") from error


def _stripped(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


class _Splitter:
    """Splits the text of a record: a list of fields, None when a quote is still open, or what is wrong."""

    def __init__(self, dialect: CsvDialect) -> None:
        quote = re.escape(dialect.quote)
        self._quoted = re.compile(f" *{quote}((?:[^{quote}]++|{quote}{quote})*+){quote} *")
        self._opening = re.compile(f" *{quote}")
        self._dialect = dialect

    def __call__(self, text: str) -> list[str | None] | str | None:
        delimiter, quote = self._dialect.delimiter, self._dialect.quote
        if quote not in text:
            return [None if field in self._dialect.null_texts else field for field in text.split(delimiter)]
        fields: list[str | None] = []
        at = 0
        while True:
            found = self._quoted.match(text, at)
            if found is not None:
                fields.append(found[1].replace(quote * 2, quote))
                at = found.end()
            elif self._opening.match(text, at):
                return None
            else:
                end = text.find(delimiter, at)
                field = text[at:] if end < 0 else text[at:end]
                fields.append(None if field in self._dialect.null_texts else field)
                at += len(field)
            if at >= len(text):
                return fields
            if not text.startswith(delimiter, at):
                return "text after a closing quote"
            at += 1


class _ExactFloat(float):
    """A number of a JSON text with the digits it is written with."""

    digits: str

    @classmethod
    def of(cls, digits: str) -> _ExactFloat:
        number = cls(digits)
        number.digits = digits
        return number


def json_records(lines: Iterable[bytes], columns: Sequence[Column], *, allows_others: bool) -> Iterator[Record]:
    r"""Take JSON lines apart: one object a line. Blank lines are passed over; a field that is missing is null.

    Args:
        lines: Of the file.
        columns: The fields, in the order in which they are returned. Strings come as they are, objects and lists as
            JSON, numbers with the digits they are written with: in plain notation for decimals, and in the shortest one
            for others, where a double holds all of the digits.
        allows_others: Whether an object may have other fields too.

    Raises:
        CorruptFileError: A line is not UTF-8.

    Example:
        >>> from airflow_provider_lakehouse.core.schema import Column
        >>> columns = [Column("a", "double")]
        >>> [r.fields or r.fault for r in json_records([b'{"a": 1.10}\n', b'{"a"\n'], columns, allows_others=False)]
        [('1.1',), 'not valid JSON']
    """
    known = frozenset(column.name for column in columns)
    wanted = [(column.name, column.type.startswith("decimal")) for column in columns]
    for number, line in enumerate(lines, 1):
        text = _stripped(decoded(line)).removeprefix(BYTE_ORDER_MARK if number == 1 else "")
        if not text.strip():
            continue
        found = parse_object(text)
        if isinstance(found, str):
            yield Record(number, text, (), found)
        elif not allows_others and not known.issuperset(found):
            yield Record(number, text, (), "a field that the plan does not know")
        else:
            yield Record(number, text, tuple(_json_text(found.get(name), is_decimal=is_it) for name, is_it in wanted))


def parse_object(text: str) -> dict[str, Any] | str:
    """Return the object that a JSON text is, or why it is none."""
    try:
        found = _DECODER.decode(text)
    except _RepeatedFieldError:
        return "a field stands twice"
    except (ValueError, RecursionError):
        return "not valid JSON"
    if not isinstance(found, dict):
        return "not a JSON object"
    return "half a surrogate pair" if _HALF_PAIR.search(text) and not _is_unicode(found) else found


def _is_unicode(found: dict[str, Any]) -> bool:
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


class _RepeatedFieldError(ValueError):
    """An object has two fields of one name."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedFieldError
    return found


def _constant(name: str) -> str:
    """Return `NaN` or `Infinity` as text: values of a double column, and of no other."""
    return name


_DECODER: Final = json.JSONDecoder(parse_float=_ExactFloat.of, object_pairs_hook=_distinct, parse_constant=_constant)


def _json_text(value: Any, *, is_decimal: bool) -> str | None:  # noqa: ANN401
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case _ExactFloat() if is_decimal:
            return _plain(value.digits)
        case _ExactFloat():
            is_exact = isfinite(value) and len(_SIGNIFICANT.sub("", value.digits)) <= _DOUBLE_DIGITS
            return repr(float(value)) if is_exact else value.digits
        case int():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _plain(digits: str) -> str:
    """Return a number without exponent; as it is where that would be absurdly long."""
    number = Decimal(digits)
    return f"{number:f}" if abs(number.adjusted()) < _MAX_EXPONENT else digits
