"""Random damage to a store of three snapshots: verify names each, and no command falls over a damaged one.

Damage of any kind under snapshots/ makes `verify` exit with 1 and a reason. `lookup` and `show` verify checksums before
they open anything, so damage of the live snapshot is refused with 4: no wrong answer, no crash in a damaged page.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from snapshot.errors import DamageError, StoreError
from snapshot.store import Store
from tests.faults.conftest import COUNTS, DIGESTS
from tests.faults.doomed import Doomed

REASONS = {error.reason for family in (DamageError, StoreError) for error in family.__subclasses__()}
FILES = ("entries.lmdb", "md5.bloom", "sha256.bloom", "manifest.json")


def flip(path: Path, source: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[source.randrange(len(content))] ^= 1 << source.randrange(8)
    path.write_bytes(content)


def cut(path: Path, source: random.Random) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(source.choice([0, size - 1, source.randrange(size), size - size % 4096]) if size % 4096 else 0)


def grow(path: Path, source: random.Random) -> None:
    with path.open("ab") as file:
        file.write(source.randbytes(source.choice([1, 16, 4096])))


def delete(path: Path, source: random.Random) -> None:
    path.unlink()


def overwrite(path: Path, source: random.Random) -> None:
    path.write_bytes(source.randbytes(path.stat().st_size))


def replace_by_directory(path: Path, source: random.Random) -> None:
    path.unlink()
    path.mkdir()


def replace_by_zeros(path: Path, source: random.Random) -> None:
    """What some file systems show of a file after a power cut."""
    path.write_bytes(bytes(path.stat().st_size))


def swap_with_another_snapshot(path: Path, source: random.Random) -> None:
    others = [other for other in sorted(path.parent.parent.iterdir()) if other != path.parent]
    other = source.choice(others) / path.name
    mine, its = path.read_bytes(), other.read_bytes()
    path.write_bytes(its)
    other.write_bytes(mine)


def rename(path: Path, source: random.Random) -> None:
    path.rename(path.with_name(source.choice([f"{path.name}.bak", path.name.upper(), "sha1.bloom"])))


def add_file(path: Path, source: random.Random) -> None:
    path.with_name(source.choice(["sha1.bloom", "lock.mdb", ".hidden"])).write_bytes(source.randbytes(50))


def delete_snapshot(path: Path, source: random.Random) -> None:
    shutil.rmtree(path.parent)


def rename_snapshot(path: Path, source: random.Random) -> None:
    path.parent.rename(path.parent.with_name(source.randbytes(32).hex()))


def swap_snapshots(path: Path, source: random.Random) -> None:
    other = source.choice([other for other in sorted(path.parent.parent.iterdir()) if other != path.parent])
    aside = path.parent.with_name("aside")
    path.parent.rename(aside)
    other.rename(path.parent)
    aside.rename(other)


def replace_snapshot_by_file(path: Path, source: random.Random) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"")


DAMAGES: list[Callable[[Path, random.Random], None]] = [
    flip, overwrite, replace_by_zeros, swap_with_another_snapshot, add_file, cut, grow, delete, replace_by_directory,
    rename, delete_snapshot, rename_snapshot, swap_snapshots, replace_snapshot_by_file,
]  # fmt: skip


def copy(three: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(three, to)
    return to


def test_verify_names_300_random_damages(doomed: Doomed, three: Path, tmp_path: Path) -> None:
    seed = random.getrandbits(32)
    print(f"seed: {seed}")  # noqa: T201 - pytest shows it when the test fails
    source = random.Random(seed)
    reasons: Counter[str] = Counter()
    wrong = []
    for number in range(300):
        store = copy(three, tmp_path / "store")
        damage = source.choice(DAMAGES)
        path = source.choice(sorted((store / "snapshots").iterdir())) / source.choice(FILES)
        damage(path, source)
        done = doomed.finish(doomed.start(["verify", "--json", "--store", store]))
        what = f"{number}: {damage.__name__} {path.name}: {done}"
        try:
            named = [one["reason"] for one in json.loads(done.out)["damage"]]
        except ValueError:
            wrong.append(what)
            continue
        if done.code != 1 or not named or not set(named) <= REASONS or done.err:
            wrong.append(what)
        reasons.update(named)
    assert not wrong, "\n".join(wrong)
    assert len(reasons) >= 6, reasons


@pytest.mark.parametrize("command", ["lookup", "show"])
def test_damage_of_the_live_snapshot_is_refused_by_readers(
    doomed: Doomed, three: Path, tmp_path: Path, command: str
) -> None:
    seed = random.getrandbits(32)
    print(f"seed: {seed}")  # noqa: T201 - pytest shows it when the test fails
    source = random.Random(seed)
    asked = tmp_path / "asked"
    asked.write_text("".join(f"{digest.hex()}\n" for name in DIGESTS for digest in DIGESTS[name]))
    words = [command, "--json", "--store", tmp_path / "store", *(["--file", asked] if command == "lookup" else [])]
    wrong = []
    for damage in DAMAGES:
        for name in FILES:
            store = Store(copy(three, tmp_path / "store"))
            damage(store.live_dir(store.current()) / name, source)
            done = doomed.finish(doomed.start(words))
            named = done.err.startswith("error [") and done.err.split("]")[0].removeprefix("error [") in REASONS
            if done.code != 4 or not named or done.out:
                wrong.append(f"{damage.__name__} {name}: {done.code} {done.err} {done.out[:200]}")
    assert not wrong, "\n".join(wrong)


def test_a_whole_store_is_answered_from(doomed: Doomed, three: Path, tmp_path: Path) -> None:
    """The control: what the damaged ones are compared with."""
    asked = tmp_path / "asked"
    asked.write_text("".join(f"{digest.hex()}\n" for name in DIGESTS for digest in DIGESTS[name]))
    store = copy(three, tmp_path / "store")
    done = doomed.run(["lookup", "--json", "--store", store, "--file", asked])
    verdicts = Counter(answer["verdict"] for answer in json.loads(done.out)["answers"])
    assert verdicts == {"listed": 2 * COUNTS[2], "not_listed": 2 * (400 - COUNTS[2])}
    assert doomed.run(["verify", "--store", store]).code == 0


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"[" * 100_000, b"\xff\xfe", b'{"generation": 1}\n'])
def test_a_broken_current_is_named_by_every_command(
    doomed: Doomed, three: Path, tmp_path: Path, content: bytes
) -> None:
    store = copy(three, tmp_path / "store")
    (store / "CURRENT").write_bytes(content)
    for words in (["lookup", "ab" * 16], ["show"], ["history"], ["rollback"]):
        done = doomed.run([*words, "--store", store])
        assert (done.code, done.err[:23]) == (4, "error [current_damaged]"), done
    done = doomed.run(["verify", "--store", store])
    assert (done.code, done.err[:25]) == (1, "damaged [current_damaged]")


def test_a_damaged_history_is_named_and_does_not_stop_a_lookup(doomed: Doomed, three: Path, tmp_path: Path) -> None:
    store = copy(three, tmp_path / "store")
    (store / "history" / "2.json").write_bytes(b"{}")
    assert doomed.run(["lookup", "ab" * 16, "--store", store]).code == 0
    done = doomed.run(["history", "--store", store])
    assert (done.code, done.err[:23]) == (4, "error [history_damaged]")
    done = doomed.run(["verify", "--store", store])
    assert (done.code, done.err[:25]) == (1, "damaged [history_damaged]")
