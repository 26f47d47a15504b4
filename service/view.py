"""What one request sees: one snapshot with one overlay on it, and never anything else.

A worker holds one View and replaces it whole (service/watch.py). A request takes the reference once and never
awaits while it uses it, so no answer mixes two states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import orjson

from service.overlaid import Overlaid, overlaid_by_algorithm
from service.policy import Action, Policy
from snapshot.labels import Label, LabelClass, LabelSet, label_set
from snapshot.overlay import Overlay
from snapshot.reader import Snapshot, Table
from snapshot.seal import Seal
from snapshot.store import Current

#: Verdicts kept per View. A class without references is one label set, so lists with millions of entries need
#: a handful; label sets that one digest owns (references) come and go.
_MAX_VERDICTS: Final = 4096


class Verdict(NamedTuple):
    """What a listed digest is answered: the action, and its labels as JSON that orjson takes in as it is."""

    action: Action
    labels: orjson.Fragment


class View:
    """One open snapshot, the overlay on it, and the generation that named both.

    Belongs to the event loop's thread.
    """

    __slots__ = (
        "_verdicts", "generation", "issued_at", "overlaid", "overlay_version", "policy", "seal", "snapshot",
        "snapshot_id", "tables",
    )  # fmt: skip

    def __init__(self, current: Current, snapshot: Snapshot, overlay: Overlay, seal: Seal | None = None) -> None:
        """Put an overlay on a snapshot; both are sealed with `seal`, or not at all."""
        self.generation = current.generation
        self.issued_at = current.issued_at
        self.snapshot = snapshot
        self.snapshot_id = snapshot.snapshot_id
        self.overlay_version = overlay.version
        self.seal = seal
        self.policy = Policy(overlay.approved)
        self.tables: Mapping[str, Table] = snapshot.tables
        self.overlaid: Mapping[str, Overlaid] = overlaid_by_algorithm(overlay)
        self._verdicts: dict[int, Verdict | None] = {}

    @property
    def any_approved(self) -> bool:
        """Whether any class of the snapshot leads to anything."""
        classes = (LabelClass(c.list_id, c.category, c.tier) for c in self.snapshot.manifest.classes)
        return any(self.policy.action(label_class) is not None for label_class in classes)

    def look_up(self, table: Table, digest: bytes, overlaid: Overlaid | None) -> Verdict | None:
        """Give the verdict on a digest that may be listed: store, overlay, labels, policy. None is no match.

        The digest is as it is stored: sealed, if there is a seal. Raises EntriesDamaged. Cost: 1 µs for a digest that
        is not listed after all, 2 to 10 µs for one that is.
        """
        if overlaid is not None and digest in overlaid.suppressed:
            return None
        label_set_id = table.find(digest)
        if overlaid is None or digest not in overlaid.added:
            return None if label_set_id is None else self.verdict(label_set_id)
        listed = () if label_set_id is None else self.snapshot.labels(label_set_id)
        return self._decide(label_set([*listed, *overlaid.added[digest]]))

    def verdict(self, label_set_id: int) -> Verdict | None:
        """Give the verdict on a label set: labels, then policy. None is no match.

        Raises EntriesDamaged when there is no such label set. Cost: a dict lookup, or about 8 µs the first time.
        """
        known = self._verdicts
        try:
            return known[label_set_id]
        except KeyError:
            if len(known) >= _MAX_VERDICTS:
                known.clear()
            verdict = known[label_set_id] = self._decide(self.snapshot.labels(label_set_id))
            return verdict

    def _decide(self, labels: LabelSet) -> Verdict | None:
        decision = self.policy.decide(labels)
        if decision is None:
            return None
        action, switched_on = decision
        return Verdict(action, orjson.Fragment(orjson.dumps([_shown(label) for label in switched_on])))


def _shown(label: Label) -> dict[str, str]:
    shown = {"list_id": label.list_id, "category": label.category, "tier": label.tier.value}
    if label.reference is not None:
        shown["reference"] = label.reference
    return shown
