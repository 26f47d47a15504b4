"""The same load on the service and on a rival in turns, round by round, and the figures that come of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.processes import Server
from benchmarks.sizes import Sizes
from benchmarks.workloads import Listed, Workload, check_sample, make_load
from benchmarks.wrk import Load, Outcome, closed_loop


@dataclass(frozen=True, slots=True)
class Rival:
    """Another server, and the load that asks it for the same."""

    name: str
    server: Server
    load: Load


@dataclass(slots=True)
class Contest:
    """A load on the service, and the same on a rival if there is one; what came of both in each round."""

    workload: Workload
    listed: Listed
    server: Server
    load: Load
    reply: bytes
    rival: Rival | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    rival_outcomes: list[Outcome] = field(default_factory=list)

    @classmethod
    def prepare(cls, sizes: Sizes, workload: Workload, listed: Listed, server: Server, bodies: Path) -> Contest:
        """Write the load's bodies to a file; `reply` is the body of one of its replies."""
        load, reply = make_load(server, workload, listed, sizes.seed, bodies)
        return cls(workload, listed, server, load, reply)

    def turn(self, connections: int, seconds: float) -> list[Outcome]:
        """Put the load on the service, then on the rival."""
        both = [(self.server, self.load)] + ([(self.rival.server, self.rival.load)] if self.rival else [])
        return [closed_loop(server, load, connections, seconds) for server, load in both]

    @property
    def at(self) -> Mapping[str, int | float | str]:
        """What names the figures of this contest."""
        workload = self.workload
        form = "mixed" if workload.form == "json" and len(workload.columns) > 1 else workload.form
        at: dict[str, int | float | str] = {"form": form, "batch": workload.digests, "entries": self.listed.count}
        spoilt = {"matches": workload.matches, "invalid": workload.invalid}
        return at | {name: count for name, count in spoilt.items() if count}

    def digests(self) -> list[float]:
        """Digests a second, round by round."""
        return [outcome.rate * self.workload.digests for outcome in self.outcomes]


def compete(sizes: Sizes, contests: Sequence[Contest]) -> None:
    """Run all rounds, and read replies to a sample before and after. Removes the bodies."""
    for contest in contests:
        check_sample(contest.server, contest.workload, contest.listed, sizes.seed)
        contest.turn(sizes.connections, sizes.http_warm_up_seconds)
    for _ in range(sizes.http_rounds):
        for contest in contests:
            ours, *theirs = contest.turn(sizes.connections, sizes.http_seconds)
            contest.outcomes.append(ours)
            contest.rival_outcomes += theirs
    for contest in contests:
        check_sample(contest.server, contest.workload, contest.listed, sizes.seed + 1)
        contest.load.bodies.unlink()


def requests_beside_rival(part: str, key: str, contest: Contest, goals: tuple[Goal, ...] = ()) -> Figure:
    """Give requests a second beside the rival's."""
    assert contest.rival is not None
    ours = [outcome.rate for outcome in contest.outcomes]
    theirs = [outcome.rate for outcome in contest.rival_outcomes]
    name = contest.rival.name
    return Figure(
        part, key, contest.workload.name, "requests/s", Spread.of(ours), contest.at,
        (beside(name, ours, theirs),), goals,
        note=f"{Spread.of(contest.digests()).median:,.0f} digests/s; "
        f"busy: service {_busy(contest.outcomes)}, {name} {_busy(contest.rival_outcomes)}",
    )  # fmt: skip


def processor_time(part: str, key: str, contest: Contest) -> Figure:
    """Give what a request costs whoever else wants the cores: the steadier figure on a machine that is not quiet."""
    ours = [outcome.server_us for outcome in contest.outcomes]
    theirs = [outcome.server_us for outcome in contest.rival_outcomes]
    rivals = (beside(contest.rival.name, ours, theirs),) if contest.rival else ()
    what = f"{contest.workload.name}, processor time"
    return Figure(part, key, what, "µs/request", Spread.of(ours), contest.at, rivals)


def uvicorn(factory: str, port: int) -> list[str]:
    """Give the command line of a rival with the service's settings of uvicorn and one worker."""
    return [
        sys.executable, "-m", "uvicorn", "--factory", factory, "--port", str(port),
        "--loop", "uvloop", "--http", "httptools", "--ws", "none", "--no-access-log",
        "--no-server-header", "--no-proxy-headers", "--timeout-keep-alive", "30",
    ]  # fmt: skip


def _busy(outcomes: Sequence[Outcome]) -> str:
    seconds = sum(outcome.seconds for outcome in outcomes)
    server = sum(outcome.server_cpu_seconds for outcome in outcomes) / seconds
    wrk = sum(outcome.wrk_cpu_seconds for outcome in outcomes) / seconds
    return f"{server:.0%} (wrk {wrk:.0%})"
