from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.service.snapshots import MadeSnapshot, live_store, random_entries
from tests.service_process import Answer, ServiceProcess, raw_request, running_service

JSON = {"Content-Type": "application/json"}
PACKED = {"Content-Type": "application/octet-stream"}
TIMEOUT_SECONDS = 2.0
START = b"POST /v1/match HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

pytestmark = pytest.mark.usefixtures("workers_live_on")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeSnapshot:
    return live_store(tmp_path_factory.mktemp("bad") / "store", random_entries(50))


@pytest.fixture(scope="module")
def service(made: MadeSnapshot) -> Iterator[ServiceProcess]:
    with running_service(made.store, "--request-timeout-seconds", str(TIMEOUT_SECONDS)) as service:
        yield service


GIGABYTE = 1 << 30


def test_a_gigabyte_that_is_announced_is_refused_at_once_and_drained(service: ServiceProcess) -> None:
    started = time.monotonic()
    with closing(http.client.HTTPConnection(service.host, service.port, timeout=30)) as connection:
        connection.putrequest("POST", "/v1/match")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(GIGABYTE))
        connection.endheaders()
        assert Answer(connection.getresponse()).problem() == (413, "body_too_large")
        with suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(64):
                connection.send(bytes(1 << 20))
    assert time.monotonic() - started < 10


def test_a_gigabyte_in_chunks_ends_at_the_limit(service: ServiceProcess) -> None:
    started = time.monotonic()
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    with socket.create_connection((service.host, service.port), timeout=30) as connection:
        connection.sendall(START + b"Transfer-Encoding: chunked\r\n\r\n")
        received, sent = b"", 0
        connection.setblocking(False)
        # The headers and the body of the answer may come apart, so the end of the JSON is waited for.
        while not received.endswith(b"}") and sent < GIGABYTE:
            with suppress(BlockingIOError):
                sent += connection.send(chunk[sent % len(chunk) :])
            with suppress(BlockingIOError):
                received += connection.recv(65536)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in received
    assert sent < 64 << 20
    assert time.monotonic() - started < 10


def test_after_a_413_the_connection_goes_on(service: ServiceProcess) -> None:
    with closing(http.client.HTTPConnection(service.host, service.port, timeout=30)) as connection:
        connection.request("POST", "/v1/match", bytes(5 << 20), JSON)
        assert Answer(connection.getresponse()).problem() == (413, "body_too_large")
        connection.request("POST", "/v1/match", b'{"md5": []}', JSON)
        assert Answer(connection.getresponse()).status == 200


def problem_of(received: bytes) -> tuple[int, str]:
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head, received[:500]
    assert b"connection: close" in head
    problem = json.loads(body)
    assert head.split()[1] == str(problem["status"]).encode()
    return problem["status"], problem["reason"]


@pytest.mark.parametrize(
    "sent",
    [
        START,  # slow in the headers
        START[:5],
        START + b"Content-Length: 10\r\n\r\n" + b'{"md5"',  # slow in the body
        START + b"Transfer-Encoding: chunked\r\n\r\n7\r\n" + b'{"md5":',
        START + b"Content-Length: 10\r\n\r\n" + b'{"md5":[]}' + START,  # slow in the second request
    ],
    ids=["headers", "method", "body", "chunked body", "second request"],
)
def test_a_slow_client_gets_408(service: ServiceProcess, sent: bytes) -> None:
    started = time.monotonic()
    received = raw_request(service, sent)
    seconds = time.monotonic() - started
    answers = [b"HTTP/1.1" + part for part in received.split(b"HTTP/1.1") if part]
    assert problem_of(answers[-1]) == (408, "request_timeout")
    assert len(answers) == 1 + sent.count(b"[]}")
    assert TIMEOUT_SECONDS <= seconds < TIMEOUT_SECONDS + 2.5


def test_a_trickle_is_no_progress(service: ServiceProcess) -> None:
    started = time.monotonic()
    received = raw_request(service, START, *[b"X: y\r\n"] * 40, pause=0.2)
    assert problem_of(received) == (408, "request_timeout")
    assert time.monotonic() - started < 15


def test_a_silent_connection_is_closed(service: ServiceProcess) -> None:
    started = time.monotonic()
    assert raw_request(service) == b""
    assert TIMEOUT_SECONDS <= time.monotonic() - started < TIMEOUT_SECONDS + 2.5


def test_a_client_that_waits_before_its_request_has_its_full_time(service: ServiceProcess) -> None:
    request = START + b"Connection: close\r\nContent-Length: 10\r\n\r\n"
    with socket.create_connection((service.host, service.port), timeout=30) as connection:
        time.sleep(0.7 * TIMEOUT_SECONDS)
        connection.sendall(request)
        time.sleep(0.7 * TIMEOUT_SECONDS)
        connection.sendall(b'{"md5":[]}')
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "pieces",
    [
        [START + b"X: " + b"y" * 70_000],
        [START + b"X: " + b"y" * 70_000 + b"\r\n\r\n"],
        [START + b"X: y\r\n" * 12_000 + b"\r\n"],
        [b"GET /" + b"y" * 70_000 + b" HTTP/1.1\r\n\r\n"],
        [START + b"X: " + b"y" * 70_000 + b"\r\nContent-Length: 10\r\n\r\n" + b'{"md5":[]}'],
        [START, *[b"X: " + b"y" * 10_000 + b"\r\n"] * 1000],
        [START + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n", *[b"X: " + b"y" * 10_000 + b"\r\n"] * 100],
    ],
    ids=["one endless", "one", "many", "address", "with body", "flood", "trailers"],
)
def test_huge_headers(service: ServiceProcess, pieces: list[bytes]) -> None:
    assert problem_of(raw_request(service, *pieces)) == (431, "headers_too_large")


def test_large_headers_within_the_limit_and_a_body_in_small_chunks(service: ServiceProcess) -> None:
    head = START + b"Connection: close\r\nX: " + b"y" * 60_000 + b"\r\n"
    assert raw_request(service, head + b"Content-Length: 10\r\n\r\n" + b'{"md5":[]}').startswith(b"HTTP/1.1 200 ")
    body = json.dumps({"md5": ["0" * 32] * 3000}).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    head = START + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b'"checked":{"md5":3000}' in raw_request(service, head, chunks, b"0\r\n\r\n")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to a plain port
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"nonsense\r\n\r\n",
        START + b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n",
        START + b"Content-Length: 10\r\nContent-Length: 11\r\n\r\n",
        START + b"Content-Length: -1\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        START + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 10\r\n\r\n" + b'{"md5":[]}',
        b"GET /livez HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
    ],
    ids=["tls", "http2", "nonsense", "two lengths", "other lengths", "negative", "bad chunk", "h2c", "websocket"],
)
def test_what_is_not_http_1(service: ServiceProcess, sent: bytes) -> None:
    assert problem_of(raw_request(service, sent)) == (400, "invalid_http")


def test_garbage_after_a_good_request_costs_it_nothing(service: ServiceProcess) -> None:
    received = raw_request(service, START + b"Content-Length: 10\r\n\r\n" + b'{"md5":[]}' + b"\x00\x01garbage\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 ")


def test_clients_that_go_away_leave_no_trace(service: ServiceProcess) -> None:
    lines = len(service.lines)
    for sent in (START, START + b"Content-Length: 99\r\n\r\n{", START + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"):
        for _ in range(20):
            with socket.create_connection((service.host, service.port)) as connection:
                connection.sendall(sent)
    time.sleep(0.3)
    assert service.lines[lines:] == []


def test_a_client_that_never_reads_its_reply_is_cut_off(service: ServiceProcess, made: MadeSnapshot) -> None:
    listed = next(iter(made.entries["photodna"])).hex()
    body = json.dumps({"photodna": [listed] * 10_000}).encode()
    request = START + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect((service.host, service.port))
        with suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(20):
                connection.sendall(request)
        time.sleep(TIMEOUT_SECONDS + 3.5)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send_until_it_fails(connection, request)


def send_until_it_fails(connection: socket.socket, request: bytes) -> None:
    for _ in range(100):
        connection.sendall(request)
