from __future__ import annotations

import random

import pytest

from service.policy import Policy, strongest
from snapshot.labels import Label, LabelClass, Tier
from tests.service.snapshots import ALL_APPROVED, BASELINE, ILLEGAL, INVESTIGATIVE, OTHER, REFERENCED, UNKNOWN, labels

ALL_ON = Policy(ALL_APPROVED.approved)


@pytest.mark.parametrize(
    ("tier", "action"),
    [
        (Tier.BASELINE, "block"), (Tier.ILLEGAL, "block"), (Tier.INVESTIGATIVE, "review"),
        (Tier.OTHER, None), (Tier.UNKNOWN, None),
    ],
)  # fmt: skip
def test_each_tier(tier: Tier, action: str | None) -> None:
    label = Label("list", "category", tier, None)
    approved = Policy({label.label_class})
    assert approved.action(label.label_class) == action
    assert approved.decide((label,)) == (None if action is None else (action, (label,)))
    for other in (("other", "category", tier), ("list", "other", tier)):
        assert approved.action(LabelClass(*other)) is None
    for other_tier in set(Tier) - {tier}:
        assert approved.decide((label._replace(tier=other_tier),)) is None
    assert Policy(frozenset()).decide((label,)) is None


def test_the_strongest_action_wins_and_labels_that_are_off_do_not_show() -> None:
    assert ALL_ON.decide(labels(INVESTIGATIVE, OTHER, REFERENCED)) == ("block", labels(INVESTIGATIVE, REFERENCED))
    assert ALL_ON.decide(labels(BASELINE, ILLEGAL)) == ("block", labels(BASELINE, ILLEGAL))
    assert ALL_ON.decide(labels(OTHER, UNKNOWN)) is None
    actions = ["log", "review", "block"]
    random.shuffle(actions)
    assert strongest(actions) == "block"
