"""JSON of any size, read value by value in bounded memory: what `loader/readers/vics.py` walks through a document with.

    document = Json(source, 4 << 20, report)
    for name in document.names():         the members of an object; an array has document.items()
        value = document.value()          read, or passed over: then it is an Unread

Python's json decodes one value after the other out of a chunk of text: it says where a value ends, so nothing here has
to guess where the next begins. What it cannot take, since it is malformed, cut off, larger than a chunk or nested more
deeply than its stack allows, is passed over token by token, at 1 MB/s if it is all brackets. So memory is bounded by
the chunk and by MAX_FIELD_CHARACTERS. Whatever is no JSON of RFC 8259 is an error of the file.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from loader.errors import ListDamaged, ListTruncated
from loader.report import FileReport
from loader.sources import ListFile

#: The largest value of one key, in characters, that is passed over. An object may have any number of keys.
MAX_FIELD_CHARACTERS: Final = 16 << 20
# The largest value that is decoded rather than passed over once `whole` has not taken it.
_MAX_DECODED_CHARACTERS: Final = 1 << 20

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


@dataclass(frozen=True, slots=True)
class Unread:
    """A value that was passed over, as it is called in messages."""

    what: str


class Members(dict[str, object]):
    """The members of an object, with the names that came twice with different values: the first of them is held."""

    __slots__ = ("contradicting",)

    def __init__(self) -> None:
        super().__init__()
        self.contradicting: set[str] = set()

    def add(self, name: str, value: object) -> None:
        """Hold a member, unless one of that name is held already; note whether they differ."""
        held = self.setdefault(name, value)
        # containers may be nested too deeply to be compared, and True equals 1
        if held is not value and (isinstance(value, list | dict) or type(held) is not type(value) or held != value):
            self.contradicting.add(name)


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    members = Members()
    for name, value in pairs:
        members.add(name, value)
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity, which are no JSON


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_refuse_constant)


class Json:
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
                return Unread(named(first) + " that is nested too deeply" * (first in "[{"))
        return Unread(f"{named(first)} of more than {_MAX_DECODED_CHARACTERS:,} characters")

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

    def end(self, document: Json) -> int | None:
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


def named(first: str) -> str:
    """Name a value by its first character."""
    names = {"{": "an object", "[": "a list", '"': "a text", "t": "true", "f": "false", "n": "null"}
    return names.get(first, "a number" if first in "-0123456789" else "no JSON")


def described(value: object) -> str:
    """Name a decoded value."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return "a text"
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else "a number"


def is_not(value: object, wanted: str) -> str:
    """Say what a value is, and what it should be."""
    return f"is {value.what}" if isinstance(value, Unread) else f"is {described(value)}, not {wanted}"
