"""Stretches of a table that have no quotation mark and nothing bad in them, read as arrays: ten times as fast as csv.

    plain_batches(chunk, columns, delimiter, report)    → batches, or None: not plain, and nothing was counted

A stretch is plain if every row has the header's cells and a digest, each digest is well formed or blank, and each label
may stand in a snapshot. Then a row is a line and a cell is what stands between two delimiters, and no parser is needed.
Whatever else a stretch holds, it is loader/readers/csv_columns.py that reads it, and says what is bad about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from loader.lines import IndexArray, LineChunk
from loader.readers.base import Batch
from loader.readers.csv_header import Columns
from loader.report import FileReport
from snapshot.algorithms import Algorithm
from snapshot.hexdigest import ByteMatrix, unbase64_rows, unhex_rows

#: Labels that are told apart by comparing arrays. Where there are more, as of references, each is cut out by itself.
_MAX_COMPARED: Final = 32
#: A label that fewer rows have than one in so many tells of many labels; so many such, and they are not compared.
_RARE: Final = 64
_MAX_RARE: Final = 4
#: The longest label that is compared so, and the longest that is taken here at all, in bytes.
_MAX_COMPARED_BYTES: Final = 64
_MAX_LABEL_BYTES: Final = 1024
_QUOTE, _CR = b'"\r'

_Labels = Sequence[str | None]


class _Table(NamedTuple):
    """The cells of some rows, by column, and the number of the line of each row."""

    columns: list[_Cells]
    lines: Sequence[int]


class _Cells(NamedTuple):
    """One column: where in the chunk's data the cell of each row begins, and how many bytes it has."""

    starts: IndexArray
    lengths: IndexArray


class _Digests(NamedTuple):
    """The digests of one column, and which rows have one; None: all."""

    algorithm: Algorithm
    matrix: ByteMatrix
    rows: IndexArray | None


def plain_batches(chunk: LineChunk, columns: Columns, delimiter: str, report: FileReport) -> list[Batch] | None:
    """Give the digests of some lines, an algorithm at a time, with their labels; None unless every row is plain.

    Cost: 0.15 µs a row with two digests and one of a few categories, and as much again for a reference.
    """
    table = _cut(chunk, len(columns.headers), delimiter)
    if table is None:
        return None
    cells = table.columns
    digests = []
    for place, algorithm in columns.digests:
        column = _digests(chunk, cells[place], algorithm)
        if column is None:
            return None
        digests.append(column)
    if not _each_row_has_one(digests, len(cells[0].starts)):
        return None
    labels: dict[str, _Labels] = {}
    for place, name in columns.labels:
        found = _labels(chunk, cells[place])
        if found is None:
            return None
        labels[name] = found
    lines = table.lines if len(columns.digests) > 1 else None
    batches = [_batch(column, labels, lines) for column in digests if len(column.matrix)]
    for batch in batches:
        report.keep(batch.algorithm, len(batch.digests))
    return batches


def _cut(chunk: LineChunk, width: int, delimiter: str) -> _Table | None:
    """Find the cells of all rows, by column. Lines without a character are no rows."""
    starts, ends = chunk.starts, chunk.ends
    first = int(starts[0])
    data = chunk.data[first : ends[-1]]
    # A CR that is not part of a line's ending is content, which csv does not take.
    endings = len(starts) - 1 - int(np.count_nonzero(starts[1:] == ends[:-1] + 1))
    if len(delimiter.encode()) != 1 or (data == _QUOTE).any() or np.count_nonzero(data == _CR) != endings:
        return None
    lines: Sequence[int] = range(chunk.first_line, chunk.first_line + len(starts))
    filled = np.flatnonzero(starts < ends)
    if len(filled) < len(starts):
        starts, ends = starts[filled], ends[filled]
        lines = (filled + chunk.first_line).tolist()
    marks = np.flatnonzero(data == ord(delimiter))
    if not len(starts) or len(marks) != len(starts) * (width - 1):
        return None
    between = [marks[i :: width - 1] + first for i in range(width - 1)]
    # As many delimiters as there should be in all: then no row has too many unless another has too few.
    if between and ((between[0] < starts).any() or (between[-1] >= ends).any()):
        return None
    begins = [starts, *(column + 1 for column in between)]
    stops = [*between, ends]
    return _Table([_Cells(begin, stop - begin) for begin, stop in zip(begins, stops, strict=True)], lines)


def _digests(chunk: LineChunk, cells: _Cells, algorithm: Algorithm) -> _Digests | None:
    """Decode a column whose cells are digests of one form, or blank."""
    starts, lengths = cells
    rows = None
    if not lengths.all():
        rows = np.flatnonzero(lengths)
        starts, lengths = starts[rows], lengths[rows]
        if not len(rows):
            return _Digests(algorithm, np.zeros((0, algorithm.digest_bytes), dtype=np.uint8), rows)
    width = int(lengths[0])
    if width not in (algorithm.hex_length, algorithm.base64_length) or (lengths != width).any():
        return None
    decode = unhex_rows if width == algorithm.hex_length else unbase64_rows
    matrix, good = decode(chunk.rows(starts, width))
    return None if good is not None else _Digests(algorithm, matrix, rows)


def _each_row_has_one(digests: Sequence[_Digests], count: int) -> bool:
    has_one = np.zeros(count, dtype=np.bool_)
    for column in digests:
        if column.rows is None:
            return True
        has_one[column.rows] = True
    return bool(has_one.all())


def _labels(chunk: LineChunk, cells: _Cells) -> _Labels | None:
    """Give the label of each row, None where it is blank; None in all if one may not stand in a snapshot."""
    if int(cells.lengths.max()) > _MAX_LABEL_BYTES:
        return None
    found = _by_comparing(chunk, cells) or _one_by_one(chunk, cells)
    texts, codes = found
    if not all(map(str.isprintable, texts)):
        return None
    names = [text if text and not text.isspace() else None for text in texts]
    return names if codes is None else list(map(names.__getitem__, codes.tolist()))


def _by_comparing(chunk: LineChunk, cells: _Cells) -> tuple[list[str], IndexArray] | None:
    """Give the different texts of a column, and which of them each row has; None if there are many, or long ones."""
    codes = np.zeros(len(cells.starts), dtype=np.int64)
    texts: list[str] = []
    rare = 0
    counts = np.bincount(cells.lengths)
    if len(counts) > _MAX_COMPARED_BYTES + 1:
        return None
    for length in np.flatnonzero(counts).tolist():
        left = np.flatnonzero(cells.lengths == length)
        if not length:
            codes[left] = len(texts)
            texts.append("")
            continue
        words = _words(chunk.rows(cells.starts[left], length))
        while len(left):
            if len(texts) == _MAX_COMPARED:
                return None
            same = words[:, 0] == words[0, 0]
            for place in range(1, words.shape[1]):
                same &= words[:, place] == words[0, place]
            rare += int(np.count_nonzero(same)) * _RARE < len(left)
            if rare == _MAX_RARE:
                return None
            codes[left[same]] = len(texts)
            start = cells.starts[left[0]]
            texts.append(chunk.data[start : start + length].tobytes().decode("utf-8", "surrogateescape"))
            left, words = left[~same], words[~same]
    return texts, codes


def _words(rows: ByteMatrix) -> npt.NDArray[np.uint64]:
    """Give rows of shape (n, L) as integers of 8 bytes, which compare much faster than bytes."""
    count, length = rows.shape
    padded = np.zeros((count, -(-length // 8) * 8), dtype=np.uint8)
    padded[:, :length] = rows
    return padded.view(np.uint64)


def _one_by_one(chunk: LineChunk, cells: _Cells) -> tuple[list[str], None]:
    starts, ends = cells.starts, cells.starts + cells.lengths
    first = int(starts[0])
    raw = chunk.data[first : int(ends[-1])].tobytes()
    bounds = zip((starts - first).tolist(), (ends - first).tolist(), strict=True)
    if raw.isascii():
        text = raw.decode("ascii")
        return [text[begin:end] for begin, end in bounds], None
    return [raw[begin:end].decode("utf-8", "surrogateescape") for begin, end in bounds], None


def _batch(column: _Digests, labels: dict[str, _Labels], lines: Sequence[int] | None) -> Batch:
    own: dict[str, _Labels | None] = {}
    indexes = None if column.rows is None else column.rows.tolist()
    for name, values in labels.items():
        chosen = values if indexes is None else [values[index] for index in indexes]
        own[name] = chosen if any(value is not None for value in chosen) else None
    if lines is not None and indexes is not None:
        lines = [lines[index] for index in indexes]
    return Batch(column.algorithm, column.matrix, own.get("category"), own.get("reference"), lines)
