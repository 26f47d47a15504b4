"""The least that a JSON service on uvicorn can do: receive the body, parse it with orjson, send a reply by orjson.

    python -m uvicorn --factory benchmarks.bare_app:create_app …   with BARE_REPLIES = a JSON file {path: reply}

The reply is the one that the real service gives for the same request, so that both send the same bytes. A path
under /packed does not parse: there is no JSON in a packed body.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final

import orjson

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

REPLIES_VARIABLE: Final = "BARE_REPLIES"
PACKED: Final = "/packed"


def create_app() -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """Make the application: it answers any request with its path's reply."""
    replies: dict[str, object] = orjson.loads(Path(os.environ[REPLIES_VARIABLE]).read_bytes())

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body", False):
            pieces = [body]
            while message.get("more_body", False):
                message = await receive()
                pieces.append(message.get("body", b""))
            body = b"".join(pieces)
        path = scope["path"]
        if not path.startswith(PACKED) and body:
            orjson.loads(body)
        reply = orjson.dumps(replies[path])
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})

    return app
