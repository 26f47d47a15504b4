"""Writes one snapshot directory: entries, filters, manifest. Nothing here is live; publishing is another step.

    with SnapshotWriter(directory, false_positive_rate=0.001, label_set_id_bytes=2) as writer:
        writer.begin(SHA256)
        number = writer.add_shared_label_set(labels)    # or add_own_label_set: before the records that carry its id
        writer.append(records)                          # (n, 34) bytes, ascending; as often as there are parts
        writer.add_known_good(SHA256, keys, count)      # what may not be added to it later
        writer.begin_references(SHA256)                 # once all entries are written
        writer.append_references(rows)                  # (n, 16 + 32) bytes, ascending
        manifest = writer.finish(…)

The snapshot_id is the SHA-256 of what is in it, in canonical order, so the same entries give the same id
whatever the order of files and lines, the memory limit or the number of repeats:

    "hashwacht snapshot", format_version, false-positive rate (as its shortest decimal), width of label-set ids,
    and if the digests are sealed "seal" with the key's check value
    per algorithm with entries, in the order of snapshot/algorithms.py: name, its records, their number
    per algorithm with known-good digests: name, their number, the SHA-256 of their filter
    per algorithm with references: name, the rows of its references, their number
    the shared label sets in the order of their ids; a SHA-256 over the own label sets in the order of theirs

A second thread follows: it hashes the records and keeps their filter keys while this one puts blocks, and it flushes
the files to disk while this one makes their checksums. A third builds an algorithm's filter meanwhile (for 100 million
entries, filter and checksums take 5 s so and took 6.3 s one after the other).

Peak memory: some parts, one block's remainder, and two filter slices (2.88 bytes an entry of the largest algorithm).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, Self

import lmdb
import numpy as np
import numpy.typing as npt

from snapshot.algorithms import ALGORITHMS, Algorithm
from snapshot.blocks import (
    FIRST_OWN_ID,
    LABEL_SETS,
    REFERENCE_KEY_BYTES,
    label_set_key,
    records_per_block,
    references_database,
)
from snapshot.bloom import build_filter, keys_of
from snapshot.durable import fsync_path
from snapshot.errors import StoreError, StoreFull, StoreUnusable, store_error, wrapped_os_errors
from snapshot.labels import LabelSet, encode_label_set
from snapshot.manifest import (
    ENTRIES,
    FORMAT_VERSION,
    MANIFEST,
    AlgorithmFacts,
    ClassFacts,
    FileFacts,
    KnownGoodFacts,
    ListFacts,
    Manifest,
    filter_file,
    known_good_file,
)
from snapshot.pipeline import Follower
from snapshot.reader import file_sha256

#: Address space reserved while writing; the file only grows to what is written (writemap is off).
_MAP_BYTES: Final = 1 << 40 if sys.maxsize > 2**32 else 1 << 30
#: False-positive rate of the filters of known-good digests: how often an addition is refused by chance.
KNOWN_GOOD_RATE: Final = 1e-5
#: Blocks or label sets per transaction: a dirty page list that stays small.
_PUTS_PER_COMMIT: Final = 4096

Records = npt.NDArray[np.uint8]

if TYPE_CHECKING:
    from lmdb import _Database


class SnapshotWriter:
    """Builds the files of one snapshot in an empty directory; see the module's docstring for the order of calls."""

    def __init__(
        self, directory: Path, *, false_positive_rate: float, label_set_id_bytes: Literal[2, 4],
        seal_key_id: str | None = None,
    ) -> None:  # fmt: skip
        self._directory = directory
        self._rate = false_positive_rate
        self._id_bytes: Literal[2, 4] = label_set_id_bytes
        self._seal_key_id = seal_key_id
        self._entries_file = directory / ENTRIES
        self._algorithms: dict[str, AlgorithmFacts] = {}
        self._puts = 0
        self._label_set_count = 0
        self._shared_sets: list[bytes] = []
        self._own_hash = hashlib.sha256()
        self._hash = hashlib.sha256()
        self._hash.update(
            f"hashwacht snapshot\n{FORMAT_VERSION}\n{false_positive_rate!r}\n{label_set_id_bytes}\n".encode()
        )
        if seal_key_id is not None:
            self._hash.update(f"seal {seal_key_id}\n".encode())
        self._algorithm: Algorithm | None = None
        self._known_good: dict[str, KnownGoodFacts] = {}
        self._references: tuple[str, _Blocks] | None = None
        self._reference_counts: dict[str, int] = {}
        self._follower = Follower()
        self._filters = Follower()
        self._keys_file: BinaryIO | None = None
        with wrapped_os_errors("creating", directory), _lmdb_errors(self._entries_file):
            directory.mkdir(parents=True, exist_ok=True)
            # sync=False: one fsync at the end does, since nothing reads the file before it is published.
            self._env = lmdb.open(
                os.fspath(self._entries_file), subdir=False, map_size=_MAP_BYTES, max_dbs=2 * len(ALGORITHMS) + 1,
                writemap=False, sync=False, metasync=False, lock=False, readahead=False,
            )  # fmt: skip
            self._txn = self._env.begin(write=True)
            self._label_sets = self._env.open_db(LABEL_SETS, txn=self._txn)
        self._page_size = int(self._env.stat()["psize"])

    def begin(self, algorithm: Algorithm) -> None:
        """Go on to the next algorithm; they come in the order of ALGORITHMS, and only those with entries."""
        self._end_algorithm()
        self._record_bytes = algorithm.digest_bytes + self._id_bytes
        self._per_block = records_per_block(self._record_bytes, self._page_size)
        self._count = 0
        self._last = b""
        with wrapped_os_errors("writing", self._directory):
            self._keys_file = (self._directory / f"{algorithm.name}.keys").open("wb")
        self._algorithm = algorithm
        database = self._open_database(algorithm.name.encode())
        self._blocks = _Blocks(self._put, database, self._record_bytes, algorithm.digest_bytes, self._per_block)
        self._hash.update(f"algorithm {algorithm.name}\n".encode())

    def append(self, records: Records) -> None:
        """Write records of shape (n, L + id bytes): ascending, later than all before, each digest once.

        Nobody may change them afterwards.

        Raises StoreFull or StoreUnusable; ValueError when a record is not above the one before it (an error of
        the caller: the look-up would pass over such a record, a silent miss).
        """
        algorithm = self._algorithm
        assert algorithm is not None, "begin() comes first"
        if not len(records):
            return
        records = np.ascontiguousarray(records)
        self._require_ascending(records, algorithm)
        self._follower.call(self._follow, records, algorithm)
        self._count += len(records)
        self._blocks.append(records)

    def _follow(self, records: Records, algorithm: Algorithm) -> None:
        assert self._keys_file is not None
        self._hash.update(records.data)
        with wrapped_os_errors("writing", self._directory):
            self._keys_file.write(keys_of(records[:, : algorithm.digest_bytes], algorithm).data)

    def _require_ascending(self, records: Records, algorithm: Algorithm) -> None:
        """Raise ValueError unless every digest is above the one before it. Cost: about 3 ns a record."""
        length = algorithm.digest_bytes
        lead = records[:, :8].view(">u8")[:, 0].astype(np.uint64)
        ascending = not self._count or records[0, :length].tobytes() > self._last
        ties = np.flatnonzero(lead[1:] <= lead[:-1])
        if ties.size:
            lower, upper = records[ties, :length], records[ties + 1, :length]
            # The first byte that differs settles it; where none does, byte 0 is not above itself.
            at = np.arange(len(ties)), (lower != upper).argmax(axis=1)
            ascending = ascending and bool((lower[at] < upper[at]).all())
        if not ascending:
            raise ValueError(f"records of {algorithm.name} are not ascending")
        self._last = records[-1, :length].tobytes()

    def _open_database(self, name: bytes) -> _Database:
        with _lmdb_errors(self._entries_file):
            return self._env.open_db(name, txn=self._txn)

    def _put(self, key: bytes | memoryview, value: bytes | memoryview, database: _Database) -> None:
        try:
            # Out of order, append writes nothing and only says so by returning False.
            if not self._txn.put(key, value, db=database, append=True):
                raise ValueError(f"LMDB refused a key of {len(key)} bytes that is not above the last")
            self._puts += 1
            if self._puts % _PUTS_PER_COMMIT == 0:
                self._txn.commit()
                self._txn = self._env.begin(write=True)
        except lmdb.Error as error:  # not _lmdb_errors, which would take a quarter as long again
            raise _store_error(error, self._entries_file) from error

    def add_own_label_set(self, labels: LabelSet) -> int:
        """Store a label set that one digest owns; give its id. They are numbered in the order of these calls."""
        label_set_id = FIRST_OWN_ID + self._label_set_count
        encoded = encode_label_set(labels)
        self._own_hash.update(len(encoded).to_bytes(4, "little") + encoded)
        self._put(label_set_key(label_set_id), encoded, self._label_sets)
        self._label_set_count += 1
        return label_set_id

    def add_shared_label_set(self, labels: LabelSet) -> int:
        """Take note of a label set that many digests share; give its id, 0 for the first."""
        self._shared_sets.append(encode_label_set(labels))
        return len(self._shared_sets) - 1

    def add_known_good(self, algorithm: Algorithm, keys: BinaryIO, count: int) -> None:
        """Write the filter of `count` ≥ 1 distinct known-good digests; `keys` as build_filter wants them.

        Not for serving: no entry is known good. It refuses digests that somebody wants to add later. Comes after all
        entries, algorithms in the order of ALGORITHMS.
        """
        self._end_algorithm()
        name = known_good_file(algorithm.name)
        path = self._directory / name
        with wrapped_os_errors("writing", self._directory), path.open("wb") as out:
            slices, bits_per_slice = build_filter(out, keys, count, KNOWN_GOOD_RATE)
        self._known_good[algorithm.name] = KnownGoodFacts(
            digests=count, filter_slices=slices, filter_bits_per_slice=bits_per_slice
        )
        self._hash.update(f"known-good {algorithm.name}\n{count}\n{file_sha256(path)}\n".encode())

    def begin_references(self, algorithm: Algorithm) -> None:
        """Go on to the references of an algorithm; they come after all entries, in the order of ALGORITHMS."""
        self._end_algorithm()
        self._end_references()
        record_bytes = REFERENCE_KEY_BYTES + algorithm.digest_bytes
        per_block = records_per_block(record_bytes, self._page_size)
        database = self._open_database(references_database(algorithm.name))
        self._hash.update(f"references {algorithm.name}\n".encode())
        self._references = algorithm.name, _Blocks(self._put, database, record_bytes, record_bytes, per_block)

    def append_references(self, rows: Records) -> None:
        """Write rows of shape (n, 16 + L), reference key ‖ digest: ascending, later than all before, each once."""
        assert self._references is not None, "begin_references() comes first"
        rows = np.ascontiguousarray(rows)
        self._hash.update(rows.data)
        self._references[1].append(rows)

    def _end_references(self) -> None:
        if self._references is not None:
            name, blocks = self._references
            blocks.end()
            self._reference_counts[name] = blocks.records
            self._hash.update(f"\n{blocks.records}\n".encode())
            self._references = None

    def _end_algorithm(self) -> None:
        if (algorithm := self._algorithm) is None:
            return
        self._blocks.end()
        self._follower.wait()
        assert self._keys_file is not None
        self._hash.update(f"\n{self._count}\n".encode())
        self._algorithm = None
        with wrapped_os_errors("writing", self._directory):
            self._keys_file.close()
        self._filters.call(self._add_filter, algorithm, self._count, self._blocks.count, self._per_block)

    def _add_filter(self, algorithm: Algorithm, entries: int, blocks: int, per_block: int) -> None:
        keys_path = self._directory / f"{algorithm.name}.keys"
        with wrapped_os_errors("writing", self._directory):
            with keys_path.open("rb") as keys, (self._directory / filter_file(algorithm.name)).open("wb") as out:
                slices, bits_per_slice = build_filter(out, keys, entries, self._rate)
            keys_path.unlink()
        self._algorithms[algorithm.name] = AlgorithmFacts(
            entries=entries, blocks=blocks, records_per_block=per_block,
            filter_slices=slices, filter_bits_per_slice=bits_per_slice,
        )  # fmt: skip

    def finish(
        self, *, classes: Iterable[ClassFacts], lists: Iterable[ListFacts], merged: int,
        on_bytes: Callable[[int], None] = lambda count: None,
    ) -> Manifest:  # fmt: skip
        """Close and fsync all files, write the manifest last, and give it.

        `on_bytes` hears of each piece that was checksummed.
        """
        self._end_algorithm()
        self._end_references()
        for label_set_id, encoded in enumerate(self._shared_sets):
            self._hash.update(len(encoded).to_bytes(4, "little") + encoded)
            with _lmdb_errors(self._entries_file):
                self._txn.put(label_set_key(label_set_id), encoded, db=self._label_sets)
        self._hash.update(self._own_hash.digest())
        with _lmdb_errors(self._entries_file):
            self._txn.commit()
            # A reader maps what the file's header asks for: let that be the file, not the reserve.
            used = (self._env.info()["last_pgno"] + 16) * self._page_size
            self._env.set_mapsize(used)
            with self._env.begin(write=True) as txn:
                txn.put(label_set_key(2**32 - 1), b"", db=self._label_sets)
                txn.delete(label_set_key(2**32 - 1), db=self._label_sets)
            self._env.close()
        files: dict[str, FileFacts] = {}
        with wrapped_os_errors("writing", self._directory):
            files[ENTRIES] = self._facts(ENTRIES, on_bytes)
            self._filters.wait()
            for name in (*map(filter_file, self._algorithms), *map(known_good_file, self._known_good)):
                files[name] = self._facts(name, on_bytes)
            self._follower.wait()
            self._stop_threads()
            manifest = Manifest(
                format_version=FORMAT_VERSION,
                snapshot_id=self._hash.hexdigest(),
                created_at=datetime.now(UTC).replace(microsecond=0),
                page_size=self._page_size,
                label_set_id_bytes=self._id_bytes,
                label_sets=self._label_set_count + len(self._shared_sets),
                false_positive_rate=self._rate,
                seal_key_id=self._seal_key_id,
                merged=merged,
                algorithms={
                    name: facts.model_copy(update={"references": self._reference_counts.get(name, 0)})
                    for name, facts in self._algorithms.items()
                },
                known_good=self._known_good,
                classes=sorted(classes, key=lambda c: (c.list_id, c.category, c.tier)),
                lists=sorted(lists, key=lambda facts: facts.list_id),
                files=files,
            )
            path = self._directory / MANIFEST
            path.write_bytes(manifest.encode())
            fsync_path(path)
            fsync_path(self._directory)
        return manifest

    def _facts(self, name: str, on_bytes: Callable[[int], None]) -> FileFacts:
        path = self._directory / name
        self._follower.call(fsync_path, path)
        return FileFacts(bytes=path.stat().st_size, sha256=file_sha256(path, on_bytes))

    def _stop_threads(self) -> None:
        self._follower.stop()
        self._filters.stop()

    def abandon(self) -> None:
        """Let go of everything and remove the directory; what cannot be removed the next compile cleans up."""
        self._stop_threads()
        if self._keys_file is not None:
            with suppress(OSError):  # closing writes what is buffered, on a disk that may be full
                self._keys_file.close()
        self._env.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:  # never finalise what a raising body left half done
            self.abandon()


class _Blocks:
    """Cuts ascending records into the blocks of one database; see snapshot/blocks.py."""

    def __init__(
        self, put: Callable[[bytes | memoryview, bytes | memoryview, _Database], None], database: _Database,
        record_bytes: int, key_bytes: int, per_block: int,
    ) -> None:  # fmt: skip
        self._put = put
        self._database = database
        self._record_bytes = record_bytes
        self._key_bytes = key_bytes
        self._per_block = per_block
        self._remainder: Records = np.empty((0, record_bytes), dtype=np.uint8)
        self.count = 0
        self.records = 0

    def append(self, records: Records) -> None:
        self.records += len(records)
        if len(self._remainder):
            records = np.concatenate([self._remainder, records])
        whole = len(records) - len(records) % self._per_block
        blocks, block_bytes = records[:whole].reshape(-1).data, self._per_block * self._record_bytes
        for start in range(0, len(blocks), block_bytes):
            self._put_block(blocks[start : start + block_bytes])
        self._remainder = records[whole:].copy()

    def end(self) -> None:
        """Write the block that is not full."""
        if len(self._remainder):
            self._put_block(self._remainder.reshape(-1).data)
            self._remainder = self._remainder[:0]

    def _put_block(self, block: memoryview) -> None:
        start = len(block) - self._record_bytes
        self._put(block[start : start + self._key_bytes], block, self._database)
        self.count += 1


@contextmanager
def _lmdb_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except lmdb.Error as error:
        raise _store_error(error, path) from error


def _store_error(error: lmdb.Error, path: Path) -> StoreError:
    text = str(error)
    full = any(sign in text for sign in ("No space left", "quota exceeded", "File too large"))
    # LMDB calls a write that was cut short an input/output error. Whether that was for want of room, the next tells.
    if full or ("Input/output error" in text and _has_no_room(path)):
        return StoreFull(
            f"writing {path}: {text}. Nothing was published; what was live still is. "
            "Make room (a compile needs about 3 times the size of the new snapshot) and run it again."
        )
    return StoreUnusable(f"writing {path}: {text}. Nothing was published.")


def _has_no_room(path: Path) -> bool:
    """Tell whether a file of an abandoned snapshot can grow no further, by trying."""
    more = bytes(1 << 16)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            return os.write(fd, more) < len(more)
        finally:
            os.close(fd)
    except OSError as error:
        return isinstance(store_error(error, "writing", path), StoreFull)
