"""Character-separated tables with a header row, by Python's csv module in its strict mode; or, where nothing is quoted
or bad, as arrays (loader/readers/csv_plain.py).

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
from bisect import bisect_left
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from loader.lines import LINE_CHUNK_BYTES, LineChunk, read_lines
from loader.readers.base import Batch, ReadOptions
from loader.readers.csv_header import LOOKS_LIKE_DIGEST, Columns, delimiter_of, find_columns, names_digests
from loader.readers.csv_plain import plain_batches
from loader.readers.faults import MAX_LABEL_CHARACTERS, digest_fault, label_fault
from loader.report import FileReport, Unit
from loader.sources import ListFile
from snapshot.algorithms import Algorithm
from snapshot.hexdigest import ParsedDigests, parse_digests

#: The longest cell, in characters; csv's own limit is a setting of the whole process.
MAX_CELL_CHARACTERS: Final = 1 << 20
#: The most physical lines that one row may have, so that an open quotation mark ends somewhere.
MAX_ROW_LINES: Final = 1000
#: Rows of a batch.
BATCH_ROWS: Final = 16_384


@dataclass(slots=True)
class _Rows:
    """Parsed rows: their cells, the first physical line of each, and how many lines those have that span several."""

    cells: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    line_counts: dict[int, int] = field(default_factory=dict)

    def refuse(self, index: int, field: str, why: str, report: FileReport) -> None:
        line = self.lines[index]
        line_count = self.line_counts.get(line, 1)
        report.refuse(line, field, why + _spanning(line_count), line_count)

    def without(self, indexes: Container[int]) -> _Rows:
        kept = [index for index in range(len(self.lines)) if index not in indexes]
        lines = [self.lines[index] for index in kept]
        line_counts = {line: self.line_counts[line] for line in self.line_counts.keys() & lines}
        return _Rows([self.cells[index] for index in kept], lines, line_counts)


class CsvReader:
    """`csv`: 0.12 µs a row with two digests and a category where nothing is quoted or bad; else 2 µs, most in csv."""

    name = "csv"
    unit: Unit = "line"
    is_text = True

    def __init__(self, chunk_bytes: int = LINE_CHUNK_BYTES) -> None:
        self.chunk_bytes = chunk_bytes

    def recognises(self, first_lines: Sequence[bytes], options: ReadOptions) -> bool:
        """Tell whether columns were named, or the header names one of our algorithms."""
        return bool(options.columns) or names_digests(first_lines, options)

    def read(self, source: ListFile, options: ReadOptions, report: FileReport) -> Iterator[Batch]:
        """Yield the digests of up to 16,384 rows, an algorithm at a time, with their labels.

        Raises UnknownColumn if a named column is missing or is there twice, or if there is none with digests.
        """
        csv.field_size_limit(MAX_CELL_CHARACTERS)
        delimiter = delimiter_of(source.first_lines(), options)
        columns: Columns | None = None
        lines = _Lines(source, report, self.chunk_bytes)
        while (piece := lines.next_piece()) is not None:
            if columns is None:
                rows = _rows(lines, piece, report, delimiter)
                header = next((index for index, cells in enumerate(rows.cells) if not _is_blank(cells)), None)
                if header is None:
                    continue
                columns = find_columns(rows.cells[header], rows.lines[header], options, report)
                lines.piece_lines = BATCH_ROWS
                yield from _batches(rows.without(range(header + 1)), columns, report)
            elif (plain := plain_batches(piece, columns, delimiter, report)) is not None:
                yield from plain
            else:
                yield from _batches(_rows(lines, piece, report, delimiter), columns, report)


class _Lines:
    """The physical lines, a piece at a time; those of a piece one by one, as csv.reader asks for them.

    A row that is open at the end of a piece takes the next one along. The parser is given lines in stretches. A stretch
    ends with the piece, before a line that was too long to be held, and when one row has taken too many lines: the
    parser then gives up an open row, and begins afresh. `number` is the last line handed out; the caller notes in
    `row_end` the last line of the row before.
    """

    def __init__(self, source: ListFile, report: FileReport, chunk_bytes: int) -> None:
        self.number = 0
        self.row_end = 0
        self.used_up = False
        #: Lines of a piece: one, until the header was found.
        self.piece_lines = 1
        self._chunks = read_lines(source, report, chunk_bytes)
        self._chunk: LineChunk | None = None
        self._at = 0
        self._text: Iterator[str] = iter(())

    def next_piece(self) -> LineChunk | None:
        """Give the next lines, or None at the end. What comes after them depends on whether they were `begin`-ed."""
        if self._chunk is None or self._at == len(self._chunk):
            self._chunk, self._at = next(self._chunks, None), 0
            if self._chunk is None:
                return None
        chunk, begin = self._chunk, self._at
        self._at = end = min(begin + self.piece_lines, len(chunk))
        return LineChunk(chunk.data, chunk.starts[begin:end], chunk.ends[begin:end], chunk.first_line + begin)

    def begin(self, piece: LineChunk) -> None:
        """Hand out the lines of a piece next."""
        self.number = self.row_end = piece.first_line - 1
        self.used_up = False
        self._text = _lines_of(piece)

    def stretch(self) -> Iterator[str]:
        """Yield the lines of a stretch; at the end of the last one, `used_up` is set."""
        while True:
            for line in self._text:
                self.number += 1
                yield line
                if self.number - self.row_end >= MAX_ROW_LINES:
                    return
            if self.row_end == self.number or not self._goes_on():
                self.used_up = True
                return

    def _goes_on(self) -> bool:
        """Take the next piece along, if it follows directly."""
        at_end = self._chunk is None or self._at == len(self._chunk)
        if at_end:
            self._chunk, self._at = next(self._chunks, None), 0
        if self._chunk is None or self._chunk.first_line + self._at != self.number + 1:
            return False
        piece = self.next_piece()
        assert piece is not None
        self._text = _lines_of(piece)
        return True


def _lines_of(piece: LineChunk) -> Iterator[str]:
    content = piece.data[piece.starts[0] : piece.ends[-1]].tobytes()
    # LF only, and kept: str.splitlines would also break at characters that are content here
    return io.StringIO(content.decode("utf-8", "surrogateescape") + "\n", newline="\n")


def _rows(lines: _Lines, piece: LineChunk, report: FileReport, delimiter: str) -> _Rows:
    """Give the rows of a piece that csv can parse, and refuse the others. Blank ones come too."""
    rows = _Rows()
    lines.begin(piece)
    while not lines.used_up:
        parser = csv.reader(lines.stretch(), delimiter=delimiter, strict=True)
        more = True
        while more:
            try:
                for cells in parser:
                    begin, number = lines.row_end + 1, lines.number
                    lines.row_end = number
                    rows.cells.append(cells)
                    rows.lines.append(begin)
                    if number > begin:
                        rows.line_counts[begin] = number - begin + 1
                more = False
            except csv.Error as error:
                begin, lines.row_end = lines.row_end, lines.number
                report.refuse(begin + 1, "row", _malformed(error, lines.number - begin), lines.number - begin)
    return rows


def _malformed(error: csv.Error, line_count: int) -> str:
    if "new-line" in str(error):
        return "has a carriage return inside a cell that is not quoted"
    if line_count >= MAX_ROW_LINES:
        return f"does not end within {MAX_ROW_LINES:,} lines; a quotation mark is not closed"
    return f"is malformed: {error}{_spanning(line_count)}"


def _spanning(line_count: int) -> str:
    return f" (all its {line_count:,} lines are refused)" if line_count > 1 else ""


def _batches(rows: _Rows, columns: Columns, report: FileReport) -> Iterator[Batch]:
    """Yield the digests of the good rows; refuse the bad ones."""
    rows = _fitting(rows, len(columns.headers), report)
    if not rows.cells:
        return
    table = list(zip(*rows.cells, strict=True))
    parsed = [_parse_column(table[place], algorithm) for place, algorithm in columns.digests]
    bad = _bad_rows(table, columns, parsed)
    if bad:
        for index, (name, why) in bad.items():
            rows.refuse(index, name, why, report)
        yield from _batches(rows.without(bad), columns, report)
        return
    labels = {name: _labels(table[place]) for place, name in columns.labels}
    for (_, algorithm), (present, digests) in zip(columns.digests, parsed, strict=True):
        if present:
            report.keep(algorithm, len(present))
            matrix = np.frombuffer(digests.packed, dtype=np.uint8).reshape(-1, algorithm.digest_bytes)
            own = {name: _of(values, present) for name, values in labels.items()}
            lines = rows.lines if len(present) == len(rows.lines) else [rows.lines[index] for index in present]
            in_rows = lines if len(columns.digests) > 1 else None
            yield Batch(algorithm, matrix, own.get("category"), own.get("reference"), in_rows)


def _fitting(rows: _Rows, width: int, report: FileReport) -> _Rows:
    """Leave out blank rows, and refuse those with too few or too many cells or with lines swallowed by a quote."""
    out = set()
    for index, cells in enumerate(rows.cells):
        if len(cells) != width or len(cells) == 1:
            if _is_blank(cells):
                out.add(index)
            elif len(cells) != width:
                out.add(index)
                rows.refuse(index, "row", f"has {len(cells)} cells, the header has {width}", report)
    for line in rows.line_counts:
        index = bisect_left(rows.lines, line)
        cells = rows.cells[index] if index not in out else []
        if any("\n" in cell and LOOKS_LIKE_DIGEST.search(cell) for cell in cells):
            out.add(index)
            rows.refuse(index, "row", "has a quoted cell of several lines with a digest in it", report)
    return rows.without(out) if out else rows


def _parse_column(texts: Sequence[str], algorithm: Algorithm) -> tuple[Sequence[int], ParsedDigests]:
    """Parse the cells that are not blank; give their row indexes too."""
    if "" not in texts:
        digests = parse_digests(texts, algorithm)
        if not digests.invalid:
            return range(len(texts)), digests
    present = [index for index, text in enumerate(texts) if text and not text.isspace()]
    return present, parse_digests([texts[index] for index in present], algorithm)


def _bad_rows(
    table: Sequence[Sequence[str]], columns: Columns, parsed: list[tuple[Sequence[int], ParsedDigests]]
) -> dict[int, tuple[str, str]]:
    """Give field and fault of each row that is to be refused, by its index: the first fault of each."""
    bad: dict[int, tuple[str, str]] = {}
    empty = set(range(len(table[0])))
    for (place, algorithm), (present, digests) in zip(columns.digests, parsed, strict=True):
        empty.difference_update(present)
        for position, _ in digests.invalid:
            index = present[position]
            bad.setdefault(index, (columns.headers[place], digest_fault(table[place][index], algorithm)))
    for index in empty:
        bad.setdefault(index, ("row", "has no digest"))
    for place, _ in columns.labels:
        for index, text in enumerate(table[place]):
            if not (text.isprintable() and len(text) <= MAX_LABEL_CHARACTERS) and (fault := label_fault(text)):
                bad.setdefault(index, (columns.headers[place], fault))
    return bad


def _labels(texts: Sequence[str]) -> list[str | None]:
    return [text if text and not text.isspace() else None for text in texts]


def _is_blank(cells: list[str]) -> bool:
    return not cells or (len(cells) == 1 and not cells[0].strip())


def _of(values: list[str | None], present: Sequence[int]) -> list[str | None] | None:
    chosen = values if len(present) == len(values) else [values[index] for index in present]
    return chosen if any(value is not None for value in chosen) else None
