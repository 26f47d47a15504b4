"""The part that measures the slowest answers, tiny; and which requests count as having met a swap."""

import numpy as np
import pytest

from benchmarks import tail
from benchmarks.errors import CannotMeasure, WrongAnswer
from benchmarks.run import Run
from benchmarks.swaps import Swap, met, over_time

OLD, NEW = "aa", "bb"


@pytest.mark.needs("wrk")
def test_it_is_measured_in_peace_and_while_snapshots_are_swapped(tiny, tmp_path):
    figures = {figure.name: figure for figure in tail.measure(Run(tiny, tmp_path))}
    at = "batch=1000 entries=3000"
    swaps = [f"tail swap p99 {at} verified={when}" for when in ("before", "now")]
    assert list(figures) == [*(f"tail {share} {at}" for share in ("p50", "p99", "p99.9", "max")), *swaps]
    assert [goal.bound for goal in figures[f"tail p99 {at}"].goals] == [5]
    medians = [figures[f"tail {share} {at}"].spread.median for share in ("p50", "p99", "p99.9", "max")]
    assert medians == sorted(medians)
    for name in swaps:
        assert [(goal.ratio_to, goal.bound) for goal in figures[name].goals] == [("p50", 10)]
        assert figures[name].spread.rounds == tiny.swaps
        times = [since for since, _ in figures[name].series]
        assert times[0] < 0 < times[-1]
        assert times == sorted(times)


def made_up(swapped_at, served_at, seconds=3.0, rate=100):
    """Give rows of a load of which every request takes 1 ms, and those due in a swap 20 ms."""
    due = np.arange(0, seconds, 1 / rate)
    took = np.where((due >= swapped_at) & (due < served_at), 0.02, 0.001)
    return np.column_stack([due, due, due + took, due >= served_at])


def test_a_swap_lasts_from_current_until_a_while_after_the_first_new_reply():
    rows = made_up(swapped_at=1.0, served_at=1.2)
    (found,) = met(rows, [Swap(1.0, NEW)], [OLD, NEW])
    assert found.served_seconds == pytest.approx(0.201)
    assert len(found.latencies) == 20 + 25 + 1  # until it is served, and a quarter of a second more
    assert (found.latencies > 0.01).sum() == 20
    points = dict(over_time(rows, [Swap(1.0, NEW)]))
    assert points[-0.1] == pytest.approx(1.0)
    assert points[0.1] == pytest.approx(20.0)
    assert points[0.4] == pytest.approx(1.0)


def test_there_and_back_are_two_swaps():
    rows = made_up(swapped_at=1.0, served_at=1.2)
    rows[rows[:, 0] >= 2.1, 3] = 0
    there, back = met(rows, [Swap(1.0, NEW), Swap(2.0, OLD)], [OLD, NEW])
    assert there.served_seconds == pytest.approx(0.201)
    assert back.served_seconds == pytest.approx(0.101)


def test_an_old_reply_after_a_new_one_is_a_wrong_answer():
    rows = made_up(swapped_at=1.0, served_at=1.2)
    rows[150, 3] = 0
    with pytest.raises(WrongAnswer, match="an old snapshot answered after a new"):
        met(rows, [Swap(1.0, NEW)], [OLD, NEW])


def test_a_snapshot_that_was_never_served_gives_no_figure():
    rows = made_up(swapped_at=1.0, served_at=9.0)
    with pytest.raises(CannotMeasure, match="was not served"):
        met(rows, [Swap(1.0, NEW)], [OLD, NEW])
    with pytest.raises(CannotMeasure, match="was not served before the next one"):
        met(made_up(1.0, 1.5), [Swap(1.0, NEW), Swap(1.2, OLD)], [OLD, NEW])
