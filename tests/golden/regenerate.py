"""Writes the golden files anew, after a change of the format that is meant: python tests/golden/regenerate.py

First raise FORMAT_VERSION in snapshot/manifest.py: what an older hashwacht cannot read must say so. The hash lists
under lists/ are input and stay as they are.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import orjson

from loader.build import BuildRequest, ListInput, build
from loader.readers.base import ReadOptions
from snapshot.algorithms import PHOTODNA
from snapshot.labels import Tier
from snapshot.manifest import MANIFEST, sha256_hex
from snapshot.seal import NO_SEAL_KEYS, Seal, SealKeys

HERE = Path(__file__).parent
LISTS = HERE / "lists"

#: Bytes of a line in the hex text.
LINE_BYTES = 32


def lists_of(*names: str) -> list[ListInput]:
    every = {
        # Bare digests of four algorithms: one class.
        "police": ListInput("police", Tier.BASELINE, [str(LISTS / "police.txt")]),
        # Two categories of their own, and digests that police lists too.
        "hotline": ListInput("hotline", Tier.ILLEGAL, [str(LISTS / "hotline.csv")], category="unsorted"),
        "vectors": ListInput(
            "vectors", Tier.INVESTIGATIVE, [str(LISTS / "vectors.txt")], options=ReadOptions(PHOTODNA)
        ),
        # The hotline's own ids: each digest owns its label set.
        "cases": ListInput("cases", Tier.OTHER, [str(LISTS / "cases.csv")]),
        # One digest under more references than a label set keeps: the references' own database has them all.
        "constant": ListInput("constant", Tier.INVESTIGATIVE, [str(LISTS / "constant.csv")]),
        # Some digests of the others: known good, so none of them is in the snapshot.
        "harmless": ListInput("harmless", Tier.UNKNOWN, [str(LISTS / "harmless.txt")], known_good=True),
    }
    return [every[name] for name in names]


class Golden(NamedTuple):
    """One golden snapshot, in the folder of its name."""

    name: str
    lists: list[ListInput]
    false_positive_rate: float
    seal: Seal | None = None


GOLDEN = [
    Golden("short-ids", lists_of("police", "hotline", "vectors"), 0.001),
    Golden("long-ids", lists_of("police", "hotline", "vectors", "cases", "constant", "harmless"), 0.01),
    Golden("sealed", lists_of("police", "hotline", "vectors"), 0.001, Seal(bytes(range(32)))),
]


def compile_golden(golden: Golden, store: Path) -> dict[str, bytes]:
    """Compile into a new store; give the snapshot's files by name."""
    seal = golden.seal
    request = BuildRequest(
        store, golden.lists, by="golden", false_positive_rate=golden.false_positive_rate,
        seal_keys=NO_SEAL_KEYS if seal is None else SealKeys({seal.key_id: seal}),
    )  # fmt: skip
    snapshot_id = build(request).published.manifest.snapshot_id
    files = {path.name: path.read_bytes() for path in (store / "snapshots" / snapshot_id).iterdir()}
    return files | {MANIFEST: without_time(files[MANIFEST])}


def without_time(manifest: bytes) -> bytes:
    """Set created_at, the one thing in a manifest that no list decides, to a moment of its own."""
    loaded = orjson.loads(manifest)
    loaded["created_at"] = "2020-01-01T00:00:00Z"
    return orjson.dumps(loaded, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def to_text(content: bytes) -> str:
    """Give bytes as lines of `offset hex`, those of nothing but zeros left out, between length and checksum."""
    lines = [f"bytes {len(content)}"]
    for offset in range(0, len(content), LINE_BYTES):
        line = content[offset : offset + LINE_BYTES]
        if any(line):
            lines.append(f"{offset:08x} {line.hex()}")
    return "\n".join([*lines, f"sha256 {sha256_hex(content)}", ""])


def from_text(text: str) -> bytes:
    """Read to_text's text back, and check it by its checksum."""
    first, *lines, last = text.splitlines()
    content = bytearray(int(first.removeprefix("bytes ")))
    for line in lines:
        offset, digits = line.split()
        piece = bytes.fromhex(digits)
        content[int(offset, 16) : int(offset, 16) + len(piece)] = piece
    if sha256_hex(content) != last.removeprefix("sha256 "):
        raise ValueError("the golden text was changed by hand: its SHA-256 differs")
    return bytes(content)


def main() -> None:
    for golden in GOLDEN:
        folder = HERE / golden.name
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        with tempfile.TemporaryDirectory() as directory:
            files = compile_golden(golden, Path(directory) / "store")
        for name, content in sorted(files.items()):
            (folder / f"{name}.hex").write_text(to_text(content), encoding="ascii")


if __name__ == "__main__":
    main()
