"""Swapping CURRENT: numbers only grow and are never used twice, the history is a chain, no overlay gets lost."""

from __future__ import annotations

import fcntl
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

import snapshot.swap
from snapshot.algorithms import MD5
from snapshot.durable import replace_file
from snapshot.errors import (
    CurrentDamaged,
    HistoryDamaged,
    NoStore,
    OverlayDamaged,
    OverlayFull,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreUnusable,
)
from snapshot.labels import LabelClass, Tier
from snapshot.manifest import read_manifest, sha256_hex
from snapshot.overlay import EMPTY, Approval, Overlay, Suppression
from snapshot.publish import Publisher
from snapshot.store import Current, Store
from snapshot.swap import SnapshotFacts, swapping
from snapshot.verify import verify_store


@pytest.fixture
def live(store: Store, publish, some_entries) -> Store:
    """A store in which something is live."""
    publish(store, some_entries(20, MD5))
    return store


@pytest.fixture
def damageable(tmp_path: Path, publish, some_entries) -> Store:
    """Likewise; it need not be whole afterwards."""
    store = Store(tmp_path / "damageable")
    publish(store, some_entries(20, MD5))
    return store


def a_suppression(rng: random.Random) -> Suppression:
    return Suppression(
        algorithm="md5", digest=rng.randbytes(16).hex(), by="tests", at=datetime(2026, 1, 1, tzinfo=UTC), reason="x"
    )


def suppress(store: Store, rng: random.Random, reason: str | None = None) -> Current:
    """Suppress one more digest."""
    with swapping(store) as swap:
        overlay = swap.overlay.with_suppressions([a_suppression(rng)])
        return swap.commit("suppress", swap.live_snapshot(), overlay, by="tests", reason=reason, details=["one digest"])


def overlay_in_force(store: Store) -> Overlay:
    current = store.current()
    return store.overlay(current.overlay_version, current.overlay_sha256)


def test_a_change_of_the_overlay_keeps_the_snapshot_and_is_in_the_history(live: Store, rng: random.Random) -> None:
    before = live.current()
    current = suppress(live, rng, reason="asked for")
    assert current == live.current()
    assert (current.generation, current.overlay_version, current.by) == (2, 1, "tests")
    assert (current.snapshot_id, current.manifest_sha256) == (before.snapshot_id, before.manifest_sha256)
    overlay = overlay_in_force(live)
    assert current.overlay_sha256 == overlay.sha256
    assert (overlay.version, overlay.previous_sha256, len(overlay.suppressions)) == (1, None, 1)
    entry, first = live.history()
    assert (entry.generation, entry.previous, entry.action, entry.reason) == (2, 1, "suppress", "asked for")
    assert (entry.details, entry.by, entry.at) == (["one digest"], "tests", current.issued_at)
    assert (entry.overlay_version, entry.overlay_sha256) == (1, overlay.sha256)
    assert (first.overlay_version, first.overlay_sha256) == (0, None)
    assert (entry.snapshot_id, entry.manifest_sha256) == (first.snapshot_id, first.manifest_sha256)
    assert (entry.entries, entry.lists, entry.retained) == (first.entries, first.lists, first.retained)
    assert entry.previous_sha256 == live.history_sha256(1)


def test_each_overlay_names_the_one_before(live: Store, rng: random.Random) -> None:
    for _ in range(4):
        suppress(live, rng)
    versions = [live.overlay(entry.overlay_version, entry.overlay_sha256) for entry in live.history()]
    assert [each.version for each in versions] == [4, 3, 2, 1, 0]
    assert [each.previous_sha256 for each in versions] == [*(each.sha256 for each in versions[1:]), None]
    assert [len(each.suppressions) for each in versions] == [4, 3, 2, 1, 0]


def test_an_overlay_that_stays_is_not_written_again(live: Store, rng: random.Random, publish, some_entries) -> None:
    suppress(live, rng)
    before = live.overlay_file(1).stat()
    publish(live, some_entries(20, MD5))
    current = live.current()
    assert (current.generation, current.overlay_version) == (3, 1)
    assert live.overlay_versions() == [1]
    after = live.overlay_file(1).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_overlay_of_an_earlier_version_stays_what_it_was(
    live: Store, rng: random.Random, publish, some_entries
) -> None:
    """Its file may have fewer fields than would be written today: its SHA-256 is that of the file."""
    suppress(live, rng)
    path = live.overlay_file(1)
    fields = orjson.loads(path.read_bytes())
    del fields["seal_key_id"]
    path.write_bytes(orjson.dumps(fields))
    older = live.current().model_copy(update={"overlay_sha256": sha256_hex(path.read_bytes())})
    entry = live.history_entry(older.generation).model_copy(update={"overlay_sha256": older.overlay_sha256})
    live.history_file(older.generation).write_bytes(entry.encode())
    live.current_file.write_bytes(older.model_copy(update={"history_sha256": sha256_hex(entry.encode())}).encode())
    publish(live, some_entries(20, MD5))
    current = live.current()
    assert (current.overlay_version, current.overlay_sha256) == (1, older.overlay_sha256)
    suppress(live, rng)
    current = live.current()
    overlay = live.overlay(current.overlay_version, current.overlay_sha256)
    assert (overlay.version, overlay.previous_sha256) == (2, older.overlay_sha256)
    assert verify_store(live).damage == []


@pytest.mark.parametrize("jump", [timedelta(days=-4000), timedelta(seconds=-1), timedelta(0)], ids=str)
def test_generations_grow_whatever_the_clock_does(
    live: Store, rng: random.Random, jump: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        moment = datetime.now(UTC)

        @classmethod
        def now(cls, tz: object = None) -> datetime:
            cls.moment += jump
            return cls.moment

    monkeypatch.setattr(snapshot.swap, "datetime", Clock)
    seen = [suppress(live, rng) for _ in range(3)]
    with Publisher(live) as publisher, pytest.raises(StoreError, match="no other snapshot was live"):
        publisher.rollback(None, by="tests")
    assert [current.generation for current in seen] == [2, 3, 4]
    assert [current.overlay_version for current in seen] == [1, 2, 3]
    assert [current.issued_at for current in seen] == sorted(
        (current.issued_at for current in seen), reverse=jump < timedelta(0)
    )
    assert [entry.generation for entry in live.history()] == [4, 3, 2, 1]


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, before_write: int) -> Iterator[None]:
    """Die before the nth file of a change is put in place: overlay file, history entry, CURRENT; 4 is after all."""

    class Killed(BaseException):
        pass

    calls = 0

    def replace(path: Path, content: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == before_write:
            raise Killed
        replace_file(path, content)
        if before_write == 4 and calls == 3:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(snapshot.swap, "replace_file", replace)
        with pytest.raises(Killed):
            yield


@pytest.mark.parametrize(
    ("before_write", "generation", "version"), [(1, 2, 1), (2, 2, 2), (3, 3, 2), (4, 3, 2)], ids=str
)
def test_void_numbers_are_not_used_again(
    live: Store, rng: random.Random, before_write: int, generation: int, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = live.read_current_bytes()
    void = a_suppression(rng)
    with dying(monkeypatch, before_write), swapping(live) as swap:
        overlay = swap.overlay.with_suppressions([void])
        swap.commit("suppress", swap.live_snapshot(), overlay, by="tests")
    assert (live.read_current_bytes() == before) == (before_write < 4)
    assert verify_store(live).damage == []
    names = {path.name: path.read_bytes() for path in live.overlays_dir.iterdir()}
    written = {path.name: path.read_bytes() for path in live.history_dir.iterdir()}
    current = suppress(live, rng)
    assert (current.generation, current.overlay_version) == (generation, version)
    assert all(live.overlays_dir.joinpath(name).read_bytes() == raw for name, raw in names.items())
    assert all(live.history_dir.joinpath(name).read_bytes() == raw for name, raw in written.items())
    in_force = overlay_in_force(live)
    assert (void in in_force.suppressions) == (before_write == 4)
    assert [entry.generation for entry in live.history()] == ([3, 2, 1] if before_write == 4 else [generation, 1])
    assert live.history()[0].previous_sha256 == live.history_sha256(live.history()[0].previous)


def test_what_a_killed_write_leaves_harms_nothing(live: Store, rng: random.Random) -> None:
    leftovers = [
        live.overlays_dir / ".1.json.new", live.overlays_dir / ".9.json.new", live.history_dir / ".2.json.new",
        live.history_dir / ".9.json.new", live.path / ".CURRENT.new",
    ]  # fmt: skip
    for path in leftovers:
        path.write_bytes(b'{"generation": 99')
    assert verify_store(live).whole
    assert live.generations() == [1]
    assert live.overlay_versions() == []
    current = suppress(live, rng)
    assert (current.generation, current.overlay_version) == (2, 1)
    assert verify_store(live).whole
    assert [path.exists() for path in leftovers] == [False, True, False, True, False]


def test_any_byte_of_any_older_history_file_counts(
    damageable: Store, rng: random.Random, publish, some_entries
) -> None:
    store = damageable
    suppress(store, rng)
    publish(store, some_entries(20, MD5))
    suppress(store, rng)
    suppress(store, rng)
    whole = store.history()
    for generation in (4, 3, 2, 1):
        path = store.history_file(generation)
        raw = path.read_bytes()
        for at in range(len(raw)):
            path.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :])
            with pytest.raises(HistoryDamaged, match=rf"history/{generation}\.json"):
                store.history()
        path.write_bytes(raw + b" ")
        with pytest.raises(HistoryDamaged, match="is not what the entry after it vouches for"):
            store.history()
        path.write_bytes(raw)
        assert store.history() == whole


def test_an_older_entry_with_another_content_is_damage_even_if_it_is_of_the_form(
    damageable: Store, rng: random.Random
) -> None:
    suppress(damageable, rng)
    suppress(damageable, rng)
    path = damageable.history_file(2)
    loaded = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps(loaded | {"by": "somebody else"}))
    with pytest.raises(HistoryDamaged, match=r"2\.json: is not what the entry after it vouches for"):
        damageable.history()
    assert [str(error) for error in verify_store(damageable).damage] == [
        f"{path}: is not what the entry after it vouches for"
    ]
    suppress(damageable, rng)  # goes on, from the live state


def test_with_a_broken_entry_before_it_a_change_still_happens(damageable: Store, rng: random.Random) -> None:
    """Its facts are those of the snapshot's own manifest; stray files under snapshots/ are no snapshots."""
    (damageable.snapshots / "notes.txt").touch()
    vouched = damageable.current().history_sha256  # whatever lies there by now
    damageable.history_file(1).write_bytes(b"{")
    current = suppress(damageable, rng)
    assert current.generation == 2
    entry = damageable.history_entry(2)
    assert (entry.previous, entry.previous_sha256, entry.retained) == (1, vouched, [current.snapshot_id])
    assert entry.entries == 20
    with pytest.raises(HistoryDamaged, match=r"1\.json"):
        damageable.history()


def test_a_compile_publishes_with_the_overlay_in_force_at_its_swap(
    live: Store, rng: random.Random, publish, some_entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A digest is suppressed when the new snapshot lies there already and CURRENT is not swapped yet."""
    retained = Publisher._retained

    def meanwhile(publisher: Publisher, snapshot_id: str) -> list[str]:
        suppress(live, rng)
        return retained(publisher, snapshot_id)

    monkeypatch.setattr(Publisher, "_retained", meanwhile)
    published = publish(live, some_entries(20, MD5))
    assert (published.current.generation, published.current.overlay_version) == (3, 1)
    assert len(overlay_in_force(live).suppressions) == 1
    assert [entry.action for entry in live.history()] == ["compile", "suppress", "compile"]
    assert live.history()[0].snapshot_id == published.manifest.snapshot_id


def test_a_publish_can_change_the_overlay_with_its_swap(live: Store, rng: random.Random) -> None:
    suppress(live, rng)
    approval = Approval(
        list_id="a", category="b", tier=Tier.ILLEGAL, by="x", at=datetime(2026, 1, 1, tzinfo=UTC), reason=""
    )
    directory = live.live_dir(live.current())
    manifest, _ = read_manifest(directory)
    with Publisher(live) as publisher:
        published = publisher.publish(
            directory, manifest, by="tests", change=lambda overlay: overlay.with_approvals([approval])
        )
    assert published.current.overlay_version == 2
    overlay = overlay_in_force(live)
    assert overlay.approved == {LabelClass("a", "b", Tier.ILLEGAL)}
    assert len(overlay.suppressions) == 1
    assert overlay.previous_sha256 == live.history()[1].overlay_sha256


def test_a_publish_whose_overlay_change_fails_leaves_the_old_state(
    live: Store, publish, some_entries, monkeypatch
) -> None:
    before = live.read_current_bytes()
    present = set(live.snapshots.iterdir())

    def full(overlay: Overlay) -> Overlay:
        raise OverlayFull("full")

    publish_ = Publisher.publish
    monkeypatch.setattr(
        Publisher, "publish", lambda self, *args, **kwargs: publish_(self, *args, **kwargs, change=full)
    )
    with pytest.raises(OverlayFull):
        publish(live, some_entries(20, MD5))
    assert live.read_current_bytes() == before
    assert set(live.snapshots.iterdir()) == present


def test_a_rollback_keeps_the_overlay(live: Store, rng: random.Random, publish, some_entries) -> None:
    suppress(live, rng)
    publish(live, some_entries(20, MD5))
    suppress(live, rng)
    with Publisher(live) as publisher:
        current = publisher.rollback(None, by="tests").current
    assert current.snapshot_id == live.history()[-1].snapshot_id
    assert (current.generation, current.overlay_version) == (5, 2)
    assert len(overlay_in_force(live).suppressions) == 2


@pytest.mark.parametrize("raw", [b"", b"{", b"\0" * 300], ids=str)
def test_a_damaged_current_does_not_lose_the_overlay(live: Store, rng: random.Random, raw: bytes) -> None:
    suppress(live, rng)
    current = suppress(live, rng)
    live.current_file.write_bytes(raw)
    with swapping(live) as swap:
        assert swap.before is None
        assert len(swap.overlay.suppressions) == 2
        with pytest.raises(CurrentDamaged):
            swap.live_snapshot()
    with Publisher(live) as publisher:
        back = publisher.rollback(current.snapshot_id, by="tests").current
    assert (back.generation, back.overlay_version, back.overlay_sha256) == (4, 2, current.overlay_sha256)
    assert len(overlay_in_force(live).suppressions) == 2
    assert [entry.generation for entry in live.history()] == [4, 3, 2, 1]


def test_a_damaged_overlay_in_force_stops_every_change(
    damageable: Store, rng: random.Random, publish, some_entries
) -> None:
    suppress(damageable, rng)
    path = damageable.overlay_file(1)
    raw = path.read_bytes()
    before = damageable.read_current_bytes()
    for content in (None, raw[:-2] + b" }", b""):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(OverlayDamaged, match=r"1\.json"):
            suppress(damageable, rng)
        with pytest.raises(OverlayDamaged, match=r"1\.json"):
            publish(damageable, some_entries(20, MD5))
        assert damageable.read_current_bytes() == before
        assert damageable.generations() == [1, 2]
        assert [error.reason for error in verify_store(damageable).damage] == ["overlay_damaged"]
        path.touch()
    path.write_bytes(raw)
    assert suppress(damageable, rng).generation == 3


@pytest.mark.parametrize("name", ["history", "overlays", "CURRENT"])
def test_no_room_for_one_of_the_files_leaves_the_old_state(
    live: Store, rng: random.Random, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = live.read_current_bytes()
    opened: dict[int, str] = {}
    os_open, write = os.open, os.write

    def opening(path: object, *args: int, **kwargs: int) -> int:
        fd = os_open(path, *args, **kwargs)
        opened[fd] = str(path)
        return fd

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opening)
        patch.setattr(
            os, "write", lambda fd, raw: write(fd, raw[:10] if f"/{name}" in opened[fd].replace("/.", "/") else raw)
        )
        with pytest.raises(StoreFull, match="what was live still is"):
            suppress(live, rng)
    assert live.read_current_bytes() == before
    assert verify_store(live).whole
    assert suppress(live, rng).generation == (3 if name == "CURRENT" else 2)


def test_the_last_hundred_overlays_stay_and_the_one_in_force(
    live: Store, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert snapshot.swap._RETAINED_OVERLAYS == 100
    monkeypatch.setattr(snapshot.swap, "_RETAINED_OVERLAYS", 3)
    for _ in range(3):
        suppress(live, rng)
    for number in range(4, 14):  # void ones: CURRENT names 3 for all they are worth
        live.overlay_file(number).write_bytes(b"{}")
    with swapping(live) as swap:
        assert swap.overlay.version == 3
    current = suppress(live, rng)
    assert current.overlay_version == 14
    assert live.overlay_versions() == [3, 11, 12, 13, 14]
    assert len(overlay_in_force(live).suppressions) == 4
    for _ in range(10):
        current = suppress(live, rng)
    assert current.overlay_version == 24
    assert live.overlay_versions() == [21, 22, 23, 24]
    assert len(live.history()) == 15


def test_an_old_overlay_that_cannot_be_removed_stops_nothing(
    live: Store, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot.swap, "_RETAINED_OVERLAYS", 1)
    for _ in range(2):
        suppress(live, rng)
    (live.overlays_dir / "0.json").mkdir()
    assert suppress(live, rng).overlay_version == 3


def test_a_directory_that_is_not_there_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(NoStore, match="the store is not there"), swapping(Store(path)):
            pass
    assert not (tmp_path / "nowhere").exists()


def test_nothing_live_is_an_empty_overlay_and_no_snapshot(tmp_path: Path) -> None:
    with swapping(Store(tmp_path)) as swap:
        assert swap.before is None
        assert swap.overlay is EMPTY
        with pytest.raises(NoStore):
            swap.live_snapshot()


def test_a_store_that_cannot_be_written_is_named(live: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    live.swap_lock_file.unlink()
    live.swap_lock_file.mkdir()
    with pytest.raises(StoreUnusable, match=r"swap\.lock: Is a directory. Nothing was changed"), swapping(live):
        pass
    live.swap_lock_file.rmdir()


def test_a_lock_that_is_held_is_waited_for_five_seconds(
    live: Store, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert snapshot.swap._PATIENCE_SECONDS == 5.0
    monkeypatch.setattr(snapshot.swap, "_PATIENCE_SECONDS", 0.3)
    before = live.read_current_bytes()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with swapping(live):
        began = time.monotonic()
        with pytest.raises(StoreLocked, match=r"another change has held it for 0\.3 seconds") as refused:
            suppress(live, rng)
        assert 0.3 <= time.monotonic() - began < 3
    assert refused.value.reason == "store_locked"
    assert live.read_current_bytes() == before
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert suppress(live, rng).generation == 2


def test_a_lock_is_free_again_whatever_its_holder_did(live: Store, rng: random.Random) -> None:
    with pytest.raises(ZeroDivisionError), swapping(live):
        raise ZeroDivisionError
    assert suppress(live, rng).generation == 2


def test_one_change_waits_for_the_other(live: Store, rng: random.Random) -> None:
    holds, done = threading.Event(), []

    def hold() -> None:
        with swapping(live) as swap:
            holds.set()
            time.sleep(0.3)
            overlay = swap.overlay.with_suppressions([a_suppression(random.Random(1))])
            done.append(swap.commit("suppress", swap.live_snapshot(), overlay, by="first").generation)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(5)
    done.append(suppress(live, rng).generation)
    thread.join()
    assert done == [2, 3]
    assert len(overlay_in_force(live).suppressions) == 2


HOLD = """
import sys
from pathlib import Path
from snapshot.store import Store
from snapshot.swap import swapping
with swapping(Store(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_holder_frees_the_lock(live: Store, rng: random.Random) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(live.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(BlockingIOError), live.swap_lock_file.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            holder.kill()
            holder.wait()
    began = time.monotonic()
    assert suppress(live, rng).generation == 2
    assert time.monotonic() - began < 4


MANY = """
import random, sys
from datetime import UTC, datetime
from pathlib import Path
from snapshot.overlay import Suppression
from snapshot.store import Store
from snapshot.swap import swapping
store, name = Store(Path(sys.argv[1])), sys.argv[2]
rng = random.Random(name)
for _ in range(25):
    with swapping(store) as swap:
        one = Suppression(
            algorithm="md5", digest=rng.randbytes(16).hex(), by=name, at=datetime.now(UTC), reason="x"
        )
        swap.commit("suppress", swap.live_snapshot(), swap.overlay.with_suppressions([one]), by=name)
"""


def test_two_processes_at_once_both_happen_one_after_the_other(live: Store) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", MANY, str(live.path), name]) for name in ("one", "other")]
    assert [process.wait(60) for process in processes] == [0, 0]
    expected = {random_digest for name in ("one", "other") for random_digest in digests_of(name)}
    assert {each.digest for each in overlay_in_force(live).suppressions} == expected
    history = live.history()
    assert [entry.generation for entry in history] == list(range(51, 0, -1))
    assert [entry.overlay_version for entry in history] == list(range(50, -1, -1))
    assert {entry.by for entry in history} == {"one", "other", "tests"}


def digests_of(name: str) -> list[str]:
    rng = random.Random(name)
    return [rng.randbytes(16).hex() for _ in range(25)]


def test_a_commit_without_a_history_directory_names_it(damageable: Store, rng: random.Random) -> None:
    for path in damageable.history_dir.iterdir():
        path.unlink()
    damageable.history_dir.rmdir()
    before = damageable.read_current_bytes()
    with pytest.raises(StoreUnusable, match="history"):
        suppress(damageable, rng)
    assert damageable.read_current_bytes() == before


def test_facts_are_those_of_the_live_entry(live: Store) -> None:
    with swapping(live) as swap:
        facts: SnapshotFacts = swap.live_snapshot()
    entry = live.history()[0]
    assert facts == SnapshotFacts(
        entry.snapshot_id, entry.manifest_sha256, entry.entries, entry.lists, entry.retained
    )  # fmt: skip
