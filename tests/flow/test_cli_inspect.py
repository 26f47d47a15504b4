"""inspect as a user runs it: what it says of files, and that what it prints is a lists.toml."""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path

import pytest

from loader.label_numbers import MAX_CLASSES
from loader.lists_file import read_lists_file
from loader.readers.base import ReadOptions
from snapshot.algorithms import MD5
from snapshot.labels import Tier
from tests import listfiles
from tests.command import hashwacht

MD5S = listfiles.random_digests("md5", 60, "inspect")
SHA1S = listfiles.random_digests("sha1", 60, "inspect")


@pytest.fixture
def police(tmp_path: Path) -> Path:
    """A CSV of 60 rows with headers of its own: 30 of A1, 20 of another category, 10 of none; 5 without md5."""
    categories = ["A1"] * 30 + ['b "2"\\é'] * 20 + [""] * 10
    rows = [
        [md5.hex() if number >= 5 else "", sha1.hex(), category, f"r{number}" if number % 2 else ""]
        for number, (md5, sha1, category) in enumerate(zip(MD5S, SHA1S, categories, strict=True))
    ]
    lines = listfiles.csv_lines(["Hash", "Long", "Class", "No"], rows, ";")
    return listfiles.write(tmp_path / "police list.2026.csv.gz", lines)


COLUMNS = [word for item in ("md5=Hash", "sha1=Long", "category=Class", "reference=No") for word in ("--column", item)]


def test_what_a_file_holds_to_the_letter(police: Path) -> None:
    said = hashwacht("inspect", *COLUMNS, "--delimiter", ";", police)
    assert said.out.splitlines() == [
        f"# {police}",
        "#   format      csv: 61 lines, 0 refused",
        "#   digests     55 md5, 60 sha1",
        "#   categories  2; 20 digests have none",
        '#     "A1": 55 digests',
        r'#     "b \"2\"\\é": 40 digests',
        "#   references  58 digests have one",
        "#   withdrawn   none",
        "[[list]]",
        'id = "police-list.2026"',
        'kind = "known-bad"  # or known-good, a list of harmless files: then without tier and categories',
        'format = "csv"',
        f'paths = ["{police}"]',
        'delimiter = ";"',
        'tier = "unknown"  # of entries without a category; choose: baseline, illegal, investigative, other',
        "[list.columns]",
        'md5 = "Hash"',
        'sha1 = "Long"',
        'category = "Class"',
        'reference = "No"',
        "[list.categories]",
        "# choose: baseline, illegal, investigative, other; what stays unknown matches nothing",
        '"A1" = "unknown"',
        r'"b \"2\"\\é" = "unknown"',
        "",
    ]
    assert said.err == ""


def test_what_it_prints_is_a_lists_file(police: Path, tmp_path: Path) -> None:
    (tmp_path / "lists.toml").write_text(hashwacht("inspect", *COLUMNS, "--delimiter", ";", police).out)
    (item,) = read_lists_file(tmp_path / "lists.toml").lists
    assert item.files == (str(police),)
    assert item.options == ReadOptions(
        None, {"md5": "Hash", "sha1": "Long", "category": "Class", "reference": "No"}, ";"
    )
    assert item.tiers == {"A1": Tier.UNKNOWN, 'b "2"\\é': Tier.UNKNOWN}


def test_many_files_make_one_lists_file(tmp_path: Path) -> None:
    names = ["a.txt", "a.txt.zst", "b/a.hex", "[odd]\n\x1b*?.b64", "é.x", ".y", "-", "---", "x" * 90]
    (tmp_path / "b").mkdir()
    files = [listfiles.write(tmp_path / name, listfiles.hex_lines(MD5S)) for name in names]
    said = hashwacht("inspect", "--algorithm", "md5", *files)
    assert "\x1b" not in said.out
    (tmp_path / "lists.toml").write_text(said.out)
    lists = read_lists_file(tmp_path / "lists.toml").lists
    assert [item.files for item in lists] == [(str(file),) for file in files]
    assert [item.list_id for item in lists] == ["a", "a-2", "a-3", "odd", "list", "y", "list-2", "list-3", "x" * 64]
    assert all(item.format == "hex" and item.options == ReadOptions(MD5) for item in lists)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/na\xffme"))
    listfiles.write(path, listfiles.hex_lines(MD5S))
    for words in ([], ["--json"]):
        said = hashwacht("inspect", *words, path, PYTHONIOENCODING="utf-8:strict")
        toml = said.json()["files"][0]["list"] if words else said.out
        (tmp_path / "lists.toml").write_text(toml)
        assert read_lists_file(tmp_path / "lists.toml").lists[0].files == (str(path),)


def test_json_to_the_letter(police: Path, tmp_path: Path) -> None:
    said = hashwacht("inspect", "--json", *COLUMNS, police, tmp_path / "none", code=3).json()
    (found, missing) = said["files"]
    assert found.pop("list").startswith("[[list]]\n")
    assert found == {
        "path": str(police),
        "format": "csv",
        "unit": "line",
        "read": 61,
        "digests": {"md5": 55, "sha1": 60},
        "refused": 0,
        "bad_lines": [],
        "categories": {"A1": 55, 'b "2"\\é': 40},
        "category_count": 2,
        "more_categories": False,
        "uncategorised": 20,
        "references": 58,
        "withdrawn": 0,
        "refusal": None,
    }
    detail = f"{tmp_path / 'none'}: is not there"
    assert missing == {"path": str(tmp_path / "none"), "error": {"reason": "list_unreadable", "detail": detail}}


def test_bad_lines_are_named_and_no_failure(tmp_path: Path) -> None:
    lines = listfiles.hex_lines(MD5S).splitlines()
    for place in (3, 7):
        lines[place] = lines[place][:-1]
    path = listfiles.write(tmp_path / "list", b"\n".join(lines) + b"\n")
    said = hashwacht("inspect", path)
    assert "#   format      hex: 60 lines, 2 refused\n" in said.out
    for line in (4, 8):
        assert f"#   refused     {path}:{line}: digest: has 31 characters" in said.out
    assert (
        "#   a compile would refuse it [too_many_bad_lines]: 2 of 60 lines refused (3.333 %), the limit is 0.01 %"
        in (said.out)
    )
    lenient = hashwacht("inspect", "--json", path, HASHWACHT_MAX_BAD_SHARE="0.1").json()["files"][0]
    assert lenient["refusal"] is None
    assert len(lenient["bad_lines"]) == 2


def test_an_empty_list_would_be_refused(tmp_path: Path) -> None:
    said = hashwacht("inspect", listfiles.write(tmp_path / "list", b"# nothing\n"))
    assert "#   digests     none\n" in said.out
    assert "#   a compile would refuse it [empty_result]: " in said.out


@pytest.mark.parametrize(
    ("content", "reason"),
    [(gzip.compress(listfiles.hex_lines(MD5S))[:-20], "list_truncated"), (b"no list\n", "unknown_format"),
     (b"\0\1", "binary_list")],
)  # fmt: skip
def test_a_file_that_cannot_be_read_exits_with_3_and_stops_nothing(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    good = listfiles.write(tmp_path / "good", listfiles.hex_lines(MD5S))
    said = hashwacht("inspect", path, good, code=3)
    assert said.err.startswith(f"error [{reason}]: {path}: ")
    assert said.err.count("\n") == 1
    assert said.out.startswith(f"# {good}\n")
    assert said.out.count("[[list]]") == 1


def test_digests_are_never_shown(tmp_path: Path) -> None:
    rows = [[md5.hex(), sha1.hex()] for md5, sha1 in zip(MD5S, SHA1S, strict=True)] + [[MD5S[0].hex()[1:], ""]]
    path = listfiles.write(tmp_path / "list.csv", listfiles.csv_lines(["md5", "category"], rows))
    for words in ([], ["--json"]):
        said = hashwacht("inspect", *words, path)
        for text in (text for row in rows for text in row if text):
            assert text not in said.out
    assert hashwacht("inspect", "--json", path).json()["files"][0]["category_count"] == 60
    said = hashwacht("inspect", path)
    assert "#     60 are not shown: they look like digests or are no text; is it the right column?" in said.out
    (tmp_path / "lists.toml").write_text(said.out)
    assert read_lists_file(tmp_path / "lists.toml").lists[0].tiers == {}


def test_fifty_categories_are_shown_and_all_are_in_the_list(tmp_path: Path) -> None:
    rows = [[md5.hex(), f"c{number}"] for number, md5 in enumerate(MD5S)]
    path = listfiles.write(tmp_path / "list.csv", listfiles.csv_lines(["md5", "category"], rows))
    said = hashwacht("inspect", path)
    assert said.out.count('#     "c') == 50
    assert "#     … and 10 more\n" in said.out
    (tmp_path / "lists.toml").write_text(said.out)
    assert read_lists_file(tmp_path / "lists.toml").lists[0].tiers == {f"c{n}": Tier.UNKNOWN for n in range(60)}


def test_more_categories_than_a_compile_takes(tmp_path: Path) -> None:
    chance = random.Random(1)
    rows = [[chance.randbytes(16).hex(), f"c{number}"] for number in range(MAX_CLASSES + 1)]
    path = listfiles.write(tmp_path / "list.csv", listfiles.csv_lines(["md5", "category"], rows))
    said = hashwacht("inspect", path)
    assert "#   categories  more than 4,096; 0 digests have none\n" in said.out
    assert '#     too many: is "category" mapped to the right column?\n' in said.out
    assert "[list.categories]" not in said.out
    assert hashwacht("inspect", "--json", path).json()["files"][0]["more_categories"] is True


def test_standard_input_has_no_list(tmp_path: Path) -> None:
    said = hashwacht("inspect", "-", stdin=listfiles.hex_lines(MD5S))
    assert said.out.startswith("# -\n#   format      hex: 60 lines, 0 refused\n#   digests     60 md5\n")
    assert "[[list]]" not in said.out
    assert hashwacht("inspect", "--json", "-", stdin=b"").json()["files"][0]["list"] is None


def test_wrong_usage(police: Path) -> None:
    assert "Missing argument" in hashwacht("inspect", code=2).err
    assert "is one character" in hashwacht("inspect", "--delimiter", "ab", police, code=2).err
    assert "write NAME=HEADER" in hashwacht("inspect", "--column", "md6=x", police, code=2).err
    assert "read only once" in hashwacht("inspect", "-", "-", code=2).err
