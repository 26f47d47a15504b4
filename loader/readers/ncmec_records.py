"""Records of NCMEC's XML, once their elements are gathered: what is wrong with one, and batches of what is good.

A record is refused as a whole: for its form when it is complete, for a malformed digest when a batch is made, since
digests are parsed all at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from loader.readers.base import Batch, Withdrawn
from loader.readers.faults import MAX_LABEL_CHARACTERS, digest_fault, label_fault
from loader.report import FileReport
from snapshot.algorithms import MD5, PHOTODNA, SHA1, SHA256, SHA512, Algorithm
from snapshot.hexdigest import ParsedDigests, parse_digests

#: The elements of fingerprints that are read.
KINDS: Final[Mapping[str, Algorithm]] = {
    "md5": MD5,
    "sha1": SHA1,
    "sha256": SHA256,
    "sha512": SHA512,
    "pdna": PHOTODNA,
}


@dataclass(slots=True)
class Record:
    """What was found of one record; `fault` is the first thing that is wrong with it, as (field, why)."""

    withdraws: bool
    member: str | None = None
    id: str | None = None
    classification: str | None = None
    digests: list[tuple[str, str]] = field(default_factory=list)
    has_other_kinds: bool = False
    fault: tuple[str, str] | None = None

    def blame(self, name: str, why: str) -> None:
        """Say what is wrong with the record, if nothing was until now."""
        self.fault = self.fault or (name, why)

    def add_digest(self, kind: str, text: str) -> None:
        """Take the text of one of KINDS; an empty one is none."""
        if len(text) > MAX_LABEL_CHARACTERS:
            self.blame(kind, f"is longer than {MAX_LABEL_CHARACTERS:,} characters")
        elif text:
            self.digests.append((kind, text))

    def check(self) -> tuple[str, str] | None:
        """Give the first fault of a record that is complete."""
        if self.fault is None:
            if not self.member:
                self.blame("member", "has no id" if self.member == "" else "is missing")
            elif "/" in self.member:
                self.blame("member", "has a / in its id, which references cannot have there")
            elif not self.id:
                self.blame("id", "is empty" if self.id == "" else "is missing")
            elif not self.withdraws and not self.digests and not self.has_other_kinds:
                self.blame("fingerprints", "are missing")
        for name, text in (("classification", self.classification), ("id", self.reference)):
            if self.fault is None and text and (why := label_fault(text)):
                self.blame(name, why)
        return self.fault

    @property
    def reference(self) -> str:
        """What the batch calls the record."""
        return f"{self.member}/{self.id}"


@dataclass(slots=True)
class _Column:
    """Digest texts of one algorithm, the fields they stood in, and which of the records each is of."""

    texts: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Records:
    """Complete records of good form, whose digests are not parsed yet."""

    numbers: list[int] = field(default_factory=list)
    categories: list[str | None] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    columns: dict[Algorithm, _Column] = field(default_factory=lambda: defaultdict(_Column))
    withdrawn: list[str] = field(default_factory=list)
    digest_count: int = 0

    def add(self, number: int, record: Record) -> None:
        """Take a record in which `check` found no fault."""
        owner = len(self.numbers)
        self.numbers.append(number)
        self.categories.append(record.classification or None)
        self.references.append(record.reference)
        self.digest_count += len(record.digests)
        for kind, text in record.digests:
            column = self.columns[KINDS[kind]]
            column.texts.append(text)
            column.fields.append(kind)
            column.owners.append(owner)


def batches(records: Records, report: FileReport) -> Iterator[Batch | Withdrawn]:
    """Yield the digests of the records of which all are good; refuse the others."""
    if records.withdrawn:
        yield Withdrawn(records.withdrawn)
    parsed = {algorithm: parse_digests(column.texts, algorithm) for algorithm, column in records.columns.items()}
    bad = _bad_records(records, parsed)
    for owner, (name, why) in sorted(bad.items()):
        report.refuse(records.numbers[owner], name, why)
    for algorithm, column in records.columns.items():
        digests, owners = parsed[algorithm], column.owners
        matrix = np.frombuffer(digests.packed, dtype=np.uint8).reshape(-1, algorithm.digest_bytes)
        if bad:
            owners = [owners[digests.index_of(place)] for place in range(digests.count)]
            kept = [place for place, owner in enumerate(owners) if owner not in bad]
            matrix, owners = matrix[kept], [owners[place] for place in kept]
        if not owners:
            continue
        report.keep(algorithm, len(owners))
        categories = [records.categories[owner] for owner in owners]
        has_categories = any(category is not None for category in categories)
        references = [records.references[owner] for owner in owners]
        rows = [records.numbers[owner] for owner in owners]
        yield Batch(algorithm, matrix, categories if has_categories else None, references, rows)


def _bad_records(records: Records, parsed: Mapping[Algorithm, ParsedDigests]) -> dict[int, tuple[str, str]]:
    """Give field and fault of each record with a malformed digest, by its index: the first found of each."""
    bad: dict[int, tuple[str, str]] = {}
    for algorithm, column in records.columns.items():
        for place, _ in parsed[algorithm].invalid:
            why = digest_fault(column.texts[place], algorithm)
            bad.setdefault(column.owners[place], (column.fields[place], why))
    return bad
