"""HTTP/1.1 with bounds that uvicorn leaves open: size of headers, time of a request, time of a reply.

    more than max_header_bytes of request line, headers, trailers and chunk framing     431, then closed
    a request not complete request_timeout_seconds after its first byte                 408, then closed
    a connection that never sends a byte, or that takes no more of its reply            closed
    what is not HTTP/1.1, or asks for another protocol                                  400, then closed

Each as problem+json. A request costs one look at the clock; one sweeper per worker looks at all connections once a
second instead of a timer for each. After a refusal what the client still sends is swallowed for a while, since a
closed socket would take the answer away from under it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from weakref import WeakKeyDictionary

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.problems import CONTENT_TYPE, Headers, Problem
from service.settings import ServiceSettings

_SWEEP_SECONDS: Final = 1.0
#: How long an idle connection stays open when the server ends: a request that is on its way still gets in.
_LAST_CALL_SECONDS: Final = 0.25
#: Bytes of framing that a chunked body may have per byte of content, at worst: chunks of one byte.
_FRAMING_PER_BYTE: Final = 6
#: A piece of body from this size on is kept as it came.
_WHOLE_PIECE_BYTES: Final = 4096


#: Where an application finds `BoundedProtocol.reply_at_once`, in the state of a request's scope.
REPLY_AT_ONCE: Final = "reply_at_once"


class _Refused(Exception):
    """Stops the parser from within a callback."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the bounds above; one per connection.

    What every request runs through names the parent class instead of saying `super()`, which up to Python 3.11 builds
    an object each time: 0.5 µs a request, of some 25.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, REPLY_AT_ONCE: self.reply_at_once}, _loop)
        settings: ServiceSettings = app_state["settings"]
        self._max_header_bytes = settings.max_header_bytes
        self._max_body_bytes = settings.max_body_bytes
        self._timeout_seconds = settings.request_timeout_seconds
        self._since: float | None = self.loop.time()  # since when we wait for the client; None: not now
        self._receiving = False  # whether a request has begun and is not complete
        self._in_body = False  # and whether its headers are
        self._fed_bytes = 0  # of this request, less those in the piece in which the one before it ended
        self._body_bytes = 0
        self._pieces: list[bytes | bytearray] = []  # of the body, not yet handed on
        self._problem: Problem | None = None  # set by a callback that stops the parser
        self._refused = False
        self._ending = False
        self._answering: RequestResponseCycle | None = None  # not self.cycle when requests are pipelined
        self._unsent: tuple[int, float] = (0, 0.0)  # bytes of replies not yet taken, and since when so many

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin a connection."""
        super().connection_made(transport)
        _watch_connections(self.loop, self.server_state)

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection: whoever still answers on it learns that nobody listens."""
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        HttpToolsProtocol._start_asgi_task(self, cycle, app)  # noqa: SLF001  it is our own, inherited

    def data_received(self, data: bytes) -> None:
        """Take a piece of one or more requests."""
        if self._refused:
            return
        if not self._receiving:
            self._begin()
        self._fed_bytes += len(data)
        HttpToolsProtocol.data_received(self, data)
        if self._body_bytes > self._max_body_bytes:
            self._hand_on_what_is_too_large()
        if self._fed_bytes > self._max_header_bytes and self._receiving and not self._refused:
            framing = self._fed_bytes - _FRAMING_PER_BYTE * self._body_bytes
            # In a body the headers count once more: they were found within bounds, the framing may be as much again.
            if framing > self._max_header_bytes * (2 if self._in_body else 1):
                self._refuse(self._headers_too_large())

    def _begin(self) -> None:
        self._receiving = True
        self._since = self.loop.time()
        self._fed_bytes = 0

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        if not self._receiving:
            self._begin()
        self._in_body = False
        self._body_bytes = 0
        self._pieces = []
        HttpToolsProtocol.on_message_begin(self)

    def on_headers_complete(self) -> None:
        """Judge the headers and start the request."""
        if self._fed_bytes > self._max_header_bytes:  # body or next request may be among those: count exactly
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self._max_header_bytes:
                self._stop_parser(self._headers_too_large())
        if self.parser.should_upgrade():
            # The parser would leave the body aside, and half a request must not be answered.
            self._stop_parser(
                Problem("invalid_http", "this service speaks HTTP/1.1 only; leave the Upgrade header away")
            )
        HttpToolsProtocol.on_headers_complete(self)
        self._in_body = True
        if self._ending:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Keep a piece of body.

        uvicorn wakes the application for every piece, stops reading at 64 KiB, which a body of 1,000 digests passes
        already, and copies each piece twice. Here the application is woken once, when the body is complete or larger
        than it may be, and a body that came in one piece is handed on as it is: a tenth of such a request's time.
        """
        self._body_bytes += len(body)
        if self.cycle.response_complete:
            return
        pieces = self._pieces
        if not pieces or len(body) >= _WHOLE_PIECE_BYTES:
            pieces.append(body)
        elif isinstance(pieces[-1], bytearray):
            pieces[-1] += body
        else:  # small pieces run together: an object for each would take many times their size
            pieces.append(bytearray(body))

    def _hand_on_what_is_too_large(self) -> None:
        """Let the application refuse a body beyond its limit: once for each read, however many chunks came in it."""
        if self._pieces and not self._refused and not self.cycle.response_complete:
            self._hand_on_body()
            self.flow.pause_reading()
            self.cycle.message_event.set()

    def _hand_on_body(self) -> None:
        pieces = self._pieces
        if pieces:
            rest = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            # bytes where uvicorn has a bytearray: its receive() then hands on this very object instead of a copy.
            self.cycle.body = self.cycle.body + rest if self.cycle.body else rest  # type: ignore[assignment]
            self._pieces = []

    def on_message_complete(self) -> None:
        """Hand on the body and note that the request is complete: the client is no longer waited for."""
        self._hand_on_body()
        self._receiving = self._in_body = False
        self._since = None
        HttpToolsProtocol.on_message_complete(self)

    def _stop_parser(self, problem: Problem) -> None:
        self._problem = problem
        raise _Refused  # the parser hands it on as an HttpParserError, and uvicorn calls send_400_response

    def _headers_too_large(self) -> Problem:
        return Problem(
            "headers_too_large",
            f"request line and headers are larger than the limit of {self._max_header_bytes:,} bytes",
        )

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser stopped at."""
        self._refuse(self._problem or Problem("invalid_http", "this is not a request as HTTP/1.1 has it"))

    def _refuse(self, problem: Problem) -> None:
        """Answer the request that is coming in with a problem, and take no more from this connection."""
        self._refused = True
        self._since = self.loop.time()
        cycle = self.cycle
        unanswered = cycle is not None and not cycle.response_complete
        if self._in_body and unanswered:
            cycle.disconnected = True  # whoever reads the body learns that it will never be complete
            cycle.message_event.set()
        if self.pipeline or (unanswered and not self._in_body):
            self.cycle.keep_alive = False  # a complete request before this one is still to be answered
        elif self._in_body and cycle.response_started:
            self.transport.close()
        else:
            self._write(problem)

    def _write(self, problem: Problem) -> None:
        headers = ((b"content-type", CONTENT_TYPE), CLOSE_HEADER)
        self.transport.write(self._response(problem.status, problem.encode(), headers))
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def reply_at_once(self, body: bytes, headers: Headers) -> bool:
        """Write a whole 200 response to the request being answered; False if it has to be sent as ASGI has it.

        uvicorn looks through every header and writes head and body each by itself, which is a tenth of what a request
        of one digest costs. `headers` must be fit to send; Content-Length is added.
        """
        cycle = self._answering
        if cycle is None or cycle.disconnected or not cycle.keep_alive or cycle.access_log or self.flow.write_paused:
            return False
        cycle.response_started = cycle.response_complete = True
        self.transport.write(self._response(200, body, headers))
        cycle.message_event.set()
        cycle.on_response()
        return True

    def _response(self, status: int, body: bytes, headers: Headers) -> bytes:
        parts = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts += (b"content-length: %d\r\n\r\n" % len(body), body)
        return b"".join(parts)

    def shutdown(self) -> None:
        """End the connection once nothing is under way on it: called when the server ends."""
        self._ending = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(_LAST_CALL_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self._refused or not (self._receiving or (self.cycle is not None and not self.cycle.response_complete)):
            self.transport.close()

    def sweep(self, now: float) -> None:
        """Cut off a client that has kept us waiting too long, in either direction."""
        oldest = now - self._timeout_seconds
        unsent_bytes, since = self._unsent
        waiting_bytes = self.transport.get_write_buffer_size()
        if waiting_bytes != unsent_bytes:
            self._unsent = (waiting_bytes, now)
        elif waiting_bytes and since < oldest:
            self.transport.abort()
            return
        if self._since is None or self._since >= oldest or self.transport.is_closing():
            return
        if self._receiving and not self._refused:
            self._refuse(
                Problem(
                    "request_timeout", f"the request was not complete {self._timeout_seconds:g} seconds after it began"
                )
            )
        else:
            self.transport.close()


_SWEPT: Final[WeakKeyDictionary[ServerState, asyncio.AbstractEventLoop]] = WeakKeyDictionary()


def _watch_connections(loop: asyncio.AbstractEventLoop, server_state: ServerState) -> None:
    """Start the sweeper of a worker with its first connection."""
    if server_state in _SWEPT:
        return
    _SWEPT[server_state] = loop

    def sweep() -> None:
        loop.call_later(_SWEEP_SECONDS, sweep)  # first, so that nothing ends it
        now = loop.time()
        for connection in list(server_state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.sweep(now)

    loop.call_later(_SWEEP_SECONDS, sweep)
