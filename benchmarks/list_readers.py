"""How fast the list readers read: parsing alone, by the call that a compile makes, without spool, sort and write.

Each is beside something that tells what the machine does with the same bytes:

    vics           json.load of the same file. The reader decodes by the same C code, a medium at a time, so a faster or
                   slower machine moves both alike; the ratio is what telling media apart, checking and decoding their
                   digests leave of it. Beside orjson or plain reading it would compare two programs, or two caches.
    nsrl-sqlite    a plain loop over the rows of the same SELECT, with SQLite's default settings
    csv            the hex list of the same digests, by our own reader: what a table costs beside the plain form. The
                   reader alone and not the reading stage of a compile: that stage puts rows into the spool in a second
                   thread meanwhile, which hides some of a slow reader, bounds a fast one, and doubles the spread.

The files lie in the page cache. The clock runs only while the reader does: every batch is compared with what was
written to the file before the next one is asked for.

All of it is in a process of its own, `python -m benchmarks.list_readers JOB`: readers that make lists of cells or media
keep Python's garbage collector busy, which walks whatever else the process has. Of a compile that is little, of a suite
under way much: among its objects the CSV reader took a quarter longer.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import orjson
from pydantic import TypeAdapter

from benchmarks.errors import CannotMeasure, WrongAnswer, must
from benchmarks.figures import Figure, Goal, Spread, beside
from benchmarks.list_files import NSRL_SELECT, ListFileMade, write_csv, write_hex, write_nsrl, write_vics
from benchmarks.processes import ROOT, environment
from benchmarks.run import Run
from benchmarks.sizes import Sizes
from benchmarks.stores import CATEGORY, LIST_ID, TIER
from loader.build import parse
from loader.inputs import ListInput
from loader.progress import Silent
from loader.readers.base import Batch
from loader.report import FileReport
from snapshot.labels import Tier

PART: Final = "list readers, one core"

#: Exit code of this process when a reader gave something else than was written.
WRONG_ANSWER: Final = 3
_FIGURES: Final = TypeAdapter(list[Figure])

_JSON: Final = "json.load"
_SELECT: Final = "plain SELECT"
_HEX: Final = "hex list"
#: MB/s, and what that is of json.load on a machine where it does 200.
_VICS_GOALS: Final = (Goal(60, at_most=False), Goal(0.3, at_most=False, ratio_to=_JSON))
_NSRL_GOALS: Final = (Goal(300_000, at_most=False),)
_CSV_GOALS: Final = (Goal(0.3, at_most=False, ratio_to=_HEX),)
#: A hex list is read so fast that it is read several times in a round.
_HEX_PASSES: Final = 10


@dataclass(frozen=True, slots=True)
class _Contest:
    """A reader and what it is beside: `ours` and `theirs` give seconds for a file of which `amount` is the rate's."""

    key: str
    what: str
    unit: str
    amount: float
    baseline: str
    ours: Callable[[], float]
    theirs: Callable[[], float]
    at: dict[str, int | float | str]
    goals: tuple[Goal, ...]
    note: str
    rates: list[float] = field(default_factory=list)
    their_rates: list[float] = field(default_factory=list)

    def turn(self) -> None:
        """Read once by each."""
        self.rates.append(self.amount / self.ours())
        self.their_rates.append(self.amount / self.theirs())

    def figure(self) -> Figure:
        """Give the figure of all turns."""
        baselines = (beside(self.baseline, self.rates, self.their_rates),)
        return Figure(
            PART, self.key, self.what, self.unit, Spread.of(self.rates), self.at, baselines, self.goals, self.note
        )


def measure(run: Run) -> Iterator[Figure]:
    """Measure all readers, in a process of its own.

    Raises WrongAnswer when a reader gave something else than was written, CannotMeasure when the process fails.
    """
    job = orjson.dumps({"sizes": asdict(run.sizes), "work": str(run.work)}).decode()
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.list_readers", job],
        cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    said = f"list readers: {child.stderr.decode(errors='replace')[-800:]}"
    must(child.returncode != WRONG_ANSWER, said)
    if child.returncode:
        raise CannotMeasure(said)
    yield from _FIGURES.validate_json(child.stdout)


def figures(run: Run) -> list[Figure]:
    """Measure all readers in turns, here, after one turn that does not count."""
    _keep_freed_memory()
    contests = [_vics(run), *(_nsrl(run, as_view=as_view) for as_view in (False, True)), _csv(run)]
    for contest in contests:
        contest.ours()
        contest.theirs()
    for _ in range(run.sizes.reader_rounds):
        for contest in contests:
            contest.turn()
    return [contest.figure() for contest in contests]


def _vics(run: Run) -> _Contest:
    rows = run.sizes.reader_rows
    made = write_vics(run.work / "media.json", run.sizes.seed, rows)
    size = made.path.stat().st_size
    return _Contest(
        "read vics", f"VICS 2.0, {rows:,} media with 3 digests", "MB/s", size / 1e6, _JSON,
        lambda: read_seconds(made), lambda: json_seconds(made.path, rows),
        {"rows": rows}, _VICS_GOALS, f"{size / rows:,.0f} bytes a medium",
    )  # fmt: skip


def _nsrl(run: Run, *, as_view: bool) -> _Contest:
    rows = run.sizes.reader_rows
    form = "view" if as_view else "table"
    made = write_nsrl(run.work / f"nsrl-{form}.db", run.sizes.seed, rows, as_view=as_view)
    what = "a view that joins two tables, as published" if as_view else "a table"
    return _Contest(
        "read nsrl", f"NSRL 3, {rows:,} rows with 3 digests, FILE is {what}", "rows/s", rows, _SELECT,
        lambda: read_seconds(made), lambda: select_seconds(made.path, rows),
        {"rows": rows, "file": form}, _NSRL_GOALS, "SQLite's own check of the whole file first, which is counted",
    )  # fmt: skip


def _csv(run: Run) -> _Contest:
    rows = run.sizes.reader_rows
    made = write_csv(run.work / "table.csv", run.sizes.seed, rows)
    plain = write_hex(run.work / "hex.txt", made)
    return _Contest(
        "read csv", f"CSV, {rows:,} rows with 2 digests and a category", "digests/s", made.digests, _HEX,
        lambda: read_seconds(made), lambda: sum(read_seconds(plain) for _ in range(_HEX_PASSES)) / _HEX_PASSES,
        {"rows": rows}, _CSV_GOALS, "no references; beside the same digests one a line",
    )  # fmt: skip


def read_seconds(made: ListFileMade) -> float:
    """Give the seconds that reading a file takes, format told by the reader.

    Raises WrongAnswer unless what comes are just the digests and labels that were written.
    """
    item = ListInput(LIST_ID, Tier(TIER), [str(made.path)], CATEGORY)
    report = FileReport(str(made.path), "")
    parts = parse(item, report, Silent())
    rows: Counter[str] = Counter()
    elapsed = 0
    while True:
        began = time.perf_counter_ns()
        part = next(parts, None)
        elapsed += time.perf_counter_ns() - began
        if part is None:
            break
        if not isinstance(part, Batch):
            raise WrongAnswer(f"{made.path.name}: the reader gave something that is no batch of digests")
        _check(part, made, rows)
    must(rows == dict.fromkeys(made.packed, made.rows), f"{made.path.name}: the reader gave {dict(rows)} digests")
    must(not report.bad_line_count, f"{made.path.name}: the reader refused {report.bad_line_count} good records")
    must(report.digests == rows, f"{made.path.name}: the reader counted {dict(report.digests)} digests")
    return elapsed / 1e9


def _check(batch: Batch, made: ListFileMade, rows: Counter[str]) -> None:
    """Require that a batch is the next part of what was written, and count it."""
    name, length = batch.algorithm.name, batch.algorithm.digest_bytes
    must(name in made.packed, f"{made.path.name}: there is no {name} in it")
    begin, end = rows[name], rows[name] + len(batch.digests)
    rows[name] = end
    same = batch.digests.tobytes() == made.packed[name][begin * length : end * length]
    must(same, f"{made.path.name}: the reader gave other digests of {name} than were written")
    for label, found, wanted in (
        ("categories", batch.categories, made.categories),
        ("references", batch.references, made.references),
    ):
        right = found is None if wanted is None else found is not None and list(found) == wanted[begin:end]
        must(right, f"{made.path.name}: the reader gave other {label} than were written")


def json_seconds(path: Path, rows: int) -> float:
    """Give the seconds that json.load takes."""
    began = time.perf_counter()
    with path.open("rb") as file:
        document = json.load(file)
    elapsed = time.perf_counter() - began
    must(len(document["value"]) == rows, f"json.load found {len(document['value'])} media, {rows} were written")
    return elapsed


def select_seconds(path: Path, rows: int) -> float:
    """Give the seconds that a loop over all rows takes, opening included."""
    count = 0
    began = time.perf_counter()
    with closing(sqlite3.connect(path)) as database:
        for _row in database.execute(NSRL_SELECT):
            count += 1
    elapsed = time.perf_counter() - began
    must(count == rows, f"SQLite gave {count} rows, {rows} were written")
    return elapsed


def _keep_freed_memory() -> None:
    """Set the heap up as a compile does before it reads: loader/build.py has the reason."""
    np.empty(31 << 20, dtype=np.uint8)


def main() -> None:
    """Read a job from the command line, write the figures to standard output as JSON."""
    job = orjson.loads(sys.argv[1])
    try:
        found = figures(Run(TypeAdapter(Sizes).validate_python(job["sizes"]), Path(job["work"])))
    except WrongAnswer as error:
        sys.stderr.write(str(error))
        sys.exit(WRONG_ANSWER)
    sys.stdout.buffer.write(_FIGURES.dump_json(found))


if __name__ == "__main__":
    main()
