"""The hex format: fast for good lines, exact for the others, and no line lost between the two."""

from __future__ import annotations

import base64
import random
import tracemalloc
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader import lines as lines_module
from loader.readers import hexlist
from loader.readers.base import ReadOptions
from loader.readers.hexlist import HexListReader
from loader.report import FileReport
from loader.sources import ListFile
from snapshot.algorithms import ALGORITHMS, MD5, PHOTODNA, SHA1, SHA256, SHA512, Algorithm
from snapshot.errors import HexdigestError
from snapshot.hexdigest import algorithm_of, parse_digest


def read(path: Path, declared: Algorithm | None = None) -> tuple[dict[str, list[bytes]], FileReport]:
    """Give the digests by algorithm, in order, and the report."""
    report = FileReport(str(path), "hex")
    found: dict[str, list[bytes]] = defaultdict(list)
    with ListFile(path) as source:
        for batch in HexListReader().read(source, ReadOptions(declared), report):
            assert batch.digests.shape[1] == batch.algorithm.digest_bytes
            assert len(batch.digests)
            found[batch.algorithm.name] += [row.tobytes() for row in batch.digests]
    assert report.digests == {name: len(digests) for name, digests in found.items()}
    return dict(found), report


def reference(content: bytes, declared: Algorithm | None) -> tuple[dict[str, list[bytes]], list[tuple[int, str]], int]:
    """Do the same one line after the other."""
    found: dict[str, list[bytes]] = defaultdict(list)
    bad = []
    pieces = content.split(b"\n")
    pieces = pieces if pieces[-1] else pieces[:-1]
    for number, piece in enumerate(pieces, start=1):
        line = piece.removesuffix(b"\r")
        if not line.strip(b" \t") or line.startswith(b"#"):
            continue
        try:
            algorithm = declared or algorithm_of(line)
            digest = parse_digest(line, algorithm)
            found[algorithm.name].append(digest)
        except HexdigestError as error:
            bad.append((number, str(error)))
    return dict(found), bad, len(pieces)


@st.composite
def list_lines(draw: st.DrawFn) -> bytes:
    """Draw a line of any kind that turns up in lists, without its ending."""
    chance = random.Random(draw(st.integers(0, 1 << 40)))
    size = draw(st.sampled_from([16, 20, 32, 64, 144, 28]))
    digest = chance.randbytes(size)
    good = digest.hex().encode()
    position = chance.randrange(len(good))
    return draw(
        st.sampled_from(
            [
                good,
                good,
                good,
                good.upper(),
                base64.b64encode(digest),
                good[:-1],
                good[:position]
                + draw(st.sampled_from([b" ", b"g", b"_", b"\0", b"\xff", b"\r", b"="]))
                + good[position + 1 :],
                b" " + good,
                good + b" ",
                b"\t" + good[1:],
                b"0x" + good,
                b"0x" + good[2:],
                b"#" + good[1:],
                b"# comment",
                b"",
                b" \t ",
                good + good,
            ]
        )
    )


@given(
    lines=st.lists(st.tuples(list_lines(), st.sampled_from([b"\n", b"\n", b"\r\n"])), max_size=40),
    last_ending=st.booleans(),
    chunk_bytes=st.sampled_from([1, 17, 64, 65, 66, 300, 4 << 20]),
    declared=st.sampled_from([None, None, SHA256, MD5, PHOTODNA]),
)
def test_bulk_reading_equals_reading_line_by_line(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[tuple[bytes, bytes]],
    last_ending: bool,
    chunk_bytes: int,
    declared: Algorithm | None,
) -> None:
    content = b"#\n" + b"".join(line + ending for line, ending in lines)
    content = content if last_ending else content.rstrip(b"\r\n")
    path = tmp_path_factory.mktemp("hex") / "list"
    path.write_bytes(content.replace(b"\0", b"\1"))  # NUL so early is a binary file
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            hexlist, "read_lines", lambda source, report: lines_module.read_lines(source, report, chunk_bytes)
        )
        found, report = read(path, declared)
    expected, bad, line_count = reference(path.read_bytes(), declared)
    assert found == expected
    assert report.lines_read == line_count
    assert report.bad_line_count == len(bad)
    assert [entry.line for entry in report.bad_lines] == [number for number, _ in bad][:20]
    for entry, (_, why) in zip(report.bad_lines, bad, strict=False):
        assert entry.field == "digest"
        assert entry.why.startswith(why)


GOOD = random.Random(1).randbytes(32).hex().encode()


@pytest.mark.parametrize(
    ("line", "declared", "why"),
    [
        (GOOD[:-1], None, "has 63 characters; known lengths are 32 (md5), 40 (sha1), 64 (sha256), 128 (sha512)"),
        (GOOD[:63] + b"g", None, "has a character other than 0-9, a-f, A-F at position 64"),
        (b" " + GOOD, None, "has 65 characters"),
        (GOOD + b" ", None, "there are spaces around it"),
        (b" " + GOOD[:63], None, "at position 1; there are spaces around it"),
        (GOOD[:30] + b" " + GOOD[31:], None, "at position 31"),
        (b"0x" + GOOD, None, "it begins with 0x"),
        (b"0X" + GOOD[2:], None, "it begins with 0x"),
        (GOOD[:60], None, "has 60 characters"),
        (GOOD, MD5, "has 64 characters, md5 has 32"),
        (GOOD, PHOTODNA, "has 64 characters, photodna has 288 in hex or 192 in base64"),
        (GOOD[:62] + b"\xc3\xa9", None, "at position 63"),
        (GOOD[:31] + b"\r" + GOOD[32:], None, "at position 32"),
        (b"\xef\xbb\xbf" + GOOD, None, "has 67 characters"),
        (b"x" * 70_000, None, "is longer than 65,536 bytes"),
    ],
)
def test_each_kind_of_bad_line_is_named(tmp_path: Path, line: bytes, declared: Algorithm | None, why: str) -> None:
    good = declared or SHA256
    other = random.Random(2).randbytes(good.digest_bytes).hex().encode()
    path = tmp_path / "list"
    path.write_bytes(other + b"\n" + line + b"\n" + other + b"\n")
    found, report = read(path, declared)
    assert found == {good.name: [bytes.fromhex(other.decode())] * 2}
    (bad,) = report.bad_lines
    assert (bad.line, report.bad_line_count, report.lines_read) == (2, 1, 3)
    assert why in bad.why
    assert line.decode("latin-1").strip() not in str(bad)


def test_lengths_tell_algorithms_apart_and_case_does_not_matter(tmp_path: Path) -> None:
    chance = random.Random(3)
    kinds = [MD5, SHA1, SHA256, SHA512]
    digests = [(kind, chance.randbytes(kind.digest_bytes)) for kind in chance.choices(kinds, k=400)]
    path = tmp_path / "list"
    path.write_bytes(
        b"\xef\xbb\xbf" + b"\r\n".join(chance.choice([d.hex(), d.hex().upper()]).encode() for _, d in digests)
    )
    found, report = read(path)
    assert found == {kind.name: [d for k, d in digests if k is kind] for kind in kinds}
    assert not report.bad_line_count


def test_declared_photodna_takes_hex_and_base64(tmp_path: Path) -> None:
    chance = random.Random(4)
    digests = [chance.randbytes(144) for _ in range(50)]
    lines = [base64.b64encode(d) if i % 2 else d.hex().encode() for i, d in enumerate(digests)]
    lines[7] = lines[7][:-1] + b"="
    lines[9] = lines[9][:50] + b"-" + lines[9][51:]
    path = tmp_path / "list"
    path.write_bytes(b"\n".join(lines))
    found, report = read(path, PHOTODNA)
    assert sorted(found["photodna"]) == sorted(d for i, d in enumerate(digests) if i not in (7, 9))
    assert [bad.line for bad in report.bad_lines] == [8, 10]
    assert "base64" in report.bad_lines[0].why


def test_undeclared_photodna_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(random.Random(5).randbytes(144).hex().encode())
    found, report = read(path)
    assert not found
    assert report.bad_line_count == 1


def test_digests_that_end_in_nul_are_whole(tmp_path: Path) -> None:
    digest = random.Random(6).randbytes(24) + bytes(8)
    path = tmp_path / "list"
    path.write_bytes(digest.hex().encode() + b"\n")
    assert read(path)[0] == {"sha256": [digest]}


def test_a_line_of_100_mb_costs_no_more_than_chunks(tmp_path: Path) -> None:
    path = tmp_path / "list"
    with path.open("wb") as file:
        file.write(GOOD + b"\n")
        for _ in range(100):
            file.write(b"a" * 1_000_000)
        file.write(b"\n" + GOOD + b"\n")
    tracemalloc.start()
    try:
        found, report = read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20
    assert len(found["sha256"]) == 2
    assert [(bad.line, bad.field) for bad in report.bad_lines] == [(2, "line")]


def test_many_bad_lines_are_counted_to_the_last(tmp_path: Path) -> None:
    chance = random.Random(7)
    path = tmp_path / "list"
    path.write_bytes(b"".join(chance.randbytes(31).hex().encode() + b"\n# x\n\n" for _ in range(5000)))
    found, report = read(path)
    assert not found
    assert (report.bad_line_count, report.lines_read) == (5000, 15000)
    assert [bad.line for bad in report.bad_lines] == [1 + 3 * i for i in range(20)]


def test_recognition_needs_one_good_line() -> None:
    reader = HexListReader()
    assert reader.recognises([b"# x", b"rubbish", GOOD], ReadOptions())
    assert reader.recognises([b"# x", b"", b" "], ReadOptions())
    assert reader.recognises([], ReadOptions())
    assert not reader.recognises([b"rubbish", GOOD[1:]], ReadOptions())
    assert not reader.recognises([GOOD], ReadOptions(ALGORITHMS["md5"]))


@pytest.mark.parametrize("chunk_bytes", [70, 4 << 20])
def test_a_list_cut_in_mid_line_is_known_by_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    digests = [random.Random(3).randbytes(32).hex() for _ in range(50)]
    monkeypatch.setattr("loader.lines.read_lines.__defaults__", (chunk_bytes,))
    for content, unended, last_bad in (
        ("\n".join(digests), 50, 0),
        ("\n".join(digests) + "\n", 0, 0),
        ("\n".join(digests)[:-10], 50, 50),
        ("\n".join(["x", *digests]), 51, 1),
    ):
        path = tmp_path / "list"
        path.write_text(content)
        report = FileReport(str(path), "hex")
        with ListFile(str(path)) as source:
            for _ in HexListReader().read(source, ReadOptions(), report):
                pass
        assert (report.unended_line, report.last_bad_line) == (unended, last_bad)
