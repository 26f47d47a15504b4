"""Where snapshots are published, seen from a reader: paths, CURRENT and the history.

    store/CURRENT                        one JSON line: what is live
    store/snapshots/<snapshot_id>/       manifest.json, entries.lmdb, <algorithm>.bloom; never written again
    store/history/<generation>.json      who made what live, when; written before CURRENT is swapped
    store/tmp/                           compiles at work, or what killed ones left; no part of the store
    store/lock                           held by the one publisher at work

CURRENT is small and replaced by rename, so a reader sees the old line or the new one, never a mixture.
Writing is `snapshot/publish.py`'s.
"""

from __future__ import annotations

import stat
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from snapshot.errors import CurrentDamaged, HistoryDamaged, NoStore, SnapshotMissing, StoreUnusable
from snapshot.manifest import ListFacts

_HEX64: Final = r"^[0-9a-f]{64}$"


class Current(BaseModel):
    """The pointer to what is live. `overlay_version` is 0 until there are overlays."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    generation: int = Field(ge=1)
    snapshot_id: str = Field(pattern=_HEX64)
    manifest_sha256: str = Field(pattern=_HEX64)
    overlay_version: Literal[0] = 0
    overlay_sha256: None = None
    issued_at: datetime = Field(strict=False)
    by: str

    def encode(self) -> bytes:
        """Give CURRENT's one line."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_APPEND_NEWLINE)


class HistoryEntry(BaseModel):
    """One change of CURRENT.

    `previous` is the generation that was live before (0: none). An entry whose swap never happened is void: no
    later entry names it as previous, and `Store.history` passes over it. `retained` are the snapshots that stay
    in the store once this generation is live.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    generation: int = Field(ge=1)
    previous: int = Field(ge=0)
    action: Literal["compile", "rollback"]
    at: datetime = Field(strict=False)
    by: str
    snapshot_id: str = Field(pattern=_HEX64)
    manifest_sha256: str = Field(pattern=_HEX64)
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
        self.tmp = path / "tmp"
        self.lock_file = path / "lock"

    def snapshot_dir(self, snapshot_id: str) -> Path:
        """Give the directory of a snapshot, whether it is there or not."""
        return self.snapshots / snapshot_id

    def read_current_bytes(self) -> bytes:
        """Read CURRENT as it is: the cheap thing to compare when watching for a change.

        Raises NoStore when there is none, StoreUnusable when it cannot be read.
        """
        try:
            return self.current_file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            what = "has no CURRENT: nothing was published there yet" if self.path.is_dir() else "is not there"
            raise NoStore(f"{self.path}: the store {what}. `hashwacht compile` makes it.") from None
        except OSError as error:
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
        try:
            names = [entry.name for entry in self.history_dir.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreUnusable(f"{self.history_dir}: {error.strerror}") from error
        stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
        return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())

    def history_file(self, generation: int) -> Path:
        """Give the path of a generation's history entry."""
        return self.history_dir / f"{generation}.json"

    def history_entry(self, generation: int) -> HistoryEntry:
        """Read one history entry. Raises HistoryDamaged when it is missing or not of the known form."""
        path = self.history_file(generation)
        try:
            entry = HistoryEntry.model_validate(orjson.loads(path.read_bytes()))
        except FileNotFoundError:
            raise HistoryDamaged(f"{path}: is missing") from None
        except OSError as error:
            raise StoreUnusable(f"{path}: {error.strerror}") from error
        except (orjson.JSONDecodeError, ValidationError) as error:
            raise HistoryDamaged(f"{path}: {_first_line(error)}") from None
        if entry.generation != generation:
            raise HistoryDamaged(f"{path}: speaks of generation {entry.generation}")
        return entry

    def history(self) -> list[HistoryEntry]:
        """Give the changes that went live, newest first, by following `previous` from CURRENT.

        Raises what `current` raises, and HistoryDamaged when the chain is broken or leads nowhere lower.
        """
        entries: list[HistoryEntry] = []
        generation = self.current().generation
        while generation:
            entry = self.history_entry(generation)
            if entry.previous >= generation:
                raise HistoryDamaged(f"{self.history_file(generation)}: previous is not lower")
            entries.append(entry)
            generation = entry.previous
        return entries


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
