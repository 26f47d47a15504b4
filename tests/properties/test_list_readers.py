"""Files of every format, with pieces of them dropped, doubled and moved: each ends in an error, or its books balance.

For vics, ncmec and csv a second reading by other parsers must find the same. tests/fuzz/accounting.py says what holds;
tests/fuzz/readers.py looks for what does not for hours.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.readers import READERS
from loader.readers.base import Batch, Reader, ReadOptions, Withdrawn
from loader.report import FileReport, Unit
from loader.sources import ListFile
from tests.fuzz import accounting
from tests.fuzz.seeds import mutated, of_samples, seeds

seeds_of = lru_cache(maxsize=None)(seeds)


@pytest.mark.parametrize("name", READERS)
@given(seed=st.integers(0, 1 << 40))
@settings(max_examples=400)
def test_the_books_balance_whatever_is_done_to_a_file(
    tmp_path_factory: pytest.TempPathFactory, name: str, seed: int
) -> None:
    chance = random.Random(seed)
    content = chance.choice(seeds_of(name))
    for _ in range(chance.randrange(4)):
        content = mutated(name, content, chance)
    path = tmp_path_factory.mktemp(name) / "list"
    path.write_bytes(content)
    accounting.check(name, path)


@pytest.mark.parametrize("name", accounting.SECOND)
def test_the_seeds_are_read(tmp_path: Path, name: str) -> None:
    outcomes = []
    for number, content in enumerate(seeds_of(name)):
        path = tmp_path / str(number)
        path.write_bytes(content)
        outcomes.append(accounting.check(name, path))
    assert outcomes.count("read") >= 5, outcomes


class Forgetful:
    """A reader that misses the first digest, or withdrawal, and counts as if there were none."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.name, self.is_text = reader.name, reader.is_text
        self.unit: Unit = reader.unit

    def recognises(self, first_lines: Sequence[bytes], options: ReadOptions) -> bool:
        return self._reader.recognises(first_lines, options)

    def read(self, source: ListFile, options: ReadOptions, report: FileReport) -> Iterator[Batch | Withdrawn]:
        batches = self._reader.read(source, options, report)
        first = next(batches)
        assert isinstance(first, Batch)
        report.digests[first.algorithm.name] -= 1
        report.digests += {}  # without what is 0 now
        labels = {name: values and values[1:] for name, values in vars_of(first).items()}
        if len(first.digests) > 1:
            yield replace(first, digests=first.digests[1:], **labels)
        yield from batches


def vars_of(batch: Batch) -> dict[str, Sequence[object] | None]:
    return {"categories": batch.categories, "references": batch.references, "rows": batch.rows}


@pytest.mark.parametrize("name", accounting.SECOND)
def test_a_reader_that_misses_a_digest_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / "list"
    path.write_bytes(of_samples(name)[-1])
    assert accounting.check(name, path) == "read"
    reader = Forgetful(READERS[name])
    monkeypatch.setattr(accounting, "READERS", {name: reader})
    monkeypatch.setattr(accounting, "IN_PIECES", {name: lambda _: reader})
    with pytest.raises(AssertionError, match="missing"):
        accounting.check(name, path)
