"""verify, show, history and rollback as a user runs them, on one store of three generations."""

from __future__ import annotations

import getpass
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from snapshot.manifest import sha256_hex
from snapshot.store import Store
from tests import listfiles
from tests.command import compile_lists, hashwacht
from tests.contents import contents

COUNTS = (200, 300, 400)
MD5 = listfiles.random_digests("md5", 70, "store")
SHA256 = listfiles.random_digests("sha256", COUNTS[-1], "store")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    directory = tmp_path_factory.mktemp("three")
    said = []
    for count in COUNTS:
        path = listfiles.write(directory / "list.txt", listfiles.hex_lines(MD5 + SHA256[:count]))
        said.append(compile_lists(directory / "store", path, list_id="police", tier="baseline"))
    return directory / "store", said


@pytest.fixture
def three(tmp_path: Path, template: tuple[Path, list[dict[str, Any]]]) -> Path:
    shutil.copytree(template[0], tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def compiled(template: tuple[Path, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return template[1]


def live(store: Path) -> tuple[int, str]:
    current = Store(store).current()
    return current.generation, current.snapshot_id


def test_verify_of_a_whole_store(three: Path, compiled: list[dict[str, Any]]) -> None:
    said = hashwacht("verify", "--store", three, "--json").json()
    assert said == {
        "whole": True,
        "generation": 3,
        "snapshot_id": compiled[2]["snapshot_id"],
        "verified": sorted(one["snapshot_id"] for one in compiled),
        "bytes": sum(one["bytes"] for one in compiled),
        "leftovers": [],
        "damage": [],
    }
    assert hashwacht("verify", "--store", three).out.startswith("whole     generation 3, 3 snapshots, ")


def test_verify_names_each_damage(three: Path, compiled: list[dict[str, Any]]) -> None:
    first, second, third = (three / "snapshots" / one["snapshot_id"] for one in compiled)
    (first / "md5.bloom").unlink()
    bits = bytearray((second / "entries.lmdb").read_bytes())
    bits[len(bits) // 2] ^= 16
    (second / "entries.lmdb").write_bytes(bits)
    with (third / "sha256.bloom").open("ab") as file:
        file.write(b"\0")
    said = hashwacht("verify", "--store", three, "--json", code=1)
    report = said.json()
    assert (report["whole"], report["verified"]) == (False, [])
    assert {(one["reason"], one["detail"].split(": ")[0]) for one in report["damage"]} == {
        ("missing_file", str(first / "md5.bloom")),
        ("checksum_mismatch", str(second / "entries.lmdb")),
        ("wrong_size", str(third / "sha256.bloom")),
    }
    said = hashwacht("verify", "--store", three, code=1)
    assert said.err.count("damaged [") == 3
    assert f"damaged [missing_file]: {first / 'md5.bloom'}: is missing" in said.err
    assert "whole" not in said.out


def test_verify_names_leftovers_and_finds_the_store_whole(three: Path) -> None:
    left = three / "tmp" / "12-ab"
    left.mkdir(parents=True)
    (left / "sha256.spool").write_bytes(b"x")
    said = hashwacht("verify", "--store", three)
    assert "leftover of a compile that did not end: tmp/12-ab" in said.out
    assert hashwacht("verify", "--store", three, "--json").json()["leftovers"] == ["tmp/12-ab"]


def test_show_to_the_letter(three: Path, compiled: list[dict[str, Any]]) -> None:
    said = hashwacht("show", "--store", three, "--json").json()
    store = Store(three)
    current = store.current()
    manifest = orjson.loads((store.live_dir(current) / "manifest.json").read_bytes())
    measured = said.pop("measured_false_positive_rate")
    assert said == {
        "generation": 3, "overlay_version": 1, "by": getpass.getuser(),
        "issued_at": current.issued_at.isoformat().replace("+00:00", "Z"),
        **manifest,
        "entries": 470, "bytes": compiled[2]["bytes"],
    }  # fmt: skip
    assert said["classes"] == [
        {
            "list_id": "police", "category": "default", "tier": "baseline", "entries": {"md5": 70, "sha256": 400},
            "most_references": 0,
        }
    ]  # fmt: skip
    assert said["format_version"] == 2
    assert set(said["known_good"]) == {"md5", "sha256"}
    assert set(measured) == {"md5", "sha256"}
    assert all(0 < rate < 0.01 for rate in measured.values()), "small filters stray from the promise, but not so far"


def test_show_for_people(three: Path, compiled: list[dict[str, Any]]) -> None:
    lines = hashwacht("show", "--store", three).out.splitlines()
    text = "\n".join(lines)
    assert lines[0].startswith("generation  3, live since 2")
    assert f"snapshot    {compiled[2]['snapshot_id']}, compiled 2" in text
    assert "list        police: 470 digests from 470 lines of 1 files, 0 lines refused" in text
    assert "class       police / default / baseline: 70 md5, 400 sha256" in text
    assert "md5         70 entries in 1 blocks; filter rate promised 0.1000%, measured 0." in text
    assert "file        entries.lmdb: " in text
    assert f"size        {compiled[2]['bytes']:,} bytes, " in text


@pytest.mark.parametrize(("promised", "tolerance"), [("0.05", 0.05), ("0.001", 0.2)])
def test_the_measured_rate_is_the_promised_one(tmp_path: Path, promised: str, tolerance: float) -> None:
    """Of a filter of 20,000 entries; a million probes at 0.001 stray by 3 %, so that 20 % are beyond six times that."""
    digests = listfiles.random_digests("sha256", 20_000, "rate")
    path = listfiles.write(tmp_path / "list.txt", listfiles.hex_lines(digests))
    compile_lists(tmp_path / "s", path, extra=("--false-positive-rate", promised))
    said = hashwacht("show", "--store", tmp_path / "s", "--json").json()
    assert said["false_positive_rate"] == float(promised)
    assert said["measured_false_positive_rate"]["sha256"] == pytest.approx(float(promised), rel=tolerance)


def test_history_newest_first(three: Path, compiled: list[dict[str, Any]]) -> None:
    said = hashwacht("history", "--store", three, "--json").json()
    assert [entry["generation"] for entry in said] == [3, 2, 1]
    assert set(said[0]) == {
        "generation", "previous", "action", "at", "by", "snapshot_id", "manifest_sha256", "entries", "lists",
        "dropped_lists", "retained", "previous_sha256", "overlay_version", "overlay_sha256", "reason", "details",
    }  # fmt: skip
    for entry, one in zip(said, reversed(compiled), strict=True):
        assert (entry["snapshot_id"], entry["action"], entry["by"], entry["reason"], entry["details"]) == (
            one["snapshot_id"], "compile", getpass.getuser(), "compiled with --list-id and --tier", [],
        )  # fmt: skip
        assert entry["lists"] == [
            {
                "list_id": "police", "kind": "known-bad", "files": 1, "lines": one["lines"], "digests": one["digests"],
                "refused": 0, "guarded": 0, "withdrawn": 0,
            }
        ]  # fmt: skip
    # The class is approved with the first of them, and stays so.
    store = Store(three)
    assert {(entry["overlay_version"], entry["overlay_sha256"]) for entry in said} == {
        (1, sha256_hex(store.overlay_file(1).read_bytes()))
    }
    assert [entry["previous_sha256"] for entry in said] == [
        sha256_hex(store.history_file(2).read_bytes()), sha256_hex(store.history_file(1).read_bytes()), None,
    ]  # fmt: skip
    lines = hashwacht("history", "--store", three).out.splitlines()
    assert [line.split()[0] for line in lines] == ["3", "2", "1"]
    assert lines[0].endswith(
        f"  compile     {compiled[2]['snapshot_id'][:16]}  470 entries of police, overlay 1, by {getpass.getuser()}: "
        "compiled with --list-id and --tier"
    )


def test_history_says_what_was_done_and_why(three: Path, compiled: list[dict[str, Any]]) -> None:
    hashwacht("rollback", "--store", three, "--reason", "the police ask for it")
    hashwacht("suppress", MD5[0].hex(), "--store", three, "--by", "kim", "--reason", "ticket 88")
    (suppressed, what, rolled_back, to, *_) = hashwacht("history", "--store", three).out.splitlines()
    assert suppressed.split()[0] == "5"
    assert suppressed.endswith("370 entries of police, overlay 2, by kim: ticket 88")
    assert what == "        1 md5 named"
    assert rolled_back.split()[0] == "4"
    assert rolled_back.endswith(f"370 entries of police, overlay 1, by {getpass.getuser()}: the police ask for it")
    assert to == f"        to snapshot {compiled[1]['snapshot_id']}"
    assert [entry["action"] for entry in hashwacht("history", "--store", three, "--json").json()[:2]] == [
        "suppress", "rollback",
    ]  # fmt: skip
    hashwacht("verify", "--store", three)


def test_a_history_that_was_changed_is_noticed(three: Path) -> None:
    path = Store(three).history_file(1)
    path.write_bytes(path.read_bytes().replace(b'"compiled with', b'"Compiled with'))
    said = hashwacht("verify", "--store", three, code=1)
    assert f"damaged [history_damaged]: {path}: is not what the entry after it vouches for" in said.err
    assert "error [history_damaged]" in hashwacht("history", "--store", three, code=4).err


def test_an_overlay_that_was_changed_or_is_gone_is_noticed(three: Path) -> None:
    path = Store(three).overlay_file(1)
    whole = path.read_bytes()
    for damage in (whole.replace(b'"baseline"', b'"illegal"'), None):
        path.unlink() if damage is None else path.write_bytes(damage)
        said = hashwacht("verify", "--store", three, code=1)
        assert f"damaged [overlay_damaged]: {path}: " in said.err
        for name in ("lookup", "overlay", "rollback"):
            words = [MD5[0].hex()] if name == "lookup" else []
            assert "error [overlay_damaged]" in hashwacht(name, "--store", three, *words, code=4).err
    path.write_bytes(whole)
    hashwacht("verify", "--store", three)


def test_rollback_without_an_id_takes_the_generation_before(three: Path, compiled: list[dict[str, Any]]) -> None:
    said = hashwacht("rollback", "--store", three, "--json").json()
    assert said == {"generation": 4, "snapshot_id": compiled[1]["snapshot_id"], "not_approved": []}
    assert live(three) == (4, compiled[1]["snapshot_id"])
    assert len(contents(three)) == 70 + 300
    assert [entry["action"] for entry in hashwacht("history", "--store", three, "--json").json()] == [
        "rollback", "compile", "compile", "compile",
    ]  # fmt: skip
    hashwacht("rollback", "--store", three)  # and back: the one before is the one that was rolled back from
    assert live(three) == (5, compiled[2]["snapshot_id"])
    hashwacht("verify", "--store", three)


@pytest.mark.parametrize("digits", [6, 20, 64])
def test_rollback_to_an_id_or_its_beginning(three: Path, compiled: list[dict[str, Any]], digits: int) -> None:
    said = hashwacht("rollback", "--store", three, compiled[0]["snapshot_id"][:digits])
    assert said.out == f"live      generation 4, snapshot {compiled[0]['snapshot_id']}\n"
    assert len(contents(three)) == 70 + 200


@pytest.mark.parametrize("asked", ["f" * 64, "12345", "", "../../..", "CURRENT"])
def test_rollback_to_what_is_not_there_names_what_is(three: Path, compiled: list[dict[str, Any]], asked: str) -> None:
    before = (three / "CURRENT").read_bytes()
    said = hashwacht("rollback", "--store", three, asked, code=4)
    assert "error [snapshot_missing]" in said.err
    assert all(one["snapshot_id"] in said.err for one in compiled)
    assert (three / "CURRENT").read_bytes() == before


def test_rollback_refuses_a_damaged_snapshot(three: Path, compiled: list[dict[str, Any]]) -> None:
    path = three / "snapshots" / compiled[1]["snapshot_id"] / "sha256.bloom"
    bits = bytearray(path.read_bytes())
    bits[-1] ^= 1
    path.write_bytes(bits)
    said = hashwacht("rollback", "--store", three, code=4)
    assert f"error [checksum_mismatch]: {path}: " in said.err
    assert live(three) == (3, compiled[2]["snapshot_id"])


def test_rollback_names_what_is_off_then(three: Path, tmp_path: Path, compiled: list[dict[str, Any]]) -> None:
    """The category had another tier meanwhile, so its approval was revoked, and going back does not bring it back."""
    path = listfiles.write(tmp_path / "list", listfiles.hex_lines(MD5))
    compile_lists(three, path, list_id="police", tier="other")
    said = hashwacht("rollback", "--store", three, compiled[2]["snapshot_id"])
    assert said.err == "warning: police / default / baseline is not approved, so it is off: hashwacht approve\n"
    assert said.out == f"live      generation 5, snapshot {compiled[2]['snapshot_id']}\n"
    hashwacht("rollback", "--store", three)
    again = hashwacht("rollback", "--store", three, "--json").json()
    assert again["not_approved"] == [{"list_id": "police", "category": "default", "tier": "baseline"}]
    assert "no match  police / default / baseline (off: not approved)" in (
        hashwacht("lookup", "--store", three, MD5[0].hex()).out
    )


def test_rollback_of_a_first_generation(tmp_path: Path) -> None:
    compile_lists(tmp_path / "s", listfiles.write(tmp_path / "l", listfiles.hex_lines(MD5)))
    said = hashwacht("rollback", "--store", tmp_path / "s", code=4)
    assert "no other snapshot was live before this one" in said.err


@pytest.mark.parametrize("name", ["verify", "show", "history", "rollback", "lookup", "overlay", "lists"])
@pytest.mark.parametrize("there", [False, True])
def test_a_store_with_nothing_in_it(tmp_path: Path, name: str, there: bool) -> None:
    store = tmp_path / "store"
    if there:
        store.mkdir()
    said = hashwacht(name, "--store", store, *([MD5[0].hex()] if name == "lookup" else []), code=4)
    what = "has no CURRENT: nothing was published there yet" if there else "is not there"
    assert f"error [no_store]: {store}: the store {what}" in said.err
    assert store.exists() == there, "looking at a store must not make one"
    assert not there or not list(store.iterdir())
