"""The hashsum format: GNU lines in bulk, BSD and odd lines one by one."""

from __future__ import annotations

import base64
import hashlib
import random
import shutil
import subprocess
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader import lines as lines_module
from loader.readers import hashsum
from loader.readers.base import ReadOptions
from loader.readers.hashsum import HashsumReader
from loader.report import FileReport
from loader.sources import ListFile
from snapshot.algorithms import MD5, PHOTODNA, SHA1, SHA256, SHA512, Algorithm

DPKG = Path("/var/lib/dpkg/info")
KINDS = [MD5, SHA1, SHA256, SHA512]


def read(path: Path, declared: Algorithm | None = None) -> tuple[dict[str, Counter[bytes]], FileReport]:
    """Give the digests by algorithm, with how often each came, and the report."""
    report = FileReport(str(path), "hashsum")
    found: dict[str, Counter[bytes]] = defaultdict(Counter)
    with ListFile(path) as source:
        for batch in HashsumReader().read(source, ReadOptions(declared), report):
            assert batch.digests.shape[1] == batch.algorithm.digest_bytes
            found[batch.algorithm.name].update(row.tobytes() for row in batch.digests)
    assert report.digests == {name: digests.total() for name, digests in found.items()}
    return dict(found), report


@st.composite
def hashsum_lines(draw: st.DrawFn) -> tuple[bytes, str | None, bytes]:
    """Draw a line, and what it says: algorithm (None: bad; "": nothing) and digest."""
    chance = random.Random(draw(st.integers(0, 1 << 40)))
    kind = draw(st.sampled_from(KINDS))
    digest = chance.randbytes(kind.digest_bytes)
    text = digest.hex().encode()
    name = draw(
        st.sampled_from([b"a", b"usr/share/x y", b"-", b"\xff\xfe", b"(x) = y", b"*", b" ", b"a  b", b"\xc3\xa9"])
    )
    tag = kind.name.upper().encode()
    good = (kind.name, digest)
    bad = (None, b"")
    return draw(
        st.sampled_from(
            [
                (text + b"  " + name, *good),
                (text + b" *" + name, *good),
                (text.upper() + b"  " + name, *good),
                (b"\\" + text + b"  a\\nb", *good),
                (tag + b" (" + name + b") = " + text, *good),
                (b"\\" + tag + b" (" + name + b") = " + text, *good),
                (text + b" " + b"name", *bad),
                (text + b"  ", *bad),
                (text + b" ", *bad),
                (text, *bad),
                (text[:-1] + b"  " + name, *bad),
                (b"g" + text[1:] + b"  " + name, *bad),
                (b" " + text + b"  " + name, *bad),
                (text + b"\t" + name, *bad),
                (b"0x" + text + b"  " + name, *bad),
                (tag + b" (" + name + b") = " + text[2:], *bad),
                (tag + b" (" + name + b") =" + text, *bad),
                (tag + b" () = " + text, *bad),
                (b"SHA384 (" + name + b") = " + text, *bad),
                (b"sha256 (" + name + b") = " + text, *bad),
                (b"#" + text, "", b""),
                (b"", "", b""),
                (b"  ", "", b""),
            ]
        )
    )


@given(
    lines=st.lists(st.tuples(hashsum_lines(), st.sampled_from([b"\n", b"\r\n"])), max_size=40),
    chunk_bytes=st.sampled_from([1, 33, 100, 500, 4 << 20]),
)
def test_any_mixture_of_lines_is_read_as_each_line_says(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[tuple[tuple[bytes, str | None, bytes], bytes]],
    chunk_bytes: int,
) -> None:
    path = tmp_path_factory.mktemp("hashsum") / "list"
    path.write_bytes(b"# list\n" + b"".join(line + ending for (line, _, _), ending in lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            hashsum, "read_lines", lambda source, report: lines_module.read_lines(source, report, chunk_bytes)
        )
        found, report = read(path)
    expected: dict[str, Counter[bytes]] = defaultdict(Counter)
    for (_, algorithm, digest), _ in lines:
        if algorithm:
            expected[algorithm][digest] += 1
    bad = [number for number, ((_, algorithm, _), _) in enumerate(lines, start=2) if algorithm is None]
    assert found == expected
    assert report.bad_line_count == len(bad)
    assert [entry.line for entry in report.bad_lines] == bad[:20]
    assert report.lines_read == len(lines) + 1


TEXT = random.Random(1).randbytes(20).hex().encode()


@pytest.mark.parametrize(
    ("line", "declared", "field", "why"),
    [
        (TEXT, None, "name", "is missing"),
        (TEXT + b"  ", None, "name", "is empty"),
        (TEXT + b" x", None, "separator", "after 40 characters"),
        (TEXT[:-1] + b"  x", None, "digest", "has 39 characters"),
        (TEXT[:-1] + b"z  x", None, "digest", "at position 40"),
        (TEXT + b"  x", MD5, "digest", "has 40 characters, md5 has 32"),
        (b"MD5 (x) = " + TEXT, None, "digest", "has 40 characters, md5 has 32"),
        (b"SHA1 (x) = " + TEXT + b" ", None, "digest", "has 41 characters"),
        (b"SHA1 (x) = " + TEXT, SHA256, "algorithm", "is sha1, the list was declared as sha256"),
        (b"SHA384 (x) = " + TEXT, None, "algorithm", "unsupported algorithm SHA384"),
        (b"SHA512/256 (x) = " + TEXT, None, "algorithm", "unsupported algorithm SHA512/256"),
        (b"BLAKE2b (x) = " + TEXT, None, "algorithm", "unsupported algorithm BLAKE2b"),
    ],
)
def test_each_kind_of_bad_line_is_named(
    tmp_path: Path, line: bytes, declared: Algorithm | None, field: str, why: str
) -> None:
    path = tmp_path / "list"
    path.write_bytes(line + b"\n")
    found, report = read(path, declared)
    assert not found
    (bad,) = report.bad_lines
    assert bad.field == field
    assert why in bad.why
    assert TEXT[:20].decode() not in str(bad)


def test_declared_photodna_is_read_from_both_texts(tmp_path: Path) -> None:
    digest = random.Random(2).randbytes(144)
    path = tmp_path / "list"
    path.write_bytes(digest.hex().encode() + b"  a\n" + base64.b64encode(digest) + b" *b\n")
    assert read(path, PHOTODNA)[0] == {"photodna": Counter({digest: 2})}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tag", [False, True])
def test_what_the_tools_write_is_read(tmp_path: Path, kind: Algorithm, tag: bool) -> None:
    tool = shutil.which(f"{kind.name}sum")
    if tool is None:
        pytest.skip(f"no {kind.name}sum on this machine")
    chance = random.Random(3)
    names = ["plain", "two words", "new\nline", "back\\slash", "(x) = y", "é", "*", b"\xff".decode("latin-1")]
    contents = {tmp_path / name: chance.randbytes(40) for name in names}
    for path, content in contents.items():
        path.write_bytes(content)
    arguments = [tool, *(["--tag"] if tag else []), "--", *map(str, contents)]
    output = subprocess.run(arguments, check=True, capture_output=True).stdout
    listing = tmp_path / "listing"
    listing.write_bytes(output)
    found, report = read(listing)
    assert found == {kind.name: Counter(hashlib.new(kind.name, content).digest() for content in contents.values())}
    assert report.bad_line_count == 0


@pytest.mark.skipif(not any(DPKG.glob("*.md5sums")), reason="needs a Debian machine")
def test_the_lists_of_debian_packages_equal_a_plain_parse() -> None:
    for path in sorted(DPKG.glob("*.md5sums")):
        plain = Counter(bytes.fromhex(line[:32].decode()) for line in path.read_bytes().splitlines())
        found, report = read(path)
        assert found.get("md5", Counter()) == plain
        assert report.bad_line_count == 0
        assert report.lines_read == plain.total()


def test_recognition_needs_one_good_line() -> None:
    reader = HashsumReader()
    assert reader.recognises([b"rubbish", b"", TEXT + b"  x"], ReadOptions())
    assert reader.recognises([b"SHA1 (x) = " + TEXT], ReadOptions())
    assert not reader.recognises([TEXT, b"# " + TEXT + b"  x", b""], ReadOptions())
    assert not reader.recognises([], ReadOptions())
