"""What a compile says and leaves behind: its JSON to the letter, its text, merged labels, dropped lists, history."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from snapshot.store import Store
from tests import listfiles
from tests.command import compile_lists, hashwacht
from tests.contents import contents

A = listfiles.random_digests("sha256", 400, "a")
B = listfiles.random_digests("sha256", 300, "b")


@pytest.fixture
def list_a(tmp_path: Path) -> Path:
    return listfiles.write(tmp_path / "a.txt", listfiles.hex_lines(A))


def test_json_to_the_letter(tmp_path: Path, list_a: Path) -> None:
    nothing = listfiles.write(tmp_path / "nothing.txt", b"\n# only a comment\n")
    bad = listfiles.write(tmp_path / "bad.txt", listfiles.hex_lines(A[:300] + B[:2]) + b"0x" + b"a" * 62 + b"\n")
    said = compile_lists(tmp_path / "store", list_a, nothing, bad, extra=("--max-bad-share", "0.1"))
    store = Store(tmp_path / "store")
    current = store.current()
    seconds = said.pop("seconds")
    assert isinstance(seconds, float)
    assert 0 < seconds < 60
    assert said == {
        "generation": 1,
        "snapshot_id": current.snapshot_id,
        "seal_key_id": None,
        "overlay_version": 1,
        "published": True,
        "already_there": False,
        "entries": 402,
        "algorithms": {"sha256": 402},
        "bytes": sum(p.stat().st_size for p in store.live_dir(current).iterdir() if p.name != "manifest.json"),
        "files": 3,
        "empty_files": [str(nothing)],
        "lines": 400 + 2 + 303,
        "digests": 702,
        "merged": 300,
        "withdrawn": 0,
        "known_good": {
            "digests": 0, "lists": {}, "named": [], "with_it": {"digests": 0, "lists": {}, "named": []}, "constants": 0,
        },
        "refused": 1,
        "bad_lines": [
            f"{bad}:303: digest: has a character other than 0-9, a-f, A-F at position 2; it begins with 0x",
        ],
        "diff": {
            "old_snapshot_id": None,
            "new_snapshot_id": current.snapshot_id,
            "lists": {},  # of a first snapshot its classes tell all
            "classes": [
                {
                    "list_id": "list", "category": "default", "tier": "illegal",
                    "added": 402, "removed": 0, "kept": 0,
                    "algorithms": {"sha256": {"added": 402, "removed": 0, "kept": 0}},
                }
            ],
            "appeared": [{"list_id": "list", "category": "default", "tier": "illegal"}],
            "vanished": [],
            "reclassed": [],
        },
        "not_compared": None,
        "findings": [
            {
                "kind": "class_appeared", "list_id": "list", "stops": False,
                "text": "list/default/illegal: a new class of 402 digests, off until it is approved",
            }
        ],
        "overlay_notes": [],
        "removed_snapshots": [],
        "not_removed": [],
    }  # fmt: skip


def test_the_text_names_what_was_read_refused_and_made_live(tmp_path: Path, list_a: Path) -> None:
    nothing = listfiles.write(tmp_path / "nothing.txt", b"")
    bad = listfiles.write(tmp_path / "bad.txt", listfiles.hex_lines(A[:300]) + b"xyz\n")
    words = ("compile", "--store", tmp_path / "s", "--list-id", "l", "--tier", "other", "--max-bad-share", "0.1")
    said = hashwacht(*words, list_a, nothing, bad)
    read, compiled, live = said.out.splitlines()
    assert read == "read      3 files (1 of them empty), 701 lines: 700 digests, 1 lines refused"
    assert compiled.startswith("compiled  400 sha256; 300 repeats merged; ")
    current = Store(tmp_path / "s").current()
    assert live.startswith(f"live      generation 1, snapshot {current.snapshot_id}, ")
    assert f"refused: {bad}:301: digest: has 3 characters" in said.err
    again = hashwacht(*words, list_a)
    assert "(the same as before: only CURRENT moved)" in again.out
    assert "generation 2" in again.out


def test_a_digest_on_two_files_of_a_list_keeps_both_labels(tmp_path: Path) -> None:
    rows = [(A[0], "x", "1"), (A[0], "y", ""), (A[1], "x", "2"), (A[1], "x", "3"), (A[2], "y", "")]
    path = listfiles.write(
        tmp_path / "a.csv",
        listfiles.csv_lines(["sha256", "category", "reference"], ([d.hex(), c, r] for d, c, r in rows)),
    )
    compile_lists(tmp_path / "store", path, tier="baseline", list_id="p")
    assert contents(tmp_path / "store") == {
        ("sha256", A[0]): (("p", "x", "baseline", "1"), ("p", "y", "baseline", None)),
        ("sha256", A[1]): (("p", "x", "baseline", "2"), ("p", "x", "baseline", "3")),
        ("sha256", A[2]): (("p", "y", "baseline", None),),
    }


def test_a_live_list_goes_only_when_that_is_said(tmp_path: Path, list_a: Path) -> None:
    store = tmp_path / "store"
    compile_lists(store, list_a, list_id="police")
    before = (store / "CURRENT").read_bytes()
    other = listfiles.write(tmp_path / "b.txt", listfiles.hex_lines(B))
    words = ("compile", "--store", store, "--list-id", "hotline", "--tier", "illegal", other)
    said = hashwacht(*words, code=3)
    assert "error [live_list_missing]" in said.err
    assert "--drop-list police" in said.err
    hashwacht(*words, "--drop-list", "somebody", code=3)
    assert (store / "CURRENT").read_bytes() == before
    hashwacht(*words, "--drop-list", "police")
    assert {digest for _, digest in contents(store)} == set(B)
    history = hashwacht("history", "--store", store, "--json").json()
    assert [entry["dropped_lists"] for entry in history] == [["police"], []]


def test_an_empty_result_is_published_only_when_asked_for(tmp_path: Path) -> None:
    files = [listfiles.write(tmp_path / name, b"# nothing\n") for name in ("a", "b")]
    words = ("compile", "--store", tmp_path / "s", "--list-id", "l", "--tier", "other", *files)
    said = hashwacht(*words, code=3)
    assert "error [empty_result]" in said.err
    assert "--allow-empty" in said.err
    assert not (tmp_path / "s" / "CURRENT").exists()
    said = hashwacht(*words, "--allow-empty", "--json")
    assert (said.json()["entries"], said.json()["algorithms"]) == (0, {})
    assert contents(tmp_path / "s") == {}
    assert "compiled  nothing" in hashwacht(*words, "--allow-empty").out
    hashwacht("verify", "--store", tmp_path / "s")
    hashwacht("show", "--store", tmp_path / "s")


def test_file_names_that_are_no_text_do_not_break_the_json(tmp_path: Path, list_a: Path) -> None:
    nothing = tmp_path / "nothing\udcff.txt"
    nothing.write_bytes(b"")
    said = compile_lists(tmp_path / "store", list_a, nothing)
    assert said["empty_files"] == [str(nothing)]


def test_the_history_records_who(tmp_path: Path, list_a: Path) -> None:
    compile_lists(tmp_path / "store", list_a)
    (entry,) = hashwacht("history", "--store", tmp_path / "store", "--json").json()
    assert entry["by"] == getpass.getuser()


def test_retention_keeps_the_live_snapshot_and_two_more(tmp_path: Path) -> None:
    ids = []
    for number in range(5):
        path = listfiles.write(tmp_path / "a.txt", listfiles.hex_lines(A[: number + 1]))
        said = compile_lists(tmp_path / "store", path)
        assert said["removed_snapshots"] == ids[: max(number - 2, 0)][-1:]
        ids.append(said["snapshot_id"])
    assert {path.name for path in (tmp_path / "store" / "snapshots").iterdir()} == set(ids[-3:])
    hashwacht("verify", "--store", tmp_path / "store")
