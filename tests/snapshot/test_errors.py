"""The error family: what its module draws is what there is, and nothing of a lower library gets past it."""

from __future__ import annotations

import errno
import inspect
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from snapshot import errors
from snapshot.algorithms import MD5, SHA1
from snapshot.errors import (
    DamageError,
    HexdigestError,
    SnapshotError,
    StoreError,
    StoreFull,
    StoreUnusable,
    store_error,
    wrapped_os_errors,
)
from snapshot.publish import Publisher
from snapshot.reader import Snapshot, check_files, read_trusted_manifest
from snapshot.store import Store
from snapshot.verify import verify_store
from snapshot.writer import SnapshotWriter

FAMILY = {cls.__name__: cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, SnapshotError)}


def drawn() -> dict[str, tuple[str | None, str]]:
    """Read the tree in the module's docstring: name → (parent, the text behind it)."""
    tree: dict[str, tuple[str | None, str]] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    ([│├└─ ]*)([A-Z]\w+)\s*(.*)", line)
        if match is None:
            continue
        depth, name, text = len(match[1]), match[2], match[3]
        path = [(d, n) for d, n in path if d < depth]
        tree[name] = (path[-1][1] if path else None, text)
        path.append((depth, name))
    return tree


def test_the_drawing_names_every_class_under_its_parent() -> None:
    assert {name: parent for name, (parent, _) in drawn().items()} == {
        name: (
            None if cls is SnapshotError else next(b for b in cls.__bases__ if issubclass(b, SnapshotError)).__name__
        )
        for name, cls in FAMILY.items()
    }


@pytest.mark.parametrize("name", [n for n, c in FAMILY.items() if not c.__subclasses__() and c is not HexdigestError])
def test_the_drawing_says_the_reason(name: str) -> None:
    reason = FAMILY[name].reason
    assert re.fullmatch(rf"{reason}(:? .*)?", drawn()[name][1])
    # The stable word is the class's name, so that nobody has to remember two.
    assert reason in {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower(), "missing_file"}


def test_reasons_are_unique() -> None:
    reasons = [cls.reason for cls in FAMILY.values()]
    assert len(set(reasons)) == len(reasons)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", reason) for reason in reasons)


def test_a_damage_names_its_file(tmp_path: Path) -> None:
    for cls in DamageError.__subclasses__():
        error = cls(tmp_path / "x", "is not well")
        assert error.path == tmp_path / "x"
        assert str(error) == f"{tmp_path / 'x'}: is not well"


def test_a_bad_digest_is_a_value_error_with_the_word_for_replies() -> None:
    error = HexdigestError("not_hex", "has a character")
    assert isinstance(error, ValueError)
    assert (error.why, error.reason, str(error)) == ("not_hex", "invalid_digest", "has a character")


@pytest.mark.parametrize(
    ("number", "cls"),
    [
        (errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EFBIG, StoreFull),
        (errno.EIO, StoreUnusable), (errno.EACCES, StoreUnusable), (errno.EROFS, StoreUnusable),
        (errno.ENOLCK, StoreUnusable), (errno.EMFILE, StoreUnusable),
    ],
)  # fmt: skip
def test_an_os_error_is_named_by_what_an_operator_can_do(number: int, cls: type[StoreError], tmp_path: Path) -> None:
    cause = OSError(number, "what the system says", str(tmp_path / "inner"))
    expected = r"writing .*/inner: what the system says.* Nothing was published"
    with pytest.raises(cls, match=expected) as caught, wrapped_os_errors("writing", tmp_path):
        raise cause
    assert caught.value.__cause__ is cause
    assert type(store_error(OSError(number, "x"), "writing", tmp_path)) is cls
    assert str(tmp_path) in str(store_error(OSError(number, "x"), "writing", tmp_path))


def named(call: Callable[[], object]) -> SnapshotError | None:
    """Give the error of ours that a call ends with, if it does; any other passes."""
    try:
        call()
    except SnapshotError as error:
        return error
    return None


def roll_back(store: Store, name: str, sha: str) -> None:
    with Publisher(store) as publisher:
        publisher.rollback(name, by="tests")


# What a caller may do with a store. Each must end well or with a SnapshotError, whatever lies in the store's place.
ACTIONS: dict[str, Callable[[Store, str, str], object]] = {
    "current": lambda store, name, sha: store.current(),
    "live_dir": lambda store, name, sha: store.live_dir(store.current()),
    "generations": lambda store, name, sha: store.generations(),
    "history": lambda store, name, sha: store.history(),
    "verify": lambda store, name, sha: verify_store(store),
    "manifest": lambda store, name, sha: read_trusted_manifest(store.snapshot_dir(name), sha),
    "check": lambda store, name, sha: check_files(
        store.snapshot_dir(name), read_trusted_manifest(store.snapshot_dir(name), sha)
    ),
    "open": lambda store, name, sha: Snapshot.open(store.snapshot_dir(name), sha).close(),
    "lock": lambda store, name, sha: Publisher(store).__enter__().__exit__(None, None, None),
    # This one writes, and may repair what is broken.
    "rollback": roll_back,
}

PLACES: dict[str, Callable[[Store, str], Path]] = {
    "store": lambda store, name: store.path,
    "CURRENT": lambda store, name: store.current_file,
    "lock": lambda store, name: store.lock_file,
    "tmp": lambda store, name: store.tmp,
    "snapshots": lambda store, name: store.snapshots,
    "snapshot": lambda store, name: store.snapshot_dir(name),
    "manifest": lambda store, name: store.snapshot_dir(name) / "manifest.json",
    "entries": lambda store, name: store.snapshot_dir(name) / "entries.lmdb",
    "filter": lambda store, name: store.snapshot_dir(name) / "md5.bloom",
    "history": lambda store, name: store.history_dir,
    "entry": lambda store, name: store.history_file(1),
}


@pytest.mark.parametrize("put", ["nothing", "file", "directory", "broken link", "loop of links"])
@pytest.mark.parametrize("place", PLACES)
def test_only_our_errors_come_out_whatever_lies_there(
    place: str, put: str, tmp_path: Path, publish, some_entries
) -> None:
    store = Store(tmp_path / "store")
    entries = some_entries(20, MD5)
    published = publish(store, entries)
    name, sha = published.manifest.snapshot_id, published.current.manifest_sha256
    path = PLACES[place](store, name)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    match put:
        case "file":
            path.write_bytes(b"something else")
        case "directory":
            path.mkdir()
        case "broken link":
            path.symlink_to(tmp_path / "nowhere")
        case "loop of links":
            path.symlink_to(path)

    def compile_again(store: Store, name: str, sha: str) -> None:
        publish(store, entries)

    for action in (*ACTIONS.values(), compile_again):
        error = named(lambda action=action: action(store, name, sha))
        assert error is None or str(tmp_path) in str(error)


@pytest.mark.parametrize("call", ["open", "open_db", "begin"])
def test_whatever_lmdb_raises_at_the_beginning_is_a_store_error(call: str, tmp_path: Path, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> object:
        raise lmdb.Error(f"mdb_{call}: Input/output error")

    if call == "open":
        monkeypatch.setattr("snapshot.writer.lmdb.open", fail)
    else:
        real = lmdb.open

        def opened(*args: object, **kwargs: object) -> object:
            env = real(*args, **kwargs)

            class Env:
                def __getattr__(self, name: str) -> object:
                    return fail if name == call else getattr(env, name)

            return Env()

        monkeypatch.setattr("snapshot.writer.lmdb.open", opened)
    with pytest.raises(StoreUnusable, match=f"mdb_{call}: Input/output error"):
        SnapshotWriter(tmp_path / "s", false_positive_rate=0.001, label_set_id_bytes=2)


def test_whatever_lmdb_raises_at_the_end_is_a_store_error(tmp_path: Path, monkeypatch) -> None:
    writer = SnapshotWriter(tmp_path / "s", false_positive_rate=0.001, label_set_id_bytes=2)
    writer.begin(SHA1)
    txn = writer._txn

    class Txn:
        def commit(self) -> None:
            raise lmdb.DiskError("mdb_txn_commit: No space left on device")

        def __getattr__(self, name: str) -> object:
            return getattr(txn, name)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "_txn", Txn())
        patch.setattr(writer, "_end_algorithm", lambda: None)
        with pytest.raises(StoreFull, match="No space left"):
            writer.finish(classes=[], lists=[], merged=0)
    writer.abandon()
