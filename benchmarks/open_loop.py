"""Load at a fixed rate whatever the server does, from a process of its own: what its users meet.

    python -m benchmarks.open_loop JOB > rows.npy

Requests come like those of many independent users, at random moments of a given average rate (Poisson), laid down
beforehand. One that finds no connection free waits for the next one, and its latency counts from the moment that was
laid down for it: a stall is charged to every request that fell into it. Every reply is compared with those that are
right. The outcome has a row for each request: when it was due, sent and answered, on the clock of time.monotonic(), and
the number of the reply it got.
"""

from __future__ import annotations

import ctypes
import gc
import io
import itertools
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson

from benchmarks.errors import CannotMeasure, WrongAnswer, must
from benchmarks.processes import ROOT, environment
from benchmarks.raw_http import BLANK_LINE, connect, post

Rows = npt.NDArray[np.float64]

#: Exit code of this process when a reply was not a right one.
WRONG_ANSWER: Final = 3
#: Columns of the rows.
DUE, SENT, ANSWERED, REPLY = range(4)

_RECEIVE_BYTES: Final = 1 << 16
_SILENCE_SECONDS: Final = 5.0
#: For the process to start and for the last replies.
_GRACE_SECONDS: Final = 30.0
_PR_SET_TIMERSLACK: Final = 29


@dataclass(frozen=True, slots=True)
class Job:
    """What to send where, how often, how long. `bodies`: a file of bodies of `body_bytes`; `replies`: right ones."""

    port: int
    target: str
    content_type: str
    bodies: str
    body_bytes: int
    replies: tuple[str, ...]
    connections: int
    requests_per_second: float
    seconds: float
    seed: int


class Load:
    """A load that is under way."""

    def __init__(self, job: Job, child: subprocess.Popen[bytes]) -> None:
        self._job = job
        self._child = child

    def stop(self) -> Rows:
        """Send no more requests, and give the rows of those that were sent. Raises as `finish` does."""
        self._child.terminate()
        return self.finish()

    def finish(self) -> Rows:
        """Wait for the end and give the rows.

        Raises WrongAnswer when a reply was wrong or missing, CannotMeasure when the load could not be put on.
        """
        stdout, stderr = self._child.communicate(timeout=self._job.seconds + _GRACE_SECONDS)
        said = f"load on {self._job.target}: {stderr.decode(errors='replace')[-800:]}"
        must(self._child.returncode != WRONG_ANSWER, said)
        if self._child.returncode:
            raise CannotMeasure(said)
        rows: Rows = np.load(io.BytesIO(stdout))
        return rows


@contextmanager
def open_loop(job: Job) -> Iterator[Load]:
    """Begin a load. Whatever happens, it is over when the block ends."""
    command = [sys.executable, "-m", "benchmarks.open_loop", orjson.dumps(asdict(job)).decode()]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe
    ) as child:
        try:
            yield Load(job, child)
        finally:
            child.kill()


class _Connection:
    """One connection with at most one request under way: the request of this number."""

    def __init__(self, port: int, replies: list[bytes]) -> None:
        self.socket = connect(port)
        self.socket.setblocking(False)
        self.number = -1
        self._replies = replies
        self._received = b""
        self._unsent = memoryview(b"")

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, number: int, request: bytes) -> bool:
        """Begin a request; tell whether all of it went out."""
        self.number = number
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

    def receive(self) -> int | None:
        """Take what came; give the number of the reply once it is whole. Raises WrongAnswer if it is none of them."""
        piece = self.socket.recv(_RECEIVE_BYTES)
        received = self._received + piece
        head, _, body = received.partition(BLANK_LINE)
        for number, reply in enumerate(self._replies):
            if body == reply and head.startswith(b"HTTP/1.1 200 "):
                self._received = b""
                return number
        longest = max(map(len, self._replies))
        if not piece or len(body) >= longest or not received.startswith(b"HTTP/1.1 200 "[: len(received)]):
            raise WrongAnswer(f"a reply is {received[:600]!r}, expected the body {self._replies[0][:300]!r}")
        self._received = received
        return None


def run(job: Job) -> Rows:
    """Put the load on; give a row (DUE, SENT, ANSWERED, REPLY) for each request. Raises WrongAnswer."""
    requests = itertools.cycle(_requests(job))
    gaps = np.random.default_rng(job.seed).exponential(
        1 / job.requests_per_second, size=int(job.requests_per_second * job.seconds)
    )
    due = np.cumsum(gaps).tolist()
    rows = np.zeros((len(due), 4))
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ending.set())
    connections = [_Connection(job.port, [reply.encode() for reply in job.replies]) for _ in range(job.connections)]
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        sent = _answer_all(connections, requests, due, rows, ending)
    finally:
        gc.enable()
        for connection in connections:
            connection.socket.close()
    return rows[:sent]


def _answer_all(
    connections: list[_Connection], requests: Iterator[bytes], due: list[float], rows: Rows, ending: threading.Event
) -> int:
    """Send every request when it is due, or as soon after as a connection is free; give how many were answered."""
    free = deque(connections)
    receiving: set[_Connection] = set()
    sending: set[_Connection] = set()
    clock = time.monotonic
    start = clock() + 0.05
    sent = 0
    while True:
        if ending.is_set():
            del due[sent:]
        if sent == len(due) and not receiving:
            return sent
        now = clock()
        while sent < len(due) and free and start + due[sent] <= now:
            connection = free.popleft()
            rows[sent, DUE], rows[sent, SENT] = start + due[sent], now
            if not connection.send(sent, next(requests)):
                sending.add(connection)
            receiving.add(connection)
            sent += 1
            now = clock()
        waits = sent < len(due) and free
        pause = max(0.0, start + due[sent] - now) if waits else _SILENCE_SECONDS
        readable, writable, _ = select.select(receiving, sending, (), pause)
        must(bool(readable or writable or waits), f"the server has answered nothing for {_SILENCE_SECONDS:g} seconds")
        for connection in writable:
            if connection.send_more():
                sending.remove(connection)
        for connection in readable:
            reply = connection.receive()
            if reply is not None:
                rows[connection.number, ANSWERED], rows[connection.number, REPLY] = clock(), reply
                receiving.remove(connection)
                free.append(connection)


def _requests(job: Job) -> list[bytes]:
    bodies = Path(job.bodies).read_bytes()
    return [
        post(job.port, job.target, job.content_type, bodies[at : at + job.body_bytes])
        for at in range(0, len(bodies), job.body_bytes)
    ]


def main() -> None:
    """Read a job from the command line, write the rows to standard output as numpy does."""
    job = Job(**orjson.loads(sys.argv[1]))
    # Linux rounds waits up by 50 µs to save energy; others do not know the call.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        rows = run(job)
    except WrongAnswer as error:
        sys.stderr.write(str(error))
        sys.exit(WRONG_ANSWER)
    np.save(sys.stdout.buffer, rows)


if __name__ == "__main__":
    main()
