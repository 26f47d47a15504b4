"""Spools: whatever comes in comes out in ascending parts, in memory or by disk, for the most skewed lists too."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from loader.spool import LABEL_BYTES, Spools
from snapshot.algorithms import ALGORITHMS, MD5, PHOTODNA, SHA1, SHA256, Algorithm
from snapshot.errors import StoreUnusable

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=lambda a: a.name)


@pytest.fixture
def spools(tmp_path: Path):
    """Make spools with limits of a few rows instead of megabytes."""
    made: list[Spools] = []

    def make(memory_bytes: int = 1 << 30, part_bytes: int | None = None) -> Spools:
        spools = Spools(tmp_path, memory_bytes)
        spools._part_limit = part_bytes or spools._part_limit
        made.append(spools)
        return spools.__enter__()

    yield make
    for spools in made:
        spools.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def rows_of(digests: list[bytes], numbers: list[int]) -> np.ndarray:
    packed = b"".join(d + n.to_bytes(LABEL_BYTES, "little") for d, n in zip(digests, numbers, strict=True))
    return np.frombuffer(packed, np.uint8).reshape(len(digests), -1)


def random_rows(rng: random.Random, algorithm: Algorithm, count: int, prefix: bytes = b"") -> np.ndarray:
    digests = [prefix + rng.randbytes(algorithm.digest_bytes - len(prefix)) for _ in range(count)]
    return rows_of(digests, [rng.randrange(2**32) for _ in range(count)])


def counted(rows: np.ndarray) -> Counter[bytes]:
    return Counter(map(bytes, rows))


def drain(spools: Spools, algorithm: Algorithm) -> Counter[bytes]:
    """Take all parts; require that they ascend, and that each agrees in as many bytes as it says."""
    length = algorithm.digest_bytes
    everything: Counter[bytes] = Counter()
    ranges = []
    for part, depth in spools.parts(algorithm):
        assert part.shape[1] == length + LABEL_BYTES
        assert len(part)
        assert 0 <= depth <= length
        assert (part[:, :depth] == part[0, :depth]).all()
        digests = [bytes(row[:length]) for row in part]
        ranges.append((min(digests), max(digests)))
        everything += counted(part)
    assert all(below[1] < above[0] for below, above in pairwise(ranges))
    return everything


@every_algorithm
@pytest.mark.parametrize("count", [1, 2, 300, 5000])
@pytest.mark.parametrize("memory_rows", [1, 40, 10**6])
def test_all_rows_come_out_once(algorithm: Algorithm, count: int, memory_rows: int, rng, spools) -> None:
    row_bytes = algorithm.digest_bytes + LABEL_BYTES
    under_test = spools(memory_rows * row_bytes, max(memory_rows // 4, 1) * row_bytes)
    given = random_rows(rng, algorithm, count)
    for piece in np.array_split(given, 7):
        under_test.add(algorithm, piece)
    assert under_test.rows(algorithm) == count
    assert drain(under_test, algorithm) == counted(given)


@every_algorithm
@pytest.mark.parametrize("shared", ["1", "8", "all but 1", "all but 2"])
def test_a_common_prefix_is_partitioned_by_what_follows(algorithm: Algorithm, shared: str, rng, spools) -> None:
    length = algorithm.digest_bytes
    count = {"1": 1, "8": 8, "all but 1": length - 1, "all but 2": length - 2}[shared]
    prefix = rng.randbytes(count)
    given = np.concatenate([random_rows(rng, algorithm, 3000, prefix), random_rows(rng, algorithm, 50)])
    given = given[rng.sample(range(len(given)), len(given))]
    row_bytes = length + LABEL_BYTES
    under_test = spools(600 * row_bytes, 40 * row_bytes)
    for piece in np.array_split(given, 11):
        under_test.add(algorithm, piece)
    found = drain(under_test, algorithm)
    assert found == counted(given) if shared != "all but 1" else found.keys() == counted(given).keys()


@pytest.mark.parametrize("memory_rows", [40, 600, 10**6])
@pytest.mark.parametrize("shared", [0, 3, 15, 16])
def test_rows_that_are_kept_come_out_again(memory_rows: int, shared: int, rng, spools) -> None:
    row_bytes = MD5.digest_bytes + LABEL_BYTES
    under_test = spools(memory_rows * row_bytes, max(memory_rows // 4, 1) * row_bytes)
    skewed = rows_of([rng.randbytes(1) * shared + rng.randbytes(16 - shared)] * 2, [1, 2])
    given = np.concatenate([skewed, random_rows(rng, MD5, 3000, b"\x07" * shared), random_rows(rng, MD5, 500)])
    for piece in np.array_split(given[rng.sample(range(len(given)), len(given))], 7):
        under_test.add(MD5, piece)
    wanted = counted(given)
    for keep in (True, True, False):
        found: Counter[bytes] = Counter()
        for part, _ in under_test.parts(MD5, keep=keep):
            found.update(map(bytes, part))
        assert found == wanted if shared < 16 else found.keys() == wanted.keys()


@pytest.mark.parametrize("spilled", [False, True])
def test_a_digest_that_comes_200_000_times_is_one_row_for_each_label(spilled: bool, rng, spools) -> None:
    """It cannot be partitioned, however small a part shall be."""
    digest = rng.randbytes(20)
    labels = [rng.randrange(2**32) for _ in range(5)]
    hot = rows_of([digest] * 200_000, [rng.choice(labels) for _ in range(200_000)])
    others = random_rows(rng, SHA1, 1000, digest[:19]) if spilled else random_rows(rng, SHA1, 1000)
    under_test = spools((1 << 20) if spilled else (1 << 30), 1 << 14)
    for piece in np.array_split(np.concatenate([hot[:100_000], others, hot[100_000:]]), 20):
        under_test.add(SHA1, piece)
    found = drain(under_test, SHA1)
    assert {row for row in found if row[:20] == digest} >= {digest + n.to_bytes(4, "little") for n in labels}
    assert found.keys() == counted(np.concatenate([hot, others])).keys()
    assert sum(count for row, count in found.items() if row[:20] == digest) < 2000


@pytest.mark.parametrize("memory_bytes", [20_000, 1 << 30])
def test_algorithms_share_the_limit_and_do_not_mix(memory_bytes: int, rng, spools) -> None:
    under_test = spools(memory_bytes, 2_000)
    given = {a: random_rows(rng, a, 2000) for a in reversed(ALGORITHMS.values())}
    for piece in range(0, 2000, 100):
        for algorithm, rows in given.items():
            under_test.add(algorithm, rows[piece : piece + 100])
            assert sum(s.held_bytes for s in under_test._spools.values()) <= memory_bytes // 2
    assert under_test.algorithms() == list(ALGORITHMS.values())
    for algorithm in under_test.algorithms():
        assert drain(under_test, algorithm) == counted(given[algorithm])


def test_nothing_is_no_algorithm(spools) -> None:
    under_test = spools()
    under_test.add(MD5, np.empty((0, 20), np.uint8))
    assert under_test.algorithms() == []


def test_half_of_the_memory_is_held_and_no_more(tmp_path: Path, rng: random.Random) -> None:
    """48 MiB of rows through 16 MiB: what is held, the pieces at work and numpy's copies of them."""
    memory_bytes, piece_rows = 16 << 20, 1 << 15
    generator = np.random.default_rng(rng.getrandbits(64))
    count = (48 << 20) // 36
    tracemalloc.start()
    try:
        with Spools(tmp_path, memory_bytes) as under_test:
            for _ in range(0, count, piece_rows):
                under_test.add(SHA256, generator.integers(0, 256, (piece_rows, 36), dtype=np.uint8))
            total = sum(len(part) for part, _ in under_test.parts(SHA256))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total >= count
    assert peak < 2.5 * memory_bytes


@pytest.mark.parametrize("part_bytes", [1 << 18, 1 << 20], ids=["spilled", "held"])
def test_memory_does_not_grow_with_the_depth_of_a_hostile_list(part_bytes: int, tmp_path: Path, rng) -> None:
    """Of vectors that share 60 bytes some leave at each byte, so that there are as many levels of partitions."""
    generator = np.random.default_rng(rng.getrandbits(64))
    pieces = []
    for at in range(60):
        rows = np.zeros((200, 148), np.uint8)
        rows[:, at:144] = generator.integers(1, 256, (200, 144 - at))
        pieces.append(rows)
    deepest = np.zeros((20_000, 148), np.uint8)
    deepest[:, 60:64] = generator.integers(0, 256, (20_000, 4))
    pieces.append(deepest)
    given = np.concatenate(pieces)
    with Spools(tmp_path, 4 << 20) as under_test:
        under_test._part_limit = part_bytes
        for piece in pieces:
            under_test.add(PHOTODNA, piece)
        tracemalloc.start()
        try:
            depths = [depth for _, depth in under_test.parts(PHOTODNA)]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert max(depths) > 60
    assert peak < 10 * given.nbytes  # copies of the whole at one level, not at 60


def test_files_go_when_the_body_raises(tmp_path: Path, rng: random.Random) -> None:
    def fail() -> None:
        with Spools(tmp_path, 1000) as under_test:
            under_test.add(MD5, random_rows(rng, MD5, 1000))
            assert [path.name for path in tmp_path.iterdir()] == ["md5.spool"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_files_go_when_parts_are_left_half_way(tmp_path: Path, rng: random.Random) -> None:
    with Spools(tmp_path, 1000) as under_test:
        under_test._part_limit = 200
        under_test.add(MD5, random_rows(rng, MD5, 1000, b"\x07" * 5))
        parts = under_test.parts(MD5)
        next(parts)
        parts.close()
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_was_cut_is_named(tmp_path: Path, rng: random.Random) -> None:
    with Spools(tmp_path, 1000) as under_test:
        under_test.add(MD5, random_rows(rng, MD5, 1000))
        under_test._spools["md5"]._follower.wait()
        with (tmp_path / "md5.spool").open("r+b") as file:
            file.truncate(5000)
        with pytest.raises(StoreUnusable, match=r"md5\.spool: the file was cut"):
            list(under_test.parts(MD5))


def test_what_was_read_back_is_cut_out_of_the_file(tmp_path: Path, rng: random.Random) -> None:
    """So that a compile needs less room, and the snapshot's files take pages of memory that the host has found."""
    given = random_rows(rng, SHA256, 100_000)
    with Spools(tmp_path, 1 << 20) as under_test:
        for piece in np.array_split(given, 20):
            under_test.add(SHA256, piece)
        left, found = [], Counter()
        for part, _ in under_test.parts(SHA256):
            left.append((tmp_path / "sha256.spool").stat().st_blocks * 512)
            found += counted(part)
    assert found == counted(given)
    assert left[0] > 2 << 20
    assert left == sorted(left, reverse=True)
    assert left[-1] < left[0] / 2


def test_a_directory_that_is_gone_is_named(tmp_path: Path, rng: random.Random) -> None:
    with Spools(tmp_path / "gone", 1000) as under_test, pytest.raises(StoreUnusable, match=r"md5\.spool"):
        under_test.add(MD5, random_rows(rng, MD5, 1000))
