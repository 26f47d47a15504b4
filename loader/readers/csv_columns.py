"""Character-separated tables with a header row, by Python's csv module in its strict mode.

`--column sha1=SHA-1` maps our names to the header's; without any, headers that bear our names are taken
(`SHA-1`, `SHA1` and `sha_1` all do). A blank digest cell is absent; a row without any digest is bad, and so
is one with any malformed cell, or with fewer or more cells than the header: then nothing of it is taken.
Trailing empty cells are no exception, since a shifted row looks just like that.

A stray quotation mark makes the parser take the following lines for one cell. So that no line vanishes in
silence, a cell of several lines that holds what looks like a digest is refused with all lines of its row, and
so is a row of more than MAX_ROW_LINES lines.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from loader.errors import UnknownColumn
from loader.lines import LINE_CHUNK_BYTES, read_lines
from loader.readers.base import Batch, ReadOptions
from loader.report import FileReport
from loader.sources import ListFile
from snapshot.algorithms import ALGORITHMS, Algorithm
from snapshot.errors import HexdigestError
from snapshot.hexdigest import ParsedDigests, parse_digest, parse_digests

#: Columns that we know beside the algorithms.
LABEL_COLUMNS: Final = ("category", "reference")
#: The longest category and reference, in characters.
MAX_LABEL_CHARACTERS: Final = 1024
#: The longest cell, in characters; csv's own limit is a setting of the whole process.
MAX_CELL_CHARACTERS: Final = 1 << 20
#: The most physical lines that one row may have, so that an open quotation mark ends somewhere.
MAX_ROW_LINES: Final = 1000
#: Rows of a batch.
BATCH_ROWS: Final = 16_384
# Of a header in a message: names, and characters of a name.
MAX_SHOWN_HEADERS: Final = 40
MAX_SHOWN_CHARACTERS: Final = 40

_DELIMITERS: Final = ",;\t|"
_NOT_IN_LABEL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LOOKS_LIKE_DIGEST: Final = re.compile(
    "(?<![0-9A-Fa-f])(?:" + "|".join(f"[0-9A-Fa-f]{{{a.hex_length}}}" for a in ALGORITHMS.values()) + ")(?![0-9A-Fa-f])"
    "|[0-9A-Za-z+/]{192}"
)


class _Row(NamedTuple):
    """A parsed row, its first physical line, and how many it has."""

    cells: list[str]
    line: int
    line_count: int


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where our columns are. `headers` are the header's own names, fit to be shown."""

    digests: tuple[tuple[int, Algorithm], ...]
    labels: tuple[tuple[int, str], ...]
    headers: tuple[str, ...]


class CsvReader:
    """`csv`: about 1.5 µs a row with one digest."""

    name = "csv"

    def __init__(self, chunk_bytes: int = LINE_CHUNK_BYTES) -> None:
        self.chunk_bytes = chunk_bytes

    def recognises(self, first_lines: Sequence[bytes], options: ReadOptions) -> bool:
        """Tell whether columns were named, or the header names one of our algorithms."""
        if options.columns:
            return True
        header = next((line for line in first_lines if line.strip(b" \t")), b"")
        text = header.decode("utf-8", "surrogateescape")
        names = {_our_name(cell) for cell in _cells(text, options.delimiter or _sniff(text, options))}
        return not names.isdisjoint(ALGORITHMS)

    def read(self, source: ListFile, options: ReadOptions, report: FileReport) -> Iterator[Batch]:
        """Yield the digests of up to 16,384 rows, an algorithm at a time, with their labels.

        Raises UnknownColumn if a named column is missing or is there twice, or if there is none with digests.
        """
        csv.field_size_limit(MAX_CELL_CHARACTERS)
        first = next((line for line in source.first_lines() if line.strip(b" \t")), b"")
        delimiter = options.delimiter or _sniff(first.decode("utf-8", "surrogateescape"), options)
        columns: _Columns | None = None
        for rows in _rows(source, report, delimiter, self.chunk_bytes):
            if columns is None:
                columns = _find_columns(rows.pop(0), options, report)
            yield from _batches(rows, columns, report)


class _Lines:
    """The physical lines as csv.reader asks for them, in stretches.

    A stretch ends before a line that was too long to be held, and when one row has taken too many lines: the
    parser then gives up an open row, and begins afresh on the next stretch. `number` is the last line handed
    out, `row_end` the last line of the row before, as the caller notes it.
    """

    def __init__(self, source: ListFile, report: FileReport, chunk_bytes: int) -> None:
        self.number = 0
        self.row_end = 0
        self._chunks = read_lines(source, report, chunk_bytes)
        self._chunk: Iterator[str] = iter(())
        self.chunk_begin = 1
        self._at_end = False

    def stretches(self) -> Iterator[Iterator[str]]:
        """Yield stretches until there are no more lines; each is to be used up before the next."""
        while not self._at_end:
            self.number = max(self.number, self.chunk_begin - 1)
            yield self._stretch()

    def _stretch(self) -> Iterator[str]:
        while True:
            for line in self._chunk:
                self.number += 1
                yield line
                if self.number - self.row_end >= MAX_ROW_LINES:
                    return
            chunk = next(self._chunks, None)
            if chunk is None:
                self._at_end = True
                return
            content = chunk.data[chunk.starts[0] : chunk.ends[-1]].tobytes()
            # LF only, and kept: str.splitlines would also break at characters that are content here
            self._chunk = io.StringIO(content.decode("utf-8", "surrogateescape") + "\n", newline="\n")
            self.chunk_begin = chunk.first_line
            if self.number != chunk.first_line - 1:
                return


def _rows(source: ListFile, report: FileReport, delimiter: str, chunk_bytes: int) -> Iterator[list[_Row]]:
    """Yield the rows that csv can parse, without blank ones, and refuse the others.

    At most BATCH_ROWS come at a time, and no more than a chunk of lines holds: cells may be large.
    """
    lines = _Lines(source, report, chunk_bytes)
    rows: list[_Row] = []
    chunk_begin = lines.chunk_begin
    for stretch in lines.stretches():
        parser = csv.reader(stretch, delimiter=delimiter, strict=True)
        while True:
            begin = lines.row_end = lines.number
            try:
                cells = next(parser)
            except StopIteration:
                break
            except csv.Error as error:
                report.refuse(begin + 1, "row", _malformed(error, lines.number - begin), lines.number - begin)
                continue
            row = _Row(cells, begin + 1, lines.number - begin)
            if row.line_count > 1 and any("\n" in cell and _LOOKS_LIKE_DIGEST.search(cell) for cell in cells):
                _refuse(report, row, "row", "has a quoted cell of several lines with a digest in it")
            elif cells and (len(cells) > 1 or cells[0].strip(" \t\r\n")):
                rows.append(row)
                if len(rows) == BATCH_ROWS or lines.chunk_begin != chunk_begin:
                    chunk_begin = lines.chunk_begin
                    yield rows
                    rows = []
    if rows:
        yield rows


def _malformed(error: csv.Error, line_count: int) -> str:
    if "new-line" in str(error):
        return "has a carriage return inside a cell that is not quoted"
    if line_count >= MAX_ROW_LINES:
        return f"does not end within {MAX_ROW_LINES:,} lines; a quotation mark is not closed"
    return f"is malformed: {error}{_spanning(line_count)}"


def _spanning(line_count: int) -> str:
    return f" (refused with the {line_count - 1:,} lines after it)" if line_count > 1 else ""


def _refuse(report: FileReport, row: _Row, field: str, why: str) -> None:
    report.refuse(row.line, field, f"{why}{_spanning(row.line_count)}", row.line_count)


def _find_columns(header: _Row, options: ReadOptions, report: FileReport) -> _Columns:
    """Find our columns in the header row; raises UnknownColumn."""
    path = report.path
    if report.bad_lines and report.bad_lines[0].line < header.line:
        raise UnknownColumn(
            path, f"line {report.bad_lines[0].line}: the header is malformed: {report.bad_lines[0].why}"
        )
    names = [cell.strip() for cell in header.cells]
    shown = tuple(_shown(name) for name in names)
    found = f"line {header.line}: the header has {', '.join(shown[:MAX_SHOWN_HEADERS])}; "
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
    return _Columns(digests, labels, shown)


def _wanted(options: ReadOptions) -> dict[str, str]:
    """Give the header to look for, by our name."""
    if options.columns:
        return {ours: header.strip() for ours, header in options.columns.items()}
    return {name: name for name in (*ALGORITHMS, *LABEL_COLUMNS)}


def _our_name(header: str) -> str:
    return re.sub("[-_ ]", "", header).lower()


def _shown(header: str) -> str:
    """Make a header fit for a message: where a file has none, its first row is digests."""
    if len(header) > MAX_SHOWN_CHARACTERS or _LOOKS_LIKE_DIGEST.search(header):
        return f"({len(header)} characters)"
    return header if header.isprintable() else ascii(header)[1:-1]


def _sniff(header: str, options: ReadOptions) -> str:
    """Choose the delimiter that shows most of the wanted columns, then most columns, then the comma."""
    wanted = set(_wanted(options).values())

    def merit(delimiter: str) -> tuple[int, int]:
        names = [cell.strip() for cell in _cells(header, delimiter)]
        return len(wanted.intersection(names if options.columns else map(_our_name, names))), len(names)

    return max(_DELIMITERS, key=merit)


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def _batches(rows: list[_Row], columns: _Columns, report: FileReport) -> Iterator[Batch]:
    """Yield the digests of the good rows; refuse the bad ones."""
    width = len(columns.headers)
    fitting = [row for row in rows if len(row.cells) == width]
    if len(fitting) < len(rows):
        for row in rows:
            if len(row.cells) != width:
                _refuse(report, row, "row", f"has {len(row.cells)} cells, the header has {width}")
    table = list(zip(*(row.cells for row in fitting), strict=True))
    if not table:
        return
    parsed = [_parse_column(table[place], algorithm) for place, algorithm in columns.digests]
    bad = _bad_rows(table, columns, parsed)
    if bad:
        for index, (field, why) in bad.items():
            _refuse(report, fitting[index], field, why)
        yield from _batches([row for index, row in enumerate(fitting) if index not in bad], columns, report)
        return
    labels = {name: [None if _is_blank(text) else text for text in table[place]] for place, name in columns.labels}
    for (_, algorithm), (present, digests) in zip(columns.digests, parsed, strict=True):
        if present:
            report.keep(algorithm, len(present))
            matrix = np.frombuffer(digests.packed, dtype=np.uint8).reshape(-1, algorithm.digest_bytes)
            own = {name: _of(values, present) for name, values in labels.items()}
            yield Batch(algorithm, matrix, own.get("category"), own.get("reference"))


def _parse_column(texts: Sequence[str], algorithm: Algorithm) -> tuple[list[int], ParsedDigests]:
    """Parse the cells that are not blank; give their row indexes too."""
    present = [index for index, text in enumerate(texts) if not _is_blank(text)]
    return present, parse_digests([texts[index] for index in present], algorithm)


def _bad_rows(
    table: Sequence[Sequence[str]], columns: _Columns, parsed: list[tuple[list[int], ParsedDigests]]
) -> dict[int, tuple[str, str]]:
    """Give field and fault of each row that is to be refused, by its index: the first fault of each."""
    bad: dict[int, tuple[str, str]] = {}
    empty = set(range(len(table[0])))
    for (place, algorithm), (present, digests) in zip(columns.digests, parsed, strict=True):
        empty.difference_update(present)
        for position, _ in digests.invalid:
            index = present[position]
            bad.setdefault(index, (columns.headers[place], _digest_fault(table[place][index], algorithm)))
    for index in empty:
        bad.setdefault(index, ("row", "has no digest"))
    for place, _ in columns.labels:
        for index, text in enumerate(table[place]):
            if not (text.isprintable() and len(text) <= MAX_LABEL_CHARACTERS) and (fault := _label_fault(text)):
                bad.setdefault(index, (columns.headers[place], fault))
    return bad


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _of(values: list[str | None], present: list[int]) -> list[str | None] | None:
    chosen = values if len(present) == len(values) else [values[index] for index in present]
    return chosen if any(value is not None for value in chosen) else None


def _digest_fault(text: str, algorithm: Algorithm) -> str:
    try:
        parse_digest(text, algorithm)
    except HexdigestError as error:
        return str(error)
    raise AssertionError("parse_digests and parse_digest differ")


def _label_fault(text: str) -> str | None:
    if len(text) > MAX_LABEL_CHARACTERS:
        return f"is longer than {MAX_LABEL_CHARACTERS:,} characters"
    foreign = _NOT_IN_LABEL.search(text)
    if foreign is None:
        return None
    what = "is not UTF-8" if foreign[0] >= "\ud800" else "has a control character"
    return f"{what} at position {foreign.start() + 1}"
