"""The README's Speed table, made from benchmarks/results/full.json: `python -m benchmarks.readme_table [--check]`.

It stands between two markers and is never written by hand; a test fails when it and the results part. What is slower
than its neighbour is shown as well as what is faster.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import click

from benchmarks.errors import BenchmarkError, CannotMeasure
from benchmarks.figures import Baseline, Figure
from benchmarks.processes import ROOT
from benchmarks.results import Results, read_results
from benchmarks.selection import pick
from benchmarks.table import number

RESULTS_FILE: Final = ROOT / "benchmarks" / "results" / "full.json"
README_FILE: Final = ROOT / "README.md"
BEGIN: Final = "<!-- The table below is written by python -m benchmarks.readme_table -->"
END: Final = "<!-- End of the table -->"


_SIZES: Final = ("entries", "peer_entries", "compile_lines")


@dataclass(frozen=True, slots=True)
class Row:
    """What a row shows: a figure by its key and what it was measured at, beside baselines by name and full name.

    Where `at` says `entries`, `peer_entries` or `compile_lines`, the run's sizes have the number.
    """

    what: str
    key: str
    at: Mapping[str, int | float | str] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)

    def figure(self, results: Results) -> Figure:
        """Give the figure. Raises NoFigure."""
        at = {name: getattr(results.sizes, str(value)) if value in _SIZES else value for name, value in self.at.items()}
        return pick(results.figures(), self.key, **at)


_SET: Final = {"set": "Python set"}
_SLOW_PEERS: Final = {"LMDB get": "LMDB `get`", "pybloom-live": "pybloom-live as it comes"}
_BARE: Final = {"bare": "bare uvicorn + orjson"}
_REDIS: Final = {"Redis": "Redis, SMISMEMBER by redis-py and hiredis"}
_ALL: Final = {"entries": "entries"}
_AT_PEERS: Final = {"entries": "peer_entries"}
ROWS: Final = (
    Row("a miss in process, 1,000 a batch", "miss lookup", {"batch": 1_000, **_ALL}, _SET),
    Row("the same, 1 million entries", "miss lookup", {"batch": 1_000, **_AT_PEERS}, _SLOW_PEERS),
    Row("a miss in process, 10,000 a batch", "miss lookup", {"batch": 10_000, **_ALL}, _SET),
    Row("a miss in process, one at a time", "miss lookup", {"batch": 1, **_ALL}, _SET),
    Row("a match, labels included", "hit", _ALL),
    Row("HTTP, 1 digest a request", "http", {"form": "json", "batch": 1}, _BARE),
    Row("HTTP, 1,000 digests, JSON", "http", {"form": "json", "batch": 1_000}, _BARE),
    Row(
        "HTTP, 10,000 digests, packed", "http", {"form": "packed", "batch": 10_000},
        {"bare, reads only": "bare uvicorn that parses nothing"},
    ),
    Row(
        "HTTP, 1,000 digests, JSON, 1 million entries", "http beside naive", {"form": "json", "batch": 1_000},
        {"naive": "FastAPI, pydantic, pybloom-live, LMDB as in a tutorial"},
    ),
    Row("one Python client, 1,000 digests a call, packed", "client", {"form": "packed", "batch": 1_000}, _REDIS),
    Row("one Python client, 10,000 digests a call, packed", "client", {"form": "packed", "batch": 10_000}, _REDIS),
    Row("slowest 1 % of replies at half of the peak, 1,000 digests", "tail p99", {}, {"p50": "the median reply"}),
    Row(
        "compile 10 million SHA-256 lines (650 MB)", "compile", {"lines": "compile_lines"},
        {"sort -u": "`LC_ALL=C sort -u --parallel=2`"},
    ),
    Row("a new snapshot named → served, verified on this host before", "ready from CURRENT", _ALL),
    Row("snapshot files", "size beside redis", _ALL, {"Redis": "Redis, memory used"}),
    Row("a SHA-256 on the disk, filter and all included", "bytes an entry", {"algorithm": "sha256"}),
    Row("an MD5 on the disk", "bytes an entry", {"algorithm": "md5"}),
    Row("private memory of a worker, the lists being shared", "private", {**_ALL, "workers": 2}),
)  # fmt: skip


def table(results: Results) -> str:
    """Give the Markdown between the markers. Raises NoFigure when a row's figure was not measured."""
    machine = results.machine
    day = datetime.fromisoformat(machine.date)
    conditions = (
        f"Medians of one run of `make bench` on {day.day} {day:%B %Y}: {machine.cpu}, {machine.cores} cores, "
        f"{machine.python}; {results.sizes.entries / 1e6:g} million SHA-256 entries where nothing else is said, one "
        "worker. Ratios travel better than absolute figures; run it on yours."
    )
    lines = [
        conditions,
        "[All figures, goals met and missed, plots](benchmarks/results/report.md).",
        "",
        "| what | Hashwacht | beside it, in the same run | times as good (below 1: worse) |",
        "|---|---|---|---|",
    ]
    for row in ROWS:
        lines += _lines(row, row.figure(results))
    return "\n".join(lines)


def _lines(row: Row, figure: Figure) -> Iterator[str]:
    ours = _value(figure.spread.median, figure.unit)
    batch = figure.at.get("batch", 1)
    if figure.unit == "requests/s" and isinstance(batch, int) and batch > 1:
        ours += f", {number(figure.spread.median * batch / 1e6)} million digests/s"
    if not row.beside:
        yield f"| {row.what} | {ours} | – | – |"
    for count, (name, full_name) in enumerate(row.beside.items()):
        baseline = figure.baseline(name)
        theirs = f"{full_name} {_value(baseline.spread.median, figure.unit)}"
        yield f"| {'' if count else row.what} | {'' if count else ours} | {theirs} | {_times(figure, baseline)} |"


def _times(figure: Figure, baseline: Baseline) -> str:
    return f"{float(f'{figure.times_as_good(baseline):.2g}'):,g} ×"


def _value(value: float, unit: str) -> str:
    if unit == "ns" and value >= 1_000:
        return f"{number(value / 1_000)} µs"
    if unit == "digests/s":
        return f"{number(value / 1e6)} million {unit}"
    return f"{number(value)} {unit}"


def with_table(readme: str, results: Results) -> str:
    """Give the README's text with the table of these results. Raises CannotMeasure unless both markers are there."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise CannotMeasure(f"the README has no place for the table: the lines {BEGIN!r} and {END!r}")
    return f"{before}{begin}\n\n{table(results)}\n\n{end}{after}"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", is_flag=True, help="Write nothing; end with 1 when README and results have parted.")
def main(check: bool) -> None:
    """Write the README's Speed table anew from benchmarks/results/full.json."""
    readme = README_FILE.read_text(encoding="utf-8")
    try:
        wanted = with_table(readme, read_results(RESULTS_FILE))
    except BenchmarkError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(3)
    if check and wanted != readme:
        click.echo("README.md does not show benchmarks/results/full.json: python -m benchmarks.readme_table", err=True)
        sys.exit(1)
    if not check:
        README_FILE.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
