"""A snapshot opened for lookups: what serving and `hashwacht lookup` use.

    Snapshot.open(directory, manifest_sha256)
        read_manifest → its SHA-256 is the one CURRENT names
        check_sizes   → every file has the manifest's size, before anything is mapped
        (check_files  → every byte has the manifest's checksum; once per host, see service/verified.py)
        Table × n     → per algorithm a MappedFilter and a cursor on its blocks

    table.filter.probe(packed)     which of many digests may be listed      (Bloom: most requests end here)
    table.find(digest)             the label-set id of one digest, or None  (store)
    snapshot.labels(label_set_id)  its label set                            (labels)
    snapshot.digests_of(list_id, reference)  the digests under one reference   (for people, not for requests)

An open snapshot belongs to one thread at a time: its read transaction and cursors are reused from lookup to
lookup. It must be opened once per process and path (py-lmdb's rule), and in each process anew after a fork.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

import lmdb
import numpy as np

from snapshot.algorithms import ALGORITHMS, Algorithm
from snapshot.blocks import (
    LABEL_SETS,
    REFERENCE_KEY_BYTES,
    find_in_block,
    label_set_key,
    reference_key,
    references_database,
)
from snapshot.bloom import MappedFilter
from snapshot.errors import (
    ChecksumMismatch,
    EntriesDamaged,
    FileMissing,
    FilterDamaged,
    ManifestDamaged,
    StoreUnusable,
    UnexpectedFile,
    WrongSize,
)
from snapshot.hexdigest import ByteMatrix
from snapshot.labels import LabelSet, decode_label_set
from snapshot.manifest import (
    ENTRIES,
    MANIFEST,
    AlgorithmFacts,
    Manifest,
    filter_file,
    known_good_file,
    read_manifest,
)

_CHUNK_BYTES: Final = 1 << 20


class Table:
    """The entries of one algorithm: its filter in front of its blocks."""

    __slots__ = ("_cursor", "_path", "_record_bytes", "algorithm", "entries", "filter")

    def __init__(
        self, algorithm: Algorithm, bloom: MappedFilter, cursor: lmdb.Cursor, record_bytes: int, path: Path
    ) -> None:
        self.algorithm = algorithm
        self.filter = bloom
        self.entries = bloom.count
        self._cursor = cursor
        self._record_bytes = record_bytes
        self._path = path

    def _block(self) -> bytes:
        """Give the block that the cursor stands on; bytes, since the transaction was begun without buffers."""
        return cast("bytes", self._cursor.value())

    def find(self, digest: bytes) -> int | None:
        """Give the label-set id of a digest of `algorithm.digest_bytes` bytes, or None when it is not listed.

        Exact: the filter is not asked. Raises EntriesDamaged when LMDB fails. Cost: about 2.6 µs, for matches
        and the filter's false positives only.
        """
        try:
            if not self._cursor.set_range(digest):
                return None
            return find_in_block(self._block(), digest, self._record_bytes)
        except lmdb.Error as error:
            raise EntriesDamaged(self._path, f"LMDB: {error}") from error

    def records(self) -> Iterator[tuple[bytes, int]]:
        """Yield (digest, label-set id) of every entry, ascending. For checks and comparisons, not for requests.

        Raises EntriesDamaged when LMDB fails.
        """
        length, record_bytes = self.algorithm.digest_bytes, self._record_bytes
        with _lmdb_errors(self._path):
            more = self._cursor.first()
            while more:
                block = self._block()
                for at in range(0, len(block), record_bytes):
                    yield block[at : at + length], int.from_bytes(block[at + length : at + record_bytes], "little")
                more = self._cursor.next()

    def blocks(self, at_once: int = 512) -> Iterator[ByteMatrix]:
        """Yield all records, ascending, as matrices (n, L + id bytes) of up to `at_once` blocks: for comparisons.

        No other look-up in this table may come between. Raises EntriesDamaged when LMDB fails or a block is no whole
        number of records. Cost: about 10 ns a record.
        """
        record_bytes = self._record_bytes
        with _lmdb_errors(self._path):
            if not self._cursor.first():
                return
            values = cast("Iterator[bytes]", self._cursor.iternext(keys=False, values=True))
            while some := list(islice(values, at_once)):
                if any(len(block) % record_bytes for block in some):
                    raise EntriesDamaged(self._path, f"a block of {self.algorithm.name} has a part of a record")
                yield np.frombuffer(b"".join(some), dtype=np.uint8).reshape(-1, record_bytes)

    def some_digest(self, near: bytes) -> bytes | None:
        """Give a digest of the block that would hold `near`; which one, the last byte of `near` decides. For samples.

        None beyond the last block. Raises EntriesDamaged when LMDB fails.
        """
        with _lmdb_errors(self._path):
            if not self._cursor.set_range(near):
                return None
            block = self._block()
        at = near[-1] % (len(block) // self._record_bytes) * self._record_bytes
        return block[at : at + self.algorithm.digest_bytes]

    def first_digest(self) -> bytes:
        """Give the smallest digest: the canary of /readyz. Raises EntriesDamaged when there is none."""
        with _lmdb_errors(self._path):
            if not self._cursor.first():
                raise EntriesDamaged(self._path, f"no block of {self.algorithm.name}")
            return self._block()[: self.algorithm.digest_bytes]


class Snapshot:
    """One open, immutable snapshot."""

    def __init__(self, directory: Path, manifest: Manifest, manifest_sha256: str) -> None:
        """Open the files of a snapshot whose manifest was read and whose sizes were checked; see `open`."""
        self.directory = directory
        self.manifest = manifest
        self.manifest_sha256 = manifest_sha256
        self.snapshot_id = manifest.snapshot_id
        self.tables: dict[str, Table] = {}
        path = directory / ENTRIES
        self._path = path
        with _lmdb_errors(path):
            self._env = lmdb.open(
                os.fspath(path), readonly=True, lock=False, subdir=False, create=False,
                max_dbs=2 * len(ALGORITHMS) + 1, readahead=False,
            )  # fmt: skip
        try:
            with _lmdb_errors(path):
                self._txn = self._env.begin()
                for name, facts in manifest.algorithms.items():
                    self.tables[name] = self._table(ALGORITHMS[name], facts)
                self._label_sets = self._env.open_db(LABEL_SETS, txn=self._txn, create=False)
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, directory: Path, manifest_sha256: str) -> Self:
        """Open the snapshot in `directory`, which must have that manifest.

        Sizes are compared with the manifest before a file is mapped; checksums are for `check_files`. Any
        doubt raises a DamageError. Cost: milliseconds, whatever the size.
        """
        manifest = read_trusted_manifest(directory, manifest_sha256)
        check_sizes(directory, manifest)
        return cls(directory, manifest, manifest_sha256)

    def _table(self, algorithm: Algorithm, facts: AlgorithmFacts) -> Table:
        bloom_path = self.directory / filter_file(algorithm.name)
        try:
            bloom = MappedFilter(bloom_path, algorithm)
        except FileNotFoundError:  # retention may unlink a snapshot between the look at its sizes and this one
            raise FileMissing(bloom_path, "is missing") from None
        except OSError as error:
            raise StoreUnusable(f"{bloom_path}: {error.strerror}") from error
        shape = (bloom.num_slices, bloom.bits_per_slice, bloom.count, bloom.false_positive_rate)
        manifest = self.manifest
        if shape != (
            facts.filter_slices, facts.filter_bits_per_slice, facts.entries, manifest.false_positive_rate,
        ):  # fmt: skip
            raise FilterDamaged(bloom_path, "the header is not the one the manifest describes")
        database = self._env.open_db(algorithm.name.encode(), txn=self._txn, create=False)
        blocks = self._txn.stat(database)["entries"]
        if blocks != facts.blocks:
            raise EntriesDamaged(self._path, f"{blocks} blocks of {algorithm.name}, the manifest says {facts.blocks}")
        record_bytes = algorithm.digest_bytes + manifest.label_set_id_bytes
        return Table(algorithm, bloom, self._txn.cursor(database), record_bytes, self._path)

    def labels(self, label_set_id: int) -> LabelSet:
        """Give the label set of that id.

        Raises EntriesDamaged when there is none: an entry always has one. Cost: about 3 µs.
        """
        try:
            return decode_label_set(self.encoded_labels(label_set_id))
        except (ValueError, TypeError) as error:
            raise EntriesDamaged(self._path, f"label set {label_set_id}: {error}") from error

    def encoded_labels(self, label_set_id: int) -> bytes:
        """Give the stored bytes of the label set of that id; equal sets have equal bytes, in any snapshot.

        Raises EntriesDamaged when there is none. Cost: about 1 µs.
        """
        try:
            stored = self._txn.get(label_set_key(label_set_id), db=self._label_sets)
        except lmdb.Error as error:
            raise EntriesDamaged(self._path, f"LMDB: {error}") from error
        if stored is None:
            raise EntriesDamaged(self._path, f"no label set {label_set_id}")
        return stored

    def digests_of(self, list_id: str, reference: str) -> list[tuple[Algorithm, bytes]]:
        """Give the digests that a list names under one reference, by algorithm and ascending; none if it names none.

        Raises EntriesDamaged. Cost: about 10 µs an algorithm.
        """
        key = reference_key(list_id, reference)
        found: list[tuple[Algorithm, bytes]] = []
        with _lmdb_errors(self._path):
            for name, facts in self.manifest.algorithms.items():
                if not facts.references:
                    continue
                algorithm = ALGORITHMS[name]
                database = self._env.open_db(references_database(name), txn=self._txn, create=False)
                with self._txn.cursor(database) as cursor:
                    found += [(algorithm, digest) for digest in _digests_under(cursor, key, algorithm.digest_bytes)]
        return found

    def known_good(self) -> KnownGood:
        """Give what tells whether a digest is known good."""
        return KnownGood(self.directory, self.manifest)

    def read_in(self) -> None:
        """Read every filter into memory, so that no request waits for the disk."""
        for table in self.tables.values():
            table.filter.read_in()

    def check_canary(self) -> None:
        """Follow one listed digest of each algorithm through filter, store and labels.

        Raises FilterDamaged or EntriesDamaged. Cost: about 10 µs an algorithm.
        """
        for name, table in self.tables.items():
            digest = table.first_digest()
            if table.filter.probe(digest) != [0]:
                raise FilterDamaged(self.directory / filter_file(name), "denies an entry of its own store")
            label_set_id = table.find(digest)
            if label_set_id is None:
                raise EntriesDamaged(self._path, f"the first entry of {name} is not found")
            self.labels(label_set_id)

    def close(self) -> None:
        """Unmap everything. No lookup may follow."""
        self.tables.clear()
        self._env.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class KnownGood:
    """The filters of a snapshot's known-good digests, opened when they are asked. For changes, not for requests."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self._directory = directory
        self._manifest = manifest
        self._filters: dict[str, MappedFilter | None] = {}

    def has(self, algorithm: Algorithm, digest: bytes) -> bool:
        """Tell whether a digest was known good when the snapshot was compiled; one in 100,000 others is taken for it.

        Raises FilterDamaged.
        """
        if algorithm.name not in self._filters:
            self._filters[algorithm.name] = self._open(algorithm)
        bloom = self._filters[algorithm.name]
        return bloom is not None and digest in bloom

    def _open(self, algorithm: Algorithm) -> MappedFilter | None:
        facts = self._manifest.known_good.get(algorithm.name)
        if facts is None:
            return None
        path = self._directory / known_good_file(algorithm.name)
        bloom = MappedFilter(path, algorithm)
        if (bloom.num_slices, bloom.bits_per_slice, bloom.count) != (
            facts.filter_slices, facts.filter_bits_per_slice, facts.digests,
        ):  # fmt: skip
            raise FilterDamaged(path, "the header is not the one the manifest describes")
        return bloom


def _digests_under(cursor: lmdb.Cursor, key: bytes, digest_bytes: int) -> Iterator[bytes]:
    """Yield the digests that stand behind a reference key, ascending."""
    record_bytes = REFERENCE_KEY_BYTES + digest_bytes
    more = cursor.set_range(key)
    while more:
        block = cast("bytes", cursor.value())
        for at in range(0, len(block), record_bytes):
            record_key = block[at : at + REFERENCE_KEY_BYTES]
            if record_key > key:
                return
            if record_key == key:
                yield block[at + REFERENCE_KEY_BYTES : at + record_bytes]
        more = cursor.next()


def read_trusted_manifest(directory: Path, manifest_sha256: str) -> Manifest:
    """Read the manifest in `directory` and require that it is the very one whose SHA-256 is given.

    Raises FileMissing, NewerFormat (said first, since it is what an operator can act on), ManifestDamaged.
    """
    manifest, found = read_manifest(directory)
    path = directory / MANIFEST
    if found != manifest_sha256:
        raise ManifestDamaged(path, "is not the manifest that was published (its SHA-256 differs)")
    if manifest.snapshot_id != directory.name:
        raise ManifestDamaged(path, f"describes snapshot {manifest.snapshot_id}, not this one")
    return manifest


def check_sizes(directory: Path, manifest: Manifest) -> None:
    """Compare every file's size with the manifest. Raises FileMissing, WrongSize or StoreUnusable."""
    for name, facts in manifest.files.items():
        path = directory / name
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise FileMissing(path, "is missing") from None
        except OSError as error:
            raise StoreUnusable(f"{path}: {error.strerror}") from error
        if size != facts.bytes:
            raise WrongSize(path, f"has {size:,} bytes, the manifest says {facts.bytes:,}")


def check_files(directory: Path, manifest: Manifest, *, on_bytes: Callable[[int], None] = lambda count: None) -> None:
    """Compare every file's size and SHA-256 with the manifest, and require that no other file lies there.

    Raises FileMissing, WrongSize, ChecksumMismatch, UnexpectedFile or StoreUnusable. `on_bytes` hears of each
    piece read. Cost: the slower of disk and SHA-256 (0.5 to 2 GB/s a core).
    """
    check_sizes(directory, manifest)
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise StoreUnusable(f"{directory}: {error.strerror}") from error
    for entry in entries:
        if entry.name != MANIFEST and entry.name not in manifest.files:
            raise UnexpectedFile(entry, "does not belong to the snapshot")
    for name, facts in manifest.files.items():
        path = directory / name
        if file_sha256(path, on_bytes) != facts.sha256:
            raise ChecksumMismatch(path, "its SHA-256 is not the one in the manifest")


def file_sha256(path: Path, on_bytes: Callable[[int], None] = lambda count: None) -> str:
    """Give a file's SHA-256 as 64 hex digits, reading it once. Raises StoreUnusable."""
    digest = hashlib.sha256()
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    try:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(view[:count])
                on_bytes(count)
    except OSError as error:
        raise StoreUnusable(f"{path}: {error.strerror}") from error
    return digest.hexdigest()


@contextmanager
def _lmdb_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (lmdb.ReadonlyError, lmdb.MemoryError) as error:  # LMDB's names for EACCES and ENOMEM
        raise StoreUnusable(f"{path}: LMDB: {error}") from error
    except lmdb.Error as error:
        raise EntriesDamaged(path, f"LMDB: {error}") from error
