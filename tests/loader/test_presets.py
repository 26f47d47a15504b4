"""Tables whose header is known: each is recognised by it and read without any --column."""

from __future__ import annotations

import base64
import gzip
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.errors import ListFileError, ListTruncated, UnknownColumn
from loader.readers.base import ReadOptions
from loader.readers.csv_columns import CsvReader
from loader.readers.presets import PRESETS, CsvPreset
from loader.report import CompileReport, FileReport, refuse_cut_files
from loader.sources import ListFile
from snapshot.algorithms import SHA256

BY_NAME = {preset.name: preset for preset in PRESETS}
CHANCE = random.Random(1)
MD5, SHA1, PHOTODNA = CHANCE.randbytes(16), CHANCE.randbytes(20), CHANCE.randbytes(144)

# The published headers, as they stand in files.
HEADERS = {
    "nsrl": '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"',
    "misp": "md5,event-uuid",
    "hashkeeper": '"file_id","hashset_id","file_name","directory","hash","file_size","date_modified","time_zone"',
    "icse": "MD5;SHA1;PhotoDNA;Image ID;Is distributed;Victim identified;Offender identified;Series name;"
    "Number of submissions;File Available;Media Type;Baseline",
}
ROWS = {
    "nsrl": f'"{SHA1.hex().upper()}","{MD5.hex().upper()}","0A0B0C0D","a, ""b"".dll",68,123,"362",""',
    "misp": f"{MD5.hex()},5e1f-77",
    "hashkeeper": f'"7","12","a.txt","C:\\","{MD5.hex().upper()}","68","2001-01-01",""',
    "icse": f"{MD5.hex()};{SHA1.hex()};{base64.b64encode(PHOTODNA).decode()};7;Yes;No;No;;1;Yes;Image;Baseline",
}
ENTRIES = {
    "nsrl": [("md5", MD5, None, None), ("sha1", SHA1, None, None)],
    "misp": [("md5", MD5, None, "5e1f-77")],
    "hashkeeper": [("md5", MD5, None, "7")],
    "icse": [
        ("md5", MD5, "Baseline", "7"),
        ("sha1", SHA1, "Baseline", "7"),
        ("photodna", PHOTODNA, "Baseline", "7"),
    ],
}


def read(
    path: Path, preset: CsvPreset, options: ReadOptions | None = None
) -> tuple[Counter[tuple[str, bytes, str | None, str | None]], FileReport]:
    report = FileReport(str(path), preset.name, preset.unit)
    found: Counter[tuple[str, bytes, str | None, str | None]] = Counter()
    with ListFile(path) as source:
        assert preset.recognises(source.first_lines(), options or ReadOptions()) or options
        for batch in preset.read(source, options or ReadOptions(), report):
            count = len(batch.digests)
            categories, references = batch.categories or [None] * count, batch.references or [None] * count
            rows = zip(batch.digests, categories, references, strict=True)
            found.update((batch.algorithm.name, row.tobytes(), *labels) for row, *labels in rows)
    return found, report


@pytest.mark.parametrize("name", HEADERS)
def test_the_published_form(tmp_path: Path, name: str) -> None:
    path = tmp_path / "list"
    text = f"{HEADERS[name]}\n{ROWS[name]}\n"
    for content in (text, text.replace("\n", "\r\n"), "\ufeff" + text, "\n" + text, text.rstrip()):
        path.write_text(content, newline="")
        found, report = read(path, BY_NAME[name])
        assert found == Counter(ENTRIES[name])
        assert report.bad_line_count == 0
    path.write_bytes(gzip.compress(text.encode()))
    assert read(path, BY_NAME[name])[0] == found


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("change", [str.upper, str.lower, lambda header: header.replace('"', "")])
def test_a_header_in_capitals_or_without_quotes(tmp_path: Path, name: str, change: object) -> None:
    path = tmp_path / "list"
    path.write_text(f"{change(HEADERS[name])}\n{ROWS[name]}\n")
    assert read(path, BY_NAME[name])[0] == Counter(ENTRIES[name])


@pytest.mark.parametrize("name", HEADERS)
def test_only_its_own_header_is_recognised(name: str) -> None:
    preset, options = BY_NAME[name], ReadOptions()
    header = HEADERS[name]
    assert [other.name for other in PRESETS if other.recognises([header.encode()], options)] == [name]
    for wrong in (
        f"x{preset.delimiter}{header}",
        header.replace(preset.delimiter, "|"),
        preset.delimiter.join(preset.header[:-1]),
        preset.delimiter.join(reversed(preset.header)),
        f"# {header}",
        f'"{header}',
        "",
    ):
        assert not preset.recognises([wrong.encode()], options)
    longer = f"{header}{preset.delimiter}more".encode()
    assert preset.recognises([longer], options) == (name == "hashkeeper")
    assert not preset.recognises([], options)
    assert not preset.recognises([ROWS[name].encode(), header.encode()], options)
    assert not preset.recognises([b'"' + b"\xff\0" * 40_000], options)


@pytest.mark.parametrize("name", HEADERS)
def test_what_the_operator_names_is_taken_instead(tmp_path: Path, name: str) -> None:
    path = tmp_path / "list"
    path.write_text(f"{HEADERS[name]}\n{ROWS[name]}\n")
    preset = BY_NAME[name]
    options = ReadOptions(columns={"md5": preset.columns["md5"], "category": preset.header[-1]})
    with ListFile(path) as source:
        assert not preset.recognises(source.first_lines(), options)
        assert CsvReader().recognises(source.first_lines(), options)
    found, _ = read(path, preset, options)
    category = {"nsrl": None, "misp": "5e1f-77", "hashkeeper": "68", "icse": "Baseline"}[name]
    assert found == Counter([("md5", MD5, category, None)])
    with pytest.raises(UnknownColumn, match="nowhere"):
        read(path, preset, ReadOptions(columns={"md5": "nowhere"}))


def test_a_declared_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(f"{HEADERS['misp']}\n{ROWS['misp']}\n".replace(",", "\t"))
    options = ReadOptions(delimiter="\t")
    with ListFile(path) as source:
        assert BY_NAME["misp"].recognises(source.first_lines(), options)
        assert not BY_NAME["misp"].recognises(source.first_lines(), ReadOptions())
    assert read(path, BY_NAME["misp"], options)[0] == Counter(ENTRIES["misp"])


def test_icse_categories_are_the_cell_and_blank_cells_are_absent(tmp_path: Path) -> None:
    path = tmp_path / "list"
    rows = [
        f"{MD5.hex()};;;1;;;;;;;Image; Baseline? ",
        f";{SHA1.hex()};;2;;;;;;;Video;",
        ";;;3;;;;;;;Video;x",
        f"{MD5.hex()[1:]};{SHA1.hex()};;4;;;;;;;Video;x",
        f"{MD5.hex()};{SHA1.hex()};;5;;;;;;;Video",
    ]
    path.write_text("\n".join([HEADERS["icse"], *rows, ""]))
    found, report = read(path, BY_NAME["icse"])
    assert found == Counter([("md5", MD5, " Baseline? ", "1"), ("sha1", SHA1, None, "2")])
    assert [(bad.line, bad.field) for bad in report.bad_lines] == [(4, "row"), (5, "MD5"), (6, "row")]


@pytest.mark.parametrize("name", HEADERS)
def test_another_table_said_to_be_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / "list"
    path.write_text(f"a;b,c\n{MD5.hex()}\n")
    with pytest.raises(UnknownColumn, match="not among them"), ListFile(path) as source:
        list(BY_NAME[name].read(source, ReadOptions(), FileReport(str(path), name)))
    path.write_text(f"{HEADERS[name]}\n{ROWS[name]}\n")
    with pytest.raises(UnknownColumn, match="declared as sha256"):
        read(path, BY_NAME[name], ReadOptions(SHA256))


@given(name=st.sampled_from(list(HEADERS)), data=st.data())
def test_cut_or_damaged_files_are_counted_or_named(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    content = bytearray(f"{HEADERS[name]}\n{ROWS[name]}\n{ROWS[name]}\n".encode())
    begin = len(HEADERS[name]) + 1
    path = tmp_path_factory.mktemp("presets") / "list"
    if data.draw(st.booleans()):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            with ListFile(path) as source:
                list(BY_NAME[name].read(source, ReadOptions(), FileReport(str(path), name)))
        except ListFileError:
            pass
        return
    # A cut within the first cell of digests of the last row cannot pass; later on, cells that need not be there may go.
    path.write_bytes(content[: data.draw(st.integers(begin + 1, begin + len(ROWS[name]) - 8))])
    _, report = read(path, BY_NAME[name])
    if report.bad_line_count:
        with pytest.raises(ListTruncated):
            refuse_cut_files(CompileReport([report]))
    else:
        assert report.digest_count == len(ENTRIES[name])


def test_names() -> None:
    assert [preset.name for preset in PRESETS] == ["nsrl", "misp", "hashkeeper", "icse"]
