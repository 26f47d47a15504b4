"""Bodies in very many very small chunks: what one client sends so must not keep the others waiting."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.service.snapshots import MadeSnapshot, live_store, random_entries
from tests.service_process import ServiceProcess, running_service

START = b"POST /v1/match HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
MAX_BODY_BYTES = 16 << 20  # larger than by default: to copy so much for each chunk is noticed at once
SMALL_CHUNKS = b"1\r\n \r\n" * 41_666  # 250 kB: what the server reads at once
#: What others may have to wait: many times what it takes, and a fraction of what those copies would.
SECONDS = 2.0

pytestmark = pytest.mark.usefixtures("workers_live_on")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeSnapshot:
    return live_store(tmp_path_factory.mktemp("small") / "store", random_entries(50))


@pytest.fixture(scope="module")
def service(made: MadeSnapshot) -> Iterator[ServiceProcess]:
    # One worker: the one that parses the chunks is the one that is asked meanwhile.
    with running_service(made.store, "--max-body-bytes", str(MAX_BODY_BYTES), workers=1) as service:
        yield service


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def read_answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """Give status line and headers, and the body, of an answer in JSON."""
    received = b""
    while not received.endswith(b"}"):
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize("filled_bytes", [MAX_BODY_BYTES, MAX_BODY_BYTES - 20_000], ids=["full", "nearly full"])
def test_small_chunks_beyond_the_limit_get_413_and_keep_nobody_waiting(
    service: ServiceProcess, filled_bytes: int
) -> None:
    address = service.host, service.port
    with (
        socket.create_connection(address, timeout=30) as sender,
        socket.create_connection(address, timeout=30) as other,
    ):
        sender.sendall(START + chunk(b" " * filled_bytes))
        started = time.monotonic()
        sender.sendall(SMALL_CHUNKS)
        other.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _ = read_answer(other)
        assert head.startswith(b"HTTP/1.1 200 ")
        head, body = read_answer(sender)
        assert head.startswith(b"HTTP/1.1 413 ")
        assert json.loads(body)["reason"] == "body_too_large"
        assert time.monotonic() - started < SECONDS


def test_small_chunks_up_to_the_limit_are_matched(service: ServiceProcess, made: MadeSnapshot) -> None:
    body = json.dumps({"md5": [next(iter(made.entries["md5"])).hex(), "0" * 32]}).encode()
    small = b"".join(chunk(body[start : start + 2]) for start in range(0, len(body), 2))
    with socket.create_connection((service.host, service.port), timeout=30) as connection:
        connection.sendall(START + chunk(b" " * (MAX_BODY_BYTES - len(body))) + small + b"0\r\n\r\n")
        head, answer = read_answer(connection)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(answer)["checked"] == {"md5": 2}
