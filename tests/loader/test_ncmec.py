"""NCMEC's XML: what is taken, withdrawn and refused, and that no file can pass as a shorter one or eat the memory."""

from __future__ import annotations

import base64
import gzip
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.errors import ListDamaged, ListFileError, ListTruncated, UnknownFormat
from loader.readers import ncmec
from loader.readers.base import ReadOptions, Withdrawn
from loader.readers.ncmec import NAMESPACE, NcmecReader
from loader.report import FileReport
from loader.sources import ListFile

SIZES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64, "pdna": 144}
CHANCE = random.Random(1)
MD5, SHA1 = CHANCE.randbytes(16), CHANCE.randbytes(20)

# Of which algorithm, the digest, with which category and reference.
Entry = tuple[str, bytes, str | None, str | None]


@dataclass
class Found:
    entries: Counter[Entry] = field(default_factory=Counter)
    withdrawn: list[str] = field(default_factory=list)


def read(path: Path, chunk_bytes: int = 65_536) -> tuple[Found, FileReport]:
    report = FileReport(str(path), "ncmec", "record")
    found, counts = Found(), Counter[str]()
    with ListFile(path) as source:
        for batch in NcmecReader(chunk_bytes).read(source, ReadOptions(), report):
            if isinstance(batch, Withdrawn):
                found.withdrawn += batch.references
                continue
            count = len(batch.digests)
            assert batch.digests.shape == (count, batch.algorithm.digest_bytes)
            counts[batch.algorithm.name] += count
            categories, references = batch.categories or [None] * count, batch.references or [None] * count
            rows = zip(batch.digests, categories, references, strict=True)
            found.entries.update((batch.algorithm.name, row.tobytes(), *labels) for row, *labels in rows)
    assert report.digests == counts
    return found, report


def document(images: str = "", videos: str = "", rest: str = "") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<queryResult xmlns="{NAMESPACE}">'
        f'<images count="1">\n{images}</images>\n<videos>{videos}</videos>{rest}</queryResult>\n'
    ).encode()


def record(
    name: str = "image", member: str = '<member id="42">A</member>', id_: str = "<id>i1</id>", rest: str = ""
) -> str:
    return f"<{name}>{member}<timestamp>2024-01-02T03:04:05Z</timestamp>{id_}{rest}</{name}>\n"


def prints(**texts: str) -> str:
    return "<fingerprints>" + "".join(f"<{kind}>{text}</{kind}>" for kind, text in texts.items()) + "</fingerprints>"


GOOD = prints(md5=MD5.hex())
GOOD_ENTRY: Entry = ("md5", MD5, None, "42/i1")


def read_one(tmp_path: Path, content: bytes, chunk_bytes: int = 65_536) -> tuple[Found, FileReport]:
    path = tmp_path / "list.xml"
    path.write_bytes(content)
    return read(path, chunk_bytes)


def test_the_published_form(tmp_path: Path) -> None:
    pdna = CHANCE.randbytes(144)
    content = f"""<?xml version="1.0" encoding="UTF-8"?>
<queryResult xmlns="{NAMESPACE}" maxTimestamp="2024-10-20T00:00:00Z">
  <paging><next>/v2/entries?from=2024</next></paging>
  <images count="2" maxTimestamp="2024-10-20T00:00:00Z">
    <image>
      <member id="42">Example &amp; Member</member>
      <timestamp>2024-10-20T00:00:00Z</timestamp>
      <id>image1</id>
      <classification>A1</classification>
      <fingerprints>
        <md5>{MD5.hex()}</md5>
        <sha1>
          {SHA1.hex().upper()}
        </sha1>
        <pdna>{base64.b64encode(pdna).decode()}</pdna>
        <netclean>whatever it is</netclean>
      </fingerprints>
    </image>
    <deletedImage>
      <member id="43">Other</member>
      <id>image4</id>
      <timestamp>2024-10-20T00:00:00Z</timestamp>
    </deletedImage>
  </images>
  <videos>
    <deletedVideo><member id="42"/><id>v9</id></deletedVideo>
    <video><member id="44"/><id>v1</id><fingerprints><md5>{MD5.hex()}</md5></fingerprints></video>
  </videos>
</queryResult>""".encode()
    found, report = read_one(tmp_path, content)
    assert found.entries == Counter([
        ("md5", MD5, "A1", "42/image1"),
        ("sha1", SHA1, "A1", "42/image1"),
        ("photodna", pdna, "A1", "42/image1"),
        ("md5", MD5, None, "44/v1"),
    ])  # fmt: skip
    assert found.withdrawn == ["43/image4", "42/v9"]
    assert (report.lines_read, report.bad_line_count) == (4, 0)
    (tmp_path / "list.gz").write_bytes(gzip.compress(content))
    assert read(tmp_path / "list.gz")[0] == found


@pytest.mark.parametrize(
    ("images", "field_name", "why"),
    [
        (record(rest=prints(md5=MD5.hex()[1:])), "md5", "has 31 characters"),
        (record(rest=prints(sha1=SHA1.hex(), md5="g" * 32)), "md5", "position 1"),
        (record(rest=prints(md5=MD5.hex()[:5] + " " + MD5.hex()[5:])), "md5", "has 33 characters"),
        (record(rest=prints(pdna="A" * 191)), "pdna", "has 191 characters"),
        (record(rest=prints(sha1="A" * 1025)), "sha1", "longer than 1,024"),
        (record(rest=f"<fingerprints><md5>{MD5.hex()[:9]}<b/>{MD5.hex()[9:]}</md5></fingerprints>"), "record", "value"),
        (record(member="", rest=GOOD), "member", "is missing"),
        (record(member="<member>A</member>", rest=GOOD), "member", "has no id"),
        (record(member='<member id=" "/>', rest=GOOD), "member", "has no id"),
        (record(member='<member id="4/2"/>', rest=GOOD), "member", "has a /"),
        (record(member='<member id="1"/><member id="2"/>', rest=GOOD), "member", "twice"),
        (record(id_="", rest=GOOD), "id", "is missing"),
        (record(id_="<id> \n</id>", rest=GOOD), "id", "is empty"),
        (record(id_="<id>1</id><id>1</id>", rest=GOOD), "id", "twice"),
        (record(id_=f"<id>{'x' * 1022}</id>", rest=GOOD), "id", "longer than 1,024"),
        (record(id_="<id>a\tb</id>", rest=GOOD), "id", "control character"),
        (record(rest="<classification>A1</classification><classification>B2</classification>" + GOOD),
         "classification", "twice"),
        (record(rest="<classification>A\n1</classification>" + GOOD), "classification", "control character"),
        (record(), "fingerprints", "are missing"),
        (record(rest="<fingerprints/>"), "fingerprints", "are missing"),
        (record(rest=prints(md5=" ")), "fingerprints", "are missing"),
        (record(rest=GOOD + f"<other>{GOOD}</other>"), "fingerprints", "inside of another"),
        (record(rest=GOOD + f"<md5>{SHA1.hex()}</md5>"), "md5", "inside of another"),
        (record(rest=GOOD + record()), "image", "inside of another"),
        (record(rest=f"<fingerprints>{record('deletedImage')}</fingerprints>"), "deletedImage", "inside of another"),
        (record(rest="<fingerprints><image/></fingerprints>"), "image", "inside of another"),
        (record(rest="<fingerprints><fingerprints/></fingerprints>"), "fingerprints", "inside of another"),
        (record("video", rest=GOOD), "video", "at its place"),
        (record("deletedVideo"), "deletedVideo", "at its place"),
        (f"<others>{record(rest=GOOD)}</others>", "image", "at its place"),
        (f"<novel>{GOOD}</novel>", "fingerprints", "at its place"),
        (f"<novel><md5>{SHA1.hex()}</md5></novel>", "md5", "at its place"),
        (record("deletedImage", id_=""), "id", "is missing"),
        (record("deletedImage", member=""), "member", "is missing"),
        (f'<x:image xmlns:x="{NAMESPACE}">{GOOD}</x:image>', "member", "is missing"),
    ],
)  # fmt: skip
def test_a_bad_record_is_refused_as_a_whole(tmp_path: Path, images: str, field_name: str, why: str) -> None:
    other = record(id_="<id>i2</id>", rest=prints(md5=MD5.hex(), sha1=SHA1.hex()))
    found, report = read_one(tmp_path, document(record(rest=GOOD) + images + other))
    assert found.entries == Counter([GOOD_ENTRY, ("md5", MD5, None, "42/i2"), ("sha1", SHA1, None, "42/i2")])
    assert not found.withdrawn
    (bad,) = report.bad_lines
    assert (bad.line, bad.field) == (2, field_name)
    assert why in bad.why
    assert MD5.hex()[:5] not in str(bad)
    assert (report.lines_read, report.bad_line_count) == (3, 1)


@pytest.mark.parametrize(
    "rest",
    [
        GOOD + GOOD.replace(MD5.hex(), ""),
        "<fingerprints/>" + GOOD,
        GOOD + prints(ssvh_pdna="x"),
        GOOD + "<feedback type='x'><md5x>1</md5x></feedback>",
        f"<fingerprints><md5><![CDATA[{MD5.hex()}]]></md5></fingerprints>",
        f"<fingerprints><md5>{MD5.hex()[:7]}<!-- x -->&#{ord(MD5.hex()[7])};{MD5.hex()[8:]}</md5></fingerprints>",
        GOOD + f"<x:fingerprints xmlns:x='urn:other'><x:md5>{SHA1.hex()}</x:md5></x:fingerprints>",
    ],
)
def test_odd_but_good_records(tmp_path: Path, rest: str) -> None:
    found, report = read_one(tmp_path, document(record(rest=rest)))
    assert found.entries == Counter([GOOD_ENTRY])
    assert (report.lines_read, report.bad_line_count) == (1, 0)


def test_a_record_may_have_only_kinds_that_are_not_taken(tmp_path: Path) -> None:
    found, report = read_one(tmp_path, document(record(rest=prints(videntifier="x"))))
    assert (found, report.lines_read, report.bad_line_count) == (Found(), 1, 0)


def test_several_digests_of_a_kind(tmp_path: Path) -> None:
    other = CHANCE.randbytes(16)
    found, _ = read_one(tmp_path, document(record(rest=GOOD + prints(md5=other.hex()))))
    assert found.entries == Counter([GOOD_ENTRY, ("md5", other, None, "42/i1")])


def test_a_latin_1_file(tmp_path: Path) -> None:
    text = document(record(member='<member id="42">é</member>', rest="<classification>é</classification>" + GOOD))
    found, _ = read_one(tmp_path, text.decode().replace("UTF-8", "ISO-8859-1").encode("latin-1"))
    assert found.entries == Counter([("md5", MD5, "é", "42/i1")])


@pytest.mark.parametrize(
    "content",
    [
        b"<queryResult/>",
        b'<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v1"/>',
        f'<images xmlns="{NAMESPACE}"/>'.encode(),
        b"hello",
        b'{"value": []}',
        MD5.hex().encode(),
    ],
)
def test_another_root_is_another_format(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnknownFormat, match="--format"):
        read_one(tmp_path, content)


BOMB = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(10))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"<!DOCTYPE queryResult>" + document()[56:], "has a DOCTYPE"),
        (b'<!DOCTYPE queryResult SYSTEM "http://127.0.0.1:9/x.dtd">' + document()[56:], "has a DOCTYPE"),
        (f'<!DOCTYPE x [<!ENTITY e0 "lol">{BOMB}]><x>&e10;</x>'.encode(), "has a DOCTYPE"),
        (b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><x>&f;</x>', "has a DOCTYPE"),
        (document(record(rest=GOOD) + "&lol;"), "ERR_UNDECLARED_ENTITY at line 4, in what follows record 1"),
        (document(record(rest="</fingerprints>")), "ERR_TAG_NAME_MISMATCH at line 3, in record 1"),
        (document(record(rest=GOOD)) + b"x", "ERR_DOCUMENT_END"),
        (document(record(rest=GOOD)) + document(), "not well-formed"),
        (document(record(rest=GOOD)).replace(b"A</member>", b"\xff</member>"), "ERR_INVALID_ENCODING"),
        (document(record(rest=GOOD)).replace(b"A</member>", b"\0</member>"), "not well-formed"),
        (document("<q:image>" + GOOD + "</q:image>"), "NS_ERR_UNDEFINED_NAMESPACE"),
        (document().replace(b"UTF-8", b"klingon"), "ERR_UNSUPPORTED_ENCODING"),
        (document("<a>" * 70 + "</a>" * 70), "nested more than 64 deep"),
        (document(record(rest="<a>" * 100_000)), "nested more than 64 deep"),
    ],
)
def test_damage_stops_the_compile(tmp_path: Path, content: bytes, match: str) -> None:
    with pytest.raises(ListDamaged, match=match) as caught:
        read_one(tmp_path, content)
    assert caught.value.path == str(tmp_path / "list.xml")


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    content = document(record(rest=GOOD), record("video", rest=GOOD))
    whole = content.rstrip()
    for length in range(len(whole)):
        with pytest.raises(ListTruncated, match="fetch it again"):
            read_one(tmp_path, whole[:length])
    assert read_one(tmp_path, whole)[0].entries.total() == 2


@given(data=st.data())
def test_flipped_bytes_raise_nothing_else(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(document(record(rest=GOOD) + record("deletedImage"), record("video", rest=GOOD)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ListFileError):
        read_one(tmp_path_factory.mktemp("flipped"), bytes(content))


TEXTS = st.text("abcÄ€😀 <>&'\"]/-_.0", min_size=1, max_size=8).map(str.strip).filter(bool)


@st.composite
def ncmec_lists(draw: st.DrawFn) -> tuple[bytes, Found, list[int]]:
    """Draw a document with good and bad records; give what it holds and which records are bad."""
    chance = random.Random(draw(st.integers(0, 1 << 40)))
    held, bad, number, sections = Found(), [], 0, []
    blank = st.sampled_from(["", " ", "\n\t", "<!-- a comment -->", "<?pi?>"])
    for kind in draw(st.lists(st.sampled_from(["image", "video"]), max_size=4)):
        records = []
        for form in draw(st.lists(st.integers(0, 9), max_size=8)):
            number += 1
            member, name, category = draw(TEXTS).replace("/", "_"), draw(TEXTS), draw(st.none() | TEXTS)
            reference = f"{member}/{name}"
            quoted = escape(member, {'"': "&quot;"})
            children = [f'<member id="{quoted}">x</member>', f"<id>{draw(blank)}{escape(name)}</id>"]
            if category is not None:
                children.append(f"<classification>{escape(category)}</classification>")
            entries: list[Entry] = []
            fingerprints = []
            for algorithm in draw(st.lists(st.sampled_from(list(SIZES)), min_size=1, max_size=4)):
                digest = chance.randbytes(SIZES[algorithm])
                text = base64.b64encode(digest).decode() if algorithm == "pdna" and form % 2 else digest.hex()
                fingerprints.append(f"<{algorithm}>{text}</{algorithm}>")
                entries.append((algorithm.replace("pdna", "photodna"), digest, category, reference))
            if form == 0:
                fingerprints.insert(draw(st.integers(0, len(fingerprints))), f"<md5>{'0' * 31}</md5>")
                bad.append(number)
            elif form == 1:
                children.pop(0)
                bad.append(number)
            element = kind
            if form == 2:
                element = f"deleted{kind.capitalize()}"
                held.withdrawn.append(reference)
            elif form > 2:
                held.entries.update(entries)
                children.append(f"<fingerprints>{draw(blank)}{draw(blank).join(fingerprints)}</fingerprints>")
            else:
                children.append(f"<fingerprints>{''.join(fingerprints)}</fingerprints>")
            records.append(f"<{element}>{draw(blank).join(draw(st.permutations(children)))}</{element}>")
        sections.append(f"<{kind}s>{draw(blank).join(records)}</{kind}s>")
    return f'<queryResult xmlns="{NAMESPACE}">{draw(blank).join(sections)}</queryResult>'.encode(), held, bad


@given(drawn=ncmec_lists(), chunk_bytes=st.sampled_from([1, 7, 100, 65_536]), batch=st.sampled_from([1, 3, 16_384]))
def test_any_document_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[bytes, Found, list[int]], chunk_bytes: int, batch: int
) -> None:
    content, held, bad = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ncmec, "BATCH_RECORDS", batch)
        found, report = read_one(tmp_path_factory.mktemp("ncmec"), content, chunk_bytes)
    assert found == held
    assert [entry.line for entry in report.bad_lines] == bad[:20]
    assert report.bad_line_count == len(bad)


@given(drawn=ncmec_lists(), data=st.data(), chunk_bytes=st.sampled_from([1, 100, 65_536]))
@settings(max_examples=50)
def test_any_document_that_is_cut_is_truncated(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[bytes, Found, list[int]],
    data: st.DataObject,
    chunk_bytes: int,
) -> None:
    whole = drawn[0]
    directory = tmp_path_factory.mktemp("ncmec")
    for length in data.draw(st.sets(st.integers(0, len(whole) - 1), max_size=50)):
        with pytest.raises(ListTruncated):
            read_one(directory, whole[:length], chunk_bytes)


def test_many_records_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ncmec, "BATCH_RECORDS", 100)
    content = document("".join(record(id_=f"<id>{n}</id>", rest=GOOD) for n in range(1000)))
    found, report = read_one(tmp_path, content)
    assert found.entries == Counter(("md5", MD5, None, f"42/{n}") for n in range(1000))
    assert report.lines_read == 1000


def test_recognition() -> None:
    reader, options = NcmecReader(), ReadOptions()
    assert reader.recognises(document().splitlines(), options)
    assert reader.recognises([b"", b" " + document().splitlines()[1]], options)
    assert reader.recognises([b'<?xml version="1.0"?>'], options)  # the only line within what is looked at
    assert not reader.recognises([b'<?xml version="1.0"?>', b"<html>"], options)
    assert not reader.recognises([b"# queryResult " + NAMESPACE.encode()], options)
    assert not reader.recognises([], options)


# Content that is written as it is read, and must not be held: (head, repeated, count, tail).
HEAD = f'<queryResult xmlns="{NAMESPACE}"><images>'
HOSTILE = {
    "text": (HEAD + "<image><id>", "x" * 1000, 200_000, "more than 1,048,576 bytes"),
    "foreign text": (HEAD + "<other>", "x" * 1000, 200_000, "more than 1,048,576 bytes"),
    "attribute": (HEAD + '<image a="', "x" * 1000, 200_000, "more than 1,048,576 bytes"),
    "attributes": (HEAD + "<image ", "a{n}='' ", 2_000_000, "more than 1,048,576 bytes"),
    "comment": (HEAD + "<!--", "x" * 1000, 200_000, "more than 1,048,576 bytes"),
    "prolog": ("", "<?pi x?>", 2_000_000, "more than 1,048,576 bytes"),
    "blanks": (HEAD, " " * 1000, 200_000, "more than 1,048,576 bytes"),
    "children": (HEAD + "<image>", "<a/>", 5_000_000, "more than 1,048,576 bytes"),
    "digests": (HEAD + "<image><fingerprints>", GOOD[14:-15], 2_000_000, "more than 1,048,576 bytes"),
    "names": (HEAD, "<image><a{n}/></image>", 2_000_000, "more than 1,000 names"),
    "attribute names": (HEAD, "<image a{n}=''/>", 2_000_000, "more than 1,000 names"),
    "namespaces": (HEAD, "<image xmlns:a='urn:{n}'/>", 2_000_000, "more than 1,000 names"),
    "prefixes": (HEAD, "<image><p{n}:a/></image>", 2_000_000, "NS_ERR_UNDEFINED_NAMESPACE"),
    "warnings": (HEAD, "<a xmlns='foo'/>", 2_000_000, "WAR_NS_URI_RELATIVE"),
    "nesting": (HEAD, "<image>", 5_000_000, "nested more than 64 deep"),
    "long digests": (HEAD, record(rest=prints(md5="0" * 900_000)), 200, "ends before its XML does"),
    "many digests": (HEAD, record(rest=GOOD.replace(GOOD[14:-15], GOOD[14:-15] * 22_000)), 60, "ends before its XML"),
    "bad records": (HEAD, "<image/>", 200_000, "ends before its XML does"),
}
SCRIPT = """
import resource, sys
from loader.errors import ListFileError
from loader.readers.base import ReadOptions
from loader.readers.ncmec import NcmecReader
from loader.report import FileReport
from loader.sources import ListFile
NcmecReader()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    with ListFile("-") as source:
        for _ in NcmecReader().read(source, ReadOptions(), FileReport("-", "ncmec", "record")):
            pass
except ListFileError as error:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, type(error).__name__, error)
"""


def written(head: str, repeated: str, count: int) -> Iterator[bytes]:
    yield head.encode()
    step = 10_000 // len(repeated) + 1
    for begin in range(0, count, step):
        some = range(begin, min(begin + step, count))
        yield "".join(repeated.replace("{n}", str(n)) for n in some).encode()


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_ends_in_a_named_error_and_little_memory(kind: str) -> None:
    head, repeated, count, expected = HOSTILE[kind]
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # it has seen enough
            for piece in written(head, repeated, count):
                process.stdin.write(piece)
        with suppress(BrokenPipeError):
            process.stdin.close()
        said = process.stdout.read().decode()
    assert process.returncode == 0
    mebibytes, _, message = said.partition(" ")
    assert expected in message
    assert int(mebibytes) < 100
