"""What was measured: a spread over rounds, beside baselines, against a goal.

A ratio is taken within each round, where figure and baseline met the same machine in the same mood, and is
itself a spread over the rounds. A figure is named by its key and what it was measured at (`miss batch=1000
entries=1000000`): plots, the README's table and the floors find it by that name, so it stays the same from run to run.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of several measurements."""

    median: float
    least: float
    most: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise measurements, of which there is at least one."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    @classmethod
    def of_ratios(cls, values: Sequence[float], baselines: Sequence[float]) -> Spread:
        """Summarise value / baseline, round by round."""
        return cls.of([value / baseline for value, baseline in zip(values, baselines, strict=True)])


@dataclass(frozen=True, slots=True)
class Baseline:
    """Something else that was measured in the same rounds, in the figure's unit."""

    name: str
    spread: Spread
    ratio: Spread


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on the median: of the figure, or of its ratio to the baseline of that name."""

    bound: float
    at_most: bool
    ratio_to: str | None = None

    def met_by(self, median: float) -> bool:
        """Tell whether a median keeps to the bound."""
        return median <= self.bound if self.at_most else median >= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured.

    `key` and `at` name it; `what` says it to people. `series` are points (x, y) for a plot of this figure alone,
    such as latency over time. Rates (units that end in /s) are better when larger, everything else when smaller.
    """

    part: str
    key: str
    what: str
    unit: str
    spread: Spread
    at: Mapping[str, int | float | str] = field(default_factory=dict)
    baselines: tuple[Baseline, ...] = ()
    goals: tuple[Goal, ...] = ()
    note: str = ""
    series: tuple[tuple[float, float], ...] = ()

    @property
    def name(self) -> str:
        """The key and what it was measured at, in alphabetical order: `miss batch=1000 entries=1000000`."""
        return " ".join([self.key, *(f"{name}={self.at[name]}" for name in sorted(self.at))])

    @property
    def more_is_better(self) -> bool:
        """Whether this is a rate."""
        return self.unit.endswith("/s")

    def baseline(self, name: str) -> Baseline:
        """Give the baseline of that name. Raises KeyError."""
        for baseline in self.baselines:
            if baseline.name == name:
                return baseline
        raise KeyError(f"{self.name} has no baseline {name}")

    def met(self, goal: Goal) -> bool:
        """Tell whether one of the goals is met."""
        of = self.spread if goal.ratio_to is None else self.baseline(goal.ratio_to).ratio
        return goal.met_by(of.median)

    def times_as_good(self, baseline: Baseline) -> float:
        """Give the median of how many times as good as a baseline this is: above 1 is better, whatever the unit."""
        return baseline.ratio.median if self.more_is_better else 1 / baseline.ratio.median


def beside(name: str, values: Sequence[float], baseline: Sequence[float]) -> Baseline:
    """Give a baseline with the ratio of `values` to it."""
    return Baseline(name, Spread.of(baseline), Spread.of_ratios(values, baseline))
