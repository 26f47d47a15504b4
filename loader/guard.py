"""The known-good guard: a digest of a file that is known to be harmless never gets into a snapshot.

Empty files, single-pixel images and files that come with every content management system turn up on real hash lists;
each would have innocent uploads deleted. Known-good digests travel through the loader like all others, as rows with a
number of their own (KNOWN_GOOD), so there can be as many as disk space allows. Once a part is sorted, the rows of a
digest stand together, and where one of them is known good none of them is taken. Withdrawn rows go in the same step,
and so do the other digests of entries that are known good by one of theirs (loader/entries.py).

    trivial_digests()        digests of files that anybody has, from their bytes
    guard.take_out(…)        sorted rows → the rows that may be listed, collisions counted and named
"""

from __future__ import annotations

import hashlib
import itertools
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from loader.entries import Collisions
from loader.label_numbers import FIRST_REFERENCE, KNOWN_GOOD, LabelNumbers, LabelTable, Withdrawals
from snapshot.algorithms import ALGORITHMS, MD5, SHA1, SHA256, SHA512, Algorithm
from snapshot.bloom import keys_of
from snapshot.errors import wrapped_os_errors
from snapshot.hexdigest import ByteMatrix
from snapshot.labels import Label, LabelClass
from snapshot.seal import Seal

Mask = npt.NDArray[np.bool_]

#: Collisions that are named, of each class; the others are only counted.
NAMED_COLLISIONS: Final = 20
#: Labels of a collision that are named: a placeholder may stand under any number of references.
NAMED_LABELS: Final = 100

_HASHED: Final = ((MD5, "md5"), (SHA1, "sha1"), (SHA256, "sha256"), (SHA512, "sha512"))


@dataclass(frozen=True, slots=True)
class Collision:
    """A listed digest that was left out. `labels` are those that it lost by it, for a word to the suppliers.

    It is known good, or, `with_it`, another digest of the entries with these labels is.
    """

    algorithm: str
    digest: str
    labels: tuple[Label, ...]
    with_it: bool = False


@dataclass(slots=True)
class GuardReport:
    """What the guard left out: digests by class, the first of each class by name; and rows that were withdrawn."""

    collisions: int = 0
    by_class: Counter[LabelClass] = field(default_factory=Counter)
    named: list[Collision] = field(default_factory=list)
    withdrawn_rows: int = 0
    #: Collisions by list: a digest counts once, in however many of its classes it is.
    by_list: Counter[str] = field(default_factory=Counter)
    #: Withdrawn rows by list.
    withdrawn_by_list: Counter[str] = field(default_factory=Counter)
    #: Rows of listed digests that were left out, withdrawn ones aside.
    guarded_rows: int = 0
    #: Digests that were left out with another one of their entry, in all and by list, and their rows.
    with_it: int = 0
    with_it_by_list: Counter[str] = field(default_factory=Counter)
    with_it_rows: int = 0
    #: References and known-good digests on so many rows that they name no entry: with them nothing was left out.
    constants: int = 0

    def unsealed(self, seal: Seal) -> GuardReport:
        """Give the same with digests as the suppliers know them."""
        named = [
            replace(each, digest=seal.unseal(bytes.fromhex(each.digest), ALGORITHMS[each.algorithm]).hex())
            for each in self.named
        ]
        return replace(self, named=named)


class Guard:
    """Goes over the sorted parts of one compile."""

    def __init__(self, labels: LabelTable, directory: Path) -> None:
        """Begin once all rows were read; the filter keys of known-good digests go to files in `directory`."""
        self.report = GuardReport()
        self._directory = directory
        self._keys: dict[str, tuple[BinaryIO, int]] = {}
        self._labels = labels
        self.withdrawn: Withdrawals | None = labels.withdrawn_rows()
        self._named: Counter[tuple[LabelClass, bool]] = Counter()
        self._collisions: Collisions | None = None

    def leave_out_with(self, collisions: Collisions) -> None:
        """Leave out the rows of entries that are known good too."""
        self._collisions = collisions
        self.report.constants = collisions.constants

    def take_out(self, rows: ByteMatrix, repeats: Mask, algorithm: Algorithm) -> tuple[ByteMatrix, Mask]:
        """Leave out withdrawn rows, every row of a known-good digest, and what goes with one.

        `rows` and `repeats` as sort_rows gives them, and the result likewise. Cost: 1 ns a row when there is nothing to
        leave out, 8 when there is.
        """
        numbers: LabelNumbers = rows[:, algorithm.digest_bytes :].view("<u4")[:, 0]
        known_good = numbers == KNOWN_GOOD
        drop = known_good
        if self.withdrawn is not None:
            withdrawn = self._withdrawn_among(numbers)
            self.report.withdrawn_rows += int(np.count_nonzero(withdrawn))
            self.report.withdrawn_by_list.update(
                self._labels.label(number).list_id for number in numbers[withdrawn].tolist()
            )
            drop = known_good | withdrawn
        with_it = None if self._collisions is None else self._collisions.among(rows, algorithm)
        goes = drop if with_it is None else drop | with_it
        if not goes.any():
            return rows, repeats
        # Only the digests with a row that goes: most often there are a handful of trivial files in a part of thousands.
        among = _rows_of_the_same_digests(repeats, np.flatnonzero(goes))
        stays, still_repeats = self._sift(
            rows.take(among, axis=0), repeats[among], numbers[among], known_good[among], drop[among],
            None if with_it is None else with_it[among], algorithm,
        )  # fmt: skip
        keep = np.ones(len(rows), dtype=np.bool_)
        keep[among] = stays
        repeats = repeats.copy()
        repeats[among] = still_repeats
        return rows.take(np.flatnonzero(keep), axis=0), repeats[keep]

    def _sift(
        self, rows: ByteMatrix, repeats: Mask, numbers: LabelNumbers, known_good: Mask, drop: Mask,
        with_it: Mask | None, algorithm: Algorithm,
    ) -> tuple[Mask, Mask]:  # fmt: skip
        """Tell of all rows of some digests which stay, and of those that do which repeat the one before that stays."""
        group = np.cumsum(~repeats) - 1
        good_groups = group[known_good]
        if good_groups.size:
            self._keep_keys(rows, repeats, group, known_good, algorithm)
            is_good = np.zeros(int(group[-1]) + 1, dtype=np.bool_)
            is_good[good_groups] = True
            collides = is_good[group] & ~drop
            if collides.any():
                self._note(rows[collides], group[collides], numbers[collides], algorithm)
                drop = drop | collides
        if with_it is not None and (with_it := with_it & ~drop).any():
            self._note(rows[with_it], group[with_it], numbers[with_it], algorithm, with_it=True)
            drop = drop | with_it
        kept = np.flatnonzero(~drop)
        still_repeats = np.zeros(len(rows), dtype=np.bool_)
        still_repeats[kept[1:]] = group[kept[1:]] == group[kept[:-1]]
        return ~drop, still_repeats

    def _keep_keys(
        self, rows: ByteMatrix, repeats: Mask, group: npt.NDArray[np.int64], known_good: Mask, algorithm: Algorithm
    ) -> None:
        """Note each known-good digest once, for the filter that later additions have to pass."""
        firsts = np.flatnonzero(~repeats)[np.unique(group[known_good])]
        path = self._directory / f"{algorithm.name}.known-good.keys"
        with wrapped_os_errors("writing", path):
            file, count = self._keys.get(algorithm.name) or (path.open("w+b"), 0)
            file.write(keys_of(rows.take(firsts, axis=0)[:, : algorithm.digest_bytes], algorithm).data)
        self._keys[algorithm.name] = file, count + len(firsts)

    def known_good_keys(self) -> Iterator[tuple[Algorithm, BinaryIO, int]]:
        """Yield (algorithm, file of filter keys, how many) of each algorithm with known-good digests; once."""
        for name, algorithm in ALGORITHMS.items():
            if name in self._keys:
                file, count = self._keys.pop(name)
                with file:
                    file.flush()
                    yield algorithm, file, count

    def close(self) -> None:
        """Let go of the files."""
        for file, _ in self._keys.values():
            with suppress(OSError):  # closing writes what is buffered, on a disk that may be full
                file.close()

    def _withdrawn_among(self, numbers: LabelNumbers) -> Mask:
        assert self.withdrawn is not None
        flags = np.zeros(len(numbers), dtype=np.bool_)
        referenced = np.flatnonzero(numbers >= FIRST_REFERENCE)
        flags[referenced] = self.withdrawn[numbers[referenced] - FIRST_REFERENCE]
        return flags

    def _note(
        self, rows: ByteMatrix, group: npt.NDArray[np.int64], numbers: LabelNumbers, algorithm: Algorithm,
        *, with_it: bool = False,
    ) -> None:  # fmt: skip
        """Count and name what is left out: rows of some digests, each with a label, groups ascending."""
        report = self.report
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        if with_it:
            report.with_it_rows += len(rows)
            report.with_it += len(starts)
        else:
            report.guarded_rows += len(rows)
            report.collisions += len(starts)
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True):
            labels = tuple(sorted({self._labels.label(number) for number in numbers[start:stop].tolist()}, key=_order))
            classes = {label.label_class for label in labels}
            lists = {label_class.list_id for label_class in classes}
            if with_it:
                report.with_it_by_list.update(lists)
            else:
                report.by_class.update(classes)
                report.by_list.update(lists)
            labels = labels[:NAMED_LABELS]
            if any(self._named[label_class, with_it] < NAMED_COLLISIONS for label_class in classes):
                self._named.update((label_class, with_it) for label_class in classes)
                digest = rows[start, : algorithm.digest_bytes].tobytes().hex()
                report.named.append(Collision(algorithm.name, digest, labels, with_it))


def _rows_of_the_same_digests(repeats: Mask, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give all rows that have the digest of one of `rows`, ascending."""
    starts = np.flatnonzero(~repeats)
    digests = np.unique(np.searchsorted(starts, rows, side="right") - 1)
    first = starts[digests]
    counts = np.append(starts, len(repeats))[digests + 1] - first
    ends = np.cumsum(counts)
    among: npt.NDArray[np.int64] = np.repeat(first - (ends - counts), counts) + np.arange(int(ends[-1]))
    return among


def _order(label: Label) -> tuple[str, str, str, str]:
    return (label.list_id, label.category, label.tier, label.reference or "")


def trivial_digests() -> Iterator[tuple[Algorithm, bytes]]:
    """Yield the digests of files that nobody made on purpose, by every algorithm that depends on bytes alone."""
    for content in trivial_files():
        for algorithm, name in _HASHED:
            yield algorithm, hashlib.new(name, content, usedforsecurity=False).digest()


def trivial_files() -> Iterator[bytes]:
    """Yield the empty file, single bytes and line ends, and images of one pixel as common programs write them."""
    yield b""
    yield from (b"\0", b" ", b"\n", b"\r\n", b"\r", b"\xef\xbb\xbf")
    yield from sorted(set(_gifs()) | set(_pngs()))


def _gifs() -> Iterator[bytes]:
    """Yield GIFs of one pixel: with and without transparency, in the usual pairs of colours or in none."""
    black, white, grey = b"\0\0\0", b"\xff\xff\xff", b"\xc0\xc0\xc0"
    pairs = [one + other for one, other in itertools.product((black, white, grey), repeat=2)]
    screens = [(0x80, pair) for pair in pairs] + [(0xF0, pair) for pair in pairs] + [(0, b"")]
    controls = [b""] + [
        b"\x21\xf9\x04" + struct.pack("<BHB", transparent, delay, index) + b"\0"
        for transparent, delay, index in itertools.product((0, 1), (0, 10), (0, 1))
    ]
    pixels = (b"\x44", b"\x4c", b"\x44\x01", b"\x4c\x01", b"\x04\x01\x00")
    for version, (flags, colours), control, pixel in itertools.product((b"87a", b"89a"), screens, controls, pixels):
        screen = b"GIF" + version + struct.pack("<HHBBB", 1, 1, flags, 0, 0) + colours
        image = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + bytes([2, len(pixel)]) + pixel + b"\0"
        yield screen + control + image + b";"


def _pngs() -> Iterator[bytes]:
    """Yield PNGs of one pixel, transparent, black or white, at every level of compression."""
    pixels = {0: (b"\0", b"\xff"), 2: (b"\0\0\0", b"\xff\xff\xff"), 4: (b"\0\0", b"\0\xff", b"\xff\xff"),
              6: (b"\0\0\0\0", b"\xff\xff\xff\0", b"\0\0\0\xff", b"\xff\xff\xff\xff")}  # fmt: skip
    for colour_type, values in pixels.items():
        header = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, colour_type, 0, 0, 0))
        for value in values:
            for level in range(10):
                data = _png_chunk(b"IDAT", zlib.compress(b"\0" + value, level))
                yield b"\x89PNG\r\n\x1a\n" + header + data + _png_chunk(b"IEND", b"")


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
