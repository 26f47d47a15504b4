"""The writer: refuses what could not be found again, reports what it wrote, and leaves nothing half done."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import lmdb
import numpy as np
import pytest

from snapshot.algorithms import ALGORITHMS, MD5, PHOTODNA, SHA1, SHA512, Algorithm
from snapshot.blocks import FIRST_OWN_ID, records_per_block
from snapshot.bloom import DigestFilter, filter_key
from snapshot.errors import StoreFull, StoreUnusable
from snapshot.labels import Label, Tier
from snapshot.manifest import ENTRIES, MANIFEST, Manifest, filter_file, read_manifest
from snapshot.reader import Snapshot, check_files
from snapshot.writer import SnapshotWriter

LABELS = (Label("synthetic", "default", Tier.ILLEGAL, None),)


def records_of(digests: list[bytes], id_bytes: int = 2) -> np.ndarray:
    """Records, in the order given, that all carry the label-set id 0."""
    rows = b"".join(digest + bytes(id_bytes) for digest in digests)
    return np.frombuffer(rows, np.uint8).reshape(len(digests), -1).copy()


def random_records(rng: random.Random, algorithm: Algorithm, count: int) -> np.ndarray:
    return records_of(sorted({rng.randbytes(algorithm.digest_bytes) for _ in range(count)}))


def write(directory: Path, tables: dict[Algorithm, list[np.ndarray]], rate: float = 0.001) -> Manifest:
    with SnapshotWriter(directory, false_positive_rate=rate, label_set_id_bytes=2) as writer:
        writer.add_shared_label_set(LABELS)
        for algorithm, parts in tables.items():
            writer.begin(algorithm)
            for part in parts:
                writer.append(part)
        return writer.finish(classes=[], lists=[], merged=0)


def test_what_is_reported_is_what_lies_there(tmp_path: Path, rng: random.Random) -> None:
    tables = {a: [random_records(rng, a, 1000)] for a in ALGORITHMS.values()}
    manifest = write(tmp_path / "s", tables)
    assert {p.name for p in (tmp_path / "s").iterdir()} == {*manifest.files, MANIFEST}
    for name, facts in manifest.files.items():
        content = (tmp_path / "s" / name).read_bytes()
        assert (facts.bytes, facts.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    for algorithm, facts in zip(ALGORITHMS.values(), manifest.algorithms.values(), strict=True):
        per_block = records_per_block(algorithm.digest_bytes + 2, manifest.page_size)
        assert (facts.entries, facts.records_per_block) == (1000, per_block)
        assert facts.blocks == -(-1000 // per_block)
    assert read_manifest(tmp_path / "s")[0] == manifest
    check_files(tmp_path / "s", manifest)


def test_the_file_is_as_large_as_its_pages_and_maps_no_more(tmp_path: Path, rng: random.Random) -> None:
    # More than the 10 MiB that LMDB would map anyway.
    manifest = write(tmp_path / "s", {PHOTODNA: [random_records(rng, PHOTODNA, 90_000)]})
    size = manifest.files[ENTRIES].bytes
    blocks = manifest.algorithms["photodna"].blocks
    assert blocks * manifest.page_size <= size <= blocks * manifest.page_size * 1.05 + 20 * manifest.page_size
    with lmdb.open(str(tmp_path / "s" / ENTRIES), readonly=True, lock=False, subdir=False, create=False) as env:
        assert env.info()["map_size"] <= size + 20 * manifest.page_size


@pytest.mark.parametrize("pieces", [1, 2, 7, 300])
def test_the_id_and_all_files_are_the_same_wherever_parts_end(pieces: int, tmp_path: Path, rng: random.Random) -> None:
    records = random_records(rng, SHA1, 2000)
    whole = write(tmp_path / "whole", {SHA1: [records]})
    cuts = sorted(rng.randrange(len(records) + 1) for _ in range(pieces))  # some parts are empty
    parted = write(tmp_path / "parted", {SHA1: np.split(records, cuts)})
    assert parted.snapshot_id == whole.snapshot_id
    assert parted.files == whole.files
    assert parted.algorithms == whole.algorithms


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=lambda a: a.name)
@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1])  # 10, 7 and 4 slices, two of which are built side by side
def test_the_filter_is_the_librarys_wherever_keys_are_cut(
    algorithm: Algorithm, rate: float, tmp_path: Path, rng: random.Random, monkeypatch
) -> None:
    monkeypatch.setattr("snapshot.bloom._KEYS_IN_CACHE", 100)
    records = random_records(rng, algorithm, 730)
    write(tmp_path / "s", {algorithm: [records[:300], records[300:]]}, rate)
    library = DigestFilter(capacity=len(records), error_rate=rate)
    for record in records:
        library.add(filter_key(record[: algorithm.digest_bytes].tobytes(), algorithm), skip_check=True)
    with (tmp_path / "library").open("wb") as file:
        library.tofile(file)
    assert (tmp_path / "s" / filter_file(algorithm.name)).read_bytes() == (tmp_path / "library").read_bytes()


def test_the_id_follows_from_each_thing_that_is_in_it(tmp_path: Path, rng: random.Random) -> None:
    records = random_records(rng, MD5, 300)
    changed = records.copy()
    changed[150, 15] ^= 1
    labelled = records.copy()
    labelled[150, 16] ^= 1

    def snapshot_id(name: str, tables, labels=LABELS, *, own=(), rate=0.001, id_bytes=2) -> str:
        with SnapshotWriter(tmp_path / name, false_positive_rate=rate, label_set_id_bytes=id_bytes) as writer:
            writer.add_shared_label_set(labels)
            for label_set in own:
                writer.add_own_label_set(label_set)
            for algorithm, rows in tables.items():
                writer.begin(algorithm)
                writer.append(rows)
            return writer.finish(classes=[], lists=[], merged=0).snapshot_id

    other = (LABELS[0]._replace(category="other"),)
    wide = np.concatenate([records, np.zeros((len(records), 2), np.uint8)], axis=1)
    ids = [
        snapshot_id("a", {MD5: records}),
        snapshot_id("b", {MD5: changed}),
        snapshot_id("c", {MD5: labelled}),
        snapshot_id("d", {MD5: records[:-1]}),
        snapshot_id("e", {MD5: records}, other),
        snapshot_id("f", {MD5: records}, own=[other]),
        snapshot_id("g", {MD5: records}, rate=0.01),
        snapshot_id("h", {MD5: wide}, id_bytes=4),
        snapshot_id("i", {MD5: records, SHA1: random_records(rng, SHA1, 5)}),
    ]
    assert len(set(ids)) == len(ids)
    assert snapshot_id("again", {MD5: records}) == ids[0]


@pytest.mark.parametrize("count", [3, 226, 227, 5000])
@pytest.mark.parametrize("parts", [1, 2, 5])
def test_records_out_of_order_are_refused(count: int, parts: int, tmp_path: Path, rng: random.Random) -> None:
    """Such a record would not be found again: in one part or two, in one block or two, at any distance."""
    records = random_records(rng, MD5, count)
    at, with_ = sorted(rng.sample(range(count), 2))
    records[[at, with_]] = records[[with_, at]]
    with pytest.raises(ValueError, match="md5 are not ascending"):
        write(tmp_path / "s", {MD5: np.array_split(records, parts)})
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("at", [0, 224, 225, 226, 997])
@pytest.mark.parametrize("split", [False, True])
def test_a_digest_that_comes_twice_is_refused(at: int, split: bool, tmp_path: Path, rng: random.Random) -> None:
    records = random_records(rng, MD5, 999)
    records[at + 1, :16] = records[at, :16]
    parts = [records[: at + 1], records[at + 1 :]] if split else [records]
    with pytest.raises(ValueError, match="md5 are not ascending"):
        write(tmp_path / "s", {MD5: parts})


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=lambda a: a.name)
def test_digests_that_only_differ_at_the_end_are_in_order_or_not(algorithm: Algorithm, tmp_path: Path, rng) -> None:
    prefix = rng.randbytes(algorithm.digest_bytes - 2)
    records = records_of(sorted({prefix + rng.randbytes(2) for _ in range(1000)}))
    manifest = write(tmp_path / "right", {algorithm: [records[:500], records[500:]]})
    assert manifest.entries == len(records)
    records[[700, 701]] = records[[701, 700]]
    with pytest.raises(ValueError, match="are not ascending"):
        write(tmp_path / "wrong", {algorithm: [records]})


def test_label_sets_are_found_by_the_id_they_were_given(tmp_path: Path, rng: random.Random) -> None:
    shared = [(Label("a", f"c{i}", Tier.ILLEGAL, None),) for i in range(5)]
    own = [(Label("b", "c", Tier.OTHER, f"{rng.getrandbits(64):x}"),) for _ in range(5000)]  # more than a commit
    with SnapshotWriter(tmp_path / "s", false_positive_rate=0.001, label_set_id_bytes=4) as writer:
        own_ids = [writer.add_own_label_set(labels) for labels in own]
        shared_ids = [writer.add_shared_label_set(labels) for labels in shared]
        manifest = writer.finish(classes=[], lists=[], merged=0)
    assert (shared_ids[0], own_ids[0]) == (0, FIRST_OWN_ID)
    assert manifest.label_sets == 5005
    with Snapshot(tmp_path / "s", manifest, "") as snapshot:
        for number, labels in zip(shared_ids + own_ids, shared + own, strict=True):
            assert snapshot.labels(number) == labels


def test_a_body_that_raises_leaves_nothing(tmp_path: Path, rng: random.Random) -> None:
    def half_done() -> None:
        with SnapshotWriter(tmp_path / "s", false_positive_rate=0.001, label_set_id_bytes=2) as writer:
            writer.begin(MD5)
            writer.append(random_records(rng, MD5, 1000))
            writer.begin(SHA1)
            writer.append(random_records(rng, SHA1, 10))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_done()
    assert list(tmp_path.iterdir()) == []


def test_an_abandoned_snapshot_leaves_nothing(tmp_path: Path) -> None:
    writer = SnapshotWriter(tmp_path / "s", false_positive_rate=0.001, label_set_id_bytes=2)
    writer.begin(SHA512)
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_comes_last(tmp_path: Path, rng: random.Random) -> None:
    with SnapshotWriter(tmp_path / "s", false_positive_rate=0.001, label_set_id_bytes=2) as writer:
        writer.add_shared_label_set(LABELS)
        writer.begin(MD5)
        writer.append(random_records(rng, MD5, 1000))
        seen: list[bool] = []
        writer.finish(
            classes=[], lists=[], merged=0, on_bytes=lambda _: seen.append((tmp_path / "s" / MANIFEST).exists())
        )
    assert seen
    assert not any(seen)


def test_every_byte_that_is_checksummed_is_told(tmp_path: Path, rng: random.Random) -> None:
    told = 0

    def on_bytes(count: int) -> None:
        nonlocal told
        told += count

    with SnapshotWriter(tmp_path / "s", false_positive_rate=0.001, label_set_id_bytes=2) as writer:
        writer.add_shared_label_set(LABELS)
        writer.begin(MD5)
        writer.append(random_records(rng, MD5, 100_000))
        manifest = writer.finish(classes=[], lists=[], merged=0, on_bytes=on_bytes)
    assert told == manifest.total_bytes


def test_an_empty_snapshot_is_one(tmp_path: Path) -> None:
    manifest = write(tmp_path / "s", {})
    assert (manifest.entries, set(manifest.files)) == (0, {ENTRIES})
    with Snapshot(tmp_path / "s", manifest, "") as snapshot:
        assert snapshot.tables == {}
        snapshot.check_canary()


def test_a_path_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable, match="file"):
        SnapshotWriter(tmp_path / "file" / "s", false_positive_rate=0.001, label_set_id_bytes=2)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("mdb_put: No space left on device", StoreFull),
        ("mdb_txn_commit: Disk quota exceeded", StoreFull),
        ("mdb_txn_commit: File too large", StoreFull),
        ("mdb_txn_commit: Input/output error", StoreUnusable),
    ],
)
def test_what_lmdb_says_of_the_disk_is_a_store_error(
    message: str, error: type, tmp_path: Path, rng, monkeypatch
) -> None:
    writer = SnapshotWriter(tmp_path / "s", false_positive_rate=0.001, label_set_id_bytes=2)

    class Failing:
        def put(self, *_: object, **__: object) -> bool:
            raise lmdb.Error(message)

    writer.begin(MD5)
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_txn", Failing())
        with pytest.raises(error, match=message.partition(": ")[2]):
            writer.append(random_records(rng, MD5, 1000))
    writer.abandon()
