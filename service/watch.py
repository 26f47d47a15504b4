"""Follows CURRENT: one thread per worker that opens what is newly live and hands it to the event loop.

    every 250 ms   read CURRENT's bytes; the same as before and settled: done
    changed        parse → signed by a trusted key → generation did not go back → overlay
                   the same snapshot as now: share it
                   else manifest → its seal's key is there → checksums verified on this host → open → filters read in
                   → canary
    hand over      in the event loop: swap the View; wait for that; close the old snapshot
    anything else  keep what there is, note the refusal for /readyz, log it once

Matching never awaits, so once the event loop has run the swap no request is using the old View: it can be closed, and
at most two snapshots are ever open. That, and verifying, is done here in the thread and gently, so that requests
hardly notice. A refusal is looked at again when a file of that snapshot changes, and with growing pauses anyway, so
whatever heals is taken up without a restart.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from service.live import Live, Refusal
from service.trust import Trust
from service.verified import Facts, Stopped, VerifiedNotes, file_facts
from service.view import View
from snapshot.errors import GenerationWentBack, SnapshotError, StoreUnusable
from snapshot.manifest import Manifest
from snapshot.overlay import Overlay
from snapshot.reader import Snapshot, read_trusted_manifest
from snapshot.seal import Seal, SealKeys, require_same_seal
from snapshot.store import Current, Store, parse_current

POLL_SECONDS: Final = 0.25
_FIRST_RETRY_SECONDS: Final = 1.0
_MAX_RETRY_SECONDS: Final = 300.0

_log = structlog.stdlib.get_logger("service.watch")


class Watch(threading.Thread):
    """The thread; a daemon, so that it never keeps a worker from ending."""

    def __init__(
        self, store: Store, live: Live, notes: VerifiedNotes, trust: Trust, seal_keys: SealKeys,
        loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        super().__init__(name="hashwacht-watch", daemon=True)
        self.looked = threading.Event()  # set once CURRENT was looked at for the first time, whatever came of it
        self._store = store
        self._live = live
        self._notes = notes
        self._trust = trust
        self._seal_keys = seal_keys
        self._loop = loop
        self._ending = threading.Event()
        self._raw: bytes | None = None  # CURRENT as it was last looked at
        self._settled = False  # and whether it is what is served
        self._logged: tuple[bytes | None, str] | None = None
        self._refused_facts: Facts = {}
        self._retry_at = 0.0
        self._retry_seconds = _FIRST_RETRY_SECONDS

    def stop(self) -> None:
        """Ask the thread to end; it does within a poll, even while it verifies."""
        self._ending.set()

    def run(self) -> None:
        """Look at CURRENT until stopped."""
        while not self._ending.is_set():
            try:
                self._look()
            except Stopped:
                return
            except RuntimeError:
                if self._loop.is_closed():
                    return
                _log.exception("the watch met an error; what is served stays")
            self.looked.set()
            self._ending.wait(POLL_SECONDS)

    def _look(self) -> None:
        """Take one look at CURRENT, and take it over if it is new or may have healed."""
        current: Current | None = None
        raw: bytes | None = None
        try:
            raw = self._store.read_current_bytes()
            if raw == self._raw and (self._settled or not self._worth_retrying()):
                return
            current = parse_current(raw, self._store.current_file)
            self._trust.require(current)
            view = self._view_of(current)
        except SnapshotError as error:
            self._refuse(raw, current, error.reason, str(error))
        except OSError as error:
            self._refuse(raw, current, StoreUnusable.reason, f"{error.filename or self._store.path}: {error.strerror}")
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001  a watch that died of a surprise would serve old lists for ever
            _log.exception("opening the live snapshot failed")
            self._refuse(raw, current, "internal_error", f"opening the live snapshot failed: {type(error).__name__}")
        else:
            self._raw, self._settled, self._logged = raw, True, None
            old = self._live.view
            self._in_loop(lambda: self._swap(view))
            if old is not None and old.snapshot is not view.snapshot:
                old.snapshot.close()
            self._trust.note(current)
            _log.info(
                "snapshot live", generation=view.generation, snapshot_id=view.snapshot_id,
                overlay_version=view.overlay_version,
            )  # fmt: skip
            if view.snapshot.manifest.classes and not view.any_approved:
                _log.warning("no class of the live snapshot is approved, so nothing is a match: hashwacht approve")

    def _view_of(self, current: Current) -> View:
        """Open what CURRENT names, or share what is open already. Raises SnapshotError, OSError, Stopped."""
        old = self._live.view
        same = old is not None and (current.snapshot_id, current.manifest_sha256) == (
            old.snapshot_id, old.snapshot.manifest_sha256,
        )  # fmt: skip
        if old is not None:
            other = not same or current.overlay_version != old.overlay_version
            if current.generation < old.generation or (current.generation == old.generation and other):
                raise GenerationWentBack(
                    f"{self._store.current_file}: generation {current.generation} does not follow "
                    f"{old.generation}, which is served: an old state was put back. "
                    "Use `hashwacht rollback`, or restart the service to accept it."
                )
        overlay = self._store.overlay(current.overlay_version, current.overlay_sha256)
        if old is not None and same:
            return View(current, old.snapshot, overlay, self._seal(overlay, old.snapshot.manifest))
        directory = self._store.live_dir(current)
        manifest = read_trusted_manifest(directory, current.manifest_sha256)
        seal = self._seal(overlay, manifest)
        self._notes.ensure_verified(
            directory, manifest, current.manifest_sha256, self._ending.is_set, gently=old is not None
        )
        return View(current, open_ready(directory, current.manifest_sha256), overlay, seal)

    def _seal(self, overlay: Overlay, manifest: Manifest) -> Seal | None:
        """Give the key of both. Raises SealKeyMissing or SealKeyWrong: with another every digest would be a miss."""
        require_same_seal(overlay.seal_key_id, manifest.seal_key_id, self._store.overlay_file(overlay.version))
        return self._seal_keys.of(manifest.seal_key_id, self._store.snapshot_dir(manifest.snapshot_id))

    def _swap(self, view: View) -> None:
        """Put a View in force; runs in the event loop, where no request is halfway through matching."""
        self._live.view, self._live.refusal = view, None

    def _refuse(self, raw: bytes | None, current: Current | None, reason: str, message: str) -> None:
        """Keep what is served, note why CURRENT is not, and say so once."""
        self._raw, self._settled = raw, False
        self._refused_facts = self._facts(current)
        is_news = self._logged != (raw, reason)
        self._retry_seconds = _FIRST_RETRY_SECONDS if is_news else min(2 * self._retry_seconds, _MAX_RETRY_SECONDS)
        self._retry_at = time.monotonic() + self._retry_seconds
        refusal = Refusal(reason, message, current.generation if current else None)
        if refusal != self._live.refusal:
            self._in_loop(lambda: setattr(self._live, "refusal", refusal))
        if is_news:
            self._logged = (raw, reason)
            kept = self._live.view
            _log.error(
                "CURRENT refused",
                reason=reason, error=message, generation=refusal.generation,
                still_serving=kept.generation if kept else None,
            )  # fmt: skip

    def _worth_retrying(self) -> bool:
        """Tell whether a refused CURRENT may have healed: a file of its snapshot changed, or enough time went by."""
        if time.monotonic() >= self._retry_at:
            return True
        try:
            current = parse_current(self._raw or b"", self._store.current_file)
        except SnapshotError:
            return False  # CURRENT's own bytes are at fault, and they are the same
        return self._facts(current) != self._refused_facts

    def _facts(self, current: Current | None) -> Facts:
        if current is None:
            return {}
        return file_facts(self._store.snapshot_dir(current.snapshot_id)) | file_facts(self._store.overlays_dir)

    def _in_loop(self, change: Callable[[], None]) -> None:
        """Run `change` in the event loop and wait until it has run. Raises Stopped when the worker ends meanwhile."""
        done = threading.Event()

        def run() -> None:
            try:
                change()
            finally:
                done.set()

        self._loop.call_soon_threadsafe(run)
        while not done.wait(POLL_SECONDS):
            if self._ending.is_set():
                raise Stopped


def open_ready(directory: Path, manifest_sha256: str) -> Snapshot:
    """Open a verified snapshot, read its filters in and look its canary up. Raises SnapshotError or OSError."""
    snapshot = Snapshot.open(directory, manifest_sha256)
    try:
        snapshot.read_in()
        snapshot.check_canary()
    except BaseException:
        snapshot.close()
        raise
    return snapshot
