"""The csv format: columns by name, rows whole or not at all, no line lost in a quotation.

Longer than other files, as header, rows and quotations can only be tested through one another.
"""

from __future__ import annotations

import base64
import csv
import io
import random
import tracemalloc
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader import lines as lines_module
from loader.errors import UnknownColumn
from loader.readers import csv_columns
from loader.readers.base import ReadOptions
from loader.readers.csv_columns import MAX_ROW_LINES, CsvReader
from loader.readers.faults import MAX_LABEL_CHARACTERS
from loader.report import FileReport
from loader.sources import ListFile
from snapshot.algorithms import SHA1, SHA256

Found = dict[str, Counter[tuple[bytes, str | None, str | None]]]


def read(path: Path, options: ReadOptions | None = None, chunk_bytes: int = 4 << 20) -> tuple[Found, FileReport]:
    """Give (digest, category, reference) by algorithm, with how often each came, and the report."""
    report = FileReport(str(path), "csv")
    found: Found = defaultdict(Counter)
    with ListFile(path) as source:
        for batch in CsvReader(chunk_bytes).read(source, options or ReadOptions(), report):
            count = len(batch.digests)
            assert count <= 16_384
            for labels in (batch.categories, batch.references):
                assert labels is None or (len(labels) == count and any(label is not None for label in labels))
            categories = batch.categories or [None] * count
            references = batch.references or [None] * count
            rows = (row.tobytes() for row in batch.digests)
            found[batch.algorithm.name].update(zip(rows, categories, references, strict=True))
    assert report.digests == {name: digests.total() for name, digests in found.items()}
    return dict(found), report


def text(chance: random.Random, size: int) -> str:
    return chance.randbytes(size).hex()


def test_a_row_gives_all_its_digests_with_its_labels(tmp_path: Path) -> None:
    chance = random.Random(1)
    rows = [(text(chance, 16), text(chance, 20), f"c{i % 3}", f"img-{i}" if i % 4 else "") for i in range(40_000)]
    path = tmp_path / "list.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)  # CRLF
        writer.writerow(["MD5", "SHA-1", "Category", "Reference"])
        writer.writerows(rows)
    found, report = read(path)
    assert found == {
        "md5": Counter((bytes.fromhex(md5), category, ref or None) for md5, _, category, ref in rows),
        "sha1": Counter((bytes.fromhex(sha1), category, ref or None) for _, sha1, category, ref in rows),
    }
    assert report.lines_read == 40_001
    assert report.bad_line_count == 0


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("declared", [True, False])
def test_the_delimiter_is_told_from_the_header(tmp_path: Path, delimiter: str, declared: bool) -> None:
    chance = random.Random(2)
    md5, sha256 = text(chance, 16), text(chance, 32)
    path = tmp_path / "list.csv"
    path.write_text(
        delimiter.join(["id", "sha_256", '"a,b;c|d"', "md5"]) + "\n" + delimiter.join(["7", sha256, "x", md5])
    )
    options = ReadOptions(delimiter=delimiter if declared else None)
    found, _ = read(path, options)
    assert found == {
        "md5": Counter({(bytes.fromhex(md5), None, None): 1}),
        "sha256": Counter({(bytes.fromhex(sha256), None, None): 1}),
    }


def test_a_column_map_names_headers_and_only_those_are_used(tmp_path: Path) -> None:
    chance = random.Random(3)
    md5, sha1, pdna = text(chance, 16), text(chance, 20), chance.randbytes(144)
    path = tmp_path / "list.csv"
    path.write_text(
        "MD5;SHA1;PhotoDNA;Image ID;Is distributed\n" + f"{md5};{sha1};{base64.b64encode(pdna).decode()};77;True\n"
    )
    columns = {"md5": "MD5", "photodna": "PhotoDNA", "reference": "Image ID", "category": "Is distributed"}
    found, _ = read(path, ReadOptions(columns=columns))
    assert found == {
        "md5": Counter({(bytes.fromhex(md5), "True", "77"): 1}),
        "photodna": Counter({(pdna, "True", "77"): 1}),
    }


def test_one_column_is_a_table_too(tmp_path: Path) -> None:
    chance = random.Random(4)
    texts = [text(chance, 32) for _ in range(10)]
    path = tmp_path / "list.csv"
    path.write_text("\n\nSHA256\n" + "\n\n".join(texts))
    found, report = read(path)
    assert found["sha256"].total() == 10
    assert report.bad_line_count == 0


@pytest.mark.parametrize(
    ("header", "options", "why"),
    [
        ("md5,sha1", ReadOptions(columns={"sha256": "sha256"}), "sha256 (for sha256) is not among them"),
        ("md5,sha1", ReadOptions(columns={"md5": "MD5"}), "MD5 (for md5) is not among them"),
        ("md5,x", ReadOptions(columns={"md5": "md5", "category": "Cat"}), "Cat (for category) is not among them"),
        ("md5,x,MD-5", ReadOptions(), "md5 is there 2 times"),
        ("hash,x,hash", ReadOptions(columns={"md5": "hash"}), "hash is there 2 times"),
        ("md5,category,Category", ReadOptions(), "category is there 2 times"),
        ("id,category,reference", ReadOptions(), "no column for digests"),
        ("md5,x", ReadOptions(columns={"category": "x"}), "no column for digests"),
        ("md5,sha1", ReadOptions(algorithm=SHA256), "declared as sha256"),
        ("md5,sha1", ReadOptions(columns={"pdq": "md5"}), "--column pdq"),
    ],
)
def test_columns_that_are_not_there_are_named(tmp_path: Path, header: str, options: ReadOptions, why: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(header + "\n")
    with pytest.raises(UnknownColumn) as caught:
        read(path, options)
    assert why in str(caught.value)
    if "--column pdq" not in why:
        assert f"line 1: the header has {header.replace(',', ', ')}" in str(caught.value)


def test_a_list_without_header_does_not_show_its_digests(tmp_path: Path) -> None:
    chance = random.Random(5)
    path = tmp_path / "list.csv"
    path.write_text(f"{text(chance, 16)},{text(chance, 32)},\x1b[31m\n")
    with pytest.raises(UnknownColumn) as caught:
        read(path)
    assert "(32 characters), (64 characters), \\x1b[31m" in str(caught.value)


@pytest.mark.parametrize("header", ['"md5,sha1\n', '"md5"x,sha1\n', "x" * 70_000 + ",md5\n"])
def test_a_malformed_header_is_named_and_no_row_is_taken_for_it(tmp_path: Path, header: str) -> None:
    chance = random.Random(6)
    path = tmp_path / "list.csv"
    path.write_text(header + "".join(f"{text(chance, 16)},{text(chance, 20)}\n" for _ in range(2000)))
    with pytest.raises(UnknownColumn, match="line 1"):
        read(path)


def test_a_header_that_swallows_rows_is_malformed(tmp_path: Path) -> None:
    chance = random.Random(7)
    path = tmp_path / "list.csv"
    path.write_text(f'md5,"note\n{text(chance, 16)},a\n{text(chance, 16)},b"\n{text(chance, 16)},c\n')
    with pytest.raises(UnknownColumn, match="quoted cell"):
        read(path)


GOOD = text(random.Random(8), 16)


@pytest.mark.parametrize(
    ("row", "field", "why"),
    [
        (b"%s,,,", "row", "has 4 cells, the header has 5"),
        (b"%s,,,,,", "row", "has 6 cells, the header has 5"),
        (b",,c,r,x", "row", "has no digest"),
        (b"  ,,c,r,x", "row", "has no digest"),
        (b"%s,abc,,,", "SHA-1", "has 3 characters"),
        (b" %s,,,,", "MD5", "has 33 characters"),
        (b"%s ,,,,", "MD5", "has 33 characters"),
        (b"0x%s,,,,", "MD5", "has 34 characters"),
        (b"%s,,a\x07b,,", "Category", "has a control character at position 2"),
        (b"%s,,a\0b,,", "Category", "has a control character"),
        (b"%s,,,a\xffb,", "Reference", "is not UTF-8 at position 2"),
        (b"%s,,,a\xc2\x85b,", "Reference", "has a control character"),
        (b'%s,,"a\nb",,', "Category", "has a control character at position 2"),
        (b"%s,," + b"x" * 1025 + b",,", "Category", "is longer than 1,024 characters"),
        (b"%s,,," + b"x" * 1025 + b",", "Reference", "is longer than 1,024 characters"),
        (b'"%s"x,,,,', "row", "is malformed"),
        (b"%s,,a\rb,,", "row", "carriage return"),
    ],
)
def test_each_kind_of_bad_row_is_named_and_nothing_of_it_is_taken(
    tmp_path: Path, row: bytes, field: str, why: str
) -> None:
    chance = random.Random(9)
    others = [text(chance, 16).encode() for _ in range(2)]
    row = row.replace(b"%s", GOOD.encode())
    filler = b"".join(text(chance, 16).encode() + b",,,,\n" for _ in range(2000))  # NUL so early is a binary file
    path = tmp_path / "list.csv"
    path.write_bytes(
        b"MD5,SHA-1,Category,Reference,Note\n" + filler + others[0] + b",,,,\n" + row + b"\n" + others[1] + b",,,,\n"
    )
    found, report = read(path)
    assert found["md5"].total() == 2002
    assert all((bytes.fromhex(other.decode()), None, None) in found["md5"] for other in others)
    (bad,) = report.bad_lines
    assert (bad.line, bad.field) == (2003, field)
    assert why in bad.why
    assert report.bad_line_count == 1 + row.count(b"\n")
    assert GOOD not in str(bad)


def test_bytes_that_are_not_utf8_are_harmless_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(
        b"\xef\xbb\xbfMD5,N\xe4me,Category\n" + GOOD.encode() + b",caf\xe9," + "Kategorie é".encode() + b"\n"
    )
    found, report = read(path)
    assert found == {"md5": Counter({(bytes.fromhex(GOOD), "Kategorie é", None): 1})}
    assert report.bad_line_count == 0


def test_labels_of_the_longest_length_are_taken_verbatim(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    longest = "é" * MAX_LABEL_CHARACTERS
    path.write_text(
        f'md5,category,reference\n{GOOD}, two  words ,"{longest}"\n{GOOD}, ,"say ""x"", y"\n', encoding="utf-8"
    )
    found, _ = read(path)
    digest = bytes.fromhex(GOOD)
    assert found["md5"] == Counter({(digest, " two  words ", longest): 1, (digest, None, 'say "x", y'): 1})


def test_a_row_over_several_lines_is_one_row(tmp_path: Path) -> None:
    chance = random.Random(10)
    first, second, third = (text(chance, 16) for _ in range(3))
    path = tmp_path / "list.csv"
    path.write_bytes(f'md5,note\r\n{first},"a\r\nb\nc"\r\n{second},x\r\n{third[:-1]},"y\nz"\n'.encode())
    found, report = read(path)
    assert {digest.hex() for digest, _, _ in found["md5"]} == {first, second}
    (bad,) = report.bad_lines
    assert (bad.line, bad.field) == (6, "md5")
    assert "all its 2 lines are refused" in bad.why
    assert (report.lines_read, report.bad_line_count) == (7, 2)


def test_lines_swallowed_by_a_quotation_are_refused(tmp_path: Path) -> None:
    chance = random.Random(11)
    texts = [text(chance, 16) for _ in range(6)]
    path = tmp_path / "list.csv"
    path.write_text(
        f'md5,note\n{texts[0]},a\n{texts[1]},"open\n{texts[2]},b\n{texts[3]},c\n{texts[4]},close"\n{texts[5]},d\n'
    )
    found, report = read(path)
    assert {digest.hex() for digest, _, _ in found["md5"]} == {texts[0], texts[5]}
    assert report.bad_line_count == 4
    assert [(bad.line, bad.field) for bad in report.bad_lines] == [(3, "row")]
    assert "with a digest in it" in report.bad_lines[0].why


@pytest.mark.parametrize("rows_after", [0, 5, 999, 1000, 5000])
def test_a_quotation_that_is_never_closed_loses_no_line_in_silence(tmp_path: Path, rows_after: int) -> None:
    chance = random.Random(12)
    before, after = [text(chance, 16) for _ in range(10)], [text(chance, 16) for _ in range(rows_after)]
    path = tmp_path / "list.csv"
    path.write_text(
        "md5,note\n"
        + "".join(f"{digest},x\n" for digest in before)
        + f'{GOOD},"open\n'
        + "".join(f"{digest},x\n" for digest in after)
    )
    found, report = read(path)
    kept = {digest.hex() for digest, _, _ in found["md5"]}
    swallowed = min(rows_after, MAX_ROW_LINES - 1)
    assert kept == {*before, *after[swallowed:]}
    assert report.bad_line_count == 1 + swallowed
    assert report.bad_lines[0].line == 12
    assert report.lines_read == 12 + rows_after


def test_quotations_without_end_cost_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    line = '"' + "x" * 60_000 + "\n"
    with path.open("w") as file:
        file.write("md5,note\n")
        for _ in range(1500):
            file.write(line)
    tracemalloc.start()
    try:
        found, report = read(path, chunk_bytes=1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20
    assert not found
    assert report.bad_line_count == 1500


def test_wide_rows_are_not_all_held(tmp_path: Path) -> None:
    chance = random.Random(13)
    path = tmp_path / "list.csv"
    with path.open("w") as file:
        file.write("md5,note\n")
        for _ in range(1500):
            file.write(f"{text(chance, 16)},{'x' * 60_000}\n")
    tracemalloc.start()
    try:
        found, _ = read(path, chunk_bytes=1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20
    assert found["md5"].total() == 1500


@pytest.mark.parametrize("quoted", [True, False])
def test_a_line_that_is_too_long_takes_an_open_row_with_it(tmp_path: Path, quoted: bool) -> None:
    chance = random.Random(14)
    first, last = text(chance, 16), text(chance, 16)
    path = tmp_path / "list.csv"
    middle = f'{GOOD},"open\n' if quoted else ""
    path.write_text(f"md5,note\n{first},x\n{middle}{'y' * 200_000}\n{last},x\n")
    found, report = read(path, chunk_bytes=1 << 15)
    assert {digest.hex() for digest, _, _ in found["md5"]} == {first, last}
    assert [bad.line for bad in report.bad_lines] == ([3, 4] if quoted else [3])
    assert report.lines_read == (5 if quoted else 4)


CELLS = st.text(st.sampled_from('ab,;"\n\r é\x85\u2028'), max_size=6)


@given(
    rows=st.lists(st.tuples(st.integers(0, 3), CELLS, st.sampled_from(["", "1", "kategorie é"])), max_size=30),
    seed=st.integers(0, 1 << 40),
    chunk_bytes=st.sampled_from([1, 30, 200, 4 << 20]),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_tables_that_csv_writes_are_read_row_by_row(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, str, str]],
    seed: int,
    chunk_bytes: int,
    ending: str,
) -> None:
    chance = random.Random(seed)
    table = io.StringIO()
    # with LF endings the writer leaves a lone CR unquoted, which is a malformed row
    writer = csv.writer(table, lineterminator=ending, quoting=csv.QUOTE_ALL if ending == "\n" else csv.QUOTE_MINIMAL)
    writer.writerow(["note", "md5", "category", "sha256"])
    expected: Found = defaultdict(Counter)
    bad = {}
    for kind, note, category in rows:
        md5, sha256 = text(chance, 16), text(chance, 32)
        cells = [
            note,
            *((md5, category, sha256), ("", category, sha256), (md5, category, ""), (md5[1:], category, ""))[kind],
        ]
        line = table.getvalue().count("\n") + 1
        writer.writerow(cells)
        if kind == 3:
            bad[line] = table.getvalue().count("\n") + 1 - line
            continue
        for name, value in (("md5", cells[1]), ("sha256", cells[3])):
            if value:
                expected[name][bytes.fromhex(value), category or None, None] += 1
    path = tmp_path_factory.mktemp("csv") / "list.csv"
    path.write_bytes(table.getvalue().encode())
    found, report = read(path, chunk_bytes=chunk_bytes)
    assert found == expected
    assert report.lines_read == table.getvalue().count("\n")
    assert report.bad_line_count == sum(bad.values())
    assert [entry.line for entry in report.bad_lines] == list(bad)[:20]


@given(
    pieces=st.lists(st.sampled_from(["a", "b,", '"', '""', "\n", "\r\n", "\r", ",", "'", '"\n', "long" * 40, GOOD])),
    chunk_bytes=st.sampled_from([1, 7, 100, 4 << 20]),
    most_lines=st.sampled_from([1, 2, 3, MAX_ROW_LINES]),
    piece_lines=st.sampled_from([1, 2, 1000]),
)
def test_every_line_is_in_a_row_or_refused(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], chunk_bytes: int, most_lines: int, piece_lines: int
) -> None:
    path = tmp_path_factory.mktemp("csv") / "list.csv"
    path.write_bytes("".join(pieces).encode())
    report = FileReport(str(path), "csv")
    seen: list[int] = []
    with ListFile(path) as source, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_columns, "MAX_ROW_LINES", most_lines)
        patch.setattr(lines_module, "MAX_LINE_BYTES", 100)
        lines = csv_columns._Lines(source, report, chunk_bytes)
        lines.piece_lines = piece_lines
        while (piece := lines.next_piece()) is not None:
            rows = csv_columns._rows(lines, piece, report, ",")
            for line in rows.lines:
                seen += range(line, line + rows.line_counts.get(line, 1))
    assert seen == sorted(set(seen))
    assert len(seen) + report.bad_line_count == report.lines_read
    assert seen == [] or seen[-1] <= report.lines_read
    if report.bad_line_count == len(report.bad_lines):
        assert not {bad.line for bad in report.bad_lines}.intersection(seen)


def test_bad_rows_beyond_a_batch_are_all_counted(tmp_path: Path) -> None:
    chance = random.Random(15)
    path = tmp_path / "list.csv"
    with path.open("w") as file:
        file.write("md5\n")
        for index in range(40_000):
            file.write(text(chance, 16)[index % 2 :] + "\n")
    found, report = read(path)
    assert found["md5"].total() == 20_000
    assert report.bad_line_count == 20_000
    assert [bad.line for bad in report.bad_lines] == [3 + 2 * index for index in range(20)]


def test_an_empty_table_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    for content, lines in (("", 0), ("\n\n", 2), ("md5\n", 1)):
        path.write_text(content)
        assert read(path)[0] == {}
        assert read(path)[1].lines_read == lines


def test_recognition_needs_our_names_or_a_column_map() -> None:
    reader = CsvReader()
    assert reader.recognises([b"", b"id;SHA-256"], ReadOptions())
    assert reader.recognises([b"anything"], ReadOptions(columns={"md5": "x"}))
    assert reader.recognises([b"a:md5"], ReadOptions(delimiter=":"))
    assert not reader.recognises([b"a:md5"], ReadOptions())
    assert not reader.recognises([b"# hash list, md5, 2020"], ReadOptions())
    assert not reader.recognises([b"category,reference"], ReadOptions())
    assert not reader.recognises([GOOD.encode(), b"md5"], ReadOptions())
    assert reader.recognises([b'md5,"note'], ReadOptions())
    assert not reader.recognises([], ReadOptions())


def test_a_declared_algorithm_that_has_a_column_changes_nothing(tmp_path: Path) -> None:
    chance = random.Random(16)
    path = tmp_path / "list.csv"
    path.write_text(f"md5,sha1\n{text(chance, 16)},{text(chance, 20)}\n")
    assert set(read(path, ReadOptions(algorithm=SHA1))[0]) == {"md5", "sha1"}
