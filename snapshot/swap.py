"""Swapping CURRENT: the only code that writes CURRENT, the history and the overlays.

    with swapping(store) as swap:                  one at a time, for a moment; a killed process frees the lock
        swap.before, swap.overlay                  what is live now
        swap.commit("suppress", overlay=changed)   overlay file → history entry → CURRENT

Each file is whole on disk before it gets its name, and CURRENT comes last, so a crash leaves the old state live: an
overlay or a history entry that CURRENT never reached is void, and its number is not used again. `generation` is
1 + the highest ever seen in CURRENT and history, whatever the clock does, so it never goes back.

A compile holds the store's other lock all along (snapshot/publish.py) and takes this one when it publishes, so a digest
can be suppressed while a compile is at work, and the compile publishes with the overlay that is then in force.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from snapshot.durable import replace_file
from snapshot.errors import (
    CurrentDamaged,
    HistoryDamaged,
    NoStore,
    SignatureMissing,
    StoreLocked,
    StoreUnusable,
    wrapped_os_errors,
)
from snapshot.manifest import ListFacts, read_manifest
from snapshot.overlay import EMPTY, Overlay
from snapshot.signing import SigningKey
from snapshot.store import Action, Current, HistoryEntry, Store

#: How long a change waits for another one: swapping takes milliseconds.
_PATIENCE_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.01
#: Overlay files that stay. The history tells of every change; the files are for looking at the last ones.
_RETAINED_OVERLAYS: Final = 100


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """The snapshot that a generation serves, as CURRENT and the history name it."""

    snapshot_id: str
    manifest_sha256: str
    entries: int
    lists: list[ListFacts]
    retained: list[str]
    dropped_lists: Sequence[str] = ()


class Swap:
    """What is live, while nobody else can change it, and the change. Made by `swapping`."""

    def __init__(self, store: Store, signing_key: SigningKey | None) -> None:
        """Read what is live. `before` is None when nothing is, or when CURRENT is damaged."""
        self._store = store
        self._signing_key = signing_key
        self.before: Current | None = None
        named: Current | HistoryEntry | None = None
        with suppress(NoStore):
            try:
                self.before = named = store.current()
            except CurrentDamaged:  # a rollback may write it anew; the overlay shall not get lost with it
                named = self._newest_entry()
        self.overlay = EMPTY if named is None else store.overlay(named.overlay_version, named.overlay_sha256)

    def _newest_entry(self) -> HistoryEntry | None:
        for generation in reversed(self._store.generations()):
            with suppress(HistoryDamaged):
                return self._store.history_entry(generation)
        return None

    def live_snapshot(self) -> SnapshotFacts:
        """Give the facts of the live snapshot, for a change that keeps it.

        Raises NoStore, CurrentDamaged, SnapshotMissing or ManifestDamaged.
        """
        current = self._store.current()
        try:
            entry = self._store.history_entry(current.generation)
        except HistoryDamaged:  # the snapshot's own manifest knows it too
            manifest, _ = read_manifest(self._store.live_dir(current))
            with wrapped_os_errors("reading", self._store.snapshots):
                present = sorted(path.name for path in self._store.snapshots.iterdir() if path.is_dir())
            return SnapshotFacts(
                current.snapshot_id, current.manifest_sha256, manifest.entries, manifest.lists, present
            )
        return SnapshotFacts(entry.snapshot_id, entry.manifest_sha256, entry.entries, entry.lists, entry.retained)

    def commit(
        self, action: Action, snapshot: SnapshotFacts, overlay: Overlay, *,
        by: str, reason: str | None = None, details: Sequence[str] = (),
    ) -> Current:  # fmt: skip
        """Make a snapshot and an overlay live together. `overlay` is `self.overlay`, or made from it.

        Raises StoreFull or StoreUnusable, SignatureMissing when what is live is signed and there is no key to sign
        with; then the old state is live.
        """
        store = self._store
        if self.before is not None and self.before.signature is not None and self._signing_key is None:
            raise SignatureMissing(
                f"{store.current_file}: is signed (key {self.before.key_id}), so a change must be too, or services "
                "refuse it: give --signing-key. Nothing was changed."
            )
        generations = store.generations()
        before = self._live_generation(generations)
        generation = 1 + max([before, *generations])
        if overlay is not self.overlay:
            overlay = self._write_overlay(overlay)
        current = Current(
            generation=generation, snapshot_id=snapshot.snapshot_id, manifest_sha256=snapshot.manifest_sha256,
            overlay_version=overlay.version, overlay_sha256=overlay.sha256,
            issued_at=datetime.now(UTC).replace(microsecond=0), by=by,
        )  # fmt: skip
        if self._signing_key is not None:
            current = self._signing_key.sign(current)
        entry = HistoryEntry(
            generation=generation, previous=before, previous_sha256=store.history_sha256(before) if before else None,
            action=action, at=current.issued_at, by=by, reason=reason, details=list(details),
            snapshot_id=snapshot.snapshot_id, manifest_sha256=snapshot.manifest_sha256,
            overlay_version=overlay.version, overlay_sha256=overlay.sha256, entries=snapshot.entries,
            lists=snapshot.lists, dropped_lists=sorted(snapshot.dropped_lists), retained=snapshot.retained,
        )  # fmt: skip
        replace_file(store.history_file(generation), entry.encode())
        replace_file(store.current_file, current.encode())
        return current

    def _live_generation(self, generations: list[int]) -> int:
        """Give the generation that is live; with a damaged CURRENT the highest that the history knows."""
        if self.before is not None:
            return self.before.generation
        return max(generations, default=0) if self._store.current_file.exists() else 0

    def _write_overlay(self, overlay: Overlay) -> Overlay:
        store = self._store
        with wrapped_os_errors("preparing", store.overlays_dir):
            store.overlays_dir.mkdir(exist_ok=True)
        versions = store.overlay_versions()
        version = 1 + max([self.overlay.version, *versions])
        overlay = overlay.model_copy(update={"version": version, "previous_sha256": self.overlay.sha256})
        replace_file(store.overlay_file(version), overlay.encode())
        for old in versions[: -_RETAINED_OVERLAYS or None]:
            if old != self.overlay.version:
                with suppress(OSError):  # an old one more does no harm
                    store.overlay_file(old).unlink(missing_ok=True)
        return overlay


@contextmanager
def swapping(store: Store, signing_key: SigningKey | None = None) -> Iterator[Swap]:
    """Hold the lock on CURRENT, and sign what is swapped if there is a key. Waits five seconds for another change.

    Raises StoreLocked after that, NoStore when there is no such directory, StoreUnusable, and OverlayDamaged when the
    overlay in force cannot be read: a change must not lose what is in it.
    """
    fd = _lock(store)
    try:
        yield Swap(store, signing_key)
    finally:
        os.close(fd)  # closing frees the flock


def _lock(store: Store) -> int:
    try:
        fd = os.open(store.swap_lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except (FileNotFoundError, NotADirectoryError):
        raise NoStore(f"{store.path}: the store is not there. `hashwacht compile` makes it.") from None
    except OSError as error:
        raise StoreUnusable(f"{store.swap_lock_file}: {error.strerror}. Nothing was changed.") from error
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                raise StoreLocked(
                    f"{store.path}: another change has held it for {_PATIENCE_SECONDS:g} seconds. Nothing was changed; "
                    "run this again."
                ) from None
            time.sleep(_POLL_SECONDS)
        except OSError as error:
            os.close(fd)
            raise StoreUnusable(f"{store.swap_lock_file}: {error.strerror}. Nothing was changed.") from error
