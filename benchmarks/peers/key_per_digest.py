"""LMDB as it is commonly used: a key for each digest, one `get` for each question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lmdb

from benchmarks.errors import must
from benchmarks.peers.asked import Peer

#: Of map for an entry: twice what pages half full would take.
_MAP_BYTES_AN_ENTRY = 256


@contextmanager
def lmdb_peer(entries: Sequence[bytes], work: Path) -> Iterator[Peer]:
    """Make the environment in `work` and give the peer until the block ends. Cost: 1.2 µs an entry.

    A batch is a loop of `get`: a cursor's `getmulti`, of the batch as it comes or sorted, takes as long.
    """
    path = work / f"key-per-digest-{len(entries)}.lmdb"
    map_bytes = max(1 << 24, _MAP_BYTES_AN_ENTRY * len(entries))
    with lmdb.open(str(path), subdir=False, map_size=map_bytes, sync=False, lock=False) as environment:
        with environment.begin(write=True) as writing:
            _, added = writing.cursor().putmulti([(digest, b"\0") for digest in sorted(entries)], append=True)
            must(added == len(entries), f"LMDB took {added} of {len(entries)} entries")
        with environment.begin() as reading:
            get = reading.get
            yield Peer("LMDB get", get, lambda digests: [digest for digest in digests if get(digest)], share=4)
    path.unlink()
