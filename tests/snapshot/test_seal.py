"""The seal: against published vectors, against a second way to compute it, and its key files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st

from snapshot.algorithms import ALGORITHMS, MD5, SHA1, SHA256, Algorithm
from snapshot.errors import KeyUnusable, SealKeyMissing, SealKeyWrong
from snapshot.seal import NO_SEAL_KEYS, Seal, SealKeys, new_seal_key, resealed

KEY = bytes(range(32))
STORE = Path("a/store")
algorithms = st.sampled_from(list(ALGORITHMS.values()))


def aes(key: bytes, block: bytes) -> bytes:
    """One block, with a cipher that is used once."""
    encryptor = Cipher(AES256(key), ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def by_the_book(key: bytes, digest: bytes) -> bytes:
    """What docs/snapshot-format.md says, block by block."""
    whole = len(digest) // 16 * 16
    sealed = b"".join(aes(key, digest[at : at + 16]) for at in range(0, whole, 16)) + digest[whole:]
    return sealed if whole == len(digest) else sealed[:-16] + aes(key, sealed[-16:])


# The cipher


def test_the_vector_of_fips_197() -> None:
    plain, sealed = "00112233445566778899aabbccddeeff", "8ea2b7ca516745bfeafc49904b496089"
    assert Seal(KEY).seal(bytes.fromhex(plain), MD5).hex() == sealed
    assert Seal(KEY).unseal(bytes.fromhex(sealed), MD5).hex() == plain


def test_what_a_store_has_stays_readable_for_ever() -> None:
    """Changing any of these leaves every sealed store unreadable."""
    seal = Seal(KEY)
    assert seal.key_id == aes(KEY, b"hashwacht seal 1")[:8].hex() == "9663eda743f12d56"
    assert seal.seal(bytes(range(20)), SHA1).hex() == by_the_book(KEY, bytes(range(20))).hex()
    assert seal.seal(bytes(range(20)), SHA1).hex() == "5a6e0457155839272e709ea4014b1b23e91b3afa"


@given(st.data(), algorithms, st.integers(0, 40), st.binary(min_size=32, max_size=32))
def test_digests_are_sealed_as_the_book_says_and_unsealed_again(
    data: st.DataObject, algorithm: Algorithm, count: int, key: bytes
) -> None:
    length = algorithm.digest_bytes
    packed = data.draw(st.binary(min_size=count * length, max_size=count * length))
    digests = [packed[at : at + length] for at in range(0, len(packed), length)]
    seal = Seal(key)
    sealed = seal.seal(packed, algorithm)
    assert sealed == b"".join(by_the_book(key, digest) for digest in digests)
    assert sealed == b"".join(seal.seal(digest, algorithm) for digest in digests)
    assert seal.unseal(sealed, algorithm) == packed
    rows = seal.seal_rows(np.frombuffer(packed, np.uint8).reshape(count, length), algorithm)
    assert (rows.shape, rows.tobytes()) == ((count, length), sealed)


@given(algorithms, st.data())
def test_no_part_of_a_digest_is_left(algorithm: Algorithm, data: st.DataObject) -> None:
    """Not eight bytes of it, at whatever place: a block that AES leaves alone does not come up by chance."""
    length = algorithm.digest_bytes
    digest = data.draw(st.binary(min_size=length, max_size=length))
    sealed = Seal(KEY).seal(digest, algorithm)
    assert not {digest[at : at + 8] for at in range(length - 7)} & {sealed[at : at + 8] for at in range(length - 7)}


def test_rows_that_are_no_one_piece_of_memory() -> None:
    wide = np.random.default_rng(7).integers(0, 256, (50, 40), dtype=np.uint8)
    for algorithm in (MD5, SHA1, SHA256):
        part = wide[::2, 3 : 3 + algorithm.digest_bytes]
        assert Seal(KEY).seal_rows(part, algorithm).tobytes() == Seal(KEY).seal(part.tobytes(), algorithm)


def test_one_key_after_another() -> None:
    one, two, digest = Seal(KEY), Seal(KEY[::-1]), (SHA1, os.urandom(20))
    assert resealed(digest, None, None) == digest
    sealed = resealed(digest, None, one)
    assert sealed == (SHA1, one.seal(digest[1], SHA1))
    assert resealed(sealed, one, two) == resealed(digest, None, two)
    assert resealed(sealed, one, None) == digest


# Key files


def test_a_new_key(tmp_path: Path) -> None:
    path = tmp_path / "seal"
    key_id = new_seal_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keys = SealKeys.load(path)
    assert keys.in_use is not None
    assert keys.in_use.key_id == key_id
    word, key = path.read_text().split(" ")
    assert (word, len(key)) == ("hashwacht-seal-key", 65)
    assert Seal(bytes.fromhex(key.strip())).key_id == key_id
    assert new_seal_key(tmp_path / "other") != key_id


def test_a_new_key_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "seal"
    path.write_bytes(b"precious")
    with pytest.raises(KeyUnusable, match="is there already"):
        new_seal_key(path)
    assert path.read_bytes() == b"precious"


def test_several_keys_the_one_in_use_first(tmp_path: Path) -> None:
    ids = [new_seal_key(tmp_path / name) for name in ("new", "old")]
    both = write(tmp_path, *((tmp_path / name).read_bytes() for name in ("new", "old")))
    keys = SealKeys.load(both)
    assert keys.in_use is keys.of(ids[0], STORE)
    old = keys.of(ids[1], STORE)
    assert old is not None
    assert old.key_id == ids[1]


def write(directory: Path, *pieces: bytes, mode: int = 0o600) -> Path:
    path = directory / "keys"
    path.write_bytes(b"".join(pieces))
    path.chmod(mode)
    return path


def test_what_needs_no_key() -> None:
    assert NO_SEAL_KEYS.in_use is None
    assert NO_SEAL_KEYS.of(None, STORE) is None
    keys = SealKeys({Seal(KEY).key_id: Seal(KEY)})
    assert keys.of(None, STORE) is None


def test_without_the_right_key_there_is_none() -> None:
    with pytest.raises(SealKeyMissing, match=r"^a/store: is sealed \(key 0123456789abcdef\): give the key with --seal"):
        NO_SEAL_KEYS.of("0123456789abcdef", STORE)
    seal = Seal(KEY)
    with pytest.raises(
        SealKeyWrong, match=rf"^a/store: is sealed with the key 0123456789abcdef, .* {seal.key_id} only"
    ):
        SealKeys({seal.key_id: seal}).of("0123456789abcdef", STORE)


LINE = b"hashwacht-seal-key " + b"0a" * 32 + b"\n"


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b""])
def test_any_line_end_is_well(tmp_path: Path, ends: bytes) -> None:
    keys = SealKeys.load(write(tmp_path, LINE.strip() + ends))
    assert keys.in_use is not None
    assert keys.in_use.key_id == Seal(b"\x0a" * 32).key_id


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n", "line 1: is no seal key"),
        (LINE + b"\n", "line 2: is no seal key"),
        (LINE[:-2], "line 1: is no seal key"),
        (LINE.upper(), "line 1: is no seal key"),
        (LINE.replace(b"0a", b"0A"), "line 1: is no seal key"),
        (LINE.replace(b" ", b"  "), "line 1: is no seal key"),
        (b"# a comment\n" + LINE, "line 1: is no seal key"),
        (LINE + LINE.replace(b"\n", b" \n"), "line 2: is no seal key"),
        (b"0a" * 32 + b"\n", "line 1: is no seal key"),
        (b"-----BEGIN PRIVATE KEY-----\n", "line 1: is no seal key"),
        (b"\0" * 100, "line 1: is no seal key"),
        (LINE * 1000, "is longer than"),
    ],
)
def test_what_is_no_file_of_keys_is_refused_whole(tmp_path: Path, content: bytes, says: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(KeyUnusable, match=says) as caught:
        SealKeys.load(path)
    assert str(path) in str(caught.value)
    assert "0a0a" not in str(caught.value).lower()  # a message is no place for a key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_key_that_others_have_access_to_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(KeyUnusable, match=f"mode {mode:04o}"):
        SealKeys.load(write(tmp_path, LINE, mode=mode))


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="cannot be read: No such file"):
        SealKeys.load(tmp_path / "nothing")
