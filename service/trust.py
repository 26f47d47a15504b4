"""What a worker with trusted keys demands of CURRENT before it believes a word: a signature, and no step back.

    <state_dir>/generations/<SHA-256 of the store's path>.json     {"store": "/…", "generation": 17}

An old CURRENT is well signed too, so a signature alone would not keep somebody who can write to the store from putting
an old state back, with a withdrawn digest on it or a new one off it. The highest generation that was ever taken over on
this host is kept in a file, so that a restart does not forget it. `rollback` makes a higher generation and is no step
back. To accept a lower one on purpose, remove that file and restart the service. All workers of a host write it, one at
a time by flock on the file `….lock` beside it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson
import structlog

from service.verified import default_state_dir, safe_directory
from snapshot.durable import replace_file
from snapshot.errors import GenerationWentBack, StoreError
from snapshot.manifest import sha256_hex
from snapshot.signing import TrustedKeys
from snapshot.store import Current, Store

_DIRECTORY: Final = "generations"

_log = structlog.stdlib.get_logger("service.trust")


class Trust:
    """The trusted keys, or none, and the highest generation seen. For the watch's thread."""

    def __init__(self, store: Store, trusted_keys: Path | None, state_dir: Path | None) -> None:
        """Read the keys. Raises KeyUnusable."""
        self._store = store
        self._keys = None if trusted_keys is None else TrustedKeys.load(trusted_keys)
        self._file: Path | None = None
        if self._keys is not None:
            directory = safe_directory(state_dir or default_state_dir(), _DIRECTORY)
            name = sha256_hex(os.fsencode(store.path.absolute()))
            self._file = None if directory is None else directory / f"{name}.json"

    def require(self, current: Current) -> None:
        """Raise SignatureMissing, SignatureWrong or GenerationWentBack unless CURRENT may be taken over."""
        if self._keys is None:
            return
        self._keys.require(current, self._store.current_file)
        highest = self._highest()
        if current.generation < highest:
            raise GenerationWentBack(
                f"{self._store.current_file}: generation {current.generation} is older than {highest}, which was live "
                f"on this host before: an old state was put back. Publish anew, or remove {self._file} to accept it."
            )

    def note(self, current: Current) -> None:
        """Remember that a generation was taken over."""
        if self._file is None:
            return
        note = {"store": os.fsencode(self._store.path).decode(errors="replace"), "generation": current.generation}
        try:
            with _locked(self._file.with_suffix(".lock")):
                if current.generation > self._highest():
                    replace_file(self._file, orjson.dumps(note))
        except (StoreError, OSError) as error:
            _log.error("the highest generation cannot be kept, so a restart forgets it", error=str(error))

    def _highest(self) -> int:
        if self._file is None:
            return 0
        try:
            generation = orjson.loads(self._file.read_bytes())["generation"]
        except FileNotFoundError:
            return 0
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
            generation = None
        if type(generation) is not int:
            _log.error("the note of the highest generation is damaged and does not count", path=str(self._file))
            return 0
        return generation


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that all workers share, for the moment of a write. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # closing frees the flock
