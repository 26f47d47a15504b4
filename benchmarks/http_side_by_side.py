"""The real service and a bare uvicorn application in turns: what matching adds to the least a JSON service costs.

Both are real processes on loopback with one worker and the same settings of uvicorn (uvloop, httptools, no access
log, no Server header). Each round puts the same load on the one, then on the other, and the ratio is taken within
the round. Replies have the same bytes, and each of them is compared with the bytes it must have; a sample with
entries among the misses is read as JSON before the rounds and after them.
"""

from __future__ import annotations

import http.client
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from benchmarks.bare_app import PACKED, REPLIES_VARIABLE
from benchmarks.digests import cut, json_body, random_digests
from benchmarks.errors import CannotMeasure, must
from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.load import WRONG_ANSWER, Job, Outcome
from benchmarks.processes import ROOT, Server, environment, free_port, serving, serving_store
from benchmarks.sizes import Sizes
from benchmarks.stores import CATEGORY, LIST_ID, TIER
from snapshot.store import Store

PART = "HTTP, 1 worker"
_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of request: digests in each, JSON or packed, different bodies in the pool."""

    name: str
    digests: int
    packed: bool
    bodies: int
    goal: Goal | None = None

    @property
    def target(self) -> str:
        """What is asked of the service."""
        return "/v1/match?algorithm=sha256" if self.packed else "/v1/match"

    @property
    def bare_target(self) -> str:
        """What is asked of the bare application."""
        return f"{PACKED if self.packed else '/json'}/{self.digests}"

    @property
    def content_type(self) -> str:
        """The Content-Type of the request."""
        return "application/octet-stream" if self.packed else "application/json"

    def body(self, packed: bytes) -> bytes:
        """Make the body from packed digests."""
        return packed if self.packed else json_body(packed)


WORKLOADS = (
    Workload("1 digest, JSON", 1, False, 20_000, Goal(0.6, at_most=False, of_ratio=True)),
    Workload("1,000 digests, JSON by column", 1_000, False, 200, Goal(0.45, at_most=False, of_ratio=True)),
    Workload("10,000 digests, packed", 10_000, True, 40),
)


def measure(sizes: Sizes, store: Path, entries: bytes, work: Path) -> list[Figure]:
    """Measure all workloads on `store`, which was compiled from `entries` (packed)."""
    replies = {workload: expected_reply(store, workload.digests) for workload in WORKLOADS}
    with serving_store(store, work, workers=1) as service, bare(replies, work) as bare_server:
        return [
            figure
            for workload in WORKLOADS
            for figure in _measure(sizes, workload, replies[workload], service, bare_server, entries, work)
        ]


def _measure(
    sizes: Sizes, workload: Workload, reply: bytes, service: Server, bare_server: Server, entries: bytes, work: Path
) -> Iterator[Figure]:
    bodies = work / f"bodies-{workload.digests}"
    body_bytes = _write_bodies(bodies, workload, sizes)
    check_sample(service, workload, entries, sizes.seed)

    def load(server: Server, target: str) -> Outcome:
        return run_load(
            Job(
                pid=server.pid, port=server.port, target=target, content_type=workload.content_type, bodies=str(bodies),
                body_bytes=body_bytes, reply=reply.decode(), connections=sizes.connections, seconds=sizes.http_seconds,
                warm_up_seconds=sizes.http_warm_up_seconds,
            )
        )  # fmt: skip

    ours, theirs = [], []
    for _ in range(sizes.http_rounds):
        ours.append(load(service, workload.target))
        theirs.append(load(bare_server, workload.bare_target))
    check_sample(service, workload, entries, sizes.seed + 1)
    bodies.unlink()
    rates, bare_rates = ([outcome.requests / outcome.seconds for outcome in side] for side in (ours, theirs))
    yield Figure(
        PART, workload.name, "requests/s", Spread.of(rates), (beside("bare", rates, bare_rates),), workload.goal,
        note=f"{Spread.of(rates).median * workload.digests:,.0f} digests/s; "
        f"busy: service {_busy(ours)}, bare {_busy(theirs)}",
    )  # fmt: skip
    # What a request costs whoever else wants the cores: the steadier figure on a machine that is not quiet.
    costs, bare_costs = ([_processor_us(outcome) for outcome in side] for side in (ours, theirs))
    what = f"{workload.name}, processor time"
    yield Figure(PART, what, "µs/request", Spread.of(costs), (beside("bare", costs, bare_costs),))


def run_load(job: Job) -> Outcome:
    """Put a load on a server from a process of its own. Raises WrongAnswer when a reply is not `job.reply`."""
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=orjson.dumps(asdict(job)), capture_output=True, check=False, cwd=ROOT, env=environment(),
        timeout=job.seconds + job.warm_up_seconds + 60,
    )  # fmt: skip
    said = f"load on {job.target}: {finished.stderr.decode(errors='replace')[-800:]}"
    must(finished.returncode != WRONG_ANSWER, said)
    if finished.returncode:
        raise CannotMeasure(said)
    return Outcome(**orjson.loads(finished.stdout))


def expected_reply(store: Path, digests: int) -> bytes:
    """Give the reply to a request of so many sha256 digests of which none is listed."""
    return orjson.dumps(
        {
            "snapshot_id": Store(store).current().snapshot_id,
            "overlay_version": 0,
            "checked": {"sha256": digests},
            "not_loaded": {},
            "matches": [],
            "invalid": [],
        }
    )


def check_sample(service: Server, workload: Workload, entries: bytes, seed: int) -> None:
    """Send misses with entries among them and require a match at each entry's index, and nowhere else."""
    draw = random.Random(seed)
    misses = random_digests(seed, f"sample-{workload.digests}", _SAMPLES * workload.digests)
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)) as connection:
        for number, packed in enumerate(cut(misses, workload.digests)):
            digests = cut(packed, 1)
            places = sorted(draw.sample(range(len(digests)), min(len(digests), number % 4)))
            for place in places:
                at = draw.randrange(len(entries) // 32) * 32
                digests[place] = entries[at : at + 32]
            body = workload.body(b"".join(digests))
            connection.request("POST", workload.target, body, {"Content-Type": workload.content_type})
            response = connection.getresponse()
            must(response.status == 200, f"a sample was answered {response.status}")
            _check_reply(orjson.loads(response.read()), digests, places)


def _check_reply(reply: dict[str, object], digests: list[bytes], places: list[int]) -> None:
    label = {"list_id": LIST_ID, "category": CATEGORY, "tier": TIER}
    expected = [
        {"algorithm": "sha256", "index": place, "digest": digests[place].hex(), "action": "block", "labels": [label]}
        for place in places
    ]
    must(reply["checked"] == {"sha256": len(digests)}, "a sample was not checked whole")
    must(reply["matches"] == expected, "a sample was not answered with just its entries as matches")
    must(not reply["invalid"] and not reply["not_loaded"], "a sample has something invalid or not loaded")


@contextmanager
def bare(replies: dict[Workload, bytes], work: Path) -> Iterator[Server]:
    """Run the bare application with the service's settings of uvicorn until the block ends."""
    path = work / "bare-replies.json"
    path.write_bytes(
        orjson.dumps({workload.bare_target: orjson.Fragment(reply) for workload, reply in replies.items()})
    )
    port = free_port()
    command = [
        sys.executable, "-m", "uvicorn", "--factory", "benchmarks.bare_app:create_app", "--port", str(port),
        "--loop", "uvloop", "--http", "httptools", "--ws", "none", "--lifespan", "off", "--no-access-log",
        "--no-server-header", "--no-proxy-headers", "--timeout-keep-alive", "30",
    ]  # fmt: skip
    first = next(iter(replies)).bare_target
    with serving(command, port, first, work / "bare.log", {REPLIES_VARIABLE: str(path)}) as server:
        yield server


def _write_bodies(path: Path, workload: Workload, sizes: Sizes) -> int:
    """Write the pool of different bodies; give the bytes of each, which are the same for all."""
    count = max(1, min(workload.bodies, sizes.pool // workload.digests))
    packed = random_digests(sizes.seed, f"http-{workload.digests}", count * workload.digests)
    bodies = [workload.body(piece) for piece in cut(packed, workload.digests)]
    path.write_bytes(b"".join(bodies))
    return len(bodies[0])


def _busy(outcomes: list[Outcome]) -> str:
    seconds = sum(outcome.seconds for outcome in outcomes)
    server = sum(outcome.server_cpu_seconds for outcome in outcomes) / seconds
    load = sum(outcome.load_cpu_seconds for outcome in outcomes) / seconds
    return f"{server:.0%} (load {load:.0%})"


def _processor_us(outcome: Outcome) -> float:
    # The kernel counts in steps of 10 ms: a load too short to see one counts as one.
    return 1e6 * max(outcome.server_cpu_seconds, 0.01) / outcome.requests
