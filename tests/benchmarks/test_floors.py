"""The gate: passes, trips, recovers on the second try, and misses what is gone."""

from dataclasses import replace

import orjson
import pytest

from benchmarks.figures import Figure, Spread, beside
from benchmarks.floors import FLOORS_FILE, check_floors, floors_from, read_floors, write_floors
from benchmarks.parts import SUITES
from benchmarks.results import PartResult, Results
from benchmarks.sizes import Sizes
from tests.benchmarks.made_up import MACHINE

FLOORS = {"http": {"miss batch=10": {"set": 2.0, "bag": 1.0}}, "size": {"bytes": {"text": 1.5}}}


def miss(ns=50.0, names=("set", "bag"), batch=10):
    """A figure that is 200 / ns times as good as each baseline."""
    baselines = tuple(beside(name, [ns] * 3, [200.0] * 3) for name in names)
    return Figure("part", "miss", "a miss", "ns", Spread.of([ns]), {"batch": batch}, baselines)


SIZE = Figure("part", "bytes", "bytes", "bytes", Spread.of([20.0]), {}, (beside("text", [20.0], [40.0]),))


class Again:
    """Measures a part once more, and notes that it did."""

    def __init__(self, *figures):
        self.figures = figures
        self.parts = []

    def __call__(self, part):
        self.parts.append(part)
        return self.figures


def test_ratios_at_their_floor_or_above_pass_and_nothing_is_measured_again():
    again = Again()
    verdict = check_floors(FLOORS, {"http": [miss(100.0)], "size": [SIZE]}, again)
    assert verdict.passed
    assert verdict.lines == ("floors: 3 of 3 hold",)
    assert again.parts == []


def test_a_lost_trick_trips_the_gate_and_is_named():
    again = Again(miss(110.0))
    verdict = check_floors(FLOORS, {"http": [miss(125.0)], "size": [SIZE]}, again)
    assert not verdict.passed
    assert again.parts == ["http"]
    first, failed, remedy, count = verdict.lines
    where = "http: miss batch=10, beside set"
    assert first == (f"below its floor, so http is measured once more: {where}: is 1.6 times as good; its floor is 2")
    assert failed == f"FAILED: {where}: is 1.82 times as good; its floor is 2"  # the better of the two counts
    assert "--part http" in remedy
    assert "--set-floors" in remedy
    assert count == "floors: 2 of 3 hold"


def test_noise_recovers_when_the_part_is_measured_once_more():
    again = Again(miss(60.0))
    verdict = check_floors(FLOORS, {"http": [miss(300.0)], "size": [SIZE]}, again)
    assert verdict.passed
    assert again.parts == ["http"]
    assert len([line for line in verdict.lines if line.startswith("below its floor")]) == 2
    assert (
        "recovered: http: miss batch=10, beside set: is 3.33 times as good; its floor is 2 (at first 0.667); "
        in (verdict.lines[2])
    )
    assert verdict.lines[-1] == "floors: 3 of 3 hold"


def test_the_better_of_the_two_counts_also_when_the_second_is_the_worse():
    verdict = check_floors(FLOORS, {"http": [miss(150.0)], "size": [SIZE]}, Again(miss(180.0)))
    assert not verdict.passed
    assert verdict.lines[1] == "FAILED: http: miss batch=10, beside set: is 1.33 times as good; its floor is 2"


@pytest.mark.parametrize(
    ("figures", "gone"),
    [
        ([miss(names=("set",))], ["bag"]),
        ([miss(batch=11)], ["set", "bag"]),
        ([], ["set", "bag"]),
    ],
)
def test_a_floor_whose_figure_is_gone_fails_by_name_and_is_not_measured_again(figures, gone):
    again = Again(miss())
    verdict = check_floors(FLOORS, {"http": figures, "size": [SIZE]}, again)
    assert not verdict.passed
    assert again.parts == []
    for baseline in gone:
        assert any(
            f"FAILED: http: miss batch=10, beside {baseline}: is no longer measured" in line for line in verdict.lines
        )


def test_a_part_that_is_gone_fails_but_one_that_was_left_out_is_said():
    assert not check_floors(FLOORS, {"size": [SIZE]}, Again()).passed
    verdict = check_floors(FLOORS, {"size": [SIZE]}, Again(), skipped=["http"])
    assert verdict.passed
    assert verdict.lines == (
        "not held against its floors, since it was not measured: http", "floors: 1 of 1 hold",
    )  # fmt: skip


def test_floors_are_70_percent_of_the_ratios_that_were_taken_often_enough(tmp_path):
    rate = Figure("p", "rate", "rate", "requests/s", Spread.of([90.0]), {}, (beside("bare", [90.0] * 3, [100.0] * 3),))
    tail = replace(rate, key="tail p99")
    parts = (PartResult("http", 1.0, (miss(50.0), rate)), PartResult("size", 1.0, (SIZE, tail)))
    floors = floors_from([Results("quick", MACHINE, Sizes(), parts)])
    # The size's ratio was taken once, and a tail is the machine's mood: no floors.
    assert floors == {"http": {"miss batch=10": {"set": 2.8, "bag": 2.8}, "rate": {"bare": 0.63}}}
    write_floors(floors, tmp_path / "floors.json")
    assert read_floors(tmp_path / "floors.json") == floors
    assert (tmp_path / "floors.json").read_bytes().endswith(b"\n")


def test_of_several_runs_the_least_sets_the_floor():
    runs = [
        Results("quick", MACHINE, Sizes(), (PartResult("http", 1.0, figures),))
        for figures in ((miss(50.0),), (miss(100.0), miss(40.0, batch=11)), (miss(80.0),))
    ]
    assert floors_from(runs) == {
        "http": {"miss batch=10": {"set": 1.4, "bag": 1.4}, "miss batch=11": {"set": 3.5, "bag": 3.5}},
    }  # fmt: skip


def test_the_committed_floors_are_of_parts_that_the_quick_suite_has():
    floors = orjson.loads(FLOORS_FILE.read_bytes())
    assert floors
    assert set(floors) <= set(SUITES["quick"].parts)
    bounds = [least for figures in floors.values() for figure in figures.values() for least in figure.values()]
    assert len(bounds) >= 20
    assert all(isinstance(least, float) and least > 0 for least in bounds)
