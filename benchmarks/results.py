"""What a run found, as JSON in benchmarks/results/ and back.

    {
      "version": 1, "suite": "full", "seconds": 1234.5,
      "machine": {…},                     benchmarks/machine.py: hardware, versions, date
      "sizes": {…},                       benchmarks/sizes.py
      "parts": [{
        "name": "http", "seconds": 61.2,  as benchmarks/parts.py names it
        "figures": [{
          "name": "miss batch=1000",      what plots, floors and the README's table find it by: key and at
          "part", "key", "at", "what", "unit", "note", "series": [[x, y], …],
          "spread": {"median", "least", "most", "rounds"},
          "baselines": [{"name", "spread", "ratio": a spread too}],
          "goals": [{"bound", "at_most", "ratio_to", "met"}]
        }]
      }],
      "left_out": {"tail": "why"}         parts that could not be measured there
    }

`name` and `met` follow from the rest: they are written for whoever reads the file, and not read back.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import orjson
from pydantic import TypeAdapter, ValidationError

from benchmarks.errors import CannotMeasure
from benchmarks.figures import Figure
from benchmarks.machine import Machine
from benchmarks.sizes import Sizes

Version = Literal[1]


@dataclass(frozen=True, slots=True)
class PartResult:
    """The figures of one part, and how long it took."""

    name: str
    seconds: float
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """One run of a suite. Figures have names of their own, each; else ValueError, since readers find them by name."""

    suite: str
    machine: Machine
    sizes: Sizes
    parts: tuple[PartResult, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    version: Version = 1

    def __post_init__(self) -> None:
        twice = [name for name, count in Counter(figure.name for figure in self.figures()).items() if count > 1]
        if twice:
            raise ValueError(f"more than one figure is named {', '.join(twice)}")

    def figures(self) -> list[Figure]:
        """Give the figures of all parts, in order."""
        return [figure for part in self.parts for figure in part.figures]


_RESULTS = TypeAdapter(Results)


def to_json(results: Results) -> bytes:
    """Give the file's text, indented, the same for the same results."""
    document = asdict(results)
    for part, shown in zip(results.parts, document["parts"], strict=True):
        shown["figures"] = [_figure(figure) for figure in part.figures]
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def from_json(text: bytes) -> Results:
    """Read the file's text. Raises CannotMeasure when it is of another version or no such file."""
    try:
        return _RESULTS.validate_json(text)
    except ValidationError as error:
        raise CannotMeasure(f"these are no results of this version of the benchmarks; measure again: {error}") from None


def read_results(path: Path) -> Results:
    """Read a file of results. Raises CannotMeasure, which names the file."""
    try:
        return from_json(path.read_bytes())
    except OSError as error:
        raise CannotMeasure(f"{path} cannot be read: {error.strerror}") from None
    except CannotMeasure as error:
        raise CannotMeasure(f"{path}: {error}") from None


def _figure(figure: Figure) -> dict[str, object]:
    goals = [{**asdict(goal), "met": figure.met(goal)} for goal in figure.goals]
    return {"name": figure.name, **asdict(figure), "goals": goals}
