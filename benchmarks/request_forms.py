"""Every form of a request in process, body in, reply out, with matches and with invalid items among the misses.

    packed   raw sha256 digests
    column   JSON, one column of sha256
    mixed    JSON, a column each of md5, sha1 and sha256
    files    JSON, files with a ref, an md5 and a sha256 each

A request has 1,000 digests. Each kind is measured beside misses in the same form and of the same round; misses in the
forms that are slower to read beside a column. The store has as many entries of each algorithm as the peers hold.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import orjson

from benchmarks.digests import random_digests
from benchmarks.errors import must
from benchmarks.figures import Baseline, Figure, Goal, Spread, beside
from benchmarks.run import Run
from benchmarks.stores import compile_packed, live_manifest, open_view
from benchmarks.timed_calls import MAX_DIGESTS
from benchmarks.workloads import Listed, Request, Workload, requests
from service.forms import Files, read_json, read_packed
from service.match import match_columns, match_files
from service.view import View
from snapshot.algorithms import ALGORITHMS

PART: Final = "in process"
#: The baseline: misses in the form that the figure is of.
SAME_FORM: Final = "miss, same form"
#: Most times of a miss in the same form, for up to 1 % of matches or of invalid items.
_GOAL_TIMES: Final = 5
_GOAL_SHARE: Final = 0.01

_PACKED: Final = Workload("packed", "packed", (("sha256", 1_000),))
_COLUMN: Final = Workload("column", "json", (("sha256", 1_000),))
_MIXED: Final = Workload("mixed", "json", (("md5", 334), ("sha1", 333), ("sha256", 333)))
_FILES: Final = Workload("files", "files", (("md5", 500), ("sha256", 500)))

#: Each form's misses first, which the others are compared with.
KINDS: Final = (
    *(replace(form, matches=matches) for form in (_PACKED, _COLUMN, _MIXED, _FILES) for matches in (0, 10, 1_000)),
    *(replace(form, invalid=10) for form in (_COLUMN, _MIXED, _FILES)),
)


def measure(run: Run) -> Iterator[Figure]:
    """Measure all kinds of requests in turns, round by round."""
    sizes = run.sizes
    entries = {
        name: random_digests(sizes.seed, f"forms-{name}", sizes.peer_entries, ALGORITHMS[name].digest_bytes)
        for name, _ in _MIXED.columns
    }
    store = compile_packed(run.work / "forms", entries).store
    listed = Listed(live_manifest(store).snapshot_id, entries)
    times: dict[Workload, list[float]] = {kind: [] for kind in KINDS}
    with open_view(store) as view:
        for number in range(sizes.rounds):
            for kind in KINDS:
                count = max(1, sizes.digests_a_round // (8 * kind.digests))
                times[kind].append(answer_ns(view, kind, make(kind, listed, sizes.seed, number, count)))
    for kind in KINDS:
        yield _figure(kind, times, sizes.peer_entries)


def make(kind: Workload, listed: Listed, seed: int, number: int, count: int) -> list[Request]:
    """Make so many requests for a round, with fresh misses and with matches at random places."""
    stream = f"round {number} {kind}"
    draw = random.Random(f"{seed} {stream}")
    spoilt = set(kind.places(kind.invalid, 1))
    good = [place for place in range(kind.digests) if place not in spoilt]
    places = [sorted(draw.sample(good, kind.matches)) for _ in range(count)]
    return list(requests(kind, listed, seed, stream, places))


def answer(view: View, kind: Workload, body: bytes) -> bytes:
    """Answer a body as the service does."""
    if kind.form == "packed":
        return match_columns(view, read_packed(body, ALGORITHMS[kind.columns[0][0]], MAX_DIGESTS))
    request = read_json(body, MAX_DIGESTS)
    return match_files(view, request) if isinstance(request, Files) else match_columns(view, request)


def answer_ns(view: View, kind: Workload, wanted: Sequence[Request]) -> float:
    """Give ns per digest of answering requests. Raises WrongAnswer unless every reply is just what it should be."""
    began = time.perf_counter_ns()
    replies = [answer(view, kind, request.body) for request in wanted]
    elapsed = time.perf_counter_ns() - began
    for request, reply in zip(wanted, replies, strict=True):
        must(orjson.loads(reply) == request.reply, f"a request in the form {kind.name} was not answered right")
    return elapsed / (len(wanted) * kind.digests)


def _figure(kind: Workload, times: dict[Workload, list[float]], entries: int) -> Figure:
    ours, misses = times[kind], replace(kind, matches=0, invalid=0)
    matches, invalid = kind.matches / kind.digests, kind.invalid / kind.digests
    at: dict[str, int | float | str] = {
        "form": kind.name, "matches": f"{matches:.0%}", "invalid": f"{invalid:.0%}", "entries": entries,
    }  # fmt: skip
    what = f"{kind.name} body → reply, {kind.digests:,} a batch, {matches:.0%} matches"
    if kind.invalid:
        what += f", {invalid:.0%} invalid"
    baselines: tuple[Baseline, ...] = ()
    goals: tuple[Goal, ...] = ()
    if kind != misses:
        baselines = (beside(SAME_FORM, ours, times[misses]),)
        if max(matches, invalid) <= _GOAL_SHARE:
            goals = (Goal(_GOAL_TIMES, at_most=True, ratio_to=SAME_FORM),)
    elif kind != _COLUMN:
        baselines = (beside("miss, column", ours, times[_COLUMN]),)
    return Figure(PART, "request in process", what, "ns", Spread.of(ours), at, baselines, goals)
