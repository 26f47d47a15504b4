"""`hashwacht inspect`: read list files as a compile would, and say what is in them. Nothing is written.

Standard output is itself a lists.toml: what was found, as comments, and below it a [[list]] that read_lists_file takes
as it is. So `hashwacht inspect FILES > lists.toml` is how a new supplier begins: every category is there, and none has
a tier yet.
"""

from __future__ import annotations

import glob
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from loader.build import parse
from loader.cli import EXIT_REFUSED, json_option, named_errors, parse_columns, read_settings
from loader.errors import EmptyResult, LoaderError
from loader.inputs import ListInput
from loader.label_numbers import MAX_CLASSES
from loader.lists_file import LIST_ID
from loader.printing import print_json
from loader.progress import Shown
from loader.readers import READERS
from loader.readers.base import Batch, ReadOptions, Withdrawn
from loader.readers.csv_header import LOOKS_LIKE_DIGEST
from loader.readers.faults import MAX_LABEL_CHARACTERS
from loader.report import CompileReport, FileReport, check_bad_lines, refuse_cut_files
from loader.sources import STDIN
from snapshot.algorithms import ALGORITHMS
from snapshot.labels import Tier

#: Categories that are shown with their counts; the [[list]] has all.
SHOWN_CATEGORIES: Final = 50
_CHOICE: Final = f"choose: {', '.join(tier for tier in Tier if tier is not Tier.UNKNOWN)}"
_SURROGATES: Final = range(0xD800, 0xE000)


@dataclass(slots=True)
class _Found:
    """What one file holds. Counts are of digests: a row with two of them counts twice."""

    report: FileReport
    categories: Counter[str] = field(default_factory=Counter)
    uncategorised: int = 0
    #: Digests in categories beyond the first 4,096, more than a compile takes.
    in_more_categories: int = 0
    references: int = 0
    #: Withdrawals, of references.
    withdrawn: int = 0

    def add(self, batch: Batch | Withdrawn) -> None:
        """Count a batch. Memory is bounded: a column of ids taken for categories is not held."""
        if isinstance(batch, Withdrawn):
            self.withdrawn += len(batch.references)
            return
        if batch.references is not None:
            self.references += len(batch.references) - batch.references.count(None)
        if batch.categories is None:
            self.uncategorised += len(batch.digests)
            return
        for category, count in Counter(batch.categories).items():
            if category is None:
                self.uncategorised += count
            elif category in self.categories or len(self.categories) < MAX_CLASSES:
                self.categories[category] += count
            else:
                self.in_more_categories += count

    @property
    def showable(self) -> list[tuple[str, int]]:
        """The categories that can be written down, most digests first; nothing that may be a digest itself."""
        ordered = sorted(self.categories.items(), key=lambda item: (-item[1], item[0]))
        return [(category, count) for category, count in ordered if _is_showable(category)]

    @property
    def refusal(self) -> LoaderError | None:
        """What a compile of this file alone would say."""
        try:
            check_bad_lines(CompileReport([self.report]))
            refuse_cut_files(CompileReport([self.report]))
        except LoaderError as error:
            return error
        return None if self.report.digest_count else EmptyResult("there is not a single digest in it")


@click.command("inspect", short_help="Say what list files hold, and print a lists.toml for them.")
@click.option(
    "--format", "format_name", type=click.Choice(list(READERS)),
    help="Format of the files; without it each is recognised from its first lines.",
)  # fmt: skip
@click.option(
    "--algorithm", type=click.Choice(list(ALGORITHMS)), help="Algorithm of the hexdigests; without it by length."
)
@click.option(
    "--column", "columns", multiple=True, metavar="NAME=HEADER", callback=parse_columns,
    help="CSV: our name (an algorithm, category, reference) = the header's. May be repeated.",
)  # fmt: skip
@click.option("--delimiter", help="CSV: the character between columns; without it guessed from the header.")
@json_option
@click.argument("files", nargs=-1, required=True, metavar="FILES...")
def inspect(
    format_name: str | None, algorithm: str | None, columns: dict[str, str], delimiter: str | None,
    as_json: bool, files: Sequence[str],
) -> None:  # fmt: skip
    """Say what list files hold, and print a lists.toml for them.

    Each of FILES is read to its end, as a compile would; `-` reads standard input. What is printed is a lists.toml:
    findings are comments, and every category has the tier unknown until you choose another. Paths in it are as they
    are given here: they hold from this directory. Exits with 3 if a file cannot be read; the others are inspected all
    the same.
    """
    if delimiter is not None and len(delimiter) != 1:
        raise click.BadParameter("is one character.", param_hint="--delimiter")
    if files.count(STDIN) > 1:
        raise click.BadParameter("standard input can be read only once.", param_hint="FILES")
    share = read_settings().max_bad_share
    options = ReadOptions(ALGORITHMS[algorithm] if algorithm else None, columns, delimiter)
    taken: set[str] = set()
    answers: list[dict[str, Any]] = []
    failed = False
    with named_errors():
        for number, path in enumerate(files, 1):
            try:
                found = _read(path, format_name, options, share, f"reading file {number:,} of {len(files):,}")
            except LoaderError as error:
                failed = True
                answers.append({"path": path, "error": {"reason": error.reason, "detail": str(error)}})
                if not as_json:
                    click.echo(f"error [{error.reason}]: {_one_line(str(error))}", err=True)
                continue
            # Standard input has no path that a lists.toml could name.
            entry = None if path == STDIN else "\n".join(_entry(found, options, _free_id(path, taken)))
            if as_json:
                answers.append(_facts(found, entry))
            else:
                click.echo("\n".join([*_comments(found), *([entry] if entry else []), ""]))
    if as_json:
        print_json({"files": answers})
    sys.exit(EXIT_REFUSED if failed else 0)


def _read(path: str, format_name: str | None, options: ReadOptions, share: float | None, stage: str) -> _Found:
    found = _Found(FileReport(path, format_name or "", max_bad_share=share))
    item = ListInput("inspected", Tier.UNKNOWN, [path], format=format_name, options=options)
    with Shown() as progress:
        progress.stage(stage, _size(path))
        for batch in parse(item, found.report, progress):
            found.add(batch)
    return found


def _size(path: str) -> int | None:
    """Give a file's size in bytes; None for what has none, or is not there, which reading will say."""
    try:
        return Path(path).stat().st_size or None
    except (OSError, ValueError):
        return None


def _facts(found: _Found, entry: str | None) -> dict[str, Any]:
    report, refusal = found.report, found.refusal
    return {
        "path": report.path, "format": report.format, "unit": report.unit, "read": report.lines_read,
        "digests": dict(report.digests), "refused": report.bad_line_count,
        "bad_lines": [str(bad) for bad in report.bad_lines],
        "categories": dict(found.showable), "category_count": len(found.categories),
        "more_categories": found.in_more_categories > 0, "uncategorised": found.uncategorised,
        "references": found.references, "withdrawn": found.withdrawn,
        "refusal": None if refusal is None else {"reason": refusal.reason, "detail": str(refusal)}, "list": entry,
    }  # fmt: skip


def _comments(found: _Found) -> Iterator[str]:
    """Yield what was found, as comments."""
    report = found.report
    yield f"# {_one_line(report.path)}"
    yield f"#   format      {report.format}: {report.lines_read:,} {report.unit}s, {report.bad_line_count:,} refused"
    counts = [f"{report.digests[name]:,} {name}" for name in ALGORITHMS if report.digests[name]]
    yield f"#   digests     {', '.join(counts) or 'none'}"
    if found.categories:
        more = "more than " if found.in_more_categories else ""
        yield f"#   categories  {more}{len(found.categories):,}; {found.uncategorised:,} digests have none"
    else:
        yield "#   categories  none"
    showable = found.showable
    for category, count in showable[:SHOWN_CATEGORIES]:
        yield f"#     {_quoted(category)}: {count:,} digests"
    if len(showable) > SHOWN_CATEGORIES:
        yield f"#     … and {len(showable) - SHOWN_CATEGORIES:,} more"
    if found.in_more_categories:
        yield f"#     too many: is {_quoted('category')} mapped to the right column?"
    if len(showable) < len(found.categories):
        hidden = len(found.categories) - len(showable)
        yield f"#     {hidden:,} are not shown: they look like digests or are no text; is it the right column?"
    yield f"#   references  {f'{found.references:,} digests have one' if found.references else 'none'}"
    yield f"#   withdrawn   {f'{found.withdrawn:,} references' if found.withdrawn else 'none'}"
    for bad in report.bad_lines:
        yield f"#   refused     {_one_line(str(bad))}"
    if found.refusal is not None:
        first = str(found.refusal).partition("\n")[0]
        yield f"#   a compile would refuse it [{found.refusal.reason}]: {_one_line(first)}"


def _entry(found: _Found, options: ReadOptions, list_id: str) -> Iterator[str]:
    """Yield the lines of a [[list]] for the file."""
    yield "[[list]]"
    yield f"id = {_quoted(list_id)}"
    yield 'kind = "known-bad"  # or known-good, a list of harmless files: then without tier and categories'
    yield f"format = {_quoted(found.report.format)}"
    yield f"paths = [{_quoted(_pattern(found.report.path))}]"
    if options.algorithm is not None:
        yield f"algorithm = {_quoted(options.algorithm.name)}"
    if options.delimiter is not None:
        yield f"delimiter = {_quoted(options.delimiter)}"
    yield f'tier = "unknown"  # of entries without a category; {_CHOICE}'
    if options.columns:
        yield "[list.columns]"
        yield from (f"{name} = {_quoted(header)}" for name, header in options.columns.items())
    if found.showable and not found.in_more_categories:
        yield "[list.categories]"
        yield f"# {_CHOICE}; what stays unknown matches nothing"
        yield from (f'{_quoted(category)} = "unknown"' for category, _ in found.showable)


def _free_id(path: str, taken: set[str]) -> str:
    """Give a list_id after the file's name that no other list here has."""
    name = Path(path).name.removesuffix(".gz").removesuffix(".zst")
    stem = name.rpartition(".")[0] or name
    kept = "".join(char if LIST_ID.fullmatch(f"x{char}") else "-" for char in stem).strip("-._")[:64] or "list"
    free, number = kept, 1
    while free in taken:
        number += 1
        free = f"{kept[:56]}-{number}"
    taken.add(free)
    return free


def _pattern(path: str) -> str:
    """Give a glob that matches this path alone, or nearly: `?` for bytes that are no text, which TOML cannot hold."""
    return "".join("?" if ord(char) in _SURROGATES else char for char in glob.escape(path))


def _is_showable(category: str) -> bool:
    is_text = not any(ord(char) in _SURROGATES for char in category)
    return is_text and 0 < len(category.strip()) <= len(category) <= MAX_LABEL_CHARACTERS and not (
        LOOKS_LIKE_DIGEST.search(category)
    )  # fmt: skip


def _quoted(text: str) -> str:
    """Give a TOML string, on one line and harmless to a terminal."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    return f"\\u{ord(char):04X}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08X}"


def _one_line(text: str) -> str:
    """Make a message fit for a comment or a line of standard error."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)
