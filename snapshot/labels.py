"""Labels: who lists a digest, as what. A digest's label set is what a match answers.

A label set is stored as JSON, `[[list_id, category, tier, reference], …]`, sorted, reference null where the
supplier gave none. JSON because it is read once per match at most, and by eye when something is doubtful.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

import orjson

#: References kept for one digest within one class. A supplier's export has been seen with one constant value
#: on thousands of records; a reply that carried them all would not end. Classes are never dropped.
MAX_REFERENCES_PER_CLASS = 100


class Tier(StrEnum):
    """How grave a class is, in the operator's own words rather than the supplier's."""

    BASELINE = "baseline"
    ILLEGAL = "illegal"
    INVESTIGATIVE = "investigative"
    OTHER = "other"
    UNKNOWN = "unknown"


#: The tiers that lead to anything once their class is approved; the others never do.
ACTING_TIERS: Final = frozenset({Tier.BASELINE, Tier.ILLEGAL, Tier.INVESTIGATIVE})


class LabelClass(NamedTuple):
    """The unit that policy speaks of: one supplier's list, one of its categories, and the tier given to it."""

    list_id: str
    category: str
    tier: Tier


class Label(NamedTuple):
    """A class, and the supplier's own id of the entry where it gave one."""

    list_id: str
    category: str
    tier: Tier
    reference: str | None

    @property
    def label_class(self) -> LabelClass:
        """The class without the reference."""
        return LabelClass(self.list_id, self.category, self.tier)


LabelSet = tuple[Label, ...]


def label_set(labels: list[Label]) -> LabelSet:
    """Sort labels, drop repeats and references beyond MAX_REFERENCES_PER_CLASS.

    Within a class, a label without reference comes first; the order depends on nothing but the labels, so
    the same entries give the same set whatever order the lists came in.
    """
    ordered = sorted(set(labels), key=lambda label: (label[:3], label.reference is not None, label.reference or ""))
    kept: list[Label] = []
    in_class = 0
    for label in ordered:
        in_class = in_class + 1 if kept and kept[-1][:3] == label[:3] else 1
        if in_class <= MAX_REFERENCES_PER_CLASS:
            kept.append(label)
    return tuple(kept)


def encode_label_set(labels: LabelSet) -> bytes:
    """Give a label set's stored bytes."""
    return orjson.dumps([list(label) for label in labels])


def decode_label_set(stored: bytes) -> LabelSet:
    """Read a label set back.

    Raises ValueError for anything that encode_label_set did not write.
    """
    rows = orjson.loads(stored)
    if not isinstance(rows, list) or not rows:
        raise ValueError("a label set is a list with at least one label")
    labels = []
    for row in rows:
        try:
            list_id, category, tier, reference = row
        except TypeError:
            raise ValueError("a label has four parts") from None
        if not (type(list_id) is type(category) is str and (reference is None or type(reference) is str)):
            raise ValueError("a label has texts, and a reference or null")
        labels.append(Label(list_id, category, Tier(tier), reference))
    return tuple(labels)
