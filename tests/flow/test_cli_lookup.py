"""lookup as a user runs it: by argument, file and standard input, for people and for scripts."""

from __future__ import annotations

import getpass
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from loader.guard import trivial_files
from snapshot.store import Store
from tests import listfiles
from tests.command import compile_lists, hashwacht
from tests.needs import DPKG_LISTS

LISTED = listfiles.random_digests("sha256", 200, "listed")
VECTORS = listfiles.random_digests("photodna", 5, "listed")
OTHERS = listfiles.random_digests("sha256", 200, "others")
EMPTY_FILE = hashlib.sha256(b"").hexdigest()
KNOWN_GOOD = "known good: no compile and no `add` takes it"
#: The digests that no list brings into a store.
TRIVIAL_MD5 = {hashlib.md5(content).hexdigest() for content in trivial_files()}


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
        f"{digests[0]}  sha256  match  hotline / cat / illegal / r0 (on)",
        f"{digests[1]}  sha256  not listed",
        f"{digests[2]}  sha256  match  hotline / default / illegal (on)",
        f"{digests[3]}  sha1  not loaded: no list with sha1 is live",
    ]


def test_json_to_the_letter(store: Path) -> None:
    digests = [LISTED[0].hex(), OTHERS[0].hex(), "ab" * 64, "0x12", EMPTY_FILE]
    current = Store(store).current()
    assert hashwacht("lookup", "--store", store, "--json", *digests, code=3).json() == {
        "generation": 1,
        "snapshot_id": current.snapshot_id,
        "overlay_version": 1,
        "answers": [
            {
                "digest": digests[0],
                "algorithm": "sha256",
                "verdict": "listed",
                "match": True,
                "labels": [
                    {"list_id": "hotline", "category": "cat", "tier": "illegal", "reference": "r0", "state": "on"}
                ],
            },
            {"digest": digests[1], "algorithm": "sha256", "verdict": "not_listed", "match": False},
            {"digest": digests[2], "algorithm": "sha512", "verdict": "not_loaded", "match": False},
            {
                "digest": "0x12",
                "verdict": "invalid",
                "why": "wrong_length",
                "detail": "has 4 characters; known lengths are 32 (md5), 40 (sha1), 64 (sha256), 128 (sha512)",
            },
            {
                "digest": EMPTY_FILE, "algorithm": "sha256", "verdict": "not_listed", "match": False,
                "known_good": True,
            },
        ],
    }  # fmt: skip


def test_why_it_is_no_match(store: Path, tmp_path: Path) -> None:
    """Revoked, suppressed, added, of a tier that leads to nothing, known good: each is said, with who and why."""
    shutil.copytree(store, tmp_path / "store")
    words = ("--store", tmp_path / "store", "--reason", "a test", "--by")
    added = OTHERS[0].hex()
    hashwacht("add", added, "--list-id", "hotline", "--category", "default", "--as-reference", "by hand", *words, "ada")
    hashwacht("revoke", "hotline", "--category", "cat", *words, "eva")
    hashwacht("suppress", LISTED[150].hex(), OTHERS[1].hex(), *words, "kim")
    overlay = Store(tmp_path / "store").overlay_file(4)
    assert overlay.exists()
    at = hashwacht("overlay", "--store", tmp_path / "store", "--json").json()["suppressions"][0]["at"]
    asked = [LISTED[0].hex(), LISTED[150].hex(), OTHERS[1].hex(), added, EMPTY_FILE]
    assert hashwacht("lookup", "--store", tmp_path / "store", *asked).out.splitlines() == [
        f"{asked[0]}  sha256  no match  hotline / cat / illegal / r0 (off: not approved)",
        f"{asked[1]}  sha256  no match  hotline / default / illegal (on)  suppressed by kim, {at}: a test",
        f"{asked[2]}  sha256  not listed  suppressed by kim, {at}: a test",
        f"{asked[3]}  sha256  match  hotline / default / illegal / by hand (on, added)",
        f"{asked[4]}  sha256  not listed  {KNOWN_GOOD}",
    ]
    said = hashwacht("lookup", "--store", tmp_path / "store", "--json", *asked).json()
    assert said["overlay_version"] == 4
    assert [(answer["verdict"], answer["match"]) for answer in said["answers"]] == [
        ("listed", False), ("listed", False), ("not_listed", False), ("listed", True), ("not_listed", False),
    ]  # fmt: skip
    suppressed = {"by": "kim", "at": at, "reason": "a test"}
    assert [answer.get("suppressed") for answer in said["answers"]] == [None, suppressed, suppressed, None, None]
    assert said["answers"][3]["labels"] == [
        {
            "list_id": "hotline", "category": "default", "tier": "illegal", "reference": "by hand",
            "state": "on", "added": True,
        }
    ]  # fmt: skip
    path = listfiles.write(tmp_path / "list", listfiles.hex_lines(LISTED[:2]))
    compile_lists(tmp_path / "other", path, list_id="mixed", tier="other")
    assert hashwacht("lookup", "--store", tmp_path / "other", asked[0]).out == (
        f"{asked[0]}  sha256  no match  mixed / default / other (off: tier other)\n"
    )
    assert getpass.getuser() in hashwacht("history", "--store", tmp_path / "other").out


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
    assert second == f"{LISTED[3].hex()}  sha256  match  hotline / cat / illegal / r3 (on)"


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
    """All md5sums that Debian ships: compiled as they are, each looked up, each with its label.

    Empty files and the like are among them: those are known good, and each is said to be.
    """
    files = sorted(DPKG_LISTS.glob("*.md5sums"))
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    said = compile_lists(tmp_path / "store", *files, list_id="debian", tier="other")
    assert (said["files"], said["lines"], said["refused"]) == (len(files), len(lines), 0)
    digests = [line.lstrip(b"\\")[:32].decode() for line in lines]
    trivial = TRIVIAL_MD5 & set(digests)
    assert hashlib.md5(b"").hexdigest() in trivial, "there is no empty file in any package"
    assert said["entries"] == len(set(digests)) - len(trivial)
    assert (said["known_good"]["digests"], said["known_good"]["lists"]) == (len(trivial), {"debian": len(trivial)})
    assert {collision["digest"] for collision in said["known_good"]["named"]} == trivial
    asked = "\n".join(digests).encode()
    answers = hashwacht("lookup", "--store", tmp_path / "store", "--json", "-", stdin=asked).json()["answers"]
    assert [answer["digest"] for answer in answers] == digests
    label = {"list_id": "debian", "category": "default", "tier": "other", "state": "off: tier other"}
    good = [answer for answer in answers if answer["digest"] in trivial]
    assert len(good) >= len(trivial)
    assert all(answer["verdict"] == "not_listed" and answer["known_good"] for answer in good)
    assert all(
        answer["verdict"] == "listed" and answer["labels"] == [label] and "known_good" not in answer
        for answer in answers if answer["digest"] not in trivial
    )  # fmt: skip
    strangers = listfiles.hex_lines(listfiles.random_digests("md5", 100_000, "strangers"))
    said = hashwacht("lookup", "--store", tmp_path / "store", "-", stdin=strangers)
    # One digest in 100,000 is taken for a known-good one; more than 20 of them would be a wrong filter.
    taken = said.out.count(f"  md5  not listed  {KNOWN_GOOD}\n")
    assert said.out.count("  md5  not listed\n") == 100_000 - taken
    assert taken < 20


@pytest.mark.needs("dpkg")
def test_a_listed_file_is_found_by_its_own_md5sum(tmp_path: Path) -> None:
    """The other way round: what md5sum says of a file on this machine is found on the list."""
    for file in DPKG_LISTS.glob("*.md5sums"):
        line = file.read_text(errors="surrogateescape").partition("\n")[0]
        path = Path("/", line.partition("  ")[2])
        if path.is_file() and path.stat().st_size > 1:  # smaller ones are known good
            break
    compile_lists(tmp_path / "store", file, list_id="debian", tier="investigative")
    digest = subprocess.run(["md5sum", path], check=True, capture_output=True, text=True).stdout[:32]
    said = hashwacht("lookup", "--store", tmp_path / "store", digest).out
    assert said == f"{digest}  md5  match  debian / default / investigative (on)\n"
