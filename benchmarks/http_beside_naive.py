"""The real service beside the naive one (benchmarks/naive_service.py), over the same entries, asked for the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import orjson

from benchmarks.contest import Contest, Rival, compete, processor_time, requests_beside_rival, uvicorn
from benchmarks.errors import must
from benchmarks.figures import Figure
from benchmarks.http_side_by_side import JSON_1, JSON_1000
from benchmarks.naive_service import DIRECTORY_VARIABLE, PATH, build, create_app
from benchmarks.processes import Server, free_port, serving, serving_store
from benchmarks.raw_http import connect, exchange, post
from benchmarks.run import Run
from benchmarks.stores import CATEGORY, live_manifest
from benchmarks.workloads import Listed, requests
from benchmarks.wrk import Load

PART: Final = "HTTP, beside a naive service"


def measure(run: Run) -> Iterator[Figure]:
    """Measure one and a thousand digests a request."""
    sizes, work = run.sizes, run.work
    count = sizes.peer_entries
    store = run.store(count)
    listed = Listed(live_manifest(store).snapshot_id, {"sha256": run.packed_entries(count)})
    with serving_store(store, work, workers=1) as service, naive(listed, work) as rival:
        contests = []
        for workload in (JSON_1, JSON_1000):
            contest = Contest.prepare(sizes, workload, listed, service, work / f"bodies-naive-{workload.digests}")
            contest.rival = Rival("naive", rival, naive_load(contest, rival, sizes.seed))
            contests.append(contest)
        compete(sizes, contests)
    for contest in contests:
        yield requests_beside_rival(PART, "http beside naive", contest)
        yield processor_time(PART, "http beside naive processor", contest)


@contextmanager
def naive(listed: Listed, work: Path) -> Iterator[Server]:
    """Build the naive service's files and run it until the block ends."""
    directory = work / "naive"
    directory.mkdir()
    entries = listed.entries["sha256"].hex()
    build(directory, (entries[at : at + 64] for at in range(0, len(entries), 64)), listed.count, CATEGORY)
    port = free_port()
    command = uvicorn(f"{create_app.__module__}:{create_app.__name__}", port)
    with serving(command, port, "/docs", work / "naive.log", {DIRECTORY_VARIABLE: str(directory)}) as server:
        yield server


def naive_load(contest: Contest, rival: Server, seed: int) -> Load:
    """Give the load for the naive service, whose replies are its own. Raises WrongAnswer if it misses an entry."""
    load, workload = contest.load, contest.workload
    places = [[], [0], [workload.digests // 2]]
    with closing(connect(rival.port)) as connection:
        for at, request in zip(places, requests(workload, contest.listed, seed, "naive", places), strict=True):
            head, body = exchange(connection, post(rival.port, PATH, workload.content_type, request.body))
            sent = orjson.loads(request.body)["sha256"]
            matches = [{"sha256": sent[index], "category": CATEGORY} for index in at]
            must(orjson.loads(body) == {"checked": len(sent), "matches": matches}, "the naive service answered wrong")
            if not at:
                load = replace(load, target=PATH, head_bytes=len(head), reply_bytes=len(head) + len(body))
    return load
