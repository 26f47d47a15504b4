"""The store from a reader's side: CURRENT, and the chain of what was live."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from snapshot.errors import CurrentDamaged, HistoryDamaged, NoStore, SnapshotMissing, StoreUnusable
from snapshot.manifest import ListFacts
from snapshot.store import Current, HistoryEntry, Store, parse_current


@pytest.fixture
def made(tmp_path: Path) -> Store:
    """A store whose files each test writes itself."""
    store = Store(tmp_path / "made")
    store.history_dir.mkdir(parents=True)
    return store


@pytest.fixture
def entry(rng: random.Random) -> Callable[[int, int], HistoryEntry]:
    def make(generation: int, previous: int) -> HistoryEntry:
        facts = ListFacts(list_id="synthetic", files=1, lines=9, digests=9, refused=0)
        return HistoryEntry(
            generation=generation, previous=previous, action="compile", at=datetime.now(UTC), by="tests",
            snapshot_id=rng.randbytes(32).hex(), manifest_sha256=rng.randbytes(32).hex(), entries=9, lists=[facts],
            dropped_lists=["gone"], retained=[],
        )  # fmt: skip

    return make


def write(store: Store, *entries: HistoryEntry) -> Current:
    """Write history entries, and make the last of them live."""
    for entry in entries:
        store.history_file(entry.generation).write_bytes(entry.encode())
    last = entries[-1]
    current = Current(
        generation=last.generation, snapshot_id=last.snapshot_id, manifest_sha256=last.manifest_sha256,
        issued_at=last.at, by=last.by,
    )  # fmt: skip
    store.current_file.write_bytes(current.encode())
    return current


def test_current_is_one_line_and_comes_back(made: Store, entry) -> None:
    written = write(made, entry(7, 0))
    assert made.read_current_bytes().count(b"\n") == 1
    assert made.read_current_bytes().endswith(b"\n")
    assert made.current() == written
    assert orjson.loads(made.read_current_bytes()).keys() == {
        "generation", "snapshot_id", "manifest_sha256", "overlay_version", "overlay_sha256", "issued_at", "by",
        "history_sha256", "signature", "key_id",
    }  # fmt: skip


def test_a_store_that_is_not_there_and_one_without_current_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NoStore, match="is not there"):
        Store(tmp_path / "nowhere").current()
    with pytest.raises(NoStore, match="has no CURRENT"):
        Store(tmp_path).current()
    (tmp_path / "file").touch()
    with pytest.raises(NoStore, match="is not there"):
        Store(tmp_path / "file").current()


def test_a_current_that_cannot_be_read_is_named(made: Store) -> None:
    made.current_file.mkdir()
    with pytest.raises(StoreUnusable, match="CURRENT"):
        made.current()


@pytest.mark.parametrize(
    "change",
    [
        {"generation": 0}, {"generation": "7"}, {"generation": 7.5}, {"snapshot_id": "0" * 63}, {"snapshot_id": None},
        {"manifest_sha256": "G" * 64}, {"overlay_version": -1}, {"overlay_sha256": "0" * 63}, {"issued_at": "soon"},
        {"by": None}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_field_in_current_is_named(change: dict[str, object], made: Store, entry) -> None:
    loaded = orjson.loads(write(made, entry(7, 0)).encode())
    with pytest.raises(CurrentDamaged, match=f"CURRENT: is damaged .field {next(iter(change))}"):
        parse_current(orjson.dumps(loaded | change), made.current_file)


@pytest.mark.parametrize("change", [{"overlay_version": 1}, {"overlay_sha256": "0" * 64}], ids=str)
def test_an_overlay_is_named_whole_or_not_at_all(change: dict[str, object], made: Store, entry) -> None:
    loaded = orjson.loads(write(made, entry(7, 0)).encode())
    with pytest.raises(CurrentDamaged, match="overlay_version and overlay_sha256 do not go together"):
        parse_current(orjson.dumps(loaded | change), made.current_file)


#: What a store without overlay and signature, or of an older format, need not name.
OPTIONAL = {"overlay_version", "overlay_sha256", "history_sha256", "signature", "key_id"}


@pytest.mark.parametrize("field", sorted(set(Current.model_fields) - OPTIONAL))
def test_a_missing_field_in_current_is_named(field: str, made: Store, entry) -> None:
    loaded = orjson.loads(write(made, entry(7, 0)).encode())
    del loaded[field]
    with pytest.raises(CurrentDamaged, match=f"field {field}"):
        parse_current(orjson.dumps(loaded), made.current_file)


@pytest.mark.parametrize("raw", [b"", b"\n", b"{", b"[]", b"null", b"\0" * 300, b"\xff"])
def test_a_current_that_is_no_line_of_ours_is_damaged(raw: bytes, made: Store) -> None:
    made.current_file.write_bytes(raw)
    with pytest.raises(CurrentDamaged):
        made.current()


def test_the_live_directory_must_be_there(made: Store, entry) -> None:
    current = write(made, entry(1, 0))
    with pytest.raises(SnapshotMissing, match=current.snapshot_id):
        made.live_dir(current)
    made.snapshot_dir(current.snapshot_id).mkdir(parents=True)
    assert made.live_dir(current) == made.snapshots / current.snapshot_id


def test_history_is_the_chain_newest_first_without_void_entries(made: Store, entry) -> None:
    first, void, second, third = entry(1, 0), entry(2, 1), entry(3, 1), entry(4, 3)
    write(made, first, void, second, third)
    assert made.history() == [third, second, first]
    assert made.generations() == [1, 2, 3, 4]


def test_a_void_entry_above_current_is_passed_over(made: Store, entry) -> None:
    first, void = entry(1, 0), entry(2, 1)
    write(made, void, first)
    assert made.history() == [first]
    assert made.generations() == [1, 2]


@pytest.mark.parametrize("previous", [4, 5, 9])
def test_a_chain_that_does_not_lead_down_is_damaged(previous: int, made: Store, entry) -> None:
    write(made, entry(9, 4), entry(4, previous))
    with pytest.raises(HistoryDamaged, match=r"4\.json: previous is not lower"):
        made.history()


def test_a_missing_link_is_named(made: Store, entry) -> None:
    write(made, entry(1, 0), entry(2, 1), entry(3, 2))
    made.history_file(2).unlink()
    with pytest.raises(HistoryDamaged, match=r"2\.json: is missing"):
        made.history()


def test_an_entry_under_another_s_name_is_damaged(made: Store, entry) -> None:
    write(made, entry(1, 0), entry(2, 1))
    made.history_file(2).write_bytes(made.history_file(1).read_bytes())
    with pytest.raises(HistoryDamaged, match="speaks of generation 1"):
        made.history()


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff", b"{"])
def test_a_broken_entry_is_named(raw: bytes, made: Store, entry) -> None:
    write(made, entry(1, 0))
    made.history_file(1).write_bytes(raw)
    with pytest.raises(HistoryDamaged, match=r"1\.json"):
        made.history()


def test_generations_are_numbers_and_nothing_else(made: Store, entry) -> None:
    write(made, entry(10, 0), entry(9, 0), entry(2, 0))
    for name in ("x.json", "3", "٣.json", "-1.json", ".json", "4.json~", "5.JSON"):
        (made.history_dir / name).touch()
    assert made.generations() == [2, 9, 10]
    assert Store(made.path / "nowhere").generations() == []
