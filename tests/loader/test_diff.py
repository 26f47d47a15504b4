"""The difference between two snapshots is what a plain program over two dicts says it is."""

from __future__ import annotations

import io
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader import diff, diff_records
from loader.diff import Change, SnapshotDiff, diff_snapshots
from snapshot.algorithms import ALGORITHMS, MD5, PHOTODNA, SHA1, SHA256, SHA512, Algorithm
from snapshot.blocks import FIRST_OWN_ID
from snapshot.errors import EntriesDamaged
from snapshot.labels import Label, LabelClass, LabelSet, Tier, label_set
from snapshot.manifest import ENTRIES, read_manifest
from snapshot.reader import Snapshot, Table
from snapshot.writer import SnapshotWriter

Entries = Mapping[tuple[Algorithm, bytes], LabelSet]
Compare = Callable[..., SnapshotDiff]

ONE = LabelClass("police", "A1", Tier.BASELINE)
TWO = LabelClass("police", "A1", Tier.ILLEGAL)
THREE = LabelClass("hotline", "A1", Tier.BASELINE)
CLASSES = [ONE, TWO, THREE, LabelClass("hotline", "\u2028é", Tier.UNKNOWN)]

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=lambda a: a.name)


def of(*classes: LabelClass, reference: str | None = None) -> LabelSet:
    return label_set([Label(*each, reference) for each in classes])


def write(directory: Path, entries: Entries, id_bytes: int, rng: random.Random | None = None) -> Snapshot:
    """Write a snapshot and open it; its label-set ids in an order of their own when `rng` is given."""
    with SnapshotWriter(directory / "work", false_positive_rate=0.01, label_set_id_bytes=id_bytes) as writer:
        shared = sorted({labels for labels in entries.values() if all(label.reference is None for label in labels)})
        if rng is not None:
            rng.shuffle(shared)
        ids = {labels: writer.add_shared_label_set(labels) for labels in shared}
        for algorithm in ALGORITHMS.values():
            records = []
            for digest, labels in sorted((d, labels) for (a, d), labels in entries.items() if a == algorithm):
                number = ids[labels] if labels in ids else writer.add_own_label_set(labels)
                records.append(digest + number.to_bytes(id_bytes, "little"))
            if records:
                writer.begin(algorithm)
                writer.append(np.frombuffer(b"".join(records), np.uint8).reshape(len(records), -1))
        manifest = writer.finish(classes=[], lists=[], merged=0)
    target = (directory / "work").rename(directory / manifest.snapshot_id)
    return Snapshot.open(target, read_manifest(target)[1])


def plain(old: Entries, new: Entries) -> tuple[dict, dict, dict]:
    """Give what the classes, the lists and the re-classed counts must be, one digest after the other."""
    by_class: dict[LabelClass, dict[str, Counter[str]]] = {}
    by_list: dict[str, Counter[str]] = {}
    reclassed: Counter[tuple[tuple[LabelClass, ...], tuple[LabelClass, ...]]] = Counter()

    def what(had: bool, has: bool) -> str:
        return "kept" if had and has else "added" if has else "removed"

    for algorithm, digest in old.keys() | new.keys():
        before = {label.label_class for label in old.get((algorithm, digest), ())}
        after = {label.label_class for label in new.get((algorithm, digest), ())}
        for each in before | after:
            counts = by_class.setdefault(each, {}).setdefault(algorithm.name, Counter())
            counts[what(each in before, each in after)] += 1
        lists_before, lists_after = {c.list_id for c in before}, {c.list_id for c in after}
        for list_id in lists_before | lists_after:
            by_list.setdefault(list_id, Counter())[what(list_id in lists_before, list_id in lists_after)] += 1
        if before and after and before != after:
            reclassed[tuple(sorted(before)), tuple(sorted(after))] += 1
    return (
        {c: {name: Change(**counts) for name, counts in by_name.items()} for c, by_name in by_class.items()},
        {list_id: Change(**counts) for list_id, counts in by_list.items()},
        dict(reclassed),
    )


def check(found: SnapshotDiff, old: Entries, new: Entries) -> None:
    classes, lists, reclassed = plain(old, new)
    assert found.classes == classes
    assert found.lists == lists
    assert found.reclassed == reclassed
    assert list(found.classes) == sorted(classes)
    assert list(found.lists) == sorted(lists)
    before = {label.label_class for labels in old.values() for label in labels}
    after = {label.label_class for labels in new.values() for label in labels}
    assert found.appeared == sorted(after - before)
    assert found.vanished == sorted(before - after)


@pytest.fixture
def compare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compare]:
    """Write two snapshots, compare them both ways with the plain program, and give the first difference."""

    def compare(old: Entries, new: Entries, widths: tuple[int, int] = (4, 4), rng: random.Random | None = None):
        with ExitStack() as stack:
            first = stack.enter_context(write(tmp_path_factory.mktemp("old"), old, widths[0], rng))
            second = stack.enter_context(write(tmp_path_factory.mktemp("new"), new, widths[1], rng))
            found, back = diff_snapshots(first, second), diff_snapshots(second, first)
            alone = diff_snapshots(None, second)
            assert (found.old_snapshot_id, found.new_snapshot_id) == (first.snapshot_id, second.snapshot_id)
            assert (back.old_snapshot_id, back.new_snapshot_id) == (second.snapshot_id, first.snapshot_id)
        check(found, old, new)
        check(back, new, old)
        check(alone, {}, new)
        assert alone.old_snapshot_id is None
        return found

    return compare


# Digests of few bytes' difference, in the first 8 bytes and behind them, NULs at the end included.
TAILS = st.tuples(st.sampled_from([0, 1, 255]), st.sampled_from([0, 1, 255]), st.sampled_from([0, 128]))
LABELS = st.lists(
    st.builds(lambda c, r: Label(*c, r), st.sampled_from(CLASSES), st.sampled_from([None, None, "r1", "r2"])),
    min_size=1,
    max_size=4,
).map(label_set)


def digest_of(algorithm: Algorithm, tail: tuple[int, int, int]) -> bytes:
    raw = bytearray(algorithm.digest_bytes)
    raw[7], raw[8], raw[-1] = tail
    return bytes(raw)


KEYS = st.builds(lambda a, t: (a, digest_of(a, t)), st.sampled_from([MD5, SHA1, PHOTODNA]), TAILS)
ANY_ENTRIES = st.dictionaries(KEYS, LABELS, max_size=40)


@settings(max_examples=100, deadline=None)
@given(old=ANY_ENTRIES, new=ANY_ENTRIES, blocks=st.sampled_from([1, 512]))
def test_any_two_snapshots(old: Entries, new: Entries, blocks: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    with ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        monkeypatch.setattr(Table.blocks, "__defaults__", (blocks,))
        first = stack.enter_context(write(tmp_path_factory.mktemp("old"), old, 4))
        second = stack.enter_context(write(tmp_path_factory.mktemp("new"), new, 4))
        check(diff_snapshots(first, second), old, new)


def mutated(entries: Entries, rng: random.Random, share: float, reference: str | None = None) -> dict:
    """Give a copy of which a share is gone, a share is new, and a share has other classes."""
    copy = {}
    for (algorithm, digest), labels in entries.items():
        drawn = rng.random()
        if drawn < share:
            continue
        copy[algorithm, digest] = of(rng.choice(CLASSES), reference=reference) if drawn < 2 * share else labels
        if drawn > 1 - share:
            # Next to another, or anywhere.
            near = digest[:-1] + rng.randbytes(1) if rng.random() < 0.5 else rng.randbytes(len(digest))
            copy.setdefault((algorithm, near), labels)
    return copy


@pytest.mark.parametrize("widths", [(2, 2), (2, 4), (4, 2)])
@pytest.mark.parametrize("share", [0.01, 0.5])
@every_algorithm
def test_many_blocks_in_step(
    algorithm: Algorithm, share: float, widths: tuple[int, int], rng: random.Random, compare: Compare,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Blocks of both sides begin and end at other digests, and the smaller side ends long before."""
    monkeypatch.setattr(Table.blocks, "__defaults__", (rng.choice([1, 3, 512]),))
    sets = [of(*rng.sample(CLASSES, rng.randint(1, 3))) for _ in range(6)]
    old = {(algorithm, rng.randbytes(algorithm.digest_bytes)): rng.choice(sets) for _ in range(1500)}
    new = mutated(old, rng, share)
    compare(old, new, widths, rng)
    few = dict(sorted(new.items(), key=lambda item: item[0][1])[:7])
    compare(old, few, widths, rng)


@pytest.mark.parametrize("count", [1, 119, 120, 121, 240])
def test_whole_blocks_and_records_to_spare(count: int, rng: random.Random, compare: Compare) -> None:
    """120 records of sha256 with short ids fill a block."""
    entries = {(SHA256, rng.randbytes(32)): of(ONE) for _ in range(count)}
    found = compare(entries, dict(list(entries.items())[1:]) | {(SHA256, bytes(32)): of(ONE)}, (2, 2))
    assert found.of_class(ONE) == Change(1, 1, count - 1)


@every_algorithm
def test_digests_that_share_their_first_bytes(algorithm: Algorithm, rng: random.Random, compare: Compare) -> None:
    """A hostile list, and PhotoDNA of pictures with a border: all in one prefix, among some that are not."""
    prefix, length = rng.randbytes(8), algorithm.digest_bytes
    old = {(algorithm, prefix + rng.randbytes(length - 8)): of(ONE) for _ in range(700)}
    old |= {(algorithm, rng.randbytes(length)): of(THREE) for _ in range(700)}
    new = mutated(old, rng, 0.2)
    # One digest of a key on this side and another on that.
    old[algorithm, bytes(8) + rng.randbytes(length - 8)] = of(ONE)
    new[algorithm, bytes(8) + rng.randbytes(length - 8)] = of(ONE)
    compare(old, new)


def test_nothing_against_nothing(compare: Compare) -> None:
    found = compare({}, {})
    assert (found.classes, found.lists, found.reclassed) == ({}, {}, {})
    assert found.of_class(ONE) == Change(0, 0, 0)


@pytest.mark.parametrize("widths", [(2, 2), (2, 4)])
def test_nothing_against_something(widths: tuple[int, int], rng: random.Random, compare: Compare) -> None:
    found = compare({}, {(a, rng.randbytes(a.digest_bytes)): of(ONE) for a in ALGORITHMS.values()}, widths)
    assert found.appeared == [ONE]
    assert found.of_class(ONE) == Change(added=5)
    assert found.lists == {"police": Change(added=5)}


def test_algorithms_that_only_one_side_has(rng: random.Random, compare: Compare) -> None:
    old = {(a, rng.randbytes(a.digest_bytes)): of(ONE, THREE) for a in (MD5, SHA256) for _ in range(200)}
    new = {key: labels for key, labels in old.items() if key[0] == SHA256}
    new |= {(a, rng.randbytes(a.digest_bytes)): of(ONE) for a in (SHA1, SHA512) for _ in range(300)}
    found = compare(old, new)
    assert list(found.classes[ONE]) == ["md5", "sha1", "sha256", "sha512"]
    assert found.classes[ONE]["md5"] == Change(removed=200)
    assert found.classes[THREE] == {"md5": Change(removed=200), "sha256": Change(kept=200)}


def test_ids_mean_nothing_outside_their_snapshot(rng: random.Random, tmp_path: Path) -> None:
    """The same entries, with every label set under another id: nothing has changed."""
    entries = {(MD5, rng.randbytes(16)): of(rng.choice(CLASSES)) for _ in range(400)}
    for seed in range(5):
        directory = tmp_path / str(seed)
        (directory / "a").mkdir(parents=True)
        (directory / "b").mkdir()
        first, second = write(directory / "a", entries, 2), write(directory / "b", entries, 4, random.Random(seed))
        with first, second:
            found = diff_snapshots(first, second)
        assert found.reclassed == {}
        assert {change.added + change.removed for change in found.lists.values()} == {0}


def test_hundreds_of_combinations_of_classes(rng: random.Random, compare: Compare) -> None:
    classes = [LabelClass("synthetic", f"c{i}", Tier.OTHER) for i in range(10)]
    digests = [(MD5, rng.randbytes(16)) for _ in range(900)]
    old, new = ({key: of(*rng.sample(classes, rng.randint(1, 9))) for key in digests} for _ in range(2))
    assert len(compare(old, new).reclassed) > 600


def test_other_references_are_no_change(rng: random.Random, compare: Compare) -> None:
    """Neither more nor fewer of them, nor none: the classes are what counts."""
    digests = [rng.randbytes(20) for _ in range(300)]
    old = {(SHA1, d): of(ONE, THREE, reference="before") for d in digests}
    new = {(SHA1, d): of(ONE, THREE, reference=rng.choice(["after", "before", None])) for d in digests}
    found = compare(old, new)
    assert found.reclassed == {}
    assert found.lists == {"hotline": Change(kept=300), "police": Change(kept=300)}


def test_references_of_all_kinds_in_many_blocks(rng: random.Random, compare: Compare, monkeypatch) -> None:
    monkeypatch.setattr(Table.blocks, "__defaults__", (2,))
    numbers = count()

    def some() -> LabelSet:
        return label_set([
            Label(*rng.choice(CLASSES), f"case {next(numbers)}" if rng.random() < 0.6 else None)
            for _ in range(rng.randint(1, 4))
        ])  # fmt: skip

    old = {(SHA256, rng.randbytes(32)): some() for _ in range(2000)}
    new = mutated(old, rng, 0.1, "a new case")
    assert len(compare(old, new).reclassed) > 10


def test_a_set_of_its_own_is_decoded_once_where_it_is_the_same(rng: random.Random, tmp_path: Path, monkeypatch) -> None:
    digests = [rng.randbytes(16) for _ in range(500)]
    entries = {(MD5, d): of(ONE, reference=d.hex()) for d in digests}
    changed = entries | {(MD5, digests[0]): of(THREE, reference="other")}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    decoded: list[int] = []
    labels = Snapshot.labels
    monkeypatch.setattr(Snapshot, "labels", lambda snapshot, number: decoded.append(number) or labels(snapshot, number))
    with write(tmp_path / "a", entries, 4) as old, write(tmp_path / "b", changed, 4) as new:
        found = diff_snapshots(old, new)
    assert found.reclassed == {((ONE,), (THREE,)): 1}
    assert len(decoded) == 500 + 1
    assert min(decoded) == FIRST_OWN_ID


def test_what_is_read_at_once_is_what_is_read_one_by_one(rng: random.Random, tmp_path: Path) -> None:
    entries = {(a, rng.randbytes(a.digest_bytes)): of(rng.choice(CLASSES)) for a in (MD5, PHOTODNA) for _ in range(900)}
    with write(tmp_path, entries, 2) as snapshot:
        for table in snapshot.tables.values():
            length = table.algorithm.digest_bytes
            for at_once in (1, 2, 512):
                chunks = list(table.blocks(at_once))
                records = [(bytes(row[:length]), int(row[length:].view("<u2")[0])) for c in chunks for row in c]
                assert records == list(table.records())
                assert (len(chunks) == 1) == (at_once == 512)


def test_records_of_both_sides_are_told(rng: random.Random, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    heard: list[int] = []
    old = {(a, rng.randbytes(a.digest_bytes)): of(ONE) for a in (MD5, SHA1) for _ in range(700)}
    new = {(SHA1, rng.randbytes(20)): of(ONE) for _ in range(900)}
    with write(tmp_path / "a", old, 2) as first, write(tmp_path / "b", new, 2) as second:
        diff_snapshots(first, second, on_records=heard.append)
    assert sum(heard) == 1400 + 900


def test_the_reading_ahead_hears_of_every_record_of_its_snapshot(
    rng: random.Random, tmp_path: Path, monkeypatch
) -> None:
    """One that falls behind leaves the look-ups to fetch a page at a time: right, and ten times as slow."""
    heard: dict[Snapshot | None, int] = {}
    read_ahead = diff.read_ahead

    @contextmanager
    def counted(snapshot: Snapshot | None):
        with read_ahead(snapshot) as on_read:

            def on_read_counted(count: int) -> None:
                heard[snapshot] = heard.get(snapshot, 0) + count
                on_read(count)

            yield on_read_counted

    monkeypatch.setattr(diff, "read_ahead", counted)
    monkeypatch.setattr(Table.blocks, "__defaults__", (2,))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    old = {(a, rng.randbytes(a.digest_bytes)): of(ONE) for a in (MD5, SHA1) for _ in range(1700)}
    new = {(a, rng.randbytes(a.digest_bytes)): of(ONE) for a in (SHA1, SHA256) for _ in range(2300)}
    with write(tmp_path / "a", old, 2) as first, write(tmp_path / "b", new, 2) as second:
        diff_snapshots(first, second)
        assert heard == {first: 3400, second: 4600}


def test_the_whole_file_is_read_by_the_last_record(rng: random.Random, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(diff_records, "_AHEAD_BYTES", 0)
    monkeypatch.setattr(diff_records, "_READ_BYTES", 4096)
    with write(tmp_path, {(SHA512, rng.randbytes(64)): of(ONE) for _ in range(3000)}, 2) as snapshot:
        path = snapshot.directory / ENTRIES
        opened = []
        monkeypatch.setattr(Path, "open", lambda *args, **named: opened.append(io.FileIO(path)) or opened[0])
        with diff.read_ahead(snapshot) as on_read:
            assert opened[0].tell() == 0
            on_read(1500)
            assert 0.4 < opened[0].tell() / path.stat().st_size < 0.6
            on_read(1500)
            assert opened[0].tell() == path.stat().st_size
        assert opened[0].closed


def test_one_snapshot_does_not_differ_from_itself(tmp_path: Path) -> None:
    with write(tmp_path, {(MD5, bytes(16)): of(ONE)}, 2) as snapshot, pytest.raises(ValueError, match="open two"):
        diff_snapshots(snapshot, snapshot)


@pytest.mark.parametrize("number", [1, 65535])
def test_an_id_without_label_set_is_damage(number: int, tmp_path: Path) -> None:
    with SnapshotWriter(tmp_path / "s", false_positive_rate=0.01, label_set_id_bytes=2) as writer:
        writer.add_shared_label_set(of(ONE))
        writer.begin(MD5)
        record = bytes(16) + number.to_bytes(2, "little")
        writer.append(np.frombuffer(record, np.uint8).reshape(1, -1))
        manifest = writer.finish(classes=[], lists=[], merged=0)
    target = (tmp_path / "s").rename(tmp_path / manifest.snapshot_id)
    with (
        Snapshot.open(target, read_manifest(target)[1]) as snapshot,
        pytest.raises(EntriesDamaged, match=f"label set {number} of 1"),
    ):
        diff_snapshots(None, snapshot)


def test_a_block_with_a_part_of_a_record_is_damage(rng: random.Random, tmp_path: Path) -> None:
    with write(tmp_path, {(MD5, rng.randbytes(16)): of(ONE) for _ in range(10)}, 2) as snapshot:
        snapshot.tables["md5"]._record_bytes += 1
        with pytest.raises(EntriesDamaged, match="a block of md5 has a part of a record"):
            diff_snapshots(None, snapshot)


def test_memory_does_not_grow_with_the_snapshots(tmp_path: Path) -> None:
    """Entries of 40 MB on each side."""
    snapshots = []
    generator = np.random.default_rng(random.getrandbits(64))
    for name in ("a", "b"):
        with SnapshotWriter(tmp_path / name / "s", false_positive_rate=0.1, label_set_id_bytes=2) as writer:
            writer.add_shared_label_set(of(ONE))
            writer.begin(SHA512)
            for first_byte in range(256):
                rows = generator.integers(0, 256, (2400, 66), dtype=np.uint8)
                rows[:, 0], rows[:, 64:] = first_byte, 0
                writer.append(rows[np.argsort(rows[:, :8].copy().view(">u8")[:, 0])])
            manifest = writer.finish(classes=[], lists=[], merged=0)
        target = (tmp_path / name / "s").rename(tmp_path / name / manifest.snapshot_id)
        snapshots.append(Snapshot.open(target, read_manifest(target)[1]))
    with snapshots[0] as old, snapshots[1] as new:
        tracemalloc.start()
        try:
            found = diff_snapshots(old, new)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert found.of_class(ONE) == Change(added=2400 * 256, removed=2400 * 256)
    assert peak_bytes < 24 << 20
