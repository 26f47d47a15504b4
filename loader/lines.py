r"""From a list file's bytes to whole lines, many at a time, so that readers can work on arrays.

A line ends with LF; one CR before it, or before the end of the file, belongs to the ending. A CR elsewhere is
content. The last line need not have an ending. Numbers count from 1.

Memory is bounded by the chunk, whatever the file holds: a line longer than MAX_LINE_BYTES is never held, it
is skipped and reported as bad.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from loader.report import FileReport
from loader.sources import ListFile
from snapshot.hexdigest import ByteMatrix

#: Bytes of a chunk: 65,000 lines of sha256 hex, and small beside the caches of a server's processor.
LINE_CHUNK_BYTES: Final = 4 << 20
#: The longest line that is read, without its ending. A digest with a long path has some 4 KiB.
MAX_LINE_BYTES: Final = 64 * 1024

IndexArray = npt.NDArray[np.int64]

_LF, _CR, _HASH, _BLANK, _TAB = (ord(c) for c in "\n\r# \t")


@dataclass(frozen=True, slots=True, eq=False)
class LineChunk:
    """Some consecutive whole lines.

    `data` are the bytes, shape (m,); line i is `data[starts[i]:ends[i]]`, without its ending, and has the
    number `first_line + i`. `starts` and `ends` have shape (n,), n ≥ 1.
    """

    data: npt.NDArray[np.uint8]
    starts: IndexArray
    ends: IndexArray
    first_line: int

    def __len__(self) -> int:
        return len(self.starts)

    def line(self, index: int) -> bytes:
        """Give one line."""
        return self.data[self.starts[index] : self.ends[index]].tobytes()

    def rows(self, starts: IndexArray, width: int) -> ByteMatrix:
        """Gather `width` bytes from each of n positions in `data`, shape (n, width).

        The caller sees to it that each position is followed by so many bytes. Cost: one copy.
        """
        if not len(starts):
            return np.zeros((0, width), dtype=np.uint8)
        # One item of `width` bytes at every position of the data: the gather copies whole items and is four
        # times as fast as one that computes an index for every byte.
        windows = np.ndarray(len(self.data) - width + 1, dtype=f"V{width}", buffer=self.data, strides=(1,))
        return windows[starts].view(np.uint8).reshape(-1, width)

    def with_content(self, indexes: IndexArray) -> IndexArray:
        """Keep of some lines those that are neither blank nor comments.

        A comment has `#` as its first character; a blank line nothing but spaces and tabs.
        """
        indexes = indexes[self.ends[indexes] > self.starts[indexes]]
        first = self.data[self.starts[indexes]]
        indexes, first = indexes[first != _HASH], first[first != _HASH]
        perhaps_blank = (first == _BLANK) | (first == _TAB)
        if not perhaps_blank.any():
            return indexes
        blank = [maybe and not self.line(i).strip(b" \t") for i, maybe in zip(indexes, perhaps_blank, strict=True)]
        return indexes[~np.array(blank, dtype=np.bool_)]


def read_lines(source: ListFile, report: FileReport, chunk_bytes: int = LINE_CHUNK_BYTES) -> Iterator[LineChunk]:
    """Yield a file's lines in chunks of about `chunk_bytes`, and count them in the report.

    A line that is too long is counted and refused here and stands in no chunk: the chunk after it begins
    with the number after its own. Cost: 0.3 ns a byte.
    """
    splitter = _Splitter(source, report, chunk_bytes)
    while not splitter.at_end:
        yield from splitter.next_chunks()


class _Splitter:
    """The state between two chunks: the beginning of a line, or that a long one is being skipped."""

    def __init__(self, source: ListFile, report: FileReport, chunk_bytes: int) -> None:
        self.at_end = False
        self._source = source
        self._report = report
        self._chunk_bytes = chunk_bytes
        self._begun = np.zeros(0, dtype=np.uint8)
        self._skipping = False

    def next_chunks(self) -> Iterator[LineChunk]:
        data = self._fill()
        if self._skipping:
            data = self._skip(data)
        breaks = _line_feeds(data)
        whole = int(breaks[-1]) + 1 if len(breaks) else 0
        self._begun = data[whole:]
        if self.at_end and len(self._begun):
            breaks = np.append(breaks, len(data))  # the last line has no ending
            self._begun = self._begun[:0]
        if len(breaks):
            yield from self._chunks(data, breaks)
            if int(breaks[-1]) == len(data):
                self._report.unended_line = self._report.lines_read
        # One byte may be the CR of an ending whose LF is still to come.
        if len(self._begun) > MAX_LINE_BYTES + 1:
            self._refuse_long()
            self._begun, self._skipping = self._begun[:0], True

    def _fill(self) -> npt.NDArray[np.uint8]:
        """Give the begun line and a chunk's worth of bytes after it, fewer only at the end."""
        # A new array for each chunk, so that chunks and what was cut from them stay valid.
        filled = len(self._begun)
        data = np.empty(filled + self._chunk_bytes, dtype=np.uint8)
        data[:filled] = self._begun
        while filled < len(data):
            count = self._source.readinto(data.data[filled:])
            if not count:
                self.at_end = True
                break
            filled += count
        return data[:filled]

    def _skip(self, data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Drop the rest of a long line, which was counted when it was found to be long."""
        breaks = np.flatnonzero(data == _LF)
        if not len(breaks):
            return data[:0]
        self._skipping = False
        return data[int(breaks[0]) + 1 :]

    def _chunks(self, data: npt.NDArray[np.uint8], breaks: IndexArray) -> Iterator[LineChunk]:
        starts = np.empty_like(breaks)
        starts[0] = 0
        starts[1:] = breaks[:-1] + 1
        ends = breaks - ((breaks > starts) & (data[breaks - 1] == _CR))
        begin = 0
        for long in np.flatnonzero(ends - starts > MAX_LINE_BYTES):
            if long > begin:
                yield self._chunk(data, starts[begin:long], ends[begin:long])
            self._refuse_long()
            begin = int(long) + 1
        if begin < len(starts):
            yield self._chunk(data, starts[begin:], ends[begin:])

    def _chunk(self, data: npt.NDArray[np.uint8], starts: IndexArray, ends: IndexArray) -> LineChunk:
        first_line = self._report.lines_read + 1
        self._report.lines_read += len(starts)
        return LineChunk(data, starts, ends, first_line)

    def _refuse_long(self) -> None:
        self._report.lines_read += 1
        self._report.refuse(self._report.lines_read, "line", f"is longer than {MAX_LINE_BYTES:,} bytes")


def _line_feeds(data: npt.NDArray[np.uint8]) -> IndexArray:
    """Give the positions of all line feeds.

    Lines mostly are of one length. Then there is one at each place where the first line's length says, and none
    elsewhere, which is told five times as fast as they are found one by one.
    """
    is_feed = data == _LF
    if not len(data):
        return np.flatnonzero(is_feed)
    first = int(is_feed[: MAX_LINE_BYTES + 2].argmax())
    expected = is_feed[first :: first + 1]
    if expected.all() and np.count_nonzero(is_feed) == len(expected):
        return np.arange(first, len(data), first + 1)
    return np.flatnonzero(is_feed)
