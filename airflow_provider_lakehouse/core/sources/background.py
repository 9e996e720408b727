"""Produce in a thread of its own what somebody else consumes: a driver is used by one thread, and fetches ahead."""

from __future__ import annotations

import queue
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TICK_SECONDS: Final = 0.5
"""How long anything here waits before it looks whether it is still wanted."""
_READY_ITEMS: Final = 2


class Stopped(Exception):  # noqa: N818
    """The consumer does not want the rest."""


@dataclass(frozen=True, slots=True)
class _End:
    """The last word of the thread.

    Args:
        error: Why it ended; None when everything was produced.
    """

    error: BaseException | None = None


class Background[T]:
    """Runs a producer in a thread.

    Args:
        produce: Called once, in the thread; gives each item to the function it is handed, and returns when there is no
            more. That function raises `Stopped` when the consumer wants no more.
        name: Of the thread.

    Guarantees:
        Memory: two items wait at most, besides the one being produced.
        Completeness: `results` ends without an error only if `produce` returned.
    """

    def __init__(self, produce: Callable[[Callable[[T], None]], None], *, name: str) -> None:
        self._produce = produce
        self._stopped = Event()
        self._items: queue.Queue[Any] = queue.Queue(maxsize=_READY_ITEMS)
        self._thread = Thread(target=self._run, name=name, daemon=True)

    @property
    def is_stopped(self) -> bool:
        """True once the consumer wants no more."""
        return self._stopped.is_set()

    def results(self) -> Iterator[T]:
        """Start, and yield what is produced.

        Raises:
            BaseException: What `produce` raised; what was yielded before is then incomplete.
        """
        self._thread.start()
        while not isinstance(item := self._items.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    def close(self, cancel: Callable[[], None]) -> None:
        """Want no more, and wait for the thread to end.

        Args:
            cancel: Called while the thread still runs; wakes it from what it waits for.
        """
        self._stopped.set()
        if self._thread.is_alive():
            cancel()
            self._thread.join()

    def _run(self) -> None:
        with suppress(Stopped):
            self._hand_over(_End(self._failure()))

    def _failure(self) -> BaseException | None:
        try:
            self._produce(self._hand_over)
        except Stopped:
            raise
        except BaseException as error:  # noqa: BLE001  raised again by the consumer
            return error
        return None

    def _hand_over(self, item: T | _End) -> None:
        while not self._stopped.is_set():
            try:
                self._items.put(item, timeout=TICK_SECONDS)
            except queue.Full:
                continue
            return
        raise Stopped
