"""What the protocol keeps of a body while it comes in, and the reply that it writes in one piece.

The rest of it is tested with real servers, in tests/flow.
"""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from service.protocol import REPLY_AT_ONCE, BoundedProtocol
from service.settings import load_settings

START = b"POST /v1/match HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
MAX_BODY_BYTES = 1 << 19
TEXT = (b"content-type", b"text/plain")
READ_BYTES = 1 << 18  # what the event loop takes from a socket at once


class Connection(asyncio.Transport):
    """A connection without a network: it only notes what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """Nothing comes by itself."""

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing is open."""


class Service:
    """A protocol on such a connection, with an application that keeps the body it is given and hands it back.

    On the path /at-once it replies in one piece if it may, on any other as ASGI has it.
    """

    def __init__(self, directory: Path, loop: asyncio.AbstractEventLoop) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            self.bodies.append(message["body"])
            assert not message["more_body"]
            if scope["path"] == "/at-once":
                self.went_at_once.append(scope["state"][REPLY_AT_ONCE](message["body"], (TEXT,)))
                if self.went_at_once[-1]:
                    return
            length = (b"content-length", b"%d" % len(message["body"]))
            await send({"type": "http.response.start", "status": 200, "headers": [TEXT, length]})
            await send({"type": "http.response.body", "body": message["body"]})

        self.bodies: list[bytes] = []
        self.went_at_once: list[bool] = []
        self._loop = loop
        config = Config(app, lifespan="off", ws="none", log_config=None, access_log=False)
        config.load()
        settings = load_settings({"store": directory, "max_body_bytes": MAX_BODY_BYTES})
        self.connection = Connection()
        state = ServerState()
        state.default_headers = [(b"date", b"Wed, 25 Nov 2026 02:16:37 GMT")]
        self.protocol = BoundedProtocol(config, state, {"settings": settings}, loop)
        self.protocol.connection_made(self.connection)

    def take(self, sent: bytes) -> None:
        """Take what a client sent in reads of the usual size, letting the application run after each."""
        for start in range(0, len(sent), READ_BYTES):
            self.protocol.data_received(sent[start : start + READ_BYTES])
            self.go_on()

    def go_on(self) -> None:
        """Let the application run, also on the requests that wait behind the one it answers."""
        for _ in range(5):
            self._loop.run_until_complete(asyncio.sleep(0))

    def end(self) -> None:
        """Hang up, which an application that still waits for a body learns."""
        self.protocol.connection_lost(None)
        self.go_on()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with closing(asyncio.new_event_loop()) as loop:
        service = Service(tmp_path, loop)
        yield service
        service.end()


def chunked(body: bytes, sizes: tuple[int, ...]) -> bytes:
    """Give a body in chunks of these sizes by turns, without the one that ends it."""
    chunks, start, turn = [], 0, 0
    while start < len(body):
        part = body[start : start + sizes[turn % len(sizes)]]
        chunks.append(b"%x\r\n%b\r\n" % (len(part), part))
        start, turn = start + len(part), turn + 1
    return b"".join(chunks)


@pytest.mark.parametrize("sizes", [(1,), (2,), (100,), (4095,), (1, 4096), (2, 4096, 7), (100_000,)], ids=str)
def test_a_body_in_chunks_arrives_whole_and_takes_no_more_than_its_size(
    service: Service, sizes: tuple[int, ...]
) -> None:
    body = random.randbytes(MAX_BODY_BYTES)
    sent = START + chunked(body, sizes)
    tracemalloc.start()
    try:
        service.take(sent)  # all but the chunk that ends it
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not service.bodies
    assert MAX_BODY_BYTES <= held_bytes < 1.5 * MAX_BODY_BYTES
    service.take(b"0\r\n\r\n")
    assert service.bodies == [body]
    assert service.connection.written.startswith(b"HTTP/1.1 200 ")


def request(path: str, body: bytes, version: str = "1.1") -> bytes:
    return b"POST %b HTTP/%b\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
        path.encode(), version.encode(), len(body), body,
    )  # fmt: skip


def test_a_reply_in_one_piece_has_the_bytes_of_one_sent_as_asgi_has_it(service: Service) -> None:
    service.take(request("/", b"four"))
    usual, service.connection.written = service.connection.written, b""
    service.take(request("/at-once", b"four"))
    assert service.went_at_once == [True]
    assert service.connection.written == usual
    assert usual.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
    assert usual.endswith(b"content-length: 4\r\n\r\nfour")


def test_pipelined_requests_are_answered_in_their_order_in_either_way(service: Service) -> None:
    paths = ["/at-once", "/", "/at-once", "/at-once", "/", "/"]
    service.take(b"".join(request(path, b"number %d" % i) for i, path in enumerate(paths)))
    service.go_on()
    replies = service.connection.written.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [reply[-8:] for reply in replies] == [b"number %d" % i for i in range(len(paths))]
    assert service.went_at_once == [True, True, True]


def test_the_last_reply_on_a_connection_goes_as_asgi_has_it(service: Service) -> None:
    service.take(request("/at-once", b"four", version="1.0"))
    assert service.went_at_once == [False]
    assert b"connection: close\r\n" in service.connection.written


def test_a_client_that_does_not_read_is_waited_for(service: Service) -> None:
    service.protocol.pause_writing()
    service.take(request("/at-once", b"four"))
    assert service.went_at_once == [False]
    assert not service.connection.written
    service.protocol.resume_writing()
    service.go_on()
    assert service.connection.written.endswith(b"\r\n\r\nfour")


def test_nothing_is_written_to_a_client_that_is_gone(service: Service) -> None:
    service.protocol.data_received(request("/at-once", b"four"))
    service.protocol.connection_lost(ConnectionResetError())
    service.go_on()
    assert not any(service.went_at_once)
    assert not service.connection.written
