"""What a worker tells the allocator and the garbage collector, since it does the same thing all day.

Both are told once, when a worker starts. Neither changes what is computed.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

# glibc's malloc.h: the parameters of mallopt.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

#: Bodies and arrays up to this size come from the heap, and the heap keeps so much free memory at its end.
_KEPT_BYTES: Final = 16 << 20


def keep_freed_memory() -> None:
    """Have malloc keep what a request frees for the next one, at most 16 MiB at the end of the heap.

    By default glibc maps every block of more than 128 KiB anew and gives the heap's end back when 128 KiB of it are
    free, so every request of 1,000 digests and more paid for page faults on the pages the one before it had given
    back. Measured: a fifth of the processor time of a request of 1,000 digests and of 10,000. Elsewhere than on glibc
    nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def spare_what_is_there() -> None:
    """Exempt all objects that live now from garbage collection: modules, routes, models, the snapshot.

    Otherwise a full collection walks all 67,000 of them, 30 ms in which no request is answered.
    """
    gc.collect()
    gc.freeze()
