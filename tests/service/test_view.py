from __future__ import annotations

import orjson
import pytest

import service.view
from service.view import View
from snapshot.blocks import FIRST_OWN_ID
from snapshot.errors import EntriesDamaged


def test_verdicts_are_remembered_within_bounds(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.view, "_MAX_VERDICTS", 5)
    asked = [FIRST_OWN_ID + i for i in range(20)]

    def shown(label_set_id: int) -> bytes:
        verdict = view.verdict(label_set_id)
        return orjson.dumps(verdict and [verdict.action, verdict.labels])

    first = [shown(label_set_id) for label_set_id in asked]
    assert len(view._verdicts) <= 5
    assert [shown(label_set_id) for label_set_id in asked] == first
    assert view.verdict(asked[-1]) is view.verdict(asked[-1])


def test_off_is_remembered_too(view: View) -> None:
    verdicts = [view.verdict(label_set_id) for label_set_id in range(6)]
    assert None in verdicts
    shown = [orjson.loads(orjson.dumps(v.labels)) for v in verdicts if v is not None]
    assert all("reference" not in label for labels in shown for label in labels)


def test_an_entry_without_its_label_set_is_damage_not_a_miss(view: View) -> None:
    with pytest.raises(EntriesDamaged, match="no label set"):
        view.verdict(123_456)
