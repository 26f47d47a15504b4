"""The supervisor's question to its workers: answered, ended and hanging ones, without ever waiting long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import pytest

from service import server

SPAWN = get_context("spawn")


@pytest.fixture
def workers() -> server._Workers:
    """The supervisor without its processes and signal handlers."""
    supervisor = server._Workers.__new__(server._Workers)
    supervisor._asked = {}
    return supervisor


@pytest.fixture
def worker() -> Iterator[Callable[[], Any]]:
    """Makes workers that sleep and never answer by themselves."""
    made: list[tuple[Any, Connection, Connection]] = []

    def make() -> Any:
        process = SPAWN.Process(target=time.sleep, args=(60,), daemon=True)
        process.start()
        parent_conn, child_conn = Pipe()
        made.append((process, parent_conn, child_conn))
        return SimpleNamespace(pid=process.pid, process=process, parent_conn=parent_conn, child_conn=child_conn)

    yield make
    for process, *connections in made:
        process.kill()
        process.join()
        process.close()
        for connection in connections:
            connection.close()


def test_a_worker_that_answers(workers: server._Workers, worker: Callable[[], Any]) -> None:
    asked = worker()
    asked.child_conn.send(True)
    assert workers._has_answered(asked)
    assert asked.child_conn.recv() == b"ping"
    assert not asked.parent_conn.poll()  # the answer was taken, so the next question gets its own
    assert workers._asked == {}


def test_a_slow_worker_is_asked_once_and_not_waited_for(workers: server._Workers, worker: Callable[[], Any]) -> None:
    slow = worker()
    began = time.monotonic()
    assert not workers._has_answered(slow)
    assert not workers._has_answered(slow)
    assert time.monotonic() - began < 5
    assert slow.child_conn.recv() == b"ping"
    assert not slow.child_conn.poll()
    slow.child_conn.send(False)
    assert workers._has_answered(slow)
    assert slow.process.is_alive()


def test_a_worker_that_dies_while_it_is_asked(workers: server._Workers, worker: Callable[[], Any]) -> None:
    dying = worker()
    assert not workers._has_answered(dying)
    dying.process.kill()
    dying.process.join()
    assert workers._has_answered(dying)
    assert workers._asked == {}


def test_a_worker_that_hangs_is_killed(
    workers: server._Workers, worker: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_HEALTHCHECK_SECONDS", 0.15)
    hanging = worker()
    while not workers._has_answered(hanging):
        assert hanging.process.is_alive()
    assert not hanging.process.is_alive()
    assert workers._asked == {}
