"""The guard by entry: where one digest of an entry is known good, the entry's other digests are left out with it.

An entry is what a supplier lists as one file. A known-good list that has only its MD5 says all that there is to say:
the file is harmless, and by its SHA-256 it is the same file. An entry is told by what the list has for it:

    with a reference       list and reference: all rows that have both, in whichever file or delivery
    without                the row or record: the reader says which of them each digest stands in (`Batch.rows`)

What is known good is only seen once rows are sorted, and one algorithm is written before the next is sorted. So the
rows of entries are looked through once before any is written. A part without a known-good row is passed over, and where
there are a few, only the rows that share eight bytes with one are sorted.

    Collisions.find(…)     spools, looked through and kept → rows of entries that are known good
        with a reference   LabelTable.rows_of_entries_with: all rows of these entries
        without            `rows_to_find`: their lists' files are read again, `find_rows` finds the rows, `add_rows`
                           takes all that they have
    Collisions.among(…)    which rows of a part are to be left out (loader/guard.py)

Nothing links the digests of a row without a reference while they are sorted, and a link for each would cost every
compile a second sort. Reading again costs only those that have such a collision, and only the lists that have it.

What it costs else: nothing for a list whose rows have one digest each, and no reference; some 15 ns a row for others.
Memory: a byte for each row with a reference, and so many rows as MAX_COLLISIONS allows.

Only the supplier's own rows go: where a second list, or the same under another reference, has the SHA-256 too, it stays
listed there. A supplier that writes one known-good MD5 wherever it has none must not silence what others say. For the
same reason a reference or a known-good digest that stands on more than MAX_ROWS_OF_ENTRY rows of a list is a constant
and no entry. Then only what is known good itself goes, and the report says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
import numpy.typing as npt

from loader.errors import ListUnreadable, LoaderError
from loader.label_numbers import FIRST_REFERENCE, KNOWN_GOOD, LabelNumbers, LabelTable, Withdrawals
from loader.merge import sort_rows
from loader.sources import STDIN
from loader.spool import Spools
from snapshot.algorithms import ALGORITHMS, Algorithm
from snapshot.hexdigest import ByteMatrix

if TYPE_CHECKING:
    from loader.readers.base import Batch

#: Rows that one reference may have and still be taken for one entry: files with a digest of each algorithm, delivered
#: again and again.
MAX_ROWS_OF_ENTRY: Final = 1000
#: Known-good digests in rows without a reference, in one compile.
MAX_COLLISIONS: Final = 1_000_000
#: Known-good rows of a part that are looked for one by one rather than by sorting.
_FEW: Final = 16
_KEY_BYTES: Final = 8

#: Rows that may go for each of them, on an average.
_ROWS_OF_COLLISIONS: Final = 4

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


class TooManyCollisions(LoaderError):
    """More known-good digests in rows without a reference than can be remembered."""

    reason: ClassVar[str] = "too_many_collisions"


def require_second_look(path: str) -> None:
    """Raise ListUnreadable for what is no file of its own, such as standard input or a pipe."""
    if path == STDIN or not Path(path).is_file():
        raise ListUnreadable(
            path,
            "has known-good digests in rows without a reference, and has to be read again to find what else those rows "
            "list; save it to a file first",
        )


class Collisions:
    """The rows of one compile that go since their entry is known good."""

    def __init__(self, labels: LabelTable) -> None:
        """Begin once all rows were read."""
        self._labels = labels
        self._referenced: Withdrawals | None = None  # by number less FIRST_REFERENCE
        self._to_find: dict[str, RowSet] = {}  # by algorithm: digest ‖ class number of rows without a reference
        # Those rows are causes, numbered through all algorithms; how many rows of the files each stands in.
        self._first_cause: dict[str, int] = {}
        self._rows_by_cause: Places = np.zeros(0, dtype=np.int64)
        self._places: Places = np.zeros(0, dtype=np.int64)  # rows of the file that is read, ascending, and the causes
        self._causes: Places = np.zeros(0, dtype=np.int64)
        self._found: dict[str, list[tuple[ByteMatrix, Places]]] = {}  # rows, and the cause of each
        self._found_rows = 0
        self._left_out: dict[str, RowSet] = {}
        #: References and known-good digests that stand on too many rows to name an entry.
        self.constants = 0

    def find(self, spools: Spools, withdrawn: Withdrawals | None) -> None:
        """Look for entries with a known-good digest. Raises TooManyCollisions, StoreUnusable."""
        collided = np.zeros(self._labels.reference_count, dtype=np.bool_)
        for algorithm in spools.algorithms():
            name = algorithm.name
            if name not in self._labels.entry_algorithms:
                continue
            kept: list[ByteMatrix] = []
            count = 0
            for rows, depth in spools.parts(algorithm, keep=True):
                alike = self._colliding(rows, depth, algorithm)
                numbers = _numbers(alike, algorithm)
                by_reference = numbers >= FIRST_REFERENCE
                referenced = alike[by_reference]
                many = _on_many_rows(referenced, algorithm)
                self.constants += len(np.unique(_packed(referenced[many, : algorithm.digest_bytes])))
                collided[_numbers(referenced[~many], algorithm) - FIRST_REFERENCE] = True
                if not by_reference.all():
                    kept.append(RowSet(alike[~by_reference]).rows)
                    count += len(kept[-1])
                    if count > MAX_COLLISIONS:
                        raise TooManyCollisions(self._too_many(numbers[~by_reference]))
            if kept:
                self._to_find[name] = RowSet(np.concatenate(kept))
                self._first_cause[name] = len(self._rows_by_cause)
                self._rows_by_cause = np.zeros(len(self._rows_by_cause) + count, dtype=np.int64)
        if withdrawn is not None:
            collided &= ~withdrawn
        if collided.any():
            self._referenced, constants = self._labels.rows_of_entries_with(collided, MAX_ROWS_OF_ENTRY)
            self.constants += constants

    def _colliding(self, rows: ByteMatrix, depth: int, algorithm: Algorithm) -> ByteMatrix:
        """Give the rows of entries whose digest is known good."""
        numbers = _numbers(rows, algorithm)
        good_rows = rows.take(np.flatnonzero(numbers == KNOWN_GOOD), axis=0)
        if not len(good_rows):
            return rows[:0]
        if len(good_rows) <= _FEW:
            start = min(depth, algorithm.digest_bytes - _KEY_BYTES)
            rows = rows.take(np.flatnonzero(_alike(_keys(rows, start), _keys(good_rows, start))), axis=0)
            numbers = _numbers(rows, algorithm)
        rows = rows.take(np.flatnonzero(self._labels.of_entries(numbers)), axis=0)
        if not len(rows):
            return rows
        rows, repeats = sort_rows(np.concatenate([rows, good_rows]), algorithm, depth)
        is_good = _numbers(rows, algorithm) == KNOWN_GOOD
        group = np.cumsum(~repeats) - 1
        good_groups = np.zeros(int(group[-1]) + 1, dtype=np.bool_)
        good_groups[group[is_good]] = True
        return rows.compress(good_groups[group] & ~is_good, axis=0)

    def _too_many(self, numbers: LabelNumbers) -> str:
        name = self._labels.label(int(numbers[0])).list_id
        return (
            f"{name}: more than {MAX_COLLISIONS:,} of its digests are known good in rows without a reference, or stand "
            "in such a row. Have the supplier correct the list, or map a column to `reference`."
        )

    @property
    def rows_to_find(self) -> frozenset[str]:
        """The lists with known-good digests in rows without a reference: their files are to be read again."""
        classes = self._labels.classes
        return frozenset(
            classes[number].list_id
            for name, some in self._to_find.items()
            for number in np.unique(_numbers(some.rows, ALGORITHMS[name])).tolist()
        )

    def find_rows(self, rounds: Iterable[tuple[Algorithm, ByteMatrix, Sequence[int]]]) -> None:
        """Find the rows of one file in which a digest is known good.

        `rounds` has digest ‖ class number beside the row that each stands in, for each batch (`numbered_places`). Cost:
        30 ns a digest. Raises TooManyCollisions.
        """
        places: list[Places] = []
        causes: list[Places] = []
        for algorithm, rows, at in rounds:
            name = algorithm.name
            if name not in self._to_find:
                continue
            found = self._to_find[name].find(rows)
            hits = np.flatnonzero(found >= 0)
            by = found[hits] + self._first_cause[name]
            few = self._rows_by_cause[by] < MAX_ROWS_OF_ENTRY  # of a constant no more has to be remembered
            np.add.at(self._rows_by_cause, by, 1)
            places.append(np.asarray(at, dtype=np.int64)[hits[few]])
            causes.append(by[few])
            self._found_rows += len(causes[-1])
            if self._found_rows > _ROWS_OF_COLLISIONS * MAX_COLLISIONS:
                raise TooManyCollisions(self._too_many(_numbers(rows, algorithm)))
        joined = np.concatenate(places) if places else np.zeros(0, dtype=np.int64)
        order = np.argsort(joined, kind="stable")
        self._places = joined[order]
        self._causes = np.concatenate(causes)[order] if causes else joined

    def add_rows(self, rounds: Iterable[tuple[Algorithm, ByteMatrix, Sequence[int]]]) -> None:
        """Take all digests of the rows that `find_rows` found, from the same file read once more.

        Read twice, since what a row has may be in batches far apart. Raises TooManyCollisions.
        """
        for algorithm, rows, places in rounds:
            at = np.asarray(places, dtype=np.int64)
            first = np.searchsorted(self._places, at, side="left")
            count = np.searchsorted(self._places, at, side="right") - first
            for rank in range(int(count.max(initial=0))):  # a row may have several that are known good
                with_it = np.flatnonzero(count > rank)
                found = rows.take(with_it, axis=0), self._causes[first[with_it] + rank]
                self._found.setdefault(algorithm.name, []).append(found)
                self._found_rows += len(with_it)
            if self._found_rows > _ROWS_OF_COLLISIONS * MAX_COLLISIONS:
                raise TooManyCollisions(self._too_many(_numbers(rows, algorithm)))

    def finish(self) -> None:
        """Have `among` know what `add_rows` took."""
        is_constant = self._rows_by_cause > MAX_ROWS_OF_ENTRY
        self.constants += int(np.count_nonzero(is_constant))
        for name, found in self._found.items():
            rows = np.concatenate([some[~is_constant[causes]] for some, causes in found])
            if len(rows):
                self._left_out[name] = RowSet(rows)
        self._to_find, self._found = {}, {}

    def among(self, rows: ByteMatrix, algorithm: Algorithm) -> Mask | None:
        """Tell which rows of a part are of an entry that is known good; None where none can be."""
        numbers = _numbers(rows, algorithm)
        flags: Mask | None = None
        if algorithm.name in self._left_out:
            flags = self._left_out[algorithm.name].find(rows) >= 0
        if self._referenced is not None:
            referenced = np.flatnonzero(numbers >= FIRST_REFERENCE)
            flags = np.zeros(len(rows), dtype=np.bool_) if flags is None else flags
            flags[referenced] |= self._referenced[numbers[referenced] - FIRST_REFERENCE]
        return flags


class RowSet:
    """Rows, each once, that others are looked up in."""

    def __init__(self, rows: ByteMatrix) -> None:
        """Take one or more rows of shape (n, w), w at least 8."""
        self._packed = np.unique(_packed(rows))
        self._keys = np.unique(_keys(self.rows, 0))

    @property
    def rows(self) -> ByteMatrix:
        """The rows, ascending by their bytes."""
        return self._packed.view(np.uint8).reshape(-1, self._packed.itemsize)

    def find(self, rows: ByteMatrix) -> Places:
        """Give the place of each of some rows in it, -1 for those that are not. Cost: 30 ns a row that is not."""
        keys = _keys(rows, 0)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        maybe = np.flatnonzero(self._keys[at] == keys)
        found = np.full(len(rows), -1, dtype=np.int64)
        if maybe.size:
            some = _packed(rows.take(maybe, axis=0))
            at = np.minimum(np.searchsorted(self._packed, some), len(self._packed) - 1)
            found[maybe] = np.where(self._packed[at] == some, at, -1)
        return found


def _on_many_rows(rows: ByteMatrix, algorithm: Algorithm) -> Mask:
    """Tell which of some rows, equal digests side by side, have a digest that stands on too many to name an entry."""
    if not len(rows):
        return np.zeros(0, dtype=np.bool_)
    digests = _packed(rows[:, : algorithm.digest_bytes])
    group = np.cumsum(np.append(True, digests[1:] != digests[:-1])) - 1
    many: Mask = np.bincount(group)[group] > MAX_ROWS_OF_ENTRY
    return many


def _packed(rows: ByteMatrix) -> npt.NDArray[np.void]:
    packed: npt.NDArray[np.void] = np.ascontiguousarray(rows).view(f"V{rows.shape[1]}")[:, 0]
    return packed


def _keys(rows: ByteMatrix, start: int) -> npt.NDArray[np.uint64]:
    return rows[:, start : start + _KEY_BYTES].view("<u8")[:, 0].astype(np.uint64)


def _alike(keys: npt.NDArray[np.uint64], few: npt.NDArray[np.uint64]) -> Mask:
    """Tell which keys are among a few: half a nanosecond for each of those."""
    alike = np.zeros(len(keys), dtype=np.bool_)
    for key in few:
        alike |= keys == key
    return alike


def _numbers(rows: ByteMatrix, algorithm: Algorithm) -> LabelNumbers:
    numbers: LabelNumbers = rows[:, algorithm.digest_bytes :].view("<u4")[:, 0]
    return numbers


def numbered_places(
    batches: Iterable[tuple[Batch, ByteMatrix]],
) -> Iterator[tuple[Algorithm, ByteMatrix, Sequence[int]]]:
    """Yield what `add_rows` takes of batches and their numbered rows: those without a reference."""
    for batch, rows in batches:
        places = batch.rows
        if places is None:
            continue
        if batch.references is None:
            yield batch.algorithm, rows, places
            continue
        bare = [at for at, reference in enumerate(batch.references) if reference is None]
        if bare:
            yield batch.algorithm, rows.take(bare, axis=0), [places[at] for at in bare]
