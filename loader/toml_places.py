"""Where everything stands in a TOML file: the line of every key, table and array item.

    places_of(text)    → {("list", 0, "paths", 1): Place(line=4), …}

tomllib tells no positions of what it parsed, so this scan of the same text finds them. It is for text that tomllib
took, knows strings, comments, brackets and nothing else, and decides nothing but which line a message names.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: Where something stands: keys, and indexes of arrays.
Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """The line of a key, and whether it is written without quotation marks."""

    line: int
    is_bare: bool = False


# TOML 1.0. A string of several lines may have one or two quotation marks right before its closing three.
_TOKEN: Final = re.compile(
    r"""
    (?P<string> \"{3} (?: \\. | [^\\] )*? \"{3} \"{0,2} | '{3} .*? '{3} '{0,2}
              | " (?: \\. | [^"\\\n] )* " | ' [^'\n]* ' )
    | (?P<newline> \n ) | (?P<mark> [\[\]{}=,.] ) | (?P<skipped> [ \t\r]+ | \#[^\n]* ) | (?P<bare> [^\s\[\]{}=,.\#"']+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_END: Final = ("end", "", 0)
_DEEPEST: Final = 6  # list, number, deliveries, number, paths, number


def places_of(text: str) -> dict[Location, Place]:
    """Give the place of every key, table and array item of a text that tomllib took.

    Raises RecursionError where arrays are nested too deep, as tomllib does.
    """
    return _Scan(text).places


class _Scan:
    """One walk over the tokens: (kind, text, line)."""

    def __init__(self, text: str) -> None:
        self.places: dict[Location, Place] = {}
        self._counts: dict[Location, int] = {}
        self._tokens = _tokens(text)
        self._token = next(self._tokens, _END)
        table: Location = ()
        while self._token is not _END:
            if self._token[1] == "\n":
                self._step()
            elif self._token[1] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _step(self) -> tuple[str, str, int]:
        token, self._token = self._token, next(self._tokens, _END)
        return token

    def _skip(self, *texts: str) -> None:
        while self._token[1] in texts and self._token is not _END:
            self._step()

    def _header(self) -> Location:
        """Take `[key]` or `[[key]]`; give where its table is."""
        line = self._step()[2]
        is_array = self._token[1] == "["
        self._skip("[")
        keys = self._keys()
        self._skip("]")
        location: Location = ()
        for index, (key, _) in enumerate(keys):
            location = _below(location, key)
            if is_array and index == len(keys) - 1:
                self._counts[location] = self._counts.get(location, -1) + 1
                self.places.setdefault(location, Place(line))
            if location in self._counts:
                location = _below(location, self._counts[location])
        self.places.setdefault(location, Place(line))
        return location

    def _keys(self) -> list[tuple[str, Place]]:
        """Take a key, or keys with dots between."""
        keys = []
        while self._token[0] in {"string", "bare"}:
            kind, text, line = self._step()
            keys.append((_key(text) if kind == "string" else text, Place(line, kind == "bare")))
            self._skip(".")
        return keys

    def _pair(self, table: Location) -> None:
        """Take `key = value`."""
        for key, place in self._keys():
            table = _below(table, key)
            self.places.setdefault(table, place)
        self._skip("=")
        self._value(table)

    def _value(self, location: Location) -> None:
        if self._token[1] == "[":
            self._step()
            index = 0
            while self._more("]"):
                item = _below(location, index)
                self.places.setdefault(item, Place(self._token[2]))
                self._value(item)
                index += 1
        elif self._token[1] == "{":
            self._step()
            while self._more("}"):
                self._pair(location)
        else:
            self._step()
            while self._token[0] in {"bare", "string"} or self._token[1] == ".":  # 1.5, or a date and its time
                self._step()

    def _more(self, closing: str) -> bool:
        """Tell whether another item begins here; take the closing bracket if not."""
        self._skip("\n", ",")
        if self._token[1] != closing and self._token is not _END:
            return True
        self._step()
        return False


def _below(location: Location, part: str | int) -> Location:
    """Give the location of a part; deeper than any key of ours it is the one that holds it."""
    return (*location, part) if len(location) < _DEEPEST else location


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    line = 1
    for token in _TOKEN.finditer(text):
        if token.lastgroup != "skipped":
            yield token.lastgroup or "", token[0], line
        line += token[0].count("\n")


def _key(text: str) -> str:
    if text[0] == "'":
        return text[1:-1]
    return text[1:-1] if "\\" not in text else str(tomllib.loads(f"key = {text}")["key"])
