"""Which reader a file gets."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from loader.errors import UnknownFormat
from loader.readers import READERS, choose_reader
from loader.readers.base import ReadOptions
from loader.sources import ListFile
from snapshot.algorithms import PHOTODNA

CHANCE = random.Random(1)
MD5 = CHANCE.randbytes(16).hex()
SHA256 = CHANCE.randbytes(32).hex()


def chosen(path: Path, content: str, format_name: str | None = None, options: ReadOptions | None = None) -> str:
    path.write_text(content)
    with ListFile(path) as source:
        return choose_reader(source, format_name, options or ReadOptions()).name


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (f"{MD5}\n", "hex"),
        (f"# list, md5, sha256\n\n{SHA256}\r\n", "hex"),
        (f"malformed\n{MD5}\n", "hex"),
        (f"{MD5[1:]}\n{MD5}\n", "hex"),
        ("", "hex"),
        ("# nothing\n\n", "hex"),
        (f"{MD5}  a name\n", "hashsum"),
        (f"malformed\n{MD5}\n{MD5} *x\n", "hashsum"),
        (f"SHA256 (x) = {SHA256}\n", "hashsum"),
        (f"\\{SHA256}  a\\nb\n", "hashsum"),
        (f"%%%% HASHDEEP-1.0\n%%%% size,md5,filename\n1,{MD5},x\n", "hashdeep"),
        (f"id,MD5\n1,{MD5}\n", "csv"),
        (f"sha-256\n{SHA256}\n", "csv"),
        (f"\ufeffMD5;SHA1\n{MD5};\n", "csv"),
    ],
)
def test_formats_are_told_by_their_first_lines(tmp_path: Path, content: str, name: str) -> None:
    assert chosen(tmp_path / "list", content) == name
    (tmp_path / "list").write_bytes(gzip.compress(content.encode()))
    with ListFile(tmp_path / "list") as source:
        assert choose_reader(source, None, ReadOptions()).name == name


def test_what_the_operator_says_counts(tmp_path: Path) -> None:
    for name in READERS:
        assert chosen(tmp_path / "list", f"{MD5}\n", name) == name
    assert chosen(tmp_path / "list", "a,b\n", None, ReadOptions(columns={"md5": "a"})) == "csv"
    photodna = random.Random(2).randbytes(144).hex()
    assert chosen(tmp_path / "list", f"{photodna}\n", None, ReadOptions(PHOTODNA)) == "hex"


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "text\n" * 30, f"{MD5[1:]}\n", "{\n"])
def test_an_unknown_form_names_the_known_ones(tmp_path: Path, content: str) -> None:
    with pytest.raises(UnknownFormat) as caught:
        chosen(tmp_path / "list", content)
    for name in READERS:
        assert name in str(caught.value)
    assert "--format" in str(caught.value)
    assert caught.value.path == str(tmp_path / "list")


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat, match="'pdq'"):
        chosen(tmp_path / "list", f"{MD5}\n", "pdq")


def test_the_order_of_recognition_is_fixed() -> None:
    assert list(READERS) == [
        "nsrl-sqlite", "ncmec", "vics", "hashdeep", "nsrl", "misp",
        "hashkeeper", "icse", "csv", "hashsum", "clamav", "hex",
    ]  # fmt: skip
    assert all(reader.name == name for name, reader in READERS.items())
