"""Every error as RFC 9457 problem+json, with a stable word in `reason`.

    {"type": "about:blank", "title": "Content Too Large", "status": 413, "reason": "too_many_digests", "detail": "…"}

`type` is about:blank, so `title` is the status's own phrase; programs look at `reason`. A detail names the field,
the limit and the remedy, and never repeats a digest. A 503 carries the reason of the SnapshotError behind it
(snapshot/errors.py), or `starting`.
"""

from __future__ import annotations

from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import orjson

Headers = tuple[tuple[bytes, bytes], ...]

#: Every reason but those of a 503, and its status.
REASONS: Final = MappingProxyType(
    {
        "malformed_json": 400,
        "not_an_object": 400,
        "empty_object": 400,
        "unknown_column": 400,
        "not_a_list": 400,
        "mixed_forms": 400,
        "algorithm_missing": 400,
        "algorithm_repeated": 400,
        "algorithm_unknown": 400,
        "packed_length": 400,
        "invalid_http": 400,
        "invalid_request": 400,
        "not_found": 404,
        "method_not_allowed": 405,
        "request_timeout": 408,
        "body_too_large": 413,
        "too_many_digests": 413,
        "content_type": 415,
        "content_encoding": 415,
        "headers_too_large": 431,
        "internal_error": 500,
    }
)

CONTENT_TYPE: Final = b"application/problem+json"

_TITLES: Final = {413: "Content Too Large"}  # RFC 9110's phrase; Python 3.11 still has the older one


class Problem(Exception):
    """An answer that is no verdict. Raised anywhere below the front, sent by it."""

    def __init__(self, reason: str, detail: str, *, status: int | None = None, headers: Headers = ()) -> None:
        super().__init__(detail)
        self.reason = reason
        self.status = REASONS[reason] if status is None else status
        self.detail = detail
        self.headers: Headers = headers

    def encode(self) -> bytes:
        """Give the problem+json body."""
        return orjson.dumps(
            {
                "type": "about:blank",
                "title": title_of(self.status),
                "status": self.status,
                "reason": self.reason,
                "detail": self.detail,
            }
        )


def not_ready(reason: str, detail: str) -> Problem:
    """Give the 503 that says no verdict can be given now; unknown is never "no"."""
    return Problem(reason, detail, status=503, headers=((b"retry-after", b"1"),))


def title_of(status: int) -> str:
    """Give the phrase of an HTTP status."""
    return _TITLES.get(status) or HTTPStatus(status).phrase
