"""The commands that look at a store or move its pointer: verify, show, history, rollback, lookup."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from loader.cli import (
    EXIT_REFUSED,
    invoking_user,
    json_option,
    load_seal_keys,
    load_signing_key,
    named_errors,
    seal_key_option,
    signing_key_option,
    store_option,
)
from loader.printing import print_json
from loader.progress import Shown
from snapshot.algorithms import ALGORITHMS, Algorithm
from snapshot.errors import HexdigestError
from snapshot.hexdigest import algorithm_of, parse_digest
from snapshot.labels import ACTING_TIERS, LabelClass, label_set
from snapshot.manifest import Manifest
from snapshot.overlay import Overlay
from snapshot.publish import Publisher
from snapshot.reader import Snapshot, check_files, read_trusted_manifest
from snapshot.seal import Seal, require_same_seal, resealed
from snapshot.store import Current, Store
from snapshot.verify import verify_store

#: Random digests that `show` sends through each filter to measure its rate.
_PROBES: Final = 1_000_000
_PROBES_AT_ONCE: Final = 10_000


@click.command("verify", short_help="Check every byte of every published snapshot.")
@store_option
@json_option
def verify(store: Path, as_json: bool) -> None:
    """Check every byte of every published snapshot.

    Exits with 1 and names each damage if a bit flipped, or a file grew, was cut or is missing. What a killed
    compile left is named too, and is no damage: the next compile removes it.
    """
    with named_errors(), Shown() as progress:
        progress.stage("verifying", None)
        report = verify_store(Store(store), on_bytes=progress.advance)
    if as_json:
        print_json({
            "whole": report.whole, "generation": report.generation, "snapshot_id": report.snapshot_id,
            "verified": report.verified, "bytes": report.bytes_read, "leftovers": report.leftovers,
            "damage": [{"reason": error.reason, "detail": str(error)} for error in report.damage],
        })  # fmt: skip
    else:
        for error in report.damage:
            click.echo(f"damaged [{error.reason}]: {error}", err=True)
        for name in report.leftovers:
            click.echo(f"leftover of a compile that did not end: {name}")
        if report.whole:
            click.echo(
                f"whole     generation {report.generation}, {len(report.verified)} snapshots, "
                f"{report.bytes_read / 1e6:,.1f} MB read"
            )
    sys.exit(0 if report.whole else 1)


@click.command("show", short_help="Show what is live: lists, classes, counts, sizes, filter rates.")
@store_option
@json_option
def show(store: Path, as_json: bool) -> None:
    """Show what is live: lists, classes, counts, sizes, filter rates.

    The snapshot's checksums are verified first. The rate of each filter is measured with a million random digests.
    """
    with named_errors():
        opened = Store(store)
        current = opened.current()
        with _verified(opened, current) as snapshot:
            measured = {name: _measured_rate(snapshot, name) for name in snapshot.tables}
            manifest = snapshot.manifest
    if as_json:
        print_json({
            **current.model_dump(mode="json", include={"generation", "overlay_version", "issued_at", "by"}),
            **manifest.model_dump(mode="json"),
            "entries": manifest.entries, "bytes": manifest.total_bytes, "measured_false_positive_rate": measured,
        })  # fmt: skip
        return
    click.echo(f"generation  {current.generation}, live since {current.issued_at:%Y-%m-%d %H:%M:%S %Z} by {current.by}")
    click.echo(f"snapshot    {manifest.snapshot_id}, compiled {manifest.created_at:%Y-%m-%d %H:%M:%S %Z}")
    click.echo(f"sealed      {f'with {manifest.seal_key_id}' if manifest.seal_key_id else 'no'}")
    _show_lists(manifest)
    for name, facts in manifest.algorithms.items():
        click.echo(
            f"{name:<11} {facts.entries:,} entries in {facts.blocks:,} blocks; filter rate promised "
            f"{manifest.false_positive_rate:.4%}, measured {measured[name]:.4%}"
        )
    for file, size in manifest.files.items():
        click.echo(f"file        {file}: {size.bytes:,} bytes")
    if manifest.entries:
        click.echo(
            f"size        {manifest.total_bytes:,} bytes, {manifest.total_bytes / manifest.entries:.1f} an entry"
        )


def _verified(store: Store, current: Current) -> Snapshot:
    """Open the live snapshot once every checksum holds: no answer from damaged pages, and no crash in them."""
    directory = store.live_dir(current)
    check_files(directory, read_trusted_manifest(directory, current.manifest_sha256))
    return Snapshot.open(directory, current.manifest_sha256)


def _show_lists(manifest: Manifest) -> None:
    for item in manifest.lists:
        click.echo(
            f"list        {item.list_id}: {item.digests:,} digests from {item.lines:,} lines of {item.files:,} files, "
            f"{item.refused:,} lines refused"
        )
    for item_class in manifest.classes:
        counts = ", ".join(f"{count:,} {name}" for name, count in item_class.entries.items())
        click.echo(f"class       {item_class.list_id} / {item_class.category} / {item_class.tier}: {counts}")


def _measured_rate(snapshot: Snapshot, name: str) -> float:
    table = snapshot.tables[name]
    length = table.algorithm.digest_bytes
    passed = 0
    for _ in range(_PROBES // _PROBES_AT_ONCE):
        passed += len(table.filter.probe(os.urandom(length * _PROBES_AT_ONCE)))
    return passed / _PROBES


@click.command("history", short_help="Show what went live when, newest first.")
@store_option
@json_option
def history(store: Path, as_json: bool) -> None:
    """Show what went live when, newest first."""
    with named_errors():
        entries = Store(store).history()
    if as_json:
        print_json([entry.model_dump(mode="json") for entry in entries])
        return
    for entry in entries:
        lists = ", ".join(item.list_id for item in entry.lists)
        dropped = f", dropped {', '.join(entry.dropped_lists)}" if entry.dropped_lists else ""
        reason = f": {entry.reason}" if entry.reason else ""
        click.echo(
            f"{entry.generation:>6}  {entry.at:%Y-%m-%d %H:%M:%S %Z}  {entry.action:<10}  {entry.snapshot_id[:16]}  "
            f"{entry.entries:,} entries of {lists}{dropped}, overlay {entry.overlay_version}, by {entry.by}{reason}"
        )
        for detail in entry.details:
            click.echo(f"        {detail}")


@click.command("rollback", short_help="Make an older snapshot live again, as a new generation.")
@click.option("--reason", help="Why, for the history.")
@signing_key_option
@store_option
@json_option
@click.argument("snapshot_id", required=False, metavar="[ID]")
def rollback(
    store: Path, as_json: bool, snapshot_id: str | None, reason: str | None, signing_key_file: Path | None
) -> None:
    """Make an older snapshot live again, as a new generation.

    ID is a snapshot_id as `history` shows it, or its first six or more digits; without it the snapshot of the
    generation before is taken. The snapshot is verified first.
    """
    with named_errors(), Shown() as progress:
        opened = Store(store)
        opened.read_current_bytes()  # a store that is none is not made by a rollback
        progress.stage("verifying", None)
        with Publisher(opened, load_signing_key(signing_key_file)) as publisher:
            published = publisher.rollback(snapshot_id, by=invoking_user(), reason=reason, on_bytes=progress.advance)
    current = published.current
    overlay = opened.overlay(current.overlay_version, current.overlay_sha256)
    waiting = [
        label_class
        for facts in published.manifest.classes
        if (label_class := LabelClass(facts.list_id, facts.category, facts.tier)).tier in ACTING_TIERS
        and label_class not in overlay.approved
    ]
    if as_json:
        print_json({
            "generation": current.generation, "snapshot_id": current.snapshot_id,
            "not_approved": [each._asdict() for each in waiting],
        })  # fmt: skip
        return
    for each in waiting:  # a rollback keeps the overlay, and the approvals of dropped or re-tiered classes are revoked
        click.echo(f"warning: {' / '.join(each)} is not approved, so it is off: hashwacht approve", err=True)
    click.echo(f"live      generation {current.generation}, snapshot {current.snapshot_id}")


@click.command("lookup", short_help="Look digests up in the live snapshot, offline.")
@store_option
@click.option(
    "--algorithm", type=click.Choice(list(ALGORITHMS)), help="Algorithm of the digests; without it by length."
)
@click.option("--file", "file", type=click.File("rb"), help="Read digests from a file too, one a line.")
@seal_key_option
@json_option
@click.argument("digests", nargs=-1, metavar="[HEX...]")
def lookup(
    store: Path, algorithm: str | None, file: BinaryIO | None, seal_key_file: Path | None, as_json: bool,
    digests: Sequence[str],
) -> None:  # fmt: skip
    """Look digests up in the live snapshot, offline.

    Says for each whether it is a match and why: who lists it as what, which of those classes are on, whether it is
    suppressed, added or known good. The snapshot's checksums are verified first (up to a second or two per GB), since a
    damaged one could answer "not listed". HEX are hexdigests; `-` reads them from standard input, one a line. Exits
    with 3 if one of them is no digest; the others are answered all the same.
    """
    if not digests and file is None:
        raise click.UsageError("give digests, --file or - for standard input.")
    declared = ALGORITHMS[algorithm] if algorithm else None
    refused = False
    answers = []
    with named_errors():
        opened = Store(store)
        current = opened.current()
        overlay = opened.overlay(current.overlay_version, current.overlay_sha256)
        with _verified(opened, current) as snapshot:
            seal_key_id = snapshot.manifest.seal_key_id
            require_same_seal(overlay.seal_key_id, seal_key_id, opened.overlay_file(overlay.version))
            seal = load_seal_keys(seal_key_file).of(seal_key_id, snapshot.directory)
            for text in _texts(digests, file):
                answer = _answer(snapshot, overlay, seal, text, declared)
                refused = refused or answer["verdict"] == "invalid"
                if as_json:
                    answers.append(answer)
                else:
                    click.echo(_line(answer))
    if as_json:
        print_json({
            "generation": current.generation, "snapshot_id": current.snapshot_id,
            "overlay_version": current.overlay_version, "answers": answers,
        })  # fmt: skip
    sys.exit(EXIT_REFUSED if refused else 0)


def _texts(digests: Sequence[str], file: BinaryIO | None) -> Iterator[str]:
    for text in digests:
        if text == "-":
            yield from _lines(sys.stdin.buffer)
        else:
            yield text
    if file is not None:
        yield from _lines(file)


def _lines(file: BinaryIO) -> Iterator[str]:
    """Yield the lines that are not blank; bytes that are no UTF-8 come through, to be called invalid."""
    for line in file:
        if line.strip():
            yield line.rstrip(b"\r\n").decode(errors="surrogateescape")


def _answer(
    snapshot: Snapshot, overlay: Overlay, seal: Seal | None, text: str, declared: Algorithm | None
) -> dict[str, Any]:
    try:
        algorithm = declared or algorithm_of(text)
        _, digest = resealed((algorithm, parse_digest(text, algorithm)), None, seal)
    except HexdigestError as error:
        return {"digest": text, "verdict": "invalid", "why": error.why, "detail": str(error)}
    answer: dict[str, Any] = {"digest": text, "algorithm": algorithm.name}
    table = snapshot.tables.get(algorithm.name)
    if table is None:
        return {**answer, "verdict": "not_loaded", "match": False}
    label_set_id = table.find(digest)
    key = (algorithm.name, digest.hex())
    added = [each.label for each in overlay.additions if (each.algorithm, each.digest) == key]
    labels = label_set([*(() if label_set_id is None else snapshot.labels(label_set_id)), *added])
    suppression = next((each for each in overlay.suppressions if (each.algorithm, each.digest) == key), None)
    facts: dict[str, Any] = {}
    if suppression is not None:
        facts["suppressed"] = suppression.model_dump(mode="json", include={"by", "at", "reason"})
    if snapshot.known_good().has(algorithm, digest):
        facts["known_good"] = True
    if not labels:
        return {**answer, "verdict": "not_listed", "match": False, **facts}
    shown = [
        {name: value for name, value in label._asdict().items() if value is not None}
        | {"state": _state(label.label_class, overlay)}
        | ({"added": True} if label in added else {})
        for label in labels
    ]
    match = suppression is None and any(label["state"] == "on" for label in shown)
    return {**answer, "verdict": "listed", "match": match, "labels": shown, **facts}


def _state(label_class: LabelClass, overlay: Overlay) -> str:
    """Tell whether a class is on, or why it is not."""
    if label_class.tier not in ACTING_TIERS:
        return f"off: tier {label_class.tier}"
    return "on" if label_class in overlay.approved else "off: not approved"


def _line(answer: dict[str, Any]) -> str:
    if answer["verdict"] == "invalid":
        shown = answer["digest"].encode(errors="backslashreplace").decode()  # it may be no text at all
        return f"{shown}  invalid: {answer['detail']}"
    parts = [answer["digest"], answer["algorithm"]]
    if answer["verdict"] == "not_loaded":
        parts.append(f"not loaded: no list with {answer['algorithm']} is live")
    elif answer["verdict"] == "not_listed":
        parts.append("not listed")
    else:
        parts.append("match" if answer["match"] else "no match")
        parts.append("; ".join(_label_text(label) for label in answer["labels"]))
    if suppressed := answer.get("suppressed"):
        parts.append(f"suppressed by {suppressed['by']}, {suppressed['at']}: {suppressed['reason']}")
    if answer.get("known_good"):
        parts.append("known good: no compile and no `add` takes it")
    return "  ".join(parts)


def _label_text(label: dict[str, Any]) -> str:
    names = [label[name] for name in ("list_id", "category", "tier", "reference") if name in label]
    added = ", added" if label.get("added") else ""
    return f"{' / '.join(names)} ({label['state']}{added})"
