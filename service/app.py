"""The application of one worker: /v1/match in front, FastAPI for everything else, the watch beside them.

    uvicorn → Application ─┬─ /v1/match  → service/front.py (plain ASGI)
                           └─ the rest   → FastAPI: /v1/snapshot /livez /readyz /docs /openapi.json

`create_app` is what uvicorn calls in each worker; settings come to it through the environment. All handlers are
async and none awaits while it holds a View: they share the event loop's thread with matching and the swap.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.docs import add_docs
from service.front import MATCH_PATH, MatchRoute
from service.live import Live
from service.logs import configure_logging
from service.openapi import DescribedApp
from service.parent import end_with_parent
from service.probes import add_probes
from service.problems import CONTENT_TYPE, Problem
from service.runtime import keep_freed_memory, put_requests_first, spare_what_is_there
from service.settings import ServiceSettings, load_settings
from service.trust import Trust
from service.verified import VerifiedNotes
from service.watch import Watch
from snapshot.seal import NO_SEAL_KEYS, SealKeys
from snapshot.store import Store

#: A worker whose snapshot is still being verified takes requests after this long all the same: it answers 503
#: until it is ready, and /livez all along.
_PATIENCE_SECONDS: Final = 2.0

_NO_TELEMETRY: Final[TelemetryConfig] = {
    "tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False,
}  # fmt: skip


class Application:
    """The ASGI application: sends /v1/match to its route and everything else to FastAPI."""

    def __init__(self, settings: ServiceSettings) -> None:
        """Make it ready to start; nothing is opened before its lifespan starts."""
        self._settings = settings
        self._live = Live()
        self._match = MatchRoute(self._live, settings)
        self._rest = self._fastapi()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request, or run the lifespan."""
        # Not async itself: handing on the route's own awaitable saves each request a coroutine.
        if scope["type"] == "http":
            if scope["path"] == MATCH_PATH:
                return self._match(scope, receive, send)
            if scope["method"] == "HEAD":
                # Every GET answers HEAD too; uvicorn, which knows the real method, leaves the body away.
                scope = {**scope, "method": "GET"}
        return self._rest(scope, receive, send)

    def _fastapi(self) -> FastAPI:
        app = DescribedApp(
            title="Hashwacht",
            version="1",
            description="Tells whether digests are on lists of known illegal material.",
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            lifespan=self._lifespan,
            telemetry=_NO_TELEMETRY,
            exception_handlers={
                Problem: _on_problem,
                HTTPException: _on_http_exception,
                RequestValidationError: _on_invalid_request,
                Exception: _on_surprise,
            },
        )
        app.settings = self._settings
        add_probes(app, self._live)
        add_docs(app)
        return app

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[dict[str, object]]:
        """Start the watch; end it and close the snapshot when the server is done."""
        end_with_parent()
        store = Store(self._settings.store)
        notes = VerifiedNotes(self._settings.state_dir)
        trust = Trust(store, self._settings.trusted_keys, self._settings.state_dir)
        seal_file = self._settings.seal_key
        seal_keys = NO_SEAL_KEYS if seal_file is None else SealKeys.load(seal_file)
        watch = Watch(store, self._live, notes, trust, seal_keys, asyncio.get_running_loop())
        watch.start()
        await asyncio.to_thread(watch.looked.wait, _PATIENCE_SECONDS)
        spare_what_is_there()
        yield {"settings": self._settings}  # where service/protocol.py finds its limits
        watch.stop()
        await asyncio.to_thread(watch.join, 1.0)
        view, self._live.view = self._live.view, None
        if view is not None:
            view.snapshot.close()


def create_app() -> Application:
    """Make a worker's application from the environment: uvicorn's factory."""
    settings = load_settings()
    configure_logging(settings)
    keep_freed_memory()
    put_requests_first()
    return Application(settings)


async def _on_problem(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    headers = {name.decode(): value.decode() for name, value in problem.headers}
    return Response(problem.encode(), problem.status, headers, media_type=CONTENT_TYPE.decode())


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """FastAPI's own 404 and 405."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return await _on_problem(request, Problem("not_found", "there is nothing at this path; see /docs"))
    if error.status_code == 405:
        allow = ((b"allow", b"GET, HEAD"),)
        return await _on_problem(request, Problem("method_not_allowed", "this path takes GET and HEAD", headers=allow))
    return await _on_problem(request, Problem("invalid_request", str(error.detail), status=error.status_code))


async def _on_invalid_request(request: Request, _: Exception) -> Response:
    return await _on_problem(request, Problem("invalid_request", "the request's parameters are not as /docs says"))


async def _on_surprise(request: Request, _: Exception) -> Response:
    """Answer for an error nobody foresaw; starlette raises it on, so that the server logs it."""
    return await _on_problem(request, Problem("internal_error", "the request failed here; the service's log says how"))
