"""What stops a run.

BenchmarkError
├── WrongAnswer     an answer that was timed was not the right one: there is no figure then
└── CannotMeasure   something the run needs is not there: a program, room on the disk, a server that starts
"""

from __future__ import annotations


class BenchmarkError(Exception):
    """Root of the family."""


class WrongAnswer(BenchmarkError):
    """A timed answer was wrong."""


class CannotMeasure(BenchmarkError):
    """The run cannot be made here; the message says what is missing."""


def must(holds: bool, what: str) -> None:
    """Raise WrongAnswer unless `holds`; an `assert` would vanish under python -O."""
    if not holds:
        raise WrongAnswer(what)
