from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

import service.verified
from service.verified import Stopped, VerifiedNotes, default_state_dir
from snapshot.errors import ChecksumMismatch
from snapshot.manifest import Manifest, read_manifest
from tests.service.snapshots import MadeSnapshot, random_entries, write_snapshot


def never() -> bool:
    return False


@pytest.fixture
def fresh(tmp_path: Path) -> MadeSnapshot:
    return write_snapshot(tmp_path / "store", random_entries(50, ("md5",)))


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The directories whose files were read, in order."""
    seen: list[Path] = []
    real = service.verified.check_files

    def counting(directory: Path, manifest: Manifest, **more: object) -> None:
        seen.append(directory)
        real(directory, manifest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(service.verified, "check_files", counting)
    return seen


def ensure(notes: VerifiedNotes, made: MadeSnapshot) -> None:
    notes.ensure_verified(made.directory, read_manifest(made.directory)[0], made.manifest_sha256, never, gently=False)


def test_only_a_gentle_verification_pauses_between_pieces_and_it_finds_damage_as_well(
    tmp_path: Path, fresh: MadeSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(service.verified.time, "sleep", pauses.append)
    manifest = read_manifest(fresh.directory)[0]
    for name, gently in (("at once", False), ("gently", True)):
        VerifiedNotes(tmp_path / name).ensure_verified(
            fresh.directory, manifest, fresh.manifest_sha256, never, gently=gently
        )
        assert bool(pauses) == gently
    assert len(pauses) >= len(manifest.files)
    assert max(pauses) <= service.verified._LONGEST_PAUSE_SECONDS
    damaged = fresh.directory / "md5.bloom"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    with pytest.raises(ChecksumMismatch):
        VerifiedNotes(tmp_path / "gently").ensure_verified(
            fresh.directory, manifest, fresh.manifest_sha256, never, gently=True
        )


def test_verified_once_and_trusted_by_all_that_come_after(
    tmp_path: Path, fresh: MadeSnapshot, verifications: list[Path]
) -> None:
    for _ in range(3):
        ensure(VerifiedNotes(tmp_path / "state"), fresh)
    assert verifications == [fresh.directory]


def touch(path: Path) -> None:
    os.utime(path)


def replace(path: Path) -> None:
    shutil.copy2(path, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def rewrite_with_old_times(path: Path) -> None:
    facts = path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize("change", [touch, replace, rewrite_with_old_times])
@pytest.mark.parametrize("file", ["md5.bloom", "entries.lmdb", "manifest.json"])
def test_any_file_touched_is_verified_again(
    tmp_path: Path, fresh: MadeSnapshot, verifications: list[Path], file: str, change: object
) -> None:
    notes = VerifiedNotes(tmp_path / "state")
    ensure(notes, fresh)
    time.sleep(0.02)  # the clock of file times ticks in steps
    change(fresh.directory / file)  # type: ignore[operator]
    ensure(notes, fresh)
    ensure(notes, fresh)
    assert len(verifications) == 2


def test_damage_is_never_noted(tmp_path: Path, fresh: MadeSnapshot) -> None:
    raw = bytearray((fresh.directory / "md5.bloom").read_bytes())
    raw[-1] ^= 1
    (fresh.directory / "md5.bloom").write_bytes(raw)
    for _ in range(2):
        with pytest.raises(ChecksumMismatch):
            ensure(VerifiedNotes(tmp_path / "state"), fresh)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b'{"directory": 7}'])
def test_half_a_note_is_none(tmp_path: Path, fresh: MadeSnapshot, verifications: list[Path], content: bytes) -> None:
    notes = VerifiedNotes(tmp_path / "state")
    (tmp_path / "state" / "verified" / f"{fresh.manifest_sha256}.json").write_bytes(content)
    ensure(notes, fresh)
    ensure(notes, fresh)
    assert len(verifications) == 1


def test_notes_of_snapshots_that_are_gone_are_removed(tmp_path: Path, fresh: MadeSnapshot) -> None:
    notes = VerifiedNotes(tmp_path / "state")
    ensure(notes, fresh)
    other = write_snapshot(tmp_path / "store", random_entries(50, ("md5",)))
    shutil.rmtree(fresh.directory)
    ensure(notes, other)
    assert [n.stem for n in (tmp_path / "state" / "verified").iterdir()] == [other.manifest_sha256]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
@pytest.mark.parametrize("which", ["state", "state/verified"])
def test_a_directory_that_others_can_write_to_is_not_believed(
    tmp_path: Path, fresh: MadeSnapshot, verifications: list[Path], which: str, mode: int
) -> None:
    ensure(VerifiedNotes(tmp_path / "state"), fresh)
    (tmp_path / which).chmod(mode)
    for _ in range(2):
        ensure(VerifiedNotes(tmp_path / "state"), fresh)
    assert len(verifications) == 3


def test_a_directory_of_somebody_else_is_not_believed(
    tmp_path: Path, fresh: MadeSnapshot, verifications: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(VerifiedNotes(tmp_path / "state"), fresh)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    ensure(VerifiedNotes(tmp_path / "state"), fresh)
    assert len(verifications) == 2


def test_without_a_place_for_notes_it_still_verifies(
    tmp_path: Path, fresh: MadeSnapshot, verifications: list[Path]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    ensure(VerifiedNotes(tmp_path / "file" / "state"), fresh)
    assert len(verifications) == 1


def test_one_verifies_while_others_wait(tmp_path: Path, fresh: MadeSnapshot, verifications: list[Path]) -> None:
    workers = [threading.Thread(target=ensure, args=(VerifiedNotes(tmp_path / "state"), fresh)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert len(verifications) == 1


def test_waiting_and_verifying_end_when_the_worker_does(tmp_path: Path, fresh: MadeSnapshot) -> None:
    notes = VerifiedNotes(tmp_path / "state")
    manifest = read_manifest(fresh.directory)[0]
    with pytest.raises(Stopped):
        notes.ensure_verified(fresh.directory, manifest, fresh.manifest_sha256, lambda: True, gently=False)
    with (tmp_path / "state" / "verified" / f"{fresh.manifest_sha256}.json").open("wb") as note:
        fcntl.flock(note, fcntl.LOCK_EX)
        with pytest.raises(Stopped):
            notes.ensure_verified(fresh.directory, manifest, fresh.manifest_sha256, lambda: True, gently=False)


def test_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert default_state_dir() == tmp_path / "xdg-state" / "hashwacht"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_state_dir() == tmp_path / ".local" / "state" / "hashwacht"


def test_a_directory_of_its_own_making_is_believed_whatever_the_umask(
    tmp_path: Path, fresh: MadeSnapshot, verifications: list[Path]
) -> None:
    before = os.umask(0o002)
    try:
        for _ in range(2):
            ensure(VerifiedNotes(tmp_path / "state"), fresh)
    finally:
        os.umask(before)
    assert len(verifications) == 1


def test_what_changed_while_it_was_read_is_not_noted(
    tmp_path: Path, fresh: MadeSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = service.verified.check_files, []

    def disturbed(directory: Path, manifest: Manifest, **more: object) -> None:
        real(directory, manifest, **more)  # type: ignore[arg-type]
        calls.append(directory)
        if len(calls) == 1:
            time.sleep(0.02)
            touch(directory / "md5.bloom")

    monkeypatch.setattr(service.verified, "check_files", disturbed)
    notes = VerifiedNotes(tmp_path / "state")
    for _ in range(3):
        ensure(notes, fresh)
    assert len(calls) == 2
