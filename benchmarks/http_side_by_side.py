"""The real service beside a bare uvicorn application: what matching adds to the least that a JSON service costs.

All are real processes on loopback with one worker and the same settings of uvicorn (uvloop, httptools, no access
log, no Server header), driven by wrk. Every round puts every load on once, and a ratio is taken within the round. The
bare application sends the service's own reply, so that both send the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import orjson

from benchmarks.bare_app import PACKED, REPLIES_VARIABLE
from benchmarks.contest import Contest, Rival, compete, processor_time, requests_beside_rival, uvicorn
from benchmarks.digests import random_digests
from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.processes import Server, free_port, serving, serving_store
from benchmarks.run import Run
from benchmarks.stores import compile_packed, live_manifest
from benchmarks.workloads import Listed, Workload
from snapshot.algorithms import ALGORITHMS

PART: Final = "HTTP, 1 worker"

JSON_1: Final = Workload("1 digest, JSON", "json", (("sha256", 1),))
JSON_1000: Final = Workload("1,000 digests, JSON", "json", (("sha256", 1_000),))
JSON_10000: Final = Workload("10,000 digests, JSON", "json", (("sha256", 10_000),))
PACKED_1000: Final = Workload("1,000 digests, packed", "packed", (("sha256", 1_000),))
PACKED_10000: Final = Workload("10,000 digests, packed", "packed", (("sha256", 10_000),))
#: Beside the bare application, with the goals of that.
PLAIN: Final[Mapping[Workload, tuple[Goal, ...]]] = {
    JSON_1: (Goal(0.8, at_most=False, ratio_to="bare"),),
    JSON_1000: (Goal(0.7, at_most=False, ratio_to="bare"),),
    JSON_10000: (Goal(0.7, at_most=False, ratio_to="bare"),),
    PACKED_1000: (),
    PACKED_10000: (Goal(0.35, at_most=False, ratio_to="bare, reads only"),),
}

#: What service/runtime.py tells the allocator, for the bare application: else its figures at 1,000 digests would depend
#: on whether it has met a larger body before.
_ALLOCATOR: Final = {"MALLOC_MMAP_THRESHOLD_": str(16 << 20), "MALLOC_TRIM_THRESHOLD_": str(16 << 20)}

#: Beside our own misses by column.
_MISSES: Final = "JSON, 1,000"
ALL_LISTED: Final = replace(JSON_1000, name="1,000 digests, all listed, JSON", matches=1_000)
UNUSUAL: Final = (
    replace(JSON_1000, name="1,000 digests, 1 % malformed, JSON", invalid=10),
    replace(JSON_1000, name="1,000 digests, 1 % listed, JSON", matches=10),
    ALL_LISTED,
)
MIXED: Final = (
    Workload("1,000 digests of 3 algorithms, JSON", "json", (("md5", 334), ("sha1", 333), ("sha256", 333))),
    Workload("100 files, md5 and sha256 of each", "files", (("md5", 100), ("sha256", 100))),
)
_FASTER: Final = Goal(4, at_most=False, ratio_to=_MISSES)
#: Of requests that differ from those misses in some items only.
_NOT_MUCH_SLOWER: Final = Goal(0.2, at_most=False, ratio_to=_MISSES)


def measure(run: Run) -> Iterator[Figure]:
    """Measure plain requests beside the bare application, and unusual ones beside plain ones."""
    sizes, work = run.sizes, run.work
    with ExitStack() as stack:
        store = run.store(sizes.entries)
        listed = Listed(live_manifest(store).snapshot_id, {"sha256": run.packed_entries(sizes.entries)})
        service = stack.enter_context(serving_store(store, work, workers=1))
        plain = [
            Contest.prepare(sizes, workload, listed, service, work / f"bodies-plain-{number}")
            for number, workload in enumerate(PLAIN)
        ]
        rival = stack.enter_context(bare({contest.workload: contest.reply for contest in plain}, work))
        for contest in plain:
            name = "bare, reads only" if contest.workload.form == "packed" else "bare"
            contest.rival = Rival(name, rival, replace(contest.load, target=bare_target(contest.workload)))
        mixed_store, mixed_listed = _mixed_store(run)
        mixed_service = stack.enter_context(serving_store(mixed_store, work, workers=1))
        unusual = [
            Contest.prepare(sizes, workload, found, server, work / f"bodies-unusual-{workload.name}")
            for found, server, workloads in ((listed, service, UNUSUAL), (mixed_listed, mixed_service, MIXED))
            for workload in workloads
        ]
        compete(sizes, [*plain, *unusual])
    yield from _figures(plain, unusual)


def _mixed_store(run: Run) -> tuple[Path, Listed]:
    count = run.sizes.peer_entries
    entries = {
        name: random_digests(run.sizes.seed, f"http-entries-{name}", count, ALGORITHMS[name].digest_bytes)
        for name in ("md5", "sha1", "sha256")
    }
    store = compile_packed(run.work / "store-http-mixed", entries).store
    return store, Listed(live_manifest(store).snapshot_id, entries)


def _figures(plain: list[Contest], unusual: list[Contest]) -> Iterator[Figure]:
    by_workload = {contest.workload: contest for contest in plain}
    misses = by_workload[JSON_1000]
    for contest in plain:
        yield requests_beside_rival(PART, "http", contest, PLAIN[contest.workload])
    yield _beside_misses(by_workload[PACKED_10000], misses, (_FASTER,))
    for contest in unusual:
        workload = contest.workload
        few = workload.columns == JSON_1000.columns and workload.matches <= workload.digests // 100
        yield _beside_misses(contest, misses, (_NOT_MUCH_SLOWER,) if few else ())
    for contest in (*plain, *unusual):
        yield processor_time(PART, "http processor", contest)


def _beside_misses(contest: Contest, misses: Contest, goals: tuple[Goal, ...]) -> Figure:
    ours = contest.digests()
    return Figure(
        PART, "http digests", contest.workload.name, "digests/s", Spread.of(ours), contest.at,
        (beside(_MISSES, ours, misses.digests()),), goals,
    )  # fmt: skip


def bare_target(workload: Workload) -> str:
    """Give what is asked of the bare application."""
    return f"{PACKED if workload.form == 'packed' else '/json'}/{workload.digests}"


@contextmanager
def bare(replies: Mapping[Workload, bytes], work: Path) -> Iterator[Server]:
    """Run the bare application with the service's settings of uvicorn until the block ends."""
    path = work / "bare-replies.json"
    path.write_bytes(orjson.dumps({bare_target(workload): orjson.Fragment(body) for workload, body in replies.items()}))
    port = free_port()
    ready = bare_target(next(iter(replies)))
    command = uvicorn("benchmarks.bare_app:create_app", port)
    with serving(command, port, ready, work / "bare.log", {REPLIES_VARIABLE: str(path), **_ALLOCATOR}) as server:
        yield server
