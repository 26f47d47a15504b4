"""Small snapshots, written without the loader: entries go in as a plain dict."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from snapshot.algorithms import ALGORITHMS, Algorithm
from snapshot.labels import Label, LabelSet, Tier
from snapshot.manifest import ListFacts, Manifest, read_manifest
from snapshot.publish import Published, Publisher
from snapshot.store import Store
from snapshot.writer import SnapshotWriter

Entries = Mapping[tuple[Algorithm, bytes], LabelSet]

LABELS: LabelSet = (Label("synthetic", "default", Tier.ILLEGAL, None),)


class Written(NamedTuple):
    """A snapshot directory that nothing has published."""

    directory: Path
    manifest: Manifest
    manifest_sha256: str


def write_entries(directory: Path, entries: Entries, rate: float, id_bytes: int) -> Manifest:
    with SnapshotWriter(directory, false_positive_rate=rate, label_set_id_bytes=id_bytes) as writer:
        shared: dict[LabelSet, int] = {}
        for algorithm in ALGORITHMS.values():
            own = {digest: labels for (of, digest), labels in entries.items() if of == algorithm}
            if not own:
                continue
            records = []
            for digest, labels in sorted(own.items()):
                if any(label.reference is not None for label in labels):
                    number = writer.add_own_label_set(labels)
                elif labels in shared:
                    number = shared[labels]
                else:
                    number = shared[labels] = writer.add_shared_label_set(labels)
                records.append(digest + number.to_bytes(id_bytes, "little"))
            writer.begin(algorithm)
            writer.append(np.frombuffer(b"".join(records), np.uint8).reshape(len(records), -1))
        facts = ListFacts(list_id="synthetic", files=1, lines=len(entries), digests=len(entries), refused=0)
        return writer.finish(classes=[], lists=[facts], merged=0)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Written]:
    """Write entries into a directory that bears the snapshot's id, as it would in a store."""

    def write(entries: Entries, *, rate: float = 0.001, id_bytes: int = 2) -> Written:
        work = tmp_path / "written" / "work"
        manifest = write_entries(work, entries, rate, id_bytes)
        directory = work.rename(work.with_name(manifest.snapshot_id))
        return Written(directory, manifest, read_manifest(directory)[1])

    return write


@pytest.fixture
def publish() -> Callable[..., Published]:
    """Write entries and make them live."""

    def publish(store: Store, entries: Entries, *, by: str = "tests") -> Published:
        with Publisher(store) as publisher:
            work = publisher.work_directory()
            manifest = write_entries(work / "snapshot", entries, 0.001, 2)
            return publisher.publish(work / "snapshot", manifest, by=by)

    return publish


@pytest.fixture
def some_entries(rng: random.Random) -> Callable[..., dict[tuple[Algorithm, bytes], LabelSet]]:
    """Random entries with one label set: `count` of each of the algorithms."""

    def make(count: int, *algorithms: Algorithm) -> dict[tuple[Algorithm, bytes], LabelSet]:
        return {(a, rng.randbytes(a.digest_bytes)): LABELS for a in algorithms for _ in range(count)}

    return make
