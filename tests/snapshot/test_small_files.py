"""What somebody puts in the place of a file that is read whole keeps nobody waiting and fills no memory."""

from __future__ import annotations

import errno
import os
import random
import socket
from pathlib import Path

import pytest

from snapshot.algorithms import MD5
from snapshot.errors import SnapshotError
from snapshot.manifest import MANIFEST
from snapshot.small_files import read_whole
from snapshot.store import Store
from snapshot.verify import verify_store
from tests.snapshot.test_swap import suppress


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_a_file_is_read_whole(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(bytes(size))
    assert read_whole(tmp_path / "file", 100) == bytes(size)


def test_no_more_is_read_than_was_expected(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)  # of holes
    with pytest.raises(OSError, match="is longer than 100 bytes") as caught:
        read_whole(tmp_path / "file", 100)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "file"))


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is no regular file"):
        read_whole(tmp_path / "pipe", 100)
    with pytest.raises(OSError, match="is no regular file"):
        read_whole(Path("/dev/zero"), 100)
    with pytest.raises(IsADirectoryError):
        read_whole(tmp_path, 100)
    with pytest.raises(FileNotFoundError):
        read_whole(tmp_path / "nothing", 100)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="No such device or address"):
            read_whole(tmp_path / "socket", 100)


@pytest.mark.parametrize("place", ["CURRENT", "history", "overlay", "manifest"])
def test_a_pipe_in_a_store_is_named(tmp_path: Path, publish, some_entries, place: str) -> None:
    store = Store(tmp_path / "store")
    publish(store, some_entries(20, MD5))
    current = suppress(store, random.Random(1))
    path = {
        "CURRENT": store.current_file, "history": store.history_file(current.generation),
        "overlay": store.overlay_file(current.overlay_version), "manifest": store.live_dir(current) / MANIFEST,
    }[place]  # fmt: skip
    path.unlink()
    os.mkfifo(path)
    try:
        damage = verify_store(store).damage
    except SnapshotError as error:
        damage = [error]
    assert any(str(path) in str(error) and "is no regular file" in str(error) for error in damage), damage
