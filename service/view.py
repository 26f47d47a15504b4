"""What one request sees: one snapshot under one policy, and never anything else.

A worker holds one View and replaces it whole (service/watch.py). A request takes the reference once and never
awaits while it uses it, so no answer mixes two states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import orjson

from service.policy import Action, Policy
from snapshot.labels import Label
from snapshot.reader import Snapshot, Table
from snapshot.store import Current

#: Verdicts kept per View. A class without references is one label set, so lists with millions of entries need
#: a handful; label sets that one digest owns (references) come and go.
_MAX_VERDICTS: Final = 4096


class Verdict(NamedTuple):
    """What a listed digest is answered: the action, and its labels as JSON that orjson takes in as it is."""

    action: Action
    labels: orjson.Fragment


class View:
    """One open snapshot, the policy on it, and the generation that named it. Belongs to the event loop's thread."""

    __slots__ = (
        "_verdicts", "generation", "issued_at", "overlay_version", "policy", "snapshot", "snapshot_id", "tables",
    )  # fmt: skip

    def __init__(self, current: Current, snapshot: Snapshot, policy: Policy) -> None:
        self.generation = current.generation
        self.issued_at = current.issued_at
        self.snapshot = snapshot
        self.snapshot_id = snapshot.snapshot_id
        self.overlay_version = current.overlay_version
        self.policy = policy
        self.tables: Mapping[str, Table] = snapshot.tables
        self._verdicts: dict[int, Verdict | None] = {}

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
            verdict = known[label_set_id] = self._decide(label_set_id)
            return verdict

    def _decide(self, label_set_id: int) -> Verdict | None:
        decision = self.policy.decide(self.snapshot.labels(label_set_id))
        if decision is None:
            return None
        action, labels = decision
        return Verdict(action, orjson.Fragment(orjson.dumps([_shown(label) for label in labels])))


def _shown(label: Label) -> dict[str, str]:
    shown = {"list_id": label.list_id, "category": label.category, "tier": label.tier.value}
    if label.reference is not None:
        shown["reference"] = label.reference
    return shown
