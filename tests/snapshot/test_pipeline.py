"""Work in a second thread: in order, held back, and what it raises comes to the caller."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from snapshot.pipeline import Follower, ahead

TIMEOUT = 10


class Gate:
    """Something to do that waits until it is let through."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.done: list[int] = []

    def do(self, number: int) -> None:
        assert self.open.wait(TIMEOUT)
        self.done.append(number)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()  # or a test that failed would never end


def threads_of_pools() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_calls_are_made_in_order_in_another_thread_and_all_before_the_end() -> None:
    seen: list[tuple[int, int]] = []
    with Follower() as follower:
        for number in range(1000):
            follower.call(lambda n: seen.append((n, threading.get_ident())), number)
    assert [number for number, _ in seen] == list(range(1000))
    assert threading.get_ident() not in {ident for _, ident in seen}
    assert not threads_of_pools()


def test_the_caller_goes_on_but_not_too_far(gate: Gate) -> None:
    with Follower() as follower:
        follower.call(gate.do, 0)
        follower.call(gate.do, 1)
        assert gate.done == []
        third = threading.Thread(target=follower.call, args=(gate.do, 2))
        third.start()
        third.join(0.2)
        assert third.is_alive(), "a third call must wait"
        gate.open.set()
        third.join(TIMEOUT)
        assert not third.is_alive()
        follower.wait()
        assert gate.done == [0, 1, 2]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("noticed", ["by a call", "by wait", "at the end"])
def test_what_a_call_raises_comes_to_the_caller_and_ends_it(error: type[BaseException], noticed: str) -> None:
    done: list[int] = []

    def fail() -> None:
        raise error("stopped here")

    follower = Follower()

    def use() -> None:
        with follower:
            follower.call(done.append, 1)
            follower.call(fail)
            if noticed == "by a call":
                for number in range(10):
                    follower.call(done.append, number)
                raise AssertionError("it went on")
            if noticed == "by wait":
                follower.wait()
                raise AssertionError("it went on")

    with pytest.raises(error, match="stopped here"):
        use()
    assert done == [1]
    assert not threads_of_pools()


def test_after_a_failed_call_everything_raises_the_same_and_nothing_is_dropped_in_silence() -> None:
    done: list[int] = []
    error = ValueError("stopped here")

    def fail() -> None:
        raise error

    follower = Follower()
    try:
        follower.call(fail)
        for number in range(3):
            with pytest.raises(ValueError, match="stopped here") as raised:
                follower.wait()
            assert raised.value is error
            with pytest.raises(ValueError, match="stopped here") as raised:
                follower.call(done.append, number)
            assert raised.value is error
    finally:
        follower.stop()
    assert done == []
    assert not threads_of_pools()


def test_a_call_behind_the_one_that_fails_is_not_made_and_the_end_says_so(gate: Gate) -> None:
    error = ValueError("stopped here")

    def fail() -> None:
        gate.do(0)
        raise error

    def use() -> None:
        with Follower() as follower:
            follower.call(fail)
            follower.call(gate.do, 1)
            gate.open.set()
            with pytest.raises(ValueError, match="stopped here"):
                follower.wait()

    with pytest.raises(ValueError, match="stopped here") as raised:
        use()
    assert raised.value is error
    assert gate.done == [0]
    assert not threads_of_pools()


def test_a_body_that_raises_makes_no_more_calls(gate: Gate) -> None:
    def use() -> None:
        with Follower() as follower:
            follower.call(gate.do, 0)
            follower.call(gate.do, 1)
            threading.Timer(0.2, gate.open.set).start()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert gate.done in ([], [0])  # the call that had begun was waited for
    assert not threads_of_pools()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_items_come_in_order_and_are_made_in_another_thread(count: int) -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(count):
            made.append(threading.get_ident())
            yield number

    with closing(ahead(items())) as numbers:
        assert list(numbers) == list(range(count))
    assert len(made) == count
    assert threading.get_ident() not in made
    assert not threads_of_pools()


def test_a_few_items_are_made_ahead_and_no_more() -> None:
    made: list[int] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    with closing(ahead(items())) as numbers:
        assert next(numbers) == 0
        assert third.wait(TIMEOUT), "nothing was made ahead"
    assert len(made) <= 4
    assert not threads_of_pools()


def test_what_making_an_item_raises_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("stopped here")

    with closing(ahead(items())) as numbers:
        assert (next(numbers), next(numbers)) == (1, 2)
        with pytest.raises(ValueError, match="stopped here"):
            next(numbers)
    assert not threads_of_pools()
