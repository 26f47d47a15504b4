"""Label sets: one order whatever came first, no class ever lost, and back from disk what went in."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapshot.labels import (
    MAX_REFERENCES_PER_CLASS,
    Label,
    LabelClass,
    Tier,
    decode_label_set,
    encode_label_set,
    label_set,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
labels = st.builds(Label, text, text, st.sampled_from(list(Tier)), st.none() | text)


@given(st.lists(labels, max_size=12), st.randoms(use_true_random=False))
def test_a_set_depends_on_nothing_but_its_labels(some: list[Label], shuffler: random.Random) -> None:
    again = some + some[::2]
    shuffler.shuffle(again)
    assert label_set(again) == label_set(some)
    assert set(label_set(some)) == set(some)
    assert len(label_set(some)) == len(set(some))


@given(st.lists(labels, min_size=1, max_size=12))
def test_what_is_stored_comes_back(some: list[Label]) -> None:
    stored = label_set(some)
    back = decode_label_set(encode_label_set(stored))
    assert back == stored
    assert all(type(label.tier) is Tier for label in back)


def test_the_order_is_list_category_tier_and_the_bare_label_before_references() -> None:
    bare = Label("b", "x", Tier.ILLEGAL, None)
    expected = (
        Label("a", "z", Tier.OTHER, "9"), bare, bare._replace(reference=""), bare._replace(reference="10"),
        bare._replace(reference="9"), Label("b", "x", Tier.OTHER, None), Label("b", "y", Tier.BASELINE, None),
    )  # fmt: skip
    assert label_set(list(reversed(expected))) == expected


def test_references_beyond_the_limit_go_and_classes_never(rng: random.Random) -> None:
    references = [f"{rng.getrandbits(64):016x}" for _ in range(3 * MAX_REFERENCES_PER_CLASS)]
    classes = [LabelClass(f"list-{i}", category, Tier.ILLEGAL) for i in range(5) for category in ("a", "b")]
    crowd = [Label(*c, reference) for c in classes for reference in references]
    bare = Label(*classes[3], None)
    rng.shuffle(crowd)
    kept = label_set([*crowd, bare])
    assert {label.label_class for label in kept} == set(classes)
    assert bare in kept
    for label_class in classes:
        own = [label.reference for label in kept if label.label_class == label_class]
        best = ([None] if label_class == bare.label_class else []) + sorted(references)
        assert own == best[:MAX_REFERENCES_PER_CLASS]


@pytest.mark.parametrize(
    "stored",
    [
        b"", b"null", b"[]", b"{}", b"7", b"[7]", b"[null]", b'["abcd"]', b"[[]]", b'[["a","b","other"]]',
        b'[["a","b","other",null,null]]', b'[["a","b","gravest",null]]', b'[["a","b",null,null]]',
        b'[[1,"b","other",null]]', b'[["a",null,"other",null]]', b'[["a","b","other",5]]',
        b'[{"list_id":"a","category":"b","tier":"other","reference":null}]', b'[["a","b","other",null]', b"\xff",
    ],
)  # fmt: skip
def test_anything_else_is_refused(stored: bytes) -> None:
    with pytest.raises(ValueError):
        decode_label_set(stored)
