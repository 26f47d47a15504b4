"""The whole build against a plain dict: what the lists say is what the snapshot answers, however they are cut."""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from loader.build import BuildRequest, ListInput, build
from loader.spool import Spools
from snapshot.algorithms import ALGORITHMS, Algorithm
from snapshot.labels import Label, LabelClass, LabelSet, Tier, label_set
from snapshot.manifest import ENTRIES, Manifest
from snapshot.reader import Snapshot
from snapshot.store import Store
from snapshot.verify import verify_store

Content = dict[tuple[str, bytes], LabelSet]

STRANGERS = 10_000
CATEGORIES = ["", "A", "B 1", 'with "quotes", and a comma', "größer; als"]


@dataclass(frozen=True)
class Row:
    """One row of a list: digests that share a category and a reference, as in a CSV."""

    digests: tuple[tuple[Algorithm, bytes], ...]
    category: str = ""
    reference: str = ""

    @property
    def fits_a_hex_list(self) -> bool:
        """Whether a bare line can say the same."""
        return len(self.digests) == 1 and not (self.category or self.reference or self.digests[0][0].declared)


@dataclass(frozen=True)
class HashList:
    list_id: str
    tier: Tier
    category: str
    rows: tuple[Row, ...]


def make_lists(
    rng: random.Random, counts: dict[str, int], skew: int, repeats: int, lists: int, references: float, categories: int
) -> list[HashList]:
    """Make lists of random rows; their digests come from one pool, so that lists and rows share some."""
    pool = []
    for name, count in counts.items():
        algorithm = ALGORITHMS[name]
        prefix = b"\x07" * min(skew, algorithm.digest_bytes - 1)
        pool += [
            (algorithm, prefix + rng.randbytes(algorithm.digest_bytes - len(prefix)))
            for _ in range(max(count // repeats, 1))
        ]
    made = []
    for number in range(lists):
        rows = []
        for _ in range(sum(counts.values()) // lists + 1):
            digests = {
                of.name: (of, digest) for of, digest in (rng.choice(pool) for _ in range(rng.choice([1, 1, 1, 3])))
            }
            category = rng.choice(CATEGORIES[:categories])
            reference = f"case {rng.randrange(300)}" if rng.random() < references else ""
            rows.append(Row(tuple(digests.values()), category, reference))
        tier = rng.choice(list(Tier))
        # Two of the lists may be one supplier's, whose files have different tiers.
        made.append(HashList(f"list-{number % 3}", tier, rng.choice(["default", "A"]), tuple(rows)))
    return made


def expected_of(lists: list[HashList]) -> Content:
    labels: dict[tuple[str, bytes], list[Label]] = {}
    for item in lists:
        for row in item.rows:
            label = Label(item.list_id, row.category or item.category, item.tier, row.reference or None)
            for algorithm, digest in row.digests:
                labels.setdefault((algorithm.name, digest), []).append(label)
    return {key: label_set(found) for key, found in labels.items()}


def class_counts(content: Content) -> dict[tuple[LabelClass, str], int]:
    return Counter(
        (label_class, name) for (name, _), labels in content.items() for label_class in {x.label_class for x in labels}
    )


def write_lists(directory: Path, lists: list[HashList], rng: random.Random, files: int) -> list[ListInput]:
    """Write each list into some files: bare lines into hex lists, all else (and some bare ones) into CSV."""
    directory.mkdir()
    inputs = []
    for number, item in enumerate(lists):
        names = []
        for part in range(files):
            rows = item.rows[part::files]
            bare: list[Row] = []
            others: list[Row] = []
            for row in rows:
                (bare if row.fits_a_hex_list and rng.random() < 0.8 else others).append(row)
            if bare:
                path = directory / f"{number}-{part}.txt"
                texts = [row.digests[0][1].hex() for row in bare]
                path.write_text("".join(f"{rng.choice([text, text.upper()])}\n" for text in texts))
                names.append(str(path))
            if others:
                path = directory / f"{number}-{part}.csv"
                with path.open("w", newline="", encoding="utf-8") as stream:
                    table = csv.writer(stream)
                    table.writerow([*ALGORITHMS, "category", "reference"])
                    for row in others:
                        digests = {of.name: digest.hex() for of, digest in row.digests}
                        table.writerow([*(digests.get(name, "") for name in ALGORITHMS), row.category, row.reference])
                names.append(str(path))
        inputs.append(ListInput(item.list_id, item.tier, names, item.category))
    return inputs


def mixed_up(lists: list[HashList], rng: random.Random) -> list[HashList]:
    """The same entries: lists and rows in another order, and a third of the rows once more."""
    mixed = []
    for item in lists:
        rows = [*item.rows, *rng.sample(item.rows, len(item.rows) // 3)]
        rng.shuffle(rows)
        mixed.append(replace(item, rows=tuple(rows)))
    rng.shuffle(mixed)
    return mixed


@contextmanager
def tiny_spools(rng: random.Random) -> Iterator[None]:
    """Let spools spill and split after a few rows."""

    class Tiny(Spools):
        def __init__(self, directory: Path, memory_bytes: int) -> None:
            super().__init__(directory, rng.choice([2_000, 50_000]))
            self._part_limit = rng.choice([200, 3_000])

    with patch("loader.build.Spools", Tiny), patch("loader.spool._BATCH_ROWS", rng.choice([1, 100])):
        yield


def compile_lists(store: Path, inputs: list[ListInput]) -> Manifest:
    return build(BuildRequest(store, inputs, by="tests")).published.manifest


def check_content(store: Store, expected: Content, rng: random.Random) -> None:
    """Ask for everything that is listed and for much that is not, the way serving does."""
    current = store.current()
    with Snapshot.open(store.live_dir(current), current.manifest_sha256) as snapshot:
        assert {
            (name, digest): snapshot.labels(number)
            for name, table in snapshot.tables.items()
            for digest, number in table.records()
        } == expected
        assert snapshot.tables.keys() == {name for name, _ in expected}
        for name, table in snapshot.tables.items():
            length = table.algorithm.digest_bytes
            members = [digest for of, digest in expected if of == name]
            rng.shuffle(members)
            # The filter denies no member, at once, one by one, or in the company of others.
            assert table.filter.probe(b"".join(members)) == list(range(len(members)))
            for digest in members[:200]:
                assert table.filter.probe(digest) == [0]
            for digest in members:
                number = table.find(digest)
                assert number is not None
                assert snapshot.labels(number) == expected[name, digest]
            strangers = [rng.randbytes(length) for _ in range(STRANGERS)]
            strangers += [digest[:-1] + bytes([digest[-1] ^ 1]) for digest in members[:500]]
            strangers = [digest for digest in strangers if (name, digest) not in expected]
            assert [digest for digest in strangers if table.find(digest) is not None] == []


counts = st.dictionaries(st.sampled_from(list(ALGORITHMS)), st.sampled_from([1, 10, 300, 1500]), min_size=1)


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**64 - 1),
    counts=counts,
    skew=st.sampled_from([0, 0, 0, 1, 9, 15, 143]),
    repeats=st.sampled_from([1, 2, 50]),
    lists=st.integers(1, 5),
    references=st.sampled_from([0.0, 0.0, 0.3]),
    categories=st.sampled_from([1, 1, 5]),
)
@example(seed=1, counts=dict.fromkeys(ALGORITHMS, 300), skew=0, repeats=2, lists=5, references=0.3, categories=5)
@example(seed=2, counts=dict.fromkeys(ALGORITHMS, 300), skew=9, repeats=50, lists=3, references=0.0, categories=5)
@example(seed=3, counts=dict.fromkeys(ALGORITHMS, 1), skew=143, repeats=1, lists=1, references=0.0, categories=1)
def test_the_snapshot_says_what_the_lists_say(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    counts: dict[str, int],
    skew: int,
    repeats: int,
    lists: int,
    references: float,
    categories: int,
) -> None:
    rng = random.Random(seed)
    directory = tmp_path_factory.mktemp("build")
    made = make_lists(rng, counts, skew, repeats, lists, references, categories)
    expected = expected_of(made)
    straight, mixed = Store(directory / "straight"), Store(directory / "mixed")
    manifest = compile_lists(straight.path, write_lists(directory / "a", made, rng, files=1))
    with tiny_spools(rng):
        again = compile_lists(mixed.path, write_lists(directory / "b", mixed_up(made, rng), rng, files=3))
    assert again.snapshot_id == manifest.snapshot_id
    assert (again.algorithms, again.classes) == (manifest.algorithms, manifest.classes)
    # Where a part ends decides what LMDB is given between two label sets, and so which page they come to lie on.
    filters = manifest.files.keys() - {ENTRIES}
    assert {name: again.files[name] for name in filters} == {name: manifest.files[name] for name in filters}
    assert {
        (LabelClass(facts.list_id, facts.category, facts.tier), name): count
        for facts in manifest.classes
        for name, count in facts.entries.items()
    } == class_counts(expected)
    assert manifest.entries == len(expected)
    given_digests = sum(len(row.digests) for item in made for row in item.rows)
    assert manifest.merged == given_digests - len(expected)
    assert again.merged == sum(facts.digests for facts in again.lists) - len(expected)
    assert sum(facts.digests for facts in manifest.lists) == given_digests
    for store in (straight, mixed):
        check_content(store, expected, rng)
        assert verify_store(store).damage == []


@settings(max_examples=15)
@given(seed=st.integers(0, 2**64 - 1), change=st.sampled_from(["digest", "category", "reference", "tier", "one less"]))
def test_one_entry_changed_is_another_snapshot(
    tmp_path_factory: pytest.TempPathFactory, seed: int, change: str
) -> None:
    rng = random.Random(seed)
    directory = tmp_path_factory.mktemp("change")
    rows = [Row(((algorithm, rng.randbytes(algorithm.digest_bytes)),), "A", "r") for algorithm in ALGORITHMS.values()]
    one = HashList("list-0", Tier.ILLEGAL, "default", tuple(rows))
    at = rng.randrange(len(rows))
    ((algorithm, digest),) = rows[at].digests
    flipped = bytearray(digest)
    flipped[rng.randrange(len(digest))] ^= 1 << rng.randrange(8)
    match change:
        case "digest":
            rows[at] = replace(rows[at], digests=((algorithm, bytes(flipped)),))
        case "category":
            rows[at] = replace(rows[at], category="B 1")
        case "reference":
            rows[at] = replace(rows[at], reference="R")
        case "one less":
            del rows[at]
    tier = Tier.BASELINE if change == "tier" else Tier.ILLEGAL
    other = replace(one, rows=tuple(rows), tier=tier)
    ids = {
        compile_lists(directory / f"store-{i}", write_lists(directory / f"files-{i}", [item], rng, 1)).snapshot_id
        for i, item in enumerate((one, other))
    }
    assert len(ids) == 2
