"""NCMEC hash sharing, version 2: the XML that a query of the service gives.

    <queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2">
      <images>
        <image>
          <member id="42">…</member> <timestamp>…</timestamp> <id>…</id> <classification>A1</classification>
          <fingerprints> <md5>…</md5> <sha1>…</sha1> <pdna>…</pdna> </fingerprints>
        </image>
        <deletedImage> <member id="42">…</member> <timestamp>…</timestamp> <id>…</id> </deletedImage>
      </images>
      <videos> <video>…</video> <deletedVideo>…</deletedVideo> </videos>
    </queryResult>

md5, sha1, sha256, sha512 and pdna (PhotoDNA) are taken, several of each if there are; other kinds of fingerprints are
passed over, and so is a record that has none but those. A record without any fingerprint is bad. The category is the
classification, verbatim; the reference is "<member id>/<id>". A deleted record withdraws that reference, wherever its
entry stands. White space around a value is XML's layout and no part of it.

A record is taken or refused as a whole. Fingerprints anywhere but in a record at its place are refused as one more
record, so that none is lost in silence. An element that nothing is known of is passed over.

The parser builds no tree: it calls this module for each tag. What a hostile file can make grow is bounded: a record's
bytes, the depth, and the names, each of which libxml2 keeps for as long as its thread lives. There is no DTD in this
format, and a file with one is refused before any of it is used.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from lxml import etree

from loader.errors import ListDamaged, ListFileError, ListTruncated, UnknownFormat
from loader.readers.base import Batch, ReadOptions, Withdrawn
from loader.report import FileReport, Unit
from loader.sources import ListFile
from snapshot.algorithms import MD5, PHOTODNA, SHA1, SHA256, SHA512, Algorithm
from snapshot.errors import HexdigestError
from snapshot.hexdigest import ParsedDigests, parse_digest, parse_digests

NAMESPACE: Final = "https://hashsharing.ncmec.org/hashsharing/v2"
#: The most bytes from the end of one record to the end of the next; real ones have less than a thousandth.
MAX_RECORD_BYTES: Final = 1 << 20
#: The deepest nesting; the format has 5.
MAX_DEPTH: Final = 64
#: The most names of elements, attributes and namespaces that are not the format's own.
MAX_FOREIGN_NAMES: Final = 1000
#: The longest category, reference and text of a digest, in characters.
MAX_LABEL_CHARACTERS: Final = 1024
#: Records of a batch, fewer if they have more than four digests each.
BATCH_RECORDS: Final = 16_384
_BATCH_DIGESTS: Final = 4 * BATCH_RECORDS
#: Bytes that the parser is given at once.
_FEED_BYTES: Final = 64 * 1024
# libxml2 drops what comes after the first hundred of a file's faults and warnings.
_LOGGED_ERRORS: Final = 100

_ROOT: Final = "queryResult"
# section → record → whether it withdraws
_SECTIONS: Final[Mapping[str, Mapping[str, bool]]] = {
    "images": {"image": False, "deletedImage": True},
    "videos": {"video": False, "deletedVideo": True},
}
_RECORDS: Final = frozenset(record for section in _SECTIONS.values() for record in section)
_KINDS: Final[Mapping[str, Algorithm]] = {
    "md5": MD5,
    "sha1": SHA1,
    "sha256": SHA256,
    "sha512": SHA512,
    "pdna": PHOTODNA,
}
_NAMES: Final = {
    f"{{{NAMESPACE}}}{name}": name
    for name in (_ROOT, *_SECTIONS, *_RECORDS, *_KINDS, "member", "timestamp", "id", "classification", "fingerprints")
}
_FIELDS: Final = frozenset({"member", "id", "classification"})
# What must not stand anywhere but at its place, for it means that there are digests, or a withdrawal.
_OF_RECORDS: Final = _RECORDS | {"fingerprints", *_KINDS}
# Depths, counted from the root's, which is 1.
_IN_ROOT, _IN_SECTION, _IN_RECORD, _IN_FINGERPRINTS = 2, 3, 4, 5

_BLANKS: Final = " \t\r\n"
_NOT_IN_LABEL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_ONLY_DECLARATION: Final = re.compile(rb"\s*<\?xml\s[^>]*\?>\s*")


class NcmecReader:
    """`ncmec`: 14 µs a record with three digests, 38 MB/s; most of it are the calls for each tag."""

    name = "ncmec"
    unit: Unit = "record"
    is_text = True

    def recognises(self, first_lines: Sequence[bytes], options: ReadOptions) -> bool:
        """Tell whether it is XML that names the format's namespace, or an XML declaration and a very long line."""
        head = b"\n".join(first_lines).lstrip()
        names_it = head.startswith(b"<") and NAMESPACE.encode() in head and _ROOT.encode() in head
        return names_it or _ONLY_DECLARATION.fullmatch(head) is not None

    def read(self, source: ListFile, options: ReadOptions, report: FileReport) -> Iterator[Batch | Withdrawn]:
        """Yield the digests of up to 16,384 records, an algorithm at a time, and the references withdrawn.

        Raises UnknownFormat for another root or no XML, ListDamaged for what is not well-formed or beyond the limits
        above, and ListTruncated if the root element does not end.
        """
        target = _Target(report)
        # resolve_entities and load_dtd say once more what `_Target.doctype` sees to.
        parser = etree.XMLParser(
            target=target, resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, recover=False
        )
        since_record = 0
        for chunk in source.chunks(_FEED_BYTES):
            target.at_boundary = False
            _feed(parser, chunk, target, source.path)
            since_record = 0 if target.at_boundary else since_record + len(chunk)
            if since_record > MAX_RECORD_BYTES:
                message = f"{target.place} has more than {MAX_RECORD_BYTES:,} bytes; check that it is the list"
                raise ListDamaged(source.path, message)
            if target.is_full:
                yield from _batches(target.take(), report)
        try:
            parser.close()
        except (etree.XMLSyntaxError, ListFileError):
            # All whole tags have been seen by now. What the parser makes of one that was cut means nothing.
            raise ListTruncated(source.path, f"ends before its XML does, in {target.place}; fetch it again") from None
        yield from _batches(target.take(), report)


def _feed(parser: etree.XMLParser, chunk: bytes, target: _Target, path: str) -> None:
    """Parse the next bytes. The parser's own messages may hold what stands in the file, and are not passed on."""
    try:
        parser.feed(chunk)
    except etree.XMLSyntaxError as error:
        if not target.root_seen and error.code == etree.ErrorTypes.ERR_DOCUMENT_EMPTY:
            raise UnknownFormat(path, "is no XML: it does not begin with a tag; check --format") from None
        raise _not_well_formed(path, error.lineno, error.error_log.last_error, target) from None
    log = parser.feed_error_log
    if len(log):  # faults that the parser can live with, such as a prefix that nothing declares
        errors = log.filter_from_errors()
        if len(errors) or len(log) >= _LOGGED_ERRORS:
            first = errors[0] if len(errors) else log[0]
            raise _not_well_formed(path, first.line, first, target)


def _not_well_formed(path: str, line: int | None, entry: etree._LogEntry | None, target: _Target) -> ListDamaged:
    kind = "error" if entry is None else str(entry.type_name)
    return ListDamaged(path, f"is not well-formed XML: {kind} at line {line}, in {target.place}; fetch it again")


@dataclass(slots=True)
class _Record:
    """What was found of one record; `fault` is the first thing that is wrong with it, as (field, why)."""

    withdraws: bool
    member: str | None = None
    id: str | None = None
    classification: str | None = None
    digests: list[tuple[str, str]] = field(default_factory=list)
    has_other_kinds: bool = False
    fault: tuple[str, str] | None = None

    def blame(self, name: str, why: str) -> None:
        self.fault = self.fault or (name, why)

    def add_digest(self, kind: str, text: str) -> None:
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
            if self.fault is None and text and (why := _label_fault(text)):
                self.blame(name, why)
        return self.fault

    @property
    def reference(self) -> str:
        return f"{self.member}/{self.id}"


@dataclass(slots=True)
class _Column:
    """Digest texts of one algorithm, the fields they stood in, and which of the records each is of."""

    texts: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Records:
    """Complete records of good form, whose digests are not parsed yet."""

    numbers: list[int] = field(default_factory=list)
    categories: list[str | None] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    columns: dict[Algorithm, _Column] = field(default_factory=lambda: defaultdict(_Column))
    withdrawn: list[str] = field(default_factory=list)
    digest_count: int = 0

    def add(self, number: int, record: _Record) -> None:
        owner = len(self.numbers)
        self.numbers.append(number)
        self.categories.append(record.classification or None)
        self.references.append(record.reference)
        self.digest_count += len(record.digests)
        for kind, text in record.digests:
            column = self.columns[_KINDS[kind]]
            column.texts.append(text)
            column.fields.append(kind)
            column.owners.append(owner)


class _Target:
    """What the parser calls for each tag: gathers records, and refuses those of bad form."""

    def __init__(self, report: FileReport) -> None:
        #: Whether a record or a section ended since the reader last looked.
        self.at_boundary = False
        self.root_seen = False
        self._report = report
        self._records = _Records()
        self._depth = 0
        self._section: Mapping[str, bool] = {}
        self._record: _Record | None = None
        self._in_fingerprints = False
        # Depth of an element outside of any record that was refused as one; 0 for none.
        self._stray_depth = 0
        # Pieces of the text of the element that is open, if its text is wanted.
        self._text: list[str] | None = None
        self._foreign_names: set[str] = set()

    @property
    def place(self) -> str:
        """Say where the parser is, for a message."""
        if self._record is not None:
            return f"record {self._report.lines_read:,}"
        return f"what follows record {self._report.lines_read:,}" if self._report.lines_read else "its beginning"

    @property
    def is_full(self) -> bool:
        records = self._records
        return len(records.numbers) + len(records.withdrawn) >= BATCH_RECORDS or records.digest_count >= _BATCH_DIGESTS

    def take(self) -> _Records:
        """Give the records gathered so far, and begin anew."""
        taken, self._records = self._records, _Records()
        return taken

    def doctype(self, name: str, public_id: str | None, system_id: str | None) -> None:
        raise ListDamaged(self._report.path, "has a DOCTYPE, which hash sharing files do not have; it is not read")

    def start(self, tag: str, attributes: Mapping[str, str], namespaces: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ListDamaged(self._report.path, f"{self.place} is nested more than {MAX_DEPTH} deep")
        name = _NAMES.get(tag, "")
        if not name:
            self._count_foreign(tag)
        if attributes:
            self._count_foreign(*attributes)
        if namespaces:
            self._count_foreign(*namespaces, *namespaces.values())
        if self._record is None:
            self._start_outside(name)
        else:
            self._start_inside(self._record, name, attributes)

    def data(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def end(self, tag: str) -> None:
        depth = self._depth
        self._depth = depth - 1
        record = self._record
        if record is not None:
            if self._text is not None:
                value = "".join(self._text).strip(_BLANKS)
                self._text = None
                if depth == _IN_FINGERPRINTS:
                    record.add_digest(_NAMES[tag], value)
                elif depth == _IN_RECORD:
                    setattr(record, _NAMES[tag], value)
            if depth == _IN_RECORD:
                self._in_fingerprints = False
            elif depth == _IN_SECTION:
                self._record = None
                self._finish(record)
        if depth == self._stray_depth:
            self._stray_depth = 0
        if depth <= _IN_SECTION:
            self.at_boundary = True

    def close(self) -> None:
        """End of the document; lxml calls it."""

    def _start_outside(self, name: str) -> None:
        if self._depth == 1:
            self.root_seen = True
            if name != _ROOT:
                raise UnknownFormat(self._report.path, f"its root is not {_ROOT} of {NAMESPACE}; check --format")
        elif self._depth == _IN_ROOT:
            self._section = _SECTIONS.get(name, {})
            self.at_boundary = True
        elif self._depth == _IN_SECTION and name in self._section:
            self._report.lines_read += 1
            self._record = _Record(self._section[name])
            return
        if name in _OF_RECORDS and not self._stray_depth:
            self._stray_depth = self._depth
            self._report.lines_read += 1
            self._report.refuse(self._report.lines_read, name, "does not stand at its place in images or videos")

    def _start_inside(self, record: _Record, name: str, attributes: Mapping[str, str]) -> None:
        if self._text is not None:
            self._text = None
            record.blame(name or "record", "stands inside of a value")
        if self._depth == _IN_FINGERPRINTS and self._in_fingerprints:
            if name in _KINDS:
                self._text = []
            else:
                record.has_other_kinds = True
        elif self._depth == _IN_RECORD and name == "fingerprints":
            self._in_fingerprints = True
        elif self._depth == _IN_RECORD and name in _FIELDS:
            if getattr(record, name) is not None:
                record.blame(name, "is there twice")
            if name == "member":
                # Where entities are not resolved, libxml2 gives the ampersand of an attribute as a reference.
                record.member = attributes.get("id", "").replace("&#38;", "&").strip(_BLANKS)
            else:
                self._text = []
        elif name in _OF_RECORDS:
            record.blame(name, "stands inside of another element")

    def _finish(self, record: _Record) -> None:
        number = self._report.lines_read
        fault = record.check()
        if fault is not None:
            self._report.refuse(number, *fault)
        elif record.withdraws:
            self._records.withdrawn.append(record.reference)
        else:
            self._records.add(number, record)

    def _count_foreign(self, *names: str) -> None:
        self._foreign_names.update(names)
        if len(self._foreign_names) > MAX_FOREIGN_NAMES:
            message = f"has more than {MAX_FOREIGN_NAMES:,} names that are not the format's; check that it is the list"
            raise ListDamaged(self._report.path, message)


def _batches(records: _Records, report: FileReport) -> Iterator[Batch | Withdrawn]:
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


def _bad_records(records: _Records, parsed: Mapping[Algorithm, ParsedDigests]) -> dict[int, tuple[str, str]]:
    """Give field and fault of each record with a malformed digest, by its index: the first found of each."""
    bad: dict[int, tuple[str, str]] = {}
    for algorithm, column in records.columns.items():
        for place, _ in parsed[algorithm].invalid:
            try:
                parse_digest(column.texts[place], algorithm)
            except HexdigestError as error:
                bad.setdefault(column.owners[place], (column.fields[place], str(error)))
            else:
                raise AssertionError("parse_digests and parse_digest differ")
    return bad


def _label_fault(text: str) -> str | None:
    if len(text) > MAX_LABEL_CHARACTERS:
        return f"is longer than {MAX_LABEL_CHARACTERS:,} characters"
    foreign = _NOT_IN_LABEL.search(text)
    return None if foreign is None else f"has a control character at position {foreign.start() + 1}"
