"""Where snapshots are published, seen from a reader: paths, CURRENT and the history.

    store/CURRENT                        one JSON line: what is live
    store/snapshots/<snapshot_id>/       manifest.json, entries.lmdb, <algorithm>.bloom; never written again
    store/overlays/<version>.json        what holds on top of a snapshot (snapshot/overlay.py); never written again
    store/history/<generation>.json      who made what live, when, why; written before CURRENT is swapped
    store/tmp/                           compiles at work, or what killed ones left; no part of the store
    store/lock                           held by the one compile or rollback at work
    store/swap.lock                      held for the moment in which CURRENT is swapped

CURRENT is small and replaced by rename, so a reader sees the old line or the new one, never a mixture.
Writing is `snapshot/swap.py`'s and `snapshot/publish.py`'s.
"""

from __future__ import annotations

import errno
import stat
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from snapshot.errors import (
    CurrentDamaged,
    HistoryDamaged,
    NoStore,
    OverlayDamaged,
    SnapshotMissing,
    StoreError,
    StoreUnusable,
)
from snapshot.manifest import ListFacts, sha256_hex
from snapshot.overlay import EMPTY, Overlay, parse_overlay
from snapshot.small_files import read_whole

_HEX64: Final = r"^[0-9a-f]{64}$"


#: CURRENT is a line; a full overlay of the longest texts, and the history of many lists, are some hundred MB.
_MAX_CURRENT_BYTES: Final = 1 << 16
_MAX_FILE_BYTES: Final = 1 << 29
_OVERLAY_REMEDY: Final = (
    "Put the file back from a backup of the store; what is served stays as it is until then, and nothing can be "
    "changed, so that no suppression gets lost."
)


class Current(BaseModel):
    """The pointer to what is live. At `overlay_version` 0 the overlay is empty and has no file.

    `history_sha256` is that of the history file of this generation, which names the one before it and so on.
    `signature` (base64) and `key_id` are those of snapshot/signing.py, null in a store that nobody signs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    generation: int = Field(ge=1)
    snapshot_id: str = Field(pattern=_HEX64)
    manifest_sha256: str = Field(pattern=_HEX64)
    overlay_version: int = Field(default=0, ge=0)
    overlay_sha256: str | None = Field(default=None, pattern=_HEX64)
    issued_at: datetime = Field(strict=False)
    by: str
    history_sha256: str | None = Field(default=None, pattern=_HEX64)
    signature: str | None = None
    key_id: str | None = None

    @model_validator(mode="after")
    def _overlay_is_named_whole(self) -> Self:
        if (self.overlay_version == 0) != (self.overlay_sha256 is None):
            raise ValueError("overlay_version and overlay_sha256 do not go together")
        return self

    def encode(self) -> bytes:
        """Give CURRENT's one line."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_APPEND_NEWLINE)


Action = Literal["compile", "rollback", "approve", "revoke", "suppress", "unsuppress", "add", "remove", "sign"]


class HistoryEntry(BaseModel):
    """One change of CURRENT.

    `previous` is the generation that was live before (0: none), and `previous_sha256` that of its history file, so
    that nothing in the chain can be changed unnoticed. An entry whose swap never happened is void: no later entry
    names it as previous, and `Store.history` passes over it. `retained` are the snapshots that stay in the store once
    this generation is live. `reason` is the operator's; `details` say what was changed, for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    generation: int = Field(ge=1)
    previous: int = Field(ge=0)
    previous_sha256: str | None = Field(default=None, pattern=_HEX64)
    action: Action
    at: datetime = Field(strict=False)
    by: str
    snapshot_id: str = Field(pattern=_HEX64)
    manifest_sha256: str = Field(pattern=_HEX64)
    overlay_version: int = Field(default=0, ge=0)
    overlay_sha256: str | None = Field(default=None, pattern=_HEX64)
    reason: str | None = None
    details: list[str] = []
    entries: int
    lists: list[ListFacts]
    dropped_lists: list[str] = []
    retained: list[str]

    def encode(self) -> bytes:
        """Give the history file's bytes."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


class Store:
    """A store in a directory, for reading. Nothing is opened or checked until it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.current_file = path / "CURRENT"
        self.snapshots = path / "snapshots"
        self.history_dir = path / "history"
        self.overlays_dir = path / "overlays"
        self.tmp = path / "tmp"
        self.lock_file = path / "lock"
        self.swap_lock_file = path / "swap.lock"

    def snapshot_dir(self, snapshot_id: str) -> Path:
        """Give the directory of a snapshot, whether it is there or not."""
        return self.snapshots / snapshot_id

    def read_current_bytes(self) -> bytes:
        """Read CURRENT as it is: the cheap thing to compare when watching for a change.

        Raises NoStore when there is none, StoreUnusable when it cannot be read.
        """
        try:
            return read_whole(self.current_file, _MAX_CURRENT_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            what = "has no CURRENT: nothing was published there yet" if self.path.is_dir() else "is not there"
            raise NoStore(f"{self.path}: the store {what}. `hashwacht compile` makes it.") from None
        except OSError as error:
            if error.errno == errno.EFBIG:
                return b"longer than any CURRENT"  # and so damaged, to whoever parses it
            raise StoreUnusable(f"{self.current_file}: {error.strerror}") from error

    def current(self) -> Current:
        """Read and check CURRENT. Raises NoStore, StoreUnusable or CurrentDamaged."""
        return parse_current(self.read_current_bytes(), self.current_file)

    def live_dir(self, current: Current) -> Path:
        """Give the directory of the live snapshot. Raises SnapshotMissing when it is not there, StoreUnusable."""
        directory = self.snapshot_dir(current.snapshot_id)
        try:
            is_there = stat.S_ISDIR(directory.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            is_there = False
        except OSError as error:
            raise StoreUnusable(f"{directory}: {error.strerror}") from error
        if not is_there:
            raise SnapshotMissing(
                f"{self.current_file} names snapshot {current.snapshot_id}, which is not in {self.snapshots}. "
                "Compile again, or roll back to a snapshot that is there."
            )
        return directory

    def generations(self) -> list[int]:
        """Give the generations that have a history file, ascending, void ones included."""
        return self._numbered(self.history_dir)

    def _numbered(self, directory: Path) -> list[int]:
        try:
            names = [entry.name for entry in directory.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreUnusable(f"{directory}: {error.strerror}") from error
        stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
        return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())

    def history_file(self, generation: int) -> Path:
        """Give the path of a generation's history entry."""
        return self.history_dir / f"{generation}.json"

    def history_entry(self, generation: int) -> HistoryEntry:
        """Read one history entry. Raises HistoryDamaged when it is missing or not of the known form."""
        return self._read_entry(generation)[0]

    def live_entry(self, current: Current) -> HistoryEntry:
        """Read CURRENT's own history entry. Raises HistoryDamaged, also when CURRENT vouches for another one."""
        entry, found_sha256 = self._read_entry(current.generation)
        if current.history_sha256 not in (None, found_sha256):
            raise HistoryDamaged(f"{self.history_file(current.generation)}: is not what CURRENT vouches for")
        return entry

    def _read_entry(self, generation: int) -> tuple[HistoryEntry, str]:
        """Give a history entry with the SHA-256 of its file."""
        path = self.history_file(generation)
        try:
            raw = read_whole(path, _MAX_FILE_BYTES)
            entry = HistoryEntry.model_validate(orjson.loads(raw))
        except FileNotFoundError:
            raise HistoryDamaged(f"{path}: is missing") from None
        except OSError as error:
            raise StoreUnusable(f"{path}: {error.strerror}") from error
        except (orjson.JSONDecodeError, ValidationError) as error:
            raise HistoryDamaged(f"{path}: {_first_line(error)}") from None
        if entry.generation != generation:
            raise HistoryDamaged(f"{path}: speaks of generation {entry.generation}")
        return entry, sha256_hex(raw)

    def history(self, current: Current | None = None) -> list[HistoryEntry]:
        """Give the changes that went live, newest first, by following `previous` from CURRENT.

        Raises what `current` raises, and HistoryDamaged when the chain is broken or leads nowhere lower.
        """
        entries: list[HistoryEntry] = []
        current = current or self.current()
        generation = current.generation
        wanted_sha256 = current.history_sha256  # from then on as the entry after it says
        while generation:
            entry, found_sha256 = self._read_entry(generation)
            if wanted_sha256 is not None and found_sha256 != wanted_sha256:
                voucher = "the entry after it" if entries else "CURRENT"
                raise HistoryDamaged(f"{self.history_file(generation)}: is not what {voucher} vouches for")
            if entry.previous >= generation:
                raise HistoryDamaged(f"{self.history_file(generation)}: previous is not lower")
            entries.append(entry)
            generation, wanted_sha256 = entry.previous, entry.previous_sha256
        return entries

    def history_sha256(self, generation: int) -> str | None:
        """Give the SHA-256 of a generation's history file, None where it cannot be read."""
        try:
            return self._read_entry(generation)[1]
        except StoreError:
            return None

    def overlay_file(self, version: int) -> Path:
        """Give the path of an overlay version."""
        return self.overlays_dir / f"{version}.json"

    def overlay(self, version: int, sha256: str | None) -> Overlay:
        """Read an overlay as CURRENT or the history names it.

        Raises OverlayDamaged when it is missing or another than the one named, StoreUnusable.
        """
        if version == 0:
            return EMPTY
        path = self.overlay_file(version)
        try:
            raw = read_whole(path, _MAX_FILE_BYTES)
        except FileNotFoundError:
            raise OverlayDamaged(path, f"is missing. {_OVERLAY_REMEDY}") from None
        except OSError as error:
            raise StoreUnusable(f"{path}: {error.strerror}") from error
        if sha256_hex(raw) != sha256:
            raise OverlayDamaged(
                path, f"is not the overlay that was published (its SHA-256 differs). {_OVERLAY_REMEDY}"
            )
        overlay = parse_overlay(raw, path)
        if overlay.version != version:
            raise OverlayDamaged(path, f"speaks of version {overlay.version}")
        return overlay

    def overlay_versions(self) -> list[int]:
        """Give the versions that have a file, ascending, void ones included."""
        return self._numbered(self.overlays_dir)


def parse_current(raw: bytes, path: Path) -> Current:
    """Turn CURRENT's bytes into a Current. Raises CurrentDamaged for anything but one line of the known form."""
    try:
        return Current.model_validate(orjson.loads(raw))
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise CurrentDamaged(
            f"{path}: is damaged ({_first_line(error)}). `hashwacht rollback` to a snapshot's id writes it anew."
        ) from None


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"field {'.'.join(map(str, first['loc'])) or '(root)'}: {first['msg']}"
    return str(error).splitlines()[0]
