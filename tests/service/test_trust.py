"""What a worker with trusted keys takes over: what is signed and not older than anything it took over before."""

from __future__ import annotations

import asyncio
import errno
import json
import multiprocessing
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

import service.trust
import service.watch
from service.live import Live
from service.trust import Trust
from service.verified import VerifiedNotes
from service.watch import Watch
from snapshot.errors import (
    GenerationWentBack,
    KeyUnusable,
    SignatureMissing,
    SignatureWrong,
    StoreError,
    StoreFull,
    StoreUnusable,
)
from snapshot.overlay import EMPTY
from snapshot.seal import NO_SEAL_KEYS
from snapshot.signing import SigningKey, new_key
from snapshot.store import Current, Store
from tests.service.snapshots import MadeSnapshot, live_store, random_entries, write_current, write_snapshot


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keys")
    for name in ("one", "two"):
        new_key(directory / name)
    return directory


@pytest.fixture
def one(keys: Path) -> SigningKey:
    return SigningKey.load(keys / "one")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A path that need not be there: Trust reads no store."""
    return Store(tmp_path / "store")


@pytest.fixture
def said() -> Iterator[list[Any]]:
    """The lines that were logged."""
    with structlog.testing.capture_logs() as entries:
        yield entries


def events(said: list[Any]) -> str:
    return "\n".join(entry["event"] for entry in said)


def trust(store: Store, keys: Path, state: Path | None, name: str = "one") -> Trust:
    return Trust(store, keys / f"{name}.pub", state)


def note_file(state: Path) -> Path:
    """Give the one file of the highest generation."""
    (found,) = (state / "generations").glob("*.json")
    return found


def highest(state: Path) -> int:
    generation: int = json.loads(note_file(state).read_bytes())["generation"]
    return generation


@pytest.fixture
def signed(made: MadeSnapshot, one: SigningKey) -> dict[int, Current]:
    return {generation: one.sign(made.current(generation)) for generation in range(1, 10)}


# The signature


def test_without_keys_everything_is_taken_and_nothing_is_noted(
    store: Store, signed: dict[int, Current], tmp_path: Path, made: MadeSnapshot
) -> None:
    free = Trust(store, None, tmp_path / "state")
    for current in (signed[5], signed[2], made.current(1)):
        free.require(current)
        free.note(current)
    assert not (tmp_path / "state").exists()


def test_only_what_a_trusted_key_signed_is_taken(
    store: Store, keys: Path, signed: dict[int, Current], tmp_path: Path, made: MadeSnapshot
) -> None:
    demanding = trust(store, keys, tmp_path / "state")
    demanding.require(signed[1])
    with pytest.raises(SignatureMissing, match=str(store.current_file)):
        demanding.require(made.current(1))
    with pytest.raises(SignatureWrong, match=str(store.current_file)):
        trust(store, keys, tmp_path / "state", "two").require(signed[1])


def test_a_key_file_that_is_none_ends_the_start(store: Store, tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"none")
    with pytest.raises(KeyUnusable):
        Trust(store, tmp_path / "keys", tmp_path / "state")


def test_an_unsigned_generation_that_went_back_is_called_unsigned(
    store: Store, keys: Path, signed: dict[int, Current], tmp_path: Path, made: MadeSnapshot
) -> None:
    demanding = trust(store, keys, tmp_path / "state")
    demanding.note(signed[5])
    with pytest.raises(SignatureMissing):
        demanding.require(made.current(4))


# The highest generation


def test_an_older_generation_is_refused_also_after_a_restart(
    store: Store, keys: Path, signed: dict[int, Current], tmp_path: Path
) -> None:
    state = tmp_path / "state"
    before = trust(store, keys, state)
    before.require(signed[3])
    before.note(signed[3])
    for each in (before, trust(store, keys, state)):
        for generation in (3, 4, 9):
            each.require(signed[generation])
        for generation in (1, 2):
            with pytest.raises(GenerationWentBack, match=f"generation {generation} is older than 3") as refused:
                each.require(signed[generation])
            assert f"remove {note_file(state)} to accept it" in str(refused.value)
    note_file(state).unlink()
    trust(store, keys, state).require(signed[1])


def test_the_note_only_grows(store: Store, keys: Path, signed: dict[int, Current], tmp_path: Path) -> None:
    noting = trust(store, keys, tmp_path / "state")
    for generation, expected in ((2, 2), (5, 5), (3, 5), (5, 5), (6, 6), (1, 6)):
        noting.note(signed[generation])
        assert highest(tmp_path / "state") == expected


def test_each_store_has_a_note_of_its_own(
    tmp_path: Path, keys: Path, signed: dict[int, Current], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    trust(Store(tmp_path / "a"), keys, state).note(signed[5])
    trust(Store(tmp_path / "b"), keys, state).require(signed[1])
    with pytest.raises(GenerationWentBack):
        trust(Store(tmp_path / "a"), keys, state).require(signed[1])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GenerationWentBack):
        trust(Store(Path("a")), keys, state).require(signed[1])
    assert json.loads(note_file(state).read_bytes()) == {"store": str(tmp_path / "a"), "generation": 5}


def test_a_store_whose_name_is_no_text_has_a_note_too(
    tmp_path: Path, keys: Path, signed: dict[int, Current], said: list[Any]
) -> None:
    odd = Store(tmp_path / os.fsdecode(b"odd \xff"))
    trust(odd, keys, tmp_path / "state").note(signed[5])
    assert highest(tmp_path / "state") == 5
    with pytest.raises(GenerationWentBack):
        trust(odd, keys, tmp_path / "state").require(signed[4])
    assert not said


def test_the_note_is_for_this_user_alone(store: Store, keys: Path, signed: dict[int, Current], tmp_path: Path) -> None:
    trust(store, keys, tmp_path / "state").note(signed[5])
    assert (tmp_path / "state" / "generations").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("place", ["state", "state/generations"])
def test_a_state_directory_that_others_may_write_to_is_not_believed(
    store: Store, keys: Path, signed: dict[int, Current], tmp_path: Path, place: str, said: list[Any]
) -> None:
    state = tmp_path / "state"
    trust(store, keys, state).note(signed[5])
    (tmp_path / place).chmod(0o777)
    open_to_all = trust(store, keys, state)
    assert "others may write to the state directory" in events(said)
    open_to_all.require(signed[4])
    open_to_all.note(signed[6])
    assert highest(state) == 5
    with pytest.raises(SignatureMissing):
        open_to_all.require(signed[4].model_copy(update={"signature": None}))


DAMAGED_NOTES = {
    "empty": b"",
    "cut": b'{"store": "/x", "gener',
    "no JSON": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "another form": b"[5]",
    "a number": b"5",
    "null": b"null",
    "without it": b"{}",
    "text": b'{"generation": "5"}',
    "true": b'{"generation": true}',
    "a fraction": b'{"generation": 5.0}',
    "too long": b'{"generation": ' + b"9" * 400 + b"}",
}


@pytest.mark.parametrize("name", DAMAGED_NOTES)
def test_a_damaged_note_does_not_count_is_said_and_is_written_anew(
    store: Store, keys: Path, signed: dict[int, Current], tmp_path: Path, name: str, said: list[Any]
) -> None:
    state = tmp_path / "state"
    trust(store, keys, state).note(signed[5])
    note_file(state).write_bytes(DAMAGED_NOTES[name])
    demanding = trust(store, keys, state)
    demanding.require(signed[2])
    assert "the note of the highest generation is damaged and does not count" in events(said)
    with pytest.raises(SignatureMissing):
        demanding.require(signed[2].model_copy(update={"signature": None}))
    demanding.note(signed[2])
    assert highest(state) == 2
    with pytest.raises(GenerationWentBack):
        trust(store, keys, state).require(signed[1])


def test_a_directory_in_place_of_the_note_stops_nobody(
    store: Store, keys: Path, signed: dict[int, Current], tmp_path: Path, said: list[Any]
) -> None:
    state = tmp_path / "state"
    trust(store, keys, state).note(signed[5])
    note = note_file(state)
    note.unlink()
    note.mkdir()
    demanding = trust(store, keys, state)
    demanding.require(signed[2])
    assert "is damaged and does not count" in events(said)
    demanding.note(signed[2])
    assert "the highest generation cannot be kept, so a restart forgets it" in events(said)


@pytest.mark.parametrize(
    "error",
    [StoreFull("no room"), StoreUnusable("read-only"), PermissionError(errno.EACCES, "Permission denied")],
    ids=lambda error: type(error).__name__,
)
def test_a_note_that_cannot_be_written_is_said(
    store: Store, keys: Path, signed: dict[int, Current], tmp_path: Path, said: list[Any],
    error: StoreError | OSError, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fails(*_: object) -> None:
        raise error

    demanding = trust(store, keys, tmp_path / "state")
    monkeypatch.setattr(service.trust, "replace_file", fails)
    demanding.note(signed[5])
    assert "the highest generation cannot be kept, so a restart forgets it" in events(said)
    monkeypatch.undo()
    demanding.note(signed[6])
    assert highest(tmp_path / "state") == 6


def test_a_state_directory_that_vanishes_is_said(
    store: Store, keys: Path, signed: dict[int, Current], tmp_path: Path, said: list[Any]
) -> None:
    demanding = trust(store, keys, tmp_path / "state")
    shutil.rmtree(tmp_path / "state")
    demanding.note(signed[5])
    assert "the highest generation cannot be kept, so a restart forgets it" in events(said)
    demanding.require(signed[5])


def test_a_lock_that_leads_elsewhere_is_not_followed(
    store: Store, keys: Path, signed: dict[int, Current], tmp_path: Path, said: list[Any]
) -> None:
    trust(store, keys, tmp_path / "state").note(signed[5])
    lock = note_file(tmp_path / "state").with_suffix(".lock")
    lock.unlink()
    lock.symlink_to(tmp_path / "elsewhere")
    trust(store, keys, tmp_path / "state").note(signed[6])
    assert not (tmp_path / "elsewhere").exists()
    assert "the highest generation cannot be kept" in events(said)


def _note_many(store: Path, keys: Path, state: Path, currents: list[bytes], barrier: object, failed: object) -> None:
    """A worker that takes generations over one after another."""
    with structlog.testing.capture_logs() as entries:
        noting = trust(Store(store), keys, state)
        for raw in currents:
            barrier.wait()
            noting.note(Current.model_validate_json(raw))
        failed.value += len(entries)


def test_workers_that_note_at_the_same_time_lose_nothing(
    store: Store, keys: Path, one: SigningKey, made: MadeSnapshot, tmp_path: Path
) -> None:
    """Each round one of four is a generation ahead of the others, as when a change comes while they take one over."""
    context = multiprocessing.get_context("fork")
    rounds, workers = 60, 4
    barrier, failed = context.Barrier(workers), context.Value("i", 0)
    processes = []
    for worker in range(workers):
        generations = [2 * turn + (2 if turn % workers == worker else 1) for turn in range(rounds)]
        currents = [one.sign(made.current(generation)).encode() for generation in generations]
        given = (store.path, keys, tmp_path / "state", currents, barrier, failed)
        processes.append(context.Process(target=_note_many, args=given))
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * workers
    assert failed.value == 0
    assert highest(tmp_path / "state") == 2 * rounds


# The watch


@asynccontextmanager
async def watching(store: Path, keys: Path, state: Path) -> AsyncIterator[Live]:
    live = Live()
    demanding = Trust(Store(store), keys, state)
    watch = Watch(Store(store), live, VerifiedNotes(state), demanding, NO_SEAL_KEYS, asyncio.get_running_loop())
    watch.start()
    await asyncio.to_thread(watch.looked.wait, 5)
    try:
        yield live
    finally:
        watch.stop()
        await asyncio.to_thread(watch.join, 5)
        assert not watch.is_alive()
        if live.view is not None:
            live.view.snapshot.close()


async def until_refused(live: Live, reason: str) -> None:
    for _ in range(1000):
        if live.refusal is not None and live.refusal.reason == reason:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{live.refusal} and not {reason}")


async def until_taken(live: Live, generation: int) -> None:
    for _ in range(1000):
        if live.refusal is None and live.view is not None and live.view.generation == generation:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{live.refusal}")


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.watch, "POLL_SECONDS", 0.01)


@pytest.mark.usefixtures("_quick")
def test_a_generation_is_noted_once_it_is_served_and_not_before(tmp_path: Path, keys: Path, one: SigningKey) -> None:
    made = live_store(tmp_path / "store", random_entries(30, ("md5",)))
    state = tmp_path / "state"
    write_current(made.store, one.sign(made.current(3)).encode())

    async def test() -> None:
        async with watching(made.store, keys / "one.pub", state) as live:
            await until_taken(live, 3)
            assert highest(state) == 3
            # Signed and newer, but what it names is damaged: had it been noted, going back to 3 would be refused.
            damaged = one.sign(made.current(9, manifest_sha256="0" * 64))
            write_current(made.store, damaged.encode())
            await until_refused(live, "manifest_damaged")
            assert highest(state) == 3
            write_current(made.store, one.sign(made.current(4)).encode())
            await until_taken(live, 4)
        assert highest(state) == 4

    asyncio.run(test())


@pytest.mark.usefixtures("_quick")
def test_nothing_that_an_untrusted_current_names_is_opened(
    tmp_path: Path, keys: Path, one: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = live_store(tmp_path / "store", random_entries(30, ("md5",)))
    opened: list[object] = []
    for name in ("read_trusted_manifest", "open_ready"):
        monkeypatch.setattr(service.watch, name, lambda *given, name=name: opened.append(name))
    monkeypatch.setattr(Store, "overlay", lambda *given: opened.append("overlay"))

    async def test() -> None:
        async with watching(made.store, keys / "two.pub", tmp_path / "state") as live:
            await until_refused(live, "signature_missing")
            write_current(made.store, one.sign(made.current(1)).encode())
            await until_refused(live, "signature_wrong")
            assert live.view is None
        assert not opened

    asyncio.run(test())


@pytest.mark.usefixtures("_quick")
def test_in_process_every_exchange_is_refused_and_the_right_one_taken_again(
    tmp_path: Path, keys: Path, one: SigningKey
) -> None:
    store = tmp_path / "store"
    first = write_snapshot(store, random_entries(30, ("md5",)))
    second = write_snapshot(store, random_entries(30, ("md5",)))
    two = SigningKey.load(keys / "two")
    old, current = one.sign(first.current(4)), one.sign(second.current(5))
    wrong = {
        "unsigned": (second.current(6), "signature_missing"),
        "another's": (two.sign(second.current(6)), "signature_wrong"),
        "another's under our name": (
            two.sign(second.current(6)).model_copy(update={"key_id": one.key_id}), "signature_wrong",
        ),
        "an old one": (old, "generation_went_back"),
        "an old one with a new number": (old.model_copy(update={"generation": 6}), "signature_wrong"),
        "another snapshot": (
            current.model_copy(
                update={"snapshot_id": first.snapshot_id, "manifest_sha256": first.manifest_sha256}
            ), "signature_wrong",
        ),
        "another snapshot's id": (current.model_copy(update={"snapshot_id": first.snapshot_id}), "signature_wrong"),
        "no overlay": (
            current.model_copy(update={"overlay_version": EMPTY.version, "overlay_sha256": EMPTY.sha256}),
            "signature_wrong",
        ),
        "another overlay": (current.model_copy(update={"overlay_sha256": "0" * 64}), "signature_wrong"),
        "another's words": (current.model_copy(update={"by": "nobody"}), "signature_wrong"),
    }  # fmt: skip
    write_current(store, current.encode())

    async def test() -> None:
        async with watching(store, keys / "one.pub", tmp_path / "state") as live:
            await until_taken(live, 5)
            for name, (exchanged, reason) in wrong.items():
                write_current(store, exchanged.encode())
                await until_refused(live, reason)
                assert live.refusal is not None
                assert live.refusal.generation == exchanged.generation, name
                assert live.view is not None
                assert (live.view.generation, live.view.snapshot_id) == (5, second.snapshot_id), name
                write_current(store, current.encode())
                await until_taken(live, 5)

    asyncio.run(test())
