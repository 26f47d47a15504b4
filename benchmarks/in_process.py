"""A miss and a hit in process, by the very calls that serving makes, beside what a lookup could be made of instead.

At each size of list all are asked in turns, the peers with batches of the same sizes. Each round takes fresh
digests from the pool: nothing was asked before, so no cache holds an answer. Some are asked untimed first, since a
service at work has its filter in the caches. Batches are cut before the clock starts, as a body has arrived before
it is matched. timed_calls.py has the calls, peers/ what they are compared with;
request_forms.py measures the other forms of a request, overlay_cost.py what suppressions and additions add to a miss.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks import overlay_cost, request_forms
from benchmarks.digests import FreshBatches, cut, random_digests
from benchmarks.errors import must
from benchmarks.figures import Baseline, Figure, Goal, Spread, beside
from benchmarks.peers.asked import Peer
from benchmarks.peers.in_memory import pybloom_live, python_set
from benchmarks.peers.key_per_digest import lmdb_peer
from benchmarks.peers.sqlite import sqlite_peer
from benchmarks.run import Run
from benchmarks.sizes import Sizes
from benchmarks.stores import open_view
from benchmarks.timed_calls import HIT_BATCH, MAX_DIGESTS, hit_lookup_ns, hit_ns, hit_request_ns, lookup_ns, request_ns
from service.view import View

PART: Final = "in process"
#: Most ns per digest of a lookup, by batch.
_GOALS: Final = {1: 1_000, 1_000: 60, 10_000: 30}
#: From this batch on a lookup is to be faster than a set, and this many times as fast as the slow peers.
_BATCHES_FROM: Final = 1_000
_TIMES_AS_FAST: Final = 20
_HIT_GOAL_NS: Final = 4_000


@dataclass(slots=True)
class _Times:
    """ns per digest, one value a round; misses by batch, those of peers by name and batch."""

    lookup: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    request: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    peers: defaultdict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    hit: list[float] = field(default_factory=list)
    hit_lookup: list[float] = field(default_factory=list)
    hit_request: list[float] = field(default_factory=list)
    peer_hits: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def measure(run: Run) -> Iterator[Figure]:
    """Measure misses and hits at every size of list, the forms of a request, and what an overlay costs."""
    sizes = run.sizes
    pool = random_digests(sizes.seed, "misses", sizes.pool)
    for count in sorted({*sizes.growth, sizes.peer_entries, sizes.entries}):
        yield from _at_size(run, count, pool)
    yield from request_forms.measure(run)
    yield from overlay_cost.measure(run, pool)


def _at_size(run: Run, count: int, pool: bytes) -> Iterator[Figure]:
    sizes, members, times = run.sizes, run.entries(count), _Times()
    with ExitStack() as stack:
        view = stack.enter_context(open_view(run.store(count)))
        peers = _peers(members, run.work, stack, slow_too=count <= sizes.peer_entries)
        rate = false_positives(view, pool, count)
        batches = FreshBatches(pool)
        stack.enter_context(_frozen())
        for number in range(sizes.rounds):
            _round(sizes, view, peers, batches, times)
            _hit_round(sizes, view, peers, members, number, times)
    names = [peer.name for peer in peers]
    for batch in sizes.batches:
        yield _miss_lookup(sizes, count, batch, times, names)
    for batch in sizes.batches:
        ours = times.request[batch]
        at = {"batch": batch, "entries": count}
        what = f"miss, packed body → reply, {batch:,} a batch, {count:,} entries"
        baselines = (beside("set", ours, times.peers["set", batch]),)
        yield Figure(PART, "miss request", what, "ns", Spread.of(ours), at, baselines)
    yield from _hits(sizes, count, times, names)
    yield rate


def _peers(members: Sequence[bytes], work: Path, stack: ExitStack, *, slow_too: bool) -> list[Peer]:
    peers = [python_set(members)]
    if slow_too:
        peers.append(pybloom_live(members))
        peers.append(stack.enter_context(lmdb_peer(members, work)))
        peers.append(stack.enter_context(sqlite_peer(members, work)))
    return peers


def _round(sizes: Sizes, view: View, peers: Sequence[Peer], batches: FreshBatches, times: _Times) -> None:
    for batch in sizes.batches:
        count = max(1, sizes.digests_a_round // (batch * (10 if batch == 1 else 1)))
        for kept, ask in ((times.lookup, lookup_ns), (times.request, request_ns)):
            ask(view, batches.take(_warm_up(count), batch), batch)
            kept[batch].append(ask(view, batches.take(count, batch), batch))
        for peer in peers:
            asked = max(1, count // peer.share)
            peer.ns(batches.take(_warm_up(asked) * batch, 1), batch)
            times.peers[peer.name, batch].append(peer.ns(batches.take(asked * batch, 1), batch))


def _warm_up(count: int) -> int:
    """Give how many batches go first, untimed: those before have filled the caches with another's memory."""
    return max(1, count // 4)


def _hit_round(
    sizes: Sizes, view: View, peers: Sequence[Peer], members: list[bytes], number: int, times: _Times
) -> None:
    hits = [_some(members, 4 * number + nth, sizes.digests_a_round // 10) for nth in range(4)]
    times.hit.append(hit_ns(view, hits[0]))
    times.hit_lookup.append(hit_lookup_ns(view, hits[1]))
    times.hit_request.append(hit_request_ns(view, hits[2]))
    for peer in peers:
        some = hits[3][: max(1, len(hits[3]) // peer.share)]
        times.peer_hits[peer.name].append(peer.ns(some, HIT_BATCH, held=len(some)))


def _some(members: list[bytes], nth: int, count: int) -> list[bytes]:
    """Give the nth few members, in the list's order, which is random; others each time, as far as there are any."""
    count = min(max(1, count), len(members))
    start = nth * count % max(1, len(members) - count + 1)
    return members[start : start + count]


@contextmanager
def _frozen() -> Iterator[None]:
    """Keep the garbage collector from walking the peers' millions of objects while it is ours that is timed."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def false_positives(view: View, pool: bytes, entries: int) -> Figure:
    """Measure how often the filter says yes to digests that are on no list. The goal is the rate promised."""
    bloom = view.tables["sha256"].filter
    must(bloom.count == entries, f"the filter holds {bloom.count} entries, not {entries}")
    asked = len(pool) // 32
    yes = sum(len(bloom.probe(body)) for body in cut(pool, MAX_DIGESTS))
    most = 100 * bloom.false_positive_rate * _chance(asked * bloom.false_positive_rate)
    return Figure(
        PART, "filter's false positives", f"filter's false positives, {entries:,} entries", "%",
        Spread.of([100 * yes / asked]), {"entries": entries}, goals=(Goal(most, at_most=True),),
        note=f"{yes:,} of {asked:,} random digests; the store then says no to every one of them",
    )  # fmt: skip


def _chance(expected: float) -> float:
    """Give the factor that a count may exceed its expectation by for chance alone (four standard deviations)."""
    return 1 + 4 / expected**0.5 if expected else 1


def _miss_lookup(sizes: Sizes, count: int, batch: int, times: _Times, names: list[str]) -> Figure:
    ours = times.lookup[batch]
    baselines = tuple(beside(name, ours, times.peers[name, batch]) for name in names)
    goals = []
    if count == sizes.entries and batch in _GOALS:
        goals.append(Goal(_GOALS[batch], at_most=True))
    if count == sizes.entries and batch >= _BATCHES_FROM:
        goals.append(Goal(1, at_most=True, ratio_to="set"))
    if count == sizes.peer_entries and batch >= _BATCHES_FROM:
        goals += [Goal(1 / _TIMES_AS_FAST, at_most=True, ratio_to=name) for name in ("pybloom-live", "LMDB get")]
    at = {"batch": batch, "entries": count}
    what = f"miss, packed digests → matches, {batch:,} a batch, {count:,} entries"
    return Figure(PART, "miss lookup", what, "ns", Spread.of(ours), at, baselines, tuple(goals))


def _hits(sizes: Sizes, count: int, times: _Times, names: list[str]) -> Iterator[Figure]:
    def baselines(ours: list[float]) -> tuple[Baseline, ...]:
        # A set of all entries has no labels; nor have the others. pybloom-live says "perhaps", which is no hit.
        return tuple(beside(name, ours, times.peer_hits[name]) for name in names if name != "pybloom-live")

    at, entries = {"entries": count}, f"{count:,} entries"
    goals = (Goal(_HIT_GOAL_NS, at_most=True),) if count == sizes.entries else ()
    note = "the peers give no labels"
    hit, lookup, request = times.hit, times.hit_lookup, times.hit_request
    what = f"hit, find + labels, {entries}"
    yield Figure(PART, "hit", what, "ns", Spread.of(hit), at, baselines(hit), goals, note)
    at = {**at, "batch": HIT_BATCH}
    what = f"hits only, packed digests → matches, {HIT_BATCH:,} a batch, {entries}"
    yield Figure(PART, "hit lookup", what, "ns", Spread.of(lookup), at, baselines(lookup), goals, note)
    what = f"hits only, packed body → reply, {HIT_BATCH:,} a batch, {entries}"
    yield Figure(PART, "hit request", what, "ns", Spread.of(request), at)
