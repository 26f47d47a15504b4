from __future__ import annotations

import http.client
import json
import random
import threading
import time
from contextlib import closing
from pathlib import Path

import psutil

from tests.service import reference
from tests.service.snapshots import BASELINE, MadeSnapshot, labels, live_store, random_digest, write_snapshot
from tests.service_process import ServiceProcess, running_service, until

SWAPS = 10


class Asking(threading.Thread):
    """A client on one connection that asks for the digests of all snapshots, and holds each reply to its snapshot."""

    def __init__(self, service: ServiceProcess, known: dict[str, MadeSnapshot], digests: list[bytes]) -> None:
        super().__init__()
        self.service = service
        self.known = known
        self.digests = digests
        self.stopping = threading.Event()
        self.replies = 0
        self.seen: set[str] = set()
        self.failures: list[str] = []

    def run(self) -> None:
        texts: list[object] = [d.hex() for d in self.digests]
        packed = b"".join(self.digests)
        expected = {
            made.snapshot_id: reference.columns_reply(made.entries, made.snapshot_id, {"sha256": texts})
            for made in self.known.values()
        }
        with closing(http.client.HTTPConnection(self.service.host, self.service.port, timeout=30)) as connection:
            while not self.stopping.is_set():
                if random.random() < 0.5:
                    connection.request(
                        "POST", "/v1/match", json.dumps({"sha256": texts}), {"Content-Type": "application/json"}
                    )
                else:
                    headers = {"Content-Type": "application/octet-stream"}
                    connection.request("POST", "/v1/match?algorithm=sha256", packed, headers)
                response = connection.getresponse()
                body = response.read()
                reply = json.loads(body)
                if response.status != 200 or reply != expected[reply["snapshot_id"]]:
                    self.failures.append(f"{response.status} {body[:300]!r}")
                self.seen.add(reply.get("snapshot_id"))
                self.replies += 1


def test_hot_swap_under_load(tmp_path: Path) -> None:
    store = tmp_path / "store"
    common = {random_digest("sha256"): labels(BASELINE) for _ in range(50)}
    snapshots = [
        write_snapshot(store, {"sha256": {**common, **{random_digest("sha256"): labels(BASELINE) for _ in range(200)}}})
        for _ in range(4)
    ]
    known = {made.snapshot_id: made for made in snapshots}
    assert len(known) == 4
    digests = [d for made in snapshots for d in random.sample(list(made.entries["sha256"]), 30)] + [
        random_digest("sha256") for _ in range(100)
    ]
    random.shuffle(digests)
    snapshots[0].make_live(1)
    with running_service(store) as service:
        clients = [Asking(service, known, digests) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            for generation in range(2, SWAPS + 2):
                made = snapshots[generation % len(snapshots)]
                made.make_live(generation)
                swapped = time.monotonic()
                line = f"generation={generation} "
                assert until(lambda line=line: service.log.count(line) == 2, 5), service.log
                assert time.monotonic() - swapped < 2.0  # 1 s is the aim; the test machine is shared
        finally:
            for client in clients:
                client.stopping.set()
            for client in clients:
                client.join(30)
        assert [client.failures for client in clients] == [[], [], [], []]
        assert all(client.replies > 10 for client in clients)
        assert set().union(*(client.seen for client in clients)) == set(known)
        for pid in service.workers:  # closed snapshots are unmapped: at most the live one and one more
            mapped = {m.path for m in psutil.Process(pid).memory_maps() if m.path.endswith("entries.lmdb")}
            assert len(mapped) == 1


def test_a_swap_reaches_an_idle_service_within_a_second(tmp_path: Path) -> None:
    first = live_store(tmp_path / "store", {"md5": {random_digest("md5"): labels(BASELINE)}})
    second = write_snapshot(first.store, {"md5": {random_digest("md5"): labels(BASELINE)}})
    with running_service(first.store) as service:
        times = []
        for generation in range(2, 7):
            made = (first, second)[generation % 2 == 0]
            started = time.monotonic()
            made.make_live(generation)
            assert until(lambda line=f"generation={generation} ": service.log.count(line) == 2, 5, 0.01)
            times.append(time.monotonic() - started)
        assert min(times) < 1.0, times
