"""Figures, goals, and how they are shown in a terminal."""

from dataclasses import replace

import pytest

from benchmarks.errors import NoFigure
from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.results import PartResult, Results
from benchmarks.selection import along, baselines_along, pick, select
from benchmarks.sizes import Sizes
from benchmarks.table import as_text, missed_goals, number, spread_text
from tests.benchmarks.made_up import MACHINE, figure


def test_a_ratio_is_taken_within_each_round():
    # The machine was half as fast in the second round, for both: the ratio does not see it.
    baseline = beside("other", [10.0, 20.0, 12.0], [20.0, 40.0, 40.0])
    assert baseline.ratio == Spread(median=0.5, least=0.3, most=0.5, rounds=3)
    assert baseline.spread == Spread(median=40.0, least=20.0, most=40.0, rounds=3)


def test_rounds_without_their_baseline_are_refused():
    with pytest.raises(ValueError, match="zip"):
        beside("other", [1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal(100, at_most=True), True),
        (Goal(99, at_most=True), False),
        (Goal(100, at_most=False), True),
        (Goal(101, at_most=False), False),
        (Goal(0.5, at_most=False, ratio_to="other"), True),
        (Goal(0.6, at_most=False, ratio_to="other"), False),
        (Goal(0.4, at_most=True, ratio_to="other"), False),
    ],
)
def test_a_goal_bounds_the_median_of_the_figure_or_of_the_ratio(goal, met):
    baselines = (beside("another", [1.0], [1.0]), beside("other", [100.0], [200.0]))
    measured = Figure("part", "key", "what", "ns", Spread.of([90, 100, 300]), {}, baselines, (goal,))
    assert measured.met(goal) is met


@pytest.mark.parametrize(("unit", "times"), [("ns", 4.0), ("MiB", 4.0), ("requests/s", 0.25)])
def test_times_as_good_is_above_1_for_what_is_better(unit, times):
    measured = Figure("part", "key", "what", unit, Spread.of([50.0]), {}, (beside("other", [50.0], [200.0]),))
    assert measured.times_as_good(measured.baseline("other")) == times


def test_a_figure_is_named_by_what_it_was_measured_at_in_whatever_order():
    one = figure("miss", "ns", 1.0, batch=10, entries=5)
    assert one.name == "miss batch=10 entries=5" == figure("miss", "ns", 1.0, entries=5, batch=10).name


def test_figures_are_found_by_some_of_what_they_were_measured_at():
    figures = [figure("miss", "ns", 1.0, {"set": 2.0}, batch=batch, entries=5) for batch in (100, 1, 10)]
    figures.append(figure("miss", "ns", 1.0, {"set": 2.0}, batch=1, entries=6))
    figures.append(figure("hit", "ns", 1.0, entries=5))
    assert select(figures, "miss", entries=5) == figures[:3]
    assert pick(figures, "miss", batch=1, entries=6) is figures[3]
    assert [place for place, _ in along(figures, "batch", "miss", entries=5)] == [1, 10, 100]
    lines = baselines_along(along(figures, "batch", "miss", entries=5))
    assert {name: [place for place, _ in line] for name, line in lines.items()} == {"set": [1, 10, 100]}
    with pytest.raises(NoFigure, match=r"miss batch=1 may be any of miss batch=1 entries=5, miss batch=1 entries=6"):
        pick(figures, "miss", batch=1)
    with pytest.raises(NoFigure, match="no figure miss entries=7 was measured"):
        select(figures, "miss", entries=7)
    with pytest.raises(NoFigure, match="miss batch=10 was not measured at several entries"):
        along(figures, "entries", "miss", batch=10)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0123456, "0.0123"),
        (0.5, "0.5"),
        (4.0, "4"),
        (4.567, "4.57"),
        (45.67, "45.7"),
        (456.7, "457"),
        (35e3, "35,000"),
    ],
)
def test_a_number_is_shown_with_the_digits_that_are_worth_reading(value, shown):
    assert number(value) == shown


def test_what_was_measured_once_has_no_range():
    assert spread_text(Spread.of([5.0])) == "5"
    assert spread_text(Spread.of([5.0, 4.0, 7.0])) == "5 (4–7)"


def test_the_table_says_what_was_missed_left_out_and_where_it_was_measured():
    slow = (beside("set", [500.0], [100.0]), beside("bag", [500.0], [1000.0]))
    goals = (Goal(100, at_most=True), Goal(0.6, at_most=True, ratio_to="bag"))
    figures = (
        Figure("speed", "fast", "fast thing", "ns", Spread.of([50, 60, 70]), goals=(Goal(100, at_most=True),)),
        Figure("speed", "slow", "slow thing", "ns", Spread.of([500]), {}, slow, goals),
        Figure("size", "thing", "thing", "MiB", Spread.of([1234]), note="as it is"),
    )
    part = PartResult("made-up", 1.0, figures)
    results = Results("quick", replace(MACHINE, load_before=3.0), Sizes(seed=77), (part,), {"http": "no wrk"})
    lines = as_text(results).splitlines()
    text = "\n".join(" ".join(line.split()) for line in lines)
    assert "Some CPU, 2 cores, 4 GiB, Linux 6" in text
    assert "numpy 2.4, sort 9.1" in text
    assert "seed 77;" in text
    assert "NOT QUIET" in text
    assert "fast thing 60 (50–70) ns ≤ 100 ns yes" in text
    assert "slow thing 500 ns set 100 ns 5 × ≤ 100 ns NO\nbag 1,000 ns 0.5 × ≤ 0.6 × bag yes" in text
    assert "thing: as it is" in text
    assert "left out: http: no wrk" in text
    assert lines[-1] == "goals met: 2 of 3; MISSED: slow thing (≤ 100 ns)"
    assert missed_goals(results) == ["slow thing (≤ 100 ns)"]
