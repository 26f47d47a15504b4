"""Seeded random digests: entries of a list, digests that are not on it, and what is made of both.

Digests of real files are as good as random, and random ones hit every part of filter and store alike. Two
streams of one seed never share a digest of 16 bytes or more, but by a chance of 2^-80.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

_CHUNK_DIGESTS = 500_000


def random_digests(seed: int, stream: str, count: int, digest_bytes: int = 32) -> bytes:
    """Give `count` digests packed one after the other; `stream` names which of the seed's streams."""
    return _generator(seed, stream).bytes(count * digest_bytes)


def cut(packed: bytes, count: int, digest_bytes: int = 32) -> list[bytes]:
    """Cut packed digests into pieces of `count` digests each; the last may be shorter."""
    step = count * digest_bytes
    return [packed[at : at + step] for at in range(0, len(packed), step)]


def write_hex_list(path: Path, seed: int, stream: str, count: int, digest_bytes: int = 32) -> bytes:
    """Write a list of `count` random hexdigests, one a line; give the packed digests of its first chunk."""
    generator = _generator(seed, stream)
    first = b""
    with path.open("wb") as file:
        for start in range(0, count, _CHUNK_DIGESTS):
            packed = generator.bytes(min(_CHUNK_DIGESTS, count - start) * digest_bytes)
            first = first or packed
            _write_lines(file, packed, digest_bytes)
    return first


def write_packed_list(path: Path, packed: bytes, digest_bytes: int = 32) -> None:
    """Write packed digests as a list of hexdigests, one a line."""
    with path.open("wb") as file:
        for piece in cut(packed, _CHUNK_DIGESTS, digest_bytes):
            _write_lines(file, piece, digest_bytes)


class FreshBatches:
    """Walks through a pool of packed digests, so that no batch comes twice before the whole pool was used."""

    def __init__(self, pool: bytes, digest_bytes: int = 32) -> None:
        self._pool = pool
        self._digest_bytes = digest_bytes
        self._at = 0

    def take(self, batches: int, batch: int) -> list[bytes]:
        """Give so many batches of so many digests each, packed, each a bytes object of its own."""
        return list(self._next(batches, batch * self._digest_bytes))

    def _next(self, batches: int, size: int) -> Iterator[bytes]:
        for _ in range(batches):
            if self._at + size > len(self._pool):
                self._at = 0
            yield self._pool[self._at : self._at + size]
            self._at += size


def _generator(seed: int, stream: str) -> np.random.Generator:
    return np.random.default_rng([seed, *stream.encode()])


def _write_lines(file: BinaryIO, packed: bytes, digest_bytes: int) -> None:
    digits = np.frombuffer(binascii.hexlify(packed), dtype=np.uint8).reshape(-1, 2 * digest_bytes)
    lines = np.full((len(digits), 2 * digest_bytes + 1), ord("\n"), dtype=np.uint8)
    lines[:, :-1] = digits
    file.write(lines.data)
