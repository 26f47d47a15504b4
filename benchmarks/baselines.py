"""What a lookup could be made of instead: a Python set, pybloom-live as it comes, LMDB with a key per digest.

Each holds the same entries as the snapshot and is asked one digest at a time, which is how it is used. The digests
are handed to it as bytes objects, cut beforehand, so that it is not charged for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import lmdb
from pybloom_live import BloomFilter

from benchmarks.errors import CannotMeasure, must

FALSE_POSITIVE_RATE = 0.001


class Baselines:
    """The three of them, over the same entries. A context manager, for LMDB's sake."""

    def __init__(self, entries: Sequence[bytes], work: Path) -> None:
        """Build all three. Cost: pybloom-live takes about 5 µs an entry, the others less than one."""
        self.entries = set(entries)
        self.bloom = BloomFilter(len(entries), FALSE_POSITIVE_RATE)
        for digest in entries:
            self.bloom.add(digest, skip_check=True)
        path = work / "key-per-digest.lmdb"
        self._environment = lmdb.open(
            str(path), subdir=False, map_size=max(1 << 24, 256 * len(entries)), sync=False, lock=False
        )
        with self._environment.begin(write=True) as writing:
            for digest in sorted(entries):
                if not writing.put(digest, b"\0\0", append=True):
                    raise CannotMeasure("LMDB took an entry out of order")
        self._reading = self._environment.begin()

    def set_ns(self, digests: Sequence[bytes], found: int = 0) -> float:
        """Give ns per digest of asking the set; exactly `found` must be in it."""
        return _timed("the set", self.entries.__contains__, digests, found, found)

    def bloom_ns(self, digests: Sequence[bytes]) -> float:
        """Give ns per digest of asking pybloom-live, none of which it holds; it may err on one in 300."""
        return _timed("pybloom-live", self.bloom.__contains__, digests, 0, 10 + len(digests) // 300)

    def lmdb_ns(self, digests: Sequence[bytes], found: int = 0) -> float:
        """Give ns per digest of asking LMDB; exactly `found` must be in it."""
        return _timed("LMDB", self._reading.get, digests, found, found)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.abort()
        self._environment.close()


def _timed(name: str, ask: Callable[[bytes], object], digests: Sequence[bytes], least: int, most: int) -> float:
    found = 0
    began = time.perf_counter_ns()
    for digest in digests:
        if ask(digest):
            found += 1
    elapsed = time.perf_counter_ns() - began
    must(least <= found <= most, f"{name} found {found} of {len(digests)}, {least} to {most} are right")
    return elapsed / len(digests)
