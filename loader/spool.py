"""Records on their way to being sorted: partitioned by leading byte as they come, in memory while they fit.

    spools.add(SHA256, rows)            rows of digest ‖ label number (4 bytes), any order
    for part, depth in spools.parts(SHA256):
        …                               parts in ascending order of their digests; all rows of a digest in one part

A part is small enough to be sorted in the processor's cache. Beyond the memory limit the largest spool writes the
oldest block of rows that it holds to its file, partition after partition, and remembers the extents; a partition that
is too large to be sorted in memory (a skewed list, or a hostile one) is partitioned again by the next byte in which it
differs, and so on to the last. Only rows that agree in every byte of the digest stay together however many they are,
as distinct label numbers.

A thread follows that writes blocks while the next are filled, and cuts out of the file what was read back.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from loader.spool_file import cut_out_of, write_all
from snapshot.algorithms import ALGORITHMS, Algorithm
from snapshot.errors import wrapped_os_errors
from snapshot.hexdigest import ByteMatrix
from snapshot.pipeline import Follower

#: Bytes of a label number behind each digest.
LABEL_BYTES: Final = 4
#: Rows gathered before they are partitioned at once: enough for 256 slices, and a chunk of lines at a time stays in the
#: processor's cache (twice as many rows take half as long again).
_BATCH_ROWS: Final = 1 << 15
#: Partitions of a spool: one for each value of a byte.
_PARTITIONS: Final = 256
#: Partitions that are cut out of the file together: what one block has of them is one piece of the file.
_CUT_TOGETHER: Final = 16
#: Bytes read back at once from a partition that is partitioned again.
_REREAD_BYTES: Final = 8 << 20


def numbered_rows(digests: ByteMatrix, numbers: npt.ArrayLike, number_type: str = f"<u{LABEL_BYTES}") -> ByteMatrix:
    """Put numbers, n or one for all, behind digests of shape (n, L): rows of shape (n, L + bytes of a number)."""
    count, length = digests.shape
    # Fields of a record are copied whole, three times as fast as columns of bytes.
    rows = np.empty(count, dtype=[("digest", f"V{length}"), ("number", number_type)])
    rows["digest"] = digests.view(f"V{length}")[:, 0]
    rows["number"] = numbers
    return rows.view(np.uint8).reshape(count, rows.itemsize)


class Spools:
    """One spool for each algorithm that occurs, under one memory limit."""

    def __init__(self, directory: Path, memory_bytes: int) -> None:
        """Hold rows of up to half of `memory_bytes` in memory; sorting a part needs some of the other half.

        What is on its way to disk comes on top, at most three sixteenths for each algorithm that spills, and the unused
        rest of the blocks: at most one sixteenth an algorithm, mostly never touched.
        """
        self._directory = directory
        self._limit = memory_bytes // 2
        self._part_limit = max(memory_bytes // 16, 1 << 20)
        self._spools: dict[str, _Spool] = {}

    def add(self, algorithm: Algorithm, rows: ByteMatrix) -> None:
        """Take rows of shape (n, algorithm.digest_bytes + LABEL_BYTES). Raises StoreFull, StoreUnusable."""
        if not len(rows):
            return  # an algorithm without rows has no place in a snapshot
        spool = self._spools.get(algorithm.name)
        if spool is None:
            file = self._directory / f"{algorithm.name}.spool"
            spool = self._spools[algorithm.name] = _Spool(file, algorithm.digest_bytes, self._part_limit, depth=0)
        spool.add(rows)
        while sum(s.held_bytes for s in self._spools.values()) > self._limit:
            max(self._spools.values(), key=lambda s: s.held_bytes).spill()

    def algorithms(self) -> list[Algorithm]:
        """Give the algorithms that have rows, in a snapshot's order."""
        return [algorithm for name, algorithm in ALGORITHMS.items() if name in self._spools]

    def rows(self, algorithm: Algorithm) -> int:
        """Give how many rows an algorithm has, repeats included."""
        spool = self._spools.get(algorithm.name)
        return spool.rows if spool is not None else 0

    def parts(self, algorithm: Algorithm, *, keep: bool = False) -> Iterator[tuple[ByteMatrix, int]]:
        """Yield (rows, depth), ascending; all rows of a part agree in their first `depth` bytes.

        Once only, since the spool is gone afterwards, unless it is to `keep` its rows; then nothing may be added to it.
        """
        spool = self._spools[algorithm.name]
        yield from spool.parts(keep=keep)
        if not keep:
            spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for spool in self._spools.values():
            spool.close()


class _Spool:
    """The rows of one algorithm, or of one of its partitions, partitioned by the byte at `depth`."""

    def __init__(self, file: Path, digest_bytes: int, part_limit: int, depth: int) -> None:
        self._file = file
        self._digest_bytes = digest_bytes
        self._row_bytes = digest_bytes + LABEL_BYTES
        self._part_limit = part_limit
        self._depth = depth
        self._waiting: list[ByteMatrix] = []
        self._waiting_rows = 0
        self._blocks: deque[_Block] = deque()  # the last one is being filled
        self._spare: deque[ByteMatrix] = deque()  # memory of blocks that were written
        self._extents: list[list[tuple[int, int]]] = [[] for _ in range(_PARTITIONS)]
        self._read_back: list[tuple[int, int]] = []  # extents that are to be cut out
        self._follower = Follower()
        self._fd = -1
        self._end = 0
        self._partitioned = False
        self.held_bytes = 0
        self.rows = 0

    def add(self, rows: ByteMatrix) -> None:
        self._waiting.append(rows)
        self._waiting_rows += len(rows)
        self.rows += len(rows)
        self.held_bytes += rows.nbytes
        if self._waiting_rows >= _BATCH_ROWS:
            self._partition()

    def _partition(self) -> None:
        if not self._waiting:
            return
        self._partitioned = True
        rows = np.concatenate(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
        lead = np.ascontiguousarray(rows[:, self._depth])
        if not self._blocks or self._blocks[-1].left < len(rows):
            self._blocks.append(_Block(self._room_for(len(rows))))
        self._blocks[-1].add(rows, lead)
        self._waiting, self._waiting_rows = [], 0

    def _room_for(self, count: int) -> ByteMatrix:
        """Give room for so many rows and more: large blocks come in huge pages, and leave no holes in the heap."""
        count = max(count, self._part_limit // self._row_bytes)
        if self._spare and len(self._spare[0]) >= count:
            return self._spare.popleft()
        return np.empty((count, self._row_bytes), dtype=np.uint8)

    def spill(self) -> None:
        """Have the oldest block written to the file, partition after partition.

        At most three blocks, each of the part limit, are on their way beside what is held. All at once, and while no
        line is read, writing made reading a hundred million lines half as long again.
        """
        self._partition()
        with wrapped_os_errors("writing", self._file):
            if self._fd < 0:
                self._fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        block = self._blocks.popleft()
        for value, pieces in enumerate(block.pieces):
            if pieces:
                size = sum(piece.nbytes for piece in pieces)
                self._extents[value].append((self._end, size))
                self._end += size
                self.held_bytes -= size
        self._follower.call(self._write, block)

    def _write(self, block: _Block) -> None:
        with wrapped_os_errors("writing", self._file):
            for pieces in block.pieces:
                if pieces:
                    write_all(self._fd, np.concatenate(pieces).reshape(-1).data)
        self._spare.append(block.room)  # its pages are there, where a new block's would have to be found and cleared

    def _held(self, value: int) -> list[ByteMatrix]:
        return [piece for block in self._blocks for piece in block.pieces[value]]

    def _forget(self, value: int) -> None:
        """Let go of one partition, in memory and in the file."""
        for block in self._blocks:
            block.pieces[value] = []
        self._read_back += self._extents[value]
        self._extents[value] = []
        if self._read_back and (value + 1) % _CUT_TOGETHER == 0:
            self._follower.call(cut_out_of, self._fd, self._read_back)
            self._read_back = []

    def parts(self, *, keep: bool = False) -> Iterator[tuple[ByteMatrix, int]]:
        if not self._partitioned and 0 < self.held_bytes <= self._part_limit:  # little enough to be one part
            yield np.concatenate(self._waiting), self._depth
            return
        self._partition()
        self._close_blocks()
        for value in range(_PARTITIONS):
            size = sum(p.nbytes for p in self._held(value)) + sum(count for _, count in self._extents[value])
            if size > self._part_limit:
                yield from self._split(value, keep=keep)
            elif size:
                yield self._whole(value, size), self._depth + 1
            if not keep:
                self._forget(value)

    def _split(self, value: int, *, keep: bool) -> Iterator[tuple[ByteMatrix, int]]:
        """Partition one partition again, by the first byte in which its rows differ at all."""
        depth = self._first_difference(value)
        if depth == self._digest_bytes:
            yield _one_digest(self._pieces(value, _REREAD_BYTES), self._row_bytes), depth
            return
        file = self._file.with_suffix(f".spool-{depth}")  # one spool of a depth at a time is open
        deeper = _Spool(file, self._digest_bytes, self._part_limit, depth)
        try:
            for rows in self._pieces(value, _REREAD_BYTES, cut_out=not keep):
                deeper.add(rows)
                if deeper.held_bytes > 4 * self._part_limit:
                    deeper.spill()
            # There can be as many levels as bytes in a digest, so none may hold anything while a deeper one is at
            # work, the first aside: neither the last piece, nor what was handed on, nor the partitions to come.
            del rows
            if not keep:
                self._forget(value)
            if self._depth and self._blocks:
                while self._blocks:
                    self.spill()
                self._close_blocks()
            yield from deeper.parts()
        finally:
            deeper.close()

    def _first_difference(self, value: int) -> int:
        """Give the first byte in which the rows of a partition differ, or the digest's length when none does."""
        first: ByteMatrix | None = None
        shared = self._digest_bytes
        for rows in self._pieces(value, _REREAD_BYTES):
            first = rows[0] if first is None else first
            differs = (rows[:, :shared] != first[:shared]).any(axis=0)
            shared = int(differs.argmax()) if differs.any() else shared
        return shared

    def _whole(self, value: int, size: int) -> ByteMatrix:
        """Gather one partition of so many bytes; what was spilled is read to its place, without a copy between."""
        rows = np.empty((size // self._row_bytes, self._row_bytes), dtype=np.uint8)
        room, filled = rows.reshape(-1).data, 0
        for offset, count in self._extents[value]:
            self._read(room[filled : filled + count], offset)
            filled += count
        if held := self._held(value):
            np.concatenate(held, out=rows[filled // self._row_bytes :])
        return rows

    def _read(self, room: memoryview, offset: int) -> None:
        with wrapped_os_errors("reading", self._file):
            while room:
                count = os.preadv(self._fd, [room], offset)
                if not count:
                    raise OSError(5, "the file was cut while it was in use", str(self._file))
                room, offset = room[count:], offset + count

    def _pieces(self, value: int, at_most: int, *, cut_out: bool = False) -> Iterator[ByteMatrix]:
        """Yield what one partition holds, in pieces of about `at_most` bytes; `cut_out` of the file, if so asked."""
        step = max(at_most // self._row_bytes, 1) * self._row_bytes
        for offset, size in self._extents[value]:
            for start in range(offset, offset + size, step):
                rows = np.empty((min(step, offset + size - start) // self._row_bytes, self._row_bytes), dtype=np.uint8)
                self._read(rows.reshape(-1).data, start)
                if cut_out:
                    self._follower.call(cut_out_of, self._fd, [(start, rows.nbytes)])
                yield rows
        yield from self._held(value)

    def close(self) -> None:
        self._follower.stop()  # before the file is closed that it writes to
        if self._fd >= 0:
            os.close(self._fd)
            self._file.unlink(missing_ok=True)
            self._fd = -1
        self._waiting = []
        self._blocks.clear()
        self._spare.clear()
        self.held_bytes = 0

    def _close_blocks(self) -> None:
        """Wait until what was spilled can be read, and keep of the blocks only those of which rows are held."""
        self._follower.wait()
        self._spare.clear()
        for block in self._blocks:
            block.room = block.room[:0].copy()


class _Block:
    """Rows in one piece of memory, by partition."""

    def __init__(self, room: ByteMatrix) -> None:
        self.room = room
        self.left = len(room)
        self.pieces: list[list[ByteMatrix]] = [[] for _ in range(_PARTITIONS)]

    def add(self, rows: ByteMatrix, lead: npt.NDArray[np.uint8]) -> None:
        """Take at most `left` rows in, in the order of their leading bytes."""
        start = len(self.room) - self.left
        self.left -= len(rows)
        room = self.room[start : start + len(rows)]
        # One byte: a counting sort. `take` copies whole rows, where indexing takes twenty times as long; it would copy
        # all of them twice if it had to check indexes before it writes.
        rows = rows.take(np.argsort(lead, kind="stable"), axis=0, out=room, mode="clip")
        start = 0
        for value, count in enumerate(np.bincount(lead, minlength=_PARTITIONS).tolist()):
            if count:
                self.pieces[value].append(rows[start : start + count])
                start += count


def _one_digest(pieces: Iterator[ByteMatrix], row_bytes: int) -> ByteMatrix:
    """Reduce rows of one and the same digest to one row for each distinct label number."""
    distinct: ByteMatrix = np.empty((0, row_bytes), dtype=np.uint8)
    for rows in pieces:
        both = np.concatenate([distinct, rows])
        labels = np.ascontiguousarray(both[:, -LABEL_BYTES:]).view("<u4")[:, 0]
        distinct = both[np.unique(labels, return_index=True)[1]]
    return distinct
