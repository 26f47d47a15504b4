"""Writing that survives a power cut."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from snapshot.errors import StoreUnusable, wrapped_os_errors


def fsync_path(path: Path) -> None:
    """Flush a file or a directory to disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, content: bytes) -> None:
    """Put a small file in place: whole on disk first, then renamed, then its directory flushed.

    One writer at a time; one that is killed leaves at most a hidden file beside it. Raises StoreFull or StoreUnusable.
    """
    beside = path.with_name(f".{path.name}.new")
    with wrapped_os_errors("writing", path):
        try:
            _write(beside, content)
            beside.rename(path)
        except OSError as error:
            with suppress(OSError):  # on a full disk every file counts
                beside.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error  # what people know it by
    try:
        fsync_path(path.parent)
    except OSError as error:
        raise StoreUnusable(
            f"{path} is in place, but flushing its directory failed: {error.strerror}. It holds now and may not "
            "survive a power cut: look at the disk, then at `hashwacht history`."
        ) from error


def _write(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    if path.stat().st_size != len(content):  # a short write is how a full quota can look
        raise OSError(errno.ENOSPC, "short write", str(path))
