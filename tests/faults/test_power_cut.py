"""What a power cut could take: a file that was renamed into place before it was flushed may come back empty.

A kill cannot show this, since the kernel keeps what a dead process wrote. So the order of steps is looked at: what
is renamed must have been flushed before, and the directory it went to after.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from loader.build import BuildRequest, ListInput, build
from snapshot.labels import Tier
from snapshot.store import Store


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path, dict[str, int]]]:
    """Every flush and rename as (what, path, modification times of what is under the path, in ns)."""
    taken: list[tuple[str, Path, dict[str, int]]] = []
    fsync, rename = os.fsync, Path.rename

    def times(path: Path) -> dict[str, int]:
        files = [path, *path.iterdir()] if path.is_dir() else [path]
        return {str(file): file.stat().st_mtime_ns for file in files}

    def noted_fsync(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        time.sleep(0.05)  # a slow disk: what nobody waits for is late
        before = {str(path): path.stat().st_mtime_ns}
        fsync(fd)
        taken.append(("fsync", path, before))  # only now: in another thread it may still have been under way

    def noted_rename(path: Path, target: Path) -> Path:
        taken.append(("rename", path, times(path)))
        result = rename(path, target)
        taken.append(("renamed", Path(target).parent, {}))
        return result

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    return taken


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks Linux for the path of an open file")
def test_everything_is_flushed_before_it_is_renamed_and_its_directory_after(
    tmp_path: Path, lists: list[Path], steps: list[tuple[str, Path, dict[str, int]]]
) -> None:
    store = Store(tmp_path / "store")
    build(BuildRequest(store.path, [ListInput("list", Tier.ILLEGAL, [str(lists[0])])], by="test"))
    flushed: dict[str, int] = {}
    waiting: list[Path] = []
    renamed = []
    for what, path, times in steps:
        if what == "fsync":
            flushed.update(times)
            if path in waiting:
                waiting.remove(path)
        elif what == "rename":
            assert not waiting, f"{path} is renamed before {waiting} was flushed"
            late = {name for name, modified in times.items() if flushed.get(name) != modified}
            assert not late, f"{path} is renamed, and not flushed as they are: {late}"
            renamed.append(path.name.split("-")[0])
        else:
            waiting.append(path)
    assert renamed == ["snapshot", ".1.json.new", ".CURRENT.new"]
    assert not waiting, "what was renamed last could be forgotten"
