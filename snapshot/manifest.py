"""The manifest of a snapshot: what is in it, and the size and checksum of every file.

The manifest's own SHA-256 stands in CURRENT (and in the history), so nothing under a snapshot's directory can
change unnoticed. JSON, written once, read whole. `format_version` is read first: a newer one is refused
before anything else is interpreted.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from snapshot.algorithms import ALGORITHMS
from snapshot.errors import FileMissing, ManifestDamaged, NewerFormat, OlderFormat, StoreUnusable
from snapshot.labels import Tier
from snapshot.seal import KEY_ID_PATTERN
from snapshot.small_files import read_whole

FORMAT_VERSION: Final = 2
MANIFEST: Final = "manifest.json"
ENTRIES: Final = "entries.lmdb"
#: A class has some hundred bytes, and there are thousands at most.
_MAX_BYTES: Final = 1 << 28


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileFacts(_Part):
    """Size and SHA-256 (64 hex digits) of one file."""

    bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class AlgorithmFacts(_Part):
    """One algorithm's entries and filter. `references` counts pairs of a reference and a digest that it has."""

    entries: int = Field(ge=1)
    blocks: int = Field(ge=1)
    records_per_block: int = Field(ge=1)
    filter_slices: int = Field(ge=1)
    filter_bits_per_slice: int = Field(ge=1)
    references: int = Field(default=0, ge=0)


class KnownGoodFacts(_Part):
    """The known-good digests of one algorithm, and their filter."""

    digests: int = Field(ge=1)
    filter_slices: int = Field(ge=1)
    filter_bits_per_slice: int = Field(ge=1)


class ClassFacts(_Part):
    """One class and how many digests of each algorithm carry it.

    `most_references`: the most references that one digest came with in this class, those beyond the limit of
    snapshot/labels.py included.
    """

    list_id: str
    category: str
    tier: Tier = Field(strict=False)
    entries: dict[str, int]
    most_references: int = Field(default=0, ge=0)


class ListFacts(_Part):
    """What was read for one list: files, lines, digests kept (repeats included), lines refused.

    `guarded`: distinct digests that it lists and that were left out as known good, or with one that is; `withdrawn`:
    rows it took back.
    Of a known-good list nothing is in the snapshot; it is named so that its protection cannot get lost unnoticed.
    """

    list_id: str
    kind: Literal["known-bad", "known-good"] = "known-bad"
    files: int = Field(ge=0)
    lines: int = Field(ge=0)
    digests: int = Field(ge=0)
    refused: int = Field(ge=0)
    guarded: int = Field(default=0, ge=0)
    withdrawn: int = Field(default=0, ge=0)


class Manifest(_Part):
    """The whole manifest. `merged` counts digests that came more than once; `entries` those kept.

    `seal_key_id` is the check value of the key that the digests are sealed with (snapshot/seal.py), None for no key.
    """

    format_version: Literal[2]
    snapshot_id: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: datetime = Field(strict=False)
    page_size: int = Field(ge=512)
    label_set_id_bytes: Literal[2, 4]
    label_sets: int = Field(ge=0)
    false_positive_rate: float = Field(gt=0, lt=1)
    seal_key_id: str | None = Field(default=None, pattern=KEY_ID_PATTERN)
    merged: int = Field(ge=0)
    algorithms: dict[str, AlgorithmFacts]
    known_good: dict[str, KnownGoodFacts]
    classes: list[ClassFacts]
    lists: list[ListFacts]
    files: dict[str, FileFacts]

    @property
    def entries(self) -> int:
        """Digests of all algorithms together."""
        return sum(facts.entries for facts in self.algorithms.values())

    @property
    def list_ids(self) -> frozenset[str]:
        """The lists that this snapshot was compiled from, those without a digest included."""
        return frozenset(facts.list_id for facts in self.lists)

    @property
    def total_bytes(self) -> int:
        """Size of all files, the manifest aside."""
        return sum(facts.bytes for facts in self.files.values())

    def encode(self) -> bytes:
        """Give the bytes of manifest.json."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def filter_file(algorithm_name: str) -> str:
    """Give the name of an algorithm's filter file."""
    return f"{algorithm_name}.bloom"


def known_good_file(algorithm_name: str) -> str:
    """Give the name of the filter of an algorithm's known-good digests."""
    return f"{algorithm_name}.known-good.bloom"


def sha256_hex(data: bytes) -> str:
    """Give the SHA-256 of bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def read_manifest(directory: Path) -> tuple[Manifest, str]:
    """Read the manifest of a snapshot's directory; give it with the SHA-256 of its bytes.

    Raises FileMissing, NewerFormat or ManifestDamaged. Whether the SHA-256 is the one in CURRENT is for the
    caller to compare, before it believes a word.
    """
    path = directory / MANIFEST
    try:
        raw = read_whole(path, _MAX_BYTES)
    except FileNotFoundError:
        raise FileMissing(path, "is missing") from None
    except OSError as error:
        raise StoreUnusable(f"{path}: {error.strerror}") from error
    return parse_manifest(raw, path), sha256_hex(raw)


def parse_manifest(raw: bytes, path: Path) -> Manifest:
    """Turn a manifest's bytes into a Manifest whose parts agree with one another."""
    try:
        loaded = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ManifestDamaged(path, f"is not JSON: {error}") from None
    if not isinstance(loaded, dict):
        raise ManifestDamaged(path, "is not a JSON object")
    version = loaded.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise NewerFormat(
            path, f"has format_version {version}, this hashwacht reads up to {FORMAT_VERSION}: upgrade it here first"
        )
    if isinstance(version, int) and 0 < version < FORMAT_VERSION:
        raise OlderFormat(
            path,
            f"has format_version {version}, this hashwacht reads {FORMAT_VERSION}: compile the lists again. An older "
            "snapshot knows no approvals, so with this hashwacht nothing in it would be a match.",
        )
    try:
        manifest = Manifest.model_validate(loaded)
    except ValidationError as error:
        first = error.errors()[0]
        raise ManifestDamaged(path, f"field {'.'.join(map(str, first['loc'])) or '(root)'}: {first['msg']}") from None
    unknown = (set(manifest.algorithms) | set(manifest.known_good)) - set(ALGORITHMS)
    if unknown:
        raise ManifestDamaged(path, f"names unknown algorithms: {', '.join(sorted(unknown))}")
    expected = {ENTRIES, *map(filter_file, manifest.algorithms), *map(known_good_file, manifest.known_good)}
    if set(manifest.files) != expected:
        raise ManifestDamaged(path, f"names the files {sorted(manifest.files)}, not {sorted(expected)}")
    return manifest
