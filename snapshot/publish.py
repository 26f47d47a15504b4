"""Making a snapshot live: the only code that writes `snapshots/`.

    with Publisher(store) as publisher:             one at a time, by flock; a killed process frees it
        directory = publisher.work_directory()      below store/tmp; leftovers of killed compiles are gone by now
        …                                           write a snapshot there, files and directory fsynced
        publisher.publish(directory, …)             rename → swap of CURRENT (snapshot/swap.py) → retention

A crash leaves the old state live at any point: before the rename nothing has happened; after it there is a
directory that nothing names; the swap of CURRENT is one rename. (One exception: while a damaged live snapshot is
replaced by a whole one there is a moment without either, and the next compile ends it.)
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from snapshot.durable import fsync_path
from snapshot.errors import (
    CurrentDamaged,
    DamageError,
    HistoryDamaged,
    NoStore,
    SealKeyWrong,
    SnapshotError,
    SnapshotMissing,
    StoreError,
    StoreLocked,
    StoreUnusable,
    wrapped_os_errors,
)
from snapshot.manifest import MANIFEST, ListFacts, Manifest, read_manifest, sha256_hex
from snapshot.overlay import Overlay
from snapshot.reader import check_files, read_trusted_manifest
from snapshot.signing import SigningKey
from snapshot.store import Current, HistoryEntry, Store
from snapshot.swap import SnapshotFacts, require_signable, swapping

#: What a publish makes of the overlay that is in force when it swaps; the same object for no change.
OverlayChange = Callable[[Overlay], Overlay]

#: Snapshots that stay in a store: the live one and the two that were live before it.
RETAINED: Final = 3


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish did. `already_there`: the same snapshot was in the store, and only CURRENT moved.

    `left`: what should have been removed from a sealed store, as it is sealed otherwise or not at all, and could not.
    """

    current: Current
    manifest: Manifest
    already_there: bool
    removed: tuple[str, ...]
    left: tuple[Path, ...] = ()


class Publisher:
    """The holder of a store's lock."""

    def __init__(self, store: Store, signing_key: SigningKey | None = None) -> None:
        self._store = store
        self._signing_key = signing_key
        self._lock_fd = -1

    def __enter__(self) -> Self:
        """Take the lock, making the store if need be, and remove what killed compiles left.

        Raises StoreLocked when another process holds it, StoreUnusable when the directory cannot be written.
        """
        store = self._store
        with wrapped_os_errors("preparing the store", store.path):
            for directory in (store.path, store.snapshots, store.history_dir, store.overlays_dir):
                directory.mkdir(parents=True, exist_ok=True)
            self._lock_fd = os.open(store.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(self._lock_fd, 32).decode("ascii", "replace").strip() or "unknown"
                self._unlock()
                raise StoreLocked(
                    f"{store.path}: another compile or rollback is at work here (process {holder}). "
                    "Wait for it to end, then run this again."
                ) from None
        try:
            with wrapped_os_errors("preparing the store", store.path):
                os.truncate(self._lock_fd, 0)
                os.pwrite(self._lock_fd, f"{os.getpid()}\n".encode(), 0)
                if store.tmp.exists():
                    shutil.rmtree(store.tmp)
                store.tmp.mkdir()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._store.tmp, ignore_errors=True)  # what stays, the next compile removes
        self._unlock()

    def _unlock(self) -> None:
        os.close(self._lock_fd)  # closing frees the flock
        self._lock_fd = -1

    def work_directory(self) -> Path:
        """Make a new directory on the store's own file system, so that publishing is a rename."""
        directory = self._store.tmp / f"{os.getpid()}-{secrets.token_hex(4)}"
        with wrapped_os_errors("making", directory):
            directory.mkdir()
        return directory

    def require_signable(self) -> None:
        """Raise SignatureMissing or SignatureWrong if what is live takes no change with this key, or without one."""
        live = None
        with suppress(NoStore, CurrentDamaged):
            live = self._store.current()
        require_signable(self._store, live, self._signing_key)

    def publish(
        self, directory: Path, manifest: Manifest, *, by: str, dropped_lists: Sequence[str] = (),
        reason: str | None = None, details: Sequence[str] = (), change: OverlayChange = lambda overlay: overlay,
    ) -> Published:  # fmt: skip
        """Make the finished snapshot in `directory` live, and with it what `change` makes of the overlay in force.

        A snapshot of the same id that is already in the store is verified and kept, and only CURRENT moves; if it
        turns out damaged, the new one takes its place. Raises StoreFull or StoreUnusable, and what `require_signable`
        raises; then the old state is live.
        """
        self.require_signable()
        store = self._store
        target = store.snapshot_dir(manifest.snapshot_id)
        lists = manifest.lists
        existing = self._sound_manifest(manifest.snapshot_id)
        is_new = existing is None and not target.exists()
        try:
            if existing is not None:
                manifest, manifest_sha256 = existing
            else:
                with wrapped_os_errors("publishing", target):
                    manifest_sha256 = sha256_hex((directory / MANIFEST).read_bytes())
                    if not is_new:  # damaged, or left by a compile that was killed here
                        target.rename(store.tmp / f"replaced-{secrets.token_hex(4)}")
                    directory.rename(target)
                    fsync_path(store.snapshots)
            current, removed, left = self._make_live(
                "compile", manifest, manifest_sha256, by=by, reason=reason, details=details, lists=lists,
                dropped_lists=dropped_lists, change=change,
            )  # fmt: skip
        except BaseException:
            if is_new:
                self._take_back(target)
            raise
        return Published(current, manifest, existing is not None, removed, left)

    def _take_back(self, target: Path) -> None:
        """Remove a snapshot that did not go live after all: a full disk shall be no fuller than before."""
        with suppress(OSError, StoreError):  # the next compile removes it too
            try:
                is_live = self._store.current().snapshot_id == target.name
            except NoStore:
                is_live = False
            if not is_live:
                target.rename(self._store.tmp / f"failed-{secrets.token_hex(4)}")

    def rollback(
        self, snapshot_id: str | None, *, by: str, reason: str | None = None,
        on_bytes: Callable[[int], None] = lambda count: None,
    ) -> Published:  # fmt: skip
        """Make an older snapshot live again, as a new and higher generation.

        None: the snapshot of the generation before, passing over generations of the live one itself. A prefix of at
        least 6 digits will do when it is unique. The snapshot is verified first.

        Raises SnapshotMissing, HistoryDamaged, CurrentDamaged or a DamageError, and what `require_signable` raises.
        """
        self.require_signable()
        target = self._resolve(snapshot_id) if snapshot_id is not None else self._generation_before()
        directory = self._store.snapshot_dir(target)
        if not directory.is_dir():
            raise SnapshotMissing(
                f"{self._store.path}: snapshot {target} is no longer in the store. There: {self._available()}."
            )
        manifest_sha256 = self._recorded_manifest(target)
        if manifest_sha256 is None:
            raise SnapshotMissing(
                f"{directory}: was never live, so nothing vouches for it. There: {self._available()}."
            )
        manifest = read_trusted_manifest(directory, manifest_sha256)
        check_files(directory, manifest, on_bytes=on_bytes)
        details = [f"to snapshot {target}"]
        current, removed, left = self._make_live(
            "rollback", manifest, manifest_sha256, by=by, reason=reason, details=details, lists=manifest.lists
        )
        return Published(current, manifest, True, removed, left)

    def _make_live(
        self, action: Literal["compile", "rollback"], manifest: Manifest, manifest_sha256: str, *,
        by: str, reason: str | None, details: Sequence[str], lists: list[ListFacts],
        dropped_lists: Sequence[str] = (), change: OverlayChange = lambda overlay: overlay,
    ) -> tuple[Current, tuple[str, ...], tuple[Path, ...]]:  # fmt: skip
        """Swap CURRENT, with the overlay that is in force now, and remove what is no longer retained.

        Gives CURRENT, what was removed, and what should have been because it is sealed otherwise.
        """
        retained = self._retained(manifest)
        snapshot = SnapshotFacts(
            manifest.snapshot_id, manifest_sha256, manifest.entries, lists, retained, dropped_lists
        )
        with swapping(self._store, self._signing_key) as swap:
            overlay = change(swap.overlay)
            if overlay.seal_key_id != manifest.seal_key_id:
                alike = [
                    path.name for path in sorted(self._store.snapshots.iterdir())
                    if not self._is_sealed_otherwise(path.name, overlay.seal_key_id)
                ]  # fmt: skip
                raise SealKeyWrong(
                    f"{self._store.snapshot_dir(manifest.snapshot_id)}: is sealed otherwise than the overlay in force, "
                    f"whose suppressions would not hold. Sealed like it: {', '.join(alike) or 'none'}. Roll back to "
                    "one of these, or compile the lists again. Nothing was changed."
                )
            current = swap.commit(action, snapshot, overlay, by=by, reason=reason, details=details)
            left = swap.remove_overlays_sealed_otherwise(manifest.seal_key_id)
        removed = self._prune(retained)
        if manifest.seal_key_id is not None:
            left += [path for path in sorted(self._store.snapshots.iterdir()) if path.name not in retained]
        return current, removed, tuple(left)

    def _retained(self, manifest: Manifest) -> list[str]:
        """Give the snapshots to keep, newest first: this one and those live before it.

        With a history that cannot be followed, everything stays: better too much than the one that is needed. But in a
        sealed store nothing stays that is not sealed, or with another key: whoever sealed it wants it not to be found.
        """
        snapshot_id = manifest.snapshot_id
        present = {path.name for path in self._store.snapshots.iterdir()}
        if manifest.seal_key_id is not None:
            present = {name for name in present if not self._is_sealed_otherwise(name, manifest.seal_key_id)}
        try:
            history = self._store.history()
            # Where the history was begun anew, its first entry has what was kept from before.
            order = [snapshot_id, *(entry.snapshot_id for entry in history), *history[-1].retained]
        except NoStore:
            order = [snapshot_id]
        except StoreError:
            return [snapshot_id, *sorted(present - {snapshot_id})]
        return [name for name in dict.fromkeys(order) if name in present][:RETAINED]

    def _is_sealed_otherwise(self, snapshot_id: str, seal_key_id: str | None) -> bool:
        try:
            manifest, _ = read_manifest(self._store.snapshot_dir(snapshot_id))
        except StoreUnusable:
            return False
        except SnapshotError:  # damaged or of another format: of no use to us, and it may be to whoever steals it
            return True
        return manifest.seal_key_id != seal_key_id

    def _prune(self, retained: Sequence[str]) -> tuple[str, ...]:
        """Remove the snapshots that are not retained; processes that have one mapped keep their copy.

        Each leaves snapshots/ in one step, since a half removed one would look damaged; with tmp/ it is unlinked.
        """
        removed = []
        for path in sorted(self._store.snapshots.iterdir()):
            if path.name not in retained:
                with suppress(OSError):  # what is live is live; the next compile tries again
                    path.rename(self._store.tmp / f"removed-{secrets.token_hex(4)}")
                    removed.append(path.name)
        return tuple(removed)

    def _sound_manifest(self, snapshot_id: str) -> tuple[Manifest, str] | None:
        """Give the manifest of a snapshot that is in the store and whole, else None."""
        directory = self._store.snapshot_dir(snapshot_id)
        recorded = self._recorded_manifest(snapshot_id) if directory.is_dir() else None
        if recorded is None:
            return None
        try:
            manifest = read_trusted_manifest(directory, recorded)
            check_files(directory, manifest)
        except (DamageError, StoreUnusable):  # bad bytes, or bytes that the disk no longer gives
            return None
        return manifest, recorded

    def _recorded_manifest(self, snapshot_id: str) -> str | None:
        """Give the manifest's SHA-256 that the history last recorded for a snapshot, or None.

        With a key only the history that CURRENT, signed, vouches for; else any entry that can be read.
        """
        entries: Iterable[HistoryEntry]
        if self._signing_key is None:
            entries = self._readable_history()
        else:
            try:
                current = self._store.current()
                self._signing_key.require_own(current, self._store.current_file)
                entries = self._store.history(current)
            except StoreError:  # then nothing in the store is trusted, and what is compiled is written anew
                return None
        return next((entry.manifest_sha256 for entry in entries if entry.snapshot_id == snapshot_id), None)

    def _readable_history(self) -> Iterator[HistoryEntry]:
        for generation in reversed(self._store.generations()):
            with suppress(HistoryDamaged):
                yield self._store.history_entry(generation)

    def _generation_before(self) -> str:
        history = self._store.history()
        for entry in history[1:]:  # the same lists compiled twice are two generations of one snapshot
            if entry.snapshot_id != history[0].snapshot_id:
                return entry.snapshot_id
        raise SnapshotMissing(f"{self._store.path}: no other snapshot was live before this one.")

    def _resolve(self, prefix: str) -> str:
        names = [path.name for path in self._store.snapshots.iterdir() if path.is_dir()]
        found = [name for name in names if name.startswith(prefix)] if len(prefix) >= 6 else []
        if len(found) != 1:
            what = "names no snapshot" if not found else "is the beginning of several snapshots"
            raise SnapshotMissing(f"{self._store.path}: {prefix!r} {what}. There: {self._available()}.")
        return found[0]

    def _available(self) -> str:
        return ", ".join(sorted(path.name for path in self._store.snapshots.iterdir() if path.is_dir())) or "none"
