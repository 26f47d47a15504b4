from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import service.watch
from service.live import Live
from service.problems import Problem
from service.trust import Trust
from service.verified import VerifiedNotes
from service.watch import Watch
from snapshot.errors import FilterDamaged
from snapshot.reader import Snapshot
from snapshot.seal import NO_SEAL_KEYS
from snapshot.store import Store
from tests.service.snapshots import live_store, random_entries, write_current, write_snapshot


@asynccontextmanager
async def watching(store: Path, state: Path) -> AsyncIterator[Live]:
    live = Live()
    trust = Trust(Store(store), None, None)
    watch = Watch(Store(store), live, VerifiedNotes(state), trust, NO_SEAL_KEYS, asyncio.get_running_loop())
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


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Snapshots open at the moment, by id, and under "most" the most there ever were at once."""
    counts = {"most": 0}
    real_open, real_close = Snapshot.open.__func__, Snapshot.close  # type: ignore[attr-defined]

    def opening(cls: type[Snapshot], directory: Path, sha: str) -> Snapshot:
        snapshot = real_open(cls, directory, sha)
        counts[snapshot.snapshot_id] = counts.get(snapshot.snapshot_id, 0) + 1
        counts["most"] = max(counts["most"], sum(n for name, n in counts.items() if name != "most"))
        return snapshot

    def closing(self: Snapshot) -> None:
        counts[self.snapshot_id] -= 1
        real_close(self)

    monkeypatch.setattr(Snapshot, "open", classmethod(opening))
    monkeypatch.setattr(Snapshot, "close", closing)
    return counts


def entries() -> dict[str, dict[bytes, tuple]]:
    return random_entries(30, ("md5",))


def test_swaps_close_the_old_and_never_hold_more_than_two(tmp_path: Path, opened: dict[str, int]) -> None:
    store = tmp_path / "store"
    snapshots = [write_snapshot(store, entries()) for _ in range(4)]
    snapshots[0].make_live(1)

    def still_open() -> set[str]:
        return {name for name, n in opened.items() if n and name != "most"}

    async def test() -> None:
        async with watching(store, tmp_path / "state") as live:
            for generation in range(2, 10):
                made = snapshots[generation % 4]
                made.make_live(generation)
                await until(lambda g=generation: live.view is not None and live.view.generation == g)
                assert live.view is not None
                live.view.snapshot.check_canary()
                # The thread closes the old one after the swap, so the new one may be seen first.
                await until(lambda only={made.snapshot_id}: still_open() == only)
        assert opened["most"] == 2
        assert sum(opened.values()) == 2  # all closed

    run(test)


def test_the_same_snapshot_is_shared_and_stays_open(tmp_path: Path, opened: dict[str, int]) -> None:
    made = live_store(tmp_path / "store", entries())

    async def test() -> None:
        async with watching(made.store, tmp_path / "state") as live:
            first = live.view
            made.make_live(2)
            await until(lambda: live.view is not first)
            assert first is not None
            assert live.view is not None
            assert live.view.snapshot is first.snapshot
            assert opened == {made.snapshot_id: 1, "most": 1}

    run(test)


def test_a_refusal_says_the_generation_and_goes_when_current_is_put_back(tmp_path: Path) -> None:
    made = live_store(tmp_path / "store", entries(), generation=3)

    async def test() -> None:
        async with watching(made.store, tmp_path / "state") as live:
            view = live.view
            made.make_live(2)
            await until(lambda: live.refusal is not None)
            assert live.refusal is not None
            assert (live.refusal.reason, live.refusal.generation) == ("generation_went_back", 2)
            assert live.view is view
            made.make_live(3)
            await until(lambda: live.refusal is None)
            write_current(made.store, b"nonsense")
            await until(lambda: live.refusal is not None)
            assert (live.refusal.reason, live.refusal.generation) == ("current_damaged", None)

    run(test)


def test_a_canary_that_fails_keeps_a_snapshot_from_going_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: dict[str, int]
) -> None:
    made = live_store(tmp_path / "store", entries())

    def fails(self: Snapshot) -> None:
        raise FilterDamaged(self.directory, "denies")

    monkeypatch.setattr(Snapshot, "check_canary", fails)

    async def test() -> None:
        async with watching(made.store, tmp_path / "state") as live:
            await until(lambda: live.refusal is not None)
            assert live.view is None
            with pytest.raises(Problem) as refused:
                live.require_view()
            assert (refused.value.status, refused.value.reason) == (503, "filter_damaged")
            assert opened[made.snapshot_id] == 0

    run(test)


def surprised_once(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let the first opening of a snapshot fail in a way that nobody foresaw; give the list of all openings."""
    real, calls = service.watch.open_ready, []

    def open_ready(directory: Path, sha: str) -> Snapshot:
        calls.append(directory)
        if len(calls) == 1:
            raise ZeroDivisionError
        return real(directory, sha)

    monkeypatch.setattr(service.watch, "open_ready", open_ready)
    return calls


def test_a_surprise_is_refused_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = live_store(tmp_path / "store", entries())
    calls = surprised_once(monkeypatch)
    monkeypatch.setattr(service.watch, "_FIRST_RETRY_SECONDS", 0.1)

    async def test() -> None:
        async with watching(made.store, tmp_path / "state") as live:
            await until(lambda: live.refusal is not None or live.view is not None)
            await until(lambda: live.view is not None)
            assert live.refusal is None
            assert len(calls) == 2

    run(test)


def test_what_stays_damaged_is_not_read_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = live_store(tmp_path / "store", entries())
    raw = bytearray((made.directory / "md5.bloom").read_bytes())
    raw[-1] ^= 1
    (made.directory / "md5.bloom").write_bytes(raw)
    looks: list[float] = []
    real = VerifiedNotes.ensure_verified

    def counting(self: VerifiedNotes, *given: Any, gently: bool) -> None:
        looks.append(time.monotonic())
        real(self, *given, gently=gently)

    monkeypatch.setattr(VerifiedNotes, "ensure_verified", counting)
    monkeypatch.setattr(service.watch, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(service.watch, "_FIRST_RETRY_SECONDS", 0.2)

    async def test() -> None:
        async with watching(made.store, tmp_path / "state") as live:
            await asyncio.sleep(1.2)
            assert live.refusal is not None
            assert live.refusal.reason == "checksum_mismatch"
            assert 2 <= len(looks) <= 5  # at 0, 0.2, 0.6, 1.4 seconds
            raw[-1] ^= 1
            (made.directory / "md5.bloom").write_bytes(raw)
            await until(lambda: live.view is not None)

    run(test)


def test_a_long_wait_for_the_store_makes_no_later_refusal_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_snapshot(tmp_path / "store", entries())
    surprised_once(monkeypatch)
    monkeypatch.setattr(service.watch, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(service.watch, "_FIRST_RETRY_SECONDS", 0.1)

    async def test() -> None:
        async with watching(made.store, tmp_path / "state") as live:
            await asyncio.sleep(0.5)
            assert live.refusal is not None
            assert live.refusal.reason == "no_store"
            made.make_live(1)
            await until(lambda: live.view is not None)

    run(test)


def test_starting_is_a_reason_of_its_own() -> None:
    with pytest.raises(Problem) as refused:
        Live().require_view()
    assert (refused.value.status, refused.value.reason) == (503, "starting")
