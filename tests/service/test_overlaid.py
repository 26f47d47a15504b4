"""What an overlay changes for one algorithm, and how the watch takes an overlay over."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

import service.watch
from service.forms import read_packed
from service.live import Live
from service.match import match_columns
from service.overlaid import Overlaid, overlaid_by_algorithm
from service.problems import Problem
from snapshot.algorithms import ALGORITHMS, MD5, SHA256, Algorithm
from snapshot.labels import Label, Tier
from snapshot.overlay import Addition, Overlay, Suppression
from tests.service.snapshots import ALL_APPROVED, MadeSnapshot, labels, live_store, random_entries, write_current
from tests.service.test_watch import opened, run, until, watching  # noqa: F401 - opened is a fixture

LABELS = labels(Label("own", "x", Tier.BASELINE, None))
AT = datetime(2026, 1, 1, tzinfo=UTC)


def suppression(name: str, raw: bytes) -> Suppression:
    return Suppression(algorithm=name, digest=raw.hex(), by="tests", at=AT, reason="x")


def addition(name: str, raw: bytes, category: str = "x") -> Addition:
    return Addition(
        algorithm=name, digest=raw.hex(), list_id="own", category=category, tier=Tier.BASELINE, by="tests", at=AT,
        reason="x",
    )  # fmt: skip


@st.composite
def batches(draw: st.DrawFn) -> tuple[Algorithm, list[bytes], list[bytes], list[int]]:
    """Digests that were added, digests of a request with some of them, and places that the filter lets pass."""
    algorithm = draw(st.sampled_from(list(ALGORITHMS.values())))
    rng = random.Random(draw(st.integers(0, 2**32)))
    added = [rng.randbytes(algorithm.digest_bytes) for _ in range(draw(st.sampled_from([0, 1, 2, 30])))]
    alike = [raw[:8] + rng.randbytes(algorithm.digest_bytes - 8) for raw in added]
    request = [
        rng.choice(pool) if (pool := rng.choice([added, alike, []])) else rng.randbytes(algorithm.digest_bytes)
        for _ in range(draw(st.sampled_from([0, 1, 2, 12, 13, 14, 100, 1000])))
    ]
    listed = sorted(rng.sample(range(len(request)), rng.randint(0, len(request))))
    return algorithm, added, request, listed


@given(batches())
def test_places_are_those_of_filter_and_additions(batch: tuple[Algorithm, list[bytes], list[bytes], list[int]]) -> None:
    algorithm, added, request, listed = batch
    before = list(listed)
    found = Overlaid(algorithm, (), dict.fromkeys(added, LABELS)).places(b"".join(request), listed)
    assert found == sorted({*before, *(place for place, raw in enumerate(request) if raw in added)})
    assert all(type(place) is int for place in found)
    assert listed == before


def test_without_additions_the_filter_s_places_are_handed_on() -> None:
    listed = [3, 7]
    overlaid = Overlaid(MD5, [b"x" * 16], {})
    assert overlaid.places(b"x" * 160, listed) is listed
    assert overlaid._slots.nbytes == 0


def test_slots_take_half_a_megabyte_and_few_digests_pass() -> None:
    overlaid = Overlaid(SHA256, (), dict.fromkeys((random.randbytes(32) for _ in range(1000)), LABELS))
    assert overlaid._slots.nbytes == 1 << 19
    assert 990 <= np.count_nonzero(overlaid._slots) <= 1000
    packed = random.randbytes(32 * 100_000)
    passing = np.count_nonzero(overlaid._slots.take(overlaid._slots_of(packed)))
    assert 100 < passing < 400  # one in 524
    assert overlaid.places(packed, []) == []


def test_an_overlay_by_algorithm() -> None:
    raws = {name: random.randbytes(each.digest_bytes) for name, each in ALGORITHMS.items()}
    overlay = Overlay(
        version=1,
        suppressions=(suppression("md5", raws["md5"]), suppression("photodna", raws["photodna"])),
        additions=(
            addition("md5", raws["md5"]), addition("sha512", raws["sha512"]), addition("sha512", raws["sha512"], "y"),
        ),
    )  # fmt: skip
    found = overlaid_by_algorithm(overlay)
    assert list(found) == ["md5", "photodna", "sha512"]
    assert found["md5"].suppressed == {raws["md5"]}
    assert found["md5"].added == {raws["md5"]: (Label("own", "x", Tier.BASELINE, None),)}
    assert (found["photodna"].suppressed, found["photodna"].added) == ({raws["photodna"]}, {})
    assert [label.category for label in found["sha512"].added[raws["sha512"]]] == ["x", "y"]
    assert overlaid_by_algorithm(ALL_APPROVED) == {}


# The watch.


def second(made: MadeSnapshot) -> Overlay:
    """Another overlay: one listed digest is suppressed."""
    raw = next(raw for raw, each in made.entries["md5"].items() if each[0].tier is Tier.BASELINE)
    return ALL_APPROVED.model_copy(
        update={"version": 2, "previous_sha256": ALL_APPROVED.sha256, "suppressions": (suppression("md5", raw),)}
    )


def put(made: MadeSnapshot, overlay: Overlay, raw: bytes | None = None) -> None:
    """Write an overlay's file, or other bytes in its place."""
    (made.store / "overlays" / f"{overlay.version}.json").write_bytes(overlay.encode() if raw is None else raw)


def name_it(made: MadeSnapshot, overlay: Overlay, generation: int) -> None:
    current = made.current(generation, overlay_version=overlay.version, overlay_sha256=overlay.sha256)
    write_current(made.store, current.encode())


def matches(live: Live, made: MadeSnapshot) -> int:
    """Ask for all that is listed; the reply says which overlay it was given under."""
    assert live.view is not None
    request = read_packed(b"".join(made.entries["md5"]), MD5, 10_000)
    reply = match_columns(live.view, request).decode()
    assert f'"overlay_version":{live.view.overlay_version},' in reply
    return reply.count('"action"')


@pytest.fixture
def made(tmp_path: Path) -> MadeSnapshot:
    return live_store(tmp_path / "store", random_entries(80, ("md5",)))


def test_a_change_of_the_overlay_alone_shares_the_open_snapshot(
    tmp_path: Path,
    made: MadeSnapshot,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts: dict[str, int] = request.getfixturevalue("opened")
    looks: list[object] = []
    real = service.watch.read_trusted_manifest
    monkeypatch.setattr(service.watch, "read_trusted_manifest", lambda *given: looks.append(given) or real(*given))
    changed = second(made)
    put(made, changed)

    async def test() -> None:
        async with watching(made.store, tmp_path / "state") as live:
            first = live.view
            assert first is not None
            before = matches(live, made)
            name_it(made, changed, 2)
            await until(lambda: live.view is not first)
            assert live.view is not None
            assert live.view.snapshot is first.snapshot
            assert (live.view.generation, live.view.overlay_version) == (2, 2)
            assert matches(live, made) == before - 1
            name_it(made, ALL_APPROVED, 3)
            await until(lambda: live.view is not None and live.view.generation == 3)
            assert live.view.snapshot is first.snapshot
            assert matches(live, made) == before
            assert counts == {made.snapshot_id: 1, "most": 1}
            assert len(looks) == 1

    run(test)


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "empty", "of another version"])
def test_a_damaged_overlay_is_refused_until_it_is_put_right(
    tmp_path: Path, made: MadeSnapshot, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.watch, "_FIRST_RETRY_SECONDS", 300.0)  # it is the file's change that tells
    changed = second(made)
    raw = changed.encode()
    bad = {
        "flipped": raw.replace(b'"approvals"', b'"Approvals"'), "cut": raw[:-1], "missing": None, "empty": b"",
        "of another version": changed.model_copy(update={"version": 3}).encode(),
    }[damage]  # fmt: skip
    if bad is not None:
        put(made, changed, bad)

    async def test() -> None:
        async with watching(made.store, tmp_path / "state") as live:
            first = live.view
            before = matches(live, made)
            name_it(made, changed, 2)
            await until(lambda: live.refusal is not None)
            assert live.refusal is not None
            assert (live.refusal.reason, live.refusal.generation) == ("overlay_damaged", 2)
            assert "overlays/2.json" in live.refusal.message
            assert live.view is first
            assert matches(live, made) == before
            put(made, changed)
            began = time.monotonic()
            await until(lambda: live.view is not first)
            assert time.monotonic() - began < 5
            assert live.refusal is None
            assert matches(live, made) == before - 1

    run(test)


def test_without_the_overlay_that_is_in_force_nothing_is_served(tmp_path: Path, made: MadeSnapshot) -> None:
    """What is suppressed and what is approved is not known, so no verdict is given."""
    (made.store / "overlays" / "1.json").unlink()

    async def test() -> None:
        async with watching(made.store, tmp_path / "state") as live:
            await until(lambda: live.refusal is not None)
            assert live.view is None
            with pytest.raises(Problem) as refused:
                live.require_view()
            assert (refused.value.status, refused.value.reason) == (503, "overlay_damaged")
            put(made, ALL_APPROVED)
            await until(lambda: live.view is not None)
            assert matches(live, made) > 0

    run(test)


def test_an_overlay_damaged_while_it_is_served_changes_nothing(tmp_path: Path, made: MadeSnapshot) -> None:
    async def test() -> None:
        async with watching(made.store, tmp_path / "state") as live:
            first = live.view
            before = matches(live, made)
            put(made, ALL_APPROVED, b"damaged")
            await asyncio.sleep(0.6)
            assert live.view is first
            assert live.refusal is None
            assert matches(live, made) == before

    run(test)


def test_the_same_generation_with_another_overlay_is_an_old_state(tmp_path: Path, made: MadeSnapshot) -> None:
    changed = second(made)
    put(made, changed)

    async def test() -> None:
        async with watching(made.store, tmp_path / "state") as live:
            name_it(made, changed, 1)
            await until(lambda: live.refusal is not None)
            assert live.refusal is not None
            assert live.refusal.reason == "generation_went_back"
            assert live.view is not None
            assert live.view.overlay_version == 1

    run(test)


def test_nothing_approved_is_no_match_and_is_said(tmp_path: Path, made: MadeSnapshot) -> None:
    off = Overlay(version=2)
    put(made, off)

    async def test() -> None:
        async with watching(made.store, tmp_path / "state") as live:
            name_it(made, off, 2)
            await until(lambda: live.view is not None and live.view.generation == 2)
            assert matches(live, made) == 0
            assert live.view is not None
            assert not live.view.any_approved
            await asyncio.sleep(0.1)

    with structlog.testing.capture_logs() as logged:
        run(test)
    assert any("no class of the live snapshot is approved" in line["event"] for line in logged)
