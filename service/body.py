"""Reads a request's body with a limit that holds while it streams.

Nothing beyond the limit is kept, but for what came with the last read: a length that is announced is judged before
the first byte, one that is not as it grows. What the client still sends after a 413 the server drains, so that the
client reads the answer instead of a reset connection.
"""

from __future__ import annotations

from starlette.types import Message, Receive

from service.problems import Problem


class ClientGone(Exception):
    """The client closed the connection, or was cut off, before its request was complete."""


def announced_bytes(content_length: bytes | None, max_bytes: int) -> int | None:
    """Give the length that the Content-Length header announces, None without one. Raises Problem body_too_large."""
    if content_length is None or not content_length.isdigit():
        return None
    length = int(content_length)
    if length > max_bytes:
        raise _too_large(max_bytes)
    return length


def whole_body(message: Message, length: int | None) -> bytes | None:
    """Give the body if this first message is all of it, as it nearly always is; None if there is more to come.

    Raises ClientGone: also for a body that is not as long as announced, since half of a request must never be answered
    as if it were all. A body without an announced length is left to read_pieces, which limits it.
    """
    if length is None or message.get("more_body", False):
        return None
    body: bytes = message.get("body", b"")
    if message["type"] != "http.request" or len(body) != length:
        raise ClientGone
    return body


async def read_pieces(receive: Receive, first: Message, length: int | None, max_bytes: int) -> bytes:
    """Give the whole body, of which `first` is the first message. Raises Problem body_too_large or ClientGone."""
    pieces: list[bytes] = []
    size = 0
    message = first
    while True:
        if message["type"] != "http.request":
            raise ClientGone
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body", False):
            break
        message = await receive()
    if length is not None and size != length:
        raise ClientGone
    return b"".join(pieces)


def _too_large(max_bytes: int) -> Problem:
    return Problem("body_too_large", f"the body is larger than the limit of {max_bytes:,} bytes; send several requests")
