"""Two compiles of one store at once: the second is refused and says who is at work; a killed first is no obstacle."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from snapshot.store import Store
from snapshot.verify import verify_store
from tests import listfiles
from tests.command import command_line, compile_lists, hashwacht, waiting_compile
from tests.contents import contents
from tests.faults.conftest import compiling
from tests.faults.doomed import Call, Doomed

FIRST = listfiles.random_digests("sha256", 300, "first")
SECOND = listfiles.random_digests("sha256", 200, "second")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for count in (5, 9):
        compile_lists(tmp_path / "store", listfiles.write(tmp_path / "list", listfiles.hex_lines(SECOND[:count])))
    return tmp_path / "store"


@pytest.mark.parametrize("name", ["compile", "rollback"])
def test_the_second_is_refused_and_the_first_is_not_disturbed(tmp_path: Path, store: Path, name: str) -> None:
    path = listfiles.write(tmp_path / "second", listfiles.hex_lines(SECOND))
    words = ["--list-id", "list", "--tier", "illegal", path] if name == "compile" else []
    before = (store / "CURRENT").read_bytes()
    with waiting_compile(store, listfiles.hex_lines(FIRST)) as first:
        said = hashwacht(name, "--store", store, *words, code=5)
        assert f"error [store_locked]: {store}: another compile or rollback is at work here" in said.err
        assert f"(process {first.pid})" in said.err
        assert not said.out
        assert (store / "CURRENT").read_bytes() == before
        for reading in ("show", "history", "verify"):  # looking needs no lock
            hashwacht(reading, "--store", store)
        first.communicate(timeout=30)
        assert first.returncode == 0
    assert {digest for _, digest in contents(store)} == set(FIRST)
    hashwacht(name, "--store", store, *words)
    assert verify_store(Store(store)).whole
    assert Store(store).current().generation == 4


def test_a_killed_first_frees_the_lock_and_its_leftovers_go(tmp_path: Path, store: Path) -> None:
    with waiting_compile(store, listfiles.hex_lines(FIRST)) as first:
        first.send_signal(signal.SIGKILL)
        first.wait(30)
        said = hashwacht("verify", "--store", store)
        assert "leftover of a compile that did not end: tmp/" in said.out
        compile_lists(store, listfiles.write(tmp_path / "second", listfiles.hex_lines(SECOND)))
    assert {digest for _, digest in contents(store)} == set(SECOND)
    report = verify_store(Store(store))
    assert (report.damage, report.leftovers) == ([], [])


@pytest.mark.parametrize("at", ["_check_history", "_present", "_check_snapshot", "check_files"])
def test_a_verify_is_not_misled_by_a_compile_meanwhile(
    doomed: Doomed, fresh: Callable[[], Path], lists: list[Path], at: str
) -> None:
    """The compile removes the oldest snapshot, which verify was about to read; that is no damage."""
    path = fresh()
    oldest = Store(path).history()[-1].snapshot_id
    meanwhile = shlex.join(command_line(*compiling(path, lists[3])))
    done = doomed.run(["verify", "--store", path], at=Call(f"snapshot.verify:{at}"), fate=f"sh:{meanwhile}")
    assert not (path / "snapshots" / oldest).exists()
    assert done.code == 0, done
    assert done.out.startswith("whole     generation 4, 3 snapshots, ")
