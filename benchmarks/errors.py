"""What stops a run.

BenchmarkError
├── WrongAnswer     an answer that was timed was not the right one: there is no figure then
├── CannotMeasure   something the run needs is not there: a program, room on the disk, a server that starts
└── NoFigure        the results hold no figure of that name, or several: a plot or a row of a table is not made
"""

from __future__ import annotations


class BenchmarkError(Exception):
    """Root of the family."""


class WrongAnswer(BenchmarkError):
    """A timed answer was wrong."""


class CannotMeasure(BenchmarkError):
    """The run cannot be made here; the message says what is missing."""


class NoFigure(BenchmarkError):
    """The results hold no such figure, or several; the message names it."""


def must(holds: bool, what: str) -> None:
    """Raise WrongAnswer unless `holds`; an `assert` would vanish under python -O."""
    if not holds:
        raise WrongAnswer(what)
