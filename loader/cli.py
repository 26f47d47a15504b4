"""`hashwacht compile`: parse the command line, call `loader.build`, print what came of it."""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import click
from pydantic import ValidationError

from loader import test_list
from loader.build import BuildRequest, build
from loader.compile_report import print_result
from loader.errors import LoaderError
from loader.inputs import Limits, ListInput
from loader.lists_file import LIST_ID, LIST_ID_RULE, read_lists_file
from loader.progress import Shown
from loader.readers import READERS
from loader.readers.base import ReadOptions
from loader.settings import PREFIX, LoaderSettings
from snapshot.algorithms import ALGORITHMS
from snapshot.errors import SnapshotError, StoreLocked
from snapshot.labels import Tier
from snapshot.overlay import MAX_TEXT
from snapshot.seal import NO_SEAL_KEYS, SealKeys
from snapshot.signing import SigningKey

EXIT_REFUSED: Final = 3
EXIT_STORE: Final = 4
EXIT_LOCKED: Final = 5
EXIT_INTERRUPTED: Final = 130

store_option = click.option(
    "--store", type=click.Path(path_type=Path, file_okay=False), envvar="HASHWACHT_STORE", required=True,
    help="The directory that snapshots are published in.",
)  # fmt: skip
signing_key_option = click.option(
    "--signing-key", "signing_key_file", type=click.Path(path_type=Path, dir_okay=False),
    help="File of the private key that signs what goes live. [HASHWACHT_SIGNING_KEY]",
)  # fmt: skip
seal_key_option = click.option(
    "--seal-key", "seal_key_file", type=click.Path(path_type=Path, dir_okay=False),
    help="File of the key that digests are sealed with in the store. [HASHWACHT_SEAL_KEY]",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object for scripts.")


def _list_id(ctx: click.Context, param: click.Parameter, value: str | Sequence[str] | None) -> Any:
    for list_id in [value] if isinstance(value, str) else value or ():
        if not LIST_ID.fullmatch(list_id):
            raise click.BadParameter(f"{list_id!r}: {LIST_ID_RULE}.")
    return value


def is_text(value: str) -> bool:
    """Tell whether a name or a reason may stand in the history."""
    return bool(value.strip()) and len(value) <= MAX_TEXT and value.isprintable()


def parse_text(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Give a name or a reason as it may stand in the history. Raises click.BadParameter."""
    if value is not None and not is_text(value):
        raise click.BadParameter(f"1 to {MAX_TEXT:,} printable characters.")
    return value


def parse_columns(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> dict[str, str]:
    """Give the columns of --column, by our names. Raises click.BadParameter."""
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
@click.option(
    "--lists", "lists_file", type=click.Path(path_type=Path, dir_okay=False),
    help="A lists file that describes every supplier (docs/lists-file.md); instead of --list-id, --tier and FILES.",
)  # fmt: skip
@click.option("--list-id", callback=_list_id, help="Name of the one list, as matches will report it.")
@click.option(
    "--tier", type=click.Choice([tier.value for tier in Tier]),
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
    "--column", "columns", multiple=True, metavar="NAME=HEADER", callback=parse_columns,
    help="CSV: our name (an algorithm, category, reference) = the header's. May be repeated.",
)  # fmt: skip
@click.option("--delimiter", help="CSV: the character between columns; without it guessed from the header.")
@click.option(
    "--with-test-list", is_flag=True,
    help="The public test list too, and approved: digests of harmless files (hashwacht test-list) that are a match.",
)  # fmt: skip
@click.option(
    "--drop-list", "drop_lists", multiple=True, metavar="ID", callback=_list_id,
    help="A live list that this compile may leave out. A compile is a whole snapshot. May be repeated.",
)  # fmt: skip
@click.option(
    "--accept-diff", metavar="REASON", callback=parse_text,
    help="Publish although the new snapshot differs from the live one by more than the limits; for the history.",
)  # fmt: skip
@click.option("--by", callback=parse_text, help="Who compiles, for the history. [default: the invoking user]")
@click.option("--check", "check_only", is_flag=True, help="Read, report and compare, but publish nothing.")
@click.option("--allow-empty", is_flag=True, help="Publish even if there is not a single digest.")
@click.option(
    "--max-bad-share", type=click.FloatRange(0, 1),
    help="Share of lines or records that may be malformed. [default: 0.0001 of the lines, no record]",
)  # fmt: skip
@click.option(
    "--false-positive-rate", type=click.FloatRange(1e-9, 0.1),
    help="Of the Bloom filters: a lower one needs more memory. [default: 0.001]",
)  # fmt: skip
@click.option("--memory-mib", type=click.IntRange(64), help="Memory for sorting, in MiB. [default: 1024]")
@signing_key_option
@seal_key_option
@json_option
@click.argument("files", nargs=-1, metavar="[FILES...]")
def compile_command(
    store: Path, lists_file: Path | None, list_id: str | None, tier: str | None, category: str,
    format_name: str | None, algorithm: str | None, columns: dict[str, str], delimiter: str | None,
    with_test_list: bool, drop_lists: Sequence[str], accept_diff: str | None, by: str | None, check_only: bool,
    allow_empty: bool, max_bad_share: float | None, false_positive_rate: float | None, memory_mib: int | None,
    signing_key_file: Path | None, seal_key_file: Path | None, as_json: bool, files: Sequence[str],
) -> None:  # fmt: skip
    """Compile hash lists into a snapshot and make it live.

    Lists come from a lists file, or as one list from the command line: FILES with --list-id and --tier, in any format
    that `hashwacht inspect` recognises, plain, .gz or .zst; `-` reads standard input. The result is a whole new
    snapshot, live at once in every service that watches the store; until then the old one is.

    From a lists file nothing is a match before it is approved (hashwacht approve), and a change beyond the limits
    stops. With --list-id and --tier, the list is approved, and what it changes is accepted, by whoever runs this.
    """
    if delimiter is not None and len(delimiter) != 1:
        raise click.BadParameter("is one character.", param_hint="--delimiter")
    if files.count("-") > 1:
        raise click.BadParameter("standard input can be read only once.", param_hint="FILES")
    _check_form(lists_file, list_id, tier, files, with_test_list=with_test_list)
    settings = read_settings()
    began = time.monotonic()
    with named_errors(), Shown() as progress:
        may_change_seal = accept_diff is not None  # before the short form accepts what is in the list
        lists: Sequence[ListInput] = ()
        limits: Mapping[str, Limits] = {}
        if lists_file is not None:
            found = read_lists_file(lists_file)
            lists, limits = found.lists, found.limits
        elif list_id is not None and tier is not None:
            options = ReadOptions(ALGORITHMS[algorithm] if algorithm else None, columns, delimiter)
            lists = [ListInput(list_id, Tier(tier), files, category, format_name, options)]
            accept_diff = accept_diff or "compiled with --list-id and --tier"
        request = BuildRequest(
            store=store,
            lists=lists,
            by=by or invoking_user(),
            false_positive_rate=settings.false_positive_rate if false_positive_rate is None else false_positive_rate,
            max_bad_share=settings.max_bad_share if max_bad_share is None else max_bad_share,
            memory_mib=settings.memory_mib if memory_mib is None else memory_mib,
            allow_empty=allow_empty,
            drop_lists=drop_lists,
            approve_lists=[] if list_id is None else [list_id],
            with_test_list=with_test_list,
            limits=limits,
            accept_diff=accept_diff,
            check_only=check_only,
            seal_keys=load_seal_keys(seal_key_file),
            may_change_seal=may_change_seal,
        )
        result = build(request, progress, load_signing_key(signing_key_file))
    print_result(result, time.monotonic() - began, as_json=as_json)


def _check_form(
    lists_file: Path | None, list_id: str | None, tier: str | None, files: Sequence[str], *, with_test_list: bool
) -> None:
    """Raise click.UsageError unless the command line is of one of the two forms."""
    if lists_file is not None:
        if list_id is not None or tier is not None or files:
            raise click.UsageError("--lists describes every list: leave --list-id, --tier and FILES away.")
    elif list_id is not None or tier is not None or files:
        for name, given in (("--list-id", list_id), ("--tier", tier), ("FILES", files)):
            if not given:
                raise click.UsageError(f"{name} is missing; or describe the lists in a lists file, with --lists.")
    elif not with_test_list:
        raise click.UsageError("say what to compile: --lists FILE, or --list-id, --tier and FILES.")
    if list_id == test_list.LIST_ID:
        raise click.UsageError(f"{list_id} is the public test list; take it in with --with-test-list.")


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


def load_seal_keys(file: Path | None) -> SealKeys:
    """Give the keys of --seal-key or HASHWACHT_SEAL_KEY; none without either. Raises KeyUnusable."""
    path = file or read_settings().seal_key
    return NO_SEAL_KEYS if path is None else SealKeys.load(path)


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
