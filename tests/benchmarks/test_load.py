"""The load checks every reply, however it comes."""

import os
import socket
import threading
from dataclasses import replace

import pytest

from benchmarks.errors import CannotMeasure, WrongAnswer
from benchmarks.http_side_by_side import run_load
from benchmarks.load import Job

REPLY = b'{"matches":[]}'


@pytest.fixture
def answering():
    """Serve `reply(request number)` in the given pieces, on several connections, until the test is over."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads, sockets, seen = [], [], []

    def serve(reply):
        def accept():
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                sockets.append(connection)
                thread = threading.Thread(target=talk, args=(connection,))
                threads.append(thread)
                thread.start()

        def talk(connection):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            buffer = b""
            try:
                while True:
                    while b"\r\n\r\n" not in buffer or len(buffer.partition(b"\r\n\r\n")[2]) < 4:
                        piece = connection.recv(65536)
                        if not piece:
                            return
                        buffer += piece
                    head, _, body = buffer.partition(b"\r\n\r\n")
                    seen.append((head, body))
                    buffer = b""
                    for part in reply(len(seen)):
                        connection.sendall(part)
            except OSError:
                return

        acceptor = threading.Thread(target=accept)
        threads.append(acceptor)
        acceptor.start()
        return listener.getsockname()[1]

    yield serve, seen
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    threads[0].join(5)
    for connection in sockets:
        connection.close()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def answer(body, status=b"200 OK"):
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


@pytest.fixture
def job(tmp_path):
    bodies = tmp_path / "bodies"
    bodies.write_bytes(b"aaaabbbbcccc")
    return Job(
        pid=os.getpid(), port=0, target="/x", content_type="text/plain", bodies=str(bodies), body_bytes=4,
        reply=REPLY.decode(), connections=3, seconds=0.2, warm_up_seconds=0.05,
    )  # fmt: skip


def test_replies_are_counted_also_when_they_come_in_pieces(answering, job):
    serve, seen = answering
    whole = answer(REPLY)

    def reply(number):
        at = number % len(whole)
        return [whole[:at], whole[at:]] if at else [whole]

    outcome = run_load(replace(job, port=serve(reply)))
    assert 0 < outcome.requests <= len(seen)
    assert outcome.seconds >= job.seconds
    assert {body for _, body in seen} == {b"aaaa", b"bbbb", b"cccc"}
    assert seen[0][0].startswith(b"POST /x HTTP/1.1\r\n")
    assert b"\r\nContent-Length: 4" in seen[0][0]


@pytest.mark.parametrize(
    "wrong",
    [
        answer(REPLY, b"503 Service Unavailable"),
        answer(b'{"title":"not ready", "detail": "longer than what was expected"}', b"503 Service Unavailable"),
        answer(b'{"matches":{}}'),
        answer(b'{"matches":[{"index":0}]}'),
    ],
)
def test_one_wrong_reply_among_many_stops_the_load(answering, job, wrong):
    serve, _ = answering
    port = serve(lambda number: [answer(REPLY) if number != 40 else wrong])
    with pytest.raises(WrongAnswer, match="load on /x: a reply"):
        run_load(replace(job, port=port))


def test_a_server_that_falls_silent_or_is_not_there_gives_no_figure(answering, job):
    serve, _ = answering
    port = serve(lambda number: [answer(REPLY)] if number < 40 else [])
    with pytest.raises(WrongAnswer, match="answered nothing"):
        run_load(replace(job, port=port))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(CannotMeasure, match="refused"):
            run_load(replace(job, port=unused.getsockname()[1]))
