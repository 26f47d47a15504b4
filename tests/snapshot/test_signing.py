"""Signatures on CURRENT: key files, what a signature covers, and swaps of a store that is signed."""

from __future__ import annotations

import base64
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress as suppressed
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import assume, given
from hypothesis import strategies as st

import snapshot.signing
import snapshot.swap
from snapshot.algorithms import MD5
from snapshot.errors import (
    CurrentDamaged,
    DamageError,
    HistoryDamaged,
    KeyUnusable,
    SignatureMissing,
    SignatureWrong,
    SnapshotMissing,
    StoreError,
    StoreLocked,
)
from snapshot.manifest import MANIFEST, sha256_hex
from snapshot.overlay import Suppression
from snapshot.publish import Publisher
from snapshot.signing import SigningKey, TrustedKeys, key_id_of, new_key, signed_bytes
from snapshot.store import Current, Store, parse_current
from snapshot.swap import sign_live, swapping
from snapshot.verify import verify_store
from tests.snapshot.conftest import write_entries

CURRENT = Path("store/CURRENT")
NOBODY = 65534


def made_key(path: Path) -> tuple[SigningKey, Path]:
    """Write a new key; give it with the file of its public one."""
    new_key(path)
    return SigningKey.load(path), path.with_name(f"{path.name}.pub")


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the keys one, two and three."""
    directory = tmp_path_factory.mktemp("keys")
    for name in ("one", "two", "three"):
        new_key(directory / name)
    return directory


@pytest.fixture
def one(keys: Path) -> SigningKey:
    return SigningKey.load(keys / "one")


@pytest.fixture
def trusted(keys: Path) -> TrustedKeys:
    return TrustedKeys.load(keys / "one.pub")


def pem(key: object, password: bytes | None = None) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def public_pem(key: object) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def private_file(directory: Path, content: bytes) -> Path:
    path = directory / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    return path


# Key files


def test_a_new_pair(tmp_path: Path) -> None:
    path = tmp_path / "key"
    before = os.umask(0)
    try:
        key_id = new_key(path)
    finally:
        os.umask(before)
    public = tmp_path / "key.pub"
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(public.stat().st_mode)) == (0o600, 0o644)
    assert names_in(tmp_path) == ["key", "key.pub"]
    key = load_pem_private_key(path.read_bytes(), password=None)
    assert public_pem(key) == public.read_bytes()
    assert b"PRIVATE" not in public.read_bytes()
    assert key_id == key_id_of(key.public_key()) == SigningKey.load(path).key_id
    assert len(key_id) == 16
    assert set(key_id) <= set("0123456789abcdef")


def test_no_two_keys_are_the_same(keys: Path) -> None:
    assert len({SigningKey.load(keys / name).key_id for name in ("one", "two", "three")}) == 3


@pytest.mark.parametrize("there", ["key", "key.pub"])
@pytest.mark.parametrize("kind", ["file", "directory", "dangling link"])
def test_nothing_is_overwritten_and_no_half_pair_is_left(tmp_path: Path, there: str, kind: str) -> None:
    path = tmp_path / there
    if kind == "file":
        path.write_bytes(b"precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyUnusable, match=f"{there}: is there already; a key is never overwritten"):
        new_key(tmp_path / "key")
    assert names_in(tmp_path) == [there]
    assert kind != "file" or path.read_bytes() == b"precious"


@pytest.mark.parametrize("nth", [1, 2])
def test_a_full_disk_leaves_no_half_of_a_key(tmp_path: Path, nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.fsync, []

    def fsync(fd: int) -> None:
        calls.append(fd)
        if len(calls) == nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(KeyUnusable, match="cannot be written: No space left"):
        new_key(tmp_path / "key")
    assert len(calls) == nth
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("name", ["missing/key", "file/key", "x" * 300, "x" * 253])
def test_a_place_where_no_key_can_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyUnusable, match="cannot be written"):
        new_key(tmp_path / name)
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["", "/"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(KeyUnusable, match="is no name of a file"):
        new_key(Path(name))


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory that this process, no longer root, may enter; root again afterwards."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(user)


def test_a_directory_that_may_not_be_written(unprivileged: Path) -> None:
    directory = unprivileged if unprivileged.stat().st_uid != os.geteuid() else Path("/")
    with pytest.raises(KeyUnusable, match="cannot be written: Permission denied"):
        new_key(directory / "key")
    assert not (directory / "key").exists()
    assert not (directory / "key.pub").exists()


@pytest.mark.needs("root")
def test_a_key_that_may_not_be_read(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        new_key(Path(name) / "key")
        os.seteuid(NOBODY)
        try:
            with pytest.raises(KeyUnusable, match="key: cannot be read: Permission denied"):
                SigningKey.load(Path(name) / "key")
            TrustedKeys.load(Path(name) / "key.pub")
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_modes_that_are_well(tmp_path: Path, mode: int) -> None:
    key, _ = made_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    assert SigningKey.load(tmp_path / "key").key_id == key.key_id


@pytest.mark.parametrize("bit", [1 << n for n in range(6)], ids=oct)
def test_any_bit_for_group_or_others_refuses_a_private_key(tmp_path: Path, bit: int) -> None:
    new_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o600 | bit)
    with pytest.raises(KeyUnusable, match=rf"key: others have access .*mode {0o600 | bit:04o}\); chmod 600 it"):
        SigningKey.load(tmp_path / "key")
    (tmp_path / "key").chmod(0o600)
    SigningKey.load(tmp_path / "key")


def test_a_link_counts_as_what_it_leads_to(tmp_path: Path) -> None:
    new_key(tmp_path / "key")
    (tmp_path / "link").symlink_to("key")
    SigningKey.load(tmp_path / "link")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(KeyUnusable, match="link: others have access"):
        SigningKey.load(tmp_path / "link")


def ed25519_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def dsa_key() -> dsa.DSAPrivateKey:
    return dsa.generate_private_key(1024)


#: An EC key on a curve that no library knows: OpenSSL's answer is neither a key nor a ValueError.
UNKNOWN_CURVE = base64.encodebytes(
    bytes.fromhex("3019301306072a8648ce3d020106082a8648ce3d03017f030200ff")
)  # fmt: skip
UNKNOWN_PUBLIC = b"-----BEGIN PUBLIC KEY-----\n" + UNKNOWN_CURVE + b"-----END PUBLIC KEY-----\n"
#: PKCS 8 with an algorithm that is none (1.3.101.127).
UNKNOWN_PRIVATE = (
    b"-----BEGIN PRIVATE KEY-----\n"
    + base64.encodebytes(bytes.fromhex("302e020100300506032b657f04220420") + bytes(32))
    + b"-----END PRIVATE KEY-----\n"
)

NO_PRIVATE_KEYS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"this is no key\n",
    "no text": lambda: bytes(range(256)) * 10,
    "a public key": lambda: public_pem(ed25519_key()),
    "with a password": lambda: pem(ed25519_key(), b"secret"),
    "cut": lambda: pem(ed25519_key())[:60],
    "wrong base64": lambda: pem(ed25519_key()).replace(b"MC4C", b"!!!!"),
    "wrong inside": lambda: pem(ed25519_key()).replace(b"MC4C", b"AAAA"),
    "raw": lambda: ed25519_key().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()),
    "DER": lambda: ed25519_key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    "an unknown kind": lambda: UNKNOWN_PRIVATE,
    "RSA": lambda: pem(rsa.generate_private_key(65537, 2048)),
    "EC": lambda: pem(ec.generate_private_key(ec.SECP256R1())),
    "DSA": lambda: pem(dsa_key()),
    "Ed448": lambda: pem(ed448.Ed448PrivateKey.generate()),
    "too long": lambda: b"\n" * 70_000 + pem(ed25519_key()),
}


@pytest.mark.parametrize("name", NO_PRIVATE_KEYS)
def test_what_is_no_private_key_is_refused(tmp_path: Path, name: str) -> None:
    content = NO_PRIVATE_KEYS[name]()
    path = private_file(tmp_path, content)
    with pytest.raises(KeyUnusable) as refused:
        SigningKey.load(path)
    assert str(refused.value).startswith(f"{path}: ")
    for line in content.splitlines():
        assert len(line) < 20 or line.decode(errors="replace") not in str(refused.value)


@pytest.mark.parametrize("load", [SigningKey.load, TrustedKeys.load])
def test_a_file_that_is_missing_or_a_directory(tmp_path: Path, load: Callable[[Path], object]) -> None:
    with pytest.raises(KeyUnusable, match="nothing: cannot be read: No such file or directory"):
        load(tmp_path / "nothing")
    with pytest.raises(KeyUnusable, match="cannot be read: Is a directory"):
        load(tmp_path)


GOOD = public_pem(ed25519_key())
NO_TRUSTED_KEYS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZ operator@example\n",
    "a private key": lambda: pem(ed25519_key()),
    "a private key beside a good one": lambda: GOOD + pem(ed25519_key()),
    "RSA": lambda: public_pem(rsa.generate_private_key(65537, 2048)),
    "RSA beside a good one": lambda: GOOD + public_pem(rsa.generate_private_key(65537, 2048)),
    "EC": lambda: public_pem(ec.generate_private_key(ec.SECP256R1())),
    "DSA": lambda: public_pem(dsa_key()),
    "Ed448": lambda: public_pem(ed448.Ed448PrivateKey.generate()),
    "an unknown curve": lambda: UNKNOWN_PUBLIC,
    "garbage in a block": lambda: b"-----BEGIN PUBLIC KEY-----\n\xff\x00\n-----END PUBLIC KEY-----\n",
    "an empty block": lambda: GOOD + b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
    "the second cut": lambda: GOOD + public_pem(ed25519_key())[:60],
    "the second without its end": lambda: GOOD + public_pem(ed25519_key()).partition(b"-----END")[0],
    "the first without its end": lambda: public_pem(ed25519_key()).partition(b"-----END")[0] + GOOD,
    "the second with a damaged begin": lambda: GOOD + GOOD.replace(b"PUBLIC KEY-----\n", b"PUBL!C KEY-----\n", 1),
    "the second without its begin": lambda: GOOD + GOOD.partition(b"-----BEGIN PUBLIC KEY-----\n")[2],
    "too long": lambda: GOOD + b"#" * 70_000,
}


@pytest.mark.parametrize("name", NO_TRUSTED_KEYS)
def test_a_file_that_does_not_hold_public_keys_alone_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "trusted.pem"
    path.write_bytes(NO_TRUSTED_KEYS[name]())
    with pytest.raises(KeyUnusable) as refused:
        TrustedKeys.load(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_words_around_keys_and_other_line_ends_are_no_harm(keys: Path, tmp_path: Path, one: SigningKey) -> None:
    blocks = [(keys / f"{name}.pub").read_bytes() for name in ("two", "one", "two")]
    path = tmp_path / "trusted.pem"
    path.write_bytes(b"# ours since May\n" + b"\n\xff until June\n".join(blocks).replace(b"\n", b"\r\n"))
    TrustedKeys.load(path).require(one.sign(a_current()), CURRENT)


# Sign and verify

hex64 = st.text("0123456789abcdef", min_size=64, max_size=64)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
moments = st.datetimes(timezones=st.just(UTC) | st.timezones()) | st.datetimes()


@st.composite
def currents(draw: st.DrawFn) -> Current:
    version = draw(st.integers(0, 2**63 - 1))
    return Current(
        generation=draw(st.integers(1, 2**63 - 1)),
        snapshot_id=draw(hex64),
        manifest_sha256=draw(hex64),
        overlay_version=version,
        overlay_sha256=draw(hex64) if version else None,
        issued_at=draw(moments),
        by=draw(names),
    )


def a_current(**changes: object) -> Current:
    fields = {
        "generation": 7, "snapshot_id": "a" * 64, "manifest_sha256": "b" * 64, "overlay_version": 3,
        "overlay_sha256": "c" * 64, "issued_at": datetime(2026, 5, 14, 12, 30, tzinfo=UTC), "by": "tests",
    }  # fmt: skip
    return Current(**{**fields, **changes})


KEY = SigningKey(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
TRUSTED = TrustedKeys({KEY.key_id: KEY._key.public_key()})


@given(currents())
def test_what_was_signed_is_trusted_also_after_it_was_written_and_read(current: Current) -> None:
    signed = KEY.sign(current)
    assert signed.key_id == KEY.key_id
    assert signed.model_copy(update={"signature": None, "key_id": None}) == current
    TRUSTED.require(signed, CURRENT)
    read = parse_current(signed.encode(), CURRENT)
    TRUSTED.require(read, CURRENT)
    assert signed_bytes(read) == signed_bytes(current)
    assert KEY.sign(signed) == signed  # whoever signed before


@given(currents(), currents(), st.sampled_from(["generation", "snapshot_id", "manifest_sha256", "issued_at", "by"]))
def test_any_changed_field_is_noticed(current: Current, other: Current, field: str) -> None:
    changed = KEY.sign(current).model_copy(update={field: getattr(other, field)})
    assume(signed_bytes(changed) != signed_bytes(current))
    with pytest.raises(SignatureWrong, match="does not hold: CURRENT was changed after it was signed"):
        TRUSTED.require(changed, CURRENT)


@given(currents(), currents())
def test_a_changed_overlay_is_noticed(current: Current, other: Current) -> None:
    update = {"overlay_version": other.overlay_version, "overlay_sha256": other.overlay_sha256}
    changed = KEY.sign(current).model_copy(update=update)
    assume(signed_bytes(changed) != signed_bytes(current))
    with pytest.raises(SignatureWrong):
        TRUSTED.require(changed, CURRENT)


@pytest.mark.parametrize("field", sorted(Current.model_fields))
def test_every_field_there_is_is_signed(field: str) -> None:
    """A field that is added later and not signed fails here."""
    other: dict[str, object] = {
        "generation": 8, "snapshot_id": "d" * 64, "manifest_sha256": "d" * 64, "overlay_version": 4,
        "overlay_sha256": "d" * 64, "issued_at": datetime(2026, 5, 14, 12, 30, 1, tzinfo=UTC), "by": "Tests",
        "history_sha256": "d" * 64, "signature": base64.b64encode(bytes(64)).decode(), "key_id": "0" * 16,
    }  # fmt: skip
    signed = KEY.sign(a_current())
    TRUSTED.require(signed, CURRENT)
    with pytest.raises(SignatureWrong):
        TRUSTED.require(signed.model_copy(update={field: other[field]}), CURRENT)


@given(currents(), st.integers(0, 511))
def test_any_flipped_bit_of_the_signature_is_noticed(current: Current, bit: int) -> None:
    signed = KEY.sign(current)
    raw = bytearray(base64.b64decode(signed.signature or ""))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureWrong):
        TRUSTED.require(signed.model_copy(update={"signature": base64.b64encode(raw).decode()}), CURRENT)


def spellings(signature: str) -> dict[str, str]:
    """Give other texts in the place of a signature in base64."""
    at = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = at[at.index(signature[-3]) ^ 1]  # the four lowest bits of the last digit mean nothing
    return {
        "empty": "",
        "cut": signature[:-4],
        "no padding": signature[:-2],
        "half a padding": signature[:-1],
        "more padding": signature + "==",
        "more after the padding": signature + "AAAA",
        "meaningless bits": signature[:-3] + last + "==",
        "a space": signature[:10] + " " + signature[10:],
        "a line end": signature + "\n",
        "no base64": "!" * 88,
        "URL-safe": signature[:-4] + "-_-_",
        "no ASCII": "é" * 88,
        "digits of another script": "٣" * 88,
        "NUL": signature + "\0",
        "long": "A" * 1_000_000,
        "another's length": base64.b64encode(bytes(114)).decode(),
        "hex": base64.b64decode(signature).hex(),
        "another's": SigningKey(ed25519_key()).sign(a_current()).signature or "",
    }


@pytest.mark.parametrize("name", spellings(KEY.sign(a_current()).signature or ""))
def test_a_signature_is_taken_in_one_spelling_alone(name: str) -> None:
    signed = KEY.sign(a_current())
    text = spellings(signed.signature or "")[name]
    assert text != signed.signature
    wrong = parse_current(signed.model_copy(update={"signature": text}).encode(), CURRENT)
    with pytest.raises(SignatureWrong, match="does not hold"):
        TRUSTED.require(wrong, CURRENT)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=100), st.none() | st.just(KEY.key_id) | names)
def test_no_text_is_a_signature(signature: str, key_id: str | None) -> None:
    current = a_current(signature=signature, key_id=key_id)
    with pytest.raises(SignatureMissing if key_id is None else SignatureWrong):
        TRUSTED.require(current, CURRENT)


@pytest.mark.parametrize("missing", [("signature", "key_id"), ("signature",), ("key_id",)])
def test_what_is_not_signed_is_refused(trusted: TrustedKeys, one: SigningKey, missing: tuple[str, ...]) -> None:
    current = one.sign(a_current()).model_copy(update=dict.fromkeys(missing))
    with pytest.raises(SignatureMissing, match=f"store/CURRENT: is not signed, and only .* {one.key_id} is trusted"):
        trusted.require(current, CURRENT)


def test_the_signature_of_another_key_is_refused(trusted: TrustedKeys, one: SigningKey, keys: Path) -> None:
    two = SigningKey.load(keys / "two")
    theirs = two.sign(a_current())
    with pytest.raises(SignatureWrong, match=f"is signed by '{two.key_id}', and only {one.key_id} is trusted"):
        trusted.require(theirs, CURRENT)
    with pytest.raises(SignatureWrong, match="does not hold"):
        trusted.require(theirs.model_copy(update={"key_id": one.key_id}), CURRENT)


def test_a_message_does_not_carry_what_somebody_wrote_into_current(trusted: TrustedKeys) -> None:
    current = KEY.sign(a_current()).model_copy(update={"key_id": "\x1b[31m\n2026 all is well" * 1000})
    with pytest.raises(SignatureWrong) as refused:
        trusted.require(current, CURRENT)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 200


def test_no_signature_of_anything_else_holds(one: SigningKey, trusted: TrustedKeys) -> None:
    """The prefix: the same key may sign other things without vouching for a CURRENT."""
    current = a_current()
    assert signed_bytes(current) == b"hashwacht CURRENT v1\n" + current.encode()
    bare = base64.b64encode(one._key.sign(current.encode())).decode()
    with pytest.raises(SignatureWrong):
        trusted.require(current.model_copy(update={"signature": bare, "key_id": one.key_id}), CURRENT)


def test_a_key_is_replaced(keys: Path, tmp_path: Path) -> None:
    """Trust both, sign with the new one, drop the old one."""
    old, new = SigningKey.load(keys / "one"), SigningKey.load(keys / "two")
    both = tmp_path / "both.pem"
    both.write_bytes((keys / "one.pub").read_bytes() + (keys / "two.pub").read_bytes())
    for signing in (old, new):
        TrustedKeys.load(both).require(signing.sign(a_current()), CURRENT)
    with pytest.raises(SignatureWrong):
        TrustedKeys.load(both).require(SigningKey.load(keys / "three").sign(a_current()), CURRENT)
    TrustedKeys.load(keys / "two.pub").require(new.sign(a_current()), CURRENT)
    with pytest.raises(SignatureWrong):
        TrustedKeys.load(keys / "two.pub").require(old.sign(a_current()), CURRENT)


def test_a_signature_is_over_these_bytes() -> None:
    """By a key and bytes of our own: a change of the form would make every signed store unreadable, and shows here."""
    current = a_current()
    line = (
        b'{"generation":7,"snapshot_id":"' + b"a" * 64 + b'","manifest_sha256":"' + b"b" * 64
        + b'","overlay_version":3,"overlay_sha256":"' + b"c" * 64
        + b'","issued_at":"2026-05-14T12:30:00Z","by":"tests","history_sha256":null,"signature":null,"key_id":null}\n'
    )  # fmt: skip
    private = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    expected = private.sign(b"hashwacht CURRENT v1\n" + line)
    assert KEY.sign(current).signature == base64.b64encode(expected).decode()


@pytest.mark.parametrize("spelt", ["2026-05-14T12:30:00Z", "2026-05-14T12:30:00+00:00", "2026-05-14t12:30:00.000z"])
def test_the_same_moment_spelt_otherwise_is_the_same(spelt: str) -> None:
    raw = KEY.sign(a_current()).encode().replace(b"2026-05-14T12:30:00Z", spelt.encode())
    TRUSTED.require(parse_current(raw, CURRENT), CURRENT)


def test_another_moment_is_not() -> None:
    for spelt in (b"2026-05-14T12:30:00", b"2026-05-14T12:30:00+02:00", b"2026-05-14T14:30:00+02:00"):
        raw = KEY.sign(a_current()).encode().replace(b"2026-05-14T12:30:00Z", spelt)
        with pytest.raises(SignatureWrong):
            TRUSTED.require(parse_current(raw, CURRENT), CURRENT)


# Swaps


def suppress(store: Store, key: SigningKey | None, digest: bytes) -> Current:
    with swapping(store, key) as swap:
        overlay = swap.overlay.with_suppressions([
            Suppression(algorithm="md5", digest=digest.hex(), by="tests", at=datetime(2026, 1, 1, tzinfo=UTC),
                        reason="x")
        ])  # fmt: skip
        return swap.commit("suppress", swap.live_snapshot(), overlay, by="tests")


def publish(store: Store, key: SigningKey | None, entries: object) -> Current:
    with Publisher(store, key) as publisher:
        work = publisher.work_directory() / "snapshot"
        manifest = write_entries(work, entries, 0.001, 2)
        return publisher.publish(work, manifest, by="tests").current


def rollback(store: Store, key: SigningKey | None, snapshot_id: str | None = None) -> None:
    with Publisher(store, key) as publisher:
        publisher.rollback(snapshot_id, by="tests")


def everything(store: Store) -> dict[Path, bytes]:
    """Give every file below a store that is one of its state, locks and leftovers left out."""
    locks = {store.lock_file, store.swap_lock_file}
    return {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file() and path not in locks}


@pytest.fixture
def signed(store: Store, one: SigningKey, some_entries) -> Store:
    """A signed store with two snapshots and an overlay."""
    return make_signed(store, one, some_entries)


@pytest.fixture
def damageable(tmp_path: Path, one: SigningKey, some_entries) -> Store:
    """The same, in a store that need not be whole when the test is over."""
    return make_signed(Store(tmp_path / "damageable"), one, some_entries)


def make_signed(store: Store, key: SigningKey, some_entries) -> Store:
    publish(store, key, some_entries(20, MD5))
    publish(store, key, some_entries(20, MD5))
    suppress(store, key, bytes(16))
    return store


def test_every_change_is_signed(signed: Store, one: SigningKey, trusted: TrustedKeys, some_entries) -> None:
    def live() -> Current:
        current = signed.current()
        trusted.require(current, signed.current_file)
        assert current.key_id == one.key_id
        return current

    assert live().generation == 3
    suppress(signed, one, b"1" * 16)
    assert live().generation == 4
    rollback(signed, one)
    assert live().generation == 5
    publish(signed, one, some_entries(20, MD5))
    assert live().generation == 6


@pytest.mark.parametrize("change", ["suppress", "compile", "rollback"])
def test_a_signed_store_takes_no_change_without_a_key(signed: Store, change: str, some_entries) -> None:
    before = everything(signed)
    changes: dict[str, Callable[[], object]] = {
        "suppress": lambda: suppress(signed, None, b"1" * 16),
        "compile": lambda: publish(signed, None, some_entries(20, MD5)),
        "rollback": lambda: rollback(signed, None),
    }
    with pytest.raises(SignatureMissing, match=r"CURRENT: is signed \(key .*\), so a change must be too, .*Nothing"):
        changes[change]()
    assert everything(signed) == before
    assert verify_store(signed).whole


def sign(store: Store, key: SigningKey) -> Current:
    return sign_live(store, key, by="tests", reason="a test").current


def refuses_every_change(
    store: Store, key: SigningKey, error: type[StoreError] | tuple[type[StoreError], ...], match: str, some_entries
) -> None:
    """Require that no change is made with the key, and that nothing on disk is another afterwards."""
    before = everything(store)
    changes: dict[str, Callable[[], object]] = {
        "suppress": lambda: suppress(store, key, b"1" * 16),
        "compile": lambda: publish(store, key, some_entries(20, MD5)),
        "rollback": lambda: rollback(store, key),
    }
    for change in changes.values():
        with pytest.raises(error, match=match):
            change()
        assert everything(store) == before


def test_a_store_that_nobody_signed_is_signed_on_purpose(
    store: Store, one: SigningKey, trusted: TrustedKeys, some_entries
) -> None:
    publish(store, None, some_entries(20, MD5))
    publish(store, None, some_entries(20, MD5))
    before = suppress(store, None, bytes(16))
    refuses_every_change(store, one, SignatureMissing, r"is not signed.*`hashwacht keys sign`. Nothing", some_entries)
    signed = sign(store, one)
    trusted.require(store.current(), store.current_file)
    kept = ("snapshot_id", "manifest_sha256", "overlay_version", "overlay_sha256")
    assert [getattr(signed, name) for name in kept] == [getattr(before, name) for name in kept]
    entry = store.history()[0]
    assert (signed.generation, entry.action, entry.reason) == (4, "sign", "a test")
    assert entry.details == [f"signed by {one.key_id}, before by nobody"]
    suppress(store, one, b"1" * 16)
    rollback(store, one)
    trusted.require(store.current(), store.current_file)
    assert verify_store(store).whole


def test_another_key_signs_only_on_purpose(signed: Store, keys: Path, one: SigningKey, some_entries) -> None:
    two = SigningKey.load(keys / "two")
    refuses_every_change(
        signed, two, SignatureWrong, f"is signed by '{one.key_id}'.*`hashwacht keys sign`", some_entries
    )
    sign(signed, two)
    assert signed.history()[0].details == [f"signed by {two.key_id}, before by '{one.key_id}'"]
    TrustedKeys.load(keys / "two.pub").require(suppress(signed, two, b"1" * 16), signed.current_file)
    refuses_every_change(signed, one, SignatureWrong, f"is signed by '{two.key_id}'", some_entries)


def altered_overlay(store: Store) -> Current:
    """Take a suppression out of the overlay by hand, as somebody would who can write to the store."""
    current = store.current()
    overlay = store.overlay(current.overlay_version, current.overlay_sha256)
    raw = overlay.model_copy(update={"suppressions": ()}).encode()
    store.overlay_file(overlay.version).write_bytes(raw)
    return current.model_copy(update={"overlay_sha256": sha256_hex(raw)})


@pytest.mark.parametrize("signature", ["kept", "left out", "of another key"])
def test_what_was_altered_by_hand_is_never_signed_by_the_next_change(
    damageable: Store, one: SigningKey, keys: Path, signature: str, some_entries
) -> None:
    altered = altered_overlay(damageable)
    if signature == "left out":
        altered = altered.model_copy(update={"signature": None, "key_id": None})
    if signature == "of another key":
        altered = SigningKey.load(keys / "two").sign(altered)
    damageable.current_file.write_bytes(altered.encode())
    error = SignatureMissing if signature == "left out" else SignatureWrong
    refuses_every_change(damageable, one, error, "A change would sign whatever is there: look at it", some_entries)


def test_an_entry_of_the_history_that_was_altered_by_hand_leads_no_change_astray(
    damageable: Store, one: SigningKey, some_entries, tmp_path: Path
) -> None:
    """Neither to another snapshot nor to another manifest: CURRENT vouches for the history."""
    current = damageable.current()
    foreign = Store(tmp_path / "foreign")
    smuggled = publish(foreign, None, some_entries(20, MD5))
    shutil.copytree(foreign.live_dir(smuggled), damageable.snapshot_dir(smuggled.snapshot_id))
    for generation in (2, 3):
        path = damageable.history_file(generation)
        entry = damageable.history_entry(generation)
        path.write_bytes(entry.model_copy(update={
            "snapshot_id": smuggled.snapshot_id, "manifest_sha256": smuggled.manifest_sha256,
        }).encode())  # fmt: skip
        with pytest.raises(HistoryDamaged, match=rf"/{generation}\.json: is not what .* vouches for"):
            damageable.history()
        with pytest.raises((SnapshotMissing, HistoryDamaged)):
            rollback(damageable, one, smuggled.snapshot_id)
        assert damageable.current() == current
    after = suppress(damageable, one, b"1" * 16)
    assert (after.snapshot_id, after.manifest_sha256) == (current.snapshot_id, current.manifest_sha256)
    # Nor does that change make the altered entry a link of the signed chain.
    with pytest.raises(HistoryDamaged, match=r"/3\.json: is not what the entry after it vouches for"):
        damageable.history()
    with pytest.raises((SnapshotMissing, HistoryDamaged)):
        rollback(damageable, one, smuggled.snapshot_id)
    assert not verify_store(damageable).whole


@pytest.mark.parametrize("change", ["suppress", "compile", "sign"])
def test_what_is_signed_is_what_was_checked(
    signed: Store, one: SigningKey, change: str, some_entries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who exchanges CURRENT between two looks at it gets nothing signed: there is one look."""
    foreign = Store(tmp_path / "foreign")
    smuggled = publish(foreign, None, some_entries(20, MD5))
    shutil.copytree(foreign.live_dir(smuggled), signed.snapshot_dir(smuggled.snapshot_id))
    honest = signed.read_current_bytes()
    forged = signed.current().model_copy(update={
        "snapshot_id": smuggled.snapshot_id, "manifest_sha256": smuggled.manifest_sha256,
    })  # fmt: skip
    looks = []

    def read(store: Store) -> bytes:
        looks.append(store)
        return forged.encode() if store == signed and len(looks) % 2 == 0 else honest

    changes = {
        "suppress": lambda: suppress(signed, one, b"1" * 16),
        "compile": lambda: publish(signed, one, some_entries(20, MD5)),
        "sign": lambda: sign(signed, one),
    }
    for first in (0, 1):
        looks[:] = [signed] * first
        with monkeypatch.context() as patch:
            patch.setattr(Store, "read_current_bytes", read)
            with suppressed(StoreError):  # to notice it is as good
                changes[change]()
        assert signed.current().snapshot_id != smuggled.snapshot_id
        signed.current_file.write_bytes(honest)
    smuggled_dir = signed.snapshot_dir(smuggled.snapshot_id)
    if smuggled_dir.exists():
        shutil.rmtree(smuggled_dir)


def test_a_snapshot_that_only_an_altered_history_vouches_for_is_written_anew(
    signed: Store, one: SigningKey, tmp_path: Path, some_entries
) -> None:
    """The compile's own bytes go live, not those that lie there under the same id."""
    entries = some_entries(20, MD5)
    honest = publish(Store(tmp_path / "elsewhere"), None, entries)
    smuggled = signed.snapshot_dir(honest.snapshot_id)
    shutil.copytree(Store(tmp_path / "elsewhere").live_dir(honest), smuggled)
    manifest = orjson.loads((smuggled / MANIFEST).read_bytes()) | {"merged": 17}
    (smuggled / MANIFEST).write_bytes(orjson.dumps(manifest))
    path = signed.history_file(1)
    path.write_bytes(signed.history_entry(1).model_copy(update={
        "snapshot_id": honest.snapshot_id, "manifest_sha256": sha256_hex((smuggled / MANIFEST).read_bytes()),
    }).encode())  # fmt: skip
    live = publish(signed, one, entries)
    assert live.snapshot_id == honest.snapshot_id
    assert orjson.loads((signed.live_dir(live) / MANIFEST).read_bytes())["merged"] == 0
    assert signed.history()[0].details[-1].startswith("history begun anew: ")
    assert verify_store(signed).whole


def test_an_old_state_that_was_put_back_is_not_signed_by_the_next_change(
    signed: Store, one: SigningKey, some_entries
) -> None:
    old = signed.read_current_bytes()
    for number in range(2):
        suppress(signed, one, bytes([65 + number]) * 16)
    signed.current_file.write_bytes(old)
    refuses_every_change(signed, one, SignatureWrong, "generation 3, but generation 4 was live", some_entries)
    assert sign(signed, one).generation == 6
    suppress(signed, one, b"1" * 16)


def test_a_change_that_was_killed_before_its_swap_is_no_old_state_put_back(signed: Store, one: SigningKey) -> None:
    before = signed.read_current_bytes()
    suppress(signed, one, b"1" * 16)
    signed.current_file.write_bytes(before)  # as if killed between history and CURRENT
    assert suppress(signed, one, b"2" * 16).generation == 5


def test_what_is_damaged_is_not_signed(damageable: Store, one: SigningKey) -> None:
    before = damageable.read_current_bytes()
    file = damageable.live_dir(damageable.current()) / "entries.lmdb"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(DamageError):
        sign(damageable, one)
    assert damageable.read_current_bytes() == before


def test_something_else_that_goes_live_meanwhile_is_not_signed(
    signed: Store, one: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_files = snapshot.swap.check_files

    def meanwhile(*args: Any, **options: Any) -> None:
        check_files(*args, **options)
        suppress(signed, one, b"1" * 16)

    monkeypatch.setattr(snapshot.swap, "check_files", meanwhile)
    with pytest.raises(StoreLocked, match=r"went live meanwhile\. Nothing was signed"):
        sign(signed, one)
    assert signed.history()[0].action == "suppress"


def test_a_current_that_was_damaged_is_rolled_back_unsigned_and_then_signed(
    damageable: Store, one: SigningKey, trusted: TrustedKeys, some_entries
) -> None:
    """Nothing vouches for the overlay and the history then, so somebody is to look at them."""
    snapshot_id = damageable.current().snapshot_id
    damageable.current_file.write_bytes(b"nonsense")
    refuses_every_change(damageable, one, (SignatureMissing, CurrentDamaged), "CURRENT: is damaged", some_entries)
    rollback(damageable, None, snapshot_id)
    current = damageable.current()
    assert (current.generation, current.snapshot_id, current.overlay_version) == (4, snapshot_id, 1)
    with pytest.raises(SignatureMissing):
        trusted.require(current, damageable.current_file)
    sign(damageable, one)
    trusted.require(damageable.current(), damageable.current_file)


def test_an_old_current_is_still_well_signed(store: Store, one: SigningKey, trusted: TrustedKeys, some_entries) -> None:
    """What a signature does not tell: service/trust.py keeps the highest generation for that."""
    publish(store, one, some_entries(20, MD5))
    old = store.read_current_bytes()
    suppress(store, one, bytes(16))
    trusted.require(parse_current(old, store.current_file), store.current_file)


def test_a_copy_of_a_store_holds_elsewhere(signed: Store, trusted: TrustedKeys, tmp_path: Path) -> None:
    copy = Store(tmp_path / "copy")
    shutil.copytree(signed.path, copy.path)
    trusted.require(copy.current(), copy.current_file)
    assert copy.current().issued_at < datetime.now(UTC) + timedelta(seconds=1)
