"""What an overlay adds to a miss: figures, and wrong answers that give none."""

import pytest

from benchmarks import overlay_cost
from benchmarks.digests import FreshBatches, cut, random_digests
from benchmarks.errors import WrongAnswer
from benchmarks.figures import Spread
from benchmarks.run import Run
from benchmarks.stores import open_view
from service.match import listed
from service.overlaid import Overlaid
from service.view import View
from snapshot.hexdigest import ParsedDigests
from snapshot.store import Store


@pytest.fixture
def run(tiny, tmp_path):
    return Run(tiny, tmp_path)


@pytest.fixture
def views(run):
    """Give a view without an overlay, and one with a filled one."""
    store, entries = run.store(3_000), run.packed_entries(3_000)
    with open_view(store) as empty:
        overlay = overlay_cost.filled_overlay(store, run.sizes.seed, entries)
        yield empty, View(Store(store).current(), empty.snapshot, overlay)


def parsed(packed):
    return ParsedDigests(packed, len(packed) // 32, None, [])


def test_both_overlays_have_a_ratio_and_a_difference_with_its_goal(run):
    pool = random_digests(run.sizes.seed, "misses", 30_000)
    figures = {figure.name: figure for figure in overlay_cost.measure(run, pool)}
    at = "batch=1000 entries=3000 overlay"
    assert list(figures) == [
        f"{key} {at}={name}" for name in ("empty", "filled") for key in ("miss overlaid", "overlay adds")
    ]
    assert {name: [goal.bound for goal in figure.goals] for name, figure in figures.items() if figure.goals} == {
        f"overlay adds {at}=empty": [0.5], f"overlay adds {at}=filled": [5],
    }  # fmt: skip
    for name in ("empty", "filled"):
        ratio, adds = figures[f"miss overlaid {at}={name}"], figures[f"overlay adds {at}={name}"]
        assert ratio.spread.least > 0
        assert ratio.baseline("no overlay").ratio.rounds == ratio.spread.rounds == adds.spread.rounds == 6
        assert not adds.baselines
    assert len({figure.what for figure in figures.values()}) == 4


def test_a_bound_of_five_is_on_what_is_added_and_not_on_the_whole(run, monkeypatch):
    made = {"none": [30.0, 31.0, 29.0], "empty": [30.0, 31.5, 29.4], "filled": [36.0, 36.5, 34.5]}
    monkeypatch.setattr(overlay_cost, "miss_ns", lambda *_: made)
    figures = {figure.name.split(maxsplit=2)[0] + figure.at["overlay"]: figure
               for figure in overlay_cost.measure(run, b"") if figure.key == "overlay adds"}  # fmt: skip
    empty, filled = figures["overlayempty"], figures["overlayfilled"]
    assert empty.spread == Spread.of([0.0, 0.5, 29.4 - 29.0])
    assert empty.met(empty.goals[0])
    assert filled.spread.median == 5.5
    assert not filled.met(filled.goals[0])


def test_what_it_is_held_against_matches_as_serving_does(run, views):
    empty, _ = views
    members = cut(run.packed_entries(3_000), 1)[:50]
    others = cut(random_digests(run.sizes.seed, "others", 950), 1)
    digests = parsed(b"".join([*others[:500], *members, *others[500:]]))
    table = empty.tables["sha256"]
    ours = overlay_cost.without_overlay(empty, table, digests)
    assert ours == listed(empty, table, digests)
    assert [digest for _, digest, _ in ours] == members


def test_an_overlay_that_is_not_answered_is_a_wrong_answer(run, views, monkeypatch):
    empty, filled = views
    entries = run.packed_entries(3_000)
    overlay_cost.check_overlay(filled, run.sizes.seed, entries)
    with pytest.raises(WrongAnswer, match="not what is answered"):
        overlay_cost.check_overlay(empty, run.sizes.seed, entries)
    monkeypatch.setattr(Overlaid, "places", lambda self, packed, places: places)  # additions are passed over
    with pytest.raises(WrongAnswer, match="not what is answered"):
        overlay_cost.check_overlay(filled, run.sizes.seed, entries)


def test_a_listed_digest_among_the_misses_is_a_wrong_answer(run, views):
    _, filled = views
    ways = {"filled": lambda digests: listed(filled, filled.tables["sha256"], digests)}
    misses = random_digests(run.sizes.seed, "others", 1_000)
    assert overlay_cost.miss_ns(ways, FreshBatches(misses), 2, 1)["filled"][1] > 0
    suppressed = misses[:-32] + run.packed_entries(3_000)[:32]
    assert len(overlay_cost.miss_ns(ways, FreshBatches(suppressed), 2, 1)["filled"]) == 2
    for digest in (run.packed_entries(3_000)[-32:], random_digests(run.sizes.seed, "added", 1)):
        with pytest.raises(WrongAnswer, match="on no list"):
            overlay_cost.miss_ns(ways, FreshBatches(misses[:-32] + digest), 2, 1)


def test_every_way_is_asked_as_often_and_takes_the_first_turn(monkeypatch):
    asked = []
    ways = {name: lambda digests, name=name: asked.append(name) or [] for name in ("a", "b", "c")}
    overlay_cost.miss_ns(ways, FreshBatches(bytes(32_000)), 1, 4)
    assert {name: asked.count(name) for name in ways} == dict.fromkeys(ways, 12 * (4 + 1))
    assert "".join(asked[::5])[:9] == "abcbcacab"


def test_a_store_that_has_corrections_already_is_none_without(run, monkeypatch):
    filled = overlay_cost.filled_overlay(run.store(3_000), run.sizes.seed, run.packed_entries(3_000))
    monkeypatch.setattr(Store, "overlay", lambda self, *_: filled)
    with pytest.raises(WrongAnswer, match="suppresses or adds"):
        list(overlay_cost.measure(run, b""))
