"""HTTP/1.1 by hand: requests as bytes made beforehand, replies as bytes, nothing in between that takes time."""

from __future__ import annotations

import re
import socket

from benchmarks.errors import WrongAnswer, must

#: What ends the head of a message.
BLANK_LINE = b"\r\n\r\n"

_RECEIVE_BYTES = 1 << 16
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_TIMEOUT_SECONDS = 10


def post(port: int, target: str, content_type: str, body: bytes) -> bytes:
    """Make the bytes of a POST to 127.0.0.1."""
    head = (
        f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def connect(port: int) -> socket.socket:
    """Open a connection to 127.0.0.1 that sends at once what it is given. Raises OSError."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def exchange(connection: socket.socket, request: bytes) -> tuple[bytes, bytes]:
    """Send a request and give (head with its blank line, body) of the 200 that answers it. Raises WrongAnswer."""
    connection.sendall(request)
    received = b""
    while BLANK_LINE not in received:
        received += _receive(connection)
    head, _, body = received.partition(BLANK_LINE)
    must(head.startswith(b"HTTP/1.1 200 "), f"a reply begins {received[:400]!r}")
    length = _LENGTH.search(head + b"\r\n")
    if length is None:
        raise WrongAnswer(f"a reply does not tell its length: {head!r}")
    while len(body) < int(length[1]):
        body += _receive(connection)
    return head + BLANK_LINE, body


def _receive(connection: socket.socket) -> bytes:
    piece = connection.recv(_RECEIVE_BYTES)
    must(bool(piece), "the server closed the connection instead of answering")
    return piece
