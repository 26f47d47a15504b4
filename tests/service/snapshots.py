"""Small synthetic snapshots, and CURRENT by hand: what the loader would publish, without the loader.

CURRENT is written here rather than by snapshot.publish so that a test can also write one that no publisher would.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from snapshot.algorithms import ALGORITHMS
from snapshot.labels import Label, LabelSet, Tier, label_set
from snapshot.manifest import ClassFacts, ListFacts, read_manifest
from snapshot.overlay import Approval, Overlay
from snapshot.seal import Seal, resealed
from snapshot.store import Current
from snapshot.writer import SnapshotWriter

ID_BYTES = 4

#: Digest → its labels, for each algorithm.
Entries = Mapping[str, Mapping[bytes, LabelSet]]

BASELINE = Label("police", "A", Tier.BASELINE, None)
ILLEGAL = Label("hotline", "illegal", Tier.ILLEGAL, None)
REFERENCED = Label("hotline", "illegal", Tier.ILLEGAL, "case-7")
INVESTIGATIVE = Label("police", "B", Tier.INVESTIGATIVE, None)
OTHER = Label("clearing", "other", Tier.OTHER, None)
UNKNOWN = Label("clearing", "new", Tier.UNKNOWN, None)


def labels(*given: Label) -> LabelSet:
    return label_set(list(given))


LABEL_SETS = (
    labels(BASELINE),
    labels(ILLEGAL),
    labels(REFERENCED),
    labels(INVESTIGATIVE),
    labels(OTHER),
    labels(UNKNOWN),
    labels(INVESTIGATIVE, REFERENCED, OTHER),
    labels(OTHER, UNKNOWN),
)


#: Every class of LABEL_SETS is on.
ALL_APPROVED = Overlay(
    version=1,
    approvals=tuple(
        Approval(list_id=c.list_id, category=c.category, tier=c.tier, by="test", at=datetime(2026, 1, 1, tzinfo=UTC),
                 reason="a test")
        for c in sorted({label.label_class for each in LABEL_SETS for label in each})
    ),
)  # fmt: skip


def random_digest(algorithm: str) -> bytes:
    """Give a digest that pytest-randomly's seed determines."""
    return random.randbytes(ALGORITHMS[algorithm].digest_bytes)


def random_entries(count: int, algorithms: tuple[str, ...] = tuple(ALGORITHMS)) -> dict[str, dict[bytes, LabelSet]]:
    """Give `count` entries of each algorithm, their label sets in turn from LABEL_SETS."""
    return {name: {random_digest(name): LABEL_SETS[i % len(LABEL_SETS)] for i in range(count)} for name in algorithms}


@dataclass(frozen=True)
class MadeSnapshot:
    """A snapshot directory in a store."""

    store: Path
    snapshot_id: str
    manifest_sha256: str
    entries: Entries = field(repr=False)
    seal: Seal | None = None

    @property
    def directory(self) -> Path:
        return self.store / "snapshots" / self.snapshot_id

    @property
    def overlay(self) -> Overlay:
        """The overlay it goes live with: everything is approved."""
        return ALL_APPROVED.resealed(None, self.seal)

    def current(self, generation: int, **changes: object) -> Current:
        fields = {
            "generation": generation,
            "snapshot_id": self.snapshot_id,
            "manifest_sha256": self.manifest_sha256,
            "overlay_version": ALL_APPROVED.version,
            "overlay_sha256": self.overlay.sha256,
            "issued_at": datetime.now(UTC),
            "by": "test",
        }
        return Current(**{**fields, **changes})

    def make_live(self, generation: int) -> None:
        """Swap CURRENT to this snapshot."""
        write_current(self.store, self.current(generation).encode())


def write_current(store: Path, raw: bytes) -> None:
    new = store / f"CURRENT.{secrets.token_hex(4)}"
    new.write_bytes(raw)
    new.replace(store / "CURRENT")


def write_snapshot(
    store: Path, entries: Entries, *, false_positive_rate: float = 0.001, seal: Seal | None = None
) -> MadeSnapshot:
    """Write a snapshot into `store`, not yet live."""
    work = store / "tmp" / secrets.token_hex(8)
    with SnapshotWriter(
        work, false_positive_rate=false_positive_rate, label_set_id_bytes=ID_BYTES,
        seal_key_id=None if seal is None else seal.key_id,
    ) as writer:  # fmt: skip
        ids: dict[LabelSet, int] = {}
        classes: dict[tuple[str, str, Tier], dict[str, int]] = {}
        for name, algorithm in ALGORITHMS.items():
            if not entries.get(name):
                continue
            writer.begin(algorithm)
            records = []
            stored = {resealed((algorithm, digest), None, seal)[1]: each for digest, each in entries[name].items()}
            for digest, label_set_of_digest in sorted(stored.items()):
                if any(label.reference is not None for label in label_set_of_digest):
                    label_set_id = writer.add_own_label_set(label_set_of_digest)
                else:
                    if label_set_of_digest not in ids:
                        ids[label_set_of_digest] = writer.add_shared_label_set(label_set_of_digest)
                    label_set_id = ids[label_set_of_digest]
                records.append(digest + label_set_id.to_bytes(ID_BYTES, "little"))
                for label in label_set_of_digest:
                    counts = classes.setdefault(label[:3], {})
                    counts[name] = counts.get(name, 0) + 1
            packed = np.frombuffer(b"".join(records), dtype=np.uint8)
            writer.append(packed.reshape(len(records), algorithm.digest_bytes + ID_BYTES))
        total = sum(map(len, entries.values()))
        manifest = writer.finish(
            classes=[ClassFacts(list_id=a, category=b, tier=c, entries=n) for (a, b, c), n in classes.items()],
            lists=[
                ListFacts(list_id=list_id, files=1, lines=total, digests=total, refused=0)
                for list_id in sorted({key[0] for key in classes})
            ],
            merged=0,
        )
    (store / "overlays").mkdir(exist_ok=True)
    made = MadeSnapshot(store, manifest.snapshot_id, read_manifest(work)[1], entries, seal)
    (store / "overlays" / "1.json").write_bytes(made.overlay.encode())
    made.directory.parent.mkdir(parents=True, exist_ok=True)
    work.rename(made.directory)
    return made


def live_store(store: Path, entries: Entries, generation: int = 1, seal: Seal | None = None) -> MadeSnapshot:
    """Write a snapshot and make it live."""
    made = write_snapshot(store, entries, seal=seal)
    made.make_live(generation)
    return made
