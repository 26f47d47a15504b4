r"""The JSON in which Project VIC and its partners hand on hash sets: VICS 1.3 and 2.0, Media and Cases.

    {"odata.metadata": "http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Media", "value": [
      {"MediaID": 1, "Category": 1, "MD5": "…", "SHA1": "…",
       "AlternativeHashes": [{"HashName": "PhotoDNA", "HashValue": "<base64>"}]}]}

    {"@odata.context": "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Cases", "value": [
      {"Media": [{"MediaID": 1, "Category": 1, "MD5": "…", "SHA1": "…", "PhotoDNA": "<base64>", …}], …}]}

A record is a medium, wherever it stands: kept with all its digests, or refused as a whole. Other keys are passed over
with all that is nested in them. A key that is one of ours but for case, blanks and hyphens is a fault, since its digest
would be missed in silence; so is one of ours that comes twice with different values.

Python's json decodes one medium after the other out of a chunk of text: it says where a value ends, so nothing here
has to guess where the next begins. It decodes 206 MB/s on one core, where a bare loop over the events of yajl (ijson)
sees 85; the whole reader takes 85 to 95 MB/s and 30 MiB (200 MB of media of 570 bytes with three digests).

What json cannot take, since it is malformed, cut off, larger than a chunk or nested more deeply than its stack allows,
is taken member by member, and what is then still left is passed over token by token, at 1 MB/s if it is all brackets.
So memory is bounded by the chunk and by MAX_FIELD_CHARACTERS, however large a record is.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, NamedTuple, NoReturn, TypeGuard

import numpy as np

from loader.errors import ListDamaged, ListTruncated, UnknownFormat
from loader.readers.base import Batch, ReadOptions
from loader.readers.csv_columns import BATCH_ROWS, MAX_LABEL_CHARACTERS
from loader.report import FileReport, Unit
from loader.sources import CHUNK_BYTES, ListFile
from snapshot.algorithms import MD5, PHOTODNA, SHA1, SHA256, SHA512, Algorithm
from snapshot.errors import HexdigestError
from snapshot.hexdigest import ByteMatrix, parse_digest, parse_digests, unbase64_rows

#: The largest value of one key, in characters, that is passed over. A medium may have any number of keys.
MAX_FIELD_CHARACTERS: Final = 16 << 20
# The largest value that is decoded rather than passed over once its medium is taken member by member.
_MAX_DECODED_CHARACTERS: Final = 1 << 20
# No text of a digest is longer: longer ones are refused at once, and never held.
_MAX_DIGEST_CHARACTERS: Final = max(PHOTODNA.hex_length, SHA512.hex_length)
# Names that are remembered as none of ours, and how long a name can be to be one of ours in disguise.
_MAX_NAMES, _MAX_NAME_CHARACTERS = 10_000, 64

_Kind = Literal["Media", "Cases"]
_CONTEXT_KEYS: Final = ("odata.metadata", "@odata.context")
_DIGEST_KEYS: Final = {"MD5": MD5, "SHA1": SHA1, "SHA256": SHA256, "SHA512": SHA512, "PhotoDNA": PHOTODNA}
_OUR_KEYS: Final = frozenset({"MediaID", "Category", "AlternativeHashes", *_DIGEST_KEYS})
_COMPARED_KEYS: Final = _OUR_KEYS | {"HashName", "HashValue"}
_FOLDED: Final = {name.casefold(): name for name in (*_OUR_KEYS, "Media")}

_HEAD: Final = re.compile(
    rb'\s*\{.*?"(?:odata\.metadata|@odata\.context)"\s*:\s*"[^"]*ProjectVic', re.DOTALL | re.IGNORECASE
)
_NOT_IN_LABEL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

# RFC 8259. Possessive, so that a text of many megabytes is matched without a stack for going back.
_STRING: Final = r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*+'
_INTEGER: Final = "-?(?:0|[1-9][0-9]*+)"
_MAY_GO_ON: Final = ("", ".", "e", "E")
_BLANKS: Final = re.compile(r"[ \t\n\r]*+")
_TOKEN: Final = re.compile(
    rf'[ \t\n\r]*+(?:([\[\]{{}},:])|({_STRING}")'
    rf"|({_INTEGER}(?:\.[0-9]++)?+(?:[eE][-+]?[0-9]++)?+(?![.eE])|true|false|null))"
)
_BEGUN_TOKEN: Final = re.compile(
    rf"{_STRING}(?:\\(?:u[0-9A-Fa-f]{{0,3}})?)?|-|{_INTEGER}(?:\.[0-9]*+|(?:\.[0-9]++)?[eE][-+]?[0-9]*+)?"
    r"|t(?:r|ru|rue)?|f(?:a|al|als|alse)?|n(?:u|ul|ull)?|"
)


class VicsReader:
    """`vics`: 6 to 7 µs a medium of 570 bytes with three digests.

    `chunk_bytes` is what is read at once, and the largest medium that is decoded in one go.
    """

    name = "vics"
    unit: Unit = "record"
    is_text = True

    def __init__(self, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.chunk_bytes = chunk_bytes

    def recognises(self, first_lines: Sequence[bytes], options: ReadOptions) -> bool:
        """Tell whether an object begins here in which odata.metadata or @odata.context names Project VIC."""
        return _HEAD.match(b"\n".join(first_lines)) is not None

    def read(self, source: ListFile, options: ReadOptions, report: FileReport) -> Iterator[Batch]:
        """Yield the digests of up to 16,384 media, an algorithm at a time, with categories and references.

        Raises UnknownFormat if this is other JSON than VICS, ListDamaged where it is none, and ListTruncated if it ends
        before the outermost object does.
        """
        media = _Media(report)
        for medium in _media(_Json(source, self.chunk_bytes, report)):
            report.lines_read += 1
            media.add(medium)
            if media.is_full:
                yield from media.batches()
                media = _Media(report, media.foreign_names)
        yield from media.batches()


@dataclass(frozen=True, slots=True)
class _Unread:
    """A value that was passed over, as it is called in messages."""

    what: str


class _Fault(NamedTuple):
    """Why a record is refused: `why` reads on from `field`."""

    field: str
    why: str


class _Members(dict[str, object]):
    """The members of an object, with the names of ours that came twice with different values."""

    __slots__ = ("contradicting",)

    def __init__(self) -> None:
        super().__init__()
        self.contradicting: set[str] = set()

    def add(self, name: str, value: object) -> None:
        held = self.setdefault(name, value)
        # containers may be nested too deeply to be compared, and True equals 1
        if held is not value and (isinstance(value, list | dict) or type(held) is not type(value) or held != value):
            self.contradicting.update({name} & _COMPARED_KEYS)


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    members = _Members()
    for name, value in pairs:
        members.add(name, value)
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity, which are no JSON


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_refuse_constant)


class _Json:
    """The JSON of one file, read from its beginning: `text[at:]` is what comes next and is in memory already."""

    def __init__(self, source: ListFile, chunk_bytes: int, report: FileReport) -> None:
        self.path = source.path
        self.text = ""
        self.at = 0
        self._source = source
        self._chunk_bytes = chunk_bytes
        self._report = report
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._bytes_decoded = 0

    def peek(self) -> str:
        """Go to the next character that is no blank, and give it."""
        if not self.at_end():
            return self.text[self.at]
        raise self.cut()

    def at_end(self) -> bool:
        """Go to the next character that is no blank; tell whether there is none."""
        while True:
            blanks = _BLANKS.match(self.text, self.at)
            self.at = blanks.end() if blanks else self.at
            if self.at < len(self.text):
                return False
            if not self._read_more():
                return True

    def expect(self, characters: str) -> str:
        """Step over the next character, which must be one of these, and give it."""
        character = self.peek()
        if character not in characters:
            raise self.damaged(self.at, " or ".join(characters))
        self.at += 1
        return character

    def names(self) -> Iterator[object]:
        """Yield the name of each member of an object; whoever asks for the next has read the value."""
        self.expect("{")
        if self.peek() == "}":
            self.at += 1
            return
        while True:
            if self.peek() != '"':
                raise self.damaged(self.at, "a name in quotation marks")
            name = self.value()
            self.expect(":")
            self.peek()
            yield name
            if self.expect(",}") == "}":
                return

    def items(self) -> Iterator[str]:
        """Yield the first character of each item of an array; whoever asks for the next has read the item."""
        self.expect("[")
        if self.peek() == "]":
            self.at += 1
            return
        while True:
            yield self.peek()
            if self.expect(",]") == "]":
                return

    def whole(self) -> tuple[object, int] | None:
        """Give the value that begins here and where it ends; None if it is malformed, large or deeply nested."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except (ValueError, RecursionError):  # ValueError: also a number of more digits than Python takes
                pass
            else:
                # a number could go on: of 1. and 1e, json takes the 1
                if isinstance(value, dict | list | str) or self.text[end : end + 1] not in _MAY_GO_ON:
                    return value, end
            if len(self.text) - self.at >= self._chunk_bytes or not self._read_more():
                return None

    def value(self) -> object:
        """Read the next value, or pass over it if it is larger than 1 MiB or deeply nested."""
        first = self.peek()
        found = self.whole()
        if found is not None:
            value, self.at = found
            return value
        walk = _Walk()
        while (end := walk.end(self)) is None:
            if len(self.text) - self.at >= MAX_FIELD_CHARACTERS:
                raise ListDamaged(
                    self.path,
                    f"{self._where(self.at)}: what begins here does not end within "
                    f"{MAX_FIELD_CHARACTERS >> 20} MiB; have the list corrected",
                )
            if not self._read_more():
                raise self.cut()
        begin, self.at = self.at, end
        if end - begin <= _MAX_DECODED_CHARACTERS:
            try:
                return _DECODER.raw_decode(self.text, begin)[0]
            except (ValueError, RecursionError):
                return _Unread(_named(first) + " that is nested too deeply" * (first in "[{"))
        return _Unread(f"{_named(first)} of more than {_MAX_DECODED_CHARACTERS:,} characters")

    def cut(self) -> ListTruncated:
        """Give the error for a file that ends too early."""
        read = self._report.lines_read
        return ListTruncated(self.path, f"ends after {read:,} records, before its JSON does; fetch it again")

    def damaged(self, at: int, wanted: str) -> ListDamaged:
        """Give the error for text that is no JSON."""
        return ListDamaged(self.path, f"{self._where(at)}: is no JSON, {wanted} was expected; fetch it again")

    def _where(self, at: int) -> str:
        ahead = len(self.text[at:].encode()) + len(self._decoder.getstate()[0])
        return f"byte {self._bytes_decoded - ahead + 1:,}, after {self._report.lines_read:,} records"

    def _read_more(self) -> bool:
        """Drop what was read, and append at least as much as is left: what is tried again costs no more than twice."""
        texts = [self.text[self.at :]]
        wanted = max(len(texts[0]), 1)
        while wanted > 0:
            chunk = self._source.read(self._chunk_bytes)
            if not chunk and not self._decoder.getstate()[0]:
                break
            try:
                new = self._decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                if not chunk:
                    raise self.cut() from None
                byte = self._bytes_decoded - (len(error.object) - len(chunk)) + error.start + 1
                raise ListDamaged(self.path, f"byte {byte:,}: is not UTF-8; have the list corrected") from None
            self._bytes_decoded += len(chunk)
            texts.append(new)
            wanted -= len(new)
        self.text, self.at = "".join(texts), 0
        return len(texts) > 1


# What may come next: the marks themselves, 0 for a number or literal, " for a text and n for a name.
_VALUE, _ITEM_OR_END, _NAME, _NAME_OR_END = '"0[{', '"0[{]', "n", "n}"
_BRACKET, _BRACE = b"]}"
_EXPECTED: Final = {
    _VALUE: "a value", _ITEM_OR_END: "a value or ]", _NAME: "a name in quotation marks",
    _NAME_OR_END: "a name in quotation marks or }", ":": ":", ",}": ", or }", ",]": ", or ]",
}  # fmt: skip


class _Walk:
    """Passes over a value token by token: without recursion, with a byte for each level that is open."""

    def __init__(self) -> None:
        self._begin = 0  # of the next token, counted from the beginning of the value
        self._wanted = _VALUE
        self._closers = bytearray()

    def end(self, document: _Json) -> int | None:
        """Give where the value ends that begins at `document.at`.

        None if the text ends before it; then this goes on from there when there is more.
        """
        text, at, closers, wanted = document.text, document.at + self._begin, self._closers, self._wanted
        while (token := _TOKEN.match(text, at)) is not None:
            kind = token[1] or ("0" if token[3] else "n" if "n" in wanted else '"')
            end = token.end()
            if kind not in wanted or (kind == "0" and end == len(text)):  # a number could go on
                break
            at = end
            if kind == "n":
                wanted = ":"
            elif kind == ":":
                wanted = _VALUE
            elif kind == ",":
                wanted = _NAME if closers[-1] == _BRACE else _VALUE
            elif kind in "[{":
                closers.append(_BRACE if kind == "{" else _BRACKET)
                wanted = _NAME_OR_END if kind == "{" else _ITEM_OR_END
            else:
                if kind in "]}":
                    closers.pop()
                if not closers:
                    return at
                wanted = ",}" if closers[-1] == _BRACE else ",]"
        self._begin, self._wanted = at - document.at, wanted
        blanks = _BLANKS.match(text, at)
        at = blanks.end() if blanks else at
        if (token is None or "0" in wanted) and _BEGUN_TOKEN.fullmatch(text, at):
            return None
        raise document.damaged(at, _EXPECTED[wanted])


def _media(document: _Json) -> Iterator[object]:
    """Yield every medium, as its members or as what stands in its place."""
    if document.at_end():
        raise document.cut()
    if document.text[document.at] != "{":
        what = _named(document.text[document.at])
        raise UnknownFormat(document.path, f"is {what}, not an object with the key value; check --format")
    context: object = None
    kind: _Kind | None = None
    has_value = False
    for name in document.names():
        if name in _CONTEXT_KEYS:
            found = document.value()
            kind = _kind(found, document.path)
            if context not in (None, found):
                raise UnknownFormat(document.path, "says twice what it is, and not the same; have the list corrected")
            context = found
        elif name != "value":
            document.value()
        elif has_value:
            raise ListDamaged(document.path, "has the key value twice; have the list corrected")
        else:
            has_value = True
            yield from _elements(document, kind)
    if not document.at_end():
        raise document.damaged(document.at, "nothing more")
    if not has_value:
        raise UnknownFormat(document.path, "has no key value, so no media and no cases; check --format")


def _elements(document: _Json, kind: _Kind | None) -> Iterator[object]:
    """Yield the media of the array that begins here, or those of its cases.

    If the kind is not said, or only after the media, a case is what has the key Media.
    """
    if document.peek() != "[":
        what = _named(document.peek())
        raise UnknownFormat(document.path, f"value is {what}, not a list of media or cases; check --format")
    for first in document.items():
        if first != "{":
            yield document.value()
            continue
        if kind != "Cases":
            found = document.whole()
            if found is not None and isinstance(found[0], dict) and (kind == "Media" or "Media" not in found[0]):
                medium, document.at = found
                yield medium
                continue
        yield from _element(document, kind)


def _element(document: _Json, kind: _Kind | None) -> Iterator[object]:
    """Yield the media of the case that begins here, or the medium, member by member."""
    members = _Members()
    is_case = kind == "Cases"
    disguised = False
    for name in document.names():
        if name == "Media" and kind != "Media":
            is_case = True
            if document.peek() == "[":
                yield from _elements(document, "Media")
            elif (value := document.value()) is not None:
                yield _Fault("Media", _is_not(value, "a list"))
            continue
        value = document.value()
        if not isinstance(name, str):
            continue
        if name in _OUR_KEYS:
            members.add(name, value)
        elif not disguised and _in_disguise(name):  # one of them is enough to refuse it
            disguised = True
            members.add(name, None)
    if members or not is_case:
        yield members


def _kind(context: object, path: str) -> _Kind:
    """Give what the document says it is.

    Raises UnknownFormat.
    """
    if not isinstance(context, str) or "projectvic" not in context.casefold():
        what = ascii(context[:100]) if isinstance(context, str) else _described(context)
        raise UnknownFormat(path, f"is OData of {what}, not of Project VIC; check --format")
    entity = context.rpartition("#")[2]
    if entity == "Media":
        return "Media"
    if entity == "Cases":
        return "Cases"
    raise UnknownFormat(path, f"is {context[:200]!a}, which is neither #Media nor #Cases; ask for one of these")


@dataclass(slots=True)
class _Column:
    """The texts of one algorithm, and whose they are: indexes of media, ascending."""

    texts: list[str] = field(default_factory=list)
    media: list[int] = field(default_factory=list)


class _Media:
    """Media that have digests, until they are as many as a batch holds.

    `foreign_names` are names of members that were looked at and are none of ours.
    """

    def __init__(self, report: FileReport, foreign_names: set[str] | None = None) -> None:
        self.foreign_names = set(_OUR_KEYS) if foreign_names is None else foreign_names
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
            fault = _Fault("record", "has no digest")
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
        bad: dict[int, _Fault] = {}
        matrices: dict[str, ByteMatrix] = {}
        for name, column in self._columns.items():
            if column.texts:
                matrices[name], places = _parse_column(column.texts, _DIGEST_KEYS[name])
                for place in places:
                    why = _digest_fault(column.texts[place], _DIGEST_KEYS[name])
                    bad.setdefault(column.media[place], _Fault(name, why))
        for index, fault in bad.items():
            self._report.refuse(self._records[index], fault.field, fault.why)
        for name, matrix in matrices.items():
            yield from self._batch(self._columns[name].media, matrix, _DIGEST_KEYS[name], bad)

    def _batch(
        self, media: list[int], matrix: ByteMatrix, algorithm: Algorithm, bad: dict[int, _Fault]
    ) -> Iterator[Batch]:
        if bad:
            kept = [place for place, index in enumerate(media) if index not in bad]
            media, matrix = [media[place] for place in kept], matrix[kept]
        if media:
            self._report.keep(algorithm, len(media))
            rows = [self._records[index] for index in media]
            yield Batch(algorithm, matrix, _chosen(self._categories, media), _chosen(self._references, media), rows)

    def _collect(self, medium: object, texts: list[tuple[str, str]]) -> _Fault | None:
        """Append the digests of a medium as (key, text); give what is wrong with it."""
        if type(medium) is not dict and (not isinstance(medium, _Members) or medium.contradicting & _OUR_KEYS):
            return _unusable(medium)
        if not self.foreign_names.issuperset(medium):
            fault = self._look_at_names(medium)
            if fault is not None:
                return fault
        for name in _DIGEST_KEYS:
            text = medium.get(name)
            if text is not None and text != "":
                if not _may_be_digest(text):
                    return _Fault(name, _digest_fault(text, _DIGEST_KEYS[name]))
                texts.append((name, text))
        alternatives = medium.get("AlternativeHashes")
        if alternatives is None:
            return None
        fault = _collect_alternatives(alternatives, texts)
        self._alternatives += len(texts)
        return fault

    def _look_at_names(self, medium: dict[str, object]) -> _Fault | None:
        """Remember the names that are none of ours; give the fault if one is ours in disguise."""
        for name in sorted(medium.keys() - self.foreign_names):
            if _in_disguise(name):
                return _Fault(_FOLDED[_folded(name)], f"is spelt {name!a}")
            if len(self.foreign_names) < _MAX_NAMES and len(name) <= _MAX_NAME_CHARACTERS:
                self.foreign_names.add(name)
        return None


def _unusable(medium: object) -> _Fault:
    if isinstance(medium, _Fault):
        return medium
    if isinstance(medium, _Members):
        return _Fault(min(medium.contradicting & _OUR_KEYS), "is there twice, and not the same")
    return _Fault("record", _is_not(medium, "an object"))


def _collect_alternatives(alternatives: object, texts: list[tuple[str, str]]) -> _Fault | None:
    """Append those of our algorithms that do not stand in the medium already; others are passed over."""
    if not isinstance(alternatives, list):
        return _Fault("AlternativeHashes", _is_not(alternatives, "a list"))
    held = set(texts)
    for entry in alternatives:
        key, fault = _alternative_key(entry)
        if fault is not None:
            return fault
        text = entry["HashValue"] if key else None
        if key is None or text is None or text == "":
            continue
        if not _may_be_digest(text):
            return _Fault(key, _digest_fault(text, _DIGEST_KEYS[key]))
        if (key, text) not in held:
            held.add((key, text))
            texts.append((key, text))
    return None


def _alternative_key(entry: object) -> tuple[str | None, _Fault | None]:
    """Give the key that an entry's HashName stands for, None for that of a foreign algorithm, and what is wrong."""
    why, key = "", None
    if not isinstance(entry, dict):
        why = f"that {_is_not(entry, 'an object')}"
    elif isinstance(entry, _Members) and entry.contradicting:
        why = f"with {min(entry.contradicting)} twice, and not the same"
    elif not isinstance(name := entry.get("HashName"), str):
        why = f"whose HashName {_is_not(name, 'a text')}"
    else:
        key = _algorithm_key(name[: _MAX_NAME_CHARACTERS + 1])
        if key is not None and "HashValue" not in entry:
            why = f"for {key} without a HashValue"
    return key, _Fault("AlternativeHashes", f"has an entry {why}") if why else None


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


def _label(name: str, value: object) -> tuple[str | None, _Fault | None]:
    """Give a category or reference as text, and what is wrong with it."""
    if type(value) is int:
        value = str(value)
    elif value is None:
        return None, None
    elif not isinstance(value, str):
        return None, _Fault(name, _is_not(value, "a text or a whole number"))
    if len(value) > MAX_LABEL_CHARACTERS:
        return None, _Fault(name, f"is longer than {MAX_LABEL_CHARACTERS:,} characters")
    if foreign := _NOT_IN_LABEL.search(value):
        return None, _Fault(name, f"has a control character or half a character at position {foreign.start() + 1}")
    return (value if value.strip() else None), None


def _may_be_digest(text: object) -> TypeGuard[str]:
    return isinstance(text, str) and len(text) <= _MAX_DIGEST_CHARACTERS


def _digest_fault(text: object, algorithm: Algorithm) -> str:
    if not isinstance(text, str):
        return _is_not(text, "a text")
    try:
        parse_digest(text, algorithm)
    except HexdigestError as error:
        return str(error)
    raise AssertionError("parse_digests and parse_digest differ")


def _folded(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")


def _in_disguise(name: str) -> bool:
    """Tell whether a name is one of ours but for case, blanks and hyphens."""
    return len(name) <= _MAX_NAME_CHARACTERS and _FOLDED.get(_folded(name), name) != name


@lru_cache(maxsize=256)
def _algorithm_key(hash_name: str) -> str | None:
    key = _FOLDED.get(_folded(hash_name))
    return key if key in _DIGEST_KEYS else None


def _named(first: str) -> str:
    """Name a value by its first character."""
    names = {"{": "an object", "[": "a list", '"': "a text", "t": "true", "f": "false", "n": "null"}
    return names.get(first, "a number" if first in "-0123456789" else "no JSON")


def _described(value: object) -> str:
    """Name a decoded value."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return "a text"
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else "a number"


def _is_not(value: object, wanted: str) -> str:
    """Say what a value is, and what it should be."""
    return f"is {value.what}" if isinstance(value, _Unread) else f"is {_described(value)}, not {wanted}"
