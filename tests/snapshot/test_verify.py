"""Verifying a store: each damage is named with its file, leftovers are none, and nothing but NoStore is raised."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import orjson
import pytest

from snapshot.algorithms import MD5, PHOTODNA
from snapshot.errors import NoStore
from snapshot.store import Store
from snapshot.verify import verify_store


@pytest.fixture
def three(tmp_path: Path, publish, some_entries) -> Store:
    """A store with three generations, each with a snapshot of its own, and made for being damaged."""
    store = Store(tmp_path / "three")
    for _ in range(3):
        publish(store, some_entries(300, MD5, PHOTODNA))
    return store


def found(store: Store) -> list[tuple[str, str]]:
    """Each damage's reason, and the beginning of its message."""
    return [(error.reason, str(error).removeprefix(str(store.path) + "/")) for error in verify_store(store).damage]


def only(store: Store, reason: str, about: Path) -> None:
    """Require just one damage, of that reason, that begins with that path."""
    ((found_reason, message),) = found(store)
    assert (found_reason, message.partition(":")[0]) == (reason, str(about.relative_to(store.path)))


def ids(store: Store) -> list[str]:
    """The snapshots, newest first."""
    return [entry.snapshot_id for entry in store.history()]


def files(store: Store) -> list[Path]:
    return sorted(path for path in store.snapshots.rglob("*") if path.is_file())


def test_a_whole_store_is_whole(three: Store) -> None:
    told: list[int] = []
    report = verify_store(three, on_bytes=told.append)
    assert (report.whole, report.damage, report.leftovers) == (True, [], [])
    assert report.verified == sorted(ids(three))
    assert (report.generation, report.snapshot_id) == (3, ids(three)[0])
    everything = sum(path.stat().st_size for path in files(three) if path.name != "manifest.json")
    assert report.bytes_read == sum(told) == everything


def test_no_store_is_the_only_thing_raised(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NoStore):
            verify_store(Store(path))


def test_a_flipped_bit_anywhere_is_named(three: Store, rng: random.Random) -> None:
    assert len(files(three)) == 12
    for path in files(three):
        content = path.read_bytes()
        reason = "manifest_damaged" if path.name == "manifest.json" else "checksum_mismatch"
        for at in (0, len(content) // 2, len(content) - 1, rng.randrange(len(content))):
            changed = bytearray(content)
            changed[at] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
            only(three, reason, path)
        path.write_bytes(content)
    assert found(three) == []


@pytest.mark.parametrize("change", ["cut by a byte", "cut to nothing", "grown by a byte", "grown by a page"])
def test_another_length_is_named(change: str, three: Store) -> None:
    for path in files(three):
        content = path.read_bytes()
        changed = {"cut by a byte": content[:-1], "cut to nothing": b""}.get(change, content + b"\0")
        path.write_bytes(changed + bytes(4095) if change == "grown by a page" else changed)
        only(three, "manifest_damaged" if path.name == "manifest.json" else "wrong_size", path)
        path.write_bytes(content)
    assert found(three) == []


def test_a_missing_file_is_named(three: Store) -> None:
    for path in files(three):
        aside = path.rename(three.path / "aside")
        only(three, "missing_file", path)
        aside.rename(path)


def test_a_missing_directory_is_named(three: Store) -> None:
    for name in ids(three):
        aside = three.snapshot_dir(name).rename(three.path / "aside")
        only(three, "snapshot_missing", three.snapshot_dir(name))
        aside.rename(three.snapshot_dir(name))


def test_no_snapshots_at_all_are_all_named(three: Store) -> None:
    shutil.rmtree(three.snapshots)
    assert [reason for reason, _ in found(three)] == ["snapshot_missing"] * 3


def test_a_renamed_directory_is_missing_and_a_leftover(three: Store) -> None:
    name = ids(three)[1]
    three.snapshot_dir(name).rename(three.snapshot_dir("0" * 64))
    only(three, "snapshot_missing", three.snapshot_dir(name))
    assert verify_store(three).leftovers == [f"snapshots/{'0' * 64}"]


@pytest.mark.parametrize("name", ["manifest.json", "entries.lmdb", "md5.bloom", "photodna.bloom"])
def test_files_of_equal_size_swapped_between_snapshots_are_named(name: str, three: Store) -> None:
    one, other = (three.snapshot_dir(i) / name for i in ids(three)[:2])
    assert one.stat().st_size == other.stat().st_size
    aside = one.rename(three.path / "aside")
    other.rename(one)
    aside.rename(other)
    reason = "manifest_damaged" if name == "manifest.json" else "checksum_mismatch"
    assert [r for r, _ in found(three)] == [reason] * 2


def test_directories_swapped_as_a_whole_are_named(three: Store) -> None:
    one, other = (three.snapshot_dir(i) for i in ids(three)[:2])
    aside = one.rename(three.path / "aside")
    other.rename(one)
    aside.rename(other)
    assert [reason for reason, _ in found(three)] == ["manifest_damaged"] * 2


@pytest.mark.parametrize(
    ("where", "kind"),
    [("live", "file"), ("live", "directory"), ("older", "file"), ("older", "directory"), ("snapshots", "file")],
)
def test_what_does_not_belong_is_named(where: str, kind: str, three: Store) -> None:
    place = three.snapshots if where == "snapshots" else three.snapshot_dir(ids(three)[0 if where == "live" else 2])
    path = place / "sha1.bloom"
    path.mkdir() if kind == "directory" else path.touch()
    only(three, "unexpected_file", path)


def test_each_of_several_damages_is_named(three: Store) -> None:
    live, before, oldest = (three.snapshot_dir(i) for i in ids(three))
    (live / "md5.bloom").unlink()
    (before / "entries.lmdb").write_bytes(b"")
    shutil.rmtree(oldest)
    assert {reason for reason, _ in found(three)} == {"missing_file", "wrong_size", "snapshot_missing"}
    assert len(found(three)) == 3


def test_leftovers_of_killed_compiles_are_no_damage(three: Store, written, some_entries) -> None:
    (three.tmp / "4711-abcdef" / "snapshot").mkdir(parents=True)
    stranger = written(some_entries(5, MD5))
    stranger.directory.rename(three.snapshot_dir(stranger.directory.name))
    (three.snapshots / "half").mkdir()
    report = verify_store(three)
    assert report.whole
    assert sorted(report.leftovers) == sorted(
        ["snapshots/half", f"snapshots/{stranger.directory.name}", "tmp/4711-abcdef"]
    )


def test_a_snapshot_that_was_being_removed_is_a_leftover(three: Store, publish, some_entries) -> None:
    """A compile was killed half way through what it no longer retains."""
    oldest = ids(three)[2]
    content = [(path.name, path.read_bytes()) for path in three.snapshot_dir(oldest).iterdir()]
    publish(three, some_entries(5, MD5))
    three.snapshot_dir(oldest).mkdir()
    for name, raw in content[1:]:
        (three.snapshot_dir(oldest) / name).write_bytes(raw)
    report = verify_store(three)
    assert report.damage == []
    assert report.leftovers == [f"snapshots/{oldest}"]


def test_a_snapshot_that_came_back_and_never_went_live_is_a_leftover(three: Store, publish, some_entries) -> None:
    """It was live long ago; a compile of the same content was killed before it wrote history."""
    oldest = ids(three)[2]
    for _ in range(2):
        publish(three, some_entries(5, MD5))
    three.snapshot_dir(oldest).mkdir()
    (three.snapshot_dir(oldest) / "manifest.json").write_bytes(b"of the same id, and of another time")
    report = verify_store(three)
    assert report.damage == []
    assert report.leftovers == [f"snapshots/{oldest}"]


def test_a_void_history_entry_is_no_damage(three: Store) -> None:
    """A compile was killed between its history entry and the swap of CURRENT."""
    entry = three.history()[0].model_copy(update={"generation": 4, "previous": 3, "retained": ["0" * 64]})
    three.history_file(4).write_bytes(entry.encode())
    assert found(three) == []


@pytest.mark.parametrize("raw", [b"", b"{}", b"\0" * 400, b"{"])
def test_a_damaged_current_is_named_and_the_snapshots_are_still_checked(raw: bytes, three: Store) -> None:
    three.current_file.write_bytes(raw)
    only(three, "current_damaged", three.current_file)
    assert len(verify_store(three).verified) == 3
    path = three.snapshot_dir(Store(three.path).history_entry(2).snapshot_id) / "md5.bloom"
    path.write_bytes(b"")
    assert sorted(reason for reason, _ in found(three)) == ["current_damaged", "wrong_size"]


@pytest.mark.parametrize("field", ["snapshot_id", "manifest_sha256", "issued_at", "by"])
def test_a_current_that_contradicts_the_history_is_named(field: str, three: Store) -> None:
    current = three.current()
    older = three.history()[1]
    value = {"snapshot_id": older.snapshot_id, "manifest_sha256": older.manifest_sha256, "by": "somebody else"}.get(
        field
    )
    changed = orjson.loads(current.encode()) | {field: value or "2001-01-01T00:00:00Z"}
    three.current_file.write_bytes(orjson.dumps(changed))
    assert ("current_damaged", f"CURRENT: contradicts {three.history_file(3)}") in found(three)


def test_a_current_that_names_a_missing_snapshot_is_named(three: Store) -> None:
    changed = orjson.loads(three.read_current_bytes()) | {"snapshot_id": "f" * 64}
    three.current_file.write_bytes(orjson.dumps(changed))
    assert sorted(reason for reason, _ in found(three)) == ["current_damaged", "snapshot_missing"]


def test_a_current_with_a_generation_that_history_lacks_is_named(three: Store) -> None:
    changed = orjson.loads(three.read_current_bytes()) | {"generation": 9}
    three.current_file.write_bytes(orjson.dumps(changed))
    only(three, "history_damaged", three.history_file(9))


@pytest.mark.parametrize("generation", [1, 2, 3])
@pytest.mark.parametrize("damage", ["missing", "empty", "another's", "directory"])
def test_a_damaged_history_is_named_and_the_snapshots_are_still_checked(
    generation: int, damage: str, three: Store
) -> None:
    path = three.history_file(generation)
    path.unlink()
    if damage == "directory":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(b"" if damage == "empty" else three.history_file(generation % 3 + 1).read_bytes())
    ((reason, message),) = found(three)
    assert message.startswith(f"history/{generation}.json")
    assert reason == ("store_unusable" if damage == "directory" else "history_damaged")
    # Every snapshot that any readable entry, or CURRENT, vouches for.
    assert len(verify_store(three).verified) >= 2


def test_a_history_that_is_no_directory_is_named(three: Store) -> None:
    shutil.rmtree(three.history_dir)
    three.history_dir.touch()
    assert [reason for reason, _ in found(three)] == ["store_unusable"]
    assert verify_store(three).verified == [three.current().snapshot_id]


@pytest.mark.parametrize("name", ["manifest.json", "entries.lmdb", "md5.bloom"])
def test_a_directory_in_place_of_a_file_is_named(name: str, three: Store) -> None:
    path = three.snapshot_dir(ids(three)[0]) / name
    path.unlink()
    path.mkdir()
    ((reason, message),) = found(three)
    assert reason in {"store_unusable", "wrong_size"}
    assert message.startswith(str(path.relative_to(three.path)))
