"""Label numbers: one for a class, one for each reference, and back from a number what it stands for."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.errors import TooManyCategories
from loader.label_numbers import FIRST_REFERENCE, MAX_CLASSES, LabelTable
from snapshot.errors import StoreUnusable
from snapshot.labels import Label, LabelClass, Tier


def test_a_class_has_one_number_and_it_is_the_next(tmp_path: Path) -> None:
    classes = [LabelClass("a", "x", Tier.ILLEGAL), LabelClass("a", "x", Tier.OTHER), LabelClass("a", "y", Tier.ILLEGAL)]
    with LabelTable(tmp_path) as table:
        assert [table.number(c, "file") for c in [*classes, *reversed(classes)]] == [0, 1, 2, 2, 1, 0]
        assert list(table.classes) == classes
        assert [table.label(i) for i in range(3)] == [Label(*c, None) for c in classes]
        assert not table.has_references


text = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(st.integers(0, 2), st.none() | text), max_size=30), st.integers(1, 5))
def test_every_number_stands_for_what_it_was_given_for(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str | None]], batch: int
) -> None:
    classes = [LabelClass("list", f"c{i}", Tier.ILLEGAL) for i in range(3)]
    with LabelTable(tmp_path_factory.mktemp("labels")) as table:
        numbers = [table.number(c, "file") for c in classes]
        given_numbers: list[int] = []
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            given_numbers += table.add_references([numbers[i] for i, _ in part], [reference for _, reference in part])
        assert table.has_references == any(reference is not None for _, reference in rows)
        for (index, reference), number in zip(rows, given_numbers, strict=True):
            assert table.label(number) == Label(*classes[index], reference)
            assert (number >= FIRST_REFERENCE) == (reference is not None)


def test_many_references_are_found_at_random(tmp_path: Path, rng: random.Random) -> None:
    references = ["r" * rng.randrange(200) for _ in range(20_000)]
    with LabelTable(tmp_path) as table:
        number = table.number(LabelClass("list", "c", Tier.ILLEGAL), "file")
        numbers = table.add_references([number] * len(references), references)
        for i in rng.sample(range(len(references)), 1000):
            assert table.label(numbers[i]).reference == references[i]


def test_more_categories_than_anyone_has_are_another_column(tmp_path: Path) -> None:
    with LabelTable(tmp_path) as table:
        for i in range(MAX_CLASSES):
            table.number(LabelClass("list", f"c{i}", Tier.ILLEGAL), "a.csv")
        with pytest.raises(TooManyCategories, match=r"b\.csv: more than 4096 .*--column reference") as caught:
            table.number(LabelClass("list", "one more", Tier.ILLEGAL), "b.csv")
        assert caught.value.path == "b.csv"
        assert table.number(LabelClass("list", "c7", Tier.ILLEGAL), "b.csv") == 7


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="gone"):
        LabelTable(tmp_path / "gone")
