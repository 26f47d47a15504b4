"""An open snapshot: every entry found, nothing else, and any doubt a named error before a byte is mapped."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import lmdb
import orjson
import pytest

from snapshot.algorithms import ALGORITHMS, MD5, PHOTODNA, SHA1, SHA256, Algorithm
from snapshot.bloom import HEADER
from snapshot.errors import (
    ChecksumMismatch,
    DamageError,
    EntriesDamaged,
    FileMissing,
    FilterDamaged,
    ManifestDamaged,
    NewerFormat,
    SnapshotError,
    StoreUnusable,
    UnexpectedFile,
    WrongSize,
)
from snapshot.labels import Label, LabelSet, Tier
from snapshot.manifest import ENTRIES, MANIFEST, filter_file, parse_manifest, sha256_hex
from snapshot.reader import Snapshot, check_files, check_sizes, file_sha256, read_trusted_manifest

LABELS: LabelSet = (Label("synthetic", "default", Tier.ILLEGAL, None),)


def neighbours(digest: bytes) -> list[bytes]:
    """The digests directly below and above."""
    number, top = int.from_bytes(digest, "big"), 256 ** len(digest)
    return [((number + step) % top).to_bytes(len(digest), "big") for step in (-1, 1)]


@pytest.mark.parametrize("id_bytes", [2, 4])
@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=lambda a: a.name)
def test_all_are_found_and_their_neighbours_are_not(
    algorithm: Algorithm, extra: int, id_bytes: int, rng: random.Random, written
) -> None:
    """Three blocks, the last short of a record, full, or with one record of its own: every border between them."""
    per_block = (4096 - 16) // (algorithm.digest_bytes + id_bytes)
    digests = {rng.randbytes(algorithm.digest_bytes) for _ in range(3 * per_block + extra)}
    reference = Label("synthetic", "default", Tier.ILLEGAL, "case-7")
    entries = {
        (algorithm, d): ((reference,) if id_bytes == 4 and rng.random() < 0.3 else LABELS) for d in sorted(digests)
    }
    w = written(entries, id_bytes=id_bytes)
    with Snapshot.open(w.directory, w.manifest_sha256) as snapshot:
        table = snapshot.tables[algorithm.name]
        for digest in digests:
            number = table.find(digest)
            assert number is not None
            assert snapshot.labels(number) == entries[algorithm, digest]
            for other in neighbours(digest):
                assert (table.find(other) is not None) == (other in digests)
        assert table.filter.probe(b"".join(digests)) == list(range(len(digests)))
        assert [digest for digest, _ in table.records()] == sorted(digests)
        assert table.first_digest() == min(digests)
        assert table.entries == len(digests)


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=lambda a: a.name)
def test_the_smallest_and_the_largest_digest_are_digests_like_others(algorithm: Algorithm, rng, written) -> None:
    length = algorithm.digest_bytes
    ends = [bytes(length), b"\xff" * length]
    w = written({(algorithm, d): LABELS for d in [*ends, rng.randbytes(length)]})
    with Snapshot.open(w.directory, w.manifest_sha256) as snapshot:
        table = snapshot.tables[algorithm.name]
        assert [table.find(d) for d in ends] == [0, 0]
        assert [table.find(o) for d in ends for o in neighbours(d) if o not in ends] == [None, None]


def test_algorithms_do_not_answer_for_one_another(rng: random.Random, written) -> None:
    digest = rng.randbytes(144)
    entries = {(a, rng.randbytes(a.digest_bytes)): LABELS for a in ALGORITHMS.values()}
    entries |= {(SHA1, digest[:20]): LABELS}
    w = written(entries)
    with Snapshot.open(w.directory, w.manifest_sha256) as snapshot:
        found = {name: table.find(digest[: table.algorithm.digest_bytes]) for name, table in snapshot.tables.items()}
    assert found == {"md5": None, "sha1": 0, "sha256": None, "sha512": None, "photodna": None}


def test_the_largest_short_id_is_followed_to_its_labels(rng: random.Random, written) -> None:
    sets = [(Label("synthetic", f"c{i}", Tier.OTHER, None),) for i in range(2**16 - 1)]
    entries = {(MD5, rng.randbytes(16)): labels for labels in sets}
    w = written(entries)
    with Snapshot.open(w.directory, w.manifest_sha256) as snapshot:
        table = snapshot.tables["md5"]
        for (_, digest), labels in rng.sample(sorted(entries.items(), key=lambda item: item[0][1]), 2000):
            assert snapshot.labels(table.find(digest)) == labels


def test_samples_are_entries(rng: random.Random, written, some_entries) -> None:
    entries = some_entries(1000, SHA256)
    w = written(entries)
    with Snapshot.open(w.directory, w.manifest_sha256) as snapshot:
        table = snapshot.tables["sha256"]
        for _ in range(200):
            digest = table.some_digest(rng.randbytes(32))
            assert digest is None or (SHA256, digest) in entries
        assert table.some_digest(b"\xff" * 32) is None


def test_a_label_set_that_is_not_there_is_damage(written, some_entries) -> None:
    w = written(some_entries(3, MD5))
    with (
        Snapshot.open(w.directory, w.manifest_sha256) as snapshot,
        pytest.raises(EntriesDamaged, match="no label set 9"),
    ):
        snapshot.labels(9)


def test_reading_in_and_the_canary_pass_on_a_sound_snapshot(written, some_entries) -> None:
    w = written(some_entries(50, *ALGORITHMS.values()))
    with Snapshot.open(w.directory, w.manifest_sha256) as snapshot:
        assert list(snapshot.tables) == list(ALGORITHMS)
        snapshot.read_in()
        snapshot.check_canary()


def test_it_can_be_opened_again_once_it_is_closed(written, some_entries) -> None:
    w = written(some_entries(3, MD5))
    for _ in range(3):
        with Snapshot.open(w.directory, w.manifest_sha256) as snapshot:
            snapshot.check_canary()


def test_a_manifest_that_nobody_vouches_for_is_refused(written, some_entries, rng: random.Random) -> None:
    w = written(some_entries(3, MD5))
    with pytest.raises(ManifestDamaged, match="SHA-256 differs"):
        Snapshot.open(w.directory, rng.randbytes(32).hex())


def test_a_manifest_in_another_snapshot_s_directory_is_refused(written, some_entries) -> None:
    w = written(some_entries(3, MD5))
    moved = w.directory.rename(w.directory.with_name("0" * 64))
    with pytest.raises(ManifestDamaged, match="describes snapshot"):
        read_trusted_manifest(moved, w.manifest_sha256)


def test_a_newer_format_is_said_although_the_checksum_differs(written, some_entries) -> None:
    w = written(some_entries(3, MD5))
    path = w.directory / MANIFEST
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"format_version": 3}))
    with pytest.raises(NewerFormat):
        Snapshot.open(w.directory, w.manifest_sha256)


@pytest.mark.parametrize("name", [ENTRIES, "md5.bloom", "photodna.bloom"])
@pytest.mark.parametrize("damage", ["missing", "cut", "cut to nothing", "grown"])
def test_sizes_are_checked_before_a_file_is_mapped(
    name: str, damage: str, written, some_entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = written(some_entries(100, MD5, PHOTODNA))
    path = w.directory / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-1], "cut to nothing": b"", "grown": content + b"\0"}[damage])

    def mapped(*_: object, **__: object) -> None:
        raise AssertionError("a file of the wrong size was mapped")

    monkeypatch.setattr("snapshot.reader.MappedFilter", mapped)
    monkeypatch.setattr("snapshot.reader.lmdb.open", mapped)
    with pytest.raises(FileMissing if damage == "missing" else WrongSize, match=name.replace(".", r"\.")):
        Snapshot.open(w.directory, w.manifest_sha256)


def test_any_flipped_bit_changes_a_checksum(written, some_entries, rng: random.Random) -> None:
    w = written(some_entries(100, MD5, PHOTODNA))
    check_files(w.directory, w.manifest)
    for name in w.manifest.files:
        path = w.directory / name
        content = path.read_bytes()
        for at in (0, len(content) - 1, *(rng.randrange(len(content)) for _ in range(8))):
            changed = bytearray(content)
            changed[at] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
            with pytest.raises(ChecksumMismatch) as caught:
                check_files(w.directory, w.manifest)
            assert caught.value.path == path
        path.write_bytes(content)
    check_files(w.directory, w.manifest)


@pytest.mark.parametrize("extra", ["notes.txt", "sha1.bloom", ".hidden", "directory/"])
def test_a_file_that_does_not_belong_is_named(extra: str, written, some_entries) -> None:
    w = written(some_entries(3, MD5))
    path = w.directory / extra.rstrip("/")
    path.mkdir() if extra.endswith("/") else path.touch()
    with pytest.raises(UnexpectedFile) as caught:
        check_files(w.directory, w.manifest)
    assert caught.value.path == path


def test_all_bytes_are_told_while_checksums_are_made(written, some_entries) -> None:
    w = written(some_entries(20_000, PHOTODNA))
    pieces: list[int] = []
    check_files(w.directory, w.manifest, on_bytes=pieces.append)
    assert sum(pieces) == w.manifest.total_bytes
    assert len(pieces) > len(w.manifest.files)


def test_a_directory_in_place_of_a_file_is_named(written, some_entries) -> None:
    w = written(some_entries(3, MD5))
    path = w.directory / "md5.bloom"
    path.unlink()
    path.mkdir()
    with pytest.raises(SnapshotError, match=r"md5\.bloom"):
        check_files(w.directory, w.manifest)
    with pytest.raises(StoreUnusable, match=r"md5\.bloom"):
        file_sha256(path)


Resign = Callable[[Path], str]


@pytest.fixture
def resign() -> Resign:
    """Write a manifest that fits a directory's changed files, as only somebody could who also writes CURRENT."""

    def resign(directory: Path) -> str:
        path = directory / MANIFEST
        loaded = orjson.loads(path.read_bytes())
        for name, facts in loaded["files"].items():
            content = (directory / name).read_bytes()
            facts["bytes"], facts["sha256"] = len(content), sha256_hex(content)
        path.write_bytes(parse_manifest(orjson.dumps(loaded), path).encode())
        return sha256_hex(path.read_bytes())

    return resign


@pytest.mark.parametrize("content", [b"x", b"\0" * 65536, b"no LMDB at all" * 5000], ids=["byte", "zeros", "text"])
def test_entries_that_lmdb_refuses_are_named(content: bytes, written, some_entries, resign: Resign) -> None:
    w = written(some_entries(100, MD5))
    (w.directory / ENTRIES).write_bytes(content)
    with pytest.raises(EntriesDamaged, match=r"entries\.lmdb: LMDB"):
        Snapshot.open(w.directory, resign(w.directory))


def test_entries_of_other_algorithms_are_named(written, some_entries, resign: Resign, tmp_path: Path) -> None:
    w = written(some_entries(100, MD5))
    other = written(some_entries(100, SHA1))
    shutil.copyfile(other.directory / ENTRIES, w.directory / ENTRIES)
    with pytest.raises(EntriesDamaged, match=r"entries\.lmdb: LMDB"):
        Snapshot.open(w.directory, resign(w.directory))


def test_entries_of_another_snapshot_are_named_by_the_number_of_blocks(written, some_entries, resign: Resign) -> None:
    w = written(some_entries(100, MD5))
    other = written(some_entries(300, MD5))
    shutil.copyfile(other.directory / ENTRIES, w.directory / ENTRIES)
    with pytest.raises(EntriesDamaged, match="2 blocks of md5, the manifest says 1"):
        Snapshot.open(w.directory, resign(w.directory))


@pytest.mark.parametrize("count", [99, 101])
def test_a_filter_for_other_counts_is_named(count: int, written, some_entries, resign: Resign) -> None:
    w = written(some_entries(100, MD5))
    other = written(some_entries(count, MD5))
    shutil.copyfile(other.directory / "md5.bloom", w.directory / "md5.bloom")
    with pytest.raises(FilterDamaged, match=r"md5\.bloom: the header is not the one the manifest describes"):
        Snapshot.open(w.directory, resign(w.directory))


def test_a_filter_that_denies_its_store_fails_the_canary(written, some_entries, resign: Resign) -> None:
    w = written(some_entries(100, MD5))
    path = w.directory / "md5.bloom"
    content = path.read_bytes()
    path.write_bytes(content[: HEADER.size] + bytes(len(content) - HEADER.size))
    with (
        Snapshot.open(w.directory, resign(w.directory)) as snapshot,
        pytest.raises(FilterDamaged, match="denies an entry"),
    ):
        snapshot.check_canary()


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.tables["md5"].find(bytes(16)),
        lambda s: list(s.tables["md5"].records()),
        lambda s: s.tables["md5"].first_digest(),
        lambda s: s.tables["md5"].some_digest(bytes(16)),
        lambda s: s.labels(0),
        lambda s: s.check_canary(),
    ],
    ids=["find", "records", "first_digest", "some_digest", "labels", "check_canary"],
)
def test_whatever_lmdb_raises_while_answering_is_named(ask, written, some_entries, monkeypatch) -> None:
    w = written(some_entries(100, MD5))

    class Failing:
        def __getattr__(self, name: str) -> Callable[..., object]:
            def fail(*_: object, **__: object) -> object:
                raise lmdb.CorruptedError(f"mdb_{name}: located page was wrong type")

            return fail

    with Snapshot.open(w.directory, w.manifest_sha256) as snapshot, monkeypatch.context() as patch:
        patch.setattr(snapshot.tables["md5"], "_cursor", Failing())
        patch.setattr(snapshot, "_txn", Failing())
        with pytest.raises(EntriesDamaged, match=r"entries\.lmdb: LMDB: mdb_"):
            ask(snapshot)


def test_a_file_that_vanishes_while_it_is_opened_is_named(written, some_entries, monkeypatch) -> None:
    """Retention may unlink a snapshot between the look at its sizes and its opening."""
    w = written(some_entries(100, MD5))

    def checked_then_gone(directory: Path, manifest: object) -> None:
        check_sizes(directory, manifest)
        (directory / filter_file("md5")).unlink()

    monkeypatch.setattr("snapshot.reader.check_sizes", checked_then_gone)
    with pytest.raises(DamageError, match=r"md5\.bloom: is missing"):
        Snapshot.open(w.directory, w.manifest_sha256)
