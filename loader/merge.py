"""Sorting a part and merging its repeats: every digest once, with the one set of all its labels.

`sort_rows` orders a part by digest. `Merger.merge` turns sorted rows (digest ‖ label number) into records
(digest ‖ label-set id). Digests without references share the label set of their combination of classes; one with a
reference owns its set. Ids are given in the order of digests, so they do not depend on the order of the input.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np
import numpy.typing as npt

from loader.label_numbers import FIRST_REFERENCE, LabelNumbers, LabelTable
from loader.spool import LABEL_BYTES, Spools, numbered_rows
from snapshot.algorithms import Algorithm
from snapshot.blocks import REFERENCE_KEY_BYTES, reference_key
from snapshot.hexdigest import ByteMatrix
from snapshot.labels import Label, LabelClass, label_set
from snapshot.manifest import ClassFacts
from snapshot.writer import SnapshotWriter

_KEY_BYTES: Final = 8
Mask = npt.NDArray[np.bool_]
Combinations = npt.NDArray[np.int64]


def sort_rows(rows: ByteMatrix, algorithm: Algorithm, depth: int) -> tuple[ByteMatrix, Mask]:
    """Sort rows by digest; give them with a mask (n,) that tells which rows repeat the digest of the row before.

    All rows agree in their first `depth` bytes. They are sorted by the 8 bytes that follow, which settles random
    digests, and rows that agree in those too are sorted by the whole digest. Cost: about 20 ns a row.
    """
    length = algorithm.digest_bytes
    start = min(depth, length - _KEY_BYTES)
    keys = rows[:, start : start + _KEY_BYTES].view(">u8")[:, 0].astype(np.uint64)
    order = np.argsort(keys)
    rows, keys = rows.take(order, axis=0), keys.take(order)  # of rows much faster than indexing
    repeats = np.zeros(len(rows), dtype=np.bool_)
    ties = np.flatnonzero(keys[1:] == keys[:-1])
    if ties.size:
        equal = _equal_next(rows, ties, length)
        if not equal.all():
            mask = np.zeros(len(rows), dtype=np.bool_)
            mask[ties] = mask[ties + 1] = True
            tied = np.flatnonzero(mask)
            rows[tied] = _sort_by_all_bytes(rows.take(tied, axis=0), length)
            equal = _equal_next(rows, ties, length)
        repeats[ties + 1] = equal
    return rows, repeats


def _equal_next(rows: ByteMatrix, indexes: npt.NDArray[np.int64], length: int) -> Mask:
    """Tell which of some rows have the digest of the row after them."""
    these, following = rows.take(indexes, axis=0), rows.take(indexes + 1, axis=0)
    equal: Mask = (these[:, :length] == following[:, :length]).all(axis=1)
    return equal


def _sort_by_all_bytes(rows: ByteMatrix, length: int) -> ByteMatrix:
    words = -(-length // 8)
    padded = np.zeros((len(rows), words * 8), dtype=np.uint8)
    padded[:, :length] = rows[:, :length]
    columns = padded.view(">u8")
    return rows.take(np.lexsort([columns[:, i] for i in reversed(range(words))]), axis=0)


def indexed_algorithm(algorithm: Algorithm) -> Algorithm:
    """Give what the rows of an algorithm's references are spooled and sorted as: reference key ‖ digest."""
    return Algorithm(f"{algorithm.name}-references", REFERENCE_KEY_BYTES + algorithm.digest_bytes, algorithm.strength)


class Merger:
    """Turns sorted rows into records, for one compile, and counts what it saw."""

    def __init__(self, labels: LabelTable, writer: SnapshotWriter, label_set_id_bytes: int, references: Spools) -> None:
        """Begin once all rows were read; (reference, digest) pairs go to `references`."""
        self._labels = labels
        self._references = references
        self._writer = writer
        self._id_type = "<u2" if label_set_id_bytes == 2 else "<u4"
        # A combination of classes has a number too: at first those of one class, by the class's own number.
        self._combinations: list[frozenset[int]] = [frozenset({i}) for i in range(len(labels.classes))]
        self._numbers = {members: number for number, members in enumerate(self._combinations)}
        self._ids = np.full(len(self._combinations), -1, dtype=np.int64)  # label-set id by combination
        self._counts: Counter[tuple[LabelClass, str]] = Counter()
        self._most_references: dict[LabelClass, int] = {}
        #: Digests so far, each counted once.
        self.distinct = 0

    def merge(self, rows: ByteMatrix, repeats: Mask, algorithm: Algorithm) -> ByteMatrix:
        """Turn rows as sort_rows gives them into records (m, L + id bytes), m distinct digests.

        Cost: about 5 ns a row; 10 µs for a digest with references.
        """
        length = algorithm.digest_bytes
        numbers: LabelNumbers = rows[:, length:].view("<u4")[:, 0]
        assert rows.shape[1] == length + LABEL_BYTES
        referenced = numbers >= FIRST_REFERENCE
        digests = rows[:, :length]
        if not referenced.any() and not repeats.any():
            ids = self._shared_ids(numbers.astype(np.int64), algorithm)
        else:
            group = np.cumsum(~repeats) - 1
            digests = rows.take(np.flatnonzero(~repeats), axis=0)[:, :length]
            owns = np.zeros(len(digests), dtype=np.bool_)
            owns[group[referenced]] = True
            ids = np.zeros(len(digests), dtype=np.int64)
            shares = ~owns[group]
            if shares.any():
                combined = self._combine(group[shares], numbers[shares])
                ids[~owns] = self._shared_ids(combined, algorithm)
            if owns.any():
                ids[owns] = self._own_ids(rows[~shares, :length], group[~shares], numbers[~shares], algorithm)
        self.distinct += len(digests)
        return numbered_rows(digests, ids, self._id_type)

    def _combine(self, group: Combinations, numbers: LabelNumbers) -> Combinations:
        """Give the combination of each group of rows, groups ascending; (group, class) pairs may repeat."""
        pairs = np.unique(group.astype(np.int64) << 32 | numbers.astype(np.int64))
        group, numbers = pairs >> 32, (pairs & 0xFFFFFFFF).astype(np.uint32)
        first = np.flatnonzero(np.diff(group, prepend=-1))
        sizes = np.diff(first, append=len(group))
        combined = numbers[first].astype(np.int64)
        # One round for each further class of a group; there are at most as many as classes.
        for rank in range(1, int(sizes.max())):
            longer = np.flatnonzero(sizes > rank)
            steps, where = np.unique(
                combined[longer] << 32 | numbers[first[longer] + rank].astype(np.int64), return_inverse=True
            )
            joined = [self._join(step >> 32, step & 0xFFFFFFFF) for step in steps.tolist()]
            combined[longer] = np.array(joined, dtype=np.int64)[where]
        return combined

    def _join(self, combination: int, number: int) -> int:
        members = self._combinations[combination] | {number}
        joined = self._numbers.get(members)
        if joined is None:
            joined = self._numbers[members] = len(self._combinations)
            self._combinations.append(members)
            self._ids = np.append(self._ids, -1)
        return joined

    def _shared_ids(self, combinations: Combinations, algorithm: Algorithm) -> Combinations:
        """Give the label-set id of each digest's combination; new ones are stored in the order they appear."""
        counts = np.bincount(combinations, minlength=len(self._combinations))
        new = np.flatnonzero((counts > 0) & (self._ids < 0))
        if new.size:
            by_appearance = sorted(new.tolist(), key=lambda number: int(np.argmax(combinations == number)))
            for number in by_appearance:
                labels = label_set([self._labels.label(member) for member in self._combinations[number]])
                self._ids[number] = self._writer.add_shared_label_set(labels)
        for number in np.flatnonzero(counts).tolist():
            for member in self._combinations[number]:
                self._counts[self._labels.classes[member], algorithm.name] += int(counts[number])
        return self._ids[combinations]

    def _own_ids(
        self, digests: ByteMatrix, group: Combinations, numbers: LabelNumbers, algorithm: Algorithm
    ) -> list[int]:
        """Store the own label set of each group of rows, groups ascending, and its references; give the ids."""
        ids: list[int] = []
        pairs: list[bytes] = []
        starts = np.flatnonzero(np.diff(group, prepend=-1)).tolist()
        every = numbers.tolist()
        for start, stop in zip(starts, [*starts[1:], len(every)], strict=True):
            given = [self._labels.label(number) for number in every[start:stop]]
            digest = digests[start].tobytes()
            pairs += [
                key + digest
                for key in {
                    reference_key(label.list_id, label.reference) for label in given if label.reference is not None
                }
            ]
            labels = label_set(given)
            ids.append(self._writer.add_own_label_set(labels))
            for label_class in {label.label_class for label in labels}:
                self._counts[label_class, algorithm.name] += 1
            self._note_references(given)
        indexed = indexed_algorithm(algorithm)
        matrix = np.frombuffer(b"".join(pairs), dtype=np.uint8).reshape(-1, indexed.digest_bytes)
        self._references.add(indexed, numbered_rows(matrix, 0))
        return ids

    def _note_references(self, given: list[Label]) -> None:
        """Keep the most references that one digest has in a class, before label_set leaves any out."""
        most = self._most_references
        if len(given) == 1:  # nearly all
            if given[0].reference is not None:
                most.setdefault(given[0].label_class, 1)
            return
        counts = Counter(label.label_class for label in set(given) if label.reference is not None)
        for label_class, count in counts.items():
            most[label_class] = max(count, most.get(label_class, 0))

    def class_facts(self) -> list[ClassFacts]:
        """Give how many digests of each algorithm carry each class, and the most references of one of them."""
        facts: dict[LabelClass, dict[str, int]] = {}
        for (label_class, name), count in sorted(self._counts.items()):
            facts.setdefault(label_class, {})[name] = count
        return [
            ClassFacts(**c._asdict(), entries=entries, most_references=self._most_references.get(c, 0))
            for c, entries in facts.items()
        ]
