"""The hashdeep format: rows in bulk, odd rows one by one, nothing of a bad row."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader import lines as lines_module
from loader.errors import UnknownColumn, UnknownFormat
from loader.readers import hashdeep
from loader.readers.base import ReadOptions
from loader.readers.hashdeep import HashdeepReader
from loader.report import FileReport
from loader.sources import ListFile
from snapshot.algorithms import MD5, SHA1, SHA256, Algorithm

VERSION = b"%%%% HASHDEEP-1.0\n"
HEADER = VERSION + b"%%%% size,md5,sha256,filename\n## Invoked from: /\n##\n"
SIZES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64, "tiger": 24, "whirlpool": 64, "novel": 5}
USED = ("md5", "sha1", "sha256", "sha512")


def read(path: Path, declared: Algorithm | None = None) -> tuple[dict[str, Counter[bytes]], FileReport]:
    report = FileReport(str(path), "hashdeep")
    found: dict[str, Counter[bytes]] = defaultdict(Counter)
    with ListFile(path) as source:
        for batch in HashdeepReader().read(source, ReadOptions(declared), report):
            assert batch.digests.shape[1] == batch.algorithm.digest_bytes
            found[batch.algorithm.name].update(row.tobytes() for row in batch.digests)
    assert report.digests == {name: digests.total() for name, digests in found.items()}
    return dict(found), report


def row(digests: dict[str, bytes], name: bytes = b"./a, b") -> bytes:
    return b",".join([b"123", *(digest.hex().encode() for digest in digests.values()), name]) + b"\n"


def random_digests(chance: random.Random, names: tuple[str, ...] = ("md5", "sha256")) -> dict[str, bytes]:
    return {name: chance.randbytes(SIZES[name]) for name in names}


@st.composite
def hashdeep_lists(draw: st.DrawFn) -> tuple[bytes, dict[str, Counter[bytes]], list[int]]:
    """Draw joined lists with good and bad rows; give what they hold and which lines are bad."""
    chance = random.Random(draw(st.integers(0, 1 << 40)))
    content, bad = [], []
    held: dict[str, Counter[bytes]] = defaultdict(Counter)
    for _ in range(draw(st.integers(1, 3))):
        names = tuple(draw(st.permutations(list(SIZES)))[: draw(st.integers(1, 4))])
        if not set(names) & set(USED):
            names = ("sha1", *names)
        content += [b"%%%% HASHDEEP-1.0", f"%%%% size,{','.join(names)},filename".encode()]
        for kind in draw(st.lists(st.integers(0, 10), max_size=12)):
            digests = random_digests(chance, names)
            line = row(digests, draw(st.sampled_from([b"a", b",", b"x,y,,z", b"\xff", b"#"]))).rstrip(b"\n")
            victim = next(name for name in names if name in USED)
            text = digests[victim].hex().encode()
            if kind == 0:
                line = line.replace(text, text[:-1])
            elif kind == 1:
                line = line.replace(text, text[:-1] + b"g")
            elif kind == 2:
                line = line.replace(text, b"")
            elif kind == 3:
                line = b"12," + text
            elif kind == 4:
                line = draw(st.sampled_from([b"# " + line, b"", b" \t"]))
            else:
                for name in set(names) & set(USED):
                    held[name][digests[name]] += 1
            if kind < 4:
                bad.append(len(content) + 1)
            content.append(line + draw(st.sampled_from([b"", b"\r"])))
    return b"\n".join(content) + b"\n", dict(held), bad


@given(drawn=hashdeep_lists(), chunk_bytes=st.sampled_from([1, 50, 300, 4 << 20]))
def test_any_mixture_of_rows_is_read_as_each_row_says(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[bytes, dict[str, Counter[bytes]], list[int]],
    chunk_bytes: int,
) -> None:
    content, held, bad = drawn
    path = tmp_path_factory.mktemp("hashdeep") / "list"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            hashdeep, "read_lines", lambda source, report: lines_module.read_lines(source, report, chunk_bytes)
        )
        found, report = read(path)
    assert found == held
    assert report.bad_line_count == len(bad)
    assert [entry.line for entry in report.bad_lines] == bad[:20]
    assert report.lines_read == content.count(b"\n")


def test_both_columns_are_taken(tmp_path: Path) -> None:
    chance = random.Random(1)
    rows = [random_digests(chance) for _ in range(200)]
    path = tmp_path / "list"
    path.write_bytes(HEADER.replace(b"\n", b"\r\n") + b"".join(row(digests).upper() for digests in rows))
    found, report = read(path)
    assert found == {name: Counter(digests[name] for digests in rows) for name in ("md5", "sha256")}
    assert report.bad_line_count == 0
    assert report.lines_read == 204


@pytest.mark.parametrize(
    ("damage", "field", "why"),
    [
        (lambda md5, sha256: md5[:-1] + b"," + sha256 + b",x", "md5", "has 31 characters"),
        (lambda md5, sha256: md5 + b"," + sha256[:-1] + b"z,x", "sha256", "at position 64"),
        (lambda md5, sha256: md5 + b", " + sha256 + b",x", "sha256", "has 65 characters"),
        (lambda md5, sha256: sha256 + b"," + md5 + b",x", "md5", "has 64 characters"),
        (lambda md5, sha256: md5 + b"," + sha256, "row", "has 3 columns of 4"),
        (lambda md5, sha256: md5 + b"," + sha256 + b",", "row", "no file name"),
    ],
)
def test_nothing_of_a_bad_row_is_taken(tmp_path: Path, damage: object, field: str, why: str) -> None:
    chance = random.Random(2)
    md5, sha256 = chance.randbytes(16).hex().encode(), chance.randbytes(32).hex().encode()
    good = random_digests(chance)
    path = tmp_path / "list"
    path.write_bytes(HEADER + b"5," + damage(md5, sha256) + b"\n" + row(good))
    found, report = read(path)
    assert found == {name: Counter([digest]) for name, digest in good.items()}
    (bad,) = report.bad_lines
    assert (bad.line, bad.field) == (5, field)
    assert why in bad.why


def test_a_header_in_mid_file_switches_columns(tmp_path: Path) -> None:
    chance = random.Random(3)
    first, second = random_digests(chance), random_digests(chance, ("tiger", "sha1"))
    path = tmp_path / "list"
    path.write_bytes(HEADER + row(first) + VERSION + b"%%%% size,tiger,sha1,filename\n" + row(second))
    found, report = read(path)
    assert found == {
        "md5": Counter([first["md5"]]), "sha256": Counter([first["sha256"]]), "sha1": Counter([second["sha1"]])
    }  # fmt: skip
    assert report.bad_line_count == 0


def test_rows_between_version_and_columns_are_bad(tmp_path: Path) -> None:
    chance = random.Random(4)
    path = tmp_path / "list"
    path.write_bytes(HEADER + VERSION + row(random_digests(chance)) + row(random_digests(chance)))
    found, report = read(path)
    assert not found
    assert report.bad_line_count == 2
    assert "header" in report.bad_lines[0].why


@pytest.mark.parametrize(
    "line", [b"%%%% HASHDEEP-2.0", b"%%%% size,md5", b"%", b"%%%% md5,sha256,filename", b"%%%%size,md5,filename"]
)
def test_a_line_that_is_no_header_is_bad(tmp_path: Path, line: bytes) -> None:
    digests = random_digests(random.Random(5))
    path = tmp_path / "list"
    path.write_bytes(HEADER + line + b"\n" + row(digests))
    found, report = read(path)
    assert found["md5"] == Counter([digests["md5"]])
    assert [(bad.line, bad.field) for bad in report.bad_lines] == [(5, "header")]


def test_rows_without_any_header_are_another_format(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"# x\n" + row(random_digests(random.Random(6))))
    with pytest.raises(UnknownFormat, match="line 2"):
        read(path)


@pytest.mark.parametrize("columns", [b"tiger,whirlpool", b"md5,md5"])
def test_columns_that_cannot_be_used_are_refused(tmp_path: Path, columns: bytes) -> None:
    path = tmp_path / "list"
    path.write_bytes(VERSION + b"%%%% size," + columns + b",filename\n")
    with pytest.raises(UnknownColumn, match="line 2"):
        read(path)


def test_a_declared_algorithm_must_be_a_column(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(HEADER + row(random_digests(random.Random(7))))
    with pytest.raises(UnknownColumn, match="sha1"):
        read(path, SHA1)
    for declared in (MD5, SHA256):
        assert set(read(path, declared)[0]) == {"md5", "sha256"}


def test_recognition_needs_the_version_line() -> None:
    reader = HashdeepReader()
    assert reader.recognises([b"# joined", b"%%%% HASHDEEP-1.0"], ReadOptions())
    assert not reader.recognises([b"%%%% HASHDEEP-1.1", b"%%%% size,md5,filename"], ReadOptions())
