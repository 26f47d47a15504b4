"""Bad lists at the command line: exit 3, a message with file, line, field and remedy, and nothing published."""

from __future__ import annotations

import gzip
import shutil
import sys
from pathlib import Path

import pytest

from tests import listfiles
from tests.command import Finished, compile_lists, hashwacht

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GOOD = listfiles.random_digests("sha256", 500, "good")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("live")
    compile_lists(directory / "store", listfiles.write(directory / "live.txt", listfiles.hex_lines(GOOD[:9])))
    return directory / "store"


@pytest.fixture
def refuse(tmp_path: Path, live: Path):
    """Compile over a live snapshot, require exit 3, and see that the old state is live and nothing is left over."""
    store = tmp_path / "store"
    shutil.copytree(live, store)
    before = everything(store)

    def run(*words: str | Path, stdin: bytes = b"") -> Finished:
        always = ("compile", "--store", store, "--list-id", "list", "--tier", "illegal")
        said = hashwacht(*always, *words, stdin=stdin, code=3)
        assert everything(store) == before, "something in the store changed"
        assert not said.out
        return said

    return run


def everything(store: Path) -> list[tuple[Path, bytes | None]]:
    paths = sorted(path for path in store.rglob("*") if path.name != "lock")
    return [(path, path.read_bytes() if path.is_file() else None) for path in paths]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"abc", "has 3 characters; known lengths are 32 (md5), 40 (sha1), 64 (sha256), 128 (sha512)"),
        (b"0x" + b"a" * 62, "has a character other than 0-9, a-f, A-F at position 2; it begins with 0x"),
        (b" " + b"a" * 63, "has a character other than 0-9, a-f, A-F at position 1; there are spaces around it"),
        (b"a" * 63, "has 63 characters; known lengths are 32 (md5), 40 (sha1), 64 (sha256), 128 (sha512)"),
        (b"a" * 63 + b"g", "has a character other than 0-9, a-f, A-F at position 64"),
        (b"\xff" * 64, "has a character other than 0-9, a-f, A-F at position 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, refuse, line: bytes, why: str) -> None:
    path = listfiles.write(tmp_path / "a", listfiles.hex_lines(GOOD[:99]) + line + b"\n")
    said = refuse(path)
    assert "error [too_many_bad_lines]: 1 of 100 lines refused (1 %), the limit is 0.01 %" in said.err
    assert f"{path}:100: digest: {why}\n" in said.err
    assert "--max-bad-share" in said.err


def test_more_bad_lines_than_the_limit_name_the_first_20_of_all_files(tmp_path: Path, refuse) -> None:
    first = listfiles.write(tmp_path / "first", listfiles.hex_lines(GOOD) + b"bad\n" * 7)
    second = listfiles.write(tmp_path / "second", listfiles.hex_lines(GOOD[:1]) + b"bad\n" * 30)
    said = refuse(first, second)
    named = [line.strip().split(": ")[0] for line in said.err.splitlines() if ": digest: " in line]
    assert named == [*(f"{first}:{501 + i}" for i in range(7)), *(f"{second}:{2 + i}" for i in range(13))]
    assert "… and 17 more lines" in said.err


def test_a_small_misread_list_does_not_hide_behind_a_large_one(tmp_path: Path, refuse) -> None:
    large = listfiles.write(tmp_path / "large", listfiles.hex_lines(listfiles.random_digests("md5", 30_000, 1)))
    small = listfiles.write(tmp_path / "small", listfiles.hex_lines(GOOD[:1]) + b"bad\n")
    said = refuse(large, small)
    assert f"1 of 2 lines of {small} refused" in said.err


def test_bad_lines_within_the_limit_are_named_and_counted(tmp_path: Path) -> None:
    path = listfiles.write(tmp_path / "a", listfiles.hex_lines(GOOD[:99]) + b"bad\n")
    words = ("compile", "--store", tmp_path / "s", "--list-id", "l", "--tier", "other", "--max-bad-share", "0.01", path)
    assert f"refused: {path}:100: digest: " in hashwacht(*words).err


@pytest.mark.parametrize(
    ("name", "kept"),
    [("cut.gz", 0), ("cut.gz", 0.5), ("cut.gz", 0.999), ("cut.zst", 0), ("cut.zst", 0.999), ("cut", 0.5)],
)
def test_a_truncated_compressed_list(tmp_path: Path, refuse, name: str, kept: float) -> None:
    pack = gzip.compress if name.endswith(".gz") else zstd.compress
    whole = pack(listfiles.hex_lines(GOOD))
    path = tmp_path / name
    path.write_bytes(whole[: int(len(whole) * kept)])
    said = refuse(path)
    assert f"error [list_truncated]: {path}: " in said.err
    assert "fetch it again" in said.err


def test_a_truncated_compressed_list_on_standard_input(refuse) -> None:
    assert "error [list_truncated]: -: " in refuse("-", stdin=gzip.compress(listfiles.hex_lines(GOOD))[:-30]).err


def test_a_flipped_bit_in_a_compressed_list(tmp_path: Path, refuse) -> None:
    damaged = bytearray(gzip.compress(listfiles.hex_lines(GOOD)))
    damaged[-6] ^= 1  # in the CRC
    path = tmp_path / "a.gz"
    path.write_bytes(damaged)
    assert f"error [list_damaged]: {path}: " in refuse(path).err


def test_plain_text_named_gz(tmp_path: Path, refuse) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(listfiles.hex_lines(GOOD))
    assert f"error [list_damaged]: {path}: is named .gz" in refuse(path).err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x7fELF\x02\x01\x01\0\0\0" + bytes(range(256)) * 40, "binary_list"),
        ("abc\n".encode("utf-16"), "binary_list"),
        (b"Dear supplier,\nthe list follows by post.\n", "unknown_format"),
    ],
)
def test_what_is_no_list(tmp_path: Path, refuse, content: bytes, reason: str) -> None:
    path = listfiles.write(tmp_path / "letter", content)
    assert f"error [{reason}]: {path}: " in refuse(path).err


def test_a_directory_and_a_file_that_is_not_there(tmp_path: Path, refuse) -> None:
    assert f"error [list_unreadable]: {tmp_path}: is a directory" in refuse(tmp_path).err
    assert f"error [list_unreadable]: {tmp_path / 'no'}: is not there" in refuse(tmp_path / "no").err


def test_an_unknown_column_names_the_header(tmp_path: Path, refuse) -> None:
    path = listfiles.write(tmp_path / "a.csv", listfiles.csv_lines(["MD5", "Kind"], []))
    said = refuse("--column", "md5=MD5", "--column", "category=Cat", path)
    assert f"error [unknown_column]: {path}: line 1: the header has MD5, Kind; Cat (for category) is not" in said.err


def test_a_column_mistaken_for_the_category(tmp_path: Path, refuse) -> None:
    digests = listfiles.random_digests("md5", 5000, "categories")
    rows = ([digest.hex(), f"id {i}"] for i, digest in enumerate(digests))
    path = listfiles.write(tmp_path / "a.csv", listfiles.csv_lines(["md5", "category"], rows))
    said = refuse(path)
    assert f"error [too_many_categories]: {path}: " in said.err
    assert "--column reference=" in said.err


def test_no_message_of_a_refused_list_shows_a_digest(tmp_path: Path, refuse) -> None:
    lines = b"".join(digest.hex()[:-1].encode() + b"\n" for digest in GOOD[:30])
    path = listfiles.write(tmp_path / "a", listfiles.hex_lines(GOOD[30:40]) + lines)
    said = refuse(path)
    assert not [digest for digest in GOOD if digest.hex()[:12] in said.err]
