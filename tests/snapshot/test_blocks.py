"""Blocks: as many records as fit a page, and a digest found only where a record begins."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapshot.algorithms import ALGORITHMS, MD5, Algorithm
from snapshot.blocks import (
    FIRST_OWN_ID,
    PAGE_HEADER_BYTES,
    find_in_block,
    label_set_key,
    records_per_block,
)


@pytest.mark.parametrize("page_size", [4096, 8192, 16384, 65536])
@pytest.mark.parametrize("id_bytes", [2, 4])
@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=lambda a: a.name)
def test_a_block_fills_a_page_and_no_more(algorithm: Algorithm, id_bytes: int, page_size: int) -> None:
    record_bytes = algorithm.digest_bytes + id_bytes
    count = records_per_block(record_bytes, page_size)
    room = page_size - PAGE_HEADER_BYTES
    assert count * record_bytes <= room < (count + 1) * record_bytes


def test_the_documented_case_is_120_sha256_records() -> None:
    assert records_per_block(34, 4096) == 120


def block_of(entries: dict[bytes, int], id_bytes: int) -> bytes:
    return b"".join(digest + number.to_bytes(id_bytes, "little") for digest, number in sorted(entries.items()))


# Two bytes only, so that digests also turn up astride of records, and inside ids, all the time.
crowded = st.binary(min_size=4, max_size=4).map(lambda raw: bytes(byte & 1 for byte in raw))


@given(
    st.dictionaries(crowded, st.integers(0, 1).map(lambda bit: bit * 0x0101), min_size=1),
    crowded,
    st.sampled_from([2, 4]),
)
def test_accidental_hits_are_passed_over(entries: dict[bytes, int], asked: bytes, id_bytes: int) -> None:
    block = block_of(entries, id_bytes)
    for digest in [*entries, asked]:
        assert find_in_block(block, digest, 4 + id_bytes) == entries.get(digest)


@pytest.mark.parametrize("shift", [1, 2, 9, 15, 16, 17])
def test_a_digest_astride_of_two_records_is_not_listed_unless_it_is(shift: int, rng: random.Random) -> None:
    first, second = sorted(rng.randbytes(16) for _ in range(2))
    block = block_of({first: 0x0201, second: 0x0403}, 2)
    astride = block[shift : shift + 16]
    assert find_in_block(block, astride, 18) is None
    # The same digest once more, behind, as an entry of its own.
    assert find_in_block(block + astride + b"\x05\x00", astride, 18) == 5


@pytest.mark.parametrize(("id_bytes", "number"), [(2, 0), (2, 2**16 - 1), (4, FIRST_OWN_ID), (4, 2**32 - 2)])
def test_the_id_behind_a_digest_is_little_endian(id_bytes: int, number: int, rng: random.Random) -> None:
    entries = {rng.randbytes(16): rng.randrange(2 ** (8 * id_bytes)) for _ in range(20)}
    digest = rng.choice(list(entries))
    entries[digest] = number
    block = block_of(entries, id_bytes)
    assert find_in_block(block, digest, MD5.digest_bytes + id_bytes) == number


def test_an_empty_block_holds_nothing(rng: random.Random) -> None:
    assert find_in_block(b"", rng.randbytes(16), 18) is None


def test_label_set_keys_sort_as_their_numbers(rng: random.Random) -> None:
    numbers = [0, 255, 256, FIRST_OWN_ID - 1, FIRST_OWN_ID, *(rng.randrange(2**32) for _ in range(100))]
    assert sorted(map(label_set_key, numbers)) == [label_set_key(number) for number in sorted(numbers)]
    assert {len(label_set_key(number)) for number in numbers} == {4}
