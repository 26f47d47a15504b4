"""Peers in a process's own memory: a Python set, and pybloom-live as it comes.

Each worker of a service would hold one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pybloom_live import BloomFilter

from benchmarks.peers.asked import Peer

FALSE_POSITIVE_RATE: Final = 0.001


def python_set(entries: Sequence[bytes]) -> Peer:
    """Make the set: 65 bytes a digest and its table, 120 bytes an entry together. Cost: 0.25 µs an entry.

    A batch is intersected with it, all in C: a third faster than a loop of `in`.
    """
    held = frozenset(entries)
    return Peer("set", held.__contains__, held.intersection)


def pybloom_live(entries: Sequence[bytes]) -> Peer:
    """Make a pybloom-live filter of our false-positive rate. It has no call for batches. Cost: 5 µs an entry."""
    held = BloomFilter(len(entries), FALSE_POSITIVE_RATE)
    for digest in entries:
        held.add(digest, skip_check=True)
    return Peer(
        "pybloom-live", held.__contains__, lambda digests: [digest for digest in digests if digest in held],
        share=10, errs=FALSE_POSITIVE_RATE,
    )  # fmt: skip
