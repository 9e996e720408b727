"""Look through the bytes of a file at the speed of memory, without taking anything apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK_BYTES: Final = 512 * 1024
_SMALL_BYTES: Final = 64 * 1024
_DIGITS_ONLY: Final = bytes(ord("0") if chr(code) in "0123456789." else ord(" ") for code in range(256))


def count_lines(path: str) -> int:
    """Return how many lines a file has; the last one need not end."""
    count, last = 0, b"\n"
    for chunk in _chunks(path):
        count += chunk.count(b"\n")
        last = chunk[-1:]
    return count + (last != b"\n")


def count_pairs(path: str, *pairs: bytes) -> tuple[int, ...]:
    """Return how often each of some pairs of bytes stands in a file. The two bytes of a pair must differ."""
    counts = [0] * len(pairs)
    for chunk in _chunks(path, overlap=1):
        for place, pair in enumerate(pairs):
            if pair[:1] in chunk:
                counts[place] += _count(chunk, pair)
    return tuple(counts)


def count_texts(path: str, *texts: bytes) -> int:
    """Return how often some texts stand in a file, all together. None of them may overlap itself."""
    overlap = max(map(len, texts)) - 1
    count = 0
    for text in texts:
        is_later = False
        for chunk in _chunks(path, overlap=overlap):
            count += chunk.count(text)
            # What lies in the overlap alone was counted with the chunk before.
            before = chunk[:overlap] if is_later else b""
            count -= before.count(text)
            is_later = True
    return count


def holds_long_number(path: str, *, digits: int = 17) -> bool:
    """Tell whether so many digits and points stand in a row somewhere in a file."""
    run = b"0" * digits
    return any(run in chunk.translate(_DIGITS_ONLY) for chunk in _chunks(path, overlap=digits - 1))


def _chunks(path: str, *, overlap: int = 0) -> Iterator[bytes]:
    """Return a file in pieces, each but the first with the last bytes of the one before in front."""
    before = b""
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield before + chunk
            before = (before + chunk)[-overlap:] if overlap else b""


def _count(chunk: bytes, pair: bytes) -> int:
    if len(chunk) < _SMALL_BYTES:
        return chunk.count(pair)
    return _count_at_even_places(memoryview(chunk), pair) + _count_at_even_places(memoryview(chunk)[1:], pair)


def _count_at_even_places(chunk: memoryview, pair: bytes) -> int:
    """Count as `bytes.count` does at these places, in half the time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    units = pa.Array.from_buffers(pa.uint16(), len(chunk) // 2, [None, pa.py_buffer(chunk)])
    found: int = pc.equal(units, pa.scalar(int.from_bytes(pair, "little"), pa.uint16())).true_count
    return found
