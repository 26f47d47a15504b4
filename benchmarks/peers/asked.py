"""A peer in this process, and how long it takes to answer: one digest at a time or in batches, as ours is asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from benchmarks.errors import must


@dataclass(frozen=True, slots=True)
class Peer:
    """Something that holds digests.

    `one` gives something true for a digest that it holds. `many` gives what it found of a batch. A slow peer is
    asked only one in `share` of the digests that a round has. `errs` is the false-positive rate that is expected.
    """

    name: str
    one: Callable[[bytes], object]
    many: Callable[[Sequence[bytes]], Collection[object]]
    share: int = 1
    errs: float = 0.0

    def ns(self, digests: Sequence[bytes], batch: int, held: int = 0) -> float:
        """Give ns per digest of asking for all of `digests`, of which it holds just `held`. Raises WrongAnswer."""
        # Answers are kept until the clock has stopped, as ours are.
        if batch == 1:
            one = self.one
            began = time.perf_counter_ns()
            singly = [one(digest) for digest in digests]
            elapsed = time.perf_counter_ns() - began
            found = sum(map(bool, singly))
        else:
            many, batches = self.many, [digests[at : at + batch] for at in range(0, len(digests), batch)]
            began = time.perf_counter_ns()
            answers = [many(part) for part in batches]
            elapsed = time.perf_counter_ns() - began
            found = sum(map(len, answers))
        # Three times the rate and ten more: a sound filter passes that once in millions of runs.
        most = held + (3 * self.errs * len(digests) + 10 if self.errs else 0)
        must(held <= found <= most, f"{self.name} found {found} of {len(digests)} digests, it holds {held}")
        return elapsed / len(digests)
