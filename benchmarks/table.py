"""Shows figures as a table for people and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby

import orjson

from benchmarks.figures import Figure, Goal, Spread
from benchmarks.machine import Machine
from benchmarks.sizes import Sizes

_HEADINGS = ("what", "median (min–max)", "baseline", "ratio (min–max)", "goal", "met?")
#: A load average above this before the run means that someone else wants the cores.
_QUIET_LOAD = 0.5
_LEGEND = "ratio = ours ÷ baseline, within each round; below 1 is better for times and sizes, above 1 for rates"


def as_text(figures: Sequence[Figure], machine: Machine, sizes: Sizes) -> str:
    """Give the whole report: machine, sizes, the table, notes."""
    lines = [*machine.lines(), *_size_lines(sizes), ""]
    if machine.load_before > _QUIET_LOAD:
        lines += ["The machine was NOT QUIET: others were at work when the run began, so spreads are wide.", ""]
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for part, members in groupby(figures, key=lambda figure: figure.part):
        rows.append((part.upper(), "", "", "", "", ""))
        for figure in members:
            rows += _rows(figure)
            notes += [f"  {figure.what}: {figure.note}"] if figure.note else []
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    for row in (_HEADINGS, tuple("─" * width for width in widths), *rows):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    missed = [figure.what for figure in figures if figure.met is False]
    goals = sum(figure.met is not None for figure in figures)
    lines += ["", _LEGEND, *notes, ""]
    lines.append(f"goals met: {goals - len(missed)} of {goals}" + "".join(f"; MISSED: {what}" for what in missed))
    return "\n".join(lines)


def as_json(figures: Sequence[Figure], machine: Machine, sizes: Sizes) -> bytes:
    """Give the same for scripts."""
    report = {
        "machine": asdict(machine),
        "sizes": asdict(sizes),
        "figures": [{**asdict(figure), "met": figure.met} for figure in figures],
    }
    return orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _rows(figure: Figure) -> list[tuple[str, ...]]:
    unit = figure.unit
    goal = _goal(figure.goal, figure) if figure.goal else ""
    met = {None: "", True: "yes", False: "NO"}[figure.met]
    baselines = [
        (f"{baseline.name} {_number(baseline.spread.median)} {unit}", f"{_spread(baseline.ratio)} ×")
        for baseline in figure.baselines
    ] or [("", "")]
    first = (figure.what, f"{_spread(figure.spread)} {unit}", *baselines[0], goal, met)
    return [first, *(("", "", *baseline, "", "") for baseline in baselines[1:])]


def _goal(goal: Goal, figure: Figure) -> str:
    unit = f"× {figure.baselines[0].name}" if goal.of_ratio else figure.unit
    return f"{'≤' if goal.at_most else '≥'} {goal.bound:g} {unit}"


def _spread(spread: Spread) -> str:
    if spread.rounds == 1:
        return _number(spread.median)
    return f"{_number(spread.median)} ({_number(spread.least)}–{_number(spread.most)})"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}" if value < 1 else f"{value:.2f}"


def _size_lines(sizes: Sizes) -> list[str]:
    http, compiled = sizes.http_rounds, sizes.compile_rounds
    return [
        f"seed {sizes.seed}; {sizes.entries:,} sha256 entries, false-positive rate 0.1 %; miss ratio 1.0, but for hits",
        f"in process: {sizes.rounds} rounds; each call a fresh random batch, walking through a pool of {sizes.pool:,}",
        f"HTTP: {sizes.connections} connections, loopback, {http} rounds of {sizes.http_seconds:g} s in turns",
        f"compile: {sizes.compile_lines:,} lines, {compiled} rounds in turns",
    ]
