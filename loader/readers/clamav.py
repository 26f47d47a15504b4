"""ClamAV's signatures by hash: `.hdb` (md5) and `.hsb` (sha1, sha256), and `.hdu`, `.hsu`, which look the same.

    44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test-Signature
    275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f:*:Eicar-Test-Signature:73

Digest, size of the file in bytes or `*` for any, name, and perhaps the level of ClamAV that it needs, and the highest.
The digest's length tells its algorithm, whatever the file's name. Size, name and levels are checked and not kept: a
digest is listed whatever the size says. Comments begin with `#`.

Lines are decoded at once where their colons stand as they should, the others one by one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from loader.lines import IndexArray, LineChunk, read_lines
from loader.readers.base import Batch, ReadOptions
from loader.readers.faults import BadFieldError
from loader.readers.hexlist import parse_text
from loader.report import FileReport, Unit
from loader.sources import ListFile
from snapshot.algorithms import MD5, SHA1, SHA256, Algorithm
from snapshot.errors import HexdigestError
from snapshot.hexdigest import unhex_rows

_ALGORITHMS: Final = (MD5, SHA1, SHA256)
_KNOWN: Final = ", ".join(f"{algorithm.hex_length} ({algorithm.name})" for algorithm in _ALGORITHMS)
#: Digits of a size or a level: those of the largest number of 64 bits.
_MAX_DIGITS: Final = 20
_SIZE: Final = re.compile(rb"\*|[0-9]{1,%d}" % _MAX_DIGITS)
_LEVEL: Final = re.compile(rb"[0-9]{1,%d}" % _MAX_DIGITS)
_COLON, _STAR, _ZERO = b":*0"

_Flags = npt.NDArray[np.bool_]


class ClamavReader:
    """`clamav`: reads some 4 million lines a second."""

    name = "clamav"
    unit: Unit = "line"
    is_text = True

    def recognises(self, first_lines: Sequence[bytes], options: ReadOptions) -> bool:
        """Tell whether any line has the form."""
        return any(_is_signature(line, options.algorithm) for line in first_lines if not line.startswith(b"#"))

    def read(self, source: ListFile, options: ReadOptions, report: FileReport) -> Iterator[Batch]:
        """Yield the digests of each chunk of lines, an algorithm at a time."""
        declared = options.algorithm
        for chunk in read_lines(source, report):
            left = np.ones(len(chunk), dtype=np.bool_)
            fields = _Fields(chunk)
            for algorithm in _ALGORITHMS:
                if declared in {None, algorithm}:
                    batch = _take_regular(chunk, fields, algorithm, left)
                    if batch is not None:
                        report.keep(algorithm, len(batch.digests))
                        yield batch
            yield from _take_singly(chunk, chunk.with_content(np.flatnonzero(left)), declared, report)


class _Fields:
    """Where the colons of a chunk are, and how many bytes before each place are no digits."""

    def __init__(self, chunk: LineChunk) -> None:
        self._data = chunk.data
        self.colons = np.flatnonzero(chunk.data == _COLON)
        #: For each line, the index in `colons` of the first one that is not before it.
        self.first = np.searchsorted(self.colons, chunk.starts)
        #: For each line, how many colons it has.
        self.counts = np.searchsorted(self.colons, chunk.ends) - self.first
        foreign = (chunk.data - _ZERO) > 9  # bytes below 0 wrap around to large ones
        self._foreign = np.zeros(len(chunk.data) + 1, dtype=np.int32)
        np.cumsum(foreign, out=self._foreign[1:], dtype=np.int32)

    def are_numbers(self, begins: IndexArray, ends: IndexArray) -> _Flags:
        """Tell which stretches are digits, as many as a number may have."""
        widths = ends - begins
        flags: _Flags = (widths > 0) & (widths <= _MAX_DIGITS) & (self._foreign[begins] == self._foreign[ends])
        return flags

    def are_stars(self, begins: IndexArray, ends: IndexArray) -> _Flags:
        """Tell which stretches are one asterisk. There must be a byte at each beginning."""
        flags: _Flags = (ends - begins == 1) & (self._data[begins] == _STAR)
        return flags


def _take_regular(chunk: LineChunk, fields: _Fields, algorithm: Algorithm, left: _Flags) -> Batch | None:
    """Decode the lines with a digest of this algorithm and at most one level.

    Those taken are struck out of `left`.
    """
    lines = np.flatnonzero(left & ((fields.counts == 2) | (fields.counts == 3)))
    width = algorithm.hex_length
    first = fields.first[lines]
    fits = fields.colons[first] == chunk.starts[lines] + width
    lines, first = lines[fits], first[fits]
    size_begin, size_end = fields.colons[first] + 1, fields.colons[first + 1]
    ends = chunk.ends[lines]
    has_level = fields.counts[lines] == 3
    # Where there is no third colon, what is read instead means nothing and is not used.
    third = fields.colons[np.minimum(first + 2, len(fields.colons) - 1)] if len(lines) else first
    name_end = np.where(has_level, third, ends)
    good = fields.are_numbers(size_begin, size_end) | fields.are_stars(size_begin, size_end)
    good &= name_end > size_end + 1
    level_begin = np.where(has_level, name_end + 1, ends)
    good &= ~has_level | fields.are_numbers(level_begin, ends)
    lines = lines[good]
    if not len(lines):
        return None
    digests, decoded = unhex_rows(chunk.rows(chunk.starts[lines], width))
    if decoded is not None:
        digests, lines = digests[decoded], lines[decoded]
    left[lines] = False
    return Batch(algorithm, digests) if len(lines) else None


def _take_singly(
    chunk: LineChunk, lines: IndexArray, declared: Algorithm | None, report: FileReport
) -> Iterator[Batch]:
    taken: dict[Algorithm, list[bytes]] = defaultdict(list)
    for index in lines:
        try:
            algorithm, digest = _parse_line(chunk.line(index), declared)
        except BadFieldError as bad:
            report.refuse(chunk.first_line + int(index), bad.field, bad.why)
        else:
            taken[algorithm].append(digest)
    for algorithm, digests in taken.items():
        report.keep(algorithm, len(digests))
        packed = np.frombuffer(b"".join(digests), dtype=np.uint8)
        yield Batch(algorithm, packed.reshape(-1, algorithm.digest_bytes))


def _parse_line(line: bytes, declared: Algorithm | None) -> tuple[Algorithm, bytes]:
    """Give the algorithm and digest of a line.

    Raises BadFieldError.
    """
    text, *others = line.split(b":")
    if not 2 <= len(others) <= 4:
        raise BadFieldError("line", f"has {len(others) + 1} fields between colons, a signature has 3 to 5")
    try:
        algorithm, digest = parse_text(text, declared)
    except HexdigestError as error:
        raise BadFieldError("digest", str(error)) from None
    if algorithm not in _ALGORITHMS:
        raise BadFieldError("digest", f"has {len(text)} characters; signatures have {_KNOWN}")
    size, name, *levels = others
    if not _SIZE.fullmatch(size):
        raise BadFieldError("size", "is neither a number nor *")
    if not name:
        raise BadFieldError("name", "is empty")
    if not all(_LEVEL.fullmatch(level) for level in levels):
        raise BadFieldError("level", "is no number")
    return algorithm, digest


def _is_signature(line: bytes, declared: Algorithm | None) -> bool:
    try:
        _parse_line(line, declared)
    except BadFieldError:
        return False
    return True
