"""Keys on the command line: made, given to every command that changes something, and refused when they are none."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapshot.errors import SignatureWrong
from snapshot.signing import SigningKey, TrustedKeys
from snapshot.store import Store
from snapshot.verify import verify_store
from tests import listfiles
from tests.command import compile_lists, hashwacht

DIGESTS = listfiles.random_digests("sha256", 60, "keys")
HEX = [digest.hex() for digest in DIGESTS]
WHY = ("--reason", "a test", "--by", "tests")

#: Every command that changes what is live, in an order in which each has something to change.
CHANGES: dict[str, tuple[str, ...]] = {
    "revoke": ("revoke", "list", *WHY),
    "approve": ("approve", "list", *WHY),
    "suppress": ("suppress", HEX[0], *WHY),
    "unsuppress": ("unsuppress", HEX[0], *WHY),
    "add": ("add", "--list-id", "list", "--category", "default", "ab" * 32, *WHY),
    "remove": ("remove", "ab" * 32, *WHY),
    "rollback": ("rollback",),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The keys one and two, two lists, and a store signed by one in which both were live."""
    directory = tmp_path_factory.mktemp("template")
    for name in ("one", "two"):
        hashwacht("keys", "new", directory / name)
    for name, count in (("short", 30), ("long", 60)):
        path = listfiles.write(directory / f"{name}.txt", listfiles.hex_lines(DIGESTS[:count]))
        compile_lists(directory / "store", path, extra=["--signing-key", directory / "one"])
    return directory


@pytest.fixture
def place(tmp_path: Path, template: Path) -> Iterator[Path]:
    shutil.copytree(template, tmp_path / "place")
    yield tmp_path / "place"
    assert verify_store(Store(tmp_path / "place" / "store")).damage == []


def everything(store: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in store.rglob("*") if path.is_file() and not path.name.endswith("lock")}


def require(place: Path, name: str = "one") -> int:
    """Require that what is live is signed by a key; give the generation."""
    store = Store(place / "store")
    current = store.current()
    TrustedKeys.load(place / f"{name}.pub").require(current, store.current_file)
    return current.generation


# keys new


def test_new_keys_for_people(tmp_path: Path) -> None:
    said = hashwacht("keys", "new", tmp_path / "key")
    key_id = SigningKey.load(tmp_path / "key").key_id
    lines = said.out.splitlines()
    assert lines[0] == f"key         {key_id}"
    assert [line.split(":")[0] for line in lines[1:]] == [
        f"private     {tmp_path / 'key'}", f"public      {tmp_path / 'key.pub'}",
    ]  # fmt: skip
    assert "--signing-key" in lines[1]
    assert "--trusted-keys" in lines[2]
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert (tmp_path / "key").read_text() not in said.out + said.err
    TrustedKeys.load(tmp_path / "key.pub")


@pytest.mark.parametrize("there", ["key", "key.pub"])
def test_new_keys_overwrite_nothing(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_bytes(b"precious")
    said = hashwacht("keys", "new", tmp_path / "key", code=4)
    assert said.err == f"error [key_unusable]: {tmp_path / there}: is there already; a key is never overwritten\n"
    assert not said.out
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_bytes() == b"precious"


def test_new_keys_where_none_can_be(tmp_path: Path) -> None:
    said = hashwacht("keys", "new", tmp_path / "missing" / "key", code=4)
    assert said.err.startswith(f"error [key_unusable]: {tmp_path / 'missing' / 'key'}: cannot be written: No such file")
    assert "is a directory" in hashwacht("keys", "new", tmp_path, code=2).err
    assert "error [key_unusable]" in hashwacht("keys", "new", "", code=4).err
    assert "Missing argument 'FILE'" in hashwacht("keys", "new", code=2).err
    assert list(tmp_path.iterdir()) == []


def test_new_keys_whose_name_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"key \xff")
    hashwacht("keys", "new", path)
    SigningKey.load(path)
    said = hashwacht("keys", "new", path, code=4)
    assert "error [key_unusable]" in said.err


# keys sign


def test_a_store_is_signed_for_the_first_time(tmp_path: Path, template: Path) -> None:
    store = tmp_path / "store"
    compile_lists(store, template / "short.txt")
    hashwacht(*CHANGES["suppress"], "--store", store)
    before = everything(store)
    said = hashwacht(*CHANGES["unsuppress"], "--store", store, "--signing-key", template / "one", code=4)
    assert f"error [signature_missing]: {store / 'CURRENT'}: is not signed" in said.err
    assert said.err.endswith("then `hashwacht keys sign`. Nothing was changed.\n")
    assert everything(store) == before
    said = hashwacht("keys", "sign", *WHY, "--store", store, "--signing-key", template / "one")
    key_id = SigningKey.load(template / "one").key_id
    assert said.out.splitlines() == [
        f"live        generation 3, snapshot {Store(store).current().snapshot_id}",
        f"signed by   {key_id}",
        "overlay     2: 1 approved, 1 suppressed, 0 added",
        f"            signed by {key_id}, before by nobody",
    ]
    TrustedKeys.load(template / "one.pub").require(Store(store).current(), store / "CURRENT")
    hashwacht(*CHANGES["unsuppress"], "--store", store, "--signing-key", template / "one")
    entry = hashwacht("history", "--store", store, "--json").json()[1]
    assert (entry["action"], entry["by"], entry["reason"]) == ("sign", "tests", "a test")


def test_a_key_is_replaced(place: Path) -> None:
    store = place / "store"
    words = ("keys", "sign", *WHY, "--store", store, "--signing-key", place / "two", "--json")
    said = hashwacht(*words).json()
    one, two = (SigningKey.load(place / name).key_id for name in ("one", "two"))
    current = Store(store).current()
    assert said == {
        "generation": current.generation, "snapshot_id": current.snapshot_id, "key_id": two,
        "overlay_version": current.overlay_version, "approved": 1, "suppressed": 0, "added": 0,
        "details": [f"signed by {two}, before by '{one}'"],
    }  # fmt: skip
    require(place, "two")
    for words in CHANGES.values():
        said = hashwacht(*words, "--store", store, "--signing-key", place / "one", code=4)
        assert said.err.startswith("error [signature_wrong]")
        hashwacht(*words, "--store", store, "--signing-key", place / "two")


def test_nothing_is_signed_without_a_key_or_a_reason(place: Path) -> None:
    store = place / "store"
    before = everything(store)
    said = hashwacht("keys", "sign", *WHY, "--store", store, code=2)
    assert "give --signing-key, or HASHWACHT_SIGNING_KEY." in said.err
    said = hashwacht("keys", "sign", "--store", store, "--signing-key", place / "one", code=2)
    assert "--reason" in said.err
    assert everything(store) == before


def test_where_nothing_is_live_nothing_is_signed(tmp_path: Path, template: Path) -> None:
    said = hashwacht("keys", "sign", *WHY, "--store", tmp_path, "--signing-key", template / "one", code=4)
    assert said.err.startswith("error [no_store]")


# --signing-key


def test_every_change_of_a_signed_store_wants_a_key_and_is_signed(place: Path) -> None:
    store = place / "store"
    generation = require(place)
    for words in CHANGES.values():
        before = everything(store)
        said = hashwacht(*words, "--store", store, code=4)
        assert said.err.startswith(f"error [signature_missing]: {store / 'CURRENT'}: is signed (key ")
        assert said.err.endswith("give --signing-key. Nothing was changed.\n")
        assert not said.out
        assert everything(store) == before
        hashwacht(*words, "--store", store, "--signing-key", place / "one")
        generation += 1
        assert require(place) == generation
    compile_lists(store, place / "long.txt", extra=["--signing-key", place / "one"])
    assert require(place) == generation + 1
    actions = [entry["action"] for entry in hashwacht("history", "--store", store, "--json").json()]
    assert actions == ["compile", *reversed(CHANGES), "compile", "compile"]


def test_siblings_are_signed_in_their_swap_too(place: Path) -> None:
    rows = [[DIGESTS[n].hex(), listfiles.random_digests("md5", 9, "keys")[n].hex(), f"ref {n}"] for n in range(9)]
    path = listfiles.write(place / "references.csv", listfiles.csv_lines(["sha256", "md5", "reference"], rows))
    compile_lists(place / "store", path, extra=["--signing-key", place / "one"])
    before = require(place)
    words = ("suppress", HEX[0], "--with-siblings", *WHY, "--json", "--store", place / "store")
    said = hashwacht(*words, HASHWACHT_SIGNING_KEY=str(place / "one")).json()
    assert len(said["suppressed"]) == 2
    assert require(place) == before + 2


def test_without_a_key_nothing_is_compiled_into_a_signed_store(place: Path) -> None:
    store = place / "store"
    before = everything(store)
    path = listfiles.write(place / "other.txt", listfiles.hex_lines(DIGESTS[:40]))
    words = ("compile", "--list-id", "list", "--tier", "illegal", "--store", store, path)
    said = hashwacht(*words, code=4)
    assert "error [signature_missing]" in said.err
    assert everything(store) == before
    hashwacht(*words, "--check")  # what publishes nothing needs no key


def test_the_environment_names_the_key_and_the_option_goes_before(place: Path) -> None:
    store = place / "store"
    hashwacht(*CHANGES["revoke"], "--store", store, HASHWACHT_SIGNING_KEY=str(place / "one"))
    require(place)
    words = ("keys", "sign", *WHY, "--store", store, "--signing-key", place / "two")
    hashwacht(*words, HASHWACHT_SIGNING_KEY=str(place / "one"))
    require(place, "two")
    with pytest.raises(SignatureWrong):
        require(place)


COMPILE = ("compile", "--list-id", "list", "--tier", "illegal", "-")


@pytest.mark.parametrize("words", [*CHANGES.values(), COMPILE], ids=[*CHANGES, "compile"])
def test_a_key_that_others_may_read_changes_nothing(place: Path, words: tuple[str, ...]) -> None:
    store = place / "store"
    (place / "one").chmod(0o640)
    before = everything(store)
    said = hashwacht(*words, "--store", store, "--signing-key", place / "one", code=4)
    assert said.err.startswith(f"error [key_unusable]: {place / 'one'}: others have access")
    assert "mode 0640" in said.err
    assert not said.out
    assert everything(store) == before


@pytest.mark.parametrize(
    ("name", "says"),
    [("nothing", "cannot be read: No such file"), ("one.pub", "is no private key"), ("short.txt", "is no private key")],
)
def test_a_key_that_is_none_changes_nothing(place: Path, name: str, says: str) -> None:
    store = place / "store"
    if name != "nothing":
        (place / name).chmod(0o600)
    before = everything(store)
    for variables in ({}, {"HASHWACHT_SIGNING_KEY": str(place / "one")}):
        words = (*CHANGES["suppress"], "--store", store, "--signing-key", place / name)
        assert f"error [key_unusable]: {place / name}: {says}" in hashwacht(*words, code=4, **variables).err
    said = hashwacht(*CHANGES["suppress"], "--store", store, code=4, HASHWACHT_SIGNING_KEY=str(place / name))
    assert f"error [key_unusable]: {place / name}: {says}" in said.err
    said = hashwacht(*CHANGES["suppress"], "--store", store, code=4, HASHWACHT_SIGNING_KEY="")
    assert "error [" in said.err
    assert everything(store) == before


def test_an_unsigned_store_stays_unsigned_without_a_key(tmp_path: Path, template: Path) -> None:
    compile_lists(tmp_path / "store", template / "short.txt")
    hashwacht(*CHANGES["suppress"], "--store", tmp_path / "store")
    current = Store(tmp_path / "store").current()
    assert (current.signature, current.key_id) == (None, None)


# --trusted-keys


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing", "cannot be read: No such file"),
        ("one", "holds what is no public key in PEM"),
        ("short.txt", "holds no public key in PEM"),
        ("store", "cannot be read: Is a directory"),
    ],
)
def test_serve_does_not_start_with_keys_that_are_none(place: Path, name: str, says: str) -> None:
    words = ("serve", "--store", place / "store", "--port", "0", "--state-dir", place / "state")
    said = hashwacht(*words, "--trusted-keys", place / name, code=2)
    assert f"--trusted-keys or HASHWACHT_TRUSTED_KEYS: {place / name}: {says}" in said.err
    said = hashwacht(*words, code=2, HASHWACHT_TRUSTED_KEYS=str(place / name))
    assert says in said.err
