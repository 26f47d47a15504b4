"""What several tests of benchmarks need: tiny sizes, and a server that answers as a test says."""

import socket
import threading

import pytest

from benchmarks import workloads
from benchmarks.sizes import Sizes


@pytest.fixture
def tiny(monkeypatch):
    """Give sizes at which a part takes seconds; the figures mean nothing."""
    monkeypatch.setattr(workloads, "_POOL_BYTES", 200_000)
    return Sizes(
        seed=4711, entries=3_000, peer_entries=2_000, growth=(1_000,), pool=30_000, rounds=2, digests_a_round=2_000,
        http_rounds=2, http_seconds=0.1, http_warm_up_seconds=0.05, connections=4, tail_seconds=0.3, swaps=2,
        swap_seconds=1.0, suppressions=2, suppression_pause_seconds=0.2, reader_rows=600, reader_rounds=2,
    )  # fmt: skip


@pytest.fixture
def answering():
    """Serve on several connections until the test is over.

    Gives (serve, seen): `serve(reply)` gives the port; `reply(number)` gives the pieces of the answer to that request,
    all of whose bodies have four bytes; `seen` grows by the (head, body) of each request.
    """
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
