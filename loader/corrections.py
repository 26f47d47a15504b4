"""What an operator changes without a compile: which classes are on, which digests are silent, which are listed on top.

    approve, revoke            classes of the live snapshot
    suppress, unsuppress       digests, or all digests under a supplier's reference
    add, remove                digests in an approved class, past the known-good guard

Each is one new overlay and one swap of CURRENT (snapshot/swap.py), so it is live in every worker within two seconds,
or has not happened. A suppression is in force before anything else is read: neither a damaged snapshot nor a slow disk
keeps a wrong hash alive. Every function signs what it makes live if it is given a key, and raises SignatureMissing if
it is not and the store is signed.

Digests come and go as suppliers know them. In a sealed store they are sealed in the overlay as in the snapshot, and
functions that take or give digests raise SealKeyMissing or SealKeyWrong without its key.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from loader.errors import ClassUnknown, KnownGood, NothingToChange
from snapshot.algorithms import ALGORITHMS
from snapshot.errors import DamageError, SnapshotError, SnapshotMissing
from snapshot.labels import ACTING_TIERS, Label, LabelClass, Tier, label_set
from snapshot.manifest import ClassFacts
from snapshot.overlay import Addition, Approval, Overlay, Suppression
from snapshot.reader import Snapshot, read_trusted_manifest
from snapshot.seal import NO_SEAL_KEYS, Digest, Seal, SealKeys, require_same_seal, resealed
from snapshot.signing import SigningKey
from snapshot.store import Action, Current, Store
from snapshot.swap import Swap, swapping


@dataclass(frozen=True, slots=True)
class By:
    """Who changes something, and why. Goes into overlay and history."""

    name: str
    reason: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def fields(self) -> dict[str, Any]:
        """Give the fields of an overlay's entry."""
        return {"by": self.name, "reason": self.reason, "at": self.at}


@dataclass(frozen=True, slots=True)
class Sibling:
    """A digest that stands under the same reference as one that was suppressed: the file still matches by it."""

    digest: Digest
    list_id: str
    reference: str


@dataclass(slots=True)
class Suppressed:
    """What a suppression did: CURRENT, digests that are suppressed now and were not, and what they were listed as.

    `siblings` are those that were not suppressed yet. `failed` is why labels or siblings are not known, or the siblings
    not taken along: the digests that were named are suppressed all the same.
    """

    current: Current
    new: list[Digest]
    labels: dict[Digest, tuple[Label, ...]] = field(default_factory=dict)
    siblings: list[Sibling] = field(default_factory=list)
    siblings_taken: bool = False
    failed: SnapshotError | None = None


def approve(
    store: Store, list_id: str, category: str | None, by: By, *, signing_key: SigningKey | None = None
) -> tuple[Current, list[ClassFacts]]:
    """Switch classes of the live snapshot on: of one category, or all of the list whose tier is known.

    Raises ClassUnknown for a list or category that is not live or whose tier is unknown, NothingToChange if all are on.
    """
    with _changing(store, signing_key) as swap:
        classes = _classes(store, swap.live, list_id, category)
        unknown = [facts for facts in classes if facts.tier is Tier.UNKNOWN]
        if category is not None and unknown:
            raise ClassUnknown(
                f"{list_id} / {category}: its tier is unknown. Give the category a tier in the lists file and compile, "
                "then approve it."
            )
        mapped = [facts for facts in classes if facts.tier is not Tier.UNKNOWN]
        if not mapped:
            raise ClassUnknown(f"{list_id}: the tiers of all its categories are unknown; name them in the lists file.")
        approved = swap.overlay.approved
        new = [facts for facts in mapped if _class_of(facts) not in approved]
        if not new:
            raise NothingToChange(f"{_shown(list_id, category)}: is approved already.")
        overlay = swap.overlay.with_approvals(Approval(**_class_of(facts)._asdict(), **by.fields()) for facts in new)
        details = [f"approved {_shown(facts.list_id, facts.category)} as {facts.tier}" for facts in new]
        return _commit(swap, "approve", overlay, by, details), new


def revoke(
    store: Store, list_id: str, category: str | None, by: By, *, signing_key: SigningKey | None = None
) -> tuple[Current, list[LabelClass]]:
    """Switch classes off that are on, whether they are in the live snapshot or not.

    Raises NothingToChange if none is on.
    """
    with _changing(store, signing_key) as swap:
        gone = [
            each for each in sorted(swap.overlay.approved)
            if each.list_id == list_id and category in (None, each.category)
        ]  # fmt: skip
        if not gone:
            raise NothingToChange(f"{_shown(list_id, category)}: is not approved. `hashwacht overlay` shows what is.")
        overlay = swap.overlay.without_approvals(gone.__contains__)
        details = [f"revoked {_shown(each.list_id, each.category)} as {each.tier}" for each in gone]
        return _commit(swap, "revoke", overlay, by, details), gone


def suppress(
    store: Store, digests: Sequence[Digest], by: By, *,
    with_siblings: bool = False, signing_key: SigningKey | None = None, seal_keys: SealKeys = NO_SEAL_KEYS,
) -> Suppressed:  # fmt: skip
    """Make digests silent, whatever lists them, and find their siblings; take those along if asked to.

    The digests are suppressed first, in a swap of their own, and the siblings in a second one. Digests that are not
    listed are suppressed too: a list may bring them tomorrow. Raises NothingToChange if all are suppressed already and
    there is no sibling to take along. What goes wrong once the first swap is done is told, not raised.
    """
    current, new = _suppress(store, digests, by, f"{_counted(digests)} named", signing_key, seal_keys)
    done = Suppressed(current, new)
    try:
        _find_siblings(store, digests, done, seal_keys)
        if with_siblings and done.siblings:
            taken = list(dict.fromkeys(sibling.digest for sibling in done.siblings))
            what = f"{_counted(taken)}, siblings of those named before"
            done.current, also_new = _suppress(store, taken, by, what, signing_key, seal_keys)
            done.new += also_new
            done.siblings_taken = True
    except SnapshotError as error:
        done.failed = error
    if not done.new and done.failed is None:
        raise NothingToChange("all of these digests are suppressed already.")
    return done


def digests_of_reference(
    store: Store, list_id: str, reference: str, *, seal_keys: SealKeys = NO_SEAL_KEYS
) -> list[Digest]:
    """Give the digests that a list has under a reference, additions included. Raises ClassUnknown if there is none."""
    current = store.current()
    overlay = store.overlay(current.overlay_version, current.overlay_sha256)
    seal = _seal(store, current, overlay, seal_keys)
    with _live(store, current) as snapshot:
        found = _digests_under(snapshot, overlay, list_id, reference)
    if not found:
        raise ClassUnknown(f"{list_id}: has no entry with the reference {reference!r}, nor has it any addition.")
    return [resealed(digest, seal, None) for digest in found]


def unsuppress(
    store: Store, digests: Sequence[Digest], by: By, *,
    signing_key: SigningKey | None = None, seal_keys: SealKeys = NO_SEAL_KEYS,
) -> tuple[Current, int]:  # fmt: skip
    """Lift suppressions; give how many there were. Raises NothingToChange if none of the digests is suppressed."""
    with _changing(store, signing_key) as swap:
        seal = _seal(store, swap.live, swap.overlay, seal_keys)
        overlay = swap.overlay.without_suppressions(_named(resealed(digest, None, seal)) for digest in digests)
        if overlay is swap.overlay:
            raise NothingToChange("none of these digests is suppressed.")
        count = len(swap.overlay.suppressions) - len(overlay.suppressions)
        return _commit(swap, "unsuppress", overlay, by, [f"{count} digests lifted"]), count


def add(
    store: Store, digests: Sequence[Digest], list_id: str, category: str, by: By, reference: str | None = None, *,
    signing_key: SigningKey | None = None, seal_keys: SealKeys = NO_SEAL_KEYS,
) -> tuple[Current, LabelClass]:  # fmt: skip
    """List digests on top of the live snapshot, in a class that is approved.

    Raises ClassUnknown if it is not, if its tier leads to nothing, or if no list with a digest's algorithm is live;
    KnownGood for a known-good digest; NothingToChange for a suppressed one, or if all are added already. A message
    names the place of a digest among those given.
    """
    with _changing(store, signing_key) as swap:
        matching = [
            each for each in sorted(swap.overlay.approved) if (each.list_id, each.category) == (list_id, category)
        ]
        if not matching:
            raise ClassUnknown(f"{_shown(list_id, category)}: is not approved, so the digests would not be a match.")
        label_class = matching[-1]
        if label_class.tier not in ACTING_TIERS:
            raise ClassUnknown(
                f"{_shown(list_id, category)}: its tier is {label_class.tier}, so the digests would not be a match."
            )
        suppressed = _suppressed(swap.overlay)
        seal = _seal(store, swap.live, swap.overlay, seal_keys)
        stored = [resealed(digest, None, seal) for digest in digests]
        with _live(store, swap.live) as snapshot:
            known_good = snapshot.known_good()
            for place, (algorithm, digest) in enumerate(stored, start=1):
                shown = f"digest {place} of {len(digests)} ({algorithm.name})"
                if algorithm.name not in snapshot.tables:
                    raise ClassUnknown(f"{shown}: no list with {algorithm.name} is live, so nobody would look it up.")
                if known_good.has(algorithm, digest):
                    raise KnownGood(
                        f"{shown}: is known good (a trivial file, or on a known-good list), so innocent files would "
                        "match. Nothing was added."
                    )
                if (algorithm, digest) in suppressed:
                    raise NothingToChange(
                        f"{shown}: is suppressed, so it would not be a match. Nothing was added; "
                        "`hashwacht unsuppress` lifts that first."
                    )
        overlay = swap.overlay.with_additions(
            Addition(
                algorithm=algorithm.name, digest=digest.hex(), reference=reference,
                **label_class._asdict(), **by.fields(),
            )
            for algorithm, digest in stored
        )  # fmt: skip
        if overlay is swap.overlay:
            raise NothingToChange("all of these digests are added already.")
        details = [f"{_counted(digests)} to {_shown(list_id, category)}"]
        return _commit(swap, "add", overlay, by, details), label_class


def remove(
    store: Store, digests: Sequence[Digest], by: By, *,
    signing_key: SigningKey | None = None, seal_keys: SealKeys = NO_SEAL_KEYS,
) -> tuple[Current, int]:  # fmt: skip
    """Take additions back; give how many there were. Raises NothingToChange if none of the digests was added."""
    with _changing(store, signing_key) as swap:
        seal = _seal(store, swap.live, swap.overlay, seal_keys)
        wanted = {_named(resealed(digest, None, seal)) for digest in digests}
        overlay = swap.overlay.without_additions(lambda each: (each.algorithm, each.digest) in wanted)
        if overlay is swap.overlay:
            raise NothingToChange("none of these digests was added.")
        count = len(swap.overlay.additions) - len(overlay.additions)
        return _commit(swap, "remove", overlay, by, [f"{count} additions taken back"]), count


def _suppress(
    store: Store, digests: Sequence[Digest], by: By, what: str, signing_key: SigningKey | None, seal_keys: SealKeys
) -> tuple[Current, list[Digest]]:
    with _changing(store, signing_key) as swap:
        known = _suppressed(swap.overlay)
        seal = _seal(store, swap.live, swap.overlay, seal_keys)
        new = {digest: stored for digest in digests if (stored := resealed(digest, None, seal)) not in known}
        if not new:
            return swap.live, []
        overlay = swap.overlay.with_suppressions(
            Suppression(algorithm=a.name, digest=digest.hex(), **by.fields()) for a, digest in new.values()
        )
        return _commit(swap, "suppress", overlay, by, [what]), list(new)


def _seal(store: Store, current: Current, overlay: Overlay, seal_keys: SealKeys) -> Seal | None:
    """Give the key that the live state is sealed with. Raises SealKeyMissing or SealKeyWrong."""
    with contextlib.suppress(DamageError, SnapshotMissing):  # a damaged snapshot keeps no wrong hash alive
        manifest = read_trusted_manifest(store.live_dir(current), current.manifest_sha256)
        require_same_seal(overlay.seal_key_id, manifest.seal_key_id, store.overlay_file(overlay.version))
    return seal_keys.of(overlay.seal_key_id, store.path)


def _named(digest: Digest) -> tuple[str, str]:
    """Give a digest as the overlay writes it."""
    return digest[0].name, digest[1].hex()


@contextmanager
def _changing(store: Store, signing_key: SigningKey | None) -> Iterator[Swap]:
    """Hold the lock on CURRENT, of a store in which something is live: a directory that is no store stays as it is."""
    store.read_current_bytes()
    with swapping(store, signing_key) as swap:
        yield swap


def _suppressed(overlay: Overlay) -> set[Digest]:
    return {(ALGORITHMS[each.algorithm], each.raw()) for each in overlay.suppressions}


def _commit(swap: Swap, action: Action, overlay: Overlay, by: By, details: Sequence[str]) -> Current:
    """Make an overlay live on the live snapshot."""
    return swap.commit(action, swap.live_snapshot(), overlay, by=by.name, reason=by.reason or None, details=details)


def _classes(store: Store, current: Current, list_id: str, category: str | None) -> list[ClassFacts]:
    """Give the live classes of a list, or of one of its categories. Raises ClassUnknown."""
    manifest = read_trusted_manifest(store.live_dir(current), current.manifest_sha256)
    of_list = [facts for facts in manifest.classes if facts.list_id == list_id]
    if not of_list:
        known = ", ".join(sorted({facts.list_id for facts in manifest.classes})) or "none"
        raise ClassUnknown(f"{list_id}: no such list is live. Live lists with entries: {known}.")
    found = [facts for facts in of_list if category in (None, facts.category)]
    if not found:
        known = ", ".join(facts.category for facts in of_list)
        raise ClassUnknown(f"{list_id} / {category}: no such category is live. There: {known}.")
    return found


def _class_of(facts: ClassFacts) -> LabelClass:
    return LabelClass(facts.list_id, facts.category, facts.tier)


def _shown(list_id: str, category: str | None) -> str:
    return list_id if category is None else f"{list_id} / {category}"


def _counted(digests: Iterable[Digest]) -> str:
    counts = Counter(algorithm.name for algorithm, _ in digests)
    return ", ".join(f"{counts[name]} {name}" for name in ALGORITHMS if counts[name])


@contextmanager
def _live(store: Store, current: Current) -> Iterator[Snapshot]:
    with Snapshot.open(store.live_dir(current), current.manifest_sha256) as snapshot:
        yield snapshot


def _find_siblings(store: Store, digests: Sequence[Digest], done: Suppressed, seal_keys: SealKeys) -> None:
    """Fill in what the digests are listed as, and their siblings."""
    overlay = store.overlay(done.current.overlay_version, done.current.overlay_sha256)
    seal = _seal(store, done.current, overlay, seal_keys)
    with _live(store, done.current) as snapshot:
        for digest in digests:
            done.labels[digest] = _labels(snapshot, overlay, resealed(digest, None, seal))
        done.siblings = [
            replace(sibling, digest=resealed(sibling.digest, seal, None))
            for sibling in _siblings(snapshot, overlay, done.labels.values())
        ]


def _labels(snapshot: Snapshot, overlay: Overlay, digest: Digest) -> tuple[Label, ...]:
    """Give what a digest is listed as, by the snapshot and by additions."""
    table = snapshot.tables.get(digest[0].name)
    label_set_id = table.find(digest[1]) if table is not None else None
    listed = () if label_set_id is None else snapshot.labels(label_set_id)
    added = [each.label for each in overlay.additions if (each.algorithm, each.digest) == _named(digest)]
    return label_set([*listed, *added])


def _digests_under(snapshot: Snapshot, overlay: Overlay, list_id: str, reference: str) -> list[Digest]:
    """Give the digests under a reference, of the snapshot and of additions, each once."""
    try:
        found = snapshot.digests_of(list_id, reference)
    except UnicodeEncodeError:  # from a command line that is no UTF-8, which no list can have
        return []
    added = [
        (ALGORITHMS[each.algorithm], each.raw())
        for each in overlay.additions if (each.list_id, each.reference) == (list_id, reference)
    ]  # fmt: skip
    return list(dict.fromkeys([*found, *added]))


def _siblings(snapshot: Snapshot, overlay: Overlay, labels: Iterable[tuple[Label, ...]]) -> Iterator[Sibling]:
    """Yield the digests under the references of `labels` that are not suppressed, as they are stored."""
    suppressed = _suppressed(overlay)
    references = dict.fromkeys(
        (label.list_id, label.reference) for each in labels for label in each if label.reference is not None
    )
    for list_id, reference in references:
        for digest in _digests_under(snapshot, overlay, list_id, reference):
            if digest not in suppressed:
                yield Sibling(digest, list_id, reference)
