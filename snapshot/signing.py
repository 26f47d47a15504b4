"""Signatures on CURRENT: whoever can write to a store cannot make a service believe it.

CURRENT names the manifest, the overlay and its own entry of the history by their SHA-256, the manifest every file and
the history's entry the one before it by theirs, so one Ed25519 signature over CURRENT vouches for everything that is
live, for which snapshot and overlay go together, and for what was live before. The signed bytes are

    hashwacht CURRENT v1 LF, then CURRENT's line as `Current.encode` writes it with signature and key_id null

so nothing else that is ever signed with the same key can be taken for one.

    hashwacht keys new FILE                     the private key, mode 0600, and FILE.pub
    hashwacht compile … --signing-key FILE      whatever swaps CURRENT signs it, if FILE signed what is live
    hashwacht keys sign --signing-key FILE      the first signature of a store, or the first of another key
    hashwacht serve … --trusted-keys FILE.pub   takes over nothing that is not signed by one of the keys in it

A change builds on what is live and keeps most of it, so a key signs nothing that it did not sign before: whoever
altered a store by hand would only have to wait for the next change otherwise. `keys sign` is the one exception, for an
operator who has looked at it.

A file of trusted keys may hold several, one PEM block after the other: two while a key is being replaced. A block that
is cut off, or is no such key, refuses the whole file: no key is passed over in silence.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from snapshot.errors import KeyUnusable, SignatureMissing, SignatureWrong
from snapshot.key_files import PRIVATE_MODE, PUBLIC_MODE, read_private, read_public, written
from snapshot.store import Current

_PREFIX: Final = b"hashwacht CURRENT v1\n"
_MARKS: Final = (b"-----BEGIN", b"-----END")
_PEM: Final = re.compile(rb"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL)
_KEY_ID_DIGITS: Final = 16


def signed_bytes(current: Current) -> bytes:
    """Give what a signature of CURRENT is over."""
    return _PREFIX + current.model_copy(update={"signature": None, "key_id": None}).encode()


def key_id_of(key: Ed25519PublicKey) -> str:
    """Give the short name of a public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:_KEY_ID_DIGITS]


class SigningKey:
    """A private key, which signs what goes live."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.key_id = key_id_of(key.public_key())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a private key in PEM. Raises KeyUnusable, also when others than its owner have access to the file."""
        try:
            key = load_pem_private_key(read_private(path), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyUnusable(f"{path}: is no private key in PEM without a password: {error}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyUnusable(f"{path}: is a private key of another kind than Ed25519")
        return cls(key)

    def sign(self, current: Current) -> Current:
        """Give CURRENT with its signature."""
        signature = base64.b64encode(self._key.sign(signed_bytes(current))).decode()
        return current.model_copy(update={"signature": signature, "key_id": self.key_id})

    def require_own(self, current: Current, path: Path) -> None:
        """Raise SignatureMissing or SignatureWrong unless this very key signed CURRENT, read from `path`."""
        TrustedKeys({self.key_id: self._key.public_key()}).require(current, path)


class TrustedKeys:
    """The public keys of which one must have signed CURRENT."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = dict(keys)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read public keys in PEM, one or more. Raises KeyUnusable."""
        raw = read_public(path)
        keys: dict[str, Ed25519PublicKey] = {}
        blocks = _PEM.findall(raw)
        if any(raw.count(mark) != len(blocks) for mark in _MARKS):
            raise KeyUnusable(f"{path}: holds a key in PEM that is cut off or damaged")
        for block in blocks:
            try:
                key = load_pem_public_key(block)
            except (ValueError, UnsupportedAlgorithm) as error:
                raise KeyUnusable(f"{path}: holds what is no public key in PEM: {error}") from None
            if not isinstance(key, Ed25519PublicKey):
                raise KeyUnusable(f"{path}: holds a public key of another kind than Ed25519")
            keys[key_id_of(key)] = key
        if not keys:
            raise KeyUnusable(f"{path}: holds no public key in PEM; `hashwacht keys new` writes one beside the private")
        return cls(keys)

    def require(self, current: Current, path: Path) -> None:
        """Raise SignatureMissing or SignatureWrong unless one of the keys signed CURRENT, read from `path`."""
        known = ", ".join(sorted(self._keys))
        if current.signature is None or current.key_id is None:
            raise SignatureMissing(f"{path}: is not signed, and only what is signed by {known} is trusted")
        key = self._keys.get(current.key_id)
        if key is None:
            named = current.key_id[:_KEY_ID_DIGITS]  # it may be anything
            raise SignatureWrong(f"{path}: is signed by {named!r}, and only {known} is trusted")
        holds = False
        with suppress(InvalidSignature, ValueError):
            signature = base64.b64decode(current.signature, validate=True)
            key.verify(signature, signed_bytes(current))
            holds = base64.b64encode(signature).decode() == current.signature  # decoding passes over some bits
        if not holds:
            raise SignatureWrong(
                f"{path}: the signature of {current.key_id} does not hold: CURRENT was changed after it was signed"
            )


def new_key(path: Path) -> str:
    """Write a new private key to `path`, for its owner only, and the public one to `path`.pub; give the key id.

    Neither file may exist. Raises KeyUnusable; then neither was written.
    """
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with written(path, private, PRIVATE_MODE), written(path.with_name(f"{path.name}.pub"), public, PUBLIC_MODE):
        pass
    return key_id_of(key.public_key())
