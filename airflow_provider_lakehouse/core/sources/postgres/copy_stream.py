"""Read the rows of several COPY statements at once, whole or not at all."""

from __future__ import annotations

import select
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.errors import UnavailableError
from airflow_provider_lakehouse.core.sources.background import TICK_SECONDS, Background
from airflow_provider_lakehouse.core.sources.postgres.connection import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg.pq.abc import PGconn, PGresult

    from airflow_provider_lakehouse.core.sources.postgres.connection import Connection

BLOCK_BYTES: Final = 4 * 1024 * 1024
"""Rows are handed on when their text reaches this size; a single row may be larger, up to PostgreSQL's own 1 GB."""
_CANCEL_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class CopyBlock:
    """Whole rows, as the server sent them.

    Args:
        text: The rows.
        rows: How many; more than 0.
    """

    text: bytearray
    rows: int


def copy_blocks(connection: Connection, statement: bytes) -> Iterator[CopyBlock | None]:
    """Run one COPY ... TO STDOUT, without waiting.

    libpq hands out one row at a time, and psycopg's own iteration pays for a generator each; asking its thin layer over
    libpq directly costs 0.4 microseconds a row.

    Args:
        connection: In a transaction; nobody else uses it meanwhile.
        statement: The COPY statement.

    Yields:
        Blocks of about `BLOCK_BYTES`; None whenever there is nothing to do before the server sends more.

    Raises:
        psycopg.Error: The server refused, failed or went away.
        UnavailableError: The stream ended with another number of rows than the server counted.

    Guarantees:
        Completeness: a stream that ends without an error was confirmed by the server, row count included.
    """
    from psycopg import pq

    libpq = connection.pgconn
    libpq.send_query(statement)
    yield from _until_result(libpq)
    _expect(libpq.get_result(), pq.ExecStatus.COPY_OUT)
    received = 0
    for block in _blocks(libpq):
        received += block.rows if block else 0
        yield block
    yield from _until_result(libpq)
    end = _expect(libpq.get_result(), pq.ExecStatus.COMMAND_OK)
    if end.command_tuples != received:
        raise UnavailableError(
            "A COPY stream ended early. Try again later.", rows_sent=end.command_tuples, rows_received=received
        )
    yield from _until_result(libpq)
    libpq.get_result()  # libpq's sign that the statement is over


def _blocks(libpq: PGconn) -> Iterator[CopyBlock | None]:
    get, text, rows = libpq.get_copy_data, bytearray(), 0
    is_drained = False
    while True:
        size, row = get(1)
        if size > 0:
            text += row
            rows += 1
            is_drained = False
            if len(text) >= BLOCK_BYTES:
                yield CopyBlock(text, rows)
                text, rows = bytearray(), 0
        elif size < 0:
            break
        else:
            if is_drained:
                yield None
            libpq.consume_input()
            is_drained = not is_drained
    if rows:
        yield CopyBlock(text, rows)


def _until_result(libpq: PGconn) -> Iterator[None]:
    while libpq.is_busy():
        yield None
        libpq.consume_input()


def _expect(result: PGresult | None, status: int) -> PGresult:
    from psycopg import OperationalError
    from psycopg.errors import error_from_result

    if result is None:
        raise OperationalError("the server closed the connection")
    if result.status != status:
        raise error_from_result(result)
    return result


class ParallelCopy[T]:
    """Runs COPY statements over several connections, read by one thread.

    One thread, because a row costs a little Python: a second one would not read faster, only fight for the interpreter
    lock (6.0 M rows took longer with two). The server's processes work in parallel, and so does the consumer.

    Args:
        connections: Their transactions see the same snapshot.
        statements: Taken in order by whichever connection is free.
        convert: Applied to every block, in the thread that reads.
        relation: For errors.

    Guarantees:
        Memory: a block for every connection, and a few converted ones; whatever the table's size.
        Order: rows of one statement keep theirs; statements interleave.
        End: when `close` returns, no statement runs on the server and the thread has ended.
    """

    def __init__(
        self,
        connections: Sequence[Connection],
        statements: Sequence[bytes],
        *,
        convert: Callable[[CopyBlock], T],
        relation: str,
    ) -> None:
        self._connections = connections
        self._convert = convert
        self._relation = relation
        self._work = deque(statements)
        self._background = Background(self._read, name=f"copy {relation}")

    def results(self) -> Iterator[T]:
        """Yield what `convert` returned, until all statements are read to their confirmed end.

        Raises:
            LakehouseError: The first failure of any connection; what was yielded before is then incomplete.
        """
        return self._background.results()

    def close(self) -> None:
        """End the statements and the thread; connections stay open."""
        self._background.close(self._cancel_all)

    def _cancel_all(self) -> None:
        for connection in self._connections:
            _cancel(connection)

    def _read(self, give: Callable[[T], None]) -> None:
        """Serve whichever connection has data."""
        lanes = {connection.fileno(): self._lane(connection) for connection in self._connections}
        waiting = select.poll()
        for number in lanes:
            waiting.register(number, select.POLLIN)
        ready = list(lanes)
        with translated(self._relation):
            while lanes and not self._background.is_stopped:
                for number in ready:
                    if self._is_over(lanes[number], give):
                        waiting.unregister(number)
                        del lanes[number]
                ready = [number for number, _ in waiting.poll(TICK_SECONDS * 1000)] if lanes else []

    def _lane(self, connection: Connection) -> Iterator[CopyBlock | None]:
        while self._work:
            yield from copy_blocks(connection, self._work.popleft())

    def _is_over(self, lane: Iterator[CopyBlock | None], give: Callable[[T], None]) -> bool:
        """Take what a connection has; tell whether nothing will follow."""
        for block in lane:
            if block is None:
                return False
            give(self._convert(block))
        return True


def _cancel(connection: Connection) -> None:
    from psycopg import Error

    try:
        connection.cancel_safe(timeout=_CANCEL_SECONDS)
    except Error:
        return  # the server is gone, and with it the statement
