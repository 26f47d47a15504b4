"""Checking a whole store, byte by byte: is every published snapshot what it was when it was published?

CURRENT and the history vouch for each manifest by its SHA-256, and a manifest for each of its files. What
nothing vouches for, or what the live generation does not retain, is a leftover of a killed compile (one that was
killed while it removed old snapshots included): said, but no damage.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from snapshot.errors import (
    CurrentDamaged,
    SealKeyWrong,
    SnapshotError,
    SnapshotMissing,
    StoreUnusable,
    UnexpectedFile,
)
from snapshot.manifest import Manifest
from snapshot.overlay import is_sealed_otherwise
from snapshot.reader import Snapshot, check_files, read_trusted_manifest
from snapshot.seal import require_same_seal
from snapshot.store import Current, HistoryEntry, Store


@dataclass(slots=True)
class VerifyReport:
    """What `verify_store` found. The store is whole when `damage` is empty."""

    generation: int | None = None
    snapshot_id: str | None = None
    verified: list[str] = field(default_factory=list)
    bytes_read: int = 0
    leftovers: list[str] = field(default_factory=list)
    damage: list[SnapshotError] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Tell whether nothing is damaged."""
        return not self.damage


def verify_store(store: Store, *, on_bytes: Callable[[int], None] = lambda count: None) -> VerifyReport:
    """Check CURRENT, its overlay, the history's chain and every file under snapshots/.

    Never raises for damage, but reports it.

    Raises NoStore when there is nothing to check, StoreUnusable when it cannot be looked at. Cost: one SHA-256 over
    everything that is retained.
    """
    while True:
        before = store.read_current_bytes()
        report = _verify_as_it_is(store, on_bytes)
        # A publish meanwhile removes what was to be kept until then: no damage, so look again.
        if report.whole or store.read_current_bytes() == before:
            return report


def _verify_as_it_is(store: Store, on_bytes: Callable[[int], None]) -> VerifyReport:
    report = VerifyReport()
    vouched: dict[str, str] = {}
    current = _check_current(store, report)
    history = _check_history(store, current, report)
    for entry in reversed(history or _readable_history(store)):  # later entries overrule earlier ones
        vouched[entry.snapshot_id] = entry.manifest_sha256
    if current is not None:
        vouched[current.snapshot_id] = current.manifest_sha256
    expected = set(history[0].retained) if history else set()
    if current is not None:
        expected.add(current.snapshot_id)
    if history:
        vouched = {snapshot_id: sha256 for snapshot_id, sha256 in vouched.items() if snapshot_id in expected}
    present = _present(store)
    for path, is_directory in present.items():
        if is_directory:
            _check_snapshot(path, vouched, report, on_bytes)
        else:
            report.damage.append(UnexpectedFile(path, "does not belong into a store"))
    for missing in sorted(expected - {path.name for path, is_directory in present.items() if is_directory}):
        report.damage.append(SnapshotMissing(f"{store.snapshot_dir(missing)}: is missing"))
    with suppress(OSError):  # no part of the store, and a compile at work removes it when it ends
        report.leftovers.extend(sorted(f"tmp/{path.name}" for path in store.tmp.iterdir()))
    return report


def _present(store: Store) -> dict[Path, bool]:
    """Give what lies under snapshots/, ascending, with whether it is a directory. Raises StoreUnusable."""
    try:
        with os.scandir(store.snapshots) as found:
            return dict(sorted((Path(entry.path), entry.is_dir()) for entry in found))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreUnusable(f"{store.snapshots}: {error.strerror}") from error


def _check_current(store: Store, report: VerifyReport) -> Current | None:
    try:
        current = store.current()
    except SnapshotError as error:
        report.damage.append(error)
        return None
    report.generation, report.snapshot_id = current.generation, current.snapshot_id
    try:
        overlay = store.overlay(current.overlay_version, current.overlay_sha256)
    except SnapshotError as error:
        report.damage.append(error)
        return current
    with suppress(SnapshotError):  # a damaged manifest is named with its snapshot
        manifest = read_trusted_manifest(store.live_dir(current), current.manifest_sha256)
        try:
            require_same_seal(overlay.seal_key_id, manifest.seal_key_id, store.overlay_file(overlay.version))
        except SealKeyWrong as error:
            report.damage.append(error)
        _note_unsealed_overlays(store, overlay.seal_key_id, report)
    return current


def _note_unsealed_overlays(store: Store, seal_key_id: str | None, report: VerifyReport) -> None:
    """Name the overlays that a killed compile, or a full disk, kept from being removed when the seal was changed."""
    if seal_key_id is None:
        return
    for version in store.overlay_versions():
        with suppress(OSError):  # removed meanwhile
            if is_sealed_otherwise(store.overlay_file(version), seal_key_id):
                report.leftovers.append(f"overlays/{version}.json (sealed with another key, or not at all)")


def _check_history(store: Store, current: Current | None, report: VerifyReport) -> list[HistoryEntry]:
    if current is None:
        return []
    try:
        history = store.history()
    except SnapshotError as error:
        report.damage.append(error)
        return []
    live = history[0]
    if (live.snapshot_id, live.manifest_sha256, live.overlay_sha256, live.at, live.by) != (
        current.snapshot_id, current.manifest_sha256, current.overlay_sha256, current.issued_at, current.by,
    ):  # fmt: skip
        report.damage.append(
            CurrentDamaged(f"{store.current_file}: contradicts {store.history_file(current.generation)}")
        )
    return history


def _readable_history(store: Store) -> list[HistoryEntry]:
    """Give the entries that can be read, newest first, for a store whose chain is broken."""
    entries = []
    try:
        generations = store.generations()
    except SnapshotError:
        return []  # the same: whoever followed the chain has named it
    for generation in reversed(generations):
        try:
            entries.append(store.history_entry(generation))
        except SnapshotError:
            continue  # named already, by whoever followed the chain to it
    return entries


def _check_snapshot(path: Path, vouched: dict[str, str], report: VerifyReport, on_bytes: Callable[[int], None]) -> None:
    if path.name not in vouched:
        report.leftovers.append(f"snapshots/{path.name}")
        return
    try:
        manifest: Manifest = read_trusted_manifest(path, vouched[path.name])
        check_files(path, manifest, on_bytes=on_bytes)
        with Snapshot.open(path, vouched[path.name]) as snapshot:
            snapshot.check_canary()
    except SnapshotError as error:
        report.damage.append(error)
        return
    report.verified.append(path.name)
    report.bytes_read += manifest.total_bytes
