"""Sorting and merging: the order of bytes, each digest once, and the set of all its labels."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.label_numbers import LabelTable
from loader.merge import Merger, indexed_algorithm, sort_rows
from loader.spool import Spools
from snapshot.algorithms import ALGORITHMS, MD5, SHA1, SHA256, Algorithm
from snapshot.blocks import FIRST_OWN_ID, reference_key
from snapshot.labels import Label, LabelClass, LabelSet, Tier, label_set

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=lambda a: a.name)


def rows_of(digests: list[bytes], numbers: list[int]) -> np.ndarray:
    packed = b"".join(d + n.to_bytes(4, "little") for d, n in zip(digests, numbers, strict=True))
    return np.frombuffer(packed, np.uint8).reshape(len(digests), -1)


def check_sorted(digests: list[bytes], numbers: list[int], algorithm: Algorithm, depth: int) -> None:
    rows, repeats = sort_rows(rows_of(digests, numbers), algorithm, depth)
    ordered = [bytes(row[: algorithm.digest_bytes]) for row in rows]
    assert ordered == sorted(digests)
    assert repeats.tolist() == [i > 0 and digest == ordered[i - 1] for i, digest in enumerate(ordered)]
    assert Counter(map(bytes, rows)) == Counter(map(bytes, rows_of(digests, numbers)))


@every_algorithm
@pytest.mark.parametrize("pool", [1, 2, 50, 10_000])
@pytest.mark.parametrize("shared", ["none", "1", "8", "half", "all but 1", "all but 9"])
def test_rows_are_sorted_and_repeats_marked(algorithm: Algorithm, pool: int, shared: str, rng: random.Random) -> None:
    """As many rows as 1,000; they agree in a prefix, of which the spool may have told all or a part."""
    length = algorithm.digest_bytes
    count = {"none": 0, "1": 1, "8": 8, "half": length // 2, "all but 1": length - 1, "all but 9": length - 9}[shared]
    prefix = rng.randbytes(count)
    digests = [prefix + rng.randbytes(length - count) for _ in range(pool)]
    drawn = [rng.choice(digests) for _ in range(1000)]
    numbers = [rng.randrange(2**32) for _ in drawn]
    for depth in {0, count // 2, count}:
        check_sorted(drawn, numbers, algorithm, depth)


@given(st.lists(st.binary(min_size=16, max_size=16).map(lambda raw: bytes(byte & 0x81 for byte in raw)), min_size=1))
def test_bytes_above_127_sort_above_those_below(digests: list[bytes]) -> None:
    check_sorted(digests, list(range(len(digests))), MD5, 0)


def test_equal_digests_lie_together_although_others_share_their_first_16_bytes(rng: random.Random) -> None:
    shared = rng.randbytes(16)
    digests = [shared + rng.randbytes(4) for _ in range(3)] * 50
    rng.shuffle(digests)
    rows, repeats = sort_rows(rows_of(digests, [0] * 150), SHA1, 0)
    assert len({bytes(row[:20]) for row in rows[~repeats]}) == 3
    assert int((~repeats).sum()) == 3


class Recorder:
    """In the writer's place: takes label sets and gives ids as the writer does."""

    def __init__(self) -> None:
        self.shared: list[LabelSet] = []
        self.own: list[LabelSet] = []

    def add_shared_label_set(self, labels: LabelSet) -> int:
        self.shared.append(labels)
        return len(self.shared) - 1

    def add_own_label_set(self, labels: LabelSet) -> int:
        self.own.append(labels)
        return FIRST_OWN_ID + len(self.own) - 1

    def labels(self, number: int) -> LabelSet:
        return self.own[number - FIRST_OWN_ID] if number >= FIRST_OWN_ID else self.shared[number]


CLASSES = [LabelClass(f"list-{i % 3}", f"category-{i}", tier) for i, tier in enumerate([*Tier, *Tier])]


@pytest.fixture
def table(tmp_path: Path):
    with LabelTable(tmp_path) as table:
        yield table


def merge_all(rows, table, recorder, algorithm, id_bytes: int, parts: int = 1):
    """Sort rows, merge them in so many parts, and give (digest → label set, merger)."""
    references = Spools(Path("never spilled to"), 1 << 30)
    merger = Merger(table, recorder, id_bytes, references)
    rows, repeats = sort_rows(rows, algorithm, 0)
    length = algorithm.digest_bytes
    starts = np.flatnonzero(~repeats)
    cuts = sorted({0, *starts[np.linspace(0, len(starts) - 1, parts, dtype=int)].tolist()})
    merged: dict[bytes, LabelSet] = {}
    for start, stop in zip(cuts, [*cuts[1:], len(rows)], strict=True):
        part_repeats = repeats[start:stop].copy()
        records = merger.merge(rows[start:stop], part_repeats, algorithm)
        assert records.shape[1] == length + id_bytes
        digests = [bytes(r[:length]) for r in records]
        assert digests == sorted(set(digests))
        for record in records:
            merged[bytes(record[:length])] = recorder.labels(int.from_bytes(bytes(record[length:]), "little"))
    indexed = indexed_algorithm(algorithm)
    pairs = (
        {bytes(row[: indexed.digest_bytes]) for part, _ in references.parts(indexed) for row in part}
        if (references.rows(indexed))
        else set()
    )
    assert pairs == {
        reference_key(label.list_id, label.reference) + digest
        for digest, labels in merged.items()
        for label in labels
        if label.reference is not None
    }
    return merged, merger


@pytest.mark.parametrize("references", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("pool", [1, 30, 600])
@pytest.mark.parametrize("parts", [1, 9])
def test_each_digest_gets_the_set_of_all_its_labels(references: float, pool: int, parts: int, rng, table) -> None:
    digests = [rng.randbytes(32) for _ in range(pool)]
    numbers = [table.number(c, "file") for c in CLASSES]
    expected: dict[bytes, list[Label]] = {}
    drawn = [rng.choice(digests) for _ in range(800)]
    classes = [rng.randrange(len(CLASSES)) for _ in drawn]
    texts = [f"r{rng.randrange(40)}" if rng.random() < references else None for _ in drawn]
    for digest, number, text in zip(drawn, classes, texts, strict=True):
        expected.setdefault(digest, []).append(Label(*CLASSES[number], text))
    given_numbers = table.add_references([numbers[i] for i in classes], texts)
    recorder = Recorder()
    merged, merger = merge_all(rows_of(drawn, given_numbers), table, recorder, SHA256, 4, parts)
    assert merged == {digest: label_set(labels) for digest, labels in expected.items()}
    assert merger.distinct == len(expected)
    counts = Counter(
        (label.label_class) for labels in merged.values() for label in {x.label_class: x for x in labels}.values()
    )
    facts = {LabelClass(f.list_id, f.category, f.tier): f.entries for f in merger.class_facts()}
    assert facts == {label_class: {"sha256": count} for label_class, count in counts.items()}
    # Those without references share their sets; one with a reference has its own.
    assert len(set(recorder.shared)) == len(recorder.shared)
    assert len(recorder.own) == sum(any(label.reference for label in labels) for labels in merged.values())


def test_ids_follow_the_order_of_digests_and_not_of_classes(rng: random.Random, table) -> None:
    numbers = [table.number(c, "file") for c in CLASSES]
    digests = sorted(rng.randbytes(16) for _ in CLASSES)
    recorder = Recorder()
    merge_all(rows_of(digests, numbers[::-1]), table, recorder, MD5, 2)
    assert recorder.shared == [(Label(*c, None),) for c in CLASSES[::-1]]


def test_the_order_of_rows_and_repeats_of_them_change_nothing(rng: random.Random, table) -> None:
    numbers = [table.number(c, "file") for c in CLASSES]
    digests = [rng.randbytes(16) for _ in range(50)]
    pairs = [(rng.choice(digests), rng.choice(numbers)) for _ in range(400)]
    outcomes = []
    for repeated in (1, 3):
        shuffled = pairs * repeated
        rng.shuffle(shuffled)
        recorder = Recorder()
        merged, _ = merge_all(rows_of([d for d, _ in shuffled], [n for _, n in shuffled]), table, recorder, MD5, 2)
        outcomes.append((merged, recorder.shared))
    assert outcomes[0] == outcomes[1]


def test_one_digest_in_every_combination_of_16_classes_fits_two_bytes(rng: random.Random, table) -> None:
    """The most that a snapshot with ids of two bytes can need: 65,535 sets."""
    classes = [LabelClass("synthetic", f"c{i:02}", Tier.OTHER) for i in range(16)]
    numbers = [table.number(c, "file") for c in classes]
    masks = list(range(1, 2**16))
    digests = [rng.randbytes(16) for _ in masks]
    pairs = [(d, numbers[i]) for d, mask in zip(digests, masks, strict=True) for i in range(16) if mask >> i & 1]
    recorder = Recorder()
    merged, _ = merge_all(rows_of([d for d, _ in pairs], [n for _, n in pairs]), table, recorder, MD5, 2)
    assert len(recorder.shared) == 2**16 - 1
    for digest, mask in rng.sample(list(zip(digests, masks, strict=True)), 500):
        assert [label.category for label in merged[digest]] == [
            c.category for i, c in enumerate(classes) if mask >> i & 1
        ]


def test_counts_are_kept_by_algorithm(rng: random.Random, table) -> None:
    number = table.number(CLASSES[0], "file")
    merger = Merger(table, Recorder(), 2, Spools(Path("never spilled to"), 1 << 30))
    for algorithm, count in ((MD5, 3), (SHA1, 5)):
        digests = [rng.randbytes(algorithm.digest_bytes) for _ in range(count)]
        merger.merge(*sort_rows(rows_of(digests, [number] * count), algorithm, 0), algorithm)
    assert [facts.entries for facts in merger.class_facts()] == [{"md5": 3, "sha1": 5}]
