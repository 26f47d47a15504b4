"""Everything that can go wrong with digests, snapshots and stores.

    SnapshotError
    ├── HexdigestError            a text is not the digest it should be (not_text, wrong_length, not_hex)
    ├── DamageError               a published file is not what the manifest or CURRENT says
    │   ├── FileMissing           missing_file
    │   ├── WrongSize             wrong_size: cut or grown
    │   ├── ChecksumMismatch      checksum_mismatch: flipped bits, or another snapshot's file
    │   ├── UnexpectedFile        unexpected_file
    │   ├── ManifestDamaged       manifest_damaged
    │   ├── NewerFormat           newer_format: written by a newer hashwacht
    │   ├── OlderFormat           older_format: written by an older hashwacht; compile again
    │   ├── FilterDamaged         filter_damaged
    │   ├── EntriesDamaged        entries_damaged
    │   └── OverlayDamaged        overlay_damaged
    └── StoreError                the store as a whole
        ├── NoStore               no_store: nothing was published there yet, or no such directory
        ├── CurrentDamaged        current_damaged
        ├── HistoryDamaged        history_damaged
        ├── SnapshotMissing       snapshot_missing: CURRENT or a rollback names one that is not there
        ├── GenerationWentBack    generation_went_back: CURRENT is older than what was seen before
        ├── StoreLocked           store_locked: another compile or rollback is at work
        ├── SignatureMissing      signature_missing: CURRENT is not signed and must be
        ├── SignatureWrong        signature_wrong: not by a trusted key, or changed since
        ├── KeyUnusable           key_unusable: a key file that is no key, or open to others
        ├── SealKeyMissing        seal_key_missing: the store is sealed, and no key was given
        ├── SealKeyWrong          seal_key_wrong: sealed with another key, or its parts with different ones
        ├── OverlayFull           overlay_full: more corrections than an overlay holds
        ├── StoreFull             store_full: disk, quota or file size limit
        └── StoreUnusable         store_unusable: permissions, input/output errors, no flock

`reason` is the stable word for scripts, `/readyz` and `verify --json`; the message is for people and names
the file and the remedy. No message echoes a digest that somebody asked about.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal

InvalidReason = Literal["not_text", "wrong_length", "not_hex"]


class SnapshotError(Exception):
    """Root of the family."""

    reason: ClassVar[str] = "snapshot_error"


class HexdigestError(SnapshotError, ValueError):
    """A text is not a digest of its algorithm. `why` is one of not_text, wrong_length, not_hex."""

    reason = "invalid_digest"

    def __init__(self, why: InvalidReason, detail: str) -> None:
        super().__init__(detail)
        self.why: InvalidReason = why


class DamageError(SnapshotError):
    """A published file is not what the manifest or CURRENT says it is. `path` is the file."""

    reason = "damaged"

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class FileMissing(DamageError):
    """A file that the manifest names is not there."""

    reason = "missing_file"


class WrongSize(DamageError):
    """A file is shorter or longer than the manifest says; such a file is never mapped."""

    reason = "wrong_size"


class ChecksumMismatch(DamageError):
    """A file has the right size and other bytes than were published."""

    reason = "checksum_mismatch"


class UnexpectedFile(DamageError):
    """Something lies in a snapshot's directory that the manifest does not name."""

    reason = "unexpected_file"


class ManifestDamaged(DamageError):
    """The manifest is not JSON of the known form, or names another snapshot."""

    reason = "manifest_damaged"


class NewerFormat(DamageError):
    """The snapshot has a format_version that this hashwacht does not know."""

    reason = "newer_format"


class OlderFormat(DamageError):
    """The snapshot has a format_version that this hashwacht no longer reads."""

    reason = "older_format"


class FilterDamaged(DamageError):
    """A filter's header contradicts the manifest, or a filter denies an entry of its own store."""

    reason = "filter_damaged"


class EntriesDamaged(DamageError):
    """LMDB refuses the entries file, or an entry cannot be followed to its label set."""

    reason = "entries_damaged"


class OverlayDamaged(DamageError):
    """An overlay file is missing, is not the one that CURRENT names, or is not of the known form."""

    reason = "overlay_damaged"


class StoreError(SnapshotError):
    """The store as a whole is not usable as it is."""

    reason = "store_error"


class NoStore(StoreError):
    """There is no CURRENT: nothing was published, or the path is wrong."""

    reason = "no_store"


class CurrentDamaged(StoreError):
    """CURRENT is not one JSON line of the known form."""

    reason = "current_damaged"


class HistoryDamaged(StoreError):
    """A history entry is missing or is not JSON of the known form."""

    reason = "history_damaged"


class SnapshotMissing(StoreError):
    """A snapshot that is named is not in the store."""

    reason = "snapshot_missing"


class GenerationWentBack(StoreError):
    """CURRENT carries a lower generation than was seen before: somebody put an old state back."""

    reason = "generation_went_back"


class StoreLocked(StoreError):
    """Another process holds the store's lock."""

    reason = "store_locked"


class SignatureMissing(StoreError):
    """CURRENT carries no signature where one is wanted."""

    reason = "signature_missing"


class SignatureWrong(StoreError):
    """CURRENT is signed by a key that is not trusted, or is not what was signed."""

    reason = "signature_wrong"


class KeyUnusable(StoreError):
    """A key file cannot be used."""

    reason = "key_unusable"


class SealKeyMissing(StoreError):
    """The store is sealed, and there is no seal key."""

    reason = "seal_key_missing"


class SealKeyWrong(StoreError):
    """The store is sealed with another key than those that are given, or its parts with different ones."""

    reason = "seal_key_wrong"


class OverlayFull(StoreError):
    """More approvals, suppressions or additions than an overlay holds."""

    reason = "overlay_full"


class StoreFull(StoreError):
    """No room: disk full, quota or file size limit reached."""

    reason = "store_full"


class StoreUnusable(StoreError):
    """Permissions, input/output errors and the like."""

    reason = "store_unusable"


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def wrapped_os_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into StoreFull or StoreUnusable that names `path` and what was done."""
    try:
        yield
    except OSError as error:
        raise store_error(error, doing, path) from error


def store_error(error: OSError, doing: str, path: Path) -> StoreError:
    """Give the store error for an OSError met while `doing` something with `path`."""
    if error.errno in _NO_ROOM:
        return StoreFull(
            f"{doing} {error.filename or path}: {error.strerror}. Nothing was published; what was live still is. "
            "Make room (a compile needs about 3 times the size of the new snapshot) and run it again."
        )
    return StoreUnusable(f"{doing} {error.filename or path}: {error.strerror or error}. Nothing was published.")
