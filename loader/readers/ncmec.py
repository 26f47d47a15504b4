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

The parser builds no tree: it calls this module for each tag, which gathers records for `ncmec_records`. What a hostile
file can make grow is bounded: a record's bytes, the depth, and the names, each of which libxml2 keeps for as long as
its thread lives. There is no DTD in this format, and a file with one is refused before any of it is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from lxml import etree

from loader.errors import ListDamaged, ListFileError, ListTruncated, UnknownFormat
from loader.readers.base import Batch, ReadOptions, Withdrawn
from loader.readers.ncmec_records import KINDS, Record, Records, batches
from loader.report import FileReport, Unit
from loader.sources import ListFile

NAMESPACE: Final = "https://hashsharing.ncmec.org/hashsharing/v2"
#: The most bytes from the end of one record to the end of the next; real ones have less than a thousandth.
MAX_RECORD_BYTES: Final = 1 << 20
#: The deepest nesting; the format has 5.
MAX_DEPTH: Final = 64
#: The most names of elements, attributes and namespaces that are not the format's own.
MAX_FOREIGN_NAMES: Final = 1000
#: Records of a batch, fewer if they have more than four digests each.
BATCH_RECORDS: Final = 16_384
_BATCH_DIGESTS: Final = 4 * BATCH_RECORDS
# Bytes that the parser is given at once.
_CHUNK_BYTES: Final = 64 * 1024
# libxml2 drops what comes after the first hundred of a file's faults and warnings.
_LOGGED_ERRORS: Final = 100

_ROOT: Final = "queryResult"
# section → record → whether it withdraws
_SECTIONS: Final[Mapping[str, Mapping[str, bool]]] = {
    "images": {"image": False, "deletedImage": True},
    "videos": {"video": False, "deletedVideo": True},
}
_RECORDS: Final = frozenset(record for section in _SECTIONS.values() for record in section)
_NAMES: Final = {
    f"{{{NAMESPACE}}}{name}": name
    for name in (_ROOT, *_SECTIONS, *_RECORDS, *KINDS, "member", "timestamp", "id", "classification", "fingerprints")
}
_FIELDS: Final = frozenset({"member", "id", "classification"})
# What must not stand anywhere but at its place, for it means that there are digests, or a withdrawal.
_OF_RECORDS: Final = _RECORDS | {"fingerprints", *KINDS}
# Depths, counted from the root's, which is 1.
_IN_ROOT, _IN_SECTION, _IN_RECORD, _IN_FINGERPRINTS = 2, 3, 4, 5

_BLANKS: Final = " \t\r\n"
_ONLY_DECLARATION: Final = re.compile(rb"\s*<\?xml\s[^>]*\?>\s*")


class NcmecReader:
    """`ncmec`: 14 µs a record with three digests, 38 MB/s; most of it are the calls for each tag."""

    name = "ncmec"
    unit: Unit = "record"
    is_text = True

    def __init__(self, chunk_bytes: int = _CHUNK_BYTES) -> None:
        self.chunk_bytes = chunk_bytes

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
        for chunk in source.chunks(self.chunk_bytes):
            target.at_boundary = False
            _feed(parser, chunk, target, source.path)
            since_record = 0 if target.at_boundary else since_record + len(chunk)
            if since_record > MAX_RECORD_BYTES:
                message = f"{target.place} has more than {MAX_RECORD_BYTES:,} bytes; check that it is the list"
                raise ListDamaged(source.path, message)
            if target.is_full:
                yield from batches(target.take(), report)
        try:
            parser.close()
        except (etree.XMLSyntaxError, ListFileError):
            # All whole tags have been seen by now. What the parser makes of one that was cut means nothing.
            raise ListTruncated(source.path, f"ends before its XML does, in {target.place}; fetch it again") from None
        yield from batches(target.take(), report)


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


class _Target:
    """What the parser calls for each tag: gathers records, and refuses those of bad form."""

    def __init__(self, report: FileReport) -> None:
        #: Whether a record or a section ended since the reader last looked.
        self.at_boundary = False
        self.root_seen = False
        self._report = report
        self._records = Records()
        self._depth = 0
        self._section: Mapping[str, bool] = {}
        self._record: Record | None = None
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

    def take(self) -> Records:
        """Give the records gathered so far, and begin anew."""
        taken, self._records = self._records, Records()
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
            self._record = Record(self._section[name])
            return
        if name in _OF_RECORDS and not self._stray_depth:
            self._stray_depth = self._depth
            self._report.lines_read += 1
            self._report.refuse(self._report.lines_read, name, "does not stand at its place in images or videos")

    def _start_inside(self, record: Record, name: str, attributes: Mapping[str, str]) -> None:
        if self._text is not None:
            self._text = None
            record.blame(name or "record", "stands inside of a value")
        is_kind = self._depth == _IN_FINGERPRINTS and self._in_fingerprints
        if is_kind and name in KINDS:
            self._text = []
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
        elif is_kind:
            record.has_other_kinds = True

    def _finish(self, record: Record) -> None:
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
