"""The seal: whoever gets hold of a sealed store, but not of its key, has no hash list.

    hashwacht keys new-seal FILE              a key: a line of text, mode 0600
    hashwacht compile … --seal-key FILE       every digest is sealed as it comes in, before any of it is written
    hashwacht serve … --seal-key FILE         the digests of a request are sealed together, and looked up so

A digest is sealed by AES-256 on its blocks of 16 bytes, each for itself. Digests are as good as random, so no block
comes twice that would tell anything; and a sealed digest is as long as the digest and as good as random too, so that
filters, blocks, overlay and guard need not know of it. Where 16 bytes do not divide the length (sha1), the whole blocks
are sealed first and then the last 16 bytes, which overlap them: no byte stays as it was, and it can be undone.

    sha1 d     c = AES(d[0:16])     sealed: c[0:4] ‖ AES(c[4:16] ‖ d[16:20])

A key is named by its check value: the first 8 bytes of what AES makes of 16 known bytes, 16 hex digits. The manifest
and the overlay say by it how their digests are sealed. One key seals all of a store. A file may hold more, the one in
use first, so that a store that is still sealed with the one before can be read while it is being replaced.

PhotoDNA's vectors are not random and are sealed block by block all the same: equal blocks of two vectors stay equal.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB

from snapshot.algorithms import Algorithm
from snapshot.errors import KeyUnusable, SealKeyMissing, SealKeyWrong
from snapshot.hexdigest import ByteMatrix
from snapshot.key_files import PRIVATE_MODE, read_private, written

_KEY_BYTES: Final = 32
_BLOCK_BYTES: Final = 16
_CHECK_BLOCK: Final = b"hashwacht seal 1"
_CHECK_BYTES: Final = 8
#: Up to so many digests of a length that is no multiple of a block are sealed faster one by one than by arrays.
_FEW: Final = 6
_WORD: Final = "hashwacht-seal-key"
_LINE: Final = re.compile(rf"{_WORD} ([0-9a-f]{{{2 * _KEY_BYTES}}})".encode())

Digest = tuple[Algorithm, bytes]

#: A key check value, as manifest and overlay have it.
KEY_ID_PATTERN: Final = rf"^[0-9a-f]{{{2 * _CHECK_BYTES}}}$"


class Seal:
    """One key. Belongs to one thread at a time."""

    def __init__(self, key: bytes) -> None:
        """Take a key of 32 bytes."""
        # A block cipher without a chain (and so without a nonce) is what keeps a digest findable; see the module.
        cipher = Cipher(AES256(key), ECB())  # noqa: S305
        self._encryptor, self._decryptor = cipher.encryptor(), cipher.decryptor()
        self.key_id = self._encryptor.update(_CHECK_BLOCK)[:_CHECK_BYTES].hex()

    def seal(self, packed: bytes, algorithm: Algorithm) -> bytes:
        """Seal digests that are packed one after the other. Cost: 0.2 µs, and 4 ns a digest of sha256; sha1 0.5 and
        20 ns.
        """
        length = algorithm.digest_bytes
        if length % _BLOCK_BYTES == 0:
            return self._encryptor.update(packed)
        if len(packed) <= _FEW * length:
            return b"".join(self._seal_odd(packed[at : at + length]) for at in range(0, len(packed), length))
        rows = np.frombuffer(packed, dtype=np.uint8).reshape(-1, length).copy()
        for span in _spans(length):
            _transform(rows, span, self._encryptor)
        return rows.tobytes()

    def _seal_odd(self, digest: bytes) -> bytes:
        whole, seal = len(digest) - len(digest) % _BLOCK_BYTES, self._encryptor.update
        sealed = seal(digest[:whole]) + digest[whole:]
        return sealed[:-_BLOCK_BYTES] + seal(sealed[-_BLOCK_BYTES:])

    def unseal(self, packed: bytes, algorithm: Algorithm) -> bytes:
        """Give the digests back, to show them to people."""
        length = algorithm.digest_bytes
        if length % _BLOCK_BYTES == 0:
            return self._decryptor.update(packed)
        rows = np.frombuffer(packed, dtype=np.uint8).reshape(-1, length).copy()
        for span in reversed(_spans(length)):
            _transform(rows, span, self._decryptor)
        return rows.tobytes()

    def seal_rows(self, digests: ByteMatrix, algorithm: Algorithm) -> ByteMatrix:
        """Seal digests of shape (n, algorithm.digest_bytes). The result is read-only. Cost: 5 ns a digest of sha256."""
        return np.frombuffer(self.seal(digests.tobytes(), algorithm), dtype=np.uint8).reshape(digests.shape)


def resealed(digest: Digest, old: Seal | None, new: Seal | None) -> Digest:
    """Give a digest that is sealed with one key, or with none, sealed with another, or with none."""
    algorithm, stored = digest
    if old is not None:
        stored = old.unseal(stored, algorithm)
    return algorithm, stored if new is None else new.seal(stored, algorithm)


def _spans(length: int) -> tuple[slice, slice]:
    return slice(0, length - length % _BLOCK_BYTES), slice(length - _BLOCK_BYTES, length)


def _transform(rows: ByteMatrix, span: slice, context: CipherContext) -> None:
    piece = rows[:, span]
    piece[:] = np.frombuffer(context.update(piece.tobytes()), dtype=np.uint8).reshape(piece.shape)


class SealKeys:
    """The keys of a file, the one in use first; or none."""

    def __init__(self, seals: Mapping[str, Seal] | None = None) -> None:
        self._seals = dict(seals or {})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file of keys, a line each. Raises KeyUnusable, also when others than its owner may read it."""
        lines = read_private(path).splitlines()
        seals: dict[str, Seal] = {}
        for number, line in enumerate(lines, start=1):
            found = _LINE.fullmatch(line)
            if found is None:
                raise KeyUnusable(f"{path}, line {number}: is no seal key; `hashwacht keys new-seal` makes one")
            seal = Seal(bytes.fromhex(found[1].decode()))
            seals[seal.key_id] = seal
        if not seals:
            raise KeyUnusable(f"{path}: is empty; `hashwacht keys new-seal` makes a seal key")
        return cls(seals)

    @property
    def in_use(self) -> Seal | None:
        """The key that a compile seals with."""
        return next(iter(self._seals.values()), None)

    def of(self, key_id: str | None, where: Path) -> Seal | None:
        """Give the key with that check value, None for what is not sealed. Raises SealKeyMissing or SealKeyWrong."""
        if key_id is None:
            return None
        if not self._seals:
            raise SealKeyMissing(f"{where}: is sealed (key {key_id}): give the key with --seal-key.")
        if key_id not in self._seals:
            raise SealKeyWrong(
                f"{where}: is sealed with the key {key_id}, and --seal-key has {', '.join(self._seals)} only."
            )
        return self._seals[key_id]


def require_same_seal(overlay: str | None, snapshot: str | None, where: Path) -> None:
    """Raise SealKeyWrong, naming the overlay, unless its digests are sealed as those of the snapshot that it is on."""
    if overlay != snapshot:
        raise SealKeyWrong(
            f"{where}: is sealed with {overlay or 'no key'}, and the snapshot that it is on with {snapshot or 'none'}, "
            "so its suppressions would not hold: files were mixed by hand. Put both back from one backup, or compile "
            "the lists again."
        )


#: No key at all: enough for stores that are not sealed.
NO_SEAL_KEYS: Final = SealKeys()


def new_seal_key(path: Path) -> str:
    """Write a new key to `path`, which may not exist, for its owner only; give its check value. Raises KeyUnusable."""
    key = secrets.token_bytes(_KEY_BYTES)
    with written(path, f"{_WORD} {key.hex()}\n".encode(), PRIVATE_MODE):
        pass
    return Seal(key).key_id
