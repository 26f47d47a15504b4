"""Replies of the made-up server in conftest.py."""

import socket
from contextlib import closing

REPLY = b'{"matches":[]}'


def answer(body=REPLY, status=b"200 OK"):
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


#: Of what `answer` gives: bytes before the body.
HEAD_BYTES = len(answer()) - len(REPLY)


def unused_port():
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return listener.getsockname()[1]
