"""10,000 random damages to a signed, sealed store, opened as a worker's watch does: refused, or of no effect at all.

Of no effect is what leaves the very content that was signed: CURRENT spelt otherwise, or a cut-off line end. Everything
else must be refused with an error that has a name, whoever did it: a disk that flips bits, or somebody who exchanges
files between versions and mends the checksums that nothing signs.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loader import corrections
from loader.build import BuildRequest, ListInput, build
from loader.corrections import By
from service.trust import Trust
from snapshot.algorithms import MD5, SHA256
from snapshot.errors import SnapshotError
from snapshot.labels import Tier
from snapshot.manifest import MANIFEST, sha256_hex
from snapshot.overlay import Overlay
from snapshot.reader import check_files, read_trusted_manifest
from snapshot.seal import SealKeys, new_seal_key
from snapshot.signing import SigningKey, new_key
from snapshot.store import Current, Store, parse_current
from tests import listfiles

DAMAGES = 10_000
BY = By("tests", "a test")
STRANGER = SigningKey(Ed25519PrivateKey.generate())


class Signed(NamedTuple):
    """A store, the state of it that is live, and what was live before, oldest first."""

    store: Store
    trust: Trust
    seal_keys: SealKeys
    live: Current
    overlay: Overlay
    currents: list[bytes]
    overlays: list[bytes]
    older: list[Path]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """Three snapshots of two algorithms, each with a later overlay than the one before; the last generation is live."""
    directory = tmp_path_factory.mktemp("signed")
    new_key(directory / "key")
    new_seal_key(directory / "seal")
    key, seal_keys = SigningKey.load(directory / "key"), SealKeys.load(directory / "seal")
    store = Store(directory / "store")
    currents, overlays = [], []

    def keep() -> None:
        currents.append(store.read_current_bytes())
        version = store.current().overlay_version
        overlays.append(store.overlay_file(version).read_bytes())

    for number in range(3):
        rows = [
            [md5.hex(), sha256.hex(), f"ref {i}" if i % 5 == 0 else ""]
            for i, (md5, sha256) in enumerate(
                zip(*(listfiles.random_digests(name, 100, number) for name in ("md5", "sha256")), strict=True)
            )
        ]
        path = listfiles.write(directory / "list.csv", listfiles.csv_lines(["md5", "sha256", "reference"], rows))
        lists = [ListInput("list", Tier.ILLEGAL, [str(path)])]
        request = BuildRequest(
            store.path, lists, by="tests", approve_lists=["list"], accept_diff="a test", seal_keys=seal_keys
        )
        build(request, signing_key=key)
        keep()
        for algorithm in (MD5, SHA256):
            digest = listfiles.random_digests(algorithm.name, 100, number)[number]
            corrections.suppress(store, [(algorithm, digest)], BY, signing_key=key, seal_keys=seal_keys)
            keep()
    trust = Trust(store, directory / "key.pub", directory / "state")
    live = store.current()
    trust.note(live)
    live_dir = store.live_dir(live)
    older = [path for path in sorted(store.snapshots.iterdir()) if path != live_dir]
    assert len(older) == 2
    overlay = store.overlay(live.overlay_version, live.overlay_sha256)
    assert currents[-1] == live.encode()
    return Signed(store, trust, seal_keys, live, overlay, currents[:-1], overlays[:-1], older)


def opened(signed: Signed) -> tuple[Current, Overlay]:
    """Do what the watch does until a snapshot's files are mapped (service/watch.py). Raises SnapshotError."""
    store = signed.store
    current = parse_current(store.read_current_bytes(), store.current_file)
    signed.trust.require(current)
    overlay = store.overlay(current.overlay_version, current.overlay_sha256)
    directory = store.live_dir(current)
    manifest = read_trusted_manifest(directory, current.manifest_sha256)
    if overlay.seal_key_id != manifest.seal_key_id or signed.seal_keys.of(manifest.seal_key_id, directory) is None:
        raise AssertionError("sealed otherwise, and nobody noticed before")
    check_files(directory, manifest)
    return current, overlay


Edit = Callable[[bytes, random.Random], bytes]


def flip_bits(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 20])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def other_byte(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + rng.choice([b'"', b"0", b"f", b" ", b"}", b"\0", b"\xff"]) + content[at + 1 :]


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.choice([0, len(content) - 1, len(content) // 2, rng.randrange(len(content))])]


def grow(content: bytes, rng: random.Random) -> bytes:
    return content + rng.choice([b"\0", b"\n", b" ", content, rng.randbytes(rng.randrange(1, 100))])


def overwrite(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    length = rng.randrange(1, min(len(content) - at, 4096) + 1)
    return content[:at] + rng.choice([bytes(length), rng.randbytes(length)]) + content[at + length :]


def leave_out(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + content[at + rng.randrange(1, 64) :]


def exchange_within(content: bytes, rng: random.Random) -> bytes:
    a, b = sorted(rng.sample(range(len(content)), 2))
    return content[:a] + content[b : b + 1] + content[a + 1 : b] + content[a : a + 1] + content[b + 1 :]


EDITS: list[Edit] = [flip_bits, flip_bits, other_byte, cut, grow, overwrite, leave_out, exchange_within]


class Damage(NamedTuple):
    """What a damage is called, and the contents that it puts in the place of files; None removes one."""

    name: str
    files: dict[Path, bytes | None]


def random_edit(signed: Signed, rng: random.Random) -> Damage:
    """Any of the files that are live, edited as a disk or an editor might."""
    path = rng.choice(live_files(signed))
    edit = rng.choice(EDITS)
    return Damage(f"{edit.__name__} {path.name}", {path: edit(path.read_bytes(), rng)})


def remove(signed: Signed, rng: random.Random) -> Damage:
    path = rng.choice(live_files(signed))
    return Damage(f"remove {path.name}", {path: None})


def old_current(signed: Signed, rng: random.Random) -> Damage:
    """A whole CURRENT of before, which is well signed."""
    return Damage("old CURRENT", {signed.store.current_file: rng.choice(signed.currents)})


def mixed_current(signed: Signed, rng: random.Random) -> Damage:
    """Fields of CURRENT exchanged with those of one before, as whoever edits it by hand would."""
    mine, its = orjson.loads(signed.live.encode()), orjson.loads(rng.choice(signed.currents))
    for name in rng.sample(sorted(mine), rng.randrange(1, len(mine))):
        mine[name] = its[name]
    return Damage("mixed CURRENT", {signed.store.current_file: orjson.dumps(mine)})


def respelt_current(signed: Signed, rng: random.Random) -> Damage:
    """The same content in another form, perhaps with one field changed."""
    fields = list(orjson.loads(signed.live.encode()).items())
    rng.shuffle(fields)
    value = dict(fields)
    name = rng.choice([*value, None, None, None])
    if name == "generation":
        value[name] += rng.choice([1, 1000, -1])
    elif name == "overlay_version":
        value[name] = rng.choice([0, 1, value[name] + 1])
    elif name is not None:
        value[name] = rng.choice([None, "", str(value[name])[::-1], str(value[name]).upper(), value[name] + " "])
    form = rng.choice([None, orjson.OPT_INDENT_2])
    return Damage("respelt CURRENT", {signed.store.current_file: orjson.dumps(value, option=form)})


def old_file(signed: Signed, rng: random.Random) -> Damage:
    """A file of an older snapshot in the place of the live one's; or all that an older snapshot has of several."""
    other = rng.choice(signed.older)
    mine = [path for path in live_files(signed) if path.parent.parent == signed.store.snapshots]
    some = rng.sample(mine, rng.randrange(1, len(mine) + 1))
    return Damage("old files of a snapshot", {path: (other / path.name).read_bytes() for path in some})


def exchanged_files(signed: Signed, rng: random.Random) -> Damage:
    """Two files of the live snapshot under each other's name."""
    a, b = rng.sample([path for path in live_files(signed) if path.parent.parent == signed.store.snapshots], 2)
    return Damage("files exchanged", {a: b.read_bytes(), b: a.read_bytes()})


def old_overlay(signed: Signed, rng: random.Random) -> Damage:
    path = signed.store.overlay_file(signed.live.overlay_version)
    return Damage("old overlay", {path: rng.choice(signed.overlays)})


def forged_overlay(signed: Signed, rng: random.Random) -> Damage:
    """An overlay without its last suppression, or an old one, and CURRENT made to name it."""
    version = signed.live.overlay_version
    overlay = orjson.loads(signed.store.overlay_file(version).read_bytes())
    if rng.random() < 0.5:
        overlay = orjson.loads(rng.choice(signed.overlays))
        overlay["version"] = version
    else:
        overlay[rng.choice(["suppressions", "approvals"])].pop()
    raw = orjson.dumps(overlay, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    current = signed.live.model_copy(update={"overlay_sha256": sha256_hex(raw)})
    return Damage("forged overlay", {
        signed.store.overlay_file(version): raw, signed.store.current_file: current.encode(),
    })  # fmt: skip


def forged_manifest(signed: Signed, rng: random.Random) -> Damage:
    """A file of the snapshot changed, the manifest made to vouch for it, and perhaps CURRENT for that."""
    directory = signed.store.live_dir(signed.live)
    path = rng.choice([path for path in live_files(signed) if path.parent == directory and path.name != MANIFEST])
    content = flip_bits(path.read_bytes(), rng)
    manifest = orjson.loads((directory / MANIFEST).read_bytes())
    manifest["files"][path.name] |= {"sha256": sha256_hex(content)}
    raw = orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    files: dict[Path, bytes | None] = {path: content, directory / MANIFEST: raw}
    if rng.random() < 0.5:
        current = signed.live.model_copy(update={"manifest_sha256": sha256_hex(raw)})
        files[signed.store.current_file] = current.encode()
    return Damage("forged manifest", files)


def another_signature(signed: Signed, rng: random.Random) -> Damage:
    """Somebody else's signature under the trusted key's name, or no signature at all."""
    current = STRANGER.sign(signed.live.model_copy(update={"generation": signed.live.generation + rng.randrange(2)}))
    update = rng.choice([{"key_id": signed.live.key_id}, {}, {"signature": None}, {"signature": None, "key_id": None}])
    return Damage("another signature", {signed.store.current_file: current.model_copy(update=update).encode()})


KINDS = {
    random_edit: 60, remove: 2, old_current: 4, mixed_current: 8, respelt_current: 6, old_file: 5, exchanged_files: 3,
    old_overlay: 3, forged_overlay: 3, forged_manifest: 3, another_signature: 3,
}  # fmt: skip


def live_files(signed: Signed) -> list[Path]:
    """Give the files that what is live consists of: CURRENT, which is tried most, the overlay, the snapshot's."""
    directory = signed.store.live_dir(signed.live)
    current = signed.store.current_file
    return [current, current, signed.store.overlay_file(signed.live.overlay_version), *sorted(directory.iterdir())]


def put(path: Path, content: bytes | None) -> None:
    """Write over a file, or remove it. Not cut to nothing first, after which ext4 would wait for the disk each time."""
    if content is None:
        path.unlink()
        return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.write(fd, content)
        os.ftruncate(fd, len(content))
    finally:
        os.close(fd)


def test_the_control_what_is_whole_is_taken(signed: Signed) -> None:
    assert opened(signed) == (signed.live, signed.overlay)


def test_10_000_random_damages(signed: Signed, rng: random.Random, capsys: pytest.CaptureFixture[str]) -> None:
    whole = {path: path.read_bytes() for path in live_files(signed)}
    rest = {path: content for path, content in whole.items() if path != signed.store.current_file}
    kinds, weights = list(KINDS), list(KINDS.values())
    seen: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    wrong: list[str] = []
    for number in range(DAMAGES):
        damage = rng.choices(kinds, weights)[0](signed, rng)
        harmless = damage.files == {path: whole[path] for path in damage.files}
        for path, content in damage.files.items():
            put(path, content)
        what = f"{number}: {damage.name}"
        try:
            current, overlay = opened(signed)
        except SnapshotError as error:
            seen["refused"] += 1
            reasons[error.reason] += 1
            if harmless:
                wrong.append(f"{what}: nothing changed, and refused: {error}")
        except Exception as error:  # noqa: BLE001  a crash is what is counted
            seen["crashed"] += 1
            wrong.append(f"{what}: {type(error).__name__}: {error}")
        else:
            seen["taken"] += 1
            as_signed = (current, overlay) == (signed.live, signed.overlay) and all(
                path.read_bytes() == content for path, content in rest.items()
            )
            if not as_signed:
                wrong.append(f"{what}: taken, and it is not what was signed")
            elif not harmless and set(damage.files) != {signed.store.current_file}:
                wrong.append(f"{what}: a file differs and was taken")
        for path in damage.files:
            put(path, whole[path])
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{DAMAGES:,} damages of a signed, sealed store: {seen['refused']:,} refused, "
            f"{seen['taken']:,} of no effect, {seen['crashed']} crashes; "
            f"{', '.join(f'{n:,} {reason}' for reason, n in reasons.most_common())}"
        )
    assert not wrong, "\n".join(wrong[:20])
    assert seen["crashed"] == 0
    assert seen["refused"] + seen["taken"] == DAMAGES
    # Enough of each outcome, or this tries too little of it.
    assert seen["refused"] > 0.9 * DAMAGES, seen
    assert seen["taken"] > 100, seen
    assert set(reasons) >= {
        "signature_wrong", "signature_missing", "generation_went_back", "current_damaged", "overlay_damaged",
        "manifest_damaged", "checksum_mismatch", "wrong_size", "missing_file", "no_store",
    }  # fmt: skip
    assert opened(signed) == (signed.live, signed.overlay)
