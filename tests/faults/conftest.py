"""A store of three snapshots, and the program that runs commands which meet their fate."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import listfiles
from tests.faults.doomed import Doomed

#: Digests of the lists that stores are made of; list n holds the first COUNTS[n].
DIGESTS = {name: listfiles.random_digests(name, 400, "faults") for name in ("md5", "sha256")}
COUNTS = (250, 300, 350, 400)


@pytest.fixture(scope="session")
def doomed() -> Iterator[Doomed]:
    with Doomed() as program:
        yield program


@pytest.fixture(scope="session")
def lists(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four lists, each longer than the one before: two algorithms, references, digests in several classes."""
    directory = tmp_path_factory.mktemp("lists")
    paths = []
    for number, count in enumerate(COUNTS):
        rows = [
            [md5.hex(), sha256.hex(), "ab"[i % 2], f"ref {i}" if i % 10 == 0 else ""]
            for i, (md5, sha256) in enumerate(zip(DIGESTS["md5"], DIGESTS["sha256"], strict=True))
            if i < count
        ]
        rows += [[DIGESTS["md5"][0].hex(), "", "c", ""]]
        content = listfiles.csv_lines(["md5", "sha256", "category", "reference"], rows)
        paths.append(listfiles.write(directory / f"{number}.csv", content))
    return paths


def compiling(store: Path, *files: Path) -> list[Any]:
    """Give the words of a compile."""
    return ["compile", "--store", store, "--list-id", "list", "--tier", "illegal", *files]


@pytest.fixture(scope="session")
def three(doomed: Doomed, lists: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three snapshots, the last of them live; to be copied, not touched."""
    store = tmp_path_factory.mktemp("three") / "store"
    for path in lists[:3]:
        assert doomed.run(compiling(store, path)).code == 0
    return store


@pytest.fixture
def fresh(three: Path, tmp_path: Path) -> Callable[[], Path]:
    """Make a copy of the store, in place of the one made before."""

    def copy() -> Path:
        store = tmp_path / "store"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(three, store)
        return store

    return copy
