"""What a label leads to: its class must be approved, and then the tier decides.

baseline and illegal → block, investigative → review; other and unknown are no match, approved or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Final, Literal

from snapshot.labels import Label, LabelClass, Tier

Action = Literal["block", "review", "log"]

#: How strong an action is; a digest or file gets the strongest of its labels.
STRENGTH: Final[Mapping[Action, int]] = MappingProxyType({"log": 1, "review": 2, "block": 3})

_BY_TIER: Final[Mapping[Tier, Action]] = MappingProxyType(
    {Tier.BASELINE: "block", Tier.ILLEGAL: "block", Tier.INVESTIGATIVE: "review"}
)


class Policy:
    """Tells the action of a class, or None when the class is off. `approved` are the classes that are on."""

    def __init__(self, approved: AbstractSet[LabelClass]) -> None:
        self._approved = approved

    def action(self, label_class: LabelClass) -> Action | None:
        """Give the action for one class."""
        return _BY_TIER.get(label_class.tier) if label_class in self._approved else None

    def decide(self, labels: tuple[Label, ...]) -> tuple[Action, tuple[Label, ...]] | None:
        """Give the strongest action and the labels that have one, or None when none has: no match."""
        actions = [(label, action) for label in labels if (action := self.action(label.label_class)) is not None]
        if not actions:
            return None
        return strongest([action for _, action in actions]), tuple(label for label, _ in actions)


def strongest(actions: list[Action]) -> Action:
    """Give the strongest of at least one action."""
    return max(actions, key=STRENGTH.__getitem__)
