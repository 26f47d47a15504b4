r"""The output of md5sum, sha1sum, sha256sum and sha512sum, and its BSD form.

    HEX  name            GNU, text
    HEX *name            GNU, binary
    \HEX  na\nme         GNU, a name with escaped characters
    MD5 (name) = HEX     BSD; also SHA1, SHA256, SHA512

`#` comments and blank lines are allowed. The name may hold any bytes, UTF-8 or not; it is not used. GNU lines
are decoded all at once; every other line goes through `_parse_line`, one by one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from loader.lines import LineChunk, read_lines
from loader.readers.base import Batch, ReadOptions
from loader.readers.faults import BadFieldError
from loader.readers.hexlist import TextForm, parse_text, text_forms
from loader.report import FileReport, Unit
from loader.sources import ListFile
from snapshot.algorithms import MD5, SHA1, SHA256, SHA512, Algorithm
from snapshot.errors import HexdigestError

# Tags as coreutils' --tag and the BSD tools write them; a tag longer than any known one is no tag.
_BSD_LINE: Final = re.compile(rb"\\?([A-Za-z0-9/-]{1,16}) \(.+\) = (.*)", re.DOTALL)
_BSD_TAGS: Final = {b"MD5": MD5, b"SHA1": SHA1, b"SHA256": SHA256, b"SHA512": SHA512}
_BLANK, _STAR = b" *"


class HashsumReader:
    """`hashsum`: the lists that every Unix system writes."""

    name = "hashsum"
    unit: Unit = "line"
    is_text = True

    def recognises(self, first_lines: Sequence[bytes], options: ReadOptions) -> bool:
        """Tell whether any line has the GNU or the BSD form."""
        return any(_is_hashsum(line, options.algorithm) for line in first_lines)

    def read(self, source: ListFile, options: ReadOptions, report: FileReport) -> Iterator[Batch]:
        """Yield the digests of each chunk of lines: the GNU lines an algorithm at a time, then the others."""
        forms = text_forms(options.algorithm)
        for chunk in read_lines(source, report):
            left = np.ones(len(chunk), dtype=np.bool_)
            for form in forms:
                batch = _take_gnu_lines(chunk, form, left)
                if batch is not None:
                    report.keep(batch.algorithm, len(batch.digests))
                    yield batch
            others: defaultdict[Algorithm, list[bytes]] = defaultdict(list)
            for index in chunk.with_content(np.flatnonzero(left)):
                try:
                    algorithm, digest = _parse_line(chunk.line(index), options.algorithm)
                except BadFieldError as bad:
                    report.refuse(chunk.first_line + int(index), bad.field, bad.why)
                else:
                    others[algorithm].append(digest)
            for algorithm, digests in others.items():
                report.keep(algorithm, len(digests))
                packed = np.frombuffer(b"".join(digests), dtype=np.uint8)
                yield Batch(algorithm, packed.reshape(-1, algorithm.digest_bytes))


def _take_gnu_lines(chunk: LineChunk, form: TextForm, left: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Batch | None:
    """Decode the lines that are a digest of this form, two separating characters and a name.

    Those taken are struck out of `left`. No line suits two forms: where one has its separator, a longer one
    would need a digit.
    """
    lines = np.flatnonzero(left & (chunk.ends - chunk.starts > form.width + 2))
    after = chunk.starts[lines] + form.width
    kind = chunk.data[after + 1]
    lines = lines[(chunk.data[after] == _BLANK) & ((kind == _BLANK) | (kind == _STAR))]
    if not len(lines):
        return None
    digests, good = form.decode(chunk.rows(chunk.starts[lines], form.width))
    if good is not None:
        digests, lines = digests[good], lines[good]
    left[lines] = False
    return Batch(form.algorithm, digests) if len(lines) else None


def _parse_line(line: bytes, declared: Algorithm | None) -> tuple[Algorithm, bytes]:
    """Give the algorithm and digest of a line of either form.

    Raises BadFieldError.
    """
    bsd = _BSD_LINE.fullmatch(line)
    if bsd is not None:
        return _parse_bsd(bsd[1], bsd[2], declared)
    text, blank, rest = line.removeprefix(b"\\").partition(b" ")
    parsed = _parse_digest(text, declared)
    if not blank:
        raise BadFieldError("name", "is missing; for bare digests use --format hex")
    if rest[:1] not in (b" ", b"*"):
        raise BadFieldError("separator", f"after {len(text)} characters is not two blanks, or a blank and *")
    if len(rest) == 1:
        raise BadFieldError("name", "is empty")
    return parsed


def _parse_bsd(tag: bytes, text: bytes, declared: Algorithm | None) -> tuple[Algorithm, bytes]:
    algorithm = _BSD_TAGS.get(tag)
    if algorithm is None:
        raise BadFieldError("algorithm", f"unsupported algorithm {tag.decode('ascii')}")
    if declared not in (None, algorithm):
        raise BadFieldError("algorithm", f"is {algorithm.name}, the list was declared as {declared.name}")
    return _parse_digest(text, algorithm)


def _parse_digest(text: bytes, algorithm: Algorithm | None) -> tuple[Algorithm, bytes]:
    try:
        return parse_text(text, algorithm)
    except HexdigestError as error:
        raise BadFieldError("digest", str(error)) from None


def _is_hashsum(line: bytes, declared: Algorithm | None) -> bool:
    try:
        _parse_line(line, declared)
    except BadFieldError:
        return False
    return True
