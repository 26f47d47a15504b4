"""How much of everything a run measures. The defaults are the sizes that the goals are stated at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts and times of a run; the same seed and sizes make the same digests."""

    seed: int = 20_260_101
    #: Entries of the list that is looked up in, in process and over HTTP.
    entries: int = 1_000_000
    #: Random digests that misses are drawn from, many times what the caches hold (128 MB as sha256).
    pool: int = 4_000_000
    #: Rounds of everything in process; each takes fresh digests from the pool.
    rounds: int = 7
    #: Digests in one round at each batch size; a tenth of it at batches of one, and for pybloom-live a 20th.
    digests_a_round: int = 200_000
    batches: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    #: Over HTTP: rounds, each with the service and the bare application once, and how long one load takes.
    http_rounds: int = 7
    http_seconds: float = 1.0
    http_warm_up_seconds: float = 0.2
    connections: int = 16
    #: Lines of the list that is compiled beside `sort -u`, and how often both are done.
    compile_lines: int = 10_000_000
    compile_rounds: int = 3
