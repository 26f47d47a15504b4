"""The overlay: what holds on top of the live snapshot without a compile, live within two seconds.

    approvals      classes that are on; every other class is compiled and never a match
    suppressions   digests that are never a match, whatever lists them
    additions      digests that are listed in an approved class though no snapshot has them

    store/overlays/<version>.json    the whole of it each time, never written again

CURRENT names version and SHA-256 of the one in force, so a change is a new file and one swap of CURRENT: nothing is
ever ordered or mixed. Version 0 is the empty overlay and has no file. Each file carries the SHA-256 of the one before.

A compile and a rollback change the snapshot under it and keep the overlay: suppressions and additions stay until they
are lifted (suppliers send mistakes again). Only the approval of a class that is not in the new snapshot is revoked.

On a sealed snapshot the digests are sealed with the same key (snapshot/seal.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Final, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from snapshot.algorithms import ALGORITHMS
from snapshot.errors import HexdigestError, OverlayDamaged, OverlayFull
from snapshot.hexdigest import parse_digest
from snapshot.labels import Label, LabelClass, Tier
from snapshot.manifest import sha256_hex
from snapshot.seal import KEY_ID_PATTERN, Seal, resealed

#: Of each kind. Beyond it, the supplier is to correct the list, and one compiles.
MAX_ENTRIES: Final = 10_000
#: Of a file, up to where it says how it is sealed.
_HEAD_BYTES: Final = 256
#: Characters of a reason or a name.
MAX_TEXT: Final = 1024


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Signed(_Part):
    """Who did it, when and why."""

    by: str = Field(min_length=1, max_length=MAX_TEXT)
    at: datetime = Field(strict=False)
    reason: str = Field(max_length=MAX_TEXT)


class Approval(_Signed):
    """A class that is on."""

    list_id: str
    category: str
    tier: Tier = Field(strict=False)

    @property
    def label_class(self) -> LabelClass:
        """The class."""
        return LabelClass(self.list_id, self.category, self.tier)


class _OfDigest(_Signed):
    algorithm: str
    digest: str

    @field_validator("algorithm")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ALGORITHMS:
            raise ValueError("is no algorithm of this hashwacht")
        return name

    def raw(self) -> bytes:
        """Give the digest's bytes, as they stand here. Raises HexdigestError."""
        return parse_digest(self.digest, ALGORITHMS[self.algorithm])

    def resealed(self, old: Seal | None, new: Seal | None) -> Self:
        """Give the same with the digest sealed by another key, or by none."""
        _, digest = resealed((ALGORITHMS[self.algorithm], self.raw()), old, new)
        return self.model_copy(update={"digest": digest.hex()})


class Suppression(_OfDigest):
    """A digest that is no match."""


class Addition(_OfDigest):
    """A digest that is listed although no snapshot has it."""

    list_id: str
    category: str
    tier: Tier = Field(strict=False)
    reference: str | None = None

    @property
    def label(self) -> Label:
        """The label that a match shows."""
        return Label(self.list_id, self.category, self.tier, self.reference)


class Overlay(_Part):
    """One version, whole. `previous_sha256` is that of the file of the version before, None for the first.

    `seal_key_id` is that of the snapshots it goes with, None where they are not sealed.
    """

    version: int = Field(ge=0)
    previous_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    seal_key_id: str | None = Field(default=None, pattern=KEY_ID_PATTERN)
    approvals: tuple[Approval, ...] = Field(default=(), strict=False)
    suppressions: tuple[Suppression, ...] = Field(default=(), strict=False)
    additions: tuple[Addition, ...] = Field(default=(), strict=False)

    @property
    def approved(self) -> frozenset[LabelClass]:
        """The classes that are on."""
        return frozenset(approval.label_class for approval in self.approvals)

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of its file; None for version 0, which has none."""
        return sha256_hex(self.encode()) if self.version else None

    def encode(self) -> bytes:
        """Give the file's bytes."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    def with_approvals(self, new: Iterable[Approval]) -> Self:
        """Add approvals; one of a class that is on already changes nothing."""
        approved = self.approved
        added = {each.label_class: each for each in new if each.label_class not in approved}
        return self._with(approvals=(*self.approvals, *added.values()))

    def without_approvals(self, revoked: Callable[[LabelClass], bool]) -> Self:
        """Take approvals back."""
        return self._with(approvals=tuple(each for each in self.approvals if not revoked(each.label_class)))

    def with_suppressions(self, new: Iterable[Suppression]) -> Self:
        """Add suppressions; one of a digest that is suppressed already changes nothing."""
        known = {(each.algorithm, each.digest) for each in self.suppressions}
        added = {(each.algorithm, each.digest): each for each in new if (each.algorithm, each.digest) not in known}
        return self._with(suppressions=(*self.suppressions, *added.values()))

    def without_suppressions(self, lifted: Iterable[tuple[str, str]]) -> Self:
        """Lift suppressions of (algorithm, hexdigest)."""
        gone = set(lifted)
        return self._with(
            suppressions=tuple(each for each in self.suppressions if (each.algorithm, each.digest) not in gone)
        )

    def with_additions(self, new: Iterable[Addition]) -> Self:
        """Add digests; the same digest with the same label changes nothing."""
        known = {(each.algorithm, each.digest, each.label) for each in self.additions}
        added = {key: each for each in new if (key := (each.algorithm, each.digest, each.label)) not in known}
        return self._with(additions=(*self.additions, *added.values()))

    def without_additions(self, removed: Callable[[Addition], bool]) -> Self:
        """Take additions back."""
        return self._with(additions=tuple(each for each in self.additions if not removed(each)))

    def with_additions_changed(self, change: Callable[[Addition], Addition]) -> Self:
        """Put something else in the place of each addition."""
        return self._with(additions=tuple(change(each) for each in self.additions))

    def resealed(self, old: Seal | None, new: Seal | None) -> Self:
        """Seal the digests with another key, or with none. `old` is the key that they are sealed with."""
        return self._with(
            seal_key_id=None if new is None else new.key_id,
            suppressions=tuple(each.resealed(old, new) for each in self.suppressions),
            additions=tuple(each.resealed(old, new) for each in self.additions),
        )

    def _with(self, **changes: object) -> Self:
        """Give a copy, with its bounds checked; the same object where nothing changes. Raises OverlayFull."""
        changed = self.model_copy(update=changes)
        if changed == self:
            return self
        for kind in ("approvals", "suppressions", "additions"):
            if len(getattr(changed, kind)) > MAX_ENTRIES:
                raise OverlayFull(
                    f"{len(getattr(changed, kind)):,} {kind}: the overlay holds {MAX_ENTRIES:,} of each. It is for "
                    "corrections; have the suppliers correct their lists, or compile a list of your own."
                )
        return changed


#: Version 0.
EMPTY: Final = Overlay(version=0)


def parse_overlay(raw: bytes, path: Path) -> Overlay:
    """Read an overlay file's bytes.

    Raises OverlayDamaged for anything that `encode` did not write, down to the last digest: a suppression that cannot
    be understood must not be passed over.
    """
    try:
        overlay = Overlay.model_validate(orjson.loads(raw))
        for each in (*overlay.suppressions, *overlay.additions):
            if each.raw().hex() != each.digest:  # base64, or upper case, which nothing would find again
                raise OverlayDamaged(path, f"is damaged (a digest of {each.algorithm} is not in lower-case hex)")
    except (orjson.JSONDecodeError, ValidationError, HexdigestError) as error:
        raise OverlayDamaged(path, f"is damaged ({_first_line(error)})") from None
    return overlay


def is_sealed_otherwise(path: Path, seal_key_id: str) -> bool:
    """Tell whether an overlay's file is sealed with another key, or not at all, by its first bytes. Raises OSError."""
    with path.open("rb") as file:
        return f'"seal_key_id": "{seal_key_id}"'.encode() not in file.read(_HEAD_BYTES)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"field {'.'.join(map(str, first['loc'])) or '(root)'}: {first['msg']}"
    return str(error).splitlines()[0]
