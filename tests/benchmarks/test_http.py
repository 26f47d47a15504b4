"""The parts that measure over HTTP, tiny."""

import pytest

from benchmarks import http_beside_naive, http_side_by_side
from benchmarks.digests import random_digests
from benchmarks.errors import WrongAnswer
from benchmarks.http_beside_naive import naive, naive_load
from benchmarks.http_side_by_side import JSON_1, JSON_1000, PLAIN, UNUSUAL
from benchmarks.processes import Server
from benchmarks.run import Run
from benchmarks.workloads import Listed

pytestmark = pytest.mark.needs("wrk")


def test_every_kind_of_request_has_its_figures_its_rivals_and_its_goals(tiny, tmp_path):
    figures = {figure.name: figure for figure in http_side_by_side.measure(Run(tiny, tmp_path))}
    assert len({(figure.key, figure.what) for figure in figures.values()}) == len(figures)

    def rivals(name):
        return {baseline.name for baseline in figures[name].baselines}

    def goals(name):
        return {(goal.ratio_to, goal.bound, goal.at_most) for goal in figures[name].goals}

    http = {
        f"http batch={batch} entries=3000 form=json": goal for batch, goal in ((1, 0.8), (1_000, 0.7), (10_000, 0.7))
    }
    for name, goal in http.items():
        assert goals(name) == {("bare", goal, False)}
        assert rivals(name) == rivals(name.replace("http", "http processor")) == {"bare"}
    assert goals("http batch=10000 entries=3000 form=packed") == {("bare, reads only", 0.35, False)}
    assert rivals("http batch=1000 entries=3000 form=packed") == {"bare, reads only"}
    assert goals("http digests batch=10000 entries=3000 form=packed") == {("JSON, 1,000", 4, False)}
    for few in ("invalid=10", "matches=10"):
        assert goals(f"http digests batch=1000 entries=3000 form=json {few}") == {("JSON, 1,000", 0.2, False)}
    assert goals("http digests batch=1000 entries=3000 form=json matches=1000") == set()
    assert rivals("http digests batch=1000 entries=6000 form=mixed") == {"JSON, 1,000"}
    assert rivals("http digests batch=200 entries=6000 form=files") == {"JSON, 1,000"}
    assert len(figures) == 2 * len(PLAIN) + 1 + 2 * (len(UNUSUAL) + 2)
    for figure in figures.values():
        assert 0 < figure.spread.least <= figure.spread.median <= figure.spread.most, figure.name
        assert figure.spread.rounds == tiny.http_rounds
    assert not list(tmp_path.glob("bodies*"))


def test_the_naive_service_is_asked_for_the_same(tiny, tmp_path):
    figures = {figure.name: figure for figure in http_beside_naive.measure(Run(tiny, tmp_path))}
    assert set(figures) == {
        f"http beside naive{kind} batch={batch} entries=2000 form=json"
        for kind in ("", " processor") for batch in (JSON_1.digests, JSON_1000.digests)
    }  # fmt: skip
    assert {baseline.name for figure in figures.values() for baseline in figure.baselines} == {"naive"}
    assert figures["http beside naive batch=1000 entries=2000 form=json"].baselines[0].ratio.median > 1


def test_a_naive_service_with_other_entries_is_a_wrong_answer(tiny, tmp_path):
    held, others = (Listed("0" * 64, {"sha256": random_digests(tiny.seed, name, 500)}) for name in ("held", "others"))
    with naive(held, tmp_path) as rival:
        contest = _contest(held, rival)
        load = naive_load(contest, rival, tiny.seed)
        assert load.reply_bytes > load.head_bytes
        with pytest.raises(WrongAnswer, match="the naive service answered wrong"):
            naive_load(_contest(others, rival), rival, tiny.seed)


def _contest(listed: Listed, server: Server) -> http_beside_naive.Contest:
    load = http_beside_naive.Load(JSON_1000.target, JSON_1000.content_type, "bodies", 1, 1, 1)
    return http_beside_naive.Contest(JSON_1000, listed, server, load, b"")
