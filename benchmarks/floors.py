"""The gate: no ratio to a baseline may fall below its committed floor, and no gated figure may vanish.

floors.json holds, for the quick suite, {part: {figure's name: {baseline: floor}}}; a floor bounds how many times as
good as the baseline the figure is (Figure.times_as_good), and was 70 % of what was measured when it was set. Ratios of
one run travel between machines. What noise does to them is met by measuring the part once more: the better of the two
counts, so that noise does not stop a change and a trick that was lost does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from benchmarks.figures import Figure
from benchmarks.results import Results

FLOORS_FILE: Final = Path(__file__).with_name("floors.json")
SHARE_OF_MEASURED: Final = 0.7
#: A ratio that was taken fewer times than this has no median worth the name, and gets no floor.
_LEAST_ROUNDS: Final = 3
#: Figures with such keys have goals but no floors: what stands out of a tail is the machine's as often as ours.
_UNGATED: Final = "tail"

Floors = Mapping[str, Mapping[str, Mapping[str, float]]]
_REMEDY: Final = (
    "What to do: find the change that made it slower (`python -m benchmarks quick --part {part}`, before and after). "
    "Where the loss is meant or the figure was renamed, set the floors anew from the --json files of quiet runs "
    "(`python -m benchmarks --set-floors FILE`, which may be repeated) and say why in the commit."
)


@dataclass(frozen=True, slots=True)
class Floor:
    """One bound, and what was measured there: None when the figure or its baseline is gone."""

    part: str
    figure: str
    baseline: str
    least: float
    measured: float | None

    @property
    def holds(self) -> bool:
        """Whether what was measured is at the bound or above."""
        return self.measured is not None and self.measured >= self.least

    def __str__(self) -> str:
        said = "is no longer measured" if self.measured is None else f"is {self.measured:.3g} times as good"
        return f"{self.part}: {self.figure}, beside {self.baseline}: {said}; its floor is {self.least:.3g}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says: lines for people, and whether the change may pass."""

    lines: tuple[str, ...]
    passed: bool


def check_floors(
    floors: Floors,
    measured: Mapping[str, Sequence[Figure]],
    again: Callable[[str], Sequence[Figure]],
    skipped: Collection[str] = (),
) -> Verdict:
    """Hold figures, by part, against the floors; `again(part)` measures a part once more.

    Floors of the parts named in `skipped` are not looked at; those of any other part that was not measured fail.
    """
    lines: list[str] = []
    count = failed = 0
    for part, bounds in floors.items():
        if part in skipped:
            lines.append(f"not held against its floors, since it was not measured: {part}")
            continue
        first = _floors(part, bounds, measured.get(part, ()))
        count += len(first)
        low = [floor for floor in first if not floor.holds and floor.measured is not None]
        lines += [f"below its floor, so {part} is measured once more: {floor}" for floor in low]
        # What is gone stays gone: only a ratio that was too low gets a second try.
        second = _floors(part, bounds, again(part)) if low else first
        failures = 0
        for floor, retried in zip(first, second, strict=True):
            if floor.holds:
                continue
            if floor.measured is not None and retried.holds:
                lines.append(f"recovered: {retried} (at first {floor.measured:.3g}); the better of the two counts")
            else:
                failures += 1
                lines.append(f"FAILED: {_better(floor, retried)}")
        if failures:
            lines.append(_REMEDY.format(part=part))
        failed += failures
    lines.append(f"floors: {count - failed} of {count} hold")
    return Verdict(tuple(lines), not failed)


def floors_from(runs: Sequence[Results]) -> dict[str, dict[str, dict[str, float]]]:
    """Give the floors that runs would set: 70 % of the least that any of them measured, but for tails.

    Only ratios that were taken in at least 3 rounds get one.
    """
    floors: dict[str, dict[str, dict[str, float]]] = {}
    for part in (part for results in runs for part in results.parts):
        for figure in part.figures:
            for name, times in _gated(figure):
                bounds = floors.setdefault(part.name, {}).setdefault(figure.name, {})
                least = float(f"{SHARE_OF_MEASURED * times:.3g}")
                bounds[name] = min(least, bounds.get(name, least))
    return floors


def read_floors(path: Path) -> Floors:
    """Read the floors that are committed."""
    floors: Floors = orjson.loads(path.read_bytes())
    return floors


def write_floors(floors: Floors, path: Path) -> None:
    """Write floors as read_floors reads them."""
    path.write_bytes(orjson.dumps(floors, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _gated(figure: Figure) -> Iterator[tuple[str, float]]:
    for baseline in () if figure.key.startswith(_UNGATED) else figure.baselines:
        if baseline.ratio.rounds >= _LEAST_ROUNDS:
            yield baseline.name, figure.times_as_good(baseline)


def _floors(part: str, bounds: Mapping[str, Mapping[str, float]], figures: Iterable[Figure]) -> list[Floor]:
    measured = {
        (figure.name, baseline.name): figure.times_as_good(baseline)
        for figure in figures
        for baseline in figure.baselines
    }
    return [
        Floor(part, name, baseline, least, measured.get((name, baseline)))
        for name, of_figure in bounds.items()
        for baseline, least in of_figure.items()
    ]


def _better(first: Floor, second: Floor) -> Floor:
    if first.measured is None or second.measured is None:
        return first
    return max(first, second, key=lambda floor: floor.measured or 0)
