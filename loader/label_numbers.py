"""Normalising labels: every row's list, category, tier and reference become one 4-byte number.

A class has one number, handed out as classes appear. A row with a reference gets a number of its own, from
FIRST_REFERENCE up, and its (class, delivery, reference) goes to a file, since there can be as many as rows. A row of a
known-good list has no label; its number is KNOWN_GOOD. The numbers only live within one compile; what a snapshot
stores are label sets (snapshot/labels.py).

A withdrawal names a reference. It holds for every row of that list with that reference which came with the same
delivery or an earlier one, whichever of the two was read first; a later delivery may bring the entry again.
"""

from __future__ import annotations

import mmap
import struct
from array import array
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from loader.errors import TooManyCategories
from snapshot.errors import wrapped_os_errors
from snapshot.labels import Label, LabelClass

#: Numbers from here on belong to rows with a reference.
FIRST_REFERENCE: Final = 1 << 31
#: The number of every row of a known-good list.
KNOWN_GOOD: Final = FIRST_REFERENCE - 1
#: Classes in one snapshot. Suppliers have a dozen categories; more means that a column was mistaken for one.
MAX_CLASSES: Final = 4096

LabelNumbers = npt.NDArray[np.uint32]
Withdrawals = npt.NDArray[np.bool_]

_NUMBER: Final = struct.Struct("<IH")  # of the class, of the delivery
#: Rows whose entries are looked at together.
_KEYS_AT_ONCE: Final = 1 << 16
#: Deliveries of one list in one compile.
MAX_DELIVERIES: Final = 1 << 16


class LabelTable:
    """Hands out label numbers while lists are read, and tells afterwards what each stands for."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "references"
        self._offsets_path = directory / "references.offsets"
        self._classes: dict[LabelClass, int] = {}
        self._by_number: list[LabelClass] = []
        self._references = 0
        self._end = 0
        with wrapped_os_errors("creating", directory):
            self._file = self._path.open("w+b")
            self._offsets_file = self._offsets_path.open("w+b")
        self._maps: tuple[mmap.mmap, memoryview] | None = None
        self._withdrawn: dict[str, dict[str, int]] = {}  # by list: the last delivery that withdraws a reference
        self._of_rows = np.zeros(MAX_CLASSES, dtype=np.bool_)
        #: Names of the algorithms of which a digest may belong to an entry with others (loader/entries.py).
        self.entry_algorithms: set[str] = set()
        self._no_entries: list[tuple[int, int]] = []  # rows with a reference that is none of a single file

    @property
    def classes(self) -> Sequence[LabelClass]:
        """The classes by number."""
        return self._by_number

    @property
    def has_references(self) -> bool:
        """Tell whether any row had a reference."""
        return self._references > 0

    @property
    def reference_count(self) -> int:
        """How many rows had one."""
        return self._references

    def number(self, label_class: LabelClass, path: str) -> int:
        """Give a class's number. Raises TooManyCategories, which names `path`, beyond MAX_CLASSES."""
        number = self._classes.get(label_class)
        if number is None:
            if len(self._by_number) >= MAX_CLASSES:
                raise TooManyCategories(
                    path,
                    f"more than {MAX_CLASSES} different categories: is `category` mapped to the right column? "
                    "An id of the single entry belongs into `--column reference=…`.",
                )
            number = self._classes[label_class] = len(self._by_number)
            self._by_number.append(label_class)
        return number

    def add_references(self, numbers: Sequence[int], references: Sequence[str | None], delivery: int = 0) -> list[int]:
        """Give new numbers to those rows that have a reference; the others keep their class's.

        `delivery` counts from 0, the oldest. Raises StoreFull.
        """
        given: list[int] = []
        offsets = array("Q")
        pieces: list[bytes] = []
        for number, reference in zip(numbers, references, strict=True):
            if reference is None:
                given.append(number)
                continue
            piece = _NUMBER.pack(number, delivery) + reference.encode()
            pieces.append(piece)
            offsets.append(self._end)
            self._end += len(piece)
            given.append(FIRST_REFERENCE + self._references)
            self._references += 1
        with wrapped_os_errors("writing", self._path):
            self._file.write(b"".join(pieces))
            self._offsets_file.write(offsets.tobytes())
        return given

    def note_entries(self, algorithm: str, numbers: Sequence[int], *, of_rows: bool) -> None:
        """Note numbers that were given to digests which may have others beside them, by a reference or in their row."""
        self.entry_algorithms.add(algorithm)
        if of_rows:
            self._of_rows[[number for number in set(numbers) if number < MAX_CLASSES]] = True

    def pass_over_entries(self, first: int) -> None:
        """Note of all rows with a reference from the `first`-th on that their references name no single entries."""
        if self._no_entries and self._no_entries[-1][1] == first:
            first = self._no_entries.pop()[0]
        self._no_entries.append((first, self._references))

    def of_entries(self, numbers: LabelNumbers) -> Withdrawals:
        """Tell of each number whether its digest may have others beside it."""
        flags = numbers >= FIRST_REFERENCE
        for first, end in self._no_entries:
            flags &= (numbers < FIRST_REFERENCE + first) | (numbers >= FIRST_REFERENCE + end)
        flags |= self._of_rows.take(numbers, mode="clip") & (numbers < MAX_CLASSES)
        return flags

    def withdraw(self, list_id: str, references: Sequence[str], delivery: int = 0) -> None:
        """Note that a list takes entries back. Memory: the references, some 150 bytes each."""
        latest = self._withdrawn.setdefault(list_id, {})
        for reference in references:
            latest[reference] = max(delivery, latest.get(reference, 0))

    def withdrawn_rows(self) -> Withdrawals | None:
        """Tell of each row with a reference, by its number less FIRST_REFERENCE, whether it is withdrawn.

        None if no withdrawal meets a row. Only once all rows were read. Cost: nothing without withdrawals, else a
        microsecond for each row with a reference.
        """
        if not self._withdrawn or not self._references:
            return None
        flags = np.zeros(self._references, dtype=np.bool_)
        by_number = [self._withdrawn.get(label_class.list_id) for label_class in self._by_number]
        for index in range(self._references):
            number, delivery, reference = self._row(index)
            latest = by_number[number]
            flags[index] = latest is not None and latest.get(reference, -1) >= delivery
        return flags if flags.any() else None

    def rows_of_entries_with(self, collided: Withdrawals, at_most: int) -> tuple[Withdrawals, int]:
        """Give the rows of all entries that have one among `collided`, by number less FIRST_REFERENCE as those are.

        An entry is a list and a reference, whatever the delivery. A reference that stands on more than `at_most` rows
        names no single entry, and none of its rows is given; how many there are is the second value. Only once all rows
        were read. Cost: 2 µs for each row with a reference; memory: 16 bytes for each of those that are given.
        """
        firsts, seconds = self._entry_keys(np.flatnonzero(collided))
        firsts, where = np.unique(firsts, return_index=True)
        seconds = seconds[where]
        counts = np.zeros(len(firsts), dtype=np.int64)
        found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        for start in range(0, self._references, _KEYS_AT_ONCE):
            indexes = np.arange(start, min(start + _KEYS_AT_ONCE, self._references))
            first, second = self._entry_keys(indexes)
            at = np.minimum(np.searchsorted(firsts, first), len(firsts) - 1)
            same = np.flatnonzero((firsts[at] == first) & (seconds[at] == second))
            counts += np.bincount(at[same], minlength=len(firsts))
            found.append((indexes[same], at[same]))
        flags = np.zeros(self._references, dtype=np.bool_)
        for indexes, at in found:
            flags[indexes[counts[at] <= at_most]] = True
        return flags, int(np.count_nonzero(counts > at_most))

    def _entry_keys(self, indexes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """Give a hash of list and reference of each row: 16 bytes in two halves."""
        data, offsets = self._mapped()
        lists = [label_class.list_id.encode() + b"\0" for label_class in self._by_number]
        keys = bytearray()
        for index in indexes.tolist():
            start = offsets[index]
            stop = offsets[index + 1] if index + 1 < self._references else self._end
            number, _ = _NUMBER.unpack_from(data, start)
            keys += blake2b(lists[number] + data[start + _NUMBER.size : stop], digest_size=16).digest()
        halves = np.frombuffer(bytes(keys), dtype=np.uint64).reshape(-1, 2)
        return halves[:, 0], halves[:, 1]

    def label(self, number: int) -> Label:
        """Give the label that a number stands for; only once all rows were read."""
        if number < FIRST_REFERENCE:
            return Label(*self._by_number[number], None)
        class_number, _, reference = self._row(number - FIRST_REFERENCE)
        return Label(*self._by_number[class_number], reference)

    def _row(self, index: int) -> tuple[int, int, str]:
        """Give (number of the class, delivery, reference) of a row with a reference."""
        data, offsets = self._mapped()
        start = offsets[index]
        stop = offsets[index + 1] if index + 1 < self._references else self._end
        number, delivery = _NUMBER.unpack_from(data, start)
        return number, delivery, data[start + _NUMBER.size : stop].decode()

    def _mapped(self) -> tuple[mmap.mmap, memoryview]:
        if self._maps is None:
            with wrapped_os_errors("reading", self._path):
                self._file.flush()
                self._offsets_file.flush()
                data = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
                offsets = mmap.mmap(self._offsets_file.fileno(), 0, access=mmap.ACCESS_READ)
            self._maps = data, memoryview(offsets).cast("Q")
        return self._maps

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._maps = None
        with wrapped_os_errors("closing", self._path):
            self._file.close()
            self._offsets_file.close()
