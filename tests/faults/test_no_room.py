"""A disk that is full, a limit on file sizes, no more files: at every amount of room that a compile can run out of.

The errors are the kernel's own. Each time: exit 4 and `store_full`, no traceback, what was live still is, every
byte of it, and with room again the same compile succeeds.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from snapshot.store import Store
from snapshot.verify import verify_store
from tests import listfiles
from tests.faults.conftest import compiling
from tests.faults.doomed import Call, Doomed, Run

PAGE = 4096
#: A list whose spool, references, entries, keys and filter take some 130 pages.
LARGE = 4_000
#: So little memory that half of the digests are spilled to disk before they are sorted.
SPOOL = 100_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    digests = listfiles.random_digests("sha256", LARGE, "no room")
    rows = ([digest.hex(), f"reference number {i}" if i % 3 == 0 else ""] for i, digest in enumerate(digests))
    content = listfiles.csv_lines(["sha256", "reference"], rows)
    return listfiles.write(tmp_path_factory.mktemp("large") / "list.csv", content)


def check_full(path: Path, done: Run, before: bytes | None, what: str) -> None:
    assert done.code == 4, f"{what}: {done}"
    assert done.err.startswith("error [store_full]: "), f"{what}: {done.err}"
    assert "Make room" in done.err
    if before is None:
        assert not (path / "CURRENT").exists()
        return
    assert (path / "CURRENT").read_bytes() == before
    report = verify_store(Store(path))
    assert (report.damage, report.leftovers) == ([], []), what


def named(done: Run) -> str:
    """Give the name of the file that could not be written."""
    return Path(done.err.split(": ")[1].split()[-1]).name.split("-")[0]


def check_room_again(doomed: Doomed, path: Path, words: list[object]) -> None:
    done = doomed.run(words)
    assert done.code == 0, done.err
    report = verify_store(Store(path))
    assert (report.damage, report.leftovers) == ([], [])


#: Where a file size limit begins to hold: at each stage that writes, so that each kind of file is hit.
LIMITED_FROM = {
    "lock": None,
    "references": Call("loader.build:LabelTable.add_references"),
    "references, at their end": Call("loader.build:LabelTable._mapped"),
    "spool": Call("loader.spool:_Spool.spill"),
    "keys": Call("snapshot.writer:SnapshotWriter.append"),
    "keys, at their end": Call("snapshot.writer:SnapshotWriter._end_algorithm"),
    "filter": Call("snapshot.writer:build_filter"),
    "entries": Call("snapshot.writer:SnapshotWriter._put"),
    "entries, later": Call("snapshot.writer:SnapshotWriter._put", nth=1200),
    "entries, at their end": Call("loader.build:SnapshotWriter.finish"),
    "manifest": Call("snapshot.writer:file_sha256", "after", nth=2),
    "history": Call("snapshot.swap:replace_file"),
    "CURRENT": Call("snapshot.swap:replace_file", nth=2),
}


@pytest.mark.parametrize("size", [0, 1, 100, 3000, 5000, PAGE * 5, PAGE * 5 + 100])
@pytest.mark.parametrize("where", LIMITED_FROM)
def test_a_file_size_limit(doomed: Doomed, fresh: Callable[[], Path], large: Path, where: str, size: int) -> None:
    path = fresh()
    before = (path / "CURRENT").read_bytes()
    words = compiling(path, large)
    done = doomed.run(words, at=LIMITED_FROM[where], fate=f"fsize:{size}", spool_bytes=SPOOL)
    if done.code == 0:
        # What is written from there on fits; only the small files do, and a filter while the entries are flushed.
        assert where in {"filter", "manifest", "history", "CURRENT"}, done
        assert size > 300
        assert verify_store(Store(path)).damage == []
        return
    check_full(path, done, before, f"{where} limited to {size} bytes")
    check_room_again(doomed, path, words)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB of which tests fill what a compile shall not have."""
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=200", "tmpfs", mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


def leave(mount: Path, pages: int) -> None:
    """Fill the disk up to so many pages."""
    ballast = mount / "ballast"
    ballast.unlink(missing_ok=True)
    free = os.statvfs(mount).f_bavail
    with ballast.open("wb") as file:
        if free > pages:
            os.posix_fallocate(file.fileno(), 0, (free - pages) * PAGE)
    assert os.statvfs(mount).f_bavail == min(pages, free)


@pytest.mark.needs("tmpfs")
@pytest.mark.parametrize("first", [False, True])
def test_a_full_disk(doomed: Doomed, three: Path, large: Path, small_disk: Path, first: bool) -> None:
    """With no page left, with one, and so on until the compile fits; large amounts in larger steps."""
    path = small_disk / "store"
    if not first:
        shutil.copytree(three, path)
    before = None if first else (path / "CURRENT").read_bytes()
    words = compiling(path, large)
    source = random.Random("full disk")
    failures: Counter[str] = Counter()
    pages = 0
    for pages in itertools.accumulate(itertools.chain([0], *([1] * 3, [source.randint(1, 9)]) * 1000)):
        leave(small_disk, pages)
        done = doomed.run(words, spool_bytes=SPOOL)
        if done.code == 0:
            break
        check_full(path, done, before, f"{pages} pages left")
        failures[named(done)] += 1
    assert verify_store(Store(path)).damage == []
    leave(small_disk, 10**6)
    check_room_again(doomed, path, words)
    assert {"references", "sha256.spool", "entries.lmdb"} <= set(failures), failures
    assert {"snapshot", "sha256.known"} & set(failures), failures  # which of the two, the sizes of the steps decide


@pytest.mark.needs("tmpfs")
@pytest.mark.parametrize("where", LIMITED_FROM)
def test_a_disk_that_is_full_from_a_stage_on(
    doomed: Doomed, three: Path, large: Path, small_disk: Path, where: str
) -> None:
    """Somebody else takes all the room at the worst moment, when only a small file is still to be written."""
    path = small_disk / "store"
    shutil.copytree(three, path)
    before = (path / "CURRENT").read_bytes()
    words = compiling(path, large)
    done = doomed.run(words, at=LIMITED_FROM[where], fate=f"fill:{small_disk / 'ballast'}", spool_bytes=SPOOL)
    check_full(path, done, before, where)
    (small_disk / "ballast").unlink()
    check_room_again(doomed, path, words)


@pytest.mark.needs("tmpfs")
def test_no_more_files(doomed: Doomed, three: Path, lists: list[Path], small_disk: Path) -> None:
    """A file system can have room and yet take no more files."""
    path = small_disk / "store"
    shutil.copytree(three, path)
    before = (path / "CURRENT").read_bytes()
    ballast = small_disk / "ballast"
    ballast.mkdir()
    for number in range(os.statvfs(small_disk).f_ffree):
        (ballast / str(number)).touch()
    reached, attempts = set(), 0
    while (done := doomed.run(compiling(path, lists[3]))).code != 0:
        check_full(path, done, before, f"{os.statvfs(small_disk).f_ffree} files left")
        reached.add(named(done))
        # Two, since a run that only fails at CURRENT leaves a void entry in the history.
        attempts += 1
        assert attempts < 100, f"one more file each time does not help: {done}"
        for file in itertools.islice(ballast.iterdir(), 2 if "CURRENT" in reached else 1):
            file.unlink()
    assert {"references", "entries.lmdb", "md5.keys", "CURRENT"} <= reached
    # A filter is built while the next algorithm is written: which of the two finds no room is a matter of time.
    assert {"md5.bloom", "sha256.keys", "sha256.bloom"} & reached, reached
    report = verify_store(Store(path))
    assert (report.damage, report.leftovers) == ([], [])
