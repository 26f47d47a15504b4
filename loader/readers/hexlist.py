"""The plain form: one hexdigest per line, `#` comments, blank lines.

The algorithm follows from a line's length, unless it is declared; lists may mix lengths. With photodna
declared, 192 characters of base64 are taken as well as 288 of hex.

All lines of one length are decoded at once. What is left over is a comment, blank or bad, never good, so
only the bad lines that are named cost Python code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from loader.lines import IndexArray, LineChunk, read_lines
from loader.readers.base import Batch, ReadOptions
from loader.report import FileReport, Unit
from loader.sources import ListFile
from snapshot.algorithms import BY_HEX_LENGTH, Algorithm
from snapshot.errors import HexdigestError
from snapshot.hexdigest import ByteMatrix, algorithm_of, parse_digest, unbase64_rows, unhex_rows


class TextForm(NamedTuple):
    """One way to write a digest: `width` characters, and what decodes rows of them."""

    algorithm: Algorithm
    width: int
    decode: Callable[[ByteMatrix], tuple[ByteMatrix, npt.NDArray[np.bool_] | None]]


def text_forms(declared: Algorithm | None) -> tuple[TextForm, ...]:
    """Give the forms that a digest may have in a list, no two of one width, shortest first."""
    if declared is None:
        return tuple(TextForm(algorithm, width, unhex_rows) for width, algorithm in sorted(BY_HEX_LENGTH.items()))
    forms = [TextForm(declared, declared.hex_length, unhex_rows)]
    if declared.base64_length is not None:
        forms.append(TextForm(declared, declared.base64_length, unbase64_rows))
    return tuple(sorted(forms, key=lambda form: form.width))


def parse_text(text: bytes, declared: Algorithm | None) -> tuple[Algorithm, bytes]:
    """Give the algorithm and the raw digest of one text.

    Raises HexdigestError with a message that reads on from "digest: ".
    """
    try:
        algorithm = declared or algorithm_of(text)
        return algorithm, parse_digest(text, algorithm)
    except HexdigestError as error:
        hint = ""
        if text[:2].lower() == b"0x":
            hint = "; it begins with 0x"
        elif text != text.strip():
            hint = "; there are spaces around it"
        raise HexdigestError(error.why, f"{error}{hint}") from None


class HexListReader:
    """`hex`: reads 10 million lines of sha256 in less than a second."""

    name = "hex"
    unit: Unit = "line"
    is_text = True

    def recognises(self, first_lines: Sequence[bytes], options: ReadOptions) -> bool:
        """Tell whether any line is a hexdigest, or nothing is there that is not blank or a comment."""
        content = [line for line in first_lines if line.strip(b" \t") and not line.startswith(b"#")]
        return not content or any(_is_digest(line, options.algorithm) for line in content)

    def read(self, source: ListFile, options: ReadOptions, report: FileReport) -> Iterator[Batch]:
        """Yield the digests of each chunk of lines, an algorithm at a time."""
        forms = text_forms(options.algorithm)
        for chunk in read_lines(source, report):
            lengths = chunk.ends - chunk.starts
            left = np.ones(len(chunk), dtype=np.bool_)
            for algorithm, width, decode in forms:
                lines = np.flatnonzero(lengths == width)
                if not len(lines):
                    continue
                digests, good = decode(chunk.rows(chunk.starts[lines], width))
                if good is not None:
                    digests, lines = digests[good], lines[good]
                left[lines] = False
                if len(lines):
                    report.keep(algorithm, len(lines))
                    yield Batch(algorithm, digests)
            _refuse(chunk, chunk.with_content(np.flatnonzero(left)), options, report)


def _refuse(chunk: LineChunk, lines: IndexArray, options: ReadOptions, report: FileReport) -> None:
    for done, index in enumerate(lines):
        if not report.names_more:
            report.refuse_unnamed(len(lines) - done, chunk.first_line + int(lines[-1]))
            return
        try:
            parse_text(chunk.line(index), options.algorithm)
        except HexdigestError as error:
            report.refuse(chunk.first_line + int(index), "digest", str(error))
        else:  # a good line left over would be a silent miss
            raise AssertionError(f"line {chunk.first_line + int(index)} of {report.path} is good and was not taken")


def _is_digest(line: bytes, declared: Algorithm | None) -> bool:
    try:
        parse_text(line, declared)
    except HexdigestError:
        return False
    return True
