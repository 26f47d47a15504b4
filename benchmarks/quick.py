"""`python -m benchmarks.quick`: the speed table in a few minutes. Parses, runs the parts, prints.

Exit codes: 0 measured (a missed goal is said in the table), 1 with --strict and a goal missed, 2 usage, 3 an answer
was wrong or the run could not be made.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from benchmarks import compile_beside_sort, http_side_by_side, in_process, memory
from benchmarks.digests import random_digests, write_packed_list
from benchmarks.errors import BenchmarkError, CannotMeasure, must
from benchmarks.figures import Figure
from benchmarks.machine import Machine
from benchmarks.sizes import Sizes
from benchmarks.stores import compile_store
from benchmarks.table import as_json, as_text

PARTS = ("compile", "in-process", "http", "size")

#: Room on the disk for a line of the list: itself, sort's output and temporary files, spools, the snapshot.
_BYTES_A_LINE = 300


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only this part. May be repeated.")
@click.option("--entries", type=click.IntRange(2_000), help="Entries of the list that is looked up in.")
@click.option("--compile-lines", type=click.IntRange(2_000), help="Lines of the list that is compiled.")
@click.option("--seed", type=int, help="Seed of all digests.")
@click.option("--work-dir", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Where to work.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here too."
)
@click.option("--strict", is_flag=True, help="End with 1 when a goal is missed.")
def main(
    parts: tuple[str, ...], entries: int | None, compile_lines: int | None, seed: int | None, work_dir: Path | None,
    json_file: Path | None, strict: bool,
) -> None:  # fmt: skip
    """Measure hashwacht beside baselines of the same run and print a table.

    Wants two free cores, about 1 GB of memory and 3 GB of disk, and 4 minutes.
    """
    default = Sizes()
    sizes = replace(
        default,
        entries=default.entries if entries is None else entries,
        compile_lines=default.compile_lines if compile_lines is None else compile_lines,
        seed=default.seed if seed is None else seed,
    )
    machine = Machine.here()
    try:
        figures = run(sizes, parts or PARTS, work_dir)
    except BenchmarkError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(3)
    click.echo(as_text(figures, machine, sizes))
    if json_file:
        json_file.write_bytes(as_json(figures, machine, sizes))
    if strict and any(figure.met is False for figure in figures):
        sys.exit(1)


def run(sizes: Sizes, parts: tuple[str, ...], work_dir: Path | None) -> list[Figure]:
    """Run parts in a temporary directory and give their figures."""
    with tempfile.TemporaryDirectory(prefix="hashwacht-bench-", dir=work_dir) as name:
        work = Path(name)
        _require_room(work, sizes.compile_lines * _BYTES_A_LINE if "compile" in parts else 1 << 28)
        return list(_figures(sizes, parts, work))


def _figures(sizes: Sizes, parts: tuple[str, ...], work: Path) -> Iterator[Figure]:
    began = time.monotonic()

    def say(what: str) -> None:
        click.echo(f"{time.monotonic() - began:5.0f} s  {what}", err=True)

    if "compile" in parts:
        say("compile beside sort -u")
        yield from compile_beside_sort.measure(sizes, work)
    if set(parts) - {"compile"}:
        say(f"making the store of {sizes.entries:,} entries")
        entries = random_digests(sizes.seed, "entries", sizes.entries)
        store = _store(sizes, entries, work)
    if "in-process" in parts:
        say("in process, beside set, LMDB and pybloom-live")
        yield from in_process.measure(sizes, store, entries, work)
    if "http" in parts:
        say("HTTP, beside a bare application")
        yield from http_side_by_side.measure(sizes, store, entries, work)
    if "size" in parts:
        say("size and memory")
        yield from memory.measure(sizes, store, entries, work)
    say("done")


def _store(sizes: Sizes, entries: bytes, work: Path) -> Path:
    source = work / "entries.txt"
    write_packed_list(source, entries)
    compiled = compile_store(work / "store", [source])
    must(compiled.said["entries"] == sizes.entries, f"the store has {compiled.said['entries']} entries")
    return compiled.store


def _require_room(work: Path, needed: int) -> None:
    free = shutil.disk_usage(work).free
    if free < needed:
        raise CannotMeasure(f"{work} has {free >> 20:,} MiB free, {needed >> 20:,} are needed; choose with --work-dir")


if __name__ == "__main__":
    main()
