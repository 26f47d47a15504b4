"""The header row of a table: which delimiter it has, and where our columns are."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from loader.errors import UnknownColumn
from loader.readers.base import ReadOptions
from loader.report import FileReport
from snapshot.algorithms import ALGORITHMS, Algorithm

#: Columns that we know beside the algorithms.
LABEL_COLUMNS: Final = ("category", "reference")
# Of a header in a message: names, and characters of a name.
_SHOWN_HEADERS: Final = 40
_SHOWN_CHARACTERS: Final = 40

_DELIMITERS: Final = ",;\t|"
#: Text with a digest somewhere in it.
LOOKS_LIKE_DIGEST: Final = re.compile(
    "(?<![0-9A-Fa-f])(?:" + "|".join(f"[0-9A-Fa-f]{{{a.hex_length}}}" for a in ALGORITHMS.values()) + ")(?![0-9A-Fa-f])"
    "|[0-9A-Za-z+/]{192}"
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Where our columns are. `headers` are the header's own names, fit to be shown, one for each cell."""

    digests: tuple[tuple[int, Algorithm], ...]
    labels: tuple[tuple[int, str], ...]
    headers: tuple[str, ...]


def find_columns(cells: list[str], line: int, options: ReadOptions, report: FileReport) -> Columns:
    """Find our columns in the header row, of which `line` is the first.

    Raises UnknownColumn if the header is malformed, a column is missing or is there twice, or if none is for digests.
    """
    path = report.path
    if report.bad_lines and report.bad_lines[0].line < line:
        raise UnknownColumn(
            path, f"line {report.bad_lines[0].line}: the header is malformed: {report.bad_lines[0].why}"
        )
    if any("\n" in cell and LOOKS_LIKE_DIGEST.search(cell) for cell in cells):
        raise UnknownColumn(path, f"line {line}: the header is malformed: a quoted cell of it holds a digest")
    names = [cell.strip() for cell in cells]
    shown = tuple(_shown(name) for name in names)
    found = f"line {line}: the header has {', '.join(shown[:_SHOWN_HEADERS])}; "
    positions: dict[str, int] = {}
    for ours, wanted in _wanted(options).items():
        places = [place for place, name in enumerate(names) if (name if options.columns else _our_name(name)) == wanted]
        if ours not in ALGORITHMS and ours not in LABEL_COLUMNS:
            raise UnknownColumn(path, f"--column {ours}: known are {', '.join((*ALGORITHMS, *LABEL_COLUMNS))}")
        if len(places) > 1:
            raise UnknownColumn(path, f"{found}{wanted} is there {len(places)} times")
        if places:
            positions[ours] = places[0]
        elif options.columns:
            raise UnknownColumn(path, f"{found}{wanted} (for {ours}) is not among them")
    digests = tuple((positions[name], algorithm) for name, algorithm in ALGORITHMS.items() if name in positions)
    if not digests:
        raise UnknownColumn(path, f"{found}no column for digests: name one, such as --column md5=HEADER")
    if options.algorithm is not None and options.algorithm.name not in positions:
        raise UnknownColumn(path, f"{found}the list was declared as {options.algorithm.name}, which has no column")
    labels = tuple((positions[name], name) for name in LABEL_COLUMNS if name in positions)
    return Columns(digests, labels, shown)


def _wanted(options: ReadOptions) -> dict[str, str]:
    """Give the header to look for, by our name."""
    if options.columns:
        return {ours: header.strip() for ours, header in options.columns.items()}
    return {name: name for name in (*ALGORITHMS, *LABEL_COLUMNS)}


def _our_name(header: str) -> str:
    """Give a header as our names are written: `SHA-1`, `sha_1` and `SHA1` are `sha1`."""
    return re.sub("[-_ ]", "", header).lower()


def _shown(header: str) -> str:
    """Make a header fit for a message: where a file has none, its first row is digests."""
    if len(header) > _SHOWN_CHARACTERS or LOOKS_LIKE_DIGEST.search(header):
        return f"({len(header)} characters)"
    return header if header.isprintable() else ascii(header)[1:-1]


def delimiter_of(first_lines: Sequence[bytes], options: ReadOptions) -> str:
    """Give the declared delimiter, or the one with which the header shows most of the wanted columns.

    Where several do, it is the one that makes most columns, then the comma.
    """
    if options.delimiter:
        return options.delimiter
    header = _header_line(first_lines)
    wanted = set(_wanted(options).values())

    def merit(delimiter: str) -> tuple[int, int]:
        names = [cell.strip() for cell in _cells(header, delimiter)]
        return len(wanted.intersection(names if options.columns else map(_our_name, names))), len(names)

    return max(_DELIMITERS, key=merit)


def names_digests(first_lines: Sequence[bytes], options: ReadOptions) -> bool:
    """Tell whether the header names an algorithm of ours. A comment does not, whatever words are in it."""
    header = _header_line(first_lines)
    if header.startswith("#"):
        return False
    cells = _cells(header, delimiter_of(first_lines, options))
    return not {_our_name(cell) for cell in cells}.isdisjoint(ALGORITHMS)


def _header_line(first_lines: Sequence[bytes]) -> str:
    line = next((line for line in first_lines if line.strip(b" \t")), b"")
    return line.decode("utf-8", "surrogateescape")


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])  # not strict: the header may go on in the next line
    except csv.Error:
        return []
