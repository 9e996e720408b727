"""Look through the bytes of a file at the speed of memory, without taking anything apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES: Final = 4 * 1024 * 1024
_DIGITS_ONLY: Final = bytes(ord("0") if chr(code) in "0123456789." else ord(" ") for code in range(256))


def count_lines(path: str) -> int:
    """Return how many lines a file has; the last one need not end."""
    count, last = 0, b"\n"
    for chunk in _chunks(path):
        count += _count_units(chunk, b"\n")
        last = chunk[-1:]
    return count + (last != b"\n")


def count_pairs(path: str, *pairs: bytes) -> tuple[int, ...]:
    """Return how often each of some pairs of bytes stands in a file. The two bytes of a pair must differ."""
    counts = [0] * len(pairs)
    for chunk in _chunks(path, overlap=1):
        for place, pair in enumerate(pairs):
            if pair[:1] in chunk:
                counts[place] += _count_units(chunk, pair) + _count_units(chunk[1:], pair)
    return tuple(counts)


def count_texts(path: str, *texts: bytes) -> int:
    """Return how often some texts stand in a file, all together. None of them may overlap itself."""
    overlap = max(map(len, texts)) - 1
    count = 0
    for text in texts:
        for chunk in _chunks(path, overlap=overlap):
            # What lies in the overlap alone was counted with the chunk before.
            count += chunk.count(text) - chunk[:overlap].count(text)
        count += _head(path, overlap).count(text)
    return count


def holds_long_number(path: str, *, digits: int = 17) -> bool:
    """Tell whether so many digits and points stand in a row somewhere in a file."""
    run = b"0" * digits
    return any(run in chunk.translate(_DIGITS_ONLY) for chunk in _chunks(path, overlap=digits - 1))


def _head(path: str, size_bytes: int) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(size_bytes)


def _chunks(path: str, *, overlap: int = 0) -> Iterator[bytes]:
    """Return a file in pieces, each but the first with the last bytes of the one before in front."""
    before = b""
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield before + chunk
            before = (before + chunk)[-overlap:] if overlap else b""


def _count_units(chunk: bytes, unit: bytes) -> int:
    """Count a unit of one or two bytes at the places that are multiples of its length."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.uint8() if len(unit) == 1 else pa.uint16()
    length = len(chunk) // len(unit)
    if not length:
        return 0
    units = pa.Array.from_buffers(kind, length, [None, pa.py_buffer(chunk)])
    found: int = pc.equal(units, pa.scalar(int.from_bytes(unit, "little"), kind)).true_count
    return found
