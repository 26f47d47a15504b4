"""Figures, goals and how they are shown."""

import orjson
import pytest

from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.machine import Machine
from benchmarks.sizes import Sizes
from benchmarks.table import as_json, as_text


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
        (Goal(0.5, at_most=False, of_ratio=True), True),
        (Goal(0.6, at_most=False, of_ratio=True), False),
        (Goal(0.4, at_most=True, of_ratio=True), False),
        (None, None),
    ],
)
def test_a_goal_bounds_the_median_of_the_figure_or_of_the_ratio(goal, met):
    figure = Figure("part", "what", "ns", Spread.of([90, 100, 300]), (beside("other", [100.0], [200.0]),), goal)
    assert figure.met is met


def test_the_table_says_what_was_missed_and_where_it_was_measured():
    machine = Machine("2026-01-01", "Some CPU", 2, 4.0, "Linux 6", "CPython 3", {"numpy": "2.4"}, load_before=3.0)
    figures = [
        Figure("speed", "fast thing", "ns", Spread.of([50, 60, 70]), goal=Goal(100, at_most=True)),
        Figure(
            "speed", "slow thing", "ns", Spread.of([500]), (beside("set", [500.0], [100.0]),), Goal(100, at_most=True)
        ),
        Figure("size", "thing", "MiB", Spread.of([1234]), note="as it is"),
    ]
    lines = as_text(figures, machine, Sizes(seed=77)).splitlines()
    text = "\n".join(" ".join(line.split()) for line in lines)
    assert "Some CPU, 2 cores, 4 GiB, Linux 6" in text
    assert "seed 77;" in text
    assert "NOT QUIET" in text
    assert "fast thing 60.0 (50.0–70.0) ns ≤ 100 ns yes" in text
    assert "slow thing 500 ns set 100 ns 5.00 × ≤ 100 ns NO" in text
    assert "thing: as it is" in text
    assert lines[-1] == "goals met: 1 of 2; MISSED: slow thing"
    report = orjson.loads(as_json(figures, machine, Sizes(seed=77)))
    assert [figure["met"] for figure in report["figures"]] == [True, False, None]
    assert (report["sizes"]["seed"], report["machine"]["cpu"]) == (77, "Some CPU")
