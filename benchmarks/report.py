"""Writes report.md and the plots from the results that stand in a directory: goals, plots, every figure.

The same results give the same bytes: `python -m benchmarks.report DIRECTORY` draws them anew without measuring.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

import click

from benchmarks.errors import CannotMeasure, NoFigure
from benchmarks.figures import Figure, Goal
from benchmarks.plots import PLOTS, Plot, draw
from benchmarks.results import Results, read_results
from benchmarks.table import LEGEND, NOT_QUIET, goal_text, missed_goals, number, size_lines, spread_text, was_quiet

REPORT_NAME: Final = "report.md"
_INTRODUCTION: Final = (
    "# What was measured",
    "",
    "Written by `python -m benchmarks` (`make bench`, `make bench-100m`) from the JSON files beside it. Each figure is "
    "a median over rounds with the smallest and the largest in brackets. " + LEGEND + ".",
)


def write_report(directory: Path) -> None:
    """Write report.md and its plots there, from all results there; plots of before are removed.

    Raises CannotMeasure when there are no results or a file is not one.
    """
    results = [read_results(path) for path in sorted(directory.glob("*.json"))]
    if not results:
        raise CannotMeasure(f"{directory} holds no results: python -m benchmarks full --results {directory}")
    for old in directory.glob("*.svg"):
        old.unlink()
    figures = [figure for result in results for figure in result.figures()]
    drawn: list[Plot] = []
    missing: list[str] = []
    for plot in PLOTS:
        try:
            (directory / plot.file_name).write_bytes(draw(plot, figures))
        except NoFigure as error:
            missing.append(f"Not drawn, “{plot.title}”: {error}.")
        else:
            drawn.append(plot)
    (directory / REPORT_NAME).write_text(as_markdown(results, drawn, missing), encoding="utf-8")


def as_markdown(results: Sequence[Results], drawn: Sequence[Plot], missing: Sequence[str]) -> str:
    """Give the report's text; `drawn` are embedded, `missing` are sentences about plots that were not drawn."""
    lines = [*_INTRODUCTION]
    for result in results:
        lines += ["", f"## Goals, suite {result.suite}", "", *_where(result), "", *_goals(result)]
    lines += ["", "## Plots"]
    for plot in drawn:
        lines += ["", f"![{plot.title}]({plot.file_name})", "", plot.caption]
    lines += ["", *missing] if missing else []
    for result in results:
        lines += ["", f"## All figures, suite {result.suite}", *_all_figures(result)]
    return "\n".join(lines) + "\n"


def _where(result: Results) -> Iterator[str]:
    for line in (*result.machine.lines(), *size_lines(result)):
        yield f"- {line}"
    yield f"- {result.seconds / 60:.0f} minutes"
    if not was_quiet(result):
        yield f"- {NOT_QUIET}"
    for name, why in result.left_out.items():
        yield f"- left out: {name}: {why}"


def _goals(result: Results) -> Iterator[str]:
    rows = [
        (figure.what, goal_text(goal, figure), _against(goal, figure), "met" if figure.met(goal) else "**missed**")
        for figure in result.figures()
        for goal in figure.goals
    ]
    yield from _table(("what", "goal", "measured, median (min–max)", ""), rows)
    yield ""
    yield f"{len(rows) - len(missed_goals(result))} of {len(rows)} goals met."


def _against(goal: Goal, figure: Figure) -> str:
    if goal.ratio_to is None:
        return f"{spread_text(figure.spread)} {figure.unit}"
    baseline = figure.baseline(goal.ratio_to)
    beside = f"{number(figure.spread.median)} beside {number(baseline.spread.median)} {figure.unit}"
    return f"{spread_text(baseline.ratio)} × ({beside})"


def _all_figures(result: Results) -> Iterator[str]:
    for part, members in groupby(result.figures(), key=lambda figure: figure.part):
        yield from ("", f"### {part[0].upper()}{part[1:]}", "")
        yield from _table(
            ("what", "median (min–max)", "rounds", "beside it", "ratio (min–max)", "note"),
            [row for figure in members for row in _rows(figure)],
        )


def _rows(figure: Figure) -> Iterator[tuple[str, ...]]:
    unit = figure.unit
    beside = [
        (f"{baseline.name} {number(baseline.spread.median)} {unit}", f"{spread_text(baseline.ratio)} ×")
        for baseline in figure.baselines
    ] or [("–", "–")]
    yield (
        figure.what, f"{spread_text(figure.spread)} {unit}", str(figure.spread.rounds), *beside[0], figure.note
    )  # fmt: skip
    for baseline in beside[1:]:
        yield ("", "", "", *baseline, "")


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
def main(directory: Path) -> None:
    """Write report.md and the plots in DIRECTORY from the results there."""
    write_report(directory)


if __name__ == "__main__":
    main()
