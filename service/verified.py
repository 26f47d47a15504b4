"""Notes, outside the store, that a snapshot's checksums were verified on this host.

Checksumming gigabytes once per host is a minute; once per worker and restart it would be a nuisance. So the
first worker verifies while the others wait for the note's lock, and all of them, and their successors, then trust
the note as long as no file has changed.

    <state_dir>/verified/<manifest_sha256>.json     {"directory": "/…/snapshots/<id>", "files": {name: [device,
                                                    inode, size, mtime_ns, ctime_ns], …}}

The note is its own lock file (flock). Whoever can write notes can have a damaged snapshot believed, so the
directory must belong to us and be closed to others; otherwise every worker verifies for itself.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import orjson
import structlog

from snapshot.manifest import Manifest
from snapshot.reader import check_files

Facts = dict[str, tuple[int, ...]]

#: How often a worker that waits for another's verification looks again.
_LOCK_POLL_SECONDS: Final = 0.05
#: Longest pause between two pieces of a snapshot that is verified gently.
_LONGEST_PAUSE_SECONDS: Final = 0.005

_log = structlog.stdlib.get_logger("service.verified")


class Stopped(Exception):
    """The worker ends, so the verification was given up."""


def default_state_dir() -> Path | None:
    """Give $XDG_STATE_HOME/hashwacht or ~/.local/state/hashwacht; None when there is no home."""
    base = os.environ.get("XDG_STATE_HOME")
    if base and Path(base).is_absolute():
        return Path(base) / "hashwacht"
    try:
        return Path.home() / ".local" / "state" / "hashwacht"
    except RuntimeError:
        return None


def file_facts(directory: Path) -> Facts:
    """Give (device, inode, size, mtime_ns, ctime_ns) of every file in a directory; empty when there is none."""
    facts: Facts = {}
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            found = entry.stat()
            facts[entry.name] = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return facts


class VerifiedNotes:
    """The notes in one state directory, or none where no safe directory can be had."""

    def __init__(self, state_dir: Path | None) -> None:
        """Use `state_dir`, made if missing; None is the default place."""
        self._directory = safe_directory(state_dir or default_state_dir(), "verified")

    def ensure_verified(
        self, directory: Path, manifest: Manifest, manifest_sha256: str, stopping: Callable[[], bool], *, gently: bool
    ) -> None:
        """Return once every checksum of the snapshot is known to hold; `gently` takes half of a core, not all of it.

        Raises what snapshot.reader.check_files raises, or Stopped once `stopping()` says so. Cost: some stats when
        noted before, else one read of all files.
        """
        if self._directory is None:
            _verify(directory, manifest, stopping, gently)
            return
        note = self._directory / f"{manifest_sha256}.json"
        with _locked(note, stopping) as descriptor:
            if descriptor is None:
                _verify(directory, manifest, stopping, gently)
            elif not _is_noted(descriptor, directory):
                before = file_facts(directory)  # so that a note on files that changed meanwhile never holds
                _verify(directory, manifest, stopping, gently)
                _write_note(descriptor, directory, before)
        self._prune()

    def _prune(self) -> None:
        """Remove the notes of snapshots that are gone."""
        assert self._directory is not None
        for note in self._directory.glob("*.json"):
            with suppress(OSError, orjson.JSONDecodeError, KeyError, TypeError):
                descriptor = os.open(note, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if not Path(_read_note(descriptor)["directory"]).exists():
                        note.unlink()
                finally:
                    os.close(descriptor)


def safe_directory(state_dir: Path | None, name: str) -> Path | None:
    """Make `state_dir`/`name` and give it if nobody else can write to it, else None with a warning."""
    if state_dir is None:
        _log.warning(
            "there is no home directory for notes, so every worker verifies snapshots and no restart remembers; "
            "set --state-dir"
        )
        return None
    directory = state_dir / name
    try:
        for place in (state_dir, directory):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = place.stat()
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                _log.warning(
                    "others may write to the state directory, so it is not used: every worker verifies snapshots and "
                    "no restart remembers; chown it to the service's user and chmod go-w, or set --state-dir",
                    path=str(place),
                )
                return None
    except OSError as error:
        _log.warning(
            "the state directory cannot be used, so every worker verifies snapshots and no restart remembers; set "
            "--state-dir",
            path=str(directory), error=error.strerror,
        )  # fmt: skip
        return None
    return directory


@contextmanager
def _locked(note: Path, stopping: Callable[[], bool]) -> Iterator[int | None]:
    """Open a note under its exclusive lock; None when it cannot be had. Raises Stopped."""
    try:
        descriptor = os.open(note, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        _log.warning("a note of verification cannot be opened", path=str(note), error=error.strerror)
        yield None
        return
    try:
        yield descriptor if _lock(descriptor, stopping) else None
    finally:
        os.close(descriptor)


def _lock(descriptor: int, stopping: Callable[[], bool]) -> bool:
    """Wait for the lock; False where files cannot be locked. Raises Stopped."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if stopping():
                raise Stopped from None
            time.sleep(_LOCK_POLL_SECONDS)
        except OSError as error:
            _log.warning("the state directory has no file locks", error=error.strerror)
            return False
        else:
            return True


def _read_note(descriptor: int) -> dict[str, str]:
    size = os.fstat(descriptor).st_size
    note: dict[str, str] = orjson.loads(os.pread(descriptor, size, 0))
    return note


def _is_noted(descriptor: int, directory: Path) -> bool:
    """Tell whether the note holds for the files as they are now. One that was cut off never does."""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0) == _note(directory, file_facts(directory))


def _note(directory: Path, facts: Facts) -> bytes:
    return orjson.dumps({"directory": str(directory), "files": facts}, option=orjson.OPT_SORT_KEYS)


def _write_note(descriptor: int, directory: Path, facts: Facts) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _note(directory, facts), 0)
    except OSError as error:  # half a note is none
        _log.warning("a note of verification cannot be written", error=error.strerror)


def _verify(directory: Path, manifest: Manifest, stopping: Callable[[], bool], gently: bool) -> None:
    last = time.monotonic()

    def count(_: int) -> None:
        nonlocal last
        if stopping():
            raise Stopped
        if gently:  # as long again as the piece took, so that requests find the core free: halves their slowest 1 %
            time.sleep(min(time.monotonic() - last, _LONGEST_PAUSE_SECONDS))
            last = time.monotonic()

    started = time.monotonic()
    check_files(directory, manifest, on_bytes=count)
    seconds = time.monotonic() - started
    _log.info(
        "snapshot verified",
        snapshot_id=manifest.snapshot_id,
        seconds=round(seconds, 3),
        gb_per_second=round(manifest.total_bytes / 1e9 / max(seconds, 1e-6), 2),
    )
