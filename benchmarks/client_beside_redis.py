"""One Python program that asks whether digests are listed: us over HTTP, and Redis over its own protocol.

Both sides are asked by the usual library over a kept connection: http.client and orjson, redis-py with hiredis. Both
begin with a list of raw digests and end with the places of the listed ones, and both hold the same entries.
"""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import orjson
import redis

from benchmarks.digests import FreshBatches, cut, random_digests
from benchmarks.errors import must
from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.peers.redis_server import KEY, fill, redis_server, used_memory_bytes
from benchmarks.processes import Server, serving_store
from benchmarks.run import Run
from benchmarks.sizes import Sizes
from benchmarks.stores import live_manifest

PART: Final = "one Python client"

_BATCHES: Final = (1, 1_000, 10_000)
_GOALS: Final = {
    1_000: (Goal(1.2, at_most=False, ratio_to="Redis"),),
    10_000: (Goal(3, at_most=False, ratio_to="Redis"),),
}
_SMALL: Final = Goal(0.45, at_most=True, ratio_to="Redis")
_SAMPLES: Final = 20
_MOST_CALLS: Final = 1_000

#: Asks for raw digests and gives the places of those that are listed.
Ask = Callable[[list[bytes]], list[int]]


class HttpClient:
    """Asks the service over one connection."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)

    def packed(self, digests: list[bytes]) -> list[int]:
        """Ask with a packed body."""
        return self._post("/v1/match?algorithm=sha256", "application/octet-stream", b"".join(digests))

    def column(self, digests: list[bytes]) -> list[int]:
        """Ask with a JSON body by column."""
        texts = [digest.hex() for digest in digests]
        return self._post("/v1/match", "application/json", orjson.dumps({"sha256": texts}))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _post(self, target: str, content_type: str, body: bytes) -> list[int]:
        self._connection.request("POST", target, body, {"Content-Type": content_type})
        response = self._connection.getresponse()
        reply = orjson.loads(response.read())
        must(response.status == 200 and not reply["invalid"] and not reply["not_loaded"], f"the service said {reply}")
        return [match["index"] for match in reply["matches"]]


class RedisClient:
    """Asks Redis over one connection."""

    def __init__(self, server: Server) -> None:
        self._client = redis.Redis(port=server.port)

    def members(self, digests: list[bytes]) -> list[int]:
        """Ask by SMISMEMBER."""
        flags = self._client.smismember(KEY, digests)
        return [place for place, flag in enumerate(flags) if flag] if 1 in flags else []

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def measure(run: Run) -> Iterator[Figure]:
    """Measure misses at several batch sizes in turns, and what both need for the same entries."""
    sizes = run.sizes
    entries = run.packed_entries(sizes.entries)
    store = run.store(sizes.entries)
    with redis_server(run.work) as peer, serving_store(store, run.work, workers=1) as service:
        fill(peer, cut(entries, 1))
        with closing(HttpClient(service)) as ours, closing(RedisClient(peer)) as theirs:
            asks: dict[str, Ask] = {"packed": ours.packed, "json": ours.column, "Redis": theirs.members}
            batches = FreshBatches(random_digests(sizes.seed, "client-misses", sizes.pool))
            for batch in _BATCHES:
                for ask in asks.values():
                    check(ask, batch, entries, sizes.seed)
                yield from _figures(sizes, batch, _rounds(sizes, batch, asks, batches))
                for ask in asks.values():
                    check(ask, batch, entries, sizes.seed + 1)
        used = [used_memory_bytes(peer) / (1 << 20)]
    size = [live_manifest(store).total_bytes / (1 << 20)]
    what = f"snapshot of {sizes.entries:,} sha256 beside Redis's used_memory"
    yield Figure(
        PART, "size beside redis", what, "MiB", Spread.of(size), {"entries": sizes.entries},
        (beside("Redis", size, used),), (_SMALL,),
    )  # fmt: skip


def check(ask: Ask, batch: int, entries: bytes, seed: int) -> None:
    """Ask for misses with entries among them and require just the places of those."""
    draw = random.Random(seed)
    for number, packed in enumerate(cut(random_digests(seed, f"client-sample-{batch}", _SAMPLES * batch), batch)):
        digests = cut(packed, 1)
        places = sorted(draw.sample(range(batch), min(batch, number % 4)))
        for place in places:
            at = draw.randrange(len(entries) // 32) * 32
            digests[place] = entries[at : at + 32]
        must(ask(digests) == places, f"a client was not told just the entries among {batch} digests")


def _rounds(sizes: Sizes, batch: int, asks: dict[str, Ask], batches: FreshBatches) -> dict[str, list[float]]:
    """Give digests a second of each side, round by round."""
    rates: dict[str, list[float]] = {name: [] for name in asks}
    calls = max(1, min(_MOST_CALLS, sizes.digests_a_round // batch))
    for _ in range(sizes.rounds):
        for name, ask in asks.items():
            fresh = [cut(packed, 1) for packed in batches.take(calls, batch)]
            began = time.perf_counter()
            found = [ask(digests) for digests in fresh]
            seconds = time.perf_counter() - began
            must(not any(found), "a client was told that a miss is listed")
            rates[name].append(calls * batch / seconds)
    return rates


def _figures(sizes: Sizes, batch: int, rates: dict[str, list[float]]) -> Iterator[Figure]:
    at: dict[str, int | float | str] = {"batch": batch, "entries": sizes.entries}
    for form, name in (("packed", "packed"), ("json", "JSON")):
        ours = rates[form]
        yield Figure(
            PART, "client", f"{batch:,} digests a call, {name}", "digests/s", Spread.of(ours), {**at, "form": form},
            (beside("Redis", ours, rates["Redis"]),), _GOALS.get(batch, ()) if form == "packed" else (),
            f"{1e6 * batch / Spread.of(ours).median:,.0f} µs a call, "
            f"Redis {1e6 * batch / Spread.of(rates['Redis']).median:,.0f} µs",
        )  # fmt: skip
