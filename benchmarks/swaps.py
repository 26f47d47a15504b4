"""Snapshots swapped under load by the real command, and which of the load's requests met a swap.

A swap lasts from the moment when CURRENT names the new snapshot (its ctime) to 250 ms after the first reply that comes
from it. Replies name their snapshot, so the load itself sees when that was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.errors import CannotMeasure, must
from benchmarks.open_loop import ANSWERED, DUE, REPLY, SENT, Rows
from benchmarks.processes import hashwacht, run
from snapshot.store import Store

#: What counts as part of a swap after the first reply from the new snapshot.
_AFTER_SECONDS: Final = 0.25
#: The plot: from when to when around a swap, and in which steps.
_BEFORE_SECONDS: Final = 0.4
_PLOT_SECONDS: Final = 1.2
_STEP_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Swap:
    """When CURRENT named another snapshot, on the clock of time.monotonic(), and that snapshot's id."""

    at: float
    snapshot_id: str


def swap(store: Path) -> Swap:
    """Make the snapshot that was live before live again, by `hashwacht rollback`; niced, as beside a service."""
    run(["nice", "-n", "19", *hashwacht("rollback", "--store", store)])
    opened = Store(store)
    # Between the readings of two clocks anything may come; the largest difference of several is the true one.
    ahead = max(time.time() - time.monotonic() for _ in range(10))
    return Swap(opened.current_file.stat().st_ctime - ahead, opened.current().snapshot_id)


@dataclass(frozen=True, slots=True)
class Met:
    """A swap as a load met it: latencies, in seconds, of what was due in it, and how long until it was served."""

    swap: Swap
    served_seconds: float
    latencies: Rows


def met(rows: Rows, swaps: Sequence[Swap], ids: Sequence[str]) -> list[Met]:
    """Find each swap in a load's rows; `ids[n]` is the snapshot that reply n comes from.

    Raises CannotMeasure when the load ended before a snapshot was served, WrongAnswer when a request that was sent
    after that was answered from another one.
    """
    ends = [swap.at for swap in swaps[1:]] + [float("inf")]
    found = []
    for change, end in zip(swaps, ends, strict=True):
        new = rows[:, REPLY] == ids.index(change.snapshot_id)
        answered = rows[new & (rows[:, ANSWERED] > change.at), ANSWERED]
        if not len(answered) or answered.min() > end:
            raise CannotMeasure("a swapped snapshot was not served before the next one, or before the load ended")
        served = float(answered.min())
        later = (rows[:, SENT] > served) & (rows[:, ANSWERED] < end)
        must(bool(new[later].all()), "an old snapshot answered after a new")
        inside = (rows[:, DUE] >= change.at) & (rows[:, DUE] <= served + _AFTER_SECONDS)
        if not inside.any():
            raise CannotMeasure("no request was due while a snapshot was swapped: the load had ended")
        found.append(Met(change, served - change.at, latencies(rows[inside])))
    return found


def latencies(rows: Rows) -> Rows:
    """Give the latency of each request in seconds, from when it was due."""
    result: Rows = rows[:, ANSWERED] - rows[:, DUE]
    return result


def over_time(rows: Rows, swaps: Sequence[Swap]) -> tuple[tuple[float, float], ...]:
    """Give points (seconds since a swap, 99th percentile of latencies in ms), all swaps taken together."""
    points = []
    since = np.concatenate([rows[:, DUE] - swap.at for swap in swaps])
    all_latencies = np.tile(latencies(rows), len(swaps))
    for start in np.arange(-_BEFORE_SECONDS, _PLOT_SECONDS, _STEP_SECONDS):
        inside = all_latencies[(since >= start) & (since < start + _STEP_SECONDS)]
        if len(inside):
            points.append((round(float(start), 3), round(1e3 * float(np.percentile(inside, 99)), 3)))
    return tuple(points)
