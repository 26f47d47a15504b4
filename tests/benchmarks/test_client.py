"""The part that asks by a Python client, tiny; and that each side must find the entries."""

from contextlib import closing

import pytest

from benchmarks import client_beside_redis
from benchmarks.client_beside_redis import HttpClient, RedisClient, check
from benchmarks.digests import cut, random_digests
from benchmarks.errors import WrongAnswer
from benchmarks.peers.redis_server import fill, redis_server
from benchmarks.processes import serving_store
from benchmarks.run import Run

pytestmark = pytest.mark.needs("redis")


def test_both_sides_are_measured_with_the_same_entries(tiny, tmp_path):
    figures = {figure.name: figure for figure in client_beside_redis.measure(Run(tiny, tmp_path))}
    assert set(figures) == {"size beside redis entries=3000"} | {
        f"client batch={batch} entries=3000 form={form}" for batch in (1, 1_000, 10_000) for form in ("json", "packed")
    }
    goals = {name: [(goal.ratio_to, goal.bound) for goal in figure.goals] for name, figure in figures.items()}
    assert goals["client batch=1000 entries=3000 form=packed"] == [("Redis", 1.2)]
    assert goals["client batch=10000 entries=3000 form=packed"] == [("Redis", 3)]
    assert goals["client batch=10000 entries=3000 form=json"] == []
    assert goals["size beside redis entries=3000"] == [("Redis", 0.45)]
    for figure in figures.values():
        assert figure.spread.least > 0
        assert [baseline.name for baseline in figure.baselines] == ["Redis"]


def test_a_side_that_misses_an_entry_is_a_wrong_answer(tiny, tmp_path):
    run = Run(tiny, tmp_path)
    entries, others = run.packed_entries(tiny.entries), random_digests(tiny.seed, "others", 1_000)
    with (
        redis_server(tmp_path) as peer,
        serving_store(run.store(tiny.entries), tmp_path, workers=1) as service,
        closing(HttpClient(service)) as ours,
        closing(RedisClient(peer)) as theirs,
    ):
        fill(peer, cut(entries, 1))
        for ask in (ours.packed, ours.column, theirs.members):
            for batch in (1, 100):
                check(ask, batch, entries, tiny.seed)
                with pytest.raises(WrongAnswer, match="was not told just the entries"):
                    check(ask, batch, others, tiny.seed)
