"""VICS: every form comes back exactly; a bad medium is refused whole; what is no whole document is an error."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.errors import ListDamaged, ListFileError, ListTruncated, UnknownFormat
from loader.readers.base import ReadOptions
from loader.readers.vics import VicsReader
from loader.report import FileReport
from loader.sources import ListFile
from snapshot.algorithms import ALGORITHMS

CONTEXT_13 = "http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#{}"
CONTEXT_20 = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/{}/$metadata#{}"
MEDIA_13 = {"odata.metadata": CONTEXT_13.format("Media")}
CASES_13 = {"odata.metadata": CONTEXT_13.format("Cases")}
MEDIA_20 = {"@odata.context": CONTEXT_20.format("Default", "Media")}
CASES_20 = {"@odata.context": CONTEXT_20.format("Default", "Cases")}
OUR_KEYS = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512", "PhotoDNA": "photodna"}

Entry = tuple[str, bytes, "str | None", "str | None"]


def read(path: Path, chunk_bytes: int = 1 << 20) -> tuple[list[Entry], FileReport]:
    """Give (algorithm, digest, category, reference) of every row, sorted, and the report."""
    report = FileReport(str(path), "vics", "record")
    found: list[Entry] = []
    with ListFile(path) as source:
        for batch in VicsReader(chunk_bytes).read(source, ReadOptions(), report):
            count = len(batch.digests)
            assert count
            assert batch.digests.shape[1] == batch.algorithm.digest_bytes
            categories, references = batch.categories or [None] * count, batch.references or [None] * count
            rows = [row.tobytes() for row in batch.digests]
            found += zip([batch.algorithm.name] * count, rows, categories, references, strict=True)
    counts = {name: sum(entry[0] == name for entry in found) for name in {entry[0] for entry in found}}
    assert report.digests == counts
    return sorted(found, key=str), report


def read_text(tmp_path: Path, text: str | bytes, chunk_bytes: int = 1 << 20) -> tuple[list[Entry], FileReport]:
    path = tmp_path / "list"
    path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    return read(path, chunk_bytes)


def medium(chance: random.Random, number: int = 1, **changes: object) -> dict[str, Any]:
    return {
        "MediaID": number,
        "Category": number % 4,
        "MD5": chance.randbytes(16).hex().upper(),
        "SHA1": chance.randbytes(20).hex(),
        "PhotoDNA": base64.b64encode(chance.randbytes(144)).decode(),
        "MediaSize": str(chance.randrange(1 << 20)),
        "IsPrecategorized": True,
        "VictimIdentified": None,
        "Tags": ["a", {"MD5": 5}],
        "MediaFiles": [{"FileName": "ü\\x.jpg", "MD5": chance.randbytes(16).hex()}, {"MD5": "not one"}],
        **changes,
    }


def held(*media: dict[str, Any]) -> list[Entry]:
    """Give what good media bring."""
    entries = []
    for one in media:
        labels = [None if one.get(key) in (None, "") else str(one[key]) for key in ("Category", "MediaID")]
        texts = {(key, one[key]) for key in OUR_KEYS if one.get(key)}
        texts |= {(entry["HashName"], entry["HashValue"]) for entry in one.get("AlternativeHashes") or []}
        for key, text in texts:
            raw = base64.b64decode(text) if len(text) == 192 else bytes.fromhex(text)
            entries.append((OUR_KEYS[key], raw, *labels))
    return sorted(entries, key=str)


def document(*media: object, head: dict[str, str] = MEDIA_20, **more: object) -> str:
    return json.dumps({**head, "value": list(media), **more})


def one_bad(report: FileReport) -> tuple[int, str, str]:
    assert report.bad_line_count == 1
    (bad,) = report.bad_lines
    assert f"record {bad.line}: {bad.field}: {bad.why}" in str(bad)
    return bad.line, bad.field, bad.why


HEADS = [MEDIA_13, *({"@odata.context": CONTEXT_20.format(f, "Media")} for f in ("Default", "US", "UK", "CUSTOM"))]
CASE_HEADS = [CASES_13, *({"@odata.context": CONTEXT_20.format(f, "Cases")} for f in ("Default", "US", "UK", "CUSTOM"))]


@pytest.mark.parametrize("chunk_bytes", [1, 100, 1 << 20])
@pytest.mark.parametrize("head", HEADS)
def test_media_come_back_with_their_labels(tmp_path: Path, head: dict[str, str], chunk_bytes: int) -> None:
    chance = random.Random(1)
    media = [medium(chance, number) for number in range(5)]
    if head is MEDIA_13:
        for one in media:
            one["AlternativeHashes"] = [{"HashName": "PhotoDNA", "HashValue": one.pop("PhotoDNA")}]
    found, report = read_text(tmp_path, document(*media, head=head), chunk_bytes)
    assert found == held(*media)
    assert (report.lines_read, report.bad_line_count, report.digest_count) == (5, 0, 15)


@pytest.mark.parametrize("chunk_bytes", [1, 100, 1 << 20])
@pytest.mark.parametrize("head", CASE_HEADS)
def test_media_of_cases_come_back_with_their_labels(tmp_path: Path, head: dict[str, str], chunk_bytes: int) -> None:
    chance = random.Random(2)
    media = [medium(chance, number) for number in range(6)]
    cases = [
        {"CaseID": "a", "Media": media[:3], "Contact": {"Media": [{"MD5": 1}]}},
        {"Media": []},
        {"CaseID": "c"},
        {"Media": None, "CaseNumber": 5},
        {"Tags": [[{}]], "Media": media[3:]},
    ]
    found, report = read_text(tmp_path, document(*cases, head=head), chunk_bytes)
    assert found == held(*media)
    assert (report.lines_read, report.bad_line_count) == (6, 0)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"])
def test_a_gzip_and_a_byte_order_mark_change_nothing(tmp_path: Path, compress: Any, begin: bytes) -> None:
    one = medium(random.Random(3))
    found, _ = read_text(tmp_path, compress(begin + document(one).encode()))
    assert found == held(one)


def test_the_context_may_come_after_the_media_or_not_at_all(tmp_path: Path) -> None:
    chance = random.Random(4)
    media = [medium(chance, number) for number in range(4)]
    cases: list[object] = [{"Media": media[:2]}, {"x": 1, "Media": media[2:]}]
    for value, head in ((media, MEDIA_13), (cases, CASES_20), (media, {}), (cases, {})):
        for chunk_bytes in (1, 1 << 20):
            found, report = read_text(tmp_path, json.dumps({"a": [1.5], "value": value, **head}), chunk_bytes)
            assert found == held(*media)
            assert (report.lines_read, report.bad_line_count) == (4, 0)


def test_a_medium_among_cases_is_kept(tmp_path: Path) -> None:
    chance = random.Random(5)
    first, second = medium(chance, 1), medium(chance, 2)
    for head in (CASES_20, {}):
        found, report = read_text(tmp_path, document({**second, "Media": [first]}, head=head))
        assert found == held(first, second)
        assert report.lines_read == 2


def test_media_of_many_batches_keep_their_labels(tmp_path: Path) -> None:
    chance = random.Random(6)
    media = [medium(chance, number, MediaFiles=None) for number in range(40_000)]
    for number, one in enumerate(media):
        if number % 3 == 0:
            del one["SHA1"], one["Category"]
        if number % 5 == 0:
            one["MediaID"] = None
    for number in (0, 16_383, 16_384, 39_999):
        media[number]["MD5"] = "z" * 32
    found, report = read_text(tmp_path, document(*media))
    assert found == held(*(one for one in media if one["MD5"] != "z" * 32))
    assert (report.lines_read, report.bad_line_count) == (40_000, 4)
    assert [bad.line for bad in report.bad_lines] == [1, 16_384, 16_385, 40_000]


def test_no_labels_are_none_at_all(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(document({"MD5": random.Random(7).randbytes(16).hex()}))
    with ListFile(path) as source:
        (batch,) = VicsReader().read(source, ReadOptions(), FileReport("list", "vics", "record"))
    assert (batch.categories, batch.references) == (None, None)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), ("1", "1"), (0, "0"), (-7, "-7"), (10**40, str(10**40)), (" x y ", " x y "), ("Ü", "Ü"),
     (None, None), ("", None), ("  ", None)],
)  # fmt: skip
def test_labels_are_taken_as_they_are(tmp_path: Path, value: object, text: str | None) -> None:
    raw = random.Random(8).randbytes(16)
    for chunk_bytes in (1, 1 << 20):
        found, _ = read_text(tmp_path, document({"Category": value, "MediaID": value, "MD5": raw.hex()}), chunk_bytes)
        assert found == [("md5", raw, text, text)]


def test_absent_digests_are_no_fault_beside_others(tmp_path: Path) -> None:
    raw = random.Random(9).randbytes(32)
    empty = {"MD5": None, "SHA1": "", "PhotoDNA": None, "SHA512": "", "AlternativeHashes": None}
    found, _ = read_text(tmp_path, document({**empty, "SHA256": raw.hex()}))
    assert found == [("sha256", raw, None, None)]


def test_alternative_hashes_are_taken_once_each(tmp_path: Path) -> None:
    chance = random.Random(10)
    first, second, sha256 = chance.randbytes(144), chance.randbytes(144), chance.randbytes(32)
    entries = [
        {"HashName": "PhotoDNA", "HashValue": base64.b64encode(first).decode()},
        {"HashName": "photo-dna", "HashValue": second.hex()},
        {"HashName": "SHA-256", "HashValue": sha256.hex(), "x": 1, "x": 2},  # noqa: F601
        {"HashName": "F1", "HashValue": 5},
        {"HashName": "Media", "HashValue": []},
        {"HashName": "x" * 500, "HashValue": []},
        {"HashName": "MD5", "HashValue": None},
        {"HashName": "SHA1", "HashValue": ""},
    ]
    one = {"PhotoDNA": base64.b64encode(first).decode(), "AlternativeHashes": entries}
    found, report = read_text(tmp_path, document(one))
    assert {entry[:2] for entry in found} == {("photodna", first), ("photodna", second), ("sha256", sha256)}
    assert (len(found), report.bad_line_count) == (3, 0)


DEEP = "[" * 3000 + "]" * 3000
GOOD_MD5 = '"MD5": "' + random.Random(11).randbytes(16).hex() + '"'


@pytest.mark.parametrize(
    ("members", "field", "why"),
    [
        ('"MD5": "1234"', "MD5", "has 4 characters"),
        ('"MD5": "' + "0" * 31 + 'g"', "MD5", "at position 32"),
        ('"MD5": "' + "\\u0660" * 32 + '"', "MD5", "at position 1"),
        ('"MD5": "' + "\\ud800" * 32 + '"', "MD5", "at position 1"),
        ('"MD5": " "', "MD5", "has 1 characters"),
        ('"MD5": ' + "1" * 32, "MD5", "is a number, not a text"),
        ('"MD5": ' + "1" * 5000, "MD5", "is a number"),
        ('"MD5": 0', "MD5", "is a number, not a text"),
        ('"MD5": false', "MD5", "is false, not a text"),
        ('"MD5": []', "MD5", "is a list, not a text"),
        ('"MD5": {}', "MD5", "is an object, not a text"),
        ('"MD5": ' + DEEP, "MD5", "is a list that is nested too deeply"),
        ('"MD5": "' + "0" * 5000 + '"', "MD5", "has 5000 characters"),
        ('"MD5": "' + "0" * (3 << 20) + '"', "MD5", "is a text of more than 1,048,576 characters"),
        (GOOD_MD5 + ', "SHA1": "00"', "SHA1", "has 2 characters"),
        (GOOD_MD5 + ', "PhotoDNA": "' + "A" * 191 + '="', "PhotoDNA", "is not base64"),
        (GOOD_MD5 + ', "PhotoDNA": "' + "A" * 191 + '*"', "PhotoDNA", "is not base64"),
        (GOOD_MD5 + ', "PhotoDNA": "' + "A" * 190 + '"', "PhotoDNA", "has 190 characters"),
        (GOOD_MD5 + ', "MD5": "' + "0" * 32 + '"', "MD5", "is there twice"),
        (GOOD_MD5 + ', "MD5": null', "MD5", "is there twice"),
        (GOOD_MD5 + ', "\\u004dD5": null', "MD5", "is there twice"),
        (GOOD_MD5 + ', "Category": 1, "Category": true', "Category", "is there twice"),
        (GOOD_MD5 + ', "Category": 1, "Category": "1"', "Category", "is there twice"),
        (GOOD_MD5 + ', "AlternativeHashes": [], "AlternativeHashes": []', "AlternativeHashes", "is there twice"),
        (GOOD_MD5 + ', "MediaID": 1.5', "MediaID", "is a number, not a text or a whole number"),
        (GOOD_MD5 + ', "MediaID": ' + "1" * 5000, "MediaID", "is a number"),
        (GOOD_MD5 + ', "MediaID": true', "MediaID", "is true, not a text"),
        (GOOD_MD5 + ', "Category": [1]', "Category", "is a list, not a text"),
        (GOOD_MD5 + ', "Category": "a\\u0000"', "Category", "control character or half a character at position 2"),
        (GOOD_MD5 + ', "Category": "\\ud800"', "Category", "control character or half a character at position 1"),
        (GOOD_MD5 + ', "Category": "' + "x" * 1025 + '"', "Category", "is longer than 1,024"),
        (GOOD_MD5 + ', "sha1": ""', "SHA1", "is spelt 'sha1'"),
        (GOOD_MD5 + ', "SHA-256": ""', "SHA256", "is spelt 'SHA-256'"),
        (GOOD_MD5 + ', "alternative_hashes": ""', "AlternativeHashes", "is spelt"),
        (GOOD_MD5 + ', "AlternativeHashes": {}', "AlternativeHashes", "is an object, not a list"),
        (GOOD_MD5 + ', "AlternativeHashes": ' + DEEP, "AlternativeHashes", "is a list that is nested too deeply"),
        (GOOD_MD5 + ', "AlternativeHashes": [5]', "AlternativeHashes", "has an entry that is a number, not an object"),
        (GOOD_MD5 + ', "AlternativeHashes": [{}]', "AlternativeHashes", "HashName is null"),
        (GOOD_MD5 + ', "AlternativeHashes": [{"HashName": "MD5"}]', "AlternativeHashes", "without a HashValue"),
        (GOOD_MD5 + ', "AlternativeHashes": [{"HashName": "MD5", "HashValue": 5}]', "MD5", "is a number"),
        (GOOD_MD5 + ', "AlternativeHashes": [{"HashName": "MD5", "HashValue": "5"}]', "MD5", "has 1 characters"),
        (
            GOOD_MD5 + ', "AlternativeHashes": [{"HashName": "F1", "HashValue": "", "HashName": "MD5"}]',
            "AlternativeHashes",
            "HashName twice",
        ),
        ('"MediaID": 1', "record", "has no digest"),
        ("", "record", "has no digest"),
        ('"MediaFiles": [{' + GOOD_MD5 + "}]", "record", "has no digest"),
        ('"MD5": null, "SHA1": ""', "record", "has no digest"),
    ],
)
def test_a_bad_medium_is_refused_whole(tmp_path: Path, members: str, field: str, why: str) -> None:
    chance = random.Random(12)
    before, after = medium(chance, 1), medium(chance, 2)
    for chunk_bytes in (200, 1 << 20):
        text = document(before, "BAD", after).replace('"BAD"', "{" + members + "}")
        found, report = read_text(tmp_path, text, chunk_bytes)
        assert found == held(before, after)
        assert report.lines_read == 3
        line, bad_field, bad_why = one_bad(report)
        assert (line, bad_field) == (2, field)
        assert why in bad_why


@pytest.mark.parametrize(
    ("element", "what"),
    [("5", "a number"), ("null", "null"), ('"x"', "a text"), ("[{}]", "a list"), ("false", "false"), (DEEP, "a list")],
)
@pytest.mark.parametrize("head", [MEDIA_20, CASES_20, {}])
def test_what_is_no_object_is_a_bad_record(tmp_path: Path, element: str, what: str, head: dict[str, str]) -> None:
    one = medium(random.Random(13))
    value: list[object] = [{"Media": ["BAD", one]}] if head is CASES_20 else ["BAD", one]
    found, report = read_text(tmp_path, document(*value, head=head).replace('"BAD"', element))
    assert found == held(one)
    line, field, why = one_bad(report)
    assert (line, field) == (1, "record")
    assert f"is {what}" in why


@pytest.mark.parametrize(
    ("case", "field", "why"),
    [
        ({"Media": {"MD5": 1}}, "Media", "is an object, not a list"),
        ({"Media": "x"}, "Media", "is a text, not a list"),
        ({"media": []}, "Media", "is spelt 'media'"),
    ],
)
def test_a_case_whose_media_cannot_be_found_is_a_bad_record(tmp_path: Path, case: object, field: str, why: str) -> None:
    one = medium(random.Random(14))
    found, report = read_text(tmp_path, document(case, {"Media": [one]}, head=CASES_20))
    assert found == held(one)
    assert one_bad(report)[1] == field
    assert why in one_bad(report)[2]


def test_keys_that_come_twice_and_the_same_are_no_fault(tmp_path: Path) -> None:
    text = document("X").replace('"X"', "{" + f"{GOOD_MD5}, {GOOD_MD5}" + ', "Tags": 1, "Tags": 2, "MediaID": 1}')
    for chunk_bytes in (1, 1 << 20):
        found, report = read_text(tmp_path, text, chunk_bytes)
        assert len(found) == 1
        assert report.bad_line_count == 0


@pytest.mark.parametrize("number", ["0.25", "-0.0", "1e5", "1E+5", "2.5e-07", "12", "-3"])
def test_a_number_may_be_cut_anywhere_by_the_end_of_a_chunk(tmp_path: Path, number: str) -> None:
    text = document("X", number=7).replace('"X"', "{" + GOOD_MD5 + f', "x": {number}, "y": [{number}, {number}]' + "}")
    for chunk_bytes in range(1, 40):
        found, report = read_text(tmp_path, text.replace(": 7}", f": {number}" + "}"), chunk_bytes)
        assert (len(found), report.bad_line_count) == (1, 0)


def test_media_twice_in_a_case_are_all_read(tmp_path: Path) -> None:
    chance = random.Random(15)
    first, second = medium(chance, 1), medium(chance, 2)
    for head in (CASES_20, {}):
        text = document("X", head=head).replace(
            '"X"', '{"Media": [' + json.dumps(first) + '], "Media": [' + json.dumps(second) + "]}"
        )
        assert read_text(tmp_path, text)[0] == held(first, second)


@pytest.mark.parametrize("value", [[], [{"Media": []}]])
def test_a_list_of_nothing_is_no_error(tmp_path: Path, value: list[object]) -> None:
    found, report = read_text(tmp_path, document(*value, head=CASES_20))
    assert (found, report.is_empty) == ([], True)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", ListTruncated, "after 0 records"),
        (" \n", ListTruncated, "after 0 records"),
        ("[1]", UnknownFormat, "is a list, not an object"),
        ('"x"', UnknownFormat, "is a text, not an object"),
        ("-5", UnknownFormat, "is a number, not an object"),
        ("null", UnknownFormat, "is null, not an object"),
        ("x", UnknownFormat, "is no JSON, not an object"),
        ("{}", UnknownFormat, "has no key value"),
        (json.dumps(MEDIA_20), UnknownFormat, "has no key value"),
        (json.dumps(MEDIA_20)[:-1], ListTruncated, "after 0 records"),
        (json.dumps({"value": {}}), UnknownFormat, "value is an object, not a list"),
        (json.dumps({"value": None}), UnknownFormat, "value is null, not a list"),
        (json.dumps({"value": "x"}), UnknownFormat, "value is a text, not a list"),
        ('{"value": [], "value": []}', ListDamaged, "value twice"),
        (json.dumps({"@odata.context": 5, "value": []}), UnknownFormat, "OData of a number"),
        (json.dumps({"@odata.context": "https://x/$metadata#Media"}), UnknownFormat, "not of Project VIC"),
        (document(head={"@odata.context": CONTEXT_20.format("US", "Hits")}), UnknownFormat, "neither #Media nor"),
        (json.dumps({**MEDIA_13, **MEDIA_20, "value": []}), UnknownFormat, "twice what it is"),
        (document() + "x", ListDamaged, "nothing more was expected"),
        (document() + document(), ListDamaged, "nothing more was expected"),
        (document() + "\0", ListDamaged, "nothing more was expected"),
        ("{'value': []}", ListDamaged, "byte 2, after 0 records: is no JSON, a name in quotation marks"),
        ('{"ü": 1 "value": []}', ListDamaged, "byte 10, after 0 records: is no JSON, , or }"),
        ('{"value": [],}', ListDamaged, "byte 14"),
        ('{"value": [{},]}', ListDamaged, "byte 15, after 1 records: is no JSON, a value"),
        ('{"value": [{}}', ListDamaged, "byte 14, after 1 records: is no JSON, , or ]"),
        ('{"value": [{"x": NaN}]}', ListDamaged, "byte 18, after 0 records: is no JSON, a value"),
        ('{"value": [{"x": -Infinity}]}', ListDamaged, "byte 18"),
        ('{"value": [{"x": Infinity}]}', ListDamaged, "byte 18"),
        ('{"value": [{"x": [1, 2}]}', ListDamaged, "byte 23, after 0 records: is no JSON, , or ]"),
        ('{"value": [{"x": [1 2]}]}', ListDamaged, "byte 21"),
        ('{"value": [{"x": {"y" 2}}]}', ListDamaged, "byte 23, after 0 records: is no JSON, : was expected"),
        ('{"value": [{"x": {,}}]}', ListDamaged, "byte 19"),
        ('{"value": [{"x": {"y": 1,}}]}', ListDamaged, "byte 26, after 0 records: is no JSON, a name"),
        ('{"value": [{"x": [,]}]}', ListDamaged, "byte 19"),
        ('{"value": [{"x": 01}]}', ListDamaged, "byte 1"),
        ('{"value": [{"x": 1.}]}', ListDamaged, "byte 1"),
        ('{"value": [{"x": +1}]}', ListDamaged, "byte 18"),
        ('{"value": [{"x": "\t"}]}', ListDamaged, "byte 18"),
        ('{"value": [{"x": "\\x"}]}', ListDamaged, "byte 18"),
        ('{"value": [{"x": "\\u12g4"}]}', ListDamaged, "byte 18"),
        ('{"value": [{"x": tru}]}', ListDamaged, "byte 18"),
        ('{"value": [{"x": 1 /* */}]}', ListDamaged, "byte 20"),
        ('{"value": [{5: 1}]}', ListDamaged, "byte 13"),
        ('{"value": [\ufeff]}', ListDamaged, "byte 12"),
        (b'{"value": [{"x": "\xff"}]}', ListDamaged, "byte 19: is not UTF-8"),
        (b'{"value": [{"x": "\xed\xa0\x80"}]}', ListDamaged, "byte 19: is not UTF-8"),
        (b'{"value": [{"x": "\xc3\xa4\xc3("}]}', ListDamaged, "byte 21: is not UTF-8"),
        (b'{"value": [{"x": "\xc3', ListTruncated, "after 0 records"),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 2, 1 << 20])
def test_what_is_no_such_document_is_an_error(
    tmp_path: Path, text: str | bytes, error: type[ListFileError], message: str, chunk_bytes: int
) -> None:
    with pytest.raises(ListFileError) as caught:
        read_text(tmp_path, text, chunk_bytes)
    assert type(caught.value) is error
    assert message in str(caught.value)
    assert caught.value.path == str(tmp_path / "list")


@pytest.mark.parametrize("head", [MEDIA_20, CASES_13, {}])
@pytest.mark.parametrize("chunk_bytes", [1, 97, 1 << 20])
def test_a_cut_at_any_byte_is_truncated(tmp_path: Path, head: dict[str, str], chunk_bytes: int) -> None:
    chance = random.Random(16)
    odd = {"x": [1.5e-3, -0.25, True, None, {}, [[]], '\\"\u0000ü\U0001f600'], "y": 12}
    first, second = {"MD5": chance.randbytes(16).hex(), **odd}, {"MediaID": 5, "MD5": chance.randbytes(16).hex()}
    value = [{"Media": [first]}, {"Media": [second]}] if head is CASES_13 else [first, second]
    for ascii_only in (True, False):
        whole = json.dumps({**head, "a": odd, "value": value, "z": odd}, ensure_ascii=ascii_only).encode()
        assert read_text(tmp_path, whole, chunk_bytes)[0] == held(first, second)
        for length in range(len(whole)):
            with pytest.raises(ListTruncated):
                read_text(tmp_path, whole[:length], chunk_bytes)


NAMES = st.one_of(st.text(max_size=5), st.sampled_from(["MediaFiles", "Tags", "value", "HashName", "@odata.context"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.sampled_from([*OUR_KEYS]), inner, max_size=3)
    ),
    max_leaves=8,
)
LABELS = st.none() | st.integers(-9, 1 << 70) | st.sampled_from(["", "1", "A b", "Ω"])


def fold(name: str) -> str:
    return name.casefold().translate(dict.fromkeys(map(ord, "-_ ")))


@st.composite
def random_media(draw: st.DrawFn) -> dict[str, Any]:
    chance = random.Random(draw(st.integers(0, 1 << 40)))
    ours = {fold(key) for key in (*OUR_KEYS, "MediaID", "Category", "AlternativeHashes", "Media")}
    members = {
        name: value
        for name, value in draw(st.dictionaries(NAMES, VALUES, max_size=4)).items()
        if fold(name) not in ours
    }
    for key in draw(st.sets(st.sampled_from([*OUR_KEYS]), min_size=1)):
        raw = chance.randbytes(ALGORITHMS[OUR_KEYS[key]].digest_bytes)
        forms = [raw.hex(), raw.hex().upper(), *([base64.b64encode(raw).decode()] if key == "PhotoDNA" else [])]
        text = draw(st.sampled_from(forms))
        if draw(st.booleans()):
            members[key] = text
        else:
            members.setdefault("AlternativeHashes", []).append({"HashName": key, "HashValue": text})
    for key in draw(st.sets(st.sampled_from(["MediaID", "Category"]))):
        members[key] = draw(LABELS)
    return dict(draw(st.permutations(list(members.items()))))


@st.composite
def written(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """Draw a document with whatever blanks and order of keys, and its media."""
    media = draw(st.lists(random_media(), max_size=6))
    in_cases = draw(st.booleans())
    value: list[Any] = list(media)
    if in_cases:
        cut = draw(st.integers(0, len(media)))
        value = [{"Media": media[:cut], "CaseID": 1}, {"x": [{}], "Media": media[cut:]}]
    head = draw(st.sampled_from([CASES_13, CASES_20] if in_cases else [MEDIA_13, MEDIA_20]))
    members = draw(st.permutations([*head.items(), ("value", value), ("odata.count", draw(VALUES))]))
    blanks = st.sampled_from(["", " ", "\n", "\r\n\t "])
    separators = (draw(blanks) + "," + draw(blanks), draw(blanks) + ":" + draw(blanks))
    indent = draw(st.sampled_from([None, 0, 3]))
    text = json.dumps(dict(members), separators=separators, indent=indent, ensure_ascii=draw(st.booleans()))
    return draw(blanks) + text + draw(blanks), media


@given(drawn=written(), chunk_bytes=st.sampled_from([1, 2, 7, 64, 300, 1 << 20]))
def test_any_way_to_write_a_document_is_read(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[str, list[dict[str, Any]]], chunk_bytes: int
) -> None:
    text, media = drawn
    found, report = read_text(tmp_path_factory.mktemp("vics"), text, chunk_bytes)
    assert found == held(*media)
    assert (report.lines_read, report.bad_line_count) == (len(media), 0)


@given(drawn=written(), data=st.data(), chunk_bytes=st.sampled_from([1, 64, 1 << 20]))
@settings(max_examples=50)
def test_any_document_that_is_cut_is_truncated(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[str, list[dict[str, Any]]],
    data: st.DataObject,
    chunk_bytes: int,
) -> None:
    whole = drawn[0].rstrip().encode("utf-8", "surrogatepass")
    directory = tmp_path_factory.mktemp("vics")
    for length in data.draw(st.sets(st.integers(0, len(whole) - 1), max_size=50)):
        with pytest.raises(ListTruncated):
            read_text(directory, whole[:length], chunk_bytes)


@given(seed=st.integers(0, 1 << 40), chunk_bytes=st.sampled_from([1, 50, 1 << 20]), flips=st.integers(1, 4))
@settings(max_examples=300)
def test_flipped_bits_end_in_a_list_or_in_an_error_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, seed: int, chunk_bytes: int, flips: int
) -> None:
    chance = random.Random(seed)
    media = [medium(chance, number) for number in range(3)]
    damaged = bytearray(document(*media, head=chance.choice([MEDIA_20, CASES_20, {}])).encode())
    for _ in range(flips):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    try:
        found, report = read_text(tmp_path_factory.mktemp("vics"), bytes(damaged), chunk_bytes)
    except ListFileError:
        return
    json.loads(damaged)  # so it is JSON still
    assert len(found) <= 9
    assert report.lines_read <= 3


@given(seed=st.integers(0, 1 << 40), chunk_bytes=st.sampled_from([1, 60, 400]))
@settings(max_examples=200)
def test_large_and_small_chunks_say_the_same_of_any_file(
    tmp_path_factory: pytest.TempPathFactory, seed: int, chunk_bytes: int
) -> None:
    chance = random.Random(seed)
    text = bytearray(
        document(*(medium(chance, n) for n in range(3)), head=chance.choice([MEDIA_20, CASES_20, {}])).encode()
    )
    for _ in range(chance.randrange(3)):
        begin = chance.randrange(len(text))
        text[begin : begin + chance.randrange(3)] = chance.choice([b"", b"1", b'"', b"[", b"}", b",", b"\\", b"e"])
    outcomes = []
    for size in (chunk_bytes, 1 << 20):
        try:
            found, report = read_text(tmp_path_factory.mktemp("vics"), bytes(text), size)
            outcomes.append((found, report.bad_lines and [str(bad.why) for bad in report.bad_lines], report.lines_read))
        except ListFileError as error:
            outcomes.append((type(error), str(error).partition(": ")[2], 0))
    assert outcomes[0] == outcomes[1]


def test_the_head_tells_the_format(tmp_path: Path) -> None:
    reader = VicsReader()
    one = medium(random.Random(17))
    for head in (*HEADS, *CASE_HEADS):
        for indent, compress in ((None, bytes), (2, gzip.compress)):
            path = tmp_path / "list"
            padding = ["x" * 500] * 300 if indent is None else []
            path.write_bytes(compress(json.dumps({**head, "value": [one], "x": padding}, indent=indent).encode()))
            with ListFile(path) as source:
                assert reader.recognises(source.first_lines(), ReadOptions())
    assert reader.recognises(
        [b"", b" {", b"", b'"a":1,"@odata.context" :', b'"http:\\/\\/x\\/PROJECTVIC"'], ReadOptions()
    )
    for lines in ([], [b"{}"], [b'{"value": []}'], [b"[", *[b'{"@odata.context": "ProjectVic"}']], [b'"ProjectVic"'],
                  [b'{"@odata.context": "https://x", "y": "ProjectVic"}']):  # fmt: skip
        assert not reader.recognises(lines, ReadOptions())


def filled(path: Path, pieces: Iterable[bytes]) -> Path:
    """Write a gzip of a document with one medium more before and after the pieces."""
    packer = zlib.compressobj(1, wbits=31)
    with path.open("wb") as file:
        for piece in pieces:
            file.write(packer.compress(piece))
        file.write(packer.flush())
    return path


CHILD = """
import resource, sys, time
from loader.errors import ListFileError
from loader.readers.base import ReadOptions
from loader.readers.vics import VicsReader
from loader.report import FileReport
from loader.sources import ListFile
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = FileReport(sys.argv[1], "vics", "record")
try:
    with ListFile(sys.argv[1]) as source:
        for _ in VicsReader().read(source, ReadOptions(), report):
            pass
    outcome = "read"
except ListFileError as error:
    outcome = type(error).__name__ + " " + str(error)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
print(grown, report.lines_read, report.digest_count, report.bad_line_count, outcome)
"""


def read_in_child(path: Path) -> tuple[int, int, int, int, str]:
    """Give MiB of memory that reading took, records, digests, bad records, and the error if there was one."""
    run = subprocess.run([sys.executable, "-c", CHILD, path], capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr
    grown, records, digests, bad, outcome = run.stdout.split(" ", 4)
    return int(grown), int(records), int(digests), int(bad), outcome.strip()


BEGIN, END = (piece.encode() for piece in document({"SHA1": "0" * 40}, "X", {"SHA1": "1" * 40}).split('"X"'))


@pytest.mark.parametrize(
    ("before", "piece", "count", "after", "counts", "outcome", "limit_mib"),
    [
        # one text of 200 MB that ends, and one that does not, in a key of ours and in another
        (b'{"x": "', b"A" * 1_000_000, 200, b'"}', (1, 0, 0), "ListDamaged", 150),
        (b'{"MD5": "', b"A" * 1_000_000, 200, b"", (1, 0, 0), "ListDamaged", 150),
        (b'{"x": "', b"\\n" * 500_000, 200, b'"}', (1, 0, 0), "ListDamaged", 150),
        (b'{"x": "', "ü\U0001f600".encode() * 160_000, 100, b'"}', (1, 0, 0), "ListDamaged", 350),
        (b'{"', b"A" * 1_000_000, 200, b'": 1}', (1, 0, 0), "ListDamaged", 150),
        (b'{"x": ', b"1" * 1_000_000, 200, b"}", (1, 0, 0), "ListDamaged", 150),
        (b"", b"1" * 1_000_000, 200, b"", (1, 0, 0), "ListDamaged", 150),
        # large, and yet a medium
        (b'{"SHA1": "' + b"2" * 40 + b'", "x": "', b"A" * 1_000_000, 15, b'"}', (3, 3, 0), "read", 150),
        (b'{"SHA1": "' + b"2" * 40 + b'"', b',"x":[],"":1' * 10_000, 30, b"}", (3, 3, 0), "read", 100),
        (b'{"SHA1": "' + b"2" * 40 + b'"', b',"x":[],"":1' * 10_000, 30, b"", (1, 0, 0), "ListDamaged", 100),
        (b'{"y": 1', b',"SHA1": "' + b"2" * 40 + b'"', 200_000, b"}", (3, 3, 0), "read", 100),
        (b'{"y": 1', b',"SHA1": "' + b"2" * 40 + b'", "SHA1": ""', 100_000, b"}", (3, 2, 1), "read", 100),
        (b'{"AlternativeHashes": [1', b",{}" * 10_000, 100, b"]}", (3, 2, 1), "read", 150),
        # nested deeply
        (b'{"SHA1": "' + b"2" * 40 + b'", "x": ', b"[" * 200_000, 1, b"]" * 200_000 + b"}", (3, 3, 0), "read", 100),
        (b'{"x": ', b'{"a":' * 200_000, 1, b"1" + b"}" * 200_001, (3, 2, 1), "read", 100),
        (b'{"x": ', b"[" * 1_000_000, 3, b"", (1, 0, 0), "ListDamaged", 150),
        # blanks
        (b"{", b" " * 1_000_000, 200, b"}", (3, 2, 1), "read", 50),
    ],
)  # fmt: skip
def test_memory_is_bounded_whatever_comes(
    tmp_path: Path, before: bytes, piece: bytes, count: int, after: bytes,
    counts: tuple[int, int, int], outcome: str, limit_mib: int,
) -> None:  # fmt: skip
    pieces = (piece for _ in range(count))
    grown, records, digests, bad, found = read_in_child(
        filled(tmp_path / "list.gz", (BEGIN, before, *pieces, after, END))
    )
    assert (records, digests, bad) == counts
    assert found.startswith(outcome)
    assert grown <= limit_mib, f"{grown} MiB"


def test_many_different_names_are_not_all_remembered(tmp_path: Path) -> None:
    names = (b"".join(b',"%x":0' % number for number in range(n, n + 10_000)) for n in range(0, 600_000, 10_000))
    start = b'{"SHA1": "' + b"2" * 40 + b'"'
    grown, *counts, outcome = read_in_child(filled(tmp_path / "list.gz", (BEGIN, start, *names, b"}", END)))
    assert (counts, outcome) == ([3, 3, 0], "read")
    assert grown <= 100


def test_a_medium_of_a_pipe_comes_before_the_pipe_ends(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    chance = random.Random(18)
    media = [medium(chance, number) for number in range(20_000)]
    may_end = threading.Event()

    def feed() -> None:
        with path.open("wb") as pipe:
            pipe.write(document(*media).encode()[:-2])
            pipe.flush()
            assert may_end.wait(30)
            pipe.write(b"]}")

    feeding = threading.Thread(target=feed)
    feeding.start()
    report = FileReport(str(path), "vics", "record")
    with ListFile(path) as source:
        batches = VicsReader().read(source, ReadOptions(), report)
        first = next(batches)
        may_end.set()
        assert len(first.digests) == 16_384
        assert sum(len(batch.digests) for batch in batches) == 3 * 20_000 - 16_384
    feeding.join()
