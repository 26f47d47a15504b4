"""Media of VICS, as decoded members: their digests and labels, or why they are refused.

A medium is taken with all its digests or refused as a whole; its form is looked at when it is added, and its digests
are parsed all at once when a batch is full.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple, TypeGuard

import numpy as np

from loader.readers.base import Batch
from loader.readers.csv_columns import BATCH_ROWS
from loader.readers.faults import MAX_LABEL_CHARACTERS, NOT_IN_LABEL, digest_fault
from loader.readers.vics_json import Members, is_not
from loader.report import FileReport
from snapshot.algorithms import MD5, PHOTODNA, SHA1, SHA256, SHA512, Algorithm
from snapshot.hexdigest import ByteMatrix, parse_digests, unbase64_rows

# No text of a digest is longer: longer ones are refused at once, and never held.
_MAX_DIGEST_CHARACTERS: Final = max(PHOTODNA.hex_length, SHA512.hex_length)
# Names that are remembered as none of ours, and how long a name can be to be one of ours in disguise.
_MAX_NAMES, _MAX_NAME_CHARACTERS = 10_000, 64

_DIGEST_KEYS: Final = {"MD5": MD5, "SHA1": SHA1, "SHA256": SHA256, "SHA512": SHA512, "PhotoDNA": PHOTODNA}
#: The keys of a medium that are read.
OUR_KEYS: Final = frozenset({"MediaID", "Category", "AlternativeHashes", *_DIGEST_KEYS})
# Those of an entry of AlternativeHashes.
_ALTERNATIVE_KEYS: Final = OUR_KEYS | {"HashName", "HashValue"}
_FOLDED: Final = {name.casefold(): name for name in (*OUR_KEYS, "Media")}


class Fault(NamedTuple):
    """Why a record is refused: `why` reads on from `field`."""

    field: str
    why: str


@dataclass(slots=True)
class _Column:
    """The texts of one algorithm, and whose they are: indexes of media, ascending."""

    texts: list[str] = field(default_factory=list)
    media: list[int] = field(default_factory=list)


class Media:
    """Media that have digests, until they are as many as a batch holds.

    `foreign_names` are names of members that were looked at and are none of ours.
    """

    def __init__(self, report: FileReport, foreign_names: set[str] | None = None) -> None:
        self.foreign_names = set(OUR_KEYS) if foreign_names is None else foreign_names
        self._report = report
        self._records: list[int] = []
        self._categories: list[str | None] = []
        self._references: list[str | None] = []
        self._columns = {name: _Column() for name in _DIGEST_KEYS}
        self._alternatives = 0

    @property
    def is_full(self) -> bool:
        """Whether it is time for `batches`."""
        return len(self._records) >= BATCH_ROWS or self._alternatives >= BATCH_ROWS

    def add(self, medium: object) -> None:
        """Take one medium, the last that was counted, or refuse it."""
        texts: list[tuple[str, str]] = []
        fault = self._collect(medium, texts)
        if fault is None and not texts:
            fault = Fault("record", "has no digest")
        category = reference = None
        if fault is None:
            assert isinstance(medium, dict)
            category, fault = _label("Category", medium.get("Category"))
            if fault is None:
                reference, fault = _label("MediaID", medium.get("MediaID"))
        if fault is not None:
            self._report.refuse(self._report.lines_read, fault.field, fault.why)
            return
        index = len(self._records)
        self._records.append(self._report.lines_read)
        self._categories.append(category)
        self._references.append(reference)
        for name, text in texts:
            column = self._columns[name]
            column.texts.append(text)
            column.media.append(index)

    def batches(self) -> Iterator[Batch]:
        """Yield the digests of the good media, and refuse the others; to be called once."""
        bad: dict[int, Fault] = {}
        matrices: dict[str, ByteMatrix] = {}
        for name, column in self._columns.items():
            if column.texts:
                matrices[name], places = _parse_column(column.texts, _DIGEST_KEYS[name])
                for place in places:
                    bad.setdefault(column.media[place], _no_digest(name, column.texts[place]))
        for index, fault in bad.items():
            self._report.refuse(self._records[index], fault.field, fault.why)
        for name, matrix in matrices.items():
            yield from self._batch(self._columns[name].media, matrix, _DIGEST_KEYS[name], bad)

    def _batch(
        self, media: list[int], matrix: ByteMatrix, algorithm: Algorithm, bad: dict[int, Fault]
    ) -> Iterator[Batch]:
        if bad:
            kept = [place for place, index in enumerate(media) if index not in bad]
            media, matrix = [media[place] for place in kept], matrix[kept]
        if media:
            self._report.keep(algorithm, len(media))
            rows = [self._records[index] for index in media]
            yield Batch(algorithm, matrix, _chosen(self._categories, media), _chosen(self._references, media), rows)

    def _collect(self, medium: object, texts: list[tuple[str, str]]) -> Fault | None:
        """Append the digests of a medium as (key, text); give what is wrong with it."""
        if type(medium) is not dict and (not isinstance(medium, Members) or medium.contradicting & OUR_KEYS):
            return _unusable(medium)
        if not self.foreign_names.issuperset(medium):
            fault = self._look_at_names(medium)
            if fault is not None:
                return fault
        for name in _DIGEST_KEYS:
            text = medium.get(name)
            if text is not None and text != "":
                if not _may_be_digest(text):
                    return _no_digest(name, text)
                texts.append((name, text))
        alternatives = medium.get("AlternativeHashes")
        if alternatives is None:
            return None
        fault = _collect_alternatives(alternatives, texts)
        self._alternatives += len(texts)
        return fault

    def _look_at_names(self, medium: dict[str, object]) -> Fault | None:
        """Remember the names that are none of ours; give the fault if one is ours in disguise."""
        for name in sorted(medium.keys() - self.foreign_names):
            if in_disguise(name):
                return Fault(_FOLDED[_folded(name)], f"is spelt {name!a}")
            if len(self.foreign_names) < _MAX_NAMES and len(name) <= _MAX_NAME_CHARACTERS:
                self.foreign_names.add(name)
        return None


def _unusable(medium: object) -> Fault:
    if isinstance(medium, Fault):
        return medium
    if isinstance(medium, Members):
        return Fault(min(medium.contradicting & OUR_KEYS), "is there twice, and not the same")
    return Fault("record", is_not(medium, "an object"))


def _collect_alternatives(alternatives: object, texts: list[tuple[str, str]]) -> Fault | None:
    """Append those of our algorithms that do not stand in the medium already; others are passed over."""
    if not isinstance(alternatives, list):
        return Fault("AlternativeHashes", is_not(alternatives, "a list"))
    held = set(texts)
    for entry in alternatives:
        key, fault = _alternative_key(entry)
        if fault is not None:
            return fault
        text = entry["HashValue"] if key else None
        if key is None or text is None or text == "":
            continue
        if not _may_be_digest(text):
            return _no_digest(key, text)
        if (key, text) not in held:
            held.add((key, text))
            texts.append((key, text))
    return None


def _alternative_key(entry: object) -> tuple[str | None, Fault | None]:
    """Give the key that an entry's HashName stands for, None for that of a foreign algorithm, and what is wrong."""
    why, key = "", None
    if not isinstance(entry, dict):
        why = f"that {is_not(entry, 'an object')}"
    elif isinstance(entry, Members) and (twice := entry.contradicting & _ALTERNATIVE_KEYS):
        why = f"with {min(twice)} twice, and not the same"
    elif not isinstance(name := entry.get("HashName"), str):
        why = f"whose HashName {is_not(name, 'a text')}"
    else:
        key = _algorithm_key(name[: _MAX_NAME_CHARACTERS + 1])
        if key is not None and "HashValue" not in entry:
            why = f"for {key} without a HashValue"
    return key, Fault("AlternativeHashes", f"has an entry {why}") if why else None


def _parse_column(texts: list[str], algorithm: Algorithm) -> tuple[ByteMatrix, list[int]]:
    """Give digests, one for each text, and the places of those that are malformed and mean nothing."""
    count, width = len(texts), algorithm.base64_length
    if width is not None and all(len(text) == width and text.isascii() for text in texts):
        rows = np.frombuffer("".join(texts).encode("ascii"), dtype=np.uint8).reshape(count, width)
        digests, good = unbase64_rows(rows)
        return digests, [] if good is None else np.flatnonzero(~good).tolist()
    parsed = parse_digests(texts, algorithm)
    packed = np.frombuffer(parsed.packed, dtype=np.uint8).reshape(-1, algorithm.digest_bytes)
    if parsed.positions is None:
        return packed, []
    digests = np.zeros((count, algorithm.digest_bytes), dtype=np.uint8)
    digests[parsed.positions] = packed
    return digests, [place for place, _ in parsed.invalid]


def _chosen(labels: list[str | None], media: list[int]) -> list[str | None] | None:
    chosen = [labels[index] for index in media]
    return chosen if any(label is not None for label in chosen) else None


def _label(name: str, value: object) -> tuple[str | None, Fault | None]:
    """Give a category or reference as text, and what is wrong with it."""
    if type(value) is int:
        value = str(value)
    elif value is None:
        return None, None
    elif not isinstance(value, str):
        return None, Fault(name, is_not(value, "a text or a whole number"))
    if len(value) > MAX_LABEL_CHARACTERS:
        return None, Fault(name, f"is longer than {MAX_LABEL_CHARACTERS:,} characters")
    if foreign := NOT_IN_LABEL.search(value):
        return None, Fault(name, f"has a control character or half a character at position {foreign.start() + 1}")
    return (value if value.strip() else None), None


def _may_be_digest(text: object) -> TypeGuard[str]:
    return isinstance(text, str) and len(text) <= _MAX_DIGEST_CHARACTERS


def _no_digest(name: str, text: object) -> Fault:
    return Fault(name, digest_fault(text, _DIGEST_KEYS[name]) if isinstance(text, str) else is_not(text, "a text"))


def _folded(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")


def in_disguise(name: str) -> bool:
    """Tell whether a name is one of ours but for case, blanks and hyphens."""
    return len(name) <= _MAX_NAME_CHARACTERS and _FOLDED.get(_folded(name), name) != name


@lru_cache(maxsize=256)
def _algorithm_key(hash_name: str) -> str | None:
    key = _FOLDED.get(_folded(hash_name))
    return key if key in _DIGEST_KEYS else None
