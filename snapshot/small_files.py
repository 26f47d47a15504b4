"""Reading files that are read whole, whatever somebody put in their place: never more than expected, never waiting."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_whole(path: Path, most: int) -> bytes:
    """Read a regular file of at most `most` bytes.

    Raises OSError, also for a longer file and for what is none: a pipe would keep its reader waiting for ever.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise OSError(code, "Is a directory" if code == errno.EISDIR else "is no regular file", os.fspath(path))
        raw = file.read(most + 1)
    if len(raw) > most:
        raise OSError(errno.EFBIG, f"is longer than {most:,} bytes", os.fspath(path))
    return raw
