"""Shows results as a table in a terminal, and the words and numbers that the Markdown report uses too."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from benchmarks.figures import Figure, Goal, Spread
from benchmarks.results import Results

_HEADINGS: Final = ("what", "median (min–max)", "baseline", "ratio (min–max)", "goal", "met?")
#: A load average above this before the run means that someone else wants the cores.
_QUIET_LOAD: Final = 0.5
LEGEND: Final = "ratio = ours ÷ baseline, within each round; below 1 is better for times and sizes, above 1 for rates"
NOT_QUIET: Final = "The machine was NOT QUIET: others were at work when the run began, so spreads are wide."


def as_text(results: Results) -> str:
    """Give the whole report: machine, sizes, the table, notes, goals missed and parts left out."""
    lines = [*results.machine.lines(), *size_lines(results), ""]
    if not was_quiet(results):
        lines += [NOT_QUIET, ""]
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for part, members in groupby(results.figures(), key=lambda figure: figure.part):
        rows.append((part.upper(), "", "", "", "", ""))
        for figure in members:
            rows += _rows(figure)
            notes += [f"  {figure.what}: {figure.note}"] if figure.note else []
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    for row in (_HEADINGS, tuple("─" * width for width in widths), *rows):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    missed = missed_goals(results)
    goals = sum(len(figure.goals) for figure in results.figures())
    lines += ["", LEGEND, *notes, ""]
    lines += [f"left out: {name}: {why}" for name, why in results.left_out.items()]
    lines.append(f"goals met: {goals - len(missed)} of {goals}" + "".join(f"; MISSED: {what}" for what in missed))
    return "\n".join(lines)


def missed_goals(results: Results) -> list[str]:
    """Name the goals that are missed: what was measured, and the bound."""
    return [
        f"{figure.what} ({goal_text(goal, figure)})"
        for figure in results.figures()
        for goal in figure.goals
        if not figure.met(goal)
    ]


def was_quiet(results: Results) -> bool:
    """Tell whether the machine had nothing else to do when the run began."""
    return results.machine.load_before <= _QUIET_LOAD


def size_lines(results: Results) -> list[str]:
    """Say how much of everything was measured, as far as it was."""
    sizes = results.sizes
    said = {
        "in-process": f"in process: {sizes.rounds} rounds; each call a fresh random batch, walking through a pool of "
        f"{sizes.pool:,}; miss ratio 1.0 but for hits",
        "http": f"HTTP: {sizes.connections} connections, loopback, {sizes.http_rounds} rounds of "
        f"{sizes.http_seconds:g} s in turns",
        "tail": f"tail: {sizes.http_rounds} rounds of {sizes.tail_seconds:g} s, {sizes.swaps} swaps of each kind",
        "suppressing": f"suppressing: {sizes.suppressions} digests, one after the other",
        "readers": f"list readers: {sizes.reader_rows:,} rows, {sizes.reader_rounds} rounds in turns",
        "compile": f"compile: {sizes.compile_lines:,} lines, {sizes.compile_rounds} rounds in turns",
        "compile-100m": f"compile: {sizes.huge_lines:,} lines, {sizes.huge_rounds} rounds in turns",
    }
    head = f"seed {sizes.seed}; {sizes.entries:,} sha256 entries where nothing else is said; false-positive rate 0.1 %"
    return [head, *(said[part.name] for part in results.parts if part.name in said)]


def goal_text(goal: Goal, figure: Figure) -> str:
    """Say a goal: `≤ 60 ns`, `≥ 0.8 × bare`."""
    sign = "≤" if goal.at_most else "≥"
    if goal.ratio_to is None:
        return f"{sign} {number(goal.bound)} {figure.unit}"
    return f"{sign} {number(goal.bound)} × {goal.ratio_to}"


def spread_text(spread: Spread) -> str:
    """Say a spread: `44 (41–52)`, or the number alone when it was measured once."""
    if spread.rounds == 1:
        return number(spread.median)
    return f"{number(spread.median)} ({number(spread.least)}–{number(spread.most)})"


def number(value: float) -> str:
    """Say a number with the digits that are worth reading."""
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def _rows(figure: Figure) -> list[tuple[str, ...]]:
    unit = figure.unit
    baselines = [
        (f"{baseline.name} {number(baseline.spread.median)} {unit}", f"{spread_text(baseline.ratio)} ×")
        for baseline in figure.baselines
    ] or [("", "")]
    goals = [(goal_text(goal, figure), "yes" if figure.met(goal) else "NO") for goal in figure.goals] or [("", "")]
    depth = max(len(baselines), len(goals))
    baselines += [("", "")] * (depth - len(baselines))
    goals += [("", "")] * (depth - len(goals))
    heads = [(figure.what, f"{spread_text(figure.spread)} {unit}"), *[("", "")] * (depth - 1)]
    return [(*head, *baseline, *goal) for head, baseline, goal in zip(heads, baselines, goals, strict=True)]
