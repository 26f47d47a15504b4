"""Files that hold keys: never overwritten, never half written, and private ones are for their owner alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from snapshot.errors import KeyUnusable

PRIVATE_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644
#: Others may not even read a private key.
_LOOSE: Final = stat.S_IRWXG | stat.S_IRWXO
#: A key file is some hundred bytes.
_MAX_FILE_BYTES: Final = 64 * 1024


def read_private(path: Path) -> bytes:
    """Read a file of private keys. Raises KeyUnusable, also when others than its owner have access to it."""
    raw, mode = _read(path)
    if mode & _LOOSE:
        raise KeyUnusable(
            f"{path}: others have access to this private key (mode {stat.S_IMODE(mode):04o}); chmod 600 it, and "
            "replace it if they may have read it"
        )
    return raw


def read_public(path: Path) -> bytes:
    """Read a file of public keys. Raises KeyUnusable."""
    return _read(path)[0]


@contextmanager
def written(path: Path, content: bytes, mode: int) -> Iterator[None]:
    """Write a new file, and take it away again if the block, or writing itself, fails. Raises KeyUnusable."""
    if not path.name:
        raise KeyUnusable(f"{path}: is no name of a file")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise KeyUnusable(f"{path}: is there already; a key is never overwritten") from None
    except OSError as error:
        raise KeyUnusable(f"{path}: cannot be written: {error.strerror}") from None
    try:
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(fd)
        except OSError as error:
            raise KeyUnusable(f"{path}: cannot be written: {error.strerror}") from None
        yield
    except BaseException:
        with suppress(OSError):  # what is left is half a pair, and the next attempt names it
            path.unlink()
        raise


def _read(path: Path) -> tuple[bytes, int]:
    """Give a key file's bytes and mode."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyUnusable(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > _MAX_FILE_BYTES:
        raise KeyUnusable(f"{path}: is longer than {_MAX_FILE_BYTES:,} bytes, so it is no file of keys")
    return raw, mode
