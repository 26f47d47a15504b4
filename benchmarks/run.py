"""One run of a suite: its sizes, its directory, and the stores that its parts share, each made once.

A part is a function from a Run to figures (benchmarks/parts.py lists them). Parts run one after the other; each ends
what it started, whether it succeeds or raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.digests import cut, random_digests, write_packed_list
from benchmarks.errors import must
from benchmarks.figures import Figure
from benchmarks.sizes import Sizes
from benchmarks.stores import compile_store


@dataclass(slots=True)
class Run:
    """What every part is given: `work` is a directory of its own, which vanishes after it."""

    sizes: Sizes
    work: Path
    _stores: dict[int, Path] = field(default_factory=dict)
    _stores_directory: Path | None = None

    def for_part(self, work: Path) -> Run:
        """Give the same run, its stores included, for a part that works in `work`."""
        return Run(self.sizes, work, self._stores, self._stores_directory or self.work)

    def packed_entries(self, count: int) -> bytes:
        """Give the sha256 entries of the store of that size, packed, in no order. Cost: 60 ns an entry."""
        return random_digests(self.sizes.seed, f"entries-{count}", count)

    def entries(self, count: int) -> list[bytes]:
        """Give the same, each a bytes object of its own (65 bytes of memory an entry)."""
        return cut(self.packed_entries(count), 1)

    def store(self, count: int) -> Path:
        """Give the store of so many sha256 entries, compiled by the real command when it is first asked for."""
        store = self._stores.get(count)
        if store is None:
            directory = self._stores_directory or self.work
            source = directory / f"entries-{count}.txt"
            write_packed_list(source, self.packed_entries(count))
            compiled = compile_store(directory / f"store-{count}", [source])
            source.unlink()
            must(compiled.said["entries"] == count, f"the store has {compiled.said['entries']} entries, not {count}")
            store = self._stores[count] = compiled.store
        return store


Part = Callable[[Run], Iterator[Figure]]
