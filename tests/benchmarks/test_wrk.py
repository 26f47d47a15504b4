"""Closed loops by wrk: what it counted, and that wrong replies never become a figure."""

import os
from dataclasses import replace

import pytest

from benchmarks.errors import CannotMeasure, WrongAnswer
from benchmarks.processes import Server
from benchmarks.wrk import Load, closed_loop
from tests.benchmarks.answers import HEAD_BYTES, REPLY, answer, unused_port

CONNECTIONS = 3


@pytest.fixture
def load(tmp_path):
    bodies = tmp_path / "bodies"
    bodies.write_bytes(b"aaaabbbbcccc")
    return Load(
        target="/x?y=z", content_type="text/plain", bodies=bodies, body_bytes=4,
        head_bytes=HEAD_BYTES, reply_bytes=HEAD_BYTES + len(REPLY),
    )  # fmt: skip


@pytest.mark.needs("wrk")
def test_requests_go_through_the_bodies_and_replies_are_counted(answering, load):
    serve, seen = answering
    server = Server(os.getpid(), serve(lambda _: [answer()]))
    outcome = closed_loop(server, load, CONNECTIONS, 0.3)
    assert 10 < outcome.requests <= len(seen) <= outcome.requests + CONNECTIONS
    assert 0.25 < outcome.seconds < 3
    assert outcome.rate == outcome.requests / outcome.seconds
    assert outcome.server_us > 0
    assert {body for _, body in seen} == {b"aaaa", b"bbbb", b"cccc"}
    head = seen[0][0]
    assert head.startswith(b"POST /x?y=z HTTP/1.1\r\n")
    assert b"\r\nContent-Type: text/plain" in head
    assert b"\r\nContent-Length: 4" in head


@pytest.mark.needs("wrk")
@pytest.mark.parametrize(
    "wrong", [answer(status=b"503 Service Unavailable"), answer(b'{"matches":[{"index":0}]}'), answer(b"{}")]
)
def test_one_wrong_reply_among_many_is_noticed(answering, load, wrong):
    serve, _ = answering
    port = serve(lambda number: [wrong if number == 40 else answer()])
    with pytest.raises(WrongAnswer, match="load on /x"):
        closed_loop(Server(os.getpid(), port), load, CONNECTIONS, 0.3)


@pytest.mark.needs("wrk")
def test_a_long_reply_that_is_half_read_at_the_end_is_no_wrong_answer(answering, load):
    serve, _ = answering
    whole = answer(b"x" * 30_000)
    load = replace(load, reply_bytes=len(whole))
    server = Server(os.getpid(), serve(lambda _: [whole[:20_000], whole[20_000:]]))
    assert closed_loop(server, load, CONNECTIONS, 0.3).requests > 10
    with pytest.raises(WrongAnswer, match="replies of 29,000"):
        closed_loop(server, replace(load, reply_bytes=29_000), CONNECTIONS, 0.3)


@pytest.mark.needs("wrk")
def test_a_server_that_is_silent_or_not_there_gives_no_figure(answering, load):
    serve, _ = answering
    with pytest.raises(WrongAnswer, match="not one reply"):
        closed_loop(Server(os.getpid(), serve(lambda _: [])), load, CONNECTIONS, 0.3)
    with pytest.raises(CannotMeasure, match="unable to connect"):
        closed_loop(Server(os.getpid(), unused_port()), load, CONNECTIONS, 0.3)


def test_without_wrk_there_is_no_figure(load, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CannotMeasure, match="apt-get install wrk"):
        closed_loop(Server(os.getpid(), unused_port()), load, CONNECTIONS, 0.3)
