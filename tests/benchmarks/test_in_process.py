"""The part that measures misses, hits and the forms of a request in process."""

from collections import Counter
from dataclasses import replace

import pytest

from benchmarks import in_process, request_forms, timed_calls
from benchmarks.digests import cut, random_digests
from benchmarks.errors import WrongAnswer
from benchmarks.run import Run
from benchmarks.sizes import Sizes
from benchmarks.stores import compile_packed, live_manifest, open_view
from benchmarks.timed_calls import hit_lookup_ns, hit_ns, hit_request_ns, lookup_ns, request_ns
from benchmarks.workloads import Listed
from service.view import View
from snapshot.algorithms import ALGORITHMS

TINY = Sizes(
    seed=4711, entries=6_000, peer_entries=3_000, growth=(1_000,), pool=30_000, rounds=2, digests_a_round=2_000
)  # fmt: skip
ALL_PEERS = {"set", "pybloom-live", "LMDB get", "SQLite"}


def test_every_size_and_batch_has_its_figures_its_peers_and_its_goals(tmp_path):
    figures = {figure.name: figure for figure in in_process.measure(Run(TINY, tmp_path))}
    kinds = Counter(figure.key for figure in figures.values())
    sizes, batches = 3, len(TINY.batches)
    assert kinds == {
        "miss lookup": sizes * batches, "miss request": sizes * batches, "hit": sizes, "hit lookup": sizes,
        "hit request": sizes, "filter's false positives": sizes, "request in process": len(request_forms.KINDS),
        "miss overlaid": 2, "overlay adds": 2,
    }  # fmt: skip
    assert len({figure.what for figure in figures.values()}) == len(figures)
    for figure in figures.values():
        if figure.key in ("miss overlaid", "overlay adds"):
            continue  # test_overlay_cost.py has these
        assert 0 < figure.spread.least <= figure.spread.median <= figure.spread.most, figure.name
        assert all(baseline.ratio.rounds == TINY.rounds for baseline in figure.baselines)

    def peers(name):
        return {baseline.name for baseline in figures[name].baselines}

    def goals(name):
        return {(goal.ratio_to, goal.bound) for goal in figures[name].goals}

    assert peers("miss lookup batch=10 entries=1000") == ALL_PEERS
    assert peers("miss lookup batch=1000 entries=3000") == ALL_PEERS
    assert peers("miss lookup batch=1000 entries=6000") == {"set"}
    assert peers("hit entries=3000") == {"set", "LMDB get", "SQLite"}
    assert goals("miss lookup batch=1 entries=6000") == {(None, 1_000)}
    assert goals("miss lookup batch=1000 entries=6000") == {(None, 60), ("set", 1)}
    assert goals("miss lookup batch=10000 entries=6000") == {(None, 30), ("set", 1)}
    assert goals("miss lookup batch=10000 entries=3000") == {("pybloom-live", 0.05), ("LMDB get", 0.05)}
    assert goals("miss lookup batch=10000 entries=1000") == set()
    assert goals("hit entries=6000") == {(None, 4_000)}
    assert {path.name for path in tmp_path.iterdir()} == {"store-1000", "store-3000", "store-6000", "forms"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(TINY, tmp_path_factory.mktemp("work"))


@pytest.fixture
def view(run):
    with open_view(run.store(TINY.entries)) as view:
        yield view


@pytest.mark.parametrize("ask", [lookup_ns, request_ns])
@pytest.mark.parametrize("batch", [1, 10, 1_000])
def test_an_entry_taken_for_a_miss_is_a_wrong_answer(run, view, ask, batch):
    misses = random_digests(TINY.seed, "others", 2 * batch)
    assert ask(view, cut(misses, batch), batch) > 0
    spoilt = misses[:-32] + run.packed_entries(TINY.entries)[:32]
    with pytest.raises(WrongAnswer, match=r"on no list|not answered as misses"):
        ask(view, cut(spoilt, batch), batch)


@pytest.mark.parametrize("ask", [hit_ns, hit_lookup_ns, hit_request_ns])
def test_a_miss_or_another_label_among_hits_is_a_wrong_answer(run, view, ask, monkeypatch):
    members = run.entries(TINY.entries)[:1_100]
    assert ask(view, members) > 0
    members[500] = random_digests(TINY.seed, "others", 1)
    with pytest.raises(WrongAnswer, match="entr"):
        ask(view, members)
    if ask is not hit_lookup_ns:  # which leaves the labels to the other two
        monkeypatch.setattr(timed_calls, "CATEGORY", "another")
        with pytest.raises(WrongAnswer, match=r"wrong label|as matches"):
            ask(view, run.entries(TINY.entries)[:1_100])


def test_too_many_false_positives_miss_the_goal(run, view):
    misses = random_digests(TINY.seed, "others", 20_000)
    few = in_process.false_positives(view, misses, TINY.entries)
    many = in_process.false_positives(view, misses + run.packed_entries(TINY.entries)[: 100 * 32], TINY.entries)
    assert few.met(few.goals[0])
    assert not many.met(many.goals[0])
    with pytest.raises(WrongAnswer, match="not 5"):
        in_process.false_positives(view, misses, 5)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Give a view on entries of three algorithms, and what they are."""
    entries = {
        name: random_digests(TINY.seed, f"forms-{name}", 2_000, ALGORITHMS[name].digest_bytes)
        for name in ("md5", "sha1", "sha256")
    }
    store = compile_packed(tmp_path_factory.mktemp("mixed") / "store", entries).store
    with open_view(store) as view:
        yield view, Listed(live_manifest(store).snapshot_id, entries)


@pytest.mark.parametrize("kind", request_forms.KINDS, ids=str)
def test_every_form_is_answered_right_and_any_other_answer_is_wrong(mixed, kind):
    view, listed = mixed
    requests = request_forms.make(kind, listed, TINY.seed, 0, 3)
    assert request_forms.answer_ns(view, kind, requests) > 0
    assert len({request.body for request in requests}) == 3
    reply = requests[1].reply
    assert replace(kind, matches=0, invalid=0) in request_forms.KINDS
    changes = [{"checked": {}}, {"matches": reply["matches"][1:] or [{"index": 0}]}]
    changes += [{"invalid": reply["invalid"][1:]}] if kind.invalid else []
    for change in changes:
        altered = [requests[0], replace(requests[1], reply={**reply, **change}), requests[2]]
        with pytest.raises(WrongAnswer, match=kind.name):
            request_forms.answer_ns(view, kind, altered)


@pytest.mark.parametrize("kind", [kind for kind in request_forms.KINDS if kind.matches], ids=str)
def test_a_service_that_never_matches_is_a_wrong_answer(mixed, kind, monkeypatch):
    view, listed = mixed
    monkeypatch.setattr(View, "verdict", lambda self, label_set_id: None)
    with pytest.raises(WrongAnswer, match=kind.name):
        request_forms.answer_ns(view, kind, request_forms.make(kind, listed, TINY.seed, 0, 1))
