"""The golden snapshots: today's compiler gives the committed bytes, and today's reader understands them.

LMDB gives the same bytes for the same writes: py-lmdb clears new pages, and compiles whose malloc was told to fill
memory with rubbish gave the same file. Only the page size is the machine's; where it is not 4 KiB, entries are
compared by what they say.
"""

from __future__ import annotations

import csv
import random
from collections import Counter, defaultdict
from pathlib import Path

import lmdb
import pytest

from loader.guard import trivial_digests
from snapshot.algorithms import ALGORITHMS
from snapshot.blocks import REFERENCE_KEY_BYTES, references_database
from snapshot.bloom import MappedFilter
from snapshot.labels import MAX_REFERENCES_PER_CLASS, Label, LabelSet, Tier, label_set
from snapshot.manifest import ENTRIES, FORMAT_VERSION, MANIFEST, known_good_file, parse_manifest, sha256_hex
from snapshot.reader import Snapshot, check_files
from snapshot.seal import resealed
from tests.golden.regenerate import GOLDEN, HERE, LISTS, Golden, compile_golden, from_text, to_text

REMEDY = """{name}: {file} is not what was committed, so a snapshot written by an older hashwacht may be misread.

If you did not mean to change the format, this is a defect.
If you did: raise FORMAT_VERSION in snapshot/manifest.py, say in docs/snapshot-format.md what changed, and write the
golden files anew with `python tests/golden/regenerate.py`. Commit all three together.
"""

#: A digest, by its algorithm's name.
Digest = tuple[str, bytes]

every_golden = pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)


def committed(golden: Golden) -> dict[str, bytes]:
    texts = {path.name.removesuffix(".hex"): path.read_text("ascii") for path in (HERE / golden.name).iterdir()}
    return {name: from_text(text) for name, text in texts.items()}


def page_size(tmp_path: Path) -> int:
    with lmdb.open(str(tmp_path / "empty"), subdir=False) as env:
        return int(env.stat()["psize"])


@pytest.fixture
def opened(tmp_path: Path):
    """Write the committed bytes into a directory, and open them."""
    snapshots: list[Snapshot] = []

    def open_files(name: str, files: dict[str, bytes]) -> Snapshot:
        snapshot_id = parse_manifest(files[MANIFEST], Path(MANIFEST)).snapshot_id
        directory = tmp_path / name / snapshot_id
        directory.mkdir(parents=True)
        for file, content in files.items():
            (directory / file).write_bytes(content)
        snapshots.append(Snapshot.open(directory, sha256_hex(files[MANIFEST])))
        return snapshots[-1]

    yield open_files
    for snapshot in snapshots:
        snapshot.close()


def content_of(snapshot: Snapshot) -> dict[Digest, LabelSet]:
    return {
        (name, digest): snapshot.labels(number)
        for name, table in snapshot.tables.items()
        for digest, number in table.records()
    }


def stored(golden: Golden, digest: Digest) -> Digest:
    """Give a digest as a golden snapshot has it."""
    return digest[0], resealed((ALGORITHMS[digest[0]], digest[1]), None, golden.seal)[1]


def references_in(snapshot: Snapshot) -> dict[str, list[bytes]]:
    """Give the records of every database of references, in their order, read past the reader."""
    found: dict[str, list[bytes]] = {}
    env = snapshot._env  # one file may be opened only once in a process
    with env.begin() as txn:
        names = [name for name, _ in txn.cursor()]
        assert {name.decode() for name in names if b"/" not in name} == {*snapshot.tables, "label_sets"}
        for algorithm in ALGORITHMS.values():
            if (name := references_database(algorithm.name)) not in names:
                continue
            record_bytes = REFERENCE_KEY_BYTES + algorithm.digest_bytes
            records = found[algorithm.name] = []
            for key, block in txn.cursor(env.open_db(name, txn=txn, create=False)):
                records += [block[at : at + record_bytes] for at in range(0, len(block), record_bytes)]
                assert key == records[-1]
        assert {references_database(name) for name in found} == {name for name in names if b"/" in name}
    return found


@every_golden
def test_the_compiler_writes_what_was_committed(golden: Golden, tmp_path: Path, opened) -> None:
    old, new = committed(golden), compile_golden(golden, tmp_path / "store")
    assert old.keys() == new.keys(), REMEDY.format(name=golden.name, file="the set of files")
    by_bytes = old.keys()
    if page_size(tmp_path) != parse_manifest(old[MANIFEST], Path(MANIFEST)).page_size:
        by_bytes -= {ENTRIES, MANIFEST}
        snapshots = opened("new", new), opened("old", old)
        for each in (content_of, references_in, lambda snapshot: snapshot.manifest.known_good):
            assert each(snapshots[0]) == each(snapshots[1])
    for name in sorted(by_bytes):
        # Not compared by assert, which would print both in full.
        if new[name] != old[name]:
            pytest.fail(REMEDY.format(name=golden.name, file=name))


def test_the_committed_format_is_the_current_one() -> None:
    for golden in GOLDEN:
        manifest = parse_manifest(committed(golden)[MANIFEST], Path(MANIFEST))
        assert manifest.format_version == FORMAT_VERSION


BY_LENGTH = {2 * a.digest_bytes: a.name for a in ALGORITHMS.values()}


def known_good_in(golden: Golden) -> set[Digest]:
    """Give what the golden lists call harmless, and every trivial file, for the algorithms that are listed."""
    found = {(algorithm.name, digest) for algorithm, digest in trivial_digests()}
    if any(item.known_good for item in golden.lists):
        lines = (LISTS / "harmless.txt").read_text().splitlines()
        found |= {(BY_LENGTH[len(line)], bytes.fromhex(line)) for line in lines if not line.startswith("#")}
    return found


def from_lists(golden: Golden, *, guard: bool = True) -> dict[Digest, list[Label]]:
    """Read the golden hash lists once more, by hand: every label of every digest that is not known good.

    Nor is any that stands in a row, or under a reference, with one that is.
    """
    labels: dict[Digest, list[Label]] = {}
    known_good = known_good_in(golden) if guard else set()

    def add(text: str, list_id: str, category: str, tier: Tier, reference: str | None = None) -> None:
        digest = BY_LENGTH[len(text)], bytes.fromhex(text)
        if digest not in known_good:
            labels.setdefault(digest, []).append(Label(list_id, category, tier, reference))

    lists = {item.list_id for item in golden.lists}
    for name, tier in (("police", Tier.BASELINE), ("vectors", Tier.INVESTIGATIVE)):
        for line in (LISTS / f"{name}.txt").read_text().splitlines():
            if name in lists and not line.startswith("#"):
                add(line, name, "default", tier)
    for name, tier, category in (
        ("hotline", Tier.ILLEGAL, "unsorted"), ("cases", Tier.OTHER, "default"),
        ("constant", Tier.INVESTIGATIVE, "default"),
    ):  # fmt: skip
        with (LISTS / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if name in lists]
        bad_entries: set[str] = set()
        bad_digests: set[tuple[str, str]] = set()
        for row in rows:
            texts = [row[algorithm] for algorithm in ALGORITHMS if row.get(algorithm)]
            if any((BY_LENGTH[len(text)], bytes.fromhex(text)) in known_good for text in texts):
                if row.get("reference"):
                    bad_entries.add(row["reference"])
                else:
                    bad_digests |= {(text, row["category"]) for text in texts}
        for row in rows:
            reference = row.get("reference") or None
            for text in (row[algorithm] for algorithm in ALGORITHMS if row.get(algorithm)):
                goes = reference in bad_entries if reference else (text, row["category"]) in bad_digests
                if not goes:
                    add(text, name, row["category"] or category, tier, reference)
    return labels


@every_golden
def test_the_reader_finds_everything_in_the_committed_bytes(golden: Golden, rng: random.Random, opened) -> None:
    expected = {stored(golden, digest): label_set(labels) for digest, labels in from_lists(golden).items()}
    assert {name for name, _ in expected} == set(ALGORITHMS)
    snapshot = opened("old", committed(golden))
    check_files(snapshot.directory, snapshot.manifest)
    snapshot.check_canary()
    assert snapshot.manifest.label_set_id_bytes == {"short-ids": 2, "long-ids": 4, "sealed": 2}[golden.name]
    assert snapshot.manifest.seal_key_id == (None if golden.seal is None else golden.seal.key_id)
    assert all(facts.blocks > 1 for facts in snapshot.manifest.algorithms.values())
    assert content_of(snapshot) == expected
    for name, table in snapshot.tables.items():
        members = [digest for of, digest in expected if of == name]
        assert table.filter.probe(b"".join(members)) == list(range(len(members)))
        for digest in members:
            assert snapshot.labels(table.find(digest)) == expected[name, digest]
        strangers = [rng.randbytes(table.algorithm.digest_bytes) for _ in range(1000)]
        assert [digest for digest in strangers if table.find(digest) is not None] == []


@every_golden
def test_the_reader_finds_every_reference_in_the_committed_bytes(golden: Golden, opened) -> None:
    """Those beyond what a label set keeps too."""
    expected: defaultdict[tuple[str, str], set[Digest]] = defaultdict(set)
    for digest, labels in from_lists(golden).items():
        for label in labels:
            if label.reference is not None:
                expected[label.list_id, label.reference].add(digest)
    snapshot = opened("old", committed(golden))
    for (list_id, reference), digests in expected.items():
        found = [(algorithm.name, digest) for algorithm, digest in snapshot.digests_of(list_id, reference)]
        assert set(found) == digests
        assert len(found) == len(digests)
        assert snapshot.digests_of(f"{list_id}-", reference) == []
    assert snapshot.digests_of("cases", "nobody's") == []
    counts = {name: len(records) for name, records in references_in(snapshot).items()}
    assert sum(counts.values()) == sum(map(len, expected.values()))
    assert counts == {name: f.references for name, f in snapshot.manifest.algorithms.items() if f.references}
    assert all(records == sorted(set(records)) for records in references_in(snapshot).values())
    assert bool(expected) == (golden.name == "long-ids")


@every_golden
def test_the_known_good_filters_know_what_is_known_good(golden: Golden, rng: random.Random, opened) -> None:
    known_good = known_good_in(golden)
    snapshot = opened("old", committed(golden))
    assert {name for name, _ in known_good} == snapshot.manifest.known_good.keys()
    for name, facts in snapshot.manifest.known_good.items():
        members = [stored(golden, digest)[1] for digest in known_good if digest[0] == name]
        bloom = MappedFilter(snapshot.directory / known_good_file(name), ALGORITHMS[name])
        assert (bloom.count, bloom.false_positive_rate) == (len(members), 1e-5)
        assert facts.digests == len(members)
        assert bloom.probe(b"".join(members)) == list(range(len(members)))
        strangers = [rng.randbytes(ALGORITHMS[name].digest_bytes) for _ in range(1000)]
        assert len(bloom.probe(b"".join(strangers))) <= 2
        assert not any(stored(golden, digest)[1] in bloom for digest in from_lists(golden) if digest[0] == name)
    left = from_lists(golden)
    guarded = Counter(
        list_id
        for digest, labels in from_lists(golden, guard=False).items()
        for list_id in {label.list_id for label in set(labels) - set(left.get(digest, ()))}
    )
    assert {facts.list_id: facts.guarded for facts in snapshot.manifest.lists if facts.guarded} == guarded
    assert guarded.keys() == ({"police", "hotline", "cases"} if golden.name == "long-ids" else set())
    kinds = {facts.list_id: facts.kind for facts in snapshot.manifest.lists}
    assert kinds == {item.list_id: "known-good" if item.known_good else "known-bad" for item in golden.lists}


def test_references_are_there_and_shared_digests_have_several_labels() -> None:
    """What the golden lists were made for: without these they would prove less than they seem to."""
    long = from_lists(GOLDEN[1])
    assert max(len(labels) for labels in long.values()) > MAX_REFERENCES_PER_CLASS
    assert sum(any(label.reference for label in labels) for labels in long.values()) > 50
    assert {tier for labels in long.values() for tier in (label.tier for label in labels)} == {
        Tier.BASELINE, Tier.ILLEGAL, Tier.INVESTIGATIVE, Tier.OTHER,
    }  # fmt: skip
    assert max(len({label.list_id for label in labels}) for labels in long.values()) == 3


def test_files_are_small_and_the_text_comes_back(rng: random.Random) -> None:
    for golden in GOLDEN:
        assert all(path.stat().st_size < 200_000 for path in (HERE / golden.name).iterdir())
    for size in (0, 1, 31, 32, 33, 5000):
        content = bytearray(rng.randbytes(size))
        content[size // 4 : size // 2] = bytes(size // 2 - size // 4)
        assert from_text(to_text(bytes(content))) == content


def test_a_golden_text_changed_by_hand_is_refused() -> None:
    text = to_text(b"some bytes")
    with pytest.raises(ValueError, match="changed by hand"):
        from_text(text.replace("00000000 7", "00000000 6"))
