"""Made-up results: figures of every plot and of every row of the README's table, as a full run would give them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.figures import Baseline, Figure, Spread, beside
from benchmarks.machine import Machine
from benchmarks.results import PartResult, Results
from benchmarks.sizes import FULL

MACHINE = Machine(
    "2026-01-02T03:04:05+00:00", "Some CPU", 2, 4.0, "Linux 6", "CPython 3.11.2", {"numpy": "2.4"}, {"sort": "9.1"},
    load_before=0.1,
)  # fmt: skip
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)


def spread(median: float) -> Spread:
    return Spread(median, 0.9 * median, 1.2 * median, 5)


def baseline(name: str, ours: float, theirs: float) -> Baseline:
    return beside(name, [ours * 0.9, ours, ours * 1.1], [theirs, theirs, theirs])


def figure(key: str, unit: str, median: float, theirs: dict[str, float] | None = None, **at: float | str) -> Figure:
    what = " ".join([key, *map(str, at.values())])
    baselines = tuple(baseline(name, median, other) for name, other in (theirs or {}).items())
    return Figure("made up", key, what, unit, spread(median), at, baselines)


def in_process() -> Iterator[Figure]:
    peers = {"set": 200.0, "pybloom-live": 1_800.0, "LMDB get": 990.0, "SQLite": 2_500.0}
    for entries in SIZES:
        known = peers if entries <= 1_000_000 else {"set": 250.0}
        for batch in (1, 10, 100, 1_000, 10_000):
            ns = 900 / batch + 20 + entries / 1e6
            yield figure("miss lookup", "ns", ns, known, batch=batch, entries=entries)
            yield figure("miss request", "ns", 2 * ns, {"set": known["set"]}, batch=batch, entries=entries)
        yield figure("hit", "ns", 3_300.0, {"set": 200.0}, entries=entries)


def http() -> Iterator[Figure]:
    for form, batch, rate, bare in (("json", 1, 35e3, 50e3), ("json", 1_000, 8e3, 10e3), ("json", 10_000, 900, 1e3)):
        yield figure("http", "requests/s", rate, {"bare": bare}, form=form, batch=batch, entries=SIZES[-1])
    for batch, rate in ((1_000, 17e3), (10_000, 2.6e3)):
        rivals = {"bare, reads only": 6.9e3}
        yield figure("http", "requests/s", rate, rivals, form="packed", batch=batch, entries=SIZES[-1])
    for batch in (1, 1_000):
        rate = 3e4 / batch**0.2
        naive = {"naive": rate / 20}
        yield figure("http beside naive", "requests/s", rate, naive, form="json", batch=batch, entries=1_000_000)


def compiles() -> Iterator[Figure]:
    for lines in SIZES:
        yield figure("compile", "s", 0.3 + lines / 4e6, {"sort -u": lines / 2e6}, lines=lines)
        yield figure("compile peak", "MiB", 60 + lines / 3e4, {"sort -u": lines / 1e4}, lines=lines)


def client() -> Iterator[Figure]:
    for batch in (1, 1_000, 10_000):
        for form, rate in (("packed", 4e6), ("json", 2e6)):
            yield figure("client", "digests/s", rate, {"Redis": 1e6}, form=form, batch=batch, entries=SIZES[-1])
    yield figure("size beside redis", "MiB", 347.0, {"Redis": 900.0}, entries=SIZES[-1])


def tail() -> Iterator[Figure]:
    yield figure("ready from CURRENT", "s", 0.41, entries=SIZES[-1])
    yield figure("tail p99", "ms", 1.2, {"p50": 0.4}, batch=1_000, entries=SIZES[-1])
    for verified in ("before", "now"):
        made = figure("tail swap p99", "ms", 1.9, {"p50": 0.4}, batch=1_000, entries=SIZES[-1], verified=verified)
        yield replace(made, series=tuple((step / 50, 0.4 + 2 / (1 + step * step)) for step in range(-25, 50)))


def memory() -> Iterator[Figure]:
    for algorithm, size in (("sha256", 36.4), ("md5", 20.1)):
        yield figure("bytes an entry", "bytes", size, algorithm=algorithm, entries=SIZES[-1])
    for entries in SIZES:
        for workers in (1, 2):
            yield figure("private", "MiB", 55.0 + workers, entries=entries, workers=workers)
            yield figure("shared", "MiB", 20 + entries / 3e4, entries=entries, workers=workers)


def full() -> Results:
    """Give the results of a full run."""
    parts = {
        "in-process": in_process, "http": http, "client": client, "tail": tail, "memory": memory, "compile": compiles,
    }  # fmt: skip
    return Results(
        "full", MACHINE, FULL, tuple(PartResult(name, 60.0, tuple(made())) for name, made in parts.items()),
        seconds=1_500.0,
    )  # fmt: skip
