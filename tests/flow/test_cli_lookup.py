"""lookup as a user runs it: by argument, file and standard input, for people and for scripts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from snapshot.store import Store
from tests import listfiles
from tests.command import compile_lists, hashwacht
from tests.needs import DPKG_LISTS

LISTED = listfiles.random_digests("sha256", 200, "listed")
VECTORS = listfiles.random_digests("photodna", 5, "listed")
OTHERS = listfiles.random_digests("sha256", 200, "others")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("lookup")
    rows = [[d.hex(), "", "cat", f"r{i}"] for i, d in enumerate(LISTED[:100])]
    rows += [[d.hex(), "", "", ""] for d in LISTED[100:]] + [["", d.hex(), "", ""] for d in VECTORS]
    header = ["sha256", "photodna", "category", "reference"]
    path = listfiles.write(directory / "list.csv", listfiles.csv_lines(header, rows))
    compile_lists(directory / "store", path, list_id="hotline", tier="illegal")
    return directory / "store"


def test_by_argument_for_people(store: Path) -> None:
    digests = [LISTED[0].hex(), OTHERS[0].hex().upper(), LISTED[150].hex().upper(), "ab" * 20]
    assert hashwacht("lookup", "--store", store, *digests).out.splitlines() == [
        f"{digests[0]}  sha256  listed  hotline / cat / illegal / r0",
        f"{digests[1]}  sha256  not listed",
        f"{digests[2]}  sha256  listed  hotline / default / illegal",
        f"{digests[3]}  sha1  not loaded: no list with sha1 is live",
    ]


def test_json_to_the_letter(store: Path) -> None:
    digests = [LISTED[0].hex(), OTHERS[0].hex(), "ab" * 64, "0x12"]
    current = Store(store).current()
    assert hashwacht("lookup", "--store", store, "--json", *digests, code=3).json() == {
        "generation": 1,
        "snapshot_id": current.snapshot_id,
        "answers": [
            {
                "digest": digests[0],
                "algorithm": "sha256",
                "verdict": "listed",
                "labels": [{"list_id": "hotline", "category": "cat", "tier": "illegal", "reference": "r0"}],
            },
            {"digest": digests[1], "algorithm": "sha256", "verdict": "not_listed"},
            {"digest": digests[2], "algorithm": "sha512", "verdict": "not_loaded"},
            {
                "digest": "0x12",
                "verdict": "invalid",
                "why": "wrong_length",
                "detail": "has 4 characters; known lengths are 32 (md5), 40 (sha1), 64 (sha256), 128 (sha512)",
            },
        ],
    }


@pytest.mark.parametrize("way", ["--file", "-"])
def test_many_by_file_and_standard_input(store: Path, tmp_path: Path, way: str) -> None:
    asked = [digest for pair in zip(LISTED, OTHERS, strict=True) for digest in pair]
    lines = b"\r\n" + listfiles.hex_lines(asked).replace(b"\n", b"\r\n")
    path = listfiles.write(tmp_path / "asked", lines)
    words = ("--file", path) if way == "--file" else ("-",)
    said = hashwacht("lookup", "--store", store, "--json", *words, stdin=lines).json()
    assert [answer["digest"] for answer in said["answers"]] == [digest.hex() for digest in asked]
    assert [answer["verdict"] for answer in said["answers"]] == ["listed", "not_listed"] * 200


def test_photodna_is_declared_and_comes_in_both_texts(store: Path) -> None:
    in_base64 = listfiles.base64_lines(VECTORS)
    words = ("lookup", "--store", store, "--json", "--algorithm", "photodna", "-")
    for stdin in (in_base64, listfiles.hex_lines(VECTORS)):
        said = hashwacht(*words, stdin=stdin).json()
        assert [answer["verdict"] for answer in said["answers"]] == ["listed"] * len(VECTORS)
    said = hashwacht("lookup", "--store", store, "--json", "-", stdin=in_base64, code=3).json()
    assert {answer["verdict"] for answer in said["answers"]} == {"invalid"}


@pytest.mark.parametrize("text", ["abc", "", " " + "a" * 63, "0x" + "a" * 62, "a" * 63 + "_", "\u0661" * 64, "é" * 32])
def test_what_is_no_digest_exits_with_3_and_stops_nothing(store: Path, text: str) -> None:
    said = hashwacht("lookup", "--store", store, text, LISTED[3].hex(), code=3)
    first, second = said.out.splitlines()
    assert first.startswith(f"{text}  invalid: has ")
    assert second == f"{LISTED[3].hex()}  sha256  listed  hotline / cat / illegal / r3"


@pytest.mark.parametrize("json", [True, False])
def test_bytes_that_are_no_text_are_invalid_too(store: Path, tmp_path: Path, json: bool) -> None:
    raw = b"a\xff\n" + LISTED[0].hex().encode() + b"\n"
    path = listfiles.write(tmp_path / "asked", raw)
    words = ["lookup", "--store", store, *(["--json"] if json else []), "--file", path, "b\udcff", "-"]
    said = hashwacht(*words, stdin=raw, code=3, PYTHONIOENCODING="utf-8:strict")
    if json:
        answers = said.json()["answers"]
        assert [answer["digest"] for answer in answers[:2]] == ["b\udcff", "a\udcff"]
        assert [a["verdict"] for a in answers] == ["invalid", "invalid", "listed", "invalid", "listed"]
    else:
        assert [line.split()[0] for line in said.out.splitlines()][:2] == ["b\\udcff", "a\\udcff"]


def test_nothing_to_look_up(store: Path) -> None:
    assert "give digests, --file or -" in hashwacht("lookup", "--store", store, code=2).err
    assert hashwacht("lookup", "--store", store, "-").out == ""
    missing = hashwacht("lookup", "--store", store, "--file", "/nowhere/asked", code=2)
    assert "'/nowhere/asked': No such file or directory" in missing.err


@pytest.mark.needs("dpkg")
def test_every_digest_of_this_machine_software_is_found(tmp_path: Path) -> None:
    """All md5sums that Debian ships: compiled as they are, each looked up, each with its label."""
    files = sorted(DPKG_LISTS.glob("*.md5sums"))
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    said = compile_lists(tmp_path / "store", *files, list_id="debian", tier="other")
    assert (said["files"], said["lines"], said["refused"]) == (len(files), len(lines), 0)
    digests = [line.lstrip(b"\\")[:32].decode() for line in lines]
    assert said["entries"] == len(set(digests))
    asked = "\n".join(digests).encode()
    answers = hashwacht("lookup", "--store", tmp_path / "store", "--json", "-", stdin=asked).json()["answers"]
    assert [answer["digest"] for answer in answers] == digests
    label = {"list_id": "debian", "category": "default", "tier": "other"}
    assert all(answer["verdict"] == "listed" and answer["labels"] == [label] for answer in answers)
    strangers = listfiles.hex_lines(listfiles.random_digests("md5", 100_000, "strangers"))
    said = hashwacht("lookup", "--store", tmp_path / "store", "-", stdin=strangers)
    assert said.out.count("  md5  not listed\n") == 100_000


@pytest.mark.needs("dpkg")
def test_a_listed_file_is_found_by_its_own_md5sum(tmp_path: Path) -> None:
    """The other way round: what md5sum says of a file on this machine is found on the list."""
    for file in DPKG_LISTS.glob("*.md5sums"):
        line = file.read_text(errors="surrogateescape").partition("\n")[0]
        path = Path("/", line.partition("  ")[2])
        if path.is_file():
            break
    compile_lists(tmp_path / "store", file, list_id="debian", tier="other")
    digest = subprocess.run(["md5sum", path], check=True, capture_output=True, text=True).stdout[:32]
    assert "listed  debian / default / other" in hashwacht("lookup", "--store", tmp_path / "store", digest).out
