"""Fixtures that several folders share: seeded randomness, and a store that must be whole when a test is over."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from snapshot.store import Store
from snapshot.verify import verify_store

# No deadline: the machine is shared, and what a step costs is the benchmarks' business.
settings.register_profile("hashwacht", deadline=None, print_blob=True)
settings.load_profile("hashwacht")


@pytest.fixture
def rng() -> random.Random:
    """Random numbers of this test alone: they follow from pytest-randomly's seed, and a failure prints their own."""
    seed = random.getrandbits(64)
    print(f"rng seed: {seed}")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store that must be whole when the test is over; a test that damages one makes it from `tmp_path` itself."""
    store = Store(tmp_path / "store")
    yield store
    if store.current_file.exists():
        assert verify_store(store).damage == []
