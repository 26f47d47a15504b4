"""A compile or rollback killed at every stage and at every step leaves the old state live, or the new one, whole.

Three ways to choose the moment: before and after each named stage of the loader, the writer and the publisher;
before each single step in the file system, of which a run of this size has a hundred; and at random times of a
larger compile. After each, the next compile succeeds and cleans up.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from snapshot.store import Current, Store
from snapshot.verify import verify_store
from tests import listfiles
from tests.contents import contents
from tests.faults.conftest import COUNTS, compiling
from tests.faults.doomed import Call, Doomed, Step

#: Every stage in the order of a compile; the calls of loader/build.py, then those within them.
STAGES = [
    *(Call(function, when) for when in ("before", "after") for function in (
        "loader.build:Publisher.__enter__",
        "loader.build:gate.refuse_lost_lists",
        "loader.build:Publisher.work_directory",
        "loader.build:LabelTable.__init__",
        "loader.build:Spools.__init__",
        "loader.build:read_lists",
        "loader.build:ListFile.__init__",
        "loader.build:choose_reader",
        "loader.build:parse",
        "loader.build:normalise",
        "loader.build:LabelTable.add_references",
        "loader.build:Spools.add",
        "loader.build:check_bad_lines",
        "loader.build:gate.refuse_empty",
        "loader.build:write_snapshot",
        "loader.build:SnapshotWriter.__init__",
        "loader.build:SnapshotWriter.begin",
        "loader.build:Spools.parts",
        "loader.build:sort_rows",
        "loader.build:Guard.take_out",
        "loader.build:Merger.merge",
        "snapshot.writer:SnapshotWriter.add_own_label_set",
        "snapshot.writer:SnapshotWriter.add_shared_label_set",
        "loader.build:SnapshotWriter.append",
        "snapshot.writer:_Blocks._put_block",
        "snapshot.writer:SnapshotWriter._end_algorithm",
        "snapshot.writer:build_filter",
        "loader.build:SnapshotWriter.finish",
        "snapshot.writer:file_sha256",
        "snapshot.writer:fsync_path",
        "loader.build:LabelTable.__exit__",
        "loader.build:Spools.__exit__",
        "snapshot.writer:SnapshotWriter.add_known_good",
        "loader.build:write_references",
        "loader.build:gate.check_new_snapshot",
        "loader.build:gate.compare_with_live",
        "loader.build:gate.overlay_after",
        "loader.build:Publisher.publish",
        "snapshot.publish:Publisher._sound_manifest",
        "snapshot.publish:fsync_path",
        "snapshot.publish:Publisher._make_live",
        "snapshot.publish:swapping",
        "snapshot.swap:Swap.commit",
        "snapshot.publish:Publisher._retained",
        "snapshot.publish:Publisher._prune",
        "loader.build:Publisher.__exit__",
    )),
    Call("loader.build:parse", "during"),
    Call("loader.build:Spools.parts", "during"),
    Call("snapshot.writer:SnapshotWriter.begin", "before", nth=2),
    Call("snapshot.writer:build_filter", "after", nth=2),
    Call("pathlib:Path.rename", "before", nth=1),  # the snapshot
    Call("pathlib:Path.rename", "after", nth=1),
    Call("snapshot.swap:replace_file", "before", nth=1),  # the history entry
    Call("pathlib:Path.rename", "before", nth=2),
    Call("pathlib:Path.rename", "after", nth=2),
    Call("snapshot.swap:replace_file", "before", nth=2),  # CURRENT
    Call("pathlib:Path.rename", "before", nth=3),
    Call("pathlib:Path.rename", "after", nth=3),
    Call("snapshot.swap:replace_file", "after", nth=2),
]  # fmt: skip

#: Stages that end, or begin, when CURRENT has been swapped.
AFTER_THE_SWAP = {
    Call("snapshot.publish:Publisher._make_live", "after"),
    Call("snapshot.swap:Swap.commit", "after"),
    Call("snapshot.publish:Publisher._prune", "before"),
    Call("snapshot.publish:Publisher._prune", "after"),
    Call("loader.build:Publisher.publish", "after"),
    Call("loader.build:Publisher.__exit__", "before"),
    Call("loader.build:Publisher.__exit__", "after"),
    Call("pathlib:Path.rename", "after", nth=3),
    Call("snapshot.swap:replace_file", "after", nth=2),
}


def check_killed(path: Path, before: Current, *, swapped: bool) -> None:
    """Require the old state or the new one, as it must be, and every byte of it."""
    store = Store(path)
    current = store.current()
    if swapped:
        assert current.generation == before.generation + 1
    else:
        assert current == before
    report = verify_store(store)
    assert report.damage == []


def check_next(doomed: Doomed, path: Path, files: list[Path]) -> None:
    """Require that the next compile succeeds, is a higher generation, and leaves nothing of what was killed."""
    store = Store(path)
    seen = {store.current().generation, *store.generations()}
    live_before = store.current().generation
    done = doomed.run(compiling(path, *files))
    assert done.code == 0, done.err
    history = store.history()
    assert history[0].generation == store.current().generation == 1 + max(seen)
    assert history[0].previous == live_before, "a void entry must be passed over"
    assert [entry.generation for entry in history] == sorted((e.generation for e in history), reverse=True)
    report = verify_store(store)
    assert (report.damage, report.leftovers) == ([], [])
    assert {entry.name for entry in store.snapshots.iterdir()} == set(history[0].retained)
    assert {entry.name for entry in path.iterdir()} == {
        "CURRENT", "history", "lock", "overlays", "snapshots", "swap.lock",
    }  # fmt: skip


@pytest.mark.parametrize("stage", STAGES, ids=lambda call: f"{call.when} {call.function} {call.nth}")
def test_killed_at_a_stage(doomed: Doomed, fresh: Callable[[], Path], lists: list[Path], stage: Call) -> None:
    path = fresh()
    before = Store(path).current()
    done = doomed.run(compiling(path, lists[3]), at=stage, fate="kill")
    assert done.code == -9, f"the stage was not reached: {done}"
    check_killed(path, before, swapped=stage in AFTER_THE_SWAP)
    check_next(doomed, path, [lists[3]])
    assert len(contents(path)) == 2 * COUNTS[3]


@pytest.mark.parametrize("what", ["compile", "the live snapshot again", "rollback", "first compile"])
def test_killed_at_each_step(doomed: Doomed, fresh: Callable[[], Path], lists: list[Path], what: str) -> None:
    """Whatever step comes next in the file system is not taken. All that fails is told at once."""
    path = fresh()
    words = {
        "compile": compiling(path, lists[3]),
        "the live snapshot again": compiling(path, lists[2]),
        "rollback": ["rollback", "--store", path],
        "first compile": compiling(path, lists[2]),
    }[what]

    def make() -> Current | None:
        fresh()
        if what == "first compile":
            for name in ("CURRENT", "history", "snapshots"):
                (path / name).rename(path.with_name(f"away-{name}-{random.getrandbits(64)}"))
            return None
        return Store(path).current()

    make()
    steps = doomed.run(words, count_steps=True).steps
    swap = next(i for i, step in enumerate(steps) if step.startswith("os.rename") and "/store/CURRENT " in step)
    assert len(steps) > swap > 20
    wrong = []
    for number, step in enumerate(steps, start=1):
        before = make()
        done = doomed.run(words, at=Step(number), fate="kill")
        try:
            assert done.code == -9
            if before is not None:
                check_killed(path, before, swapped=number > swap + 1)
            elif number <= swap + 1:
                assert not (path / "CURRENT").exists()
            if before is None and number <= swap + 1:
                assert doomed.run(compiling(path, lists[3])).code == 0  # a first compile, again
            if what in {"compile", "rollback"} or number % 4 == 0:  # the others go the same ways
                check_next(doomed, path, [lists[3]])
        except AssertionError as error:
            wrong.append(f"{number}: {step}: {str(error)[:500]}")
    assert not wrong, "\n".join(wrong)


def test_killed_while_a_damaged_snapshot_is_replaced(
    doomed: Doomed, fresh: Callable[[], Path], lists: list[Path]
) -> None:
    """Compiling a damaged snapshot anew mends the store, and being killed on the way makes nothing worse."""
    path = fresh()
    words = compiling(path, lists[1])
    damaged = Store(path).history()[1].snapshot_id

    def make() -> Current:
        fresh()
        bloom = path / "snapshots" / damaged / "md5.bloom"
        bloom.write_bytes(bloom.read_bytes()[:-1])
        return Store(path).current()

    make()
    steps = doomed.run(words, count_steps=True).steps
    assert verify_store(Store(path)).damage == []
    assert Store(path).current().snapshot_id == damaged
    first = next(i for i, step in enumerate(steps) if step.startswith("os.rename"))
    wrong = []
    for number in range(first, len(steps) + 1):
        before = make()
        assert doomed.run(words, at=Step(number), fate="kill").code == -9
        report = verify_store(Store(path))
        if not {error.reason for error in report.damage} <= {"wrong_size", "snapshot_missing", "manifest_damaged"}:
            wrong.append(f"{number}: {steps[number - 1]}: {report.damage}")
        if Store(path).current().generation == before.generation and before.snapshot_id not in report.verified:
            wrong.append(f"{number}: {steps[number - 1]}: the live snapshot is gone")
        check_next(doomed, path, [lists[1]])
    assert not wrong, "\n".join(wrong)


def test_killed_at_random_times(doomed: Doomed, tmp_path: Path) -> None:
    """20 kills of compiles of 300,000 lines, spilling to disk, by another process at any time."""
    seed = random.getrandbits(32)
    print(f"seed: {seed}")  # noqa: T201 - pytest shows it when the test fails
    source = random.Random(seed)
    store = tmp_path / "store"
    digests = listfiles.random_digests("sha256", 310_000, seed)
    files = [
        listfiles.write(tmp_path / f"{number}.txt", listfiles.hex_lines(digests[start : start + 300_000]))
        for number, start in enumerate([0, 10_000])
    ]
    began = time.monotonic()
    assert doomed.run(compiling(store, files[0]), spool_bytes=4 << 20).code == 0
    seconds = time.monotonic() - began
    killed = tries = 0
    while killed < 20:
        tries += 1
        assert tries < 100, f"only {killed} of {tries} were still running"
        before = Store(store).current()
        highest = max(before.generation, *Store(store).generations())  # of a void entry, perhaps
        pid = doomed.start(compiling(store, files[tries % 2]), spool_bytes=4 << 20)
        time.sleep(source.uniform(0, seconds))
        doomed.kill(pid)
        killed += doomed.finish(pid).code == -9
        assert verify_store(Store(store)).damage == []
        assert Store(store).current().generation in {before.generation, highest + 1}
    for path, expected in zip(files, (digests[:300_000], digests[10_000:]), strict=True):
        assert doomed.run(compiling(store, path)).code == 0
        report = verify_store(Store(store))
        assert (report.damage, report.leftovers) == ([], [])
        assert {digest for _, digest in contents(store)} == set(expected)
