"""How long until a service is ready: with a snapshot that this host has verified before, and with one it has not.

Both from outside. From CURRENT: the service runs and has nothing to serve, then CURRENT is put in place; it looks there
every 250 ms, opens the snapshot and says that it is ready. From the start: Python starts, imports, opens and says that
it is ready; beside it is how long the service without any snapshot takes until it answers, which is Python alone.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path
from typing import Final

import orjson

from benchmarks.errors import must
from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.processes import free_port, serve_command, serving, wait_for
from benchmarks.run import Run
from benchmarks.stores import live_manifest
from snapshot.store import Store

PART: Final = "opening"

_READY: Final = Goal(1, at_most=True)
_HASH_SPEED: Final = Goal(0.8, at_most=False, ratio_to="hashlib")


def measure(run: Run) -> Iterator[Figure]:
    """Measure opening, round by round: with all checksums first, then with the note that they hold."""
    sizes, work = run.sizes, run.work
    store = work / "store"
    shutil.copytree(run.store(sizes.entries), store)
    unverified, verified, alone, from_start, speeds, hashing = ([] for _ in range(6))
    for number in range(sizes.http_rounds):
        hashing.append(_hash_speed(store))
        shutil.rmtree(work / "state", ignore_errors=True)
        unverified.append(_from_current(store, work, work / f"first-{number}.log")[1])
        speeds += _noted_speeds(work / f"first-{number}.log", wanted=1)
        start, ready = _from_current(store, work, work / f"again-{number}.log")
        _noted_speeds(work / f"again-{number}.log", wanted=0)
        alone.append(start)
        verified.append(ready)
        from_start.append(_start(store, work, work / f"whole-{number}.log", 200))
    at = {"entries": sizes.entries}
    yield Figure(
        PART, "ready from CURRENT", "CURRENT in place → ready, verified before", "s", Spread.of(verified),
        at, goals=(_READY,), note="of which up to 0.25 s until the service looks",
    )  # fmt: skip
    yield Figure(
        PART, "ready from start", "process start → ready, verified before", "s", Spread.of(from_start),
        at, (beside("start without a snapshot", from_start, alone),),
    )  # fmt: skip
    yield Figure(PART, "ready unverified", "CURRENT in place → ready, all checksums", "s", Spread.of(unverified), at)
    yield Figure(
        PART, "checksums", "checksums, as the log says", "GB/s", Spread.of(speeds),
        at, (beside("hashlib", speeds, hashing),), (_HASH_SPEED,),
    )  # fmt: skip


def _start(store: Path, work: Path, log: Path, status: int) -> float:
    """Start the service, give the seconds until /readyz answers with that status, and end it."""
    port = free_port()
    began = time.perf_counter()
    with serving(serve_command(store, work, 1, port), port, "/readyz", log, status=status):
        return time.perf_counter() - began


def _from_current(store: Path, work: Path, log: Path) -> tuple[float, float]:
    """Give the seconds until the service without a snapshot answers, and from CURRENT until it is ready."""
    current, hidden = Store(store).current_file, work / "CURRENT"
    current.rename(hidden)
    port = free_port()
    began = time.perf_counter()
    with serving(serve_command(store, work, 1, port), port, "/readyz", log, status=503):
        start = time.perf_counter() - began
        began = time.perf_counter()
        hidden.rename(current)
        must(wait_for(port, "/readyz", 200), "the service did not become ready")
        return start, time.perf_counter() - began


def _noted_speeds(log: Path, wanted: int) -> list[float]:
    """Give the GB/s that the service's log tells; it must have verified so many times."""
    said = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    speeds = [float(line["gb_per_second"]) for line in said if line["event"] == "snapshot verified"]
    must(len(speeds) == wanted, f"the service verified {len(speeds)} times, {wanted} was expected")
    return speeds


def _hash_speed(store: Path) -> float:
    """Give the GB/s of hashlib's SHA-256 here, over the same files."""
    opened = Store(store)
    directory = opened.live_dir(opened.current())
    began = time.perf_counter()
    for path in directory.iterdir():
        with path.open("rb") as file:
            file_digest(file, "sha256")
    return live_manifest(store).total_bytes / 1e9 / (time.perf_counter() - began)
