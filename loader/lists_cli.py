"""`hashwacht lists`, `diff` and `test-list`: what is described, what differs, and files to try a match with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from loader import test_list
from loader.cli import json_option, named_errors, store_option
from loader.diff import diff_snapshots
from loader.diff_gate import as_json as diff_as_json
from loader.diff_gate import lines_of
from loader.inputs import ListInput
from loader.lists_file import ListsFile, read_lists_file
from loader.printing import counted, print_json
from loader.progress import Shown
from snapshot.errors import NoStore, SnapshotMissing
from snapshot.labels import ACTING_TIERS, LabelClass
from snapshot.manifest import ClassFacts, Manifest, read_manifest
from snapshot.overlay import EMPTY, Overlay
from snapshot.reader import Snapshot, check_files, read_trusted_manifest
from snapshot.store import Store


@click.command("lists", short_help="Show suppliers, deliveries and classes: on, off or waiting.")
@click.option(
    "--lists", "lists_file", type=click.Path(path_type=Path, dir_okay=False),
    help="A lists file, to show its lists and deliveries beside what is live.",
)  # fmt: skip
@store_option
@json_option
def lists(store: Path, lists_file: Path | None, as_json: bool) -> None:
    """Show suppliers, deliveries and classes: on, off or waiting.

    A class is on when it is approved and its tier leads to something; it is waiting when only the approval is missing;
    it is off when its tier is unknown or other.
    """
    with named_errors():
        described = None if lists_file is None else read_lists_file(lists_file)
        manifest, overlay = _live(Store(store), may_be_missing=described is not None)
    if as_json:
        print_json(_facts(described, manifest, overlay))
        return
    for item in described.lists if described is not None else ():
        _print_described(item)
    if manifest is None:
        click.echo("nothing is live in this store yet")
        return
    for facts in manifest.lists:
        taken = f", {facts.guarded:,} known good left out" if facts.guarded else ""
        gone = f", {facts.withdrawn:,} withdrawn" if facts.withdrawn else ""
        click.echo(f"live        {facts.list_id} ({facts.kind}): {facts.digests:,} digests{taken}{gone}")
    for each in manifest.classes:
        counts = ", ".join(f"{count:,} {name}" for name, count in each.entries.items())
        click.echo(f"{state_of(each, overlay):<11} {each.list_id} / {each.category} / {each.tier}: {counts}")


def state_of(facts: ClassFacts, overlay: Overlay) -> str:
    """Tell whether a class is `on`, `waiting` for its approval, or `off` for good."""
    if facts.tier not in ACTING_TIERS:
        return "off"
    return "on" if LabelClass(facts.list_id, facts.category, facts.tier) in overlay.approved else "waiting"


def _live(store: Store, *, may_be_missing: bool) -> tuple[Manifest | None, Overlay]:
    try:
        current = store.current()
    except NoStore:
        if may_be_missing:
            return None, EMPTY
        raise
    manifest = read_trusted_manifest(store.live_dir(current), current.manifest_sha256)
    return manifest, store.overlay(current.overlay_version, current.overlay_sha256)


def _print_described(item: ListInput) -> None:
    kind = "known-good" if item.known_good else "known-bad"
    numbers = item.deliveries or [0] * len(item.files)
    deliveries = len(set(numbers))
    click.echo(
        f"described   {item.list_id} ({kind}, {item.format or 'any format'}): {counted(len(item.files), 'file')} in "
        f"{counted(deliveries, 'delivery', 'deliveries')} that count"
    )
    for number in sorted(set(numbers)):
        files = [path for path, of in zip(item.files, numbers, strict=True) if of == number]
        click.echo(f"            {'full' if number == 0 else 'delta'}: {', '.join(files[:3])}{_more(files)}")


def _more(files: Sequence[str]) -> str:
    return f" and {len(files) - 3:,} more" if len(files) > 3 else ""


def _facts(described: ListsFile | None, manifest: Manifest | None, overlay: Overlay) -> dict[str, object]:
    return {
        "described": [
            {
                "list_id": item.list_id, "kind": "known-good" if item.known_good else "known-bad",
                "format": item.format, "files": list(item.files), "deliveries": list(item.deliveries or ()),
                "tiers": {category: tier.value for category, tier in (item.tiers or {}).items()},
            }
            for item in (described.lists if described is not None else ())
        ],
        "lists": [] if manifest is None else [facts.model_dump(mode="json") for facts in manifest.lists],
        "classes": [] if manifest is None else [
            facts.model_dump(mode="json") | {"state": state_of(facts, overlay)} for facts in manifest.classes
        ],
    }  # fmt: skip


@click.command("diff", short_help="Show what differs between two snapshots.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", required=False)
@store_option
@json_option
def diff(store: Path, a: str, b: str | None, as_json: bool) -> None:
    """Show what differs between two snapshots.

    A and B are snapshot_ids as `history` shows them, or their first six or more digits; without B it is the live one.
    Both are verified first.
    """
    with named_errors(), Shown() as progress:
        opened = Store(store)
        old_id = _resolve(opened, a)
        new_id = opened.current().snapshot_id if b is None else _resolve(opened, b)
        if old_id == new_id:
            raise click.UsageError("these are one snapshot.")
        progress.stage("verifying", None)
        with _verified(opened, old_id, progress.advance) as old, _verified(opened, new_id, progress.advance) as new:
            progress.stage("comparing", None)
            found = diff_snapshots(old, new, on_records=progress.advance)
    if as_json:
        print_json(diff_as_json(found))
        return
    for line in lines_of(found) or ["nothing differs in classes or lists"]:
        click.echo(line)


def _resolve(store: Store, prefix: str) -> str:
    names = [path.name for path in store.snapshots.iterdir() if path.is_dir()] if store.snapshots.is_dir() else []
    found = [name for name in names if name.startswith(prefix)] if len(prefix) >= 6 else []
    if len(found) != 1:
        what = "names no snapshot" if not found else "is the beginning of several snapshots"
        raise SnapshotMissing(f"{store.path}: {prefix!r} {what}. There: {', '.join(sorted(names)) or 'none'}.")
    return found[0]


def _verified(store: Store, snapshot_id: str, on_bytes: Callable[[int], None]) -> Snapshot:
    directory = store.snapshot_dir(snapshot_id)
    manifest, manifest_sha256 = read_manifest(directory)
    check_files(directory, manifest, on_bytes=on_bytes)
    return Snapshot.open(directory, manifest_sha256)


@click.command("test-list", short_help="Write harmless files whose digests are on the public test list.")
@click.option(
    "--write", "directory", required=True, type=click.Path(path_type=Path, file_okay=False),
    help="The directory that they are written to; made if missing.",
)  # fmt: skip
def test_list_command(directory: Path) -> None:
    """Write harmless files whose digests are on the public test list.

    A service of a store that was compiled with --with-test-list answers `block` for each of them.
    """
    try:
        paths = test_list.write_test_files(directory)
    except OSError as error:
        raise click.UsageError(f"{directory}: {error.strerror}.") from None
    for path in paths:
        click.echo(str(path))
