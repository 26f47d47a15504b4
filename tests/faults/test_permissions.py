"""Files that this user may not read or write, as a user without privileges meets them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapshot.store import Store
from snapshot.verify import verify_store
from tests.faults.conftest import compiling
from tests.faults.doomed import Doomed

#: Root may read and write everything, so commands run as nobody there; for anyone else, as they are.
NOBODY = 65534 if os.geteuid() == 0 else None


@pytest.fixture
def place(three: Path, lists: list[Path]) -> Iterator[Path]:
    """A store and a list that everybody may read, where everybody may go; pytest's own directories are private."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        shutil.copytree(three, place / "store")
        shutil.copyfile(lists[3], place / "list.csv")
        for path in [place, *place.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield place
        for path in [place, *place.rglob("*")]:
            path.chmod(0o755)


def test_a_store_that_may_only_be_read_answers(doomed: Doomed, place: Path) -> None:
    store = place / "store"
    for path in store.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    store.chmod(0o555)
    for words in (["lookup", "ab" * 16], ["show"], ["history"], ["verify"]):
        done = doomed.run([*words, "--store", store], user=NOBODY)
        assert done.code == 0, done
    before = (store / "CURRENT").read_bytes()
    for words in (compiling(store, place / "list.csv"), ["rollback", "--store", store]):
        done = doomed.run(words, user=NOBODY)
        assert (done.code, done.err[:22]) == (4, "error [store_unusable]"), done
        assert "Permission denied" in done.err
        assert str(store) in done.err
    assert (store / "CURRENT").read_bytes() == before
    assert verify_store(Store(store)).whole


def test_a_store_that_may_not_be_made(doomed: Doomed, place: Path) -> None:
    place.chmod(0o555)
    done = doomed.run(compiling(place / "new", place / "list.csv"), user=NOBODY)
    assert (done.code, done.err[:22]) == (4, "error [store_unusable]"), done
    assert not (place / "new").exists()


@pytest.mark.parametrize("what", ["tmp", "snapshots", "history", "lock"])
def test_a_part_of_the_store_that_may_not_be_written(doomed: Doomed, place: Path, what: str) -> None:
    """The rest is this user's own: each refusal leaves what was live, whole."""
    store = place / "store"
    (store / "tmp").mkdir()
    if NOBODY is not None:
        for path in [store, *store.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
    (store / what).chmod(0o555 if what != "lock" else 0o444)
    if what == "tmp":
        (store / "tmp" / "left").mkdir(mode=0o555)  # and what is in it may not be removed
        (store / "tmp" / "left" / "file").touch()
    before = (store / "CURRENT").read_bytes()
    done = doomed.run(compiling(store, place / "list.csv"), user=NOBODY)
    if done.code != 0:
        assert (done.code, done.err[:22]) == (4, "error [store_unusable]"), done
        assert (store / "CURRENT").read_bytes() == before
    else:
        assert what == "tmp", "only an empty directory can be removed all the same"
    assert verify_store(Store(store)).damage == []


@pytest.mark.parametrize("what", ["CURRENT", "snapshots", "snapshot", "entries.lmdb", "md5.bloom", "manifest.json"])
def test_what_may_not_be_read_is_said(doomed: Doomed, place: Path, what: str) -> None:
    store = place / "store"
    opened = Store(store)
    live = opened.live_dir(opened.current())
    hidden = {"CURRENT": store / "CURRENT", "snapshots": store / "snapshots", "snapshot": live}.get(what, live / what)
    hidden.chmod(0)
    for words in (["lookup", "ab" * 16], ["show"]):
        done = doomed.run([*words, "--store", store], user=NOBODY)
        assert (done.code, done.err[:22]) == (4, "error [store_unusable]"), done
        assert "Permission denied" in done.err
    done = doomed.run(["verify", "--store", store], user=NOBODY)
    assert done.code in {1, 4}, done
    assert "[store_unusable]" in done.err
    assert "whole" not in done.out


def test_a_list_that_may_not_be_read(doomed: Doomed, place: Path) -> None:
    store = place / "store"
    if NOBODY is not None:
        for path in [store, *store.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
    (place / "list.csv").chmod(0)
    before = (store / "CURRENT").read_bytes()
    done = doomed.run(compiling(store, place / "list.csv"), user=NOBODY)
    assert (done.code, done.err[:23]) == (3, "error [list_unreadable]"), done
    assert "Permission denied" in done.err
    assert (store / "CURRENT").read_bytes() == before
    report = verify_store(Store(store))
    assert (report.damage, report.leftovers) == ([], [])
