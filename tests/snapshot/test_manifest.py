"""The manifest: back from disk what went in, and a named error for everything else."""

from __future__ import annotations

import copy
import random
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from snapshot.errors import DamageError, FileMissing, ManifestDamaged, NewerFormat, OlderFormat, StoreUnusable
from snapshot.labels import Tier
from snapshot.manifest import (
    ENTRIES,
    FORMAT_VERSION,
    MANIFEST,
    AlgorithmFacts,
    ClassFacts,
    FileFacts,
    KnownGoodFacts,
    ListFacts,
    Manifest,
    filter_file,
    parse_manifest,
    read_manifest,
    sha256_hex,
)


@pytest.fixture
def manifest(rng: random.Random) -> Manifest:
    facts = AlgorithmFacts(entries=3, blocks=1, records_per_block=226, filter_slices=10, filter_bits_per_slice=5)
    return Manifest(
        format_version=FORMAT_VERSION, snapshot_id=rng.randbytes(32).hex(),
        created_at=datetime.now(UTC).replace(microsecond=0), page_size=4096, label_set_id_bytes=2, label_sets=1,
        false_positive_rate=0.001, seal_key_id=None, merged=0, algorithms={"md5": facts, "photodna": facts},
        known_good={"sha1": KnownGoodFacts(digests=7, filter_slices=17, filter_bits_per_slice=9)},
        classes=[ClassFacts(list_id="liste-ä", category="\u2028", tier=Tier.ILLEGAL, entries={"md5": 3})],
        lists=[ListFacts(list_id="liste-ä", files=1, lines=3, digests=3, refused=0)],
        files={
            name: FileFacts(bytes=rng.randrange(1, 2**40), sha256=rng.randbytes(32).hex())
            for name in (ENTRIES, "md5.bloom", "photodna.bloom", "sha1.known-good.bloom")
        },
    )  # fmt: skip


def test_what_is_written_comes_back(manifest: Manifest, tmp_path: Path) -> None:
    raw = manifest.encode()
    (tmp_path / MANIFEST).write_bytes(raw)
    back, sha256 = read_manifest(tmp_path)
    assert back == manifest
    assert sha256 == sha256_hex(raw)
    assert back.encode() == raw


def test_sums_are_over_all_parts(manifest: Manifest) -> None:
    assert manifest.entries == 6
    assert manifest.list_ids == {"liste-ä"}
    assert manifest.total_bytes == sum(facts.bytes for facts in manifest.files.values())
    assert filter_file("md5") == "md5.bloom"


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match=r"manifest\.json: is missing"):
        read_manifest(tmp_path)


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(StoreUnusable, match=r"manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("raw", [b"", b"{", b"nothing", b"\xff\xfe", b'{"format_version": 1}{}', b"[" * 100_000])
def test_no_json_is_damage(raw: bytes, tmp_path: Path) -> None:
    with pytest.raises(ManifestDamaged, match="is not JSON"):
        parse_manifest(raw, tmp_path / MANIFEST)


@pytest.mark.parametrize("raw", [b"[]", b"1", b'"format_version"', b"null"])
def test_another_json_value_is_damage(raw: bytes, tmp_path: Path) -> None:
    with pytest.raises(ManifestDamaged, match="is not a JSON object"):
        parse_manifest(raw, tmp_path / MANIFEST)


@pytest.mark.parametrize("version", [3, 10**6, 2**63])
def test_a_newer_format_is_said_before_anything_else_is_read(version: int, tmp_path: Path) -> None:
    raw = orjson.dumps({"format_version": version, "something": "unheard of"})
    with pytest.raises(NewerFormat, match=f"format_version {version}, this hashwacht reads up to 2"):
        parse_manifest(raw, tmp_path / MANIFEST)


def test_an_older_format_is_told_from_damage(tmp_path: Path) -> None:
    raw = orjson.dumps({"format_version": 1, "something": "of old"})
    with pytest.raises(OlderFormat, match=r"format_version 1, this hashwacht reads 2: compile the lists again"):
        parse_manifest(raw, tmp_path / MANIFEST)


FIELDS = sorted(Manifest.model_fields)


def test_a_manifest_from_before_there_was_a_seal_is_not_sealed(manifest: Manifest, tmp_path: Path) -> None:
    fields = orjson.loads(manifest.encode())
    del fields["seal_key_id"]
    assert parse_manifest(orjson.dumps(fields), tmp_path / MANIFEST) == manifest


@pytest.mark.parametrize("field", [field for field in FIELDS if field != "seal_key_id"])
def test_a_missing_field_is_damage(field: str, manifest: Manifest, tmp_path: Path) -> None:
    loaded = orjson.loads(manifest.encode())
    del loaded[field]
    with pytest.raises(ManifestDamaged, match=f"field {field}"):
        parse_manifest(orjson.dumps(loaded), tmp_path / MANIFEST)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format_version",), 0), (("format_version",), "1"), (("snapshot_id",), "0" * 63),
        (("snapshot_id",), "A" * 64), (("snapshot_id",), "../" * 21 + "x"),
        (("created_at",), "yesterday"), (("page_size",), 0),
        (("page_size",), "4096"), (("label_set_id_bytes",), 3), (("label_sets",), -1), (("false_positive_rate",), 0),
        (("false_positive_rate",), 1.0), (("merged",), -1), (("merged",), 1.5), (("algorithms", "md5", "entries"), 0),
        (("algorithms", "md5", "blocks"), True), (("algorithms", "md5", "unknown"), 1), (("unknown",), None),
        (("classes", 0, "tier"), "gravest"), (("classes", 0, "list_id"), None), (("lists", 0, "lines"), -1),
        (("files", "md5.bloom", "bytes"), 0), (("files", "md5.bloom", "sha256"), "g" * 64), (("files",), []),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_value_is_damage_and_names_the_field(
    path: tuple[str | int, ...], value: object, manifest: Manifest, tmp_path: Path
) -> None:
    loaded = orjson.loads(manifest.encode())
    assert parse_manifest(orjson.dumps(loaded), tmp_path) == manifest
    inner = loaded
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ManifestDamaged, match=f"field {'.'.join(map(str, path))}"):
        parse_manifest(orjson.dumps(loaded), tmp_path / MANIFEST)


def test_an_algorithm_of_another_world_is_damage(manifest: Manifest, tmp_path: Path) -> None:
    loaded = orjson.loads(manifest.encode())
    loaded["algorithms"]["pdq"] = loaded["algorithms"].pop("md5")
    with pytest.raises(ManifestDamaged, match="unknown algorithms: pdq"):
        parse_manifest(orjson.dumps(loaded), tmp_path / MANIFEST)


@pytest.mark.parametrize("change", ["less", "more", "outside"])
def test_the_files_are_those_of_the_algorithms(change: str, manifest: Manifest, tmp_path: Path) -> None:
    loaded = orjson.loads(manifest.encode())
    files = loaded["files"]
    if change == "less":
        del files["md5.bloom"]
    else:
        files["sha1.bloom" if change == "more" else "../../CURRENT"] = copy.copy(files["md5.bloom"])
    with pytest.raises(ManifestDamaged, match="names the files"):
        parse_manifest(orjson.dumps(loaded), tmp_path / MANIFEST)


def test_any_changed_byte_is_named_or_changes_the_checksum(
    manifest: Manifest, rng: random.Random, tmp_path: Path
) -> None:
    """What a flip leaves readable is caught by the SHA-256 that CURRENT holds; nothing may escape as another error."""
    raw = manifest.encode()
    for at in rng.sample(range(len(raw)), 300):
        changed = bytearray(raw)
        changed[at] ^= 1 << rng.randrange(8)
        (tmp_path / MANIFEST).write_bytes(changed)
        try:
            outcome: object = read_manifest(tmp_path)[1]
        except DamageError as error:
            outcome = error.path
        assert outcome in {tmp_path / MANIFEST, sha256_hex(changed)}
