"""A miss and a hit in process: the very calls that serving makes for a packed body, and lookup alone.

    request   read_packed + match_columns    a packed body in, the reply's bytes out: all but HTTP
    lookup    match.listed                   filter and store alone: what the baselines do
    hit       find + labels                  and the whole request, with a reply that names every digest

Each round takes fresh digests from the pool: nothing was asked before, so no cache holds an answer. Batches are cut
before the clock starts, as a body has arrived before it is matched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from benchmarks.baselines import Baselines
from benchmarks.digests import FreshBatches, cut, random_digests
from benchmarks.errors import must
from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.sizes import Sizes
from benchmarks.stores import CATEGORY, LIST_ID, TIER, open_view
from service.forms import read_packed
from service.match import listed, match_columns
from service.view import View
from snapshot.algorithms import ALGORITHMS
from snapshot.hexdigest import ParsedDigests

PART = "in process"
_SHA256 = ALGORITHMS["sha256"]
_MAX_DIGESTS = 10_000
_GOAL = Goal(100, at_most=True)
_GOAL_BATCH = 1_000


@dataclass(slots=True)
class _Times:
    """ns per digest, one value a round."""

    request: dict[int, list[float]] = field(default_factory=dict)
    lookup: dict[int, list[float]] = field(default_factory=dict)
    hit_request: list[float] = field(default_factory=list)
    hit_lookup: list[float] = field(default_factory=list)
    set_miss: list[float] = field(default_factory=list)
    bloom_miss: list[float] = field(default_factory=list)
    lmdb_miss: list[float] = field(default_factory=list)
    lmdb_hit: list[float] = field(default_factory=list)


def measure(sizes: Sizes, store: Path, entries: bytes, work: Path) -> list[Figure]:
    """Measure everything in process; `entries` is what the store was compiled from, packed."""
    pool = random_digests(sizes.seed, "misses", sizes.pool)
    members = cut(entries, 1)
    times = _Times()
    with Baselines(members, work) as baselines, open_view(store) as view:
        rate = false_positive_rate(view, pool, sizes.entries)
        batches = FreshBatches(pool)
        for number in range(sizes.rounds):
            _round(sizes, view, baselines, batches, members, number, times)
    return [*_miss_figures(sizes, times), *_hit_figures(times), rate]


def _round(
    sizes: Sizes, view: View, baselines: Baselines, batches: FreshBatches, members: list[bytes], number: int,
    times: _Times,
) -> None:  # fmt: skip
    for batch in sizes.batches:
        count = max(1, sizes.digests_a_round // (batch * (10 if batch == 1 else 1)))
        times.request.setdefault(batch, []).append(request_ns(view, batches.take(count, batch), batch))
        times.lookup.setdefault(batch, []).append(_lookup_ns(view, batches.take(count, batch), batch))
    times.set_miss.append(baselines.set_ns(batches.take(sizes.digests_a_round, 1)))
    times.lmdb_miss.append(baselines.lmdb_ns(batches.take(max(1, sizes.digests_a_round // 4), 1)))
    times.bloom_miss.append(baselines.bloom_ns(batches.take(max(1, sizes.digests_a_round // 20), 1)))
    # Members in the list's order, which is random; each round takes others.
    count = min(max(1, sizes.digests_a_round // 10), len(members))
    start = number * count % max(1, len(members) - count + 1)
    hits = members[start : start + count]
    times.hit_lookup.append(_hit_lookup_ns(view, hits))
    times.lmdb_hit.append(baselines.lmdb_ns(hits, found=len(hits)))
    times.hit_request.append(_hit_request_ns(view, hits))


def request_ns(view: View, bodies: list[bytes], batch: int) -> float:
    """Give ns per digest of answering packed bodies of misses; every reply must be the one that says so."""
    began = time.perf_counter_ns()
    replies = [match_columns(view, read_packed(body, _SHA256, _MAX_DIGESTS)) for body in bodies]
    elapsed = time.perf_counter_ns() - began
    expected = orjson.dumps(
        {
            "snapshot_id": view.snapshot_id, "overlay_version": 0, "checked": {"sha256": batch},
            "not_loaded": {}, "matches": [], "invalid": [],
        }
    )  # fmt: skip
    must(all(reply == expected for reply in replies), f"a batch of {batch} misses was not answered as misses")
    return elapsed / (len(bodies) * batch)


def _lookup_ns(view: View, bodies: list[bytes], batch: int) -> float:
    table = view.tables["sha256"]
    columns = [ParsedDigests(body, batch, None, []) for body in bodies]
    began = time.perf_counter_ns()
    found = [match for column in columns for match in listed(view, table, column)]
    elapsed = time.perf_counter_ns() - began
    must(not found, "a digest that is on no list is found")
    return elapsed / (len(bodies) * batch)


def _hit_lookup_ns(view: View, hits: list[bytes]) -> float:
    find, labels = view.tables["sha256"].find, view.snapshot.labels
    began = time.perf_counter_ns()
    ids = [find(digest) for digest in hits]
    sets = [labels(label_set_id) for label_set_id in ids if label_set_id is not None]
    elapsed = time.perf_counter_ns() - began
    must(len(sets) == len(hits), "an entry of the list is not found")
    wrong = [True for found in sets if [label[:3] for label in found] != [(LIST_ID, CATEGORY, TIER)]]
    must(not wrong, "an entry has the wrong label")
    return elapsed / len(hits)


def _hit_request_ns(view: View, hits: list[bytes]) -> float:
    bodies = [b"".join(hits[at : at + _GOAL_BATCH]) for at in range(0, len(hits), _GOAL_BATCH)]
    began = time.perf_counter_ns()
    replies = [match_columns(view, read_packed(body, _SHA256, _MAX_DIGESTS)) for body in bodies]
    elapsed = time.perf_counter_ns() - began
    label = {"list_id": LIST_ID, "category": CATEGORY, "tier": TIER}
    for body, reply in zip(bodies, replies, strict=True):
        expected = [
            {"algorithm": "sha256", "index": index, "digest": digest.hex(), "action": "block", "labels": [label]}
            for index, digest in enumerate(cut(body, 1))
        ]
        must(orjson.loads(reply)["matches"] == expected, "a batch of entries was not answered as matches")
    return elapsed / len(hits)


def false_positive_rate(view: View, pool: bytes, entries: int) -> Figure:
    """Measure how often the filter says yes to digests that are on no list. The goal is the rate promised."""
    bloom = view.tables["sha256"].filter
    must(bloom.count == entries, f"the filter holds {bloom.count} entries, not {entries}")
    asked = len(pool) // 32
    yes = sum(len(bloom.probe(body)) for body in _chunks(pool))
    return Figure(
        PART, "filter's false positives", "%", Spread.of([100 * yes / asked]),
        goal=Goal(100 * bloom.false_positive_rate * _chance(asked * bloom.false_positive_rate), at_most=True),
        note=f"{yes:,} of {asked:,} random digests; the store then says no to every one of them",
    )  # fmt: skip


def _chance(expected: float) -> float:
    """Give the factor that a count may exceed its expectation by for chance alone (four standard deviations)."""
    return 1 + 4 / expected**0.5 if expected else 1


def _chunks(pool: bytes) -> Iterator[bytes]:
    yield from cut(pool, _MAX_DIGESTS)


def _miss_figures(sizes: Sizes, times: _Times) -> Iterator[Figure]:
    for batch in sizes.batches:
        ours = times.request[batch]
        goal = _GOAL if batch == _GOAL_BATCH else None
        baselines = (beside("set", ours, times.set_miss),)
        yield Figure(PART, f"miss, packed body → reply, {batch:,} a batch", "ns", Spread.of(ours), baselines, goal)
    for batch in sizes.batches:
        ours = times.lookup[batch]
        others = (
            beside("set", ours, times.set_miss),
            beside("LMDB get", ours, times.lmdb_miss),
            beside("pybloom-live", ours, times.bloom_miss),
        )
        yield Figure(PART, f"miss, filter and store alone, {batch:,} a batch", "ns", Spread.of(ours), others)


def _hit_figures(times: _Times) -> Iterator[Figure]:
    beside_lmdb = (beside("LMDB get, no labels", times.hit_lookup, times.lmdb_hit),)
    yield Figure(PART, "hit, find + labels", "ns", Spread.of(times.hit_lookup), beside_lmdb)
    what = f"hit, packed body → reply, {_GOAL_BATCH:,} a batch"
    yield Figure(PART, what, "ns", Spread.of(times.hit_request))
