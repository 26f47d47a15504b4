"""Size: bytes an entry on disk, and what a worker keeps to itself.

Private memory is the unique set size (USS): pages that only this process maps. It is taken with two workers, as
deployed, so that the snapshot's pages, which all workers share, are not counted as one's own; and after a load, when
buffers and caches have grown.
"""

from __future__ import annotations

from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types

from benchmarks.digests import cut, random_digests, write_hex_list
from benchmarks.errors import CannotMeasure
from benchmarks.figures import Figure, Goal, Spread
from benchmarks.http_side_by_side import WORKLOADS, check_sample, expected_reply, run_load
from benchmarks.load import Job
from benchmarks.processes import Server, serving_store
from benchmarks.sizes import Sizes
from benchmarks.stores import check_lookups, compile_store, live_manifest

PART = "size"
_WORKERS = 2
_SAMPLE = 1_000


def measure(sizes: Sizes, store: Path, entries: bytes, work: Path) -> list[Figure]:
    """Measure sizes; `store` was compiled from the sha256 digests in `entries`."""
    return [
        _bytes_an_entry("sha256", store),
        _bytes_an_entry("md5", _md5_store(sizes, work)),
        private_memory(sizes, store, entries, work),
    ]


def _md5_store(sizes: Sizes, work: Path) -> Path:
    source, store = work / "md5.txt", work / "md5"
    first = write_hex_list(source, sizes.seed, "md5", sizes.entries, 16)
    compile_store(store, [source])
    others = cut(random_digests(sizes.seed, "md5-misses", _SAMPLE, 16), 1, 16)
    check_lookups(store, "md5", cut(first[: _SAMPLE * 16], 1, 16), others)
    return store


def _bytes_an_entry(algorithm: str, store: Path) -> Figure:
    manifest = live_manifest(store)
    size = manifest.total_bytes / manifest.entries
    what = f"bytes an entry, {manifest.entries:,} {algorithm}, filter included"
    return Figure(PART, what, "bytes", Spread.of([size]), goal=Goal(40, at_most=True))


def private_memory(sizes: Sizes, store: Path, entries: bytes, work: Path) -> Figure:
    """Measure the private memory of each worker after every kind of load."""
    with serving_store(store, work, workers=_WORKERS) as server:
        workers = worker_processes(server)
        fresh = max(worker.memory_full_info().uss for worker in workers)
        for workload in WORKLOADS:
            bodies = work / f"memory-{workload.digests}"
            digests = random_digests(sizes.seed, "memory", 20 * workload.digests)
            made = [workload.body(piece) for piece in cut(digests, workload.digests)]
            bodies.write_bytes(b"".join(made))
            run_load(
                Job(
                    pid=server.pid, port=server.port, target=workload.target, content_type=workload.content_type,
                    bodies=str(bodies), body_bytes=len(made[0]), reply=expected_reply(store, workload.digests).decode(),
                    connections=sizes.connections, seconds=sizes.http_seconds, warm_up_seconds=0,
                )
            )  # fmt: skip
            check_sample(server, workload, entries, sizes.seed)
        uss = [worker.memory_full_info().uss / (1 << 20) for worker in workers]
    what = f"private memory of the largest worker, {sizes.entries:,} entries"
    each = ", ".join(f"{size:,.0f}" for size in uss)
    return Figure(
        PART, what, "MiB", Spread.of([max(uss)]), goal=Goal(90, at_most=True),
        note=f"USS after a load, of each worker: {each}; the largest before it: {fresh / (1 << 20):,.0f}",
    )  # fmt: skip


def worker_processes(server: Server) -> list[psutil.Process]:
    """Give the processes that answer: the server's children by multiprocessing's spawn, less its resource tracker."""
    children = [process for process in server.processes()[1:] if "spawn_main" in " ".join(process.cmdline())]
    if len(children) != _WORKERS:
        raise CannotMeasure(f"{len(children)} worker processes were found, {_WORKERS} were started")
    return children
