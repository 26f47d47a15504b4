from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.view import View
from snapshot.reader import Snapshot
from snapshot.seal import Seal
from tests.service.snapshots import MadeSnapshot, live_store, random_entries


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("HASHWACHT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg-state"))


@pytest.fixture(scope="module", params=["plain", "sealed"])
def made(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> MadeSnapshot:
    """A store with 300 entries of each algorithm but sha512, in every kind of label set."""
    seal = Seal(random.randbytes(32)) if request.param == "sealed" else None
    entries = random_entries(300, ("md5", "sha1", "sha256", "photodna"))
    return live_store(tmp_path_factory.mktemp("store"), entries, seal=seal)


@pytest.fixture
def view(made: MadeSnapshot) -> Iterator[View]:
    with Snapshot.open(made.directory, made.manifest_sha256) as snapshot:
        yield View(made.current(1), snapshot, made.overlay, made.seal)
