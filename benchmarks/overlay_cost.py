"""What the overlay costs a miss: 1,000 digests a call, with an empty overlay and with a full one.

    none     matching as it would be if there were no overlays: filter, store, labels, here, in a few lines
    empty    match.listed with an overlay that neither suppresses nor adds
    filled   match.listed with 1,000 suppressed entries of the list and 1,000 digests listed on top

The cost is the difference to `none`, taken within each round; rounds are many and short, and within one the three take
turns in small portions, in an order that goes round, so that what the machine does else meets all alike.

An empty overlay costs one look into a dict a call, which is nothing a digest. That this is all is judged by the median
of the differences: at most half a nanosecond, a sixtieth of what a miss costs and as much as single rounds differ by.
The least that could go wrong there, a gather in an array, would be 2 to 3.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.digests import FreshBatches, cut, random_digests
from benchmarks.errors import must
from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.run import Run
from benchmarks.stores import CATEGORY, LIST_ID, TIER, open_view
from service.match import listed
from service.view import Verdict, View
from snapshot.hexdigest import ParsedDigests
from snapshot.labels import Tier
from snapshot.overlay import Addition, Overlay, Suppression
from snapshot.reader import Table
from snapshot.store import Store

PART: Final = "in process"
SUPPRESSIONS: Final = 1_000
ADDITIONS: Final = 1_000
BATCH: Final = 1_000

#: A match: place among the packed digests, digest, verdict.
_Matches = list[tuple[int, bytes, Verdict]]
_Way = Callable[[ParsedDigests], _Matches]

_NONE: Final = "no overlay"
_WITH: Final = {
    "empty": "an empty overlay",
    "filled": f"an overlay of {SUPPRESSIONS:,} suppressed and {ADDITIONS:,} added",
}
_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
#: Rounds for each of the suite's, and turns in each round.
_ROUNDS: Final = 3
_TURNS: Final = 12
#: ns a digest.
_FILLED_GOAL: Final = Goal(5, at_most=True)
_EMPTY_GOAL: Final = Goal(0.5, at_most=True)


def measure(run: Run, pool: bytes) -> Iterator[Figure]:
    """Measure misses from a pool of packed digests that are on no list."""
    sizes = run.sizes
    store, entries = run.store(sizes.entries), run.packed_entries(sizes.entries)
    with open_view(store) as empty:
        must(not empty.overlaid, "the store's overlay suppresses or adds something")
        filled = View(Store(store).current(), empty.snapshot, filled_overlay(store, sizes.seed, entries))
        check_overlay(filled, sizes.seed, entries)
        ways = {
            "none": lambda digests: without_overlay(empty, empty.tables["sha256"], digests),
            "empty": lambda digests: listed(empty, empty.tables["sha256"], digests),
            "filled": lambda digests: listed(filled, filled.tables["sha256"], digests),
        }
        calls = sizes.digests_a_round // BATCH
        times = miss_ns(ways, FreshBatches(pool), sizes.rounds * _ROUNDS, max(1, calls // _TURNS))
    what = f"miss, packed digests → matches, {BATCH:,} a batch"
    for name, goal in (("empty", _EMPTY_GOAL), ("filled", _FILLED_GOAL)):
        at: dict[str, int | float | str] = {"overlay": name, "batch": BATCH, "entries": sizes.entries}
        with_it = _WITH[name]
        ours, none = times[name], times["none"]
        yield Figure(
            PART, "miss overlaid", f"{what}, {with_it}", "ns", Spread.of(ours), at, (beside(_NONE, ours, none),)
        )
        more = [one - other for one, other in zip(ours, none, strict=True)]
        yield Figure(
            PART, "overlay adds", f"what {with_it} adds to a miss", "ns", Spread.of(more), at, goals=(goal,),
            note="the difference within each round",
        )  # fmt: skip


def filled_overlay(store: Path, seed: int, entries: bytes) -> Overlay:
    """Give the store's overlay with the first entries of the list suppressed, and other digests listed on top."""
    opened = Store(store)
    current = opened.current()
    signed: dict[str, Any] = {"algorithm": "sha256", "by": "benchmark", "at": _AT, "reason": "made up"}
    label: dict[str, Any] = {"list_id": LIST_ID, "category": CATEGORY, "tier": Tier(TIER)}
    overlay = opened.overlay(current.overlay_version, current.overlay_sha256)
    overlay = overlay.with_suppressions(Suppression(digest=each.hex(), **signed) for each in _suppressed(entries))
    return overlay.with_additions(Addition(digest=each.hex(), **label, **signed) for each in _added(seed))


def check_overlay(view: View, seed: int, entries: bytes) -> None:
    """Require that what is suppressed is no match, that all else is one, and that each addition is one."""
    added, rest = _added(seed), cut(entries, 1)[SUPPRESSIONS : SUPPRESSIONS + BATCH]
    packed = b"".join([*_suppressed(entries), *rest, *added])
    found = listed(view, view.tables["sha256"], ParsedDigests(packed, len(packed) // 32, None, []))
    must([digest for _, digest, _ in found] == [*rest, *added], "the overlay is not what is answered")


def without_overlay(view: View, table: Table, digests: ParsedDigests) -> _Matches:
    """Do what match.listed does, for a service that knows no overlay: what it is held against."""
    matches = []
    packed, length = digests.packed, table.algorithm.digest_bytes
    for place in table.filter.probe(packed):
        digest = packed[place * length : (place + 1) * length]
        label_set_id = table.find(digest)
        verdict = None if label_set_id is None else view.verdict(label_set_id)
        if verdict is not None:
            matches.append((place, digest, verdict))
    return matches


def miss_ns(ways: Mapping[str, _Way], batches: FreshBatches, rounds: int, calls: int) -> dict[str, list[float]]:
    """Give ns per digest of each way, a value a round; each turn makes so many calls, after some that do not count.

    Raises WrongAnswer when a miss is found.
    """
    names = list(ways)
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        elapsed = dict.fromkeys(names, 0)
        for turn in range(_TURNS):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                _call(ways[name], batches, max(1, calls // 4))
                elapsed[name] += _call(ways[name], batches, calls)
        for name in names:
            times[name].append(elapsed[name] / (_TURNS * calls * BATCH))
    return times


def _call(way: _Way, batches: FreshBatches, calls: int) -> int:
    """Give the ns of so many calls, each with a fresh batch."""
    columns = [ParsedDigests(body, BATCH, None, []) for body in batches.take(calls, BATCH)]
    began = time.perf_counter_ns()
    found = [way(column) for column in columns]
    elapsed = time.perf_counter_ns() - began
    must(not any(found), "a digest that is on no list is found")
    return elapsed


def _suppressed(entries: bytes) -> list[bytes]:
    return cut(entries[: SUPPRESSIONS * 32], 1)


def _added(seed: int) -> list[bytes]:
    return cut(random_digests(seed, "added", ADDITIONS), 1)
