"""How much of everything a run measures: the quick suite, the full one, and the one of a hundred million lines.

The same seed and sizes make the same digests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts and times of a run. The defaults are the quick suite's, for a list of a million entries."""

    seed: int = 20_260_101
    #: Entries of the list that most things are measured with: in process, over HTTP, memory, opening.
    entries: int = 1_000_000
    #: Entries of the list that peers with slow building (pybloom-live, LMDB, SQLite, the naive service) hold.
    peer_entries: int = 1_000_000
    #: Further sizes of our own list, so that growth shows.
    growth: tuple[int, ...] = ()
    #: Random digests that misses are drawn from, many times what the caches hold (128 MB as sha256).
    pool: int = 4_000_000
    #: Rounds of everything in process; each takes fresh digests from the pool.
    rounds: int = 7
    #: Digests in one round at each batch size; a tenth of it at batches of one. Slow peers get a part of it.
    digests_a_round: int = 200_000
    batches: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    #: Over HTTP: rounds, each with the service and its baselines once, and how long one load takes.
    http_rounds: int = 5
    http_seconds: float = 0.3
    http_warm_up_seconds: float = 0.2
    connections: int = 16
    #: Open loop: how long one load takes, how often a snapshot is swapped under one, and how long a swap is given.
    tail_seconds: float = 1.0
    swaps: int = 5
    swap_seconds: float = 1.0
    #: Digests that are suppressed one after the other under load, and how long before each of them nothing happens.
    suppressions: int = 5
    suppression_pause_seconds: float = 0.3
    #: Rows of the lists of each format that are only read, and how often each is.
    reader_rows: int = 100_000
    reader_rounds: int = 5
    #: Lines of the list that is compiled beside `sort -u`, and how often both are done.
    compile_lines: int = 10_000_000
    compile_rounds: int = 5
    #: Lines of the list that is compiled beside hfind's index.
    hfind_lines: int = 200_000
    #: Lines of the list, on request, that shows how time and memory grow, and how often it is compiled.
    huge_lines: int = 100_000_000
    huge_rounds: int = 3


QUICK: Final = Sizes()
FULL: Final = replace(
    QUICK,
    entries=10_000_000,
    growth=(10_000, 100_000, 1_000_000),
    hfind_lines=1_000_000,
    rounds=9,
    http_rounds=7,
    http_seconds=2.0,
    tail_seconds=5.0,
    swaps=10,
    swap_seconds=3.0,
    suppression_pause_seconds=1.0,
    reader_rows=200_000,
    reader_rounds=7,
)
