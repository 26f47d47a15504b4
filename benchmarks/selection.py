"""Finds figures by their key and what they were measured at: what plots and the README's table are made of."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.errors import NoFigure
from benchmarks.figures import Baseline, Figure


def select(figures: Sequence[Figure], key: str, **at: float | str) -> list[Figure]:
    """Give the figures of a key that were measured at these values, whatever else they were measured at.

    Raises NoFigure when there are none.
    """
    found = [figure for figure in figures if figure.key == key and at.items() <= figure.at.items()]
    if not found:
        raise NoFigure(f"no figure {_name(key, at)} was measured")
    return found


def pick(figures: Sequence[Figure], key: str, **at: float | str) -> Figure:
    """Give the only figure of a key that was measured at these values. Raises NoFigure when there is not just one."""
    found = select(figures, key, **at)
    if len(found) > 1:
        raise NoFigure(f"{_name(key, at)} may be any of {', '.join(figure.name for figure in found)}")
    return found[0]


def along(figures: Sequence[Figure], axis: str, key: str, **at: float | str) -> list[tuple[float, Figure]]:
    """Give the figures of `select` by growing `at[axis]`. Raises NoFigure unless there are two values or more."""
    points = [(float(figure.at[axis]), figure) for figure in select(figures, key, **at) if axis in figure.at]
    if len({place for place, _ in points}) < 2:
        raise NoFigure(f"{_name(key, at)} was not measured at several {axis}")
    return sorted(points, key=lambda point: point[0])


def baselines_along(points: Sequence[tuple[float, Figure]]) -> dict[str, list[tuple[float, Baseline]]]:
    """Give the baselines of such figures by name, each along the same axis, as far as they were measured."""
    found: dict[str, list[tuple[float, Baseline]]] = {}
    for place, figure in points:
        for baseline in figure.baselines:
            found.setdefault(baseline.name, []).append((place, baseline))
    return found


def _name(key: str, at: dict[str, float | str]) -> str:
    return " ".join([key, *(f"{name}={at[name]}" for name in sorted(at))])
