"""What stands between a finished snapshot and its going live."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from loader.diff import SnapshotDiff, diff_snapshots, first_diff
from loader.diff_gate import Finding, check_diff, seal_changed
from loader.errors import EmptyResult, LiveListMissing, SealChanged
from loader.inputs import Limits
from snapshot.algorithms import ALGORITHMS
from snapshot.errors import (
    CurrentDamaged,
    DamageError,
    EntriesDamaged,
    FilterDamaged,
    HistoryDamaged,
    NoStore,
    SealKeyMissing,
    SealKeyWrong,
    SnapshotError,
    SnapshotMissing,
)
from snapshot.labels import LabelClass, Tier
from snapshot.manifest import Manifest, filter_file, read_manifest
from snapshot.overlay import Addition, Approval, Overlay
from snapshot.reader import KnownGood, Snapshot, check_sizes, read_trusted_manifest
from snapshot.seal import SealKeys
from snapshot.store import Store

#: Entries of each algorithm that are looked up in a new snapshot before it goes live.
_SAMPLE: Final = 1000


def refuse_lost_lists(store: Store, list_ids: Collection[str], allowed: Collection[str]) -> list[str]:
    """Give the live lists that a compile of `list_ids` would drop, each of which must be among `allowed`.

    A compile is a whole snapshot, so a list it does not name is gone. Raises LiveListMissing for one that is not
    allowed, or when nobody can tell, before any file is read. A store in which nothing is live has nothing to lose.
    """
    try:
        live = _live_lists(store)
    except NoStore:
        return []
    except (CurrentDamaged, DamageError, SnapshotMissing) as error:
        raise LiveListMissing(
            f"what is live cannot be read, so nobody can tell whether a list would vanish: {error} "
            "Roll back first, or move CURRENT away to start anew."
        ) from error
    vanishing = sorted(live - set(list_ids))
    refused = [list_id for list_id in vanishing if list_id not in allowed]
    if refused:
        flags = " ".join(f"--drop-list {list_id}" for list_id in refused)
        raise LiveListMissing(
            f"{store.path}: live now, and not in this compile: {', '.join(refused)}. A compile is a whole snapshot; "
            f"if they shall go, say so with {flags}."
        )
    return vanishing


def _live_lists(store: Store) -> frozenset[str]:
    """Give the lists that the live generation was compiled from.

    The history knows them, damaged snapshot or not. The manifest is second best: with the same entries in it, it
    may be that of an earlier compile, with an empty list more or less.
    """
    current = store.current()
    try:
        return frozenset(facts.list_id for facts in store.history_entry(current.generation).lists)
    except HistoryDamaged:
        return read_trusted_manifest(store.live_dir(current), current.manifest_sha256).list_ids


def refuse_seal(store: Store, seal_keys: SealKeys, *, may_change: bool) -> None:
    """Raise unless these keys may seal what replaces the live state, before a file is read.

    A store that is sealed stays so: SealKeyMissing without a key, also when CURRENT was moved away. Another key, or the
    first, is for who says so, since there is no way back: SealChanged. The digests in the overlay are sealed anew then,
    so the key before must be known too: SealKeyMissing or SealKeyWrong. OverlayDamaged, since nothing can go live then.
    """
    in_use = seal_keys.in_use
    try:
        current = store.current()
    except CurrentDamaged:  # named by whoever needs it
        return
    except NoStore:
        if in_use is None and (sealed := _sealed_snapshots(store)):
            raise SealKeyMissing(
                f"{store.path}: has sealed snapshots ({', '.join(sealed)}), and stays sealed: give --seal-key. Without "
                "it, compile into another store."
            ) from None
        return
    overlay = store.overlay(current.overlay_version, current.overlay_sha256)
    if overlay.seal_key_id is not None and in_use is None:
        raise SealKeyMissing(
            f"{store.path}: is sealed (key {overlay.seal_key_id}), and stays so: give --seal-key. Without it, compile "
            "into another store."
        )
    if in_use is None or overlay.seal_key_id == in_use.key_id:
        return
    resealed(overlay, seal_keys, store)
    if not may_change:
        before = f"sealed with the key {overlay.seal_key_id}" if overlay.seal_key_id else "not sealed"
        raise SealChanged(
            f"{store.path}: is {before}, and this compile would seal it with {in_use.key_id}: services without that "
            "key refuse it, nothing can be compared with what is live, and older snapshots and overlays are removed, "
            "so there is no way back. If that is meant, say so with --accept-diff REASON. If not, the first key of "
            "--seal-key is not the store's."
        )


def _sealed_snapshots(store: Store) -> list[str]:
    """Give the names of the snapshots in a store that are sealed, as far as their manifests can be read."""
    found = []
    for path in sorted(store.snapshots.iterdir()) if store.snapshots.is_dir() else ():
        with suppress(SnapshotError):
            if read_manifest(path)[0].seal_key_id is not None:
                found.append(path.name)
    return found


def resealed(overlay: Overlay, seal_keys: SealKeys, store: Store) -> Overlay:
    """Give the overlay in force with its digests sealed by the key in use. Raises SealKeyMissing or SealKeyWrong."""
    new = seal_keys.in_use
    if overlay.seal_key_id == (None if new is None else new.key_id):
        return overlay
    digests = bool(overlay.suppressions or overlay.additions)
    old = seal_keys.of(overlay.seal_key_id, store.overlay_file(overlay.version)) if digests else None
    return overlay.resealed(old, new)


def refuse_empty(rows: int, files: Iterable[str], *, allow_empty: bool) -> None:
    """Raise EmptyResult when not a single digest was read, unless asked for."""
    if rows == 0 and not allow_empty:
        names = list(files)
        said = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise EmptyResult(f"{said}: not a single digest. If an empty snapshot is what you want, add --allow-empty.")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A new snapshot beside the live one. `diff` is None when they hold the same, or could not be compared.

    A damaged live snapshot cannot (`not_compared` says why), nor can one that is sealed otherwise (a finding).
    """

    diff: SnapshotDiff | None = None
    findings: Sequence[Finding] = ()
    not_compared: str | None = None  # why, in words

    @property
    def stopping(self) -> list[Finding]:
        """The findings that stop a publish unless they are accepted."""
        return [finding for finding in self.findings if finding.stops]


def compare_with_live(
    store: Store, directory: Path, manifest: Manifest, limits: Mapping[str, Limits], on_records: Callable[[int], None]
) -> Comparison:
    """Compare a new snapshot with the live one. Cost: 0.05 µs a record of both together.

    A live snapshot that is damaged cannot be compared with, and is replaced all the same: compiling again is how damage
    is repaired. Raises EntriesDamaged for the new one.
    """
    _, manifest_sha256 = read_manifest(directory)
    with ExitStack() as stack:
        new = stack.enter_context(Snapshot(directory, manifest, manifest_sha256))
        try:
            current = store.current()
            if current.snapshot_id == manifest.snapshot_id:
                return Comparison()
            old = stack.enter_context(Snapshot.open(store.live_dir(current), current.manifest_sha256))
        except NoStore:
            diff = first_diff(manifest)
            return Comparison(diff, check_diff(diff, limits=limits, old=None, new=manifest))
        except (CurrentDamaged, DamageError, SnapshotMissing) as error:
            return Comparison(not_compared=str(error))
        try:
            diff = diff_snapshots(old, new, on_records=on_records)
        except SealKeyWrong:
            return Comparison(findings=[seal_changed(old.manifest, manifest)])
        except EntriesDamaged as error:
            if error.path.parent == directory:
                raise
            return Comparison(not_compared=str(error))
        return Comparison(diff, check_diff(diff, limits=limits, old=old.manifest, new=manifest))


def overlay_after(
    overlay: Overlay, manifest: Manifest, directory: Path, by: str, approve_lists: Collection[str], store: Store
) -> tuple[Overlay, list[str]]:
    """Give the overlay that a new snapshot in `directory` goes live with, and what that changes, in words.

    An addition that is known good by now is taken back, as `add` would have refused it, and one whose category has
    another tier now follows it, so that it counts again when that is approved. One that a list has by now stays: it is
    the operator's to take back.

    A class is approved with its tier and for what is in it: where the category has another tier now, or is not in the
    snapshot, its approval is revoked. So going back to that tier, or a category of the same name with other content, is
    not silently on again. Of `approve_lists` all classes go on, those of unknown tier aside, and those that somebody
    switched off by name: they stay off until somebody approves them by name.
    """
    classes = {LabelClass(facts.list_id, facts.category, facts.tier) for facts in manifest.classes}
    tiers = {(each.list_id, each.category): each.tier for each in classes}
    known_good = KnownGood(directory, manifest)
    notes: list[str] = []

    def followed(added: Addition) -> Addition:
        tier = tiers.get((added.list_id, added.category), added.tier)
        return added if tier is added.tier else added.model_copy(update={"tier": tier})

    gone = sorted(overlay.approved - classes)
    notes += [_revoked(each, tiers, overlay) for each in gone]
    overlay = overlay.without_approvals(gone.__contains__)
    dropped = [each for each in overlay.additions if known_good.has(ALGORITHMS[each.algorithm], each.raw())]
    notes += [f"the addition of {_described(each)} was taken back: the digest is known good now" for each in dropped]
    overlay = overlay.without_additions(dropped.__contains__)
    overlay = overlay.with_additions_changed(followed)
    notes += [
        f"the addition of {_described(each)} is on that list too now; `hashwacht remove` takes it back"
        for each in _listed(overlay.additions, directory, manifest)
    ]
    on = sorted(
        each for each in classes - overlay.approved if each.list_id in approve_lists and each.tier is not Tier.UNKNOWN
    )
    revoked = _revoked_by_hand(store, on)
    notes += [f"{_shown(each)} stays off: {why}" for each, why in revoked.items()]
    at = datetime.now(UTC).replace(microsecond=0)
    overlay = overlay.with_approvals(
        Approval(**each._asdict(), by=by, at=at, reason="compiled with its tier named")
        for each in on
        if each not in revoked
    )
    return overlay, notes


def _revoked(label_class: LabelClass, tiers: Mapping[tuple[str, str], Tier], overlay: Overlay) -> str:
    tier = tiers.get((label_class.list_id, label_class.category))
    why = "is not in this snapshot" if tier is None else f"has the tier {tier} now"
    text = f"the approval of {_shown(label_class)} is revoked, since the category {why}"
    silent = sum(each.label.label_class == label_class for each in overlay.additions)
    return text + (f"; additions to it that are no match by that: {silent:,}" if silent else "")


def _described(added: Addition) -> str:
    """Name an addition, without its digest."""
    reference = "" if added.reference is None else f" / {added.reference}"
    return f"{added.algorithm} to {added.list_id} / {added.category}{reference}"


def _shown(label_class: LabelClass) -> str:
    return " / ".join(label_class)


def _listed(additions: Sequence[Addition], directory: Path, manifest: Manifest) -> list[Addition]:
    """Give the additions that a new snapshot has in the same class."""
    if not additions:
        return []
    found = []
    _, manifest_sha256 = read_manifest(directory)
    with Snapshot(directory, manifest, manifest_sha256) as snapshot:
        for added in additions:
            table = snapshot.tables.get(added.algorithm)
            label_set_id = None if table is None else table.find(added.raw())
            labels = () if label_set_id is None else snapshot.labels(label_set_id)
            if any(label.label_class == added.label.label_class for label in labels):
                found.append(added)
    return found


def _revoked_by_hand(store: Store, classes: Collection[LabelClass]) -> dict[LabelClass, str]:
    """Give those of some classes that are not approved which `hashwacht revoke` switched off last, each with why.

    With a history that cannot be followed nobody can tell, and a class that is off stays off. Cost: the history is read
    back to the last approval or revocation of each, whole for a class that is new.
    """
    found: dict[LabelClass, str] = {}
    wanted = {f"{each.list_id} / {each.category} as {each.tier}": each for each in classes}
    try:
        for entry in store.history() if wanted else ():
            for detail in entry.details:
                verb, _, name = detail.partition(" ")
                if name not in wanted or (entry.action, verb) not in {("revoke", "revoked"), ("approve", "approved")}:
                    continue
                label_class = wanted.pop(name)
                if verb == "revoked":
                    reason = f" ({entry.reason})" if entry.reason else ""
                    found[label_class] = f"{entry.by} revoked it{reason}; `hashwacht approve` switches it on again"
    except (NoStore, CurrentDamaged):
        return found  # nothing was live, or it went with what is damaged
    except HistoryDamaged as error:
        why = f"whether somebody revoked it cannot be told: {error}; `hashwacht approve` switches it on"
        found |= dict.fromkeys(wanted.values(), why)
    return found


def check_new_snapshot(directory: Path, manifest: Manifest) -> None:
    """Look up a sample of a new snapshot's entries the way serving will, before it can go live.

    Raises FilterDamaged or EntriesDamaged: a disk or memory error, or a mistake of ours; either way nothing is
    published. Cost: milliseconds.
    """
    check_sizes(directory, manifest)
    _, manifest_sha256 = read_manifest(directory)
    with Snapshot(directory, manifest, manifest_sha256) as snapshot:
        snapshot.check_canary()
        for name, table in snapshot.tables.items():
            length = table.algorithm.digest_bytes
            digests = [
                digest
                for _ in range(_SAMPLE)
                if (digest := table.some_digest(random.randbytes(length))) is not None  # noqa: S311 - a sample, no secret
            ]
            if table.filter.probe(b"".join(digests)) != list(range(len(digests))):
                raise FilterDamaged(directory / filter_file(name), "denies entries of its own store")
            for label_set_id in {table.find(digest) for digest in digests}:
                if label_set_id is None:
                    raise EntriesDamaged(directory, f"an entry of {name} is not found")
                snapshot.labels(label_set_id)
