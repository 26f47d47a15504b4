"""`hashwacht compile`: parse the command line, call `loader.build`, print what came of it."""

from __future__ import annotations

import getpass
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

import click
import orjson
from pydantic import ValidationError

from loader.build import BuildRequest, BuildResult, ListInput, build
from loader.errors import LoaderError
from loader.progress import Shown
from loader.readers import READERS
from loader.readers.base import ReadOptions
from loader.settings import PREFIX, LoaderSettings
from snapshot.algorithms import ALGORITHMS
from snapshot.errors import SnapshotError, StoreLocked
from snapshot.labels import Tier
from snapshot.signing import SigningKey

EXIT_REFUSED: Final = 3
EXIT_STORE: Final = 4
EXIT_LOCKED: Final = 5
EXIT_INTERRUPTED: Final = 130

_LIST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

store_option = click.option(
    "--store", type=click.Path(path_type=Path, file_okay=False), envvar="HASHWACHT_STORE", required=True,
    help="The directory that snapshots are published in.",
)  # fmt: skip
signing_key_option = click.option(
    "--signing-key", "signing_key_file", type=click.Path(path_type=Path, dir_okay=False),
    help="File of the private key that signs what goes live. [HASHWACHT_SIGNING_KEY]",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object for scripts.")


def _list_id(ctx: click.Context, param: click.Parameter, value: str | Sequence[str]) -> str | Sequence[str]:
    for list_id in [value] if isinstance(value, str) else value:
        if not _LIST_ID.fullmatch(list_id):
            raise click.BadParameter(
                f"{list_id!r}: 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit."
            )
    return value


def _columns(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> dict[str, str]:
    ours = [*ALGORITHMS, "category", "reference"]
    columns: dict[str, str] = {}
    for item in value:
        name, equals, header = item.partition("=")
        if name not in ours or not equals or not header:
            raise click.BadParameter(f"{item!r}: write NAME=HEADER, with NAME one of {', '.join(ours)}.")
        if name in columns:
            raise click.BadParameter(f"{name!r} is given twice.")
        columns[name] = header
    return columns


def _category(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value or len(value) > 1024 or not value.isprintable():
        raise click.BadParameter("1 to 1,024 printable characters.")
    return value


@click.command("compile", short_help="Compile hash lists into a snapshot and make it live.")
@store_option
@click.option("--list-id", required=True, callback=_list_id, help="Name of the list, as matches will report it.")
@click.option(
    "--tier", required=True, type=click.Choice([tier.value for tier in Tier]),
    help="How grave the list is. baseline and illegal make a match `block`, investigative `review`; "
    "other and unknown are compiled but never match.",
)  # fmt: skip
@click.option(
    "--category", default="default", show_default=True, callback=_category,
    help="The supplier's category, for entries that name none.",
)  # fmt: skip
@click.option(
    "--format", "format_name", type=click.Choice(list(READERS)),
    help="Format of the files; without it each is recognised from its first lines.",
)  # fmt: skip
@click.option(
    "--algorithm", type=click.Choice(list(ALGORITHMS)),
    help="Algorithm of the hexdigests; without it 32, 40, 64 and 128 digits are md5, sha1, sha256 and sha512. "
    "photodna is always declared.",
)  # fmt: skip
@click.option(
    "--column", "columns", multiple=True, metavar="NAME=HEADER", callback=_columns,
    help="CSV: our name (an algorithm, category, reference) = the header's. May be repeated.",
)  # fmt: skip
@click.option("--delimiter", help="CSV: the character between columns; without it guessed from the header.")
@click.option(
    "--drop-list", "drop_lists", multiple=True, metavar="ID", callback=_list_id,
    help="A live list that this compile may leave out. A compile is a whole snapshot. May be repeated.",
)  # fmt: skip
@click.option("--allow-empty", is_flag=True, help="Publish even if there is not a single digest.")
@click.option(
    "--max-bad-share", type=click.FloatRange(0, 1), help="Share of lines that may be malformed. [default: 0.0001]"
)
@click.option(
    "--false-positive-rate", type=click.FloatRange(1e-9, 0.1),
    help="Of the Bloom filters: a lower one needs more memory. [default: 0.001]",
)  # fmt: skip
@click.option("--memory-mib", type=click.IntRange(64), help="Memory for sorting, in MiB. [default: 1024]")
@signing_key_option
@json_option
@click.argument("files", nargs=-1, required=True, metavar="FILES...")
def compile_command(
    store: Path, list_id: str, tier: str, category: str, format_name: str | None, algorithm: str | None,
    columns: dict[str, str], delimiter: str | None, drop_lists: Sequence[str], allow_empty: bool,
    max_bad_share: float | None, false_positive_rate: float | None, memory_mib: int | None,
    signing_key_file: Path | None, as_json: bool, files: Sequence[str],
) -> None:  # fmt: skip
    """Compile hash lists into a snapshot and make it live.

    FILES are hex lists, hashsum files (md5sum, sha256sum, …, also BSD style), hashdeep files or CSV, plain, .gz or
    .zst; `-` reads standard input. The result is a whole new snapshot, live at once in every service that watches
    the store; until then the old one is.
    """
    if delimiter is not None and len(delimiter) != 1:
        raise click.BadParameter("is one character.", param_hint="--delimiter")
    if files.count("-") > 1:
        raise click.BadParameter("standard input can be read only once.", param_hint="FILES")
    settings = read_settings()
    options = ReadOptions(ALGORITHMS[algorithm] if algorithm else None, columns, delimiter)
    request = BuildRequest(
        store=store,
        lists=[ListInput(list_id, Tier(tier), files, category, format_name, options)],
        by=invoking_user(),
        false_positive_rate=settings.false_positive_rate if false_positive_rate is None else false_positive_rate,
        max_bad_share=settings.max_bad_share if max_bad_share is None else max_bad_share,
        memory_mib=settings.memory_mib if memory_mib is None else memory_mib,
        allow_empty=allow_empty,
        drop_lists=drop_lists,
        approve_lists=[list_id],
    )
    began = time.monotonic()
    with named_errors(), Shown() as progress:
        result = build(request, progress, load_signing_key(signing_key_file))
    _print_result(result, time.monotonic() - began, as_json=as_json)


def _print_result(result: BuildResult, seconds: float, *, as_json: bool) -> None:
    published, report = result.published, result.report
    manifest, current = published.manifest, published.current
    if as_json:
        print_json({
            "generation": current.generation, "snapshot_id": current.snapshot_id,
            "already_there": published.already_there, "entries": manifest.entries,
            "algorithms": {name: facts.entries for name, facts in manifest.algorithms.items()},
            "bytes": manifest.total_bytes, "files": len(report.files), "empty_files": report.empty_files,
            "lines": report.lines_read, "digests": report.digest_count, "merged": report.merged,
            "refused": report.refused, "bad_lines": [str(bad) for bad in report.bad_lines],
            "removed_snapshots": list(published.removed), "seconds": round(seconds, 3),
        })  # fmt: skip
        return
    for bad in report.bad_lines:
        click.echo(f"refused: {bad}", err=True)
    empty = f" ({len(report.empty_files):,} of them empty)" if report.empty_files else ""
    click.echo(
        f"read      {len(report.files):,} files{empty}, {report.lines_read:,} lines: {report.digest_count:,} digests, "
        f"{report.refused:,} lines refused"
    )
    kinds = ", ".join(f"{facts.entries:,} {name}" for name, facts in manifest.algorithms.items()) or "nothing"
    each = f", {manifest.total_bytes / manifest.entries:.1f} bytes each" if manifest.entries else ""
    click.echo(f"compiled  {kinds}; {report.merged:,} repeats merged; {manifest.total_bytes / 1e6:,.1f} MB{each}")
    what = " (the same as before: only CURRENT moved)" if published.already_there else ""
    click.echo(f"live      generation {current.generation}, snapshot {current.snapshot_id}{what}, {seconds:.1f} s")


def read_settings() -> LoaderSettings:
    """Read the settings from the environment. Raises click.UsageError that names the variable."""
    try:
        return LoaderSettings()
    except ValidationError as error:
        first = error.errors()[0]
        raise click.UsageError(f"{PREFIX}{str(first['loc'][0]).upper()}: {first['msg']}") from None


def load_signing_key(file: Path | None) -> SigningKey | None:
    """Give the key of --signing-key or HASHWACHT_SIGNING_KEY; None without either. Raises KeyUnusable."""
    path = file or read_settings().signing_key
    return None if path is None else SigningKey.load(path)


def invoking_user() -> str:
    """Give the name that the history records."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's numeric user without a passwd entry
        return f"uid {os.getuid()}"


@contextmanager
def named_errors() -> Iterator[None]:
    """Turn errors that have a name into a message on standard error and an exit code."""
    try:
        yield
    except LoaderError as error:
        _fail(error, error.reason, EXIT_REFUSED)
    except StoreLocked as error:
        _fail(error, error.reason, EXIT_LOCKED)
    except SnapshotError as error:
        _fail(error, error.reason, EXIT_STORE)
    except KeyboardInterrupt:
        click.echo("interrupted; `hashwacht show` tells what is live", err=True)
        sys.exit(EXIT_INTERRUPTED)


def _fail(error: Exception, reason: str, code: int) -> NoReturn:
    click.echo(f"error [{reason}]: {error}", err=True)
    sys.exit(code)


def print_json(value: object) -> None:
    """Print one JSON value."""
    try:
        encoded = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONEncodeError:  # a file name or argument that is no UTF-8: lone surrogates, which json escapes
        encoded = json.dumps(value, indent=2)
    click.echo(encoded)
