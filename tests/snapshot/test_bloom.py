"""The filter: bulk build, mapped file and the library's own class agree on every key; the rate is what was promised."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from snapshot.algorithms import ALGORITHMS, MD5, PHOTODNA, SHA1, SHA256, Algorithm
from snapshot.bloom import (
    ARRAY_FROM,
    HEADER,
    HEADER_BYTES,
    MAX_BITS_PER_SLICE,
    DigestFilter,
    MappedFilter,
    build_filter,
    filter_key,
    filter_shape,
    keys_of,
)
from snapshot.errors import FilterDamaged

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=lambda a: a.name)


def matrix(digests: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)


def built(digests: list[bytes], algorithm: Algorithm, rate: float) -> bytes:
    out = io.BytesIO()
    build_filter(out, io.BytesIO(keys_of(matrix(digests), algorithm).tobytes()), len(digests), rate)
    return out.getvalue()


def reference(digests: list[bytes], algorithm: Algorithm, rate: float) -> DigestFilter:
    """The same filter by the library, one key after the other."""
    bloom = DigestFilter(capacity=len(digests), error_rate=rate)
    for digest in digests:
        bloom.add(filter_key(digest, algorithm), skip_check=True)
    return bloom


def random_digests(rng: random.Random, algorithm: Algorithm, count: int) -> list[bytes]:
    return [rng.randbytes(algorithm.digest_bytes) for _ in range(count)]


@pytest.fixture
def mapped(tmp_path: Path) -> Callable[[bytes, Algorithm], MappedFilter]:
    def write(content: bytes, algorithm: Algorithm) -> MappedFilter:
        path = tmp_path / "mapped.bloom"
        path.write_bytes(content)
        return MappedFilter(path, algorithm)

    return write


# At 0.01 there are seven slices, so that a slice and even all of them rarely end with a byte.
@pytest.mark.parametrize(
    ("count", "rate"),
    [(1, 0.001), (1, 0.01), (2, 0.1), (3, 0.01), (7, 1e-9), (10, 0.01), (64, 0.001), (999, 0.01), (4321, 0.001)],
)
@every_algorithm
def test_bulk_mapped_and_library_agree(
    algorithm: Algorithm, count: int, rate: float, rng: random.Random, tmp_path: Path, mapped
) -> None:
    check_agreement(algorithm, count, rate, rng, tmp_path, mapped, strangers=2000)


@pytest.mark.parametrize(("algorithm", "rate"), [(SHA1, 0.01), (PHOTODNA, 0.001)], ids=["sha1", "photodna"])
def test_they_agree_on_50_000_entries(algorithm: Algorithm, rate: float, rng, tmp_path, mapped) -> None:
    check_agreement(algorithm, 50_000, rate, rng, tmp_path, mapped, strangers=20_000)


def check_agreement(algorithm, count, rate, rng, tmp_path, mapped, *, strangers: int) -> None:
    members = random_digests(rng, algorithm, count)
    asked = members + random_digests(rng, algorithm, strangers)
    rng.shuffle(asked)
    library = reference(members, algorithm, rate)
    content = built(members, algorithm, rate)
    bloom = mapped(content, algorithm)

    by_library = tmp_path / "library.bloom"
    with by_library.open("wb") as file:
        library.tofile(file)
    assert content == by_library.read_bytes()
    with (tmp_path / "mapped.bloom").open("rb") as file:
        back = DigestFilter.fromfile(file)
    listed = set(members)
    answers = [filter_key(digest, algorithm) in library for digest in asked]
    assert all(answer for digest, answer in zip(asked, answers, strict=True) if digest in listed)
    assert [filter_key(digest, algorithm) in back for digest in asked] == answers
    assert [digest in bloom for digest in asked] == answers
    assert bloom.probe(b"".join(asked)) == [i for i, answer in enumerate(answers) if answer]


def test_the_cases_above_have_slices_and_files_that_do_not_end_with_a_byte() -> None:
    shapes = [filter_shape(count, rate) for count, rate in [(1, 0.01), (3, 0.01), (10, 0.01), (999, 0.01)]]
    assert any(bits % 8 for _, bits in shapes)
    assert any(slices * bits % 8 for slices, bits in shapes)


@pytest.mark.parametrize("rate", [0.1, 0.001])  # many false positives; as many slices as by default
@pytest.mark.parametrize(
    "batch", sorted({0, 1, 2, 9, ARRAY_FROM - 1, ARRAY_FROM, ARRAY_FROM + 1, 128, 129, 1_000, 1_500, 1_501, 4_000})
)
@every_algorithm
def test_a_batch_of_any_size_gets_the_same_answers(
    algorithm: Algorithm, batch: int, rate: float, rng: random.Random, mapped
) -> None:
    members = random_digests(rng, algorithm, 500)
    library = reference(members, algorithm, rate)
    bloom = mapped(built(members, algorithm, rate), algorithm)
    for share_listed in (0.0, 0.5, 1.0):
        asked = [
            rng.choice(members) if rng.random() < share_listed else rng.randbytes(algorithm.digest_bytes)
            for _ in range(batch)
        ]
        expected = [i for i, digest in enumerate(asked) if filter_key(digest, algorithm) in library]
        found = bloom.probe(b"".join(asked))
        assert found == expected
        assert all(type(index) is int for index in found)


@pytest.mark.parametrize("rate", [0.01, 0.001])
@every_algorithm
def test_false_positives_keep_the_promise(algorithm: Algorithm, rate: float, rng: random.Random, mapped) -> None:
    """Never more than six standard deviations above the promise, and never far below, which would be wasted memory."""
    # A PhotoDNA vector is hashed one by one, so fewer of them.
    strangers = round((60 if algorithm is PHOTODNA else 250) / rate)
    members = photodna_like(rng, 5_000) if algorithm is PHOTODNA else random_digests(rng, algorithm, 5_000)
    bloom = mapped(built(members, algorithm, rate), algorithm)
    if algorithm is PHOTODNA:
        packed = b"".join(photodna_like(rng, strangers))
    else:
        packed = rng.randbytes(strangers * algorithm.digest_bytes)
    false_positives = len(bloom.probe(packed))
    expected = rate * strangers
    assert false_positives < expected + 6 * math.sqrt(expected)
    # The number of slices is rounded up, which at most halves the rate.
    assert false_positives > expected / 2 - 6 * math.sqrt(expected)


def photodna_like(rng: random.Random, count: int) -> list[bytes]:
    """Vectors as unlike random bytes as real ones: small values, and the same first 16 in all of them."""
    return [bytes(16) + bytes(value & 0x0F for value in rng.randbytes(128)) for _ in range(count)]


def test_a_photodna_vector_is_hashed_and_others_are_not(rng: random.Random) -> None:
    vector, digest = rng.randbytes(144), rng.randbytes(32)
    assert filter_key(vector, PHOTODNA) == blake2b(vector, digest_size=16).digest()
    assert filter_key(digest, SHA256) == digest[:16]


def test_positions_are_those_of_the_documented_formula(rng: random.Random, mapped) -> None:
    digest = rng.randbytes(20)
    content = built(
        [digest], SHA1, 0.001
    )  # one entry of ten slices of two bits: -ln(0.001) / (10 · ln(2)²), rounded up
    rate, slices, bits, capacity, count = HEADER.unpack(content[:HEADER_BYTES])
    assert (rate, slices, bits, capacity, count) == (0.001, 10, 2, 1, 1)
    h1, h2 = (int.from_bytes(digest[at : at + 8], "little") for at in (0, 8))
    expected = 0
    for i in range(slices):
        expected |= 1 << (i * bits + ((((h1 + i * h2) % 2**64) >> 32) * bits >> 32))
    assert int.from_bytes(content[HEADER_BYTES:], "little") == expected


@pytest.mark.parametrize("rate", [0.1, 0.01, 0.001, 1e-6, 1e-9])
@pytest.mark.parametrize("capacity", [1, 2, 17, 1000, 12_345])
def test_the_shape_is_the_library_s(capacity: int, rate: float) -> None:
    library = DigestFilter(capacity=capacity, error_rate=rate)
    assert filter_shape(capacity, rate) == (library.num_slices, library.bits_per_slice)


def test_too_many_entries_for_multiply_shift_are_refused() -> None:
    assert filter_shape(2_900_000_000, 0.001)[1] <= MAX_BITS_PER_SLICE
    with pytest.raises(ValueError, match="pass the filter's limit"):
        filter_shape(3_000_000_000, 0.001)


@pytest.mark.parametrize(
    "changes",
    [
        {"rate": 0.0}, {"rate": 1.0}, {"rate": -0.5}, {"rate": math.nan}, {"rate": math.inf},
        {"slices": 0}, {"slices": 64}, {"slices": 9}, {"slices": 11}, {"slices": 2**63},
        {"bits": 0}, {"bits": 2**32}, {"bits": 2**64 - 1}, {"bits": 1437}, {"bits": 1439},
        {"capacity": 999}, {"capacity": 2**64 - 1}, {"count": 999}, {"count": 0},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_header_is_named(changes: dict[str, float], rng: random.Random, mapped) -> None:
    content = built(random_digests(rng, MD5, 1000), MD5, 0.001)
    fields = dict(
        zip(["rate", "slices", "bits", "capacity", "count"], HEADER.unpack(content[:HEADER_BYTES]), strict=True)
    )
    assert fields["bits"] == 1438
    with pytest.raises(FilterDamaged, match=r"mapped\.bloom: the header"):
        mapped(HEADER.pack(*(fields | changes).values()) + content[HEADER_BYTES:], MD5)


@pytest.mark.parametrize("size", [0, 1, HEADER_BYTES - 1, HEADER_BYTES])
def test_a_file_without_bits_is_no_filter(size: int, rng: random.Random, mapped) -> None:
    with pytest.raises(FilterDamaged, match=f"has {size} bytes"):
        mapped(built(random_digests(rng, MD5, 10), MD5, 0.001)[:size], MD5)


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("change", [1, 8, -1])
def test_a_file_cut_or_grown_is_no_filter(count: int, change: int, rng: random.Random, mapped) -> None:
    """The library's fromfile takes a byte too many where the bits end with a byte; mapping must not."""
    content = built(random_digests(rng, MD5, count), MD5, 0.001)
    with pytest.raises(FilterDamaged, match="does not fit the file's size"):
        mapped(content + bytes(change) if change > 0 else content[:change], MD5)


def test_reading_in_changes_no_answer(rng: random.Random, mapped) -> None:
    members = random_digests(rng, SHA256, 20_000)
    bloom = mapped(built(members, SHA256, 0.001), SHA256)
    bloom.read_in()
    assert bloom.probe(b"".join(members)) == list(range(20_000))
