"""What was measured: a spread over rounds, beside baselines, against a goal.

A ratio is taken within each round, where figure and baseline met the same machine in the same mood, and is
itself a spread over the rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


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
    """A bound on the median: of the figure, or of its ratio to the first baseline."""

    bound: float
    at_most: bool
    of_ratio: bool = False

    def met_by(self, median: float) -> bool:
        """Tell whether a median keeps to the bound."""
        return median <= self.bound if self.at_most else median >= self.bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    part: str
    what: str
    unit: str
    spread: Spread
    baselines: tuple[Baseline, ...] = ()
    goal: Goal | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.goal.met_by(self.baselines[0].ratio.median if self.goal.of_ratio else self.spread.median)


def beside(name: str, values: Sequence[float], baseline: Sequence[float]) -> Baseline:
    """Give a baseline with the ratio of `values` to it."""
    return Baseline(name, Spread.of(baseline), Spread.of_ratios(values, baseline))
