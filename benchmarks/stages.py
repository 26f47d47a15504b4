"""Where each microsecond goes: one JSON request of 1,000 digests that are not listed, stage by stage.

    parse     the HTTP parser alone, headers and body           httptools
    decode    JSON to packed digests                            service/forms.py, service/inplace.py
    probe     the Bloom filter                                  snapshot/bloom.py
    store     the filter's false positives, one in 1,000        snapshot/reader.py
    reply     all that does not depend on the digests           service/match.py
    rest      the whole request's processor time over HTTP less all of these: kernel, sockets, event loop, uvicorn

The stages are timed one after the other over the same fresh bodies, the whole by a load on the real service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import httptools
import orjson

from benchmarks.contest import Contest, compete
from benchmarks.errors import must
from benchmarks.figures import Figure, Spread
from benchmarks.http_side_by_side import JSON_1000
from benchmarks.processes import serving_store
from benchmarks.run import Run
from benchmarks.stores import live_manifest, open_view
from benchmarks.timed_calls import MAX_DIGESTS
from benchmarks.workloads import Listed, requests
from service.forms import Column, Files, read_json
from service.match import match_columns
from service.view import View
from snapshot.algorithms import ALGORITHMS
from snapshot.hexdigest import ParsedDigests

_Given = TypeVar("_Given")
_Result = TypeVar("_Result")

#: A column without a digest: probe and store have nothing to do.
_NOTHING: Final[list[Column]] = [(ALGORITHMS["sha256"], ParsedDigests(b"", 0, None, []))]

PART: Final = "where the time goes"
_DIGESTS: Final = JSON_1000.digests
_BODIES: Final = 100
_HEAD: Final = (
    b"POST /v1/match HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
_SAYS: Final = {
    "parse": "HTTP parser",
    "decode": "JSON to packed digests",
    "probe": "Bloom filter",
    "store": "store, for false positives",
    "reply": "the reply",
    "rest": "kernel, sockets, event loop, uvicorn",
    "whole": "the whole request",
}


def measure(run: Run) -> Iterator[Figure]:
    """Measure the stages in process and the whole over HTTP."""
    sizes = run.sizes
    store = run.store(sizes.entries)
    listed = Listed(live_manifest(store).snapshot_id, {"sha256": run.packed_entries(sizes.entries)})
    stages: dict[str, list[float]] = {}
    with open_view(store) as view:
        for number in range(sizes.rounds):
            misses = requests(JSON_1000, listed, sizes.seed, f"stages-{number}", [()] * _BODIES)
            bodies = [request.body for request in misses]
            for stage, microseconds in _round(view, bodies).items():
                stages.setdefault(stage, []).append(microseconds)
    with serving_store(store, run.work, workers=1) as service:
        contest = Contest.prepare(sizes, JSON_1000, listed, service, run.work / "bodies-stages")
        compete(sizes, [contest])
    whole = [outcome.server_us for outcome in contest.outcomes]
    known = sum(Spread.of(values).median for values in stages.values())
    stages["rest"] = [max(total - known, 0.0) for total in whole]
    stages["whole"] = whole
    for stage, values in stages.items():
        at: dict[str, int | float | str] = {"stage": stage, "batch": _DIGESTS, "entries": sizes.entries}
        yield Figure(PART, "stage", _SAYS[stage], "µs/request", Spread.of(values), at)


def _round(view: View, bodies: list[bytes]) -> dict[str, float]:
    """Give the µs of each stage for a request, over all bodies."""
    table = view.tables["sha256"]
    parsed, parse = _timed(_parse, [_HEAD % len(body) + body for body in bodies])
    must(parsed == bodies, "the HTTP parser gave another body")
    requests, decode = _timed(lambda body: read_json(body, MAX_DIGESTS), bodies)
    columns = [request for request in requests if not isinstance(request, Files)]
    packed = [digests.packed for request in columns for _, digests in request]
    must(len(packed) == len(bodies), "a body was not read as one column")
    places, probe = _timed(table.filter.probe, packed)
    doubtful = [body[32 * at : 32 * at + 32] for body, found in zip(packed, places, strict=True) for at in found]
    found, store = _timed(table.find, doubtful)
    must(not any(label_set_id is not None for label_set_id in found), "a digest that is on no list is found")
    store *= len(doubtful) / len(bodies)
    replies, reply = _timed(lambda _: match_columns(view, _NOTHING), columns)  # all that does not depend on digests
    must(orjson.loads(replies[0])["checked"] == {"sha256": 0}, "an empty column was answered as another")
    return {"parse": parse, "decode": decode, "probe": probe, "store": store, "reply": reply}


def _timed(call: Callable[[_Given], _Result], each: list[_Given]) -> tuple[list[_Result], float]:
    """Give the results of a call for each, and the µs of one call."""
    began = time.perf_counter_ns()
    results = [call(one) for one in each]
    return results, (time.perf_counter_ns() - began) / 1_000 / max(len(each), 1)


class _Sink:
    """What httptools hands the body to."""

    def __init__(self) -> None:
        self.body = bytearray()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self.body += body


def _parse(request: bytes) -> bytes:
    sink = _Sink()
    httptools.HttpRequestParser(sink).feed_data(request)
    return bytes(sink.body)
