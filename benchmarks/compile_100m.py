"""A hundred million lines: does a compile's time grow with its lines alone, and does its memory stay bounded?

The long list and one of ten million lines are compiled in turns. A second long list is skewed: all its digests
share their first three bytes, so that a partition by leading bytes parts nothing. Wants 25 GB of disk, memory for the
page cache to hold a list of 6.5 GB, and ten minutes.
"""

from __future__ import annotations

import binascii
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.compile_beside_sort import Costs, check_counts
from benchmarks.digests import cut, random_digests
from benchmarks.errors import CannotMeasure, must
from benchmarks.figures import Baseline, Figure, Goal, Spread, beside
from benchmarks.run import Run
from benchmarks.stores import check_lookups, compile_store, live_manifest

PART: Final = "compile 100 M"
SKEWED_PREFIX: Final = b"\x5a\xa5\x5a"
_PEAK_GOAL: Final = Goal(1536, at_most=True)
#: A line may take this many times as long in a long list as in a short one.
_GROWTH: Final = 1.2
_SAMPLE: Final = 10_000
_CHUNK_DIGESTS: Final = 1_000_000
#: Of disk for a line: 65 in the list, 36 in the spool, 38 in the snapshot, and as much again to spare.
_BYTES_A_LINE: Final = 250


@dataclass(frozen=True, slots=True)
class List:
    """A list to compile, a sample of its digests, and digests like them that are not on it."""

    path: Path
    lines: int
    members: list[bytes]
    others: list[bytes]


def measure(run: Run) -> Iterator[Figure]:
    """Measure the long list beside the shorter one, then the skewed list. Raises CannotMeasure without room."""
    sizes, work = run.sizes, run.work
    free, needed = shutil.disk_usage(work).free, sizes.huge_lines * _BYTES_A_LINE
    if free < needed:
        raise CannotMeasure(f"{work} has {free >> 20:,} MiB free, {needed >> 20:,} are needed; choose with --work-dir")
    short = write_list(work / "short.txt", sizes.seed, sizes.compile_lines)
    long = write_list(work / "long.txt", sizes.seed, sizes.huge_lines)
    short_costs, long_costs = Costs(), Costs()
    for _ in range(sizes.huge_rounds):
        _compile(short, short_costs)
        _compile(long, long_costs)
    short.path.unlink()
    long.path.unlink()
    name = f"{short.lines:,} lines"
    goal = Goal(_GROWTH * long.lines / short.lines, at_most=True, ratio_to=name)
    baselines = (beside(name, long_costs.seconds, short_costs.seconds),)
    yield from _figures("compile", "", long, long_costs, baselines, (goal,))
    skewed = write_list(work / "skewed.txt", sizes.seed, sizes.huge_lines, SKEWED_PREFIX)
    costs = Costs()
    for _ in range(sizes.huge_rounds):
        _compile(skewed, costs)
    skewed.path.unlink()
    yield from _figures("compile skewed", f" that all begin with {SKEWED_PREFIX.hex()}", skewed, costs)


def _figures(
    key: str, which: str, listed: List, costs: Costs,
    baselines: tuple[Baseline, ...] = (), goals: tuple[Goal, ...] = (),
) -> Iterator[Figure]:  # fmt: skip
    at, what = {"lines": listed.lines}, f"compile {listed.lines:,} sha256 lines{which}"
    seconds, peak = Spread.of(costs.seconds), Spread.of(costs.seen_mib())
    yield Figure(
        PART, key, what, "s", seconds, at, baselines, goals, note=f"{listed.lines / seconds.median:,.0f} lines/s"
    )
    note = "resident memory of all its processes, summed"
    yield Figure(PART, f"{key} peak", f"{what}, peak memory", "MiB", peak, at, goals=(_PEAK_GOAL,), note=note)


def _compile(listed: List, costs: Costs) -> None:
    store = listed.path.with_name("compiled")
    compiled = compile_store(store, [listed.path])
    check_counts(compiled, listed.lines)
    must(live_manifest(store).entries == listed.lines, "the snapshot has lost entries")
    check_lookups(store, "sha256", listed.members, listed.others)
    shutil.rmtree(store)
    costs.add(compiled.finished)
    _say(f"compiled {listed.path.name}: {costs.seconds[-1]:.1f} s, {max(costs.seen_mib()):,.0f} MiB at most")


def write_list(path: Path, seed: int, count: int, prefix: bytes = b"") -> List:
    """Write `count` random sha256 hexdigests, one a line, that all begin with `prefix`. Cost: 0.15 µs a line."""
    began, members = time.monotonic(), b""
    with path.open("wb") as file:
        for start in range(0, count, _CHUNK_DIGESTS):
            packed = _random(seed, f"{path.name} {start}", min(_CHUNK_DIGESTS, count - start), prefix)
            file.write(binascii.hexlify(packed, b"\n", -32) + b"\n")
            members = members or packed[: _SAMPLE * 32]
    _say(f"wrote {path.name}: {count:,} lines in {time.monotonic() - began:.0f} s")
    return List(path, count, cut(members, 1), cut(_random(seed, f"{path.name} misses", _SAMPLE, prefix), 1))


def _random(seed: int, stream: str, count: int, prefix: bytes) -> bytes:
    digests = np.frombuffer(bytearray(random_digests(seed, stream, count)), dtype=np.uint8).reshape(-1, 32)
    digests[:, : len(prefix)] = np.frombuffer(prefix, dtype=np.uint8)
    return digests.tobytes()


def _say(what: str) -> None:
    print(f"         {what}", file=sys.stderr, flush=True)
