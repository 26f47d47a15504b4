"""Algorithms: lengths as published, and which length is taken for which algorithm."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from snapshot.algorithms import ALGORITHMS, BY_HEX_LENGTH, MD5, PHOTODNA, SHA1, SHA256, SHA512


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512"])
def test_lengths_are_those_of_the_hash_function(name: str) -> None:
    real = hashlib.new(name, b"any bytes")
    assert ALGORITHMS[name].digest_bytes == len(real.digest())
    assert ALGORITHMS[name].hex_length == len(real.hexdigest())
    assert ALGORITHMS[name].base64_length is None


def test_photodna_has_144_bytes_288_hex_digits_and_192_characters_of_base64() -> None:
    assert (PHOTODNA.digest_bytes, PHOTODNA.hex_length, PHOTODNA.base64_length) == (144, 288, 192)


def test_only_photodna_must_be_declared_and_is_not_uniform() -> None:
    assert [a.name for a in ALGORITHMS.values() if a.declared] == ["photodna"]
    assert [a.name for a in ALGORITHMS.values() if not a.uniform] == ["photodna"]


def test_an_undeclared_hexdigest_is_told_by_its_length() -> None:
    assert BY_HEX_LENGTH == {32: MD5, 40: SHA1, 64: SHA256, 128: SHA512}


def test_the_order_of_algorithms_is_part_of_the_format() -> None:
    assert list(ALGORITHMS) == ["md5", "sha1", "sha256", "sha512", "photodna"]


def test_nobody_can_change_them() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MD5.digest_bytes = 17
    with pytest.raises(TypeError):
        ALGORITHMS["md5"] = SHA1
    with pytest.raises(TypeError):
        BY_HEX_LENGTH[32] = SHA1
