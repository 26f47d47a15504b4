from __future__ import annotations

import random

import pytest

from service.policy import Policy, strongest
from snapshot.labels import Label, Tier
from tests.service.snapshots import BASELINE, ILLEGAL, INVESTIGATIVE, OTHER, REFERENCED, UNKNOWN, labels


@pytest.mark.parametrize(
    ("tier", "action"),
    [
        (Tier.BASELINE, "block"), (Tier.ILLEGAL, "block"), (Tier.INVESTIGATIVE, "review"),
        (Tier.OTHER, None), (Tier.UNKNOWN, None),
    ],
)  # fmt: skip
def test_each_tier(tier: Tier, action: str | None) -> None:
    label = Label("list", "category", tier, None)
    assert Policy().action(label.label_class) == action
    assert Policy().decide((label,)) == (None if action is None else (action, (label,)))


def test_the_strongest_action_wins_and_labels_that_are_off_do_not_show() -> None:
    assert Policy().decide(labels(INVESTIGATIVE, OTHER, REFERENCED)) == ("block", labels(INVESTIGATIVE, REFERENCED))
    assert Policy().decide(labels(BASELINE, ILLEGAL)) == ("block", labels(BASELINE, ILLEGAL))
    assert Policy().decide(labels(OTHER, UNKNOWN)) is None
    actions = ["log", "review", "block"]
    random.shuffle(actions)
    assert strongest(actions) == "block"
