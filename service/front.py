"""POST /v1/match as plain ASGI: read the request, match, answer.

It stands in front of FastAPI because at one digest per request a FastAPI route costs more than all the rest
together; FastAPI describes it all the same (service/openapi.py). Every way out of here is a verdict for every
item or a problem+json, never an answer that could be taken for "not listed".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

import structlog
from starlette.types import Message, Receive, Scope, Send

from service.body import ClientGone, announced_bytes, read_pieces, whole_body
from service.forms import Files, read_json, read_packed
from service.live import Live
from service.match import match_columns, match_files
from service.problems import CONTENT_TYPE, Headers, Problem, not_ready
from service.protocol import REPLY_AT_ONCE
from service.settings import ServiceSettings
from snapshot.algorithms import ALGORITHMS, Algorithm
from snapshot.errors import SnapshotError

MATCH_PATH: Final = "/v1/match"

_JSON: Final = b"application/json"
_PACKED: Final = b"application/octet-stream"
_JSON_HEADERS: Final = ((b"content-type", _JSON),)
_FAST_QUERY: Final = {f"algorithm={name}".encode(): algorithm for name, algorithm in ALGORITHMS.items()}
_KNOWN: Final = ", ".join(ALGORITHMS)

_log = structlog.stdlib.get_logger("service.front")


class MatchRoute:
    """The ASGI application of /v1/match."""

    def __init__(self, live: Live, settings: ServiceSettings) -> None:
        self._live = live
        self._max_digests = settings.max_digests
        self._max_body_bytes = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request to MATCH_PATH, of any method."""
        # One coroutine from end to end, since each further one costs a request of one digest a hundredth.
        try:
            algorithm, announced = _read_head(scope)
            length = announced_bytes(announced, self._max_body_bytes)
            message = await receive()
            body = whole_body(message, length)
            if body is None:
                body = await read_pieces(receive, message, length, self._max_body_bytes)
            reply = self._match(algorithm, body)
        except Problem as problem:
            await send_problem(send, problem)
        except ClientGone:
            return
        except SnapshotError as error:
            _log.error("a lookup failed", reason=error.reason, error=str(error))
            await send_problem(send, not_ready(error.reason, str(error)))
        except Exception:  # noqa: BLE001  whatever it was, the worker lives on and the client gets no half verdict
            _log.exception("a request to /v1/match failed")
            await send_problem(send, Problem("internal_error", "the request failed here; the service's log says how"))
        else:
            reply_at_once = scope.get("state", {}).get(REPLY_AT_ONCE)
            if reply_at_once is None or not reply_at_once(reply, _JSON_HEADERS):
                await send(_start(200, _JSON_HEADERS, len(reply)))
                await send({"type": "http.response.body", "body": reply})

    def _match(self, algorithm: Algorithm | None, body: bytes) -> bytes:
        """Answer a body: packed digests of `algorithm`, or JSON if that is None. Raises Problem or SnapshotError."""
        # Nothing here awaits: the whole answer is of this one View.
        view = self._live.require_view()
        if algorithm is not None:
            return match_columns(view, read_packed(body, algorithm, self._max_digests))
        request = read_json(body, self._max_digests)
        if isinstance(request, Files):
            return match_files(view, request)
        return match_columns(view, request)


def _read_head(scope: Scope) -> tuple[Algorithm | None, bytes | None]:
    """Give the algorithm of a packed body (None: the body is JSON), and the Content-Length as sent. Raises Problem."""
    if scope["method"] != "POST":
        raise Problem("method_not_allowed", f"{MATCH_PATH} takes POST", headers=((b"allow", b"POST"),))
    packed, announced = _read_headers(scope["headers"])
    return _packed_algorithm(scope["query_string"]) if packed else None, announced


def _read_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bool, bytes | None]:
    """Give (whether the body is packed, the Content-Length as sent). Raises Problem 415."""
    content_type: bytes | None = None
    announced: bytes | None = None
    for name, value in headers:
        if name == b"content-type":
            if content_type is not None:
                raise _wrong_type("there are two Content-Type headers")
            content_type = value
        elif name == b"content-length":
            announced = value
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise Problem(
                "content_encoding",
                "the body has a Content-Encoding; send it as it is, packed digests do not compress",
                headers=((b"accept-encoding", b"identity"),),
            )
    if content_type == _JSON:
        return False, announced
    if content_type == _PACKED:
        return True, announced
    return _is_packed(content_type), announced


def _is_packed(content_type: bytes | None) -> bool:
    """Read a Content-Type with parameters or unusual letters."""
    if content_type is None:
        raise _wrong_type("the Content-Type header is missing")
    kind, *parameters = (part.strip().lower() for part in content_type.split(b";"))
    if kind == _PACKED:
        return True
    if kind != _JSON:
        raise _wrong_type("the Content-Type is neither")
    for parameter in parameters:
        key, _, value = parameter.partition(b"=")
        if key.strip() == b"charset" and value.strip().strip(b'"') not in (b"utf-8", b"utf8", b"us-ascii"):
            raise _wrong_type("the charset is not UTF-8")
    return False


def _wrong_type(what: str) -> Problem:
    return Problem(
        "content_type",
        f"{what}; send application/json in UTF-8, or application/octet-stream with packed digests",
        headers=((b"accept", b"application/json, application/octet-stream"),),
    )


def _packed_algorithm(query: bytes) -> Algorithm:
    """Read `algorithm` from the query string of a packed request. Raises Problem 400."""
    algorithm = _FAST_QUERY.get(query)
    if algorithm is not None:
        return algorithm
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    names = [value for key, value in pairs if key == "algorithm"]
    if not names:
        raise Problem("algorithm_missing", f"packed digests want ?algorithm=, one of {_KNOWN}")
    if len(names) > 1:
        raise Problem("algorithm_repeated", "the query has algorithm more than once; send one request for each")
    algorithm = ALGORITHMS.get(names[0])
    if algorithm is None:
        raise Problem("algorithm_unknown", f"the query's algorithm is none of {_KNOWN}")
    return algorithm


async def send_problem(send: Send, problem: Problem) -> None:
    """Send a problem as the whole response."""
    body = problem.encode()
    await send(_start(problem.status, ((b"content-type", CONTENT_TYPE), *problem.headers), len(body)))
    await send({"type": "http.response.body", "body": body})


def _start(status: int, headers: Headers, length: int) -> Message:
    headers = (*headers, (b"content-length", b"%d" % length))
    return {"type": "http.response.start", "status": status, "headers": headers}
