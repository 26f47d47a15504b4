"""A second core for a compile: work that runs in one thread beside the caller, in order.

    with Follower() as follower:            behind the caller: it goes on, the call is made soon after
        follower.call(spools.add, rows)

    with closing(ahead(parts)) as parts:    ahead of the caller: the next items are made while one is used
        for part in parts: …

Threads are enough, since sorting, gathering, hashing and writing all let go of Python's lock. Both hold back a caller
that is too far away, so that no more than a few items are ever waiting, and both hand on what the other thread raises.
A thread never reads input: an interrupt must not wait for a pipe. Ctrl-C waits for what another thread has begun:
at most one part, on a skewed list one re-partition, or one filter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self, TypeVar

#: Calls that wait, or items that are made ahead: enough that neither side idles when items differ in size.
_WAITING: Final = 2

Item = TypeVar("Item")


class Follower:
    """Makes calls in a thread of its own, in order; from one that raises on, it makes none and says so each time."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)  # starts its thread with the first call
        self._waiting: deque[Future[None]] = deque()
        self._error: BaseException | None = None  # what the first call that failed raised

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Have `function` called soon; nobody may change the arguments until then. Raises what an earlier call did."""
        while len(self._waiting) >= _WAITING:
            self._waiting.popleft().result()
        self._raise_again()
        self._waiting.append(self._pool.submit(self._run, function, arguments))

    def _run(self, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self._raise_again()  # it was handed in before the one ahead of it failed
        try:
            function(*arguments)
        except BaseException as error:
            self._error = error
            raise

    def wait(self) -> None:
        """Return when all calls were made. Raises what one of them did, as often as it is asked."""
        while self._waiting:
            self._waiting.popleft().result()
        self._raise_again()

    def _raise_again(self) -> None:
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the thread; calls that it has not begun are not made."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self.stop()


def ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Yield what an iterator does, made a few items ahead in another thread; closing this ends it.

    Close it (contextlib.closing) before anything that the iterator uses.
    """
    pool = ThreadPoolExecutor(1)
    made: deque[Future[Item | None]] = deque()
    try:
        while True:
            while len(made) <= _WAITING:
                made.append(pool.submit(next, items, None))
            item = made.popleft().result()
            if item is None:
                return
            yield item
            del item  # not to be held while the next is waited for
    finally:
        pool.shutdown(cancel_futures=True)
