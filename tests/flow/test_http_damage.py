from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from snapshot.manifest import ENTRIES, MANIFEST
from tests.service.snapshots import MadeSnapshot, live_store, random_entries, write_current, write_snapshot
from tests.service_process import ServiceProcess, running_service, until

REFUSED = r"CURRENT refused"
BLOOM = "sha256.bloom"


def entries() -> dict[str, dict[bytes, tuple]]:
    return random_entries(2000, ("md5", "sha256"))


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
    path.write_bytes(raw)


def swap_with_another(path: Path) -> None:
    """Put the same file of another snapshot there, of the same size if it can be."""
    other = write_snapshot(path.parents[2].parent / "other", entries())
    shutil.copyfile(other.directory / path.name, path)


def rename_filters(path: Path) -> None:
    for a, b in (("md5.bloom", "x"), ("sha256.bloom", "md5.bloom"), ("x", "sha256.bloom")):
        (path.parent / a).rename(path.parent / b)


def newer_format(path: Path) -> None:
    manifest = json.loads(path.read_bytes())
    manifest["format_version"] = 3
    path.write_bytes(json.dumps(manifest).encode())


def not_json(path: Path) -> None:
    path.write_bytes(b"{")


DAMAGE: dict[str, tuple[str, Callable[[Path], None], set[str]]] = {
    "entries missing": (ENTRIES, remove, {"missing_file"}),
    "entries cut": (ENTRIES, cut, {"wrong_size"}),
    "entries grown": (ENTRIES, grow, {"wrong_size"}),
    "entries flipped": (ENTRIES, flip, {"checksum_mismatch"}),
    "entries of another": (ENTRIES, swap_with_another, {"checksum_mismatch", "wrong_size"}),
    "filter missing": (BLOOM, remove, {"missing_file"}),
    "filter cut": (BLOOM, cut, {"wrong_size"}),
    "filter flipped": (BLOOM, flip, {"checksum_mismatch"}),
    "filter of another": (BLOOM, swap_with_another, {"checksum_mismatch"}),
    "filters swapped": (BLOOM, rename_filters, {"checksum_mismatch"}),
    "manifest missing": (MANIFEST, remove, {"missing_file"}),
    "manifest cut": (MANIFEST, cut, {"manifest_damaged"}),
    "manifest not JSON": (MANIFEST, not_json, {"manifest_damaged"}),
    "manifest flipped": (MANIFEST, flip, {"manifest_damaged", "newer_format"}),
    "manifest of another": (MANIFEST, swap_with_another, {"manifest_damaged"}),
    "newer format": (MANIFEST, newer_format, {"newer_format"}),
}


def ready_is(service: ServiceProcess, reasons: set[str], *, status: int) -> Callable[[], bool]:
    def holds() -> bool:
        # Twice as many looks as workers, so that hardly a worker is left out.
        for _ in range(4):
            found, body = service.ready()
            refused = body if status == 503 else (body.get("refused") or {})
            if found != status or refused.get("reason") not in reasons:
                return False
        return True

    return holds


def is_ready_with(service: ServiceProcess, made: MadeSnapshot, generation: int) -> Callable[[], bool]:
    def holds() -> bool:
        for _ in range(4):
            status, body = service.ready()
            if (status, body.get("generation"), body.get("snapshot_id"), body.get("refused")) != (
                200, generation, made.snapshot_id, None,
            ):  # fmt: skip
                return False
        return True

    return holds


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_snapshot_is_refused_and_repaired_it_is_served(tmp_path: Path, name: str) -> None:
    file, damage, reasons = DAMAGE[name]
    store = tmp_path / "store"
    first = write_snapshot(store, entries())
    whole = tmp_path / "whole"
    shutil.copytree(first.directory, whole)
    damage(first.directory / file)
    first.make_live(1)
    digest = next(iter(first.entries["sha256"]))
    with running_service(store, workers=1, ready=False, may_log=REFUSED) as service:
        # Without a snapshot before: not ready, with the reason, and no answer that could be taken for a miss.
        assert until(ready_is(service, reasons, status=503), 5), service.ready()
        answer = service.post("/v1/match", {"sha256": [digest.hex()]})
        assert answer.status == 503
        assert answer.problem()[1] in reasons
        assert answer.headers["retry-after"] == "1"
        assert service.get("/v1/snapshot").status == 503
        assert service.get("/livez").status == 200
        assert until(lambda: service.log.count("CURRENT refused") == 1, 2), service.log
        # Repaired in place it is taken up by itself.
        first.directory.rename(tmp_path / "damaged")
        whole.rename(first.directory)
        assert until(is_ready_with(service, first, 1), 5), service.ready()
        assert service.match({"sha256": [digest.hex()]})["matches"][0]["digest"] == digest.hex()
        # With a snapshot before: that one goes on, and says so.
        second = write_snapshot(store, entries())
        damage(second.directory / file)
        second.make_live(2)
        assert until(ready_is(service, reasons, status=200), 5), service.ready()
        status, ready = service.ready()
        assert (status, ready["generation"], ready["snapshot_id"], ready["refused"]["generation"]) == (
            200,
            1,
            first.snapshot_id,
            2,
        )
        assert service.match({"sha256": [digest.hex()]})["matches"][0]["digest"] == digest.hex()
        assert until(lambda: service.log.count("CURRENT refused") == 2, 2), service.log
        # A third that is whole is taken.
        third = write_snapshot(store, entries())
        third.make_live(3)
        assert until(is_ready_with(service, third, 3), 5), service.ready()
        assert service.log.count("CURRENT refused") == 2  # once for each CURRENT, however often it was looked at


def test_current_damaged_missing_and_gone_back(tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = live_store(store, entries(), generation=5)
    second = write_snapshot(store, entries())
    line = first.current(5).encode()
    with running_service(store, may_log=REFUSED) as service:
        for raw, reason in [
            (b"", "current_damaged"),
            (line[:-20], "current_damaged"),
            (line.replace(b'"generation":5', b'"generation":"5"'), "current_damaged"),
            (line.replace(b"}", b',"more":1}'), "current_damaged"),
            (first.current(6, snapshot_id="0" * 64).encode(), "snapshot_missing"),
            (first.current(6, manifest_sha256="0" * 64).encode(), "manifest_damaged"),
            (second.current(4).encode(), "generation_went_back"),
            (second.current(5).encode(), "generation_went_back"),
            (first.current(4).encode(), "generation_went_back"),
        ]:
            write_current(store, raw)
            assert until(ready_is(service, {reason}, status=200), 5), (reason, service.ready())
            assert service.match({"md5": ["0" * 32]})["snapshot_id"] == first.snapshot_id
            write_current(store, line)
            assert until(is_ready_with(service, first, 5), 5), service.ready()
        (store / "CURRENT").unlink()
        assert until(ready_is(service, {"no_store"}, status=200), 5)
        second.make_live(6)
        assert until(is_ready_with(service, second, 6), 5)


def test_a_store_that_comes_later(tmp_path: Path) -> None:
    store = tmp_path / "later" / "store"
    with running_service(store, ready=False, state_dir=tmp_path / "state", may_log=REFUSED) as service:
        assert until(ready_is(service, {"no_store"}, status=503), 5)
        assert service.post("/v1/match", {"md5": []}).problem() == (503, "no_store")
        made = live_store(store, entries())
        assert until(is_ready_with(service, made, 1), 5)


def test_the_same_snapshot_republished_is_shared(tmp_path: Path) -> None:
    made = live_store(tmp_path / "store", entries())
    with running_service(made.store) as service:
        for generation in range(2, 6):
            made.make_live(generation)
            assert until(is_ready_with(service, made, generation), 5)
        assert service.log.count("snapshot verified") == 1


def test_a_file_changed_behind_the_note_is_found_at_the_next_start(tmp_path: Path) -> None:
    made = live_store(tmp_path / "store", entries())
    with running_service(made.store, workers=1) as service:
        assert "snapshot verified" in service.log
    with running_service(made.store, workers=1) as service:
        assert "snapshot verified" not in service.log
    facts = (made.directory / BLOOM).stat()
    flip(made.directory / BLOOM)
    os.utime(made.directory / BLOOM, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with running_service(made.store, workers=1, ready=False, may_log=REFUSED) as service:
        assert until(ready_is(service, {"checksum_mismatch"}, status=503), 5)
