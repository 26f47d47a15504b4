"""ClamAV's signatures by hash: lines in bulk, odd lines one by one, and bad ones named."""

from __future__ import annotations

import gzip
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader import lines as lines_module
from loader.readers import clamav
from loader.readers.base import ReadOptions
from loader.readers.clamav import ClamavReader
from loader.report import FileReport
from loader.sources import ListFile
from snapshot.algorithms import MD5, SHA1, SHA256, SHA512, Algorithm

SIZES = {"md5": 16, "sha1": 20, "sha256": 32}


def read(path: Path, declared: Algorithm | None = None) -> tuple[dict[str, Counter[bytes]], FileReport]:
    report = FileReport(str(path), "clamav")
    found: dict[str, Counter[bytes]] = defaultdict(Counter)
    with ListFile(path) as source:
        for batch in ClamavReader().read(source, ReadOptions(declared), report):
            assert batch.digests.shape[1] == batch.algorithm.digest_bytes
            assert batch.categories is None
            assert batch.references is None
            found[batch.algorithm.name].update(row.tobytes() for row in batch.digests)
    assert report.digests == {name: digests.total() for name, digests in found.items()}
    return dict(found), report


def read_one(tmp_path: Path, content: bytes, declared: Algorithm | None = None) -> object:
    path = tmp_path / "list"
    path.write_bytes(content)
    return read(path, declared)


def test_the_published_forms(tmp_path: Path, rng: random.Random) -> None:
    digests = {name: [rng.randbytes(size) for _ in range(6)] for name, size in SIZES.items()}
    lines = ["# a comment: with colons: 12:34", ""]
    for name in SIZES:
        forms = (
            "{}:68:Win.Test-1",
            "{}:*:Win.Test-1:73",
            "{}:0:Name with blanks",
            "{}:9:x:73:255",
            "{}:1:x:1",
            "{}:*:x",
        )
        lines += [form.format(digest.hex()) for form, digest in zip(forms, digests[name], strict=True)]
    content = "\n".join(lines).encode()
    for form in (content, content + b"\n", content.replace(b"\n", b"\r\n"), content.upper()):
        path = tmp_path / "list.hsb"
        path.write_bytes(form)
        found, report = read(path)
        assert found == {name: Counter(some) for name, some in digests.items()}
        assert (report.lines_read, report.bad_line_count) == (20, 0)
    (tmp_path / "list.gz").write_bytes(gzip.compress(content))
    assert read(tmp_path / "list.gz")[0] == found


BAD = [
    ("{short}:68:x", "digest", "has 31 characters"),
    ("{md5}0:68:x", "digest", "has 33 characters"),
    ("{foreign}:68:x", "digest", "at position 32"),
    (" {md5}:68:x", "digest", "spaces around it"),
    ("{sha512}:68:x", "digest", "has 128 characters; signatures have 32 (md5)"),
    (":68:x", "digest", "has 0 characters"),
    ("{md5}:6x:x", "size", "neither a number nor *"),
    ("{md5}::x", "size", "neither a number nor *"),
    ("{md5}:**:x", "size", "neither a number nor *"),
    ("{md5}:-1:x", "size", "neither a number nor *"),
    ("{md5}: 1:x", "size", "neither a number nor *"),
    ("{md5}:123456789012345678901:x", "size", "neither a number nor *"),
    ("{md5}:68:", "name", "is empty"),
    ("{md5}:68::73", "name", "is empty"),
    ("{md5}:68:x:", "level", "is no number"),
    ("{md5}:68:x:y", "level", "is no number"),
    ("{md5}:68:x:73:", "level", "is no number"),
    ("{md5}:68:x:73:74:75", "line", "has 6 fields"),
    ("{md5}", "line", "has 1 fields"),
    ("{md5}:68", "line", "has 2 fields"),
    ("68:{md5}:x", "digest", "has 2 characters"),
]


@pytest.mark.parametrize(("line", "field", "why"), BAD)
def test_a_bad_line_is_named(tmp_path: Path, rng: random.Random, line: str, field: str, why: str) -> None:
    good, bad = rng.randbytes(16), rng.randbytes(16).hex()
    text = line.format(md5=bad, short=bad[:-1], foreign=bad[:-1] + "g", sha512=rng.randbytes(64).hex())
    found, report = read_one(tmp_path, f"{good.hex()}:1:x\n{text}\n{good.hex()}:*:x:73\n".encode())
    assert found == {"md5": Counter({good: 2})}
    (entry,) = report.bad_lines
    assert (entry.line, entry.field) == (2, field)
    assert why in entry.why
    assert bad[:8] not in str(entry)


def test_a_declared_algorithm_is_the_only_one(tmp_path: Path, rng: random.Random) -> None:
    digests = {name: rng.randbytes(size) for name, size in SIZES.items()}
    content = "".join(f"{digest.hex()}:1:x\n" for digest in digests.values()).encode()
    for algorithm in (MD5, SHA1, SHA256):
        found, report = read_one(tmp_path, content, algorithm)
        assert found == {algorithm.name: Counter([digests[algorithm.name]])}
        assert report.bad_line_count == 2
    assert read_one(tmp_path, content, SHA512)[1].bad_line_count == 3


@st.composite
def clamav_lists(draw: st.DrawFn) -> tuple[bytes, dict[str, Counter[bytes]], list[int]]:
    """Draw lines good and bad; give what they hold and which lines are bad."""
    chance = random.Random(draw(st.integers(0, 1 << 40)))
    content, bad = [], []
    held: dict[str, Counter[bytes]] = defaultdict(Counter)
    for kind in draw(st.lists(st.integers(0, 9), max_size=20)):
        name = draw(st.sampled_from(list(SIZES)))
        digest = chance.randbytes(SIZES[name])
        size = draw(st.sampled_from(["0", "68", "12345678901234567890", "*"]))
        level = draw(st.sampled_from(["", ":73", ":1:255"]))
        line = f"{digest.hex()}:{size}:{draw(st.sampled_from(['x', 'Win.Test-1', ' ', '#', '*', '1']))}{level}"
        if kind == 0:
            line = draw(st.sampled_from(["", " \t", "# x:y:z", f"#{line}"]))
        elif kind == 1:
            form = draw(st.sampled_from(BAD))[0]
            text = digest.hex()[:32]
            line = form.format(md5=text, short=text[:-1], foreign=text[:-1] + "g", sha512=text * 4)
            bad.append(len(content) + 1)
        else:
            held[name][digest] += 1
        content.append(line.encode() + draw(st.sampled_from([b"", b"\r"])))
    return b"".join(line + b"\n" for line in content), dict(held), bad


@given(drawn=clamav_lists(), chunk_bytes=st.sampled_from([1, 50, 300, 4 << 20]))
def test_any_mixture_of_lines_is_read_as_each_line_says(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[bytes, dict[str, Counter[bytes]], list[int]],
    chunk_bytes: int,
) -> None:
    content, held, bad = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clamav, "read_lines", lambda source, report: lines_module.read_lines(source, report, chunk_bytes))
        found, report = read_one(tmp_path_factory.mktemp("clamav"), content)
    assert found == held
    assert report.bad_line_count == len(bad)
    assert [entry.line for entry in report.bad_lines] == bad[:20]
    assert report.lines_read == content.count(b"\n")


@given(content=st.lists(st.sampled_from([*b":*#09af \n\rx\0\xff", *b"::::\n"]), max_size=200).map(bytes))
def test_no_bytes_are_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("clamav") / "list"
    path.write_bytes(content)
    report = FileReport(str(path), "clamav")
    with ListFile(path) as source:
        assert not list(ClamavReader().read(source, ReadOptions(), report))
    lines = [line.removesuffix(b"\r") for line in content.split(b"\n")]
    assert report.bad_line_count == sum(bool(line.strip(b" \t")) and not line.startswith(b"#") for line in lines)


def test_the_bulk_takes_all_usual_lines(tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clamav, "_parse_line", None)  # what takes lines one by one
    digests = [rng.randbytes(SIZES[name]) for name in SIZES for _ in range(100)]
    content = "".join(f"{digest.hex()}:{'*:x:73' if digest[0] % 2 else '5:y'}\n" for digest in digests)
    found, report = read_one(tmp_path, content.encode())
    assert sum(found.values(), Counter()) == Counter(digests)
    assert report.bad_line_count == 0


def test_recognition(rng: random.Random) -> None:
    reader, options = ClamavReader(), ReadOptions()
    md5, sha512 = rng.randbytes(16).hex().encode(), rng.randbytes(64).hex().encode()
    assert reader.recognises([b"# x", b"malformed", md5 + b":68:x"], options)
    assert not reader.recognises(
        [md5, md5 + b"  name:1:x", md5 + b":x", sha512 + b":1:x", b"#" + md5 + b":1:x"], options
    )
    assert not reader.recognises([md5 + b":68:x"], ReadOptions(SHA256))
    assert not reader.recognises([], options)
