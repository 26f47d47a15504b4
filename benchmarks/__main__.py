"""`python -m benchmarks [quick|full|100m]`: measures a suite beside baselines of the same run. Parses, calls, prints.

Exit codes: 0 measured (a missed goal is said in the table), 1 with --strict and a goal missed or with --check-floors
and a ratio below its floor, 2 usage, 3 an answer was wrong or the run could not be made.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.errors import BenchmarkError, CannotMeasure
from benchmarks.figures import Figure
from benchmarks.floors import FLOORS_FILE, Verdict, check_floors, floors_from, read_floors, write_floors
from benchmarks.parts import SUITES
from benchmarks.results import Results, read_results, to_json
from benchmarks.suite import Measuring, measuring
from benchmarks.table import as_text, missed_goals

_FILE = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path, file_okay=False)
#: The floors are of this suite's figures: the others are measured with other sizes, under other names.
_GATED_SUITE = "quick"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("suite_name", metavar="[quick|full|100m]", type=click.Choice(tuple(SUITES)), default="quick")
@click.option("--part", "parts", multiple=True, help="Only this part. May be repeated.")
@click.option("--json", "json_file", type=_FILE, help="Write the figures to this file too.")
@click.option(
    "--results", "results_directory", type=_DIRECTORY,
    help="Write SUITE.json there, and report.md with its plots from all results there.",
)  # fmt: skip
@click.option("--check-floors", "check", is_flag=True, help="End with 1 when a ratio falls below its floor.")
@click.option(
    "--set-floors", "floors_sources", type=_FILE, multiple=True,
    help="Measure nothing; set the floors from this --json file. May be repeated: the least of all counts.",
)  # fmt: skip
@click.option("--work-dir", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Where to work.")
@click.option("--seed", type=int, help="Seed of all digests.")
@click.option("--strict", is_flag=True, help="End with 1 when a goal is missed.")
def main(
    suite_name: str, parts: tuple[str, ...], json_file: Path | None, results_directory: Path | None, check: bool,
    floors_sources: tuple[Path, ...], work_dir: Path | None, seed: int | None, strict: bool,
) -> None:  # fmt: skip
    """Measure hashwacht beside baselines of the same run and print a table.

    Wants two free cores; quick takes 5 minutes and 3 GB of disk, full 30 minutes. A part that needs a program which is
    not installed is left out by name, with CI=true it ends the run.
    """
    suite = SUITES[suite_name]
    unknown = [name for name in parts if name not in suite.parts]
    if unknown:
        raise click.UsageError(f"no part of {suite_name}: {', '.join(unknown)}; there are {', '.join(suite.parts)}")
    if parts and results_directory:
        raise click.UsageError("results are those of a whole suite: --part goes with --json")
    if check and suite_name != _GATED_SUITE:
        raise click.UsageError(f"floors are those of the suite {_GATED_SUITE}")
    if seed is not None:
        suite = replace(suite, sizes=replace(suite.sizes, seed=seed))
    try:
        if floors_sources:
            _set_floors(floors_sources)
            return
        with measuring(suite, work_dir, _say) as under_way:
            results = under_way.parts(parts or tuple(suite.parts), leave_out=os.environ.get("CI") != "true")
            _show(results, json_file, results_directory)
            verdict = _hold_against_floors(under_way, results) if check else Verdict((), passed=True)
    except BenchmarkError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(3)
    for line in verdict.lines:
        click.echo(line)
    if not verdict.passed or (strict and missed_goals(results)):
        sys.exit(1)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _show(results: Results, json_file: Path | None, results_directory: Path | None) -> None:
    click.echo(as_text(results))
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_bytes(to_json(results))
    if results_directory:
        from benchmarks.report import write_report  # brings matplotlib, which takes a second

        results_directory.mkdir(parents=True, exist_ok=True)
        (results_directory / f"{results.suite}.json").write_bytes(to_json(results))
        write_report(results_directory)


def _hold_against_floors(under_way: Measuring, results: Results) -> Verdict:
    def again(part: str) -> Sequence[Figure]:
        return under_way.part(part).figures

    measured = {part.name: part.figures for part in results.parts}
    skipped = [name for name in under_way.suite.parts if name not in measured]
    return check_floors(read_floors(FLOORS_FILE), measured, again, skipped)


def _set_floors(sources: Sequence[Path]) -> None:
    runs = []
    for source in sources:
        results = read_results(source)
        measured = {part.name for part in results.parts}
        if results.suite != _GATED_SUITE or measured != SUITES[_GATED_SUITE].parts.keys():
            raise CannotMeasure(f"{source}: floors are set from a whole run of the suite {_GATED_SUITE}, of every part")
        runs.append(results)
    floors = floors_from(runs)
    write_floors(floors, FLOORS_FILE)
    count = sum(len(bounds) for figures in floors.values() for bounds in figures.values())
    click.echo(f"set {count} floors from {', '.join(map(str, sources))}")


if __name__ == "__main__":
    main()
