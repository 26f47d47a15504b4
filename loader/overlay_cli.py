"""The commands that change what holds on top of the live snapshot: approve, revoke, suppress, unsuppress, add, remove;
and `overlay`, which shows it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from loader import corrections
from loader.cli import (
    invoking_user,
    is_text,
    json_option,
    load_seal_keys,
    load_signing_key,
    named_errors,
    parse_text,
    seal_key_option,
    signing_key_option,
    store_option,
)
from loader.corrections import By, Suppressed
from loader.printing import print_json
from snapshot.algorithms import ALGORITHMS, MD5, SHA1, SHA256, SHA512
from snapshot.errors import HexdigestError
from snapshot.hexdigest import algorithm_of, parse_digest
from snapshot.seal import Digest, SealKeys
from snapshot.store import Current, HistoryEntry, Store

_Command = TypeVar("_Command", bound=Callable[..., Any])

_READ_BYTES: Final = 1 << 20
#: What `history` calls a change of the snapshot rather than of the overlay.
_OF_SNAPSHOTS: Final = ("compile", "rollback", "sign")


by_option = click.option("--by", callback=parse_text, help="Who does it, for the history. [default: the invoking user]")
reason_option = click.option("--reason", required=True, callback=parse_text, help="Why, for the history.")
category_option = click.option("--category", help="One category of it; without it all.")
algorithm_option = click.option(
    "--algorithm", type=click.Choice(list(ALGORITHMS)), help="Algorithm of the digests; without it by length."
)


def digest_options(command: _Command) -> _Command:
    """Let a command take digests: as hex, under a reference, or of a file on disk."""
    for option in (
        click.option(
            "--file", "files", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A file on disk: its md5, sha1, sha256 and sha512. May be repeated.",
        ),
        click.option(
            "--reference", "references", multiple=True, metavar="LIST:REF",
            help="All digests that a list has under a reference. May be repeated.",
        ),
        algorithm_option,
        click.argument("texts", nargs=-1, metavar="[HEX...]"),
    ):  # fmt: skip
        command = option(command)
    return command


def read_digests(
    store: Store, seal_keys: SealKeys, texts: Sequence[str], algorithm: str | None, files: Sequence[Path],
    references: Sequence[str] = (),
) -> list[Digest]:  # fmt: skip
    """Give the digests that a command line names, each once. Raises click.UsageError for what is none."""
    found: list[Digest] = []
    for place, text in enumerate(texts, start=1):
        try:
            declared = ALGORITHMS[algorithm] if algorithm else algorithm_of(text)
            found.append((declared, parse_digest(text, declared)))
        except HexdigestError as error:
            raise click.UsageError(f"digest {place} of {len(texts)} {error}.") from None
    for item in references:
        list_id, colon, reference = item.partition(":")
        if not colon or not list_id or not reference:
            raise click.UsageError(f"--reference {item!r}: write LIST:REF.")
        found += corrections.digests_of_reference(store, list_id, reference, seal_keys=seal_keys)
    for path in files:
        found += digests_of_file(path)
    if not found:
        raise click.UsageError("give digests, --reference or --file.")
    return list(dict.fromkeys(found))


def digests_of_file(path: Path) -> list[Digest]:
    """Read a file once and give its digests by every algorithm that depends on its bytes alone."""
    hashes = {a: hashlib.new(a.name, usedforsecurity=False) for a in (MD5, SHA1, SHA256, SHA512)}
    try:
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                for each in hashes.values():
                    each.update(piece)
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}.") from None
    return [(algorithm, each.digest()) for algorithm, each in hashes.items()]


def by_whom(name: str | None, reason: str | None = None) -> By:
    """Give who does it and why. Raises click.UsageError for an invoking user without a printable name."""
    name = name or invoking_user()
    if not is_text(name):  # from the environment
        raise click.UsageError("the invoking user's name is not printable text: give --by.")
    return By(name, reason or "")


def _facts(current: Current) -> dict[str, object]:
    return {"generation": current.generation, "overlay_version": current.overlay_version}


def _live(current: Current) -> None:
    click.echo(f"live        generation {current.generation}, overlay {current.overlay_version}")


@click.command("approve", short_help="Switch classes of a list on.")
@click.argument("list_id", metavar="LIST")
@category_option
@click.option("--by", required=True, callback=parse_text, help="Who approves, for the history.")
@click.option("--reason", callback=parse_text, help="Why, for the history.")
@signing_key_option
@store_option
@json_option
def approve(
    store: Path, list_id: str, category: str | None, by: str, reason: str | None, signing_key_file: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Switch classes of a list on.

    Every class is compiled and off until it is approved. Without --category all categories of LIST go on that have a
    tier; those of unknown tier never do. Live at once, without a compile.
    """
    with named_errors():
        key = load_signing_key(signing_key_file)
        current, classes = corrections.approve(Store(store), list_id, category, by_whom(by, reason), signing_key=key)
    if as_json:
        print_json(_facts(current) | {"approved": [facts.model_dump(mode="json") for facts in classes]})
        return
    for facts in classes:
        counts = ", ".join(f"{count:,} {name}" for name, count in facts.entries.items())
        click.echo(f"approved    {facts.list_id} / {facts.category} / {facts.tier}: {counts}")
    _live(current)


@click.command("revoke", short_help="Switch classes of a list off.")
@click.argument("list_id", metavar="LIST")
@category_option
@reason_option
@by_option
@signing_key_option
@store_option
@json_option
def revoke(
    store: Path, list_id: str, category: str | None, by: str | None, reason: str, signing_key_file: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Switch classes of a list off.

    Nothing of them is a match from now on. Live at once.
    """
    with named_errors():
        key = load_signing_key(signing_key_file)
        current, classes = corrections.revoke(Store(store), list_id, category, by_whom(by, reason), signing_key=key)
    if as_json:
        print_json(_facts(current) | {"revoked": [each._asdict() for each in classes]})
        return
    for each in classes:
        click.echo(f"revoked     {each.list_id} / {each.category} / {each.tier}")
    _live(current)


@click.command("suppress", short_help="Make digests silent, whatever lists them.")
@digest_options
@click.option("--with-siblings", is_flag=True, help="Their siblings too: the other digests under the same references.")
@reason_option
@by_option
@signing_key_option
@seal_key_option
@store_option
@json_option
def suppress(
    store: Path, texts: Sequence[str], algorithm: str | None, references: Sequence[str], files: Sequence[Path],
    with_siblings: bool, reason: str, by: str | None, signing_key_file: Path | None, seal_key_file: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Make digests silent, whatever lists them.

    Live in every service within two seconds, and until it is lifted: no compile and no rollback brings a suppressed
    digest back. A file has other digests too, and may still match by those if they are listed; they are named.
    """
    with named_errors():
        opened = Store(store)
        seal_keys = load_seal_keys(seal_key_file)
        digests = read_digests(opened, seal_keys, texts, algorithm, files, references)
        key = load_signing_key(signing_key_file)
        done = corrections.suppress(
            opened, digests, by_whom(by, reason), with_siblings=with_siblings, signing_key=key, seal_keys=seal_keys
        )
    if as_json:
        print_json(_facts(done.current) | {
            "suppressed": [_shown(digest) for digest in done.new],
            "labels": [
                {**_shown(digest), "labels": [_label(label) for label in labels]}
                for digest, labels in done.labels.items()
            ],
            "siblings": [
                {**_shown(s.digest), "list_id": s.list_id, "reference": s.reference} for s in done.siblings
            ],
            "siblings_suppressed": done.siblings_taken,
        })  # fmt: skip
    else:
        _say_suppressed(done)
    if done.failed is not None:  # what was asked for has happened; what is said of it is not whole
        with named_errors():
            raise done.failed


def _say_suppressed(done: Suppressed) -> None:
    siblings = {sibling.digest: sibling for sibling in done.siblings}
    for digest in done.new:
        if digest in done.labels:
            said = "; ".join(" / ".join(_label(label).values()) for label in done.labels[digest]) or "not listed"
        elif digest in siblings:
            said = f"sibling, {siblings[digest].list_id} / {siblings[digest].reference}"
        else:
            said = "what lists it could not be read"
        click.echo(f"suppressed  {digest[1].hex()}  {digest[0].name}  {said}")
    if not done.siblings_taken:
        for sibling in done.siblings:
            algorithm, digest_bytes = sibling.digest
            click.echo(
                f"sibling     {digest_bytes.hex()}  {algorithm.name}  {sibling.list_id} / {sibling.reference}: not "
                "suppressed; take it along with --with-siblings"
            )
    alone = sum(1 for labels in done.labels.values() if labels and not any(label.reference for label in labels))
    if alone:
        click.echo(f"siblings    unknown of {alone}: the entries have no reference, which would tell other digests")
    _live(done.current)


@click.command("unsuppress", short_help="Lift suppressions.")
@digest_options
@reason_option
@by_option
@signing_key_option
@seal_key_option
@store_option
@json_option
def unsuppress(
    store: Path, texts: Sequence[str], algorithm: str | None, references: Sequence[str], files: Sequence[Path],
    reason: str, by: str | None, signing_key_file: Path | None, seal_key_file: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Lift suppressions.

    Whatever lists these digests counts again.
    """
    with named_errors():
        opened = Store(store)
        seal_keys = load_seal_keys(seal_key_file)
        digests = read_digests(opened, seal_keys, texts, algorithm, files, references)
        key = load_signing_key(signing_key_file)
        current, count = corrections.unsuppress(
            opened, digests, by_whom(by, reason), signing_key=key, seal_keys=seal_keys
        )
    if as_json:
        print_json(_facts(current) | {"lifted": count})
        return
    click.echo(f"lifted      {count} suppressions")
    _live(current)


@click.command("add", short_help="List digests on top of the live snapshot.")
@click.option("--list-id", required=True, help="The list that they are added to.")
@click.option("--category", required=True, help="The category; it must be approved.")
@click.option("--as-reference", "reference", callback=parse_text, help="A reference for the matches to show.")
@algorithm_option
@click.argument("texts", nargs=-1, required=True, metavar="HEX...")
@reason_option
@by_option
@signing_key_option
@seal_key_option
@store_option
@json_option
def add(
    store: Path, list_id: str, category: str, reference: str | None, algorithm: str | None, texts: Sequence[str],
    reason: str, by: str | None, signing_key_file: Path | None, seal_key_file: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """List digests on top of the live snapshot.

    Their class must be approved. Live at once, and until they are removed. Known-good digests are refused.
    """
    with named_errors():
        opened = Store(store)
        seal_keys = load_seal_keys(seal_key_file)
        digests = read_digests(opened, seal_keys, texts, algorithm, ())
        current, label_class = corrections.add(
            opened, digests, list_id, category, by_whom(by, reason), reference,
            signing_key=load_signing_key(signing_key_file), seal_keys=seal_keys,
        )  # fmt: skip
    if as_json:
        print_json(_facts(current) | {"added": [_shown(digest) for digest in digests]} | label_class._asdict())
        return
    for digest in digests:
        click.echo(f"added       {digest[1].hex()}  {digest[0].name}  {' / '.join(label_class)}")
    _live(current)


@click.command("remove", short_help="Take additions back.")
@algorithm_option
@click.argument("texts", nargs=-1, required=True, metavar="HEX...")
@reason_option
@by_option
@signing_key_option
@seal_key_option
@store_option
@json_option
def remove(
    store: Path, algorithm: str | None, texts: Sequence[str], reason: str, by: str | None,
    signing_key_file: Path | None, seal_key_file: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Take additions back.

    That is digests that `add` listed; what a list brings is for `suppress`.
    """
    with named_errors():
        opened = Store(store)
        seal_keys = load_seal_keys(seal_key_file)
        digests = read_digests(opened, seal_keys, texts, algorithm, ())
        key = load_signing_key(signing_key_file)
        current, count = corrections.remove(opened, digests, by_whom(by, reason), signing_key=key, seal_keys=seal_keys)
    if as_json:
        print_json(_facts(current) | {"removed": count})
        return
    click.echo(f"removed     {count} additions")
    _live(current)


@click.command("overlay", short_help="Show what holds on top of the live snapshot.")
@click.option("--history", "with_history", is_flag=True, help="And every change of it, newest first.")
@seal_key_option
@store_option
@json_option
def overlay(store: Path, with_history: bool, seal_key_file: Path | None, as_json: bool) -> None:
    """Show what holds on top of the live snapshot.

    That is approvals, suppressions and additions. Digests of a sealed store are shown as they are sealed, and with
    --seal-key as they are.
    """
    with named_errors():
        opened = Store(store)
        current = opened.current()
        found = opened.overlay(current.overlay_version, current.overlay_sha256)
        seal_key_id, seal_keys = found.seal_key_id, load_seal_keys(seal_key_file)
        if seal_keys.in_use is not None:
            found = found.resealed(seal_keys.of(seal_key_id, opened.path), None)
        changes = [entry for entry in opened.history() if entry.action not in _OF_SNAPSHOTS] if with_history else []
    if as_json:
        said = found.model_dump(mode="json") | {
            "seal_key_id": seal_key_id, "digests_sealed": found.seal_key_id is not None
        }  # fmt: skip
        print_json(said | ({"history": [entry.model_dump(mode="json") for entry in changes]} if with_history else {}))
        return
    sealed = f", sealed with {seal_key_id}" if seal_key_id else ""
    click.echo(f"overlay     {found.version}{sealed}{'; digests are shown as sealed' if found.seal_key_id else ''}")
    for approval in found.approvals:
        click.echo(
            f"approved    {' / '.join(approval.label_class)}{_signed(approval.by, approval.at, approval.reason)}"
        )
    for each in found.suppressions:
        click.echo(f"suppressed  {each.digest}  {each.algorithm}{_signed(each.by, each.at, each.reason)}")
    for addition in found.additions:
        label = " / ".join(_label(addition.label).values())
        signed = _signed(addition.by, addition.at, addition.reason)
        click.echo(f"added       {addition.digest}  {addition.algorithm}  {label}{signed}")
    for entry in changes:
        click.echo(f"{entry.generation:>6}  {_change(entry)}")


def _change(entry: HistoryEntry) -> str:
    return f"{entry.action}: {'; '.join(entry.details)}{_signed(entry.by, entry.at, entry.reason)}"


def _signed(by: str, at: Any, reason: str | None) -> str:
    return f", by {by}, {at:%Y-%m-%d %H:%M:%S %Z}" + (f": {reason}" if reason else "")


def _shown(digest: Digest) -> dict[str, str]:
    return {"algorithm": digest[0].name, "digest": digest[1].hex()}


def _label(label: Any) -> dict[str, str]:
    return {name: value for name, value in label._asdict().items() if value is not None}
