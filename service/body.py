"""Reads a request's body with a limit that holds while it streams.

Nothing beyond the limit is kept: a length that is announced is judged before the first byte, one that is not
as it grows. What the client still sends after a 413 the server drains, so that the client reads the answer
instead of a reset connection.
"""

from __future__ import annotations

from starlette.types import Receive

from service.problems import Problem


class ClientGone(Exception):
    """The client closed the connection, or was cut off, before its request was complete."""


async def read_body(receive: Receive, announced: bytes | None, max_bytes: int) -> bytes:
    """Give the whole body. `announced` is the Content-Length header's value.

    Raises Problem body_too_large, or ClientGone: also for a body that is not as long as announced, since half of a
    request must never be answered as if it were all.
    """
    length = int(announced) if announced is not None and announced.isdigit() else None
    if length is not None and length > max_bytes:
        raise _too_large(max_bytes)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):  # rare: nearly always all of it came at once
        body = await _read_rest(receive, body, max_bytes)
    elif message["type"] != "http.request":
        raise ClientGone
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    if length is not None and len(body) != length:
        raise ClientGone
    return body


async def _read_rest(receive: Receive, first: bytes, max_bytes: int) -> bytes:
    pieces = [first]
    size = len(first)
    more = True
    while more:
        if size > max_bytes:
            raise _too_large(max_bytes)
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        more = message.get("more_body", False)
    return b"".join(pieces)


def _too_large(max_bytes: int) -> Problem:
    return Problem("body_too_large", f"the body is larger than the limit of {max_bytes:,} bytes; send several requests")
