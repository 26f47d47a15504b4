"""What an operator changes without a compile: each change, each refusal, and what a compile then makes of it."""

from __future__ import annotations

import base64
import hashlib
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from loader import corrections
from loader.build import BuildRequest, BuildResult, ListInput, build
from loader.corrections import By, Sibling
from loader.errors import ClassUnknown, KnownGood, NothingToChange
from loader.overlay_cli import digests_of_file
from snapshot.algorithms import ALGORITHMS, MD5, PHOTODNA, SHA1, SHA256, SHA512, Algorithm
from snapshot.errors import CurrentDamaged, DamageError, NoStore, OverlayDamaged, OverlayFull, SnapshotError
from snapshot.labels import Label, LabelClass, Tier
from snapshot.overlay import MAX_ENTRIES, Overlay
from snapshot.publish import Publisher
from snapshot.store import Store
from tests import listfiles

BY = By("officer", "a good reason")
Digest = tuple[Algorithm, bytes]

#: Entry n of police has these digests, category a, b, c or d in turn, and the reference "ref n" for n < 30.
NAMES = ("md5", "sha1", "sha256", "photodna")
OF = {name: listfiles.random_digests(name, 40, "corrections") for name in (*NAMES, "sha512")}
TIERS = {"a": Tier.BASELINE, "b": Tier.INVESTIGATIVE, "c": Tier.OTHER}  # and d is unknown
GOOD = listfiles.random_digests("sha256", 50, "good")
HOTLINE = listfiles.random_digests("sha256", 20, "hotline")


def entry(number: int, *names: str) -> list[Digest]:
    """Give the digests of one entry of police."""
    return [(ALGORITHMS[name], OF[name][number]) for name in names or NAMES]


def police(directory: Path, tiers: Mapping[str, Tier] = TIERS, numbers: range = range(40)) -> ListInput:
    def cell(name: str, number: int) -> str:
        raw = OF[name][number]
        return base64.b64encode(raw).decode() if name == "photodna" else raw.hex()

    rows = [
        [*(cell(name, n) for name in NAMES), "abcd"[n % 4], f"ref {n}" if n < 30 else ""] for n in numbers
    ]  # fmt: skip
    path = directory / "police.csv"
    path.write_bytes(listfiles.csv_lines([*NAMES, "category", "reference"], rows))
    return ListInput("police", Tier.UNKNOWN, [str(path)], tiers=tiers)


def hotline(directory: Path) -> ListInput:
    """A list of one class, without references; it has two digests of police too."""
    path = directory / "hotline.txt"
    path.write_bytes(listfiles.hex_lines([*HOTLINE, OF["sha256"][0], OF["sha256"][35]]))
    return ListInput("hotline", Tier.ILLEGAL, [str(path)])


def known_good(directory: Path) -> ListInput:
    path = directory / "good.txt"
    path.write_bytes(listfiles.hex_lines(GOOD))
    return ListInput("cms", Tier.UNKNOWN, [str(path)], known_good=True)


def compile_lists(store: Store, *lists: ListInput, drop: tuple[str, ...] = ()) -> BuildResult:
    return build(BuildRequest(store.path, lists, by="tests", drop_lists=drop, accept_diff="a test"))


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("corrections")
    compile_lists(Store(directory / "store"), police(directory), hotline(directory), known_good(directory))
    return directory / "store"


@pytest.fixture
def fill(_template: Path) -> Callable[[Path], Store]:
    """Make a store of police, hotline and cms, nothing approved."""

    def copy(path: Path) -> Store:
        shutil.copytree(_template, path)
        return Store(path)

    return copy


@pytest.fixture
def made(store: Store, fill: Callable[[Path], Store]) -> Store:
    return fill(store.path)


@pytest.fixture
def damageable(tmp_path: Path, fill: Callable[[Path], Store]) -> Store:
    """Likewise; it need not be whole afterwards."""
    return fill(tmp_path / "damageable")


def overlay(store: Store) -> Overlay:
    current = store.current()
    return store.overlay(current.overlay_version, current.overlay_sha256)


def approved(store: Store) -> set[tuple[str, str, str]]:
    return {(each.list_id, each.category, each.tier.value) for each in overlay(store).approved}


def suppressed(store: Store) -> set[Digest]:
    return {(ALGORITHMS[each.algorithm], each.raw()) for each in overlay(store).suppressions}


def refused(store: Store, expected: type[Exception], match: str, call: Callable[[], object]) -> None:
    """Require an error of this name, and that the store is as it was."""
    before = {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()}
    with pytest.raises(expected, match=match):
        call()
    assert {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()} == before


# approve and revoke


def test_nothing_is_on_after_a_compile(made: Store) -> None:
    assert approved(made) == set()
    assert made.current().overlay_version == 0


def test_without_a_category_all_of_a_list_go_on_but_those_of_unknown_tier(made: Store) -> None:
    current, classes = corrections.approve(made, "police", None, BY)
    assert current == made.current()
    assert approved(made) == {
        ("police", "a", "baseline"), ("police", "b", "investigative"), ("police", "c", "other"),
    }  # fmt: skip
    assert [(facts.category, facts.entries["md5"]) for facts in classes] == [("a", 10), ("b", 10), ("c", 10)]
    history = made.history()
    assert (history[0].action, history[0].by, history[0].reason) == ("approve", "officer", "a good reason")
    assert history[0].details == [
        "approved police / a as baseline", "approved police / b as investigative", "approved police / c as other",
    ]  # fmt: skip
    each = overlay(made).approvals[0]
    assert (each.by, each.reason, each.at) == ("officer", "a good reason", BY.at)


def test_one_category_goes_on_and_then_the_rest(made: Store) -> None:
    corrections.approve(made, "police", "b", By("x"))
    assert approved(made) == {("police", "b", "investigative")}
    assert overlay(made).approvals[0].reason == ""
    assert made.history()[0].reason is None
    refused(
        made, NothingToChange, "police / b: is approved already", lambda: corrections.approve(made, "police", "b", BY)
    )
    _, classes = corrections.approve(made, "police", None, BY)
    assert [facts.category for facts in classes] == ["a", "c"]
    assert [each.by for each in overlay(made).approvals] == ["x", "officer", "officer"]
    refused(made, NothingToChange, "police: is approved already", lambda: corrections.approve(made, "police", None, BY))


def test_a_category_of_unknown_tier_does_not_go_on(made: Store, tmp_path: Path) -> None:
    refused(made, ClassUnknown, "police / d: its tier is unknown", lambda: corrections.approve(made, "police", "d", BY))
    unmapped = Store(tmp_path / "unmapped")
    compile_lists(unmapped, police(tmp_path, {}))
    refused(
        unmapped, ClassUnknown, "the tiers of all its categories are unknown",
        lambda: corrections.approve(unmapped, "police", None, BY),
    )  # fmt: skip


def test_what_is_not_live_is_not_approved(made: Store) -> None:
    refused(
        made, ClassUnknown, r"nobody: no such list is live\. Live lists with entries: hotline, police",
        lambda: corrections.approve(made, "nobody", None, BY),
    )  # fmt: skip
    refused(
        made, ClassUnknown, r"police / z: no such category is live\. There: a, b, c, d",
        lambda: corrections.approve(made, "police", "z", BY),
    )  # fmt: skip
    refused(made, ClassUnknown, "cms: no such list", lambda: corrections.approve(made, "cms", None, BY))


def test_revoking_takes_back_what_is_on(made: Store) -> None:
    refused(made, NothingToChange, "police: is not approved", lambda: corrections.revoke(made, "police", None, BY))
    for list_id in ("police", "hotline"):
        corrections.approve(made, list_id, None, BY)
    _, gone = corrections.revoke(made, "police", "a", BY)
    assert gone == [LabelClass("police", "a", Tier.BASELINE)]
    assert made.history()[0].details == ["revoked police / a as baseline"]
    refused(made, NothingToChange, "police / a: is not approved", lambda: corrections.revoke(made, "police", "a", BY))
    _, gone = corrections.revoke(made, "police", None, BY)
    assert [each.category for each in gone] == ["b", "c"]
    assert approved(made) == {("hotline", "default", "illegal")}
    corrections.approve(made, "police", "a", BY)
    assert ("police", "a", "baseline") in approved(made)


def test_another_tier_revokes_and_is_not_on_until_it_is_approved(made: Store, tmp_path: Path) -> None:
    corrections.approve(made, "police", None, BY)
    corrections.approve(made, "hotline", None, BY)
    lists = hotline(tmp_path), known_good(tmp_path)
    compile_lists(made, police(tmp_path, {**TIERS, "a": Tier.INVESTIGATIVE}), *lists)
    assert approved(made) == {
        ("police", "b", "investigative"), ("police", "c", "other"), ("hotline", "default", "illegal"),
    }  # fmt: skip
    # Back to the tier that was approved once: that approval is gone all the same.
    compile_lists(made, police(tmp_path), *lists)
    assert ("police", "a", "baseline") not in approved(made)
    corrections.approve(made, "police", "a", BY)
    assert ("police", "a", "baseline") in approved(made)


def test_a_tier_that_becomes_unknown_revokes(made: Store, tmp_path: Path) -> None:
    corrections.approve(made, "police", None, BY)
    compile_lists(made, police(tmp_path, {"b": Tier.INVESTIGATIVE}), hotline(tmp_path), known_good(tmp_path))
    assert approved(made) == {("police", "b", "investigative")}


def test_a_category_that_is_away_for_a_while_is_to_be_approved_again(made: Store, tmp_path: Path) -> None:
    corrections.approve(made, "police", None, BY)
    lists = hotline(tmp_path), known_good(tmp_path)
    compile_lists(made, police(tmp_path, numbers=range(0, 40, 4)), *lists)  # only a
    assert ("police", "b", "investigative") not in approved(made)
    refused(made, ClassUnknown, "no such category is live", lambda: corrections.approve(made, "police", "b", BY))
    compile_lists(made, police(tmp_path), *lists)
    assert ("police", "b", "investigative") not in approved(made)


def test_a_list_that_vanished_is_revoked_and_cannot_be_approved(made: Store, tmp_path: Path) -> None:
    corrections.approve(made, "police", None, BY)
    corrections.approve(made, "hotline", None, BY)
    compile_lists(made, hotline(tmp_path), known_good(tmp_path), drop=("police",))
    assert approved(made) == {("hotline", "default", "illegal")}
    refused(made, ClassUnknown, "police: no such list is live", lambda: corrections.approve(made, "police", None, BY))
    refused(made, NothingToChange, "is not approved", lambda: corrections.revoke(made, "police", None, BY))


def test_the_same_lists_again_change_no_approval(made: Store, tmp_path: Path) -> None:
    corrections.approve(made, "police", None, BY)
    before = overlay(made)
    result = compile_lists(made, police(tmp_path), hotline(tmp_path), known_good(tmp_path))
    assert result.published.already_there
    assert overlay(made) == before
    assert made.current().overlay_version == before.version


# suppress and unsuppress


def test_siblings_are_named_over_all_algorithms(made: Store) -> None:
    done = corrections.suppress(made, entry(5, "sha256"), BY)
    assert done.new == entry(5, "sha256")
    assert done.failed is None
    assert done.labels == {entry(5, "sha256")[0]: (Label("police", "b", Tier.INVESTIGATIVE, "ref 5"),)}
    assert done.siblings == [Sibling(each, "police", "ref 5") for each in entry(5, "md5", "sha1", "photodna")]
    assert not done.siblings_taken
    assert suppressed(made) == set(entry(5, "sha256"))
    (last, *_) = made.history()
    assert (last.action, last.reason, last.details) == ("suppress", "a good reason", ["1 sha256 named"])


def test_siblings_are_taken_along(made: Store) -> None:
    done = corrections.suppress(made, [*entry(5, "sha256"), *entry(6, "md5")], BY, with_siblings=True)
    assert suppressed(made) == {*entry(5), *entry(6)} == set(done.new)
    assert done.siblings_taken
    assert done.current == made.current()
    assert [each.details for each in made.history()[:2]] == [
        ["1 md5, 2 sha1, 1 sha256, 2 photodna, siblings of those named before"], ["1 md5, 1 sha256 named"],
    ]  # fmt: skip
    again = lambda: corrections.suppress(made, entry(5), BY, with_siblings=True)  # noqa: E731 - one line
    refused(made, NothingToChange, "all of these digests are suppressed already", again)


def test_a_sibling_that_is_suppressed_already_is_none(made: Store) -> None:
    corrections.suppress(made, entry(5, "sha256"), BY)
    done = corrections.suppress(made, entry(5, "sha1"), BY)
    assert {each.digest for each in done.siblings} == set(entry(5, "md5", "photodna"))
    corrections.suppress(made, entry(5, "md5", "photodna"), BY)
    done = corrections.suppress(made, entry(7, "md5"), BY)
    assert len(done.siblings) == 3


def test_a_repeat_is_nothing_to_change_unless_there_are_siblings_to_take(made: Store) -> None:
    corrections.suppress(made, entry(5, "sha256"), BY)
    refused(made, NothingToChange, "already", lambda: corrections.suppress(made, entry(5, "sha256"), BY))
    done = corrections.suppress(made, entry(5, "sha256"), BY, with_siblings=True)
    assert set(done.new) == set(entry(5, "md5", "sha1", "photodna"))
    done = corrections.suppress(made, [*entry(5), *entry(9, "sha1"), *entry(9, "sha1")], BY)
    assert done.new == entry(9, "sha1")


def test_what_is_not_listed_is_suppressed_too(made: Store, tmp_path: Path) -> None:
    unlisted = [(SHA256, random.randbytes(32)), (SHA512, random.randbytes(64)), (MD5, random.randbytes(16))]
    done = corrections.suppress(made, [*unlisted, *entry(0, "md5"), (SHA256, HOTLINE[0])], BY)
    assert done.labels == {
        **dict.fromkeys(unlisted, ()), entry(0, "md5")[0]: (Label("police", "a", Tier.BASELINE, "ref 0"),),
        (SHA256, HOTLINE[0]): (Label("hotline", "default", Tier.ILLEGAL, None),),
    }  # fmt: skip
    assert {each.digest for each in done.siblings} == set(entry(0, "sha1", "sha256", "photodna"))
    assert suppressed(made) == {*unlisted, *entry(0, "md5"), (SHA256, HOTLINE[0])}
    compile_lists(made, police(tmp_path), hotline(tmp_path), known_good(tmp_path))
    assert suppressed(made) == {*unlisted, *entry(0, "md5"), (SHA256, HOTLINE[0])}, "a compile lifts nothing"


def test_a_digest_in_several_lists_has_all_their_labels(made: Store) -> None:
    done = corrections.suppress(made, entry(0, "sha256"), BY)
    assert done.labels[entry(0, "sha256")[0]] == (
        Label("hotline", "default", Tier.ILLEGAL, None), Label("police", "a", Tier.BASELINE, "ref 0"),
    )  # fmt: skip


def test_an_entry_without_reference_has_no_siblings_that_anybody_knows(made: Store) -> None:
    done = corrections.suppress(made, entry(35, "sha256"), BY, with_siblings=True)
    assert done.siblings == []
    assert not done.siblings_taken
    assert suppressed(made) == set(entry(35, "sha256"))


def test_the_digests_of_a_reference(made: Store) -> None:
    assert corrections.digests_of_reference(made, "police", "ref 7") == entry(7)
    for list_id, reference in [("police", "ref 30"), ("hotline", "ref 7"), ("nobody", "x"), ("police", "\udcff")]:
        with pytest.raises(ClassUnknown, match=f"{list_id}: has no entry with the reference"):
            corrections.digests_of_reference(made, list_id, reference)
    with pytest.raises(ClassUnknown, match="has no entry"):
        corrections.digests_of_reference(made, "\udcff", "ref 7")


def test_additions_under_a_reference_are_siblings_too(made: Store) -> None:
    corrections.approve(made, "police", "b", BY)
    more = [(SHA256, random.randbytes(32)), (MD5, random.randbytes(16))]
    corrections.add(made, more, "police", "b", BY, reference="ref 5")
    assert set(corrections.digests_of_reference(made, "police", "ref 5")) == {*entry(5), *more}
    done = corrections.suppress(made, entry(5, "md5"), BY)
    assert {each.digest for each in done.siblings} == {*entry(5, "sha1", "sha256", "photodna"), *more}
    done = corrections.suppress(made, more[:1], BY, with_siblings=True)
    assert done.labels == {more[0]: (Label("police", "b", Tier.INVESTIGATIVE, "ref 5"),)}
    assert suppressed(made) == {*entry(5), *more}


def test_a_file_has_four_digests(tmp_path: Path) -> None:
    content = random.randbytes(3_000_000)
    (tmp_path / "file").write_bytes(content)
    assert digests_of_file(tmp_path / "file") == [
        (a, hashlib.new(a.name, content, usedforsecurity=False).digest()) for a in (MD5, SHA1, SHA256, SHA512)
    ]  # fmt: skip


def test_lifting(made: Store) -> None:
    corrections.suppress(made, entry(5), BY)
    current, count = corrections.unsuppress(made, [*entry(5, "md5", "sha1"), *entry(6)], BY)
    assert count == 2
    assert current == made.current()
    assert suppressed(made) == set(entry(5, "sha256", "photodna"))
    assert (made.history()[0].action, made.history()[0].details) == ("unsuppress", ["2 digests lifted"])
    gone = lambda: corrections.unsuppress(made, entry(5, "md5"), BY)  # noqa: E731
    refused(made, NothingToChange, "none of these digests is suppressed", gone)
    same_bytes_other_algorithm = [(MD5, OF["sha256"][5][:16])]
    refused(made, NothingToChange, "none", lambda: corrections.unsuppress(made, same_bytes_other_algorithm, BY))


def damage(store: Store, name: str) -> None:
    path = store.live_dir(store.current()) / name
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("name", ["manifest.json", "entries.lmdb", "sha256.bloom"])
@pytest.mark.parametrize("with_siblings", [False, True])
def test_a_damaged_snapshot_keeps_no_wrong_hash_alive(damageable: Store, name: str, with_siblings: bool) -> None:
    """The suppression is in force before the snapshot is looked at, and what goes wrong then is told."""
    damage(damageable, name)
    done = corrections.suppress(damageable, entry(5, "sha256"), BY, with_siblings=with_siblings)
    assert suppressed(damageable) == set(entry(5, "sha256")) == set(done.new)
    assert isinstance(done.failed, DamageError)
    assert done.failed.path.name == name
    assert not done.siblings_taken
    again = corrections.suppress(damageable, entry(5, "sha256"), BY)  # nothing new, but nobody can say so of siblings
    assert again.new == []
    assert isinstance(again.failed, DamageError)
    assert corrections.unsuppress(damageable, entry(5, "sha256"), BY)[1] == 1


def test_siblings_that_do_not_fit_leave_those_that_were_named_suppressed(
    made: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snapshot.overlay.MAX_ENTRIES", 3)
    done = corrections.suppress(made, entry(5, "sha256"), BY, with_siblings=True)
    assert isinstance(done.failed, OverlayFull)
    assert not done.siblings_taken
    assert len(done.siblings) == 3
    assert suppressed(made) == set(entry(5, "sha256"))
    refused(
        made, OverlayFull, "4 suppressions", lambda: corrections.suppress(made, entry(6, "md5", "sha1", "sha256"), BY)
    )


def test_ten_thousand_suppressions_and_no_more(made: Store) -> None:
    digests = [(SHA256, random.randbytes(32)) for _ in range(MAX_ENTRIES)]
    corrections.suppress(made, digests, BY)
    assert len(suppressed(made)) == MAX_ENTRIES
    refused(made, OverlayFull, "10,001 suppressions", lambda: corrections.suppress(made, entry(0, "md5"), BY))
    corrections.unsuppress(made, digests[:1], BY)
    corrections.suppress(made, entry(0, "md5"), BY)


# add and remove


def test_additions_in_an_approved_class(made: Store) -> None:
    corrections.approve(made, "police", "b", BY)
    digests = [(SHA256, random.randbytes(32)), (PHOTODNA, random.randbytes(144)), *entry(0, "md5")]
    current, label_class = corrections.add(made, digests, "police", "b", BY, reference="case 9")
    assert label_class == LabelClass("police", "b", Tier.INVESTIGATIVE)
    assert current == made.current()
    added = overlay(made).additions
    assert [(ALGORITHMS[each.algorithm], each.raw()) for each in added] == digests
    assert {each.label for each in added} == {Label("police", "b", Tier.INVESTIGATIVE, "case 9")}
    assert {(each.by, each.reason) for each in added} == {("officer", "a good reason")}
    entry_of_it = made.history()[0]
    assert (entry_of_it.action, entry_of_it.details) == ("add", ["1 md5, 1 sha256, 1 photodna to police / b"])
    refused(
        made, NothingToChange, "added already",
        lambda: corrections.add(made, digests[1:], "police", "b", BY, reference="case 9"),
    )  # fmt: skip
    corrections.add(made, digests[1:], "police", "b", BY)  # another label
    assert len(overlay(made).additions) == 5


@pytest.mark.parametrize("category", ["a", "d", "z"])
def test_nothing_is_added_to_a_class_that_is_off(made: Store, category: str) -> None:
    corrections.approve(made, "police", "b", BY)
    one = [(SHA256, random.randbytes(32))]
    refused(
        made, ClassUnknown, f"police / {category}: is not approved",
        lambda: corrections.add(made, one, "police", category, BY),
    )  # fmt: skip
    refused(made, ClassUnknown, "nobody / b: is not approved", lambda: corrections.add(made, one, "nobody", "b", BY))


def test_nothing_is_added_to_a_class_that_leads_to_nothing(made: Store) -> None:
    corrections.approve(made, "police", "c", BY)
    one = [(SHA256, random.randbytes(32))]
    refused(
        made, ClassUnknown, "police / c: its tier is other, so the digests would not be a match",
        lambda: corrections.add(made, one, "police", "c", BY),
    )  # fmt: skip


def test_nothing_is_added_that_nobody_would_look_up(made: Store) -> None:
    corrections.approve(made, "police", "b", BY)
    two = [(SHA256, random.randbytes(32)), (SHA512, random.randbytes(64))]
    refused(
        made, ClassUnknown, r"digest 2 of 2 \(sha512\): no list with sha512 is live",
        lambda: corrections.add(made, two, "police", "b", BY),
    )  # fmt: skip


def test_nothing_is_added_that_is_suppressed(made: Store) -> None:
    corrections.approve(made, "police", "b", BY)
    one = [(SHA256, random.randbytes(32))]
    corrections.suppress(made, one, BY)
    refused(
        made, NothingToChange, r"digest 1 of 1 \(sha256\): is suppressed",
        lambda: corrections.add(made, one, "police", "b", BY),
    )  # fmt: skip
    corrections.unsuppress(made, one, BY)
    corrections.add(made, one, "police", "b", BY)


def test_a_known_good_digest_is_not_added(made: Store) -> None:
    corrections.approve(made, "police", "b", BY)
    for raw in (hashlib.sha256(b"").digest(), hashlib.sha256(b"\n").digest(), GOOD[0], GOOD[49]):
        both = [(SHA256, random.randbytes(32)), (SHA256, raw)]
        with pytest.raises(KnownGood, match=r"digest 2 of 2 \(sha256\): is known good") as error:
            corrections.add(made, both, "police", "b", BY)
        assert raw.hex() not in str(error.value)
        assert overlay(made).additions == ()
    empty = [(MD5, hashlib.md5(b"", usedforsecurity=False).digest())]
    refused(made, KnownGood, r"1 of 1 \(md5\)", lambda: corrections.add(made, empty, "police", "b", BY))


def test_additions_outlive_compiles_and_revocations(made: Store, tmp_path: Path) -> None:
    corrections.approve(made, "police", "b", BY)
    one = [(SHA256, random.randbytes(32))]
    corrections.add(made, one, "police", "b", BY)
    corrections.revoke(made, "police", None, BY)
    compile_lists(made, police(tmp_path), hotline(tmp_path), known_good(tmp_path))
    assert len(overlay(made).additions) == 1
    with Publisher(made) as publisher:
        publisher.rollback(made.current().snapshot_id, by="tests")
    assert len(overlay(made).additions) == 1


def test_taking_back(made: Store) -> None:
    corrections.approve(made, "police", "b", BY)
    digests = [(SHA256, random.randbytes(32)) for _ in range(3)]
    corrections.add(made, digests, "police", "b", BY)
    corrections.add(made, digests[:1], "police", "b", BY, reference="x")
    _, count = corrections.remove(made, [digests[0], digests[1], (MD5, digests[2][1][:16])], BY)
    assert count == 3
    assert [each.raw() for each in overlay(made).additions] == [digests[2][1]]
    assert (made.history()[0].action, made.history()[0].details) == ("remove", ["3 additions taken back"])
    refused(made, NothingToChange, "none of these digests was added", lambda: corrections.remove(made, digests[:1], BY))
    refused(made, NothingToChange, "none", lambda: corrections.remove(made, entry(0), BY))


# whatever the change


CHANGES: dict[str, Callable[[Store], object]] = {
    "approve": lambda store: corrections.approve(store, "police", None, BY),
    "revoke": lambda store: corrections.revoke(store, "police", None, BY),
    "suppress": lambda store: corrections.suppress(store, entry(1), BY),
    "unsuppress": lambda store: corrections.unsuppress(store, entry(1), BY),
    "add": lambda store: corrections.add(store, [(SHA256, b"x" * 32)], "police", "b", BY),
    "remove": lambda store: corrections.remove(store, entry(1), BY),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_directory_that_is_no_store_is_left_as_it_is(tmp_path: Path, change: str) -> None:
    for path in (tmp_path / "nowhere", tmp_path / "empty"):
        if path.name == "empty":
            path.mkdir()
        with pytest.raises(NoStore):
            CHANGES[change](Store(path))
    assert list((tmp_path / "empty").iterdir()) == []
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_current_or_overlay_stops_it(damageable: Store, change: str) -> None:
    corrections.approve(damageable, "police", "b", BY)
    one = [(SHA256, random.randbytes(32))]
    corrections.add(damageable, [*one, *entry(1)], "police", "b", BY)
    corrections.suppress(damageable, entry(1, "md5"), BY)
    path = damageable.overlay_file(3)
    raw = path.read_bytes()
    path.write_bytes(raw[:-1])
    refused(damageable, OverlayDamaged, r"3\.json", lambda: CHANGES[change](damageable))
    path.write_bytes(raw)
    damageable.current_file.write_bytes(b"{")
    with pytest.raises(CurrentDamaged):
        CHANGES[change](damageable)
    assert damageable.read_current_bytes() == b"{"


def test_any_sequence_of_changes_is_one_chain(made: Store) -> None:
    """Each is one swap with one overlay, or a refusal that leaves everything as it was."""
    rng = random.Random(random.getrandbits(32))
    digests = [*entry(1), *entry(2), *((SHA256, rng.randbytes(32)) for _ in range(4))]
    calls: list[Callable[[], object]] = [
        lambda: corrections.approve(made, "police", rng.choice([None, "a", "b"]), BY),
        lambda: corrections.revoke(made, "police", rng.choice([None, "a", "b"]), BY),
        lambda: corrections.suppress(made, rng.sample(digests, 3), BY),
        lambda: corrections.unsuppress(made, rng.sample(digests, 3), BY),
        lambda: corrections.add(made, rng.sample(digests, 2), "police", rng.choice("ab"), BY),
        lambda: corrections.remove(made, rng.sample(digests, 3), BY),
    ]
    happened = 0
    for _ in range(60):
        before = made.current()
        overlay_before = overlay(made)
        try:
            rng.choice(calls)()
        except (ClassUnknown, NothingToChange):
            assert made.current() == before
        else:
            happened += 1
            after = overlay(made)
            assert (made.current().generation, after.version) == (before.generation + 1, before.overlay_version + 1)
            assert after.previous_sha256 == before.overlay_sha256
            assert after.model_dump(exclude={"version", "previous_sha256"}) != overlay_before.model_dump(
                exclude={"version", "previous_sha256"}
            )
    assert len(made.history()) == happened + 1
    assert happened > 5


def test_a_reference_on_thousands_of_digests(tmp_path: Path) -> None:
    """A supplier's constant: its siblings are found, and too many for an overlay are refused as a whole."""
    digests = listfiles.random_digests("md5", 12_000, "constant")
    path = tmp_path / "constant.csv"
    path.write_bytes(listfiles.csv_lines(["md5", "reference"], ([each.hex(), "0"] for each in digests)))
    store = Store(tmp_path / "constant")
    compile_lists(store, ListInput("constant", Tier.ILLEGAL, [str(path)]))
    done = corrections.suppress(store, [(MD5, digests[5])], BY, with_siblings=True)
    assert isinstance(done.failed, SnapshotError)
    assert len(done.siblings) == 11_999
    assert suppressed(store) == {(MD5, digests[5])}


def test_a_change_by_another_user_s_name_and_locale_comes_back(made: Store) -> None:
    corrections.suppress(made, entry(1), By("Zoë Ångström", "„wrong“ – 取り消し"))
    assert overlay(made).suppressions[0].by == "Zoë Ångström"
    assert made.history()[0].reason == "„wrong“ – 取り消し"
