"""The gate: what would lose a list, hold nothing, or not be found again does not go live."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from loader import gate
from loader.build import BuildRequest, BuildResult, ListInput, build
from loader.errors import EmptyResult, LiveListMissing
from snapshot.algorithms import MD5, SHA256
from snapshot.bloom import HEADER_BYTES
from snapshot.errors import EntriesDamaged, FilterDamaged, WrongSize
from snapshot.labels import Label, Tier
from snapshot.manifest import Manifest
from snapshot.reader import Table
from snapshot.store import Store
from snapshot.writer import SnapshotWriter


@pytest.fixture
def breakable(tmp_path: Path) -> Store:
    """A store that need not be whole afterwards."""
    return Store(tmp_path / "breakable")


@pytest.fixture
def compile_lists(tmp_path: Path, rng: random.Random):
    """Compile lists of these ids, one digest each unless said otherwise."""

    def compile_lists(
        store: Store, *list_ids: str, empty: tuple[str, ...] = (), drop: tuple[str, ...] = ()
    ) -> BuildResult:
        lists = []
        for list_id in list_ids:
            path = tmp_path / f"{list_id}.txt"
            if not path.exists():
                path.write_text("" if list_id in empty else f"{rng.randbytes(32).hex()}\n")
            lists.append(ListInput(list_id, Tier.ILLEGAL, [str(path)]))
        return build(BuildRequest(store.path, lists, by="tests", drop_lists=drop))

    return compile_lists


def test_a_new_store_has_nothing_to_lose(store: Store) -> None:
    assert gate.refuse_lost_lists(store, ["a"], []) == []


def test_lists_that_stay_or_come_do_not_vanish(store: Store, compile_lists) -> None:
    compile_lists(store, "a", "b")
    assert gate.refuse_lost_lists(store, ["b", "a"], []) == []
    assert gate.refuse_lost_lists(store, ["c", "b", "a"], ["x"]) == []


def test_a_list_that_would_vanish_is_refused_with_the_flags_that_allow_it(store: Store, compile_lists) -> None:
    compile_lists(store, "a", "b", "c")
    with pytest.raises(LiveListMissing, match=r"not in this compile: b, c.*--drop-list b --drop-list c") as caught:
        gate.refuse_lost_lists(store, ["a"], [])
    assert caught.value.reason == "live_list_missing"
    with pytest.raises(LiveListMissing, match=r"not in this compile: c\."):
        gate.refuse_lost_lists(store, ["a"], ["b"])
    assert gate.refuse_lost_lists(store, ["a"], ["c", "b", "unheard-of"]) == ["b", "c"]


def test_a_list_without_a_digest_vanishes_too(store: Store, compile_lists) -> None:
    compile_lists(store, "a", "b", empty=("b",))
    with pytest.raises(LiveListMissing, match="not in this compile: b"):
        gate.refuse_lost_lists(store, ["a"], [])


def test_an_empty_list_that_was_dropped_is_not_asked_for_again(store: Store, compile_lists) -> None:
    """Without it the entries are the same, and so is the snapshot, whose manifest goes on naming the list."""
    first = compile_lists(store, "a", "b", empty=("b",)).published
    second = compile_lists(store, "a", drop=("b",)).published
    assert second.already_there
    assert first.manifest == second.manifest
    assert gate.refuse_lost_lists(store, ["a"], []) == []


def test_after_a_rollback_the_lists_are_those_of_the_older_snapshot(store: Store, compile_lists) -> None:
    from snapshot.publish import Publisher

    compile_lists(store, "a")
    compile_lists(store, "a", "b")
    with Publisher(store) as publisher:
        publisher.rollback(None, by="tests")
    assert gate.refuse_lost_lists(store, ["a"], []) == []


def test_with_a_damaged_current_nobody_can_tell(breakable: Store, compile_lists) -> None:
    compile_lists(breakable, "a")
    breakable.current_file.write_bytes(b"damaged")
    with pytest.raises(LiveListMissing, match=r"cannot be read, so nobody can tell.*Roll back first"):
        gate.refuse_lost_lists(breakable, ["a"], [])


@pytest.mark.parametrize("lost", ["snapshot", "history", "both"])
def test_history_or_manifest_will_do(lost: str, breakable: Store, compile_lists) -> None:
    compile_lists(breakable, "a", "b")
    if lost != "history":
        shutil.rmtree(breakable.live_dir(breakable.current()))
    if lost != "snapshot":
        breakable.history_file(1).unlink()
    with pytest.raises(LiveListMissing, match="nobody can tell" if lost == "both" else "not in this compile: b"):
        gate.refuse_lost_lists(breakable, ["a"], [])


def test_a_lost_live_snapshot_can_be_compiled_again(store: Store, compile_lists) -> None:
    published = compile_lists(store, "a").published
    shutil.rmtree(store.live_dir(store.current()))
    assert compile_lists(store, "a").published.manifest.snapshot_id == published.manifest.snapshot_id


def test_nothing_is_refused_unless_it_is_wanted() -> None:
    files = [f"{name}.txt" for name in "abcdefg"]
    with pytest.raises(EmptyResult, match=r"a\.txt, .*e\.txt and 2 more: not a single digest.*--allow-empty"):
        gate.refuse_empty(0, files, allow_empty=False)
    gate.refuse_empty(0, files, allow_empty=True)
    gate.refuse_empty(1, files, allow_empty=False)


def write(directory: Path, rng: random.Random, *, labels: bool = True) -> Manifest:
    with SnapshotWriter(directory, false_positive_rate=0.001, label_set_id_bytes=2) as writer:
        if labels:
            writer.add_shared_label_set((Label("synthetic", "default", Tier.OTHER, None),))
        for algorithm in (MD5, SHA256):
            writer.begin(algorithm)
            records = b"".join(sorted(rng.randbytes(algorithm.digest_bytes) for _ in range(5000)))
            table = np.frombuffer(records, np.uint8).reshape(5000, -1)
            writer.append(np.concatenate([table, np.zeros((5000, 2), np.uint8)], axis=1))
        return writer.finish(classes=[], lists=[], merged=0)


def test_a_sound_snapshot_passes(tmp_path: Path, rng: random.Random) -> None:
    gate.check_new_snapshot(tmp_path / "s", write(tmp_path / "s", rng))


def test_a_filter_that_denies_entries_does_not_pass(tmp_path: Path, rng: random.Random, monkeypatch) -> None:
    """One slice of ten has lost half of its bits: the canary alone would miss it every other time."""
    manifest = write(tmp_path / "s", rng)
    path = tmp_path / "s" / "sha256.bloom"
    content = bytearray(path.read_bytes())
    bits = manifest.algorithms["sha256"].filter_bits_per_slice
    content[HEADER_BYTES : HEADER_BYTES + bits // 16] = bytes(bits // 16)
    path.write_bytes(content)
    monkeypatch.setattr("snapshot.reader.Snapshot.check_canary", lambda snapshot: None)
    with pytest.raises(FilterDamaged, match=r"sha256\.bloom: denies entries"):
        gate.check_new_snapshot(tmp_path / "s", manifest)


def test_entries_without_labels_do_not_pass(tmp_path: Path, rng: random.Random) -> None:
    manifest = write(tmp_path / "s", rng, labels=False)
    with pytest.raises(EntriesDamaged, match="no label set 0"):
        gate.check_new_snapshot(tmp_path / "s", manifest)


def test_entries_that_are_not_found_do_not_pass(tmp_path: Path, rng: random.Random, monkeypatch) -> None:
    manifest = write(tmp_path / "s", rng)
    first = iter([0, 0])  # the two canaries
    monkeypatch.setattr(Table, "find", lambda table, digest: next(first, None))
    with pytest.raises(EntriesDamaged, match="an entry of md5 is not found"):
        gate.check_new_snapshot(tmp_path / "s", manifest)


def test_a_file_that_shrank_does_not_pass(tmp_path: Path, rng: random.Random) -> None:
    manifest = write(tmp_path / "s", rng)
    path = tmp_path / "s" / "entries.lmdb"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WrongSize):
        gate.check_new_snapshot(tmp_path / "s", manifest)
