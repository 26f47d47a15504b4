"""Publishing: CURRENT only moves forward, the old state is live until the new one is whole, nothing needed is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from snapshot.algorithms import MD5
from snapshot.errors import DamageError, SnapshotMissing, StoreFull, StoreLocked, StoreUnusable
from snapshot.manifest import ListFacts
from snapshot.publish import RETAINED, Publisher
from snapshot.reader import Snapshot
from snapshot.store import Store
from snapshot.verify import verify_store


@pytest.fixture
def contents(some_entries):
    """Six different contents of a snapshot."""
    return [some_entries(20, MD5) for _ in range(6)]


def present(store: Store) -> set[str]:
    return {path.name for path in store.snapshots.iterdir()}


def everything(store: Store) -> dict[str, tuple[int, int, bytes]]:
    """Inode, time and content of every file under snapshots/."""
    return {
        str(path.relative_to(store.path)): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in store.snapshots.rglob("*")
        if path.is_file()
    }


def test_the_first_publish_makes_a_store(store: Store, publish, contents) -> None:
    published = publish(store, contents[0], by="somebody")
    current = store.current()
    assert current == published.current
    assert (current.generation, current.by, current.overlay_version) == (1, "somebody", 0)
    assert current.snapshot_id == published.manifest.snapshot_id
    assert not published.already_there
    (entry,) = store.history()
    assert (entry.generation, entry.previous, entry.action, entry.by) == (1, 0, "compile", "somebody")
    assert (entry.snapshot_id, entry.manifest_sha256) == (current.snapshot_id, current.manifest_sha256)
    assert (entry.entries, entry.lists) == (20, published.manifest.lists)
    assert not store.tmp.exists()


def test_the_history_says_which_lists_were_dropped(store: Store, publish, contents) -> None:
    published = publish(store, contents[0])
    with Publisher(store) as publisher:
        publisher.publish(
            store.snapshot_dir(published.manifest.snapshot_id), published.manifest, by="x", dropped_lists=["b", "a"]
        )
    assert store.history()[0].dropped_lists == ["a", "b"]


def test_generations_only_grow(store: Store, publish, contents) -> None:
    seen = [publish(store, contents[i]).current.generation for i in (0, 1, 1, 2)]
    with Publisher(store) as publisher:
        seen.append(publisher.rollback(None, by="tests").current.generation)
    # An entry whose swap never happened counts too: its number may have been seen.
    store.history_file(9).write_bytes(store.history_file(5).read_bytes())
    seen.append(publish(store, contents[3]).current.generation)
    assert seen == [1, 2, 3, 4, 5, 10]
    assert [entry.generation for entry in store.history()] == [10, 5, 4, 3, 2, 1]


def test_a_current_above_all_history_is_still_passed(tmp_path: Path, publish, contents) -> None:
    store = Store(tmp_path / "other")
    current = publish(store, contents[0]).current
    store.current_file.write_bytes(current.model_copy(update={"generation": 40}).encode())
    assert publish(store, contents[1]).current.generation == 41


def test_rollback_is_a_higher_generation_of_an_older_snapshot(store: Store, publish, contents) -> None:
    ids = [publish(store, contents[i]).manifest.snapshot_id for i in range(3)]
    before = everything(store)
    with Publisher(store) as publisher:
        first = publisher.rollback(None, by="somebody")
    assert (first.current.snapshot_id, first.current.generation) == (ids[1], 4)
    with Publisher(store) as publisher:
        assert publisher.rollback(ids[0], by="somebody").current.snapshot_id == ids[0]
    with Publisher(store) as publisher:
        assert publisher.rollback(None, by="somebody").current.snapshot_id == ids[1]
    assert [entry.action for entry in store.history()] == ["rollback"] * 3 + ["compile"] * 3
    assert everything(store) == before


def test_rollback_without_a_generation_before_is_refused(store: Store, publish, contents) -> None:
    publish(store, contents[0])
    with Publisher(store) as publisher, pytest.raises(SnapshotMissing, match="no other snapshot was live before"):
        publisher.rollback(None, by="tests")
    assert store.current().generation == 1


def test_rollback_passes_over_generations_of_the_live_snapshot(store: Store, publish, contents) -> None:
    ids = [publish(store, contents[i]).manifest.snapshot_id for i in (0, 1, 1, 1)]
    with Publisher(store) as publisher:
        gone_back = publisher.rollback(None, by="tests").current
    assert (gone_back.snapshot_id, gone_back.generation) == (ids[0], 5)


def test_a_prefix_will_do_when_it_is_unique_and_long_enough(store: Store, publish, contents) -> None:
    ids = [publish(store, contents[i]).manifest.snapshot_id for i in range(2)]
    with Publisher(store) as publisher:
        assert publisher.rollback(ids[0][:6], by="tests").current.snapshot_id == ids[0]
        for prefix in (ids[1][:5], "", "g" * 6, ids[1] + "0", ids[1].upper() + "x"):
            with pytest.raises(SnapshotMissing, match=f"names no snapshot.*There: .*{ids[1]}"):
                publisher.rollback(prefix, by="tests")
        twin = store.snapshots / (ids[1][:6] + "f" * 58)
        twin.mkdir()
        with pytest.raises(SnapshotMissing, match="beginning of several"):
            publisher.rollback(ids[1][:6], by="tests")
        twin.rmdir()
    assert store.current().snapshot_id == ids[0]


def test_what_retention_removed_cannot_come_back(store: Store, publish, contents) -> None:
    ids = [publish(store, contents[i]).manifest.snapshot_id for i in range(4)]
    with Publisher(store) as publisher, pytest.raises(SnapshotMissing):
        publisher.rollback(ids[0], by="tests")


def test_a_snapshot_that_was_never_live_cannot_be_rolled_back_to(store: Store, publish, contents, written) -> None:
    publish(store, contents[0])
    stranger = written(contents[1])
    stranger.directory.rename(store.snapshot_dir(stranger.manifest.snapshot_id))
    with Publisher(store) as publisher, pytest.raises(SnapshotMissing, match="was never live"):
        publisher.rollback(stranger.manifest.snapshot_id, by="tests")


def test_a_damaged_snapshot_cannot_be_rolled_back_to(tmp_path: Path, publish, contents) -> None:
    store = Store(tmp_path / "damaged")
    ids = [publish(store, contents[i]).manifest.snapshot_id for i in range(2)]
    path = store.snapshot_dir(ids[0]) / "md5.bloom"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    before = store.read_current_bytes()
    with Publisher(store) as publisher, pytest.raises(DamageError, match=r"md5\.bloom"):
        publisher.rollback(None, by="tests")
    assert store.read_current_bytes() == before
    assert store.generations() == [1, 2]


def test_the_live_snapshot_and_the_two_before_it_stay(store: Store, publish, contents) -> None:
    assert RETAINED == 3
    ids, removed = [], []
    for content in contents:
        published = publish(store, content)
        ids.append(published.manifest.snapshot_id)
        removed += published.removed
        assert present(store) == set(ids[-3:])
        assert store.history()[0].retained == ids[-3:][::-1]
    assert removed == ids[:-3]


def test_repeats_do_not_push_others_out(store: Store, publish, contents) -> None:
    a, b, *_ = (publish(store, contents[i]).manifest.snapshot_id for i in (0, 1, 0, 1, 0, 1))
    c = publish(store, contents[2]).manifest.snapshot_id
    assert present(store) == {a, b, c}


def test_a_mapped_snapshot_outlives_its_retention(store: Store, publish, contents) -> None:
    first = publish(store, contents[0])
    with Snapshot.open(store.snapshot_dir(first.manifest.snapshot_id), first.current.manifest_sha256) as snapshot:
        for content in contents[1:]:
            publish(store, content)
        assert first.manifest.snapshot_id not in present(store)
        assert all(snapshot.tables["md5"].find(digest) == 0 for _, digest in contents[0])


def test_with_a_history_that_cannot_be_followed_everything_stays(tmp_path: Path, publish, contents) -> None:
    store = Store(tmp_path / "broken")
    ids = {publish(store, contents[i]).manifest.snapshot_id for i in range(3)}
    store.history_file(2).unlink()
    ids.add(publish(store, contents[3]).manifest.snapshot_id)
    assert present(store) == ids
    # From then on there is a history again, and what was kept from before counts as the oldest.
    assert "history begun anew" in store.history()[0].details[-1]
    later = publish(store, contents[4]).manifest.snapshot_id
    assert later in present(store)
    assert len(present(store)) == RETAINED
    assert present(store) < {*ids, later}


def test_a_damaged_current_is_replaced_by_a_higher_generation(store: Store, publish, contents) -> None:
    publish(store, contents[0])
    publish(store, contents[1])
    store.current_file.write_bytes(b"")
    assert publish(store, contents[2]).current.generation == 3
    assert [entry.generation for entry in store.history()] == [3, 2, 1]


def test_a_damaged_current_is_written_anew_by_a_rollback_to_an_id(store: Store, publish, contents) -> None:
    ids = [publish(store, contents[i]).manifest.snapshot_id for i in range(2)]
    store.current_file.write_bytes(b"damaged")
    with Publisher(store) as publisher:
        assert publisher.rollback(ids[0], by="tests").current.generation == 3
    assert [entry.snapshot_id for entry in store.history()] == [ids[0], ids[1], ids[0]]


def test_the_same_content_only_moves_current(store: Store, publish, contents) -> None:
    first = publish(store, contents[0])
    before = everything(store)
    again = publish(store, contents[0], by="another")
    assert again.already_there
    assert everything(store) == before
    assert again.current.generation == 2
    assert again.current.manifest_sha256 == first.current.manifest_sha256
    assert [entry.by for entry in store.history()] == ["another", "tests"]


@pytest.mark.parametrize("name", ["manifest.json", "entries.lmdb", "md5.bloom"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "directory"])
def test_a_damaged_snapshot_is_replaced_by_the_same_content(
    name: str, damage: str, store: Store, publish, contents
) -> None:
    first = publish(store, contents[0])
    path = store.snapshot_dir(first.manifest.snapshot_id) / name
    content = path.read_bytes()
    path.unlink()
    if damage == "directory":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(content[:-1] + (bytes([content[-1] ^ 1]) if damage == "flipped" else b""))
    assert not verify_store(store).whole
    again = publish(store, contents[0])
    assert not again.already_there
    assert again.manifest.snapshot_id == first.manifest.snapshot_id
    assert verify_store(store).whole


def test_a_leftover_of_the_same_id_is_replaced(store: Store, publish, contents) -> None:
    published = publish(store, contents[0])
    name = published.manifest.snapshot_id
    store.current_file.unlink()
    store.history_file(1).unlink()
    (store.snapshot_dir(name) / "md5.bloom").write_bytes(b"half written")
    again = publish(store, contents[0])
    assert (again.already_there, again.manifest.snapshot_id) == (False, name)


class Failing:
    """Lets a number of calls of several functions pass, and raises at the next."""

    def __init__(self, passing: int) -> None:
        self.left = passing

    def wrap(self, call):
        def wrapped(*args: object, **kwargs: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise OSError(5, "Input/output error")
            return call(*args, **kwargs)

        return wrapped


def named(call) -> StoreUnusable | None:
    """Give the error that a call ends with, if it does."""
    try:
        call()
    except StoreUnusable as error:
        return error
    return None


def test_whichever_step_fails_the_store_is_whole(tmp_path: Path, publish, contents, monkeypatch) -> None:
    """Each rename and each flush of a second publish fails in turn, in a store of its own."""
    live = []
    for passing in range(100):
        store = Store(tmp_path / str(passing))
        first = publish(store, contents[0])
        failing = Failing(passing)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", failing.wrap(Path.rename))
            patch.setattr(os, "fsync", failing.wrap(os.fsync))
            error = named(lambda store=store: publish(store, contents[1]))
        if error is None:
            break
        assert "Input/output error" in str(error)
        live.append(store.current().snapshot_id)
        assert verify_store(store).damage == []
        assert not store.tmp.exists()
        assert publish(store, contents[1]).manifest.snapshot_id == store.current().snapshot_id
        assert verify_store(store).damage == []
    # 4 flushes of the writer; rename and flush of the snapshot; flush, rename, flush of the history entry and of
    # CURRENT. Only the very last comes after the swap, when nothing is left to be undone.
    assert len(live) == 12
    assert live == [first.manifest.snapshot_id] * 11 + [store.current().snapshot_id]


def test_a_short_write_is_a_full_disk(store: Store, publish, contents, monkeypatch) -> None:
    publish(store, contents[0])
    before = store.read_current_bytes()
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[: len(data) // 2]))
        with pytest.raises(StoreFull, match="what was live still is"):
            publish(store, contents[1])
    assert store.read_current_bytes() == before


def test_one_publisher_at_a_time(store: Store, publish, contents) -> None:
    with Publisher(store), pytest.raises(StoreLocked, match=f"process {os.getpid()}"):
        publish(store, contents[0])
    assert publish(store, contents[0]).current.generation == 1


def test_a_refused_publisher_leaves_the_other_s_work_alone(store: Store, publish, contents) -> None:
    with Publisher(store) as publisher:
        work = publisher.work_directory()
        with pytest.raises(StoreLocked):
            publish(store, contents[0])
        assert work.is_dir()


def test_a_body_that_raises_frees_the_lock_and_cleans_up(store: Store, publish, contents) -> None:
    def fail() -> None:
        with Publisher(store) as publisher:
            (publisher.work_directory() / "half").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not store.tmp.exists()
    publish(store, contents[0])


HOLD = """
import sys
from pathlib import Path
from snapshot.publish import Publisher
from snapshot.store import Store
with Publisher(Store(Path(sys.argv[1]))) as publisher:
    print(publisher.work_directory(), flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_frees_the_lock_and_its_leftovers_go(store: Store, publish, contents) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            leftover = Path(holder.stdout.readline().strip())
            assert leftover.is_dir()
            with pytest.raises(StoreLocked, match=f"process {holder.pid}"):
                publish(store, contents[0])
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
    assert leftover.is_dir()
    publish(store, contents[0])
    assert not leftover.exists()


def test_stray_files_between_snapshots_are_no_hindrance(store: Store, publish, contents) -> None:
    publish(store, contents[0])
    (store.snapshots / "notes.txt").touch()
    (store.snapshots / ("0" * 64)).mkdir()
    published = publish(store, contents[1])
    assert published.removed == ("0" * 64, "notes.txt")


def test_lists_are_those_of_this_compile_although_the_snapshot_is_an_old_one(store: Store, publish, contents) -> None:
    """Two lists with the same entries give the same id, and who asks for what is live must be told the right one."""
    first = publish(store, contents[0]).manifest
    facts = ListFacts(list_id="synthetic", files=7, lines=99, digests=20, refused=1)
    with Publisher(store) as publisher:
        publisher.publish(
            store.snapshot_dir(first.snapshot_id), first.model_copy(update={"lists": [facts]}), by="tests"
        )
    assert [entry.lists for entry in store.history()] == [[facts], first.lists]
