"""Size: bytes an entry on the disk, and what of a service's memory is each worker's own.

Private is what only this process has: anonymous memory and its own copies of files. The snapshot's files are mapped
and belong to the page cache, whoever maps them; how much of them is in memory is told apart, for all workers
together, by the kernel's proportional count (Pss in /proc/PID/smaps). Taken after loads of the largest requests, when
buffers and caches have grown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.digests import cut, random_digests
from benchmarks.errors import CannotMeasure, must
from benchmarks.figures import Figure, Goal, Spread
from benchmarks.http_side_by_side import ALL_LISTED, JSON_10000, PACKED_10000
from benchmarks.processes import Server, serving_store
from benchmarks.run import Run
from benchmarks.stores import check_lookups, compile_packed, live_manifest
from benchmarks.workloads import Listed, check_sample, make_load
from benchmarks.wrk import closed_loop
from snapshot.store import Store

PART: Final = "size"

_WORKERS: Final = (1, 2)
_LOADS: Final = (JSON_10000, PACKED_10000, ALL_LISTED)
_LOAD_SECONDS: Final = 0.3
_SAMPLE: Final = 1_000
_PRIVATE: Final = Goal(80, at_most=True)
_BYTES_AN_ENTRY: Final = {"sha256": (Goal(38, at_most=True),), "md5": (Goal(24, at_most=True),)}
_MIB: Final = 1 << 20


#: What is counted of a mapping, as what. Anonymous pages of a file's mapping are copies of one's own.
_ELSEWHERE: Final = {"Private_Clean:": "private", "Private_Dirty:": "private"}
_IN_STORE: Final = {"Anonymous:": "private", "Pss:": "store_share", "Rss:": "store_mapped"}


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of a process: its own; its share of the store's files in memory; what it maps of them, however shared."""

    private: int
    store_share: int
    store_mapped: int

    @classmethod
    def of(cls, pid: int, store: Path) -> Usage:
        """Read it from /proc/PID/smaps. Raises CannotMeasure where there is none."""
        try:
            lines = Path(f"/proc/{pid}/smaps").read_text().splitlines()
        except OSError as error:
            raise CannotMeasure(f"the memory of a process cannot be read: {error}") from None
        sums = dict.fromkeys(_IN_STORE.values(), 0)
        counted = _ELSEWHERE
        for line in lines:
            name, _, rest = line.partition(" ")
            if not name.endswith(":"):  # a mapping begins: addresses, permissions, offset, device, inode, path
                in_store = f" {store.resolve()}/" in line
                counted = _IN_STORE if in_store else _ELSEWHERE
            elif name in counted:
                sums[counted[name]] += int(rest.split()[0]) << 10
        return cls(**sums)


def measure(run: Run) -> Iterator[Figure]:
    """Measure sizes on the disk, then memory at every size of the list and number of workers."""
    sizes = run.sizes
    yield _bytes_an_entry("sha256", run.store(sizes.entries))
    yield _bytes_an_entry("md5", _md5_store(run))
    for entries in (*sizes.growth, sizes.entries):
        for workers in _WORKERS:
            yield from _usage_figures(run, entries, workers)


def _md5_store(run: Run) -> Path:
    packed = random_digests(run.sizes.seed, "md5", run.sizes.entries, 16)
    store = compile_packed(run.work / "store-md5", {"md5": packed}).store
    others = random_digests(run.sizes.seed, "md5-misses", _SAMPLE, 16)
    check_lookups(store, "md5", cut(packed[: _SAMPLE * 16], 1, 16), cut(others, 1, 16))
    return store


def _bytes_an_entry(algorithm: str, store: Path) -> Figure:
    opened = Store(store)
    size = sum(path.stat().st_size for path in opened.live_dir(opened.current()).iterdir())
    entries = live_manifest(store).entries
    return Figure(
        PART, "bytes an entry", f"bytes an entry, {algorithm}, filter and all else included", "bytes",
        Spread.of([size / entries]), {"algorithm": algorithm, "entries": entries}, goals=_BYTES_AN_ENTRY[algorithm],
    )  # fmt: skip


def _usage_figures(run: Run, entries: int, workers: int) -> Iterator[Figure]:
    store = run.store(entries)
    listed = Listed(live_manifest(store).snapshot_id, {"sha256": run.packed_entries(entries)})
    with serving_store(store, run.work, workers=workers) as server:
        pids = worker_pids(server, workers)
        fresh = [Usage.of(pid, store) for pid in pids]
        for workload in _LOADS:
            load, _ = make_load(server, workload, listed, run.sizes.seed, run.work / "bodies")
            closed_loop(server, load, run.sizes.connections, _LOAD_SECONDS)
            check_sample(server, workload, listed, run.sizes.seed)
        usages = [Usage.of(pid, store) for pid in pids]
    must(all(usage.store_mapped > 0 for usage in usages), "a worker does not map the snapshot")
    at: dict[str, int | float | str] = {"entries": entries, "workers": workers}
    what = f"{entries:,} entries, {workers} {'worker' if workers == 1 else 'workers'}"
    yield Figure(
        PART, "private", f"private memory of a worker, {what}", "MiB",
        Spread.of([usage.private / _MIB for usage in usages]), at, goals=(_PRIVATE,),
        note=f"after a load; before it {_each([usage.private for usage in fresh])}",
    )  # fmt: skip
    yield Figure(
        PART, "shared", f"the snapshot in memory, once for all workers, {what}", "MiB",
        Spread.of([sum(usage.store_share for usage in usages) / _MIB]), at,
        note=f"each maps {_each([usage.store_mapped for usage in usages])} of its files",
    )  # fmt: skip


def _each(counts: Sequence[int]) -> str:
    return " and ".join(f"{count / _MIB:,.1f} MiB" for count in counts)


def worker_pids(server: Server, workers: int) -> list[int]:
    """Give the processes that answer: the server itself if it is alone, else its children but the resource tracker."""
    if workers == 1:
        return [server.pid]
    children = [process.pid for process in server.processes()[1:] if "spawn_main" in " ".join(process.cmdline())]
    if len(children) != workers:
        raise CannotMeasure(f"{len(children)} worker processes were found, {workers} were started")
    return children
