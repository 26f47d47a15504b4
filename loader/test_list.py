"""The public test list: digests of harmless texts, so that anybody can see a match from end to end.

Like a virus scanner's test file: a service that was compiled with this list answers `block` for these files, and
whoever integrates it can upload one and see what happens. Nothing else about them is of interest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from loader.readers.base import Batch
from snapshot.algorithms import MD5, SHA1, SHA256, SHA512
from snapshot.labels import Tier

LIST_ID: Final = "hashwacht-test"
CATEGORY: Final = "test"
TIER: Final = Tier.BASELINE

_COUNT: Final = 12


def harmless_files() -> dict[str, bytes]:
    """Give the test files by name."""
    return {
        f"hashwacht-test-{number:02}.txt": (
            f"HASHWACHT-TEST-FILE-{number:02}\n"
            f"This file is harmless. Its digests are on Hashwacht's public test list, list_id {LIST_ID}, so a\n"
            "service that was compiled with that list answers that it is listed.\n"
        ).encode()
        for number in range(1, _COUNT + 1)
    }


def write_test_files(directory: Path) -> list[Path]:
    """Write the test files into a directory, made if missing; give their paths. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in harmless_files().items():
        path = directory / name
        path.write_bytes(content)
        paths.append(path)
    return paths


def batches() -> Iterator[Batch]:
    """Yield the list as a reader would."""
    files = harmless_files()
    for algorithm in (MD5, SHA1, SHA256, SHA512):
        packed = b"".join(
            hashlib.new(algorithm.name, content, usedforsecurity=False).digest() for content in files.values()
        )
        digests = np.frombuffer(packed, dtype=np.uint8).reshape(-1, algorithm.digest_bytes)
        yield Batch(algorithm, digests)
