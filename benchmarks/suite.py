"""Measures the parts of a suite one after the other, each in a directory of its own, and says how far it is.

A part that cannot be measured here (a program is missing) is left out by name, or ends the run where nothing may be
left out. A wrong answer ends it always.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.errors import CannotMeasure
from benchmarks.machine import Machine
from benchmarks.results import PartResult, Results
from benchmarks.run import Part, Run
from benchmarks.sizes import Sizes

#: Room on the disk for a line of the longest list: itself, sort's output and temporary files, spools, the snapshot.
_BYTES_A_LINE: Final = 300


@dataclass(frozen=True, slots=True)
class Suite:
    """Parts by name, in the order in which they are measured, and how much of everything."""

    name: str
    sizes: Sizes
    parts: Mapping[str, Part]


@dataclass(slots=True)
class Measuring:
    """A run of a suite under way."""

    suite: Suite
    run: Run
    say: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)

    def part(self, name: str) -> PartResult:
        """Measure one part. Raises what the part raises, and CannotMeasure when it gives no figures."""
        self._progress(f"{name} …")
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=self.run.work) as work:
            figures = tuple(self.suite.parts[name](self.run.for_part(Path(work))))
        if not figures:
            raise CannotMeasure(f"the part {name} gave no figures")
        seconds = time.monotonic() - began
        self._progress(f"{name}: {len(figures)} figures in {seconds:.0f} s")
        return PartResult(name, seconds, figures)

    def parts(self, names: Sequence[str], leave_out: bool) -> Results:
        """Measure parts. With `leave_out` one that raises CannotMeasure is named in the results, else it is raised."""
        machine = Machine.here()
        measured: list[PartResult] = []
        left_out: dict[str, str] = {}
        for name in names:
            try:
                measured.append(self.part(name))
            except CannotMeasure as error:
                if not leave_out:
                    raise
                left_out[name] = str(error)
                self._progress(f"{name} is LEFT OUT: {error}")
        if not measured:
            raise CannotMeasure("; ".join(f"{name}: {why}" for name, why in left_out.items()))
        seconds = time.monotonic() - self.began
        return Results(self.suite.name, machine, self.run.sizes, tuple(measured), left_out, seconds)

    def _progress(self, what: str) -> None:
        self.say(f"{time.monotonic() - self.began:5.0f} s  {what}")


@contextmanager
def measuring(suite: Suite, work_dir: Path | None, say: Callable[[str], None]) -> Iterator[Measuring]:
    """Give a run in a temporary directory, which is gone when the block ends. Raises CannotMeasure without room."""
    with tempfile.TemporaryDirectory(prefix="hashwacht-bench-", dir=work_dir) as name:
        work = Path(name)
        free, needed = shutil.disk_usage(work).free, _BYTES_A_LINE * max(suite.sizes.compile_lines, suite.sizes.entries)
        if free < needed:
            raise CannotMeasure(f"{work} has {free >> 20:,} MiB free, {needed >> 20:,} are needed; see --work-dir")
        yield Measuring(suite, Run(suite.sizes, work), say)
