"""The very calls that serving makes of sha256 digests, timed, their answers checked once the clock has stopped.

    lookup    match.listed                   packed digests in, list of matches out
    request   read_packed + match_columns    a packed body in, the reply's bytes out: all but HTTP
    hit       find + labels                  one digest that is listed, its labels read and decoded

Every function gives ns per digest and raises WrongAnswer when an answer is not the right one.
"""

from __future__ import annotations

import time
from typing import Final

import orjson

from benchmarks.digests import cut
from benchmarks.errors import must
from benchmarks.stores import CATEGORY, LIST_ID, TIER
from service.forms import read_packed
from service.match import listed, match_columns
from service.view import View
from snapshot.algorithms import ALGORITHMS
from snapshot.hexdigest import ParsedDigests

#: The service's default limit.
MAX_DIGESTS: Final = 10_000
#: Entries in a batch of nothing but entries.
HIT_BATCH: Final = 1_000

_SHA256: Final = ALGORITHMS["sha256"]


def lookup_ns(view: View, bodies: list[bytes], batch: int) -> float:
    """Give ns per digest of looking packed misses up. Raises WrongAnswer when one is found."""
    table = view.tables["sha256"]
    columns = [ParsedDigests(body, batch, None, []) for body in bodies]
    began = time.perf_counter_ns()
    found = [list(listed(view, table, column)) for column in columns]
    elapsed = time.perf_counter_ns() - began
    must(not any(found), "a digest that is on no list is found")
    return elapsed / (len(bodies) * batch)


def request_ns(view: View, bodies: list[bytes], batch: int) -> float:
    """Give ns per digest of answering packed bodies of misses; every reply must be the one that says so."""
    began = time.perf_counter_ns()
    replies = [match_columns(view, read_packed(body, _SHA256, MAX_DIGESTS)) for body in bodies]
    elapsed = time.perf_counter_ns() - began
    expected = orjson.dumps(
        {
            "snapshot_id": view.snapshot_id, "overlay_version": 1, "checked": {"sha256": batch},
            "not_loaded": {}, "matches": [], "invalid": [],
        }
    )  # fmt: skip
    must(all(reply == expected for reply in replies), f"a batch of {batch} misses was not answered as misses")
    return elapsed / (len(bodies) * batch)


def hit_ns(view: View, hits: list[bytes]) -> float:
    """Give ns per digest of finding entries one by one and reading the labels of each."""
    find, labels = view.tables["sha256"].find, view.snapshot.labels
    began = time.perf_counter_ns()
    ids = [find(digest) for digest in hits]
    sets = [labels(label_set_id) for label_set_id in ids if label_set_id is not None]
    elapsed = time.perf_counter_ns() - began
    must(len(sets) == len(hits), "an entry of the list is not found")
    wrong = [True for found in sets if [label[:3] for label in found] != [(LIST_ID, CATEGORY, TIER)]]
    must(not wrong, "an entry has the wrong label")
    return elapsed / len(hits)


def hit_lookup_ns(view: View, hits: list[bytes]) -> float:
    """Give ns per digest of looking entries up in batches of HIT_BATCH: all of them must be matches, in order."""
    table, bodies = view.tables["sha256"], _joined(hits)
    columns = [ParsedDigests(body, len(body) // 32, None, []) for body in bodies]
    began = time.perf_counter_ns()
    found = [list(listed(view, table, column)) for column in columns]
    elapsed = time.perf_counter_ns() - began
    digests = [digest for matches in found for _, digest, _ in matches]
    must(digests == hits, "a batch of entries was not found in whole")
    return elapsed / len(hits)


def hit_request_ns(view: View, hits: list[bytes]) -> float:
    """Give ns per digest of answering packed bodies of HIT_BATCH entries: the reply must name every one of them."""
    bodies = _joined(hits)
    began = time.perf_counter_ns()
    replies = [match_columns(view, read_packed(body, _SHA256, MAX_DIGESTS)) for body in bodies]
    elapsed = time.perf_counter_ns() - began
    label = {"list_id": LIST_ID, "category": CATEGORY, "tier": TIER}
    for body, reply in zip(bodies, replies, strict=True):
        expected = [
            {"algorithm": "sha256", "index": index, "digest": digest.hex(), "action": "block", "labels": [label]}
            for index, digest in enumerate(cut(body, 1))
        ]
        must(orjson.loads(reply)["matches"] == expected, "a batch of entries was not answered as matches")
    return elapsed / len(hits)


def _joined(hits: list[bytes]) -> list[bytes]:
    return [b"".join(hits[at : at + HIT_BATCH]) for at in range(0, len(hits), HIT_BATCH)]
