"""The overlay as bytes and as a value: it comes back as it was, damage is named, its bounds hold."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapshot.algorithms import ALGORITHMS, MD5, SHA256, Algorithm
from snapshot.errors import OverlayDamaged, OverlayFull, StoreUnusable
from snapshot.labels import LabelClass, Tier
from snapshot.overlay import EMPTY, MAX_ENTRIES, MAX_TEXT, Addition, Approval, Overlay, Suppression, parse_overlay
from snapshot.store import Store

AT = datetime(2026, 11, 25, 3, 4, 5, tzinfo=UTC)
SIGNED: dict[str, Any] = {"by": "tests", "at": AT, "reason": "a test"}

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
SIGNATURES = st.fixed_dictionaries(
    {
        "by": st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20),
        "at": st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1)),  # noqa: DTZ001 - Hypothesis wants it naive
        "reason": TEXTS,
    }
)
CLASSES = st.fixed_dictionaries({"list_id": TEXTS, "category": TEXTS, "tier": st.sampled_from(Tier)})


@st.composite
def digests(draw: st.DrawFn) -> dict[str, str]:
    algorithm = draw(st.sampled_from(list(ALGORITHMS.values())))
    raw = draw(st.binary(min_size=algorithm.digest_bytes, max_size=algorithm.digest_bytes))
    return {"algorithm": algorithm.name, "digest": raw.hex()}


def merged(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda dicts: dict(itertools.chain.from_iterable(each.items() for each in dicts)))


REFERENCES = st.fixed_dictionaries({"reference": st.none() | TEXTS})
APPROVALS = merged(SIGNATURES, CLASSES).map(lambda fields: Approval(**fields))
SUPPRESSIONS = merged(SIGNATURES, digests()).map(lambda fields: Suppression(**fields))
ADDITIONS = merged(SIGNATURES, digests(), CLASSES, REFERENCES).map(lambda fields: Addition(**fields))
OVERLAYS = st.builds(
    Overlay,
    version=st.integers(1, 2**53),
    previous_sha256=st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
    approvals=st.lists(APPROVALS, max_size=5).map(tuple),
    suppressions=st.lists(SUPPRESSIONS, max_size=5).map(tuple),
    additions=st.lists(ADDITIONS, max_size=5).map(tuple),
)


def approval(number: int = 0, tier: Tier = Tier.ILLEGAL) -> Approval:
    return Approval(list_id="list", category=f"category {number}", tier=tier, **SIGNED)


def suppression(raw: bytes, algorithm: Algorithm = SHA256) -> Suppression:
    return Suppression(algorithm=algorithm.name, digest=raw.hex(), **SIGNED)


def addition(raw: bytes, reference: str | None = None, category: str = "a") -> Addition:
    return Addition(
        algorithm="sha256", digest=raw.hex(), list_id="list", category=category, tier=Tier.ILLEGAL,
        reference=reference, **SIGNED,
    )  # fmt: skip


def some(rng: random.Random, version: int = 7) -> Overlay:
    """An overlay with two of each kind."""
    return Overlay(
        version=version,
        previous_sha256=rng.randbytes(32).hex(),
        approvals=(approval(0), approval(1)),
        suppressions=(suppression(rng.randbytes(32)), suppression(rng.randbytes(16), MD5)),
        additions=(addition(rng.randbytes(32), "ref"), addition(rng.randbytes(32))),
    )


@pytest.fixture
def damaged(tmp_path: Path) -> Store:
    """A store whose overlay files a test writes itself."""
    store = Store(tmp_path / "damaged")
    store.overlays_dir.mkdir(parents=True)
    return store


@given(OVERLAYS)
def test_what_was_encoded_comes_back(overlay: Overlay) -> None:
    raw = overlay.encode()
    again = parse_overlay(raw, Path("x"))
    assert again == overlay
    assert again.encode() == raw
    assert again.sha256 == overlay.sha256
    assert raw.endswith(b"}\n")
    assert [each.raw().hex() for each in again.suppressions] == [each.digest for each in overlay.suppressions]
    assert [each.label for each in again.additions] == [each.label for each in overlay.additions]
    assert again.approved == {LabelClass(each.list_id, each.category, each.tier) for each in overlay.approvals}


@given(overlay=OVERLAYS, data=st.data())
def test_a_flipped_bit_is_never_taken_for_what_was_published(
    overlay: Overlay, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("flipped"))
    store.overlays_dir.mkdir()
    raw = bytearray(overlay.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    store.overlay_file(overlay.version).write_bytes(raw)
    with pytest.raises(OverlayDamaged, match=r"is not the overlay that was published") as refused:
        store.overlay(overlay.version, overlay.sha256)
    assert refused.value.reason == "overlay_damaged"
    assert refused.value.path == store.overlay_file(overlay.version)


def test_every_single_bit_of_a_file_counts(damaged: Store, rng: random.Random) -> None:
    overlay = Overlay(version=7, suppressions=(suppression(rng.randbytes(32)),))
    path = damaged.overlay_file(7)
    raw = overlay.encode()
    for at in range(len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :])
        with pytest.raises(OverlayDamaged):
            damaged.overlay(7, overlay.sha256)
    path.write_bytes(raw)
    assert damaged.overlay(7, overlay.sha256) == overlay


@pytest.mark.parametrize("cut", [0, 1, -1])
def test_a_cut_or_longer_file_is_damaged(cut: int, damaged: Store, rng: random.Random) -> None:
    overlay = some(rng)
    damaged.overlay_file(7).write_bytes(overlay.encode() + b" " if cut == 1 else overlay.encode()[:cut])
    with pytest.raises(OverlayDamaged):
        damaged.overlay(7, overlay.sha256)


def test_a_missing_file_is_damage_and_version_0_has_none(damaged: Store, rng: random.Random) -> None:
    overlay = some(rng)
    with pytest.raises(OverlayDamaged, match=r"7\.json: is missing"):
        damaged.overlay(7, overlay.sha256)
    assert damaged.overlay(0, None) is EMPTY
    assert EMPTY.sha256 is None
    assert (EMPTY.approvals, EMPTY.suppressions, EMPTY.additions) == ((), (), ())


def test_a_file_of_another_version_is_damaged(damaged: Store, rng: random.Random) -> None:
    """Even where its SHA-256 is the one that is asked for."""
    overlay = some(rng, version=6)
    damaged.overlay_file(7).write_bytes(overlay.encode())
    with pytest.raises(OverlayDamaged, match=r"7\.json: speaks of version 6"):
        damaged.overlay(7, overlay.sha256)


def test_a_file_that_cannot_be_read_is_named(damaged: Store, rng: random.Random) -> None:
    damaged.overlay_file(7).mkdir()
    with pytest.raises(StoreUnusable, match=r"7\.json"):
        damaged.overlay(7, some(rng).sha256)


def test_versions_are_those_of_the_files(damaged: Store) -> None:
    for name in ("3.json", "20.json", ".21.json.new", "x.json", "4", "٤.json", "-1.json"):
        (damaged.overlays_dir / name).touch()
    assert damaged.overlay_versions() == [3, 20]
    assert Store(damaged.path / "nowhere").overlay_versions() == []


@pytest.mark.parametrize("raw", [b"", b"\n", b"{", b"[]", b"null", b"\0" * 300, b"\xff", b"[" * 100_000, b'"x"', b"7"])
def test_bytes_that_are_no_overlay_are_damaged(raw: bytes) -> None:
    with pytest.raises(OverlayDamaged, match="the-file: is damaged"):
        parse_overlay(raw, Path("the-file"))


def changed(overlay: Overlay, where: tuple[str | int, ...], value: object) -> bytes:
    """Give the file's bytes with one value put, or with one taken out if it is `...`."""
    loaded = orjson.loads(overlay.encode())
    part = loaded
    for key in where[:-1]:
        part = part[key]
    if value is ...:
        del part[where[-1]]
    else:
        part[where[-1]] = value
    return orjson.dumps(loaded)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("version",), ...), (("version",), -1), (("version",), "7"), (("version",), None), (("version",), 7.5),
        (("previous_sha256",), "0" * 63), (("previous_sha256",), "G" * 64), (("previous_sha256",), 7),
        (("more",), 1), (("approvals",), None), (("approvals",), {}), (("suppressions",), 7), (("additions", 0), "x"),
        (("approvals", 0, "tier"), "grave"), (("approvals", 0, "tier"), ...), (("approvals", 0, "list_id"), ...),
        (("approvals", 0, "category"), None), (("approvals", 0, "more"), 1), (("approvals", 0, "by"), ""),
        (("approvals", 0, "by"), "x" * (MAX_TEXT + 1)), (("approvals", 0, "reason"), "x" * (MAX_TEXT + 1)),
        (("approvals", 0, "at"), "soon"), (("approvals", 0, "reason"), ...), (("approvals", 1), ["x"]),
        (("suppressions", 0, "algorithm"), "md4"), (("suppressions", 0, "algorithm"), ...),
        (("suppressions", 0, "algorithm"), "md5"), (("suppressions", 1, "algorithm"), "sha256"),
        (("suppressions", 0, "digest"), ...), (("suppressions", 0, "digest"), ""), (("suppressions", 0, "digest"), 7),
        (("suppressions", 0, "digest"), "g" * 64), (("suppressions", 0, "digest"), "A" * 64),
        (("suppressions", 0, "digest"), "0" * 62), (("suppressions", 0, "digest"), " " + "0" * 63),
        (("suppressions", 0, "digest"), "\xe9" + "0" * 63), (("suppressions", 0, "reference"), "x"),
        (("additions", 1, "digest"), "0" * 65), (("additions", 1, "digest"), "0x" + "0" * 62),
        (("additions", 1, "algorithm"), "sha512"), (("additions", 1, "reference"), 7), (("additions", 0, "tier"), "on"),
    ],
    ids=str,
)  # fmt: skip
def test_what_encode_never_wrote_is_damaged_down_to_the_last_digest(
    where: tuple[str | int, ...], value: object, rng: random.Random
) -> None:
    overlay = some(rng)
    assert parse_overlay(orjson.dumps(orjson.loads(overlay.encode())), Path("x")) == overlay
    with pytest.raises(OverlayDamaged, match="the-file: is damaged") as refused:
        parse_overlay(changed(overlay, where, value), Path("the-file"))
    digests_of_it = [each.digest for each in (*overlay.suppressions, *overlay.additions)]
    assert not any(text in str(refused.value) for text in digests_of_it), "a message never names a digest"


def test_a_digest_in_base64_would_not_be_found_again(rng: random.Random) -> None:
    overlay = Overlay(version=1, suppressions=(suppression(rng.randbytes(144), ALGORITHMS["photodna"]),))
    with pytest.raises(OverlayDamaged, match="a digest of photodna is not in lower-case hex"):
        parse_overlay(changed(overlay, ("suppressions", 0, "digest"), "A" * 192), Path("x"))


def many_classes(count: int) -> Iterable[Approval]:
    return (approval(number) for number in range(count))


def test_ten_thousand_of_each_kind_and_not_one_more(rng: random.Random) -> None:
    assert MAX_ENTRIES == 10_000
    overlay = EMPTY.with_approvals(many_classes(MAX_ENTRIES))
    overlay = overlay.with_suppressions(suppression(rng.randbytes(32)) for _ in range(MAX_ENTRIES))
    overlay = overlay.with_additions(addition(rng.randbytes(32)) for _ in range(MAX_ENTRIES))
    assert len(overlay.approvals) == len(overlay.suppressions) == len(overlay.additions) == MAX_ENTRIES
    assert parse_overlay(overlay.encode(), Path("x")) == overlay
    with pytest.raises(OverlayFull, match="10,001 approvals"):
        overlay.with_approvals([approval(MAX_ENTRIES)])
    with pytest.raises(OverlayFull, match="10,001 suppressions"):
        overlay.with_suppressions([suppression(rng.randbytes(32))])
    with pytest.raises(OverlayFull, match="10,003 additions: the overlay holds 10,000 of each") as refused:
        overlay.with_additions(addition(rng.randbytes(32)) for _ in range(3))
    assert refused.value.reason == "overlay_full"
    assert overlay.with_suppressions(overlay.suppressions[5:9]) is overlay, "what is there already takes no room"
    freed = overlay.without_suppressions([("sha256", overlay.suppressions[0].digest)])
    assert len(freed.with_suppressions([suppression(rng.randbytes(32))]).suppressions) == MAX_ENTRIES


def test_nothing_changed_is_the_same_object(rng: random.Random) -> None:
    overlay = some(rng)
    assert overlay.with_approvals([]) is overlay
    assert overlay.with_approvals([approval(1).model_copy(update={"by": "another"})]) is overlay
    assert overlay.without_approvals(lambda each: each.list_id == "other") is overlay
    assert overlay.with_suppressions([]) is overlay
    again = overlay.suppressions[1].model_copy(update={"reason": "another"})
    assert overlay.with_suppressions([again]) is overlay
    assert overlay.without_suppressions([]) is overlay
    assert overlay.without_suppressions([("md5", rng.randbytes(16).hex())]) is overlay
    assert overlay.without_suppressions([("sha256", overlay.suppressions[1].digest)]) is overlay, (
        "of an other algorithm"
    )
    assert overlay.with_additions([overlay.additions[0].model_copy(update={"at": datetime.now(UTC)})]) is overlay
    assert overlay.without_additions(lambda each: each.algorithm == "md5") is overlay


def test_a_class_is_approved_once_and_with_its_tier(rng: random.Random) -> None:
    overlay = EMPTY.with_approvals([approval(1), approval(1), approval(1, Tier.OTHER)])
    assert overlay.approved == {
        LabelClass("list", "category 1", Tier.ILLEGAL), LabelClass("list", "category 1", Tier.OTHER),
    }  # fmt: skip
    assert len(overlay.approvals) == 2
    overlay = overlay.without_approvals(lambda each: each.tier is Tier.ILLEGAL)
    assert overlay.approved == {LabelClass("list", "category 1", Tier.OTHER)}


def test_a_digest_is_suppressed_once_and_added_once_for_each_label(rng: random.Random) -> None:
    raw = rng.randbytes(32)
    assert len(EMPTY.with_suppressions([suppression(raw), suppression(raw)]).suppressions) == 1
    overlay = EMPTY.with_additions([addition(raw), addition(raw), addition(raw, "r"), addition(raw, category="b")])
    assert [(each.reference, each.category) for each in overlay.additions] == [(None, "a"), ("r", "a"), (None, "b")]
    assert overlay.without_additions(lambda each: each.reference == "r").additions == (
        overlay.additions[0], overlay.additions[2],
    )  # fmt: skip


def test_changes_leave_version_chain_and_the_rest_as_they_are(rng: random.Random) -> None:
    overlay = some(rng)
    changed_one = overlay.with_suppressions([suppression(rng.randbytes(32))])
    assert changed_one is not overlay
    assert changed_one.version == overlay.version  # a new one is given when it is swapped in
    assert changed_one.suppressions[:2] == overlay.suppressions
    assert (changed_one.approvals, changed_one.additions) == (overlay.approvals, overlay.additions)
    assert len(overlay.suppressions) == 2, "an overlay is never changed in place"
