"""read_lines: the same lines as a plain split, in bounded memory."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader import lines as lines_module
from loader.lines import MAX_LINE_BYTES, _line_feeds, read_lines
from loader.report import FileReport
from loader.sources import ListFile


def lines_of(path: Path, chunk_bytes: int) -> tuple[dict[int, bytes], FileReport]:
    """Give the lines by their number, and the report."""
    report = FileReport(str(path), "hex")
    found: dict[int, bytes] = {}
    with ListFile(path) as source:
        for chunk in read_lines(source, report, chunk_bytes):
            assert len(chunk) > 0
            for index in range(len(chunk)):
                assert chunk.first_line + index not in found
                found[chunk.first_line + index] = chunk.line(index)
    return found, report


def plain_lines(content: bytes) -> list[bytes]:
    pieces = content.split(b"\n")
    if not pieces[-1]:
        del pieces[-1]
    return [piece.removesuffix(b"\r") for piece in pieces]


PIECES = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"bc", b"#", b" ", b"\xff\xfe", b"0123456789" * 9]))


@given(pieces=PIECES, chunk_bytes=st.integers(1, 300), cap=st.sampled_from([5, 40, MAX_LINE_BYTES]))
def test_lines_equal_a_plain_split(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], chunk_bytes: int, cap: int
) -> None:
    content = b"x" + b"".join(pieces)
    path = tmp_path_factory.mktemp("lines") / "list"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "MAX_LINE_BYTES", cap)
        found, report = lines_of(path, chunk_bytes)
    plain = plain_lines(content)
    long = [number for number, line in enumerate(plain, start=1) if len(line) > cap]
    assert found == {number: line for number, line in enumerate(plain, start=1) if len(line) <= cap}
    assert report.lines_read == len(plain)
    assert report.bad_line_count == len(long)
    assert [bad.line for bad in report.bad_lines] == long[:20]


@given(
    count=st.integers(0, 30), width=st.integers(0, 9), rest=st.integers(0, 9),
    changes=st.lists(st.tuples(st.integers(0, 400), st.sampled_from(b"\n\r#a")), max_size=3),
)  # fmt: skip
def test_line_feeds_are_found_where_lines_are_of_one_length_and_where_one_is_not(
    count: int, width: int, rest: int, changes: list[tuple[int, int]]
) -> None:
    content = bytearray((b"a" * width + b"\n") * count + b"a" * rest)
    for at, byte in changes:
        if at < len(content):
            content[at] = byte
    expected = [at for at, byte in enumerate(content) if byte == ord("\n")]
    assert _line_feeds(np.frombuffer(content, np.uint8)).tolist() == expected


def test_the_longest_line_is_kept_and_one_more_byte_is_not(tmp_path: Path) -> None:
    path = tmp_path / "list"
    longest = b"x" * MAX_LINE_BYTES
    path.write_bytes(longest + b"\r\n" + longest + b"x\n" + longest + b"\n" + longest + b"x")
    found, report = lines_of(path, 4 << 20)
    assert found == {1: longest, 3: longest}
    assert [(bad.line, bad.field, bad.why) for bad in report.bad_lines] == [
        (2, "line", "is longer than 65,536 bytes"),
        (4, "line", "is longer than 65,536 bytes"),
    ]


@pytest.mark.parametrize("ending", [b"\nlast\n", b""])
def test_a_line_of_100_mb_costs_no_more_than_chunks(tmp_path: Path, ending: bytes) -> None:
    path = tmp_path / "list"
    with path.open("wb") as file:
        file.write(b"first\n")
        for _ in range(100):
            file.write(b"a" * 1_000_000)
        file.write(ending)
    tracemalloc.start()
    try:
        found, report = lines_of(path, 1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
    assert found == ({1: b"first", 3: b"last"} if ending else {1: b"first"})
    assert [bad.line for bad in report.bad_lines] == [2]


def test_rows_are_gathered_from_anywhere(tmp_path: Path) -> None:
    chance = random.Random(1)
    content = b"".join(chance.randbytes(chance.randrange(8, 30)).hex().encode() + b"\n" for _ in range(500))
    path = tmp_path / "list"
    path.write_bytes(content)
    with ListFile(path) as source:
        (chunk,) = read_lines(source, FileReport(str(path), "hex"))
    chosen = np.array(chance.sample(range(len(chunk)), 100))
    rows = chunk.rows(chunk.starts[chosen] + 3, 13)
    assert [row.tobytes() for row in rows] == [chunk.line(index)[3:16] for index in chosen]
    assert chunk.rows(chunk.starts[:0], 13).shape == (0, 13)


def test_content_is_what_is_neither_blank_nor_comment(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"a\n\n#b\n \n\t \n  c\n # d\n\r\ne")
    with ListFile(path) as source:
        (chunk,) = read_lines(source, FileReport(str(path), "hex"))
    assert chunk.with_content(np.arange(len(chunk))).tolist() == [0, 5, 6, 8]
    assert chunk.with_content(np.array([0, 1, 8])).tolist() == [0, 8]
    assert chunk.with_content(np.array([], dtype=np.int64)).tolist() == []
