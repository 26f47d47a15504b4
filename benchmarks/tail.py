"""The slowest answers at half of what the service can do: in peace, and while snapshots are swapped.

Requests come at their own times (benchmarks/open_loop.py), at half the rate that wrk got out of the service just
before. Swaps are between two snapshots of the same size: such as this host has verified before, and such as it must
verify first.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.digests import random_digests
from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.http_side_by_side import JSON_1000
from benchmarks.open_loop import DUE, SENT, Job, Rows, open_loop
from benchmarks.processes import Server, serving_store
from benchmarks.run import Run
from benchmarks.sizes import Sizes
from benchmarks.stores import compile_packed, live_manifest
from benchmarks.swaps import Swap, latencies, met, over_time, swap
from benchmarks.workloads import Listed, check_sample, make_load
from benchmarks.wrk import Load, closed_loop

PART: Final = "tail, half of the peak"

_SHARE_OF_PEAK: Final = 0.5
_CONNECTIONS: Final = 64
#: Most that the command takes which swaps snapshots.
_COMMAND_SECONDS: Final = 10
_STEADY: Final = Goal(5, at_most=True, ratio_to="p50")
_SWAPPED: Final = Goal(10, at_most=True, ratio_to="p50")


@dataclass(frozen=True, slots=True)
class _Target:
    """The service under load; replies of the two snapshots, and their ids in the same order."""

    sizes: Sizes
    server: Server
    load: Load
    replies: tuple[bytes, bytes]
    ids: tuple[str, str]


def measure(run: Run) -> Iterator[Figure]:
    """Measure in peace, then with swaps of snapshots that were verified before, then of ones that were not."""
    sizes, work = run.sizes, run.work
    store, listed, other_id = two_snapshots(run)
    with serving_store(store, work, workers=1) as server:
        load, reply = make_load(server, JSON_1000, listed, sizes.seed, work / "bodies")
        other_reply = reply.replace(listed.snapshot_id.encode(), other_id.encode())
        target = _Target(sizes, server, load, (reply, other_reply), (listed.snapshot_id, other_id))
        closed_loop(server, load, sizes.connections, sizes.http_warm_up_seconds)
        steady = [_steady_round(target, number) for number in range(sizes.http_rounds)]
        figures = list(_steady(sizes, steady))
        yield from figures
        rate = Spread.of([len(rows) / sizes.tail_seconds for rows in steady]).median
        for first in (False, True):
            rows, swaps = _swapped(target, rate, store, work / "state" if first else None)
            yield _swap_figure(target, rows, swaps, figures[0].spread.median, first)
        if live_manifest(store).snapshot_id != listed.snapshot_id:
            swap(store)
            time.sleep(sizes.swap_seconds)
        check_sample(server, JSON_1000, listed, sizes.seed)


def two_snapshots(run: Run) -> tuple[Path, Listed, str]:
    """Make a store of two snapshots of as many entries; give it, the live one, and the id of the other."""
    store, count = run.work / "store", run.sizes.entries
    shutil.copytree(run.store(count), store)
    other_id = live_manifest(store).snapshot_id
    entries = {"sha256": random_digests(run.sizes.seed, f"swapped-{count}", count)}
    compile_packed(store, entries)
    return store, Listed(live_manifest(store).snapshot_id, entries), other_id


def _job(target: _Target, rate: float, seconds: float, seed: int) -> Job:
    load = target.load
    return Job(
        port=target.server.port, target=load.target, content_type=load.content_type, bodies=str(load.bodies),
        body_bytes=load.body_bytes, replies=tuple(reply.decode() for reply in target.replies),
        connections=_CONNECTIONS, requests_per_second=rate, seconds=seconds, seed=seed,
    )  # fmt: skip


def _steady_round(target: _Target, number: int) -> Rows:
    """Measure the peak, and then the load at half of it."""
    peak = closed_loop(target.server, target.load, target.sizes.connections, target.sizes.http_seconds)
    with open_loop(_job(target, _SHARE_OF_PEAK * peak.rate, target.sizes.tail_seconds, number)) as loading:
        return loading.finish()


def _swapped(target: _Target, rate: float, store: Path, notes: Path | None) -> tuple[Rows, list[Swap]]:
    """Put the load on and swap snapshots under it; with `notes`, what is noted there is forgotten before each swap."""
    sizes = target.sizes
    swaps = []
    seconds = sizes.swaps * (sizes.swap_seconds + _COMMAND_SECONDS)
    with open_loop(_job(target, rate, seconds, sizes.seed)) as loading:
        for _ in range(sizes.swaps):
            time.sleep(sizes.swap_seconds)  # for the load to begin, or for the last swap
            for note in notes.glob("verified/*.json") if notes else ():
                note.unlink()
            swaps.append(swap(store))
        time.sleep(sizes.swap_seconds)
        return loading.stop(), swaps


def _steady(sizes: Sizes, rounds: list[Rows]) -> Iterator[Figure]:
    at = {"entries": sizes.entries, "batch": JSON_1000.digests}
    ms = {
        share: [1e3 * float(np.percentile(latencies(rows), share)) for rows in rounds] for share in (50, 99, 99.9, 100)
    }
    sent = Spread.of([len(rows) / float(rows[-1, DUE] - rows[0, DUE]) for rows in rounds]).median
    late = np.concatenate([rows[:, SENT] - rows[:, DUE] for rows in rounds])
    note = (
        f"{sent:,.0f} requests/s; sent late by {1e6 * float(np.median(late)):,.0f} µs at the median and "
        f"{1e6 * float(np.percentile(late, 99)):,.0f} µs at the 99th percentile, which is counted"
    )
    for share, values in ms.items():
        short, what = ("max", "slowest answer") if share == 100 else (f"p{share:g}", f"p{share:g}")
        beside_median = (beside("p50", values, ms[50]),) if share > 50 else ()
        goals = (_STEADY,) if share == 99 else ()
        yield Figure(
            PART, f"tail {short}", f"{what}, 1,000 digests, JSON", "ms", Spread.of(values), at,
            beside_median, goals, note if share == 99 else "",
        )  # fmt: skip


def _swap_figure(target: _Target, rows: Rows, swaps: list[Swap], median_ms: float, first: bool) -> Figure:
    found = met(rows, swaps, target.ids)
    p99 = [1e3 * float(np.percentile(each.latencies, 99)) for each in found]
    slowest = max(1e3 * float(each.latencies.max()) for each in found)
    served = Spread.of([each.served_seconds for each in found])
    which = "not verified here before" if first else "verified here before"
    return Figure(
        PART, "tail swap p99", f"p99 while a snapshot is swapped, {which}", "ms", Spread.of(p99),
        {"entries": target.sizes.entries, "batch": JSON_1000.digests, "verified": "now" if first else "before"},
        (beside("p50", p99, [median_ms] * len(p99)),), (_SWAPPED,),
        f"{len(found)} swaps; the slowest answer took {slowest:,.1f} ms; "
        f"served {served.median:.2f} s ({served.least:.2f}–{served.most:.2f}) after CURRENT named it",
        over_time(rows, swaps),
    )  # fmt: skip
