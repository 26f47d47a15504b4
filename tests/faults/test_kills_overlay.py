"""A change of the overlay killed at any step is the old state or the new one; and changes that meet a compile.

The moments are each single step in the file system from the first look at the store on, and the calls in which a change
is made. After each, no number is used again and nothing that was written is written over.
"""

from __future__ import annotations

import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snapshot.overlay import Overlay
from snapshot.store import Current, Store
from snapshot.verify import verify_store
from tests.command import command_line, hashwacht, waiting_compile
from tests.faults.conftest import DIGESTS, compiling
from tests.faults.doomed import Call, Doomed, Step
from tests.listfiles import hex_lines

SIGNED = ["--by", "tests", "--reason", "a test"]
#: An entry with a reference ("ref 10"), in both algorithms; and one that is in no list.
MD5, SHA256 = DIGESTS["md5"][10].hex(), DIGESTS["sha256"][10].hex()
UNLISTED = "ab" * 32

#: Command → its words, and what it changes: (approvals, suppressions, additions) afterwards less before.
CHANGES: dict[str, tuple[list[str], tuple[int, int, int]]] = {
    "suppress": (["suppress", MD5, UNLISTED, *SIGNED], (0, 2, 0)),
    "suppress with siblings": (["suppress", MD5, "--with-siblings", *SIGNED], (0, 2, 0)),
    "unsuppress": (["unsuppress", DIGESTS["md5"][0].hex(), *SIGNED], (0, -1, 0)),
    "approve": (["approve", "list", *SIGNED], (1, 0, 0)),
    "revoke": (["revoke", "list", *SIGNED], (-2, 0, 0)),
    "add": (["add", UNLISTED, "--list-id", "list", "--category", "b", *SIGNED], (0, 0, 1)),
    "remove": (["remove", "cd" * 32, *SIGNED], (0, 0, -1)),
}


@pytest.fixture(scope="module")
def template(doomed: Doomed, three: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two of three classes on, a suppression and an addition; to be copied."""
    store = tmp_path_factory.mktemp("template") / "store"
    shutil.copytree(three, store)
    for words in (
        ["revoke", "list", "--category", "a"],
        ["suppress", DIGESTS["md5"][0].hex()],
        ["add", "cd" * 32, "--list-id", "list", "--category", "b"],
    ):
        assert doomed.run([*words, *SIGNED, "--store", store]).code == 0
    return store


@pytest.fixture
def again(template: Path, tmp_path: Path) -> Callable[[], Path]:
    """Make a copy of the template, in place of the one made before."""

    def copy() -> Path:
        store = tmp_path / "store"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(template, store)
        return store

    return copy


def overlay(store: Store) -> Overlay:
    current = store.current()
    return store.overlay(current.overlay_version, current.overlay_sha256)


def counts(store: Store) -> tuple[int, int, int]:
    found = overlay(store)
    return len(found.approvals), len(found.suppressions), len(found.additions)


def written(store: Store) -> dict[Path, bytes]:
    """Give every file of history and overlays; half written ones are hidden and do not count."""
    return {
        path: path.read_bytes()
        for directory in (store.history_dir, store.overlays_dir)
        for path in directory.iterdir()
        if not path.name.startswith(".")
    }


def check_killed(path: Path, before: Current, was: tuple[int, int, int], states: list[tuple[int, int, int]]) -> int:
    """Require a state that the command goes through, whole; give which."""
    store = Store(path)
    current = store.current()
    found = counts(store)
    assert found in states
    assert (current == before) == (found == was)
    assert (current.snapshot_id, current.manifest_sha256) == (before.snapshot_id, before.manifest_sha256)
    assert verify_store(store).damage == []
    history = store.history()
    assert history[0].overlay_sha256 == current.overlay_sha256
    return states.index(found)


def check_next(doomed: Doomed, path: Path) -> None:
    """Require that another change happens, under numbers that nobody saw, and overwrites nothing."""
    store = Store(path)
    before, files = counts(store), written(store)
    generation = 1 + max(store.current().generation, *store.generations())
    version = 1 + max(store.current().overlay_version, *store.overlay_versions())
    done = doomed.run(["suppress", "ef" * 32, *SIGNED, "--store", path])
    assert done.code == 0, done.err
    current = store.current()
    assert (current.generation, current.overlay_version) == (generation, version)
    assert counts(store) == (before[0], before[1] + 1, before[2])
    after = written(store)
    assert {each: after[each] for each in files} == files
    assert [entry.generation for entry in store.history()] == sorted(
        {entry.generation for entry in store.history()}, reverse=True
    )
    assert verify_store(store).damage == []


def states_of(what: str, was: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    change = CHANGES[what][1]
    new = was[0] + change[0], was[1] + change[1], was[2] + change[2]
    return [was, (was[0], was[1] + 1, was[2]), new] if what == "suppress with siblings" else [was, new]


def is_swap(step: str) -> bool:
    return step.startswith("os.rename") and "/store/CURRENT " in step


@pytest.mark.parametrize("what", CHANGES)
def test_killed_at_each_step(doomed: Doomed, again: Callable[[], Path], what: str) -> None:
    path = again()
    words = [*CHANGES[what][0], "--store", path]
    was = counts(Store(path))
    states = states_of(what, was)
    done = doomed.run(words, count_steps=True)
    assert done.code == 0, done.err
    assert counts(Store(path)) == states[-1]
    steps = done.steps
    first = next(i for i, step in enumerate(steps, start=1) if str(path) in step)
    assert sum(map(is_swap, steps)) == len(states) - 1
    wrong, met = [], set()
    for number in range(first, len(steps) + 1):
        again()
        before = Store(path).current()
        done = doomed.run(words, at=Step(number), fate="kill", count_steps=True)
        try:
            assert done.code == -9
            state = check_killed(path, before, was, states)
            assert state == sum(map(is_swap, done.steps[:-1]))  # the last one was not taken
            met.add(state)
            check_next(doomed, path)
        except AssertionError as error:
            wrong.append(f"{number}: {done.steps[-1:]}: {str(error)[:500]}")
    assert not wrong, "\n".join(wrong)
    assert met == set(range(len(states)))


STAGES = [
    *((Call(function, when), swapped) for function, swapped in (
        ("loader.corrections:swapping", (False, False)),
        ("snapshot.swap:_lock", (False, False)),
        ("snapshot.swap:Swap.__init__", (False, False)),
        ("snapshot.swap:Swap.live_snapshot", (False, False)),
        ("snapshot.swap:Swap.commit", (False, True)),
        ("snapshot.swap:Swap._write_overlay", (False, False)),
        ("loader.overlay_cli:_live", (True, True)),
    ) for when, swapped in zip(("before", "after"), swapped, strict=True)),
    *((Call("snapshot.swap:replace_file", when, nth), nth == 3 and when == "after")
      for nth in (1, 2, 3) for when in ("before", "after")),
    *((Call("pathlib:Path.rename", when, nth), nth == 3 and when == "after")
      for nth in (1, 2, 3) for when in ("before", "after")),
]  # fmt: skip


@pytest.mark.parametrize("what", ["approve", "suppress"])
@pytest.mark.parametrize(("stage", "swapped"), STAGES, ids=lambda value: str(value)[:90])
def test_killed_at_a_stage(doomed: Doomed, again: Callable[[], Path], what: str, stage: Call, swapped: bool) -> None:
    path = again()
    before, was = Store(path).current(), counts(Store(path))
    done = doomed.run([*CHANGES[what][0], "--store", path], at=stage, fate="kill")
    assert done.code == -9, f"the stage was not reached: {done}"
    assert check_killed(path, before, was, states_of(what, was)) == swapped
    check_next(doomed, path)


@pytest.mark.parametrize("what", ["approve", "suppress"])
def test_interrupted_on_the_way(doomed: Doomed, again: Callable[[], Path], what: str) -> None:
    path = again()
    was = counts(Store(path))
    at = Call("snapshot.swap:replace_file", "before", nth=3)
    done = doomed.run([*CHANGES[what][0], "--store", path], at=at, fate="interrupt")
    assert done.code == 130, done
    assert counts(Store(path)) == was
    check_next(doomed, path)


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_no_room(doomed: Doomed, again: Callable[[], Path], nth: int) -> None:
    """A file that may not grow, as on a full disk: a name for it, and the old state."""
    path = again()
    before = (path / "CURRENT").read_bytes()
    at = Call("snapshot.swap:replace_file", "before", nth=nth)
    done = doomed.run([*CHANGES["suppress"][0], "--store", path], at=at, fate="fsize:0")
    assert done.code == 4, done
    assert "error [store_full]" in done.err
    assert (path / "CURRENT").read_bytes() == before
    check_next(doomed, path)


def meanwhile(path: Path, *words: Any) -> str:
    """Give the fate of a process that meets another command."""
    return f"sh:{shlex.join(command_line(*words, *SIGNED, '--store', path))}"


@pytest.mark.parametrize(
    "at",
    [
        Call("loader.build:check_bad_lines"), Call("loader.build:gate.check_new_snapshot"),
        Call("loader.build:Publisher.publish"), Call("snapshot.publish:Publisher._make_live"),
        Call("snapshot.publish:Publisher._retained", "after"), Call("snapshot.publish:Publisher._prune"),
        Call("snapshot.publish:Publisher._prune", "after"),
    ],
    ids=str,
)  # fmt: skip
def test_a_suppression_in_the_middle_of_a_compile_holds(
    doomed: Doomed, again: Callable[[], Path], lists: list[Path], at: Call
) -> None:
    path = again()
    store = Store(path)
    generation = store.current().generation
    is_last = "_prune" in at.function
    done = doomed.run(compiling(path, lists[3]), at=at, fate=meanwhile(path, "suppress", MD5, "--with-siblings"))
    assert done.code == 0, done.err
    assert {each.digest for each in overlay(store).suppressions} >= {MD5, SHA256}
    actions = [entry.action for entry in store.history()][:3]
    assert actions == (["suppress", "suppress", "compile"] if is_last else ["compile", "suppress", "suppress"])
    assert store.current().generation == generation + 3
    assert store.current().snapshot_id == store.history()[0].snapshot_id != store.history()[-1].snapshot_id
    report = verify_store(store)
    assert (report.damage, report.leftovers) == ([], [])


@pytest.mark.parametrize("change", ["approve", "revoke"])
def test_an_approval_in_the_middle_of_a_rollback_is_kept(
    doomed: Doomed, again: Callable[[], Path], change: str
) -> None:
    path = again()
    store = Store(path)
    done = doomed.run(
        ["rollback", "--store", path], at=Call("snapshot.publish:check_files"), fate=meanwhile(path, change, "list")
    )
    assert done.code == 0, done.err
    assert len(overlay(store).approvals) == (3 if change == "approve" else 0)
    assert [entry.action for entry in store.history()][:2] == ["rollback", change]


def test_a_compile_that_is_stopped_and_goes_on_publishes_what_was_suppressed_meanwhile(tmp_path: Path) -> None:
    """A real process, stopped by a signal while it holds the compile's lock: no suppression waits for it."""
    store = tmp_path / "store"
    (tmp_path / "first").write_bytes(hex_lines(DIGESTS["sha256"][:50]))
    hashwacht("compile", "--store", store, "--list-id", "list", "--tier", "illegal", tmp_path / "first")
    with waiting_compile(store, hex_lines(DIGESTS["sha256"][:100])) as compiling_process:
        compiling_process.send_signal(signal.SIGSTOP)
        hashwacht("suppress", DIGESTS["sha256"][60].hex(), *SIGNED, "--store", store)
        hashwacht("suppress", DIGESTS["sha256"][3].hex(), *SIGNED, "--store", store)
        assert Store(store).current().generation == 3
        compiling_process.send_signal(signal.SIGCONT)
        compiling_process.communicate(timeout=30)
        assert compiling_process.returncode == 0
    opened = Store(store)
    assert opened.current().generation == 4
    assert [entry.action for entry in opened.history()] == ["compile", "suppress", "suppress", "compile"]
    assert {each.digest for each in overlay(opened).suppressions} == {DIGESTS["sha256"][n].hex() for n in (3, 60)}
    hashwacht("rollback", "--store", store)
    assert len(overlay(opened).suppressions) == 2
    assert verify_store(opened).whole
