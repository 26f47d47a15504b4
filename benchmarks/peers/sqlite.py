"""SQLite: a table of keys without rowids, mapped into memory, asked by prepared statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.errors import must
from benchmarks.peers.asked import Peer

_MAP_BYTES: Final = 1 << 34
#: Digests in one statement. Longer ones are no faster, and more than 32,766 are refused.
_PLACES: Final = 1_000


@contextmanager
def sqlite_peer(entries: Sequence[bytes], work: Path) -> Iterator[Peer]:
    """Make the database in `work` and give the peer until the block ends. Cost: 2 µs an entry.

    One digest is a SELECT, a batch is `IN (…)` of up to 1,000: a third less time per digest.
    """
    path = work / f"keys-{len(entries)}.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as writing:
        writing.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE entries (digest BLOB PRIMARY KEY) WITHOUT ROWID; BEGIN"
        )
        added = writing.executemany("INSERT INTO entries VALUES (?)", ((digest,) for digest in sorted(entries)))
        must(added.rowcount == len(entries), f"SQLite took {added.rowcount} of {len(entries)} entries")
        writing.execute("COMMIT")
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as reading:
        reading.execute(f"PRAGMA mmap_size = {_MAP_BYTES}")

        def one(digest: bytes) -> object:
            return reading.execute("SELECT 1 FROM entries WHERE digest = ?", (digest,)).fetchone()

        def many(digests: Sequence[bytes]) -> list[bytes]:
            found = []
            for at in range(0, len(digests), _PLACES):
                part = digests[at : at + _PLACES]
                places = ",".join("?" * len(part))
                found += reading.execute(f"SELECT digest FROM entries WHERE digest IN ({places})", part).fetchall()  # noqa: S608  # nothing but question marks
            return found

        yield Peer("SQLite", one, many, share=10)
    path.unlink()
