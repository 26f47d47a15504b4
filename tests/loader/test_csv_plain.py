"""Plain stretches of a table: read as arrays they give what csv's parser gives, and nothing else is taken for plain."""

from __future__ import annotations

import base64
import random
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.lines import LineChunk, read_lines
from loader.readers import csv_columns
from loader.readers.base import Batch, ReadOptions
from loader.readers.csv_columns import CsvReader
from loader.readers.csv_header import Columns
from loader.readers.csv_plain import plain_batches
from loader.report import FileReport
from loader.sources import ListFile
from snapshot.algorithms import MD5, PHOTODNA, SHA256

COLUMNS = Columns(((0, MD5), (1, SHA256)), ((2, "category"), (3, "reference")), ("md5", "sha256", "category", "id"))
HEADER = "md5,sha256,other,photodna,category,reference\n"

Plain = list[tuple[str, list[bytes], list[str | None], list[str | None], list[int]]]


def flat(batches: list[Batch]) -> Plain:
    """Give the rows of all batches, by algorithm in the order in which they came."""
    found: dict[str, tuple[list[bytes], list[str | None], list[str | None], list[int]]] = {}
    for batch in batches:
        digests, categories, references, lines = found.setdefault(batch.algorithm.name, ([], [], [], []))
        lines += batch.rows if batch.rows is not None else [0] * len(batch.digests)
        digests += [row.tobytes() for row in batch.digests]
        categories += batch.categories or [None] * len(batch.digests)
        references += batch.references or [None] * len(batch.digests)
    return [(name, *rows) for name, rows in sorted(found.items())]


def read(path: Path, *, by_arrays: bool, chunk_bytes: int = 4 << 20) -> tuple[Plain, FileReport, int]:
    """Read a table, and give how many stretches were plain."""
    report = FileReport(str(path), "csv")
    plain: list[bool] = []

    def count(*args: object) -> list[Batch] | None:
        batches = plain_batches(*args) if by_arrays else None  # type: ignore[arg-type]
        plain.append(batches is not None)
        return batches

    with ListFile(path) as source, patch.object(csv_columns, "plain_batches", count):
        return flat(list(CsvReader(chunk_bytes).read(source, ReadOptions(), report))), report, sum(plain)


def digest(rng: random.Random, size: int) -> str:
    text = rng.randbytes(size).hex()
    return text.upper() if rng.random() < 0.2 else text


ODD = [",", ",,,,,,", '"', "\r", "\0", "x", " ", "\t", "\u00e4", "\u00a0", "\udcff", "=", "\n"]


def random_table(rng: random.Random, rows: int, odd: float, blank: float, labels: int) -> bytes:
    """Make a table that is mostly plain: `odd` of the rows have something in them that may not be."""
    lines = []
    categories = [
        rng.choice(["A1", "B 2", "gr\u00f6\u00dfer", "", " ", "x" * rng.randrange(80)]) for _ in range(labels)
    ]
    for number in range(rows):
        vector = rng.randbytes(144)
        cells = [
            "" if rng.random() < blank else digest(rng, 16), "" if rng.random() < blank else digest(rng, 32),
            "anything" * rng.randrange(3), rng.choice(["", vector.hex(), base64.b64encode(vector).decode()]),
            rng.choice(categories), rng.choice(["", f"case {number}", f"case {number // 3}"]),
        ]  # fmt: skip
        line = ",".join(cells)
        if rng.random() < odd:
            at = rng.randrange(len(line) + 1)
            line = line[:at] + rng.choice(ODD) + line[at + rng.randrange(2) :]
        lines.append(line + rng.choice(["\n", "\n", "\r\n"]))
    table = HEADER + "".join(lines) + rng.choice(["", "\n", "\n\n"])
    return table.encode("utf-8", "surrogateescape")[: None if rng.random() < 0.8 else -1]


@given(
    seed=st.integers(0, 2**32), rows=st.integers(0, 60), odd=st.sampled_from([0.0, 0.0, 0.02, 0.5]),
    blank=st.sampled_from([0.0, 0.1, 0.9]), labels=st.sampled_from([1, 4, 40]), piece=st.sampled_from([1, 5, 16_384]),
    chunk_bytes=st.sampled_from([200, 3000, 4 << 20]),
)  # fmt: skip
def test_arrays_give_what_the_parser_gives(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rows: int, odd: float, blank: float, labels: int, piece: int,
    chunk_bytes: int,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("csv") / "list.csv"
    path.write_bytes(random_table(random.Random(seed), rows, odd, blank, labels))
    with patch.object(csv_columns, "BATCH_ROWS", piece):
        expected, expected_report, _ = read(path, by_arrays=False)
        found, report, _ = read(path, by_arrays=True, chunk_bytes=chunk_bytes)
    assert found == expected
    assert report == expected_report


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_usual_table_is_plain(tmp_path: Path, rng: random.Random, ends: str) -> None:
    """The control of the test above: what it compares is not the parser with itself."""
    path = tmp_path / "list.csv"
    rows = [f"{digest(rng, 16)},{digest(rng, 32)},,,{rng.choice('ABC')},case {i}" for i in range(40_000)]
    path.write_bytes(ends.join([HEADER.strip(), *rows, ""]).encode())
    found, report, plain = read(path, by_arrays=True)
    assert plain >= 3
    assert (report.lines_read, report.digest_count, report.bad_line_count) == (40_001, 80_000, 0)
    assert found == read(path, by_arrays=False)[0]


def chunk_of(text: str) -> LineChunk:
    raw = np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype=np.uint8)
    ends = np.flatnonzero(raw == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    return LineChunk(raw, starts, ends - ((ends > starts) & (raw[ends - 1] == ord("\r"))), 1)


ROW = ",".join(["0a" * 16, "0b" * 32, "A", "case 1"]) + "\n"


@pytest.mark.parametrize(
    ("row", "plain"),
    [
        (ROW, True),
        (ROW.replace("\n", "\r\n"), True),
        ("\n", True),  # an empty line is no row
        (ROW.upper(), True),
        (ROW.replace("0a" * 16, ""), True),
        (ROW.replace("A", " "), True),
        (ROW.replace("A", "gr\u00f6\u00dfer"), True),
        (ROW.replace("A", "A" * 1000), True),
        (ROW.replace("A", '"A"'), False),
        (ROW.replace("A", "A\r"), False),
        (ROW.replace("0a" * 16, "").replace("0b" * 32, ""), False),
        (ROW.replace("0a", "0g", 1), False),
        (ROW.replace("0a", "a", 1), False),
        (ROW.replace("0a" * 16, "0a" * 32), False),
        (ROW.replace("0a" * 16, " " * 32), False),
        (ROW.replace("0a" * 16, " "), False),
        (ROW.replace("0a" * 16, "0a" * 16 + " "), False),
        (ROW.replace("A", "A\0"), False),
        (ROW.replace("A", "A\t"), False),
        (ROW.replace("A", "\udcff"), False),
        (ROW.replace("A", "A" * 1025), False),
        (ROW.replace("\n", ",\n"), False),
        (ROW.replace(",case 1", ""), False),
        (ROW.replace(",case 1", "") + ROW.replace("\n", ",x\n"), False),  # as many delimiters as two good rows have
        ("#" + ROW, False),
        (" \n", False),
    ],
)
def test_what_is_plain(row: str, plain: bool) -> None:
    report = FileReport("list.csv", "csv")
    batches = plain_batches(chunk_of(ROW + row + ROW), COLUMNS, ",", report)
    assert (batches is not None) == plain
    assert bool(report.digests) == plain
    assert not report.bad_line_count
    if batches is not None:
        assert {batch.algorithm.name for batch in batches} == {"md5", "sha256"}
        assert sum(len(batch.digests) for batch in batches) == report.digest_count >= 4


def test_empty_lines_alone_are_left_to_the_parser() -> None:
    assert plain_batches(chunk_of("\n\n"), COLUMNS, ",", FileReport("list.csv", "csv")) is None


def test_a_delimiter_beyond_ascii_is_left_to_the_parser() -> None:
    text = ROW.replace(",", "\u00a6")
    assert plain_batches(chunk_of(text), COLUMNS, "\u00a6", FileReport("list.csv", "csv")) is None


@pytest.mark.parametrize("count", [1, 31, 32, 33, 500])
@pytest.mark.parametrize("length", [1, 8, 9, 63, 64, 65])
def test_any_number_of_labels_of_any_length(rng: random.Random, count: int, length: int) -> None:
    names = [f"{number:x}".rjust(length, "n")[-length:] for number in range(count)]
    labels = [rng.choice([*names, ""]) for _ in range(1000)]
    text = "".join(f"{'0a' * 16},,{label},{label}\n" for label in labels)
    (batch,) = plain_batches(chunk_of(text), COLUMNS, ",", FileReport("list.csv", "csv")) or ()
    assert batch.categories == batch.references == [label or None for label in labels]


def test_a_column_of_photodna_in_base64_or_hex_but_not_both(rng: random.Random) -> None:
    columns = Columns(((0, PHOTODNA),), (), ("photodna",))
    vectors = [rng.randbytes(144) for _ in range(50)]
    hexes, base64s = [v.hex() for v in vectors], [base64.b64encode(v).decode() for v in vectors]
    for texts in (hexes, base64s):
        (batch,) = plain_batches(chunk_of("\n".join([*texts, ""])), columns, ",", FileReport("x", "csv")) or ()
        assert batch.digests.tobytes() == b"".join(vectors)
        assert (batch.categories, batch.references) == (None, None)
    assert plain_batches(chunk_of("\n".join([*hexes, *base64s, ""])), columns, ",", FileReport("x", "csv")) is None


def test_the_end_of_a_file_is_no_end_of_its_memory(tmp_path: Path) -> None:
    """Cells at the very end of the data are gathered without reading beyond it."""
    path = tmp_path / "list.csv"
    path.write_bytes((ROW * 3).encode()[:-1])
    report = FileReport(str(path), "csv")
    with ListFile(path) as source:
        (chunk,) = read_lines(source, report)
        batches = plain_batches(chunk, COLUMNS, ",", report)
    assert batches is not None
    assert [list(batch.references or ()) for batch in batches] == [["case 1"] * 3] * 2
