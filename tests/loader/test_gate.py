"""The gate: what would lose a list, hold nothing, or not be found again does not go live."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from loader import corrections, gate
from loader.build import BuildRequest, BuildResult, ListInput, build
from loader.errors import EmptyResult, ListUnreadable, LiveListMissing
from snapshot.algorithms import MD5, SHA256
from snapshot.bloom import HEADER_BYTES
from snapshot.errors import EntriesDamaged, FilterDamaged, SignatureMissing, WrongSize
from snapshot.labels import Label, LabelClass, Tier
from snapshot.manifest import Manifest
from snapshot.overlay import Overlay
from snapshot.reader import Table
from snapshot.signing import SigningKey, new_key
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


# ---- the overlay that a snapshot goes live with ---------------------------------------------------------------------


def table(tmp_path: Path, **categories: Iterable[int]) -> str:
    """Write a list of digests by category."""
    path = tmp_path / "table.csv"
    rows = [f"{digest_of(n).hex()},{name}" for name, numbers in categories.items() for n in numbers]
    path.write_text("\n".join(["md5,category", *rows, ""]))
    return str(path)


def digest_of(number: int) -> bytes:
    return hashlib.md5(b"%d" % number, usedforsecurity=False).digest()


def compiled(
    store: Store, path: str, tier: Tier = Tier.ILLEGAL, *, good: str | None = None, approve: bool = False
) -> BuildResult:
    lists = [ListInput("police", tier, [path])]
    if good is not None:
        lists.append(ListInput("cms", Tier.UNKNOWN, [good], known_good=True))
    return build(
        BuildRequest(store.path, lists, by="tests", accept_diff="a test", drop_lists=["cms"],
                     approve_lists=["police"] if approve else [])
    )  # fmt: skip


def overlay(store: Store) -> Overlay:
    current = store.current()
    return store.overlay(current.overlay_version, current.overlay_sha256)


BY = corrections.By("olga", "mail of 3 November")


def test_an_approval_goes_with_its_class_and_does_not_come_back_with_it(store: Store, tmp_path: Path) -> None:
    compiled(store, table(tmp_path, a=range(5), b=range(5, 9)))
    corrections.approve(store, "police", None, BY)
    corrections.add(store, [(MD5, digest_of(50))], "police", "b", BY)
    result = compiled(store, table(tmp_path, a=range(5)))
    note = (
        "the approval of police / b / illegal is revoked, since the category is not in this snapshot; additions to it "
        "that are no match by that: 1"
    )
    assert list(result.overlay_notes) == [note]
    assert store.history()[0].details[-1] == note
    result = compiled(store, table(tmp_path, a=range(5), b=range(60, 70)))
    assert overlay(store).approved == {LabelClass("police", "a", Tier.ILLEGAL)}
    assert result.overlay_notes == []


def test_another_tier_is_told_too(store: Store, tmp_path: Path) -> None:
    compiled(store, table(tmp_path, a=range(5)), approve=True)
    result = compiled(store, table(tmp_path, a=range(5)), Tier.OTHER)
    assert list(result.overlay_notes) == [
        "the approval of police / a / illegal is revoked, since the category has the tier other now"
    ]


def test_additions_that_are_known_good_or_listed_by_now_are_told(store: Store, tmp_path: Path) -> None:
    compiled(store, table(tmp_path, a=range(5)), approve=True)
    corrections.add(store, [(MD5, digest_of(50))], "police", "a", BY, "case 9")
    corrections.add(store, [(MD5, digest_of(n)) for n in (51, 52)], "police", "a", BY)
    good = tmp_path / "good"
    good.write_text(f"{digest_of(50).hex()}\n")
    result = compiled(store, table(tmp_path, a=range(5), b=range(51, 52)), good=str(good))
    taken_back = "the addition of md5 to police / a / case 9 was taken back: the digest is known good now"
    assert list(result.overlay_notes) == [taken_back]
    result = compiled(store, table(tmp_path, a=[*range(5), 51]))
    assert list(result.overlay_notes) == [
        "the addition of md5 to police / a is on that list too now; `hashwacht remove` takes it back"
    ]
    assert {each.raw() for each in overlay(store).additions} == {digest_of(51), digest_of(52)}
    assert not any(digest_of(n).hex() in str(entry.details) for entry in store.history() for n in range(60))


def test_what_was_revoked_by_name_is_not_on_again_by_the_short_form(store: Store, tmp_path: Path) -> None:
    path = table(tmp_path, a=range(5), b=range(5, 9))
    compiled(store, path, approve=True)
    corrections.revoke(store, "police", "b", BY)
    for _ in range(2):
        result = compiled(store, path, approve=True)
        why = "olga revoked it (mail of 3 November); `hashwacht approve` switches it on again"
        assert list(result.overlay_notes) == [f"police / b / illegal stays off: {why}"]
        assert overlay(store).approved == {LabelClass("police", "a", Tier.ILLEGAL)}
    corrections.approve(store, "police", "b", BY)
    assert compiled(store, path, approve=True).overlay_notes == []
    corrections.revoke(store, "police", "b", BY)
    corrections.approve(store, "police", "b", BY)
    compiled(store, table(tmp_path, a=range(5)))  # the class is gone for a while: nobody revoked it by name
    assert compiled(store, table(tmp_path, a=range(5), b=range(5, 9)), approve=True).overlay_notes == []
    assert len(overlay(store).approved) == 2


def test_with_a_broken_history_what_is_off_stays_off(breakable: Store, tmp_path: Path) -> None:
    path = table(tmp_path, a=range(5))
    compiled(breakable, path, approve=True)
    corrections.revoke(breakable, "police", "a", BY)
    compiled(breakable, path)
    breakable.history_file(2).unlink()
    (note,) = compiled(breakable, path, approve=True).overlay_notes
    assert note.startswith("police / a / illegal stays off: whether somebody revoked it cannot be told")
    assert overlay(breakable).approved == frozenset()


def test_a_signed_store_refuses_a_compile_without_a_key_before_it_reads(store: Store, tmp_path: Path) -> None:
    path = table(tmp_path, a=range(5))
    lists = [ListInput("police", Tier.ILLEGAL, [path])]
    new_key(tmp_path / "key")
    build(BuildRequest(store.path, lists, by="tests"), signing_key=SigningKey.load(tmp_path / "key"))
    Path(path).unlink()
    with pytest.raises(SignatureMissing, match=r"give --signing-key\. Nothing was changed"):
        build(BuildRequest(store.path, lists, by="tests"))
    with pytest.raises(ListUnreadable):  # a check publishes nothing, and needs no key
        build(BuildRequest(store.path, lists, by="tests", check_only=True))
