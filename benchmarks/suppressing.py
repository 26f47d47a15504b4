"""How long until a suppressed digest is no match any more: the real command, two workers at 80 % of their peak.

The clock runs from the start of `hashwacht suppress` until no worker answers with the match. The service does not tell
which worker answered, so that is seen in two ways, and the later moment counts:

    asked     fresh connections ask for the digest, one after the other, until 20 in a row are answered without it;
              the moment is that of the first of these answers
    loaded    the load's connections reach every worker, which is looked at, and each reply names the overlay that it
              comes from; the moment is that of the last reply from an older one

Requests of the load are of 1,000 digests that are not listed, at their own times (benchmarks/open_loop.py). Generator,
service and command share the machine: with two processors the load is what the machine carries with all of them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import orjson
import psutil  # type: ignore[import-untyped]  # ships no types

from benchmarks.digests import cut
from benchmarks.errors import CannotMeasure, must
from benchmarks.figures import Figure, Goal, Spread
from benchmarks.http_side_by_side import JSON_1, JSON_1000
from benchmarks.memory import worker_pids
from benchmarks.open_loop import ANSWERED, DUE, REPLY, SENT, Job, Rows, open_loop
from benchmarks.processes import Server, hashwacht, run, serving_store
from benchmarks.raw_http import connect, exchange, post
from benchmarks.run import Run
from benchmarks.sizes import Sizes
from benchmarks.stores import live_manifest
from benchmarks.swaps import latencies
from benchmarks.workloads import Listed, make_load
from benchmarks.wrk import Load, closed_loop

PART: Final = "suppressing, 80 % of the peak"

_WORKERS: Final = 2
_SHARE_OF_PEAK: Final = 0.8
#: Loads whose median is the peak.
_PEAKS: Final = 3
#: Several times as many as there are workers, so that each of them gets some.
_CONNECTIONS: Final = 64
#: Answers in a row without the match that end the asking.
_IN_A_ROW: Final = 20
_PAUSE_SECONDS: Final = 0.005
#: A suppression that takes longer is not slow but lost.
_MOST_SECONDS: Final = 20.0
#: Of the load, before the first suppression: its process starts and connects.
_BEGIN_SECONDS: Final = 1.0
#: The version of the overlay in which the compile has approved the list.
_FIRST_VERSION: Final = 1
_GOAL: Final = Goal(2, at_most=True)


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A suppression on the clock of time.monotonic(): its command's start, and the first of the last answers asked for.

    `version` is the overlay that it made.
    """

    version: int
    began: float
    asked: float
    command_seconds: float


def measure(run: Run) -> Iterator[Figure]:
    """Suppress entries of the list one after the other under load."""
    sizes, work, store = run.sizes, run.work, run.work / "store"
    shutil.copytree(run.store(sizes.entries), store)
    packed = run.packed_entries(sizes.entries)
    listed = Listed(live_manifest(store).snapshot_id, {"sha256": packed})
    with serving_store(store, work, workers=_WORKERS) as server:
        load, reply = make_load(server, JSON_1000, listed, sizes.seed, work / "bodies")
        closed_loop(server, load, sizes.connections, sizes.http_warm_up_seconds)
        peaks = [closed_loop(server, load, sizes.connections, sizes.http_seconds).rate for _ in range(_PEAKS)]
        rate = _SHARE_OF_PEAK * Spread.of(peaks).median
        with open_loop(_job(sizes, server, load, reply, rate)) as loading:
            time.sleep(_BEGIN_SECONDS)
            require_every_worker(server)
            done = []
            for number, digest in enumerate(cut(packed[: 32 * sizes.suppressions], 1), start=1):
                time.sleep(sizes.suppression_pause_seconds)
                done.append(suppress(server, store, digest, _FIRST_VERSION + number))
            time.sleep(sizes.suppression_pause_seconds)
            rows = loading.stop()
    yield from _figures(sizes, rows, done, rate)


def _job(sizes: Sizes, server: Server, load: Load, reply: bytes, rate: float) -> Job:
    versions = range(_FIRST_VERSION, _FIRST_VERSION + sizes.suppressions + 1)
    first = b'"overlay_version":%d,' % _FIRST_VERSION
    must(reply.count(first) == 1, "a reply does not come from the overlay of the compile")
    return Job(
        port=server.port, target=load.target, content_type=load.content_type, bodies=str(load.bodies),
        body_bytes=load.body_bytes,
        replies=tuple(reply.replace(first, b'"overlay_version":%d,' % version).decode() for version in versions),
        connections=_CONNECTIONS, requests_per_second=rate,
        seconds=_BEGIN_SECONDS + sizes.suppressions * (_MOST_SECONDS + sizes.suppression_pause_seconds),
        seed=sizes.seed,
    )  # fmt: skip


def require_every_worker(server: Server) -> None:
    """Raise CannotMeasure unless every worker has a connection, as the load's are the only ones now."""
    for pid in worker_pids(server, _WORKERS):
        held = psutil.Process(pid).net_connections("tcp")
        if not any(each.status == psutil.CONN_ESTABLISHED and each.laddr.port == server.port for each in held):
            raise CannotMeasure(f"the load's {_CONNECTIONS} connections do not reach every worker")


def suppress(server: Server, store: Path, digest: bytes, version: int) -> Suppressed:
    """Suppress a digest that is a match; raises WrongAnswer if it is none before, or one still after a long while."""
    text = digest.hex()
    must(is_match(server, text), "an entry of the list is no match")
    command = hashwacht("suppress", "--store", store, "--by", "benchmark", "--reason", "to see how long it takes", text)
    with ThreadPoolExecutor(1) as executor:
        began = time.monotonic()
        running = executor.submit(run, command)
        asked, in_a_row = began, 0
        while in_a_row < _IN_A_ROW:
            if is_match(server, text):
                in_a_row = 0
                if running.done():
                    running.result()  # raises if it failed, and then there is nothing to wait for
                must(time.monotonic() < began + _MOST_SECONDS, f"after {_MOST_SECONDS:g} s it is a match still")
                time.sleep(_PAUSE_SECONDS)
            else:
                asked = asked if in_a_row else time.monotonic()
                in_a_row += 1
        return Suppressed(version, began, asked, running.result().seconds)


def is_match(server: Server, text: str) -> bool:
    """Ask for one digest on a fresh connection. Raises WrongAnswer unless it was looked up and is a match or none."""
    body = orjson.dumps({"sha256": [text]})
    with closing(connect(server.port)) as connection:
        reply = orjson.loads(exchange(connection, post(server.port, JSON_1.target, JSON_1.content_type, body))[1])
    found = [match["digest"] for match in reply["matches"]]
    must(reply["checked"] == {"sha256": 1} and found in ([], [text]), "a request of one digest was not answered right")
    return bool(found)


def visible_seconds(rows: Rows, done: Sequence[Suppressed]) -> list[float]:
    """Give how long each suppression took: until it was asked for in vain, and no reply to the load was older.

    Reply n of the rows comes from overlay _FIRST_VERSION + n. Raises CannotMeasure when the load ended before.
    """
    versions = rows[:, REPLY] + _FIRST_VERSION
    found = []
    for each in done:
        older = rows[versions < each.version]
        if not len(older) or not (rows[:, SENT] > max(each.asked, float(older[:, ANSWERED].max()))).any():
            raise CannotMeasure("the load ended before every worker had taken a suppression over")
        found.append(max(each.asked, float(older[:, ANSWERED].max())) - each.began)
    return found


def _figures(sizes: Sizes, rows: Rows, done: Sequence[Suppressed], rate: float) -> Iterator[Figure]:
    seconds = visible_seconds(rows, done)
    at: dict[str, int | float | str] = {"entries": sizes.entries, "workers": _WORKERS, "batch": JSON_1000.digests}
    sent = len(rows) / float(rows[:, ANSWERED].max() - rows[0, DUE])
    ms = 1e3 * latencies(rows)
    note = (
        f"{rate:,.0f} requests/s were due, {sent:,.0f} answered, after {np.percentile(ms, 50):,.1f} ms at the median "
        f"and {np.percentile(ms, 99):,.1f} ms at the 99th percentile; the command takes "
        f"{Spread.of([each.command_seconds for each in done]).median:.2f} s, a worker looks every 0.25 s"
    )
    what = "suppress → no worker answers with the match, 2 workers"
    yield Figure(PART, "suppressed", what, "s", Spread.of(seconds), at, goals=(_GOAL,), note=note)
    yield Figure(
        PART, "suppressed slowest", f"{what}, the slowest of {len(seconds)}", "s", Spread.of([max(seconds)]), at,
        goals=(_GOAL,),
    )  # fmt: skip
