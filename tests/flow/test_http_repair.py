"""A published file that goes bad under a running service, and the repair by compiling the same list again."""

from __future__ import annotations

import random
from pathlib import Path

from snapshot.store import Store
from tests.command import compile_lists, hashwacht
from tests.listfiles import hex_lines, random_digests, write
from tests.service_process import running_service, until


def flip_a_bit(path: Path, rng: random.Random) -> None:
    """Flip a bit in a copy and put it in the file's place: writing into a mapped file is not what we test."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    damaged = path.with_name("damaged")
    damaged.write_bytes(content)
    damaged.replace(path)


def test_a_damaged_snapshot_is_replaced_by_a_compile_and_taken_over_while_serving(
    tmp_path: Path, rng: random.Random
) -> None:
    digests = random_digests("sha256", 5000, rng.getrandbits(32))
    list_file = write(tmp_path / "list.txt", hex_lines(digests))
    path = tmp_path / "store"
    first = compile_lists(path, list_file)
    store = Store(path)
    sent = [digest.hex() for digest in rng.sample(digests, 500)]
    with running_service(path, workers=2) as service:
        for name in ("entries.lmdb", "sha256.bloom"):
            flip_a_bit(store.snapshot_dir(first["snapshot_id"]) / name, rng)
        assert "checksum_mismatch" in hashwacht("verify", "--store", path, code=1).err
        assert len(service.match({"sha256": sent})["matches"]) == len(sent)  # what is open is what was verified
        again = compile_lists(path, list_file)
        assert (again["snapshot_id"], again["already_there"]) == (first["snapshot_id"], False)
        hashwacht("verify", "--store", path)
        # One path, another file: each worker must be able to open it while the old one is open.
        assert until(lambda: service.log.count("snapshot live") >= 4, 10), service.log
        for _ in range(20):
            status, ready = service.ready()
            assert (status, ready["generation"], ready["refused"]) == (200, again["generation"], None)
        assert len(service.match({"sha256": sent})["matches"]) == len(sent)
