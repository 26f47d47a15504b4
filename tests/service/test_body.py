from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.body import ClientGone, announced_bytes, read_pieces, whole_body
from service.problems import Problem


class Sender:
    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = list(messages)

    async def __call__(self) -> dict[str, Any]:
        return self.messages.pop(0)


def pieces(*given: bytes) -> Sender:
    last = len(given) - 1
    return Sender(*({"type": "http.request", "body": b, "more_body": i < last} for i, b in enumerate(given)))


def read(sender: Sender, announced: bytes | None = None, limit: int = 100) -> bytes:
    async def read_as_the_route_does() -> bytes:
        length = announced_bytes(announced, limit)
        first = await sender()
        body = whole_body(first, length)
        return await read_pieces(sender, first, length, limit) if body is None else body

    return asyncio.run(read_as_the_route_does())


@given(st.lists(st.binary(max_size=10), min_size=1, max_size=10))
def test_pieces_are_put_together(given_pieces: list[bytes]) -> None:
    body = b"".join(given_pieces)
    assert read(pieces(*given_pieces)) == body
    assert read(pieces(*given_pieces), str(len(body)).encode()) == body


def test_an_announced_length_is_judged_before_a_byte_is_read() -> None:
    sender = pieces(b"x")
    with pytest.raises(Problem) as refused:
        read(sender, b"101")
    assert (refused.value.status, refused.value.reason) == (413, "body_too_large")
    assert len(sender.messages) == 1


@pytest.mark.parametrize(
    "given_pieces", [[b"x" * 101], [b"x" * 60, b"x" * 41, b"never read"], [b"x" * 101, b"never read"]]
)
def test_the_limit_holds_while_it_streams(given_pieces: list[bytes]) -> None:
    sender = pieces(*given_pieces)
    with pytest.raises(Problem, match="100 bytes"):
        read(sender)
    assert len(sender.messages) == (given_pieces[-1] == b"never read")


def test_exactly_the_limit_is_fine() -> None:
    assert len(read(pieces(b"x" * 60, b"x" * 40))) == 100
    assert len(read(pieces(b"x" * 100), b"100")) == 100


def test_half_a_body_is_nobody() -> None:
    gone = {"type": "http.disconnect"}
    for sender in (Sender(gone), Sender({"type": "http.request", "body": b"x", "more_body": True}, gone)):
        with pytest.raises(ClientGone):
            read(sender)
    for announced in (b"2", b"0"):
        with pytest.raises(ClientGone):
            read(pieces(b"x"), announced)
