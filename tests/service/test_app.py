from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson
import pytest
import structlog

import service.front
import service.probes
from service.app import Application
from service.settings import load_settings
from service.view import View
from snapshot.errors import EntriesDamaged
from snapshot.reader import Table
from tests.service import reference
from tests.service.snapshots import MadeSnapshot

JSON = (b"content-type", b"application/json")


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def app(made: MadeSnapshot, view: View) -> Application:
    """An application whose View is put in by hand, without lifespan and watch."""
    app = Application(load_settings({"store": made.store}))
    app._live.view = view
    return app


def call(
    app: Application, method: str, path: str, body: bytes = b"", *headers: tuple[bytes, bytes]
) -> tuple[int, dict[str, str], Any]:
    """Make one request straight to the application; give status, headers and decoded JSON."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": list(headers), "state": {},
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        await app(scope, receive, send)

    with suppress(ZeroDivisionError):  # starlette raises on what it has answered
        asyncio.run(run())
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], answered, orjson.loads(content)


def test_a_surprise_while_matching_is_500_and_the_next_request_is_fine(
    app: Application, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    body = b'{"md5": []}'
    with monkeypatch.context() as patch:
        patch.setattr(service.front, "match_columns", lambda *_: 1 / 0)
        status, headers, problem = call(app, "POST", "/v1/match", body, JSON)
    assert (status, problem["reason"]) == (500, "internal_error")
    assert headers["content-type"] == "application/problem+json"
    assert [line["log_level"] for line in logged] == ["error"]
    assert call(app, "POST", "/v1/match", body, JSON)[0] == 200


def test_damage_met_by_a_lookup_is_503_never_a_miss(
    app: Application, made: MadeSnapshot, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    listed = next(d for d, labels in made.entries["sha256"].items() if reference.verdict(labels)).hex()

    def fails(table: Table, digest: bytes) -> int | None:
        raise EntriesDamaged(made.directory, "LMDB: gone")

    monkeypatch.setattr(Table, "find", fails)
    for request in ({"sha256": [listed]}, {"files": [{"sha256": listed}]}):
        status, headers, problem = call(app, "POST", "/v1/match", orjson.dumps(request), JSON)
        assert (status, problem["reason"], headers["retry-after"]) == (503, "entries_damaged", "1")
    assert listed not in str(logged)
    status, _, problem = call(app, "GET", "/readyz")
    assert (status, problem["reason"]) == (503, "entries_damaged")


def test_a_surprise_elsewhere_is_a_problem_too(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(View, "generation", property(lambda _: 1 / 0))
    status, headers, problem = call(app, "GET", "/v1/snapshot")
    assert (status, problem["reason"], headers["content-type"]) == (500, "internal_error", "application/problem+json")


def test_not_ready_before_the_first_view(app: Application) -> None:
    app._live.view = None
    for method, path in (("POST", "/v1/match"), ("GET", "/readyz"), ("GET", "/v1/snapshot")):
        status, headers, problem = call(app, method, path, b'{"md5": []}', JSON)
        assert (status, problem["reason"], headers["retry-after"]) == (503, "starting", "1")
    assert call(app, "GET", "/livez")[::2] == (200, {"status": "alive"})


def test_two_content_types_are_one_too_many(app: Application) -> None:
    assert call(app, "POST", "/v1/match", b"{}", JSON, JSON)[0] == 415


def test_probes_are_not_to_be_cached(app: Application) -> None:
    for path in ("/livez", "/readyz", "/v1/snapshot"):
        status, headers, _ = call(app, "GET", path)
        assert (status, headers["cache-control"]) == (200, "no-store")
