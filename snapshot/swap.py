"""Swapping CURRENT: the only code that writes CURRENT, the history and the overlays.

    with swapping(store) as swap:                  one at a time, for a moment; a killed process frees the lock
        swap.before, swap.overlay                  what is live now
        swap.commit("suppress", overlay=changed)   overlay file → history entry → CURRENT

Each file is whole on disk before it gets its name, and CURRENT comes last, so a crash leaves the old state live: an
overlay or a history entry that CURRENT never reached is void, and its number is not used again. `generation` is
1 + the highest ever seen in CURRENT and history, whatever the clock does, so it never goes back.

With a key, a change is signed only if the same key signed what it builds on (snapshot/signing.py says why).

A compile holds the store's other lock all along (snapshot/publish.py) and takes this one when it publishes, so a digest
can be suppressed while a compile is at work, and the compile publishes with the overlay that is then in force.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from snapshot.durable import replace_file
from snapshot.errors import (
    CurrentDamaged,
    HistoryDamaged,
    NoStore,
    SignatureMissing,
    SignatureWrong,
    StoreError,
    StoreLocked,
    StoreUnusable,
    wrapped_os_errors,
)
from snapshot.manifest import ListFacts, sha256_hex
from snapshot.overlay import EMPTY, Overlay, is_sealed_otherwise
from snapshot.reader import check_files, read_trusted_manifest
from snapshot.seal import require_same_seal
from snapshot.signing import SigningKey
from snapshot.store import Action, Current, HistoryEntry, Store

#: How long a change waits for another one: swapping takes milliseconds.
_PATIENCE_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.01
#: What may take as long as reading every entry of the history does; others link to the last one unseen.
_READS_HISTORY: Final = ("compile", "rollback", "sign")
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
        """Read what is live, once: what a key then signs is what was checked.

        `before` is None when nothing is, or when CURRENT is damaged.
        """
        self._store = store
        self._signing_key = signing_key
        self.before: Current | None = None
        self._fault: StoreError | None = None
        named: Current | HistoryEntry | None = None
        try:
            self.before = named = store.current()
        except NoStore as error:
            self._fault = error
        except CurrentDamaged as error:  # a rollback may write it anew; the overlay shall not get lost with it
            self._fault = error
            named = self._newest_entry()
        self.overlay = EMPTY if named is None else store.overlay(named.overlay_version, named.overlay_sha256)
        # That of the file, which an older version may have written with fewer fields.
        self._overlay_sha256 = None if named is None else named.overlay_sha256

    @property
    def live(self) -> Current:
        """CURRENT. Raises NoStore or CurrentDamaged."""
        if self.before is None:
            assert self._fault is not None
            raise self._fault
        return self.before

    def _newest_entry(self) -> HistoryEntry | None:
        for generation in reversed(self._store.generations()):
            with suppress(HistoryDamaged):
                return self._store.history_entry(generation)
        return None

    def live_snapshot(self) -> SnapshotFacts:
        """Give the facts of the live snapshot, for a change that keeps it.

        Raises NoStore, CurrentDamaged, SnapshotMissing or ManifestDamaged.
        """
        current = self.live
        try:
            entry = self._store.live_entry(current)
        except HistoryDamaged:  # the snapshot's own manifest knows it too
            manifest = read_trusted_manifest(self._store.live_dir(current), current.manifest_sha256)
            with wrapped_os_errors("reading", self._store.snapshots):
                present = sorted(path.name for path in self._store.snapshots.iterdir() if path.is_dir())
            return SnapshotFacts(
                current.snapshot_id, current.manifest_sha256, manifest.entries, manifest.lists, present
            )
        return SnapshotFacts(current.snapshot_id, current.manifest_sha256, entry.entries, entry.lists, entry.retained)

    def commit(
        self, action: Action, snapshot: SnapshotFacts, overlay: Overlay, *,
        by: str, reason: str | None = None, details: Sequence[str] = (),
    ) -> Current:  # fmt: skip
        """Make a snapshot and an overlay live together. `overlay` is `self.overlay`, or made from it.

        Raises StoreFull or StoreUnusable; SignatureMissing or SignatureWrong as `require_signable`, unless the action
        is "sign". Then the old state is live.
        """
        store = self._store
        if action != "sign":
            require_signable(store, self.before, self._signing_key)
        generations = store.generations()
        before = self._live_generation(generations)
        generation = 1 + max([before, *generations])
        if action in _READS_HISTORY and (damage := self._history_damage()):
            before, details = 0, [*details, f"history begun anew: {damage}"]
        overlay_sha256 = self._overlay_sha256
        if overlay is not self.overlay:
            overlay = self._write_overlay(overlay)
            overlay_sha256 = overlay.sha256
        issued_at = datetime.now(UTC).replace(microsecond=0)
        entry = HistoryEntry(
            generation=generation, previous=before, previous_sha256=self._previous_sha256(before),
            action=action, at=issued_at, by=by, reason=reason, details=list(details),
            snapshot_id=snapshot.snapshot_id, manifest_sha256=snapshot.manifest_sha256,
            overlay_version=overlay.version, overlay_sha256=overlay_sha256, entries=snapshot.entries,
            lists=snapshot.lists, dropped_lists=sorted(snapshot.dropped_lists), retained=snapshot.retained,
        )  # fmt: skip
        current = Current(
            generation=generation, snapshot_id=snapshot.snapshot_id, manifest_sha256=snapshot.manifest_sha256,
            overlay_version=overlay.version, overlay_sha256=overlay_sha256, issued_at=issued_at, by=by,
            history_sha256=sha256_hex(entry.encode()),
        )  # fmt: skip
        if self._signing_key is not None:
            current = self._signing_key.sign(current)
        replace_file(store.history_file(generation), entry.encode())
        replace_file(store.current_file, current.encode())
        return current

    def _previous_sha256(self, generation: int) -> str | None:
        """Give the SHA-256 of the entry that a new one follows: as CURRENT has it, whatever lies there by now."""
        if self.before is not None and generation == self.before.generation and self.before.history_sha256 is not None:
            return self.before.history_sha256
        return self._store.history_sha256(generation) if generation else None

    def _history_damage(self) -> str | None:
        """Say why the history cannot be followed, if it cannot."""
        if self.before is not None:  # else there is no place to follow it from
            try:
                self._store.history(self.before)
            except HistoryDamaged as error:
                return str(error)
        return None

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
        overlay = overlay.model_copy(update={"version": version, "previous_sha256": self._overlay_sha256})
        replace_file(store.overlay_file(version), overlay.encode())
        for old in versions[: -_RETAINED_OVERLAYS or None]:
            if old != self.overlay.version:
                with suppress(OSError):  # an old one more does no harm
                    store.overlay_file(old).unlink(missing_ok=True)
        return overlay

    def remove_overlays_sealed_otherwise(self, seal_key_id: str | None) -> list[Path]:
        """Remove the overlays that are not sealed as the store is now, in a sealed store; give those that stay."""
        left: list[Path] = []
        if seal_key_id is None:
            return left
        for version in self._store.overlay_versions():
            path = self._store.overlay_file(version)
            try:
                if is_sealed_otherwise(path, seal_key_id):
                    path.unlink()
            except OSError:  # what is live is live; the next compile tries again
                left.append(path)
        return left


def require_signable(store: Store, current: Current | None, key: SigningKey | None) -> None:
    """Raise unless a change of what is live may be made with this key, or without one.

    `current` is None when nothing is live, or when CURRENT is damaged. Raises SignatureMissing when what is live is
    signed and there is no key, or the other way round; SignatureWrong when another key signed it, when it was changed
    since, or when the history tells that something later was live.
    """
    file = store.current_file
    if key is None:
        if current is not None and current.signature is not None:
            raise SignatureMissing(
                f"{file}: is signed (key {current.key_id!r}), so a change must be too, or services refuse it: give "
                "--signing-key. Nothing was changed."
            )
        return
    if current is None:
        if file.exists():
            raise SignatureMissing(
                f"{file}: is damaged, so nothing vouches for the overlay and the history, and this key does not sign "
                "them unseen: roll back without it, look at what is live, then `hashwacht keys sign`. Nothing was "
                "changed."
            )
        return
    try:
        key.require_own(current, file)
    except (SignatureMissing, SignatureWrong) as error:
        raise type(error)(
            f"{error}. A change would sign whatever is there: look at it (lists, overlay, history), then `hashwacht "
            "keys sign`. Nothing was changed."
        ) from None
    for generation in store.generations():
        if generation > current.generation:
            with suppress(HistoryDamaged):
                previous = store.history_entry(generation).previous
                if previous > current.generation:
                    raise SignatureWrong(
                        f"{file}: is generation {current.generation}, but generation {previous} was live: an old state "
                        "was put back, or a backup restored. Look at it (lists, overlay, history), then `hashwacht "
                        "keys sign`. Nothing was changed."
                    )


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


@dataclass(frozen=True, slots=True)
class Signed:
    """What `sign_live` signed. `details` are those of the history's entry."""

    current: Current
    overlay: Overlay
    details: list[str]


def sign_live(
    store: Store, key: SigningKey, *, by: str, reason: str, on_bytes: Callable[[int], None] = lambda count: None
) -> Signed:
    """Sign what is live, whoever signed it before: a new generation of the same snapshot and overlay.

    The snapshot is read whole first, since the signature vouches for it; a history that cannot be followed begins anew.
    Raises StoreLocked when something else went live meanwhile, NoStore, CurrentDamaged, OverlayDamaged,
    SnapshotMissing, StoreFull, StoreUnusable or a DamageError.
    """
    current = store.current()
    directory = store.live_dir(current)
    manifest = read_trusted_manifest(directory, current.manifest_sha256)
    overlay = store.overlay(current.overlay_version, current.overlay_sha256)
    require_same_seal(overlay.seal_key_id, manifest.seal_key_id, store.overlay_file(overlay.version))
    check_files(directory, manifest, on_bytes=on_bytes)
    with swapping(store, key) as swap:
        if swap.before != current:
            raise StoreLocked(f"{store.path}: something else went live meanwhile. Nothing was signed; run this again.")
        before = repr(current.key_id[:64]) if current.key_id else "nobody"  # it may be anything
        signed = swap.commit(
            "sign", swap.live_snapshot(), swap.overlay, by=by, reason=reason,
            details=[f"signed by {key.key_id}, before by {before}"],
        )  # fmt: skip
        return Signed(signed, swap.overlay, store.history_entry(signed.generation).details)


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
