"""Which digests stand under a supplier's reference: over all algorithms, and never another's."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapshot.algorithms import ALGORITHMS, MD5, SHA1, SHA256, Algorithm
from snapshot.blocks import REFERENCE_KEY_BYTES, reference_key
from snapshot.labels import Label, Tier
from snapshot.manifest import ListFacts, read_manifest
from snapshot.reader import Snapshot, check_files
from snapshot.writer import SnapshotWriter

#: list_id, reference → its digests.
Under = Mapping[tuple[str, str], set[tuple[Algorithm, bytes]]]


def write(directory: Path, under: Under) -> Path:
    """Write a snapshot with these references; give its directory."""
    labels: dict[tuple[Algorithm, bytes], list[Label]] = {}
    for (list_id, reference), digests in under.items():
        for entry in digests:
            labels.setdefault(entry, []).append(Label(list_id, "default", Tier.ILLEGAL, reference))
    work = directory / "work"
    with SnapshotWriter(work, false_positive_rate=0.001, label_set_id_bytes=4) as writer:
        for algorithm in ALGORITHMS.values():
            own = {digest: each for (of, digest), each in labels.items() if of == algorithm}
            if not own:
                continue
            records = [
                digest + writer.add_own_label_set(tuple(sorted(each))).to_bytes(4, "little")
                for digest, each in sorted(own.items())
            ]
            writer.begin(algorithm)
            writer.append(np.frombuffer(b"".join(records), np.uint8).reshape(len(records), -1))
        for algorithm in ALGORITHMS.values():
            rows = sorted(
                reference_key(*key) + digest for key, digests in under.items() for of, digest in digests
                if of == algorithm
            )  # fmt: skip
            if not rows:
                continue
            writer.begin_references(algorithm)
            matrix = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)
            half = len(rows) // 2  # as the loader does, part by part
            writer.append_references(matrix[:half])
            writer.append_references(matrix[half:])
        facts = ListFacts(list_id="list", files=1, lines=1, digests=len(labels), refused=0)
        manifest = writer.finish(classes=[], lists=[facts], merged=0)
    return work.rename(work.with_name(manifest.snapshot_id))


def opened(directory: Path) -> Snapshot:
    manifest, sha256 = read_manifest(directory)
    check_files(directory, manifest)
    return Snapshot.open(directory, sha256)


@st.composite
def references(draw: st.DrawFn) -> dict[tuple[str, str], set[tuple[Algorithm, bytes]]]:
    """References with up to 300 digests each, from a small pool, so that digests and references repeat."""
    source = random.Random(draw(st.integers(0, 2**32)))
    names = [MD5, SHA1, ALGORITHMS["photodna"]]
    pool = [(algorithm, source.randbytes(algorithm.digest_bytes)) for algorithm in names for _ in range(150)]
    keys = st.tuples(st.sampled_from(["a", "ab", "b"]), st.sampled_from(["", "b", "bc", "case 7", "é", "x" * 900]))
    counts = draw(st.dictionaries(keys, st.integers(1, 300), min_size=1, max_size=8))
    return {key: set(source.sample(pool, count)) for key, count in counts.items()}


@given(references())
def test_the_digests_of_a_reference_as_a_plain_dict_has_them(under: Under) -> None:
    with tempfile.TemporaryDirectory() as directory, opened(write(Path(directory), under)) as snapshot:
        for key in [*under, ("a", "never"), ("abb", "c"), ("", ""), ("never", "b"), ("b", "x" * 901)]:
            found = snapshot.digests_of(*key)
            assert set(found) == under.get(key, set())
            order = {algorithm: place for place, algorithm in enumerate(ALGORITHMS.values())}
            assert found == sorted(found, key=lambda each: (order[each[0]], each[1])), "each once, in a known order"
        counts = {name: sum(of.name == name for each in under.values() for of, _ in each) for name in snapshot.tables}
        assert {name: facts.references for name, facts in snapshot.manifest.algorithms.items()} == counts


def test_a_reference_over_many_blocks_and_its_neighbours(tmp_path: Path, rng: random.Random) -> None:
    """4,096 digests fill some fifty blocks, and those of the key before and after begin and end within one."""
    keys = sorted((("list", f"ref {number}") for number in range(60)), key=lambda key: reference_key(*key))
    under = {
        key: {(SHA256, rng.randbytes(32)) for _ in range(4096 if place == 30 else 1 + place % 3)}
        for place, key in enumerate(keys)
    }
    with opened(write(tmp_path, under)) as snapshot:
        for key, expected in under.items():
            assert snapshot.digests_of(*key) == sorted(expected, key=lambda each: each[1])


def test_a_snapshot_without_references_has_none(tmp_path: Path, rng: random.Random) -> None:
    with SnapshotWriter(tmp_path / "work", false_positive_rate=0.001, label_set_id_bytes=2) as writer:
        number = writer.add_shared_label_set((Label("list", "default", Tier.ILLEGAL, None),))
        writer.begin(SHA256)
        writer.append(np.frombuffer(rng.randbytes(32) + number.to_bytes(2, "little"), np.uint8).reshape(1, -1))
        facts = ListFacts(list_id="list", files=1, lines=1, digests=1, refused=0)
        manifest = writer.finish(classes=[], lists=[facts], merged=0)
    directory = (tmp_path / "work").rename(tmp_path / manifest.snapshot_id)
    with opened(directory) as snapshot:
        assert snapshot.digests_of("list", "ref") == []
        assert snapshot.manifest.algorithms["sha256"].references == 0


@pytest.mark.parametrize(
    "other", [("lis", "tref"), ("listr", "ef"), ("list", "ref\0"), ("list", "Ref"), ("", "listref")]
)
def test_list_and_reference_do_not_run_into_one_another(other: tuple[str, str]) -> None:
    key = reference_key("list", "ref")
    assert len(key) == REFERENCE_KEY_BYTES == 16
    assert reference_key(*other) != key
    assert reference_key("list", "ref") == key
