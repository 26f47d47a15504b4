"""The whole path on a real list: every MD5 that this machine's packages ship is found over HTTP, nothing else is.

Some packages ship empty files and single line ends: known good, and never a match.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from loader.guard import trivial_files
from tests.command import compile_lists
from tests.needs import DPKG_LISTS
from tests.service_process import running_service

BATCH = 5_000


@pytest.mark.needs("dpkg")
def test_every_md5_of_every_package_is_found_and_random_ones_are_not(tmp_path: Path, rng: random.Random) -> None:
    lists = sorted(DPKG_LISTS.glob("*.md5sums"))
    # Read plainly, beside the loader: the first 32 characters of each line.
    expected = {line[:32] for path in lists for line in path.read_bytes().decode("utf-8", "replace").splitlines()}
    known_good = expected & {hashlib.md5(content).hexdigest() for content in trivial_files()}
    assert hashlib.md5(b"").hexdigest() in known_good, "there is no empty file in any package"
    expected -= known_good
    result = compile_lists(tmp_path / "store", *lists, list_id="debian", tier="investigative")
    assert result["entries"] == len(expected)
    assert {collision["digest"] for collision in result["known_good"]["named"]} == known_good
    assert result["refused"] == 0
    listed = sorted(expected)
    with running_service(tmp_path / "store", workers=2) as service:
        found = 0
        for start in range(0, len(listed), BATCH):
            sent = listed[start : start + BATCH]
            reply = service.match({"md5": sent})
            assert reply["checked"] == {"md5": len(sent)}
            assert [(match["index"], match["digest"]) for match in reply["matches"]] == list(enumerate(sent))
            for match in reply["matches"]:
                assert match["action"] == "review"
                assert match["labels"] == [{"list_id": "debian", "category": "default", "tier": "investigative"}]
            found += len(reply["matches"])
        assert found == len(expected)
        reply = service.match({"md5": sorted(known_good)})
        assert (reply["checked"], reply["matches"]) == ({"md5": len(known_good)}, [])
        for _ in range(100_000 // BATCH):
            unlisted = [rng.randbytes(16).hex() for _ in range(BATCH)]
            reply = service.match({"md5": unlisted, "sha256": [rng.randbytes(32).hex()]})
            assert reply["matches"] == []
            assert reply["invalid"] == []
            assert reply["checked"] == {"md5": BATCH}
            assert reply["not_loaded"] == {"sha256": 1}
