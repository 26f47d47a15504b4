"""What the protocol keeps of a body while it comes in; the rest of it is tested with real servers, in tests/flow."""

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

from service.protocol import BoundedProtocol
from service.settings import load_settings

START = b"POST /v1/match HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
MAX_BODY_BYTES = 1 << 19
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
    """A protocol on such a connection, with an application that keeps the body it is given."""

    def __init__(self, directory: Path, loop: asyncio.AbstractEventLoop) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            self.bodies.append(message["body"])
            assert not message["more_body"]
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        self.bodies: list[bytes] = []
        self._loop = loop
        config = Config(app, lifespan="off", ws="none", log_config=None)
        config.load()
        settings = load_settings({"store": directory, "max_body_bytes": MAX_BODY_BYTES})
        self.connection = Connection()
        self._protocol = BoundedProtocol(config, ServerState(), {"settings": settings}, loop)
        self._protocol.connection_made(self.connection)

    def take(self, sent: bytes) -> None:
        """Take what a client sent in reads of the usual size, letting the application run after each."""
        for start in range(0, len(sent), READ_BYTES):
            self._protocol.data_received(sent[start : start + READ_BYTES])
            self._loop.run_until_complete(asyncio.sleep(0))

    def end(self) -> None:
        """Hang up, which an application that still waits for a body learns."""
        self._protocol.connection_lost(None)
        self._loop.run_until_complete(asyncio.sleep(0))


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
    assert service.connection.written.startswith(b"HTTP/1.1 204 ")
