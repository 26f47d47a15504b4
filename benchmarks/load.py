"""Load on one server from a process of its own: many connections, each with one request under way at a time.

    python -m benchmarks.load < job.json > outcome.json

Plain non-blocking sockets and poll, no HTTP library: a request is bytes made beforehand and a reply is compared
with the bytes it must have, so every single reply is checked, body and status, for about 10 µs of this process. It
tells the processor time of both sides, so that a reader sees whether the server was the one that was busy. (wrk, put
in its place with the same bodies, gave the same rates; it cannot compare replies without slowing down.)
"""

from __future__ import annotations

import itertools
import select
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import psutil  # type: ignore[import-untyped]  # ships no types

from benchmarks.errors import WrongAnswer, must

#: Exit code of this process when a reply was not the expected one.
WRONG_ANSWER = 3

_RECEIVE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Job:
    """What to send where. `bodies` is a file of bodies of `body_bytes` each; `reply` is the body of every answer."""

    pid: int
    port: int
    target: str
    content_type: str
    bodies: str
    body_bytes: int
    reply: str
    connections: int
    seconds: float
    warm_up_seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many requests were answered in how long, after warming up; processor time of the load and of the server."""

    requests: int
    seconds: float
    load_cpu_seconds: float
    server_cpu_seconds: float


class _Connection:
    """One connection with at most one request under way."""

    def __init__(self, port: int, reply: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._expected = reply
        self._received = b""
        self._unsent = memoryview(b"")

    def send(self, request: bytes) -> bool:
        """Begin a request; tell whether all of it went out."""
        self._unsent = memoryview(request)
        return self.send_more()

    def send_more(self) -> bool:
        """Send what is left of the request as far as the socket takes it; tell whether that was all."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return False
        return True

    def receive(self) -> bool:
        """Take what came; tell whether the reply is complete. Raises WrongAnswer if it is not the right one."""
        piece = self.socket.recv(_RECEIVE_BYTES)
        received = self._received + piece if self._received else piece
        head_bytes = received.find(b"\r\n\r\n") + 4
        if piece and (head_bytes == 3 or len(received) < head_bytes + len(self._expected)):
            if not received.startswith(b"HTTP/1.1 200 "[: len(received)]):
                raise WrongAnswer(f"a reply begins {received[:300]!r}")
            self._received = received
            return False
        if not received.startswith(b"HTTP/1.1 200 ") or received[head_bytes:] != self._expected:
            raise WrongAnswer(f"a reply is {received[:600]!r}, expected the body {self._expected[:300]!r}")
        self._received = b""
        return True


def apply(job: Job) -> Outcome:
    """Put the load on. Raises WrongAnswer as soon as one reply is not the expected one."""
    requests = itertools.cycle(_requests(job))
    expected = job.reply.encode()
    poll = select.poll()
    connections: dict[int, _Connection] = {}
    for _ in range(job.connections):
        connection = _Connection(job.port, expected)
        connections[connection.socket.fileno()] = connection
        poll.register(connection.socket, select.POLLIN)
    try:
        for number, connection in connections.items():
            _begin(poll, number, connection, next(requests))
        _answer_for(poll, connections, requests, job.warm_up_seconds)
        server_cpu, load_cpu, began = _cpu_seconds(job.pid), time.process_time(), time.perf_counter()
        count = _answer_for(poll, connections, requests, job.seconds)
        seconds, load_cpu = time.perf_counter() - began, time.process_time() - load_cpu
        return Outcome(count, seconds, load_cpu, _cpu_seconds(job.pid) - server_cpu)
    finally:
        for connection in connections.values():
            connection.socket.close()


def _answer_for(
    poll: select.poll, connections: dict[int, _Connection], requests: Iterator[bytes], seconds: float
) -> int:
    """Follow every complete reply with the next request until the time is over; give the number of replies."""
    count = 0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        events = poll.poll(1_000)
        must(bool(events), "the server has answered nothing for a second")
        for number, event in events:
            connection = connections[number]
            if event & select.POLLOUT:
                if connection.send_more():
                    poll.modify(number, select.POLLIN)
            elif connection.receive():
                count += 1
                _begin(poll, number, connection, next(requests))
    return count


def _begin(poll: select.poll, number: int, connection: _Connection, request: bytes) -> None:
    if not connection.send(request):
        poll.modify(number, select.POLLIN | select.POLLOUT)


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _requests(job: Job) -> list[bytes]:
    head = (
        f"POST {job.target} HTTP/1.1\r\nHost: 127.0.0.1:{job.port}\r\nContent-Type: {job.content_type}\r\n"
        f"Content-Length: {job.body_bytes}\r\n\r\n"
    ).encode()
    bodies = Path(job.bodies).read_bytes()
    return [head + bodies[at : at + job.body_bytes] for at in range(0, len(bodies), job.body_bytes)]


def main() -> None:
    """Read a job from standard input, write its outcome to standard output."""
    job = Job(**orjson.loads(sys.stdin.buffer.read()))
    try:
        outcome = apply(job)
    except WrongAnswer as error:
        sys.stderr.write(str(error))
        sys.exit(WRONG_ANSWER)
    sys.stdout.buffer.write(orjson.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
