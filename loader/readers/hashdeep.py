"""The files of hashdeep and md5deep, version 1.0.

    %%%% HASHDEEP-1.0
    %%%% size,md5,sha256,filename
    ## comments
    0,d41d8cd98f00b204e9800998ecf8427e,e3b0c442…,/etc/empty

The second line names the columns: size first, filename last (further commas are the name's), digests between.
md5, sha1, sha256 and sha512 are used; tiger, whirlpool and others are passed over. The header may come again
in mid-file, where lists were joined, and then the columns after it hold.

A row counts as one line, kept or refused: it is taken only if all its digests are good, since a refused line
that half went in could be neither counted nor corrected. Rows whose columns have known widths are decoded all
at once, the others one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loader.errors import UnknownColumn, UnknownFormat
from loader.lines import IndexArray, LineChunk, read_lines
from loader.readers.base import Batch, ReadOptions
from loader.report import FileReport, Unit
from loader.sources import ListFile
from snapshot.algorithms import MD5, SHA1, SHA256, SHA512, Algorithm
from snapshot.errors import HexdigestError
from snapshot.hexdigest import ByteMatrix, parse_digest, unhex_rows

_MARK: Final = b"%%%% "
_VERSION_LINE: Final = b"%%%% HASHDEEP-1.0"
_USED: Final = {algorithm.name: algorithm for algorithm in (MD5, SHA1, SHA256, SHA512)}
# hashdeep(1), option -c: what it can compute, with the length of its hexdigest
_WIDTHS: Final = {"tiger": 48, "whirlpool": 128} | {name: a.hex_length for name, a in _USED.items()}
_PERCENT, _COMMA = b"%,"


@dataclass(frozen=True, slots=True)
class _Columns:
    """What lies between size and filename, in order; `used` are positions among them with their algorithm."""

    names: tuple[str, ...]
    used: tuple[tuple[int, Algorithm], ...]

    @property
    def offsets(self) -> tuple[int, ...] | None:
        """Where each begins after the size's comma, then where the filename does; None if not all are known."""
        if not all(name in _WIDTHS for name in self.names):
            return None
        return tuple(sum(_WIDTHS[name] + 1 for name in self.names[:count]) for count in range(len(self.names) + 1))


class HashdeepReader:
    """`hashdeep`: rows with several digests of one file."""

    name = "hashdeep"
    unit: Unit = "line"
    is_text = True

    def recognises(self, first_lines: Sequence[bytes], options: ReadOptions) -> bool:
        """Tell whether the header's first line is there."""
        return _VERSION_LINE in first_lines

    def read(self, source: ListFile, options: ReadOptions, report: FileReport) -> Iterator[Batch]:
        """Yield the digests between two headers, an algorithm at a time.

        Raises UnknownFormat if a row comes before any header, and UnknownColumn for a header without a digest
        column of ours, or without that of a declared algorithm.
        """
        state = _State(options, report)
        for chunk in read_lines(source, report):
            headers = np.flatnonzero(chunk.data[chunk.starts] == _PERCENT)
            begin = 0
            for header in [*headers.tolist(), len(chunk)]:
                yield from state.rows(chunk, np.arange(begin, header))
                if header < len(chunk):
                    state.header(chunk.line(header), chunk.first_line + header)
                begin = header + 1


class _State:
    """The columns that hold at this line, None outside a list."""

    def __init__(self, options: ReadOptions, report: FileReport) -> None:
        self._options = options
        self._report = report
        self._columns: _Columns | None = None
        self._version_seen = False

    def header(self, line: bytes, number: int) -> None:
        """Take a line that begins with a percent sign."""
        if line == _VERSION_LINE:
            self._version_seen, self._columns = True, None
            return
        names = tuple(line.removeprefix(_MARK).decode("ascii", "replace").split(","))
        is_columns = line.startswith(_MARK) and names[0] == "size" and names[-1] == "filename"
        if not self._version_seen or self._columns is not None or not is_columns:
            self._report.refuse(number, "header", "is not %%%% HASHDEEP-1.0 followed by %%%% size,…,filename")
            return
        names = names[1:-1]
        used = tuple((position, _USED[name]) for position, name in enumerate(names) if name in _USED)
        declared = self._options.algorithm
        if not used or len({*names}) < len(names):
            message = f"line {number}: needs md5, sha1, sha256 or sha512 among its columns, and none of them twice"
            raise UnknownColumn(self._report.path, message)
        if declared is not None and declared.name not in names:
            message = f"line {number}: the list was declared as {declared.name}, which is none of its columns"
            raise UnknownColumn(self._report.path, message)
        self._columns = _Columns(names, used)

    def rows(self, chunk: LineChunk, lines: IndexArray) -> Iterator[Batch]:
        """Yield the digests of lines that are no headers."""
        left = chunk.with_content(lines)
        if not len(left):
            return
        if self._columns is None:
            self._refuse_headless(chunk, left)
            return
        offsets = self._columns.offsets
        if offsets is not None:
            digests, taken, left = _take_regular(chunk, left, self._columns, offsets)
            yield from self._batches(self._columns, digests, (taken + chunk.first_line).tolist())
        digests, numbers = self._take_singly(chunk, left, self._columns)
        yield from self._batches(self._columns, digests, numbers)

    def _refuse_headless(self, chunk: LineChunk, lines: IndexArray) -> None:
        first = chunk.first_line + int(lines[0])
        if not self._version_seen:
            message = f"line {first}: a hashdeep list begins with the line %%%% HASHDEEP-1.0; check --format"
            raise UnknownFormat(self._report.path, message)
        self._report.refuse(first, "row", "comes before the header that names the columns", len(lines))

    def _batches(self, columns: _Columns, digests: list[ByteMatrix], rows: list[int]) -> Iterator[Batch]:
        for (_, algorithm), matrix in zip(columns.used, digests, strict=True):
            if len(matrix):
                self._report.keep(algorithm, len(matrix))
                yield Batch(algorithm, matrix, rows=rows if len(columns.used) > 1 else None)

    def _take_singly(
        self, chunk: LineChunk, lines: IndexArray, columns: _Columns
    ) -> tuple[list[ByteMatrix], list[int]]:
        taken: list[list[bytes]] = [[] for _ in columns.used]
        numbers: list[int] = []
        for index in lines:
            cells = chunk.line(index).split(b",", len(columns.names) + 1)
            number = chunk.first_line + int(index)
            if len(cells) < len(columns.names) + 2 or not cells[-1]:
                wanted = len(columns.names) + 2
                self._report.refuse(number, "row", f"has {len(cells)} columns of {wanted}, or no file name")
                continue
            row = []
            for position, algorithm in columns.used:
                try:
                    row.append(parse_digest(cells[1 + position], algorithm))
                except HexdigestError as error:
                    self._report.refuse(number, algorithm.name, str(error))
                    break
            else:
                numbers.append(number)
                for digests, digest in zip(taken, row, strict=True):
                    digests.append(digest)
        matrices = [
            np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, algorithm.digest_bytes)
            for digests, (_, algorithm) in zip(taken, columns.used, strict=True)
        ]
        return matrices, numbers


def _take_regular(
    chunk: LineChunk, lines: IndexArray, columns: _Columns, offsets: tuple[int, ...]
) -> tuple[list[ByteMatrix], IndexArray, IndexArray]:
    """Decode the rows whose commas stand where the columns' widths put them; give their lines, and the others."""
    commas = np.flatnonzero(chunk.data == _COMMA)
    sentinel = np.append(commas, len(chunk.data))
    begin = sentinel[np.searchsorted(commas, chunk.starts[lines])] + 1
    regular = begin + offsets[-1] < chunk.ends[lines]
    for offset in offsets[1:]:
        # Only rows that are still regular reach so far; the others look at the first byte, in vain.
        regular &= chunk.data[np.where(regular, begin + offset - 1, 0)] == _COMMA
    rows = np.flatnonzero(regular)
    good = np.ones(len(rows), dtype=np.bool_)
    digests = []
    for position, algorithm in columns.used:
        matrix, column_good = unhex_rows(chunk.rows(begin[rows] + offsets[position], algorithm.hex_length))
        digests.append(matrix)
        if column_good is not None:
            good &= column_good
    regular[rows[~good]] = False
    return [matrix[good] for matrix in digests], lines[regular], lines[~regular]
